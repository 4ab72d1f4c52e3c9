"""Labels of recordings, against independent writers: the packages srt, webvtt-py and praatio, and Praat itself."""

import datetime
from pathlib import Path

import parselmouth
import pytest
import srt
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid

from asr.corpus import CorpusError, Utterance, read
from asr.formats import write
from asr.labels import LabelError, read_labels, read_tiers
from asr.transcript import Segment, Transcript, Word

WORDS = st.text(
    st.characters(codec="utf-8", exclude_characters='<>[](){}&"#♪♫\\|', exclude_categories=("C", "Z")), min_size=1
)
TEXTS = st.lists(WORDS, min_size=1, max_size=4).map(" ".join).filter(lambda text: "--" not in text)
TIMES = st.lists(st.integers(0, 5_000_000), min_size=2, max_size=12, unique=True).map(sorted)  # ms, in pairs


@st.composite
def cues(draw) -> list[tuple[float, float, str]]:
    """(start, end, text), in order, without overlap; seconds in whole milliseconds."""
    times = [time / 1000 for time in draw(TIMES)]
    return [(start, end, draw(TEXTS)) for start, end in zip(times[::2], times[1::2], strict=False)]


def _read(folder: Path, name: str, text: str, encoding: str = "utf-8") -> list[tuple[float, float, str, str | None]]:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return [(label.start, label.end, label.text, label.speaker) for label in read_labels(path)]


def _unnamed(expected: list[tuple[float, float, str]]) -> list[tuple[float, float, str, None]]:
    return [(start, end, text, None) for start, end, text in expected]


# Subtitles


@given(cues())
@settings(max_examples=60, deadline=None)
def test_subrip_as_srt_writes_it(tmp_path_factory, expected) -> None:
    delta = [datetime.timedelta(milliseconds=round(1000 * time)) for cue in expected for time in cue[:2]]
    subtitles = [srt.Subtitle(i, *delta[2 * i : 2 * i + 2], text) for i, (_, _, text) in enumerate(expected)]
    text = srt.compose(subtitles)
    folder = tmp_path_factory.mktemp("srt")
    assert _read(folder, "x.srt", text) == _unnamed(expected)
    assert _read(folder, "windows.srt", "\ufeff" + text.replace("\n", "\r\n")) == _unnamed(expected)


@given(cues())
@settings(max_examples=60, deadline=None)
def test_webvtt_as_webvtt_py_writes_it(tmp_path_factory, expected) -> None:
    captions = webvtt.WebVTT()
    for start, end, text in expected:
        captions.captions.append(webvtt.Caption(_clock(start), _clock(end), text))
    assert _read(tmp_path_factory.mktemp("vtt"), "x.vtt", captions.content) == _unnamed(expected)


def _clock(seconds: float) -> str:
    minutes, milliseconds = divmod(round(1000 * seconds), 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{milliseconds // 1000:02}.{milliseconds % 1000:03}"


def test_what_webvtt_may_have_beside_text(tmp_path: Path) -> None:
    text = (
        "WEBVTT - of a talk\nKind: captions\n\nSTYLE\n::cue { color: red }\n\nNOTE nobody\nreads this\n\n"
        "intro\n00:01.000 --> 00:02.500 align:start position:10%\n<v.loud Anna Maria>Well, <i>R&amp;D</i></v>\n"
        "is <00:02.000><c.yellow>fun</c>\n\n"
        "100:00:00.000 --> 100:00:01.000\n<v Bo>Yes.</v> <v Anna Maria>No.</v>\n\n"
        "00:03.000 --> 00:04.000\n[applause]\n\n00:05.000 --> 00:06.000\n(laughs)\n\n"
        "00:06.000 --> 00:07.000\n♪ la la ♪\n\n"
        "00:07.000 --> 00:08.000\n[sighs] a < b (or so)\n"
    )
    assert _read(tmp_path, "x.vtt", text) == [
        (1.0, 2.5, "Well, R&D is fun", "Anna Maria"),
        (360000.0, 360001.0, "Yes. No.", None),
        (7.0, 8.0, "a < b (or so)", None),
    ]


def test_subrip_with_tags_positions_and_sounds(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000 X1:10 X2:20 Y1:1 Y2:2\n"
        '{\\an8}<font color="red">two</font>\n<i>lines</i>\n\n'
        "2\n00:00:03.000 --> 00:00:04.000\n[door]\n\n\n"
        "00:00:05,000 --> 00:00:06,000\n1984\n\n3\n00:00:07,000 --> 00:00:08,000\n"
    )
    assert _read(tmp_path, "x.srt", text) == [(1.0, 2.0, "two lines", None), (5.0, 6.0, "1984", None)]


def test_subrip_as_other_programs_write_it(tmp_path: Path) -> None:
    text = (
        "1\n0:00:01.5 --> 00:00:02,25 position:50% line:0\ntwo\n\n42\n\nor three\n\n"
        "2\n\n00:00:05,000 --> 00:00:06,000\n1984\n\n3\n00:00:07,000 --> 00:00:08,000\nbye\n"
    )
    expected = [(1.5, 2.25, "two 42 or three", None), (5.0, 6.0, "1984", None), (7.0, 8.0, "bye", None)]
    assert _read(tmp_path, "x.srt", text) == expected


def test_blank_lines_in_cues_and_cues_without_time(tmp_path: Path) -> None:
    text = (
        "1\n00:00:01,000 --> 00:00:02,000\nhe came\n\n\nat 5:30,\n1984\n\n"
        "2\n00:00:03,000 --> 00:00:03,000\nnever seen\n\nnor this\n\n3\n00:00:04,000 --> 00:00:05,000\nbye\n"
    )
    assert _read(tmp_path, "x.srt", text) == [(1.0, 2.0, "he came at 5:30, 1984", None), (4.0, 5.0, "bye", None)]
    text = "WEBVTT\n\n00:01.000 --> 00:01.000\nnever seen\n\n00:04.000 --> 00:05.000\nbye\n"
    assert _read(tmp_path, "x.vtt", text) == [(4.0, 5.0, "bye", None)]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("x.srt", "1\n00:00:01,000 -> 00:00:02,000\nhi\n", "line 2: expected times such as .* found '00:00:01,000 ->"),
        ("x.srt", "and more\n\n1\n00:00:01,000 --> 00:00:02,000\nhi\n", "line 1: expected times .* 'and more'"),
        ("x.srt", "1\n00:00:01,000 --> 00:00:02,000\nhi\n\n0:00:03,000 -> 0:00:04,000\nyo", "line 5: expected times"),
        ("x.srt", "1\n00:00:01,000 --> 00:00:02,000\nhi\n\n2\n0:03.000 0:04.000\nyo", "line 6: expected times"),
        ("x.srt", "1\n00:00:02,000 --> 00:00:01,000\nhi\n", "line 2: the end is before the start"),
        ("x.srt", "1\n00:00:61,000 --> 00:01:01,000\nhi\n", "line 2: expected times"),
        ("x.vtt", "00:01.000 --> 00:02.000\nhi\n", "line 1: expected WEBVTT; found '00:01"),
        ("x.vtt", "WEBVTT\n00:01.000 --> 00:02.000\nhi\n", "line 2: expected an empty line"),
        ("x.vtt", "WEBVTT\n\n00:00:01,000 --> 00:00:02,000\nhi\n", "line 3: expected times such as 00:01.500 -->"),
        ("x.vtt", "WEBVTT\n\none\n\n", "line 3: expected times"),
        ("x.sbv", "0:00:01.000,0:00:02.000\nhi\n", "expected a name that ends in .srt, .vtt or .TextGrid"),
    ],
)
def test_malformed_subtitles_are_refused_with_the_line(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    with pytest.raises(LabelError, match=complaint):
        _read(tmp_path, name, text)


def test_what_is_no_unicode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match=r"x.srt, line 3: not UTF-8 .*convert it first"):
        _read(tmp_path, "x.srt", "1\n00:00:01,000 --> 00:00:02,000\ncafé\n", "latin-1")


# TextGrids


def _grid(
    folder: Path, form: str = "long_textgrid", blanks: bool = True, **tiers: list[tuple[float, float, str]]
) -> Path:
    """A TextGrid of tiers of (start, end, text), as praatio writes it; "__" in a tier's name becomes " - "."""
    grid = textgrid.Textgrid()
    longest = max(end for entries in tiers.values() for _, end, _ in entries)
    for name, entries in tiers.items():
        grid.addTier(textgrid.IntervalTier(name.replace("__", " - "), entries, 0, longest))
    grid.addTier(textgrid.PointTier("clicks", [(0.001, "x")], 0, longest))
    path = folder / "x.TextGrid"
    grid.save(str(path), form, includeBlankSpaces=blanks)
    return path


@given(cues(), st.sampled_from(["long_textgrid", "short_textgrid"]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_textgrids_as_praatio_writes_them(tmp_path_factory, expected, form: str, blanks: bool) -> None:
    path = _grid(tmp_path_factory.mktemp("grid"), form, blanks, utterances=expected)
    found = [(label.start, label.end, label.text) for label in read_labels(path)]
    assert found == expected


@pytest.mark.parametrize("command", ["Save as text file", "Save as short text file"])
@pytest.mark.parametrize("text", ['he said "so" ! twice', "né à Łódź, 3 <exists>"])  # ASCII; UTF-16, as Praat has it
def test_textgrids_as_praat_writes_them(tmp_path: Path, command: str, text: str) -> None:
    grid = parselmouth.praat.call("Create TextGrid", 0.0, 2.3, "ORT clicks", "clicks")
    parselmouth.praat.call(grid, "Insert boundary", 1, 1.5)
    parselmouth.praat.call(grid, "Insert point", 2, 0.7, "click")
    parselmouth.praat.call(grid, "Set interval text", 1, 1, text)
    parselmouth.praat.call(grid, f"{command}...", str(tmp_path / "x.TextGrid"))
    found = [(label.start, label.end, label.text, label.speaker) for label in read_labels(tmp_path / "x.TextGrid")]
    assert found == [(0.0, 1.5, text, None)]
    parselmouth.praat.call(grid, "Save as binary file...", str(tmp_path / "x.TextGrid"))
    with pytest.raises(LabelError, match="save it as a text file"):
        read_labels(tmp_path / "x.TextGrid")


def test_textgrids_with_comments_in_any_encoding(tmp_path: Path) -> None:
    text = (
        'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0 \nxmax = 2.3 \ntiers? <exists> \nsize = 1 \n'
        'item []: \n    item [1]:\n        class = "IntervalTier" \n        name = "ORT 2" \n        xmin = 0 \n'
        "        xmax = 2.3 \n        intervals: size = 2 \n        intervals [1]:\n            xmin = 0 \n"
        '            xmax = 1.5 \n            text = "he said ""né 3"" ! twice" ! "not" 4\n        intervals [2]:\n'
        '            xmin = 1.5 \n            xmax = 2.3 \n            text = "" \n'
    )
    for encoding in ("utf-8", "utf-16"):
        assert _read(tmp_path, "x.TextGrid", text, encoding) == [(0.0, 1.5, 'he said "né 3" ! twice', None)]


WORD_ENTRIES = [(0.0, 0.5, "so"), (0.5, 1.0, "it"), (1.2, 1.5, "is"), (2.0, 2.5, "then")]
PHONES = [(0.0, 0.2, "s"), (0.2, 0.5, "o")]


@pytest.mark.parametrize(
    ("tiers", "expected"),
    [
        # Words are joined at pauses; the speaker's name stands beside, as forced aligners write it.
        ({"words": WORD_ENTRIES, "phones": PHONES}, [(0.0, 1.5, "so it is", None), (2.0, 2.5, "then", None)]),
        ({"anna__words": WORD_ENTRIES[:3], "anna__phones": PHONES}, [(0.0, 1.5, "so it is", "anna")]),
        # A tier of utterances comes before one of words, and before others.
        ({"words": WORD_ENTRIES, "Sentences": [(0.0, 2.5, "So it is. Then?")]}, [(0.0, 2.5, "So it is. Then?", None)]),
        ({"translation": [(0.0, 2.0, "ja")], "ORT": [(0.0, 2.0, "yes")]}, [(0.0, 2.0, "yes", None)]),
        # A tier of any name, alone; two of them are speakers who now and then talk at once.
        ({"stuff": [(0.0, 2.0, "yes")], "notes": [(0.0, 1.0, "loud")]}, [(0.0, 2.0, "yes", None)]),
        (
            {"anna": [(0.0, 2.0, "yes"), (4.0, 9.0, "well")], "bo": [(1.8, 3.8, "no")]},
            [(0.0, 2.0, "yes", "anna"), (4.0, 9.0, "well", "anna"), (1.8, 3.8, "no", "bo")],
        ),
    ],
)
def test_which_tiers_are_what_is_said(tmp_path: Path, tiers: dict, expected: list) -> None:
    labels = read_labels(_grid(tmp_path, **tiers))
    assert [(label.start, label.end, label.text, label.speaker) for label in labels] == expected


def test_words_without_pauses_are_cut_before_they_get_too_long(tmp_path: Path) -> None:
    words = [(float(i), float(i + 1), f"w{i}") for i in range(40)]
    labels = read_labels(_grid(tmp_path, words=words))
    assert [label.end - label.start for label in labels] == [15.0, 15.0, 10.0]
    assert " ".join(label.text for label in labels) == " ".join(word for _, _, word in words)


def test_tiers_that_say_the_same_time_twice_are_refused(tmp_path: Path) -> None:
    path = _grid(tmp_path, german=[(0.0, 2.0, "ja")], english=[(0.5, 2.0, "yes")])
    with pytest.raises(LabelError, match=r"'german' and 'english' have text at the same times.*'utterances'"):
        read_labels(path)


@pytest.mark.parametrize("kept", [0.1, 0.4, 0.8, 0.97])
def test_a_textgrid_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = _grid(tmp_path, words=WORD_ENTRIES)
    text = path.read_text(encoding="utf-8")
    with pytest.raises(LabelError, match=r"x.TextGrid, line \d+: (cut short|expected)"):
        read_tiers(path, text[: int(kept * len(text))])


def test_what_is_no_textgrid_is_refused(tmp_path: Path) -> None:
    for text in ("hello", '"ooTextFile" "PitchTier" 0 1', '"ooTextFile" "TextGrid" 0 1 <exists> 1 "Tier" "a" 0 1 0'):
        with pytest.raises(LabelError, match="expected"):
            _read(tmp_path, "x.TextGrid", text)
    with pytest.raises(LabelError, match="save it as a text file"):
        _read(tmp_path, "x.TextGrid", "ooBinaryFile\x08TextGrid")
    backwards = '"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "a" 0 1 1 0.5 0.5 "x"'
    for text in ('"ooTextFile" "TextGrid" 0 1 <exists> 1e999', backwards.replace("0.5 0.5", "0.5 1e999")):
        with pytest.raises(LabelError, match="too large"):
            _read(tmp_path, "x.TextGrid", text)
    with pytest.raises(LabelError, match=r"from 0.5 to 0.5 s; expected 0 <= start < end"):
        _read(tmp_path, "x.TextGrid", backwards)


# Folders


def test_a_folder_of_long_recordings_is_cut_by_its_labels(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("a.wav", "b.mp3", "deep/c.flac", "d.wav"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,200\none\n\n2\n00:00:03,000 --> 00:00:04,000\ntwo\n")
    (tmp_path / "a.txt").write_text("one two")  # of the whole
    (tmp_path / "b.VTT").write_text("WEBVTT\n\n00:00.000 --> 00:01.000\n<v Bo>three\n")
    _grid(tmp_path / "deep", words=[(0.5, 1.5, "four")]).rename(tmp_path / "deep" / "c.TextGrid")
    (tmp_path / "d.txt").write_text("five")
    (tmp_path / "lost.srt").write_text("nobody reads this")
    assert read(tmp_path) == [
        Utterance("a", tmp_path / "a.wav", "one", 1.2, offset=1.0),
        Utterance("a#2", tmp_path / "a.wav", "two", 1.0, offset=3.0),
        Utterance("b", tmp_path / "b.mp3", "three", 1.0, "Bo"),
        Utterance("d", tmp_path / "d.wav", "five"),
        Utterance("deep/c", tmp_path / "deep" / "c.flac", "four", 1.0, offset=0.5),
    ]


def test_recordings_whose_labels_cannot_be_read_are_named_together(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "a.srt").write_text("hello")
    (tmp_path / "b.srt").write_text("")
    (tmp_path / "b.vtt").write_text("WEBVTT\n")
    with pytest.raises(CorpusError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert "3 recordings without a text of their own" in message
    assert "a.srt, line 1: expected times" in message
    assert "b.wav has b.srt and b.vtt: keep one of them" in message
    assert "c.wav: no c.txt beside it, nor .srt, .vtt or .TextGrid" in message


@pytest.mark.parametrize("form", ["srt", "vtt", "textgrid"])
def test_what_this_project_writes_it_reads(tmp_path: Path, form: str) -> None:
    segments = [
        Segment("so it is", 0.5, 2.0, (Word("so", 0.5, 0.9), Word("it", 1.0, 1.2), Word("is", 1.3, 2.0))),
        Segment("then", 3.25, 4.0, (Word("then", 3.25, 4.0),)),
    ]
    suffix = "TextGrid" if form == "textgrid" else form
    write(tmp_path / f"x.{suffix}", Transcript(tuple(segments), 5.0), form)
    found = read_labels(tmp_path / f"x.{suffix}")
    assert [label.text for label in found] == ["so it is", "then"]
    for label, segment in zip(found, segments, strict=True):  # subtitles stay on the screen for a while
        assert label.start <= segment.start and segment.end <= label.end <= segment.end + 1.25
