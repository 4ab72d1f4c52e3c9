"""Where the transcribing command's results go: to stdout or files; and how far it is, on a terminal."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error
from asr.command import check_apart
from asr.formats import FORMATS, render, write
from asr.sources import STDIN, Recording
from asr.transcript import Transcript

if TYPE_CHECKING:
    from tqdm import tqdm

ALL = "all"  # formats


class Output:
    """Where transcripts go: to stdout or to files.

    Args:
        labelled: whether each line of stdout says which recording it belongs to.
    """

    def __init__(self, options: argparse.Namespace, labelled: bool) -> None:
        self._folder: Path | None = options.output_dir
        self._formats = list(FORMATS) if options.format == ALL else [options.format or "txt"]
        self._plain = options.format is None
        self._skip = options.skip_existing
        self._labelled = labelled
        self._read = (options.hotwords, options.manifest)

    def wanted(self, recordings: Iterable[Recording | Error]) -> Iterator[Recording | Error]:
        """What is to be transcribed: not what is there; errors in place of what must not be written."""
        for recording in recordings:
            if isinstance(recording, Error) or self._folder is None:
                yield recording
                continue
            targets = self._paths(recording).values()
            if self._skip and all(map(os.path.exists, targets)):
                continue
            try:
                for path in targets:
                    check_apart(path, self._read)
                    check_beside(path, recording.path)
                yield recording
            except Error as error:
                yield error

    def add(self, recording: Recording, transcript: Transcript) -> None:
        """Write a transcript."""
        if self._folder is not None:
            for format, path in self._paths(recording).items():
                path.parent.mkdir(parents=True, exist_ok=True)
                write(path, transcript, format, recording.name)
            return
        print(self._rendered(recording, transcript), end="", flush=True)

    def _rendered(self, recording: Recording, transcript: Transcript) -> str:
        if self._plain:
            label = f"{escaped(recording.label)}\t" if self._labelled else ""
            return f"{label}{transcript.text}\n"
        if self._labelled and self._formats == ["json"]:
            line = json.dumps({"path": recording.label, **transcript.to_dict()}, ensure_ascii=False) + "\n"
            return line.encode("utf-8", "backslashreplace").decode("utf-8")  # as `formats.write` does
        return render(transcript, self._formats[0], recording.name)

    def _paths(self, recording: Recording) -> dict[str, Path]:
        """Format -> file."""
        assert self._folder is not None
        return paths(self._folder, recording.name, self._formats)


def paths(folder: Path, name: str, formats: Iterable[str]) -> dict[str, Path]:
    """Format -> the file of a recording."""
    return {format: folder / f"{name}{FORMATS[format].suffix}" for format in formats}


def check_beside(path: Path, recording: str) -> None:
    """See that a file to be written replaces none beside the recording: a text there may be the user's own.

    Raises:
        asr.Error: it would.
    """
    if recording == STDIN or not os.path.lexists(path):
        return
    folder = os.path.dirname(recording) or os.curdir
    if os.path.exists(folder) and os.path.samefile(path.parent, folder):
        raise Error(
            f"{path} is there already; nothing in the folder of a recording is replaced: name another --output-dir, "
            "or move it away"
        )


class Progress:
    """How much has been heard, and how long the rest will take, on a terminal; nothing elsewhere."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def __enter__(self) -> Progress:
        if sys.stderr.isatty():
            from tqdm import tqdm

            form = "{percentage:3.0f}% |{bar}| {elapsed} elapsed, {remaining} left"
            self._bar = tqdm(total=0, leave=False, delay=2, dynamic_ncols=True, bar_format=form)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def opened(self, seconds: float | None) -> None:
        """A recording has been opened that is so long, if its header says so."""
        if self._bar is not None:
            self._bar.total += seconds or 0.0

    def heard(self, seconds: float) -> None:
        """So many more seconds have been read."""
        if self._bar is not None:
            self._bar.update(seconds)

    def say(self, line: str) -> None:
        """A line on stderr that does not break the bar."""
        if self._bar is None:
            print(line, file=sys.stderr)
        else:
            self._bar.write(line, file=sys.stderr)


def escaped(text: str) -> str:
    """Escapes in place of control characters, which would end a line or a field, or steer the terminal."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda match: ascii(match[0])[1:-1], text)
