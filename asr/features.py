"""Log-mel features: (B, S) samples -> (B, T, M) frames, where padding an utterance into a batch changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from asr import Error
from asr.audio import SAMPLE_RATE

# Added to the mel power before the logarithm: about the power of 16-bit rounding noise in a frame, so that digital
# silence and codecs that cut high bands do not turn into large negative numbers.
POWER_FLOOR = 1e-8
# Added to the variance of a mel band: one that varies by less than 0.4 dB is as good as constant and becomes nearly
# zeros, while its rounding errors, which padding changes, stay below those of the contract.
VARIANCE_FLOOR = 1e-2
STATISTICS = {"band": (1,), "utterance": (1, 2)}  # dimensions of (B, T, M) that mean and variance are taken over


@dataclass(frozen=True)
class FeatureConfig:
    """What a model file must carry to compute its features again.

    Args:
        n_mels: mel bands M.
        window_ms, hop_ms: length of a frame's window and distance between frames, in milliseconds.
        n_fft: points of the Fourier transform, at least the window's samples.
        f_min, f_max: edges of the mel filters in Hz.
        statistics: "band": every band of an utterance gets mean 0 and variance 1, which takes the channel out of
            sentences; "utterance": all its bands together, for single words, of which a band's mean is the vowel.

    Raises:
        Error: statistics of another name.
    """

    n_mels: int = 80
    window_ms: float = 25.0
    hop_ms: float = 10.0
    n_fft: int = 512
    f_min: float = 20.0
    f_max: float = 8000.0
    statistics: Literal["band", "utterance"] = "band"

    def __post_init__(self) -> None:
        if self.statistics not in STATISTICS:
            raise Error(f"statistics is {self.statistics!r}; it must be one of {', '.join(map(repr, STATISTICS))}")

    @property
    def window_length(self) -> int:
        """Samples of a window."""
        return round(self.window_ms * SAMPLE_RATE / 1000)

    @property
    def hop_length(self) -> int:
        """Samples between frames."""
        return round(self.hop_ms * SAMPLE_RATE / 1000)

    def frames(self, samples: int | Tensor) -> int | Tensor:
        """Frames T of a recording of that many samples: windows are centred on every hop from sample 0."""
        return samples // self.hop_length + 1


class LogMel(nn.Module):
    """Log-mel spectrogram, normalised over each utterance's own frames.

    Hann window, HTK mel filters of height 1 over the power spectrum, natural logarithm; then every mel band of an
    utterance, or all together, are shifted and scaled to mean 0 and variance 1. What lies beyond an utterance's end
    counts as zeros, inside a batch and alone alike.
    """

    def __init__(self, config: FeatureConfig = FeatureConfig()) -> None:
        super().__init__()
        from torchaudio.transforms import MelSpectrogram

        self.config = config
        self.mel = MelSpectrogram(
            SAMPLE_RATE,
            n_fft=config.n_fft,
            win_length=config.window_length,
            hop_length=config.hop_length,
            f_min=config.f_min,
            f_max=config.f_max,
            n_mels=config.n_mels,
            pad_mode="constant",  # "reflect" would mirror the padding of a batch into the last frames
        )

    def log_mel(self, samples: Tensor) -> Tensor:
        """(B, S) float -> (B, M, T) log-mel power before normalisation, T = S // hop length + 1."""
        return torch.log(self.mel(samples) + POWER_FLOOR)

    def forward(self, samples: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Features of a padded batch.

        Args:
            samples: (B, S) float32 in [-1, 1] at 16 kHz.
            lengths: (B,) int64, samples of each utterance, 1..S.

        Returns: (B, T, M) features with zeros in the padding, and (B,) int64 frames of each utterance.
        """
        inside = torch.arange(samples.shape[1], device=samples.device) < lengths[:, None]
        log_mel = self.log_mel(samples * inside).transpose(1, 2)  # (B, M, T) -> (B, T, M)
        frames = self.config.frames(lengths)
        return normalize(log_mel, frames, self.config.statistics), frames


def normalize(features: Tensor, lengths: Tensor, statistics: str = "band") -> Tensor:
    """Mean 0 and variance 1 over an utterance's own frames; zeros in the padding.

    Args:
        features: (B, T, M).
        lengths: (B,) int64, frames of each utterance.
        statistics: see `FeatureConfig`.
    """
    mask = (torch.arange(features.shape[1], device=features.device) < lengths[:, None]).unsqueeze(2)
    over = STATISTICS[statistics]
    count = lengths[:, None, None] * (features.shape[2] if 2 in over else 1)
    mean = (features * mask).sum(over, keepdim=True) / count
    centred = (features - mean) * mask
    variance = centred.square().sum(over, keepdim=True) / count
    return centred * torch.rsqrt(variance + VARIANCE_FLOOR)
