"""The README's table of results, by the real command in a checkout of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr import Error
from scripts.results import BEGIN, END, FILE, Result, table, with_table

PROJECT = Path(__file__).resolve().parents[1]
SCORE = {
    "wer": 0.1234,
    "cer": 0.0456,
    "words": 12_345,
    "errors": 1523,
    "utterances": 1300,
    "wer_low": 0.1101,
    "wer_high": 0.1399,
    "interval_over": "speakers",
    "failed": 0,
    "speakers": 20,
}
READ = Result(
    recipe="mini_librispeech",
    command="python scripts/run_recipe.py mini_librispeech --set minutes=0 --set steps=12532",
    commit="abc1234",
    seed=1,
    workers=2,
    steps=12_532,
    minutes=116.64,
    parameters=3_600_000,
    scores={"dev-clean": SCORE, "dev-clean-others": {**SCORE, "wer": 0.5, "interval_over": "utterances"}},
)
YES = dataclasses.replace(
    READ,
    recipe="yesno",
    command="python scripts/run_recipe.py yesno",
    commit=None,
    scores={"test": {**SCORE, "utterances": 30, "words": 240, "speakers": 1, "failed": 2}},
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script, and a README with markers and nothing between them."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    (folder / "data").mkdir()
    shutil.copy(PROJECT / "scripts" / "results.py", folder / "scripts")
    (folder / "README.md").write_text(f"# asr\n\n{BEGIN}\n{END}\n\nThe end: 12.3% é\n", encoding="utf-8")
    return folder


def results(checkout: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "scripts/results.py", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.run(line, cwd=checkout, env=environment, capture_output=True, text=True, timeout=120)


def run_folder(parent: Path, name: str, result: Result) -> Path:
    folder = parent / name
    folder.mkdir()
    result.save(folder / FILE)
    return folder


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_runs_become_rows_and_the_table_can_be_made_again(checkout: Path, tmp_path: Path) -> None:
    """Figures come out rounded, in the order of the recipes' names, and the rest of the README stays as it is."""
    folders = [run_folder(tmp_path, "books", READ), run_folder(tmp_path, "yesno", YES)]
    done = results(checkout, *folders)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    readme = (checkout / "README.md").read_text(encoding="utf-8")
    head, *rows = readme.removeprefix(f"# asr\n\n{BEGIN}\n").removesuffix(f"{END}\n\nThe end: 12.3% é\n").splitlines()
    assert cells(head) == ["recipe", "scored on", "greedy WER (95% interval)", "CER", "trained", "command"]
    assert [cells(row) for row in rows[1:]] == [
        [
            "`mini_librispeech`",
            "dev-clean: 20 speakers, 1,300 utterances, 12,345 words",
            "12.3% (11.0 to 14.0 over speakers)",
            "4.6%",
            "12,532 steps in 116.6 minutes, workers: 2, seed 1, commit abc1234",
            f"`{READ.command}`",
        ],
        [
            "",
            "dev-clean-others: 20 speakers, 1,300 utterances, 12,345 words",
            "50.0% (11.0 to 14.0 over utterances)",
            "4.6%",
            "",
            "",
        ],
        [
            "`yesno`",
            "test: 1 speaker, 30 utterances, 2 of them unreadable, 240 words",
            "12.3% (11.0 to 14.0 over speakers)",
            "4.6%",
            "12,532 steps in 116.6 minutes, workers: 2, seed 1",
            "`python scripts/run_recipe.py yesno`",
        ],
    ]
    assert sorted(path.name for path in (checkout / "data" / "results").iterdir()) == ["books.json", "yesno.json"]
    for folder in folders:  # what is kept is enough
        shutil.rmtree(folder)
    (checkout / "README.md").write_text(f"# asr\n\n{BEGIN}\nold\n{END}\n\nThe end: 12.3% é\n", encoding="utf-8")
    assert results(checkout).returncode == 0
    assert (checkout / "README.md").read_text(encoding="utf-8") == readme
    (checkout / "data" / "results" / "yesno.json").unlink()
    assert results(checkout).returncode == 0
    assert "yesno" not in (checkout / "README.md").read_text(encoding="utf-8")


def test_a_figure_that_was_typed_by_hand_is_found(checkout: Path, tmp_path: Path) -> None:
    results(checkout, run_folder(tmp_path, "books", READ))
    readme = checkout / "README.md"
    assert results(checkout, "--check").returncode == 0
    typed = readme.read_text(encoding="utf-8").replace("| 50.0% (", "| 5.0% (")
    readme.write_text(typed, encoding="utf-8")
    done = results(checkout, "--check")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    wrong, right = done.stderr.splitlines()[-2:]
    assert wrong.startswith("-") and "| 5.0% (" in wrong and right.startswith("+") and "| 50.0% (" in right
    assert readme.read_text(encoding="utf-8") == typed


def test_a_newer_run_of_the_same_folder_takes_the_place_of_the_older(checkout: Path, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "yesno", YES)
    results(checkout, folder)
    dataclasses.replace(YES, seed=7).save(folder / FILE)
    assert results(checkout, folder).returncode == 0
    rows = (checkout / "README.md").read_text(encoding="utf-8")
    assert rows.count("`yesno`") == 1 and "seed 7" in rows and "seed 1" not in rows


def test_folders_of_the_same_name_are_not_mixed_up(checkout: Path, tmp_path: Path) -> None:
    folders = []
    for where in (tmp_path / "a", tmp_path / "b"):
        where.mkdir()
        folders.append(run_folder(where, "yesno", YES))
    done = results(checkout, *folders)
    assert done.returncode == 2 and "expected different names" in done.stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file; expected what scripts/run_recipe.py leaves"),
        ("{", "not a result of scripts/run_recipe.py"),
        ("[]", "not a result of scripts/run_recipe.py"),
        ('{"recipe": "yesno"}', "not a result of scripts/run_recipe.py"),
        (json.dumps({**dataclasses.asdict(YES), "recipe": "maybe"}), "there is no recipe 'maybe'"),
    ],
)
def test_a_folder_without_a_result_changes_nothing(
    checkout: Path, tmp_path: Path, content: str | None, message: str
) -> None:
    good, bad = run_folder(tmp_path, "good", YES), run_folder(tmp_path, "bad", YES)
    (bad / FILE).write_text(content) if content is not None else (bad / FILE).unlink()
    before = (checkout / "README.md").read_bytes()
    done = results(checkout, good, bad)
    assert (
        done.returncode == 1 and message in done.stderr and str(bad) in done.stderr + str(bad) * (content is not None)
    )
    assert "Traceback" not in done.stderr and (checkout / "README.md").read_bytes() == before
    assert not (checkout / "data" / "results").exists()


def test_check_with_runs_is_wrong_usage(checkout: Path, tmp_path: Path) -> None:
    done = results(checkout, run_folder(tmp_path, "yesno", YES), "--check")
    assert done.returncode == 2 and "--check changes nothing" in done.stderr


lines = st.lists(st.sampled_from(["", "# Title", "| a | b |", "text"]), max_size=4)


@given(lines, lines, lines)
def test_only_what_is_between_the_markers_changes(before: list[str], old: list[str], after: list[str]) -> None:
    text = "\n".join([*before, BEGIN, *old, END, *after, ""])
    expected = "\n".join([*before, BEGIN, *table([YES]).splitlines(), END, *after, ""])
    assert with_table(text, table([YES])) == expected == with_table(expected, table([YES]))


def test_nothing_is_kept_where_there_is_no_place_for_the_table(checkout: Path, tmp_path: Path) -> None:
    (checkout / "README.md").write_text("# asr\n")
    done = results(checkout, run_folder(tmp_path, "yesno", YES))
    assert done.returncode == 1 and "needs one line <!-- results: begin -->" in done.stderr
    assert not (checkout / "data" / "results").exists()


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}\n{END}\n{END}\n", f"{BEGIN}\n" * 2])
def test_a_readme_without_its_markers_is_an_error(text: str) -> None:
    with pytest.raises(Error, match="needs one line <!-- results: begin -->"):
        with_table(text, "")
