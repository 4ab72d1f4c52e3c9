"""The acoustic model: (B, T, M) features -> (B, T', V) log-probs.

Strided convolutions shorten the sequence, recurrent layers or transformer blocks read it in one or both directions, and
a linear layer gives the log-probability of every token, blank included, at every frame (CTC; Graves et al. 2006). One
of the layers may tell phones beside (`asr.lexicon`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from asr import Error
from asr.attention import Block, head_count
from asr.recurrent import CELLS, Recurrent

KERNEL = 5  # frames that a convolution sees
STRIDE = 2
TRANSFORMER = "transformer"


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a model.

    Args:
        vocab: tokens V that it tells apart, blank included.
        n_mels: mel bands M of its features.
        subsampling: 2, 4 or 8: input frames per output frame. A text needs at least one output frame per letter.
        channels: channels of the convolutions.
        layers, hidden: recurrent layers, and units of each in each direction; of a transformer: blocks, and features.
        cell: what the layers are made of: "gru", "lstm", "tanh" (a plain recurrent network) or "transformer"
            (`asr.attention`).
        bidirectional: reads each utterance in both directions; a transformer without it sees no later frames.
        norm: what stands before each recurrent layer, each half of a transformer's block and the output: "layer" or
            "batch" normalisation.
        dropout: share of the features dropped after each of these normalisations, in training; see `Dropout`.
        phones: phones that it tells apart, blank included; 0: it tells none.
        phone_layer: the layer whose output tells phones, from 1; of no use without them.
    """

    vocab: int
    n_mels: int = 80
    subsampling: int = 4
    channels: int = 256
    layers: int = 3
    hidden: int = 256
    cell: Literal["gru", "lstm", "tanh", "transformer"] = "gru"
    bidirectional: bool = True
    norm: Literal["layer", "batch"] = "layer"
    dropout: float = 0.1
    phones: int = 0
    phone_layer: int = 1

    def __post_init__(self) -> None:
        _check_choice("subsampling", self.subsampling, (2, 4, 8))
        _check_choice("cell", self.cell, (*CELLS, TRANSFORMER))
        _check_choice("norm", self.norm, tuple(NORMS))
        for name in ("vocab", "n_mels", "channels", "layers", "hidden"):
            if getattr(self, name) < 1:
                raise Error(f"{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 <= self.dropout < 1:
            raise Error(f"dropout is {self.dropout}; it must be at least 0 and less than 1")
        if self.phones and not 1 <= self.phone_layer <= self.layers:
            raise Error(f"phone_layer is {self.phone_layer}; it must be one of the {self.layers} layers")
        if self.cell == TRANSFORMER:
            head_count(self.hidden)  # an error where heads cannot share the features

    @property
    def width(self) -> int:
        """Features per frame that a layer gives."""
        return self.hidden * (2 if self.bidirectional and self.cell != TRANSFORMER else 1)

    def frames(self, frames: int | Tensor) -> int | Tensor:
        """Output frames T' for that many input frames T: each convolution keeps every second one, rounded up."""
        for _ in range(int(math.log2(self.subsampling))):
            frames = (frames + 1) // STRIDE
        return frames


def _check_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    if value not in choices:
        raise Error(f"{name} is {value!r}; it must be one of {', '.join(map(repr, choices))}")


class AcousticModel(nn.Module):
    """Convolutions, recurrent layers or transformer blocks, linear layer and log-softmax, over padded batches."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.subsample = Subsample(config.n_mels, config.channels, config.subsampling)
        self.dropout = Dropout(config.dropout)
        norm = NORMS[config.norm]
        if config.cell == TRANSFORMER:  # its blocks bring their own normalisation
            sizes = [config.channels]
            causal = not config.bidirectional
            self.entry = nn.Linear(config.channels, config.width)
            self.layers = nn.ModuleList(Block(config.width, causal, norm, self.dropout) for _ in range(config.layers))
        else:
            sizes = [config.channels] + [config.width] * (config.layers - 1)
            self.layers = nn.ModuleList(
                Recurrent(config.cell, size, config.hidden, config.bidirectional) for size in sizes
            )
        self.norms = nn.ModuleList(norm(size) for size in [*sizes, config.width])
        self.output = nn.Linear(config.width, config.vocab)
        self.phones = PhoneHead(config) if config.phones else None

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs of a padded batch.

        Args:
            features: (B, T, M), see `asr.features.LogMel`.
            lengths: (B,) int64, frames of each utterance, 1..T.

        Returns: (B, T', V) float32 log-probs (what stands in the padding means nothing), and (B,) int64 frames of
            each utterance, `ModelConfig.frames(lengths)`.
        """
        outputs, lengths = self._outputs(features, lengths)
        return self._letters(outputs[-1], lengths), lengths

    def with_phones(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, with the (B, T', P) float32 log-probs of phones between log-probs and frames."""
        outputs, lengths = self._outputs(features, lengths)
        phones = self.phones(outputs[self.config.phone_layer - 1], lengths)
        return self._letters(outputs[-1], lengths), phones, lengths

    def _outputs(self, features: Tensor, lengths: Tensor) -> tuple[list[Tensor], Tensor]:
        """(T', B, W) of every layer, and the frames of each utterance."""
        x, lengths = self.subsample(features, lengths)
        x = x.transpose(0, 1)  # (B, T', C) -> (T', B, C): the recurrent layers step through time
        return self._attend(x, lengths) if self.config.cell == TRANSFORMER else self._recur(x, lengths), lengths

    def _letters(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T', B, W) output of the last layer -> (B, T', V) float32 log-probs."""
        logits = self.output(self.dropout(self.norms[-1](x, lengths)))
        return logits.transpose(0, 1).float().log_softmax(dim=-1)

    def _recur(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        outputs = []
        for norm, layer in zip(self.norms[:-1], self.layers, strict=True):
            x = layer(self.dropout(norm(x, lengths)), lengths)
            outputs.append(x)
        return outputs

    def _attend(self, x: Tensor, lengths: Tensor) -> list[Tensor]:
        x = self.dropout(self.norms[0](x, lengths))
        x = self.entry(x).to(self.entry.weight.dtype)  # what the blocks add up stays in fp32 where they compute in bf16
        outputs = []
        for block in self.layers:
            x = block(x, lengths)
            outputs.append(x)
        return outputs


class PhoneHead(nn.Module):
    """Log-probs of phones from a layer's output."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.norm = NORMS[config.norm](config.width)
        self.dropout = Dropout(config.dropout)
        self.output = nn.Linear(config.width, config.phones)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T', B, W), (B,) frames -> (B, T', P) float32 log-probs."""
        return self.output(self.dropout(self.norm(x, lengths))).transpose(0, 1).float().log_softmax(dim=-1)


class Subsample(nn.Module):
    """Strided 1-D convolutions over time, each halving the frames; zeros stay zeros in the padding."""

    def __init__(self, n_mels: int, channels: int, subsampling: int) -> None:
        super().__init__()
        sizes = [n_mels] + [channels] * int(math.log2(subsampling))
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size, channels, KERNEL, STRIDE, padding=KERNEL // 2) for size in sizes[:-1]
        )

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, M), (B,) -> (B, T', C), (B,)."""
        x = x.transpose(1, 2)  # (B, T, M) -> (B, M, T)
        for convolution in self.convolutions:
            lengths = (lengths + 1) // STRIDE
            x = nn.functional.gelu(convolution(x))
            # The next convolution must see zeros beyond an utterance's end, as it does where nothing follows.
            x = x * (torch.arange(x.shape[2], device=x.device) < lengths[:, None]).unsqueeze(1)
        return x.transpose(1, 2), lengths


class Dropout(nn.Module):
    """Drops the same features in all frames of an utterance (Gal and Ghahramani 2016), in training.

    With others in every frame a recurrent layer could make up for them from the frames beside.

    Args:
        share: of the features.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """(T, B, F) -> (T, B, F), with what is left scaled up to the same mean."""
        if not (self.training and self.share):
            return x
        return x * x.new_empty(x.shape[1:]).bernoulli_(1 - self.share).div_(1 - self.share)


class LayerNorm(nn.LayerNorm):
    """Normalises each frame by itself (Ba et al. 2016)."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, F), (B,) -> (T, B, F)."""
        return super().forward(x)


class BatchNorm(nn.BatchNorm1d):
    """Normalises each feature over the batch's real frames (Laurent et al. 2016, as in Deep Speech 2)."""

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, F), (B,) -> (T, B, F); the padding counts neither in the mean nor in the variance."""
        mask = (torch.arange(len(x), device=x.device)[:, None] < lengths).to(x.dtype).unsqueeze(2)
        mean, variance = self._statistics(x, mask) if self.training else (self.running_mean, self.running_var)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return torch.addcmul(shift.to(x.dtype), x, scale.to(x.dtype)) * mask

    def _statistics(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(F,) mean and variance of the real frames, in fp32 at least; they also move the running ones."""
        wide = torch.promote_types(x.dtype, torch.float32)
        count = mask.sum(dtype=wide)
        mean = (x * mask).sum((0, 1), dtype=wide) / count
        variance = ((x - mean) * mask).square().sum((0, 1)) / count
        with torch.no_grad():
            unbiased = variance * count / (count - 1).clamp(min=1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(unbiased, self.momentum)
        return mean, variance


NORMS = {"layer": LayerNorm, "batch": BatchNorm}
