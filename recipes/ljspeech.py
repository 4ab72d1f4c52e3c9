"""ljspeech: one woman reads non-fiction, very clearly: how good a recognizer of a single voice becomes.

23.9 hours, 13,100 clips of 1 to 10 seconds out of seven books, one speaker (Linda Johnson for LibriVox), 22.05 kHz;
cased and punctuated, numbers spelled out in the third column of its metadata.csv, which is taken. Public domain. Home:
https://keithito.com/LJ-Speech-Dataset/, 2,748,572,632 bytes. There are no official splits, and speakers cannot be kept
apart where there is one: by a stable hash a twentieth of the 50 chapters (LJ001 to LJ050) choose, a twentieth give the
figure. A copy of fewer than three chapters is split by tens of clips on end instead. Published: Keras's example of
a BiGRU with CTC 16 to 17% WER, on clips out of chapters that it was trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from asr.corpus import CorpusError, Utterance
from recipes import AGAIN, Recipe, from_manifest, split_by, utterances
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    urls=("https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",),  # torchaudio and TensorFlow Datasets
    folder="ljspeech",
    inside="LJSpeech-1.1",
    # torchaudio, src/torchaudio/datasets/ljspeech.py; TensorFlow Datasets, which also states the size
    checksum="sha256:be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
)
CHAPTER, TEN = len("LJ001"), len("LJ001-004")  # of a clip's name, such as LJ001-0042


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """Splits by chapter."""
    clips = everything(corpora)
    chapters = {clip.audio.stem[:CHAPTER] for clip in clips}
    length = CHAPTER if len(chapters) > 2 else TEN
    return split_by(clips, lambda clip: clip.audio.stem[:length], dev=0.05, test=0.05)


def everything(corpora: Path) -> list[Utterance]:
    """All clips, of a copy with a manifest or of the archive."""
    if copy := from_manifest(corpora / "ljspeech"):
        return copy
    folder = ensure(ARCHIVE, corpora)
    return utterances(folder / "wavs", "all", _rows(folder / "metadata.csv"))


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """(id, text, speaker) from lines such as `LJ001-0042|Transcription, 1455|Transcription, fourteen fifty-five`."""
    with path.open(encoding="utf-8", newline="") as file:
        for number, cells in enumerate(csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE), 1):
            if len(cells) != 3:
                raise CorpusError(f"{path} line {number}: expected 3 columns, found {len(cells)}. {AGAIN}")
            yield cells[0], cells[2], "LJ"


recipe = Recipe(
    name="ljspeech",
    read=read,
    settings={
        "hidden": 320,
        "average": 0.02,
        "time_masks": 0.5,
        "vtlp": 0.0,  # one voice
        "low_pass": 0.0,  # one microphone
        "lexicon": "cmudict",
        "batch_seconds": 120.0,
        "learning_rate": 2e-3,
        "minutes": 180.0,
    },
    test="test",
    licence="public domain",
    description="one woman reading non-fiction (LJ Speech)",
    hours="23.9",
)
