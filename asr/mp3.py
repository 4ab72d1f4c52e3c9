"""The frames of an mp3: MPEG-1, 2 and 2.5 Layer III, ISO/IEC 11172-3 and 13818-3; and the tags around them."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

_MPEG1, _RESERVED, _LAYER3, _MONO = 3, 1, 1, 3  # values of header fields
_KBITS = {  # kbit/s by bitrate field, from 1 on
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),  # MPEG-1
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {  # Hz by version
    3: (44_100, 48_000, 32_000),
    2: (22_050, 24_000, 16_000),
    0: (11_025, 12_000, 8_000),
}
_STATES = (b"Xing", b"Info")  # what stands in a frame that states the length instead of holding sound
_LYRICS = re.compile(rb"LYRICSBEGIN|[A-Z]{3}([0-9]{5})|[0-9]{6}LYRICS200")  # parts of a Lyrics3 tag: head, field, end
_APE = b"APETAGEX"
_FRAME = 4096  # bytes: no frame is longer
_WINDOW = 1 << 16  # bytes of a file that are looked at together: a long one never lies in memory


def tag_size(data: bytes) -> int:
    """Bytes of the tag that begins like this, of which 16 bytes tell; 0 if none does."""
    if data.startswith(b"ID3") and len(data) >= 10:
        size = 0
        for byte in data[6:10]:  # seven bits a byte
            size = size << 7 | byte & 0x7F
        return size + (20 if data[5] & 0x10 else 10)
    if data.startswith(_APE) and len(data) >= 16:
        return 32 + int.from_bytes(data[12:16], "little")
    return 128 if data.startswith(b"TAG") else 0


def _any_tag_size(data: bytes, stream: BinaryIO, at: int, size: int) -> int:
    """The same for all that may stand among frames or behind them, at this place of a stream of `size` bytes."""
    return tag_size(data) or _lyrics_size(data) or _headless_size(stream, at, size)


def _lyrics_size(data: bytes) -> int:
    """Bytes of the part of a Lyrics3 tag that begins like this; 0 if none does."""
    part = _LYRICS.match(data)
    return part.end() + int(part[1] or 0) if part else 0


def _headless_size(stream: BinaryIO, at: int, size: int) -> int:
    """Bytes of the APE tag without a header that begins here, as its footer near the end says; 0 if none does."""
    start = max(at, size - _WINDOW)
    stream.seek(start)
    tail = stream.read(_WINDOW)
    footer = tail.rfind(_APE)
    length = start + footer + 32 - at
    return length if footer >= 0 and int.from_bytes(tail[footer + 12 : footer + 16], "little") == length else 0


def frame_size(header: bytes) -> int:
    """Bytes of the Layer III frame that begins with these four, or more; 0 if none does."""
    if len(header) < 4 or header[0] != 0xFF:
        return 0
    kind, numbers = header[1], header[2]
    version, layer = kind >> 3 & 3, kind >> 1 & 3
    bitrate, rate, padding = numbers >> 4, numbers >> 2 & 3, numbers >> 1 & 1
    if kind < 0xE0 or version == _RESERVED or layer != _LAYER3 or not 0 < bitrate < 15 or rate == 3:
        return 0
    mpeg1 = version == _MPEG1
    bits = _KBITS[mpeg1][bitrate - 1] * 1000
    return (144 if mpeg1 else 72) * bits // _RATES[version][rate] + padding


@dataclass(frozen=True)
class Frames:
    """The frames of an mp3.

    Args:
        first: the bytes of the first one; none if there is none.
        like: the header of the first that holds sound.
        count: how many hold sound.
        parts: where these begin and end in the file, in runs: between them are tags, and frames that state a length.
        end: where the last frame or tag ends.
    """

    first: bytes
    like: bytes
    count: int
    parts: list[tuple[int, int]]
    end: int


def frames(stream: BinaryIO, size: int, alive: Callable[[], None]) -> Frames:
    """Walk from the start of a stream of `size` bytes to what is neither a whole frame nor a tag.

    Args:
        alive: called again and again on the way.
    """
    kinds: dict[bytes, tuple[int, int, int]] = {}  # header -> bytes of the frame; where what it states would be
    first, like, count, parts = b"", b"", 0, [(0, 0)]
    at, base, window = 0, 0, b""
    while at < size:
        if base + len(window) < min(at + _FRAME, size):
            stream.seek(at)
            base, window = at, stream.read(_WINDOW)
            alive()
        here = at - base
        header = window[here : here + 4]
        if header not in kinds:
            kinds[header] = _kind(header)
        length, start, stop = kinds[header]
        if length and at + length <= size:
            first = first or window[here : here + length]
            if window[here + start : here + stop] not in _STATES:
                like, count = like or header, count + 1
                if parts[-1][1] != at:
                    parts.append((at, at))
                parts[-1] = parts[-1][0], at + length
        elif length or not (length := _any_tag_size(window[here : here + 16], stream, at, size)):
            break
        at += length
    return Frames(first, like, count, parts, at)


def _kind(header: bytes) -> tuple[int, int, int]:
    """Bytes of a frame, and where in it "Xing" or "Info" would stand."""
    length = frame_size(header)
    start = _tag_place(header) if length else 0
    return length, start, min(start + 4, length)


def _tag_place(header: bytes) -> int:
    """Where a frame's Xing or Info tag would stand: after four bytes of header and empty side information."""
    mpeg1, mono = header[1] >> 3 & 3 == _MPEG1, header[3] >> 6 == _MONO
    return 4 + ((17 if mono else 32) if mpeg1 else (9 if mono else 17))


def stated(frame: bytes) -> int:
    """The number of frames that the first frame states; 0 if it states none."""
    at = _tag_place(frame)
    states, flags, count = struct.unpack(">4sII", frame[at : at + 12].ljust(12, b"\0"))
    return count if states in _STATES and flags & 1 else 0


def length_frame(like: bytes, count: int) -> bytes:
    """A frame that states a number of frames, of the same kind as the given one."""
    # without checksum, at the highest bitrate, not padded
    header = bytes([0xFF, like[1] | 1, 0xE0 | like[2] & 0x0C, like[3]])
    frame = bytearray(frame_size(header))
    frame[:4] = header
    at = _tag_place(frame)
    frame[at : at + 12] = b"Info" + struct.pack(">II", 1, count)
    return bytes(frame)
