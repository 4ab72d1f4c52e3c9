"""Recordings read in a process of their own, so that a file that crashes its decoder costs that file alone.

What reads audio formats is old C code, and recordings come from anywhere. The command line therefore lets a child
decode them, with a limit on its memory and on how long it may be silent, and starts another where a file has ended it.

A request is a line of JSON on the child's stdin. The answer on its stdout are messages, each with its kind and length
in front (a byte, and uint32, little-endian): JSON with `duration` and `channels`, or with `error`; then blocks of
float32 samples; and JSON again, with `error` if the recording went wrong on the way. Between them empty messages say
that the child is at work, which it may be for long where a part lies far into a recording; the first one says that it
has started. The recording stays open for the parts of it that may be asked for next, see `asr.tape`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np

from asr import Error
from asr.audio import AudioError, Samples, Stream
from asr.tape import Tape

MEMORY = 4 << 30  # bytes of address space that the child may take
PATIENCE = 120.0  # s without a byte from the child: it hangs
_ALIVE_EVERY = 1.0  # s at least between two signs of life
_HEAD = struct.Struct("<cI")  # what a message is, and its bytes
_JSON, _SAMPLES, _ALIVE = b"j", b"s", b"a"


class Reader:
    """Reads recordings in a child process, which begins to start at once; a context manager.

    Args:
        patience: seconds that the child may be silent.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience
        self._started = False  # and says so
        self._child = self._start()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop()

    @contextlib.contextmanager
    def stream(
        self, path: str, channel: int | None = None, offset: float = 0.0, duration: float | None = None
    ) -> Iterator[Stream]:
        """As `asr.audio.stream`, for a path.

        Raises:
            AudioError: as there; or the file has crashed the decoder, or made it hang.
            asr.Error: no child can be started.
        """
        self._await_child(path)
        # The child has this one's folder, so that a relative path means the same; bytes that are no Unicode survive.
        request = {"path": os.fsencode(path).hex(), "channel": channel, "offset": offset, "duration": duration}
        state = {"ended": False}
        try:
            self._send(path, request)
            header = json.loads(self._message(path)[1])
            state["ended"] = "error" in header
            _raise(header)
            yield Stream(header["duration"], header["channels"], self._blocks(path, state))
        finally:
            if not state["ended"]:  # the rest is not wanted
                self._stop()

    def _blocks(self, path: str, state: dict[str, bool]) -> Iterator[Samples]:
        kind, data = self._message(path)
        while kind == _SAMPLES:
            yield np.frombuffer(data, np.float32)
            kind, data = self._message(path)
        state["ended"] = True
        _raise(json.loads(data))

    def _await_child(self, path: str) -> None:
        """See that a child waits for a request: another one if it has ended meanwhile, or before it had started."""
        ended = self._child.poll() is not None
        for _ in range(2):
            if ended:
                self._started, self._child = False, self._start()
            if self._started:
                return
            try:
                self._read(path, _HEAD.size)
                self._started = True
                return
            except AudioError:
                ended = True
        raise Error(
            f"{path}: not read, since the process that reads recordings does not start ({self._ended()}); what it says "
            "stands above: is asr installed as a whole?"
        )

    def _command(self) -> list[str]:
        return [sys.executable, "-c", "from asr.reading import serve; serve()"]

    def _start(self) -> subprocess.Popen[bytes]:
        folder = str(Path(__file__).resolve().parents[1])
        paths = os.pathsep.join(filter(None, [folder, os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env={**os.environ, "PYTHONPATH": paths},
            start_new_session=True,  # so that it can be ended together with the ffmpeg that it has started
        )

    def _stop(self) -> None:
        _kill(self._child)
        for pipe in (self._child.stdin, self._child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._child.wait()

    def _send(self, path: str, request: dict[str, object]) -> None:
        try:
            assert self._child.stdin is not None
            self._child.stdin.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise self._crashed(path) from None

    def _message(self, path: str) -> tuple[bytes, bytes]:
        """The next message of the answer that says something: what it is, and what it holds."""
        while True:
            kind, length = _HEAD.unpack(self._read(path, _HEAD.size))
            if kind != _ALIVE:
                return kind, self._read(path, length)

    def _read(self, path: str, count: int) -> bytes:
        """So many bytes from the child."""
        assert self._child.stdout is not None
        child, data, hung = self._child, bytearray(), threading.Event()

        def end() -> None:
            hung.set()
            _kill(child)

        while len(data) < count:
            clock = threading.Timer(self._patience, end)
            clock.daemon = True
            clock.start()
            part = self._child.stdout.read(count - len(data))
            clock.cancel()
            if hung.is_set():
                raise AudioError(
                    f"{path}: its decoder was silent for {self._patience:g} s; the recording is damaged: copy it "
                    "again or convert it to wav"
                )
            if not part:
                raise self._crashed(path)
            data += part
        return bytes(data)

    def _crashed(self, path: str) -> AudioError:
        """The error of a recording that has ended the child."""
        return AudioError(
            f"{path}: its decoder crashed ({self._ended()}); the recording is damaged: copy it again or convert it to "
            "wav"
        )

    def _ended(self) -> str:
        """How the child has gone."""
        status = self._child.wait()
        return f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End a child and what it has started."""
    with contextlib.suppress(OSError):
        if child.poll() is None and hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()


def _raise(answer: dict[str, Any]) -> None:
    if "error" in answer:
        raise AudioError(answer["error"])


def serve() -> None:
    """The child: answers requests until its stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    _limit_memory()
    answers = _Answers(os.fdopen(os.dup(1), "wb", buffering=0))
    _silence_libraries()
    answers.alive()
    with contextlib.suppress(BrokenPipeError):  # the parent has been killed
        for line in sys.stdin.buffer:
            request = json.loads(line)
            answers.answer(os.fsdecode(bytes.fromhex(request.pop("path"))), request)


class _Answers:
    """What the child says, and the recording that it has open."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self._last = time.monotonic()
        self._tape = Tape("")
        self._state: tuple[object, ...] | None = None

    def answer(self, path: str, part: dict[str, Any]) -> None:
        """Send a part of a recording."""
        problem = {}
        try:
            with self._tape_of(path).stream(**part) as recording:
                self._say(_JSON, _json({"duration": recording.duration, "channels": recording.channels}))
                for block in recording.blocks:
                    if len(block):
                        self._say(_SAMPLES, np.ascontiguousarray(block).tobytes())
        except AudioError as error:
            problem = {"error": str(error)}
        except (OSError, MemoryError) as error:
            self._tape.close()
            problem = {"error": f"{path}: it cannot be read: {str(error) or 'it takes more memory than there is'}"}
        if part["duration"] is None:  # nothing comes behind
            self._tape.close()
        self._say(_JSON, _json(problem))

    def _tape_of(self, path: str) -> Tape:
        """The recording as it is open, if it is this one and still the same file."""
        state = _state(path)
        if state is None or state != self._state:
            self._tape.close()
            self._tape, self._state = Tape(path, self._at_work), state
        return self._tape

    def alive(self) -> None:
        """Say so."""
        self._say(_ALIVE, b"")

    def _at_work(self) -> None:
        if time.monotonic() - self._last >= _ALIVE_EVERY:
            self.alive()

    def _say(self, kind: bytes, data: bytes) -> None:
        rest = memoryview(_HEAD.pack(kind, len(data)) + data)
        while rest:
            rest = rest[self._output.write(rest) :]
        self._last = time.monotonic()


def _state(path: str) -> tuple[object, ...] | None:
    """What tells a file from another one that has come to its place; None where there is none."""
    try:
        found = os.stat(path)
        return path, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
    except (OSError, ValueError):
        return None


def _json(answer: dict[str, Any]) -> bytes:
    return json.dumps(answer).encode()


def _silence_libraries() -> None:
    """What C code prints is no answer, and nothing for the user either: errors come as exceptions."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, errors="backslashreplace")  # of Python: our own mistakes
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _limit_memory() -> None:
    """So that a header that announces too much is an error, not the end of other programs."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has none; a limit may be set already
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
