"""Priors: how often a model gives each of its outputs, whatever is said.

CTC gives probabilities of tokens, the blank first of all, in which it is already contained how frequent they are. A
language model says that, too, and better. So where there is one, the probabilities of every frame are divided by a
power of their means over the training data before they are searched (for CTC: Miao, Gowayyed and Metze 2015, "EESEN";
for hybrids: Bourlard and Morgan 1994).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from asr.batching import pad
from asr.features import LogMel
from asr.model import AcousticModel


def log_priors(
    model: AcousticModel, features: LogMel, batches: Iterable[Sequence[NDArray[np.float32]]]
) -> tuple[float, ...]:
    """Natural logarithms of the mean probability of each output, tokens first, then phones; none without a frame.

    Each is raised as if it had been certain in one frame more: an output that was never given might come yet.

    Args:
        model: in evaluation mode, on the device of the features.
        batches: recordings, (samples,) float32 mono at 16 kHz each.
    """
    config = model.config
    sums, frames = torch.zeros(config.vocab + config.phones, dtype=torch.float64), 0
    for batch in batches:
        samples, lengths = (tensor.to(model.output.weight.device) for tensor in pad(batch))
        with torch.inference_mode():
            if config.phones:
                *parts, counts = model.with_phones(*features(samples, lengths))
            else:
                *parts, counts = model(*features(samples, lengths))
            for row, count in zip(torch.cat(parts, dim=2), counts.tolist(), strict=True):
                sums += row[:count].exp().sum(dim=0, dtype=torch.float64).cpu()
                frames += count
    if not frames:
        return ()
    found = [(part + 1) / (frames + len(part)) for part in sums.split([config.vocab, config.phones]) if len(part)]
    return tuple(round(each, 4) for each in torch.cat(found).log().tolist())
