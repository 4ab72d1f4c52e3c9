"""Decoded audio, kept in one memory-mapped file so that no epoch decodes or resamples it again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asr import audio
from asr.corpus import Utterance

FORMAT_VERSION = 2
SCALE = 32768  # int16 steps of full scale, as decoders have it: 16-bit recordings come out as they are
AHEAD = 64  # utterances decoded at a time: bounds the memory
STALE_SECONDS = 3600  # nobody has written to it for so long: a process that was killed left it behind


@dataclass(frozen=True)
class AudioCache:
    """The samples of a list of utterances.

    Args:
        path: the file, samples one utterance after another, of the type that its suffix names.
        lengths: samples of each utterance; 0 where it could not be read.
        errors: utterance number -> why it could not be read.
    """

    path: Path
    lengths: tuple[int, ...]
    errors: dict[int, str]

    def seconds(self, i: int) -> float:
        """Length of an utterance."""
        return self.lengths[i] / audio.SAMPLE_RATE

    def reader(self) -> CacheReader:
        """Access to the samples, for one process."""
        return CacheReader(self)


class CacheReader:
    """Reads utterances out of the cache file; only the pages that are used come into memory."""

    def __init__(self, cache: AudioCache) -> None:
        self._ends = list(accumulate(cache.lengths, initial=0))
        dtype = np.dtype(cache.path.suffix[1:])
        empty = self._ends[-1] == 0  # nothing to map
        self._samples = np.zeros(0, dtype) if empty else np.memmap(cache.path, dtype, mode="r")

    def __getitem__(self, i: int) -> NDArray[np.float32]:
        """(samples,) float32 of utterance i."""
        samples = self._samples[self._ends[i] : self._ends[i + 1]].astype(np.float32)
        return samples / SCALE if self._samples.dtype == np.int16 else samples


def caches_folder() -> Path:
    """Where decoded audio is kept: $ASR_CACHE, by default data/cache."""
    return Path(os.environ.get("ASR_CACHE") or "data/cache")


def open_cache(utterances: Sequence[Utterance], folder: Path, exact: bool = False) -> AudioCache:
    """The cache of these utterances, made now if it is not there yet.

    Args:
        exact: keep the samples as they were decoded, float32, so that a dev score is that of an evaluation; else as
            int16, half the size, which is near enough to learn from.

    Its name is a hash of the audio files' paths, sizes and times of change, so a changed file makes a new cache. It is
    written beside and renamed: a process that is killed leaves no half cache, and of two that write, one wins.
    """
    samples = folder / f"{_cache_key(utterances)}.{'float32' if exact else 'int16'}"
    index = samples.with_name(f"{samples.name}.json")
    if not (index.is_file() and samples.is_file() and _still_unreadable(utterances, index)):
        folder.mkdir(parents=True, exist_ok=True)
        _remove_stale_parts(folder)
        _write(utterances, samples, index)
    stored = json.loads(index.read_text(encoding="utf-8"))
    return AudioCache(samples, tuple(stored["lengths"]), {int(i): why for i, why in stored["errors"].items()})


def _still_unreadable(utterances: Sequence[Utterance], index: Path) -> bool:
    """Whether what could not be read still cannot be: ffmpeg may have come, or a right to read."""
    errors = json.loads(index.read_text(encoding="utf-8"))["errors"]
    return all(isinstance(_decode(utterances[int(i)]), str) for i in errors)


def fingerprint(cache: AudioCache, texts: Sequence[object]) -> str:
    """Of audio, of which of it can be read, and of texts: what must not change when a run is resumed."""
    return hashlib.blake2b(repr((cache.path.stem, cache.lengths, texts)).encode(), digest_size=16).hexdigest()


def _remove_stale_parts(folder: Path) -> None:
    for part in folder.glob(".*.part"):
        if part.exists() and time.time() - part.stat().st_mtime > STALE_SECONDS:
            part.unlink(missing_ok=True)


def _cache_key(utterances: Sequence[Utterance]) -> str:
    digest = hashlib.blake2b(f"asr audio {FORMAT_VERSION}".encode(), digest_size=16)
    for utterance in utterances:
        path = utterance.audio.absolute()
        try:
            stat = path.stat()
            state = (stat.st_size, stat.st_mtime_ns)
        except OSError:
            state = (-1, -1)
        digest.update(repr((str(path), *state, utterance.offset, utterance.duration)).encode())
    return digest.hexdigest()


def _write(utterances: Sequence[Utterance], samples: Path, index: Path) -> None:
    beside = samples.with_name(f".{samples.name}.{os.getpid()}.part")
    beside_index = index.with_name(f".{index.name}.{os.getpid()}.part")
    lengths, errors = [], {}
    try:
        with beside.open("wb") as file:
            for i, decoded in enumerate(_decode_all(utterances)):
                if isinstance(decoded, str):
                    errors[i] = decoded
                    lengths.append(0)
                else:
                    file.write(decoded if samples.suffix == ".float32" else _as_int16(decoded))
                    lengths.append(len(decoded))
        beside_index.write_text(json.dumps({"lengths": lengths, "errors": errors}), encoding="utf-8")
        beside.replace(samples)
        beside_index.replace(index)
    finally:
        beside.unlink(missing_ok=True)
        beside_index.unlink(missing_ok=True)


def _decode_all(utterances: Sequence[Utterance]) -> Iterator[NDArray[np.float32] | str]:
    """Samples or an error's text for each utterance, in order; decoding runs outside Python's lock, on all cores."""
    bar = tqdm(total=len(utterances), desc="decoding audio", unit=" utterances", disable=None)
    with ThreadPoolExecutor(os.cpu_count()) as pool, bar:
        for start in range(0, len(utterances), AHEAD):
            for decoded in pool.map(_decode, utterances[start : start + AHEAD]):
                bar.update()
                yield decoded


def _decode(utterance: Utterance) -> NDArray[np.float32] | str:
    try:
        return audio.load(utterance.audio, utterance.offset, utterance.duration)
    except (audio.AudioError, OSError) as error:
        return str(error)


def _as_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.round(samples * SCALE), -SCALE, SCALE - 1).astype(np.int16)
