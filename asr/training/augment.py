"""Augmentation of features in training, drawn anew for every utterance and epoch, repeatable from the seed."""

from __future__ import annotations

import torch
from torch import Tensor

from asr.training.config import TrainConfig


def spec_augment(features: Tensor, lengths: Tensor, config: TrainConfig, hop_ms: float, keys: list[int]) -> Tensor:
    """Mask bands of frequencies and stretches of time (SpecAugment; Park et al. 2019).

    Masked parts become 0, the mean of normalised features.

    Args:
        features: (B, T, M) normalised features.
        lengths: (B,) int64 frames.
        config: how many masks and how wide.
        hop_ms: milliseconds between frames.
        keys: B numbers; what is masked in an utterance depends on its key alone.

    Returns: a copy of the features with the masks.
    """
    from torchaudio.functional import mask_along_axis

    masked = features.clone()
    with torch.random.fork_rng(devices=[]):
        for i, key in enumerate(keys):
            torch.manual_seed(key)
            frames = int(lengths[i])
            utterance = masked[i, :frames].T.unsqueeze(0)  # (T, M) -> (1, M, T)
            for _ in range(config.frequency_masks):
                utterance = mask_along_axis(utterance, config.frequency_width, 0.0, axis=1)
            for _ in range(round(config.time_masks * frames * hop_ms / 1000)):
                utterance = mask_along_axis(utterance, min(config.time_width, frames // 5), 0.0, axis=2)
            masked[i, :frames] = utterance[0].T
    return masked


def key(*parts: int) -> int:
    """One 63-bit number out of several, such as seed, epoch and utterance: equal parts give equal numbers."""
    mixed = 0
    for part in parts:
        mixed = (mixed ^ (part + 0x9E3779B97F4A7C15 + (mixed << 6) + (mixed >> 2))) & (2**64 - 1)
        # The finaliser of splitmix64: neighbouring numbers end up far apart.
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        mixed ^= mixed >> 31
    return mixed >> 1
