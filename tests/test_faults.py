"""Training that is hard to kill: real faults against the real command. What is left must always be good."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from asr import checkpoint

PROJECT = Path(__file__).resolve().parents[1]
PATIENCE = 600  # s: what hangs fails in the end, what only waits for a busy machine does not
KILLS = 20
STEPS = 600
SETTINGS = {
    "layers": 1,
    "hidden": 24,
    "channels": 24,
    "average": 0.1,
    "batch_seconds": 8.0,
    "steps": STEPS,
    "evaluations": 100,  # each saves the state: a run that is killed soon after it began still gets on
    "workers": 2,
}
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kills by process groups and /proc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, noise_with_texts: Callable[[Path], Path]) -> Path:
    """A folder with data.jsonl."""
    return noise_with_texts(tmp_path_factory.mktemp("data"))


def start(folder: Path, out: Path, *options: str, before: Callable[[], object] | None = None) -> subprocess.Popen[str]:
    """Start a run in a process group of its own, workers included."""
    pairs = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
    line = [sys.executable, "-m", "asr.train", str(folder / "data.jsonl"), "--out", str(out), *pairs, *options]
    environment = os.environ | {"ASR_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        line,
        cwd=PROJECT,
        env=environment,
        stdout=pipe,
        stderr=pipe,
        text=True,
        start_new_session=True,
        preexec_fn=before,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Status and errors of a run that has ended."""
    _, error = process.communicate(timeout=PATIENCE)
    return process.returncode, error


@pytest.fixture(scope="module")
def whole(folder: Path) -> Path:
    """The folder of a run that nothing has disturbed."""
    out = folder / "whole"
    status, error = finish(start(folder, out))
    assert status == 0, error
    return out


def pace(whole: Path) -> float:
    """Seconds between the states that a run saves on this machine, about."""
    seconds = json.loads(checkpoint.read_tensors(whole / "state.safetensors")[1]["progress"])["seconds"]
    return seconds / SETTINGS["evaluations"]


def saved(out: Path) -> int:
    """The step of the saved state; 0 where there is none yet."""
    if not (out / "state.safetensors").exists():
        return 0
    return json.loads(checkpoint.read_tensors(out / "state.safetensors")[1]["progress"])["step"]


def wait_for(process: subprocess.Popen[str], happened: Callable[[], bool]) -> None:
    """Return when something has happened to a run that goes on."""
    deadline = time.monotonic() + PATIENCE
    while not happened():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.005)


def assert_equal_runs(out: Path, whole: Path) -> None:
    for name in ("model.safetensors", "dev.jsonl"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    states = [checkpoint.read_tensors(run / "state.safetensors")[0] for run in (out, whole)]
    assert states[0].keys() == states[1].keys()
    assert all(states[0][name].equal(states[1][name]) for name in states[0])
    assert not list(out.glob(".*.part"))


def test_a_run_killed_twenty_times_at_random_moments_ends_with_the_same_model(folder: Path, whole: Path) -> None:
    """Some while it starts, most while it trains, evaluates or writes; never so late that it could have ended."""
    out, draw, steps = folder / "killed", random.Random(5), []
    between, starting = pace(whole), 0.0
    for i in range(KILLS):
        before, began = saved(out), time.monotonic()
        process = start(folder, out, *(["--resume"] if before else []))
        if i % 5:
            wait_for(process, lambda before=before: saved(out) > before)
            starting = starting or time.monotonic() - began
            time.sleep(draw.uniform(0, 1.5 * between))
        else:
            time.sleep(draw.uniform(0, starting))
        os.killpg(process.pid, signal.SIGKILL)
        finish(process)
        steps.append(saved(out))  # it can be read
    assert steps == sorted(steps) and 0 < steps[-1] < STEPS, "it has gone on, but was never left to its end"
    status, error = finish(start(folder, out, "--resume"))
    assert status == 0, error
    assert_equal_runs(out, whole)


def test_ctrl_c_while_the_workers_start(folder: Path, tmp_path: Path) -> None:
    process = start(folder, tmp_path / "out")
    for line in process.stderr:
        if "utterances, " in line and "characters" in line:  # the last line before they start
            break
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    status, error = finish(process)
    assert (status, error.splitlines()[-1]) == (130, "interrupted") and "Traceback" not in error


def test_a_full_disk_leaves_the_last_good_state(folder: Path, whole: Path) -> None:
    """A limit on the size of files stands for the disk: writing fails in the middle of the state, as it does there."""
    out = folder / "full"
    process = start(folder, out)
    wait_for(process, lambda: saved(out) > 0)
    os.killpg(process.pid, signal.SIGTERM)  # as systemd does
    status, error = finish(process)
    assert status == 130 and f"stopped after step {saved(out)} of {STEPS}" in error and "Traceback" not in error
    state = (out / "state.safetensors").read_bytes()
    limit = len(state) // 2
    status, error = finish(
        start(folder, out, "--resume", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    )
    assert status == 1 and "Traceback" not in error
    assert "File too large" in error.splitlines()[-1] and "state.safetensors" in error.splitlines()[-1]
    assert (out / "state.safetensors").read_bytes() == state
    assert not list(out.glob(".*.part"))
    status, error = finish(start(folder, out, "--resume"))
    assert status == 0, error
    assert_equal_runs(out, whole)


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.999])
def test_a_state_cut_short_is_refused_with_what_to_do(folder: Path, whole: Path, tmp_path: Path, kept: float) -> None:
    for name in ("config.json", "log.jsonl", "model.safetensors", "dev.jsonl"):
        (tmp_path / name).write_bytes((whole / name).read_bytes())
    state = (whole / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(state[: int(kept * len(state))])
    status, error = finish(start(folder, tmp_path, "--resume"))
    assert status == 1 and "Traceback" not in error
    assert str(tmp_path / "state.safetensors") in error.splitlines()[-1] and "--out" in error.splitlines()[-1]
    assert (tmp_path / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_a_worker_that_is_killed_ends_the_run_which_goes_on_when_resumed(folder: Path, whole: Path) -> None:
    out = folder / "worker"
    process = start(folder, out)
    wait_for(process, lambda: saved(out) > 0)
    os.kill(workers_of(process.pid)[1], signal.SIGKILL)
    status, error = finish(process)
    assert status == 1 and "Traceback" not in error
    assert "a worker was killed by signal 9" in error.splitlines()[-1] and "--resume" in error.splitlines()[-1]
    status, error = finish(start(folder, out, "--resume"))
    assert status == 0, error
    assert_equal_runs(out, whole)


def workers_of(process: int) -> list[int]:
    """The processes that train: children of the command that were started by `spawn`."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    found = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    assert len(found) == SETTINGS["workers"]
    return found
