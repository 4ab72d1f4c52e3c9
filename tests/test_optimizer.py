import pytest
import torch

from asr.model import AcousticModel, ModelConfig
from asr.training.config import TrainConfig
from asr.training.optimizer import Muon, optimizers
from asr.training.workers import Group, launch


def matrices(model, optimizer):
    """Names of the parameters that an optimizer changes, with their weight decay."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}


def made(model, **settings):
    return optimizers(model, TrainConfig(**settings), Group(), torch.float32)


@pytest.mark.parametrize("cell", ["gru", "lstm", "tanh", "transformer"])
def test_every_parameter_has_one_optimizer_and_only_matrices_decay(cell):
    model = AcousticModel(ModelConfig(vocab=5, channels=8, layers=2, hidden=8, cell=cell))
    adamw, muon = (matrices(model, optimizer) for optimizer in made(model, weight_decay=0.3))
    assert sorted([*adamw, *muon]) == sorted(name for name, _ in model.named_parameters())
    assert len(muon) == 8 and all(name.startswith("layers.") and decay == 0.3 for name, decay in muon.items())
    sizes = {name: parameter.ndim for name, parameter in model.named_parameters()}
    assert all(decay == (0.3 if sizes[name] > 1 else 0) for name, decay in adamw.items())
    (alone,) = made(model, muon=False)
    assert len(matrices(model, alone)) == len(adamw) + len(muon)


def gradients(matrices, seed):
    """Draws a gradient for each matrix that is 100 times as large one way as another."""
    generator = torch.Generator().manual_seed(seed)
    for matrix in matrices:
        stretch = torch.logspace(-1, 1, matrix.shape[1])
        matrix.grad = torch.randn(matrix.shape, generator=generator) * stretch


def some_matrices():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape)) for shape in ((96, 32), (32, 96), (24, 24), (12, 40), (40, 12))]


def moved(group, out, steps=4):
    """Some steps of Muon as one of the workers; the leading one leaves the matrices."""
    matrices = some_matrices()
    muon = Muon(matrices, 0.02, 0.1, group, torch.float32)
    for step in range(steps):
        gradients(matrices, step)
        muon.param_groups[0]["lr"] = 0.02 / (step + 1)
        muon.step()
    if group.leads:
        torch.save([matrix.detach() for matrix in matrices], out / f"{group.size}.pt")


def test_it_moves_matrices_as_torchs_own_muon_does():
    ours, theirs = some_matrices(), some_matrices()
    muon = Muon(ours, 0.02, 0.1, Group(), torch.bfloat16)
    oracle = torch.optim.Muon(theirs, 0.02, 0.1, adjust_lr_fn="match_rms_adamw")
    for step in range(4):
        for matrices, optimizer in ((ours, muon), (theirs, oracle)):
            gradients(matrices, step)
            optimizer.step()
    for mine, other, start in zip(ours, theirs, some_matrices(), strict=True):
        assert (mine - other).norm() < 0.02 * (other - start).norm()


def test_workers_share_the_work_and_give_the_same(tmp_path):
    moved(Group(), tmp_path)
    launch(2, moved, tmp_path)
    alone, together = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (1, 2))
    assert all(torch.equal(one, two) for one, two in zip(alone, together, strict=True))


def test_an_update_moves_all_directions_alike_and_as_far_as_adamw_does():
    matrix = torch.nn.Parameter(torch.zeros(96, 32))
    gradients([matrix], 1)
    Muon([matrix], 1e-3, 0.0, Group(), torch.float32).step()
    lengths = torch.linalg.svdvals(matrix.detach())
    assert lengths.max() / lengths.min() < 3 < 30 < torch.linalg.cond(matrix.grad)
    assert matrix.square().mean().sqrt().item() == pytest.approx(0.2 * 1e-3, rel=0.3)
