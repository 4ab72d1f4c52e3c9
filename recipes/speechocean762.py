"""speechocean762: short English prompts read by Mandarin speakers, half of them children.

5.6 hours, 5000 prompts, 250 speakers, 16 kHz; upper case, no punctuation. Made for pronunciation assessment: the text
is the prompt, and a few are misread. Home: https://www.openslr.org/101/, CC BY 4.0, 520,810,923 bytes. The official
parts are 2500 prompts of 125 speakers each. Of the training part's speakers a tenth, by a stable hash of their names,
choose; the test part only gives the figure. Published: nothing for recognition.

A copy with a manifest.jsonl of the training part alone is split as it says (12 speakers dev), and half of its dev
speakers, by a stable hash, give the figure.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asr.corpus import CorpusError, Utterance
from recipes import AGAIN, Recipe, from_manifest, halves, speaker_of, split_by, utterances
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    # OpenSLR's address is the one in most public users of it; its size is stated by Kaldi,
    # egs/gop_speechocean762/s5/local/download_and_untar.sh; no source states a checksum
    urls=("https://www.openslr.org/resources/101/speechocean762.tar.gz",),
    folder="speechocean762",
    inside="speechocean762",
)


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The official parts, with dev speakers from the training part."""
    if copy := from_manifest(corpora / "speechocean762"):
        parts = {name: [each for each in copy if each.split == name] for name in ("train", "dev")}
        return {"train": parts["train"], **halves(parts["dev"], speaker_of)}
    train, test = _official(corpora)
    return {**split_by(train, speaker_of, test=0), "test": test}


def everything(corpora: Path) -> list[Utterance]:
    """All utterances, of a copy with a manifest or of the archive."""
    return from_manifest(corpora / "speechocean762") or [each for part in _official(corpora) for each in part]


def _official(corpora: Path) -> tuple[list[Utterance], list[Utterance]]:
    """The official training and test parts."""
    folder = ensure(ARCHIVE, corpora)
    return _part(folder, "train"), _part(folder, "test")


def _part(folder: Path, split: str) -> list[Utterance]:
    """A part from its Kaldi tables, whose audio lies in the WAVE folder of both."""
    speakers = _table(folder / split / "utt2spk")
    rows = [(name, text, speakers.get(name)) for name, text in _table(folder / split / "text").items()]
    return utterances(folder / "WAVE", split, rows)


def _table(path: Path) -> dict[str, str]:
    """First word -> rest of each line."""
    lines = [line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if bad := [line for line in lines if len(line) != 2]:
        raise CorpusError(f"{path}: nothing after {bad[0][0]!r}. {AGAIN}")
    return {name: rest.strip() for name, rest in lines}


recipe = Recipe(
    name="speechocean762",
    read=read,
    settings={
        "dropout": 0.2,
        "average": 0.02,
        "time_masks": 0.5,
        "lexicon": "cmudict",
        "batch_seconds": 60.0,
        "learning_rate": 2e-3,
        "minutes": 60.0,
    },
    test="test",
    licence="CC BY 4.0",
    description="prompts read by Mandarin speakers, half of them children",
    hours="5.6",
)
