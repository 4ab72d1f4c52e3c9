"""The formats of a transcript: text, JSON, subtitles (SRT, WebVTT), tables (TSV, NIST's CTM), Praat's TextGrid.

All are UTF-8 and hold times in whole milliseconds, JSON aside, which has what the transcript has. What a text could do
to a format is undone: control characters and line breaks become spaces, and marks of the format are written as it asks.
Where the channels of a recording were kept apart, JSON, WebVTT (as voices), CTM and TextGrid (as tiers) say which.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr import Error
from asr.files import replacing
from asr.subtitles import Cue, by_channel, cues, disjoint, milliseconds, one_line
from asr.transcript import Segment, Transcript, Word


@dataclass(frozen=True)
class Format:
    """How a transcript is written.

    Args:
        suffix: of its files, with the dot.
        render: from a transcript and the name of its recording to the whole file.
    """

    suffix: str
    render: Callable[[Transcript, str], str]


def render(transcript: Transcript, format: str, name: str = "recording") -> str:
    """A transcript as the text of a file.

    Args:
        format: one of `FORMATS`.
        name: of the recording, which CTM holds; by custom that of the file without its suffix.

    Raises:
        asr.Error: there is no such format.
    """
    if format not in FORMATS:
        raise Error(f"format {format!r}: expected one of {', '.join(FORMATS)}")
    return FORMATS[format].render(transcript, name)


def write(path: Path, transcript: Transcript, format: str, name: str = "recording") -> None:
    """Write a transcript to a file, which is never seen half written; see `render`.

    Raises:
        asr.Error: there is no such format.
        OSError: it cannot be written.
    """
    # Half of a surrogate pair is no text in UTF-8; its escape is, and in JSON means the same.
    content = render(transcript, format, name).encode("utf-8", "backslashreplace")
    with replacing(path) as file:
        file.write(content)


def _txt(transcript: Transcript, _name: str) -> str:
    """A line for each segment."""
    return _lines(text for _, text in _texts(transcript))


def _tsv(transcript: Transcript, _name: str) -> str:
    """A line for each segment, start and end in milliseconds, as whisper writes it: quotes mean nothing."""
    rows = (f"{milliseconds(found.start)}\t{milliseconds(found.end)}\t{text}" for found, text in _texts(transcript))
    return _lines(["start\tend\ttext", *rows])


def _texts(transcript: Transcript) -> Iterator[tuple[Segment, str]]:
    """The segments that say anything, and what that is on one line."""
    for segment in transcript.segments:
        if text := one_line(segment.text):
            yield segment, text


def _json(transcript: Transcript, _name: str) -> str:
    """One line, so that several make a file of JSON Lines."""
    return _lines([json.dumps(transcript.to_dict(), ensure_ascii=False, allow_nan=False)])


def _srt(transcript: Transcript, _name: str) -> str:
    """SubRip. It has no way to write an arrow --> for what it is: it becomes ->."""
    blocks = []
    for number, cue in enumerate(cues(transcript), 1):
        text = re.sub("-{2,}>", "->", "\n".join(cue.lines))
        blocks.append(f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{text}\n")
    return "\n".join(blocks)


def _vtt(transcript: Transcript, _name: str) -> str:
    """WebVTT (W3C, 2019)."""
    blocks = ["WEBVTT\n"]
    for cue in cues(transcript):
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_vtt_text(cue)}\n")
    return "\n".join(blocks)


def _vtt_text(cue: Cue) -> str:
    text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return text if cue.channel is None else f"<v Channel {cue.channel}>{text}"


def _clock(milliseconds: int, point: str) -> str:
    """Hours, of two digits or more, minutes, seconds and milliseconds."""
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{thousandths:03}"


def _ctm(transcript: Transcript, name: str) -> str:
    """A line for each word: recording, channel, start, duration in seconds, word and, where known, confidence.

    As NIST's tools want it, sorted by channel, which is 1 where channels were mixed, and by time. A field ends at white
    space, and ;; at the beginning of a line makes it a comment: _ stands for white space, and in names for ; as well.
    """
    recording = ctm_name(name)
    rows = []
    for channel, segments in by_channel(transcript).items():
        for word in (word for segment in segments for word in segment.words if one_line(word.text)):
            start, end = milliseconds(word.start), milliseconds(word.end)
            times = f"{_seconds(start)} {_seconds(end - start)}"
            confidence = "" if word.confidence is None else f" {word.confidence:.3f}"
            rows.append(f"{recording} {channel or 1} {times} {_field(word.text)}{confidence}")
    return _lines(rows)


def ctm_name(name: str) -> str:
    """What CTM calls a recording; see `_ctm`."""
    return _field(name).replace(";", "_") or "_"


def _field(text: str) -> str:
    return re.sub(r"\s", "_", one_line(text))


def textgrid(transcript: Transcript, _name: str, characters: Sequence[Word] = ()) -> str:
    """Praat's long text format: a tier of segments and one of words, for each channel where they were kept apart.

    The intervals of a tier fill the recording; those without text are silence. The tiers of a channel have names like
    "Channel 1 - words", as forced aligners give them to those of a speaker.

    Args:
        characters: in the order of time, for a tier of their own, if there are any.
    """
    tiers = []
    for channel, segments in (by_channel(transcript) or {None: []}).items():
        of_channel = "" if channel is None else f"Channel {channel} - "
        words = [word for segment in segments for word in segment.words]
        tiers += [(f"{of_channel}segments", segments), (f"{of_channel}words", words)]
    if characters:
        tiers.append(("characters", characters))
    limit = max(milliseconds(transcript.duration), *(len(tier) for _, tier in tiers), 1)
    head = [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        f"xmax = {_seconds(limit)}",
        "tiers? <exists>",
        f"size = {len(tiers)}",
        "item []:",
    ]
    body = (line for i, (title, spans) in enumerate(tiers, 1) for line in _tier(i, title, spans, limit))
    return _lines([*head, *body])


def _tier(number: int, title: str, spans: Sequence[Segment | Word], limit: int) -> Iterator[str]:
    """The lines of a tier, whose last interval ends at the limit, in milliseconds."""
    intervals = list(_intervals(spans, limit))
    yield f"    item [{number}]:"
    yield '        class = "IntervalTier"'
    yield f'        name = "{title}"'
    yield "        xmin = 0"
    yield f"        xmax = {_seconds(limit)}"
    yield f"        intervals: size = {len(intervals)}"
    for i, (start, end, text) in enumerate(intervals, 1):
        yield f"        intervals [{i}]:"
        yield f"            xmin = {_seconds(start)}"
        yield f"            xmax = {_seconds(end)}"
        yield '            text = "{}"'.format(text.replace('"', '""'))


def _intervals(spans: Sequence[Segment | Word], limit: int) -> Iterator[tuple[int, int, str]]:
    """Start, end and text of intervals without a gap from 0 to the limit."""
    spans = [span for span in spans if one_line(span.text)]
    times = disjoint([(milliseconds(span.start), milliseconds(span.end)) for span in spans], limit)
    reached = 0
    for span, (start, end) in zip(spans, times, strict=True):
        if start > reached:
            yield reached, start, ""
        yield start, end, one_line(span.text)
        reached = end
    if reached < limit:
        yield reached, limit, ""


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds // 1000}.{milliseconds % 1000:03}"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


FORMATS: Mapping[str, Format] = {
    "txt": Format(".txt", _txt),
    "json": Format(".json", _json),
    "srt": Format(".srt", _srt),
    "vtt": Format(".vtt", _vtt),
    "tsv": Format(".tsv", _tsv),
    "ctm": Format(".ctm", _ctm),
    "textgrid": Format(".TextGrid", textgrid),
}
