"""Which of two systems is better on the same data, and how sure that is.

The question is asked of each pair of hypotheses for the same speech, so that what is hard for both cancels out, in
two ways, which rest on different assumptions:

- the paired bootstrap: test sets are drawn from the one at hand, both systems are scored on each draw, and what is
  looked at is the difference of their word error rates. M. Bisani and H. Ney, "Bootstrap estimates for confidence
  intervals in ASR performance evaluation", ICASSP 2004. Whole speakers are drawn where at least 20 are known.
- the matched-pairs sentence-segment word error test (MAPSSWE): L. Gillick and S. Cox, "Some statistical issues in
  the comparison of speech recognition algorithms", ICASSP 1989; as NIST's sc_stats does it, which finds the
  same segments and statistic where alignments do not tie (but overlooks what its second system inserts behind the
  last word of an utterance). It takes segments to be independent, of whomever they are.

`Comparison` calls a system better where both find p < 0.05. False alarms, measured by
`python scripts/interval_coverage.py` on 1,000 simulated pairs of equally good systems a row (standard errors: up to
1.4 points), where systems differ by speaker and by utterance, so that MAPSSWE's segments are not independent:

    | test set                                 | bootstrap over    | MAPSSWE | both  |
    |------------------------------------------|-------------------|---------|-------|
    | 1,000 independent utterances             | utterances   5.4% | 10.1%   |  5.4% |
    | 10 speakers of 30 utterances             | utterances  16.8% | 23.2%   | 16.8% |
    | 20 speakers of 30 utterances             | speakers     7.2% | 25.5%   |  7.1% |
    | 40 speakers of 30 utterances             | speakers     7.0% | 26.4%   |  7.0% |
    | 100 speakers of 30 utterances            | speakers     6.4% | 27.9%   |  6.4% |

Where they differ by word alone, each test gives 5% (tests/test_compare.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np

from asr.score import (
    as_they_are,
    check_lengths,
    finite,
    group_totals,
    middle,
    rates,
    resampled_totals,
    speaker_groups,
)

GOOD_WORDS = 2  # correct in both systems, they end a segment: NIST's choice
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class MatchedPairs:
    """The result of a MAPSSWE test.

    Args:
        segments: n, parts of utterances with an error of either system. The normal distribution that the p-value is
            taken from is good from about 50 of them on.
        mean: errors of A less errors of B in a segment, averaged.
        statistic: W, the mean over its standard error: below 0 where A is better; 0 where no segment differs, infinite
            where all differ alike.
        p: two-sided.
    """

    segments: int
    mean: float
    statistic: float
    p: float

    def to_dict(self) -> dict[str, float | int | None]:
        """What JSON can hold: null for an infinite statistic."""
        return {"segments": self.segments, "mean": self.mean, "statistic": finite(self.statistic), "p": self.p}


@dataclass(frozen=True)
class Comparison:
    """Two systems, A and B, on the same references.

    Args:
        names: of A and B.
        errors_a, errors_b: of words.
        words: in the references, the same for both.
        low, high: 95% interval of the difference, a fraction.
        p: two-sided, of the paired bootstrap.
        interval: what was drawn for it.
        matched: the MAPSSWE test.
    """

    names: tuple[str, str]
    errors_a: int
    errors_b: int
    words: int
    low: float
    high: float
    p: float
    interval: Literal["speakers", "utterances"]
    matched: MatchedPairs

    @property
    def wer_a(self) -> float:
        return _rate(self.errors_a, self.words)

    @property
    def wer_b(self) -> float:
        return _rate(self.errors_b, self.words)

    @property
    def difference(self) -> float:
        """WER of A less WER of B: below 0 where A makes fewer errors."""
        return _rate(self.errors_a - self.errors_b, self.words)

    @property
    def better(self) -> str | None:
        """The name of the system that both tests find better at the 5% level, or None."""
        if max(self.p, self.matched.p) >= SIGNIFICANT or self.difference == 0:
            return None
        return self.names[0] if self.difference < 0 else self.names[1]

    def to_dict(self) -> dict[str, object]:
        """What JSON can hold: rates as fractions, null for an infinite one."""
        return {
            "a": self.names[0],
            "b": self.names[1],
            "wer_a": finite(self.wer_a),
            "wer_b": finite(self.wer_b),
            "difference": finite(self.difference),
            "difference_low": finite(self.low),
            "difference_high": finite(self.high),
            "interval_over": self.interval,
            "p": self.p,
            "matched_pairs": self.matched.to_dict(),
            "better": self.better,
        }

    def describe(self) -> str:
        """A line for a person."""
        a, b = self.names
        found = f"{self.better} is better" if self.better else f"no difference shown between {a} and {b}"
        return (
            f"{found}: WER {self.wer_a:.2%} ({a}) and {self.wer_b:.2%} ({b}), difference {100 * self.difference:+.2f} "
            f"points (95% interval {100 * self.low:+.2f} to {100 * self.high:+.2f}), {_p(self.p)} by bootstrap over "
            f"{self.interval}, {_p(self.matched.p)} by matched pairs of {self.matched.segments} segments"
        )


def _rate(errors: int, words: int) -> float:
    return float(rates(np.asarray(errors), np.asarray(words)))


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def compare(
    references: Sequence[str],
    a: Sequence[str],
    b: Sequence[str],
    speakers: Sequence[str | None] | None = None,
    names: tuple[str, str] = ("A", "B"),
    seed: int = 0,
) -> Comparison:
    """Compare the hypotheses of two systems, a and b, for the same references; all texts normalised alike.

    Args:
        references, a, b: one text an utterance, in the same order; an utterance that failed has an empty hypothesis.
        speakers: one name an utterance or None where unknown.
        names: of the systems, for the result.
        seed: of the bootstrap.

    Raises:
        ScoreError: nothing to compare, or the lengths differ.
    """
    check_lengths(references, a, speakers)
    check_lengths(references, b, speakers)
    slots = [(error_slots(r, x), error_slots(r, y)) for r, x, y in zip(references, a, b, strict=True)]
    errors = np.array([(x.sum(), y.sum()) for x, y in slots])  # (n, 2)
    words = np.array([len(x) // 2 for x, _ in slots])  # (n,)
    groups = speaker_groups(speakers)
    low, high, p = bootstrap_difference(errors[:, 0] - errors[:, 1], words, groups, seed=seed)
    return Comparison(
        names=names,
        errors_a=int(errors[:, 0].sum()),
        errors_b=int(errors[:, 1].sum()),
        words=int(words.sum()),
        low=low,
        high=high,
        p=p,
        interval="utterances" if groups is None else "speakers",
        matched=matched_pairs(np.concatenate([segments(x, y) for x, y in slots])),
    )


def bootstrap_difference(
    differences: Sequence[int] | np.ndarray,
    words: Sequence[int] | np.ndarray,
    groups: Sequence[int] | np.ndarray | None = None,
    samples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Interval and two-sided p-value of the difference of two word error rates, by the paired bootstrap.

    The p-value is twice the share of draws on the rarer side of 0, those at 0 and one more counted on either, so that
    it is below 0.05 where the 95% interval does not hold 0. Few utterances can all be alike by chance, which draws
    from them cannot see: of m groups that differ all favour one system with a chance of 2^(1-m) if neither is
    better, and p is not below that.

    Args:
        differences: (n,) errors of A less errors of B, one an utterance.
        words: (n,) reference words.
        groups: (n,) the group, such as a speaker, of each utterance; None: every utterance is its own.
        samples: test sets to draw.
        seed: same seed, same result, whatever the order of utterances.

    Returns:
        Lower end, upper end (fractions), p.
    """
    pairs = np.stack([np.asarray(differences, np.int64), np.asarray(words, np.int64)], axis=1)  # (n, 2)
    totals = group_totals(pairs, groups)  # (G, 2)
    drawn = rates(*resampled_totals(totals, samples, np.random.default_rng(seed)).T)  # (samples,)
    rarer = int(min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0)))
    return *middle(drawn), max(min(1.0, 2 * (rarer + 1) / (samples + 1)), _least_p(totals[:, 0]))


def _least_p(differences: np.ndarray) -> float:
    """The chance that all units that differ favour the same system although neither is better; at most 1."""
    return min(1.0, 2.0 ** (1 - int(np.count_nonzero(differences))))


def error_slots(reference: str, hypothesis: str) -> np.ndarray:
    """Where the errors are: (2N + 1,) for a reference of N words.

    Item 2i + 1 is 1 if word i is substituted or deleted, item 2i the number of words inserted before it, the last one
    those after all. The alignment has the fewest errors; where several have, it is jiwer's choice.
    """
    words = reference.split()
    slots = np.zeros(2 * len(words) + 1, np.int64)
    found = jiwer.process_words([words], [hypothesis.split()], as_they_are, as_they_are)
    for chunk in found.alignments[0]:
        if chunk.type == "insert":
            slots[2 * chunk.ref_start_idx] += chunk.hyp_end_idx - chunk.hyp_start_idx
        elif chunk.type != "equal":
            slots[2 * chunk.ref_start_idx + 1 : 2 * chunk.ref_end_idx : 2] = 1
    return slots


def segments(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The errors of two systems in each segment of one utterance, from their `error_slots`: (2N + 1,) twice -> (n, 2).

    A segment ends where at least two words in a row are correct in both systems with nothing inserted between them,
    and at the ends of the utterance. Segments without an error tell nothing and are left out.
    """
    wrong = np.flatnonzero(a + b)  # slots; slot s has s // 2 words before it
    if len(wrong) == 0:
        return np.zeros((0, 2), np.int64)
    correct_between = wrong[1:] // 2 - (wrong[:-1] + 1) // 2
    first = np.concatenate([[0], np.flatnonzero(correct_between >= GOOD_WORDS) + 1])  # of each segment, in `wrong`
    return np.stack([np.add.reduceat(a[wrong], first), np.add.reduceat(b[wrong], first)], axis=1)


def matched_pairs(counts: np.ndarray) -> MatchedPairs:
    """The MAPSSWE test on the errors of A and B in each segment, (n, 2).

    With Z the difference in each of n segments, W = mean(Z) / (s / sqrt(n)), where s^2 is the unbiased variance; if
    neither system is better, W is normal with mean 0 and variance 1 for large n, and p = P(|N(0, 1)| >= |W|). As in
    `bootstrap_difference`, p is not below 2^(1-m) with m segments that differ, which matters for a few only.
    """
    differences = counts[:, 0] - counts[:, 1]
    if not differences.any():
        return MatchedPairs(len(differences), 0.0, 0.0, 1.0)
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    statistic = mean / error if error else math.copysign(math.inf, mean)
    p = max(math.erfc(abs(statistic) / math.sqrt(2)), _least_p(differences))
    return MatchedPairs(len(differences), mean, statistic, p)
