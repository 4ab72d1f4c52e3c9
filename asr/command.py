"""What every command line of the project shares: exit statuses, errors without a traceback, and one thread."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asr import BATCH_SECONDS, HOT_WEIGHT, Error, load

if TYPE_CHECKING:
    from sys import UnraisableHookArgs

    from asr.recognizer import Recognizer

FAILED = 1  # some input could not be processed
USAGE = 2  # the command line itself is wrong (argparse uses it too)
LISTS = (".txt", ".tsv", ".csv")  # what ends so is a file of hot words, and no hot word
INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class UsageError(Error):
    """A command line that is wrong in itself."""


def add_model(arguments: argparse.ArgumentParser) -> None:
    """The options that choose a recognizer, for `load_model`."""
    add_acoustic_model(arguments)
    arguments.add_argument(
        "--lm",
        metavar="NAME|PATH|none",
        help="language model for beam search (default: the file beside the model that has its name and .lm)",
    )
    arguments.add_argument(
        "--beam-size",
        type=count,
        metavar="N",
        help="prefixes that beam search keeps; 1 decodes greedily (default: what the language model's file says)",
    )
    arguments.add_argument(
        "--hotwords",
        metavar="FILE|LIST",
        help="words and phrases that are likelier than usual: a list with commas, or a file with one on each line and, "
        "after a tab, a weight of its own if it has one",
    )
    arguments.add_argument(
        "--hotword-weight",
        type=float,
        default=HOT_WEIGHT,
        metavar="X",
        help="bonus of each word of a phrase, a natural logarithm (default: %(default)g)",
    )


def add_acoustic_model(arguments: argparse.ArgumentParser) -> None:
    """Those of them that matter where nothing is decoded, for `load_acoustic_model`."""
    arguments.add_argument(
        "--model", default="en", metavar="NAME|PATH", help="a model that ships, or a model file (default: en)"
    )
    arguments.add_argument("--device", default="cpu", help="where the model runs, such as cuda (default: cpu)")
    arguments.add_argument(
        "--threads", type=count, metavar="N", help="batches that run side by side (default: one a core)"
    )
    arguments.add_argument(
        "--batch-seconds",
        type=_seconds,
        default=BATCH_SECONDS,
        metavar="S",
        help="audio of a batch: less takes less memory (default: %(default)g)",
    )


def load_model(options: argparse.Namespace) -> Recognizer:
    """The recognizer that the options of `add_model` ask for.

    Raises:
        UsageError: a weight without hot words, or no word where they should be.
    """
    return load(options.model, options.lm, options.beam_size, _hot_words(options), **_work(options))


def load_acoustic_model(options: argparse.Namespace) -> Recognizer:
    """The recognizer that the options of `add_acoustic_model` ask for; it decodes greedily."""
    return load(options.model, lm="none", beam_size=1, **_work(options))


def _work(options: argparse.Namespace) -> dict[str, Any]:
    """Where and how much at a time a model computes."""
    return {"device": options.device, "threads": options.threads, "batch_seconds": options.batch_seconds}


def _hot_words(options: argparse.Namespace) -> dict[str, float]:
    if options.hotwords is None:
        if options.hotword_weight != HOT_WEIGHT:
            raise UsageError("--hotword-weight belongs to --hotwords")
        return {}
    if found := hot_words(options.hotwords, options.hotword_weight):
        return found
    raise UsageError(
        f"--hotwords {options.hotwords!r}: there is no word in it; expected words with commas between them, or a file "
        "with one on each line"
    )


def hot_words(given: str, weight: float) -> dict[str, float]:
    """Hot phrases with their weights, from a file or a list with commas.

    Raises:
        asr.Error: the file is not there or not text, or what stands after a tab is no number.
    """
    path = Path(given)
    if not os.path.isfile(given):
        if "," not in given and (os.path.dirname(given) or path.suffix.lower() in LISTS):
            raise Error(f"{given}: no such file of hot words; expected a file, or words with commas between them")
        return {phrase.strip(): weight for phrase in given.split(",") if phrase.strip()}
    found = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise Error(f"{path}: not UTF-8 ({error}); expected a phrase on each line") from None
    for number, line in enumerate(lines, start=1):
        phrase, tab, own = line.partition("\t")
        if phrase.strip():
            try:
                found[phrase.strip()] = float(own) if tab else weight
            except ValueError:
                raise Error(f"{path}, line {number}: {own!r} is no weight; expected a number after the tab") from None
    return found


def check_apart(path: Path, inputs: Iterable[str | os.PathLike[str] | None]) -> None:
    """See that a file to be written is none of those that are read.

    Args:
        inputs: what the command line names; it need not be a file, nor be there.

    Raises:
        UsageError: it is one of them, under whatever name.
    """
    for each in inputs:
        if each is not None and os.path.exists(path) and os.path.exists(each) and os.path.samefile(path, each):
            raise UsageError(f"{path}: this file is read, too, and would be replaced; name another for what is written")


def count(text: str) -> int:
    """A number from 1, as argparse's types are."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not at least 1")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{value:g} is no length; expected seconds above 0")
    return value


def run(main: Callable[[], int]) -> int:
    """Run a command's `main` and turn a user's mistakes into one line on stderr and an exit status.

    Anything that is neither an `asr.Error` nor an `OSError` is a bug of ours and keeps its traceback. Stdout is UTF-8
    everywhere, so that no text fails to print; names of files that are not Unicode come out as the bytes that they are.
    """
    # Read when torch is imported, which is in `main`. The steps of a recurrent layer are too small to share among
    # threads, and on a busy machine threads that wait for each other are ten times slower than one.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.unraisablehook = _stop_if_interrupted
    if sys.stderr is None:  # closed (`2>&-`)
        _open_stderr()
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


def _open_stderr() -> None:
    """Write errors nowhere, rather than into the next file that is opened; programs that we start inherit it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    os.set_inheritable(2, True)  # which dup2 has not made it if it was opened as 2
    sys.stderr = os.fdopen(2, "w")


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
