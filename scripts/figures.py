"""What the scripts that judge a recognizer share: the data by default, an even part of it, their tables."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from asr import command
from asr.corpus import Utterance
from asr.score import Score
from recipes import corpora_folder
from recipes.archive import ensure
from recipes.mini_librispeech import ARCHIVES, dev_splits


def dev_clean() -> list[Utterance]:
    """LibriSpeech's dev-clean, all speakers; downloaded where $ASR_CORPORA has it not."""
    return dev_splits(ensure(ARCHIVES["dev-clean"], corpora_folder()))["dev-clean"]


def evenly(utterances: Sequence[Utterance], limit: int | None) -> list[Utterance]:
    """At most so many utterances, from all places of the list, so that a part has all speakers; None: all."""
    count = len(utterances) if limit is None else min(limit, len(utterances))
    return [utterances[i * len(utterances) // count] for i in range(count)]


def with_interval(found: Score) -> str:
    """A word error rate and its 95% interval in percent, without one where it would have no width."""
    return rate_with_interval(found.wer, found.low, found.high)


def rate_with_interval(rate: float, low: float, high: float) -> str:
    """Any rate, as `with_interval`."""
    between = f" ({100 * low:.1f} to {100 * high:.1f})" if low < high else ""
    return f"{rate:.1%}{between}"


def ratio(a: float, b: float) -> float | None:
    """a / b, or None where there is no such number."""
    return a / b if b else None


def times(found: float | None) -> str:
    """A ratio for a table."""
    return "-" if found is None else f"{found:.2f}"


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, whose first column holds names and the others figures."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def status(failures: Mapping[str, str]) -> int:
    """Name what could not be read, utterance id -> why, on stderr; the exit status that goes with it."""
    for name, why in failures.items():
        print(f"error: {name}: {why}; counted with all its words deleted", file=sys.stderr)
    return command.FAILED if failures else 0


def add_options(arguments: argparse.ArgumentParser) -> None:
    """The options that both have."""
    arguments.add_argument(
        "--model", default="en", metavar="NAME|PATH", help="a model that ships, or a model file (en)"
    )
    arguments.add_argument(
        "--beam-size",
        type=command.count,
        metavar="N",
        help="of beam search; 1 decodes greedily (default: what the model's language model says)",
    )
    arguments.add_argument(
        "--limit",
        type=command.count,
        metavar="N",
        help="score at most so many utterances of each corpus, evenly spread",
    )
    arguments.add_argument("--json", action="store_true", help="print one JSON object; rates are fractions")
