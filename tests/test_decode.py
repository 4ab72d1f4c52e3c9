"""Greedy decoding: hand-written posteriors, a literal re-statement as oracle, and bad input."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.decode import DecodeError, greedy

BUGS = "-BUGS"  # the blank, then letters


def path_log_probs(path: list[int], vocab: int, sure: float = 0.9) -> np.ndarray:
    """(T, V) log-probs whose best path is the given one."""
    log_probs = np.full((len(path), vocab), np.log((1 - sure) / (vocab - 1)))
    log_probs[np.arange(len(path)), path] = np.log(sure)
    return log_probs


@pytest.mark.parametrize(
    ("frames", "expected", "starts"),
    [
        ("BUGS", "BUGS", (0, 1, 2, 3)),
        ("BBUUGGSS", "BUGS", (0, 2, 4, 6)),
        ("-B--U-GS-", "BUGS", (1, 4, 6, 7)),
        ("SG-GS", "SGGS", (0, 1, 3, 4)),  # a true double letter has a blank inside
        ("SGGS", "SGS", (0, 1, 3)),
        ("-----", "", ()),
        ("", "", ()),
    ],
)
def test_collapses_repeats_then_removes_blanks(frames: str, expected: str, starts: tuple[int, ...]) -> None:
    path = [BUGS.index(frame) for frame in frames]
    (hypothesis,) = greedy(path_log_probs(path, len(BUGS))[None], np.array([len(path)]))
    assert "".join(BUGS[i] for i in hypothesis.ids) == expected
    assert hypothesis.frames == starts
    assert hypothesis.score == pytest.approx(len(path) * np.log(0.9))


@given(st.lists(st.lists(st.integers(0, 3), max_size=12), min_size=1, max_size=4))
def test_against_groupby_on_padded_batches(paths: list[list[int]]) -> None:
    longest = max(map(len, paths))
    batch = np.full((len(paths), longest, 4), np.nan)  # nothing may be read from the padding
    for row, path in zip(batch, paths, strict=True):
        row[: len(path)] = path_log_probs(path, 4)
    hypotheses = greedy(batch, np.array([len(path) for path in paths]))
    for path, hypothesis in zip(paths, hypotheses, strict=True):
        assert list(hypothesis.ids) == [token for token, _ in groupby(path) if token != 0]
        assert all(path[frame] == token for token, frame in zip(hypothesis.ids, hypothesis.frames, strict=True))


@pytest.mark.parametrize(
    ("shape", "lengths", "message"),
    [
        ((2, 3), [3, 3], r"expected \(B, T, V\) and \(B,\)"),
        ((2, 3, 4), [3], r"expected \(B, T, V\) and \(B,\)"),
        ((2, 3, 4), [3, 4], "lengths from 3 to 4; expected 0 to 3"),
        ((2, 3, 4), [-1, 3], "lengths from -1 to 3"),
    ],
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], lengths: list[int], message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        greedy(np.zeros(shape), np.array(lengths))


def test_nan_is_an_error() -> None:
    log_probs = np.zeros((1, 3, 4))
    log_probs[0, 1, 2] = np.nan
    with pytest.raises(DecodeError, match="NaN"):
        greedy(log_probs, np.array([3]))
