"""What a model makes of a recording, frame by frame: log-mel spectrogram, posteriors, and its tokens in time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr import audio
from asr.align import AlignError, group_words, token_spans
from asr.batching import pad
from asr.recognizer import Recognizer
from asr.text import TextError, Units

DECIBELS = 10 / np.log(10)  # of a natural logarithm of power


@dataclass(frozen=True)
class Token:
    """A token of a text, and when it starts.

    Args:
        id: in the model's alphabet.
        start: seconds; the centre of the output frame.
    """

    id: int
    start: float


@dataclass(frozen=True)
class Span:
    """A word, from its first token to the next word, or to the space before that; seconds."""

    word: str
    start: float
    end: float


@dataclass(frozen=True)
class Inside:
    """A recording as a model sees it.

    Args:
        seconds: its length.
        log_mel: (M, T) in decibels, before normalisation; frame t is centred at t * `hop`.
        posteriors: (T', V) probabilities, the blank's first; frame t is centred at t * `step`.
        hop, step: seconds between frames, and between output frames.
        band: edges of the mel filters in Hz.
        units: the model's alphabet.
        heard: the tokens that were recognized.
        said: the tokens of the known text, on their most probable path; None where there is none, or it does not fit:
            characters outside the alphabet, or more tokens than frames.
    """

    seconds: float
    log_mel: NDArray[np.float32]
    posteriors: NDArray[np.float32]
    hop: float
    step: float
    band: tuple[float, float]
    units: Units
    heard: list[Token]
    said: list[Token] | None

    def words(self, tokens: Sequence[Token]) -> list[Span]:
        """The words that tokens spell."""
        starts = [token.start for token in tokens]
        starts += [starts[-1] + self.step] if starts else []
        found = group_words(self.units, [token.id for token in tokens])
        return [Span(word, starts[first], starts[end]) for word, (first, end) in found]


def look_inside(recognizer: Recognizer, samples: NDArray[np.float32], text: str | None = None) -> Inside:
    """Recognize a recording and keep what the model saw on the way.

    Args:
        samples: (S,) float32 mono at 16 kHz, at least one.
        text: what was said, where known.
    """
    import torch

    padded, _ = pad([samples])
    with torch.inference_mode():
        log_mel = recognizer.features.log_mel(padded.to(recognizer.device))[0].cpu().numpy()
    found = recognizer.long_log_probs([samples])
    log_probs = recognizer.of_tokens(found)
    config = recognizer.features.config
    hop = config.hop_length / audio.SAMPLE_RATE
    step = hop * recognizer.model.config.subsampling
    return Inside(
        seconds=len(samples) / audio.SAMPLE_RATE,
        log_mel=DECIBELS * log_mel,
        posteriors=np.exp(log_probs),
        hop=hop,
        step=step,
        band=(config.f_min, config.f_max),
        units=recognizer.alphabet,
        heard=_heard(recognizer, found, step),
        said=None if text is None else _aligned(recognizer, log_probs, text, step),
    )


def _heard(recognizer: Recognizer, log_probs: NDArray[np.float32], step: float) -> list[Token]:
    """The tokens of what is recognized; of words that are found by their phones, where their letters fit best."""
    ((best, *_),) = recognizer.decode([log_probs])
    if recognizer.by_phones:
        return _aligned(recognizer, recognizer.of_tokens(log_probs), recognizer.text(best), step) or []
    return _tokens(best.ids, best.frames, step)


def _tokens(ids: Iterable[int], frames: Iterable[int], step: float) -> list[Token]:
    return [Token(i, frame * step) for i, frame in zip(ids, frames, strict=True)]


def _aligned(recognizer: Recognizer, log_probs: NDArray[np.float32], text: str, step: float) -> list[Token] | None:
    """The tokens of a known text; (T', V) log-probs."""
    try:
        ids = recognizer.alphabet.encode(recognizer.normalizer(text))
        spans = token_spans(log_probs, ids)
    except (TextError, AlignError):
        return None
    return _tokens(ids, spans[:, 0].tolist(), step)
