"""Scores of groups of utterances: by speaker, by length, by whatever the manifest says of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise

from asr import Error
from asr.outputs import escaped
from asr.score import Score, score, speaker_groups

LENGTHS = (2, 5, 10, 15, 20)  # seconds: where one bin of `duration` ends and the next begins
RATES = (1.5, 2, 2.5, 3, 3.5)  # words per second: the same for speaking rates
UNKNOWN = "unknown"  # of utterances that lack the field


class GroupError(Error):
    """A field that utterances cannot be grouped by."""


def by_field(field: str, fields: Sequence[Mapping[str, str]]) -> list[str]:
    """The value of a field, one an utterance; "unknown" where it is absent.

    Args:
        fields: of each utterance.

    Raises:
        GroupError: no utterance has it; the message names those that they have.
    """
    if not any(field in known for known in fields):
        names = ", ".join(sorted({name for known in fields for name in known})) or "none"
        raise GroupError(
            f"no utterance has a field '{field}' to group by; fields found: {names}, and duration (seconds)"
        )
    return [known.get(field, UNKNOWN) for known in fields]


def by_duration(durations: Sequence[float | None]) -> list[str]:
    """The bin of each duration (s): "under 2 s", "2 to 5 s"... "20 s or more"; "unknown" for None."""
    return _binned(durations, LENGTHS, "s")


def by_rate(words: Sequence[int], durations: Sequence[float | None]) -> list[str]:
    """The bin of each speaking rate: "under 1.5 words/s"... "3.5 words/s or more"; "unknown" without a duration.

    Args:
        words: in each reference.
        durations: seconds, pauses included.
    """
    rates = [count / seconds if seconds else None for count, seconds in zip(words, durations, strict=True)]
    return _binned(rates, RATES, "words/s")


def _binned(values: Sequence[float | None], ends: Sequence[float], unit: str) -> list[str]:
    bins = _bins(ends, unit)
    return [UNKNOWN if value is None else bins[sum(value >= end for end in ends)] for value in values]


def _bins(ends: Sequence[float], unit: str) -> list[str]:
    inner = [f"{low} to {high} {unit}" for low, high in pairwise(ends)]
    return [f"under {ends[0]} {unit}", *inner, f"{ends[-1]} {unit} or more"]


def score_groups(
    labels: Sequence[str],
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str | None],
) -> dict[str, Score]:
    """The score of each group, in the order of bins, of numbers and then of names; unknown ones last.

    All have intervals of one kind, so that one can compare them: over speakers where every group has enough of them.
    """
    members: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        members.setdefault(label, []).append(i)
    if any(speaker_groups([speakers[i] for i in group]) is None for group in members.values()):
        speakers = [None] * len(speakers)
    return {
        label: score(*([texts[i] for i in members[label]] for texts in (references, hypotheses, speakers)))
        for label in sorted(members, key=_place)
    }


def _place(label: str) -> tuple[bool, int, float, str]:
    bins = [*_bins(LENGTHS, "s"), *_bins(RATES, "words/s")]
    number = float(label) if label.isdecimal() else math.inf  # 9 before 10
    return label == UNKNOWN, bins.index(label) if label in bins else -1, number, label


def table(field: str, scores: Mapping[str, Score]) -> str:
    """Lines for a person: each group's rate with its interval, words and utterances."""
    over = next(iter(scores.values())).interval
    heading = (field, "WER", f"95% interval over {over}", "words", "utterances")
    rows = [
        (
            escaped(label),
            f"{found.wer:.2%}",
            interval(found.low, found.high),
            str(found.words.reference),
            str(found.utterances),
        )
        for label, found in scores.items()
    ]
    widths = [max(map(len, column)) for column in zip(heading, *rows, strict=True)]
    return "\n".join(_line(row, widths) for row in (heading, *rows))


def interval(low: float, high: float) -> str:
    """The interval of a rate, for a person.

    A dash where drawing gave the same rate every time, as from a single utterance: that is no certainty.
    """
    return f"{low:.2%} to {high:.2%}" if low < high else "-"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers = [
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return "  ".join([first, *numbers]).rstrip()
