"""The README's table of results, made from runs: `python scripts/results.py [RUN...] [--check]`.

scripts/run_recipe.py leaves `result.json` in the folder of a run when it has scored it. This script keeps the results
of the runs that it is given in data/results, one file each, named like the run's folder, and writes the table of all
that is kept there between two markers of the README: no figure is typed by hand. Delete a file, and its rows go.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # recipes are not in the installed package

import recipes
from asr import Error, command
from asr.files import replacing

FILE = "result.json"  # in the folder of a run
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"
HEADER = ("recipe", "scored on", "greedy WER (95% interval)", "CER", "trained", "command")


@dataclass(frozen=True)
class Result:
    """What a run of a recipe came to.

    Args:
        recipe: its name.
        command: the command line that repeats it, but for the folder; a number of steps in place of minutes.
        commit: of the code that trained the model, "-dirty" where that had been changed; None: not known.
        seed, workers: of the run.
        steps, minutes: how long it trained; wall-clock.
        parameters: of the model, those that are learnt.
        scores: split -> what `asr.evaluate --json` says of it, and how many speakers are known; the one that the recipe
            is about comes first.
    """

    recipe: str
    command: str
    commit: str | None
    seed: int
    workers: int
    steps: int
    minutes: float
    parameters: int
    scores: Mapping[str, Mapping[str, float | int | str | None]]

    def save(self, path: Path) -> None:
        """Write a JSON file."""
        with replacing(path) as file:
            file.write((json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())

    @classmethod
    def load(cls, path: Path) -> Result:
        """Read a JSON file.

        Raises:
            Error: it is missing or not a result.
        """
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            raise Error(
                f"{path}: no such file; expected what scripts/run_recipe.py leaves (once more with the same --out and "
                "settings, it scores a finished run and trains no more)"
            ) from None
        except (ValueError, TypeError) as error:
            raise Error(
                f"{path}: not a result of scripts/run_recipe.py ({error}); let it score the run again"
            ) from None
        recipes.find(found.recipe)
        return found

    def rows(self) -> list[str]:
        """Its rows of the table, one a split; what all have in common stands in the first."""
        trained = f"{self.steps:,} steps in {self.minutes:.1f} minutes, workers: {self.workers}, seed {self.seed}"
        trained += f", commit {self.commit}" if self.commit else ""
        rows = []
        for split, score in self.scores.items():
            first = not rows
            rates = f"{100 * score['wer_low']:.1f} to {100 * score['wer_high']:.1f} over {score['interval_over']}"
            cells = (
                f"`{self.recipe}`" if first else "",
                scored_on(split, score),
                f"{score['wer']:.1%} ({rates if score['wer_low'] < score['wer_high'] else '-'})",
                f"{score['cer']:.1%}",
                trained if first else "",
                f"`{self.command}`" if first else "",
            )
            rows.append(f"| {' | '.join(cells)} |")
        return rows


def scored_on(split: str, score: Mapping[str, float | int | str | None]) -> str:
    """What a rate is about."""
    speakers = f"{score['speakers']} speaker{'s' * (score['speakers'] != 1)}, " if score["speakers"] else ""
    unread = f", {score['failed']} of them unreadable" if score["failed"] else ""
    return f"{split}: {speakers}{score['utterances']:,} utterances{unread}, {score['words']:,} words"


def table(results: Iterable[Result]) -> str:
    """The results in Markdown, by the names of their recipes."""
    ordered = sorted(results, key=lambda result: result.recipe)
    lines = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    return "\n".join([*lines, *(row for result in ordered for row in result.rows())])


def with_table(text: str, rows: str) -> str:
    """A README whose text between the markers is this table.

    Raises:
        Error: it has not one of each, in their order.
    """
    before, begin, rest = text.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not (begin and end) or BEGIN in rest or END in after:
        raise Error(f"the README needs one line {BEGIN} and, below, one {END}: the table goes between them")
    return f"{before}{begin}{rows}\n{end}{after}"


def main(argv: Sequence[str] | None = None) -> int:
    """The command. With --check it changes nothing, and its status is 1 if it would."""
    arguments = argparse.ArgumentParser(prog="python scripts/results.py", description=__doc__.splitlines()[0])
    arguments.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="folders of runs whose results to keep")
    arguments.add_argument("--check", action="store_true", help="see that the README has the table of what is kept")
    options = arguments.parse_args(argv)
    if options.check and options.runs:
        raise command.UsageError("--check changes nothing: leave out the runs, or --check")
    kept, readme = PROJECT / "data" / "results", PROJECT / "README.md"
    new = {kept / f"{run.absolute().name}.json": Result.load(run / FILE) for run in options.runs}
    if len(new) < len(options.runs):
        raise command.UsageError("results are kept by the names of their runs' folders: expected different names")
    found = {path: Result.load(path) for path in kept.glob("*.json")} | new
    before = readme.read_text(encoding="utf-8")
    after = with_table(before, table(found[path] for path in sorted(found)))
    for path, result in new.items():
        kept.mkdir(exist_ok=True)
        result.save(path)
    if options.check and before != after:
        changes = difflib.unified_diff(
            before.splitlines(), after.splitlines(), "README.md", str(kept), lineterm="", n=0
        )
        raise Error("\n".join(["README.md has not the table of what is kept; run python scripts/results.py", *changes]))
    if before != after:
        with replacing(readme) as file:
            file.write(after.encode())
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
