"""yesno: one man says "yes" and "no" in Hebrew; the smallest test that a recognizer learns anything at all.

0.1 hours, 60 recordings of 8 words, 1 speaker, 8 kHz. Home: https://www.openslr.org/1/, which offers it
freely. A recording's name is its text: 1 is yes, 0 is no. Kaldi trains on the first half of the sorted list
and tests on the second: 30 recordings, 240 words. Published: Kaldi (monophones) 0% WER, icefall (TDNN, CTC)
0.42%, 1 word.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr import audio
from asr.corpus import Utterance
from asr.training.cache import caches_folder
from recipes import Recipe, recordings
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    urls=("https://www.openslr.org/resources/1/waves_yesno.tar.gz",),
    folder="yesno/waves_yesno",
    inside="waves_yesno",
    # stated by torchaudio, src/torchaudio/datasets/yesno.py
    checksum="sha256:c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73",
)
BESIDE_WORD = audio.SAMPLE_RATE // 20  # samples: a word's first and last sounds may be soft


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The two halves of the sorted list; no dev, since training takes a fixed number of steps.

    Sorted, every recording of the first half begins with NO and every one of the second with YES. So that no model
    learns that the first word is NO, training also has each recording with its words in turned order.
    """
    paths = [path for _, path in recordings(ensure(ARCHIVE, corpora), "[01](_[01])*")]
    half = len(paths) // 2
    train = [_utterance(path, "train") for path in paths[:half]]
    turned = [utterance for path in paths[:half] for utterance in _turned(path, caches_folder() / "yesno")]
    return {"train": train + turned, "dev": [], "test": [_utterance(path, "test") for path in paths[half:]]}


def _utterance(path: Path, split: str) -> Utterance:
    return Utterance(path.stem, path, _text(path.stem), speaker="one", split=split)


def _turned(path: Path, folder: Path) -> list[Utterance]:
    """The recording with its words in turned order: from the second word on and then the first, from the third on...

    The silence before and after the words stays in its place. Nothing where the recording cannot be read, or its
    pauses do not show as many words as its name.
    """
    import librosa

    try:
        samples, digits = audio.load(path), path.stem.split("_")
    except audio.AudioError:
        return []  # the check before training reports the recording itself
    words = librosa.effects.split(samples, top_db=20, hop_length=256)  # [start, end) of each
    if len(words) != len(digits):
        return []
    pauses = (words[:-1, 1] + words[1:, 0]) // 2
    first, last = max(0, words[0, 0] - BESIDE_WORD), words[-1, 1] + BESIDE_WORD
    opening, *pieces, closing = np.split(samples, [first, *pauses, last])
    utterances = []
    for i in range(1, len(pieces)):
        file = folder / f"{path.stem}-from-{i}.flac"
        _write(file, np.concatenate([opening, *pieces[i:], *pieces[:i], closing]))
        text = _text("_".join(digits[i:] + digits[:i]))
        utterances.append(Utterance(file.stem, file, text, speaker="one", split="train"))
    return utterances


def _write(file: Path, samples: NDArray[np.float32]) -> None:
    """Beside, then renamed; a file that is there stays, so that its time of change tells the audio cache the same."""
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{os.getpid()}-{file.name}")
        soundfile.write(beside, samples, audio.SAMPLE_RATE, format="FLAC")
        beside.replace(file)


def _text(name: str) -> str:
    """NO NO YES from 0_0_1."""
    return " ".join("YES" if digit == "1" else "NO" for digit in name.split("_"))


recipe = Recipe(
    name="yesno",
    read=read,
    # Chosen within the training half: trained on 20 of its recordings, scored on the others' turned ones.
    settings={
        "subsampling": 8,
        "hidden": 128,
        "layers": 1,
        "channels": 96,
        "dropout": 0.2,
        "weight_decay": 1.0,
        "frequency_width": 20,
        "time_masks": 0.0,
        "speed": 0.0,
        "batch_seconds": 50.0,
        "learning_rate": 3e-3,
        "clip": 1.0,
        "steps": 400,
        "evaluations": 1,
    },
    test="test",
    licence="free to use (OpenSLR 1)",
    description="one man saying yes and no in Hebrew, 8 words a recording",
)
