"""What decodes a recording, front to back: soundfile or, for what it cannot read, ffmpeg."""

from __future__ import annotations

import contextlib
import io
import math
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, BinaryIO, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.containers import RESCUE, UNSTATED, AudioError, checked, unheard

LOWEST_RATE = 1_000  # Hz: less holds no speech, and a few bytes at 1 Hz would fill the memory
BLOCK = 1 << 16  # samples of all channels decoded at a time: a long file never lies in memory at its own rate
_PREROLL = 1  # s: how long before a part decoding starts

# A path, the bytes of a file, or a binary file object, which is read from where it stands.
Source = str | os.PathLike[str] | bytes | BinaryIO
Samples = NDArray[np.float32]


class Reader(Protocol):
    """A recording that is being decoded, front to back."""

    rate: int  # Hz
    channels: int
    frames: int | None  # samples per channel; None: not known before the end
    can_seek: bool  # else `seek` is for the start of reading alone: it decodes all that lies before

    def seek(self, frame: int) -> int:
        """Go to a frame, or to the end; where it is then."""

    def read(self, frames: int) -> Samples:
        """The next (up to `frames`, channels) samples; none at the end."""


@contextlib.contextmanager
def opened(source: Source, alive: Callable[[], None] = unheard) -> Iterator[Reader]:
    """The decoder for a recording, which is checked first.

    Args:
        alive: called again and again while it is checked.

    Raises:
        AudioError: as `asr.audio.load`, for all that shows before decoding; without the recording's name.
    """
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_seekable(source))
        try:
            reader: Reader = _SoundfileReader(stack.enter_context(_Sequential(_Callbacks(checked(stream, alive)))))
        except (soundfile.SoundFileError, _UseFfmpeg) as error:
            program, path = _find_ffmpeg(error), stack.enter_context(_on_disk(source, stream))
            reader = stack.enter_context(_ffmpeg(program, path, _text(error)))
        possible_rate(reader.rate)
        yield reader


def possible_rate(rate: float) -> float:
    """The same rate in Hz; AudioError where no speech can have it."""
    if not LOWEST_RATE <= rate < math.inf:
        raise AudioError(f"a sample rate of {rate} Hz; expected at least {LOWEST_RATE} Hz: give the true rate")
    return rate


def _read_away(reader: Reader, frames: int) -> int:
    """Go on by `frames`, or to the end, by decoding; how far it went."""
    position = 0
    while position < frames:
        block = reader.read(min(frames - position, max(1, BLOCK // reader.channels)))
        if not len(block):
            break
        position += len(block)
    return position


class _UseFfmpeg(Exception):
    """soundfile opens the file but would not read it rightly; the message says why."""


class _Callbacks:
    """A stream for libsndfile to read. A damaged header may send it to where nothing is: it stays where it was.

    No exception can pass through C: it would be printed, with its traceback.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.tell, self.readinto = stream.tell, stream.readinto

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with contextlib.suppress(OSError, ValueError, OverflowError):
            self._stream.seek(offset, whence)
        return self._stream.tell()


class _Sequential(soundfile.SoundFile):
    # soundfile seeks after every read of a seekable file. That restarts the mp3 decoder, which then writes
    # warnings to stderr, and fails in flac of unknown length.
    def seekable(self) -> bool:
        return False


class _SoundfileReader:
    def __init__(self, file: _Sequential) -> None:
        if file.subtype.startswith("MPEG") and file.format != "MP3":
            raise _UseFfmpeg(f"the length of mp3 inside of {file.format} would be a guess")
        self._file = file
        self.rate = file.samplerate
        self.channels = file.channels
        self.frames = file.frames if file.frames < UNSTATED else None
        # After a seek the mp3 decoder gives silence until it has enough bits.
        self.can_seek = self.frames is not None and soundfile.SoundFile.seekable(file) and file.format != "MP3"
        self._begun = False

    def seek(self, frame: int) -> int:
        if not self.can_seek or (frame == 0 and not self._begun):
            return _read_away(self, frame)
        with _decoding():  # a bit before it, since the opus decoder needs some time to be exact again
            start = self._file.seek(max(0, frame - _PREROLL * self.rate))
        return start + _read_away(self, frame - start)

    def read(self, frames: int) -> Samples:
        self._begun = True
        with _decoding():
            return self._file.read(frames, dtype="float32", always_2d=True)


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except soundfile.SoundFileError as error:
        raise AudioError(f"damaged or cut short: soundfile says {_text(error)!r}; {RESCUE}") from error


def _text(error: Exception) -> str:
    """What libsndfile says, without soundfile's own prefix."""
    return error.error_string.rstrip(".") if isinstance(error, soundfile.LibsndfileError) else str(error)


@contextlib.contextmanager
def _ffmpeg(program: str, path: Path, why: str) -> Iterator[_FfmpegReader]:
    """Let ffmpeg decode into a pipe, at the file's own rate and channels; `why` not soundfile.

    As Sun au with 32-bit floats: the simplest container that states rate and channels and can leave the
    length open. What looks like a recording may be a playlist: the addresses in it must not be opened.
    """
    read = ["-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:a:0"]
    write = ["-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    command = [program, "-nostdin", "-v", "error", "-xerror", *read, *write]
    with (
        tempfile.TemporaryFile() as log,  # not a pipe, which could fill up while we wait for samples
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        try:
            yield _FfmpegReader(process, log, why)
        finally:
            process.kill()


class _FfmpegReader:
    frames = None
    can_seek = False

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes], why: str) -> None:
        assert process.stdout is not None  # it is a pipe
        self._process, self._output, self._log = process, process.stdout, log
        header = self._output.read(24)
        if len(header) < 24:
            process.wait()
            said = self._said().splitlines() or ["nothing"]
            raise AudioError(f"not audio: soundfile says {why!r}, ffmpeg {said[0]!r}; expected a recording")
        start, _, _, self.rate, self.channels = struct.unpack(">5I", header[4:])
        self._output.read(start - len(header))

    def seek(self, frame: int) -> int:
        return _read_away(self, frame)

    def read(self, frames: int) -> Samples:
        data = self._output.read(frames * self.channels * 4)
        if not data:
            self._check_success()
        whole = len(data) // (4 * self.channels) * self.channels
        return np.frombuffer(data, ">f4", whole).astype(np.float32).reshape(-1, self.channels)

    def _check_success(self) -> None:
        failed = self._process.wait() != 0
        said = self._said()
        # ffmpeg only mentions it when a matroska or mp4 file ends early, and calls it a success
        if failed or "ended prematurely" in said or "partial file" in said:
            raise AudioError(f"damaged or cut short: ffmpeg says {said.partition(chr(10))[0]!r}; {RESCUE}")

    def _said(self) -> str:
        """ffmpeg's complaints, without the prefixes that name its parts and the file."""
        self._log.seek(0)
        return re.sub(r"(?m)^(\[.*?\] )+|^file:.*?: ", "", self._log.read().decode(errors="replace")).strip()


def _find_ffmpeg(why: Exception) -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        raise AudioError(
            f"soundfile cannot read it ({_text(why)}) and no ffmpeg is on the PATH; if it is audio or video, "
            "install ffmpeg or convert it to wav or flac"
        )
    return program


def _seekable(source: Source) -> BinaryIO:
    """Something not empty to read and seek in, at its start."""
    if isinstance(source, str | os.PathLike):
        stream = _open_file(Path(source))
    else:
        data = source if isinstance(source, bytes) else source.read()
        if not isinstance(data, bytes):
            raise TypeError(f"expected a path, bytes or a file opened in binary mode, not {type(source).__name__}")
        stream = io.BytesIO(data)
    if not stream.seek(0, os.SEEK_END):
        raise AudioError("empty (0 bytes); expected a recording: copy or download it again")
    stream.seek(0)
    return stream


def _open_file(path: Path) -> BinaryIO:
    if os.path.isdir(path):  # pathlib's raises where a name is too long
        raise AudioError("a folder; expected a file: name the recordings in it")
    if path.suffix.lower() == ".raw":
        raise AudioError("samples without a header; expected a rate and a sample type: wrap them as wav")
    try:
        stream = path.open("rb")
        if stream.seekable():
            return stream
        with stream:  # a pipe
            return io.BytesIO(stream.read())
    except FileNotFoundError:
        raise AudioError("no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise AudioError(f"it cannot be opened: {getattr(error, 'strerror', None) or error}") from error


@contextlib.contextmanager
def _on_disk(source: Source, stream: BinaryIO) -> Iterator[Path]:
    """A file that ffmpeg can seek in, as mp4 takes."""
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        yield Path(source)
        return
    with tempfile.TemporaryDirectory(prefix="asr-") as folder:
        path = Path(folder) / "recording"
        stream.seek(0)
        path.write_bytes(stream.read())
        yield path
