"""Exit statuses and error lines, in real processes: closed pipes, full disks, Ctrl-C, odd encodings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
CHANGES_COMMANDS = ("OMP_NUM_THREADS", "PYTHONUNBUFFERED")  # where the tests' environment sets them


def run_main(body: str, env: dict[str, str] | None = None, **options: object) -> subprocess.CompletedProcess:
    """Run a command whose `main` has this body."""
    lines = ["import os, signal, sys, time", "from asr import Error, command", "def main():", f"    {body}"]
    code = "\n".join([*lines, "sys.exit(command.run(main))"])
    inherited = {name: value for name, value in os.environ.items() if name not in CHANGES_COMMANDS}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", "timeout": 300} | options
    environment = inherited | {"PYTHONPATH": str(PROJECT)} | (env or {})
    return subprocess.run([sys.executable, "-c", code], check=False, env=environment, **options)


@pytest.mark.parametrize(
    ("body", "status", "stdout", "stderr"),
    [
        ("print('text'); return 0", 0, "text\n", ""),
        ("print('text'); return 1", 1, "text\n", ""),
        ("raise Error('a.wav: not audio')", 1, "", "error: a.wav: not audio\n"),
        ("open('/nowhere/x')", 1, "", "error: [Errno 2] No such file or directory: '/nowhere/x'\n"),
        ("print('half'); raise Error('no more')", 1, "half\n", "error: no more\n"),
        ("sys.exit(2)", 2, "", ""),  # argparse ends so
        ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", 130, "", "interrupted\n"),
    ],
)
def test_statuses(body: str, status: int, stdout: str, stderr: str) -> None:
    result = run_main(body)
    assert (result.returncode, result.stdout, result.stderr) == (status, stdout, stderr)


def test_a_bug_keeps_its_traceback() -> None:
    result = run_main("return 1 // 0")
    assert result.returncode == 1
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_ctrl_c_inside_a_call_from_c_is_not_lost() -> None:
    # libsndfile asks Python for more bytes; an exception cannot pass through it, and Python would go on without one.
    body = """
    import io, soundfile
    class Interrupted(io.BytesIO):
        def readinto(self, buffer):
            os.kill(os.getpid(), signal.SIGINT)
            return super().readinto(buffer)
    whole = io.BytesIO()
    soundfile.write(whole, [0.0] * 16000, 16000, format="WAV")
    soundfile.read(Interrupted(whole.getvalue()))
    time.sleep(60)
    """
    result = run_main(body.strip())
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "interrupted\n")


def test_other_exceptions_that_are_lost_are_still_shown() -> None:
    result = run_main("lost = type('Lost', (), {'__del__': lambda self: 1 // 0})(); del lost; return 0")
    assert result.returncode == 0
    assert "ZeroDivisionError" in result.stderr


@pytest.mark.parametrize(
    "body", ["print('text'); return 0", "print('x' * 1_000_000); return 0", "print('x'); sys.exit(0)"]
)
def test_a_closed_pipe_is_no_error(body: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = run_main(body, stdout=writer)
    os.close(writer)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_an_error() -> None:
    with open("/dev/full", "w") as full:
        result = run_main("print('text'); return 0", stdout=full)
    assert (result.returncode, result.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_without_stdout() -> None:
    result = run_main("print('text'); return 0", preexec_fn=lambda: os.close(1))
    assert (result.returncode, result.stderr) == (0, "")


def test_without_stderr() -> None:
    assert run_main("raise Error('a.wav: not audio')", preexec_fn=lambda: os.close(2)).returncode == 1
    body = "import subprocess; return subprocess.call([sys.executable, '-c', 'import sys; print(1, file=sys.stderr)'])"
    result = run_main(body, preexec_fn=lambda: os.close(2))
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_any_text_can_be_printed() -> None:
    # A terminal of another age, a text in Greek, and the name of a file that is not UTF-8.
    environment = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    result = run_main("print('λόγος', os.fsdecode(b'\\xff.wav')); return 0", env=environment, encoding=None)
    assert (result.returncode, result.stdout) == (0, "λόγος ".encode() + b"\xff.wav\n")


def test_one_thread_unless_told_otherwise() -> None:
    body = "import torch; print(torch.get_num_threads()); return 0"
    assert run_main(body).stdout == "1\n"
    assert run_main(body, env={"OMP_NUM_THREADS": "2"}).stdout == "2\n"
