"""Recurrent layers over padded batches, exact to the last frame of each utterance.

A bidirectional `nn.GRU` over a padded batch starts its backward pass inside the padding, so its output depends on the
batch. Packing is right but slow on a CPU. Here both directions run forward in time over inputs that are reversed per
utterance; the padding then comes last in either direction and cannot reach a real frame. The input projections of all
frames are one matrix product, one loop over time serves both directions, and the backward pass is written by hand so
that a step of it is one fused multiplication and one matrix product.

Equations of `torch.nn.GRU` (Cho et al. 2014, with the reset gate applied after the matrix product as in cuDNN):

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)          reset gate
    z = sigmoid(W_iz x + b_iz + W_hz h + b_hz)          update gate
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn))       candidate
    h' = (1 - z) * n + z * h
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

CELLS = {"gru": nn.GRU, "lstm": nn.LSTM, "tanh": nn.RNN}


class Recurrent(nn.Module):
    """One recurrent layer, one- or two-directional, over a padded batch.

    The weights are those of `torch.nn.GRU`, `nn.LSTM` or `nn.RNN` (tanh) and the output is what that module gives for
    the packed sequence, with zeros in the padding.

    Args:
        cell: "gru", "lstm" or "tanh".
        input_size, hidden_size: features per frame in, and per direction out.
    """

    def __init__(self, cell: str, input_size: int, hidden_size: int, bidirectional: bool = True) -> None:
        super().__init__()
        self.rnn = CELLS[cell](input_size, hidden_size, bidirectional=bidirectional)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T, B, input_size), (B,) int64 counts in 1..T -> (T, B, directions * hidden_size)."""
        if isinstance(self.rnn, nn.GRU) and x.device.type == "cpu":
            return self._fast_gru(x, lengths)
        if x.device.type == "cuda":
            with torch.autocast("cuda", enabled=False):  # it runs cuDNN's in fp16, even where bf16 is asked for
                return self._packed(x.to(self.rnn.weight_ih_l0.dtype), lengths)
        return self._packed(x, lengths)

    def _packed(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        return nn.utils.rnn.pad_packed_sequence(self.rnn(packed)[0], total_length=len(x))[0]

    def _fast_gru(self, x: Tensor, lengths: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            x = x.to(torch.get_autocast_dtype("cpu"))
        w_ih, w_hh, b_ih, b_hh = (self._stacked(name).to(x.dtype) for name in _PARAMETERS)
        return _GruFunction.apply(x, reversal(lengths, len(x)), _mask(lengths, x), w_ih, w_hh, b_ih, b_hh)

    def _stacked(self, name: str) -> Tensor:
        """A parameter of both directions: (directions, ...)."""
        names = [f"{name}_l0", f"{name}_l0_reverse"] if self.rnn.bidirectional else [f"{name}_l0"]
        return torch.stack([getattr(self.rnn, name) for name in names])


_PARAMETERS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def reversal(lengths: Tensor, frames: int) -> Tensor:
    """Row numbers that reverse each utterance in time within a flattened (T * B, ...) batch.

    Padding frames stay where they are, so applying it twice gives back the batch: it is its own inverse.

    Returns: (T * B,) int64.
    """
    time = torch.arange(frames)[:, None]  # (T, 1)
    source = torch.where(time < lengths, lengths - 1 - time, time)  # (T, B)
    return (source * len(lengths) + torch.arange(len(lengths))).reshape(-1)


def _mask(lengths: Tensor, x: Tensor) -> Tensor:
    """(T, B, 1) of ones at real frames and zeros in the padding, in x's dtype."""
    return (torch.arange(len(x))[:, None] < lengths).to(x.dtype).unsqueeze(2)


class _GruFunction(torch.autograd.Function):
    """The GRU for D = 1 or 2 directions. Buffers are (D, T, B, ...), so that a step is the slice [:, t]."""

    @staticmethod
    def forward(ctx, x, reverse, mask, w_ih, w_hh, b_ih, b_hh):
        frames, batch, _ = x.shape
        directions, _, hidden = w_hh.shape
        inputs = _split_directions(x.repeat(1, 1, directions), reverse, directions).flatten(1, 2)
        # All that does not depend on the state, for all frames at once. b_hn belongs inside the product with r, so
        # it takes the candidate's place among the gates, and the candidate's input part stays apart.
        bias = torch.cat([b_ih[:, : 2 * hidden] + b_hh[:, : 2 * hidden], b_ih[:, 2 * hidden :]], dim=1)
        gates = torch.baddbmm(bias[:, None], inputs, w_ih.transpose(1, 2)).view(directions, frames, batch, -1)
        n = gates[..., 2 * hidden :].clone(memory_format=torch.contiguous_format)
        gates[..., 2 * hidden :] = b_hh[:, None, None, 2 * hidden :]
        states = x.new_empty(directions, frames + 1, batch, hidden)
        states[:, 0] = 0
        _forward_steps(gates, n, states, w_hh.transpose(1, 2).contiguous())
        ctx.save_for_backward(inputs, reverse, mask, w_ih, w_hh, gates, n, states)
        return _join_directions(states[:, 1:], reverse) * mask

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output):
        inputs, reverse, mask, w_ih, w_hh, gates, n, states = ctx.saved_tensors
        directions, frames, batch, hidden = n.shape
        grad_states = _split_directions(grad_output * mask, reverse, directions)
        r, z, hn = gates.split(hidden, dim=-1)
        # d(pre-activation) / d(state), for all frames at once: what is left for a step is one product.
        slope_n = (1 - z) * (1 - n * n)
        slopes = torch.empty_like(gates)
        torch.mul(slope_n * hn, r * (1 - r), out=slopes[..., :hidden])
        torch.mul(states[:, :-1] - n, z * (1 - z), out=slopes[..., hidden : 2 * hidden])
        torch.mul(slope_n, r, out=slopes[..., 2 * hidden :])
        grad_hidden = _backward_steps(grad_states, slopes, z, w_hh).flatten(1, 2)  # (D, T * B, 3 * hidden)
        grad_input = grad_hidden.clone()  # the candidate's input does not pass through r
        torch.mul(grad_states, slope_n, out=grad_input.view_as(gates)[..., 2 * hidden :])

        grad_x = torch.bmm(grad_input, w_ih).view(directions, frames, batch, -1)
        grad_x = _join_directions(grad_x, reverse).view(frames, batch, directions, -1).sum(2)
        grad_w_ih = torch.bmm(grad_input.transpose(1, 2), inputs)
        grad_w_hh = torch.bmm(grad_hidden.transpose(1, 2), states[:, :-1].flatten(1, 2))
        return grad_x, None, None, grad_w_ih, grad_w_hh, _sum_frames(grad_input), _sum_frames(grad_hidden)


def _split_directions(x: Tensor, reverse: Tensor, directions: int) -> Tensor:
    """(T, B, D * F) in time order -> (D, T, B, F), the second direction reversed per utterance."""
    frames, batch, _ = x.shape
    parts = x.reshape(frames * batch, directions, -1)
    split = x.new_empty(directions, frames * batch, parts.shape[2])
    split[0] = parts[:, 0]
    if directions == 2:
        torch.index_select(parts[:, 1], 0, reverse, out=split[1])
    return split.view(directions, frames, batch, -1)


def _join_directions(split: Tensor, reverse: Tensor) -> Tensor:
    """The inverse of `_split_directions`: (D, T, B, F) -> (T, B, D * F) in time order."""
    directions, frames, batch, _ = split.shape
    parts = [split[0].flatten(0, 1)]
    if directions == 2:
        parts.append(split[1].flatten(0, 1).index_select(0, reverse))
    return torch.cat(parts, dim=1).view(frames, batch, -1)


def _forward_steps(gates: Tensor, n: Tensor, states: Tensor, w_hh: Tensor) -> None:
    """Run the recurrence in place.

    Args:
        gates: (D, T, B, 3 * hidden): pre-activations of r and z without their hidden part, and b_hn.
            Becomes r, z and W_hn h + b_hn.
        n: (D, T, B, hidden): the candidate's input part; becomes the candidate.
        states: (D, T + 1, B, hidden) with the initial state at 0; the others are filled in.
        w_hh: (D, hidden, 3 * hidden).
    """
    hidden = n.shape[-1]
    for t in range(n.shape[1]):
        gate, candidate, state = gates[:, t], n[:, t], states[:, t]
        gate.baddbmm_(state, w_hh)
        gate[..., : 2 * hidden].sigmoid_()
        candidate.addcmul_(gate[..., :hidden], gate[..., 2 * hidden :]).tanh_()
        torch.lerp(candidate, state, gate[..., hidden : 2 * hidden], out=states[:, t + 1])


def _backward_steps(grad_states: Tensor, slopes: Tensor, z: Tensor, w_hh: Tensor) -> Tensor:
    """Back-propagate through time.

    Args:
        grad_states: (D, T, B, hidden), d(loss) / d(output); becomes d(loss) / d(state), all paths included.
        slopes: (D, T, B, 3 * hidden), d(pre-activation) / d(state); becomes d(loss) / d(pre-activation).
        z: (D, T, B, hidden), the update gate.
        w_hh: (D, 3 * hidden, hidden).

    Returns: slopes.
    """
    directions, frames, batch, hidden = grad_states.shape
    by_gate = slopes.view(directions, frames, batch, 3, hidden)
    for t in range(frames - 1, -1, -1):
        by_gate[:, t] *= grad_states[:, t].unsqueeze(2)
        if t > 0:
            grad_states[:, t - 1].addcmul_(grad_states[:, t], z[:, t]).baddbmm_(slopes[:, t], w_hh)
    return slopes


def _sum_frames(x: Tensor) -> Tensor:
    """(D, T * B, F) -> (D, F), summed in fp32 at least: thousands of bf16 frames would drown each other."""
    wide = torch.promote_types(x.dtype, torch.float32)
    return x.sum(1, dtype=wide).to(x.dtype)
