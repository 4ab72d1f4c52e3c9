"""Run a recipe from download to WER: `python scripts/run_recipe.py NAME [--out DIR] [--set key=value]`.

Run again with the same folder it goes on where it stopped. The last line of its output is the result, after the rows
that the README's table of results has for it. `--list` shows what there is.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # recipes are not in the installed package

import recipes
from asr import command, load
from asr.corpus import write_manifest
from asr.evaluate import Evaluation, describe, evaluate, report_failures
from asr.train import configure, fit
from asr.training.config import parse_settings


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python scripts/run_recipe.py", description=__doc__.splitlines()[0])
    arguments.add_argument("name", nargs="?", choices=recipes.NAMES, metavar="NAME", help=", ".join(recipes.NAMES))
    arguments.add_argument("--list", action="store_true", help="the recipes with their hours and licences, and stop")
    arguments.add_argument("--out", type=Path, help="folder of the run (default: data/runs/NAME)")
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
    options, settings = _sort_settings(recipe, arguments.set)
    out = arguments.out or Path("data/runs") / recipe.name
    info = {"data": [f"{recipe.name}: {recipe.description}"], "licence": recipe.licence}
    from asr.training.folder import RunFolder  # brings torch, and `--help` should not wait for it
    from asr.training.workers import joined

    with joined() as group:
        with group.said_once():
            splits = group.host_first(lambda: recipe.read(recipes.corpora_folder(), options))
        for name, utterances in splits.items():
            if utterances and group.leads:
                write_manifest(out / "manifests" / f"{name}.jsonl", utterances)
        config = configure(recipe.settings, settings)
        model = fit(splits["train"], splits["dev"], out, config, info, resume=True, group=group)
    if not group.leads:
        return 0
    progress = RunFolder(out).progress()
    training = f"{progress.step:,} steps in {progress.seconds / 60:.1f} minutes, seed {config.seed}"
    recognizer = load(str(model))
    counts = recipe.test_split(options)  # comes last
    names = [*sorted(splits.keys() - {"train", "dev", counts}), counts]
    results = {name: evaluate(recognizer, splits[name]) for name in names}
    line = [
        "python",
        "scripts/run_recipe.py",
        recipe.name,
        *(part for pair in arguments.set for part in ("--set", pair)),
    ]
    print("\n".join(result_row(recipe.name, name, results[name], training, line) for name in names))
    for name, result in results.items():
        minutes = progress.seconds / 60
        print(f"{recipe.name} {name} {describe(result)}, {minutes:.1f} min of training, seed {config.seed}, {model}")
    return max(report_failures(result) for result in results.values())


def recipe_table() -> str:
    """The recipes as a table in Markdown."""
    rows = [recipes.find(name) for name in recipes.NAMES]
    lines = [f"| `{recipe.name}` | {recipe.description} | {recipe.hours} | {recipe.licence} |" for recipe in rows]
    return "\n".join(["| recipe | corpus | hours | licence |", "|---|---|---|---|", *lines])


def result_row(recipe: str, split: str, result: Evaluation, training: str, line: Sequence[str]) -> str:
    """A row of the README's results: what was scored, WER with its interval, CER, training, and the command's words."""
    found = result.score
    scored = f"{split}, {found.words.reference:,} words"
    rate = f"{found.wer:.1%} ({100 * found.low:.1f} to {100 * found.high:.1f})"
    return f"| `{recipe}` | {scored} | {rate} | {found.cer:.1%} | {training} | `{shlex.join(line)}` |"


def _sort_settings(recipe: recipes.Recipe, pairs: Sequence[str]) -> tuple[dict[str, str], dict[str, object]]:
    """`--set` pairs -> the recipe's own options, complete, and training settings."""
    options = dict(recipe.options)
    training = []
    for pair in pairs:
        name, _, value = pair.partition("=")
        if name in options:
            options[name] = value
        else:
            training.append(pair)
    return options, parse_settings(training)


if __name__ == "__main__":
    sys.exit(command.run(main))
