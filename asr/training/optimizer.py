"""The optimizers: Muon for the matrices of recurrent layers and transformer blocks, AdamW for all else."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from asr.attention import Block
from asr.recurrent import Recurrent
from asr.training.config import TrainConfig
from asr.training.workers import Group

BETAS = (0.9, 0.98)
MOMENTUM = 0.95
# Coefficients of the Newton-Schulz iteration, and how often it is done (Jordan et al. 2024): singular values come out
# between 0.7 and 1.2, which is near enough to 1.
NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5
ADAMW_SIZE = 0.2  # root mean square of the elements of an update of AdamW's at a learning rate of 1, about


def optimizers(model: nn.Module, config: TrainConfig, group: Group, dtype: torch.dtype) -> list[Optimizer]:
    """What changes the weights of all that learns; weight decay is for matrices alone.

    Muon is for hidden layers; convolutions, outputs, biases and normalisation stay with AdamW (Loshchilov and Hutter
    2019).

    Args:
        group, dtype: see `Muon`.
    """
    hidden = _hidden_matrices(model) if config.muon else []
    taken = {id(matrix) for matrix in hidden}
    others = [parameter for parameter in model.parameters() if id(parameter) not in taken]
    groups = [
        {"params": [parameter for parameter in others if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in others if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    found: list[Optimizer] = [AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True)]
    if hidden:
        found.append(Muon(hidden, config.learning_rate, config.weight_decay, group, dtype))
    return found


def _hidden_matrices(model: nn.Module) -> list[nn.Parameter]:
    """Matrices of recurrent layers (all gates in one) and of transformer blocks (queries, keys and values in one)."""
    layers = (module for module in model.modules() if isinstance(module, (Recurrent, Block)))
    return [parameter for layer in layers for parameter in layer.parameters() if parameter.ndim == 2]


class Muon(Optimizer):
    """Moves all directions of a matrix alike (Jordan et al. 2024).

    The momentum's nearest orthogonal matrix is the update, scaled so that AdamW's learning rate and weight decay suit
    it (Liu et al. 2025, Muon is scalable for LLM training). It gives what `torch.optim.Muon` gives, in less time:
    the workers share out what is most of the work, making the matrices orthogonal.

    Args:
        params: matrices.
        learning_rate, weight_decay: as AdamW's.
        group: the workers, which all have the same gradients.
        dtype: of the matrix products; bf16 will do.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        group: Group,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(params, {"lr": learning_rate, "weight_decay": weight_decay})
        self.group, self.dtype = group, dtype

    @torch.no_grad()
    def step(self) -> None:
        """Change the matrices; the workers meet once."""
        (settings,) = self.param_groups
        matrices = settings["params"]
        updates = [self._momentum(matrix) for matrix in matrices]
        flat = torch.zeros(sum(update.numel() for update in updates), device=updates[0].device)
        parts = [
            part.view_as(update)
            for part, update in zip(flat.split([update.numel() for update in updates]), updates, strict=True)
        ]
        largest_first = sorted(range(len(updates)), key=lambda i: -updates[i].numel())
        for i in self.group.share(largest_first):
            parts[i].copy_(orthogonal(updates[i].to(self.dtype)))
        self.group.add_up(flat)
        for matrix, part in zip(matrices, parts, strict=True):
            matrix.mul_(1 - settings["lr"] * settings["weight_decay"])
            matrix.add_(part, alpha=-settings["lr"] * ADAMW_SIZE * math.sqrt(max(matrix.shape)))

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        """Nesterov's: the gradient, and the mean of the gradients so far."""
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(state["momentum"], MOMENTUM)


def orthogonal(matrix: Tensor) -> Tensor:
    """A matrix with about the same singular vectors and all singular values near 1, by Newton and Schulz."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix  # the smaller product of the two with its transpose
    x = x / x.norm().clamp(min=1e-7)  # the largest singular value must not exceed 1
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        square = x @ x.T
        x = torch.addmm(x, torch.addmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
