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
ADVANCE = """
from asr.ngram import build, Level, advance
import numpy as np
zeros = np.zeros(3, np.float32)
model = build(("<unk>", "<s>", "</s>"), [Level(np.zeros(3, np.int64), np.arange(3), zeros - 1, zeros)])
from asr.decode import BeamSearch, BeamSettings
search = BeamSearch(np.zeros(2, np.int8), BeamSettings(alpha=1.0), model, token_words=np.zeros(2, np.int64))
print(search(np.log(np.full((1, 4, 2), 1 / 2, np.float32)), np.array([4]))[0][0].language)
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
    """Beam search has n-gram look-up compiled in, and numba looks at the file of beam search alone."""
    shutil.copytree(PROJECT / "asr", tmp_path / "asr", ignore=shutil.ignore_patterns("__pycache__", "models"))
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}

    def language() -> float:
        done = subprocess.run(
            [sys.executable, "-c", ADVANCE], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return float(done.stdout)

    before = language()
    assert language() == before
    ngram = tmp_path / "asr" / "ngram.py"
    changed = ngram.read_text(encoding="utf-8").replace(
        "log_prob, node = 0.0, context", "log_prob, node = -50.0, context"
    )
    assert changed.count("log_prob, node = -50.0") == 1
    ngram.write_text(changed, encoding="utf-8")
    assert language() < before - 50
