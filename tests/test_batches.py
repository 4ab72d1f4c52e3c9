from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.training.batches import LENGTH_JITTER, epoch_batches, padding_share

lengths = st.lists(st.floats(0.05, 40, allow_nan=False), max_size=60)
limits = st.floats(1, 200)
seeds = st.integers(0, 2**63)
epochs = st.integers(0, 10_000)


@given(lengths, limits, seeds, epochs)
def test_an_epoch_holds_every_utterance_once(seconds, limit, seed, epoch):
    batches = epoch_batches(seconds, limit, seed, epoch)
    assert sorted(i for batch in batches for i in batch) == list(range(len(seconds)))
    assert all(batches)


@given(lengths, limits, seeds, epochs)
def test_padded_batches_keep_the_limit_unless_one_utterance_exceeds_it(seconds, limit, seed, epoch):
    for batch in epoch_batches(seconds, limit, seed, epoch):
        assert len(batch) == 1 or len(batch) * max(seconds[i] for i in batch) <= limit


@given(lengths, limits, seeds, epochs)
def test_two_workers_get_equally_many_utterances(seconds, limit, seed, epoch):
    """But for batches of one, and for the last, which takes what is left."""
    sizes = [len(batch) for batch in epoch_batches(seconds, limit, seed, epoch)]
    assert sum(size % 2 for size in sizes if size > 1) <= 1


@given(lengths, limits, seeds, epochs)
def test_the_longest_utterance_of_a_batch_comes_first(seconds, limit, seed, epoch):
    for batch in epoch_batches(seconds, limit, seed, epoch):
        assert [seconds[i] for i in batch] == sorted((seconds[i] for i in batch), reverse=True)


@given(lengths, limits, seeds, epochs)
def test_batches_are_those_of_lists_that_are_shuffled(seconds, limit, seed, epoch):
    """As simply as it can be written: what a seed gives must never change, since runs are resumed and repeated."""
    generator = np.random.default_rng((seed, epoch))
    jittered = np.array(seconds) * generator.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(seconds))
    batches, left = [], np.argsort(jittered, kind="stable").tolist()
    while left:
        fit = [n for n in range(2, len(left) + 1) if max(seconds[i] for i in left[:n]) * n <= limit]
        fit = [n for k, n in enumerate(fit) if n == k + 2]  # up to the first that does not
        even = [n for n in fit if n % 2 == 0 or n == len(left)]
        size = max(even, default=1)
        batches.append(left[:size])
        left = left[size:]
    generator.shuffle(batches)
    expected = [sorted(batch, key=lambda i: -seconds[i]) for batch in batches]
    found = epoch_batches(tuple(seconds), limit, seed, epoch)
    assert list(found) == expected and len(found) == len(expected)


def test_known_batches():
    """From a run of the first version with an even number in each: 1, 1.5 | 2, 2.5 | 3, 4 | 5 in another order."""
    assert list(epoch_batches([3.0, 1.0, 2.0, 5.0, 4.0, 2.5, 1.5], 8, seed=1, epoch=2)) == [[3], [4, 0], [6, 1], [5, 2]]


@given(lengths, limits, seeds, epochs)
def test_batches_are_cut_from_utterances_sorted_by_jittered_length(seconds, limit, seed, epoch):
    """Of any two batches one is shorter: none of it exceeds any of the other by more than the jitter."""
    batches = [[seconds[i] for i in batch] for batch in epoch_batches(seconds, limit, seed, epoch)]
    most = (1 + LENGTH_JITTER) / (1 - LENGTH_JITTER) + 1e-9
    for one, other in combinations(batches, 2):
        assert max(one) <= most * min(other) or max(other) <= most * min(one)


def test_epochs_and_seeds_make_other_batches_in_another_order():
    seconds = [1 + i / 10 for i in range(200)]
    runs = [epoch_batches(seconds, 60, seed, epoch) for seed, epoch in ((1, 0), (1, 1), (2, 0))]
    for i, one in enumerate(runs):
        for other in runs[i + 1 :]:
            assert {frozenset(batch) for batch in one} != {frozenset(batch) for batch in other}
    longest = [max(seconds[i] for i in batch) for batch in runs[0]]
    assert abs(np.corrcoef(longest, range(len(longest)))[0, 1]) < 0.5  # neither short nor long ones come first


def test_padding_share_of_known_batches():
    assert padding_share([[0, 1], [2]], [2.0, 1.0, 3.0]) == pytest.approx(1 / 7)
    assert padding_share([[0, 1, 2]], [4.0, 4.0, 4.0]) == 0


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.integers(1, 200), seeds)
def test_padding_share_counts_what_a_padded_batch_adds(frames, limit, seed):
    batches = epoch_batches(frames, limit, seed, epoch=0)
    padded = [np.arange(max(frames[i] for i in batch)) < frames[i] for batch in batches for i in batch]
    inside = np.concatenate(padded)
    assert padding_share(batches, frames) == pytest.approx(1 - inside.mean())


def test_batches_of_read_speech_are_mostly_speech():
    seconds = np.random.default_rng(0).gamma(4, 3, 2000).tolist()  # a mean of 12 s, as read books have
    bucketed = padding_share(epoch_batches(seconds, 120, seed=1, epoch=0), seconds)
    shuffled = padding_share(np.random.default_rng(1).permutation(2000).reshape(-1, 10), seconds)
    assert bucketed < 0.15 < 0.4 < shuffled
