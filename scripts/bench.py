"""Benchmarks, side by side with peers in one run: `python scripts/bench.py training|decoding|transcribe [--json]`.

training    Hours of audio trained on per hour of wall-clock, by the training loop's own steps on real audio with the
            mini_librispeech recipe's settings: our model (3x256 bidirectional GRU, 4x subsampling) with SpecAugment
            alone and with all augmentation, a larger one (3x512 at 8x, subwords), and a stack like Deep Speech 2 on
            the same batches, features, SpecAugment and workers; and the matrix products that this machine manages
            meanwhile. Systems take turns, so that a disturbance hits them all; figures are medians over turns. Then
            what each augmentation costs by itself. Needs LibriSpeech/train-clean-5 in $ASR_CORPORA; with noises and
            rooms where $ASR_NOISE names a folder of them.
decoding    Beam search with a language model against other decoders, see scripts/bench_decoding.py. Needs the peers
            (pip install '.[peers]'), an ARPA file and LibriSpeech/dev-clean.
transcribe  Time and memory of transcribing 10 s, once the model is loaded and as a command, of longer recordings
            (--lengths), the word error rate of utterances apart and joined, and how true the confidences of their
            words are (--joined), and the times of words on joined digits (--word-times), see
            scripts/bench_transcribe.py.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # recipes are not in the installed package

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from asr import Error, command, corpus
from asr.batching import pad
from asr.corpus import Utterance
from asr.features import FeatureConfig, LogMel
from asr.model import KERNEL, STRIDE, ModelConfig
from asr.training.augment import MP3_BIT_RATES, code_mp3, limit_band, perturb_speed, spec_augment, warp_frequencies
from asr.training.batches import Batches, epoch_batches, padding_share
from asr.training.config import TrainConfig
from asr.training.folder import RunFolder
from asr.training.job import Job, make_job
from asr.training.loop import Trainer, flat_gradient
from asr.training.noise import add_noise, reverberate
from asr.training.workers import Group, launch
from recipes import corpora_folder
from recipes.mini_librispeech import read_part, recipe

PROJECT = Path(__file__).resolve().parents[1]
WORKERS = 2  # single-threaded, as asr.train starts them
SIZES = {"subsampling": 4, "layers": 3, "hidden": 256}  # the model that is measured
SUBWORDS = {"subsampling": 8, "layers": 3, "hidden": 512, "units": "subwords", "pieces": 500}  # and a larger one
SPEC_AUGMENT_ALONE = {"speed": 0.0, "vtlp": 0.0, "low_pass": 0.0, "mp3": 0.0, "trim": 0.0, "noise": "", "rooms": ""}
AUGMENTED = 60  # utterances by which the cost of an augmentation is measured
GEMM_SIZE = 1024  # rows and columns of the matrices whose product measures the machine


# Training


@dataclass(frozen=True)
class Plan:
    """How long to measure: the defaults take about three minutes on two cores.

    Args:
        repeats: turns of each system; the median counts.
        steps: updates in a turn.
        gemm_seconds: how long a turn multiplies matrices, of each type.
    """

    repeats: int = 5
    steps: int = 4
    gemm_seconds: float = 0.5


@dataclass(frozen=True)
class TrainingFigures:
    """Training speed. Audio is counted without padding; hours per hour and seconds per second are the same.

    Args:
        hours_per_hour: audio that our model trains on, hours in an hour of wall-clock, with SpecAugment alone.
        augmented_hours_per_hour: the same with all augmentation that the settings have.
        subwords_hours_per_hour: 3x512 at 8x, 500 subwords, with SpecAugment alone.
        subwords_fit: share of the utterances whose subwords fit at 8x.
        deepspeech_hours_per_hour: the peer with its own strides: its recurrent layers see 50 frames a second.
        deepspeech_4x_hours_per_hour: the same with our 25 frames a second.
        bf16_gflops, fp32_gflops: matrix products of all workers at once, 10^9 operations a second.
        gflop_per_second: operations of our model's matrix products for a second of audio, 10^9.
        padding_share: share of the padded audio that is padding.
        batch_seconds, workers: audio in a step, and processes that share it.
        augmentation: what each costs by itself, in seconds of one core for an hour of audio, where it is applied.
    """

    hours_per_hour: float
    augmented_hours_per_hour: float
    subwords_hours_per_hour: float
    deepspeech_hours_per_hour: float
    deepspeech_4x_hours_per_hour: float
    bf16_gflops: float
    fp32_gflops: float
    gflop_per_second: float
    subwords_fit: float
    padding_share: float
    batch_seconds: float
    workers: int
    augmentation: dict[str, float]

    @property
    def ratio_to_deepspeech(self) -> float:
        """How many times faster our model trains than the peer."""
        return self.hours_per_hour / self.deepspeech_hours_per_hour

    @property
    def ratio_to_deepspeech_4x(self) -> float:
        """The same against the peer with our frame rate."""
        return self.hours_per_hour / self.deepspeech_4x_hours_per_hour

    @property
    def gemm_share(self) -> float:
        """Share of the machine's bf16 peak that whole training steps reach by their matrix products alone."""
        return self.hours_per_hour * self.gflop_per_second / self.bf16_gflops

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints."""
        derived = ("ratio_to_deepspeech", "ratio_to_deepspeech_4x", "gemm_share")
        return {**dataclasses.asdict(self), **{name: getattr(self, name) for name in derived}}

    def describe(self) -> str:
        """Lines for a person."""
        without = "" if {"noise", "rooms"} <= self.augmentation.keys() else ", without noises and rooms ($ASR_NOISE)"
        return (
            f"batches of {self.batch_seconds:g} s ({self.padding_share:.1%} padding), {self.workers} workers\n"
            f"asr               {self.hours_per_hour:6.1f} hours of audio per hour\n"
            f"  all augmentation{self.augmented_hours_per_hour:6.1f}{without}\n"
            f"  3x512 at 8x     {self.subwords_hours_per_hour:6.1f}, subwords ({self.subwords_fit:.1%} of texts fit)\n"
            f"Deep-Speech-like  {self.deepspeech_hours_per_hour:6.1f}, asr is {self.ratio_to_deepspeech:.2f} "
            "times as fast\n"
            f"  at asr's 4x     {self.deepspeech_4x_hours_per_hour:6.1f}, asr is "
            f"{self.ratio_to_deepspeech_4x:.2f} times as fast\n"
            f"matrix products   {self.bf16_gflops:.0f} GFLOP/s in bf16, {self.fp32_gflops:.0f} in fp32; asr's "
            f"training steps reach {self.gemm_share:.1%} of bf16\n"
            "an hour of audio costs, in seconds of a core: "
            + ", ".join(f"{name} {seconds:.1f}" for name, seconds in self.augmentation.items())
        )


def training() -> TrainingFigures:
    """Measure on the mini_librispeech recipe's training part, with its settings.

    Raises:
        asr.Error: the corpus is not there.
    """
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # these are figures of processor cores
    folder = corpora_folder() / "LibriSpeech" / "train-clean-5"
    if not folder.is_dir():
        raise Error(
            f"{folder} is not there; set ASR_CORPORA to a folder that holds LibriSpeech/train-clean-5, or let "
            "`python scripts/run_recipe.py mini_librispeech` download it"
        )
    sounds = os.environ.get("ASR_NOISE", "")
    settings = {"lexicon": "", "noise": sounds, "rooms": sounds}  # the peers learn no phones either
    config = TrainConfig().updated({**recipe.settings, **SIZES, **settings})
    return measure(read_part(folder, "train"), config, Plan())


def measure(utterances: Sequence[Utterance], config: TrainConfig, plan: Plan) -> TrainingFigures:
    """Measure training on these utterances with these settings."""
    config = config.updated({"minutes": 0.0, "steps": plan.repeats * plan.steps, "workers": WORKERS})
    changes = {"plain": SPEC_AUGMENT_ALONE, "augmented": {}, "subwords": {**SPEC_AUGMENT_ALONE, **SUBWORDS}}
    with tempfile.TemporaryDirectory() as folder:
        jobs = {
            name: make_job(utterances, [], _folder(folder, name), config.updated(changes[name]), {}) for name in changes
        }
        launch(WORKERS, take_turns, jobs, plan)
        medians = json.loads((jobs["plain"].out / "medians.json").read_text(encoding="utf-8"))
        augmentation = augmentation_seconds(jobs["augmented"])
    job = jobs["plain"]
    return TrainingFigures(
        **medians,
        gflop_per_second=flops_per_second(job.model, job.features) / 1e9,
        subwords_fit=len(jobs["subwords"].examples) / len(utterances),
        padding_share=padding_share(batches_of(job), job.examples.seconds),
        batch_seconds=config.batch_seconds,
        workers=WORKERS,
        augmentation=augmentation,
    )


def _folder(parent: str, name: str) -> RunFolder:
    path = Path(parent, name)
    path.mkdir()
    return RunFolder(path)


def batches_of(job: Job) -> Batches:
    """The batches of a run's first epoch."""
    return epoch_batches(job.examples.seconds, job.config.batch_seconds, job.config.seed, epoch=0)


def take_turns(group: Group, jobs: dict[str, Job], plan: Plan) -> None:
    """Measure all systems in turn, as one of the workers; the leading one writes `medians.json`."""
    job = jobs["plain"]
    systems = {
        "hours_per_hour": Trainer(group, job),
        "augmented_hours_per_hour": Trainer(group, jobs["augmented"]),
        "subwords_hours_per_hour": Trainer(group, jobs["subwords"]),
        "deepspeech_hours_per_hour": PeerTrainer(group, job, time_stride=1),
        "deepspeech_4x_hours_per_hour": PeerTrainer(group, job, time_stride=2),
    }
    batches = {name: batches_of(trainer.job) for name, trainer in systems.items()}
    for name, trainer in systems.items():
        audio_per_second(trainer, [batches[name][i % len(batches[name])] for i in range(2)])  # warm-up
    found: dict[str, list[float]] = defaultdict(list)
    for repeat in range(plan.repeats):
        steps = range(repeat * plan.steps, (repeat + 1) * plan.steps)
        for name, trainer in systems.items():
            turn = [batches[name][step % len(batches[name])] for step in steps]
            found[name].append(audio_per_second(trainer, turn))
        found["bf16_gflops"].append(gemm_speed(group, torch.bfloat16, plan.gemm_seconds) / 1e9)
        found["fp32_gflops"].append(gemm_speed(group, torch.float32, plan.gemm_seconds) / 1e9)
        if group.leads:
            latest = ", ".join(f"{name} {values[-1]:.0f}" for name, values in found.items())
            print(f"turn {repeat + 1} of {plan.repeats}: {latest}", file=sys.stderr, flush=True)
    if group.leads:
        medians = {name: statistics.median(values) for name, values in found.items()}
        RunFolder(job.out).write_text("medians.json", json.dumps(medians))


def augmentation_seconds(job: Job) -> dict[str, float]:
    """Seconds of one core that each augmentation takes for an hour of the audio that it is applied to."""
    torch.set_num_threads(1)
    examples = [job.examples[i] for i in range(min(AUGMENTED, len(job.examples)))]
    samples, config = job.cache.reader(), job.config
    recordings = [samples[example.number] for example in examples]
    features, frames = LogMel(job.features)(*pad(recordings))
    sounds = {name: found.reader() for name, found in job.sounds.items()}
    random, seeds = np.random.default_rng(1), list(range(len(examples)))
    costs: dict[str, Callable[[], object]] = {
        "speed": lambda: [
            perturb_speed(one, config.speed, 0, seed) for one, seed in zip(recordings, seeds, strict=True)
        ],
        "low_pass": lambda: [limit_band(one, seed) for one, seed in zip(recordings, seeds, strict=True)],
        "mp3": lambda: [code_mp3(one, rate) for one, rate in zip(recordings, cycle(MP3_BIT_RATES), strict=False)],
        "vtlp": lambda: warp_frequencies(features, config.vtlp, job.features, seeds),
        "SpecAugment": lambda: spec_augment(features, frames, config, job.features.hop_ms, seeds),
        "features": lambda: LogMel(job.features)(*pad(recordings)),
    }
    if "rooms" in sounds:
        costs["rooms"] = lambda: [reverberate(one, sounds["rooms"].draw(random)) for one in recordings]
    if "noise" in sounds:
        costs["noise"] = lambda: [add_noise(one, sounds["noise"].draw(random), 10.0, random) for one in recordings]
    hours = sum(example.seconds for example in examples) / 3600
    return {name: _median_seconds(apply) / hours for name, apply in costs.items()}


def _median_seconds(call: Callable[[], object]) -> float:
    """Seconds of a call: the median of three, after one that warms up."""
    times = []
    for _ in range(4):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def audio_per_second(trainer: Trainer, batches: Sequence[Sequence[int]]) -> float:
    """Seconds of audio that the workers train on in a second."""
    seconds = sum(trainer.job.examples[i].seconds for batch in batches for i in batch)
    wait_for_all(trainer.group)
    start = time.perf_counter()
    for batch in batches:
        trainer.update(batch)
    return seconds / (time.perf_counter() - start)


def wait_for_all(group: Group) -> None:
    """Return when every worker has come here."""
    group.add_up(torch.zeros(1))


def gemm_speed(group: Group, dtype: torch.dtype, seconds: float) -> float:
    """Floating-point operations a second of square matrix products, summed over workers that run at once."""
    a, b = torch.randn(2, GEMM_SIZE, GEMM_SIZE).to(dtype)
    product = a @ b
    wait_for_all(group)
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        torch.mm(a, b, out=product)
        count += 1
    speed = torch.tensor(count * 2 * GEMM_SIZE**3 / elapsed)
    group.add_up(speed)
    return speed.item()


def flops_per_second(model: ModelConfig, features: FeatureConfig) -> float:
    """Floating-point operations of a GRU model's matrix products when it trains on a second of audio.

    A multiplication with its addition is 2. Each product comes once forward and twice backward, for its weights
    and for its input; but nobody asks for the gradient of the features, so the first convolution comes twice.
    """
    frames = 1000 / features.hop_ms  # a second
    inputs, passes, total = model.n_mels, 2, 0.0
    for _ in range(model.subsampling.bit_length() - 1):
        frames /= STRIDE
        total += passes * 2 * frames * KERNEL * inputs * model.channels
        inputs, passes = model.channels, 3
    gates = 3 * model.width  # of all directions
    for _ in range(model.layers):
        total += passes * 2 * frames * (inputs + model.hidden) * gates
        inputs = model.width
    return total + passes * 2 * frames * inputs * model.vocab


class DeepSpeech(nn.Module):
    """The peer: the stack of Deep Speech 2 (Amodei et al. 2016) in the sizes of SeanNaren/deepspeech.pytorch.

    Two 2-D convolutions over frequency and time, bidirectional GRUs over packed batches with their directions
    summed, batch normalisation after each, and a linear layer.

    Args:
        config: its vocab, n_mels, layers and hidden are used.
        time_stride: of the second convolution: 1 as there (2x subsampling in all), or 2 (4x).
    """

    def __init__(self, config: ModelConfig, time_stride: int = 1) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(1, 32, kernel_size=(41, 11), stride=(2, 2), padding=(20, 5)),
                nn.Conv2d(32, 32, kernel_size=(21, 11), stride=(2, time_stride), padding=(10, 5)),
            ]
        )
        self.convolution_norms = nn.ModuleList(nn.BatchNorm2d(32) for _ in self.convolutions)
        bands = -(-config.n_mels // 4)  # each convolution keeps every second one, rounded up
        sizes = [32 * bands] + [config.hidden] * (config.layers - 1)
        self.layers = nn.ModuleList(nn.GRU(size, config.hidden, bidirectional=True) for size in sizes)
        self.norms = nn.ModuleList(nn.BatchNorm1d(config.hidden) for _ in self.layers)
        self.output = nn.Linear(config.hidden, config.vocab, bias=False)

    def forward(self, features: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, M) features, (B,) frames -> (B, T', V) log-probs, (B,) frames."""
        x, lengths = self._convolve(features.transpose(1, 2).unsqueeze(1), lengths)
        x = x.flatten(1, 2).permute(2, 0, 1)  # (B, 32, M', T') -> (T', B, 32 * M')
        for layer, norm in zip(self.layers, self.norms, strict=True):
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            both, _ = pad_packed_sequence(layer(packed)[0])  # (T', B, 2 * hidden)
            x = both.unflatten(2, (2, -1)).sum(2)
            x = norm(x.flatten(0, 1)).view_as(x)
        return self.output(x).transpose(0, 1).log_softmax(dim=-1), lengths

    def _convolve(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, M, T), (B,) -> (B, 32, M', T'), (B,); zeros stay zeros in the padding."""
        for convolution, norm in zip(self.convolutions, self.convolution_norms, strict=True):
            x = nn.functional.hardtanh(norm(convolution(x)), 0, 20)
            lengths = (lengths - 1) // convolution.stride[1] + 1
            x = x * (torch.arange(x.shape[3]) < lengths[:, None])[:, None, None]
        return x, lengths


class PeerTrainer(Trainer):
    """The training loop's step around the peer, in fp32."""

    def __init__(self, group: Group, job: Job, time_stride: int) -> None:
        config = dataclasses.replace(job.config, bf16=False, average=0.0)
        super().__init__(group, dataclasses.replace(job, config=config, phones=()))
        self.model = DeepSpeech(job.model, time_stride)
        self.gradient = flat_gradient(self.model)
        self.optimizers = self._optimizers()  # AdamW: it has none of our layers


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/bench.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = arguments.add_subparsers(dest="what", required=True, metavar="training|decoding|transcribe")
    for name in ("training", "decoding", "transcribe"):
        what.add_parser(name).add_argument("--json", action="store_true", help="print one JSON object")
    for name in ("decoding", "transcribe"):
        what.choices[name].add_argument("--model", default="en", help="name or file of a model (default: en)")
    lengths = what.choices["transcribe"]
    lengths.add_argument("--lengths", type=_lengths, default=(), help="seconds of longer recordings, with commas")
    lengths.add_argument("--joined", type=Path, metavar="MANIFEST", help="utterances to join to one recording")
    lengths.add_argument("--word-times", action="store_true", help="errors of words' times, on joined digits")
    decoders = what.choices["decoding"]
    decoders.add_argument("--arpa", type=Path, required=True, help="language model for all decoders")
    decoders.add_argument("--pyctcdecode", metavar="PYTHON", help="a Python that has pyctcdecode and a numpy below 2")
    decoders.add_argument(
        "--tuned-on", type=command.count, default=200, help="utterances that fit weights (default: 200)"
    )
    return arguments


def _lengths(text: str) -> list[float]:
    return [float(part) for part in text.split(",")]


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    if options.what == "training":
        figures = training()
    elif options.what == "transcribe":
        from scripts.bench_transcribe import transcribe

        utterances = corpus.read(options.joined) if options.joined else []
        figures = transcribe(options.model, options.lengths, utterances, options.word_times)
    else:
        from scripts.bench_decoding import decoding  # which brings the peers

        figures = decoding(options.model, options.arpa, options.pyctcdecode, options.tuned_on)
    print(json.dumps(figures.to_dict()) if options.json else figures.describe())
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
