"""A folder of bounded size for what training has computed and can compute again, such as decoded audio.

It holds entries: folders whose files never change. An entry is made as a draft, whose name begins with a dot and ends
in `.part`, and renamed when it is whole. Who uses an entry or makes a draft holds a lock on it (`flock`), which the
system releases when the process ends, however it ends: a draft without a lock is what a killed process left behind, and
an entry without one may be removed to make room. Where there are no such locks, as on Windows, nothing is removed.
"""

from __future__ import annotations

import errno
import math
import os
import re
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from asr import Error
from asr.files import CAN_LOCK, lock

BOUND = "ASR_CACHE_GIB"  # environment variable: most that the folder holds, in GiB
DEFAULT_GIB = 100.0
NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9.]+")  # of an entry, or a file of an earlier version; all else is left alone
DRAFT = re.compile(r"\..*\.part")
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class StoreError(Error):
    """What should be kept does not fit; says how much is needed and what to set."""


class Entry:
    """A folder of the store, which is not removed while this object, or a copy pickled to another process, lives."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if CAN_LOCK:
            handle = os.open(path, os.O_RDONLY)
            lock(handle, shared=True, wait=True)
            weakref.finalize(self, os.close, handle)

    def __reduce__(self) -> tuple[type[Entry], tuple[Path]]:
        return Entry, (self.path,)


class Store:
    """The entries in a folder, which is made where there is none."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True)

    def find(self, name: str) -> Entry | None:
        """The entry of that name, which counts as used now."""
        with self._alone():
            if not (self.path / name).is_dir():
                return None
            entry = Entry(self.path / name)
            os.utime(entry.path)
            return entry

    @contextmanager
    def draft(self, what: str, size: int = 0) -> Iterator[Path]:
        """A new folder, removed in the end unless it was kept (`keep`).

        Args:
            what: its name in errors.
            size: how many bytes it will hold, as far as that is known; so much room is made now.

        Raises:
            StoreError: it does not fit, or the disk is full.
        """
        with self._alone():
            self._make_room(what, size)
            path = Path(tempfile.mkdtemp(prefix=".", suffix=".part", dir=self.path))
            entry = Entry(path)
        try:
            yield entry.path
        except OSError as error:
            if error.errno in NO_SPACE:
                raise StoreError(
                    f"{self.path}: no space left on the disk for {what} ({error}); make room there, or set ASR_CACHE "
                    "to a folder on another disk"
                ) from None
            raise
        finally:
            shutil.rmtree(path, ignore_errors=True)

    def check(self, what: str) -> None:
        """Make sure, while a draft grows, that the store is no larger than it may be; errors as in `draft`."""
        with self._alone():
            self._make_room(what, 0)

    def keep(self, draft: Path, name: str) -> Entry:
        """Make a draft an entry; where another process was faster, its entry is taken."""
        for path in draft.rglob("*"):  # else power might be lost when it is an entry, but not yet all on the disk
            if path.is_file():
                _reach_disk(path)
        with self._alone():
            if not (self.path / name).exists():
                draft.rename(self.path / name)
            return Entry(self.path / name)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While it lasts, no other process looks for entries, begins drafts or removes anything."""
        if not CAN_LOCK:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            lock(handle, wait=True)
            yield
        finally:
            os.close(handle)

    def _make_room(self, what: str, size: int) -> None:
        """Remove drafts that nobody makes any more, and those entries that have not been used for longest."""
        for path in self.path.iterdir():
            if DRAFT.fullmatch(path.name):
                _if_unused(path, _remove)
        bound = largest_size()
        sizes = {path: size_of(path) for path in self.path.iterdir() if _counts(path)}
        if sum(sizes.values()) + size <= bound:
            return
        removable = [path for path in sizes if not DRAFT.fullmatch(path.name) and _if_unused(path, lambda _: None)]
        needed = sum(sizes.values()) - sum(sizes[path] for path in removable) + size
        if needed > bound:
            raise StoreError(
                f"{self.path}: {what} needs {readable(size)}, which with all that is in use there makes "
                f"{readable(needed)}; at most {readable(bound)} may be kept. Set {BOUND} to "
                f"{math.ceil(needed / 2**30 * 10) / 10:g} or more (GiB), or ASR_CACHE to another folder"
            )
        total = sum(sizes.values()) + size
        for path in sorted(removable, key=lambda path: path.stat().st_mtime):
            if total > bound and _if_unused(path, _remove):
                total -= sizes[path]


def caches_folder() -> Path:
    """Where the store is: $ASR_CACHE, by default data/cache."""
    return Path(os.environ.get("ASR_CACHE") or "data/cache")


def readable(size: float) -> str:
    """A number of bytes for a person."""
    return f"{size / 1e9:.1f} GB" if size >= 1e10 else f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def size_of(path: Path) -> int:
    """Bytes of a file, or of the files in a folder; 0 where another process has just removed it."""
    try:
        return sum(size_of(inner) for inner in path.iterdir()) if path.is_dir() else path.stat().st_size
    except FileNotFoundError:
        return 0


def largest_size() -> float:
    """Bytes that the store may hold."""
    given = os.environ.get(BOUND) or str(DEFAULT_GIB)
    try:
        gib = float(given)
    except ValueError:
        gib = math.nan
    if not gib > 0:
        raise StoreError(f"{BOUND} is {given!r}; expected how many GiB of decoded audio may be kept, such as 100")
    return gib * 2**30


def _reach_disk(path: Path) -> None:
    with path.open("r+b") as file:
        os.fsync(file.fileno())


def _counts(path: Path) -> bool:
    return bool(NAME.fullmatch(path.name) or DRAFT.fullmatch(path.name))


def _if_unused(path: Path, call: Callable[[Path], None]) -> bool:
    """Call it with an entry or draft if no process uses that; returns whether."""
    if not CAN_LOCK:
        return False
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        if found := bool(lock(handle)):
            call(path)
        return found
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    """Remove an entry, by way of a draft: a process that is killed meanwhile leaves no half of an entry."""
    if path.is_dir():
        beside = path.with_name(f".{path.name.strip('.').removesuffix('.part')}.part")
        path.rename(beside)
        shutil.rmtree(beside, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
