"""Feed damaged recordings to the process that reads: `python scripts/fuzz_readers.py --minutes 10 --seed 1`.

A valid file of each format that soundfile writes, and of those that take ffmpeg where it is installed, is changed where
it hurts most - in its header, but elsewhere too - and read as `python -m asr.transcribe` reads it, by
`asr.reading.Reader`. Every file must end in samples or in an AudioError. A decoder that crashes is such an error: it is
counted, and the file is kept. A hang, a flood of memory or samples, a traceback and any other exception are faults of
ours: the files are kept, and the exit status is 1. The same seed gives the same files.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import io
import json
import os
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run without installing

import numpy as np
import soundfile

from asr import command
from asr.audio import SAMPLE_RATE, AudioError, load
from asr.containers import _ogg_checksum
from asr.reading import Reader

PROJECT = Path(__file__).resolve().parents[1]
SAMPLE = PROJECT / "data" / "samples" / "river.flac"
SECONDS = 1.0  # of speech in a valid file: small files are read fast
HEADER = 200  # bytes from the start in which most changes lie
PATIENCE = 20.0  # s without a byte from the decoder: it hangs
LONGEST = 60.0  # s for one file: it is as good as a hang
MOST_SAMPLES = 3600 * SAMPLE_RATE  # of one file, whose size is at most some 100 KB: more is a flood
MOST_MEMORY = 1 << 20  # KiB, resident, in the process that reads; it begins with some 35,000

TEXT, ERROR, REFUSED, CRASH = "samples", "error", "error: memory", "crash"
HANG, FLOOD, MEMORY, TRACEBACK, NOT_FINITE = "HANG", "FLOOD", "MEMORY", "TRACEBACK", "NOT FINITE"
ALLOWED = (TEXT, ERROR, REFUSED, CRASH)

# Containers that soundfile does not write: options of ffmpeg
BY_FFMPEG = {
    "m4a": ["-c:a", "aac"],
    "mov": ["-c:a", "pcm_s16le"],
    "webm": ["-c:a", "libopus"],
    "mka": ["-c:a", "pcm_s16le"],
    "wma": ["-c:a", "wmav2"],
    "aac": ["-c:a", "aac"],
    "ac3": ["-c:a", "ac3"],
    "avi": ["-c:a", "pcm_s16le"],
    "flv": ["-c:a", "pcm_s16le"],
    "mp2": ["-c:a", "mp2"],
    "tta": ["-c:a", "tta"],
    "wv": ["-c:a", "wavpack"],
    "spx": ["-c:a", "libspeex"],
}

EXTREMES = (0, 1, 2, 3, 0x7F, 0xFF, 0x100, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
LONG_EXTREMES = (1 << 32, 1 << 40, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


# Valid files


def valid_files() -> dict[str, bytes]:
    """Format -> a recording in it."""
    speech = load(SAMPLE, 0.5, SECONDS)
    files = dict(_of_soundfile(speech))
    if (ffmpeg := shutil.which("ffmpeg")) is not None:
        files |= _of_ffmpeg(ffmpeg, speech)
    return files


def _of_soundfile(speech: np.ndarray) -> Iterator[tuple[str, bytes]]:
    for container in sorted(soundfile.available_formats().keys() - {"RAW", "SD2"}):  # one has no header, one two files
        for subtype in soundfile.available_subtypes(container):
            for rate in (SAMPLE_RATE, 8000):  # some codecs know 8 kHz alone
                file = io.BytesIO()
                with contextlib.suppress(soundfile.SoundFileError, ValueError):
                    soundfile.write(file, speech, rate, format=container, subtype=subtype)
                    if _is_readable(file.getvalue()):
                        yield f"{container.lower()}-{subtype.lower()}", file.getvalue()
                        break


def _is_readable(data: bytes) -> bool:
    try:
        return len(load(data)) > 0
    except AudioError:
        return False


def _of_ffmpeg(ffmpeg: str, speech: np.ndarray) -> dict[str, bytes]:
    files = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "source.wav"
        soundfile.write(source, speech, SAMPLE_RATE)
        for suffix, options in BY_FFMPEG.items():
            path = source.with_name(f"made.{suffix}")
            made = subprocess.run(
                [ffmpeg, "-nostdin", "-v", "quiet", "-i", source, "-ar", "48000", *options, path], check=False
            )
            if made.returncode == 0 and _is_readable(path.read_bytes()):
                files[suffix] = path.read_bytes()
    return files


# Changes: data, chance, the files of other formats -> changed data


def _place(data: bytearray, chance: random.Random) -> int:
    """Where to change something: mostly in the header."""
    return chance.randrange(min(len(data), HEADER) if chance.random() < 0.75 else len(data))


def flip_bits(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    for _ in range(chance.choice((1, 1, 2, 8, 32))):
        data[_place(data, chance)] ^= 1 << chance.randrange(8)
    return data


def overwrite(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    at, count = _place(data, chance), chance.choice((1, 2, 4, 16, 100))
    run = bytes([chance.choice((0, 0xFF, 0x80, 0x20))]) * count if chance.random() < 0.5 else chance.randbytes(count)
    data[at : at + count] = run[: len(data) - at]
    return data


def set_extreme(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    """A number of a header, such as a length, becomes as large or small as it can be."""
    size, at = chance.choice((2, 4, 4, 4, 8)), _place(data, chance)
    at -= at % 2 if chance.random() < 0.9 else 0
    value = chance.choice(EXTREMES + LONG_EXTREMES if size == 8 else EXTREMES) & (1 << 8 * size) - 1
    data[at : at + size] = value.to_bytes(size, chance.choice(("little", "big")))[: len(data) - at]
    return data


def truncate(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    return data[: 1 + _place(data, chance)]


def remove(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 2, 4, 30, 500))]
    return data


def repeat(data: bytearray, chance: random.Random, _: list[bytes]) -> bytearray:
    at, count = _place(data, chance), chance.choice((1, 4, 8, 30, 500))
    data[at:at] = data[at : at + count] * chance.choice((1, 2, 50))
    return data


def splice(data: bytearray, chance: random.Random, others: list[bytes]) -> bytearray:
    """Goes on as another file does."""
    other = bytearray(chance.choice(others))
    return data[: _place(data, chance)] + other[_place(other, chance) :]


CHANGES: tuple[Callable[[bytearray, random.Random, list[bytes]], bytearray], ...] = (
    flip_bits, overwrite, set_extreme, set_extreme, truncate, remove, repeat, splice,
)  # fmt: skip


def damaged(data: bytes, chance: random.Random, others: list[bytes]) -> bytes:
    """A file with one change or a few."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        changed = chance.choice(CHANGES)(changed or bytearray(1), chance, others)
    return _with_ogg_checksums(changed) if chance.random() < 0.8 else bytes(changed)


def _with_ogg_checksums(data: bytearray) -> bytes:
    """Its ogg pages have the right checksums again, or the decoder would never see them."""
    for match in re.finditer(b"OggS", data):
        at = match.start()
        if at + 27 <= len(data):
            segments = data[at + 26]
            end = at + 27 + segments + sum(data[at + 27 : at + 27 + segments])
            data[at + 22 : at + 26] = bytes(4)
            struct.pack_into("<I", data, at + 22, _ogg_checksum(bytes(data[at:end])))
    return bytes(data)


# Reading


class Readers:
    """Reads files as the transcribing command does, with ffmpeg and without, and sees what becomes of its process."""

    def __init__(self, scratch: Path) -> None:
        self._stderr = (scratch / "stderr").open("w+b")
        kept = os.dup(2)
        os.dup2(self._stderr.fileno(), 2)  # the processes that read write there
        self.console = os.fdopen(kept, "w")
        self._with, self._without = Reader(PATIENCE), _Alone(PATIENCE)
        self.peak = 0  # KiB, of all processes that read

    def close(self) -> None:
        for reader in (self._with, self._without):
            reader.__exit__(None, None, None)
        os.dup2(self.console.fileno(), 2)
        self._stderr.close()

    def outcome(self, path: Path, with_ffmpeg: bool) -> tuple[str, str]:
        """What became of a file, and what was said about it."""
        reader = self._with if with_ffmpeg else self._without
        said = self._stderr.seek(0, os.SEEK_END)
        child = reader._child if reader._child.poll() is None else None
        _reset_peak(child)
        begin = time.monotonic()
        found, message = _read(reader, path)
        peak = _peak(child) if child is not None and child.poll() is None else 0
        self.peak = max(self.peak, peak)
        self._stderr.seek(said)
        printed = self._stderr.read().decode(errors="replace")
        if "Traceback" in printed:
            return TRACEBACK, printed
        if peak > MOST_MEMORY:
            return MEMORY, f"{peak >> 10} MiB"
        if time.monotonic() - begin > LONGEST:
            return HANG, f"{time.monotonic() - begin:.0f} s"
        return found, message


class _Alone(Reader):
    """Finds no ffmpeg."""

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.environ.get("PATH", "")
        os.environ["PATH"] = ""
        try:
            return super()._start()
        finally:
            os.environ["PATH"] = path


def _read(reader: Reader, path: Path) -> tuple[str, str]:
    count = 0
    try:
        with reader.stream(str(path)) as stream:
            for block in stream.blocks:
                count += len(block)
                if not np.isfinite(block).all():
                    return NOT_FINITE, f"in the {len(block)} samples before {count}"
                if count > MOST_SAMPLES:
                    return FLOOD, f"more than {MOST_SAMPLES} samples"
    except AudioError as error:
        return _kind(str(error)), str(error)
    except Exception as error:  # whatever it is, it is the finding
        return TRACEBACK, repr(error)
    return (TEXT if count else "NOTHING"), f"{count} samples"


def _kind(message: str) -> str:
    if "decoder crashed" in message:
        return CRASH
    if "was silent for" in message:
        return HANG
    return REFUSED if "memory" in message or "Unable to allocate" in message else ERROR


def _reset_peak(child: subprocess.Popen[bytes] | None) -> None:
    if child is not None:
        with contextlib.suppress(OSError):  # it has gone, or this is not Linux
            Path(f"/proc/{child.pid}/clear_refs").write_text("5")


def _peak(child: subprocess.Popen[bytes]) -> int:
    """KiB, resident, since the last reset."""
    with contextlib.suppress(OSError):
        return int(re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{child.pid}/status").read_text())[0])
    return 0


# The command


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/fuzz_readers.py", description="Feed damaged recordings to the process that reads."
    )
    arguments.add_argument("--minutes", type=float, default=10.0, help="how long (default: %(default)g)")
    arguments.add_argument("--seed", type=int, default=0, help="which files (default: 0)")
    arguments.add_argument(
        "--out",
        type=Path,
        default=PROJECT / "data" / "runs" / "fuzz",
        metavar="DIR",
        help="files that crash a decoder or are a fault, findings.jsonl (default: data/runs/fuzz)",
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Status 1 if a file did not end in samples or in an error."""
    options = parser().parse_args(argv)
    files = valid_files()
    # ffmpeg takes 20 times as long to start as libsndfile to read
    names = [name for name in files if name not in BY_FFMPEG] * 4 + [name for name in files if name in BY_FFMPEG]
    counts = collections.defaultdict(collections.Counter)
    options.out.mkdir(parents=True, exist_ok=True)
    end, number = time.monotonic() + options.minutes * 60, 0
    with tempfile.TemporaryDirectory() as folder, contextlib.closing(Readers(Path(folder))) as readers:
        while time.monotonic() < end:
            chance = random.Random(f"{options.seed} {number}")
            name = names[number % len(names)]
            data = damaged(files[name], chance, list(files.values()))
            path = Path(folder) / f"damaged.{name.split('-')[0]}"
            path.write_bytes(data)
            outcome, message = readers.outcome(path, name in BY_FFMPEG or chance.random() < 0.05)
            counts[name][outcome] += 1
            if outcome not in (TEXT, ERROR, REFUSED):
                kept = options.out / f"{options.seed}-{number}.{name}"
                kept.write_bytes(data)
                with (options.out / "findings.jsonl").open("a", encoding="utf-8") as log:
                    log.write(json.dumps({"file": kept.name, "outcome": outcome, "message": message}) + "\n")
            number += 1
        peak = readers.peak
    return report(counts, peak)


def report(counts: dict[str, collections.Counter[str]], peak: int) -> int:
    """Print counts by format and outcome; the command's status."""
    total: collections.Counter[str] = collections.Counter()
    for name, counted in sorted(counts.items()):
        print(f"{name:22} " + ", ".join(f"{count} {outcome}" for outcome, count in counted.most_common()))
        total += counted
    print(f"{total.total()} files: " + ", ".join(f"{count} {outcome}" for outcome, count in total.most_common()))
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"peak memory: {peak >> 10} MiB in the process that reads, {own >> 10} MiB in this one")
    return command.FAILED if total.keys() - set(ALLOWED) else 0


if __name__ == "__main__":
    sys.exit(command.run(main))
