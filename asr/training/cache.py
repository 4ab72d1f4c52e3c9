"""Decoded audio, kept in one memory-mapped file so that no epoch decodes or resamples it again."""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import struct
import sys
import tempfile
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from asr import audio
from asr.corpus import Utterance
from asr.decode import cores
from asr.tape import Tape, map_parts
from asr.training.columns import fingerprint, mapped
from asr.training.store import Entry, Store, largest_size, readable, size_of

FORMAT_VERSION = 5
SCALE = 32768  # int16 steps of full scale, as decoders have it: 16-bit recordings come out as they are
CHECKED = 2**28  # bytes: the store's size is looked at whenever so much more audio has been written
WHAT = "decoded audio"


@dataclass(frozen=True, eq=False)
class AudioCache:
    """The samples of a list of utterances; an utterance that is heard twice is stored once.

    Args:
        entry: the folder with the samples.
        exact: float32 samples, as they were decoded; else int16.
        starts, lengths: (N,) int64, where each utterance begins among all samples, and how many are its own; 0 where it
            could not be read.
        sums: (N,) uint32, CRC-32 of the file that each utterance is in, as it was when it was decoded, and of where it
            begins there.
        errors: utterance number -> why it could not be read.
    """

    entry: Entry
    exact: bool
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    sums: NDArray[np.uint32]
    errors: dict[int, str]

    @property
    def path(self) -> Path:
        """The file: samples, one recording after another."""
        return self.entry.path / "samples"

    def fingerprint(self) -> str:
        """A hash of what was decoded: the same for copies of the files, whatever their folder and time of change."""
        return fingerprint(self.lengths, self.sums)

    def seconds(self, i: int) -> float:
        """Length of an utterance."""
        return float(self.lengths[i]) / audio.SAMPLE_RATE

    def reader(self) -> CacheReader:
        """Access to the samples, for one process."""
        return CacheReader(self)


class CacheReader:
    """Reads utterances out of the cache file; only the pages that are used come into memory."""

    def __init__(self, cache: AudioCache) -> None:
        self._cache = cache
        self._samples = mapped(cache.path, np.float32 if cache.exact else np.int16)

    def __getitem__(self, i: int) -> NDArray[np.float32]:
        """(samples,) float32 of utterance i."""
        start = self._cache.starts[i]
        samples = self._samples[start : start + self._cache.lengths[i]].astype(np.float32)
        return samples if self._cache.exact else samples / SCALE


def open_cache(utterances: Iterable[Utterance], folder: Path, exact: bool = False) -> AudioCache:
    """The cache of these utterances, made now if it is not there yet.

    Args:
        utterances: gone through once; of each a few bytes stay in memory.
        folder: of all caches, see `asr.training.store`.
        exact: keep the samples as they were decoded, float32, so that a dev score is that of an evaluation; else as
            int16, half the size, which is near enough to learn from.

    Its name is a hash of the audio files' paths, sizes and times of change, so a changed file makes a new cache.

    Raises:
        StoreError: it does not fit into the folder or on the disk.
    """
    store = Store(folder)
    with tempfile.TemporaryFile(dir=folder) as file:
        recordings = _Recordings(file)
        rows = recordings.add(utterances)
        entry = _find_or_make(recordings, store, exact)
    lengths, sums, errors = np.load(entry.path / "lengths.npy"), np.load(entry.path / "sums.npy"), _errors(entry)
    starts = np.cumsum(lengths) - lengths
    unreadable = np.flatnonzero(np.isin(rows, list(errors)))
    unread = {int(i): errors[rows[i]] for i in unreadable}
    return AudioCache(entry, exact, starts[rows], lengths[rows], sums[rows], unread)


@dataclass(frozen=True)
class _Recording:
    """What is decoded: an audio file, or a part of one; times in seconds."""

    audio: Path
    offset: float
    duration: float | None


@dataclass(frozen=True)
class _Decoded:
    """What came of it: (samples,) float32, the CRC-32 of the file and the offset, and why it could not be read."""

    samples: NDArray[np.float32]
    sum: int
    error: str | None = None


class _Recordings:
    """The different recordings of any number of utterances, in the order in which they come first.

    They are written to a file; memory holds a hash of each.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._rows: dict[bytes, int] = {}  # hash -> number
        self._key = hashlib.blake2b(f"asr audio {FORMAT_VERSION}".encode(), digest_size=16)

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[_Recording]:
        self._file.seek(0)
        for _ in range(len(self)):
            name, offset, duration = pickle.load(self._file)
            yield _Recording(Path(name), offset, duration)

    def add(self, utterances: Iterable[Utterance]) -> NDArray[np.int32]:
        """(N,) number of each utterance's recording."""
        rows = array("i")
        for utterance in utterances:
            part = (os.fspath(utterance.audio), utterance.offset, utterance.duration)
            digest = hashlib.blake2b(repr(part).encode("utf-8", "surrogatepass"), digest_size=16).digest()
            if digest not in self._rows:
                self._rows[digest] = len(self._rows)
                pickle.dump(part, self._file)
                self._key.update(_state(*part))
            rows.append(self._rows[digest])
        return np.array(rows, np.int32)

    def key(self) -> str:
        """A hash of the recordings, and of their files as they are now."""
        return self._key.hexdigest()


def _state(name: str, offset: float, duration: float | None) -> bytes:
    path = os.path.join(os.getcwd(), name)
    try:
        stat = os.stat(path)
        state = (stat.st_size, stat.st_mtime_ns)
    except OSError:
        state = (-1, -1)
    return repr((path, *state, offset, duration)).encode("utf-8", "surrogatepass")


def _find_or_make(recordings: _Recordings, store: Store, exact: bool) -> Entry:
    for attempt in count(1):  # where something could not be read and now can, the next attempt has another name
        name = f"{recordings.key()}.{'float32' if exact else 'int16'}.{attempt}"
        entry = store.find(name)
        if entry is None:
            return _make(recordings, store, name, exact)
        if _still_unreadable(recordings, _errors(entry)):
            return entry
    raise AssertionError("unreachable")


def _errors(entry: Entry) -> dict[int, str]:
    """Recording number -> why it could not be read."""
    stored = json.loads((entry.path / "errors.json").read_text(encoding="utf-8"))
    return {int(row): why for row, why in stored.items()}


def _still_unreadable(recordings: _Recordings, errors: dict[int, str]) -> bool:
    """Whether what could not be read still cannot be: ffmpeg may have come, or a right to read."""
    return all(decoded.error for decoded in _decode_all(each for row, each in enumerate(recordings) if row in errors))


def _make(recordings: _Recordings, store: Store, name: str, exact: bool) -> Entry:
    with store.draft(WHAT, _expected_size(recordings, exact)) as draft:
        lengths, sums, errors = _write(recordings, draft / "samples", exact, lambda: store.check(WHAT))
        np.save(draft / "lengths.npy", np.array(lengths, np.int64))
        np.save(draft / "sums.npy", np.array(sums, np.uint32))
        (draft / "errors.json").write_text(json.dumps(errors), encoding="utf-8")
        entry = store.keep(draft, name)
    print(f"{WHAT}: {readable(size_of(entry.path))} in {store.path}", file=sys.stderr)
    return entry


def _expected_size(recordings: _Recordings, exact: bool) -> int:
    """Bytes, by the durations that utterances state; where these ask for too much, as milliseconds do, by the files."""
    bytes_a_second = audio.SAMPLE_RATE * (4 if exact else 2)
    seconds = sum(_file_seconds(each) if each.duration is None else each.duration for each in recordings)
    if seconds * bytes_a_second > largest_size():
        seconds = sum(min(_file_seconds(each), each.duration or math.inf) for each in recordings)
    return round(seconds * bytes_a_second)


def _file_seconds(recording: _Recording) -> float:
    """From a recording's offset to the end of its file; 0 where that cannot be read."""
    try:
        return max(0.0, audio.duration(recording.audio) - recording.offset)
    except (audio.AudioError, OSError):
        return 0.0


def _write(
    recordings: _Recordings, path: Path, exact: bool, check: Callable[[], None]
) -> tuple[array[int], array[int], dict[int, str]]:
    """Decode all into a file; lengths in samples, sums of the files, and errors by number.

    Args:
        check: called again and again as the file grows.
    """
    lengths, sums, errors, next_check = array("q"), array("L"), {}, CHECKED
    bar = tqdm(_decode_all(recordings), total=len(recordings), desc="decoding audio", unit=" recordings", disable=None)
    with path.open("wb") as file:
        for row, decoded in enumerate(bar):
            if decoded.error:
                errors[row] = decoded.error
            file.write(decoded.samples if exact else _as_int16(decoded.samples))
            lengths.append(len(decoded.samples))
            sums.append(decoded.sum)
            if file.tell() >= next_check:
                check()
                next_check += CHECKED
    return lengths, sums, errors


def _decode_all(recordings: Iterable[_Recording]) -> Iterator[_Decoded]:
    """Each recording, in order; decoding runs outside Python's lock, on all cores."""
    return chain.from_iterable(map_parts(_decode, recordings, cores()))


def _decode(tape: Tape, recording: _Recording) -> _Decoded:
    try:
        samples = tape.load(recording.offset, recording.duration)
        file = _crc(recording.audio, recording.audio.stat().st_mtime_ns)
        return _Decoded(samples, zlib.crc32(struct.pack("<d", recording.offset), file))
    except (audio.AudioError, OSError) as error:
        return _Decoded(np.zeros(0, np.float32), 0, str(error) or type(error).__name__)


@lru_cache(maxsize=64)  # the parts of one long recording are decoded one after the other
def _crc(path: Path, changed: int) -> int:
    """CRC-32 of a file as it was changed last at this time."""
    with path.open("rb") as file:
        total = 0
        while block := file.read(2**20):
            total = zlib.crc32(block, total)
    return total


def _as_int16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.clip(np.round(samples * SCALE), -SCALE, SCALE - 1).astype(np.int16)
