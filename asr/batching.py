"""Recordings of like length go through a model together: which, and how they become one padded array."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr import BATCH_SECONDS, Error, audio
from asr.long import WHOLE

if TYPE_CHECKING:
    import torch

    from asr.corpus import Utterance
    from asr.recognizer import Recognizer


def length_batches(lengths: Sequence[int], seconds: float = BATCH_SECONDS) -> list[list[int]]:
    """Numbers of recordings, sorted by length and cut into batches of at most that many padded seconds.

    Args:
        lengths: samples of each recording.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    starts = batch_starts((lengths[i] for i in order), seconds * audio.SAMPLE_RATE)
    return [order[start:end] for start, end in pairwise([*starts, len(order)])]


def batch_starts(lengths: Iterable[float], limit: float) -> Iterator[int]:
    """Cut recordings of these lengths, in their order, into batches whose padded length fits: where each one begins.

    A longer recording is a batch of its own.
    """
    size, longest = 0, 0.0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if size == 0 or longest * (size + 1) > limit:
            yield place
            size, longest = 0, length
        size += 1


def pad(waveforms: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Recordings -> (B, S) float32 samples with zeros behind each, and (B,) int64 lengths."""
    import torch

    lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
    samples = np.zeros((len(waveforms), lengths.max()), np.float32)
    for row, waveform in zip(samples, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return torch.from_numpy(samples), torch.from_numpy(lengths)


def expected_length(utterance: Utterance) -> int:
    """Samples, as the manifest or else the file's header says; 0 where that cannot be read, or ends before."""
    try:
        seconds = utterance.duration or audio.duration(utterance.audio) - utterance.offset
    except (Error, OSError):
        return 0
    return max(0, round(seconds * audio.SAMPLE_RATE))


def log_probs_of(
    recognizer: Recognizer, lengths: Sequence[int], read: Callable[[int], NDArray[np.float32] | None]
) -> list[NDArray[np.float32]]:
    """Log-probs of each recording, (T, V) or as `Recognizer.log_probs` has them; of one that cannot be read, no frames.

    They are those that transcribing decodes: long recordings are read in windows, long silences not at all.

    Args:
        lengths: samples of each, or about so many: they only decide which batch it joins.
        read: the number of a recording -> (samples,) float32 mono at 16 kHz; None where it cannot be read.
    """
    found = [recognizer.no_frames()] * len(lengths)
    for batch in length_batches(lengths, recognizer.batch_seconds):
        readable = {i: samples for i in batch if (samples := read(i)) is not None}
        for i in [i for i, samples in readable.items() if len(samples) > WHOLE * audio.SAMPLE_RATE]:
            found[i] = recognizer.long_log_probs([readable.pop(i)])
        for i, rows in zip(readable, recognizer.whole_log_probs(list(readable.values())), strict=True):
            found[i] = rows
    return found
