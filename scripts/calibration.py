"""How true the confidences of words are: `python scripts/calibration.py MANIFEST [--model NAME|PATH] [--beam-size N]`.

Every utterance is transcribed as `asr.transcribe` does it; words are right as the alignment with the fewest errors has
them. The table's bins are 0.1 wide. Choose utterances that nothing was fitted to: after `python -m asr.evaluate
--manifest dev.jsonl --calibrate` those of a recipe's `dev-clean-others.jsonl`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from asr import audio, command, corpus
from asr.calibrate import reliability, right_words

ENOUGH = 100  # words in a bin that counts


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = argparse.ArgumentParser(description="Stated and true accuracy of words, by confidence.")
    arguments.add_argument("manifest", type=Path, metavar="MANIFEST")
    command.add_model(arguments)
    options = arguments.parse_args(argv)
    recognizer = command.load_model(options)
    utterances = corpus.read(options.manifest)
    recordings = ((each, [audio.load(each.audio, each.offset, each.duration)]) for each in utterances)
    stated, right = [], []
    for utterance, transcript in recognizer.transcribe_all(recordings):
        reference = recognizer.normalizer(utterance.text).split()
        stated += [word.confidence for word in transcript.words]
        right += right_words(reference, [word.text for word in transcript.words]).tolist()
    print("not calibrated" if recognizer.calibration is None else f"fitted to {recognizer.calibration.words} words")
    print("  words  stated    true  difference")
    found = reliability(np.array(stated), np.array(right))
    for each in found:
        print(f"{each.words:7}  {each.stated:6.1%}  {each.true:6.1%}  {each.stated - each.true:+10.1%}")
    largest = max((abs(each.stated - each.true) for each in found if each.words >= ENOUGH), default=0.0)
    print(f"{len(stated)} words, {np.mean(right):.1%} right; largest difference of a bin of {ENOUGH}: {largest:.1%}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
