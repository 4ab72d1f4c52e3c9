"""Benchmarks of transcribing: time and memory of one recording, of long ones, what cutting costs, and how true are the
times and confidences of words.

`python scripts/bench.py transcribe [--lengths 60,600,3600,18000] [--joined MANIFEST] [--word-times]`
"""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soundfile
import torch

from asr import Error, audio, load
from asr.corpus import Utterance, audio_files
from asr.loading import find_model
from asr.recognizer import Recognizer
from asr.score import Score, score
from recipes import corpora_folder
from scripts.calibration import judge, largest
from scripts.word_times import measure, median_errors

PROJECT = Path(__file__).resolve().parents[1]
RECORDING_SECONDS = 10.0
COMMAND_SECONDS = 5.0  # of the recording whose command is compared with importing torch
# Runs a command and prints its seconds and its memory. In a small process of its own: what a process held when it
# started another, the system counts as the other's.
MEASURE = (
    "import resource, subprocess, sys, time; start = time.perf_counter(); "
    "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); seconds = time.perf_counter() - start; "
    "print(seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
)
WARM_UPS, RUNS = 3, 15  # transcriptions once loaded: not counted, counted
COMMAND_RUNS = 3
DECODERS = {"greedily": 1, "with the model's own search": None}  # beam sizes


@dataclass(frozen=True)
class Length:
    """What a recording of some length takes, as a command with two threads, greedily.

    Args:
        audio_seconds: its length.
        seconds: the whole command, start of Python and loading included.
        peak_mib: the most memory that one of its processes held.
    """

    audio_seconds: float
    seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Joined:
    """What joining utterances, and cutting the whole again, does to the word error rate.

    Args:
        audio_seconds: of all utterances.
        apart: each by itself.
        cut: joined to one recording, which is cut into windows and utterances.
        uncut: joined, and read and decoded whole.
        confidence: largest difference between the stated and the true share of right words, utterances apart, of a
            tenth of the scale with 100 words or more.
    """

    audio_seconds: float
    apart: Score
    cut: Score
    uncut: Score
    confidence: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Rates as fractions."""
        rates = {name: getattr(self, name).wer for name in ("apart", "cut", "uncut")}
        return {"audio_seconds": self.audio_seconds, **rates, "confidence": self.confidence}


@dataclass(frozen=True)
class TranscribeFigures:
    """Speed and memory of transcribing.

    Args:
        rtf: seconds of work per second of audio, model loaded, one thread.
        seconds: the whole command, start of Python and loading included.
        peak_mib: the most memory that the command held.
        audio_seconds: length of the recording.
        text: what came out.
        ratio_to_torch: time of the command on 5 s, greedily, over that of `import torch`; medians of both in turns.
        lengths: longer recordings.
        joined: utterances in one recording.
        word_times: median errors of words' starts and ends in milliseconds, see `scripts/word_times.py`.
    """

    rtf: float
    seconds: float
    peak_mib: float
    audio_seconds: float
    text: str
    ratio_to_torch: float
    lengths: list[Length] = field(default_factory=list)
    joined: dict[str, Joined] = field(default_factory=dict)
    word_times: dict[str, dict[str, float]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints."""
        return {
            **dataclasses.asdict(self),
            "joined": {decoder: found.to_dict() for decoder, found in self.joined.items()},
        }

    def describe(self) -> str:
        """Lines for a person."""
        once_loaded = 1000 * self.rtf * self.audio_seconds
        lines = [
            f"{self.audio_seconds:g} s of speech: {self.text}",
            f"once loaded, one thread: {once_loaded:.0f} ms, real-time factor {self.rtf:.4f}",
            f"whole command: {self.seconds:.2f} s, {self.peak_mib:.0f} MiB",
            f"whole command on {COMMAND_SECONDS:g} s, greedily: {self.ratio_to_torch:.2f} times `import torch`",
        ]
        for length in self.lengths:
            speed = length.audio_seconds / length.seconds
            lines.append(
                f"{length.audio_seconds / 60:g} minutes, greedily: {length.seconds:.1f} s, {speed:.0f} times faster "
                f"than it was spoken, {length.peak_mib:.0f} MiB"
            )
        for decoder, found in self.joined.items():
            within = "too few words to judge confidences by"
            if found.confidence is not None:
                within = f"confidences within {100 * found.confidence:.1f} points"
            lines.append(
                f"{found.audio_seconds / 60:.0f} minutes of utterances, {decoder}: WER {found.apart.wer:.2%} apart, "
                f"{found.cut.wer:.2%} joined, {found.uncut.wer:.2%} joined and not cut; {within}"
            )
        for words, error in self.word_times.items():
            lines.append(
                f"times of words on joined digits, {words}: median error {error['start']:.0f} ms of starts, "
                f"{error['end']:.0f} ms of ends"
            )
        return "\n".join(lines)


def transcribe(
    model: str, lengths: Sequence[float] = (), utterances: Sequence[Utterance] = (), word_times: bool = False
) -> TranscribeFigures:
    """Measure a model that ships (by name) or a model file (by path).

    Args:
        lengths: seconds of longer recordings to measure, too.
        utterances: to join, so that they make one long recording.
        word_times: measure the times of words, too, on joined digits.

    Raises:
        asr.Error: no such model, no recording at hand, or the command fails.
    """
    torch.set_num_threads(1)
    samples = recording()
    recognizer = load(model, threads=1)
    text = recognizer.transcribe(samples).text
    seconds = [_timed(lambda: recognizer.transcribe(samples)) for _ in range(WARM_UPS + RUNS)][WARM_UPS:]
    duration = len(samples) / audio.SAMPLE_RATE
    with tempfile.TemporaryDirectory() as folder:
        path, short = Path(folder) / "recording.wav", Path(folder) / "short.wav"
        soundfile.write(path, samples, audio.SAMPLE_RATE)
        soundfile.write(short, samples[: round(COMMAND_SECONDS * audio.SAMPLE_RATE)], audio.SAMPLE_RATE)
        runs = [run_command(path, model) for _ in range(COMMAND_RUNS)]
        ratio = _ratio_to_torch(short, model)
        longer = [_length(Path(folder) / "long.wav", model, each) for each in lengths]
    return TranscribeFigures(
        statistics.median(seconds) / duration,
        statistics.median(run.seconds for run in runs),
        max(run.peak_mib for run in runs),
        duration,
        text,
        ratio,
        longer,
        {name: _join(load(model, beam_size=size), utterances) for name, size in DECODERS.items() if utterances},
        {words: median_errors(pairs) for words, pairs in measure(load(model)).items() if pairs} if word_times else {},
    )


def recording(seconds: float = RECORDING_SECONDS) -> np.ndarray:
    """(samples,) of exactly that length: LibriSpeech where it is at hand, else the samples that ship, joined.

    Raises:
        asr.Error: neither is long enough.
    """
    samples = _speech(seconds)
    found = len(samples) / audio.SAMPLE_RATE
    if found < seconds:
        raise Error(f"{_speech_folder()} holds {found:.1f} s of speech; {seconds:g} s are needed")
    return samples


def _speech(seconds: float) -> np.ndarray:
    """(samples,) of speech, as long as that if there is so much."""
    missing = round(seconds * audio.SAMPLE_RATE)
    parts = [np.zeros(0, np.float32)]
    for path in audio_files(_speech_folder()):
        parts.append(audio.load(path)[:missing])
        missing -= len(parts[-1])
        if not missing:
            break
    return np.concatenate(parts)


def _speech_folder() -> Path:
    real = corpora_folder() / "LibriSpeech" / "dev-clean"
    return real if real.is_dir() else PROJECT / "data" / "samples"


def run_command(path: Path, model: str, *options: str) -> Length:
    """Transcribe a file as a user does.

    Raises:
        asr.Error: it failed.
    """
    line = [sys.executable, "-m", "asr.transcribe", str(path), "--model", str(find_model(model).resolve()), *options]
    done = subprocess.run([sys.executable, "-c", MEASURE, *line], cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise Error(f"{' '.join(line)} ended with status {done.returncode}: {done.stderr.strip()}")
    taken, memory = map(float, done.stdout.split())
    with soundfile.SoundFile(path) as file:
        duration = file.frames / file.samplerate
    # Bytes on macOS, KiB elsewhere.
    return Length(duration, taken, memory / (2**20 if sys.platform == "darwin" else 2**10))


def _ratio_to_torch(path: Path, model: str) -> float:
    """Time of the command over the time of importing torch, in turns."""
    importing = [sys.executable, "-c", "import torch"]
    pairs = [
        (run_command(path, model, "--beam-size", "1").seconds, _timed(lambda: subprocess.run(importing, check=True)))
        for _ in range(2 * COMMAND_RUNS + 1)
    ]
    return statistics.median(ours for ours, _ in pairs) / statistics.median(theirs for _, theirs in pairs)


def _length(path: Path, model: str, seconds: float) -> Length:
    """The command on a recording of that length: the speech at hand, over and over."""
    once = _speech(min(seconds, 600.0))
    with soundfile.SoundFile(path, "w", audio.SAMPLE_RATE, 1) as file:
        left = round(seconds * audio.SAMPLE_RATE)
        while left:
            file.write(once[:left])
            left -= len(once[:left])
    return run_command(path, model, "--beam-size", "1")


def _join(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Joined:
    waveforms = [audio.load(each.audio, each.offset, each.duration) for each in utterances]
    joined = np.concatenate(waveforms)
    references = [recognizer.normalizer(each.text) for each in utterances]
    apart = recognizer.transcribe_many(waveforms)
    cut = recognizer.transcribe(joined).text
    log_probs, lengths = recognizer.log_probs([joined])
    uncut = recognizer.text(recognizer.decode([log_probs[0, : lengths[0]]])[0][0])
    whole = " ".join(references)
    return Joined(
        len(joined) / audio.SAMPLE_RATE,
        score(references, [transcript.text for transcript in apart]),
        score([whole], [cut]),
        score([whole], [uncut]),
        largest(judge(zip(map(recognizer.split_words, references), apart, strict=True))),
    )


def _timed(work: Callable[[], object]) -> float:
    """Seconds that it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
