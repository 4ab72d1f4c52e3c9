"""Forced alignment: when each token and each word was said, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from asr import Error
from asr.confidence import Calibration, features_of, uncalibrated
from asr.text import Units
from asr.transcript import Word

BEFORE = 0.035  # s from the beginning of a word to the middle of the first frame of its first token
BEHIND = 0.085  # s from the middle of the last frame of its last token to its end, if no word begins before


class AlignError(Error):
    """A text that cannot be aligned with a recording."""


def token_spans(log_probs: NDArray[np.float32], ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int32]:
    """(L, 2) the first frame of each token, and the one after its last, on the most probable path that gives them all.

    Exact for any length: see `asr.viterbi`. An hour (90,000 frames, 50,000 tokens) takes 5 s of one core and 50 MB.

    Args:
        log_probs: (T, V) natural log-probabilities, the blank first; less than -1000 counts as -1000.
        ids: (L,) tokens.

    Raises:
        AlignError: the tokens do not fit into the frames, or are not among the model's; NaN.
    """
    from asr import viterbi

    ids = np.asarray(ids, np.int32)
    _check(log_probs, ids)
    path = viterbi.best_path(np.ascontiguousarray(log_probs, np.float32), ids)
    spoken = np.flatnonzero(path % 2)
    changes = np.flatnonzero(np.diff(path[spoken])) + 1  # two tokens in a row are in different states
    starts = np.concatenate([spoken[:1], spoken[changes]])
    ends = np.concatenate([spoken[changes - 1], spoken[-1:]]) + 1
    return np.stack([starts, ends], axis=1).astype(np.int32)


def frames_needed(ids: NDArray[np.int32]) -> int:
    """Frames that tokens need at least: one each, and a blank between two that are the same."""
    return len(ids) + int(np.count_nonzero(ids[1:] == ids[:-1]))


def _check(log_probs: NDArray[np.float32], ids: NDArray[np.int32]) -> None:
    if log_probs.ndim != 2 or ids.ndim != 1:
        raise AlignError(f"log_probs of shape {log_probs.shape}, ids of shape {ids.shape}; expected (T, V) and (L,)")
    frames, tokens = log_probs.shape
    if len(ids) and not 0 < ids.min() <= ids.max() < tokens:
        raise AlignError(f"ids from {ids.min()} to {ids.max()}; expected 1 to {tokens - 1} (0 is the blank)")
    if (needed := frames_needed(ids)) > frames:
        raise AlignError(
            f"the text is too long: its {len(ids)} tokens need {needed} frames, and the recording has {frames}; "
            "is it the text of another recording?"
        )
    if np.isnan(log_probs).any():
        raise AlignError("log_probs hold NaN; the model that made them did not learn, or its file is damaged")


def words(
    units: Units,
    ids: Sequence[int],
    spans: NDArray[np.integer],
    log_probs: NDArray[np.float32],
    frame_seconds: float,
    offset: float = 0.0,
    calibration: Calibration | None = None,
) -> list[Word]:
    """The words of an utterance with their times and confidences.

    Where no token opens words, as in scripts that set no spaces between them, each token is a word.

    Args:
        units: what the tokens are.
        ids: (L,) tokens.
        spans: (L, 2) first frame of each, and the one after its last; see `token_spans`.
        log_probs: (T, V) of the utterance.
        frame_seconds: from one frame to the next.
        offset: seconds from the beginning of the recording to the first frame.
        calibration: of the confidences; None: they are no more than a hint, see `asr.confidence.uncalibrated`.
    """
    found = group_words(units, ids)
    if not found:
        return []
    texts, tokens = [text for text, _ in found], np.array([numbers for _, numbers in found])
    times = word_times(spans, tokens, len(log_probs), frame_seconds)
    features = features_of(log_probs, ids, spans, tokens)
    sure = uncalibrated(features) if calibration is None else calibration(features)
    numbers = np.column_stack([times + offset, sure]).round(4).tolist()
    return [Word(text, *row) for text, row in zip(texts, numbers, strict=True)]


def word_times(
    spans: NDArray[np.integer], tokens: NDArray[np.integer], frames: int, frame_seconds: float
) -> NDArray[np.float64]:
    """(W, 2) start and end of each word in seconds from the first frame, which is centred on 0.

    A model places a token some time after its sound begins and, the last one of a word, before the word ends. By how
    much differs little between models (`scripts/word_times.py`).

    Args:
        spans: (L, 2) first frame of each token, and the one after its last.
        tokens: (W, 2) first token of each word, and the one after its last.
        frames: of the utterance.
    """
    starts = np.maximum(spans[tokens[:, 0], 0] * frame_seconds - BEFORE, 0.0)
    ends = (spans[tokens[:, 1] - 1, 1] - 1) * frame_seconds + BEHIND
    return np.stack([starts, np.minimum(ends, np.append(starts[1:], (frames - 1) * frame_seconds))], axis=1)


def group_words(units: Units, ids: Sequence[int]) -> list[tuple[str, tuple[int, int]]]:
    """The words that tokens spell, each with the number of its first token and the one after its last.

    A space alone belongs to none.
    """
    one_each = not any(units.opens_word(i) for i in range(1, len(units)))
    groups: list[list[int]] = []
    for number, token in enumerate(ids):
        if one_each or not groups or units.opens_word(token):
            groups.append([])
        if units.decode([token]).strip():
            groups[-1].append(number)
    spelled = [(group[0], group[-1] + 1) for group in groups if group]
    return [(units.decode(ids[first:end]).strip(), (first, end)) for first, end in spelled]
