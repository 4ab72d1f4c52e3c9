"""A recording whose text is known: when its words and characters are said, and where the two do not match."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr import decode
from asr.align import BEFORE, AlignError, group_words, token_spans, word_times, words
from asr.confidence import LEAST
from asr.recognizer import Recognizer, between_pauses
from asr.transcript import Segment, Transcript, Word

# The text does not match where its path is worse than the best path by so much, over such a time. Measured on read
# books with a poor model (greedy word error rate 68%): of 80 texts in which 6 or 12 words had been left out or invented
# all were caught, of 20 that lacked 3 words 11, and 51 places an hour were named where the text was right.
WORSE = 50.0  # nats per second
TIME = 1.5  # s
SLIGHT = 0.5  # nats in a frame: less does not count where a place begins and ends


@dataclass(frozen=True)
class Mismatch:
    """A place where a recording sounds otherwise than its text.

    Args:
        start, end: seconds from the beginning of the recording.
        text: the words of the text that are there; none where what is said was not transcribed.
        heard: what the model hears there; nothing where the text says what was not said.
    """

    start: float
    end: float
    text: str
    heard: str


@dataclass(frozen=True)
class Alignment:
    """A recording with its text.

    Args:
        transcript: the text as it was given, with times; its words have no confidences.
        characters: with times, as the model writes them; of subwords the pieces.
        mismatches: where text and recording differ.
        unwritable: words in which there are characters that the model cannot write. They have the time between their
            neighbours.
    """

    transcript: Transcript
    characters: tuple[Word, ...]
    mismatches: tuple[Mismatch, ...]
    unwritable: tuple[str, ...]

    def to_dict(self) -> dict[str, object]:
        """For JSON: what a transcript has, and the rest."""
        more = {name: value for name, value in asdict(self).items() if name != "transcript"}
        return {**self.transcript.to_dict(), **more}


@dataclass(frozen=True)
class _Said:
    """A word as it was given, and its tokens.

    Args:
        ids: of the words that the normaliser makes of it; none of one that cannot be written.
    """

    text: str
    ids: tuple[int, ...]


def align(
    recognizer: Recognizer,
    log_probs: NDArray[np.float32],
    text: str,
    duration: float,
    form: Callable[[str, Callable[[str], str]], str] | None = None,
) -> Alignment:
    """Align a recording with its text.

    Punctuation stays with the word before it.

    Args:
        log_probs: (T, V) of the recording, see `Recognizer.long_log_probs`.
        text: as published.
        duration: of the recording in seconds.
        form: how the text is read out, see `asr.written`; None: it is only normalised.

    Raises:
        AlignError: there is nothing in the text that the model can write, or it is too long for the recording.
    """
    said, unwritable = _said(recognizer, text, form)
    ids, tokens = _tokens(recognizer, said)
    if not ids:
        raise AlignError("the text has no word that the model can write; is it text, in the language of the model?")
    spans = token_spans(log_probs, ids)
    times = _times(spans, tokens, log_probs, recognizer.frame_seconds, duration)
    found = [Word(each.text, start, end) for each, (start, end) in zip(said, times.round(4).tolist(), strict=True)]
    segments = tuple(
        Segment(recognizer.between_words.join(word.text for word in part), part[0].start, part[-1].end, tuple(part))
        for part in between_pauses(found)
    )
    return Alignment(
        Transcript(segments, duration),
        tuple(_characters(recognizer, ids, spans, tokens, times)),
        tuple(_mismatches(recognizer, log_probs, np.array(ids), spans, found)),
        unwritable,
    )


def _said(
    recognizer: Recognizer, text: str, form: Callable[[str, Callable[[str], str]], str] | None
) -> tuple[list[_Said], tuple[str, ...]]:
    """The words of a text, and those that cannot be written."""
    separate = recognizer.between_words
    said: list[_Said] = []
    unwritable = []
    before = ""  # marks that no word stands before
    for original in text.split() if separate else unicodedata.normalize("NFC", "".join(text.split())):
        normal = form(original, recognizer.normalizer) if form else recognizer.normalizer(original)
        if not normal and said:
            said[-1] = _Said(said[-1].text + separate + original, said[-1].ids)
        elif not normal:
            before += original + separate
        elif recognizer.alphabet.unknown(normal):
            unwritable.append(original)
            said.append(_Said(before + original, ()))
            before = ""
        else:
            said.append(_Said(before + original, tuple(recognizer.alphabet.encode(normal))))
            before = ""
    return said, tuple(unwritable)


def _tokens(recognizer: Recognizer, said: Sequence[_Said]) -> tuple[list[int], NDArray[np.int64]]:
    """The tokens of all words, with a space between two where it is a token, and (W, 2) the range of each word's."""
    symbols = recognizer.alphabet.symbols
    space = [symbols.index(" ")] if " " in symbols else []
    ids: list[int] = []
    ranges = []
    for word in said:
        ids += space if ids and word.ids else []
        ranges.append((len(ids), len(ids) + len(word.ids)))
        ids += word.ids
    return ids, np.array(ranges, np.int64).reshape(-1, 2)


def _times(
    spans: NDArray[np.int32],
    tokens: NDArray[np.int64],
    log_probs: NDArray[np.float32],
    frame_seconds: float,
    duration: float,
) -> NDArray[np.float64]:
    """(W, 2) start and end of each word; those without tokens share the time between their neighbours."""
    times = np.zeros((len(tokens), 2))
    written = tokens[:, 1] > tokens[:, 0]
    times[written] = word_times(spans, tokens[written], len(log_probs), frame_seconds)
    edges = [-1, *np.flatnonzero(written).tolist(), len(tokens)]
    for left, right in pairwise(edges):
        start = times[left, 1] if left >= 0 else 0.0
        end = times[right, 0] if right < len(tokens) else max(duration, start)
        cuts = np.linspace(start, end, right - left)
        times[left + 1 : right] = np.stack([cuts[:-1], cuts[1:]], axis=1)
    return times


def _characters(
    recognizer: Recognizer,
    ids: Sequence[int],
    spans: NDArray[np.int32],
    tokens: NDArray[np.int64],
    times: NDArray[np.float64],
) -> list[Word]:
    """Every token that is more than a space; in a word each ends where the next begins."""
    found = []
    for (first, end), (start, stop) in zip(tokens.tolist(), times.tolist(), strict=True):
        texts = [recognizer.alphabet.decode([token]).strip() for token in ids[first:end]]
        heard = [number for number, text in enumerate(texts) if text]
        starts = np.maximum(spans[first:end, 0] * recognizer.frame_seconds - BEFORE, 0.0).tolist()
        edges = [start, *(starts[number] for number in heard[1:]), stop]
        for number, (begin, until) in zip(heard, pairwise(edges), strict=False):
            found.append(Word(texts[number], round(begin, 4), round(until, 4)))
    return found


def _mismatches(
    recognizer: Recognizer,
    log_probs: NDArray[np.float32],
    ids: NDArray[np.int64],
    spans: NDArray[np.int32],
    said: Sequence[Word],
) -> list[Mismatch]:
    """Where the best path is better by far, with the words of both."""
    path = np.full(len(log_probs), decode.BLANK)
    for (start, end), token in zip(spans, ids, strict=True):
        path[start:end] = token
    worse = np.maximum(log_probs.max(axis=1), LEAST) - np.maximum(log_probs[np.arange(len(path)), path], LEAST)
    step = recognizer.frame_seconds
    places = bad_places(worse, max(1, round(TIME / step)), WORSE * step)
    if not places:
        return []
    (best,) = decode.greedy(log_probs[None], np.array([len(log_probs)]))
    spans = np.array([best.frames, best.ends]).T
    heard = words(group_words(recognizer.alphabet, best.ids), best.ids, spans, log_probs, step)
    return [
        Mismatch(
            round(first * step, 4),
            round(end * step, 4),
            recognizer.between_words.join(word.text for word in _inside(said, first * step, end * step)),
            recognizer.between_words.join(word.text for word in _inside(heard, first * step, end * step)),
        )
        for first, end in places
    ]


def bad_places(worse: NDArray[np.floating], width: int, limit: float) -> list[tuple[int, int]]:
    """Where an array is above a limit on average over a width: first frame, and the one after the last.

    Args:
        worse: (T,) at least 0.
        width: frames.
    """
    width = min(width, len(worse))
    sums = np.concatenate([[0.0], np.cumsum(worse, dtype=np.float64)])
    bad = np.zeros(len(worse), bool)
    for first in np.flatnonzero(sums[width:] - sums[:-width] > limit * width):  # windows that begin there
        bad[first : first + width] = True
    edges = np.flatnonzero(np.diff(bad.astype(np.int8), prepend=0, append=0))
    places = []
    for first, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        inside = first + np.flatnonzero(worse[first:end] > SLIGHT)
        places.append((int(inside[0]), int(inside[-1]) + 1))
    return places


def _inside(found: Sequence[Word], start: float, end: float) -> list[Word]:
    """Words of which more than half lies in a stretch of time."""
    return [word for word in found if min(word.end, end) - max(word.start, start) > (word.end - word.start) / 2]
