"""How far words' times are from the truth: `python scripts/word_times.py [--model NAME|PATH] [--takes test|dev]`.

Recordings of single digits (Free Spoken Digit Dataset, as the recipe `digits` finds or downloads it) are joined by ten
with pauses of 0 to 0.5 s. In each recording speech begins and ends where the first and the last 10 ms are that are
less than 40 dB below its loudest; that is the truth. It is compared with the times of the known text, aligned, and of
those recognized words that are right. The constants of `asr.align` were chosen on "dev" (takes 5-9) and are measured on
"test" (takes 0-4); the offsets that are printed are what would have to be added to them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jiwer
import numpy as np
from numpy.typing import NDArray

from asr import audio, command
from asr.align import group_words, token_spans, words
from asr.corpus import Utterance
from asr.recognizer import Recognizer
from asr.text import Normalizer
from asr.transcript import Word
from recipes import corpora_folder, digits

HOP = audio.SAMPLE_RATE // 100
FAINT = 40.0  # dB below the loudest 10 ms
JOINED = 10  # recordings
LONGEST_PAUSE = 0.5  # s
EDGE = 0.25  # s of silence at either end
PEAK = 0.3  # of full scale
NOISE = 1e-4  # -80 dB, everywhere
SEED = 0


@dataclass(frozen=True)
class Joined:
    """Digits of one speaker, one after the other.

    Args:
        samples: (samples,) at 16 kHz.
        words: what was said, and when.
    """

    samples: NDArray[np.float32]
    words: tuple[Word, ...]


def speech_bounds(samples: NDArray[np.float32]) -> tuple[int, int]:
    """First sample of speech, and the one after its last."""
    power = np.square(samples[: len(samples) // HOP * HOP].reshape(-1, HOP), dtype=np.float64).mean(axis=1)
    heard = np.flatnonzero(power > power.max() * 10 ** (-FAINT / 10))
    return int(heard[0]) * HOP, (int(heard[-1]) + 1) * HOP


def join(takes: Sequence[Utterance], normalizer: Normalizer, random: np.random.Generator) -> Joined:
    """Recordings with pauses of random length, and faint noise."""
    parts, found, position = [np.zeros(round(EDGE * audio.SAMPLE_RATE), np.float32)], [], EDGE
    for take in takes:
        samples = audio.load(take.audio)
        start, end = speech_bounds(samples)
        times = (position + start / audio.SAMPLE_RATE, position + end / audio.SAMPLE_RATE)
        found.append(Word(normalizer(take.text), *times))
        pause = np.zeros(round(random.uniform(0, LONGEST_PAUSE) * audio.SAMPLE_RATE), np.float32)
        parts += [samples * (PEAK / np.abs(samples).max()), pause]
        position += (len(samples) + len(pause)) / audio.SAMPLE_RATE
    joined = np.concatenate([*parts, parts[0]])
    return Joined(joined + random.normal(0, NOISE, len(joined)).astype(np.float32), tuple(found))


def recordings(split: str, recognizer: Recognizer, corpora: Path) -> Iterator[Joined]:
    """All takes of a split, those of each speaker in random order."""
    random = np.random.default_rng(SEED)
    takes = digits.read(corpora, digits.recipe.options)[split]
    for speaker in sorted({take.speaker for take in takes}):
        own = [take for take in takes if take.speaker == speaker]
        order = random.permutation(len(own))
        for first in range(0, len(own), JOINED):
            yield join([own[i] for i in order[first : first + JOINED]], recognizer.normalizer, random)


def known_text(recognizer: Recognizer, recording: Joined) -> list[tuple[Word, Word]]:
    """Each word beside the same word with the times of the alignment."""
    log_probs, frames = recognizer.log_probs([recording.samples])
    rows = recognizer.of_tokens(log_probs[0, : frames[0]])
    ids = recognizer.alphabet.encode(" ".join(word.text for word in recording.words))
    found = group_words(recognizer.alphabet, ids)
    aligned = words(found, ids, token_spans(rows, ids), rows, recognizer.frame_seconds)
    return list(zip(recording.words, aligned, strict=True))


def recognized(recognizer: Recognizer, recording: Joined) -> list[tuple[Word, Word]]:
    """Each word that is recognized rightly beside what was recognized."""
    found = recognizer.transcribe(recording.samples).words
    if not found:
        return []
    alignment = jiwer.process_words(*(" ".join(word.text for word in each) for each in (recording.words, found)))
    pairs = []
    for chunk in alignment.alignments[0]:
        if chunk.type == "equal":
            said = recording.words[chunk.ref_start_idx : chunk.ref_end_idx]
            pairs += zip(said, found[chunk.hyp_start_idx : chunk.hyp_end_idx], strict=True)
    return pairs


def describe(title: str, pairs: Sequence[tuple[Word, Word]]) -> str:
    """Median and 90th percentile of the errors, and their median with its sign, in milliseconds."""
    if not pairs:
        return f"{title}: no word"
    lines = [f"{title}: {len(pairs)} words"]
    for edge in ("start", "end"):
        errors = 1000 * np.array([getattr(found, edge) - getattr(said, edge) for said, found in pairs])
        middle, most = np.percentile(np.abs(errors), [50, 90])
        lines.append(
            f"  {edge:5}  median error {middle:3.0f} ms, 90% within {most:3.0f} ms, offset {-np.median(errors):+.0f} ms"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures."""
    arguments = argparse.ArgumentParser(description="Errors of words' times on joined digits.")
    command.add_model(arguments)
    arguments.add_argument("--takes", choices=("test", "dev"), default="test", help="0-4 or 5-9 (default: test)")
    options = arguments.parse_args(argv)
    recognizer = command.load_model(options)
    for title, pairs in measure(recognizer, options.takes).items():
        print(describe(title, pairs))
    return 0


def measure(recognizer: Recognizer, takes: str = "test") -> dict[str, list[tuple[Word, Word]]]:
    """Words as they were said beside words as they were found: of the known text, and of what is recognized rightly."""
    joined = list(recordings(takes, recognizer, corpora_folder()))
    return {
        "known text": [pair for each in joined for pair in known_text(recognizer, each)],
        "recognized, right": [pair for each in joined for pair in recognized(recognizer, each)],
    }


def median_errors(pairs: Sequence[tuple[Word, Word]]) -> dict[str, float]:
    """Of starts and ends, in milliseconds."""
    return {
        edge: 1000 * float(np.median([abs(getattr(found, edge) - getattr(said, edge)) for said, found in pairs]))
        for edge in ("start", "end")
    }


if __name__ == "__main__":
    sys.exit(command.run(main))
