"""Make awkward recordings: `python scripts/make_awkward.py DIR`.

More than a hundred files, made from one of data/samples, that people have and that programs stumble over: every
encoding, rate and channel count, headers that are wrong, files that are cut or no recordings, odd names and links.
DIR/expected.json says what each of them is to give when it is transcribed: text, or an error.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run without installing

import numpy as np
import soundfile
import soxr

from asr import Error, command
from asr.audio import SAMPLE_RATE, load
from asr.containers import _ogg_checksum

SAMPLE = Path(__file__).resolve().parents[1] / "data" / "samples" / "river.flac"

# What a file gives
SAME = "same"  # the text of the clean recording, letter by letter
LIKE = "like"  # a text that is close to it: the encoding has changed the sound a little
EMPTY = "empty"  # nothing is said in it
ANY = "any"  # a text, of whatever the decoder makes of it
ERROR = "error"

HOURS_10 = 36_000 * SAMPLE_RATE  # samples

Put = Callable[[Path], object]  # writes a file


@dataclass(frozen=True)
class Awkward:
    """A file and what it gives.

    Args:
        name: relative to the folder.
        put: writes it.
        expected: one of the constants above.
        message: a piece of the error.
        inside: for a folder, the name of the recording in it.
        needs_user: it is awkward for all but root.
    """

    name: str
    put: Put
    expected: str
    message: str = ""
    inside: str = ""
    needs_user: bool = False


def awkward() -> Iterator[Awkward]:
    """All of them."""
    speech = load(SAMPLE)
    yield from encodings(speech)
    yield from rates_and_channels(speech)
    yield from levels(speech)
    yield from lengths(speech)
    yield from cut(speech)
    yield from headers(speech)
    yield from tags_and_chunks(speech)
    yield from no_recordings(speech)
    yield from names(speech)
    yield from links_and_folders(speech)
    if (ffmpeg := shutil.which("ffmpeg")) is not None:
        yield from by_ffmpeg(ffmpeg, speech)


# Small makers


def encoded(samples: np.ndarray, container: str = "WAV", subtype: str | None = None, rate: int = SAMPLE_RATE) -> bytes:
    """A file as soundfile writes it, 16-bit where nothing else is said."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype)
    return file.getvalue()


def holds(data: bytes) -> Put:
    """A file with these bytes."""
    return lambda path: path.write_bytes(data)


def links_to(target: str) -> Put:
    return lambda path: path.symlink_to(target)


def patched(data: bytes, at: int, form: str, *values: float | bytes) -> bytes:
    """The same bytes with other values at one place."""
    changed = bytearray(data)
    struct.pack_into(form, changed, at, *values)
    return bytes(changed)


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a wav file."""
    return name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2)


def wav(*chunks: bytes) -> bytes:
    content = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


# Tables of them


def encodings(speech: np.ndarray) -> Iterator[Awkward]:
    exact = [
        *(("WAV", subtype) for subtype in ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
        *((container, "PCM_16") for container in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "VOC")),
        *(("FLAC", "PCM_24"), ("CAF", "ALAC_16"), ("AIFF", "FLOAT"), ("AU", "DOUBLE"), ("MAT5", "DOUBLE")),
    ]
    lossy = [
        *(("WAV", subtype) for subtype in ("PCM_U8", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")),
        *(("AIFF", "PCM_S8"), ("AIFF", "IMA_ADPCM"), ("AU", "ULAW"), ("NIST", "ALAW"), ("W64", "GSM610")),
        *(("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")),
    ]
    for expected, kinds in ((SAME, exact), (LIKE, lossy)):
        for container, subtype in kinds:
            name = f"{container}-{subtype}.{container}".lower()
            yield Awkward(name, holds(encoded(speech, container, subtype)), expected)


def rates_and_channels(speech: np.ndarray) -> Iterator[Awkward]:
    for rate in (4000, 8000, 11_025, 22_050, 44_100, 48_000, 96_000, 192_000):
        data = encoded(soxr.resample(speech, SAMPLE_RATE, rate), rate=rate)
        yield Awkward(f"{rate}-hz.wav", holds(data), LIKE if rate > 8000 else ANY)
    for channels in (2, 3, 6, 8):
        yield Awkward(f"{channels}-channels.wav", holds(encoded(np.stack([speech] * channels, axis=1))), LIKE)
    silence = np.zeros_like(speech)
    yield Awkward("one-channel-is-silent.wav", holds(encoded(np.stack([speech, silence], axis=1))), LIKE)
    yield Awkward("channels-cancel-out.wav", holds(encoded(np.stack([speech, -speech], axis=1))), EMPTY)


def levels(speech: np.ndarray) -> Iterator[Awkward]:
    def floats(samples: np.ndarray) -> Put:
        return holds(encoded(samples, subtype="FLOAT"))

    def spoilt(value: float) -> Put:
        return floats(np.concatenate([speech[:20_000], np.full(1, value, np.float32), speech[20_000:]]))

    yield Awkward("nan.wav", spoilt(np.nan), ERROR, "sample 20000 (at 1.250 s) is nan")
    yield Awkward("infinite.wav", spoilt(np.inf), ERROR, "is inf")
    yield Awkward("minus-infinite.wav", spoilt(-np.inf), ERROR, "is -inf")
    yield Awkward("nearly-infinite.wav", spoilt(3e38), ERROR, "is 3e+38")
    yield Awkward("a-thousand-times-too-loud.wav", floats(speech * 1000), LIKE)
    yield Awkward("a-thousand-times-too-quiet.wav", floats(speech / 1000), LIKE)
    yield Awkward("denormal.wav", floats(speech * 1e-40), EMPTY)
    yield Awkward("clipped.wav", holds(encoded(np.clip(speech * 30, -1, 1))), ANY)
    yield Awkward("dc.wav", floats(speech / 2 + 0.5), LIKE)
    yield Awkward("nothing-but-dc.wav", holds(encoded(np.full(80_000, 0.5))), EMPTY)
    yield Awkward("silence.flac", holds(encoded(np.zeros(80_000), "FLAC")), EMPTY)
    noise = np.random.default_rng(0).normal(0, 0.1, 80_000)
    yield Awkward("noise.flac", holds(encoded(noise, "FLAC")), EMPTY)
    yield Awkward("tone.wav", holds(encoded(np.sin(np.arange(80_000) / 5) / 2)), ANY)


def lengths(speech: np.ndarray) -> Iterator[Awkward]:
    yield Awkward("one-sample.wav", holds(encoded(speech[:1])), EMPTY)
    yield Awkward("10-ms.wav", holds(encoded(speech[30_000:30_160])), ANY)
    yield Awkward("10-ms.mp3", holds(encoded(speech[30_000:30_160], "MP3")), ANY)
    yield Awkward("no-samples.wav", holds(encoded(speech[:0])), ERROR, "no samples")
    yield Awkward("an-hour-of-silence.flac", an_hour_of_silence, EMPTY)
    sound = encoded(speech)
    claims = {
        "wav": patched(sound, 40, "<I", 2 * HOURS_10),
        "au": patched(encoded(speech, "AU"), 8, ">I", 2 * HOURS_10),
        "caf": long_caf(encoded(speech, "CAF")),
        "nist": encoded(speech, "NIST").replace(b"sample_count -i 57200\n", b"sample_count -i 576000000\n"),
        "flac": patched(encoded(speech, "FLAC"), 22, ">I", HOURS_10),
        "ogg": long_ogg(encoded(speech, "OGG", "VORBIS")),
        "mp3": long_mp3(encoded(speech, "MP3")),
    }
    for suffix, data in claims.items():
        yield Awkward(f"claims-10-hours.{suffix}", holds(data), ERROR, "cut short")


def an_hour_of_silence(path: Path) -> None:
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, format="FLAC") as file:
        for _ in range(60):
            file.write(np.zeros(60 * SAMPLE_RATE, np.int16))


def long_caf(data: bytes) -> bytes:
    return patched(data, data.index(b"data") + 4, ">q", 4 + 2 * HOURS_10)


def long_ogg(data: bytes) -> bytes:
    """Its last page states the position of its last sample, and has the right checksum."""
    at = data.rindex(b"OggS")
    page = patched(patched(data[at:], 6, "<q", HOURS_10), 22, "<I", 0)
    return data[:at] + patched(page, 22, "<I", _ogg_checksum(page))


def long_mp3(data: bytes) -> bytes:
    at = max(data.find(b"Xing"), data.find(b"Info"))
    return patched(data, at + 8, ">I", HOURS_10 // 576)


def cut(speech: np.ndarray) -> Iterator[Awkward]:
    """Half of a file, and no more than a header."""
    kinds = [(container, None) for container in ("WAV", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "MP3")]
    for container, subtype in [*kinds, ("OGG", "VORBIS"), ("OGG", "OPUS"), ("WAV", "MS_ADPCM"), ("CAF", "ALAC_16")]:
        data = encoded(speech, container, subtype)
        kind = "-".join(filter(None, (container, subtype))).lower()
        yield Awkward(f"half-{kind}.{container}".lower(), holds(data[: len(data) // 2]), ERROR, "cut short")
    for container in ("WAV", "AIFF", "AU", "CAF", "NIST"):
        header = len(encoded(speech[:0], container))
        data = encoded(speech, container)[:header]
        yield Awkward(f"header-only.{container}".lower(), holds(data), ERROR, "cut short")
    for container in ("FLAC", "MP3"):
        yield Awkward(f"first-200-bytes.{container}".lower(), holds(encoded(speech, container)[:200]), ERROR)
    yield Awkward("first-4-bytes.wav", holds(b"RIFF"), ERROR, "soundfile")
    yield Awkward("one-byte.wav", holds(b"R"), ERROR, "soundfile")
    yield Awkward("no-bytes.wav", holds(b""), ERROR, "empty (0 bytes)")


def headers(speech: np.ndarray) -> Iterator[Awkward]:
    """Numbers of a wav header that are wrong."""
    data = encoded(speech)  # the format starts at byte 20, the samples at 44
    size = len(data) - 44
    for name, length in (("0xffffffff", 0xFFFFFFFF), ("0x7fffffff", 0x7FFFFFFF), ("0x80000000", 1 << 31)):
        yield Awkward(f"length-{name}.wav", holds(patched(data, 40, "<I", length)), SAME)
    yield Awkward("length-0.wav", holds(patched(data, 40, "<I", 0)), ERROR, "would not be heard")
    yield Awkward("length-too-long-by-1.wav", holds(patched(data, 40, "<I", size + 1)), ERROR, "cut short")
    yield Awkward("length-a-half.wav", holds(patched(data, 40, "<I", size // 2)), ERROR, "would not be heard")
    yield Awkward("length-of-riff-0.wav", holds(patched(data, 4, "<I", 0)), SAME)
    yield Awkward("odd-length.wav", holds(patched(data, 40, "<I", size - 1)), LIKE)
    yield Awkward("bytes-per-second-0.wav", holds(patched(data, 28, "<I", 0)), SAME)
    wrong = {
        "unknown-codec": (20, "<H", 0x7777), "no-channels": (22, "<H", 0), "65535-channels": (22, "<H", 0xFFFF),
        "0-hz": (24, "<I", 0), "1-hz": (24, "<I", 1), "4-ghz": (24, "<I", 0xFFFFFFFF), "2-ghz": (24, "<I", 0x7FFFFFFF),
        "77-bits": (34, "<H", 77),
    }  # fmt: skip
    for name, (at, form, value) in wrong.items():
        yield Awkward(f"{name}.wav", holds(patched(data, at, form, value)), ERROR)
    yield Awkward("no-format.wav", holds(wav(chunk(b"data", data[44:]))), ERROR)
    yield Awkward("format-after-samples.wav", holds(wav(chunk(b"data", data[44:]), data[12:36])), SAME)
    endless = encoded(speech, "FLAC")
    endless = patched(patched(endless, 21, "B", endless[21] & 0xF0), 22, ">I", 0)
    yield Awkward("length-unknown.flac", holds(endless), SAME)
    yield Awkward("1048575-hz.flac", holds(patched(endless, 18, ">I", 0xFFFFF0F0)), ANY)


def tags_and_chunks(speech: np.ndarray) -> Iterator[Awkward]:
    """What may stand around the sound."""
    id3 = b"ID3\4\0\0" + bytes([0, 0, 2, 5]) + b"TIT2" + bytes(2 * 128 + 1)  # seven bits a byte
    mp3, flac, vorbis, data = (encoded(speech, kind) for kind in ("MP3", "FLAC", "OGG", "WAV"))
    yield Awkward("id3-twice.mp3", holds(id3 + id3 + mp3), LIKE)
    yield Awkward("id3-behind.mp3", holds(mp3 + b"TAG" + bytes(125)), LIKE)
    yield Awkward("id3-of-200-mb-and-nothing-else.mp3", holds(b"ID3\4\0\0" + b"\x60\0\0\0" + mp3), ERROR)
    yield Awkward("id3.flac", holds(id3 + flac), SAME)
    yield Awkward("id3.wav", holds(id3 + data), SAME)
    yield Awkward("padded.flac", holds(flac[:4] + b"\1\0\xff\xff" + bytes(0xFFFF) + flac[4:]), SAME)
    yield Awkward("padded-behind-the-first-block.flac", holds(padded_flac(flac)), SAME)
    yield Awkward("two-joined.mp3", holds(mp3 + mp3), ANY)
    yield Awkward("two-joined.ogg", holds(vorbis + vorbis), ERROR, "several ogg files joined")
    sound, form = chunk(b"data", data[44:]), data[12:36]
    odd = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 5) + b"odd!\0")
    yield Awkward("odd-chunks.wav", holds(wav(odd, form, chunk(b"bext", bytes(603)), odd, sound, odd)), SAME)
    yield Awkward("1000-chunks.wav", holds(wav(form, *[chunk(b"junk", b"")] * 1000, sound)), SAME)
    yield Awkward("junk-behind.wav", holds(data + b"<html>" * 999), SAME)
    yield Awkward("chunk-of-4-gib.wav", holds(wav(b"LIST\xf0\xff\x0f\xff", form, sound)), ERROR, "cut short")
    yield Awkward("two-data-chunks.wav", holds(wav(form, sound, sound)), SAME)


def padded_flac(flac: bytes) -> bytes:
    end = 4 + 4 + 34  # behind the block that describes the stream
    return flac[:end] + b"\1\0\xff\xff" + bytes(0xFFFF) + flac[end:]


def no_recordings(speech: np.ndarray) -> Iterator[Awkward]:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\2\0\0\0\x90wS\xde" + b"\0\0\0\0IEND\xaeB`\x82"
    contents = {
        "text.wav": b"We walked along the river.\n" * 40,
        "utf-16.wav": ("We walked along the river.\n" * 40).encode("utf-16"),
        "not-found.mp3": b"<!DOCTYPE html><html><title>404 Not Found</title></html>\n",
        "picture.wav": png,
        "archive.wav": b"PK\3\4" + zlib.compress(encoded(speech)),
        "gzip.wav": gzip.compress(encoded(speech), mtime=0),
        "playlist.wav": b"#EXTM3U\n#EXTINF:5,\n/etc/hostname\n",
        "zeros.wav": bytes(50_000),
        "ones.mp3": b"\xff" * 50_000,
        "random.ogg": np.random.default_rng(1).bytes(50_000),
        "pointer.wav": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    }
    for name, data in contents.items():
        yield Awkward(name, holds(data), ERROR, "soundfile")
    yield Awkward("headerless.raw", holds(encoded(speech)[44:]), ERROR, "without a header")


def names(speech: np.ndarray) -> Iterator[Awkward]:
    odd = [
        "several words in it.wav", " .wav", "emoji 🎙️.wav", "two\nlines.wav", "tab\there.wav", "escape\x1b[31m.wav",
        "-dash.wav", "--help", "[ab]*?.wav", "~", "$HOME.wav", "it's \"quoted\".wav", "100%s.wav", "back\\slash.wav",
        "новая запись.wav", "e\u0301.wav", "\u202eright to left.wav", "no extension", "LOUD.WAV", "flac inside.mp3.wav",
        ".hidden.wav", "not unicode \udcff.wav", f"{'long ' * 50}.wav",
    ]  # fmt: skip
    for name in odd:
        yield Awkward(name, holds(encoded(speech, "FLAC" if "flac" in name else "WAV")), SAME)


def links_and_folders(speech: np.ndarray) -> Iterator[Awkward]:
    data = encoded(speech)

    def folder(path: Path) -> None:
        path.mkdir()
        (path / "inside.wav").write_bytes(data)

    def forbidden(path: Path) -> None:
        path.write_bytes(data)
        path.chmod(0)

    yield Awkward("link.wav", links_to("wav-pcm_16.wav"), SAME)
    yield Awkward("broken-link.wav", links_to("nowhere.wav"), ERROR, "no such file")
    yield Awkward("link-to-itself.wav", links_to("link-to-itself.wav"), ERROR, "cannot be opened")
    yield Awkward("empty-folder.wav", Path.mkdir, ERROR, "no recordings in this folder")
    yield Awkward("folder.wav", folder, SAME, inside="inside.wav")
    yield Awkward("missing.wav", lambda path: None, ERROR, "no such file")
    yield Awkward(f"{'too long' * 40}.wav", lambda path: None, ERROR, "cannot be opened")
    yield Awkward("wav-pcm_16.wav/below-a-file.wav", lambda path: None, ERROR, "cannot be opened")
    yield Awkward("forbidden.wav", forbidden, ERROR, "Permission denied", needs_user=True)
    if Path("/dev/zero").exists():
        yield Awkward("endless.wav", links_to("/dev/zero"), ERROR)


def by_ffmpeg(ffmpeg: str, speech: np.ndarray) -> Iterator[Awkward]:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch) / "source.wav"
        source.write_bytes(encoded(speech))
        for suffix, codec in (("m4a", "aac"), ("webm", "libopus"), ("mkv", "flac"), ("wma", "wmav2")):
            path = source.with_name(f"made.{suffix}")
            subprocess.run([ffmpeg, "-nostdin", "-v", "error", "-i", source, "-c:a", codec, path], check=True)
            data = path.read_bytes()
            yield Awkward(f"by-ffmpeg.{suffix}", holds(data), LIKE)
            yield Awkward(f"half-by-ffmpeg.{suffix}", holds(data[: len(data) // 2]), ERROR)


# The command


def make(folder: Path) -> list[Awkward]:
    """Put all of them into a new folder.

    Raises:
        asr.Error: there is something in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Error(f"{folder}: not empty; name a new folder")
    made = list(awkward())
    for each in made:
        each.put(folder / each.name)
    table = [{key: value for key, value in asdict(each).items() if key != "put" and value} for each in made]
    (folder / "expected.json").write_text(json.dumps(table, indent=1), encoding="utf-8")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/make_awkward.py",
        description="Make awkward recordings, and a list of what each is to give.",
    )
    arguments.add_argument("folder", type=Path, metavar="DIR", help="a new folder")
    made = make(arguments.parse_args(argv).folder)
    print(f"{len(made)} files")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
