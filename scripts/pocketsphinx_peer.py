"""Pocketsphinx, and what it recognized before, for scripts/compare_pocketsphinx.py."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

from asr import Error
from asr.audio import SAMPLE_RATE, Samples
from asr.files import replacing

VERSION = "5.1.1"  # that `install` gets
SAVED_EVERY = 20  # utterances: what is lost when the machine goes down
Transcribe = Callable[[Samples], str]


@dataclass(frozen=True)
class Heard:
    """A system's text of an utterance, and the seconds of processor time that it took."""

    text: str
    seconds: float


class PocketSphinx:
    """Pocketsphinx with all that it comes with.

    Raises:
        Error: it is not installed.
    """

    def __init__(self) -> None:
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise Error(
                f"pocketsphinx is not installed ({error}); --install does it, or pip install '.[peers]'"
            ) from None
        self.version = metadata.version("pocketsphinx")
        self._decoder = Decoder(samprate=SAMPLE_RATE, loglevel="FATAL")

    def transcribe(self, samples: Samples) -> str:
        """The text of one utterance, (samples,)."""
        self._decoder.start_utt()
        self._decoder.process_raw(pcm(samples), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found else ""


def pcm(samples: Samples) -> bytes:
    """(samples,) within [-1, 1] -> 16-bit samples in the machine's order."""
    return np.clip(np.round(samples * 32768), -32768, 32767).astype(np.int16).tobytes()


def timed(transcribe: Transcribe, samples: Samples) -> Heard:
    """The text, and how long it took."""
    began = time.process_time()
    text = transcribe(samples)
    return Heard(text, time.process_time() - began)


class Kept:
    """What a system made of recordings, kept in a file of JSON lines: key, text, seconds.

    The key is a hash of the system and the samples, so what is not of both is never found.

    Args:
        path: None keeps nothing.
        system: its name and version.

    Raises:
        Error: the file is something else.
    """

    def __init__(self, path: Path | None, system: str) -> None:
        self._path, self._system = path, system
        self._found = _read(path) if path is not None and path.exists() else {}
        self._unsaved = 0

    def get(self, samples: Samples, transcribe: Transcribe) -> Heard:
        """What was made of these samples before, or else is made now."""
        key = hashlib.blake2b(self._system.encode() + b"\0" + pcm(samples), digest_size=16).hexdigest()
        if key not in self._found:
            self._found[key] = timed(transcribe, samples)
            self._unsaved += 1
            if self._unsaved >= SAVED_EVERY:
                self.save()
        return self._found[key]

    def save(self) -> None:
        """Write the file, if there is anything new."""
        if self._path is None or not self._unsaved:
            return
        with replacing(self._path) as file:
            for key, heard in self._found.items():
                file.write(json.dumps({"key": key, **asdict(heard)}).encode() + b"\n")
        self._unsaved = 0


def _read(path: Path) -> dict[str, Heard]:
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found[row["key"]] = Heard(row["text"], float(row["seconds"]))
        except (ValueError, KeyError, TypeError):
            raise Error(
                f"{path}, line {number}: expected what --keep has written; found {line:.60}; name another file"
            ) from None
    return found


def install() -> None:
    """Have pip install the version that figures are given for.

    Raises:
        Error: pip could not.
    """
    line = [sys.executable, "-m", "pip", "install", "--quiet", f"pocketsphinx=={VERSION}"]
    if status := subprocess.run(line, stdout=sys.stderr, check=False).returncode:
        raise Error(f"{' '.join(line)} ended with status {status}; it says why above")
