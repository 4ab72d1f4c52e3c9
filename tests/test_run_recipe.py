"""The script that runs a recipe, on a real corpus, as a user does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import recipes
from asr.checkpoint import load
from asr.command import UsageError
from asr.train import configure
from asr.training.config import TrainConfig
from scripts.results import Result
from scripts.run_recipe import repeatable, sort_settings

PROJECT = Path(__file__).resolve().parents[1]
SCRIPT = PROJECT / "scripts" / "run_recipe.py"
TINY = ("steps=3", "hidden=8", "channels=8", "layers=1", "workers=1")


def run_recipe(
    corpora: Path, out: Path, *settings: str, name: str = "yesno", options: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a recipe with a tiny model."""
    line = [sys.executable, SCRIPT, name, "--out", out, *options]
    line += [part for setting in settings for part in ("--set", setting)]
    environment = {**os.environ, "ASR_CORPORA": str(corpora.absolute()), "ASR_CACHE": str(out / "cache")}
    return subprocess.run(list(map(str, line)), cwd=out.parent, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def finished(corpora: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a run, and what its command printed."""
    out = tmp_path_factory.mktemp("yesno") / "run"
    done = run_recipe(corpora, out, *TINY, "seed=5")
    assert done.returncode == 0, done.stderr
    return out, done


def test_from_corpus_to_wer_and_again(corpora: Path, finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """The last line is the result; a second run finds the first one finished and says the same."""
    out, first = finished
    second = run_recipe(corpora, out, *TINY, "seed=5")
    for done in (first, second):
        assert done.returncode == 0, done.stderr
        assert re.match(r"yesno test WER \d+\.\d\d% .* in 240 words of 30 utterances", done.stdout.splitlines()[-1])
    without_speed = [re.sub(r"real-time factor [\d.]+", "", done.stdout) for done in (first, second)]
    assert without_speed[0] == without_speed[1]
    assert "this run is finished, after step 3 of 3" in second.stderr


def test_a_run_leaves_its_result_and_its_texts(
    finished: tuple[Path, subprocess.CompletedProcess[str]], run_module
) -> None:
    """What it leaves is what an evaluation finds, of the model as of the texts, and the row for the README says it."""
    out, done = finished
    result = Result.load(out / "result.json")
    assert list(result.scores) == ["test"]
    of_model = ("--model", out / "model.safetensors", "--manifest", out / "manifests" / "test.jsonl")
    for source in (of_model, ("--hypotheses", out / "test.jsonl")):
        evaluated = json.loads(run_module("asr.evaluate", *source, "--json").stdout)
        evaluated.pop("recognizer", None)  # which is not part of the score
        assert {**result.scores["test"], "rtf": 0} == {**evaluated, "rtf": 0, "speakers": 1}
    stored = load(out / "model.safetensors")
    assert result.parameters == sum(weights.numel() for weights in stored.acoustic_model().parameters())
    assert result.commit == stored.info["commit"] and re.fullmatch("[0-9a-f]{7,}(-dirty)?", result.commit)
    assert (result.seed, result.workers, result.steps) == (5, 1, 3) and 0 < result.minutes < 60
    options = " ".join(f"--set {setting}" for setting in (*TINY, "seed=5"))
    assert result.command == f"python scripts/run_recipe.py yesno {options}"
    assert done.stdout.splitlines()[:-1] == result.rows()


def test_a_run_of_older_code_is_scored_as_it_is(
    corpora: Path, finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """It lacks a setting that has come since."""
    out = shutil.copytree(finished[0], tmp_path / "older")
    config, before = json.loads((out / "config.json").read_text()), json.loads((out / "result.json").read_text())
    del config["settings"]["average"]
    (out / "config.json").write_text(json.dumps(config))
    (out / "result.json").unlink()
    (out / "model.lm").write_bytes(b"made later; the figures are greedy")
    done = run_recipe(corpora, out, *TINY, "seed=5", options=["--score"])
    assert done.returncode == 0, done.stderr
    after = json.loads((out / "result.json").read_text())
    for result in (before, after):
        del result["scores"]["test"]["rtf"]
    assert after == before
    done = run_recipe(corpora, out, *TINY, "dropout=0.25", options=["--score"])
    assert done.returncode == 2
    assert (
        f"other settings; name them: --set dropout={recipes.find('yesno').settings['dropout']} --set seed=5"
        in done.stderr
    )


def test_a_finished_run_needs_the_model_no_more_from_which_it_started(
    corpora: Path, finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    start, out = tmp_path / "start.safetensors", tmp_path / "run"
    shutil.copy(finished[0] / "model.safetensors", start)
    settings = ("steps=2", "workers=1", f"init={start}")
    assert run_recipe(corpora, out, *settings).returncode == 0
    start.unlink()
    for options in ([], ["--score"]):
        done = run_recipe(corpora, out, *settings, options=options)
        assert done.returncode == 0, done.stderr
    done = run_recipe(corpora, out, "steps=2", "workers=1", "init=other.safetensors")
    assert done.returncode == 1 and "this run began with other init" in done.stderr


def test_a_users_texts_are_not_replaced(corpora: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "test.jsonl").write_text("theirs")
    done = run_recipe(corpora, out, *TINY)
    assert done.returncode == 1 and "has files that a run would replace" in done.stderr and "test.jsonl" in done.stderr
    assert (out / "test.jsonl").read_text() == "theirs"


@pytest.mark.parametrize("setting", ["subsampling=3", "statistics=all", "dropout=1.5", "cell=rnn"])
def test_impossible_sizes_are_wrong_usage_before_anything_is_read(setting: str, corpora: Path, tmp_path: Path) -> None:
    done = run_recipe(tmp_path / "nothing", tmp_path / "run", *TINY, setting)
    assert done.returncode == 2 and setting.split("=")[0] in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "nothing").exists()


def test_a_run_with_other_parts_is_neither_scored_nor_changed(
    corpora: Path, finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """As under another option of the recipe: its test part is another one."""
    out = shutil.copytree(finished[0], tmp_path / "other")
    manifest = out / "manifests" / "test.jsonl"
    manifest.write_text("".join(manifest.read_text().splitlines(keepends=True)[1:]))
    before = {path: path.read_bytes() for path in (out / "result.json", manifest)}
    done = run_recipe(corpora, out, *TINY, "seed=5", options=["--score"])
    assert done.returncode == 2 and "this run has other utterances as test; name its options" in done.stderr
    done = run_recipe(corpora, out, *TINY, "seed=6")
    assert done.returncode == 1 and "this run began with other seed" in done.stderr
    assert {path: path.read_bytes() for path in before} == before


def test_what_a_user_says_of_the_length_counts() -> None:
    given = {"minutes": 90.0, "steps": 9, "hidden": 8}
    for chosen, expected in (
        ({"steps": 5}, (0, 5)),
        ({"epochs": 2.0}, (0, 0)),
        ({"minutes": 1.0}, (1, 0)),
        ({"minutes": 0.0, "steps": 5}, (0, 5)),
        ({"hidden": 16}, (90, 9)),
    ):
        found = configure(given, chosen)
        assert (found.minutes, found.steps) == expected
    assert configure(given, {"epochs": 2.0}).epochs == 2


def test_only_a_finished_run_can_be_scored(corpora: Path, tmp_path: Path) -> None:
    done = run_recipe(corpora, tmp_path / "nothing", options=["--score"])
    assert done.returncode == 1 and "no such file" in done.stderr and "Traceback" not in done.stderr


def test_the_command_of_a_result_fixes_the_steps_and_tells_nothing_of_the_machine() -> None:
    def line(*pairs: str, **settings: object) -> str:
        return repeatable("yesno", pairs, TrainConfig(**settings), 7)

    command = "python scripts/run_recipe.py yesno"
    assert line("hidden=8", steps=7) == f"{command} --set hidden=8"
    assert line("minutes=2", "seed=3", minutes=2) == f"{command} --set seed=3 --set minutes=0 --set steps=7"
    assert line(minutes=90) == f"{command} --set minutes=0 --set steps=7"  # the recipe's own
    assert line("noise=/home/me/noise/all", "init=en") == f"{command} --set noise=noise/all --set init=en"


def test_a_model_says_which_options_chose_its_data(corpora: Path, tmp_path: Path) -> None:
    done = run_recipe(corpora, tmp_path / "run", *TINY, "unheard=theo", name="digits")
    assert done.returncode == 0, done.stderr
    info = load(tmp_path / "run" / "model.safetensors").info
    assert info["data"] == ["digits (unheard=theo): single English digits, six speakers"]
    assert info["licence"] == "CC BY-SA 4.0"


def test_what_a_recipe_says_of_its_data_names_what_differs_from_the_defaults() -> None:
    for name, chosen, said in (
        ("common_voice", {"language": "cy"}, "common_voice (language=cy): sentences read by volunteers"),
        ("common_voice", {"language": "en"}, "common_voice: sentences"),
        ("librispeech", {"train": "960h"}, "librispeech (train=960h): "),
        ("speech_commands", {"words": "12"}, "speech_commands (words=12): "),
    ):
        recipe = recipes.find(name)
        info = recipe.info({**recipe.options, **chosen})
        assert info["data"][0].startswith(said) and info["licence"] == recipe.licence


def test_an_option_without_a_value_is_wrong_usage() -> None:
    digits = recipes.find("digits")
    assert sort_settings(digits, ["unheard=theo", "hidden=8"]) == ({"unheard": "theo"}, {"hidden": 8})
    for pair in ("unheard", "epochs"):
        with pytest.raises(UsageError, match=f"--set {pair}: expected key=value"):
            sort_settings(digits, [pair])


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
