"""Any recording - a file, bytes or an array - to float32 mono samples at 16 kHz.

soundfile (libsndfile) decodes, soxr resamples, and ffmpeg, where it is installed, decodes what soundfile
cannot (m4a, webm, wma, video).

A recording comes out whole, or as an error: `asr.containers` looks at a file before it is decoded.
"""

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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Protocol

import numpy as np
import soundfile
import soxr
from numpy.typing import ArrayLike, NDArray

from asr.containers import RESCUE, UNSTATED, AudioError, checked

SAMPLE_RATE = 16_000  # Hz, everywhere inside the project
LOWEST_RATE = 1_000  # Hz: less holds no speech, and a few bytes at 1 Hz would fill the memory
LOUDEST = 2.0**32  # of full scale: floats may hold samples of 32-bit integers; what exceeds them is damage
SLACK = 0.1  # s: how far a part may reach past the end: manifests round times, and mp3 has frames of silence

# What a folder search takes as audio: what soundfile reads, then what takes ffmpeg.
EXTENSIONS = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".sph", ".nist",
    ".caf", ".w64", ".rf64",
    ".m4a", ".aac", ".mp4", ".m4v", ".mov", ".3gp", ".amr", ".webm", ".mka", ".mkv", ".wma", ".avi", ".spx",
})  # fmt: skip

# A path, the bytes of a file, or a binary file object, which is read from where it stands.
Source = str | os.PathLike[str] | bytes | BinaryIO
Samples = NDArray[np.float32]

_BLOCK = 1 << 16  # samples of all channels decoded at a time: a long file never lies in memory at its own rate
_PREROLL = 1  # s: how long before a part decoding starts


def load(source: Source, offset: float = 0.0, duration: float | None = None) -> Samples:
    """Read a recording, or a part of it.

    `n` samples at `rate` Hz become `n * 16000 / rate`, rounded to the nearest whole number (halves up).
    Channels are averaged. A signal that exceeds 1, as float files and lossy codecs can, is scaled down as a
    whole, not clipped.

    Args:
        offset: start of the part in seconds, at least 0.
        duration: length of the part in seconds, above 0; None: up to the end. Formats that can seek decode
            only this part. It may reach past the end by at most `SLACK` seconds, and then stops there.

    Returns:
        (samples,) float32, mono, 16 kHz, within [-1, 1]; at least one sample.

    Raises:
        AudioError: missing, a folder, empty, without samples, cut, damaged, not audio, NaN, infinite or
            impossibly loud samples, or a part outside of the recording.
    """
    with _naming(source), _opened(source) as reader:
        start, stop = _part(offset, duration, reader)
        return _assembled(_resampled(_mono_blocks(reader, start, stop), reader.rate))


@dataclass(frozen=True)
class Stream:
    """A recording that is being decoded, front to back.

    Args:
        duration: seconds; None where only the end will tell.
        channels: how many the recording has.
        blocks: (samples,) float32 mono at 16 kHz each, as `load` gives them but for the level: a signal that exceeds 1
            stays as it is. Reading them raises AudioError where the recording is damaged.
    """

    duration: float | None
    channels: int
    blocks: Iterator[Samples]


@contextlib.contextmanager
def stream(
    source: Source, channel: int | None = None, offset: float = 0.0, duration: float | None = None
) -> Iterator[Stream]:
    """Decode a recording, or a part of it, block by block, so that one of any length takes little memory.

    Args:
        channel: one of its channels, from 1; None: the mean of all.
        offset, duration: the part, as for `load`.

    Raises:
        AudioError: as `load`; or it has no such channel.
    """
    with _naming(source), _opened(source) as reader:
        if channel is not None and not 1 <= channel <= reader.channels:
            raise AudioError(f"channel {channel} of a recording that has {reader.channels}; choose one that it has")
        start, stop = _part(offset, duration, reader)
        blocks = _resampled(_mono_blocks(reader, start, stop, channel), reader.rate)
        seconds = None if stop is None else (stop - start) / reader.rate
        yield Stream(seconds, reader.channels, _never_empty(blocks))


def _never_empty(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """The same blocks; an error if there is not one sample in them."""
    count = 0
    for block in blocks:
        count += len(block)
        yield block
    _not_empty(count)


def duration(source: Source) -> float:
    """Length of a recording in seconds, from its header where the format has one, else by decoding it.

    Raises:
        AudioError: as `load`, for all that shows without decoding.
    """
    with _naming(source), _opened(source) as reader:
        frames = reader.frames
        if frames is None:
            frames = sum(len(block) for block in _mono_blocks(reader))
        return _not_empty(frames) / reader.rate


def from_array(samples: ArrayLike, sample_rate: int) -> Samples:
    """Bring samples from elsewhere into the form that `load` gives, by the same rules.

    Args:
        samples: (samples,) or (samples, channels); floats with full scale 1, or 8, 16 or 32-bit integers with
            the full scale of their type (unsigned 8-bit: silence at 128, as in wav files).
        sample_rate: Hz.

    Raises:
        AudioError: another shape or type, no samples, NaN or infinite samples, or a rate below `LOWEST_RATE`.
    """
    waveform = _as_float(_as_columns(np.asarray(samples)))
    mono = _mono(waveform, _possible_rate(sample_rate))
    return _assembled(_resampled([mono], sample_rate))


# Samples: checked, mono, 16 kHz


def _as_columns(samples: NDArray) -> NDArray:
    """(samples,) or (samples, channels) -> (samples, channels)."""
    _not_empty(samples.size)
    if samples.ndim > 2 or samples.ndim == 0 or (samples.ndim == 2 and samples.shape[1] > samples.shape[0]):
        raise AudioError(f"an array of shape {samples.shape}; expected (samples,) or (samples, channels): transpose it")
    return samples.reshape(len(samples), -1)


def _as_float(samples: NDArray) -> Samples:
    """Samples of any supported type -> float32 with full scale 1."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float32) - 128) / 128
    if samples.dtype in (np.int8, np.int16, np.int32):
        return (samples / -float(np.iinfo(samples.dtype).min)).astype(np.float32)
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which is an error later
            return samples.astype(np.float32)
    raise AudioError(
        f"samples of type {samples.dtype}, whose full scale is unknown; expected floats within [-1, 1] or 8, "
        "16 or 32-bit integers: convert them"
    )


def _mono(block: Samples, rate: float, position: int = 0) -> Samples:
    """(samples, channels) -> (samples,), the mean of the channels; `position`: where the block starts."""
    mono = block.mean(axis=1, dtype=np.float32)
    possible = np.abs(mono) <= LOUDEST  # NaN is not
    if not possible.all():
        first = int(np.argmin(possible))
        raise AudioError(
            f"sample {position + first} (at {(position + first) / rate:.3f} s) is {mono[first]:g}; "
            "expected finite samples, within [-1, 1] or not far beyond: repair the recording or export it again"
        )
    return mono


def _resampled(blocks: Iterable[Samples], rate: float) -> Iterator[Samples]:
    """Mono blocks at `rate` Hz -> mono blocks at 16 kHz; the same samples however the blocks are cut."""
    if rate == SAMPLE_RATE:
        yield from blocks
        return
    stream = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
    for block in blocks:
        yield stream.resample_chunk(block)
    yield stream.resample_chunk(np.empty(0, np.float32), last=True)


def _assembled(blocks: Iterable[Samples]) -> Samples:
    """Mono blocks -> one array of at least one sample, within [-1, 1]."""
    samples = np.concatenate([np.empty(0, np.float32), *blocks])
    _not_empty(len(samples))
    peak = max(samples.max(), -samples.min())
    if peak > 1:
        samples /= peak
    return samples


def _not_empty(count: int) -> int:
    if not count:
        raise AudioError("no samples in it; expected a recording: record or export it again")
    return count


def _possible_rate(rate: float) -> float:
    if not LOWEST_RATE <= rate < math.inf:
        raise AudioError(f"a sample rate of {rate} Hz; expected at least {LOWEST_RATE} Hz: give the true rate")
    return rate


# Reading: by soundfile, or else by ffmpeg


class _Reader(Protocol):
    """A recording that is being decoded, front to back."""

    rate: int  # Hz
    channels: int
    frames: int | None  # samples per channel; None: not known before the end

    def skip(self, frames: int) -> int:
        """Go on by `frames`, or to the end; how far it went."""

    def read(self, frames: int) -> Samples:
        """The next (up to `frames`, channels) samples; none at the end."""


def _part(offset: float, duration: float | None, reader: _Reader) -> tuple[int, int | None]:
    """Seconds -> the part's first frame and the one after its last; None: an end that is not known."""
    start = round(offset * reader.rate) if 0 <= offset < math.inf else -1
    if duration is None:
        stop = reader.frames
    else:
        stop = round((offset + duration) * reader.rate) if 0 < duration < math.inf and start >= 0 else -1
    if start < 0 or (duration is not None and stop <= start):
        raise AudioError(f"a part from {offset} s for {duration} s; expected a start of 0 or more and a length above 0")
    if reader.frames is None:
        return start, stop
    if start >= _not_empty(reader.frames) or stop > reader.frames + SLACK * reader.rate:
        raise _outside(start, stop, reader.frames, reader.rate)
    return start, min(stop, reader.frames)


def _outside(start: int, stop: int | None, frames: int, rate: int) -> AudioError:
    end = "its end" if stop is None else f"{stop / rate:.3f} s"
    return AudioError(
        f"the part from {start / rate:.3f} s to {end} is not within the recording, which lasts "
        f"{frames / rate:.3f} s: correct its offset or duration"
    )


def _mono_blocks(
    reader: _Reader, start: int = 0, stop: int | None = None, channel: int | None = None
) -> Iterator[Samples]:
    """Decode from frame `start` up to `stop`, or to the end, to mono blocks at the recording's own rate.

    Args:
        channel: one channel, from 1; None: the mean of all.
    """
    position = reader.skip(start) if start else 0
    step = max(1, _BLOCK // reader.channels)
    while stop is None or position < stop:
        block = reader.read(step if stop is None else min(step, stop - position))
        if not len(block):
            break
        yield _mono(block if channel is None else block[:, channel - 1 : channel], reader.rate, position)
        position += len(block)
    _check_end(reader, start, stop, position)


def _check_end(reader: _Reader, start: int, stop: int | None, position: int) -> None:
    """Decoding stopped at frame `position`: was that all?"""
    if reader.frames is not None and stop is not None and position < stop:
        raise AudioError(
            f"damaged or cut short: {position / reader.rate:.3f} s of sound, but its header announces "
            f"{reader.frames / reader.rate:.3f} s; {RESCUE}"
        )
    if (start and position <= start) or (stop is not None and position < stop - SLACK * reader.rate):
        raise _outside(start, stop, position, reader.rate)


def _read_away(reader: _Reader, frames: int) -> int:
    """`_Reader.skip` where it takes decoding."""
    position = 0
    while position < frames:
        block = reader.read(min(frames - position, max(1, _BLOCK // reader.channels)))
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

    def skip(self, frames: int) -> int:
        # After a seek the mp3 decoder gives silence until it has enough bits, and the opus one needs some time
        # to be exact again.
        can_seek = soundfile.SoundFile.seekable(self._file) and self._file.format != "MP3"
        if self.frames is None or not can_seek:
            return _read_away(self, frames)
        with _decoding():
            start = self._file.seek(max(0, frames - _PREROLL * self.rate))
        return start + _read_away(self, frames - start)

    def read(self, frames: int) -> Samples:
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

    def skip(self, frames: int) -> int:
        return _read_away(self, frames)

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


# Opening


@contextlib.contextmanager
def _naming(source: Source) -> Iterator[None]:
    """Name the recording in every AudioError."""
    try:
        yield
    except AudioError as error:
        name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "audio data")
        raise AudioError(f"{name}: {error}") from error.__cause__


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[_Reader]:
    """The decoder for a recording, which is checked first."""
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(_seekable(source))
        try:
            reader: _Reader = _SoundfileReader(stack.enter_context(_Sequential(_Callbacks(checked(stream)))))
        except (soundfile.SoundFileError, _UseFfmpeg) as error:
            program, path = _find_ffmpeg(error), stack.enter_context(_on_disk(source, stream))
            reader = stack.enter_context(_ffmpeg(program, path, _text(error)))
        _possible_rate(reader.rate)
        yield reader


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
