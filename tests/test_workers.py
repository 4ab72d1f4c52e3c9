"""Data-parallel training by the real commands: any number of workers, our own or torchrun's, on one host or two."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from asr.checkpoint import read_tensors
from asr.corpus import read, write_manifest
from asr.training.config import TrainConfig, parse_settings
from asr.training.folder import RunFolder
from asr.training.job import make_job
from asr.training.loop import Trainer
from asr.training.workers import CPU, TORCHRUN, Group, device_of

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # s: what hangs fails in the end, what only waits for a busy machine does not
STEPS = 50
# Whatever depends on how a batch is shared out is off: statistics of a worker's part, dropout. In fp32.
SETTINGS = {
    "layers": 1,
    "hidden": 16,
    "channels": 16,
    "norm": "layer",
    "dropout": 0.0,
    "bf16": "false",
    "batch_seconds": 6.0,
    "steps": STEPS,
    "evaluations": 2,
}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU, to train there")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers meet through gloo, which needs Unix here")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, noise_with_texts: Callable[[Path], Path]) -> Path:
    """A folder with data.jsonl: what one host holds."""
    folder = tmp_path_factory.mktemp("hosts") / "one"
    folder.mkdir()
    return noise_with_texts(folder)


def command(host: Path, out: Path, *options: str, **settings: object) -> list[str]:
    """The module that trains, and its arguments."""
    pairs = [part for name, value in {**SETTINGS, **settings}.items() for part in ("--set", f"{name}={value}")]
    return ["-m", "asr.train", str(host / "data.jsonl"), "--out", str(out), *pairs, *options]


def start(host: Path, line: list[str], gpus: str = "") -> subprocess.Popen[str]:
    """Start a command on a host, which has a cache of its own and sees only these GPUs, given by number."""
    environment = {name: value for name, value in os.environ.items() if name not in TORCHRUN}
    environment |= {"ASR_CACHE": str(host / "cache"), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": gpus}
    pipe = subprocess.PIPE
    return subprocess.Popen(line, cwd=PROJECT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(*processes: subprocess.Popen[str]) -> list[tuple[int, str, str]]:
    """Status, output and errors of each, when they have ended."""
    found = [process.communicate(timeout=PATIENCE) for process in processes]
    return [(process.returncode, *texts) for process, texts in zip(processes, found, strict=True)]


def torchrun(workers: int, node: int = 0, port: int | None = None) -> list[str]:
    """The command that starts workers on one host, or, given a port, as the host of that number of two."""
    line = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(workers)]
    if port is None:
        return [*line, "--standalone"]
    return [*line, "--nnodes", "2", "--node-rank", str(node), "--master-addr", "127.0.0.1", "--master-port", str(port)]


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def state(out: Path) -> dict[str, torch.Tensor]:
    """Weights and optimizer of a run."""
    return read_tensors(out / "state.safetensors")[0]


def step(out: Path) -> int:
    """Steps that a run has done."""
    return json.loads(read_tensors(out / "state.safetensors")[1]["progress"])["step"]


@pytest.fixture(scope="module")
def two_workers(host: Path) -> Path:
    """The folder of a run by two workers of our own."""
    out = host / "two workers"
    ((status, _, error),) = finish(start(host, [sys.executable, *command(host, out, workers=2)]))
    assert status == 0, error
    return out


def test_one_two_and_four_workers_train_the_same_model(host: Path, two_workers: Path) -> None:
    runs = [two_workers]
    for workers in (1, 4):
        runs.append(host / f"{workers} workers")
        ((status, _, error),) = finish(start(host, [sys.executable, *command(host, runs[-1], workers=workers)]))
        assert status == 0 and f"{STEPS} steps, {workers} workers, fp32" in error, error
    two, *others = map(state, runs)
    for other in others:
        for name in (name for name in two if name.startswith("model.")):
            torch.testing.assert_close(other[name], two[name], rtol=1e-3, atol=1e-4)


def test_two_hosts_train_the_model_of_two_workers_on_one(host: Path, two_workers: Path) -> None:
    """They share neither the recordings nor the folder of the run nor the cache; the second writes no run."""
    other = host.parent / "two"
    other.mkdir()
    for path in [*host.glob("*.wav"), host / "data.jsonl"]:
        shutil.copy(path, other)
    hosts, port = (host, other), free_port()
    lines = [torchrun(1, node, port) + command(where, where / "run") for node, where in enumerate(hosts)]
    first, second = finish(*(start(where, line) for where, line in zip(hosts, lines, strict=True)))
    assert first[0] == second[0] == 0, first[2] + second[2]
    assert first[1] == f"{host / 'run' / 'model.safetensors'}\n" and second[1] == ""
    assert "11 utterances" in first[2] and "utterances" not in second[2]
    assert not (other / "run").exists() and list((other / "cache").iterdir())
    whole, found = state(two_workers), state(host / "run")
    assert whole.keys() == found.keys() and all(torch.equal(whole[name], found[name]) for name in whole)


def test_hosts_with_other_texts_are_told(host: Path) -> None:
    other = host.parent / "other"
    other.mkdir()
    first, *rest = read(host / "data.jsonl")
    write_manifest(other / "data.jsonl", [dataclasses.replace(first, text="a cab"), *rest])
    hosts, port = (host, other), free_port()
    lines = [torchrun(1, node, port) + command(where, where / "unequal") for node, where in enumerate(hosts)]
    results = finish(*(start(where, line) for where, line in zip(hosts, lines, strict=True)))
    assert "not those of the leading worker" in results[1][2]
    for status, _, error in results:
        assert status == 1 and re.search("^error: ", error, re.MULTILINE) and "asr/train.py" not in error
    assert not (host / "unequal" / "model.safetensors").exists()


def test_torchrun_saves_the_state_at_sigterm_and_resumes(host: Path) -> None:
    out = host / "stopped"
    line = torchrun(2) + command(host, out, steps=400, evaluations=40)
    process = start(host, line)
    deadline = time.monotonic() + PATIENCE
    while not (out / "state.safetensors").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    ((status, _, error),) = finish(process)
    reached = step(out)
    assert status != 0 and 0 < reached < 400 and "asr/train.py" not in error
    assert f"stopped after step {reached} of 400; --resume goes on" in error
    ((status, output, error),) = finish(start(host, [*line, "--resume"]))
    assert status == 0, error
    assert f"resumed after step {reached} of 400" in error
    assert step(out) == 400 and output == f"{out / 'model.safetensors'}\n"


def test_a_run_with_another_number_of_workers_is_an_error(host: Path) -> None:
    ((status, _, error),) = finish(start(host, torchrun(1) + command(host, host / "three", workers=3)))
    assert status == 1 and "error: torchrun has started 1 workers, but" in error and "asr/train.py" not in error


def test_one_worker_of_each_host_calls_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others of the host call when it has."""
    order = []
    monkeypatch.setattr(Group, "add_up", lambda *_: order.append("all have come"))
    for local_rank in (0, 1):
        Group(local_rank=local_rank).host_first(lambda rank=local_rank: order.append(rank))
    assert order == [0, "all have come", "all have come", 1]


@needs_gpu
def test_a_gpu_has_the_losses_of_the_cpu_which_goes_on_from_its_state(
    host: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASR_CACHE", str(host / "cache"))
    config = TrainConfig().updated(parse_settings(f"{name}={value}" for name, value in SETTINGS.items()))
    job = make_job(read(host / "data.jsonl"), [], RunFolder(tmp_path), config, {})
    losses = {}
    for device in (CPU, device_of(0)):
        trainer = Trainer(Group(device=device), job)
        trainer.plan()
        losses[device.type] = [trainer.update(batch) for batch in [[0, 1, 2, 3], [4, 5, 6], [7, 8]] * 2]
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=1e-4)
    trainer.folder.save_state({"model": trainer.model}, trainer.optimizers, trainer.progress)
    resumed = Trainer(Group(), job)
    resumed.restore()
    assert resumed.update([9, 10]) == pytest.approx(trainer.update([9, 10]), rel=1e-4)


@needs_gpu
def test_the_command_trains_on_a_gpu(host: Path) -> None:
    for line, out in (([sys.executable], host / "gpu"), (torchrun(1), host / "gpu by torchrun")):
        ((status, _, error),) = finish(start(host, [*line, *command(host, out)], gpus="0"))
        assert status == 0 and f"{STEPS} steps, 1 workers, fp32" in error, error
