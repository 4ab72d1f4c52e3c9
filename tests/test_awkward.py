"""The real command over all files of scripts/make_awkward.py: each gives text or a clear error, and spoils no other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jiwer
import pytest

from asr.outputs import escaped

PROJECT = Path(__file__).resolve().parents[1]
CLEAN = "wav-pcm_16.wav"
CLOSE = 0.4  # character error rate against the clean file's text; of texts of other recordings it is 0.7 and more
MOST_MEMORY = 1500 << 10  # KiB of any process: the model and torch take half of it

# Runs a command and writes down how much memory the largest of its processes took.
MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


@dataclass(frozen=True)
class Outcome:
    """What the command did with all files."""

    status: int
    texts: list[str]  # lines of stdout
    errors: list[str]  # lines of stderr
    memory: int  # KiB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("awkward") / "files"
    script = PROJECT / "scripts" / "make_awkward.py"
    made = subprocess.run([sys.executable, script, folder], capture_output=True, text=True, timeout=300, check=False)
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def files(folder: Path) -> list[dict]:
    """What each file is to give, but for those that are awkward for some users only."""
    expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
    return [each for each in expected if not each.get("needs_user")]


@pytest.fixture(scope="module")
def outcome(folder: Path, files: list[dict], shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of one command with all of them, from inside their folder."""
    memory = tmp_path_factory.mktemp("memory") / "kib"
    options = ["--model", shipped_model, "--beam-size", "1", "--batch-seconds", "40"]
    line = [sys.executable, "-m", "asr.transcribe", *options, "--", *(each["name"] for each in files)]
    result = subprocess.run(
        [sys.executable, "-c", MEASURED, memory, *line],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",  # one name is not Unicode
        timeout=600,
        check=False,
    )
    texts, errors = result.stdout.splitlines(), result.stderr.splitlines()
    return Outcome(result.returncode, texts, errors, int(memory.read_text()))


def test_there_are_many(files: list[dict]) -> None:
    assert len(files) >= 150
    assert len({each["name"] for each in files}) == len(files)


def test_every_file_gives_its_text_or_one_line_of_error_in_the_order_given(outcome: Outcome, files: list[dict]) -> None:
    failing = [escaped(each["name"]) for each in files if each["expected"] == "error"]
    assert [line.split(": ")[:2] for line in outcome.errors] == [["error", name] for name in failing]
    others = [each for each in files if each["expected"] != "error"]
    labels = [escaped(os.path.join(each["name"], each.get("inside", "")).rstrip("/")) for each in others]
    assert [line.partition("\t")[0] for line in outcome.texts] == labels
    assert outcome.status == 1


def test_errors_say_what_is_wrong_and_what_to_do(outcome: Outcome, files: list[dict]) -> None:
    expected = [each.get("message", "") for each in files if each["expected"] == "error"]
    for line, message in zip(outcome.errors, expected, strict=True):
        assert message in line
        assert "Traceback" not in line and "crashed" not in line and "silent for" not in line
        assert len(line) > len("error: ") + 20


def test_texts_are_those_of_the_clean_recording(outcome: Outcome, files: list[dict]) -> None:
    found = dict(line.split("\t") for line in outcome.texts)
    clean = found[CLEAN]
    assert len(clean) > 20
    expected = [each["expected"] for each in files if each["expected"] != "error"]
    wrong = {
        name: text
        for (name, text), kind in zip(found.items(), expected, strict=True)
        if not {
            "same": text == clean,
            "like": jiwer.cer(clean, text) <= CLOSE,
            "empty": text == "",
            "any": True,
        }[kind]
    }
    assert wrong == {}


def test_memory_is_bounded(outcome: Outcome) -> None:
    assert outcome.memory < MOST_MEMORY


@pytest.fixture
def not_as_root() -> list[str]:
    """What to put before a command so that it may not read everything."""
    if os.geteuid() != 0:
        return []
    powers = "-dac_override,-dac_read_search"
    line = ["setpriv", "--bounding-set", powers, "--inh-caps", powers]
    if shutil.which("setpriv") is None or subprocess.run([*line, "true"], check=False).returncode != 0:
        pytest.skip("root may read everything, and setpriv does not take that away")
    return line


def test_what_only_some_users_may_not_read(folder: Path, tiny_model: Path, not_as_root: list[str]) -> None:
    line = [*not_as_root, sys.executable, "-m", "asr.transcribe", "forbidden.wav", CLEAN, "--model", tiny_model]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    result = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 1
    assert [text.partition("\t")[0] for text in result.stdout.splitlines()] == [CLEAN]
    assert result.stderr == "error: forbidden.wav: it cannot be opened: Permission denied\n"


def test_a_folder_with_links_to_nowhere_and_to_itself(
    folder: Path, tiny_model: Path, run_module: Callable, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "around").symlink_to(tree)
    (tree / "broken.wav").symlink_to(tree / "nowhere.wav")
    (tree / "clean.wav").symlink_to(folder / CLEAN)
    result = run_module("asr.transcribe", tree, "--model", tiny_model)
    assert result.returncode == 1
    assert [line.partition("\t")[0] for line in result.stdout.splitlines()] == [str(tree / "clean.wav")]
    assert result.stderr == f"error: {tree / 'broken.wav'}: no such file; check the path\n"


def test_what_is_in_a_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine.wav").write_bytes(b"mine")
    script = PROJECT / "scripts" / "make_awkward.py"
    made = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 1
    assert made.stderr == f"error: {tmp_path}: not empty; name a new folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.wav"]
