"""Noises and rooms for augmentation: any folder of recordings, decoded once, drawn for every utterance and epoch."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr import Error
from asr.corpus import Utterance, audio_files
from asr.training.cache import AudioCache, CacheReader, caches_folder, open_cache

KINDS = {"noise": "noise", "rooms": "rir"}  # setting -> what a manifest calls its recordings
HELD_OUT = ("dev", "test")  # splits of a manifest that are never trained on


@dataclass(frozen=True)
class Sounds:
    """Noises, or impulse responses of rooms.

    Args:
        cache: their samples.
        numbers: those that can be used.
    """

    cache: AudioCache
    numbers: tuple[int, ...]

    def reader(self) -> SoundReader:
        """Access to the samples, for one process."""
        return SoundReader(self.cache.reader(), self.numbers)


@dataclass(frozen=True)
class SoundReader:
    """Draws sounds."""

    samples: CacheReader
    numbers: tuple[int, ...]

    def draw(self, generator: np.random.Generator) -> NDArray[np.float32]:
        """(samples,) of any sound."""
        return self.samples[self.numbers[generator.integers(len(self.numbers))]]


def open_sounds(setting: str, source: str) -> Sounds | None:
    """The sounds that a setting names; None where it is empty.

    Args:
        setting: "noise" or "rooms".
        source: a folder of recordings; with a `manifest.jsonl` in it, or where it is such a manifest, those that the
            manifest calls `noise` or `rir` (`kind`), but for those of its splits `dev` and `test`.

    Raises:
        asr.Error: nothing there that can be read.
    """
    if not source:
        return None
    paths = list(_paths(setting, Path(source)))
    cache = open_cache([Utterance(str(path), path, "") for path in paths], caches_folder())
    for i, why in cache.errors.items():
        print(f"{setting}: {paths[i]} is left out: {why}", file=sys.stderr)
    reader = cache.reader()
    numbers = tuple(i for i in range(len(paths)) if i not in cache.errors and reader[i].any())
    if not numbers:
        raise Error(f"{setting}={source}: expected recordings; found none that can be read and is not silent")
    return Sounds(cache, numbers)


def _paths(setting: str, source: Path) -> Iterator[Path]:
    manifest = source / "manifest.jsonl" if source.is_dir() else source
    if not source.is_dir() and not (source.is_file() and source.suffix == ".jsonl"):
        raise Error(f"{setting}={source}: expected a folder of recordings or a manifest (.jsonl); found none")
    if not manifest.is_file():
        yield from audio_files(source)
        return
    for number, line in enumerate(manifest.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            path = manifest.parent / row["audio_filepath"]
        except (ValueError, KeyError, TypeError):
            raise Error(f"{manifest}, line {number}: expected an object with audio_filepath; found {line!r}") from None
        if row.get("kind", KINDS[setting]) == KINDS[setting] and row.get("split") not in HELD_OUT:
            yield path


def add_noise(
    samples: NDArray[np.float32], noise: NDArray[np.float32], decibels: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Mix noise into an utterance.

    Args:
        samples: (S,).
        noise: (N,); it begins anywhere and is repeated as often as it takes.
        decibels: power of the utterance over power of the noise that is heard with it (SNR).
        generator: draws where the noise begins.

    Returns: (S,) samples; where either is silent they stay as they are.
    """
    from torchaudio import functional

    heard = np.resize(np.roll(noise, -generator.integers(len(noise))), len(samples))
    if not (samples.any() and heard.any()):
        return samples
    return functional.add_noise(torch.from_numpy(samples), torch.from_numpy(heard), torch.tensor(decibels)).numpy()


def reverberate(samples: NDArray[np.float32], response: NDArray[np.float32]) -> NDArray[np.float32]:
    """Hear an utterance in a room (Ko et al. 2017, A study on data augmentation of reverberant speech).

    Args:
        samples: (S,).
        response: (R,) impulse response of the room; its peak is taken for the direct sound.

    Returns: (S,) samples of the same power, the direct sound where it was.
    """
    from torchaudio.functional import fftconvolve

    direct = int(np.abs(response).argmax())
    heard = fftconvolve(torch.from_numpy(samples), torch.from_numpy(response)).numpy()[direct : direct + len(samples)]
    power, before = (np.mean(np.square(signal, dtype=np.float64)) for signal in (heard, samples))
    return heard * np.float32(np.sqrt(before / power)) if power else samples
