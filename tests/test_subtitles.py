"""Cues: what they must keep whatever the words are, the cuts of least cost, and how text looks when it is cut."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import accumulate, chain, combinations, pairwise
from math import inf
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.subtitles import Cue, _Paragraph, _units, columns, cues, disjoint, one_line
from asr.transcript import Segment, Transcript, Word


def said(text: str, *, rate: float = 15, pauses: dict[str, float] | None = None, start: float = 0.0) -> Segment:
    """A segment of words spoken at so many characters a second, with pauses, in seconds, before some of them."""
    words, time = [], start
    for token in text.split():
        time += (pauses or {}).get(token, 0)
        words.append(Word(token, time, time + len(token) / rate))
        time += (len(token) + 1) / rate
    return Segment(text, start, words[-1].end, tuple(words))


def transcript(*segments: Segment, duration: float | None = None) -> Transcript:
    return Transcript(segments, max(segment.end for segment in segments) if duration is None else duration)


def lines(found: list[Cue]) -> list[tuple[str, ...]]:
    return [cue.lines for cue in found]


plain = st.text("abcdefg", min_size=1, max_size=14)
wild = st.one_of(
    plain,
    st.text("字。（）あｗ한", min_size=1, max_size=60),
    st.text("aé\u0301\u200dשלום👩👧🏽", min_size=1, max_size=60),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=100),
    st.sampled_from(["", " ", "\n\n", "a" * 100, "-->", "New York", "\u00a0", "e" + "\u0301" * 200, "x\u2028y"]),
)
seconds = st.sampled_from([0.0, 0.0, 0.05, 0.1, 0.3, 0.7, 2.0, 9.0]) | st.floats(0, 1)


@st.composite
def transcripts(draw: st.DrawFn, tokens: st.SearchStrategy[str]) -> Transcript:
    """Segments of one or two channels, or of all mixed, with words that start in order, at any times."""
    segments, end = [], 0.0
    for channel in draw(st.sampled_from([(None,), (1,), (1, 2)])):
        time = draw(seconds)
        for _ in range(draw(st.integers(0, 4))):
            words, start = [], time
            for text in draw(st.lists(tokens, max_size=25)):
                first = time + draw(seconds)
                time = first + draw(seconds)
                words.append(Word(text, first, time + draw(st.sampled_from([0.0, 0.0, 0.2]))))
            glue = draw(st.sampled_from([" ", ""]))
            segments.append(Segment(glue.join(word.text for word in words), start, time, tuple(words), channel))
            time += draw(seconds)
        end = max(end, time + 0.2)
    return Transcript(tuple(sorted(segments, key=lambda segment: segment.start)), end + draw(seconds))


def channels_of(source: Transcript, found: list[Cue]) -> Iterator[tuple[list[Segment], list[Cue]]]:
    for channel in {segment.channel for segment in source.segments}:
        yield (
            [segment for segment in source.segments if segment.channel == channel],
            [cue for cue in found if cue.channel == channel],
        )


@settings(deadline=None)
@given(transcripts(wild))
@example(Transcript((Segment("a", 0, 0, (Word("a", 0, 0),)), Segment("b", 0, 0, (Word("b", 0, 0),))), 0.0))
@example(Transcript((Segment("a", 5, 5, tuple(Word("word" * 9, 5, 5) for _ in range(9))),), 5.0))
@example(Transcript((Segment("字" * 99, 1, 2),), 3.0))
def test_whatever_is_said(source: Transcript) -> None:
    """The limits that have no exceptions, and nothing lost, doubled or moved."""
    found = cues(source)
    assert [cue.start for cue in found] == sorted(cue.start for cue in found)
    for segments, own in channels_of(source, found):
        shown = "".join("".join(cue.lines) for cue in own)
        texts = [word.text for segment in segments for word in segment.words or [segment]]
        assert "".join(shown.split()) == "".join("".join(one_line(text) for text in texts).split())
        for cue in own:
            assert 1 <= len(cue.lines) <= 2
            for line in cue.lines:
                assert line.strip() and line == one_line(line) and columns(line) <= 42
            assert 0 <= cue.start < cue.end <= max(round(source.duration * 1000), len(own))
            assert cue.end - cue.start <= 7000
        for cue, following in pairwise(own):
            assert cue.end <= following.start


@settings(deadline=None)
@given(transcripts(plain))
def test_words_with_spaces_between_them(source: Transcript) -> None:
    """The limits that words must allow: whole words, segments apart, a second for each cue, no lonely last word."""
    segments = [Segment(" ".join(w.text for w in s.words), s.start, s.end, s.words, s.channel) for s in source.segments]
    source = Transcript(tuple(segments), source.duration)
    for segments, own in channels_of(source, cues(source)):
        shown = [[word for line in cue.lines for word in line.split(" ")] for cue in own]
        assert list(chain.from_iterable(shown)) == [word.text for segment in segments for word in segment.words]
        assert set(accumulate(len(segment.words) for segment in segments)) <= {0, *accumulate(map(len, shown))}
        followed_by = [*(cue.start for cue in own[1:]), round(source.duration * 1000)]
        for cue, following in zip(own, followed_by, strict=False):  # no cues: nothing but the end follows
            assert cue.end - cue.start >= min(1000, following - cue.start)
            upper, *lower = [line.split(" ") for line in cue.lines]
            if lower and len(lower[0]) == 1 and len(upper) > 1:
                assert columns(f"{upper[-1]} {lower[0][0]}") > 42


def total(paragraph: _Paragraph, cuts: list[int]) -> float:
    return sum(paragraph._cost(i, j) + paragraph.strain[j] for i, j in pairwise(cuts))


def long_enough(starts: list[int], cuts: list[int]) -> bool:
    return all(starts[j] - starts[i] >= 1000 for i, j in pairwise(cuts))


@settings(deadline=None)
@given(st.lists(st.tuples(st.text("ab,.", min_size=1, max_size=40), seconds, seconds), min_size=1, max_size=9), seconds)
def test_cuts_cost_least(tokens: list[tuple[str, float, float]], silence: float) -> None:
    """Against all ways to cut a segment."""
    words, time = [], 0.0
    for text, pause, length in tokens:
        words.append(Word(text, time + pause, time + pause + length))
        time = words[-1].end
    segment = Segment(" ".join(word.text for word in words), 0.0, time, tuple(words))
    until = round(1000 * (time + silence))
    paragraph = _Paragraph(_units(segment), until)
    inner = range(1, len(words))
    ways = [[0, *chosen, len(words)] for count in range(len(words)) for chosen in combinations(inner, count)]
    costs = [total(paragraph, way) for way in ways]
    assert total(paragraph, paragraph.cuts()) == pytest.approx(min(costs))
    starts = [*(round(1000 * word.start) for word in words), until]
    if any(cost < inf and long_enough(starts, way) for way, cost in zip(ways, costs, strict=True)):
        assert long_enough(starts, paragraph.cuts())


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=12), st.integers(0, 40))
def test_disjoint_spans(pairs: list[tuple[int, int]], limit: int) -> None:
    spans = sorted((start, start + length) for start, length in pairs)
    found = disjoint(spans, limit)
    assert all(start < end for start, end in found)
    assert all(end <= start for (_, end), (start, _) in pairwise(found))
    assert not spans or (found[0][0] >= 0 and found[-1][1] <= max(limit, len(spans)))
    fits = all(end <= start for (_, end), (start, _) in pairwise(spans)) and all(s < e <= limit for s, e in spans)
    assert not fits or found == spans


def test_cues_end_at_pauses() -> None:
    text = "he dropped back heavily into his chair by the fire and said nothing for a while then he went on"
    pauses = {"and": 0.4, "then": 0.5}
    assert lines(cues(transcript(said(text, pauses=pauses)))) == [
        ("he dropped back heavily", "into his chair by the fire"),
        ("and said nothing for a while", "then he went on"),
    ]


def test_a_long_pause_is_not_shown_through() -> None:
    """Both would fit into one cue, but what is said after 3 s would be read before."""
    segment = said("ten seconds he asked", pauses={"he": 3.0})
    assert lines(cues(transcript(segment, duration=9.0))) == [("ten seconds",), ("he asked",)]


def test_punctuation_without_pauses() -> None:
    text = "I never dreamed it would be you, Bartley. When did you come? You haven’t said a word, and I have waited."
    assert lines(cues(transcript(said(text)))) == [
        ("I never dreamed it would be you, Bartley.", "When did you come?"),
        ("You haven’t said a word,", "and I have waited."),
    ]


def test_a_sentence_may_end_in_quotes() -> None:
    assert lines(cues(transcript(said("“I never dreamed it was you, Bartley.” When did you come?")))) == [
        ("“I never dreamed it was you, Bartley.”", "When did you come?")
    ]


def test_lines_do_not_end_with_an_article() -> None:
    """Nor with a preposition, though 29 and 27 columns would be more alike."""
    assert lines(cues(transcript(said("considering everything on the mountaineering expeditions")))) == [
        ("considering everything", "on the mountaineering expeditions")
    ]


def test_short_cues_stay_in_the_silence_behind() -> None:
    first, second = said("yes", start=1.0), said("no", start=1.9)
    third, last = said("out", start=4.0), said("end", start=9.7)
    found = cues(transcript(first, second, third, last, duration=10.0))
    assert [(cue.start, cue.end) for cue in found] == [(1000, 1900), (1900, 2900), (4000, 5000), (9700, 10_000)]


def test_fast_speech_stays_to_be_read() -> None:
    """34 columns in half a second take two seconds to read."""
    (cue,) = cues(transcript(said("thirty-four columns of quick speech", rate=70), duration=60.0))
    assert (cue.start, cue.end) == (0, 35 * 1000 // 17)


def test_gaps_too_short_to_see_are_closed() -> None:
    found = cues(transcript(said("of course I know", rate=10), said("she said at last", rate=10, start=1.9)))
    assert found[0].end == found[1].start == 1900
    found = cues(transcript(said("of course I know", rate=10), said("she said at last", rate=10, start=2.4)))
    assert found[0].end == 1600
    found = cues(Transcript((Segment("om", 0.0, 6.8), Segment("om", 7.1, 9.0)), 9.0))
    assert found[0].end == 6800  # not for longer than 7 s


def test_slow_speech_is_cut_at_seven_seconds() -> None:
    found = cues(transcript(said("one two three four five six", rate=1)))
    assert all(cue.end - cue.start <= 7000 for cue in found) and len(found) > 3
    (cue,) = cues(transcript(Segment("om", 1.0, 31.0, (Word("om", 1.0, 31.0),)), duration=40.0))
    assert (cue.start, cue.end) == (1000, 8000)


def test_a_word_wider_than_a_line_is_broken_and_others_are_not() -> None:
    long = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft"
    found = lines(cues(transcript(said(f"die {long} tagt"))))
    assert "".join(" ".join(cue) for cue in found).replace(" ", "") == f"die{long}tagt"
    assert sum(len(cue) for cue in found) == 3  # 89 columns do not fit into two lines
    assert lines(cues(transcript(said("x " + "y" * 42 + " z")))) in (
        [("x", "y" * 42), ("z",)],
        [("x",), ("y" * 42, "z")],
    )


def test_scripts_without_spaces() -> None:
    """A character is a word and two columns wide; no space comes between, and a mark does not begin a line."""
    text = "他从来没有想过会在这个地方遇见你，真的没有想到，一切都变了样子"
    words = tuple(Word(character, i / 5, (i + 1) / 5) for i, character in enumerate(text))
    found = cues(transcript(Segment(text, 0.0, words[-1].end, words)))
    assert "".join(line for cue in found for line in cue.lines) == text
    assert all(line[0] != "，" and len(line) <= 21 for cue in found for line in cue.lines)
    assert lines(found) == [("他从来没有想过会在这个地方遇见你，", "真的没有想到，一切都变了样子")]
    mixed = tuple(Word(token, i, i + 1) for i, token in enumerate(["我", "用", "open", "source", "软", "件"]))
    assert lines(cues(transcript(Segment("我用 open source 软件", 0.0, 6.0, mixed)))) == [("我用 open source 软件",)]


def test_words_that_the_text_does_not_have() -> None:
    """The spaces of the others are still known."""
    words = tuple(Word(token, i, i + 1) for i, token in enumerate(["甲", "xyz", "乙", "丙"]))
    assert lines(cues(transcript(Segment("甲乙丙", 0.0, 4.0, words)))) == [("甲 xyz乙丙",)]


@pytest.mark.parametrize("text", ["字" * 21 + "，" + "字" * 20, "字" * 20 + "（" + "字" * 21])
def test_marks_stay_with_their_word(text: str) -> None:
    """Though it is only there that they would fit into two lines."""
    found = lines(cues(Transcript((Segment(text, 0.0, 6.0),), 9.0)))
    assert "".join(line for cue in found for line in cue) == text
    assert not any(line.startswith("，") or line.endswith("（") for cue in found for line in cue)


def test_widths() -> None:
    assert columns("abc") == 3 and columns("字あ한") == 6 and columns("ＡＢ") == 4
    assert columns("e\u0301") == 1 and columns("שָׁלוֹם") == 4 and columns("ｱ") == 1


def test_characters_of_several_code_points_stay_whole() -> None:
    family, accented = "👩\u200d👩\u200d👧", "q\u0301"
    found = cues(transcript(Segment(family * 20 + accented * 90, 0.0, 9.0)))
    for line in (line for cue in found for line in cue.lines):
        assert line.replace(family, "").replace(accented, "") == ""


def test_text_without_words_is_spread_over_its_time() -> None:
    text = "a stranger came to the door at eve and he spoke the bridegroom fair he bore a green white stick"
    found = cues(Transcript((Segment(text, 2.0, 10.0),), 12.0))
    assert " ".join(" ".join(cue.lines) for cue in found) == text
    for cue, following in pairwise(found):
        share = text.index(following.lines[0]) / len(text)
        assert cue.end == following.start and following.start == pytest.approx(2000 + 8000 * share, abs=300)


def test_speakers_at_once() -> None:
    """Two channels: each has cues of its own, in the order of time."""
    one = [said("good morning how are you", start=0.5), said("very well", start=3.0)]
    two = [said("hello", start=1.0)]
    segments = [Segment(s.text, s.start, s.end, s.words, i) for i, own in ((1, one), (2, two)) for s in own]
    segments.sort(key=lambda segment: segment.start)
    found = cues(Transcript(tuple(segments), 5.0))
    assert [(cue.channel, cue.lines) for cue in found] == [
        (1, ("good morning how are you",)),
        (2, ("hello",)),
        (1, ("very well",)),
    ]


def test_nothing_said() -> None:
    assert cues(Transcript((), 0.0)) == cues(Transcript((Segment(" ", 0.0, 1.0),), 1.0)) == []


def test_read_books(corpora: Path) -> None:
    """LibriSpeech's dev set, an utterance after the other: no cue that could be fuller is a word or two."""
    rows = (corpora / "LibriSpeech/dev-clean/manifest.jsonl").read_text("utf-8").splitlines()
    segments, time = [], 0.0
    for row in map(json.loads, rows):
        segments.append(Segment(row["text"].lower(), time + 0.3, time + row["duration"] - 0.3))
        time += row["duration"]
    found = cues(Transcript(tuple(segments), time))
    assert " ".join(" ".join(cue.lines) for cue in found) == " ".join(segment.text for segment in segments)
    long = [segment for segment in segments if len(segment.text) > 84]
    assert len(long) > 500
    for segment in long:
        own = [cue for cue in found if segment.start * 1000 <= cue.start + 1 < segment.end * 1000]
        assert min(len(" ".join(cue.lines)) for cue in own) >= 20
