"""The most probable CTC path that gives a text, compiled: the inside of `asr.align.token_spans`.

The states of a text of L tokens are blank, token, blank, token ... blank, numbered from 0 to 2L. From one frame to the
next a path stays, goes on by one state, or leaves out a blank between two different tokens (Graves et al. 2006).

Back-pointers of all frames and states would take 9 GB for an hour of speech. So the path is halved (Hirschberg 1975):
the scores from the beginning to the middle frame and those from the end back to it show the state in which the best
path passes the middle. Both halves, which have half as many cells together, are solved in the same way; small ones
with back-pointers. It is exact, takes twice the time of one pass over all, and the memory of a few rows of states.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from asr.compiled import compiled, inner

IMPOSSIBLE = -np.inf
LEAST = -1e3  # log-prob of any token, at least: something always survives
SMALL = 2**24  # frames x states that are solved at once, a byte each


def best_path(log_probs: NDArray[np.float32], ids: NDArray[np.int32], small: int = SMALL) -> NDArray[np.int32]:
    """(T,) state of each frame on the most probable path.

    Args:
        log_probs: (T, V), the blank first; as many frames as the tokens need at least.
        ids: (L,) tokens, none of them the blank.
        small: frames x states that are solved at once.
    """
    frames, last = len(log_probs), 2 * len(ids)
    forwards, backwards = _text(ids), _text(ids[::-1])
    path = np.zeros(frames, np.int32)
    parts = [(-1, 0, frames, last)]  # as if there were frames at either end in which nothing is said
    while parts:
        start, first, stop, end = parts.pop()
        if (stop - start) * (end - first + 1) <= small or stop - start <= 2:
            trace(log_probs, *forwards, start, first, stop, end, path)
            continue
        middle = (start + stop) // 2
        before = scores(log_probs, *forwards, start, first, middle, stop, end)
        behind = scores(log_probs, *backwards, stop, last - end, middle, start, last - first)
        passed = best_state(log_probs[middle], ids, first, before, behind[::-1])
        path[middle] = passed
        parts += [(start, first, middle, passed), (middle, passed, stop, end)]
    return path


def _text(ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """(L + 1,) tokens with a blank behind them, and what leaving out the blank before each adds to a log-prob."""
    tokens = np.append(ids, 0).astype(np.int32)
    leap = np.zeros(len(tokens))
    leap[1:][tokens[1:] == tokens[:-1]] = IMPOSSIBLE
    return tokens, leap


@compiled
def scores(
    log_probs: NDArray[np.float32],
    tokens: NDArray[np.int32],
    leap: NDArray[np.float64],
    start: int,
    first: int,
    middle: int,
    stop: int,
    end: int,
) -> NDArray[np.float64]:
    """(end - first + 1,) log-prob of the best path from a frame to another one, in each state that it may be in there.

    Args:
        tokens, leap: of `_text`. To go back in time they are those of the reversed text, and so are the states.
        start, first: the frame and the state at which all paths begin; its own log-prob does not count.
        middle: the frame at which they end, before or behind `start`.
        stop, end: the frame and the state that they will reach later.
    """
    step = 1 if stop > start else -1
    offset = first // 2
    count = end // 2 - offset + 1  # pairs of a blank and the token behind it
    blank, token = np.full(count, IMPOSSIBLE), np.full(count + 1, IMPOSSIBLE)  # before all tokens one for nothing
    if first % 2 == 0:
        blank[0] = 0.0
    else:
        token[1] = 0.0
    for t in range(start + step, middle + step, step):
        # No path is further by now than two states a frame, and none can catch up by more.
        low = max(0, (end - 2 * abs(stop - t)) // 2 - offset)
        high = min(count, (first + 2 * abs(t - start)) // 2 - offset + 1)
        of_pairs = slice(offset + low, offset + high)
        row = np.maximum(log_probs[t], np.float32(LEAST))
        _advance(row, tokens[of_pairs], leap[of_pairs], blank[low:high], token[low : high + 1])
    states = np.empty(2 * count)
    states[0::2], states[1::2] = blank, token[1:]
    return states[first % 2 :][: end - first + 1]


@inner
def _advance(
    row: NDArray[np.float32],
    tokens: NDArray[np.int32],
    leap: NDArray[np.float64],
    blank: NDArray[np.float64],
    token: NDArray[np.float64],
) -> None:
    """One frame of n pairs, in place, the last first; `token` has n + 1, that of the pair before them as well."""
    for i in range(len(tokens) - 1, -1, -1):
        entered, before = blank[i], token[i]
        token[i + 1] = max(max(token[i + 1], entered), before + leap[i]) + row[tokens[i]]
        blank[i] = max(entered, before) + row[0]


@compiled
def best_state(
    row: NDArray[np.float32],
    ids: NDArray[np.int32],
    first: int,
    before: NDArray[np.float64],
    behind: NDArray[np.float64],
) -> int:
    """The state in which the best path passes a frame.

    Args:
        row: (V,) the frame's log-probs, which are in both scores.
        first: state of the first scores.
        before, behind: log-prob of the best path from the beginning to each state, and from there to the end.
    """
    best, most = first, IMPOSSIBLE
    for i in range(len(before)):
        s = first + i
        score = before[i] + behind[i] - max(np.float64(row[ids[s // 2] if s % 2 == 1 else 0]), LEAST)
        if score > most:
            best, most = s, score
    return best


@compiled
def trace(
    log_probs: NDArray[np.float32],
    tokens: NDArray[np.int32],
    leap: NDArray[np.float64],
    start: int,
    first: int,
    stop: int,
    end: int,
    path: NDArray[np.int32],
) -> None:
    """Fill in the states of the best path between two frames in which it is known, by back-pointers."""
    width = end - first + 1
    score, came = np.full(width, IMPOSSIBLE), np.zeros((stop - start, width), np.int8)
    score[0] = 0.0
    for t in range(start + 1, stop + 1):
        for i in range(width - 1, -1, -1):
            s = first + i
            best, back = score[i], 0
            if i > 0 and score[i - 1] > best:
                best, back = score[i - 1], 1
            if i > 1 and s % 2 == 1 and score[i - 2] + leap[s // 2] > best:
                best, back = score[i - 2], 2
            if t < stop:
                best += max(np.float64(log_probs[t, tokens[s // 2] if s % 2 == 1 else 0]), LEAST)
            score[i] = best
            came[t - start - 1, i] = back
    i = end - first
    for t in range(stop - 1, start, -1):
        i -= came[t - start, i]
        path[t] = first + i
