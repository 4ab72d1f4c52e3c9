"""Run a recipe from download to WER: `python scripts/run_recipe.py NAME [--out DIR] [--set key=value]`.

Run again with the same folder it goes on where it stopped. The last line of its output is the result.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # recipes are not in the installed package

import recipes
from asr import command, load
from asr.corpus import write_manifest
from asr.evaluate import describe, evaluate, report_failures
from asr.train import configure, fit
from asr.training.config import parse_settings


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python scripts/run_recipe.py", description=__doc__.splitlines()[0])
    arguments.add_argument("name", choices=recipes.NAMES, metavar="NAME", help=", ".join(recipes.NAMES))
    arguments.add_argument("--out", type=Path, help="folder of the run (default: data/runs/NAME)")
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change an option or a training setting"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    arguments = parser().parse_args(argv)
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
    minutes = RunFolder(out).progress().seconds / 60
    recognizer = load(str(model))
    status = 0
    counts = recipe.test_split(options)  # comes last
    for name in [*(splits.keys() - {"train", "dev", counts}), counts]:
        result = evaluate(recognizer, splits[name])
        status = report_failures(result) or status
        print(f"{recipe.name} {name} {describe(result)}, {minutes:.1f} min of training, seed {config.seed}, {model}")
    return status


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
