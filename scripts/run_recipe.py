"""Run a recipe from download to WER: `python scripts/run_recipe.py NAME [--out DIR] [--set key=value]`.

Run again with the same folder it goes on where it stopped. The last line of its output is the result, after the rows
that the README's table of results has for it (scripts/results.py puts them there). In the run's folder it leaves the
figures, result.json, and the texts of every split that it has scored, beside what was said, as <split>.jsonl. `--list`
shows what there is.
"""

from __future__ import annotations

import argparse
import dataclasses
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # recipes are not in the installed package

import recipes
from asr import command, load
from asr.corpus import Utterance, read, write_manifest
from asr.evaluate import Evaluation, describe, evaluate, report_failures
from asr.train import alone_in, configure, fit
from asr.training.config import TrainConfig, parse_settings, short_path
from scripts import results

MANIFESTS = "manifests"  # folder in that of a run

if TYPE_CHECKING:
    from asr.normalizer import Normalizer
    from asr.training.folder import RunFolder


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python scripts/run_recipe.py", description=__doc__.splitlines()[0])
    arguments.add_argument("name", nargs="?", choices=recipes.NAMES, metavar="NAME", help=", ".join(recipes.NAMES))
    arguments.add_argument("--list", action="store_true", help="the recipes with their hours and licences, and stop")
    arguments.add_argument("--out", type=Path, help="folder of the run (default: data/runs/NAME)")
    arguments.add_argument(
        "--score", action="store_true", help="score the finished run in --out, also one that older code has trained"
    )
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change an option or a training setting"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    commands = parser()
    arguments = commands.parse_args(argv)
    if arguments.list:
        print(recipe_table())
        return 0
    if arguments.name is None:
        commands.error(f"which recipe? There are {', '.join(recipes.NAMES)} (--list says more)")
    recipe = recipes.find(arguments.name)
    options, settings = sort_settings(recipe, arguments.set)
    out = arguments.out or Path("data/runs") / recipe.name
    info = {**recipe.info(options), "commit": commit()}
    from asr.training.folder import RunFolder  # brings torch, and `--help` should not wait for it
    from asr.training.job import check_readable
    from asr.training.workers import joined, leave

    folder = RunFolder(out)
    kept = folder.read_config().get("settings") if folder.state.is_file() else None
    config = configure(recipe.settings, settings, kept)
    if arguments.score:
        _check_finished(folder, config)
    elif kept is None:
        check_readable(config)  # before anything is downloaded
    with joined() as group, alone_in(folder, True, group):
        with group.said_once():
            splits = group.host_first(lambda: recipe.read(recipes.corpora_folder(), options))
        if arguments.score:
            _check_parts(out, splits)
        else:
            if group.leads and not folder.state.is_file():
                folder.check_free(f"{name}.jsonl" for name in splits)
                _write_manifests(out, splits)
            fit(splits["train"], splits["dev"], out, config, info, resume=True, group=group)
            if group.leads:
                _write_manifests(out, splits)  # a run that goes on may find its corpora elsewhere
    if not group.leads:  # torchrun has started it
        leave(0)
    line = repeatable(recipe.name, arguments.set, config, folder.progress().steps)
    status = _score(recipe.name, recipe.test_split(options), splits, folder, line)
    if group.size > 1:
        leave(status)
    return status


def _check_finished(folder: RunFolder, config: TrainConfig) -> None:
    """See that a run has been trained to its end with these settings, as far as its code had them.

    Raises:
        asr.Error: it has not.
    """
    if not folder.progress().finished:
        raise command.UsageError(f"{folder.path}: this run is not finished; go on with it first, without --score")
    wanted = dataclasses.asdict(config)
    stored = folder.read_config()["settings"]
    changed = [f"{name}={value}" for name, value in stored.items() if name != "workers" and wanted.get(name) != value]
    if changed:
        raise command.UsageError(
            f"{folder.path}: this run has other settings; name them: --set {' --set '.join(changed)}"
        )


def _write_manifests(out: Path, splits: Mapping[str, Sequence[Utterance]]) -> None:
    """What the recipe has read, for `asr.evaluate`."""
    for name, utterances in splits.items():
        if utterances:
            write_manifest(out / MANIFESTS / f"{name}.jsonl", utterances)


def _check_parts(out: Path, splits: Mapping[str, Sequence[Utterance]]) -> None:
    """See that a finished run had the same utterances in every part: the recipe's options may have been others.

    Raises:
        asr.Error: it had not.
    """
    wanted = {name: sorted(each.id for each in utterances) for name, utterances in splits.items() if utterances}
    had = {path.stem: sorted(each.id for each in read(path)) for path in (out / MANIFESTS).glob("*.jsonl")}
    if had and had != wanted:
        other = ", ".join(name for name in sorted(had | wanted) if had.get(name) != wanted.get(name))
        raise command.UsageError(f"{out}: this run has other utterances as {other}; name its options, too (--set)")


def _score(recipe: str, test: str, splits: Mapping[str, Sequence[Utterance]], folder: RunFolder, line: str) -> int:
    """Score a finished run on all splits that it has not learnt from, leave and print what came out; the exit status.

    Args:
        test: the split that the recipe is about, whose line comes last.
        line: the command line that repeats the run.
    """
    recognizer = load(str(folder.model), beam_size=1)  # whatever language model lies beside it
    names = [test, *sorted(splits.keys() - {"train", "dev", test})]
    found = {name: evaluate(recognizer, splits[name]) for name in names}
    for name, result in found.items():
        folder.write_lines(f"{name}.jsonl", _texts(splits[name], result, recognizer.normalizer))
    settings, progress = folder.read_config()["settings"], folder.progress()
    kept = results.Result(
        recipe=recipe,
        command=line,
        commit=recognizer.info.get("commit"),
        seed=settings["seed"],
        workers=settings["workers"],
        steps=progress.step,
        minutes=progress.seconds / 60,
        parameters=sum(weights.numel() for weights in recognizer.model.parameters()),
        scores={name: {**found[name].to_dict(), "speakers": _speakers(splits[name])} for name in names},
    )
    kept.save(folder.path / results.FILE)
    print("\n".join(kept.rows()))
    for name, result in reversed(found.items()):
        training = f"{kept.minutes:.1f} min of training, seed {kept.seed}"
        print(f"{recipe} {name} {describe(result)}, {training}, {folder.model}")
    return max(report_failures(result) for result in found.values())


def _texts(
    utterances: Sequence[Utterance], result: Evaluation, normalizer: Normalizer
) -> Iterator[dict[str, str | None]]:
    """What was said and recognized, both in the model's form, for `asr.evaluate --hypotheses`."""
    for utterance, text in zip(utterances, result.texts, strict=True):
        reference = normalizer(utterance.text)
        yield {"id": utterance.id, "reference": reference, "hypothesis": text, "speaker": utterance.speaker}


def _speakers(utterances: Sequence[Utterance]) -> int:
    """How many are known."""
    return len({utterance.speaker for utterance in utterances} - {None})


def commit() -> str | None:
    """The commit of this code, with "-dirty" where files have been changed since; None where git does not know."""
    try:
        where = ["--git-dir", str(PROJECT / ".git"), "--work-tree", str(PROJECT)]  # and no repository around it
        line = ["git", *where, "describe", "--always", "--dirty", "--exclude", "*"]
        done = subprocess.run(line, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def repeatable(recipe: str, pairs: Sequence[str], config: TrainConfig, steps: int) -> str:
    """The command line that trains the same model again: as many steps, where minutes have decided how many.

    Args:
        pairs: of `--set`. Of a path that tells of this machine, its last two parts stay.
    """
    pairs = [f"{name}={short_path(value) if Path(value).is_absolute() else value}" for name, value in _split(pairs)]
    if config.minutes:
        pairs = [pair for pair in pairs if not pair.startswith("minutes=")] + ["minutes=0", f"steps={steps}"]
    options = (part for pair in pairs for part in ("--set", pair))
    return shlex.join(["python", "scripts/run_recipe.py", recipe, *options])


def recipe_table() -> str:
    """The recipes as a table in Markdown."""
    rows = [recipes.find(name) for name in recipes.NAMES]
    lines = [f"| `{recipe.name}` | {recipe.description} | {recipe.hours} | {recipe.licence} |" for recipe in rows]
    return "\n".join(["| recipe | corpus | hours | licence |", "|---|---|---|---|", *lines])


def _split(pairs: Sequence[str]) -> list[tuple[str, str]]:
    return [(name, value) for name, _, value in (pair.partition("=") for pair in pairs)]


def sort_settings(recipe: recipes.Recipe, pairs: Sequence[str]) -> tuple[dict[str, str], dict[str, object]]:
    """`--set` pairs -> the recipe's own options, complete, and training settings.

    Raises:
        asr.command.UsageError: a pair is not key=value, or names what does not exist.
    """
    options = dict(recipe.options)
    training = []
    for pair, (name, value) in zip(pairs, _split(pairs), strict=True):
        if name in options and "=" in pair:
            options[name] = value
        else:
            training.append(pair)
    return options, parse_settings(training)


if __name__ == "__main__":
    sys.exit(command.run(main))
