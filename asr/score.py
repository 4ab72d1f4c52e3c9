"""Scores: word and character error rates with their counts, and an interval that says how far to trust them.

The word error rate is WER = (S + D + I) / N: the fewest substitutions, deletions and insertions of words
that turn the reference into the hypothesis (Levenshtein distance), over the N words of the reference. The
character error rate is the same over characters, with the spaces between words among them. A corpus's rate is
total errors over total reference words, not a mean of rates. It exceeds 1 where insertions are many.

Text is compared as it is: put references and hypotheses through one `asr.text.Normalizer` before. The only
thing done here is to split at white space. An empty hypothesis is all deletions. An empty reference adds
insertions and no words; with no reference word at all the rate is 0 without errors and infinite with them
(null in JSON).

How often a 95% interval holds the true rate depends on what is drawn for it. Measured by
`python scripts/interval_coverage.py`, which states its assumptions, on 1,000 simulated test sets a row (standard
errors: up to 1.0 points, 1.6 for the second row):

    | test set                                    | drawn      | intervals with the true rate |
    |---------------------------------------------|------------|------------------------------|
    | 1,000 independent utterances                | utterances | 95.7%                        |
    | 10 speakers of 30 utterances                | utterances | 42.9%                        |
    |                                             | speakers   | 88.3%                        |
    | 20 speakers of 30 utterances                | speakers   | 90.8%                        |
    | 40 speakers of 30 utterances                | speakers   | 92.6%                        |
    | 100 speakers of 30 utterances               | speakers   | 93.1%                        |

So with fewer than 20 known speakers the interval is one for more utterances of the same speakers, not for others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
import numpy as np

from asr import Error

MIN_SPEAKERS = 20  # with fewer, resampling speakers says little about how much speakers differ
_CHUNK = 2**22  # counts drawn at once: 32 MiB
_FEW_ROWS = 500  # counts of words have hardly more distinct rows; counts of characters may have one an utterance
_ROW_COST = 8  # drawing how often a row occurs takes as long as drawing so many groups


class ScoreError(Error):
    """References, hypotheses and speakers that cannot be scored together."""


@dataclass(frozen=True)
class Counts:
    """How the tokens of references and hypotheses were aligned. Counts add up over utterances."""

    hits: int = 0
    substitutions: int = 0
    deletions: int = 0
    insertions: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.hits + other.hits,
            self.substitutions + other.substitutions,
            self.deletions + other.deletions,
            self.insertions + other.insertions,
        )

    @property
    def reference(self) -> int:
        """Tokens in the reference."""
        return self.hits + self.substitutions + self.deletions

    @property
    def errors(self) -> int:
        return self.substitutions + self.deletions + self.insertions

    @property
    def rate(self) -> float:
        """Errors per reference token; without reference tokens 0.0 if there is no error, else infinite."""
        if self.reference == 0:
            return math.inf if self.errors else 0.0
        return self.errors / self.reference


@dataclass(frozen=True)
class Score:
    """The errors of a corpus, and 95% intervals for its rates with what was resampled for them.

    Args:
        words, characters: how they were aligned.
        low, high: interval of the word error rate.
        cer_low, cer_high: that of the character error rate.
        interval: what was resampled.
    """

    words: Counts
    characters: Counts
    utterances: int
    low: float
    high: float
    cer_low: float
    cer_high: float
    interval: Literal["speakers", "utterances"]

    @property
    def wer(self) -> float:
        return self.words.rate

    @property
    def cer(self) -> float:
        return self.characters.rate

    def to_dict(self) -> dict[str, float | int | str | None]:
        """What JSON can hold: rates as fractions, null for an infinite one; `errors` and their kinds are of words."""
        return {
            "wer": finite(self.wer),
            "cer": finite(self.cer),
            "words": self.words.reference,
            "errors": self.words.errors,
            "substitutions": self.words.substitutions,
            "deletions": self.words.deletions,
            "insertions": self.words.insertions,
            "utterances": self.utterances,
            "wer_low": finite(self.low),
            "wer_high": finite(self.high),
            "characters": self.characters.reference,
            "character_errors": self.characters.errors,
            "character_substitutions": self.characters.substitutions,
            "character_deletions": self.characters.deletions,
            "character_insertions": self.characters.insertions,
            "cer_low": finite(self.cer_low),
            "cer_high": finite(self.cer_high),
            "interval_over": self.interval,
        }


def finite(rate: float) -> float | None:
    """The rate, or None where JSON has no number for it."""
    return rate if math.isfinite(rate) else None


def count(reference: Sequence[str], hypothesis: Sequence[str]) -> Counts:
    """Align two sequences of tokens with the fewest errors and count them.

    The number of errors is unique. Where alignments tie, their hits and kinds of errors are jiwer's choice.
    """
    # jiwer would strip and split sentences; given token lists and the identity it aligns them as they are.
    output = jiwer.process_words([list(reference)], [list(hypothesis)], as_they_are, as_they_are)
    return Counts(output.hits, output.substitutions, output.deletions, output.insertions)


def as_they_are(tokens: list[list[str]]) -> list[list[str]]:
    """For jiwer: no transform of what is a list of tokens already."""
    return tokens


def word_counts(reference: str, hypothesis: str) -> Counts:
    """Count word errors; words are what white space separates."""
    return count(reference.split(), hypothesis.split())


def character_counts(reference: str, hypothesis: str) -> Counts:
    """Count character (code point) errors; a space between words, however wide, is one character."""
    return count(" ".join(reference.split()), " ".join(hypothesis.split()))


def score(
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[str | None] | None = None,
    seed: int = 0,
) -> Score:
    """Score normalised texts, every pair of them; a failed utterance is scored with an empty hypothesis.

    The intervals are a bootstrap over speakers where at least 20 are known (an utterance of an unknown one then
    counts as a speaker of its own) and else over utterances, which is too narrow where speakers differ.

    Args:
        references, hypotheses: one text an utterance, in the same order.
        speakers: one name an utterance or None where unknown, in the same order.
        seed: of the bootstrap; the order of utterances does not matter to it.

    Raises:
        ScoreError: nothing to score, or the lengths differ.
    """
    check_lengths(references, hypotheses, speakers)
    words = [word_counts(*pair) for pair in zip(references, hypotheses, strict=True)]
    characters = [character_counts(*pair) for pair in zip(references, hypotheses, strict=True)]
    groups = speaker_groups(speakers)
    intervals = [
        bootstrap_interval([each.errors for each in counts], [each.reference for each in counts], groups, seed=seed)
        for counts in (words, characters)
    ]
    return Score(
        words=sum(words, Counts()),
        characters=sum(characters, Counts()),
        utterances=len(words),
        low=intervals[0][0],
        high=intervals[0][1],
        cer_low=intervals[1][0],
        cer_high=intervals[1][1],
        interval="utterances" if groups is None else "speakers",
    )


def check_lengths(references: Sequence[str], hypotheses: Sequence[str], speakers: Sequence[str | None] | None) -> None:
    """See that there is one hypothesis for each reference, and one speaker if any.

    Raises:
        ScoreError: nothing to score, or the lengths differ.
    """
    if len(references) == 0:
        raise ScoreError("there is nothing to score: expected at least one reference, found none")
    if len(hypotheses) != len(references):
        raise ScoreError(
            f"found {len(hypotheses)} hypotheses for {len(references)} references, expected one for each; "
            "give an utterance that failed an empty hypothesis"
        )
    if speakers is not None and len(speakers) != len(references):
        raise ScoreError(f"found {len(speakers)} speakers for {len(references)} references, expected one for each")


def speaker_groups(speakers: Sequence[str | None] | None) -> list[int] | None:
    """What a bootstrap draws: a group number for every utterance, one a speaker, or None: utterances.

    None where fewer than 20 speakers are known. An utterance of an unknown speaker is a group of its own.
    """
    if speakers is None or len(set(speakers) - {None}) < MIN_SPEAKERS:
        return None
    keys = [("unknown", i) if speaker is None else ("known", speaker) for i, speaker in enumerate(speakers)]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


def bootstrap_interval(
    errors: Sequence[int] | np.ndarray,
    words: Sequence[int] | np.ndarray,
    groups: Sequence[int] | np.ndarray | None = None,
    samples: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of an error rate by the percentile bootstrap.

    Test sets of the same size are drawn from the one at hand with replacement, and the interval holds the
    middle `level` of their rates: M. Bisani and H. Ney, "Bootstrap estimates for confidence intervals in ASR
    performance evaluation", ICASSP 2004. With `groups`, whole groups are drawn, since the utterances of a
    speaker are alike: Z. Liu and F. Peng, "Statistical testing on ASR performance via blockwise bootstrap",
    Interspeech 2020.

    Without a single error every draw has rate 0, so the upper end is the largest rate p at which n words in a
    row are right with a chance of at least 1 - level: (1 - p)^n = 1 - level, p = 1 - 0.05^(1/n) at 95%. That
    is the exact form of the "rule of three", 3/n, for words that err independently.

    Args:
        errors, words: (n,) counts, one an utterance.
        groups: (n,) the group of each utterance, such as its speaker; None: every utterance is its own.
        samples: test sets to draw.
        seed: same seed, same interval, whatever the order of utterances.
        level: of confidence, between 0 and 1.

    Returns:
        Lower and upper end, fractions; equal for one group, which says nothing about how groups differ.
    """
    pairs = np.stack([np.asarray(errors, np.int64), np.asarray(words, np.int64)], axis=1)  # (n, 2)
    totals = group_totals(pairs, groups)  # (G, 2)
    if not totals[:, 0].any():
        return 0.0, _upper_end_without_errors(int(totals[:, 1].sum()), level)
    drawn = resampled_totals(totals, samples, np.random.default_rng(seed))  # (samples, 2)
    return middle(rates(drawn[:, 0], drawn[:, 1]), level)


def _upper_end_without_errors(words: int, level: float) -> float:
    return 1 - (1 - level) ** (1 / words) if words else 1.0


def middle(drawn: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The ends of the middle `level` of values (n,): order statistics, since infinite rates do not interpolate."""
    drawn = np.sort(drawn)
    tail = (1 - level) / 2 * (len(drawn) - 1)
    return float(drawn[math.floor(tail)]), float(drawn[math.ceil(len(drawn) - 1 - tail)])


def rates(errors: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Errors per word, (n,) and (n,) -> (n,): 0 where there is no error, infinite for errors without a word."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(errors == 0, 0.0, errors / words)


def group_totals(counts: np.ndarray, groups: Sequence[int] | np.ndarray | None) -> np.ndarray:
    """Sums over each group, in no special order: counts (n, K) and groups (n,) or None -> (G, K)."""
    if groups is None:
        return counts
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    totals = np.zeros((numbers.max() + 1, counts.shape[1]), np.int64)
    np.add.at(totals, numbers, counts)
    return totals


def resampled_totals(totals: np.ndarray, samples: int, random: np.random.Generator) -> np.ndarray:
    """Sums over test sets of as many groups, drawn with replacement: (G, K) -> (samples, K).

    Groups with the same counts are interchangeable, so what is drawn is how often each distinct row occurs: far
    fewer numbers than one a group, with exactly the same distribution. Where hardly a row occurs twice, drawing the
    groups is quicker.
    """
    rows, times = np.unique(totals, axis=0, return_counts=True)  # (R, K), (R,)
    each = len(rows) > max(_FEW_ROWS, len(totals) / _ROW_COST)
    ordered = rows.repeat(times, axis=0)  # (G, K); of one order, whatever that of the groups
    chunk = max(1, _CHUNK // (len(totals) if each else len(rows)))
    drawn = []
    for start in range(0, samples, chunk):
        size = min(chunk, samples - start)
        if each:
            groups = random.integers(len(totals), size=(size, len(totals)), dtype=np.int32)
            drawn.append(np.stack([column.take(groups).sum(axis=1) for column in ordered.T], axis=1))
        else:
            drawn.append(random.multinomial(len(totals), times / len(totals), size=size) @ rows)
    return np.concatenate(drawn)
