"""Fit the weights of beam search to dev data: `python -m asr.evaluate --tune`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from asr.decode import BeamSearch, BeamSettings
from asr.recognizer import Recognizer
from asr.score import word_counts

STEPS = {"alpha": 0.2, "beta": 0.8, "unknown_price": 2.0}  # of the first round
ROUNDS = 3  # the steps are halved after each
BEAMS = (10, 25, 50, 100, 200)
AS_GOOD = 1.002  # a narrower beam is taken that makes hardly more errors


def tune(
    recognizer: Recognizer,
    search: BeamSearch,
    log_probs: Sequence[NDArray[np.float32]],
    references: Sequence[str],
) -> BeamSettings:
    """The weights with the fewest word errors, and a beam that is wide enough for them.

    The weights are changed one by one, by steps that get smaller (pattern search; Hooke and Jeeves 1961): the number of
    errors has no slope to follow.

    Args:
        search: where to begin.
        log_probs: (T, V) of each utterance.
        references: normalised.
    """

    def errors(settings: BeamSettings) -> int:
        found = search.with_settings(settings).search_all(log_probs)
        texts = (recognizer.text(best) for best, *_ in found)
        return sum(word_counts(*pair).errors for pair in zip(references, texts, strict=True))

    settings = _fit_weights(errors, search.settings)
    by_beam = {size: errors(replace(settings, beam_size=size)) for size in BEAMS}
    for size, count in by_beam.items():
        _say(f"beam {size}: {count} word errors")
    enough = min(size for size, count in by_beam.items() if count <= AS_GOOD * min(by_beam.values()))
    return replace(settings, beam_size=enough)


def _fit_weights(errors: Callable[[BeamSettings], int], start: BeamSettings) -> BeamSettings:
    best, fewest, tried = start, errors(start), {start}
    _tell(best, fewest)
    for halvings in range(ROUNDS):
        better = True
        while better:
            better = False
            for name, step in STEPS.items():
                for change in (step, -step):
                    value = max(0.0, getattr(best, name) + change / 2**halvings)
                    candidate = replace(best, **{name: round(value, 4)})
                    if candidate in tried:
                        continue
                    tried.add(candidate)
                    count = errors(candidate)
                    if count < fewest:
                        best, fewest, better = candidate, count, True
                        _tell(best, fewest)
    return best


def _tell(settings: BeamSettings, errors: int) -> None:
    weights = ", ".join(f"{name} {value:g}" for name, value in asdict(settings).items() if name in STEPS)
    _say(f"{weights}: {errors} word errors")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
