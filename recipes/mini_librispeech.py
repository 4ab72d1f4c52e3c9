"""mini_librispeech: 5 hours of read books, the smallest corpus of running English speech with a history.

Trained on train-clean-5 (5.3 hours, 1519 utterances, 28 speakers, 16 kHz), tested on dev-clean-2, for which
`--set dev=dev-clean` takes LibriSpeech's dev-clean. Upper case, no punctuation. Home:
https://www.openslr.org/31/, a part of LibriSpeech (https://www.openslr.org/12/), CC BY 4.0. Published, with a
lexicon and a language model: Kaldi 18.1% WER (tri3b, tgsmall) to 6.8% (CNN-TDNN, tglarge), Vosk 12.7%; end to
end without them: nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from asr import Error
from asr.corpus import Utterance
from recipes import Recipe, utterances
from recipes.archive import Archive, ensure

CHECKSUMS = {
    # https://www.openslr.org/resources/31/md5sum.txt, as repeated in PaddlePaddle's examples/mini_librispeech
    "31/train-clean-5": "md5:5df7d4e78065366204ca6845bb08f490",
    "31/dev-clean-2": "md5:6d7ab67ac6a1d2c993d050e16d61080d",
    # torchaudio, src/torchaudio/datasets/librispeech.py
    "12/dev-clean": "sha256:76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
}


def archives(checksums: Mapping[str, str]) -> dict[str, Archive]:
    """Name of a part -> its archive, from OpenSLR's number and the name -> checksum."""
    return {
        Path(place).name: Archive(
            urls=(f"https://www.openslr.org/resources/{place}.tar.gz",),
            folder=f"LibriSpeech/{Path(place).name}",
            inside=f"LibriSpeech/{Path(place).name}",
            checksum=checksum,
        )
        for place, checksum in checksums.items()
    }


ARCHIVES = archives(CHECKSUMS)
CHOOSING_SPEAKERS = 10  # of the dev part; figures are given for all its speakers, and for the others alone


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """train-clean-5 as "train", and the three splits that `dev_splits` makes of the part that `dev` names."""
    part = options["dev"]
    if part not in ("dev-clean-2", "dev-clean"):
        raise Error(f"dev={part}: expected dev-clean-2 or dev-clean.")
    train = read_part(ensure(ARCHIVES["train-clean-5"], corpora), "train")
    return {"train": train, **dev_splits(ensure(ARCHIVES[part], corpora))}


def dev_splits(folder: Path) -> dict[str, list[Utterance]]:
    """A part as "dev" (its first 10 speakers, sorted as text), "...-others" (the rest) and its name (all)."""
    return choosing(read_part(folder, folder.name), folder.name)


def choosing(part: Sequence[Utterance], name: str) -> dict[str, list[Utterance]]:
    """The splits of `dev_splits`, of a part that has been read."""
    first = set(sorted({utterance.speaker for utterance in part})[:CHOOSING_SPEAKERS])
    return {
        "dev": [replace(utterance, split="dev") for utterance in part if utterance.speaker in first],
        f"{name}-others": [utterance for utterance in part if utterance.speaker not in first],
        name: list(part),
    }


def read_part(folder: Path, split: str) -> list[Utterance]:
    """A part in LibriSpeech's layout: <speaker>/<chapter>/<speaker>-<chapter>.trans.txt with the audio."""
    return utterances(folder, split, _transcripts(folder))


def _transcripts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(id, text, speaker) from lines such as `84-121123-0000 GO DO YOU HEAR`."""
    for path in sorted(folder.glob("*/*/*.trans.txt")):
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            yield name, text, name.split("-")[0]


recipe = Recipe(
    name="mini_librispeech",
    read=read,
    settings={
        "dropout": 0.2,
        "average": 0.02,
        "time_masks": 0.5,
        "vtlp": 0.15,
        "lexicon": "cmudict",
        "batch_seconds": 120.0,
        "learning_rate": 2e-3,
        "minutes": 90.0,
    },
    test="{dev}",
    licence="CC BY 4.0",
    description="read books, 5 hours",
    hours="5.3",
    options={"dev": "dev-clean-2"},
)
