"""Decoding: (log_probs, lengths) -> token ids, scores and frames. It knows ids, not letters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from asr import Error

BLANK = 0


class DecodeError(Error):
    """Log-probs that cannot be decoded."""


@dataclass(frozen=True)
class Hypothesis:
    """What a decoder makes of one utterance.

    Args:
        ids: token ids, without blanks.
        score: log-probability of the decoder's path (natural logarithm).
        frames: for every token the output frame at which it starts.
    """

    ids: tuple[int, ...]
    score: float
    frames: tuple[int, ...]


def greedy(log_probs: NDArray[np.floating], lengths: NDArray[np.integer]) -> list[Hypothesis]:
    """The most probable token of every frame; then repeats are merged and blanks removed (Graves et al. 2006, 3.2).

    A double letter survives where a blank stands between its two parts.

    Args:
        log_probs: (B, T, V) natural log-probabilities, the blank first.
        lengths: (B,) frames of each utterance, 0..T.

    Raises:
        DecodeError: shapes that do not fit, or NaN within an utterance.
    """
    if log_probs.ndim != 3 or lengths.shape != log_probs.shape[:1]:
        raise DecodeError(
            f"log_probs of shape {log_probs.shape} and lengths of shape {lengths.shape}; expected (B, T, V) and (B,)"
        )
    if len(lengths) and not 0 <= lengths.min() <= lengths.max() <= log_probs.shape[1]:
        raise DecodeError(f"lengths from {lengths.min()} to {lengths.max()}; expected 0 to {log_probs.shape[1]}")
    return [_greedy(utterance[:length]) for utterance, length in zip(log_probs, lengths, strict=True)]


def _greedy(log_probs: NDArray[np.floating]) -> Hypothesis:
    """(T, V) -> the best path's hypothesis."""
    if np.isnan(log_probs).any():
        raise DecodeError("log_probs hold NaN; the model that made them did not learn, or its file is damaged")
    if len(log_probs) == 0:
        return Hypothesis((), 0.0, ())
    path = log_probs.argmax(axis=1)
    starts = np.flatnonzero(np.diff(path, prepend=BLANK) != 0)  # where a run of one token begins
    starts = starts[path[starts] != BLANK]
    score = float(log_probs.max(axis=1).sum(dtype=np.float64))
    return Hypothesis(tuple(path[starts].tolist()), score, tuple(starts.tolist()))
