"""The recipe that docs/new_recipe.md shows, from its text alone: downloaded, read, trained and scored."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from miniatures import sound

from recipes.archive import Archive

PROJECT = Path(__file__).resolve().parents[1]
TEXT = (PROJECT / "docs" / "new_recipe.md").read_text(encoding="utf-8")
HOME = "https://www.openslr.org/resources/32/xh_za.tar.gz"


@pytest.fixture
def block() -> str:
    """The file that the text shows."""
    (shown,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    return shown


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of what a recipe is run by, to which a file can be added."""
    folder = tmp_path / "project"
    for name in ("recipes", "scripts"):
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "asr").symlink_to(PROJECT / "asr")
    return folder


def _isixhosa() -> dict[str, bytes]:
    names = [f"xho_{speaker:04}_{number:010}" for speaker in range(50, 60) for number in range(3)]
    lines = "".join(f"{name}\tMolo mhlaba {name[-1]}\n" for name in names)
    wavs = {f"za/xho/wavs/{name}.wav": sound(f"{name}.wav", rate=48_000, seconds=1.5) for name in names}
    return {"za/xho/line_index.tsv": lines.encode(), "za/LICENSE": b"free", **wavs}


def test_the_shown_file_is_a_whole_recipe(publish, block: str, project: Path) -> None:
    offered = publish(Archive((HOME,), "isixhosa", "za/xho"), _isixhosa())
    assert HOME in block
    (project / "recipes" / "isixhosa.py").write_text(block.replace(HOME, offered.urls[0]), encoding="utf-8")
    settings = ["minutes=0", "steps=3", "hidden=8", "channels=8", "layers=1", "workers=1"]
    command = [sys.executable, "scripts/run_recipe.py", "isixhosa", *(x for each in settings for x in ("--set", each))]
    environment = {**os.environ, "ASR_CORPORA": "corpora", "ASR_CACHE": "cache"}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.match(r"isixhosa test WER [\d.]+% .* in 9 words of 3 utterances", done.stdout.splitlines()[-1])
    sizes = {
        path.stem: len(path.read_text().splitlines())
        for path in (project / "data" / "runs" / "isixhosa" / "manifests").iterdir()
    }
    assert sizes == {"train": 24, "dev": 3, "test": 3}
    listed = subprocess.run([*command[:2], "--list"], cwd=project, capture_output=True, text=True)
    assert "| `isixhosa` | women reading isiXhosa sentences | a few | CC BY-SA 4.0 |" in listed.stdout.splitlines()


def test_the_shown_file_is_short_and_as_ours_are(block: str, tmp_path: Path) -> None:
    assert len(block.splitlines()) <= 50
    (tmp_path / "isixhosa.py").write_text(block, encoding="utf-8")
    for check in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *check, "--config", PROJECT / "pyproject.toml", tmp_path / "isixhosa.py"]
        done = subprocess.run(list(map(str, ruff)), capture_output=True, text=True)
        assert done.returncode == 0, done.stdout
