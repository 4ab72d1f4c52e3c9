"""The README's examples of transcribing and aligning run as they stand."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr import audio, corpus

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text(encoding="utf-8")
SAMPLES = PROJECT / "data" / "samples"


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of a section."""
    section = re.split(r"(?m)^#{2,3} ", README.partition(f"# {heading}\n")[2])[0]
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", section)


def lines(heading: str) -> list[str]:
    return [line for block in blocks(heading, "sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """What the examples name."""
    folder = tmp_path_factory.mktemp("readme")
    river, clock = (audio.load(SAMPLES / f"{name}.flac") for name in ("river", "clock"))
    for name in ("talk.mp3", "a.wav", "b.flac", "chapter.mp3", "ten_hours.flac"):
        soundfile.write(folder / name, river, audio.SAMPLE_RATE)
    length = max(len(river), len(clock))
    sides = [np.pad(side, (0, length - len(side))) for side in (river, clock)]
    soundfile.write(folder / "call.wav", np.stack(sides, axis=1), audio.SAMPLE_RATE)
    for name in ("interviews", "my_model"):
        (folder / name).mkdir()
    shutil.copy(SAMPLES / "clock.flac", folder / "interviews")
    shutil.copy(tiny_model, folder / "my_model" / "model.safetensors")
    (text,) = (each.text for each in corpus.read(SAMPLES / "manifest.jsonl") if each.audio.stem == "river")
    (folder / "chapter.txt").write_text(text)
    return folder


def run(line: list[str] | str, folder: Path) -> str:
    """A line of the shell, with the Python of these tests; what it prints."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PATH": path}
    done = subprocess.run(
        line, shell=isinstance(line, str), cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (line, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize("line", [*lines("Transcribe"), *lines("A recording whose text is known")])
def test_a_line_of_the_shell(line: str, folder: Path) -> None:
    printed = run(line, folder)
    into = re.search(r"> (\S+\.srt)", line)
    if into:
        assert "-->" in (folder / into[1]).read_text()
    elif "--output-dir" in line:
        assert len(list((folder / "out").iterdir())) == 7
    else:
        assert printed.strip()


@pytest.mark.parametrize("block", blocks("Transcribe", "python"))
def test_a_block_of_python(block: str, folder: Path) -> None:
    assert len(run([sys.executable, "-c", block], folder).splitlines()) >= 2


def test_there_are_examples() -> None:
    assert len(lines("Transcribe")) >= 5 and len(lines("A recording whose text is known")) >= 2
    assert len(blocks("Transcribe", "python")) == 1
