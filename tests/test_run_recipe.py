"""The script that runs a recipe, on a real corpus, as a user does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recipes

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = PROJECT / "scripts" / "run_recipe.py"
TINY = ("steps=3", "hidden=8", "channels=8", "layers=1", "workers=1")


def run_recipe(corpora: Path, out: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """Run the yesno recipe with a tiny model."""
    line = [sys.executable, SCRIPT, "yesno", "--out", out]
    line += [part for setting in settings for part in ("--set", setting)]
    environment = {**os.environ, "ASR_CORPORA": str(corpora.absolute()), "ASR_CACHE": str(out / "cache")}
    return subprocess.run(list(map(str, line)), cwd=out.parent, env=environment, capture_output=True, text=True)


def test_from_corpus_to_wer_and_again(corpora: Path, tmp_path: Path) -> None:
    """The last line is the result; a second run finds the first one finished and says the same."""
    first, second = (run_recipe(corpora, tmp_path / "run", *TINY) for _ in range(2))
    for done in (first, second):
        assert done.returncode == 0, done.stderr
        assert re.match(r"yesno test WER \d+\.\d\d% .* in 240 words of 30 utterances", done.stdout.splitlines()[-1])
    without_speed = [re.sub(r"real-time factor [\d.]+", "", done.stdout) for done in (first, second)]
    assert without_speed[0] == without_speed[1]
    assert "this run is finished, after step 3 of 3" in second.stderr
    cells = [cell.strip() for cell in first.stdout.splitlines()[-2].strip("|").split("|")]  # the README's row
    wer, low, high, cer = re.search(
        r"WER (\S+)% \(95% interval (\S+)% to (\S+)% .*CER (\S+)%:", first.stdout.splitlines()[-1]
    ).groups()
    assert cells[:2] == ["`yesno`", "test, 240 words"]
    assert [float(rate) for rate in re.findall(r"[\d.]+", cells[2] + cells[3])] == pytest.approx(
        [float(rate) for rate in (wer, low, high, cer)], abs=0.051
    )
    assert cells[4].startswith("3 steps in ") and cells[4].endswith("seed 1")
    options = " ".join(f"--set {setting}" for setting in TINY)
    assert cells[5] == f"`python scripts/run_recipe.py yesno {options}`"


def test_an_unknown_setting_is_wrong_usage(corpora: Path, tmp_path: Path) -> None:
    done = run_recipe(corpora, tmp_path / "run", "hiden=3")
    assert done.returncode == 2 and "hiden" in done.stderr and "Traceback" not in done.stderr


def test_the_list_of_recipes_is_quick_and_complete(tmp_path: Path) -> None:
    code = f"import runpy, sys; sys.argv[1:] = ['--list']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    loaded = "import atexit, sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr)); "
    done = subprocess.run([sys.executable, "-c", loaded + code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "False\n")
    table = done.stdout.splitlines()
    assert [line.split("|")[1].strip() for line in table[2:]] == [f"`{name}`" for name in recipes.NAMES]
    assert all(cell.strip() for line in table for cell in line.strip("|").split("|"))


def test_no_recipe_is_wrong_usage(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, SCRIPT], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and "which recipe? There are an4, cmu_arctic" in done.stderr
