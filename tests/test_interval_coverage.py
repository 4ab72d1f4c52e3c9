"""The script that measures coverage: its simulated systems have the rates that it takes for the truth, and it runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import interval_coverage as simulation  # noqa: E402


def test_the_rates_are_the_truth_on_average() -> None:
    rates = np.minimum(simulation.shared_rates(np.random.default_rng(0), 20_000, 5), 1)
    assert rates.mean() == pytest.approx(simulation.RATE, rel=0.02)
    assert np.log(rates).std() == pytest.approx(np.hypot(0.4, 0.3), rel=0.02)


def test_two_systems_err_alike_and_as_often() -> None:
    random = np.random.default_rng(0)
    words = random.integers(5, 41, 2000)
    a, b = simulation._two_systems(random, simulation.shared_rates(random, 2000, 1), words, 2000, 1)
    ends = np.cumsum(words + 2)
    assert not (a | b)[np.concatenate([ends - 1, ends - 2])].any()  # what ends a segment
    assert a.sum() / words.sum() == pytest.approx(simulation.RATE, rel=0.05)
    assert b.sum() == pytest.approx(a.sum(), rel=0.05)
    assert np.corrcoef(a, b)[0, 1] > 0.2


def test_it_prints_a_line_for_each_kind_of_test_set() -> None:
    line = [sys.executable, SCRIPTS / "interval_coverage.py", "--trials", "2"]
    printed = subprocess.run(line, capture_output=True, text=True, check=True, timeout=300).stdout.splitlines()
    assert len(printed) == 6
    assert all(re.search(r"drawn by (speaker|utterance)( \| [\d.]+%){4}$", row) for row in printed)
