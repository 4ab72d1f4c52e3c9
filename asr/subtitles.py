"""Subtitles: the words of a transcript as cues that are easy to read, cut where the speaker pauses.

A cue has one or two lines of at most 42 columns and stands for 1 to 7 seconds (Netflix's and the BBC's guidelines ask
for about that). Where to cut a segment is found by dynamic programming over its words, as Knuth and Plass break
paragraphs (1981): the cuts of least total cost are taken. It costs little to cut at a pause or after punctuation, more
between words that are spoken together, and most inside a word; and cues should be full, their lines alike in length.

A column is what a letter takes in a terminal: two for wide East Asian characters, none for combining marks. Text stays
in logical order, whatever the direction it is read in.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from asr.transcript import Segment, Transcript, Word

LINE_COLUMNS = 42
MIN_MS, MAX_MS = 1000, 7000  # how long a cue stands
COLUMNS_PER_SECOND = 17  # what people read with ease; a cue stands for longer than it is spoken where it has room to
JOINED_MS = 500  # a shorter gap before the next cue would only flicker: the cue stands until then

# What a cut costs, and what it leaves; a cue that is empty but for a few letters costs nearly 1.
PAUSE_MS = 400  # a pause of this length makes a cut free; one without any costs 1
SENTENCE = -0.5  # after the end of a sentence, pause or none
CLAUSE = 0.4  # after a comma, a cut costs this much of what it would without
SHORT_WORD = 0.5  # in addition, after a word like "the" or "of", which belongs to the next
INSIDE_WORD = 10.0  # in addition, in a word, or between a word and its punctuation
LAST_WORD_ALONE = 4.0  # on the second line
LINE_CUT = 0.5  # between two lines a cut costs this much of what it costs between cues
TOO_SHORT = 1000.0  # for each second that a cue has less than MIN_MS: never, where it can be helped
HELD_PAUSE = 1.0  # for each second of pauses inside a cue, which shows what is not said yet, beyond PAUSE_MS each

_SENTENCE_ENDS = frozenset(".?!…。？！｡؟۔।॥։።")
_CLAUSE_ENDS = frozenset(",;:–—،؛、，；：﹐､፣")
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # line breaks of any kind are among them
_ZERO_WIDTH_JOINER = "\u200d"


@dataclass(frozen=True)
class Cue:
    """What stands on the screen at a time.

    Args:
        start, end: milliseconds from the beginning of the recording; the end is the greater.
        lines: one or two.
        channel: of the segment that it is from.
    """

    start: int
    end: int
    lines: tuple[str, ...]
    channel: int | None = None


@dataclass(frozen=True)
class _Unit:
    """What is not broken: a word, or a character of one that is wider than a line.

    Args:
        start, end: milliseconds.
        spaced: a space stands before it.
    """

    text: str
    start: int
    end: int
    spaced: bool


@dataclass(frozen=True)
class _Draft:
    """A cue as it is spoken, before it has a time of its own; milliseconds."""

    start: int
    end: int
    lines: tuple[str, ...]


def cues(transcript: Transcript) -> list[Cue]:
    """The subtitles of a transcript, in the order of their starts.

    Every word is in one cue, in order. No cue spans two segments; those of a channel do not overlap. A line holds at
    most 42 columns: a word that is wider is broken, without a hyphen. A cue stands for at most 7 s, so that a longer
    word is shown for the first 7; one that is spoken in less than 1 s, or too fast to read, stays on in the silence
    behind it. All end with the recording, unless that has fewer milliseconds than there are cues.
    """
    limit = milliseconds(transcript.duration)
    found = []
    for channel, segments in by_channel(transcript).items():
        followed_by = [*(milliseconds(segment.start) for segment in segments[1:]), limit]
        drafts = [draft for pair in zip(segments, followed_by, strict=True) for draft in _drafts(*pair)]
        for draft, (start, end) in zip(drafts, _times(drafts, limit), strict=True):
            found.append(Cue(start, end, draft.lines, channel))
    return sorted(found, key=lambda cue: (cue.start, cue.channel or 0))


def by_channel(transcript: Transcript) -> dict[int | None, list[Segment]]:
    """The segments of each channel that has any, or of all where channels were mixed; sorted by channel."""
    found: dict[int | None, list[Segment]] = {}
    for segment in sorted(transcript.segments, key=lambda segment: segment.channel or 0):
        found.setdefault(segment.channel, []).append(segment)
    return found


def milliseconds(seconds: float) -> int:
    """The unit of every format but JSON."""
    return round(1000 * seconds)


def one_line(text: str) -> str:
    """A text without control characters and line breaks, which would end a line or a field, and without outer spaces.

    Spaces that do not break, such as French has before a question mark, stay.
    """
    return " ".join(part for part in _CONTROLS.sub(" ", text).split(" ") if part.strip())


def columns(text: str) -> int:
    """The width of a text in a terminal."""
    return len(text) if text.isascii() else sum(map(_character_columns, text))


def _character_columns(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def disjoint(spans: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """Spans of time as near to these as can be such that none is empty or reaches into the next.

    Args:
        spans: starts and ends in milliseconds, in order.
        limit: the end of the recording, which they do not pass where it leaves them 1 ms each.
    """
    limit = max(limit, len(spans))
    starts = []
    for start, _ in spans:
        starts.append(max(start, starts[-1] + 1 if starts else 0))
    starts = [min(start, limit - len(spans) + i) for i, start in enumerate(starts)]
    ends = [
        min(max(end, start + 1), following)
        for (_, end), start, following in zip(spans, starts, [*starts, limit][1:], strict=True)
    ]
    return list(zip(starts, ends, strict=True))


def _times(drafts: Sequence[_Draft], limit: int) -> list[tuple[int, int]]:
    """When each cue of a channel stands, in milliseconds."""
    wishes = []
    for draft in drafts:
        to_read = sum(map(columns, draft.lines)) * 1000 // COLUMNS_PER_SECOND
        length = max(draft.end - draft.start, MIN_MS, to_read)
        wishes.append((draft.start, draft.start + min(length, MAX_MS)))
    spans = disjoint(wishes, limit)
    for i, ((start, end), (following, _)) in enumerate(pairwise(spans)):
        if following - end < JOINED_MS and following - start <= MAX_MS:
            spans[i] = start, following
    return spans


def _drafts(segment: Segment, until: int) -> Iterator[_Draft]:
    """The cues of a segment.

    Args:
        until: when the next one starts, in milliseconds.
    """
    units = _units(segment)
    if not units:
        return
    paragraph = _Paragraph(units, until)
    for i, j in pairwise(paragraph.cuts()):
        lines = tuple(_line(units[first:last]) for first, last in pairwise(paragraph.line_cuts(i, j)))
        yield _Draft(units[i].start, units[j - 1].end, lines)


def _line(units: Sequence[_Unit]) -> str:
    return units[0].text + "".join(" " * unit.spaced + unit.text for unit in units[1:])


def _units(segment: Segment) -> list[_Unit]:
    """What a segment's cues are made of. Without words of its own its text is divided evenly over its time."""
    words = segment.words or (Word(segment.text, segment.start, segment.end),)
    return [unit for word, spaced in zip(words, _spaced(segment, words), strict=True) for unit in _parts(word, spaced)]


def _spaced(segment: Segment, words: Sequence[Word]) -> Iterator[bool]:
    """Whether white space stands before each word in the segment's text; where it is not found there, it does."""
    place = 0
    for word in words:
        found = segment.text.find(word.text, place, place + len(word.text) + 16)  # near, lest long texts take too long
        yield found < 0 or any(map(str.isspace, segment.text[place:found]))
        place = place if found < 0 else found + len(word.text)


def _parts(word: Word, spaced: bool) -> Iterator[_Unit]:
    """A word, for what it is. What is none is divided: at spaces, and where it does not fit into a line anywhere."""
    parts = []  # text, and whether a space stands before it
    for token in filter(None, one_line(word.text).split(" ")):
        pieces = [token] if columns(token) <= LINE_COLUMNS else _characters(token)
        parts += [(piece, i == 0) for i, piece in enumerate(pieces)]
    shares = [0, *accumulate(len(text) for text, _ in parts)]
    length = max(word.end - word.start, 0.0)
    for i, (text, after_space) in enumerate(parts):
        start, end = (milliseconds(word.start + length * share / shares[-1]) for share in shares[i : i + 2])
        yield _Unit(text, start, end, after_space if i else spaced)


def _characters(token: str) -> list[str]:
    """The characters of a word as a reader sees them: marks and joiners stay with the letter before."""
    found: list[str] = []
    for character in token:
        if found and (_character_columns(character) == 0 or found[-1].endswith(_ZERO_WIDTH_JOINER)):
            found[-1] += character
        else:
            found.append(character)
    return found


class _Paragraph:
    """The units of a segment, and what it costs to cut between them; a cut before unit j is called j.

    Args:
        until: when the next segment starts, in milliseconds.
    """

    def __init__(self, units: Sequence[_Unit], until: int) -> None:
        self.count = len(units)
        self.starts = [*(unit.start for unit in units), until]
        self.ends = [unit.end for unit in units]
        self.spaced = [unit.spaced for unit in units]
        self.columns = [0, *accumulate(unit.spaced + columns(unit.text) for unit in units)]  # of all before a cut
        self.reach = self._reach()
        pairs = list(pairwise(units))
        self.strain = [0.0, *(_strain(*pair) for pair in pairs), 0.0]  # of a cut
        self.held = [0, 0, *accumulate(max(_pause(*pair) - PAUSE_MS, 0) for pair in pairs)]

    def cuts(self) -> list[int]:
        """Where cues begin, and the end: the cuts of least cost."""
        least = [0.0] + [math.inf] * self.count
        previous = [0] * (self.count + 1)
        for i in range(self.count):
            for j in range(i + 1, self.count + 1):
                inside = self._cost(i, j)
                if inside == math.inf:
                    break  # nor will anything longer fit
                cost = least[i] + inside + self.strain[j]
                if cost < least[j]:
                    least[j], previous[j] = cost, i
        found = [self.count]
        while found[-1]:
            found.append(previous[found[-1]])
        return found[::-1]

    def line_cuts(self, i: int, j: int) -> list[int]:
        """Where the lines of the cue from i to j begin, and the end."""
        _, middle = self._second_line(i, j)
        return [i, j] if middle == j else [i, middle, j]

    def _cost(self, i: int, j: int) -> float:
        """What is wrong with the cue from i to j; infinite where it does not fit."""
        if self.ends[j - 1] - self.starts[i] > MAX_MS and j > i + 1:
            return math.inf
        cost, _ = self._second_line(i, j)
        empty = 1 - self._width(i, j) / (2 * LINE_COLUMNS)
        missing = max(MIN_MS - (self.starts[j] - self.starts[i]), 0)
        held = self.held[j] - self.held[i + 1]
        return cost + empty**2 + TOO_SHORT * missing / 1000 + HELD_PAUSE * held / 1000

    def _second_line(self, i: int, j: int) -> tuple[float, int]:
        """The least cost of breaking a cue into lines, and where the second begins: at j, where one is enough."""
        if j <= self.reach[i]:
            return 0.0, j
        best = math.inf, j
        for middle in range(self.reach[i], i, -1):
            if self.reach[middle] < j:
                break
            uneven = (self._width(i, middle) - self._width(middle, j)) / LINE_COLUMNS
            cost = LINE_CUT * self.strain[middle] + uneven**2 + LAST_WORD_ALONE * (middle == j - 1)
            best = min(best, (cost, middle))
        return best

    def _reach(self) -> list[int]:
        """Up to which cut a line that begins with each unit can go."""
        found, j = [], 0
        for i in range(self.count):
            while j < self.count and self._width(i, j + 1) <= LINE_COLUMNS:
                j += 1
            found.append(j)
        return found

    def _width(self, i: int, j: int) -> int:
        return self.columns[j] - self.columns[i] - self.spaced[i]


def _pause(before: _Unit, after: _Unit) -> int:
    return max(after.start - before.end, 0)


def _strain(before: _Unit, after: _Unit) -> float:
    """What it costs to cut between two units."""
    if not after.spaced and _cling(before.text[-1], after.text[0]):
        return INSIDE_WORD
    last = before.text.rstrip("\"'”’»)」』")[-1:]
    if last in _SENTENCE_ENDS:
        return SENTENCE
    strain = 1 - min(_pause(before, after) / PAUSE_MS, 1)
    if last in _CLAUSE_ENDS:
        return CLAUSE * strain
    is_short = after.spaced and len(before.text) <= 3
    return strain + SHORT_WORD * strain * is_short


def _cling(before: str, after: str) -> bool:
    """Whether two characters without a space between them should stay together: all but the wide ones, and those, too,
    where one is punctuation that opens or closes."""
    if unicodedata.category(before) in ("Ps", "Pi") or unicodedata.category(after) in ("Pe", "Pf", "Po"):
        return True
    return _character_columns(before) < 2 and _character_columns(after) < 2
