"""The recurrent layers against torch's modules on each utterance alone, in float64: outputs and gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from asr.recurrent import CELLS, Recurrent, reversal

INPUT, HIDDEN = 5, 7


def one_by_one(layer: Recurrent, x: Tensor, lengths: Tensor) -> Tensor:
    """What torch's own module makes of the utterances, each alone and without padding."""
    alone = [layer.rnn(x[:length, i : i + 1])[0] for i, length in enumerate(lengths.tolist())]
    return torch.cat([nn.functional.pad(each, (0, 0, 0, 0, 0, len(x) - len(each))) for each in alone], dim=1)


def gradients(output: Tensor, towards: Tensor, layer: nn.Module, x: Tensor) -> list[Tensor]:
    """Gradients of <output, towards> for the input and all weights."""
    return list(torch.autograd.grad((output * towards).sum(), [x, *layer.parameters()]))


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    padding=st.integers(0, 3),
    cell=st.sampled_from(sorted(CELLS)),
    bidirectional=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_exact(lengths: list[int], padding: int, cell: str, bidirectional: bool, seed: int) -> None:
    torch.manual_seed(seed)
    layer = Recurrent(cell, INPUT, HIDDEN, bidirectional).double()
    x = torch.randn(max(lengths) + padding, len(lengths), INPUT, dtype=torch.double, requires_grad=True)
    counts = torch.tensor(lengths)
    found, expected = layer(x, counts), one_by_one(layer, x, counts)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-12)
    towards = torch.randn_like(expected)  # also in the padding, where nothing may flow back
    for ours, torchs in zip(gradients(found, towards, layer, x), gradients(expected, towards, layer, x), strict=True):
        torch.testing.assert_close(ours, torchs, atol=1e-12, rtol=1e-12)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, where cuDNN computes the layer")
@pytest.mark.parametrize("cell", sorted(CELLS))
def test_a_gpu_computes_what_the_cpu_does(cell: str) -> None:
    torch.manual_seed(0)
    layer = Recurrent(cell, INPUT, HIDDEN).double()
    x, lengths = torch.randn(6, 3, INPUT, dtype=torch.double, requires_grad=True), torch.tensor([6, 2, 5])
    expected = layer(x, lengths)
    towards = torch.randn_like(expected)
    there, on_gpu = copy.deepcopy(layer).cuda(), x.detach().cuda().requires_grad_()
    found = there(on_gpu, lengths.cuda())
    torch.testing.assert_close(found.cpu(), expected)
    pairs = zip(gradients(found, towards.cuda(), there, on_gpu), gradients(expected, towards, layer, x), strict=True)
    for ours, cpus in pairs:
        torch.testing.assert_close(ours.cpu(), cpus)


def test_gradients_that_are_not_contiguous() -> None:
    """What follows the layer may hand back its gradient in any memory layout."""
    torch.manual_seed(0)
    layer = Recurrent("gru", INPUT, HIDDEN).double()
    x, lengths = torch.randn(6, 3, INPUT, dtype=torch.double, requires_grad=True), torch.tensor([6, 2, 5])
    straight = torch.autograd.grad(layer(x, lengths).square().sum(), x)
    transposed = torch.autograd.grad(layer(x, lengths).transpose(0, 1).contiguous().square().sum(), x)
    torch.testing.assert_close(transposed, straight)


def test_gradcheck() -> None:
    """The hand-written backward pass is the derivative of the forward pass, by finite differences."""
    torch.manual_seed(0)
    layer = Recurrent("gru", 2, 3).double()
    x = torch.randn(4, 2, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, torch.tensor([4, 2])), (x,))


@pytest.mark.parametrize("bidirectional", [True, False])
def test_bf16_is_near_fp32(bidirectional: bool) -> None:
    """In bfloat16 the layer computes the same function, to bfloat16's 3 digits over a long utterance."""
    torch.manual_seed(0)
    layer = Recurrent("gru", 64, 64, bidirectional)
    x, lengths = torch.randn(200, 3, 64), torch.tensor([200, 140, 3])
    exact = one_by_one(layer, x, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough = layer(x, lengths)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.05
    assert (rough.float() - exact).abs().mean() < 0.005


def test_reversal_is_its_own_inverse() -> None:
    lengths = torch.tensor([3, 1, 5])
    rows = reversal(lengths, 6)
    x = torch.arange(18).view(6, 3)
    there = x.flatten()[rows].view(6, 3)
    assert there[:, 0].tolist() == [6, 3, 0, 9, 12, 15]
    assert there[:, 2].tolist() == [14, 11, 8, 5, 2, 17]
    assert torch.equal(there.flatten()[rows].view(6, 3), x)
