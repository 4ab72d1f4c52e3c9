"""Labels of long recordings: what is said from when to when, read from SubRip, WebVTT and Praat's TextGrid files.

SubRip (.srt) has no standard; read is what its own program writes: numbered cues, a blank line between them. What
stands behind a blank line and is no cue belongs to the one before. A cue that ends when it starts is left out. WebVTT
(.vtt) is read as https://www.w3.org/TR/webvtt1/ defines it. In both, tags are no text, and neither are sounds: what
stands in square brackets ("[music]"), and a cue that stands wholly in round ones or between notes ("♪").

TextGrids (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html) are read in their long and their short
text form. They may have many tiers; see `spoken` for which of them say what is said.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from asr import Error

SUFFIXES = (".srt", ".vtt", ".textgrid")  # in lower case
UTTERANCE_TIERS = ("utterance", "sentence", "segment", "phrase", "transcript", "transcription", "text", "ort", "speech")
WORD_TIERS = ("word",)
SOUND_TIERS = ("phone", "phoneme", "syllable", "syl", "mau", "kan", "tone", "tobi", "break", "note", "comment")
PAUSE = 0.4  # s: words that are farther apart are of two utterances
LONGEST = 15.0  # s: utterances made of words are no longer, as far as words are not
TOGETHER = 0.2  # share of two tiers' time in which both have text; two speakers seldom talk at once for more

_SRT_TIME = r"(\d+):([0-5]\d):([0-5]\d)[,.](\d{1,3})"
_VTT_TIME = r"(?:(\d{2,}):)?([0-5]\d):([0-5]\d)\.(\d{3})"
# Behind the times there may be a place on the screen, X1:40 or, as in WebVTT, position:50%.
_SRT_TIMES = re.compile(rf"{_SRT_TIME}[ \t]*-->[ \t]*{_SRT_TIME}(?:[ \t]+[A-Za-z]\w*:.*)?")
_VTT_TIMES = re.compile(rf"{_VTT_TIME}[ \t]+-->[ \t]+{_VTT_TIME}(?:[ \t]+.*)?")
_LIKE_TIMES = re.compile(r"->|\d:\d\d:\d|\d:\d\d[,.]\d")  # a line that is meant for times, well written or not
_VOICE = re.compile(r"<v(?:\.[^ \t>]*)?[ \t]+([^>]*)>")
_TAG = re.compile(r"</?[A-Za-z0-9.:][^<>]*>|\{\\[^{}]*\}")  # <i>, <c.loud>, <00:01.000>; {\an8} of other formats
_SOUND = re.compile(r"\[[^\[\]]*\]")
_SOUND_CUE = re.compile(r"\([^()]*\)|[♪♫#].*[♪♫#]|[♪♫\s]*", re.DOTALL)
_TOKEN = re.compile(r'"((?:[^"]|"")*)"|<(exists|absent)>|(?<!\S)([-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?)(?!\S)|![^\n]*')


class LabelError(Error):
    """A file of labels that cannot be read; names the file and the line."""


@dataclass(frozen=True)
class Label:
    """What is said in a part of a recording.

    Args:
        start, end: seconds.
        text: on one line; not empty.
        speaker: None where the file does not say.
    """

    start: float
    end: float
    text: str
    speaker: str | None = None


@dataclass(frozen=True)
class Tier:
    """A tier of intervals in a TextGrid.

    Args:
        name: as it stands in the file.
        labels: its intervals that have text, without speaker.
    """

    name: str
    labels: tuple[Label, ...]


def read_labels(path: Path) -> list[Label]:
    """The labels of a file, in its order.

    Args:
        path: its name ends in .srt, .vtt or .TextGrid.

    Raises:
        LabelError: it is none of these, not text, or malformed.
        OSError: it cannot be read.
    """
    reader = {".srt": _read_srt, ".vtt": _read_vtt, ".textgrid": _read_textgrid}.get(path.suffix.lower())
    if reader is None:
        raise LabelError(f"{path}: expected a name that ends in .srt, .vtt or .TextGrid")
    return reader(path, _text_of(path))


def _text_of(path: Path) -> str:
    """The file's text: UTF-8, or UTF-16 with a byte order mark, as Praat writes where ASCII does not do."""
    content = path.read_bytes()
    if content.startswith(b"ooBinaryFile"):
        raise LabelError(f"{path}: a binary TextGrid; in Praat, save it as a text file")
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LabelError(
            f"{path}, line {line}: not {encoding.upper().removesuffix('-SIG')} ({error.reason}); convert it first"
        ) from None
    if "\0" in text:
        raise LabelError(f"{path}: holds a zero character; expected text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Number of the first line, and the lines, of each group of lines without a blank one between them."""
    numbered = enumerate(text.split("\n"), 1)
    for blank, group in groupby(numbered, lambda line: not line[1].strip()):
        if not blank:
            found = list(group)
            yield found[0][0], [line for _, line in found]


def _read_srt(path: Path, text: str) -> list[Label]:
    cues: list[tuple[float, float, list[str]]] = []
    blocks = list(_blocks(text))
    for (number, lines), (_, after) in zip(blocks, [*blocks[1:], (0, [""])], strict=True):
        numbered = lines[0].strip().isdecimal()
        alone = numbered and len(lines) == 1
        if alone and _SRT_TIMES.fullmatch(after[0].strip()):
            continue  # the number of the cue that begins behind a blank line
        if cues and (alone or not numbered) and not _LIKE_TIMES.search(lines[0]):
            cues[-1][2].extend(lines)  # behind a blank line within the cue
            continue
        skipped = 1 if numbered and len(lines) > 1 else 0
        times = _times(path, number + skipped, lines[skipped], _SRT_TIMES, "00:00:01,500 --> 00:00:04,000")
        cues.append((*times, lines[skipped + 1 :]))
    return [label for start, end, lines in cues for label in _label(start, end, " ".join(lines))]


def _read_vtt(path: Path, text: str) -> list[Label]:
    if not re.match(r"WEBVTT(?:[ \t].*)?(?:\n|$)", text):
        raise LabelError(f"{path}, line 1: expected WEBVTT; found {text.partition(chr(10))[0]!r:.60}")
    labels = []
    for number, lines in _blocks(text):
        if number == 1 and any("-->" in line for line in lines):
            raise LabelError(f"{path}, line 2: expected an empty line between WEBVTT and the first cue")
        if number == 1 or lines[0].split()[0] in ("NOTE", "STYLE", "REGION"):
            continue
        skipped = 0 if "-->" in lines[0] or len(lines) == 1 else 1  # the cue's identifier
        start, end = _times(path, number + skipped, lines[skipped], _VTT_TIMES, "00:01.500 --> 00:04.000")
        payload = " ".join(lines[skipped + 1 :])
        voices = {html.unescape(name).strip() for name in _VOICE.findall(payload)}
        speaker = voices.pop() if len(voices) == 1 else None
        labels += [replace(label, speaker=speaker) for label in _label(start, end, payload, html.unescape)]
    return labels


def _times(path: Path, number: int, line: str, pattern: re.Pattern[str], example: str) -> tuple[float, float]:
    """Seconds of a line of times; the end may be the start, of a cue that is never seen."""
    match = pattern.fullmatch(line.strip())
    if not match:
        raise LabelError(f"{path}, line {number}: expected times such as {example}; found {line.strip()!r:.60}")
    start, end = (_seconds(*match.groups(default="0")[first : first + 4]) for first in (0, 4))
    if end < start:
        raise LabelError(f"{path}, line {number}: the end is before the start ({line.strip()})")
    return start, end


def _seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return (int(hours) * 3_600_000 + int(minutes) * 60_000 + int(seconds) * 1000 + int(fraction.ljust(3, "0"))) / 1000


def _label(start: float, end: float, text: str, decode: Callable[[str], str] = str) -> list[Label]:
    """The label of a cue, or none where it has no words or no time."""
    if start == end:
        return []
    spoken_text = _SOUND.sub(" ", decode(_TAG.sub("", text)))
    if _SOUND_CUE.fullmatch(spoken_text.strip()):
        return []
    return [Label(start, end, " ".join(spoken_text.split()))]


def _read_textgrid(path: Path, text: str) -> list[Label]:
    return spoken(read_tiers(path, text), path)


def read_tiers(path: Path, text: str) -> list[Tier]:
    """The tiers of intervals of a TextGrid; tiers of points hold no speech.

    As Praat does, only numbers that stand free, quoted strings and <flags> count; all else is for human readers, so
    the long and the short form are one.

    Raises:
        LabelError: it is none.
    """
    tokens = _Tokens(path, text)
    if tokens.string() != "ooTextFile" or tokens.string() != "TextGrid":
        raise LabelError(f'{path}: expected a TextGrid, which begins with File type = "ooTextFile"')
    tokens.number(), tokens.number()
    tiers = [_tier(tokens) for _ in range(tokens.count())] if tokens.flag() else []
    return [tier for tier in tiers if tier]


def _tier(tokens: _Tokens) -> Tier | None:
    kind, name = tokens.string(), tokens.string()
    tokens.number(), tokens.number()
    size = tokens.count()
    if kind == "TextTier":
        for _ in range(size):
            tokens.number(), tokens.string()
        return None
    if kind != "IntervalTier":
        raise tokens.error(f'expected "IntervalTier" or "TextTier"; found {kind!r:.40}')
    labels = [label for _ in range(size) if (label := _interval(tokens))]
    return Tier(name.strip(), tuple(labels))


def _interval(tokens: _Tokens) -> Label | None:
    start, end, text = tokens.number(), tokens.number(), " ".join(tokens.string().split())
    if not 0 <= start < end:
        raise tokens.error(f"an interval from {start:g} to {end:g} s; expected 0 <= start < end")
    return Label(start, end, text) if text else None


class _Tokens:
    """The numbers, strings and flags of a TextGrid, one after the other."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text, self._place = path, text, 0
        self._matches = _TOKEN.finditer(text)

    def string(self) -> str:
        """The next token, which is a string."""
        return self._next(1, "a string in quotation marks").replace('""', '"')

    def number(self) -> float:
        """The next token, which is a number."""
        found = float(self._next(3, "a number"))
        if not math.isfinite(found):
            raise self.error("a number that is too large")
        return found

    def count(self) -> int:
        """The next token, which is a number of things."""
        found = self.number()
        if found != int(found) or found < 0:
            raise self.error(f"expected a whole number; found {found:g}")
        return int(found)

    def flag(self) -> bool:
        """The next token, which says whether there is something."""
        return self._next(2, "<exists>") == "exists"

    def _next(self, group: int, what: str) -> str:
        for match in self._matches:
            if match.lastindex is None:  # a comment
                continue
            self._place = match.start()
            if match.lastindex != group:
                raise self.error(f"expected {what}; found {match.group()!r:.40}")
            return match.group(group)
        self._place = len(self._text)
        raise self.error(f"cut short: expected {what}; found the end of the file")

    def error(self, what: str) -> LabelError:
        """An error at this place."""
        return LabelError(f"{self._path}, line {self._text.count(chr(10), 0, self._place) + 1}: {what}")


def spoken(tiers: Sequence[Tier], path: Path) -> list[Label]:
    """What is said, by the tiers of a TextGrid; the rule is this.

    1. Tiers without text, and tiers of phones, syllables, tones and notes, by their names, are left alone.
    2. If tiers are called for utterances ("utterances", "sentences", "transcript", "text", "ort"...), alone or with a
       speaker's name beside it ("anna - utterances"), these are taken.
    3. Else all tiers that are not called for words; several are taken for one speaker each, whose name they have, if
       no two of them have text at the same time for more than a fifth of the shorter one's: else one may be a
       translation, which is an error.
    4. Else the tiers of words, joined to utterances at pauses of 0.4 s or more, each of at most 15 s.

    Args:
        path: for errors.

    Raises:
        LabelError: it is not clear which tier says what is said.
    """
    usable = [tier for tier in tiers if tier.labels and not _called(tier, SOUND_TIERS)]
    words = [tier for tier in usable if _called(tier, WORD_TIERS)]
    utterances = [tier for tier in usable if _called(tier, UTTERANCE_TIERS)]
    chosen = utterances or [tier for tier in usable if tier not in words]
    if not chosen:
        chosen = [Tier(tier.name, tuple(_joined(tier.labels))) for tier in words]
    _check_speakers(chosen, path)
    return [replace(label, speaker=_speaker(tier, len(chosen) > 1)) for tier in chosen for label in tier.labels]


def _name_parts(tier: Tier) -> list[str]:
    return re.findall(r"[^\W\d_]+", tier.name.lower())


def _called(tier: Tier, names: Iterable[str]) -> bool:
    """Whether one of these names, or its plural, is in the tier's name."""
    wanted = {form for name in names for form in (name, f"{name}s")}
    return any(part in wanted for part in _name_parts(tier))


def _speaker(tier: Tier, several: bool) -> str | None:
    """The speaker of a tier: its name without the word for what it holds, if that leaves anything.

    Args:
        several: there is more than one tier, so that their names tell speakers apart.
    """
    kinds = {form for name in (*UTTERANCE_TIERS, *WORD_TIERS) for form in (name, f"{name}s")}
    parts = [part for part in re.split(r"[\s:/|-]+", tier.name) if part]
    name = " ".join(part for part in parts if part.lower() not in kinds)
    is_name = several or (name != " ".join(parts) and any(map(str.isalpha, name)))
    return name or None if is_name else None


def _check_speakers(tiers: Sequence[Tier], path: Path) -> None:
    for i, one in enumerate(tiers):
        for other in tiers[i + 1 :]:
            shorter = min(sum(label.end - label.start for label in tier.labels) for tier in (one, other))
            if _common_seconds(one, other) > TOGETHER * shorter:
                raise LabelError(
                    f"{path}: the tiers {one.name!r} and {other.name!r} have text at the same times, so they cannot be "
                    "two speakers; name the one that holds what is said 'utterances', or remove the other"
                )


def _common_seconds(one: Tier, other: Tier) -> float:
    """Seconds in which both tiers have text; the intervals of a tier do not overlap."""
    ones, others = (sorted((label.start, label.end) for label in tier.labels) for tier in (one, other))
    total, i, j = 0.0, 0, 0
    while i < len(ones) and j < len(others):
        total += max(0.0, min(ones[i][1], others[j][1]) - max(ones[i][0], others[j][0]))
        if ones[i][1] < others[j][1]:
            i += 1
        else:
            j += 1
    return total


def _joined(words: Sequence[Label]) -> Iterator[Label]:
    """Utterances of words in the order of time."""
    utterance: list[Label] = []
    for word in sorted(words, key=lambda label: label.start):
        if utterance and (word.start - utterance[-1].end >= PAUSE or word.end - utterance[0].start > LONGEST):
            yield _one(utterance)
            utterance = []
        utterance.append(word)
    if utterance:
        yield _one(utterance)


def _one(words: Sequence[Label]) -> Label:
    return Label(words[0].start, words[-1].end, " ".join(word.text for word in words))
