"""speech_commands: single English words, recorded by thousands of people at home (Speech Commands v0.02).

105,829 recordings of a second or less, 2,618 speakers, 16 kHz: about 29 hours. CC BY 4.0. Home: Warden 2018
(https://arxiv.org/abs/1804.03209); 2,428,923,189 bytes, and 112,563,277 of the test set of 12 words. Splits are the
official ones, by speaker: validation_list.txt chooses, testing_list.txt gives the figure, the rest is trained on.

`--set words=35` (the default) tells all words apart. `--set words=12` is the benchmark of ten commands: every other
word is UNKNOWN, background noise is SILENCE, and the figure is that of its own official test set. There train and dev
keep a stable 1/16 of the other words, so that UNKNOWN is about as frequent as a command, and cut the noises into
seconds (running_tap.wav is dev's, as in TensorFlow Datasets). The model writes the letters of one word, as those of
other recipes do, so the accuracy that is published for classifiers is 1 - WER: SpeechBrain's x-vectors have 97.43% for
35 words, 98.14% for 12.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from asr import audio
from asr.command import UsageError
from asr.corpus import CorpusError, Utterance, audio_files, stable_fraction
from recipes import AGAIN, Recipe
from recipes.archive import Archive, ensure

PLACE = "https://storage.googleapis.com/download.tensorflow.org/data"  # torchaudio, datasets/speechcommands.py
ARCHIVE = Archive(
    urls=(f"{PLACE}/speech_commands_v0.02.tar.gz",),
    folder="speech_commands/v0.02",
    inside=".",
    # TensorFlow Datasets, url_checksums/speech_commands.txt, which also states the sizes
    checksum="sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
)
TEST_12 = Archive(
    urls=(f"{PLACE}/speech_commands_test_set_v0.02.tar.gz",),
    folder="speech_commands/test_set_v0.02",
    inside=".",
    checksum="sha256:cc2a00c1147c2254e9be3fa0f779d8c17421dc349b86366567a8edfa9acd51df",  # the same list
)
COMMANDS = frozenset(("YES", "NO", "UP", "DOWN", "LEFT", "RIGHT", "ON", "OFF", "STOP", "GO"))
NOISE, DEV_NOISE = "_background_noise_", "running_tap"
OTHERS = 1 / 16  # of 54,000 training recordings of 25 words; each command has 3,100


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The official splits, of 35 words or of 12 classes."""
    if options["words"] not in ("12", "35"):
        raise UsageError(f"words={options['words']}: expected 12 or 35")
    folder = ensure(ARCHIVE, corpora)
    splits = _official(folder)
    if options["words"] == "35":
        return splits
    splits = {name: _classes(part) for name, part in splits.items()}
    splits["train"] += _silence(folder, "train")
    splits["dev"] += _silence(folder, "dev")
    return {**splits, "test": [_utterance(*each, "test") for each in _recordings(ensure(TEST_12, corpora))]}


def _official(folder: Path) -> dict[str, list[Utterance]]:
    listed = {}
    for split, name in (("dev", "validation_list.txt"), ("test", "testing_list.txt")):
        lines = (folder / name).read_text(encoding="ascii").split()
        listed.update(dict.fromkeys((line.removesuffix(".wav") for line in lines), split))
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for name, path in _recordings(folder):
        if path.parent.name != NOISE:
            split = listed.pop(name, "train")
            splits[split].append(_utterance(name, path, split))
    if listed:
        raise CorpusError(f"{folder}: {len(listed)} recordings of its lists are missing, as {min(listed)}. {AGAIN}")
    return splits


def _recordings(folder: Path) -> Iterator[tuple[str, Path]]:
    """(name, path), such as "yes/0132a06d_nohash_1", whatever the extension; of x.flac and x.wav the first."""
    found: dict[str, Path] = {}
    for path in audio_files(folder):
        found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), path)
    yield from found.items()


def _utterance(name: str, path: Path, split: str) -> Utterance:
    """One word, which is its folder's name; the speaker is the hash before `_nohash_`."""
    speaker = re.search("([0-9a-f]+)_nohash_", path.stem)
    text = {"_unknown_": "UNKNOWN", "_silence_": "SILENCE"}.get(path.parent.name, path.parent.name.upper())
    return Utterance(name, path, text, speaker=speaker and speaker[1], split=split)


def _classes(part: list[Utterance]) -> list[Utterance]:
    """The commands, and a share of all else as UNKNOWN."""
    kept = [each for each in part if each.text in COMMANDS or stable_fraction(each.id) < OTHERS]
    return [each if each.text in COMMANDS else replace(each, text="UNKNOWN") for each in kept]


def _silence(folder: Path, split: str) -> list[Utterance]:
    """The noises' seconds, each half a second after the one before."""
    found = []
    for _, path in _recordings(folder / NOISE):
        if (path.stem == DEV_NOISE) == (split == "dev"):
            for i in range(int(2 * audio.duration(path)) - 1):
                found.append(Utterance(f"{NOISE}/{path.stem}#{i}", path, "SILENCE", 1.0, split=split, offset=i / 2))
    return found


recipe = Recipe(
    name="speech_commands",
    read=read,
    settings={
        "statistics": "utterance",  # over a second a band's mean is the vowel, see digits
        "dropout": 0.2,
        "average": 0.02,
        "frequency_width": 16,
        "batch_seconds": 120.0,
        "learning_rate": 2e-3,
        "minutes": 90.0,
    },
    test="test",
    licence="CC BY 4.0",
    description="single English words by thousands of people (Speech Commands v0.02), 35 or 12 classes",
    hours="29",
    options={"words": "35"},
)
