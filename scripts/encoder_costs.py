"""The encoders that scripts/compare_encoders.py compares: their settings, and what training and inference cost."""

from __future__ import annotations

import bisect
import dataclasses
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

import recipes
from asr import Error
from asr.attention import head_count
from asr.model import TRANSFORMER, AcousticModel, ModelConfig
from asr.train import configure
from asr.training.config import TrainConfig
from asr.training.folder import RunFolder
from asr.training.workers import ALLOCATOR, Group
from scripts.run_recipe import sort_settings

LABELS = {"gru": "GRU", "lstm": "LSTM", "tanh": "plain RNN", TRANSFORMER: "transformer"}
TRANSFORMER_SETTINGS = {"cell": TRANSFORMER, "layers": 4, "norm": "layer"}
TRANSFORMER_RATE = 0.35  # of the recipe's learning rate; with all of it only blanks were learnt (docs/LOG.md)
WIDEST = 4  # times the GRU's units a direction: more than a transformer of as many parameters ever needs
CLOSE = 0.03  # by which share the parameters of a transformer may differ from the GRU's
TOKENS, BANDS = 30, 80  # of the models whose parameters are compared
HEARD = 120  # utterances by which costs are measured
STEPS = 4  # updates that are timed, after one that is not


@dataclass(frozen=True)
class Encoder:
    """What stands between convolutions and output."""

    cell: str
    bidirectional: bool

    @property
    def name(self) -> str:
        """For folders and --encoders."""
        return f"{self.cell}-{'both' if self.bidirectional else 'forward'}"

    @property
    def label(self) -> str:
        """For people."""
        return LABELS[self.cell] + ("" if self.bidirectional else ", one direction")

    def settings(self, base: TrainConfig) -> dict[str, object]:
        """What differs from the recipe's settings."""
        if self.cell != TRANSFORMER:
            return {"cell": self.cell, "bidirectional": self.bidirectional}
        return {
            **TRANSFORMER_SETTINGS,
            "bidirectional": self.bidirectional,
            "hidden": matched_width(base),
            "learning_rate": round(TRANSFORMER_RATE * base.learning_rate, 6),
        }


def base_settings(recipe: str, pairs: Sequence[str]) -> TrainConfig:
    """The settings that all encoders share.

    Args:
        recipe: its name.
        pairs: KEY=VALUE, of the recipe's options and of training.
    """
    found = recipes.find(recipe)
    return configure(found.settings, sort_settings(found, pairs)[1])


ENCODERS = {encoder.name: encoder for encoder in (Encoder(cell, both) for cell in LABELS for both in (True, False))}


def parameters(config: ModelConfig) -> int:
    """How many numbers such a model learns."""
    with torch.device("meta"):
        return sum(weights.numel() for weights in AcousticModel(config).parameters())


def can_share(width: int) -> bool:
    """Whether a transformer may be that wide."""
    try:
        return bool(head_count(width))
    except Error:
        return False


def matched_width(base: TrainConfig) -> int:
    """The width at which a transformer has about as many parameters as the two-directional GRU of these settings.

    Raises:
        Error: none comes within 3%.
    """
    wanted = parameters(base.updated({"cell": "gru", "bidirectional": True}).model(TOKENS, BANDS))

    def size(width: int) -> int:
        return parameters(base.updated({**TRANSFORMER_SETTINGS, "hidden": width}).model(TOKENS, BANDS))

    widths = [width for width in range(2, WIDEST * base.hidden, 2) if can_share(width)]
    place = bisect.bisect(widths, wanted, key=size)
    best = min(widths[max(0, place - 1) : place + 1], key=lambda width: abs(size(width) - wanted))
    if abs(size(best) / wanted - 1) > CLOSE:
        raise Error(f"no transformer has as many parameters as a GRU of {wanted:,}; try another --set hidden")
    return best


@dataclass(frozen=True)
class Cost:
    """What an encoder's model takes on one thread of a processor.

    Args:
        training, inference: seconds of processor time for an hour of audio, features included; training with all
            augmentation, inference in fp32 up to the log-probs. What else the machine does hardly matters to them.
        training_mib, inference_mib: the most memory that a process held.
    """

    training: float
    inference: float
    training_mib: float
    inference_mib: float


def measure(recipe: str, pairs: Sequence[str], encoder: Encoder, packed: bool) -> Cost:
    """Measure in this process, which must be new: memory that was held once stays counted.

    Args:
        recipe, pairs: as in `base_settings`.
        packed: with torch's own layers over packed sequences.
    """
    from asr.batching import length_batches
    from asr.recognizer import Recognizer
    from asr.recurrent import Recurrent
    from asr.training.batches import epoch_batches
    from asr.training.job import make_job
    from asr.training.loop import Trainer

    if packed:
        Recurrent.forward = Recurrent._packed
    base, found = base_settings(recipe, pairs), recipes.find(recipe)
    data = found.read(recipes.corpora_folder(), sort_settings(found, pairs)[0])["train"]
    data = data[:: -(-len(data) // HEARD)]
    config = base.updated({**encoder.settings(base), "minutes": 0.0, "steps": STEPS, "workers": 1})
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(data, [], RunFolder(Path(folder)), config, {})
        trainer = Trainer(Group(), job)
        trainer.plan()
        recognizer = Recognizer(trainer.model.eval(), trainer.features, job.alphabet, job.normalizer, {})
        reader = job.cache.reader()
        waveforms = [reader[int(number)] for number in job.examples.numbers]
        groups = [[waveforms[i] for i in group] for group in length_batches([len(each) for each in waveforms])]
        recognizer.log_probs(groups[0][:1])
        start = time.process_time()
        for group in groups:
            recognizer.log_probs(group)
        inference = (time.process_time() - start) / float(job.examples.seconds.sum())
        inference_mib = peak_mib()
        batches = epoch_batches(job.examples.seconds, config.batch_seconds, config.seed, epoch=0)
        trainer.update(batches[0])
        timed = [batches[i % len(batches)] for i in range(1, STEPS + 1)]
        start = time.process_time()
        for batch in timed:
            trainer.update(batch)
        training = (time.process_time() - start) / sum(job.examples[i].seconds for batch in timed for i in batch)
    return Cost(3600 * training, 3600 * inference, peak_mib(), inference_mib)


def peak_mib() -> float:
    """The most memory that this process held: unlike `getrusage`, without that of the process that started it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 2**10
    raise Error("/proc/self/status has no VmHWM: this needs Linux")


def measure_in_turns(recipe: str, pairs: Sequence[str], encoders: Sequence[Encoder], turns: int) -> dict[str, Cost]:
    """What each encoder costs, as medians over turns.

    Returns: name -> cost where this project has a layer of its own, name and "-packed" -> cost with torch's over packed
        sequences where there is such a layer.
    """
    systems = {}
    for encoder in encoders:
        own = encoder.cell in ("gru", TRANSFORMER)
        systems |= {encoder.name: (encoder, False)} if own else {}
        systems |= {f"{encoder.name}-packed": (encoder, True)} if encoder.cell != TRANSFORMER else {}
    found: dict[str, list[Cost]] = {name: [] for name in systems}
    os.environ.update(ALLOCATOR)  # as the workers of a training run have it
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for turn in range(turns):
            for name, (encoder, packed) in systems.items():
                found[name].append(pool.apply(measure, (recipe, pairs, encoder, packed)))
                print(f"turn {turn + 1} of {turns}: {name} {found[name][-1]}", file=sys.stderr)
    names = [field.name for field in dataclasses.fields(Cost)]
    return {
        name: Cost(*(statistics.median(getattr(cost, each) for cost in costs) for each in names))
        for name, costs in found.items()
    }
