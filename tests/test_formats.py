"""Every format, written to a file and read back by a library of others."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import parselmouth
import pytest
import srt
import webvtt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from parselmouth.praat import call

import asr
from asr import formats
from asr.labels import read_labels
from asr.subtitles import cues, one_line
from asr.transcript import Alternative, Segment, Transcript, Word

HOURS = 3600.0


def segment(text: str, start: float, *, channel: int | None = None, confidence: float | None = 0.5) -> Segment:
    """Words of 0.3 s, with 0.1 s between them."""
    words = [Word(token, start + 0.4 * i, start + 0.4 * i + 0.3, confidence) for i, token in enumerate(text.split(" "))]
    return Segment(text, start, words[-1].end, tuple(words), channel)


TALK = Transcript((segment("good morning", 0.5), segment("how are you", 2.0, confidence=None)), 10.0)
CHANNELS = Transcript(
    (segment("good morning", 0.5, channel=1), segment("hello there", 0.75, channel=2), segment("yes", 3.0, channel=1)),
    10.0,
)
NOTHING = Transcript((), 10.0)
NO_TIME = Transcript((), 0.0)
LONG = Transcript((segment("after a hundred hours", 100 * HOURS + 0.001),), 101 * HOURS)
MARKUP = [
    "-->",
    "---->",
    "00:00:01,000 --> 00:00:02,000",
    "x\n\n2\n00:00:05,000 --> 00:00:06,000\ny",
    "<b>&amp;</b>",
    "</v><v Eve>",
    "<00:00:01.000>",
    'say "hello"',
    '"',
    '""\n"',
    "a\tb",
    "a\r\nb\x85c\u2028d\u2029e\x0bf\x0cg",
    "\x00\x1b[31m",
    "NOTE",
    "WEBVTT",
    "STYLE",
    ";; comment",
    ";;",
    "2024",
    "intervals [1]:",
    "xmin = 0",
    "tab\\tescaped \\n",
    "{\\an8}",
    "שלום, עולם",
    "e\u0301\u200d",
    "non\u00a0breaking\u202f?",
    "\ufeffmark",
    "=1+1",
    " ",
    "",
]


EVERY = Transcript(tuple(segment(text, 3.0 * i) for i, text in enumerate(MARKUP)), 120.0)
KINDS = {"talk": TALK, "channels": CHANNELS, "nothing": NOTHING, "no time": NO_TIME, "long": LONG, "hostile": EVERY}
kinds = pytest.mark.parametrize("transcript", KINDS.values(), ids=KINDS.keys())


@st.composite
def hostile(draw: st.DrawFn) -> Transcript:
    """Segments of one word that may be anything, of no length or some."""
    anything = st.sampled_from(MARKUP) | st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    segments, time = [], 0.0
    for text in draw(st.lists(anything, max_size=6)):
        start = time + draw(st.sampled_from([0.0, 0.5]))
        time = start + draw(st.sampled_from([0.0, 0.0004, 1.0]))
        channel = draw(st.sampled_from([None, 1, 2]))
        segments.append(Segment(text, start, time, (Word(text, start, time, 0.25),), channel))
    return Transcript(tuple(segments), time + draw(st.sampled_from([0.0, 2.0])))


def written(folder: Path, transcript: Transcript, format: str, name: str = "recording") -> Path:
    path = folder / f"x{formats.FORMATS[format].suffix}"
    formats.write(path, transcript, format, name)
    return path


def spoken(transcript: Transcript) -> list[Segment]:
    return [segment for segment in transcript.segments if one_line(segment.text)]


@kinds
def test_srt_file(tmp_path: Path, transcript: Transcript) -> None:
    check_srt(written(tmp_path, transcript, "srt").read_text("utf-8"), transcript)


@settings(deadline=None)
@given(hostile())
def test_srt_of_anything(transcript: Transcript) -> None:
    check_srt(formats.render(transcript, "srt"), transcript)


def check_srt(content: str, transcript: Transcript) -> None:
    found = list(srt.parse(content))  # which refuses what stands between cues
    expected = cues(transcript)
    assert [cue.index for cue in found] == list(range(1, len(expected) + 1))
    for cue, mine in zip(found, expected, strict=True):
        assert (cue.start, cue.end) == (timedelta(milliseconds=mine.start), timedelta(milliseconds=mine.end))
        assert cue.content == re.sub("--+>", "->", "\n".join(mine.lines))


@kinds
def test_vtt_file(tmp_path: Path, transcript: Transcript) -> None:
    path = written(tmp_path, transcript, "vtt")
    assert path.read_bytes().startswith(b"WEBVTT\n")
    check_vtt(webvtt.read(path, strict=True), transcript)


@settings(deadline=None)
@given(hostile())
def test_vtt_of_anything(transcript: Transcript) -> None:
    check_vtt(webvtt.from_string(formats.render(transcript, "vtt"), strict=True), transcript)


def check_vtt(found: webvtt.WebVTT, transcript: Transcript) -> None:
    for caption, mine in zip(found, cues(transcript), strict=True):
        assert milliseconds(caption.start) == mine.start and milliseconds(caption.end) == mine.end
        assert caption.voice == (mine.channel and f"Channel {mine.channel}")
        text = caption.raw_text.removeprefix(f"<v {caption.voice}>")
        assert "<" not in text and ">" not in text and html.unescape(text) == "\n".join(mine.lines)


def milliseconds(clock: str) -> int:
    hours, minutes, seconds, thousandths = map(int, re.split("[:.]", clock))
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + thousandths


@kinds
def test_tsv_file(tmp_path: Path, transcript: Transcript) -> None:
    check_tsv(written(tmp_path, transcript, "tsv").read_text("utf-8"), transcript)


@settings(deadline=None)
@given(hostile())
def test_tsv_of_anything(transcript: Transcript) -> None:
    check_tsv(formats.render(transcript, "tsv"), transcript)


def check_tsv(content: str, transcript: Transcript) -> None:
    rows = list(csv.DictReader(io.StringIO(content, newline=""), dialect="excel-tab", quoting=csv.QUOTE_NONE))
    for row, mine in zip(rows, spoken(transcript), strict=True):
        assert set(row) == {"start", "end", "text"}
        assert int(row["start"]) / 1000 == pytest.approx(mine.start, abs=0.0005)
        assert int(row["end"]) / 1000 == pytest.approx(mine.end, abs=0.0005)
        assert row["text"] == one_line(mine.text)


@kinds
def test_txt_file(tmp_path: Path, transcript: Transcript) -> None:
    lines = written(tmp_path, transcript, "txt").read_text("utf-8").splitlines()
    assert lines == [one_line(segment.text) for segment in spoken(transcript)]


@kinds
def test_json_file(tmp_path: Path, transcript: Transcript) -> None:
    content = written(tmp_path, transcript, "json").read_bytes()
    assert content.count(b"\n") == 1 and b"\\u05" not in content
    found = json.loads(content)
    assert found["text"] == transcript.text and found["duration"] == transcript.duration
    for row, mine in zip(found["segments"], transcript.segments, strict=True):
        assert (row["text"], row["start"], row["end"]) == (mine.text, mine.start, mine.end)
        assert row["channel"] == mine.channel and [Word(**word) for word in row["words"]] == list(mine.words)


def test_json_has_the_alternatives() -> None:
    best = (Alternative("ja", -1.5), Alternative("jaa", -2.0))
    (found,) = json.loads(formats.render(Transcript((Segment("ja", 0.0, 1.0, (), None, best),), 1.0), "json"))[
        "segments"
    ]
    assert [Alternative(**row) for row in found["alternatives"]] == list(best)


@kinds
def test_textgrid_file(tmp_path: Path, transcript: Transcript) -> None:
    check_textgrid(written(tmp_path, transcript, "textgrid"), transcript)


@settings(deadline=None)
@given(hostile())
def test_textgrid_of_anything(tmp_path_factory: pytest.TempPathFactory, transcript: Transcript) -> None:
    path = tmp_path_factory.mktemp("grids") / "x.TextGrid"
    path.write_text(formats.render(transcript, "textgrid"), "utf-8")
    check_textgrid(path, transcript)


def check_textgrid(path: Path, transcript: Transcript) -> None:
    """By Praat itself."""
    grid = parselmouth.read(str(path))
    assert grid.xmin == 0 and grid.xmax >= round(transcript.duration, 3)
    channels = sorted({segment.channel or 0 for segment in transcript.segments}) or [0]
    tiers = []
    for channel in channels:
        segments = [segment for segment in transcript.segments if (segment.channel or 0) == channel]
        prefix = f"Channel {channel} - " if channel else ""
        words = [word for segment in segments for word in segment.words]
        tiers += [(f"{prefix}segments", segments), (f"{prefix}words", words)]
    assert [call(grid, "Get tier name", i) for i in range(1, call(grid, "Get number of tiers") + 1)] == [
        name for name, _ in tiers
    ]
    for i, (_, spans) in enumerate(tiers, 1):
        intervals = list(intervals_of(grid, i))
        assert intervals[0][0] == 0 and intervals[-1][1] == grid.xmax
        assert all(start < end for start, end, _ in intervals)
        assert all(end == start for (_, end, _), (start, _, _) in pairwise(intervals))
        filled = [interval for interval in intervals if interval[2]]
        texts = [(span, as_praat_has_it(span.text)) for span in spans]
        for found, (span, text) in zip(filled, [pair for pair in texts if pair[1]], strict=True):
            # to 10 ms: neighbours without length are moved by 1 ms each
            assert found == (pytest.approx(span.start, abs=0.01), pytest.approx(span.end, abs=0.01), text)


def intervals_of(grid: parselmouth.Data, tier: int) -> Iterator[tuple[float, float, str]]:
    for i in range(1, call(grid, "Get number of intervals", tier) + 1):
        times = (call(grid, f"Get {edge} time of interval", tier, i) for edge in ("start", "end"))
        yield (*times, as_praat_has_it(call(grid, "Get label of interval", tier, i)))


def as_praat_has_it(text: str) -> str:
    """It composes and decomposes letters, and takes byte order marks for what they are called."""
    return unicodedata.normalize("NFC", one_line(text).replace("\ufeff", ""))


def check_ctm(content: str, transcript: Transcript, name: str) -> None:
    rows = [line.split() for line in content.split("\n")[:-1]]
    words = [(s.channel or 0, w) for s in spoken(transcript) for w in s.words if one_line(w.text)]
    for row, (channel, word) in zip(rows, sorted(words, key=lambda pair: pair[0]), strict=True):
        assert row[:2] == [name, str(channel or 1)]
        assert float(row[2]) == pytest.approx(word.start, abs=0.0005001)
        assert float(row[3]) == pytest.approx(word.end - word.start, abs=0.0010001)
        assert row[4] == re.sub(r"\s", "_", one_line(word.text))
        assert [float(field) for field in row[5:]] == ([] if word.confidence is None else [word.confidence])


@kinds
def test_ctm_file(tmp_path: Path, transcript: Transcript) -> None:
    check_ctm(written(tmp_path, transcript, "ctm").read_text("utf-8"), transcript, "recording")


@settings(deadline=None)
@given(hostile())
def test_ctm_of_anything(transcript: Transcript) -> None:
    check_ctm(formats.render(transcript, "ctm", ";; an  odd\nname\t;"), transcript, "___an_odd_name__")


def test_nist_scores_the_ctm(nist: str, tmp_path: Path) -> None:
    """sclite reads the words, where they are and in which channel."""
    written(tmp_path, CHANNELS, "ctm", ";; a b")
    reference = [
        "___a_b 1 anna 0.0 2.5 good morning",
        "___a_b 1 anna 2.5 5.0 yes",
        "___a_b 2 bert 0.0 5.0 hello bear",  # for "there"
    ]
    (tmp_path / "x.stm").write_text("\n".join(reference) + "\n")
    line = [nist, "sclite", "-r", "x.stm", "stm", "-h", "x.ctm", "ctm", "-o", "pralign", "stdout"]
    printed = subprocess.run(line, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    counts = re.findall(r"id: \((\w+)-\d+\)\s[^(]*Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", printed)
    assert sorted(counts) == [
        ("anna", "1", "0", "0", "0"),
        ("anna", "2", "0", "0", "0"),
        ("bert", "1", "1", "0", "0"),
    ]


@pytest.mark.parametrize("format", ["vtt", "textgrid"])
def test_channels_come_back_as_speakers(tmp_path: Path, format: str) -> None:
    """What was transcribed can be trained on."""
    segments = (segment("good morning", 0.5, channel=1), segment("hello there", 2.75, channel=2))
    labels = read_labels(written(tmp_path, Transcript(segments, 10.0), format))
    assert [(label.start, label.text, label.speaker) for label in labels] == [
        (0.5, "good morning", "Channel 1"),
        (2.75, "hello there", "Channel 2"),
    ]


def test_hundred_hours() -> None:
    """Hours take as many digits as they need."""
    times = {"srt": "100:00:00,001 --> 100:00:01,", "vtt": "100:00:00.001 --> 100:00:01.", "tsv": "360000001\t3600015"}
    times |= {"ctm": "recording 1 360000.001 0.300 after 0.500", "textgrid": "xmin = 360000.001\n"}
    for format, expected in times.items():
        assert expected in formats.render(LONG, format)


def test_files_are_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    """Half of a surrogate pair, as in the names of files that are not Unicode, is written as an escape."""
    transcript = Transcript((Segment("né \udc80", 0.0, 1.0, (Word("né", 0.0, 0.5), Word("\udc80", 0.5, 1.0))),), 1.0)
    for format in formats.FORMATS:
        content = written(tmp_path, transcript, format, "a\udcff").read_bytes()
        assert "né".encode() in content and b"\\udc80" in content and b"\r" not in content
        assert content.decode("utf-8").endswith("\n")
    assert json.loads((tmp_path / "x.json").read_bytes())["text"] == transcript.text


@given(st.text())
@example("\u00a0")
def test_one_line(text: str) -> None:
    found = one_line(text)
    assert found == one_line(found) == found.strip(" ") and len(f"{found}.".splitlines()) == 1
    assert "".join(found.split()) == "".join(re.sub(r"[\x00-\x1f\x7f-\x9f]", "", text).split())


def test_unknown_format() -> None:
    with pytest.raises(asr.Error, match="format 'doc': expected one of txt, json, srt, vtt, tsv, ctm, textgrid"):
        formats.render(TALK, "doc")


def test_formats_are_light() -> None:
    """Neither torch nor numpy is loaded."""
    code = "import asr.formats, sys; sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
