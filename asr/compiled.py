"""Functions that numba compiles at their first use, with a word to the user, and keeps on disk."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import numba
from numba.core import event
from numba.core.dispatcher import Dispatcher

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """A function of arrays and numbers as machine code, which runs without Python's lock.

    It is compiled when it is first called and cached beside the code or in the user's cache folder; where neither can
    be written, in a folder for temporary files.
    """
    return _compiled(function)


def inner(function: F) -> F:
    """The same for what runs millions of times: it counts no references to arrays, and so can make none."""
    return _compiled(function, _nrt=False)


def _compiled(function: F, **options: bool) -> F:
    try:
        made = numba.njit(cache=True, nogil=True, **options)(function)
    except RuntimeError:  # no place for the cache
        numba.config.CACHE_DIR = _own_temporary_folder()
        made = numba.njit(cache=True, nogil=True, **options)(function)
    _forget_if_older(made, function)
    return made


def _forget_if_older(made: Dispatcher, function: Callable[..., object]) -> None:
    """Remove machine code that is older than a compiled function of another file, which may be part of it.

    numba itself looks at the function's own file alone.
    """
    others = {
        each.py_func.__code__.co_filename
        for each in function.__globals__.values()
        if isinstance(each, Dispatcher) and each.py_func.__module__ != function.__module__
    }
    if not others:
        return
    with suppress(OSError):  # where code cannot be removed, it could not be written either
        newest = max(os.stat(path).st_mtime for path in others)
        name = f"{Path(function.__code__.co_filename).stem}.{function.__qualname__}-*.nbi"
        for index in Path(made.stats.cache_path).glob(name):
            if index.stat().st_mtime < newest:
                index.unlink(missing_ok=True)


def _own_temporary_folder() -> str:
    """The same for all processes of a user, and nobody else's: code is loaded from it."""
    if not hasattr(os, "getuid"):
        return tempfile.mkdtemp(prefix="asr-")
    folder = Path(tempfile.gettempdir()) / f"asr-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    is_own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022
    return str(folder) if is_own else tempfile.mkdtemp(prefix="asr-")


class _Announcement(event.Listener):
    """Says, once in a process, that compiling takes a while."""

    said = False

    def on_start(self, event: event.Event) -> None:
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith("asr."):
            self.said = True
            print("compiling the decoder for this machine: some seconds, once", file=sys.stderr, flush=True)

    def on_end(self, event: event.Event) -> None:
        pass


event.register("numba:compile", _Announcement())
