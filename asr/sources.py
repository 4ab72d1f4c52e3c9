"""What a command line names: files, folders, patterns, standard input, a manifest -> recordings."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from asr import Error

STDIN = "-"
LINKS = 40  # that are followed, as Linux does


@dataclass(frozen=True)
class Recording:
    """A recording, or a part of one.

    Args:
        label: what to call it: its path as it was given or, in a manifest, its id.
        path: the file.
        name: of what is written about it, without a suffix: relative, with the folders below the one that was given.
        offset, duration: the part in seconds; None: to the end.
    """

    label: str
    path: str
    name: str
    offset: float = 0.0
    duration: float | None = None


def recordings(given: Sequence[str]) -> Iterator[Recording | Error]:
    """The recordings that these names stand for, in this order and sorted within a folder or a pattern.

    Args:
        given: files; folders, searched recursively; patterns as *.mp3 where no file has that name; "-" for stdin.

    Yields: recordings and, in place of what is not there, the errors that say so. A file is not looked at.
    """
    for source in given:
        try:
            yield from _expand(source)
        except Error as error:
            yield error
        except OSError as error:
            yield Error(f"{source}: it cannot be read: {error}")


def _expand(source: str) -> Iterator[Recording]:
    if source == STDIN:
        yield Recording(STDIN, STDIN, "stdin")
    elif os.path.isdir(source):
        yield from _of_folder(source)
    elif not os.path.lexists(source) and glob.has_magic(source):
        from asr.corpus import is_special

        found = sorted(glob.glob(source, recursive=True))
        found = [path for path in found if not os.path.isdir(path) and not is_special(path)]
        if not found:
            raise Error(f"{source}: no file has a name like that")
        yield from map(_of_file, found)
    else:
        yield _of_file(source)


def _of_file(path: str) -> Recording:
    return Recording(path, path, os.path.splitext(os.path.basename(path))[0])


def _of_folder(folder: str) -> Iterator[Recording]:
    """All recordings below a folder, sorted; their paths begin with its name as it was given."""
    from asr.audio import EXTENSIONS
    from asr.corpus import audio_files

    found = [path.relative_to(folder) for path in audio_files(Path(folder))]
    if not found:
        raise Error(f"{folder}: no recordings in this folder (names that end in {', '.join(sorted(EXTENSIONS))})")
    for path in found:
        joined = os.path.join(folder, path)
        yield Recording(joined, joined, os.path.splitext(path)[0])


def of_manifest(path: Path, split: str | None = None) -> list[Recording]:
    """The utterances of a manifest or another corpus that `asr.corpus` reads, named by their ids; texts may lack."""
    from asr import corpus

    return [
        Recording(each.id, str(each.audio), _inside(each.id), each.offset, each.duration)
        for each in corpus.stream(path, split, needs_text=False)
    ]


def apart(named: Sequence[Recording | Error]) -> list[Recording | Error]:
    """The same, where recordings that would have one name, as a.wav and a.flac, keep the ending of their files."""
    found = {each for each in named if isinstance(each, Recording)}
    shared = {name for name, count in Counter(each.name for each in found).items() if count > 1}
    return [
        replace(each, name=each.name + os.path.splitext(each.path)[1])
        if isinstance(each, Recording) and each.name in shared
        else each
        for each in named
    ]


def _inside(name: str) -> str:
    """An id as a relative name that does not lead out of the folder in which it is written."""
    path = Path(os.path.normpath(name))
    parts = [part for part in path.parts if part not in (os.pardir, os.curdir, path.anchor)]
    return os.path.join(*parts) if parts else "_"


@contextlib.contextmanager
def seekable(path: str) -> Iterator[str]:
    """A path that can be read more than once, and by other processes: itself, or that of a copy.

    Copied are standard input, pipes, and what is open in this process alone (/dev/stdin, /dev/fd/3).
    """
    if path != STDIN and not _is_pipe(path) and not _is_descriptor(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="asr-") as folder:
        copy = os.path.join(folder, "recording")
        with _source(path) as source, open(copy, "wb") as file:
            shutil.copyfileobj(source, file)
        yield copy


@contextlib.contextmanager
def renamed(path: str, given: str) -> Iterator[None]:
    """Errors inside name a recording as it was given, not the copy that is read; see `seekable`."""
    try:
        yield
    except Error as error:
        raise Error(str(error).replace(path, given, 1)) from None


def _is_pipe(path: str) -> bool:
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


def _is_descriptor(path: str) -> bool:
    """Whether a path, or one that it links to, names what is open in a process: in another one it is something else."""
    for _ in range(LINKS):
        folder = os.path.realpath(os.path.dirname(path))
        if re.fullmatch(r"/dev/fd|/proc/[^/]+(/task/[^/]+)?/fd", folder):
            return True
        if not os.path.islink(path):
            return False
        path = os.path.join(folder, os.readlink(path))
    return False


def _source(path: str) -> contextlib.AbstractContextManager:
    return contextlib.nullcontext(standard_input()) if path == STDIN else open(path, "rb")


def standard_input() -> BinaryIO:
    """Standard input, as bytes.

    Raises:
        asr.Error: it is closed.
    """
    if sys.stdin is None:
        raise Error(f"{STDIN}: standard input is closed; expected data: give a file, or connect a pipe")
    return sys.stdin.buffer
