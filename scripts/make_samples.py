"""Make the recordings in data/samples with flite: `python scripts/make_samples.py [--out DIR]`.

flite is a small free synthesizer (Debian and Ubuntu: `apt-get install flite`) whose voices were built from
recordings of people. It gives the same samples each time.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # to run without installing

import soundfile

from asr import Error, command
from asr.audio import SAMPLE_RATE
from asr.corpus import Utterance, write_manifest

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"


@dataclass(frozen=True)
class Line:
    """A sentence and the voice that says it."""

    name: str  # of the file
    voice: str  # of flite, which are named for their speakers
    text: str


# Written for this project: plain read speech, without digits and rare names.
LINES = (
    Line("clock", "slt", "The old clock in the hall has not told the right time for years."),
    Line("letter", "rms", "She put the letter on the table and waited for him to speak."),
    Line("river", "awb", "We walked along the river until the lights of the town came into view."),
    Line("rain", "kal16", "Most of the work was done before the rain began to fall on the fields."),
    Line("shells", "slt", "In the morning the children ran down to the water to look for shells."),
    Line("promise", "rms", "He was a quiet man who kept his promises and asked for very little in return."),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/make_samples.py", description="Make the recordings in data/samples with flite."
    )
    arguments.add_argument("--out", type=Path, default=SAMPLES, help="folder (default: data/samples)")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    folder = parser().parse_args(argv).out
    flite = find_flite({line.voice for line in LINES})
    folder.mkdir(parents=True, exist_ok=True)
    utterances = [make(flite, line, folder) for line in LINES]
    write_manifest(folder / "manifest.jsonl", utterances)
    print(f"{len(utterances)} recordings, {sum(u.duration or 0 for u in utterances):.1f} s, in {folder}")
    return 0


def find_flite(voices: set[str]) -> str:
    """The program; an Error if it is missing or lacks voices, in whose place it would take another one."""
    program = shutil.which("flite")
    if program is None:
        raise Error("no flite on the PATH; install it (Debian, Ubuntu: apt-get install flite)")
    listing = subprocess.run([program, "-lv"], capture_output=True, text=True, check=True).stdout
    missing = voices - set(listing.partition(":")[2].split())
    if missing:
        raise Error(f"{program} has no voice {', '.join(sorted(missing))}; expected flite 2.x with its usual voices")
    return program


def make(flite: str, line: Line, folder: Path) -> Utterance:
    """Say a line into `folder`, as 16-bit FLAC at 16 kHz."""
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wav, flac = Path(scratch) / "said.wav", Path(scratch) / "said.flac"
        said = subprocess.run([flite, "-voice", line.voice, "-t", line.text, "-o", wav], capture_output=True, text=True)
        if not wav.is_file():  # flite calls it a success all the same
            raise Error(f"flite did not say {line.name!r}: {said.stderr.strip()}")
        samples, rate = soundfile.read(wav, dtype="int16")
        if rate != SAMPLE_RATE or samples.ndim != 1:
            raise Error(f"flite's voice {line.voice} speaks at {rate} Hz; expected {SAMPLE_RATE} Hz, mono")
        soundfile.write(flac, samples, rate, subtype="PCM_16")
        path = flac.replace(folder / f"{line.name}.flac")
    return Utterance(line.name, path, line.text, round(len(samples) / rate, 4), line.voice)


if __name__ == "__main__":
    sys.exit(command.run(main))
