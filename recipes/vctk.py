"""vctk: a hundred English voices of many accents, each reading about 400 sentences, most of them out of a newspaper.

About 44 hours, 110 speakers, 48 kHz, two microphones, of which the first is taken; cased and punctuated. Version 0.92.
Home: https://datashare.ed.ac.uk/handle/10283/3443, 11,747,302,977 bytes, CC BY 4.0 (before 0.92: ODC-By). The corpus
lacks the texts of p315 and some recordings of p362, which are left out. There are no official splits: by a stable hash
a tenth of the speakers choose and a tenth give the figure. All speakers read the rainbow passage, and most newspaper
sentences are read by several; what is read in train is left out of dev and test, and how much that is is said.
Published: nothing for such a split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from asr.corpus import Utterance
from recipes import Recipe, from_manifest, speaker_of, split_by, unheard, utterances
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    # torchaudio, src/torchaudio/datasets/vctk.py; TensorFlow Datasets; the loader at huggingface.co/datasets/vctk
    urls=("https://datashare.is.ed.ac.uk/bitstream/handle/10283/3443/VCTK-Corpus-0.92.zip",),
    folder="vctk",
    inside=".",
    # torchaudio; TensorFlow Datasets, which also states the size
    checksum="sha256:f96258be9fdc2cbff6559541aae7ea4f59df3fcaf5cf963aae5ca647357e359c",
)


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """Splits by speaker; dev and test without the sentences that are read in train, too."""
    return unheard(split_by(everything(corpora), speaker_of))


def everything(corpora: Path) -> list[Utterance]:
    """All utterances, of a copy with a manifest or of the archive, whose recordings are called p225_001_mic1."""
    if copy := from_manifest(corpora / "vctk"):
        return copy
    folder = ensure(ARCHIVE, corpora)
    return utterances(folder / "wav48_silence_trimmed", "all", _rows(folder / "txt"), lacks_some=True)


def _rows(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(id, text, speaker) from files such as p225/p225_001.txt, whose recording is p225_001_mic1.flac."""
    for path in sorted(folder.glob("*/*.txt")):
        yield f"{path.stem}_mic1", path.read_text(encoding="utf-8").strip(), path.parent.name


recipe = Recipe(
    name="vctk",
    read=read,
    settings={
        "hidden": 320,
        "average": 0.02,
        "time_masks": 0.5,
        "vtlp": 0.15,
        "lexicon": "cmudict",
        "batch_seconds": 120.0,
        "learning_rate": 2e-3,
        "minutes": 240.0,
    },
    test="test",
    licence="CC BY 4.0",
    description="110 English voices of many accents (VCTK)",
    hours="44",
)
