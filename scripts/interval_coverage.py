"""How often intervals hold the truth and comparisons raise false alarms: `python scripts/interval_coverage.py`.

Test sets are simulated whose true error rates are known. An utterance has 5 to 40 words. A speaker's rate is 20% times
a log-normal factor of mean 1 and spread 0.4, an utterance's that of its speaker times one of spread 0.3: assumptions,
as are all below. Two equally good systems share these factors, and each has its own: of spread 0.1 for a speaker,
0.3 for an utterance. Half of the words that are hard for one are hard for the other. The tables stand in the docstrings
of asr/score.py and asr/compare.py; they take two minutes of one core.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from asr import command
from asr.compare import bootstrap_difference, matched_pairs, segments
from asr.score import bootstrap_interval

RATE = 0.2
BETWEEN_SPEAKERS, WITHIN_SPEAKERS = 0.4, 0.3  # standard deviations of logarithms
SYSTEM_BY_SPEAKER, SYSTEM_BY_UTTERANCE = 0.1, 0.3
UTTERANCES = 30  # of each speaker, unless it has a single one
SAMPLES = 1000  # test sets drawn for each interval: a tenth of what asr.score draws


def factors(random: np.random.Generator, spread: float, size: int) -> np.ndarray:
    """Log-normal factors of mean 1: (size,)."""
    return np.exp(random.normal(-(spread**2) / 2, spread, size))


def shared_rates(random: np.random.Generator, speakers: int, each: int) -> np.ndarray:
    """The rate of each utterance, of speakers with `each` of them, before the systems differ: (speakers * each,)."""
    by_speaker = np.repeat(factors(random, BETWEEN_SPEAKERS, speakers), each)
    return RATE * by_speaker * factors(random, WITHIN_SPEAKERS, speakers * each)


def coverage(speakers: int, each: int, over_speakers: bool, trials: int) -> float:
    """The share of simulated test sets whose interval holds the true rate."""
    held = 0
    for seed in range(trials):
        random = np.random.default_rng(seed)
        rates = np.minimum(shared_rates(random, speakers, each), 1)
        words = random.integers(5, 41, len(rates))
        groups = np.repeat(np.arange(speakers), each) if over_speakers else None
        low, high = bootstrap_interval(random.binomial(words, rates), words, groups, samples=SAMPLES, seed=seed)
        held += low <= RATE <= high
    return held / trials


def false_alarms(speakers: int, each: int, over_speakers: bool, trials: int) -> tuple[float, float, float]:
    """How often the bootstrap, MAPSSWE and both find p < 0.05 between two equally good systems."""
    alarms = np.zeros(3)
    for seed in range(trials):
        random = np.random.default_rng(seed)
        words = random.integers(5, 41, speakers * each)
        a, b = _two_systems(random, shared_rates(random, speakers, each), words, speakers, each)
        # Slots of one long utterance, where gaps of two correct words stand between the utterances: words only err.
        ends = np.cumsum(words + 2)
        sums = [np.diff(np.concatenate([[0], np.cumsum(x)[ends - 1]])) for x in (a, b)]
        slots = np.zeros((2, 2 * len(a) + 1), np.int64)
        slots[:, 1::2] = a, b
        groups = np.repeat(np.arange(speakers), each) if over_speakers else None
        bootstrap = bootstrap_difference(sums[0] - sums[1], words, groups, samples=SAMPLES, seed=seed)[2] < 0.05
        matched = matched_pairs(segments(*slots)).p < 0.05
        alarms += [bootstrap, matched, bootstrap and matched]
    return tuple(alarms / trials)


def _two_systems(
    random: np.random.Generator, shared: np.ndarray, words: np.ndarray, speakers: int, each: int
) -> tuple[np.ndarray, np.ndarray]:
    """Whether each word is wrong in A and in B; two correct words follow each utterance: (words + 2 an utterance,)."""
    hard = random.random(words.sum() + 2 * len(words))  # what is hard for one system is hard for the other
    correct = np.zeros(len(hard), bool)
    ends = np.cumsum(words + 2)
    correct[ends - 1] = correct[ends - 2] = True
    wrong = []
    for _ in range(2):
        own = np.repeat(factors(random, SYSTEM_BY_SPEAKER, speakers), each)
        rates = np.minimum(shared * own * factors(random, SYSTEM_BY_UTTERANCE, len(shared)), 1)
        luck = np.where(random.random(len(hard)) < 0.5, hard, random.random(len(hard)))
        wrong.append(((luck < np.repeat(rates, words + 2)) & ~correct).astype(np.int64))
    return wrong[0], wrong[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Print a line for each kind of test set: coverage, then false alarms of the bootstrap, of MAPSSWE and of both."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument(
        "--trials", type=command.count, default=1000, metavar="N", help="simulated test sets a row (default: 1000)"
    )
    trials = arguments.parse_args(argv).trials
    rows = [(1000, 1, False), (10, UTTERANCES, False), (10, UTTERANCES, True)]
    rows += [(speakers, UTTERANCES, True) for speakers in (20, 40, 100)]
    for speakers, each, over in rows:
        size = f"{speakers} speakers" if each > 1 else f"{speakers} independent utterances"
        what = f"{size}, drawn by {'speaker' if over else 'utterance'}"
        held = coverage(speakers, each, over, trials)
        alarms = false_alarms(speakers, each, over, trials)
        print(what, f"{held:.1%}", *(f"{share:.1%}" for share in alarms), sep=" | ", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(command.run(main))
