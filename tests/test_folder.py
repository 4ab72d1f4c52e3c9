"""A run's folder: what is in it and is not of this run is never replaced."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asr import Error, load
from asr.train import main as train
from asr.training.folder import RunFolder

SETTINGS = {"layers": 1, "hidden": 8, "channels": 8, "steps": 1, "evaluations": 1, "workers": 1, "bf16": "false"}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers meet through gloo, which needs Unix here")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, noise_with_texts: Callable[[Path], Path]) -> Path:
    """A manifest of the splits train and dev."""
    return noise_with_texts(tmp_path_factory.mktemp("data")) / "data.jsonl"


def line(data: Path, out: Path, *more: str, **settings: object) -> list[str]:
    """The arguments of a tiny run."""
    pairs = [part for name, value in {**SETTINGS, **settings}.items() for part in ("--set", f"{name}={value}")]
    return [str(data), "--out", str(out), "--init", "none", "--lm", "none", *pairs, *more]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "look.json",
            "config.json",
            "lexicon.z",
            "data_report.jsonl",
            "log.jsonl",
            "events.out.tfevents.1700000000.host",
        ),
        *("dev.jsonl", "model.safetensors", "model.lm", "dev_manifest.jsonl"),
        *("curves.png", "report.html", "result.json"),
    ],
)
def test_a_users_files_are_not_replaced(data: Path, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"theirs": 1}')
    before = contents(tmp_path)
    for more in ([], ["--resume"]):
        with pytest.raises(Error, match=rf"files that a run would replace, .*: {name}; .*--out"):
            train(line(data, tmp_path, *more))
    assert contents(tmp_path) == before


def test_what_is_read_is_not_replaced_where_a_run_goes_on(data: Path, tmp_path: Path) -> None:
    shutil.copy(data, tmp_path / "dev.jsonl")
    (tmp_path / "state.safetensors").write_bytes(b"as if it had begun")
    before = contents(tmp_path)
    (tmp_path / "other").mkdir()
    for dev in (tmp_path / "dev.jsonl", tmp_path / "other" / ".." / "dev.jsonl"):
        with pytest.raises(Error, match=r"dev\.jsonl: this file is read, too, and would be replaced"):
            train(line(data, tmp_path, "--dev", str(dev), "--resume"))
    (tmp_path / "other").rmdir()
    assert contents(tmp_path) == before


def test_a_language_model_of_the_users_own_stays(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_CACHE", str(data.parent / "cache"))
    out = tmp_path / "out"
    assert train([*line(data, out), "--licence", "CC0"]) == 0
    (out / "result.json").unlink()  # as if it had been stopped before
    (out / "model.lm").write_bytes(b"theirs")
    before = contents(out)
    with pytest.raises(Error, match=r"model\.lm: this run did not make it, .*; move it away first"):
        train(line(data, out, "--resume"))
    assert contents(out) == before
    (out / "model.lm").unlink()
    assert train(line(data, out, "--resume")) == 0
    assert load(str(out / "model.safetensors")).info["licence"] == "CC0"


@pytest.mark.parametrize(
    ("setting", "value", "complaint"),
    [
        ("subsampling", 3, "subsampling is 3; it must be one of 2, 4, 8"),
        ("layers", 0, "layers is 0; it must be at least 1"),
        ("lexicon", "missing.txt", "lexicon missing.txt"),
        ("noise", "missing", "noise=missing: expected a folder"),
        ("rooms", "missing", "rooms=missing: expected a folder"),
    ],
)
def test_wrong_settings_answer_before_the_data_is_looked_at(
    data: Path, tmp_path: Path, setting: str, value: object, complaint: str
) -> None:
    with pytest.raises(Error, match=complaint):
        train(line(data, tmp_path / "out", **{setting: value}))
    assert not (tmp_path / "out").exists()


def test_one_command_at_a_time(data: Path, tmp_path: Path) -> None:
    with RunFolder(tmp_path).alone(), pytest.raises(Error, match=r"another command trains there now; .*--out"):
        train(line(data, tmp_path))
    assert not contents(tmp_path)
    with RunFolder(tmp_path).alone():
        pass


def test_a_run_that_kept_nothing_begins_again_and_one_that_lost_its_state_is_not_written_over(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_CACHE", str(data.parent / "cache"))
    out = tmp_path / "out"
    with pytest.raises(Error, match="leaves no time to train"):
        train(line(data, out, steps=0, minutes=1e-6))
    assert {"look.json", "config.json", "log.jsonl"} <= contents(out).keys()
    for name in ("model.safetensors", "dev.jsonl"):  # written just before the state, so that one killed there has them
        (out / name).write_bytes(b"of the first evaluation")
    assert train(line(data, out)) == 0
    (out / "state.safetensors").unlink()
    before = contents(out)
    with pytest.raises(Error, match=r"dev\.jsonl, model\.safetensors, .*result\.json; choose another folder"):
        train(line(data, out, seed=2))
    assert contents(out) == before
