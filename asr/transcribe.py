"""Transcribe recordings: `python -m asr.transcribe FILE... [--format srt --output-dir DIR]`."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error, command, sources
from asr.formats import FORMATS, ctm_name
from asr.outputs import ALL, Output, Progress, escaped
from asr.sources import Recording
from asr.transcript import Transcript

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asr.reading import Reader
    from asr.recognizer import Recognizer

# `--help` and wrong usage answer at once: numpy, soundfile and torch are imported when there is something to do.

MIX, EACH = "mix", "each"  # channels
OF_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # a full disk, say, concerns all that follow
OF_MANY = ("json", "ctm")  # formats whose lines say which recording they belong to
EXAMPLES = """\
examples:
  python -m asr.transcribe talk.mp3                                  the text, and nothing else
  python -m asr.transcribe talk.mp3 --format srt > talk.srt          subtitles
  python -m asr.transcribe interviews --format all --output-dir out  each recording of a folder, in every format
  python -m asr.transcribe call.wav --channel each --format json     each side of a telephone call by itself
  arecord -f cd -d 10 | python -m asr.transcribe -                   from a pipe

Without --format the text goes to stdout, in one line; for several recordings, or a folder, in a line each: path, tab,
text, in the order given, and sorted within a folder. A control character in a path, such as a line break, is written
as an escape (\\n). A recording that cannot be transcribed is named on stderr, the others are transcribed all the same,
and the exit status is 1. A name that begins with a dash is given as ./-name.wav or after --.
"""


def transcribe(
    recognizer: Recognizer,
    reader: Reader,
    recordings: Iterable[Recording | Error],
    channel: str | int = MIX,
    n_best: int = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[Recording | None, Transcript | Error]]:
    """Transcribe recordings of any length, as they come.

    Args:
        recordings: errors among them are passed on in their place.
        channel: "mix", "each" or a number from 1.
        n_best: alternatives to list of each segment.
        progress: is told how much has been read.

    Yields: in the same order every recording (None for an error among them) with its transcript, or with the error
        that says why it has none.
    """
    places: deque[int] = deque()  # of the recordings that have been begun, among all as they were given

    def begun() -> Iterator[tuple[tuple[Recording | None, bool], Iterator[NDArray[np.float32]] | Error]]:
        for place, recording in _by_start(recordings):
            places.append(place)
            yield from _opened(reader, recording, channel, progress or Progress())

    channels: list[Transcript | Error] = []
    waiting: dict[int, tuple[Recording | None, Transcript | Error]] = {}
    next_place = 0
    for (recording, last), result in recognizer.transcribe_all(begun(), n_best):
        channels.append(result)
        if last:
            waiting[places.popleft()] = recording, channels[0] if channel != EACH else _side_by_side(channels)
            channels = []
        while next_place in waiting:
            yield waiting.pop(next_place)
            next_place += 1


def _by_start(recordings: Iterable[Recording | Error]) -> Iterator[tuple[int, Recording | Error]]:
    """The recordings with their places; parts that follow one another in one file by their starts: it is decoded once.

    Others come as soon as they are given.
    """
    parts: list[tuple[int, Recording]] = []
    for place, recording in enumerate(recordings):
        if parts and (isinstance(recording, Error) or recording.path != parts[0][1].path):
            yield from sorted(parts, key=_start)
            parts = []
        if isinstance(recording, Error) or (recording.duration is None and not recording.offset):
            yield place, recording
        else:
            parts.append((place, recording))
    yield from sorted(parts, key=_start)


def _start(part: tuple[int, Recording]) -> float:
    return part[1].offset


def _opened(
    reader: Reader, recording: Recording | Error, channel: str | int, progress: Progress
) -> Iterator[tuple[tuple[Recording | None, bool], Iterator[NDArray[np.float32]] | Error]]:
    """The blocks of a recording, or of one channel after the other; beside it, and whether no more of it comes."""
    if isinstance(recording, Error):
        yield (None, True), recording
        return
    number, more = (1 if channel == EACH else None if channel == MIX else channel), True
    try:
        with sources.seekable(recording.path) as path, sources.renamed(path, recording.path):
            while more:
                with reader.stream(path, number, recording.offset, recording.duration) as stream:
                    more = channel == EACH and number < stream.channels
                    progress.opened(stream.duration)
                    failed: list[Error] = []
                    yield (recording, not more), _blocks(stream.blocks, path, recording, progress, failed)
                if failed and more:  # the other channels are not worth the time
                    yield (recording, True), failed[0]
                    return
                number = number and number + 1
    except Error as error:
        yield (recording, True), error
    except OSError as error:
        yield (recording, True), Error(f"{recording.path}: it cannot be read: {error}")


def _blocks(
    blocks: Iterable[NDArray[np.float32]], path: str, recording: Recording, progress: Progress, failed: list[Error]
) -> Iterator[NDArray[np.float32]]:
    from asr.audio import SAMPLE_RATE

    try:
        with sources.renamed(path, recording.path):
            for block in blocks:
                yield block
                progress.heard(len(block) / SAMPLE_RATE)
    except Error as error:
        failed.append(error)
        raise


def _side_by_side(channels: Sequence[Transcript | Error]) -> Transcript | Error:
    """The transcripts of all channels of a recording in one."""
    for result in channels:
        if isinstance(result, Error):
            return result
    segments = [
        replace(segment, channel=number)
        for number, transcript in enumerate(channels, 1)
        for segment in transcript.segments
    ]
    segments.sort(key=lambda segment: (segment.start, segment.channel))
    return Transcript(tuple(segments), max(transcript.duration for transcript in channels))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m asr.transcribe",
        description="Turn recordings of speech, of any length and format, into text, with times or as subtitles.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="recordings in any format that soundfile or an installed ffmpeg reads; folders, searched recursively; "
        "patterns; - for standard input",
    )
    arguments.add_argument(
        "--manifest", type=Path, help="recordings, or parts of them, that a manifest or folder names"
    )
    arguments.add_argument("--split", help="only this split of the manifest")
    arguments.add_argument(
        "--channel",
        type=_channel,
        default=MIX,
        metavar="N|mix|each",
        help="one channel, from 1; the mean of all; or each by itself (default: mix)",
    )
    output = arguments.add_argument_group("output")
    output.add_argument(
        "--format",
        choices=(*FORMATS, ALL),
        help="txt: a line for each segment; json: all that is known; srt, vtt: subtitles; tsv, ctm, textgrid: tables "
        "for other programs; all takes --output-dir (default: the text in one line)",
    )
    output.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="write a file for each recording and format here; files of the same name are replaced, but none in the "
        "folder of the recording itself",
    )
    output.add_argument("--skip-existing", action="store_true", help="leave out recordings whose files are there")
    output.add_argument(
        "--n-best",
        type=command.count,
        default=1,
        metavar="N",
        help="list so many alternatives of each segment in json, by beam search",
    )
    command.add_model(arguments)
    return arguments


def _channel(text: str) -> str | int:
    return text if text in (MIX, EACH) else command.count(text)


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Status 1 if a recording could not be transcribed; the others are."""
    options = parser().parse_args(argv)
    check_usage(options)
    from asr.reading import Reader  # starts its process while torch is being imported

    with Reader() as reader:
        recognizer = command.load_model(options)
        recordings = _recordings(options)
        written = Output(options, _are_many(options))
        with Progress() as progress:
            status = 0
            wanted = written.wanted(recordings)
            results = transcribe(recognizer, reader, wanted, options.channel, options.n_best, progress)
            for recording, result in results:
                if recording is None or isinstance(result, Error):
                    progress.say(f"error: {escaped(str(result))}")
                    status = command.FAILED
                else:
                    try:
                        written.add(recording, result)
                    except OSError as error:
                        if options.output_dir is None or error.errno in OF_ALL:
                            raise
                        progress.say(f"error: {escaped(str(error))}")
                        status = command.FAILED
    return status


def check_usage(options: argparse.Namespace) -> None:
    """See that the options belong together, before any work is done.

    Raises:
        command.UsageError: they do not; says which, and what to do.
    """
    if not options.files and options.manifest is None:
        raise command.UsageError("name what to transcribe: files, folders, - for standard input, or --manifest FILE")
    if options.output_dir is not None and options.output_dir.exists() and not options.output_dir.is_dir():
        raise command.UsageError(f"--output-dir {options.output_dir}: a file, expected a folder or a new name")
    if options.split and options.manifest is None:
        raise command.UsageError("--split belongs to --manifest")
    if options.output_dir is None:
        if options.skip_existing:
            raise command.UsageError("--skip-existing belongs to --output-dir")
        if options.format == ALL:
            raise command.UsageError("--format all writes several files; say where (--output-dir DIR)")
        if options.format not in (None, *OF_MANY) and _are_many(options):
            raise command.UsageError(
                f"--format {options.format} holds one recording; name a folder for the files (--output-dir DIR), or "
                f"choose {' or '.join(OF_MANY)}"
            )
    if options.n_best > 1 and options.format not in ("json", ALL):
        raise command.UsageError("--n-best lists alternatives in json; choose --format json")
    if options.n_best > 1 and options.beam_size == 1:
        raise command.UsageError("--n-best lists what beam search finds; choose a --beam-size above 1")


def _are_many(options: argparse.Namespace) -> bool:
    """Whether there may be several recordings, so that each is labelled."""
    return options.manifest is not None or len(options.files) > 1 or not _is_one(options.files[0])


def _is_one(source: str) -> bool:
    found = list(sources.recordings([source])) if not os.path.isdir(source) else []
    return len(found) == 1 and (isinstance(found[0], Error) or found[0].path == source)


def _recordings(options: argparse.Namespace) -> Iterable[Recording | Error]:
    """What is to be transcribed; where names matter, no two recordings have the same.

    Raises:
        command.UsageError: two would have.
    """
    named = sources.recordings(options.files)
    if options.manifest is not None:
        named = [*named, *sources.of_manifest(options.manifest, options.split)]
    if options.output_dir is None and options.format != "ctm":
        return named
    named, names = sources.apart(list(named)), {}
    for recording in named:
        if isinstance(recording, Error):
            continue
        name = ctm_name(recording.name) if options.output_dir is None else recording.name
        if names.setdefault(name, recording) != recording:
            raise command.UsageError(
                f"{recording.path} and {names[name].path} would both be written as {name}; "
                "give them other names, or transcribe them one after the other"
            )
    return named


if __name__ == "__main__":
    sys.exit(command.run(main))
