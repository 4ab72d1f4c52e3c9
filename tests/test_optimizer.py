import pytest
import torch

from asr.model import AcousticModel, ModelConfig
from asr.training.config import TrainConfig
from asr.training.optimizer import optimizers


def matrices(model, optimizer):
    """Names of the parameters that an optimizer changes, with their weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh"])
def test_every_parameter_has_one_optimizer_and_only_matrices_decay(cell):
    model = AcousticModel(ModelConfig(vocab=5, channels=8, layers=2, hidden=8, cell=cell))
    adamw, muon = (matrices(model, optimizer) for optimizer in optimizers(model, TrainConfig(weight_decay=0.3)))
    assert sorted([*adamw, *muon]) == sorted(name for name, _ in model.named_parameters())
    assert len(muon) == 8 and all(".weight_" in name and decay == 0.3 for name, decay in muon.items())
    sizes = {name: parameter.ndim for name, parameter in model.named_parameters()}
    assert all(decay == (0.3 if sizes[name] > 1 else 0) for name, decay in adamw.items())
    (alone,) = optimizers(model, TrainConfig(muon=False))
    assert len(matrices(model, alone)) == len(adamw) + len(muon)


def test_an_update_moves_all_directions_of_a_matrix_alike():
    torch.manual_seed(0)
    model = AcousticModel(ModelConfig(vocab=5, channels=32, layers=1, hidden=32))
    config = TrainConfig(weight_decay=0.0, learning_rate=1e-3)
    before = model.layers[0].rnn.weight_hh_l0.detach().clone()
    stretch = torch.diag(torch.logspace(-1, 1, 32))  # a gradient that is 100 times as large one way as another
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model.layers[0].rnn.weight_hh_l0.grad = torch.randn(96, 32) @ stretch
    for optimizer in optimizers(model, config):
        optimizer.step()
    change = model.layers[0].rnn.weight_hh_l0.detach() - before
    moved = torch.linalg.svdvals(change)
    assert moved.max() / moved.min() < 3
    assert change.square().mean().sqrt() == pytest.approx(0.2 * 1e-3, rel=0.3)  # as an update of AdamW's has
