"""Pocketsphinx and a model of this project on the same recordings: `python scripts/compare_pocketsphinx.py`.

By default these are LibriSpeech's dev-clean, AN4's test part, and the dev parts of Common Voice and speechocean762,
the latter by manifest.jsonl in their folders under $ASR_CORPORA; a recipe's run leaves manifests of its parts, which
--manifests takes. Pocketsphinx runs as it comes (`pip install '.[peers]'`, or --install): its own en-us model,
dictionary and language model, an utterance at a time, so that it normalises by the mean of the whole utterance (its
`cmn batch`). Ours gets an utterance at a time, too. Both texts and the reference go through our model's normaliser.

Systems take turns, utterance by utterance. Times are of the processor, over all threads: about what one core to itself
takes, though what else runs on the machine slows both. They begin with the samples in memory and the model loaded, and
end with the text.

Pocketsphinx is slow. With --keep FILE its texts and times are kept there, by the samples that they are of, and not made
again. Kept times are of another hour than ours: to compare speed, leave --keep out and take a part (--limit 40).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # recipes are not in the installed package

import numpy as np
import torch

from asr import Error, audio, command, corpus, files, load
from asr.audio import SAMPLE_RATE, Samples
from asr.compare import Comparison, compare
from asr.corpus import Utterance
from asr.score import Score, score
from asr.text import Normalizer
from recipes import corpora_folder
from scripts.figures import add_options, dev_clean, evenly, markdown, ratio, status, times, with_interval
from scripts.pocketsphinx_peer import VERSION, Heard, Kept, PocketSphinx, Transcribe, install, timed

OURS, THEIRS = "asr", "pocketsphinx"
POOLED = "pooled"
PARTS = {"an4": "test", "common_voice_v1": "dev", "speechocean762": "dev"}  # corpora with a manifest that has splits
DEFAULT = ("dev-clean", *PARTS)
HEADER = ("", "words", OURS, THEIRS, "WER, times theirs", f"RTF {OURS}", f"RTF {THEIRS}", "times faster")


@dataclass(frozen=True)
class Pair:
    """An utterance, its length in seconds, and what both systems made of it; nothing where it cannot be read."""

    utterance: Utterance
    duration: float
    ours: Heard
    theirs: Heard


@dataclass(frozen=True)
class System:
    """A system's score and its real-time factor on one core (None without audio)."""

    score: Score
    rtf: float | None


@dataclass(frozen=True)
class Row:
    """Both systems on one corpus, and which is better.

    Args:
        seconds: of audio.
    """

    corpus: str
    seconds: float
    ours: System
    theirs: System
    comparison: Comparison

    @property
    def wer_ratio(self) -> float | None:
        """Our WER as a multiple of theirs."""
        return ratio(self.ours.score.wer, self.theirs.score.wer)

    @property
    def speed_ratio(self) -> float | None:
        """How many times faster ours is."""
        return ratio(self.theirs.rtf, self.ours.rtf) if self.ours.rtf and self.theirs.rtf else None

    def cells(self) -> tuple[str, ...]:
        """A line of the table."""
        systems = (self.ours, self.theirs)
        return (
            self.corpus,
            f"{self.ours.score.words.reference:,}",
            *(with_interval(system.score) for system in systems),
            times(self.wer_ratio),
            *("-" if system.rtf is None else f"{system.rtf:.4f}" for system in systems),
            times(self.speed_ratio),
        )

    def to_dict(self) -> dict[str, object]:
        """What JSON can hold; rates are fractions."""
        return {
            "corpus": self.corpus,
            "audio_seconds": self.seconds,
            OURS: {**self.ours.score.to_dict(), "rtf": self.ours.rtf},
            THEIRS: {**self.theirs.score.to_dict(), "rtf": self.theirs.rtf},
            "wer_ratio": self.wer_ratio,
            "speed_ratio": self.speed_ratio,
            "comparison": self.comparison.to_dict(),
        }


def describe(rows: Sequence[Row]) -> str:
    """A table in Markdown, and a line on each comparison."""
    lines = [f"{row.corpus}: {row.comparison.describe()}" for row in rows]
    return "\n".join([markdown(HEADER, [row.cells() for row in rows]), "", *lines])


def listen(
    utterances: Sequence[Utterance], ours: Transcribe, theirs: Transcribe, kept: Kept, failures: dict[str, str]
) -> list[Pair]:
    """Both systems on each utterance, in turns; those that cannot be read are added to the failures."""
    pairs = []
    for utterance in utterances:
        try:
            samples = audio.load(utterance.audio, utterance.offset, utterance.duration)
        except (Error, OSError) as error:
            failures[utterance.id] = str(error)
            pairs.append(Pair(utterance, 0.0, Heard("", 0.0), Heard("", 0.0)))
            continue
        found = timed(ours, samples), kept.get(samples, theirs)
        pairs.append(Pair(utterance, len(samples) / SAMPLE_RATE, *found))
    return pairs


def row(name: str, pairs: Sequence[Pair], normalizer: Normalizer) -> Row:
    """The scores, times and comparison of what was heard."""
    references = [normalizer(pair.utterance.text) for pair in pairs]
    speakers = [pair.utterance.speaker for pair in pairs]
    seconds = sum(pair.duration for pair in pairs)
    sides = [[pair.ours for pair in pairs], [pair.theirs for pair in pairs]]
    texts = [[normalizer(heard.text) for heard in side] for side in sides]
    systems = [
        System(score(references, found, speakers), ratio(sum(heard.seconds for heard in side), seconds))
        for found, side in zip(texts, sides, strict=True)
    ]
    return Row(name, seconds, *systems, compare(references, *texts, speakers, (OURS, THEIRS)))


def pooled(corpora: Mapping[str, Sequence[Pair]]) -> list[Pair]:
    """All pairs; speakers of different corpora are different, whatever they are called."""
    return [
        replace(
            pair,
            utterance=replace(pair.utterance, speaker=pair.utterance.speaker and f"{name}/{pair.utterance.speaker}"),
        )
        for name, pairs in corpora.items()
        for pair in pairs
    ]


def read(without: Sequence[str]) -> dict[str, list[Utterance]]:
    """The corpora that are compared by default, but for those named."""
    found = {} if "dev-clean" in without else {"dev-clean": dev_clean()}
    for name, split in PARTS.items():
        if name not in without:
            try:
                found[name] = corpus.read(corpora_folder() / name / "manifest.jsonl", split)
            except corpus.CorpusError as error:
                raise Error(f"{error}\nLeave it out (--without {name}), or name manifests (--manifests)") from None
    return found


def read_own(manifests: Sequence[Path]) -> dict[str, list[Utterance]]:
    """Manifests by their names, or their folders' where they are called manifest."""
    names = [path.resolve().parent.name if path.stem == "manifest" else path.stem for path in manifests]
    if len(set(names)) < len(names):
        raise command.UsageError(f"--manifests: expected different names; found {', '.join(names)}")
    return {name: corpus.read(path) for name, path in zip(names, manifests, strict=True)}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/compare_pocketsphinx.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(arguments)
    arguments.add_argument(
        "--manifests", type=Path, nargs="+", metavar="FILE", help="what to transcribe in their place"
    )
    arguments.add_argument(
        "--without", nargs="+", choices=DEFAULT, default=[], metavar="NAME", help=f"leave out: {', '.join(DEFAULT)}"
    )
    arguments.add_argument("--keep", type=Path, metavar="FILE", help="keep there what pocketsphinx recognizes (.jsonl)")
    arguments.add_argument("--install", action="store_true", help=f"install pocketsphinx {VERSION} by pip first")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Status 1 if an utterance could not be read; it is scored all the same."""
    options = parser().parse_args(argv)
    if options.manifests and options.without:
        raise command.UsageError(
            "--without leaves out corpora that are compared by default; leave it out, or --manifests"
        )
    if options.keep:
        files.check_writable(options.keep)
    if options.install:
        install()
    theirs = PocketSphinx()
    corpora = read_own(options.manifests) if options.manifests else read(options.without)
    torch.set_num_threads(1)
    recognizer = load(options.model, beam_size=options.beam_size, threads=1)

    def ours(samples: Samples) -> str:
        return recognizer.transcribe(samples).text

    kept = Kept(options.keep, f"pocketsphinx {theirs.version}")
    ours(np.random.default_rng(0).normal(0, 0.01, SAMPLE_RATE).astype(np.float32))  # what comes first takes longer
    heard: dict[str, list[Pair]] = {}
    failures: dict[str, str] = {}
    rows: list[Row] = []
    try:
        for name, utterances in corpora.items():
            heard[name] = listen(evenly(utterances, options.limit), ours, theirs.transcribe, kept, failures)
            rows.append(row(name, heard[name], recognizer.normalizer))
            print(f"{name}: {rows[-1].comparison.describe()}", file=sys.stderr, flush=True)
    finally:
        kept.save()
    if len(heard) > 1:
        rows.append(row(POOLED, pooled(heard), recognizer.normalizer))
    found = {THEIRS: theirs.version, "rows": [each.to_dict() for each in rows]}
    print(json.dumps(found) if options.json else describe(rows))
    return status(failures)


if __name__ == "__main__":
    sys.exit(command.run(main))
