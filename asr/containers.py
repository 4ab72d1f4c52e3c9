"""Is all of a recording in its file? A check before decoding, since libsndfile does not make it.

Without a word libsndfile reads a wav, aiff, au, sph or ogg file that was cut as far as it goes, leaves out damaged ogg
pages, reads only the first of several ogg or mp3 files that were joined, and stops in the middle of a variable-rate mp3
that does not state its length. So before decoding:

- wav, rf64, w64, aiff, caf, avi, au, sph: the bytes that the header announces must be there. A header that
  leaves the length open, as programs write into pipes, is no fault: such a file is read to its end.
- ogg (vorbis, opus): every page up to the one marked as the last must be there, in order, with the right
  checksum.
- mp3: the frames are counted, and must be as many as the file states. If it states none, the last must be
  complete.
- All: as many samples must come out as were announced. flac checks its frames while they are decoded.

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
from dataclasses import dataclass
from typing import BinaryIO

from asr import Error

UNSTATED = 1 << 62  # numbers of frames and 64-bit sizes from here on mean "not known"
RESCUE = "copy or download it again, or keep what is left of it with `ffmpeg -i FILE rescued.wav`"


class AudioError(Error):
    """A recording that cannot be read: names it and says what was found, what was expected and what to do."""


def checked(stream: BinaryIO) -> BinaryIO:
    """The stream, at its start, for libsndfile to open; another one in its place where libsndfile needs help.

    Raises:
        AudioError: it was cut or damaged.
    """
    stream = _after_id3(stream)
    start = stream.read(8)
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    if start[:4] in _CHUNKED:
        _check_chunks(stream, size, _CHUNKED[start[:4]])
    elif start.startswith(b".snd"):
        _check_au(stream, size)
    elif start == b"NIST_1A\n":
        _check_nist(stream, size)
    elif start.startswith(b"OggS"):
        _check_ogg(stream.read())
    elif _mp3_frame_size(start, 0):
        stream = io.BytesIO(_whole_mp3(stream.read()))
    stream.seek(0)
    return stream


def _after_id3(stream: BinaryIO) -> BinaryIO:
    """Leave out ID3 tags at the start and zeros after them: libsndfile loses samples of a wav behind them."""
    start = stream.read(10)
    stream.seek(0)
    if not _tag_size(start, 0):
        return stream
    data, at = stream.read(), 0
    while size := _tag_size(data, at):
        at += size
    return io.BytesIO(data[at:].lstrip(b"\0"))


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


_CHUNKED = {
    b"RIFF": _Chunks(12, "<I"),  # wav, avi
    b"RIFX": _Chunks(12, ">I"),  # big-endian wav
    b"RF64": _Chunks(12, "<I"),  # wav above 4 GiB
    b"FORM": _Chunks(12, ">I"),  # aiff, aifc, 8svx
    b"caff": _Chunks(8, ">q", align=1),
    b"riff": _Chunks(40, "<q", name=16, own=24, align=8),  # w64
}


def _check_chunks(stream: BinaryIO, size: int, layout: _Chunks) -> None:
    """Walk to the end of the chunk that holds the samples; what follows it does not matter."""
    at, long_size = layout.first, 0
    head = layout.name + struct.calcsize(layout.size)
    while at + head <= size:
        stream.seek(at)
        name = stream.read(layout.name)[:4]
        (length,) = struct.unpack(layout.size, stream.read(head - layout.name))
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
            return
        at += -at % layout.align


def _is_open(length: int) -> bool:
    """Whether a size only stands for "up to the end", as programs write that cannot go back to fill it in.

    ffmpeg writes 2**32 - 1 (caf: -1), arecord 2**31, sox 2**31 - 4096, others one of them less a header.
    """
    return length == -1 or length >= UNSTATED or 0 < 2**32 - length <= 4096 or abs(2**31 - length) <= 4096


def _check_au(stream: BinaryIO, size: int) -> None:
    start, length = struct.unpack(">4x2I", stream.read(12).ljust(12, b"\0"))
    if not _is_open(length):
        _require(start + length, size)


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


# Ogg: RFC 3533

_OGG_FIRST, _OGG_LAST = 2, 4  # flags of a logical stream's first and last page
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def _check_ogg(data: bytes) -> None:
    """Walk all pages: none may be missing, damaged or out of order, up to the last of each logical stream."""
    following: dict[int, int] = {}  # streams that are not at their end, and the number of their next page
    at, ended = 0, False
    while following or data.startswith(b"OggS", at):
        size, flags, stream, number = _ogg_page(data, at)
        if flags & _OGG_FIRST and ended:
            raise AudioError("several ogg files joined into one; expected one: give each by itself")
        if number != following.get(stream, 0 if flags & _OGG_FIRST else -1):
            raise AudioError(f"damaged: the ogg page at byte {at} follows one that is missing; {RESCUE}")
        following[stream] = number + 1
        if flags & _OGG_LAST:
            ended = True
            del following[stream]
        at += size


def _ogg_page(data: bytes, at: int) -> tuple[int, int, int, int]:
    """A page's size in bytes, flags, stream and number.

    Raises:
        AudioError: it is not there, not complete, or its checksum is wrong.
    """
    head = data[at : at + 27].ljust(27, b"\0")
    flags, stream, number, checksum, segments = struct.unpack("<5xB8xIIIB", head)
    size = 27 + segments + sum(data[at + 27 : at + 27 + segments])
    if at + size > len(data):
        raise AudioError(f"cut short: {len(data)} bytes, without the page marked as the last; {RESCUE}")
    body = data[at + 26 : at + size]
    if not head.startswith(b"OggS") or _ogg_checksum(head[:22] + bytes(4) + body) != checksum:
        raise AudioError(f"damaged: the ogg page at byte {at} has a wrong checksum; {RESCUE}")
    return size, flags, stream, number


def _ogg_checksum(page: bytes) -> int:
    # Ogg's CRC-32 has zlib's polynomial, but takes bits from the other end and inverts nothing
    checksum = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{checksum:032b}"[::-1], 2)


# MP3: MPEG-1, 2 and 2.5 Layer III, ISO/IEC 11172-3 and 13818-3

_MPEG1, _RESERVED, _LAYER3, _MONO = 3, 1, 1, 3  # values of header fields
_MP3_KBITS = {  # kbit/s by bitrate field, from 1 on
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_RATES = {  # Hz by version
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_JUNK = 4096  # bytes that may follow the last frame, if the file states how many frames it has


def _tag_size(data: bytes, at: int) -> int:
    """Bytes of the tag that starts at `at`; 0 if none does."""
    if data.startswith(b"ID3", at) and at + 10 <= len(data):
        size = 0
        for byte in data[at + 6 : at + 10]:  # seven bits a byte
            size = size << 7 | byte & 0x7F
        return size + (20 if data[at + 5] & 0x10 else 10)
    if data.startswith(b"APETAGEX", at) and at + 16 <= len(data):
        return 32 + int.from_bytes(data[at + 12 : at + 16], "little")
    return 128 if data.startswith(b"TAG", at) else 0


def _mp3_frame_size(data: bytes, at: int) -> int:
    """Bytes of the Layer III frame whose header is at `at`; 0 if there is none."""
    if data[at : at + 1] != b"\xff" or at + 4 > len(data):
        return 0
    kind, numbers = data[at + 1], data[at + 2]
    version, layer = kind >> 3 & 3, kind >> 1 & 3
    bitrate, rate, padding = numbers >> 4, numbers >> 2 & 3, numbers >> 1 & 1
    if kind < 0xE0 or version == _RESERVED or layer != _LAYER3 or not 0 < bitrate < 15 or rate == 3:
        return 0
    mpeg1 = version == _MPEG1
    bits = _MP3_KBITS[mpeg1][bitrate - 1] * 1000
    return (144 if mpeg1 else 72) * bits // _MP3_RATES[version][rate] + padding


def _mp3_frames(data: bytes) -> tuple[list[bytes], int]:
    """All frames from the start on, and where they end; tags between them are left out."""
    frames, at = [], 0
    while at < len(data):
        size = _mp3_frame_size(data, at)
        if size and at + size <= len(data):
            frames.append(data[at : at + size])
        elif size or not (size := _tag_size(data, at)):
            break
        at += size
    return frames, at


def _whole_mp3(data: bytes) -> bytes:
    """An mp3 that states how many frames it has: else libsndfile guesses, and reads no more than that.

    Raises:
        AudioError: there are fewer frames than it states, or something else between or after them.
    """
    frames, end = _mp3_frames(data)
    sound = [frame for frame in frames if _mp3_is_sound(frame)]
    if len(sound) < 2:
        return data  # not mp3 after all: soundfile or ffmpeg knows
    stated = _mp3_stated(frames[0])
    if stated == len(sound) and len(data) - end <= _JUNK:
        return data
    if end < len(data) or stated > len(sound) + 1:  # some encoders count the frame that states it too
        expected = f"{stated} frames" if stated else "complete frames up to its end"
        raise AudioError(
            f"damaged or cut short: {len(sound)} good mp3 frames up to byte {end} of {len(data)}; "
            f"expected {expected}: {RESCUE}"
        )
    return _mp3_length_frame(sound[0], len(sound)) + b"".join(sound)


def _mp3_tag_place(frame: bytes) -> int:
    """Where a frame's Xing or Info tag would stand: after four bytes of header and empty side information."""
    mpeg1, mono = frame[1] >> 3 & 3 == _MPEG1, frame[3] >> 6 == _MONO
    return 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))


def _mp3_is_sound(frame: bytes) -> bool:
    """False for a frame with a Xing or Info tag, which states the length instead of holding sound."""
    at = _mp3_tag_place(frame)
    return frame[at : at + 4] not in (b"Xing", b"Info")


def _mp3_stated(frame: bytes) -> int:
    """The number of frames that the first frame states; 0 if it states none."""
    at = _mp3_tag_place(frame) + 4
    flags = int.from_bytes(frame[at : at + 4], "big")
    return 0 if _mp3_is_sound(frame) or not flags & 1 else int.from_bytes(frame[at + 4 : at + 8], "big")


def _mp3_length_frame(like: bytes, count: int) -> bytes:
    """A frame that states a number of frames, of the same kind as the given one."""
    # without checksum, at the highest bitrate, not padded
    header = bytes([0xFF, like[1] | 1, 0xE0 | like[2] & 0x0C, like[3]])
    frame = bytearray(_mp3_frame_size(header, 0))
    frame[:4] = header
    at = _mp3_tag_place(frame)
    frame[at : at + 12] = b"Info" + struct.pack(">II", 1, count)
    return bytes(frame)
