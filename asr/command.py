"""What every command line of the project shares: exit statuses, errors without a traceback, and one thread."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from asr import Error

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

FAILED = 1  # some input could not be processed
USAGE = 2  # the command line itself is wrong (argparse uses it too)
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class UsageError(Error):
    """A command line that is wrong in itself."""


def run(main: Callable[[], int]) -> int:
    """Run a command's `main` and turn a user's mistakes into one line on stderr and an exit status.

    Anything that is neither an `asr.Error` nor an `OSError` is a bug of ours and keeps its traceback. Stdout is UTF-8
    everywhere, so that no text fails to print; names of files that are not Unicode come out as the bytes that they are.
    """
    # Read when torch is imported, which is in `main`. The steps of a recurrent layer are too small to share among
    # threads, and on a busy machine threads that wait for each other are ten times slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.unraisablehook = _stop_if_interrupted
    if sys.stdout is not None:  # it is None when closed (`>&-`)
        sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape")
    try:
        return _flushed(main)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone (`| head`): not an error
        _abandon_stdout()
        return 0
    except (Error, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        _abandon_stdout()
        return USAGE if isinstance(error, UsageError) else FAILED


def _flushed(main: Callable[[], int]) -> int:
    """Run `main` and write out its output, that of `--help` too, while a full disk can still change the status."""
    try:
        return main()
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()


def _abandon_stdout() -> None:
    """Keep Python from trying once more, when it ends, to write what could not be written."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop_if_interrupted(lost: UnraisableHookArgs) -> None:
    """Stop at a Ctrl-C that came while C code was calling Python.

    libsndfile reads through such calls. No exception can pass through C: Python would print this one and go on, and the
    recording would look as if it were cut short.
    """
    if issubclass(lost.exc_type, KeyboardInterrupt):
        os.write(sys.__stderr__.fileno(), b"interrupted\n")
        os._exit(INTERRUPTED)
    sys.__unraisablehook__(lost)
