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
from asr.corpus import Utterance, audio_files, seconds_of, string_of
from asr.training.cache import AudioCache, CacheReader, open_cache
from asr.training.store import caches_folder

KINDS = {"noise": "noise", "rooms": "rir"}  # setting -> what a manifest calls its recordings
SILENT = 2.0**-16  # half a step of 16 bits. Decoders leave some 1e-34 in silence, the power of which is 0 in float32
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
            manifest calls `noise` or `rir` (`kind`; without one it is a noise), but for its splits `dev` and `test`.

    Raises:
        asr.Error: nothing there that can be read.
    """
    if not source:
        return None
    found = recordings(setting, Path(source))
    cache = open_cache(found, caches_folder())
    reader = cache.reader()
    silent = {i: "silent" for i in range(len(found)) if i not in cache.errors and not reader[i].any()}
    unusable = {**cache.errors, **silent}
    for i, why in sorted(unusable.items()):
        print(f"{setting}: {found[i].audio} is left out: {why}", file=sys.stderr)
    numbers = tuple(i for i in range(len(found)) if i not in unusable)
    if not numbers:
        raise Error(f"{setting}={source}: expected recordings; found none that can be read and is not silent")
    return Sounds(cache, numbers)


def recordings(setting: str, source: Path) -> list[Utterance]:
    """The recordings that a setting names; arguments as in `open_sounds`.

    Raises:
        asr.Error: nothing there, or a manifest with bad lines.
    """
    manifest = source / "manifest.jsonl" if source.is_dir() else source
    if manifest.is_file() and manifest.suffix == ".jsonl":
        return [recording for recording in listed(setting, manifest) if recording.split not in HELD_OUT]
    if source.is_dir():
        return [Utterance(str(path), path, "") for path in audio_files(source)]
    found = "another file" if source.exists() else "nothing there"
    raise Error(f"{setting}={source}: expected a folder of recordings or a manifest (.jsonl); found {found}")


def listed(setting: str, manifest: Path) -> Iterator[Utterance]:
    """The recordings that a manifest (.jsonl) has for a setting, of all splits, without texts.

    Raises:
        asr.Error: a line is not an object with audio_filepath, or has something else where text or seconds belong.
    """
    with manifest.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
                path = manifest.parent / string_of(row, "audio_filepath", required=True)
                kind, split = (string_of(row, key) for key in ("kind", "split"))
                duration, offset = (seconds_of(row, key) for key in ("duration", "offset"))
            except (ValueError, AttributeError) as error:  # AttributeError: no object
                message = f"line {number}: expected an object with audio_filepath; found {line[:80]!r} ({error})"
                raise Error(f"{manifest}, {message}") from None
            if (kind or "noise") == KINDS[setting]:
                yield Utterance(str(path), path, "", duration, split=split, offset=offset or 0.0)


def add_noise(
    samples: NDArray[np.float32], noise: NDArray[np.float32], decibels: float, generator: np.random.Generator
) -> NDArray[np.float32]:
    """Mix noise into an utterance.

    Args:
        samples: (S,).
        noise: (N,); it begins anywhere and is repeated as often as it takes.
        decibels: power of the utterance over power of the noise that is heard with it (SNR).
        generator: draws where the noise begins.

    Returns: (S,) samples; where either is silent, as 16 bits hold it, they stay as they are.
    """
    from torchaudio import functional

    heard = repeated(noise, len(samples), generator)
    if min(np.abs(signal).max() for signal in (samples, heard)) < SILENT:
        return samples
    return functional.add_noise(torch.from_numpy(samples), torch.from_numpy(heard), torch.tensor(decibels)).numpy()


def repeated(noise: NDArray[np.float32], length: int, generator: np.random.Generator) -> NDArray[np.float32]:
    """(length,) samples of a noise that begins anywhere and is repeated as often as it takes."""
    start = generator.integers(len(noise))
    return noise.take(np.arange(start, start + length), mode="wrap")


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
