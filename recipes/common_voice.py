"""common_voice: sentences read by volunteers at their own microphones, in more than a hundred languages.

48 kHz MP3, cased and punctuated, CC0; from under an hour to thousands, by language and release. Home:
https://commonvoice.mozilla.org/en/datasets, whose archives lie at https://mozilladatacollective.com/ and need an
account there: this recipe cannot download them, and says which one to fetch and where to put it. `--set language=cy` is
Welsh; the default is English. Splits are the official ones, by speaker: train.tsv, dev.tsv (chooses), test.tsv.
Published: nothing that holds for every release.

Where English's archive is not there, a folder common_voice_v1 with a manifest.jsonl is taken: a part of the first
release, without speakers, whose split is by sentence. It has no test part: of the sentences of its dev part one half
chooses and the other gives the figure, by a stable hash. Its speakers may be in train, too: the figure flatters.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from asr.command import UsageError
from asr.corpus import CorpusError, Utterance
from recipes import AGAIN, Recipe, from_manifest, halves, utterances
from recipes.archive import unpack

COLUMNS = ("client_id", "path", "sentence")


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The official splits of a language; of the first release its own."""
    language = options["language"]
    if not re.fullmatch(r"[A-Za-z]+(-[A-Za-z0-9]+)*", language):
        raise UsageError(f"language={language}: expected a code of Common Voice's, such as cy or zh-CN")
    folder = corpora / "common_voice" / language
    file = corpora / "archives" / f"common_voice-{language}.tar.gz"
    if not folder.is_dir() and not file.is_file():
        if language == "en" and (first := from_manifest(corpora / "common_voice_v1")):
            dev = [utterance for utterance in first if utterance.split == "dev"]
            train = [utterance for utterance in first if utterance.split == "train"]
            return {"train": train, **halves(dev, lambda utterance: utterance.text)}
        raise CorpusError(
            "Common Voice's archives need an account. Sign in at https://mozilladatacollective.com/, download the"
            f" latest 'Common Voice Scripted Speech' of the language '{language}' (a .tar.gz that holds clips,"
            f" train.tsv, dev.tsv and test.tsv), put it at {file}, and run this again."
        )
    if not folder.is_dir():
        unpack(file, ".", folder)
    return {split: _part(folder, split) for split in ("train", "dev", "test")}


def _part(folder: Path, split: str) -> list[Utterance]:
    """An official part; a release lies in folders named for it, such as cv-corpus-17.0-2024-03-15/cy."""
    found = sorted(folder.rglob(f"{split}.tsv"))
    if len(found) != 1:
        raise CorpusError(f"{folder}: expected one {split}.tsv below it, found {len(found)}. {AGAIN}")
    return utterances(found[0].parent / "clips", split, _rows(found[0]))


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """(id, text, speaker) of each line; quotation marks are ordinary characters."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not set(COLUMNS) <= set(table.fieldnames or ()):
            raise CorpusError(f"{path}: expected the columns {', '.join(COLUMNS)}; found {table.fieldnames}")
        for row in table:
            yield Path(row["path"]).stem, row["sentence"], row["client_id"]


recipe = Recipe(
    name="common_voice",
    read=read,
    settings={
        "hidden": 320,
        "average": 0.02,
        "time_masks": 0.5,
        "batch_seconds": 120.0,
        "learning_rate": 2e-3,
        "minutes": 120.0,
    },
    test="test",
    licence="CC0",
    description="sentences read by volunteers, in any of a hundred languages (Common Voice)",
    hours="by language",
    options={"language": "en"},
)
