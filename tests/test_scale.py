"""Memory with many utterances, by the real command on manifests of different lengths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
SIZES = (10_000, 100_000)
MOST = {"main_mib": 600, "worker_mib": 200}  # bytes an utterance


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_grows_by_little_with_every_utterance() -> None:
    """A text of 40 letters alone, as a list of numbers and a string, would take more than a worker may grow by."""
    found = []
    for utterances in SIZES:
        line = [sys.executable, "scripts/scale.py", "--utterances", str(utterances), "--json"]
        environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0 and f"{utterances} utterances" in done.stderr, done.stderr
        found.append(json.loads(done.stdout.splitlines()[-1]))
    for name, most in MOST.items():
        growth = (found[1][name] - found[0][name]) * 2**20 / (SIZES[1] - SIZES[0])
        assert growth < most, f"{name}: {growth:.0f} bytes an utterance; {found}"
