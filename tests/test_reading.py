"""Recordings read in a process of their own: the same samples, and a crash, a hang or a flood costs one file alone."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from asr import Error, audio
from asr.reading import Reader

# A child whose decoder does what names of files say, as a bug in a C library would.
FAULTY = """
import os, signal, time
import numpy as np
import asr.reading as reading

reading._ALIVE_EVERY = 0.0  # every sign of life

class Faulty(reading.Tape):
    def __init__(self, path, alive=None):
        super().__init__(path, (lambda: [time.sleep(0.2), alive()]) if "slow" in path else alive)

    def stream(self, **part):
        if "segfault" in self.path:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "abort" in self.path:
            os.abort()
        if "hang" in self.path:
            time.sleep(1000)
        if "flood" in self.path:
            np.ones(1 << 40, np.uint8)
        if "print" in self.path:
            os.write(1, b"what a library prints on stdout")
            os.write(2, b"what a library prints on stderr")
        if "mistake" in self.path:
            raise AssertionError("a mistake of ours")
        return super().stream(**part)

reading.Tape = Faulty
reading.serve()
"""


class FaultyReader(Reader):
    def _command(self) -> list[str]:
        return [sys.executable, "-c", FAULTY]


def read(reader: Reader, path: Path | str, **part: float) -> np.ndarray:
    with reader.stream(str(path), **part) as stream:
        return np.concatenate(list(stream.blocks))


def test_samples_are_those_of_the_library(recordings: list[Path]) -> None:
    with Reader() as reader:
        for path in recordings * 2:
            with reader.stream(str(path)) as stream:
                found = np.concatenate(list(stream.blocks))
                assert stream.channels >= 1
            np.testing.assert_array_equal(found, audio.load(path))
        part = read(reader, recordings[0], offset=0.5, duration=1.0)
        np.testing.assert_array_equal(part, audio.load(recordings[0], 0.5, 1.0))


def test_what_cannot_be_read_is_the_librarys_error(tmp_path: Path, recordings: list[Path]) -> None:
    cut = tmp_path / "cut.wav"
    cut.write_bytes(recordings[0].read_bytes()[:5000])
    damaged = tmp_path / "damaged.flac"
    data = bytearray(recordings[1].read_bytes())
    data[len(data) // 2 : len(data) // 2 + 200] = bytes(200)
    damaged.write_bytes(data)
    with Reader() as reader:
        for path in (tmp_path / "missing.wav", cut, damaged, tmp_path):
            with pytest.raises(audio.AudioError) as theirs:
                audio.load(path)
            with pytest.raises(audio.AudioError) as ours:
                read(reader, path)
            assert str(ours.value) == str(theirs.value)
        assert len(read(reader, recordings[0]))  # by the same child


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(
    ("name", "said"),
    [("segfault", "crashed (signal SIGSEGV)"), ("abort", "crashed (signal SIGABRT)"), ("hang", "was silent for 2 s")],
)
def test_a_decoder_that_fails_costs_one_recording(tmp_path: Path, recordings: list[Path], name: str, said: str) -> None:
    bad = tmp_path / f"{name}.wav"
    bad.write_bytes(recordings[0].read_bytes())
    expected = audio.load(recordings[1])
    with FaultyReader(patience=2.0) as reader:
        np.testing.assert_array_equal(read(reader, recordings[1]), expected)
        with pytest.raises(audio.AudioError) as error:
            read(reader, bad)
        assert str(error.value).startswith(f"{bad}: its decoder ") and said in str(error.value)
        np.testing.assert_array_equal(read(reader, recordings[1]), expected)


def test_a_part_far_into_a_recording_is_no_hang(tmp_path: Path) -> None:
    """The child says that it is at work: 4 s of it here, where 3 s of silence would be the end."""
    slow = tmp_path / "slow.mp3"
    soundfile.write(slow, 0.5 * np.sin(np.arange(1_400_000) / 10), 16_000, format="MP3", subtype="MPEG_LAYER_III")
    with FaultyReader(patience=3.0) as reader:
        np.testing.assert_array_equal(read(reader, slow, offset=85.0, duration=1.0), audio.load(slow, 85.0, 1.0))


def test_parts_of_one_recording_after_one_another(tmp_path: Path) -> None:
    path = tmp_path / "long.mp3"
    soundfile.write(path, 0.5 * np.sin(np.arange(160_000) ** 1.5 / 1e4), 16_000, format="MP3", subtype="MPEG_LAYER_III")
    with Reader() as reader:
        for offset in (0.5, 1.0, 7.0, 3.0, 8.0):
            np.testing.assert_array_equal(
                read(reader, path, offset=offset, duration=2.0), audio.load(path, offset, 2.0)
            )
        soundfile.write(path, np.zeros(160_000), 16_000, format="MP3", subtype="MPEG_LAYER_III")  # another file now
        assert not read(reader, path, offset=3.0, duration=1.0).any()
        path.unlink()
        with pytest.raises(audio.AudioError, match="no such file"):
            read(reader, path, offset=3.0, duration=1.0)


def test_a_child_that_ends_while_it_waits_costs_no_recording(recordings: list[Path]) -> None:
    with Reader() as reader:
        for _ in range(2):  # before it has started, and after
            reader._child.kill()
            reader._child.wait()
            np.testing.assert_array_equal(read(reader, recordings[0]), audio.load(recordings[0]))


def test_a_child_that_cannot_start_is_no_damage(recordings: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    class Broken(Reader):
        def _command(self) -> list[str]:
            return [sys.executable, "-c", "import no_such_module"]

    with Broken() as reader, pytest.raises(Error, match=r"d\.wav: not read, .* does not start \(status 1\)") as caught:
        read(reader, recordings[0])
    assert "damaged" not in str(caught.value) and "no_such_module" in capfd.readouterr().err


def test_memory_is_limited(tmp_path: Path, recordings: list[Path]) -> None:
    flood = tmp_path / "flood.wav"
    flood.write_bytes(recordings[0].read_bytes())
    with FaultyReader() as reader:
        with pytest.raises(audio.AudioError, match=r"flood\.wav: .*allocate"):
            read(reader, flood)
        assert len(read(reader, recordings[0]))


def test_what_a_library_prints_is_neither_samples_nor_for_the_user(
    tmp_path: Path, recordings: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "print.wav"
    path.write_bytes(recordings[0].read_bytes())
    with FaultyReader() as reader:
        np.testing.assert_array_equal(read(reader, path), audio.load(path))
    assert capfd.readouterr() == ("", "")


def test_a_mistake_of_ours_keeps_its_traceback(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with FaultyReader() as reader, pytest.raises(audio.AudioError, match=r"crashed \(status 1\)"):
        read(reader, tmp_path / "mistake.wav")
    assert "AssertionError: a mistake of ours" in capfd.readouterr().err


def test_a_recording_that_is_left_halfway(recordings: list[Path]) -> None:
    with Reader() as reader:
        with reader.stream(str(recordings[2])) as stream:
            next(stream.blocks)
        np.testing.assert_array_equal(read(reader, recordings[0]), audio.load(recordings[0]))


def test_no_child_is_left_behind(recordings: list[Path]) -> None:
    with Reader() as reader:
        read(reader, recordings[0])
        child = reader._child
    assert child.poll() is not None
    # And where the parent is killed, its child sees the end of its stdin.
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from asr.reading import Reader; r = Reader(); print(r._child.pid, flush=True); input()",
        ],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    orphan = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.communicate()
    ended = os.pidfd_open(orphan) if hasattr(os, "pidfd_open") and Path(f"/proc/{orphan}").exists() else None
    if ended is not None:
        assert select.select([ended], [], [], 60)[0]  # readable when the process has ended
        os.close(ended)


@pytest.mark.skipif(os.name != "posix", reason="signals and scripts")
def test_an_ffmpeg_that_hangs_is_ended(tmp_path: Path, recordings: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    ffmpeg = tmp_path / "ffmpeg"
    ffmpeg.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 1000\n")
    ffmpeg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    film = tmp_path / "film.mp4"
    film.write_bytes(b"not what soundfile reads")
    with Reader() as reader:
        read(reader, recordings[0])
        reader._patience = 3.0  # now that the child has started
        with pytest.raises(audio.AudioError, match="was silent for 3 s"):
            read(reader, film)
    assert not is_running(int((tmp_path / "pid").read_text()))


def is_running(process: int) -> bool:
    """False too of one that has ended and waits for somebody to ask how."""
    told = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return bool(told.stdout.strip()) and not told.stdout.startswith("Z")


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_when_the_parent_is_killed_its_child_ends_without_a_word(tmp_path: Path) -> None:
    long = tmp_path / "long.flac"
    with soundfile.SoundFile(long, "w", 16_000, 1) as file:
        for _ in range(60):
            file.write(np.zeros(60 * 16_000, np.int16))
    program = """
import sys
from asr.reading import Reader
with Reader() as reader, reader.stream(sys.argv[1]) as stream:
    next(stream.blocks)
    print("begun", flush=True)
    input()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program, long],
        cwd=Path(__file__).resolve().parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert parent.stdout is not None and parent.stdout.readline() == b"begun\n"
    parent.terminate()
    assert parent.communicate(timeout=100) == (b"", b"")  # both ends of stderr are closed: the child has ended, too
