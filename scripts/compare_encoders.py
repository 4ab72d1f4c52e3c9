"""GRU, LSTM, plain recurrent network or transformer, in one direction or both: what does each cost, what does it bring?

    python scripts/compare_encoders.py --recipe mini_librispeech --minutes 30 --set dev=dev-clean

trains each of them by scripts/run_recipe.py on the same corpus for the same time, once for every seed. The recurrent
ones have the recipe's sizes; the transformers' width is chosen so that they have as many parameters as the
two-directional GRU. Then it measures what training and inference cost, one thread at a time, in turns so that a
disturbance hits all alike: with torch's layers over packed sequences, and where this project has a layer of its own
(the GRU) with that, too. It leaves the runs, and encoders.md, encoders.json and encoders.png with the figures. Started
again it goes on: what has been trained is not trained again.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # recipes are not in the installed package

import recipes
from asr import Error, command
from asr.files import replacing
from asr.hypotheses import Line, own_references, read_hypotheses
from asr.score import MIN_SPEAKERS, Score, score
from asr.training.config import TrainConfig
from asr.training.folder import RunFolder
from scripts.encoder_costs import ENCODERS, Cost, Encoder, base_settings, measure_in_turns
from scripts.figures import rate_with_interval, with_interval
from scripts.results import FILE, Result
from scripts.run_recipe import repeatable

LENGTHS = ("minutes=", "steps=", "epochs=")  # settings that say how long to train

# Training


@dataclass(frozen=True)
class Plan:
    """What is compared.

    Args:
        recipe: its name.
        minutes: of training, each.
        seeds: one run of each encoder for each.
        pairs: KEY=VALUE, options of the recipe and settings of all runs.
        out: the folder of it all.
    """

    recipe: str
    minutes: float
    seeds: Sequence[int]
    pairs: Sequence[str]
    out: Path

    def pairs_of(self, encoder: Encoder, seed: int) -> list[str]:
        """The `--set` pairs of a run."""
        return [*self.pairs, *(f"{name}={value}" for name, value in self._changes(encoder, seed).items())]

    def config(self, encoder: Encoder, seed: int) -> TrainConfig:
        """All settings of a run."""
        return self.base().updated(self._changes(encoder, seed))

    def _changes(self, encoder: Encoder, seed: int) -> dict[str, object]:
        return {**encoder.settings(self.base()), "minutes": self.minutes, "seed": seed}

    def base(self) -> TrainConfig:
        """The settings that all encoders share."""
        return base_settings(self.recipe, [*self.pairs, f"minutes={self.minutes}"])

    def folder(self, encoder: Encoder, seed: int) -> Path:
        """Of a run."""
        return self.out / f"{encoder.name}-{seed}"


def train(plan: Plan, encoder: Encoder, seed: int) -> Result:
    """The result of a run, which is trained if it is not there or not finished.

    Raises:
        Error: it cannot be trained, or its folder holds another run.
    """
    folder, pairs = plan.folder(encoder, seed), plan.pairs_of(encoder, seed)
    path = folder / FILE
    if not path.is_file():
        print(f"training {encoder.label}, seed {seed}: {folder}", file=sys.stderr)
        options = [part for pair in pairs for part in ("--set", pair)]
        line = [sys.executable, PROJECT / "scripts" / "run_recipe.py", plan.recipe, "--out", folder, *options]
        status = subprocess.run(list(map(str, line)), stdout=sys.stderr).returncode
        if status == command.INTERRUPTED:
            raise KeyboardInterrupt
        if not path.is_file():  # with an utterance that could not be read the status is not 0, but there is a result
            raise Error(f"{folder}: no result, run_recipe.py ended with status {status}; what it said is above")
    result = Result.load(path)
    stored = RunFolder(folder).read_config()
    wanted = dataclasses.asdict(plan.config(encoder, seed))
    # The command line has not what was left to the recipe's settings, which may have been others when it was trained.
    changed = [name for name in wanted if name != "workers" and stored["settings"].get(name) != wanted[name]]
    if changed or result.command != repeatable(plan.recipe, pairs, plan.base(), stored["steps"]):
        other = f", with other {', '.join(changed)}" if changed else ""
        raise Error(f"{folder} holds another run ({result.command}{other}); choose another folder (--out)")
    return result


def check_alike(results: Sequence[Result]) -> None:
    """See that all runs had as many workers: in the same minutes more of them train for longer.

    Raises:
        Error: they had not.
    """
    if len(found := sorted({result.workers for result in results})) > 1:
        counts = " and ".join(map(str, found))
        raise Error(f"the runs had {counts} workers; train all with as many (--set workers=N, another --out)")


def pooled_score(files: Sequence[Path]) -> Score:
    """The score of the same utterances as recognized by the models of all seeds.

    What one model gets wrong others do as well, so the interval is drawn over speakers, or else over utterances with
    what all models made of them.
    """
    references: list[Line] = [line for file in files for line in own_references(file)]
    texts = [line.text for file in files for line in read_hypotheses(file)]  # in the model's form, as the references
    speakers = [line.speaker for line in references]
    by_speaker = len(set(speakers) - {None}) >= MIN_SPEAKERS
    groups = speakers if by_speaker else [line.id for line in references]
    found = score([line.text for line in references], texts, groups)
    return dataclasses.replace(found, interval="speakers" if by_speaker else "utterances")


def seconds_per_epoch(folder: Path) -> float:
    """Of training alone, evaluations apart: the median of what the log says, so that a disturbance does not count."""
    from asr import checkpoint

    run = RunFolder(folder)
    speed = statistics.median(entry["audio_hours_per_hour"] for entry in run.entries() if "loss" in entry)
    return checkpoint.load(run.model).info["hours"] * 3600 / speed


# Figures


@dataclass(frozen=True)
class Row:
    """All that was found of an encoder.

    Args:
        score: over all seeds.
        wers, cers: of each seed.
        results: of each seed's run.
        epoch: seconds.
        own, packed: costs with this project's layer, and with torch's over packed sequences; None where there is none.
    """

    encoder: Encoder
    score: Score
    wers: list[float]
    cers: list[float]
    results: list[Result]
    epoch: float
    own: Cost | None
    packed: Cost | None

    def rtf(self) -> float:
        """Seconds that recognizing a second took, reading included: the mean over the seeds."""
        return statistics.mean(next(iter(result.scores.values()))["rtf"] for result in self.results)

    def to_dict(self) -> dict[str, object]:
        """What JSON keeps."""
        kept = {"encoder": self.encoder.name, **self.score.to_dict()}
        kept |= {"wer_of_seeds": self.wers, "cer_of_seeds": self.cers}
        kept |= {"seconds_per_epoch": self.epoch, "rtf": self.rtf()}
        costs = {name: cost and dataclasses.asdict(cost) for name, cost in (("own", self.own), ("packed", self.packed))}
        return {**kept, **costs, "runs": [dataclasses.asdict(result) for result in self.results]}

    def cells(self) -> tuple[str, ...]:
        """Its row of the table."""
        found, (first, *_) = self.score, self.results
        steps = sorted(result.steps for result in self.results)
        return (
            self.encoder.label,
            f"{first.parameters / 1e6:.2f}",
            with_interval(found),
            rate_with_interval(found.cer, found.cer_low, found.cer_high),
            f"{steps[0]:,}" + (f" to {steps[-1]:,}" if steps[-1] > steps[0] else ""),
            f"{self.epoch:.0f}",
            f"{self.rtf():.4f}",
            *(self._costs(name, form) for name, form in COSTS.items()),
        )

    def _costs(self, name: str, form: str) -> str:
        """A figure with torch's packed layers and with this project's own."""
        return " / ".join(format(getattr(cost, name), form) if cost else "-" for cost in (self.packed, self.own))


COSTS = {"training": ".0f", "inference": ".1f", "training_mib": ".0f", "inference_mib": ".0f"}
HEADER = ("encoder", "million parameters", "WER (95% interval)", "CER (the same)", "steps", "seconds an epoch")
HEADER += ("real-time factor", "training, s of a core an hour of audio: torch's packed layers / ours")
HEADER += ("inference, the same", "training, MiB", "inference, MiB")


def collect(plan: Plan, encoder: Encoder, costs: dict[str, Cost]) -> Row:
    """All that its finished runs and the measurements say of an encoder."""
    folders = [plan.folder(encoder, seed) for seed in plan.seeds]
    results = [Result.load(folder / FILE) for folder in folders]
    split = next(iter(results[0].scores))
    return Row(
        encoder,
        pooled_score([folder / f"{split}.jsonl" for folder in folders]),
        *([result.scores[split][rate] for result in results] for rate in ("wer", "cer")),
        results,
        statistics.median(map(seconds_per_epoch, folders)),
        costs.get(encoder.name),
        costs.get(f"{encoder.name}-packed"),
    )


def table(rows: Sequence[Row]) -> str:
    """The figures in Markdown."""
    lines = [HEADER, ["---"] * len(HEADER), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


def title(plan: Plan, results: Sequence[Result]) -> str:
    """What was trained on, for how long, and by which code."""
    length = f"{plan.minutes:g} minutes" if plan.minutes else f"{results[0].steps:,} steps"
    commits = sorted({str(result.commit) for result in results})
    seeds = f"seed{'s' * (len(plan.seeds) > 1)} {', '.join(map(str, plan.seeds))}"
    return f"{plan.recipe}, {length} each, {seeds}, workers: {results[0].workers}, commit {', '.join(commits)}"


def picture(rows: Sequence[Row], about: str) -> bytes:
    """WER and CER with intervals, every seed a dot, and costs, as PNG."""
    import io

    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 1.5 + 0.5 * len(rows)), layout="constrained")
    words, characters, training, inference = figure.subplots(1, 4, sharey=True)
    for place, row in enumerate(rows):
        found = row.score
        drawn = ((words, row.wers, found.low, found.high), (characters, row.cers, found.cer_low, found.cer_high))
        for axes, of_seeds, low, high in drawn:
            axes.plot([100 * low, 100 * high], [place, place], color="tab:blue", linewidth=2)
            axes.plot([100 * rate for rate in of_seeds], [place] * len(of_seeds), "o", color="tab:blue", alpha=0.6)
    for axes, name in ((training, "training"), (inference, "inference")):
        for kind, offset, color in (("own", -0.2, "tab:orange"), ("packed", 0.2, "tab:gray")):
            bars = [(i + offset, getattr(cost, name)) for i, row in enumerate(rows) if (cost := getattr(row, kind))]
            label = {"own": "this project's layer", "packed": "torch's, packed"}[kind]
            axes.barh([place for place, _ in bars], [value for _, value in bars], 0.4, color=color, label=label)
        axes.set_xlabel(f"{name}: s of a core an hour of audio")
    words.set_yticks(range(len(rows)), [row.encoder.label for row in rows])
    words.invert_yaxis()
    words.set_xlabel("WER in %, 95% interval; a dot a seed")
    characters.set_xlabel("CER in %, the same")
    figure.legend(*training.get_legend_handles_labels(), loc="outside lower right", ncols=2)
    for axes in (words, characters, training, inference):
        axes.grid(alpha=0.3, axis="x")
    figure.suptitle(about)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python scripts/compare_encoders.py", description=__doc__.splitlines()[0])
    arguments.add_argument("--recipe", choices=recipes.NAMES, default="an4", metavar="NAME", help="corpus (an4)")
    arguments.add_argument("--minutes", type=float, default=10.0, help="of training, each (default: 10)")
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="default: 1 2 3")
    arguments.add_argument(
        "--encoders", nargs="+", choices=ENCODERS, default=list(ENCODERS), metavar="NAME", help=", ".join(ENCODERS)
    )
    arguments.add_argument("--turns", type=command.count, default=3, help="how often costs are measured (default: 3)")
    arguments.add_argument("--out", type=Path, help="folder of it all (default: data/runs/encoders-RECIPE)")
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option of the recipe, a setting of all runs"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    if options.minutes and any(pair.startswith(LENGTHS) for pair in options.set):
        raise command.UsageError("all train for as many --minutes; for so many steps or epochs: --minutes 0 with --set")
    if len(set(options.seeds)) < len(options.seeds):
        raise command.UsageError(f"--seeds {' '.join(map(str, options.seeds))}: one of them is there twice")
    out = options.out or Path("data/runs") / f"encoders-{options.recipe}"
    plan = Plan(options.recipe, options.minutes, options.seeds, options.set, out)
    encoders = [ENCODERS[name] for name in options.encoders]
    out.mkdir(parents=True, exist_ok=True)
    # All encoders once before the second seed, so that an early look compares all.
    results = [train(plan, encoder, seed) for seed in plan.seeds for encoder in encoders]
    check_alike(results)
    costs = measure_in_turns(plan.recipe, plan.pairs, encoders, options.turns)
    rows = [collect(plan, encoder, costs) for encoder in encoders]
    about = title(plan, results)
    kept = {
        "encoders.json": json.dumps({"title": about, "encoders": [row.to_dict() for row in rows]}, indent=2).encode(),
        "encoders.md": f"{table(rows)}\n{about}\n".encode(),
        "encoders.png": picture(rows, about),
    }
    for name, content in kept.items():
        with replacing(out / name) as file:
            file.write(content)
    print(f"{table(rows)}\n{about}")
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
