"""Fit the weights of beam search to dev data: `python -m asr.evaluate --tune`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from asr.decode import BeamSettings, Hypothesis
from asr.recognizer import Recognizer
from asr.score import count

STEPS = {"alpha": 0.2, "beta": 0.8, "unknown_price": 2.0, "prior": 0.2}  # of the first round
SIGNED = ("beta",)  # may be below 0: divided by their priors, the blank is rarer, and words are more
ROUNDS = 3
BEAMS = (10, 25, 50, 100, 200)
AS_GOOD = 1.002  # a narrower beam is taken that makes hardly more errors
ENOUGH = 1000  # words that can tell so; with fewer the beam becomes no narrower


def tune(recognizer: Recognizer, log_probs: Sequence[NDArray[np.float32]], references: Sequence[str]) -> BeamSettings:
    """The weights with the fewest word errors, of characters where nothing is between words, and a beam wide enough.

    Args:
        recognizer: with the search to begin with.
        log_probs: of each utterance, as `Recognizer.log_probs` gives them.
        references: normalised.
    """
    search = recognizer.search
    searched = [recognizer.searched(rows) for rows in log_probs]

    def errors(settings: BeamSettings) -> int:
        found = search.with_settings(settings).search_all(searched)
        return word_errors(recognizer, references, [best for best, *_ in found])

    def by_weights(weights: Mapping[str, float]) -> int:
        return errors(replace(search.settings, **weights))

    tried = {"unknown_price": search.finds_unknown, "prior": search.has_priors}
    steps = {name: step for name, step in STEPS.items() if tried.get(name, True)}
    start = {name: getattr(search.settings, name) for name in steps}
    settings = replace(search.settings, **fewest_errors(by_weights, start, steps))
    words = sum(len(recognizer.split_words(reference)) for reference in references)
    least = 0 if words >= ENOUGH else settings.beam_size
    sizes = [size for size in BEAMS if size >= least] or [settings.beam_size]
    by_beam = {size: errors(replace(settings, beam_size=size)) for size in sizes}
    for size, wrong in by_beam.items():
        _say(f"beam {size}: {wrong} word errors")
    enough = min(size for size, wrong in by_beam.items() if wrong <= AS_GOOD * min(by_beam.values()))
    return replace(settings, beam_size=enough)


def word_errors(recognizer: Recognizer, references: Sequence[str], hypotheses: Sequence[Hypothesis]) -> int:
    """Wrong words of normalised references; wrong characters, where nothing is between words."""
    texts = (recognizer.text(hypothesis) for hypothesis in hypotheses)
    pairs = zip(map(recognizer.split_words, references), map(recognizer.split_words, texts), strict=True)
    return sum(count(*pair).errors for pair in pairs)


def fewest_errors(
    errors: Callable[[Mapping[str, float]], int],
    start: Mapping[str, float],
    steps: Mapping[str, float],
    signed: Collection[str] = SIGNED,
) -> dict[str, float]:
    """The weights with the fewest errors, by a search along one after the other with steps that get smaller.

    The number of errors has no slope to follow (pattern search; Hooke and Jeeves 1961).

    Args:
        start: where it begins.
        steps: of the first round; they are halved after each.
        signed: the weights that may become less than 0.
    """
    best = dict(start)
    known = {tuple(best.values()): errors(best)}
    fewest = known[tuple(best.values())]
    _tell(best, fewest)
    for halvings in range(ROUNDS):
        better = True
        while better:
            better = False
            for name, change in [(name, sign * step) for name, step in steps.items() for sign in (1, -1)]:
                value = best[name] + change / 2**halvings
                other = {**best, name: round(value if name in signed else max(0.0, value), 4)}
                if tuple(other.values()) in known:
                    continue
                wrong = known[tuple(other.values())] = errors(other)
                if wrong < fewest:
                    best, fewest, better = other, wrong, True
                    _tell(best, fewest)
    return best


def _tell(weights: Mapping[str, float], errors: int) -> None:
    _say(", ".join(f"{name} {value:g}" for name, value in weights.items()) + f": {errors} word errors")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
