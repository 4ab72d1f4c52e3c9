"""Any recording - a file, bytes or an array - to float32 mono samples at 16 kHz.

soundfile (libsndfile) decodes, soxr resamples, and ffmpeg, where it is installed, decodes what soundfile
cannot (m4a, webm, wma, video).

A recording comes out whole, or as an error: `asr.containers` looks at a file before it is decoded.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import ArrayLike, NDArray

from asr.audio_readers import BLOCK, LOWEST_RATE, Reader, Samples, Source, opened, possible_rate
from asr.containers import RESCUE, AudioError

__all__ = [
    "EXTENSIONS", "LOUDEST", "LOWEST_RATE", "SAMPLE_RATE", "SLACK", "AudioError", "Samples", "Source", "Stream",
    "duration", "from_array", "load", "stream",
]  # fmt: skip

SAMPLE_RATE = 16_000  # Hz, everywhere inside the project
LOUDEST = 2.0**32  # of full scale: floats may hold samples of 32-bit integers; what exceeds them is damage
SLACK = 0.1  # s: how far a part may reach past the end: manifests round times, and mp3 has frames of silence

# What a folder search takes as audio: what soundfile reads, then what takes ffmpeg.
EXTENSIONS = frozenset({
    ".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".sph", ".nist",
    ".caf", ".w64", ".rf64",
    ".m4a", ".aac", ".mp4", ".m4v", ".mov", ".3gp", ".amr", ".webm", ".mka", ".mkv", ".wma", ".avi", ".spx",
})  # fmt: skip


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
    with naming(source), opened(source) as reader:
        return load_part(reader, offset, duration)


def load_part(reader: Reader, offset: float, duration: float | None) -> Samples:
    """As `load`, of a recording that is open."""
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
    with naming(source), opened(source) as reader:
        yield stream_part(reader, channel, offset, duration)


def stream_part(reader: Reader, channel: int | None, offset: float, duration: float | None) -> Stream:
    """As `stream`, of a recording that is open."""
    if channel is not None and not 1 <= channel <= reader.channels:
        raise AudioError(f"channel {channel} of a recording that has {reader.channels}; choose one that it has")
    start, stop = _part(offset, duration, reader)
    blocks = _resampled(_mono_blocks(reader, start, stop, channel), reader.rate)
    seconds = None if stop is None else (stop - start) / reader.rate
    return Stream(seconds, reader.channels, _never_empty(blocks))


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
    with naming(source), opened(source) as reader:
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
    mono = _mono(waveform, possible_rate(sample_rate))
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


# Parts and channels of a recording


def _part(offset: float, duration: float | None, reader: Reader) -> tuple[int, int | None]:
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
    reader: Reader, start: int = 0, stop: int | None = None, channel: int | None = None
) -> Iterator[Samples]:
    """Decode from frame `start` up to `stop`, or to the end, to mono blocks at the recording's own rate.

    Args:
        channel: one channel, from 1; None: the mean of all.
    """
    position = reader.seek(start)
    step = max(1, BLOCK // reader.channels)
    while stop is None or position < stop:
        block = reader.read(step if stop is None else min(step, stop - position))
        if not len(block):
            break
        yield _mono(block if channel is None else block[:, channel - 1 : channel], reader.rate, position)
        position += len(block)
    _check_end(reader, start, stop, position)


def _check_end(reader: Reader, start: int, stop: int | None, position: int) -> None:
    """Decoding stopped at frame `position`: was that all?"""
    if reader.frames is not None and stop is not None and position < stop:
        raise AudioError(
            f"damaged or cut short: {position / reader.rate:.3f} s of sound, but its header announces "
            f"{reader.frames / reader.rate:.3f} s; {RESCUE}"
        )
    if (start and position <= start) or (stop is not None and position < stop - SLACK * reader.rate):
        raise _outside(start, stop, position, reader.rate)


@contextlib.contextmanager
def naming(source: Source) -> Iterator[None]:
    """Name the recording in every AudioError."""
    try:
        yield
    except AudioError as error:
        name = source if isinstance(source, str | os.PathLike) else getattr(source, "name", "audio data")
        raise AudioError(f"{name}: {error}") from error.__cause__
