"""The optimizers: Muon for the recurrent layers' matrices, AdamW for all else."""

from __future__ import annotations

import torch
from torch import nn

from asr.recurrent import Recurrent
from asr.training.config import TrainConfig

BETAS = (0.9, 0.98)
MOMENTUM = 0.95


def optimizers(learner: nn.Module, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """What changes the weights of all that learns; weight decay is for matrices alone.

    Muon (Jordan et al. 2024) makes an update of a matrix move all its directions alike: the momentum is replaced by the
    nearest orthogonal matrix, scaled so that AdamW's learning rate suits it (Liu et al. 2025, Muon is scalable). It is
    for hidden layers; convolutions, outputs, biases and normalisation stay with AdamW (Loshchilov and Hutter 2019).
    """
    hidden = _hidden_matrices(learner) if config.muon else []
    others = [parameter for parameter in learner.parameters() if not any(parameter is matrix for matrix in hidden)]
    groups = [
        {"params": [parameter for parameter in others if parameter.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [parameter for parameter in others if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(groups, lr=config.learning_rate, betas=BETAS, fused=True),
    ]
    if hidden:
        found.append(
            torch.optim.Muon(
                hidden,
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                momentum=MOMENTUM,
                adjust_lr_fn="match_rms_adamw",
            )
        )
    return found


def _hidden_matrices(learner: nn.Module) -> list[nn.Parameter]:
    """The matrices of the recurrent layers: those of the input and those of the state, all gates in one."""
    layers = (module for module in learner.modules() if isinstance(module, Recurrent))
    return [parameter for layer in layers for parameter in layer.parameters() if parameter.ndim == 2]
