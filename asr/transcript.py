"""Transcript: what was said in a recording, and when; segments between pauses, and their words."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Word:
    """A word; in scripts that set no spaces between words, a character.

    Args:
        start, end: seconds from the beginning of the recording.
        confidence: how likely it is that the word is right, 0 to 1; None where it was given, not recognized.
    """

    text: str
    start: float
    end: float
    confidence: float | None = None


@dataclass(frozen=True)
class Alternative:
    """What a segment may be as well.

    Args:
        score: of the decoder, a natural logarithm; those of one segment can be compared.
    """

    text: str
    score: float


@dataclass(frozen=True)
class Segment:
    """A stretch of speech between two pauses.

    Args:
        start, end: seconds from the beginning of the recording; they hold all of its words.
        words: in the order of time.
        channel: which channel of the recording it stands in, from 1; None where channels were mixed.
        alternatives: n-best list, the best first, which is `text` itself; empty where none was asked for.
    """

    text: str
    start: float
    end: float
    words: tuple[Word, ...] = ()
    channel: int | None = None
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Transcript:
    """What was said in a recording.

    Args:
        segments: in the order of their starts; none where nothing was said.
        duration: length of the recording in seconds.
    """

    segments: tuple[Segment, ...]
    duration: float

    @property
    def text(self) -> str:
        """All of it, as the model's normaliser would write it."""
        return " ".join(segment.text for segment in self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        """The words of all segments."""
        return tuple(word for segment in self.segments for word in segment.words)

    def to_dict(self) -> dict[str, object]:
        """For JSON: text, duration and segments with their words."""
        return {"text": self.text, **asdict(self)}
