"""common_voice: sentences read by volunteers at their own microphones, in more than a hundred languages.

48 kHz MP3, cased and punctuated, CC0; from under an hour to thousands, by language and release. Home:
https://commonvoice.mozilla.org/en/datasets, whose archives lie at https://mozilladatacollective.com/ and need an
account there: this recipe cannot download them, and says which one to fetch and where to put it. `--set language=cy` is
Welsh; the default is English. Splits are the official ones, by speaker: train.tsv, dev.tsv (chooses), test.tsv. Of a
small language dev.tsv may be empty: then nothing is chosen. Published: nothing that holds for every release.

Where English's archive is not there, a folder common_voice_v1 with a manifest.jsonl is taken: a part of the first
release, without speakers, whose split is by sentence. It has no test part: of the sentences of its dev part one half
chooses and the other gives the figure, by a stable hash. Its speakers may be in train, too: the figure flatters.

`english` takes that release as it was published, too: https://www.kaggle.com/datasets/mozillaorg/common-voice has it,
with an account; its home gives it no more (tensor2tensor, issue 1792). Its parts are tables such as cv-valid-dev.csv
(4076 clips), each beside a folder of that name with the clips, such as sample-000000.mp3: lower case, no speakers.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from asr.command import UsageError
from asr.corpus import CorpusError, Utterance
from recipes import Recipe, audio_by_stem, from_manifest, halves, utterances
from recipes.archive import unpack_once

COLUMNS = ("client_id", "path", "sentence")
FIRST_PART, FIRST_COLUMNS = "cv-valid-dev", ("filename", "text")  # of the first release


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
    unpack_once(file, ".", folder)
    return _official(folder, language, f"delete {folder}, put the archive of another release at {file}")


def _official(folder: Path, language: str, remedy: str) -> dict[str, list[Utterance]]:
    """The official parts; a release lies in folders named for it, such as cv-corpus-17.0-2024-03-15/cy.

    Args:
        remedy: what to do where one cannot be used.
    """
    tables, rows = sorted(folder.rglob("*.tsv")), {}
    for split in ("train", "dev", "test"):
        found = [table for table in tables if table.name == f"{split}.tsv"]
        if len(found) != 1:
            raise CorpusError(
                f"{folder}: expected one {split}.tsv below it, found {len(found)}; {remedy}, and run this again"
            )
        rows[split] = list(_rows(found[0]))
        if not rows[split] and split != "dev":
            raise CorpusError(
                f"{found[0]}: the part '{split}' of the language '{language}' is empty, and only dev may be;"
                f" choose another language (--set language=...), or {remedy}, and run this again"
            )
    clips = found[0].parent / "clips"
    audio = audio_by_stem(clips)
    return {split: utterances(clips, split, part, audio=audio) if part else [] for split, part in rows.items()}


def _rows(path: Path) -> Iterator[tuple[str, str, str]]:
    """(id, text, speaker) of each line; quotation marks are ordinary characters."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        if not set(COLUMNS) <= set(table.fieldnames or ()):
            raise CorpusError(f"{path}: expected the columns {', '.join(COLUMNS)}; found {table.fieldnames}")
        for row in table:
            yield Path(row["path"]).stem, row["sentence"], row["client_id"]


def first_release(corpora: Path) -> list[Utterance]:
    """The part cv-valid-dev of English's first release: of a copy with a manifest, or as it was published.

    Raises:
        CorpusError: it is not there, with what to fetch and where to put it; or it is something else.
    """
    folder = corpora / "common_voice_v1"
    if copy := from_manifest(folder):
        return copy
    if not folder.is_dir():
        places = [corpora / "archives" / f"common_voice_v1{suffix}" for suffix in (".zip", ".tar.gz")]
        if not (put := [place for place in places if place.is_file()]):
            raise CorpusError(
                "the first release of Common Voice needs an account. Sign in at"
                " https://www.kaggle.com/datasets/mozillaorg/common-voice, download it (12 GB) and put it at"
                f" {places[0]}, or cv_corpus_v1.tar.gz, as its home called it, at {places[1]}; of what is in it"
                f" {FIRST_PART}.csv and the folder {FIRST_PART} in {folder} are enough. Run this again, or do without:"
                " --set without=common_voice_v1."
            )
        unpack_once(put[0], ".", folder)
    found = [path for path in sorted(folder.rglob(f"{FIRST_PART}.csv")) if path.with_suffix("").is_dir()]
    if len(found) != 1:
        raise CorpusError(
            f"{folder}: expected one {FIRST_PART}.csv beside a folder {FIRST_PART} below it, found {len(found)}"
        )
    if not (rows := list(_first_rows(found[0]))):
        raise CorpusError(
            f"{found[0]}: expected lines of text; found none. Fetch the release again, and delete {folder}."
        )
    return utterances(found[0].with_suffix(""), FIRST_PART, rows)


def _first_rows(path: Path) -> Iterator[tuple[str, str, None]]:
    """(id, text, no speaker) from lines such as `cv-valid-dev/sample-000000.mp3,be careful with your...,1,0,,,,`."""
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if not set(FIRST_COLUMNS) <= set(table.fieldnames or ()):
            raise CorpusError(f"{path}: expected the columns {', '.join(FIRST_COLUMNS)}; found {table.fieldnames}")
        for row in table:
            yield Path(row["filename"]).stem, row["text"], None


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
