"""Log-mel features: librosa as the oracle, and what a batch may not change."""

from __future__ import annotations

import librosa
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import Error
from asr.features import POWER_FLOOR, STATISTICS, FeatureConfig, LogMel, normalize

RATE = 16_000


def noise(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness and spectrum change, so that no frame is like another."""
    generator = np.random.default_rng(seed)
    time = np.arange(samples) / RATE
    chirp = np.sin(2 * np.pi * (200 + 900 * time) * time)
    loudness = 0.02 + 0.3 * (1 + np.sin(9 * time))
    return (loudness * (chirp + generator.standard_normal(samples)) / 4).astype(np.float32)


@pytest.mark.parametrize("n_mels", [20, 40, 64])
@pytest.mark.parametrize(
    ("window_ms", "hop_ms", "n_fft"), [(25, 10, 512), (25, 10, 400), (32, 8, 1024), (20, 12.5, 512)]
)
@pytest.mark.parametrize(("f_min", "f_max"), [(0, 8000), (20, 7600), (125, 4000)])
def test_log_mel_is_librosas(
    n_mels: int, window_ms: float, hop_ms: float, n_fft: int, f_min: float, f_max: float
) -> None:
    config = FeatureConfig(n_mels, window_ms, hop_ms, n_fft, f_min, f_max)
    samples = noise(9_876)
    expected = librosa.feature.melspectrogram(
        y=samples, sr=RATE, n_fft=n_fft, win_length=config.window_length, hop_length=config.hop_length,
        center=True, pad_mode="constant", n_mels=n_mels, fmin=f_min, fmax=f_max, htk=True, norm=None,
    )  # fmt: skip
    found = LogMel(config).log_mel(torch.from_numpy(samples)[None])[0].numpy()
    assert found.shape == expected.shape
    # A Fourier transform in fp32 errs by a share of the loudest bin, so quiet bands are compared as powers.
    np.testing.assert_allclose(np.exp(found), expected + POWER_FLOOR, rtol=1e-4, atol=1e-6 * expected.max())


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 9_000), min_size=1, max_size=5), st.integers(0, 3_000), st.sampled_from(sorted(STATISTICS))
)
def test_padding_changes_nothing(lengths: list[int], extra: int, statistics: str) -> None:
    log_mel = LogMel(FeatureConfig(statistics=statistics))
    batch = torch.full((len(lengths), max(lengths) + extra), 0.9)  # garbage in the padding must not matter either
    for row, length in zip(batch, lengths, strict=True):
        row[:length] = torch.from_numpy(noise(length, seed=length))
    features, frames = log_mel(batch, torch.tensor(lengths))
    assert frames.dtype == torch.int64
    for i, length in enumerate(lengths):
        alone, count = log_mel(batch[i : i + 1, :length], torch.tensor([length]))
        assert frames[i] == count[0] == alone.shape[1] == length // 160 + 1
        torch.testing.assert_close(features[i, : frames[i]], alone[0], atol=1e-5, rtol=1e-5)
        assert not features[i, frames[i] :].any()


def test_normalised_over_own_frames() -> None:
    features = torch.randn(2, 50, 4) * 70 + 3  # far above the floor of the variance
    normal = normalize(features, torch.tensor([50, 20]))
    own = normal[1, :20]
    torch.testing.assert_close(own.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(own.std(0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_normalised_over_all_bands_together() -> None:
    features = torch.randn(2, 50, 4) * 70 + torch.tensor([0.0, 100.0, -50.0, 7.0])
    own = normalize(features, torch.tensor([50, 20]), "utterance")[1, :20]
    expected = (features[1, :20] - features[1, :20].mean()) / features[1, :20].std(correction=0)
    torch.testing.assert_close(own, expected, atol=1e-4, rtol=0)
    with pytest.raises(Error, match="statistics is 'frame'; it must be one of 'band', 'utterance'"):
        FeatureConfig(statistics="frame")


def test_loudness_does_not_matter() -> None:
    """A recording at a tenth of the level gives nearly the same features: normalisation takes the level out."""
    samples = torch.from_numpy(noise(16_000))[None]
    loud, _ = LogMel()(samples, torch.tensor([16_000]))
    quiet, _ = LogMel()(samples / 10, torch.tensor([16_000]))
    torch.testing.assert_close(loud, quiet, atol=0.02, rtol=0)


@pytest.mark.parametrize("samples", [1, 159, 160, 161])
def test_silence_is_finite(samples: int) -> None:
    features, _ = LogMel()(torch.zeros(1, samples), torch.tensor([samples]))
    torch.testing.assert_close(features, torch.zeros_like(features))
