"""Transcribe recordings: `python -m asr.transcribe FILE... [--model NAME|PATH]`; the text goes to stdout."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error, command

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asr.recognizer import Recognizer, Transcript

# `--help` and wrong usage answer at once: numpy, soundfile and torch are imported when there is something to do.

GROUP_SECONDS = 300.0  # audio that is read before it is recognized: fills batches, and the first text comes soon
OUTPUT = (
    "The text goes to stdout, in UTF-8. For one file it is the text and nothing else; for several files, or a folder, "
    "it is one line a recording: path, tab, text, in the order given, and sorted within a folder. A control character "
    "in a path, such as a line break, is written as an escape (\\n). A recording that cannot be transcribed is named "
    "on stderr, the others are transcribed all the same, and the exit status is 1. A name that begins with a dash is "
    "given as ./-name.wav or after --."
)


def transcribe(
    recognizer: Recognizer, sources: Iterable[str], group_seconds: float = GROUP_SECONDS
) -> Iterator[tuple[str, Transcript | Error]]:
    """Transcribe files and folders.

    Recordings are read in the order given until there are `group_seconds` of audio, and these are recognized together;
    nothing is read ahead of a group whose results have not been taken.

    Args:
        sources: paths of recordings and of folders, which are searched for recordings.

    Yields: the path of every recording, in order, with its transcript, or the error that says why it has none.
    """
    for group in _groups(_read_all(sources), group_seconds):
        readable = [samples for _, samples in group if not isinstance(samples, Error)]
        transcripts = iter(recognizer.transcribe_many(readable))
        for path, samples in group:
            yield path, samples if isinstance(samples, Error) else next(transcripts)


def _read_all(sources: Iterable[str]) -> Iterator[tuple[str, NDArray[np.float32] | Error]]:
    """The path of every recording with its samples, or with the error that says why they cannot be read."""
    for source in sources:
        try:
            paths = _recordings(source) if os.path.isdir(source) else [source]
        except (Error, OSError) as error:
            yield source, _named(source, error)
            continue
        for path in paths:
            yield path, _read(path)


def _recordings(folder: str) -> list[str]:
    """Paths of all recordings below a folder, sorted; they begin with its name as it was given."""
    from asr.audio import EXTENSIONS
    from asr.corpus import audio_files

    paths = [os.path.join(folder, path.relative_to(folder)) for path in audio_files(Path(folder))]
    if not paths:
        raise Error(f"{folder}: no recordings in this folder (names that end in {', '.join(sorted(EXTENSIONS))})")
    return paths


def _read(path: str) -> NDArray[np.float32] | Error:
    from asr import audio

    try:
        return audio.load(path)
    except (Error, OSError) as error:
        return _named(path, error)


def _named(path: str, error: Exception) -> Error:
    """An error of ours, which names the path by itself, or one of the system, which need not."""
    return error if isinstance(error, Error) else Error(f"{path}: it cannot be read: {error}")


def _groups(
    recordings: Iterable[tuple[str, NDArray[np.float32] | Error]], seconds: float
) -> Iterator[list[tuple[str, NDArray[np.float32] | Error]]]:
    """Cut a sequence of recordings where it has at least so much audio."""
    from asr.audio import SAMPLE_RATE

    group: list[tuple[str, NDArray[np.float32] | Error]] = []
    count = 0
    for path, samples in recordings:
        group.append((path, samples))
        count += 0 if isinstance(samples, Error) else len(samples)
        if count >= seconds * SAMPLE_RATE:
            yield group
            group, count = [], 0
    if group:
        yield group


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m asr.transcribe", description="Turn recordings of speech into text.", epilog=OUTPUT
    )
    arguments.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="recordings in any format that soundfile or an installed ffmpeg reads, and folders, searched recursively",
    )
    command.add_model(arguments)
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Status 1 if a recording could not be transcribed; the others are."""
    options = parser().parse_args(argv)
    labelled = len(options.files) > 1 or os.path.isdir(options.files[0])
    status = 0
    for path, result in transcribe(command.load_model(options), options.files):
        if isinstance(result, Error):
            print(f"error: {_one_line(str(result))}", file=sys.stderr)
            status = command.FAILED
        else:
            print(f"{_one_line(path)}\t{result.text}" if labelled else result.text, flush=True)
    return status


def _one_line(text: str) -> str:
    """Escapes in place of control characters, which would end a line or a field, or steer the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: ascii(match[0])[1:-1], text)


if __name__ == "__main__":
    sys.exit(command.run(main))
