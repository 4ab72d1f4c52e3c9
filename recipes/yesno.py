"""yesno: one man says "yes" and "no" in Hebrew; the smallest test that a recognizer learns anything at all.

0.1 hours, 60 recordings of 8 words, 1 speaker, 8 kHz. Home: https://www.openslr.org/1/, which offers it
freely. A recording's name is its text: 1 is yes, 0 is no. Kaldi trains on the first half of the sorted list
and tests on the second: 30 recordings, 240 words. Published: Kaldi (monophones) 0% WER, icefall (TDNN, CTC)
0.42%, 1 word.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asr.corpus import Utterance
from recipes import Recipe, recordings
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    urls=("https://www.openslr.org/resources/1/waves_yesno.tar.gz",),
    folder="yesno/waves_yesno",
    inside="waves_yesno",
    # stated by torchaudio, src/torchaudio/datasets/yesno.py
    checksum="sha256:c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73",
)


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The two halves of the sorted list; no dev, since training takes a fixed number of steps."""
    paths = [path for _, path in recordings(ensure(ARCHIVE, corpora), "[01](_[01])*")]
    half = len(paths) // 2
    return {"train": _part(paths[:half], "train"), "dev": [], "test": _part(paths[half:], "test")}


def _part(paths: list[Path], split: str) -> list[Utterance]:
    return [Utterance(path.stem, path, _text(path.stem), speaker="one", split=split) for path in paths]


def _text(name: str) -> str:
    """NO NO YES from 0_0_1."""
    return " ".join("YES" if digit == "1" else "NO" for digit in name.split("_"))


recipe = Recipe(
    name="yesno",
    read=read,
    # Every training recording begins with NO, every test recording with YES: a model must not learn which word stands
    # where. Chosen within the training half, trained where word 2 (3, 4) is NO and scored where it is YES, and the
    # other way round: without time masks, which teach to guess a word from its place, and with few, slow words of
    # context at 8x, errors fell from 103 to 8 of 480 words.
    settings={
        "subsampling": 8,
        "hidden": 128,
        "layers": 1,
        "channels": 96,
        "dropout": 0.2,
        "weight_decay": 1.0,
        "frequency_width": 20,
        "time_masks": 0.0,
        "batch_seconds": 25.0,
        "learning_rate": 3e-3,
        "clip": 1.0,
        "steps": 300,
        "evaluations": 1,
    },
    test="test",
    licence="free to use (OpenSLR 1)",
    description="one man saying yes and no in Hebrew, 8 words a recording",
)
