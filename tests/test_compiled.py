"""Compiled code is made once and kept, wherever there is a place for it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
DECODE = """
import numpy as np
from asr.decode import BeamSearch, BeamSettings
search = BeamSearch(np.zeros(3, np.int8), BeamSettings())
print(search(np.log(np.full((1, 4, 3), 1 / 3, np.float32)), np.array([4]))[0][0].ids)
"""
SAYS = "compiling the decoder for this machine: some seconds, once\n"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="places for caches differ on Windows")
def test_an_installation_that_cannot_be_written_compiles_once_too(tmp_path: Path) -> None:
    """Neither the package's folder nor a home: files in the places of folders stop root as well."""
    shutil.copytree(PROJECT / "asr", tmp_path / "site" / "asr", ignore=shutil.ignore_patterns("__pycache__", "models"))
    (tmp_path / "site" / "asr" / "__pycache__").write_text("in the way")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA", "XDG"))}
    environment |= {"HOME": "/dev/null", "TMPDIR": str(tmp_path), "PYTHONPATH": str(tmp_path / "site")}
    for said in (SAYS, ""):
        done = subprocess.run(
            [sys.executable, "-c", DECODE], env=environment, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.stderr == said and done.returncode == 0
    cache = tmp_path / f"asr-{os.getuid()}"
    assert any(cache.rglob("*.nbi")) and stat.S_IMODE(cache.stat().st_mode) == 0o700


def test_code_is_made_anew_when_another_file_changes_that_is_part_of_it(tmp_path: Path) -> None:
    """As beam search has n-gram look-up compiled in; numba itself looks at the file of beam search alone."""
    inner, outer = "from asr.compiled import compiled\n@compiled\n", "from inner import add\n"
    (tmp_path / "inner.py").write_text(f"{inner}def add(x):\n    return x + 1\n")
    (tmp_path / "outer.py").write_text(f"{outer}{inner}def twice(x):\n    return 2 * add(x)\n")

    def twice_of_one() -> tuple[int, int]:
        """What is computed, and how often code was taken from the cache."""
        code = "from outer import twice; print(twice(1), sum(twice.stats.cache_hits.values()))"
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{PROJECT}"}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        found, hits = done.stdout.split()
        return int(found), int(hits)

    assert [twice_of_one(), twice_of_one()] == [(4, 0), (4, 1)]
    (tmp_path / "inner.py").write_text(f"{inner}def add(x):\n    return x + 5\n")
    assert [twice_of_one(), twice_of_one()] == [(12, 0), (12, 1)]
