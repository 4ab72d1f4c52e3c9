"""Forced alignment against brute force and torchaudio's; word times and confidences."""

from __future__ import annotations

import itertools
import resource
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr import viterbi
from asr.align import AlignError, token_spans
from asr.decode import BeamSearch, BeamSettings, greedy


def random_log_probs(rng: np.random.Generator, frames: int, tokens: int) -> NDArray[np.float32]:
    logits = rng.normal(size=(frames, tokens)) * 2
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def random_text(rng: np.random.Generator, frames: int, tokens: int, dense: float = 1.0) -> NDArray[np.int32]:
    """As many tokens as may fit, of a few kinds, so that they repeat."""
    ids: list[int] = []
    room = dense * frames
    while True:
        token = int(rng.integers(1, tokens))
        room -= 1 + (ids[-1:] == [token])
        if room < 0:
            return np.array(ids, np.int32)
        ids.append(token)


def path_of(spans: NDArray[np.int32], ids: NDArray[np.int32], frames: int) -> list[int]:
    path = np.zeros(frames, int)
    for (start, end), token in zip(spans, ids, strict=True):
        assert start < end
        assert not path[start:end].any(), "spans overlap"
        path[start:end] = token
    return path.tolist()


def collapse(path: list[int]) -> list[int]:
    return [token for token, _ in itertools.groupby(path) if token]


def log_prob(log_probs: NDArray[np.float32], path: list[int]) -> float:
    return float(log_probs[np.arange(len(path)), path].sum(dtype=np.float64))


@pytest.mark.parametrize("seed", range(30))
def test_no_path_of_all_that_give_the_text_is_better(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames, tokens = int(rng.integers(1, 8)), int(rng.integers(2, 4))
    log_probs = random_log_probs(rng, frames, tokens)
    ids = random_text(rng, frames, tokens, rng.random())
    path = path_of(token_spans(log_probs, ids), ids, frames)
    assert collapse(path) == ids.tolist()
    paths = itertools.product(range(tokens), repeat=frames)
    best = max(log_prob(log_probs, path) for path in paths if collapse(path) == ids.tolist())
    assert log_prob(log_probs, path) == pytest.approx(best)


@given(seed=st.integers(0, 2**32 - 1), frames=st.integers(1, 120), tokens=st.integers(2, 30), dense=st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_the_path_is_torchaudios_however_it_is_halved(seed: int, frames: int, tokens: int, dense: float) -> None:
    from torchaudio.functional import forced_align

    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, frames, tokens)
    ids = random_text(rng, frames, tokens, dense)
    states = [viterbi.best_path(log_probs, ids, small).tolist() for small in (1, 16, 200, 10**9)]
    assert all(each == states[-1] for each in states)
    expected = [0] * frames
    if len(ids):
        expected = forced_align(torch.from_numpy(log_probs)[None], torch.from_numpy(ids)[None])[0][0].tolist()
    assert path_of(token_spans(log_probs, ids), ids, frames) == expected


def test_tokens_that_fill_all_frames_and_none_at_all() -> None:
    log_probs = random_log_probs(np.random.default_rng(0), 5, 3)
    assert token_spans(log_probs, [1, 1, 1]).tolist() == [[0, 1], [2, 3], [4, 5]]
    assert token_spans(log_probs, [1, 2, 1, 2, 1]).tolist() == [[i, i + 1] for i in range(5)]
    assert token_spans(log_probs, []).shape == token_spans(log_probs[:0], []).shape == (0, 2)


def test_impossible_frames_are_passed_all_the_same() -> None:
    """A frame in which every token of the text has probability 0 must not make all paths alike."""
    log_probs = np.log(np.full((6, 3), 1e-3, np.float32))
    log_probs[[0, 1, 3, 4, 5], [0, 1, 0, 1, 0]] = 0.0
    log_probs[2, :] = -np.inf
    assert token_spans(log_probs, [1, 1]).tolist() in ([[1, 2], [4, 5]], [[1, 3], [4, 5]])


def test_spans_of_the_decoders() -> None:
    """Greedy and beam search say when their tokens were said, as the alignment of these tokens does."""
    log_probs = random_log_probs(np.random.default_rng(1), 40, 4)
    for hypothesis in (
        *greedy(log_probs[None], np.array([40])),
        BeamSearch(np.zeros(4, np.int8), BeamSettings()).search_all([log_probs])[0][0],
    ):
        spans = np.stack([hypothesis.frames, hypothesis.ends], axis=1)
        assert len(spans) > 5
        assert spans.tolist() == token_spans(log_probs, hypothesis.ids).tolist()


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 1, 1, 2], "4 tokens need 6 frames, and the recording has 5"),
        ([1, 2, 1, 2, 1, 2], "6 tokens need 6 frames"),
        ([1, 0, 2], "ids from 0 to 2; expected 1 to 2"),
        ([3], "ids from 3 to 3; expected 1 to 2"),
        ([[1, 2]], r"shape \(1, 2\)"),
    ],
)
def test_texts_that_cannot_be_aligned(ids: list, message: str) -> None:
    with pytest.raises(AlignError, match=message):
        token_spans(random_log_probs(np.random.default_rng(0), 5, 3), ids)


def test_nan_is_an_error() -> None:
    with pytest.raises(AlignError, match="NaN"):
        token_spans(np.full((4, 3), np.nan, np.float32), [1])


def test_a_long_text_needs_little_memory() -> None:
    """20 minutes of speech: 500 million states and frames, of which back-pointers would take as many bytes."""
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 30, 8000).astype(np.int32)
    frames, truth = 30_000, np.sort(rng.choice(15_000, 8000, replace=False)) * 2
    log_probs = random_log_probs(rng, frames, 30)
    log_probs[:, 0] = 0.0
    log_probs[truth, ids] = 5.0
    token_spans(log_probs[:100], ids[:10])  # compiled by now
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    spans = token_spans(log_probs, ids)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / (
        1024 if sys.platform != "darwin" else 2**20
    )
    assert spans[:, 0].tolist() == truth.tolist()
    assert grown < 100, f"{grown:.0f} MiB"
