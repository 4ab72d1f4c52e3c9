"""The script that runs a recipe, on a real corpus, as a user does."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
TINY = ("steps=3", "hidden=8", "channels=8", "layers=1", "workers=1")


def run_recipe(corpora: Path, out: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    """Run the yesno recipe with a tiny model."""
    line = [sys.executable, PROJECT / "scripts" / "run_recipe.py", "yesno", "--out", out]
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


def test_an_unknown_setting_is_wrong_usage(corpora: Path, tmp_path: Path) -> None:
    done = run_recipe(corpora, tmp_path / "run", "hiden=3")
    assert done.returncode == 2 and "hiden" in done.stderr and "Traceback" not in done.stderr
