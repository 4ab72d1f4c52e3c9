"""Memory and time that many utterances take: `python scripts/scale.py [--utterances 1000000] [--json]`.

Makes a manifest of that many lines over a few recordings, has `asr.train` read, check and prepare it and train a tiny
model for a few steps, and says how much memory the main process and its workers held at most. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import soundfile

import asr.train
import asr.training.loop
from asr import Error, command
from asr.audio import SAMPLE_RATE
from asr.training.job import Job
from asr.training.workers import Group

RECORDINGS, SECONDS = 5, 3.0
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "every", "good", "story", "end", "with", "quiet", "rain"]
WORDS_OF_TEXT = 9
SETTINGS = {"layers": 1, "hidden": 8, "channels": 8, "steps": 3, "evaluations": 1, "workers": 2}
train = asr.training.loop.train


def write_manifest(folder: Path, utterances: int) -> Path:
    """A manifest of that many different texts over a few recordings of noise."""
    random = np.random.default_rng(0)
    for i in range(RECORDINGS):
        soundfile.write(folder / f"{i}.wav", random.normal(0, 0.1, int(SECONDS * SAMPLE_RATE)), SAMPLE_RATE)
    path = folder / "manifest.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for i in range(utterances):
            text = " ".join(WORDS[word] for word in random.integers(len(WORDS), size=WORDS_OF_TEXT))
            row = {"id": f"speaker-{i:09}", "audio_filepath": f"{i % RECORDINGS}.wav", "text": text}
            file.write(json.dumps(row) + "\n")
    return path


def peak_mib() -> float:
    """The most memory that this process held: unlike `getrusage`, without that of the process that started it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**10
    raise Error("/proc/self/status has no VmHWM: this needs Linux")


def train_and_tell(group: Group, job: Job) -> None:
    """Train as one of the workers, and leave its peak in the run's folder."""
    train(group, job)
    (job.out / f"peak-{group.rank}").write_text(str(peak_mib()), encoding="ascii")


def measure(utterances: int) -> dict[str, float]:
    """Figures for that many utterances: seconds of wall-clock, and peaks of memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        manifest, out = write_manifest(Path(folder), utterances), Path(folder) / "out"
        os.environ["ASR_CACHE"] = str(Path(folder) / "cache")
        asr.training.loop.train = train_and_tell
        pairs = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
        start = time.perf_counter()
        with redirect_stdout(sys.stderr):
            asr.train.main([str(manifest), "--dev", "none", "--out", str(out), *pairs])
        seconds = time.perf_counter() - start
        workers = [float(path.read_text(encoding="ascii")) for path in out.glob("peak-*")]
    return {"utterances": utterances, "seconds": seconds, "main_mib": peak_mib(), "worker_mib": max(workers)}


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments = argparse.ArgumentParser(prog="python scripts/scale.py", description=__doc__.splitlines()[0])
    arguments.add_argument("--utterances", type=int, default=1_000_000, help="lines of the manifest (default: 1000000)")
    arguments.add_argument("--json", action="store_true", help="print one JSON object")
    options = arguments.parse_args(argv)
    found = measure(options.utterances)
    text = (
        "{utterances} utterances: {seconds:.1f} s, main process {main_mib:.0f} MiB, workers {worker_mib:.0f} MiB each"
    )
    print(json.dumps(found) if options.json else text.format(**found))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
