"""Augmentation of features in training, drawn anew for every utterance and epoch, repeatable from the seed."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from torch import Tensor

from asr.audio import SAMPLE_RATE
from asr.training.config import TrainConfig

LOWEST_EDGE = 3000.0  # Hz; telephones pass up to 3,400
HISS = (-100.0, -70.0)  # dB of full scale: from the rounding noise of 16 bits to what a poor recorder leaves
SPEED_STEPS = 20  # speeds are multiples of 1 / 20, so that few resampling filters are needed, and short ones


def trim_ends(samples: NDArray[np.float32], share: float, least: int, seed: int) -> NDArray[np.float32]:
    """Cut off either end of an utterance, as happens where recordings are trimmed more or less tightly.

    Args:
        samples: (S,).
        share: at each end, with even odds, up to this share of the samples goes.
        least: samples that its text needs; what would come out shorter stays as it is.
        seed: draws how much.

    Returns: the samples that are left.
    """
    generator = np.random.default_rng(seed)
    shares = generator.uniform(0, share, 2) * generator.integers(0, 1, 2, endpoint=True)
    first, last = (shares * len(samples)).astype(int)
    kept = samples[first : len(samples) - last]
    return samples if len(kept) < least else kept


def perturb_speed(samples: NDArray[np.float32], share: float, least: int, seed: int) -> NDArray[np.float32]:
    """Play an utterance faster or slower, which also shifts its pitch (Ko et al. 2015, Audio augmentation).

    Args:
        samples: (S,).
        share: the speed is drawn, in steps of a twentieth, from 1 - share to 1 + share.
        least: samples that its text needs; what would come out shorter stays as it is.
        seed: draws the speed.

    Returns: (S / speed,) samples.
    """
    from torchaudio.functional import resample

    steps = int(share * SPEED_STEPS + 1e-9)
    speed = SPEED_STEPS + np.random.default_rng(seed).integers(-steps, steps, endpoint=True)
    if speed == SPEED_STEPS or len(samples) * SPEED_STEPS < least * speed:
        return samples
    return resample(torch.from_numpy(samples), int(speed), SPEED_STEPS).numpy()


def limit_band(samples: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Take away all above some frequency and leave a faint hiss there, as telephones, MP3 and low bit rates do.

    With every band's variance brought to 1 the hiss looks like any other band: a model that never met an empty band
    takes it for speech.

    Args:
        samples: (S,).
        seed: draws the frequency, from `LOWEST_EDGE` to half the sample rate, the level of the hiss, and the hiss.

    Returns: (S,) samples.
    """
    generator = np.random.default_rng(seed)
    edge = generator.uniform(LOWEST_EDGE, SAMPLE_RATE / 2)
    points = next_fast_len(len(samples), real=True)
    spectrum = rfft(samples, points)
    spectrum[int(edge / SAMPLE_RATE * points) + 1 :] = 0
    hiss = generator.standard_normal(len(samples), np.float32)
    return irfft(spectrum, points)[: len(samples)] + hiss * np.float32(10 ** (generator.uniform(*HISS) / 20))


def spec_augment(features: Tensor, lengths: Tensor, config: TrainConfig, hop_ms: float, seeds: list[int]) -> Tensor:
    """Mask bands of frequencies and stretches of time (SpecAugment; Park et al. 2019).

    Masked parts become 0, the mean of normalised features.

    Args:
        features: (B, T, M) normalised features.
        lengths: (B,) int64 frames.
        config: how many masks and how wide.
        hop_ms: milliseconds between frames.
        seeds: B numbers; what is masked in an utterance depends on its seed alone.

    Returns: a copy of the features with the masks.
    """
    from torchaudio.functional import mask_along_axis

    masked = features.clone()
    with torch.random.fork_rng(devices=[]):
        for i, seed in enumerate(seeds):
            torch.manual_seed(seed)
            frames = int(lengths[i])
            utterance = masked[i, :frames].T.unsqueeze(0)  # (T, M) -> (1, M, T)
            for _ in range(config.frequency_masks):
                utterance = mask_along_axis(utterance, config.frequency_width, 0.0, axis=1)
            for _ in range(round(config.time_masks * frames * hop_ms / 1000)):
                utterance = mask_along_axis(utterance, min(config.time_width, frames // 5), 0.0, axis=2)
            masked[i, :frames] = utterance[0].T
    return masked


def seed_for(use: str, *parts: int) -> int:
    """A 63-bit seed for one use, such as "masks" in (seed, epoch, utterance): equal arguments give equal seeds."""
    digest = hashlib.blake2b(repr((use, *parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
