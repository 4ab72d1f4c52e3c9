"""Transformer blocks over padded batches: attention with rotary positions, and feed-forward layers.

A block reads all frames at once: every frame asks all others (or, one-directional, all earlier ones) how much they
matter to it, and adds what they say to itself (Vaswani et al. 2017). Normalisation comes before each part, so that a
frame's own features pass through all blocks unchanged (Xiong et al. 2020). Where a frame stands enters as a rotation of
queries and keys by an angle that grows with time (Su et al. 2021, RoFormer): their products then depend on the
distance between two frames alone, at any length.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from asr import Error

HEAD_SIZE, LARGEST_HEAD = 64, 128  # features of a head: about, at most
EXPANSION = 4  # features inside a feed-forward layer for each outside
BASE = 10_000.0  # of the rotary frequencies: the slowest pair turns by about 1/BASE a frame


def head_count(size: int) -> int:
    """How many heads share the features evenly, in pairs, each with as nearly 64 as can be.

    Raises:
        Error: all of one head, or of two, would have far more.
    """
    possible = [heads for heads in range(1, size // 2 + 1) if size % (2 * heads) == 0]
    heads = min(possible, key=lambda heads: abs(math.log(size / heads / HEAD_SIZE)), default=0)
    if not heads or size / heads > LARGEST_HEAD:
        what = f"hidden is {size}; a transformer needs heads with an even number of features, {LARGEST_HEAD} at most"
        raise Error(f"{what}: take a multiple of {HEAD_SIZE}")
    return heads


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a normalisation and added to what came in.

    Args:
        size: features F of a frame.
        causal: no frame sees later ones.
        norm: makes a normalisation of that many features, called with (T, B, F) and (B,) lengths.
        dropout: of what each of the two parts reads.
    """

    def __init__(self, size: int, causal: bool, norm: Callable[[int], nn.Module], dropout: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList([norm(size), norm(size)])
        self.attention = Attention(size, causal)
        self.feed_forward = nn.Sequential(
            nn.Linear(size, EXPANSION * size), nn.GELU(), nn.Linear(EXPANSION * size, size)
        )
        self.dropout = dropout

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, F), (B,) int64 counts in 1..T -> (T, B, F); what stands in the padding means nothing."""
        x = x + self.attention(self.dropout(self.norms[0](x, lengths)), lengths)
        return x + self.feed_forward(self.dropout(self.norms[1](x, lengths)))


class Attention(nn.Module):
    """Multi-head self-attention with rotary positions, which never looks into the padding.

    Args:
        size: features F of a frame.
        causal: no frame sees later ones.
    """

    def __init__(self, size: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = head_count(size), causal
        self.project = nn.Linear(size, 3 * size)  # queries, keys and values
        self.output = nn.Linear(size, size)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, F), (B,) int64 counts in 1..T -> (T, B, F)."""
        frames, batch, size = x.shape
        parts = self.project(x).view(frames, batch, 3, self.heads, size // self.heads)
        queries, keys, values = parts.permute(2, 1, 3, 0, 4)  # (T, B, 3, H, D) -> 3 of (B, H, T, D)
        queries, keys = rotate(queries), rotate(keys)
        if self.causal:  # the padding comes after all real frames, which so cannot see it either
            read = scaled_dot_product_attention(queries, keys, values, is_causal=True)
        else:
            mask = torch.arange(frames, device=x.device) < lengths[:, None]  # (B, T)
            read = scaled_dot_product_attention(queries, keys, values, attn_mask=mask[:, None, None])
        return self.output(read.permute(2, 0, 1, 3).flatten(2))  # (B, H, T, D) -> (T, B, F)


def rotate(x: Tensor) -> Tensor:
    """Turn each pair of features by an angle proportional to the frame's number; the product of two frames' rotated
    features then depends on the features and on how far apart the frames are.

    Args:
        x: (..., T, D) with an even D; features i and i + D / 2 are a pair, turned by BASE ** (-2i / D) a frame.
    """
    frames, size = x.shape[-2:]
    # In fp64: an hour's frame numbers leave fp32 too few digits for the angle.
    speeds = BASE ** (-torch.arange(0, size, 2, dtype=torch.float64, device=x.device) / size)
    angles = torch.arange(frames, dtype=torch.float64, device=x.device)[:, None] * speeds  # (T, D / 2)
    cosine, sine = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
