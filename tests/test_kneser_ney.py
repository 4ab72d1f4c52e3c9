"""Kneser-Ney probabilities against their definitions, computed by brute force; pruning against explicit divergences."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asr.kneser_ney import FALLBACK, discounts, estimate
from asr.ngram import END, START, UNKNOWN, LanguageModelError, NGram, score_ids

Gram = tuple[str, ...]
SENTENCES = st.lists(st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=8), min_size=1, max_size=12)


class BruteForce:
    """Chen and Goodman's definitions, one n-gram at a time, with dictionaries."""

    def __init__(self, sentences: Sequence[Sequence[str | None]], order: int) -> None:
        self.order = order
        self.vocabulary = {word for sentence in sentences for word in sentence if word} | {UNKNOWN, END}
        self.occurrences = Counter()
        before = defaultdict(set)
        for sentence in sentences:
            if not sentence:
                continue
            tokens = [START, *sentence, END]
            for start in range(len(tokens)):
                for end in range(start + 1, min(start + order, len(tokens)) + 1):
                    gram = tuple(tokens[start:end])
                    if None not in gram:
                        self.occurrences[gram] += 1
                        if start > 0:
                            before[gram].add(tokens[start - 1])
        self.counts = {
            gram: times if len(gram) == order or gram[0] == START else len(before[gram])
            for gram, times in self.occurrences.items()
            if gram != (START,)
        }
        self.discounts = {n: self._discounts(n) for n in range(1, order + 1)}

    def _discounts(self, n: int) -> tuple[float, ...]:
        t = Counter(count for gram, count in self.counts.items() if len(gram) == n)
        if not (t[1] and t[2] and t[3]):
            return FALLBACK
        y = t[1] / (t[1] + 2 * t[2])
        values = (1 - 2 * y * t[2] / t[1], 2 - 3 * y * t[3] / t[2], 3 - 4 * y * t[4] / t[3])
        return values if all(0 < value <= c for c, value in enumerate(values, 1)) else FALLBACK

    def p(self, word: str, context: Gram) -> float:
        """p(word | context), the context as long as one likes."""
        context = context[len(context) - min(len(context), self.order - 1) :]
        following = {gram: c for gram, c in self.counts.items() if gram[:-1] == context}
        lower = self.p(word, context[1:]) if context else 1 / len(self.vocabulary)
        total = sum(following.values())
        if total == 0:
            return lower
        count = following.get((*context, word), 0)
        freed = sum(self.discount(len(context) + 1, c) for c in following.values())
        return (count - self.discount(len(context) + 1, count)) / total + freed / total * lower

    def discount(self, n: int, count: int) -> float:
        return self.discounts[n][min(count, 3) - 1] if count else 0


def random_sentences(seed: int, vocabulary: str = "abcdefg", number: int = 60) -> list[list[str]]:
    """Sentences with words of very different frequencies, and with words that like each other."""
    draw = np.random.default_rng(seed)
    sentences = []
    for _ in range(number):
        i, sentence = 0, []
        for _ in range(draw.integers(1, 12)):
            i = (i + draw.geometric(0.5)) % len(vocabulary)
            sentence.append(vocabulary[i])
        sentences.append(sentence)
    return sentences


def grams_of(model: NGram) -> dict[Gram, int]:
    """Words -> node, of all n-grams and the empty context."""
    tables, found = model.tables, {(): 0}
    for gram, node in found.copy().items():
        stack = [(gram, node)]
        while stack:
            gram, node = stack.pop()
            if node < len(tables.first_child) - 1:
                for child in range(tables.first_child[node], tables.first_child[node + 1]):
                    longer = (*gram, model.words[tables.words[child]])
                    found[longer] = child
                    stack.append((longer, child))
    return found


def distribution(model: NGram, node: int) -> np.ndarray:
    """p of every word but <s> after a context."""
    ids = [i for i, word in enumerate(model.words) if word != START]
    return 10 ** np.array([score_ids(model.tables, node, np.array([i]))[0][0] for i in ids])


def check_sums(model: NGram) -> None:
    for gram, node in grams_of(model).items():
        if node < len(model.tables.first_child) - 1:
            assert distribution(model, node).sum() == pytest.approx(1, abs=2e-6), gram


def check_against_brute_force(sentences: Sequence[Sequence[str | None]], order: int) -> None:
    truth, model = BruteForce(sentences, order), estimate(sentences, order)
    words = sorted(truth.vocabulary - {END})
    probes = [[w if w is not None else UNKNOWN for w in sentence] for sentence in [*sentences[:8], words, words[::-1]]]
    for probe in probes:
        tokens = [START, *probe, END]
        # An unknown word ends every context: nothing that the model knows goes on from it.
        contexts = [tokens[:i] for i in range(1, len(tokens))]
        contexts = [tuple(c[max((j + 1 for j, w in enumerate(c) if w == UNKNOWN), default=0) :]) for c in contexts]
        expected = [math.log10(truth.p(word, context)) for word, context in zip(tokens[1:], contexts, strict=True)]
        assert model.log_probs(probe) == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("order", range(1, 7))
def test_probabilities_equal_brute_force(order: int) -> None:
    check_against_brute_force(random_sentences(order), order)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_brute_force_with_discounts_from_the_text(order: int) -> None:
    # So many words that the counts of counts are all there and in range.
    sentences = random_sentences(0, "abcdefghijklmnopqrstuvwxyzäöüßáéíóú", 300)
    model = estimate(sentences, order)
    assert model.info["fallback"] in ([], [1])
    assert model.info["discounts"] == [
        pytest.approx(values) for values in BruteForce(sentences, order).discounts.values()
    ]
    check_against_brute_force(sentences[:40] + sentences[40:], order)


@settings(max_examples=60, deadline=None)
@given(SENTENCES, st.integers(1, 4))
@example([["a", None, "b"], [None, "c"], [None], [], ["d"]], 3)
@example([["a"]], 6)
@example([[None, "a", None], [None, "a", None]], 2)
def test_probabilities_equal_brute_force_on_odd_texts(sentences: list[list[str | None]], order: int) -> None:
    if any(any(sentence) for sentence in sentences):
        check_against_brute_force(sentences, order)


def test_conventions_of_special_words() -> None:
    model = estimate(random_sentences(1), 3)
    assert model.words[:3] == (UNKNOWN, START, END)
    probs = dict(zip(model.words, 10.0 ** model.tables.log_probs[1 : 1 + len(model.words)], strict=True))
    assert probs[START] == pytest.approx(1e-99)
    backoff = 1 - sum(p for word, p in probs.items() if word != UNKNOWN)
    assert probs[UNKNOWN] == pytest.approx(backoff, rel=1e-3)  # the uniform share, and nothing else
    assert probs[UNKNOWN] == min(p for word, p in probs.items() if word != START)
    assert all(
        START not in gram[1:] and END not in gram[:-1] and UNKNOWN not in gram[:2]
        for gram in grams_of(model)
        if gram[1:]
    )


def test_words_are_sorted_by_frequency() -> None:
    model = estimate([["b", "a", "a"], ["c", "b", "a"], ["d"]], 2)
    assert model.words[3:] == ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("settings", "kept"),
    [({"min_count": 2}, ("a", "b")), ({"max_words": 1}, ("a",)), ({"max_words": 9}, tuple("abcd"))],
)
def test_vocabulary_cut_off(settings: dict[str, int], kept: tuple[str, ...]) -> None:
    sentences = [["b", "a", "d", "a"], ["c", "b", "a"]]
    model = estimate(sentences, 3, **settings)
    assert model.words[3:] == kept
    # The same as text in which those words were left out by hand.
    left_out = [[word if word in kept else None for word in sentence] for sentence in sentences]
    same = estimate(left_out, 3)
    assert model.counts == same.counts
    assert (model.tables.log_probs == same.tables.log_probs).all()


def test_no_ngram_spans_a_word_that_is_left_out() -> None:
    grams = grams_of(estimate([["a", None, "b", "c"]], 3))
    assert ("b", "c", END) in grams
    assert not any(gram[:2] in (("a", "b"), (START, "b")) or gram[:-1] == (UNKNOWN,) for gram in grams)


@pytest.mark.parametrize("order", range(1, 7))
def test_every_context_sums_to_one(order: int) -> None:
    check_sums(estimate(random_sentences(order), order))


@pytest.mark.parametrize("limit", [1e-6, 1e-4, 1e-3, 1e-2, 0.5])
@pytest.mark.parametrize("order", [2, 3, 4, 6])
def test_every_context_sums_to_one_after_pruning(order: int, limit: float) -> None:
    sentences = random_sentences(order)
    model = estimate(sentences, order, prune=limit)
    check_sums(model)
    grams = set(grams_of(model))
    assert all(gram[:-1] in grams and gram[1:] in grams for gram in grams if gram)
    assert len(grams) <= 1 + sum(estimate(sentences, order).counts)


def test_pruning_everything_leaves_the_words() -> None:
    model = estimate(random_sentences(0), 4, prune=0.999)
    assert model.counts == (len(model.words),)
    check_sums(model)


@pytest.mark.parametrize("limit", [3e-4, 1e-3, 3e-3])
@pytest.mark.parametrize("order", [2, 3, 4])
def test_pruning_equals_explicit_divergences(order: int, limit: float) -> None:
    sentences = random_sentences(order + 10)
    truth = BruteForce(sentences, order)
    everything = grams_of(estimate(sentences, order))
    predicted = sum(times for gram, times in truth.occurrences.items() if len(gram) == 1 and gram != (START,))
    kept: set[Gram] = set()
    for n in range(order, 1, -1):
        needed = {part for gram in kept for part in (gram[:-1], gram[1:])}
        for gram in [gram for gram in everything if len(gram) == n]:
            rise = math.expm1(context_share(truth, gram[:-1], predicted) * divergence(truth, everything, gram))
            assert abs(rise / limit - 1) > 1e-6, "too close to tell"
            if rise >= limit or gram in needed:
                kept.add(gram)
    found = {gram for gram in grams_of(estimate(sentences, order, prune=limit)) if len(gram) > 1}
    assert found == kept
    assert 0 < len(kept) < sum(len(gram) > 1 for gram in everything)


def context_share(truth: BruteForce, context: Gram, predicted: int) -> float:
    n = len(context) + 1
    return sum(c for gram, c in truth.occurrences.items() if len(gram) == n and gram[:-1] == context) / predicted


def divergence(truth: BruteForce, grams: dict[Gram, int], left_out: Gram) -> float:
    """Of p(. | context), in nats, from what backing off makes of it without one n-gram."""
    context = left_out[:-1]
    explicit = {gram[-1] for gram in grams if gram[:-1] == context} - {left_out[-1]}
    p = {word: truth.p(word, context) for word in truth.vocabulary}
    q = {word: truth.p(word, context[1:]) for word in truth.vocabulary}
    backoff = (1 - sum(p[word] for word in explicit)) / (1 - sum(q[word] for word in explicit))
    return sum(p[word] * math.log(p[word] / (backoff * q[word])) for word in truth.vocabulary - explicit)


def test_pruning_keeps_what_matters_most() -> None:
    sentences = random_sentences(3, number=200)
    perplexities = [
        estimate(sentences, 3, prune=limit).perplexity(sentences).with_unknown for limit in (0, 1e-4, 1e-3, 1e-2)
    ]
    assert all(a <= b for a, b in pairwise(perplexities))
    assert perplexities[1] < perplexities[0] * 1.02


@pytest.mark.parametrize(
    "counts",
    [[1, 2, 2], [1] * 5, [], [2, 2, 3, 3], [1, 2] + [3] * 50, [5, 6, 7]],
)
def test_discounts_that_cannot_be_told(counts: list[int]) -> None:
    assert discounts(np.array(counts, np.int32)) is None


def test_discounts_of_known_counts() -> None:
    # Y = 100 / (100 + 2 x 40) = 5/9; D1 = 1 - 2Y 40/100, D2 = 2 - 3Y 20/40, D3 = 3 - 4Y 10/20.
    found = discounts(np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 10, 5]))
    assert found == pytest.approx((1 - 4 / 9, 2 - 5 / 6, 3 - 10 / 9))


def test_what_the_model_says_of_itself() -> None:
    model = estimate([["a", "b"], [], ["c"]], 2, info={"units": "words"})
    assert model.info == {
        "units": "words",
        "sentences": 2,
        "words": 3,
        "discounts": [list(FALLBACK)] * 2,
        "fallback": [1, 2],
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": 0}, "order is 0"),
        ({"order": 7}, "1 to 6"),
        ({"min_count": 0}, "min_count is 0"),
        ({"max_words": 0}, "max_words 0"),
        ({"prune": -1e-8}, "prune is"),
        ({"prune": math.nan}, "prune is nan"),
        ({"min_count": 3}, "no words"),
    ],
)
def test_wrong_settings(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(LanguageModelError, match=message):
        estimate([["a", "b"]], **arguments)


@pytest.mark.parametrize("sentences", [[], [[]], [[None]], [["<s>", "</s>", "<unk>"]]])
def test_no_text(sentences: list[list[str | None]]) -> None:
    with pytest.raises(LanguageModelError, match="no words"):
        estimate(sentences)
