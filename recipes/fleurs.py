"""fleurs: the same 2009 sentences read in 102 languages, about ten hours of training speech each.

16 kHz, several speakers whose names are not published; the column of normalised text is taken, lower case without
punctuation; CC BY 4.0. `--set language=cy_gb` is Welsh, and so on; the default is en_us. Home:
https://huggingface.co/datasets/google/fleurs (Conneau et al. 2022). The archive of a language, of about 2 GB, is that
which TensorFlow Datasets takes (xtreme_s), and holds the files of the home: LANGUAGE/train.tsv, dev.tsv and test.tsv,
and the recordings below LANGUAGE/audio. Splits are the official ones, by sentence, and the speakers of train are in no
other: dev chooses, test gives the figure. Published: character error rates of large pre-trained models only.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from asr.command import UsageError
from asr.corpus import CorpusError, Utterance
from recipes import AGAIN, Recipe, utterances
from recipes.archive import Archive, ensure

# TensorFlow Datasets, audio/xtreme_s/xtreme_s.py; its checksums are those of an older release, so there are none here
PLACE = "https://storage.googleapis.com/xtreme_translations/FLEURS102"
COLUMNS = 7  # sentence, file, text as written, text normalised, its characters, samples, gender


def archive(language: str) -> Archive:
    """The archive of a language, such as "cy_gb".

    Raises:
        UsageError: not the form of such a code.
    """
    if not re.fullmatch("[a-z]+(_[a-z0-9]+)+", language):
        raise UsageError(f"language={language}: expected a code of FLEURS's, such as cy_gb or es_419")
    return Archive(urls=(f"{PLACE}/{language}.tar.gz",), folder=f"fleurs/{language}", inside=language)


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The official splits of a language."""
    folder = ensure(archive(options["language"]), corpora)
    return {split: utterances(folder, split, _rows(folder / f"{split}.tsv")) for split in ("train", "dev", "test")}


def _rows(path: Path) -> Iterator[tuple[str, str, None]]:
    """(id, normalised text, no speaker) of each line; quotation marks are ordinary characters."""
    with path.open(encoding="utf-8", newline="") as file:
        for number, cells in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if len(cells) != COLUMNS:
                raise CorpusError(f"{path} line {number}: expected {COLUMNS} columns, found {len(cells)}. {AGAIN}")
            yield Path(cells[1]).stem, cells[3], None


recipe = Recipe(
    name="fleurs",
    read=read,
    settings={
        "dropout": 0.2,
        "average": 0.02,
        "time_masks": 0.5,
        "batch_seconds": 120.0,
        "learning_rate": 2e-3,
        "minutes": 90.0,
    },
    test="test",
    licence="CC BY 4.0",
    description="2009 sentences in any of 102 languages (FLEURS)",
    hours="about 12 a language",
    options={"language": "en_us"},
)
