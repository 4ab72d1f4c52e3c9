"""Augmentation of samples and features, drawn anew for every utterance and epoch, repeatable from the seed."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft
from torch import Tensor

from asr.audio import SAMPLE_RATE
from asr.features import FeatureConfig
from asr.training.config import SPEED_STEP, TrainConfig

LOWEST_EDGE = 3000.0  # Hz; telephones pass up to 3,400
HISS = (-100.0, -70.0)  # dB of full scale: from the rounding noise of 16 bits to what a poor recorder leaves
MP3_BIT_RATES = (16, 24, 32, 48)  # kbit/s: low ones, since high ones leave all that is heard
MP3_RANGE = (8, 160)  # kbit/s at 16 kHz, which libsndfile's compression levels from 1 to 0 stand for
MP3_DELAY = 1105  # samples: 576 of LAME's, 529 of the decoder's
SPEED_STEPS = round(1 / SPEED_STEP)


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

    steps = round(share * SPEED_STEPS)
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


def code_mp3(samples: NDArray[np.float32], kilobits: float) -> NDArray[np.float32]:
    """What MP3 at a constant bit rate, by LAME as libsndfile has it, leaves of an utterance.

    At low rates whole bands of the spectrum come and go from frame to frame, which `limit_band` does not teach: 24
    kbit/s made of `en` before it heard any 6 more errors in 100 words of its own training data, losing all above 6 kHz
    none.

    Args:
        samples: (S,).
        kilobits: kbit/s, one of MPEG-2's rates from 16 on: 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160.

    Returns: (S,) samples, in step with those given.
    """
    decoded, _ = soundfile.read(io.BytesIO(mp3_bytes(samples, kilobits)), dtype="float32")
    # Files of 40 kbit/s and more say how long they are, so that the decoder cuts them; others are later and longer.
    first = MP3_DELAY if len(decoded) > len(samples) else 0
    return decoded[first : first + len(samples)]


def mp3_bytes(samples: NDArray[np.float32], kilobits: float) -> bytes:
    """(S,) samples as an MP3 file of so many kbit/s; see `code_mp3`."""
    lowest, highest = MP3_RANGE
    level = (highest - kilobits) / (highest - lowest)
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE, format="MP3", bitrate_mode="CONSTANT", compression_level=level)
    return file.getvalue()


def warp_frequencies(features: Tensor, share: float, config: FeatureConfig, seeds: list[int]) -> Tensor:
    """Stretch or squeeze the frequencies, as longer and shorter vocal tracts do.

    Vocal tract length perturbation (Jaitly and Hinton 2013) with one factor for all frequencies: a band gets
    what lies at factor times its frequency. Above the highest band that one is repeated.

    Args:
        features: (B, T, M).
        share: the factor is drawn from 1 - share to 1 + share.
        config: where the bands lie.
        seeds: B numbers; the factor of an utterance depends on its seed alone.

    Returns: (B, T, M); zeros in the padding stay zeros.
    """
    if not share:
        return features
    factors = [np.random.default_rng(seed).uniform(1 - share, 1 + share) for seed in seeds]
    return torch.bmm(features, torch.stack([_warp(factor, config) for factor in factors]).to(features))


def _warp(factor: float, config: FeatureConfig) -> Tensor:
    """(M, M): column j mixes, by linear interpolation, the bands around factor times the frequency of band j."""
    low, high = (_mel(hertz) for hertz in (config.f_min, config.f_max))
    between = (high - low) / (config.n_mels + 1)  # centres of neighbours, in mel
    hertz = 700 * (10 ** ((low + between * np.arange(1, config.n_mels + 1)) / 2595) - 1)
    places = np.clip((_mel(factor * hertz) - low) / between - 1, 0, config.n_mels - 1)
    return torch.from_numpy(np.maximum(0, 1 - np.abs(places - np.arange(config.n_mels)[:, None])))


def _mel(hertz: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    """HTK's mel scale, which `LogMel` uses."""
    return 2595 * np.log10(1 + hertz / 700)


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

    masked, counts = features.clone(), lengths.tolist()
    with torch.random.fork_rng(devices=[]):
        for i, seed in enumerate(seeds):
            torch.default_generator.manual_seed(seed)  # the CPU's, which draws masks; a GPU's draws dropout
            frames = counts[i]
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
