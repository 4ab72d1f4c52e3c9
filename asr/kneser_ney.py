"""Estimate n-gram models from text: interpolated modified Kneser-Ney smoothing, and entropy pruning.

Smoothing is that of Chen and Goodman (1999, "An empirical study of smoothing techniques for language modeling") with
the conventions of KenLM's lmplz (Heafield et al. 2013): every sentence begins with one <s>, which is never predicted,
and ends with </s>, which is. The adjusted count c of an n-gram is the number of its occurrences in the highest order
and where it begins with <s>, else the number of different words that stand before it. With the discounts D,

    p(w | context) = (c(context w) - D(c)) / sum of c(context .) + backoff(context) p(w | shorter context)
    backoff(context) = sum of D(c(context .)) / sum of c(context .)

and words alone are interpolated with the uniform distribution over all words, </s> and <unk>, which has no other share.

How it is computed: every position of the text holds, for one order after the other, the number of the n-gram that ends
there. It is that of the n-gram ending one word earlier, joined with the word, and numbered anew by sorting.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count as count_from

import numpy as np
from numpy.typing import NDArray

from asr.ngram import END, START, UNKNOWN, LanguageModelError, Level, NGram, build

ORDERS = range(1, 7)
FALLBACK = (0.5, 1.0, 1.5)  # discounts where a text is too small to tell, those of lmplz --discount_fallback
NEVER = -99.0  # log10 p of <s>
SPECIAL = (UNKNOWN, START, END)  # the words 0, 1 and 2
START_ID, END_ID = 1, 2
BREAK = -1  # in a text: a word that is left out


@dataclass(frozen=True)
class Text:
    """Sentences as numbers.

    Args:
        words: what the ids stand for: <unk>, <s>, </s>, then words, the most frequent first.
        ids: (T,) int32: sentences one after the other, each between <s> and </s>; -1 for a word that is left out.
    """

    words: tuple[str, ...]
    ids: NDArray[np.int32]


@dataclass(frozen=True)
class Counts:
    """The N n-grams of one order in a text, sorted by context and last word.

    Args:
        contexts: (N,) int32: number of the context among the n-grams of the order below; 0 for words.
        words: (N,) int32: last word.
        suffixes: (N,) int32: number of the n-gram without its first word, in the order below.
        occurrences: (N,) int32: how often it occurs.
        adjusted: (N,) int32: its adjusted count.
    """

    contexts: NDArray[np.int32]
    words: NDArray[np.int32]
    suffixes: NDArray[np.int32]
    occurrences: NDArray[np.int32]
    adjusted: NDArray[np.int32]


@dataclass(frozen=True)
class Weights:
    """Probabilities of the N n-grams of one order, in the order of `Counts`.

    Args:
        probs: (N,) float64 p of the last word after the others.
        backoffs: (N,) float64; 1 for an n-gram that is no context of another.
    """

    probs: NDArray[np.float64]
    backoffs: NDArray[np.float64]


def estimate(
    sentences: Iterable[Sequence[str | None]],
    order: int = 3,
    *,
    min_count: int = 1,
    max_words: int | None = None,
    prune: float = 0.0,
    info: Mapping[str, object] | None = None,
) -> NGram:
    """A model of these sentences.

    Args:
        sentences: the words of each, None for a word that is left out. Such words are in no n-gram; together they
            count as one word that stands before others.
        order: words of the longest n-grams, 1 to 6.
        min_count: words that occur less often are left out.
        max_words: only that many words, the most frequent ones, are not left out.
        prune: n-grams without each of which the perplexity rises by less than this share are left out; 1e-8 to 1e-6
            are usual. See `pruned`.
        info: what the model should say of itself. Added to it are "sentences" and "words", as counted, "discounts" of
            each order, and "fallback", the orders whose discounts the text is too small to tell.

    Raises:
        LanguageModelError: there is no word in the sentences, or a setting is out of its range.
    """
    if order not in ORDERS:
        raise LanguageModelError(f"order is {order}; it must be {ORDERS[0]} to {ORDERS[-1]}")
    if min_count < 1 or (max_words is not None and max_words < 1):
        raise LanguageModelError(f"min_count is {min_count} and max_words {max_words}; they must be at least 1")
    if not 0 <= prune < 1:
        raise LanguageModelError(f"prune is {prune}; it must be at least 0 and less than 1")
    text = read(sentences, min_count, max_words)
    counts = count(text, order)
    found = [discounts(level.adjusted) for level in counts]
    weights = smooth(counts, [values or FALLBACK for values in found], len(text.words) - 1)
    if prune:
        counts, weights = pruned(counts, weights, prune)
    number = int(np.count_nonzero(text.ids == END_ID))
    said = {
        "sentences": number,
        "words": len(text.ids) - 2 * number,
        "discounts": [list(values or FALLBACK) for values in found],
        "fallback": [n for n, values in enumerate(found, 1) if values is None],
    }
    return build(text.words, [_level(*both) for both in zip(counts, weights, strict=True)], {**(info or {}), **said})


def _level(counts: Counts, weights: Weights) -> Level:
    with np.errstate(divide="ignore"):
        log_probs = np.maximum(np.log10(weights.probs), NEVER)
    return Level(counts.contexts, counts.words, log_probs, np.log10(weights.backoffs))


def read(sentences: Iterable[Sequence[str | None]], min_count: int = 1, max_words: int | None = None) -> Text:
    """Number the words of sentences; sentences without any are passed over. See `estimate`."""
    numbers: defaultdict[str | None, int] = defaultdict(count_from(len(SPECIAL)).__next__)
    numbers.update(dict.fromkeys((None, *SPECIAL), BREAK))
    text = array("i")
    for sentence in sentences:
        if sentence:
            text.append(START_ID)
            text.extend([numbers[word] for word in sentence])
            text.append(END_ID)
    words = list(numbers)[1 + len(SPECIAL) :]
    ids = np.frombuffer(text, np.int32) if text else np.empty(0, np.int32)
    frequencies = np.bincount(ids[ids >= len(SPECIAL)], minlength=len(SPECIAL) + len(words))[len(SPECIAL) :]
    ranked = sorted(range(len(words)), key=lambda i: (-frequencies[i], words[i]))
    kept = [i for i in ranked if frequencies[i] >= min_count][:max_words]
    if not kept:
        raise LanguageModelError(f"no words to estimate a model from; of {len(words)} different words none is kept")
    new = np.full(len(SPECIAL) + len(words) + 1, BREAK, np.int32)  # at its end, new[BREAK]
    new[: len(SPECIAL)] = range(len(SPECIAL))
    new[np.array(kept) + len(SPECIAL)] = np.arange(len(kept)) + len(SPECIAL)
    return Text((*SPECIAL, *(words[i] for i in kept)), new[ids])


def count(text: Text, order: int) -> list[Counts]:
    """The n-grams of every order up to this one, or to the longest that there are, and how often they occur."""
    ids, size = text.ids, len(text.words)
    occurrences = np.bincount(ids[ids >= 0], minlength=size).astype(np.int32)
    zeros, numbers = np.zeros(size, np.int32), np.arange(size, dtype=np.int32)
    levels = [Counts(zeros, numbers, zeros, occurrences, occurrences)]
    ends = ids  # (T,) number of the n-gram that ends at each position, -1 where there is none
    from_start = np.arange(size) == START_ID  # whether each n-gram begins with <s>
    for n in range(2, order + 1):
        after_break = np.zeros(len(levels[-1].words), bool)
        after_break[ends[n - 1 :][(ids[: 1 - n] == BREAK) & (ends[n - 1 :] >= 0)]] = True
        places = np.flatnonzero((ends[:-1] >= 0) & (ids[1:] >= 0) & (ids[1:] != START_ID)).astype(np.int32) + 1
        # No name here for what is handed over: it is large, and goes as soon as it is sorted.
        keys, first, numbers, occurrences = _unique(ends[places - 1] * np.int64(size) + ids[places])
        suffixes = ends[places[first]]
        preceded = np.bincount(suffixes, minlength=len(after_break)) + after_break
        adjusted = np.where(from_start, levels[-1].occurrences, preceded).astype(np.int32)
        levels[-1] = replace(levels[-1], adjusted=adjusted)
        if not len(keys):
            break
        contexts, words = (part.astype(np.int32) for part in divmod(keys, size))
        levels.append(Counts(contexts, words, suffixes, occurrences, occurrences))
        from_start = from_start[contexts]
        ends = np.full(len(ids), -1, np.int32)
        ends[places] = numbers
    never = levels[0].adjusted.copy()
    never[START_ID] = 0
    return [replace(levels[0], adjusted=never), *levels[1:]]


def _unique(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray, NDArray[np.int32], NDArray[np.int32]]:
    """The sorted different keys, the place of one of each, the number of the key in every place, and their counts.

    As `numpy.unique`, in half the memory.
    """
    order = np.argsort(keys)
    keys = keys[order]
    is_new = np.empty(len(keys), bool)
    is_new[:1] = True
    np.not_equal(keys[1:], keys[:-1], out=is_new[1:])
    starts = np.flatnonzero(is_new)
    numbers = np.empty(len(keys), np.int32)
    numbers[order] = np.cumsum(is_new, dtype=np.int32) - 1
    return keys[starts], order[starts], numbers, np.diff(starts, append=len(keys)).astype(np.int32)


def discounts(adjusted: NDArray[np.integer]) -> tuple[float, float, float] | None:
    """D1, D2 and D3+ of adjusted counts 1, 2, and 3 or more (Chen and Goodman 1999, equation 26).

    None where the counts cannot tell: a text so small, or so odd, that one of them would be out of its range.
    """
    seen = np.bincount(np.minimum(adjusted, 5), minlength=6).astype(float)
    if not seen[1:4].all():
        return None
    share = seen[1] / (seen[1] + 2 * seen[2])
    values = tuple(float(c - (c + 1) * share * seen[c + 1] / seen[c]) for c in (1, 2, 3))
    return values if all(0 < value <= c for c, value in enumerate(values, 1)) else None


def smooth(counts: Sequence[Counts], discounts: Sequence[Sequence[float]], vocabulary: int) -> list[Weights]:
    """Kneser-Ney probabilities and back-off weights.

    Args:
        discounts: D1, D2 and D3+ of each order.
        vocabulary: number of words that may come next, with </s> and <unk>.
    """
    below = Weights(np.full(1, 1 / vocabulary), np.ones(1))  # before the words: the uniform distribution
    result = [below]
    for level, values in zip(counts, discounts, strict=True):
        size = len(below.probs)
        discount = np.array([0.0, *values])[np.minimum(level.adjusted, 3)]
        total = np.bincount(level.contexts, level.adjusted, size)
        has_words = total > 0
        backoffs = np.bincount(level.contexts, discount, size)
        np.divide(backoffs, total, out=backoffs, where=has_words)
        probs = (level.adjusted - discount) / total[level.contexts]
        probs += (backoffs * has_words)[level.contexts] * below.probs[level.suffixes]
        backoffs[~has_words] = 1
        result[-1] = replace(below, backoffs=backoffs)
        below = Weights(probs, np.ones(len(probs)))
        result.append(below)
    words = result[1].probs
    words[START_ID] = 0
    return result[1:]


def pruned(counts: Sequence[Counts], weights: Sequence[Weights], limit: float) -> tuple[list[Counts], list[Weights]]:
    """Leave out n-grams that change little (Stolcke 1998, "Entropy-based pruning of backoff language models").

    From the highest order down, an n-gram goes if without it the perplexity of the model's own distribution would rise
    by a share below the limit, unless it is the context or the end of one that stays. How probable its context is,
    occurrences tell: the probabilities that Kneser-Ney gives to shorter n-grams are made for backing off and say little
    of that (Chelba et al. 2010, "Study on interaction between entropy pruning and Kneser-Ney smoothing").
    Back-off weights are computed anew, so that after every context the probabilities sum to 1.
    """
    counts, weights = list(counts), list(weights)
    predicted = counts[0].occurrences.sum() - counts[0].occurrences[START_ID]
    keep = [np.ones(len(level.words), bool) for level in counts]
    needed = np.zeros(len(counts[-1].words), bool)
    for n in range(len(counts) - 1, 0, -1):
        level, context = counts[n], counts[n].contexts
        size = len(counts[n - 1].words)
        p, q = weights[n].probs, weights[n - 1].probs[level.suffixes]
        backoffs = weights[n - 1].backoffs
        free_q = np.maximum(1 - np.bincount(context, q, size), 0)  # what words not seen after a context would have
        free_p = backoffs * free_q
        new = (free_p[context] + p) / (free_q[context] + q)  # back-off weight without this n-gram
        gain = p * np.log(q * new / p) + free_p[context] * np.log(new / backoffs[context])
        share = np.bincount(context, level.occurrences, size) / predicted
        goes = (np.expm1(-share[context] * gain) < limit) & ~needed
        keep[n] = stays = ~goes

        lost_p, lost_q = (np.bincount(context[goes], values[goes], size) for values in (p, q))
        kept = np.bincount(context[stays], minlength=size)
        changed = np.divide(free_p + lost_p, free_q + lost_q, out=np.ones(size), where=(lost_p > 0) & (kept > 0))
        weights[n - 1] = replace(weights[n - 1], backoffs=np.where((lost_p > 0) | (kept == 0), changed, backoffs))
        needed = kept > 0
        needed[level.suffixes[stays]] = True
    return _kept(counts, weights, keep)


def _kept(
    counts: Sequence[Counts], weights: Sequence[Weights], keep: Sequence[NDArray[np.bool_]]
) -> tuple[list[Counts], list[Weights]]:
    """Only these n-grams, numbered anew; without the highest orders where none of theirs is left."""
    few_counts, few_weights = [], []
    new = np.zeros(1, np.int32)
    for level, values, stays in zip(counts, weights, keep, strict=True):
        if not stays.any():
            break
        few = Counts(*(getattr(level, name)[stays] for name in Counts.__dataclass_fields__))
        few_counts.append(replace(few, contexts=new[few.contexts], suffixes=new[few.suffixes]))
        few_weights.append(Weights(values.probs[stays], values.backoffs[stays]))
        new = np.cumsum(stays, dtype=np.int32) - 1
    return few_counts, few_weights
