"""How true the confidences of words are: `python scripts/calibration.py MANIFEST [--model NAME|PATH] [--beam-size N]`.

Every utterance is transcribed as `asr.transcribe` does it; words are right as the alignment with the fewest errors has
them. The table's bins are 0.1 wide. Choose utterances that nothing was fitted to: after `python -m asr.evaluate
--manifest dev.jsonl --calibrate` those of a recipe's `dev-clean-others.jsonl`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from asr import Error, audio, command, corpus
from asr.audio import Samples
from asr.calibrate import Bin, reliability, right_words
from asr.corpus import Utterance
from asr.transcript import Transcript

ENOUGH = 100  # words in a bin that counts


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table."""
    arguments = argparse.ArgumentParser(description="Stated and true accuracy of words, by confidence.")
    arguments.add_argument("manifest", type=Path, metavar="MANIFEST")
    command.add_model(arguments)
    options = arguments.parse_args(argv)
    recognizer = command.load_model(options)
    utterances = corpus.read(options.manifest)
    lost: list[str] = []
    found = judge(
        (recognizer.split_words(recognizer.normalizer(utterance.text)), transcript)
        for utterance, transcript in recognizer.transcribe_all(_heard(utterances, lost))
    )
    print("not calibrated" if recognizer.calibration is None else f"fitted to {recognizer.calibration.words} words")
    print("  words  stated    true  difference")
    for each in found:
        print(f"{each.words:7}  {each.stated:6.1%}  {each.true:6.1%}  {each.stated - each.true:+10.1%}")
    words = sum(each.words for each in found)
    right = sum(each.words * each.true for each in found) / max(1, words)
    most = largest(found)
    shown = f"no bin has {ENOUGH}" if most is None else f"largest difference of a bin of {ENOUGH}: {most:.1%}"
    print(f"{words} words, {right:.1%} right; {shown}")
    for message in lost:
        print(f"error: {message}", file=sys.stderr)
    return 1 if lost else 0


def _heard(utterances: Iterable[Utterance], lost: list[str]) -> Iterator[tuple[Utterance, list[Samples]]]:
    """Recordings; of one that cannot be read, what is wrong with it."""
    for each in utterances:
        try:
            yield each, [audio.load(each.audio, each.offset, each.duration)]
        except (Error, OSError) as error:
            lost.append(f"{each.id}: {error}")


def judge(transcripts: Iterable[tuple[Sequence[str], Transcript]]) -> list[Bin]:
    """The words of transcripts by confidence.

    Args:
        transcripts: each behind the words of its reference, normalised (`Recognizer.split_words`).
    """
    stated, right = [], []
    for reference, transcript in transcripts:
        stated += [word.confidence for word in transcript.words]
        right += right_words(reference, [word.text for word in transcript.words]).tolist()
    return reliability(np.array(stated), np.array(right, bool))


def largest(bins: Sequence[Bin]) -> float | None:
    """Largest difference between what is stated and what is true, of bins with enough words; None without any."""
    return max((abs(each.stated - each.true) for each in bins if each.words >= ENOUGH), default=None)


if __name__ == "__main__":
    sys.exit(command.run(main))
