"""Batches of about equal seconds, from utterances of about equal length, in an order that a seed repeats."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from asr.recognizer import cut_batches

# Utterances are sorted by their length times 1 +- this, so that every epoch makes other batches.
LENGTH_JITTER = 0.15


def epoch_batches(seconds: Sequence[float], batch_seconds: float, seed: int, epoch: int) -> list[list[int]]:
    """One epoch: every utterance in exactly one batch, batches in random order.

    Args:
        seconds: length of each utterance.
        batch_seconds: what a batch may hold, padding included; a longer utterance is a batch of its own.
        seed, epoch: the same pair gives the same batches.

    Returns: batches of utterance numbers, longest utterance first within a batch.
    """
    generator = np.random.default_rng((seed, epoch))
    lengths = np.asarray(seconds, dtype=np.float64)
    jittered = lengths * generator.uniform(1 - LENGTH_JITTER, 1 + LENGTH_JITTER, len(lengths))
    order = np.argsort(jittered, kind="stable").tolist()
    batches = list(cut_batches(order, seconds, batch_seconds))
    generator.shuffle(batches)
    return [sorted(batch, key=lambda i: -lengths[i]) for batch in batches]


def padding_share(batches: Sequence[Sequence[int]], seconds: Sequence[float]) -> float:
    """Share of the padded audio that is padding."""
    padded = sum(len(batch) * max(seconds[i] for i in batch) for batch in batches)
    return 1 - sum(seconds[i] for batch in batches for i in batch) / padded
