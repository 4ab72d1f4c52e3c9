"""Files that are never seen half written, and locks on files and folders."""

from __future__ import annotations

import contextlib
import errno
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CAN_LOCK = fcntl is not None


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside this path, open for writing, that takes its place when all is written and on the disk.

    Where that fails, what was there stays as it was and nothing is left beside it. Of a link it is the file that it
    leads to which is replaced. A pipe or a device is written to as it is.

    Raises:
        OSError: it cannot be written; names the path, and not the file beside it.
    """
    target = Path(os.path.realpath(path))
    part = beside(target)
    try:
        if os.path.exists(target) and not os.path.isfile(target):
            with target.open("wb") as file:
                yield file
            return
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None
    finally:
        with contextlib.suppress(OSError, ValueError):  # which would hide what went wrong before
            part.unlink()


def beside(path: Path) -> Path:
    """Where a file is written before it takes its place: a short name, so that whatever name fits can be written."""
    return path.with_name(f".{zlib.crc32(os.fsencode(path.name)):08x}.{os.getpid()}.part")


def check_writable(path: Path) -> None:
    """See, before the work is done, that a file can be written, and make the folders that it lies in.

    Raises:
        OSError: it cannot.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if path.exists() and not path.is_file():  # a pipe, whose reader would take an attempt for all there is
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(_Unwritten), replacing(path):
        raise _Unwritten


def lock(handle: int, shared: bool = False, wait: bool = False) -> bool | None:
    """Lock an open file or folder until it is closed, or the process ends, however that is.

    Returns: False where another has it; None where there are no locks, as on Windows and some network drives.
    """
    if not fcntl:
        return None
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return None
    return True


class _Unwritten(Exception):
    """Leaves what was there."""
