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

`Comparison` calls a system better where both find p < 0.05. It goes by words, but where most of what was said is in
scripts without spaces between words by characters, as NIST does for Mandarin: there a "word" is a sentence, wrong
whatever the number of its errors. The bootstrap is done for both. False alarms of words, measured by
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
import re
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
# Tibetan, Thai and Lao, Burmese, Khmer, kana, Chinese characters of all planes
_WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)


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
class Difference:
    """The error rates of two systems, A and B, over words or characters, and how much they differ.

    Args:
        errors_a, errors_b: of both.
        reference: words or characters in the references, the same for both.
        low, high: 95% interval of the difference, a fraction; of no width where draws do not differ, which is no
            certainty.
        p: two-sided, of the paired bootstrap.
    """

    errors_a: int
    errors_b: int
    reference: int
    low: float
    high: float
    p: float

    @property
    def rate_a(self) -> float:
        """Errors of A for each word or character of the references: a fraction, infinite if there are none of these."""
        return _rate(self.errors_a, self.reference)

    @property
    def rate_b(self) -> float:
        """The same of B."""
        return _rate(self.errors_b, self.reference)

    @property
    def difference(self) -> float:
        """The rate of A less that of B: below 0 where A makes fewer errors."""
        return _rate(self.errors_a - self.errors_b, self.reference)

    def describe(self) -> str:
        """The difference and how sure it is, for a person."""
        ends = f"{100 * self.low:+.2f} to {100 * self.high:+.2f}" if self.low < self.high else "-"
        return f"difference {100 * self.difference:+.2f} points (95% interval {ends}), {_p(self.p)} by bootstrap"


@dataclass(frozen=True)
class Comparison:
    """Two systems, A and B, on the same references.

    Args:
        names: of A and B.
        words, characters: the difference of their word and of their character error rates.
        by: what the verdict goes by, and the MAPSSWE test is about.
        interval: what was drawn for the intervals.
        matched: the MAPSSWE test.
        missing: utterances without a hypothesis of A and of B, which count as deleted.
    """

    names: tuple[str, str]
    words: Difference
    characters: Difference
    by: Literal["words", "characters"]
    interval: Literal["speakers", "utterances"]
    matched: MatchedPairs
    missing: tuple[int, int] = (0, 0)

    @property
    def better(self) -> str | None:
        """The name of the system that both tests find better at the 5% level, or None."""
        found = self.words if self.by == "words" else self.characters
        if max(found.p, self.matched.p) >= SIGNIFICANT or found.difference == 0:
            return None
        return self.names[0] if found.difference < 0 else self.names[1]

    def to_dict(self) -> dict[str, object]:
        """What JSON can hold: rates as fractions, null for an infinite one."""
        words, characters = self.words, self.characters
        return {
            "a": self.names[0],
            "b": self.names[1],
            "wer_a": finite(words.rate_a),
            "wer_b": finite(words.rate_b),
            "difference": finite(words.difference),
            "difference_low": finite(words.low),
            "difference_high": finite(words.high),
            "p": words.p,
            "cer_a": finite(characters.rate_a),
            "cer_b": finite(characters.rate_b),
            "cer_difference": finite(characters.difference),
            "cer_difference_low": finite(characters.low),
            "cer_difference_high": finite(characters.high),
            "cer_p": characters.p,
            "interval_over": self.interval,
            "matched_pairs": self.matched.to_dict(),
            "by": self.by,
            "better": self.better,
            "missing_a": self.missing[0],
            "missing_b": self.missing[1],
        }

    def describe(self) -> str:
        """A line for a person, what the verdict goes by first."""
        a, b = self.names
        found = f"{self.better} is better" if self.better else f"no difference shown between {a} and {b}"
        if self.by == "characters":
            found += ", by characters, as in scripts without spaces between words"
        rates = [("WER", self.words), ("CER", self.characters)]
        parts = [
            f"{name} {each.rate_a:.2%} ({a}) and {each.rate_b:.2%} ({b}), {each.describe()} over {self.interval}"
            for name, each in (rates if self.by == "words" else rates[::-1])
        ]
        parts.append(f"{_p(self.matched.p)} by matched pairs of {self.matched.segments} segments")
        if any(self.missing):
            parts.append(
                f"utterances without a hypothesis, all deleted: {self.missing[0]} ({a}), {self.missing[1]} ({b})"
            )
        return f"{found}: {'; '.join(parts)}"


def _rate(errors: int, reference: int) -> float:
    return float(rates(np.asarray(errors), np.asarray(reference)))


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
    groups = speaker_groups(speakers)
    slots = {
        by: [
            (error_slots(split(r), split(x)), error_slots(split(r), split(y)))
            for r, x, y in zip(references, a, b, strict=True)
        ]
        for by, split in (("words", str.split), ("characters", _characters))
    }
    by = "characters" if without_spaces(references) else "words"
    return Comparison(
        names=names,
        words=_difference(slots["words"], groups, seed),
        characters=_difference(slots["characters"], groups, seed),
        by=by,
        interval="utterances" if groups is None else "speakers",
        matched=matched_pairs(np.concatenate([segments(x, y) for x, y in slots[by]])),
    )


def without_spaces(texts: Sequence[str]) -> bool:
    """Whether most characters are of scripts that are written without spaces between words, as Chinese and Thai are."""
    letters = "".join("".join(texts).split())
    return len(_WITHOUT_SPACES.findall(letters)) > len(letters) / 2


def _characters(text: str) -> str:
    """What the CER counts: a space between words is one, however wide."""
    return " ".join(text.split())


def _difference(slots: Sequence[tuple[np.ndarray, np.ndarray]], groups: Sequence[int] | None, seed: int) -> Difference:
    errors = np.array([(x.sum(), y.sum()) for x, y in slots])  # (n, 2)
    tokens = np.array([len(x) // 2 for x, _ in slots])  # (n,)
    drawn = bootstrap_difference(errors[:, 0] - errors[:, 1], tokens, groups, seed=seed)
    return Difference(int(errors[:, 0].sum()), int(errors[:, 1].sum()), int(tokens.sum()), *drawn)


def bootstrap_difference(
    differences: Sequence[int] | np.ndarray,
    words: Sequence[int] | np.ndarray,
    groups: Sequence[int] | np.ndarray | None = None,
    samples: int = 10_000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Interval and two-sided p-value of the difference of two error rates, by the paired bootstrap.

    The p-value is twice the share of draws on the rarer side of 0, those at 0 and one more counted on either, so that
    it is below 0.05 where the 95% interval does not hold 0. Few utterances can all be alike by chance, which draws
    from them cannot see: of m groups that differ all favour one system with a chance of 2^(1-m) if neither is
    better, and p is not below that.

    Args:
        differences: (n,) errors of A less errors of B, one an utterance.
        words: (n,) reference words, or characters.
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


def error_slots(reference: Sequence[str], hypothesis: Sequence[str]) -> np.ndarray:
    """Where the errors are: (2N + 1,) for a reference of N words (or characters).

    Item 2i + 1 is 1 if word i is substituted or deleted, item 2i the number of words inserted before it, the last one
    those after all. The alignment has the fewest errors; where several have, it is jiwer's choice.
    """
    slots = np.zeros(2 * len(reference) + 1, np.int64)
    found = jiwer.process_words([list(reference)], [list(hypothesis)], as_they_are, as_they_are)
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
