"""Batches of about equal seconds, from utterances of about equal length, in an order that a seed repeats."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Utterances are sorted by their length times 1 +- this, so that every epoch makes other batches.
LENGTH_JITTER = 0.15


class Batches(Sequence[list[int]]):
    """The batches of an epoch, each made when it is asked for: numbers of utterances, the longest first.

    Args:
        order: (N,) numbers of utterances, one batch after another.
        ends: (B + 1,) where each batch ends in `order`, after a 0.
        turns: (B,) which batch is the first, the second...
        lengths: (N,) of each utterance.
    """

    def __init__(self, order: NDArray, ends: NDArray, turns: NDArray, lengths: NDArray) -> None:
        self._order, self._ends, self._turns, self._lengths = order, ends, turns, lengths

    def __len__(self) -> int:
        return len(self._turns)

    def __getitem__(self, i: int) -> list[int]:
        turn = self._turns[i]
        batch = self._order[self._ends[turn] : self._ends[turn + 1]]
        return batch[np.argsort(-self._lengths[batch], kind="stable")].tolist()


def epoch_batches(seconds: ArrayLike, batch_seconds: float, seed: int, epoch: int) -> Batches:
    """One epoch: every utterance in exactly one batch, batches in random order.

    Args:
        seconds: (N,) length of each utterance.
        batch_seconds: what a batch may hold, padding included; a longer utterance is a batch of its own. The others
            have an even number of utterances, but for the last.
        seed, epoch: the same pair gives the same batches.
    """
    generator = np.random.default_rng((seed, epoch))
    lengths = np.asarray(seconds, dtype=np.float64)
    jittered = lengths * generator.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths))
    order = np.argsort(jittered, kind="stable")
    # Seen through a memoryview they come one by one as Python's numbers, which are faster than numpy's.
    starts = list(_starts(memoryview(lengths[order]), batch_seconds))
    turns = np.arange(len(starts))
    generator.shuffle(turns)
    return Batches(order, np.array([*starts, len(order)]), turns, lengths)


def _starts(lengths: Sequence[float], limit: float) -> Iterator[int]:
    """Where each batch begins: as many as fit, but an even number, lest one of two workers wait for the other."""
    start = 0
    while start < len(lengths):
        yield start
        end, longest = start + 1, lengths[start]
        while end < len(lengths) and max(longest, lengths[end]) * (end + 1 - start) <= limit:
            longest = max(longest, lengths[end])
            end += 1
        odd_one_out = (end - start) % 2 if end - start > 1 and end < len(lengths) else 0
        start = end - odd_one_out


def padding_share(batches: Iterable[Sequence[int]], lengths: ArrayLike) -> float:
    """Share of the padded audio that is padding.

    Args:
        lengths: (N,) of each utterance, in any unit.
    """
    lengths = np.asarray(lengths)
    padded = real = 0.0
    for batch in batches:
        inside = lengths[np.asarray(batch)]
        padded += len(inside) * float(inside.max())
        real += float(inside.sum())
    return 1 - real / padded
