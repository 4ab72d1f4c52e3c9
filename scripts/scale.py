"""Memory, disk and time that much data takes, measured by `asr.train` itself with a model of next to no size.

python scripts/scale.py                                    a million utterances over a few recordings
python scripts/scale.py --manifest M --hours 1 4 16        real recordings, and what 1,000 hours would take

The first makes its manifest. The second takes so many hours of a manifest's utterances, drawn with a fixed seed, each
amount in a process of its own, with an empty cache and again with what that left there; what the figures say of 1,000
hours is the straight line through them. Needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from threading import Thread

import numpy as np
import soundfile

import asr.train
import asr.training.loop
from asr import Error, audio, command, corpus
from asr.audio import SAMPLE_RATE
from asr.corpus import Utterance
from asr.training.job import Job
from asr.training.store import size_of
from asr.training.workers import Group

RECORDINGS, SECONDS = 5, 3.0
WORDS = ["the", "cat", "sat", "on", "a", "mat", "and", "saw", "every", "good", "story", "end", "with", "quiet", "rain"]
WORDS_OF_TEXT = 9
SETTINGS = {"layers": 1, "hidden": 8, "channels": 8, "steps": 3, "evaluations": 1, "workers": 2}
FAR = 1000  # hours that are told of
MEASURED = {  # by hours
    "recordings_gb": "recordings, GB",
    "cache_gb": "cache, GB",
    "first_seconds": "to the first steps, s",
    "again_seconds": "the same with the cache there, s",
    "main_mib": "main process, MiB",
    "worker_mib": "each worker, MiB",
}
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


class Peak(Thread):
    """The most memory of its own, in MiB, that this process held while it was looked at, 20 times a second.

    Files that it has mapped, such as the cache, do not count: the system takes that memory back where it wants it.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.mib = own_mib()
        self.start()

    def run(self) -> None:
        """Look at it until the process ends."""
        while True:
            self.mib = max(self.mib, own_mib())
            time.sleep(0.05)


def own_mib() -> float:
    """Memory that this process holds now, without files that it has mapped."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    found = [int(line.split()[1]) / 2**10 for line in lines if line.startswith(("RssAnon:", "RssShmem:"))]
    if len(found) < 2:
        raise Error("/proc/self/status has no RssAnon and RssShmem: this needs Linux")
    return sum(found)


def train_and_tell(group: Group, job: Job) -> None:
    """Train as one of the workers, and leave its peak in the run's folder."""
    peak = Peak()
    train(group, job)
    (job.out / f"peak-{group.rank}").write_text(str(peak.mib), encoding="ascii")


def measure(manifest: Path, cache: Path) -> dict[str, float]:
    """Seconds of wall-clock that some steps on a manifest take, and peaks of memory in MiB; once in a process."""
    peak = Peak()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        os.environ["ASR_CACHE"] = str(cache)
        asr.training.loop.train = train_and_tell
        pairs = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]
        start = time.perf_counter()
        with redirect_stdout(sys.stderr):
            asr.train.main([str(manifest), "--dev", "none", "--out", str(out), *pairs])
        seconds = time.perf_counter() - start
        workers = [float(path.read_text(encoding="ascii")) for path in out.glob("peak-*")]
    return {"seconds": seconds, "main_mib": peak.mib, "worker_mib": max(workers)}


def measure_apart(manifest: Path, cache: Path) -> dict[str, float]:
    """The same in a process of its own."""
    line = [sys.executable, __file__, "--manifest", str(manifest), "--cache", str(cache), "--json"]
    done = subprocess.run(line, stdout=subprocess.PIPE)
    if done.returncode:
        raise Error(f"{manifest} could not be measured (status {done.returncode}); what was said is above")
    return json.loads(done.stdout)


def measure_hours(utterances: Sequence[Utterance], hours: Sequence[float]) -> Iterator[dict[str, float]]:
    """Figures for so many hours of these utterances, see `MEASURED`.

    Raises:
        asr.Error: there are not so many.
    """
    lengths = np.array([each.duration or audio.duration(each.audio) for each in utterances])
    order = np.random.default_rng(0).permutation(len(utterances))
    until = np.cumsum(lengths[order]) / 3600
    if until[-1] < max(hours):
        raise Error(f"the manifest has {until[-1]:.1f} hours of recordings; expected {max(hours):g}")
    for amount in hours:
        taken = [utterances[i] for i in order[: int(np.searchsorted(until, amount)) + 1]]
        with tempfile.TemporaryDirectory() as folder:
            manifest, cache = Path(folder) / "manifest.jsonl", Path(folder) / "cache"
            corpus.write_manifest(manifest, taken)
            first, again = (measure_apart(manifest, cache) for _ in range(2))
            yield {
                "hours": amount,
                "utterances": len(taken),
                "recordings_gb": sum(os.path.getsize(path) for path in {each.audio for each in taken}) / 1e9,
                "cache_gb": size_of(cache) / 1e9,
                "first_seconds": first["seconds"],
                "again_seconds": again["seconds"],
                "main_mib": first["main_mib"],
                "worker_mib": max(first["worker_mib"], again["worker_mib"]),
            }


def far(found: Sequence[Mapping[str, float]], name: str) -> float:
    """What the straight line through the figures says of `FAR` hours."""
    slope, start = np.polyfit([each["hours"] for each in found], [each[name] for each in found], 1)
    return float(start + slope * FAR)


def table(found: Sequence[Mapping[str, float]]) -> str:
    """The figures as Markdown, and what they say of `FAR` hours."""
    head = [f"{each['hours']:g} h, {each['utterances']:,.0f} utterances" for each in found]
    rows = [["", *head, f"{FAR:,} h, by the line through them"]]
    rows.append(["---"] * len(rows[0]))
    for name, title in MEASURED.items():
        # Memory grows with the lines of a manifest, and by less than it varies here: a million lines tell.
        last = "" if name.endswith("_mib") else f"{far(found, name):,.4g}"
        rows.append([title, *(f"{each[name]:,.4g}" for each in found), last])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments = argparse.ArgumentParser(prog="python scripts/scale.py", description=__doc__.splitlines()[0])
    arguments.add_argument("--utterances", type=int, default=1_000_000, help="lines that are made (default: 1000000)")
    arguments.add_argument("--manifest", type=Path, help="take this one")
    arguments.add_argument("--hours", type=float, nargs="+", help="so many hours of it, at least two amounts")
    arguments.add_argument("--cache", type=Path, help="keep decoded audio here (default: nowhere)")
    arguments.add_argument("--json", action="store_true", help="print JSON")
    options = arguments.parse_args(argv)
    if options.hours and (not options.manifest or len(options.hours) < 2):
        arguments.error("--hours wants --manifest, and two amounts or more")
    if options.hours:
        found = list(measure_hours(corpus.read(options.manifest), options.hours))
        print(json.dumps(found) if options.json else table(found))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        manifest = options.manifest or write_manifest(Path(folder), options.utterances)
        figures = measure(manifest, options.cache or Path(folder) / "cache")
    text = "{seconds:.1f} s, main process {main_mib:.0f} MiB, workers {worker_mib:.0f} MiB each"
    print(json.dumps(figures) if options.json else text.format(**figures))
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
