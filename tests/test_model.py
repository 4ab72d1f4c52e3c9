"""The acoustic model: every setting works, lengths are counts, padding changes nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from asr import Error
from asr.model import AcousticModel, BatchNorm, Dropout, ModelConfig

SMALL = ModelConfig(vocab=6, n_mels=8, channels=10, layers=2, hidden=9, dropout=0.3)
EVEN = dataclasses.replace(SMALL, cell="transformer", hidden=136)  # two heads
GRID = [
    dataclasses.replace(SMALL, subsampling=subsampling, cell=cell, bidirectional=bidirectional, norm=norm)
    for subsampling in (2, 4, 8)
    for cell in ("gru", "lstm", "tanh")
    for bidirectional in (True, False)
    for norm in ("layer", "batch")
] + [
    dataclasses.replace(EVEN, bidirectional=bidirectional, norm=norm)
    for bidirectional in (True, False)
    for norm in ("layer", "batch")
]


def make(config: ModelConfig) -> AcousticModel:
    """A random model whose batch normalisation has seen some data."""
    torch.manual_seed(3)
    model = AcousticModel(config)
    model(torch.randn(4, 40, config.n_mels), torch.tensor([40, 33, 21, 12]))
    return model.eval()


def padded(utterances: list[Tensor], extra: int = 0) -> tuple[Tensor, Tensor]:
    """(T, M) features -> a batch with garbage behind nothing: LogMel leaves zeros there."""
    batch = torch.zeros(len(utterances), max(map(len, utterances)) + extra, utterances[0].shape[1])
    for row, utterance in zip(batch, utterances, strict=True):
        row[: len(utterance)] = utterance
    return batch, torch.tensor([len(utterance) for utterance in utterances])


@pytest.mark.parametrize("config", GRID, ids=lambda c: f"{c.subsampling}x-{c.cell}-{c.bidirectional}-{c.norm}")
def test_padding_changes_nothing(config: ModelConfig) -> None:
    model = make(config)
    utterances = [torch.randn(frames, config.n_mels) for frames in (41, 16, 1, 30)]
    log_probs, lengths = model(*padded(utterances, extra=13))
    for i, utterance in enumerate(utterances):
        alone, count = model(*padded([utterance]))
        assert lengths[i] == count[0] == alone.shape[1] == config.frames(len(utterance))
        torch.testing.assert_close(log_probs[i, : lengths[i]], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("config", GRID, ids=lambda c: f"{c.subsampling}x-{c.cell}-{c.bidirectional}-{c.norm}")
def test_all_weights_learn(config: ModelConfig) -> None:
    model = make(config).train()
    log_probs, _ = model(*padded([torch.randn(41, config.n_mels), torch.randn(20, config.n_mels)]))
    log_probs[:, :3, 1].sum().backward()
    still = [name for name, weight in model.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert not still


def test_log_probs_are_distributions() -> None:
    log_probs, lengths = make(SMALL)(*padded([torch.randn(40, 8)]))
    assert log_probs.dtype == torch.float32
    assert lengths.dtype == torch.int64
    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(1, 10))


@given(st.integers(1, 100_000), st.sampled_from([2, 4, 8]))
def test_frames_are_the_layers_frames(frames: int, subsampling: int) -> None:
    """The count is that of torch's formula for convolutions, applied once a layer, never a rounded fraction."""
    expected = frames
    for _ in range({2: 1, 4: 2, 8: 3}[subsampling]):
        expected = (expected + 2 * 2 - 1 * (5 - 1) - 1) // 2 + 1  # padding 2, dilation 1, kernel 5, stride 2
    config = dataclasses.replace(SMALL, subsampling=subsampling)
    assert config.frames(frames) == expected
    assert config.frames(torch.tensor([frames])).tolist() == [expected]


@pytest.mark.parametrize("config", [SMALL, EVEN], ids=lambda c: c.cell)
def test_one_direction_does_not_look_ahead(config: ModelConfig) -> None:
    """Beyond what the convolutions see, later frames change nothing in a one-directional model."""
    model = make(dataclasses.replace(config, bidirectional=False))
    features = torch.randn(1, 80, 8)
    changed = features.clone()
    changed[:, 60:] += 1
    lengths = torch.tensor([80])
    before, after = model(features, lengths)[0], model(changed, lengths)[0]
    torch.testing.assert_close(before[:, :13], after[:, :13])
    assert not torch.allclose(before[:, 16:], after[:, 16:])


@settings(deadline=None)
@given(st.lists(st.integers(1, 12), min_size=2, max_size=5))
def test_batch_norm_sees_real_frames_only(lengths: list[int]) -> None:
    """The statistics are those of the unpadded frames laid end to end."""
    if sum(lengths) < 2:
        return
    torch.manual_seed(0)
    x = torch.randn(12, len(lengths), 3) * 4 + 1
    norm = BatchNorm(3)
    found = norm(x, torch.tensor(lengths))
    frames = torch.cat([x[:length, i] for i, length in enumerate(lengths)])
    expected = (frames - frames.mean(0)) / (frames.var(0, correction=0) + norm.eps).sqrt()
    torch.testing.assert_close(
        torch.cat([found[:length, i] for i, length in enumerate(lengths)]), expected, atol=1e-4, rtol=1e-4
    )
    assert not torch.cat([found[length:, i] for i, length in enumerate(lengths)]).any()


def test_dropout_drops_the_same_features_in_all_frames_of_an_utterance() -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(0.25), torch.ones(7, 40, 500)
    found = dropout(x)
    assert found.unique().tolist() == [0, pytest.approx(1 / 0.75)]
    assert (found == found[0]).all()
    shares = (found[0] == 0).float().mean(1)
    assert shares.mean() == pytest.approx(0.25, abs=0.01) and shares.std() > 0.01  # drawn for each utterance
    assert dropout.eval()(x) is x


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=4), st.integers(0, 99), st.sampled_from([SMALL, EVEN]))
def test_bf16_training_is_near_fp32(lengths: list[int], seed: int, config: ModelConfig) -> None:
    torch.manual_seed(seed)
    model = make(config)
    features, counts = padded([torch.randn(length, 8) for length in lengths])
    exact, frames = model(features, counts)
    with torch.autocast("cpu", torch.bfloat16):
        rough, _ = model(features, counts)
    assert rough.dtype == torch.float32
    for i, length in enumerate(frames):
        assert (exact[i, :length] - rough[i, :length]).abs().max() < 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subsampling": 3}, "subsampling is 3; it must be one of 2, 4, 8"),
        ({"cell": "rnn"}, "cell is 'rnn'; it must be one of 'gru', 'lstm', 'tanh', 'transformer'"),
        ({"cell": "transformer"}, "hidden is 9; a transformer needs heads with an even number of features"),
        ({"cell": "transformer", "hidden": 130}, "hidden is 130; .* 128 at most"),
        ({"norm": "none"}, "norm is 'none'"),
        ({"layers": 0}, "layers is 0; it must be at least 1"),
        ({"dropout": 1.0}, "dropout is 1.0"),
    ],
)
def test_impossible_settings(change: dict[str, object], message: str) -> None:
    with pytest.raises(Error, match=message):
        dataclasses.replace(SMALL, **change)
