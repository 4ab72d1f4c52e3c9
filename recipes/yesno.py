"""yesno: one man says "yes" and "no" in Hebrew; the smallest test that a recognizer learns anything at all.

0.1 hours, 60 recordings of 8 words, 1 speaker, 8 kHz. Home: https://www.openslr.org/1/, which offers it
freely. A recording's name is its text: 1 is yes, 0 is no. The first half of the sorted list is trained on, the
second tested on: 30 recordings, 240 words. Published: icefall (TDNN, CTC) 0.42% WER, 1 word of these 240. Kaldi
(monophones) has 0%, of 232 words in 29 recordings: its list also holds two files that are no recordings and are
sorted last, so that it trains on one that is in our test half.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr import audio
from asr.corpus import CorpusError, Utterance
from asr.training.store import caches_folder
from recipes import AGAIN, Recipe, recordings
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    urls=("https://www.openslr.org/resources/1/waves_yesno.tar.gz",),
    folder="yesno/waves_yesno",
    inside="waves_yesno",
    # stated by torchaudio, src/torchaudio/datasets/yesno.py
    checksum="sha256:c3f49e0cca421f96b75b41640749167b52118f232498667ca7a5f9416aef8e73",
)
SEED = 1
COMPOSED = 32  # recordings composed for each one of the training half
LENGTHS = (5, 9)  # words of a composed recording, from and to
PAUSE_DB = (20, 16, 12)  # below the peak: what is a pause; the first that tells the words apart
OCTAVES_DURATION, OCTAVES_PITCH = 0.3, 0.125  # by which a word becomes longer or shorter, higher or lower, at most
NOISE_DB = (-70, -20)  # level of the noise in every second of them, of the peak
SOUND_DB = (-50, -15)  # level of a breath or a click in a silence, of the peak


Word = tuple[str, NDArray[np.float32], int, int]  # name, samples, and how many of them are the pauses around it


@dataclass(frozen=True)
class Pieces:
    """A recording cut up: its words and the silences around them."""

    words: list[Word]
    silences: tuple[NDArray[np.float32], NDArray[np.float32]]


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The two halves of the sorted list; no dev, since training takes a fixed number of steps.

    Sorted, every recording of the first half begins with NO and nearly every one of the second with YES. So that no
    model learns that the first word is NO, training has recordings composed of the first half's words in any order.
    """
    paths = [path for _, path in recordings(ensure(ARCHIVE, corpora), "[01](_[01])*")]
    half = len(paths) // 2
    return {
        "train": _composed(paths[:half], caches_folder() / "yesno"),
        "dev": [],
        "test": [
            Utterance(path.stem, path, _text(path.stem.split("_")), speaker="one", split="test")
            for path in paths[half:]
        ],
    }


def _composed(paths: list[Path], folder: Path) -> list[Utterance]:
    """Recordings made of words and silences drawn from these, written to a folder."""
    generator = np.random.default_rng(SEED)
    found = [pieces for path in paths if (pieces := _cut(path))]
    if not found:
        raise CorpusError(
            f"{paths[0].parent}: expected words between pauses, as many as in a recording's name. {AGAIN}"
        )
    utterances = []
    for i in range(COMPOSED * len(found)):
        names, samples = _compose(found, generator)
        file = _write(folder, samples)
        utterances.append(Utterance(f"composed-{i}", file, _text(names), speaker="one", split="train"))
    return utterances


def _cut(path: Path) -> Pieces | None:
    """None where the recording cannot be read, or has not as many words as its name, as 0_1_0_1_0_0_0_0 of the 30."""
    import librosa

    try:
        samples, names = audio.load(path), path.stem.split("_")
    except audio.AudioError as error:
        print(f"yesno: {path} is left out: {error}", file=sys.stderr)
        return None
    for below_peak in PAUSE_DB:
        words = librosa.effects.split(samples, top_db=below_peak, hop_length=256)  # [start, end) of each
        if len(words) == len(names):
            break
    else:
        print(f"yesno: {path} is left out: {len(words)} words are heard, {len(names)} expected", file=sys.stderr)
        return None
    pauses = (words[:-1, 1] + words[1:, 0]) // 2
    beside, far = audio.SAMPLE_RATE // 20, audio.SAMPLE_RATE // 10  # a word's first and last sounds may be soft
    edges = [max(0, words[0, 0] - beside), *pauses, min(len(samples), words[-1, 1] + beside)]
    opening, *pieces, closing = np.split(samples, edges)
    before, after = words[:, 0] - edges[:-1], edges[1:] - words[:, 1]
    return Pieces(
        list(zip(names, pieces, before.tolist(), after.tolist(), strict=True)), (opening[:-far], closing[far:])
    )


def _compose(found: list[Pieces], generator: np.random.Generator) -> tuple[list[str], NDArray[np.float32]]:
    """Words in any order, with more or less of their pauses, between any two silences; at times in noise."""
    words = [word for pieces in found for word in pieces.words]
    chosen = [words[i] for i in generator.integers(len(words), size=generator.integers(*LENGTHS, endpoint=True))]
    peak = max(np.abs(samples).max() for _, samples, *_ in chosen)
    opening, closing = (_silence(found, peak, generator) for _ in range(2))
    joined = np.concatenate([opening, *(_spoken(word, generator) for word in chosen), closing])
    if generator.random() < 0.5:
        joined = joined + peak * _gain(NOISE_DB, generator) * generator.normal(size=len(joined))
    return [name for name, *_ in chosen], joined.astype(np.float32)


def _spoken(word: Word, generator: np.random.Generator) -> NDArray[np.float32]:
    """A word with a part of its pauses, mostly shorter or longer, higher or lower, as the first of a recording is."""
    import librosa

    _, samples, before, after = word
    first, last = generator.uniform(size=2) * (before, after)
    samples = samples[int(first) : len(samples) - int(last)]
    if generator.random() < 0.3:
        return samples
    pitch = 2 ** generator.uniform(-OCTAVES_PITCH, OCTAVES_PITCH)
    duration = 2 ** generator.uniform(-OCTAVES_DURATION, OCTAVES_DURATION)
    stretched = librosa.effects.time_stretch(samples, rate=1 / (duration * pitch))
    return librosa.resample(stretched, orig_sr=audio.SAMPLE_RATE * pitch, target_sr=audio.SAMPLE_RATE)


def _silence(found: list[Pieces], peak: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """A part of any silence, with up to two sounds in it that are no words, as breaths and clicks are."""
    silences = [silence for pieces in found for silence in pieces.silences]
    silence = silences[generator.integers(len(silences))]
    length = int(len(silence) * generator.uniform(0.2, 1))
    start = generator.integers(len(silence) - length, endpoint=True)
    silence = silence[start : start + length].astype(np.float64)
    for _ in range(generator.integers(3)):
        sound = _sound(generator)[:length]
        start = generator.integers(length - len(sound), endpoint=True)
        silence[start : start + len(sound)] += peak * _gain(SOUND_DB, generator) * sound
    return silence


def _sound(generator: np.random.Generator) -> NDArray[np.float64]:
    """20 to 250 ms of noise about some frequency below 4 kHz, fading in and out, with a peak of 1."""
    length = int(generator.uniform(0.02, 0.25) * audio.SAMPLE_RATE)
    hertz = np.fft.rfftfreq(length, 1 / audio.SAMPLE_RATE)
    centre, width = generator.uniform(0, 4000), generator.uniform(200, 2000)
    band = np.exp(-0.5 * ((hertz - centre) / width) ** 2) * (hertz < 4000)
    sound = np.fft.irfft(band * np.fft.rfft(generator.normal(size=length)), length) * np.hanning(length)
    return sound / np.abs(sound).max()


def _gain(decibels: tuple[int, int], generator: np.random.Generator) -> float:
    return 10 ** (generator.uniform(*decibels) / 20)


def _write(folder: Path, samples: NDArray[np.float32]) -> Path:
    """Under the name of its content, beside, then renamed.

    A file that is there stays, so that its time of change tells the audio cache the same.
    """
    file = folder / f"{hashlib.blake2b(samples.tobytes(), digest_size=16).hexdigest()}.flac"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{os.getpid()}-{file.name}"
        soundfile.write(beside, samples, audio.SAMPLE_RATE, format="FLAC")
        beside.replace(file)
    return file


def _text(names: list[str]) -> str:
    """NO NO YES from 0, 0, 1."""
    return " ".join("YES" if name == "1" else "NO" for name in names)


recipe = Recipe(
    name="yesno",
    read=read,
    # Chosen within the training half: trained on two thirds of its recordings, scored on the others (docs/LOG.md).
    settings={
        "subsampling": 8,
        "hidden": 128,
        "layers": 1,
        "channels": 96,
        "dropout": 0.2,
        "weight_decay": 1.0,
        "frequency_width": 20,
        "time_masks": 1.0,
        "time_width": 15,
        "speed": 0.0,
        "vtlp": 0.0,
        "low_pass": 0.0,
        "muon": False,
        "batch_seconds": 50.0,
        "learning_rate": 3e-3,
        "clip": 1.0,
        "steps": 900,
        "evaluations": 1,
        "workers": 1,  # batch normalisation over half of 50 s is too rough
    },
    test="test",
    licence="free to use (OpenSLR 1)",
    description="one man saying yes and no in Hebrew, 8 words a recording",
    hours="0.1",
)
