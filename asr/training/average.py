"""An exponential moving average of a model's weights over the latest updates (Polyak and Juditsky 1992).

Where it is on (`TrainConfig.average`), the averaged model is the one that the dev set scores and the model file holds:
the noise that single batches put into the weights averages out, as if the learning rate had already fallen.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def averaged_copy(model: Model) -> Model:
    """A model for inference that starts as a copy of this one, for `move_towards`."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def decay_after(updates: int, horizon: float) -> float:
    """What the average keeps of itself when it takes in one more update.

    Args:
        updates: how many it has taken in. At first it keeps little, or the random weights of the start would stay in it
            for long.
        horizon: updates that it reaches back over in the end: the weight of an older one falls by a factor of e in so
            many.
    """
    return min(1 - 1 / max(1.0, horizon), (1 + updates) / (10 + updates))


@torch.no_grad()
def move_towards(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Take a model's new weights into the average: decay * average + (1 - decay) * model.

    The running statistics of batch normalisation are averaged alike. The model's own are of its latest ten or so
    batches, seen with its latest weights; averaged, they belong to the same stretch of training as the weights do.
    Counters are copied.
    """
    latest = model.state_dict()
    for name, tensor in average.state_dict().items():
        if tensor.is_floating_point():
            tensor.lerp_(latest[name], 1 - decay)
        else:
            tensor.copy_(latest[name])
