"""an4: people spell names and say addresses, dates and numbers; 101 words in all.

0.8 hours, 84 speakers, 16 kHz: 948 training utterances of 74 speakers, 130 test utterances (773 words) of 10
others. Home: http://www.speech.cs.cmu.edu/databases/an4/ (Carnegie Mellon University; a BSD-like licence).
Published: deepspeech.pytorch's 5x800 BiGRU 10.52% WER, greedy; Kaldi 5.95%, with a lexicon and a language
model.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asr.corpus import Utterance
from recipes import Recipe, from_manifest, speaker_of, split_by, utterances
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    urls=(
        # The home is often down (NVIDIA-NeMo/Speech issues 4188 and 14136), so it comes last.
        "https://dldata-public.s3.us-east-2.amazonaws.com/an4_sphere.tar.gz",  # NeMo's documentation
        "https://huggingface.co/datasets/espnet/an4/resolve/main/an4_sphere.tar.gz",  # espnet, pull 4427
        "http://www.speech.cs.cmu.edu/databases/an4/an4_sphere.tar.gz",
    ),
    folder="an4",
    inside="an4",
    # stated for the first URL as AN4_SHA256 in A. Salikov's public example of NeMo's Conformer on AN4
    checksum="sha256:a0525579493735d32b60fb6fa5975dd0eaacde087b0a4eeb7f13b7ef33077b12",
)
DEV_SPEAKERS = 8 / 74  # share of the training speakers, by a stable hash: the test part chooses nothing


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The official test part, and the official training part split by speaker into train (66) and dev (8)."""
    train, test = _official(corpora)
    return {**split_by(train, speaker_of, dev=DEV_SPEAKERS, test=0), "test": test}


def everything(corpora: Path) -> list[Utterance]:
    """All utterances, of a copy with a manifest or of the archive."""
    return from_manifest(corpora / "an4") or [each for part in _official(corpora) for each in part]


def _official(corpora: Path) -> tuple[list[Utterance], list[Utterance]]:
    """The official training and test parts."""
    folder = ensure(ARCHIVE, corpora)
    return _part(folder, "train"), _part(folder, "test")


def _part(folder: Path, split: str) -> list[Utterance]:
    """An official part, from lines such as `<s> YES </s> (an251-fash-b)`; the test part's have no <s>."""
    rows = []
    for line in (folder / "etc" / f"an4_{split}.transcription").read_text(encoding="ascii").splitlines():
        text, _, name = line.strip().removesuffix(")").rpartition("(")
        words = [word for word in text.split() if word not in ("<s>", "</s>")]
        rows.append((name, " ".join(words), name.split("-")[1]))
    return utterances(folder / "wav", split, rows)


recipe = Recipe(
    name="an4",
    read=read,
    settings={"dropout": 0.2, "frequency_width": 12, "time_masks": 0.5, "batch_seconds": 20.0, "epochs": 40.0},
    test="test",
    licence="CMU, BSD-like",
    description="spelled names, addresses, dates and numbers",
    hours="0.8",
)
