"""Model files: what goes in comes out, and what is not a model says so."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from asr import checkpoint, files
from asr.checkpoint import Checkpoint, CheckpointError
from asr.features import FeatureConfig
from asr.model import AcousticModel, ModelConfig
from asr.text import Alphabet, Normalizer, Subwords

CONFIG = ModelConfig(vocab=5, n_mels=8, channels=6, layers=2, hidden=7, norm="batch")


@pytest.fixture
def model() -> Checkpoint:
    torch.manual_seed(0)
    weights = AcousticModel(CONFIG).state_dict()
    alphabet = Alphabet.from_texts(["a é '"])
    info = {"licence": "CC BY 4.0", "data": ["a corpus"], "hours": 1.5}
    return Checkpoint(CONFIG, FeatureConfig(n_mels=8), alphabet, Normalizer(case="upper"), weights, info)


@pytest.fixture
def path(model: Checkpoint, tmp_path: Path) -> Path:
    checkpoint.save(tmp_path / "m.safetensors", model)
    return tmp_path / "m.safetensors"


def test_round_trip(model: Checkpoint, path: Path) -> None:
    found = checkpoint.load(path)
    for name in ("model", "features", "alphabet", "normalizer", "info"):
        assert getattr(found, name) == getattr(model, name)
    assert found.weights.keys() == model.weights.keys()
    assert all(torch.equal(found.weights[name], model.weights[name]) for name in model.weights)


def test_round_trip_of_subwords(model: Checkpoint, tmp_path: Path) -> None:
    pieces = Subwords.from_texts(["ab ab abab ab"], 4)
    checkpoint.save(tmp_path / "m.safetensors", dataclasses.replace(model, alphabet=pieces))
    found = checkpoint.load(tmp_path / "m.safetensors").alphabet
    assert found == pieces and found.encode("ab abba") == pieces.encode("ab abba")


def test_a_loaded_model_computes_the_same(model: Checkpoint, path: Path) -> None:
    features, lengths = torch.randn(2, 30, 8), torch.tensor([30, 17])
    expected = AcousticModel(CONFIG)
    expected.load_state_dict(model.weights)
    found = checkpoint.load(path).acoustic_model()
    assert not found.training
    assert torch.equal(found(features, lengths)[0], expected.eval()(features, lengths)[0])


def test_half_the_size_and_near_the_same(model: Checkpoint, path: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    checkpoint.save(half, model, half=True)
    assert half.stat().st_size < 0.7 * path.stat().st_size
    loaded = checkpoint.load(half).acoustic_model()
    assert all(weight.dtype != torch.float16 for weight in loaded.state_dict().values())
    features, lengths = torch.randn(1, 30, 8), torch.tensor([30])
    exact = checkpoint.load(path).acoustic_model()(features, lengths)[0]
    torch.testing.assert_close(loaded(features, lengths)[0], exact, atol=0.01, rtol=0.01)


def header(path: Path, change: dict[str, object], weights: dict[str, torch.Tensor] | None = None) -> None:
    """Write a model file again with another header."""
    tensors, metadata = checkpoint.read_tensors(path)
    entry = {**json.loads(metadata["asr"]), **change}
    save_file(tensors if weights is None else weights, path, {"asr": json.dumps(entry)})


def fails(path: Path, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        checkpoint.load(path)
    assert str(path) in str(error.value)


def test_of_another_version(path: Path) -> None:
    header(path, {"version": 99})
    fails(path, "model format 99, but this version of asr reads format 1")


@pytest.mark.parametrize(
    "change",
    [
        {"model": {"vocab": 5, "colour": "red"}},
        {"model": dataclasses.asdict(dataclasses.replace(CONFIG, hidden=9))},
        {"alphabet": ["", "a", "b"]},
        {"alphabet": ["a", "b", "c", "d", "e"]},
        {"alphabet": {"pieces": ["", "a", "b", "c", "d"]}},
        {"alphabet": {"pieces": ["", "a"], "sentencepiece": ""}},
        {"alphabet": None},
        {"features": None},
        {"normalizer": {"case": "title"}},
    ],
)
def test_header_that_does_not_fit(path: Path, change: dict[str, object]) -> None:
    header(path, change)
    fails(path, "do not fit together")


def test_missing_weights(path: Path) -> None:
    header(path, {}, weights={"output.bias": torch.zeros(5)})
    fails(path, "weights that differ")


def test_safetensors_of_someone_else(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2)}, tmp_path / "x.safetensors")
    fails(tmp_path / "x.safetensors", "not a model of this project")


def test_missing(tmp_path: Path) -> None:
    fails(tmp_path / "none.safetensors", "no such file")


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "exploded"),)

    (tmp_path / "m.pt").write_bytes(pickle.dumps(Bomb()))
    fails(tmp_path / "m.pt", "not a model file")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("kept", [0, 1, 7, 8, 100, 0.3, 0.999])
def test_cut_short(path: Path, kept: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    fails(path, "not a model file, or damaged")


def test_a_failed_save_keeps_the_old_file(path: Path, model: Checkpoint) -> None:
    """The header cannot be written as JSON: the save fails, and what was there is whole."""
    before = path.read_bytes()
    with pytest.raises(TypeError):
        checkpoint.save(path, dataclasses.replace(model, info={"when": object()}))
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_full_disk(path: Path, model: Checkpoint) -> None:
    """A write that fails midway raises, and leaves the old file and nothing else."""
    before = path.read_bytes()
    files.beside(path).symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(path, model)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]
