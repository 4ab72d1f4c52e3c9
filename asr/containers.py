"""Is all of a recording in its file? A check before decoding, since libsndfile does not make it.

Without a word libsndfile reads a wav, aiff, au, sph or ogg file that was cut as far as it goes, leaves out damaged ogg
pages, reads only the first of several ogg or mp3 files that were joined, and stops in the middle of a variable-rate mp3
that does not state its length. So before decoding:

- wav, rf64, w64, aiff, caf, avi, au, sph: the bytes that the header announces must be there. A header that
  leaves the length open, as programs write into pipes, is no fault: such a file is read to its end. Behind the
  samples of wav, rf64, w64, aiff, caf and au there may be other chunks, zeros or a little of anything (a tenth), but
  not more samples, as where a recorder did not write the length, nor another recording.
- ogg (vorbis, opus): every page up to the one marked as the last must be there, in order, with the right
  checksum.
- mp3: the frames are counted, and must be as many as the file states. If it states none, the last must be
  complete.
- flac: no other one may follow; its frames are checked while they are decoded.
- All: as many samples must come out as were announced.

What nobody can notice: changed bytes within samples or mp3 frames, which have no checksum; a cut exactly
between two frames of an mp3 that does not state its length; cuts of rare formats (voc, paf, htk, ...).
"""

from __future__ import annotations

import io
import math
import os
import re
import struct
import zlib
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import BinaryIO

from asr import Error, mp3

UNSTATED = 1 << 62  # numbers of frames and 64-bit sizes from here on mean "not known"
APART = "give each by itself"
RESCUE = "copy or download it again, or keep what is left of it with `ffmpeg -i FILE rescued.wav`"


class AudioError(Error):
    """A recording that cannot be read: names it and says what was found, what was expected and what to do."""


def unheard() -> None:
    """What is told that the work goes on, where nobody waits to hear it."""


def checked(stream: BinaryIO, alive: Callable[[], None] = unheard) -> BinaryIO:
    """The stream, at its start, for libsndfile to open; another one in its place where libsndfile needs help.

    Args:
        alive: called again and again while a long file is gone through.

    Raises:
        AudioError: it was cut or damaged.
    """
    stream = _after_id3(stream, alive)
    start = stream.read(8)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if start[:4] in _CHUNKED:
        _check_chunks(stream, size, _CHUNKED[start[:4]])
    elif start.startswith(b".snd"):
        _check_au(stream, size)
    elif start == b"NIST_1A\n":
        _check_nist(stream, size)
    elif start.startswith(b"fLaC"):
        _check_flac(stream, alive)
    elif start.startswith(b"OggS"):
        _check_ogg(stream, size, alive)
    elif mp3.frame_size(start):
        stream = _whole_mp3(stream, size, alive)
    stream.seek(0)
    return stream


# Bytes that may follow the end of the samples: of any kind, if the file states where that is (mp3: how many frames it
# has), else zeros. More zeros than that may be room for what was never written; where all that is stated is there, they
# do not matter.
_JUNK = 4096
_WINDOW = 1 << 16  # bytes of a file that are looked at together: whole files never lie in memory


def _after_id3(stream: BinaryIO, alive: Callable[[], None]) -> BinaryIO:
    """Leave out ID3 tags at the start and zeros after them: libsndfile loses samples of a wav behind them."""
    at = 0
    while size := mp3.tag_size(_bytes_at(stream, at, 16)):
        at += size
    end = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if not at:
        return stream
    return _joined(stream, [(_after_zeros(stream, at, alive), end)])


def _after_zeros(stream: BinaryIO, at: int, alive: Callable[[], None]) -> int:
    """Where the zeros end that begin here, if any do."""
    while data := _bytes_at(stream, at, _WINDOW):
        rest = len(data.lstrip(b"\0"))
        at += len(data) - rest
        if rest:
            break
        alive()
    return at


def _bytes_at(stream: BinaryIO, at: int, count: int) -> bytes:
    stream.seek(at)
    return stream.read(count)


def _joined(stream: BinaryIO, parts: list[tuple[int, int]], head: bytes = b"") -> BinaryIO:
    return io.BufferedReader(_Joined(stream, parts, head), _WINDOW)


class _Joined(io.RawIOBase):
    """Parts of a stream, one after the other, behind bytes of our own; nothing of it lies in memory.

    Args:
        parts: where each begins and ends in the stream.
    """

    def __init__(self, stream: BinaryIO, parts: list[tuple[int, int]], head: bytes) -> None:
        self._stream, self._head, self._at = stream, head, 0
        self._parts = [(start, stop) for start, stop in parts if start < stop]
        self._ends = list(accumulate((stop - start for start, stop in self._parts), initial=len(head)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        at = offset + (0, self._at, self._ends[-1])[whence]
        if at < 0:
            raise ValueError(f"there is nothing at byte {at}")
        self._at = at
        return at

    def readinto(self, buffer: memoryview) -> int:
        data = self._next(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _next(self, count: int) -> bytes:
        """Up to so many bytes of the part in which we are; none at the end."""
        number = bisect(self._ends, self._at)
        if not number:
            return self._head[self._at : self._at + count]
        if number > len(self._parts):
            return b""
        into = self._at - self._ends[number - 1]
        start, stop = self._parts[number - 1]
        return _bytes_at(self._stream, start + into, min(count, stop - start - into))


def _require(needed: int, size: int) -> None:
    """Raise an AudioError if a file of `size` bytes should have more."""
    if needed > size:
        raise AudioError(f"cut short: {size} bytes, but its header announces {needed}; {RESCUE}")


@dataclass(frozen=True)
class _Chunks:
    """How a container made of chunks lays them out."""

    first: int  # bytes before the first chunk
    size: str  # struct format of a chunk's size
    name: int = 4  # bytes of a chunk's name, which stands before its size
    own: int = 0  # bytes of name and size that the size counts
    align: int = 2  # bytes

    @property
    def head(self) -> int:
        """Bytes of a chunk's name and size."""
        return self.name + struct.calcsize(self.size)

    def read(self, stream: BinaryIO, at: int) -> tuple[bytes, int]:
        """The first four letters of a chunk's name, and its size; the stream is behind them."""
        data = _bytes_at(stream, at, self.head)
        return data[:4], struct.unpack(self.size, data[self.name :])[0]


_CHUNKED = {
    b"RIFF": _Chunks(12, "<I"),  # wav, avi
    b"RIFX": _Chunks(12, ">I"),  # big-endian wav
    b"RF64": _Chunks(12, "<I"),  # wav above 4 GiB
    b"FORM": _Chunks(12, ">I"),  # aiff, aifc, 8svx
    b"caff": _Chunks(8, ">q", align=1),
    b"riff": _Chunks(40, "<q", name=16, own=24, align=8),  # w64
}


def _check_chunks(stream: BinaryIO, size: int, layout: _Chunks) -> None:
    """Walk to the end of the chunk that holds the samples, and see that nothing behind it is a recording, too."""
    at, long_size, head = layout.first, 0, layout.head
    while at + head <= size:
        name, length = layout.read(stream, at)
        if name == b"ds64":  # rf64: the sizes that 32 bits do not hold
            (long_size,) = struct.unpack("<8xQ", stream.read(16).ljust(16, b"\0"))
        if name == b"data" and length == 0xFFFFFFFF and long_size:
            length = long_size
        if _is_open(length):
            return
        if length < layout.own:  # it would begin again where it begins
            raise AudioError(f"damaged: the chunk at byte {at} is {length} bytes long; {RESCUE}")
        at += head - layout.own + length
        _require(at, size)
        if name in (b"data", b"SSND", b"BODY"):
            _check_behind(stream, at, size, layout)
            return
        at += -at % layout.align


def _check_behind(stream: BinaryIO, samples_end: int, size: int, layout: _Chunks) -> None:
    """See that what is behind the chunk that holds the samples is other chunks; some writers forget to align them."""
    starts = {samples_end, samples_end + -samples_end % layout.align}
    _check_rest(stream, max(_chunks_end(stream, start, size, layout) for start in starts), size)


def _chunks_end(stream: BinaryIO, at: int, size: int, layout: _Chunks) -> int:
    """Where chunks end that begin here, or another recording begins."""
    while at + layout.head <= size:
        name, length = layout.read(stream, at)
        after = at + layout.head - layout.own + length
        if name in _CHUNKED or length < layout.own or after > size or not all(0x20 <= byte < 0x7F for byte in name):
            break
        at = after + -after % layout.align
    return at


def _check_rest(stream: BinaryIO, at: int, size: int) -> None:
    """See that what lies behind all that a header announces can be no sound."""
    if _bytes_at(stream, at, 4) in (*_CHUNKED, b".snd"):
        raise AudioError(f"several recordings joined into one file, the second from byte {at} on: {APART}")
    if size - at > max(_JUNK, at // 10) and _after_zeros(stream, at, unheard) < size:
        raise AudioError(f"{size} bytes, but its header announces {at}, so that the rest would not be heard; {RESCUE}")


def _is_open(length: int) -> bool:
    """Whether a size only stands for "up to the end", as programs write that cannot go back to fill it in.

    ffmpeg writes 2**32 - 1 (caf: -1), arecord 2**31, sox 2**31 - 4096, others one of them less a header.
    """
    return length == -1 or length >= UNSTATED or 0 < 2**32 - length <= 4096 or abs(2**31 - length) <= 4096


def _check_au(stream: BinaryIO, size: int) -> None:
    start, length = struct.unpack(">4x2I", stream.read(12).ljust(12, b"\0"))
    if not _is_open(length):
        _require(start + length, size)
        _check_rest(stream, start + length, size)


def _check_nist(stream: BinaryIO, size: int) -> None:
    """NIST SPHERE: a text header of lines such as `sample_count -i 48000`."""
    text = stream.read(1024)
    fields = dict(re.findall(rb"^(\w+) -\w+ (\S+)", text, re.MULTILINE))
    try:
        values = [int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes")]
        header = int(text[8:16])
    except (KeyError, ValueError):
        return  # libsndfile says what is wrong
    if b"," not in fields.get(b"sample_coding", b""):  # else compressed, as "pcm,embedded-shorten-v2.00"
        _require(header + math.prod(values), size)


_FLAC = b"fLaC\0\0\0\x22"  # how every flac begins: its name, and a first block of 34 bytes


def _check_flac(stream: BinaryIO, alive: Callable[[], None]) -> None:
    """See that no other flac begins behind the first."""
    at = 1
    while len(data := _bytes_at(stream, at, _WINDOW)) >= len(_FLAC):
        if (found := data.find(_FLAC)) >= 0:
            raise AudioError(f"several recordings joined into one file, the second from byte {at + found} on: {APART}")
        at += len(data) - len(_FLAC) + 1
        alive()


# Ogg: RFC 3533

_OGG_FIRST, _OGG_LAST = 2, 4  # flags of a logical stream's first and last page
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _check_ogg(stream: BinaryIO, total: int, alive: Callable[[], None]) -> None:
    """Walk all pages: none may be missing, damaged or out of order, up to the last of each logical stream."""
    following: dict[int, int] = {}  # streams that are not at their end, and the number of their next page
    at, ended = 0, False
    while (head := stream.read(27)).startswith(b"OggS") or following:
        size, flags, serial, number = _ogg_page(head, stream, at, total)
        if flags & _OGG_FIRST and ended:
            raise AudioError(f"several ogg files joined into one; expected one: {APART}")
        if number != following.get(serial, 0 if flags & _OGG_FIRST else -1):
            raise AudioError(f"damaged: the ogg page at byte {at} follows one that is missing; {RESCUE}")
        following[serial] = number + 1
        if flags & _OGG_LAST:
            ended = True
            del following[serial]
        at += size
        alive()


def _ogg_page(head: bytes, stream: BinaryIO, at: int, total: int) -> tuple[int, int, int, int]:
    """A page's size in bytes, flags, logical stream and number; reads on to its end.

    Args:
        head: the first 27 bytes of the page, or what is left of it.
        at: where it is in the file.
        total: bytes of the file.

    Raises:
        AudioError: it is not there, not complete, or its checksum is wrong.
    """
    flags, serial, number, checksum, segments = struct.unpack("<5xB8xIIIB", head.ljust(27, b"\0"))
    sizes = stream.read(segments)
    size = 27 + segments + sum(sizes)
    if at + size > total:
        raise AudioError(f"cut short: {total} bytes, without the page marked as the last; {RESCUE}")
    page = head[:22] + bytes(4) + head[26:] + sizes + stream.read(sum(sizes))
    if not head.startswith(b"OggS") or _ogg_checksum(page) != checksum:
        raise AudioError(f"damaged: the ogg page at byte {at} has a wrong checksum; {RESCUE}")
    return size, flags, serial, number


def _ogg_checksum(page: bytes) -> int:
    # Ogg's CRC-32 has zlib's polynomial, but takes bits from the other end and inverts nothing
    checksum = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2)


# MP3


def _whole_mp3(stream: BinaryIO, size: int, alive: Callable[[], None]) -> BinaryIO:
    """An mp3 that states how many frames it has: else libsndfile guesses, and reads no more than that.

    Raises:
        AudioError: there are fewer frames than it states, or something between or after them that is no tag.
    """
    frames = mp3.frames(stream, size, alive)
    if frames.count < 2:
        return stream  # not mp3 after all: soundfile or ffmpeg knows
    stated = mp3.stated(frames.first)
    rest = size - frames.end
    is_zero = _after_zeros(stream, frames.end, alive) == size
    if stated == frames.count and (rest <= _JUNK or is_zero):
        return stream
    is_end = rest <= (_JUNK if is_zero else 0)
    if not is_end or stated > frames.count + 1:  # some encoders count the frame that states it too
        expected = f"{stated} frames" if stated else "complete frames up to its end"
        raise AudioError(
            f"damaged or cut short: {frames.count} good mp3 frames up to byte {frames.end} of {size}; "
            f"expected {expected}: {RESCUE}"
        )
    return _joined(stream, frames.parts, mp3.length_frame(frames.like, frames.count))
