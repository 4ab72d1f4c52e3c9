"""Beam search against brute force over all paths, and what it must never get wrong."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from asr.beam import INSIDE, OPENS, SEPARATES
from asr.decode import BeamSearch, BeamSettings, DecodeError, Hypothesis, greedy
from asr.loading import beam_search, word_search
from asr.ngram import END, START, UNKNOWN, NGram, Tables
from asr.text import Alphabet
from asr.vocabulary import hot_words, lexicon, spelled_lexicon, token_kinds

EXACT = {"beam_size": 10**6, "window": np.inf, "floor": -np.inf}
NATURAL = np.log(10)
Grams = dict[tuple[str, ...], tuple[float, float]]  # n-gram -> log10 p, back-off


def random_log_probs(rng: np.random.Generator, frames: int, tokens: int) -> NDArray[np.float32]:
    logits = rng.normal(size=(frames, tokens)) * 2
    return (logits - np.log(np.exp(logits).sum(1, keepdims=True))).astype(np.float32)


def collapse(path: Sequence[int]) -> tuple[int, ...]:
    return tuple(token for token, _ in itertools.groupby(path) if token != 0)


def all_sequences(log_probs: NDArray[np.float32]) -> dict[tuple[int, ...], float]:
    """Log-probability of every token sequence: the sum over all paths that give it."""
    found: dict[tuple[int, ...], float] = {}
    for path in itertools.product(range(log_probs.shape[1]), repeat=len(log_probs)):
        ids = collapse(path)
        acoustic = sum(float(log_probs[t, token]) for t, token in enumerate(path))
        found[ids] = np.logaddexp(found.get(ids, -np.inf), acoustic)
    return found


def random_grams(rng: np.random.Generator, words: Sequence[str], order: int) -> Grams:
    """Any numbers will do: n-grams whose beginning and end are there as well."""
    grams: Grams = {(word,): (rng.uniform(-2, -0.1), rng.uniform(-1, 0.2)) for word in (*words, START, END, UNKNOWN)}
    for n in range(2, order + 1):
        for gram in itertools.product((START, *words, END), repeat=n):
            can_be = gram[:-1] in grams and gram[1:] in grams and START not in gram[1:] and END not in gram[:-1]
            if can_be and rng.random() < 0.5:
                grams[gram] = (rng.uniform(-2, -0.1), rng.uniform(-1, 0.2) if n < order else 0.0)
    return grams


def model_of(grams: Grams, order: int) -> NGram:
    """The arrays of these n-grams, made as simply as it can be done."""
    words = tuple(gram[0] for gram in grams if len(gram) == 1)
    ids = {word: i for i, word in enumerate(words)}
    nodes: list[tuple[str, ...]] = [()]
    for n in range(1, order + 1):
        found = [gram for gram in grams if len(gram) == n]
        nodes += sorted(found, key=lambda gram: (nodes.index(gram[:-1]), ids[gram[-1]]))
    number = {node: i for i, node in enumerate(nodes)}
    counts = tuple(sum(len(node) == n for node in nodes) for n in range(1, order + 1))
    contexts = 1 + sum(counts[:-1])
    owners = [number[node[:-1]] for node in nodes[1:]]
    first_child = 1 + np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=contexts))])
    arrays = (
        first_child.astype(np.uint32),
        np.array([0, *(ids[node[-1]] for node in nodes[1:])], np.uint32),
        np.array([0, *(grams[node][0] for node in nodes[1:])], np.float32),
        np.array([0, *(grams[node][1] for node in nodes[1:contexts])], np.float32),
        np.array([number[node[1:]] for node in nodes[:contexts] if len(node) > 2], np.uint32),
    )
    for array in arrays:
        array.setflags(write=False)
    return NGram(words, counts, Tables(*arrays, 1.0, 1.0, 1 + counts[0], 1 + sum(counts[:2])))


def log10(grams: Grams, context: tuple[str, ...], word: str) -> float:
    """The back-off formula, in words."""
    if (*context, word) in grams:
        return grams[(*context, word)][0]
    backoff = grams[context][1] if context in grams else 0.0
    return backoff + log10(grams, context[1:], word)


def sentence_score(grams: Grams, order: int, words: Sequence[str]) -> float:
    known = [word if (word,) in grams else UNKNOWN for word in words]
    sentence = [START, *known, END]
    return sum(log10(grams, tuple(sentence[max(0, i - order + 1) : i]), sentence[i]) for i in range(1, len(sentence)))


def search_all(search: BeamSearch, log_probs: NDArray[np.float32]) -> list[Hypothesis]:
    (found,) = search(log_probs[None], np.array([len(log_probs)]), n_best=10**6)
    assert [hypothesis.score for hypothesis in found] == sorted((h.score for h in found), reverse=True)
    for hypothesis in found:
        assert hypothesis.score == pytest.approx(hypothesis.acoustic + hypothesis.language)
    return found


def kinds(*values: int) -> NDArray[np.int8]:
    return np.array(values, np.int8)


@pytest.mark.parametrize("seed", range(8))
def test_without_a_language_model_it_sums_all_paths(seed: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, rng.integers(1, 6), rng.integers(2, 5))
    search = BeamSearch(np.zeros(log_probs.shape[1], np.int8), BeamSettings(**EXACT))
    found = {hypothesis.ids: hypothesis.score for hypothesis in search_all(search, log_probs)}
    assert found == pytest.approx(all_sequences(log_probs), abs=1e-4)


def test_its_probabilities_are_those_of_the_ctc_loss() -> None:
    log_probs = random_log_probs(np.random.default_rng(0), 9, 4)
    search = BeamSearch(np.zeros(4, np.int8), BeamSettings(**EXACT))
    for hypothesis in search_all(search, log_probs)[:200]:
        loss = torch.nn.functional.ctc_loss(
            torch.from_numpy(log_probs)[:, None],
            torch.tensor([hypothesis.ids]),
            [9],
            [len(hypothesis.ids)],
            reduction="sum",
        )
        assert hypothesis.acoustic == pytest.approx(-loss.item(), abs=1e-4)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_with_a_model_of_tokens(seed: int, order: int) -> None:
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, 5, 4)
    grams = random_grams(rng, "ab", order)
    model = model_of(grams, order)
    token_words = np.array([0, model.ids["a"], model.ids["b"], model.ids[UNKNOWN]])
    chosen = BeamSettings(alpha=0.7, beta=0.3, unknown_price=0.8, **EXACT)
    search = BeamSearch(kinds(0, 0, 0, 0), chosen, model, token_words=token_words)
    expected = {
        ids: acoustic
        + 0.7 * NATURAL * sentence_score(grams, order, ["ab?"[i - 1] for i in ids])
        + 0.3 * len(ids)
        - 0.8 * ids.count(3)
        for ids, acoustic in all_sequences(log_probs).items()
    }
    found = {hypothesis.ids: hypothesis.score for hypothesis in search_all(search, log_probs)}
    assert found == pytest.approx(expected, abs=1e-3)


SPELLINGS = {"a": (1,), "ab": (1, 2), "bab": (2, 1, 2)}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_with_words_of_letters_that_end_at_a_space(seed: int, order: int) -> None:
    """Token 3 is the space; texts that differ by spaces alone are one. Words that are not in the vocabulary cost."""
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, 6, 4)
    grams = random_grams(rng, tuple(SPELLINGS), order)
    model = model_of(grams, order)
    words = lexicon(model, list(SPELLINGS.values()), [model.ids[word] for word in SPELLINGS])
    chosen = BeamSettings(alpha=0.7, beta=0.3, unknown_price=1.5, **EXACT)
    search = BeamSearch(kinds(INSIDE, INSIDE, INSIDE, SEPARATES), chosen, model, words)

    def text(ids: Sequence[int]) -> tuple[str, ...]:
        return tuple("".join("?ab "[i] for i in ids).split())

    expected: dict[tuple[str, ...], float] = {}
    for ids, acoustic in all_sequences(log_probs).items():
        expected[text(ids)] = np.logaddexp(expected.get(text(ids), -np.inf), acoustic)
    for words in expected:
        expected[words] += 0.7 * NATURAL * sentence_score(grams, order, words) + 0.3 * len(words)
        expected[words] -= 1.5 * sum(word not in SPELLINGS for word in words)
    hypotheses = search_all(search, log_probs)
    assert {text(hypothesis.ids): hypothesis.score for hypothesis in hypotheses} == pytest.approx(expected, abs=1e-3)
    assert len({text(hypothesis.ids) for hypothesis in hypotheses}) == len(hypotheses)


@pytest.mark.parametrize("seed", range(6))
def test_with_words_of_pieces_that_end_before_the_next_opens(seed: int) -> None:
    """Pieces ▁a, b and ▁ba; "▁b" is no piece, so that the word "ab" is ▁a b."""
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, 5, 4)
    grams = random_grams(rng, ("a", "ab", "ba"), 3)
    model = model_of(grams, 3)
    pieces = ["", "▁a", "b", "▁ba"]
    words = lexicon(model, [(1,), (1, 2), (3,)], [model.ids[word] for word in ("a", "ab", "ba")])
    chosen = BeamSettings(alpha=0.7, beta=0.3, unknown_price=1.5, **EXACT)
    search = BeamSearch(kinds(INSIDE, OPENS, INSIDE, OPENS), chosen, model, words)
    expected = {}
    for ids, acoustic in all_sequences(log_probs).items():
        text = "".join(pieces[i] for i in ids).replace("▁", " ").split()
        score = 0.7 * NATURAL * sentence_score(grams, 3, text) + 0.3 * len(text)
        # A piece without a word before it, or one that no word goes on with, is in no word of the vocabulary.
        expected[ids] = acoustic + score - 1.5 * sum(word not in ("a", "ab", "ba") for word in text)
    found = {hypothesis.ids: hypothesis.score for hypothesis in search_all(search, log_probs)}
    assert found == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("seed", range(6))
def test_with_words_of_phones_that_end_at_their_last(seed: int) -> None:
    """x has two pronunciations, y sounds like one of them, z begins with it. Only whole words come out."""
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, 5, 3)
    grams = random_grams(rng, "xyz", 3)
    model = model_of(grams, 3)
    spoken = [((1,), "x"), ((2, 1), "x"), ((1,), "y"), ((1, 2), "z")]
    words = lexicon(model, [phones for phones, _ in spoken], [model.ids[word] for _, word in spoken])
    chosen = BeamSettings(alpha=0.7, beta=0.3, **EXACT)
    search = BeamSearch(kinds(INSIDE, INSIDE, INSIDE), chosen, model, words)
    sequences = all_sequences(log_probs)
    expected: dict[tuple[str, ...], float] = {}
    for count in range(6):
        for choice in itertools.product(spoken, repeat=count):
            acoustic = sequences.get(tuple(phone for phones, _ in choice for phone in phones))
            if acoustic is not None:
                text = tuple(word for _, word in choice)
                expected[text] = np.logaddexp(expected.get(text, -np.inf), acoustic)
    for text in expected:
        expected[text] += 0.7 * NATURAL * sentence_score(grams, 3, text) + 0.3 * len(text)
    found = {
        tuple(model.words[word] for word in hypothesis.words): hypothesis.score
        for hypothesis in search_all(search, log_probs)
    }
    assert found == pytest.approx(expected, abs=1e-3)


ABC = Alphabet(("", " ", "a", "b", "c"))


def hot_score(text: str, phrases: dict[str, float]) -> float:
    """What the phrases of a text earn: each for all its words, the longest first where they begin together."""
    words, total, i = text.split(), 0.0, 0
    while i < len(words):
        here = [phrase for phrase in phrases if words[i : i + len(phrase.split())] == phrase.split()]
        longest = max(here, key=lambda phrase: len(phrase.split()), default="")
        total += phrases[longest] * len(longest.split()) if longest else 0.0
        i += max(1, len(longest.split()))
    return total


@pytest.mark.parametrize("seed", range(6))
def test_hot_words_and_phrases_earn_their_weight_and_nothing_else_does(seed: int) -> None:
    log_probs = random_log_probs(np.random.default_rng(seed), 6, 5)
    phrases = {"a": 1.0, "a b": 2.0, "cab": 3.0}
    search = BeamSearch(token_kinds(ABC), BeamSettings(**EXACT), hot=hot_words(phrases, ABC, token_kinds(ABC)))
    expected = {
        ids: acoustic + hot_score(ABC.decode(ids), phrases)
        for ids, acoustic in all_sequences(log_probs).items()
        if "  " not in f" {ABC.decode(ids)}"  # where a word may begin twice
    }
    found = {hypothesis.ids: hypothesis.score for hypothesis in search_all(search, log_probs)}
    assert {ids: found[ids] for ids in expected} == pytest.approx(expected, abs=1e-3)


WITHOUT_SPACES = Alphabet(("", "今", "大", "天", "好", "很"))


@pytest.mark.parametrize("hot", ["天", "今天"])
@pytest.mark.parametrize("units", ["none", "characters", "words"])
def test_hot_words_are_found_in_scripts_without_spaces(units: str, hot: str) -> None:
    """Anywhere in an utterance; with words also one that the language model does not have."""
    log_probs = emissions("今大很好", WITHOUT_SPACES)
    log_probs[3, 2:4], log_probs[4] = np.log([0.5, 0.4]), log_probs[5]  # 大 or 天?
    model = None
    if units != "none":
        model = model_of({(word,): (-1.0, 0.0) for word in ("今", "大", "天", "很", "好", START, END, UNKNOWN)}, 1)
        model = dataclasses.replace(model, info={"units": units})
    for phrases, expected in (({}, "今大很好"), ({hot: 2.0}, "今天很好")):
        search = beam_search(WITHOUT_SPACES, model, BeamSettings(), phrases)
        ((found,),) = search(log_probs[None], np.array([len(log_probs)]))
        assert WITHOUT_SPACES.decode(found.ids) == expected


def test_hot_words_replace_nothing_else_in_scripts_without_spaces() -> None:
    log_probs = emissions("今大很好", WITHOUT_SPACES)
    ((found,),) = beam_search(WITHOUT_SPACES, None, BeamSettings(), {"天好": 2.0})(log_probs[None], np.array([12]))
    assert WITHOUT_SPACES.decode(found.ids) == "今大很好"


@pytest.mark.parametrize("least", [-100.0, -16.0])
def test_unknown_hot_words_are_found_where_a_model_has_no_unknown_word(least: float) -> None:
    """ARPA files need not have <unk>: they are read as if it had log10 p = -100, and our own form holds -16."""
    log_probs = emissions("今大很好", WITHOUT_SPACES)
    log_probs[3, 2:4], log_probs[4] = np.log([0.5, 0.4]), log_probs[5]
    grams: Grams = {(word,): (-1.0, 0.0) for word in ("今", "大", "天", "很", "好", START, END)}
    stored = Stored(WITHOUT_SPACES)
    search = word_search(stored, model_of({**grams, (UNKNOWN,): (least, 0.0)}, 1), BeamSettings(), {"今天": 4.0})
    ((found,),) = search(log_probs[None], np.array([len(log_probs)]))
    assert WITHOUT_SPACES.decode(found.ids) == "今天很好"


@dataclasses.dataclass
class Stored:
    """What `word_search` reads of a model of letters."""

    alphabet: Alphabet
    phones: tuple[str, ...] = ()
    log_priors: tuple[float, ...] = ()


def test_what_is_looked_at_no_further_could_not_have_been_among_the_best() -> None:
    """`beam._most` is a bound, also before tokens that open words: without it the same is found."""
    code = """
import numpy as np
from asr import beam
from asr.decode import BeamSearch, BeamSettings
from asr.vocabulary import lexicon
from test_beam import END, INSIDE, OPENS, START, UNKNOWN, model_of, random_log_probs

bound, rng = beam._most, np.random.default_rng(3)
spelled = {"a": (1,), "b": (2,), "ac": (1, 3), "bd": (2, 4), "adc": (1, 4, 3)}
kinds = np.array([INSIDE, OPENS, OPENS, INSIDE, INSIDE], np.int8)
for _ in range(50):
    log_probs = random_log_probs(rng, 10, 5)[None]
    model = model_of({(word,): (rng.uniform(-3, -0.1), 0.0) for word in (*spelled, START, END, UNKNOWN)}, 1)
    words = lexicon(model, list(spelled.values()), [model.ids[word] for word in spelled])
    found = []
    for beam._most in (bound, lambda *_: (np.inf, np.inf)):
        search = BeamSearch(kinds, BeamSettings(beam_size=3, alpha=0.5, beta=4.0), model, words)
        found.append(search(log_probs, np.array([10]))[0][0].ids)
    assert found[0] == found[1]
"""
    folder = Path(__file__).parent
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": f"{folder.parent}{os.pathsep}{folder}"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


LETTERS = Alphabet(("", " ", "e", "l", "o"))


def emissions(text: str, alphabet: Alphabet, sure: float = 0.9) -> NDArray[np.float32]:
    """Two frames a letter and a blank behind each, as a sure model would have it."""
    path = [token for i in alphabet.encode(text) for token in (i, i, 0)]
    probabilities = np.full((len(path), len(alphabet)), (1 - sure) / (len(alphabet) - 1))
    probabilities[np.arange(len(path)), path] = sure
    return np.log(probabilities).astype(np.float32)


def words_search(alphabet: Alphabet, words: Sequence[str], **choices: float) -> BeamSearch:
    model = model_of({(word,): (-1.0, 0.0) for word in (*words, START, END, UNKNOWN)}, 1)
    return BeamSearch(token_kinds(alphabet), BeamSettings(**choices), model, spelled_lexicon(model, alphabet))


@pytest.mark.parametrize("text", ["hello"[1:], "oo ll", "e"])
@pytest.mark.parametrize("beam_size", [1, 3, 50])
def test_double_letters_survive_and_every_token_has_its_frame(text: str, beam_size: int) -> None:
    log_probs = emissions(text, LETTERS)
    searches = [
        BeamSearch(token_kinds(LETTERS), BeamSettings(beam_size=beam_size)),
        words_search(LETTERS, text.split(), beam_size=beam_size),
    ]
    for search in searches:
        ((found,),) = search(log_probs[None], np.array([len(log_probs)]))
        assert LETTERS.decode(found.ids) == text
        assert found.frames == greedy(log_probs[None], np.array([len(log_probs)]))[0].frames
        assert found.frames == tuple(range(0, 3 * len(text), 3))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 9), st.integers(2, 5), st.integers(1, 4), st.floats(0, 3), st.integers(0, 99))
def test_something_is_always_found(frames: int, tokens: int, beam_size: int, window: float, seed: int) -> None:
    """Whatever is pruned, and whatever is impossible: blanks, all tokens, everything."""
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, frames, tokens) if frames else np.zeros((0, tokens), np.float32)
    log_probs[rng.random(log_probs.shape) < 0.4] = -np.inf
    chosen = BeamSettings(beam_size=beam_size, window=window, floor=-1.0)
    words = model_of({(word,): (-1.0, 0.0) for word in ("w", START, END, UNKNOWN)}, 1)
    one = lexicon(words, [(1,) * 2], [0])
    searches = [
        BeamSearch(np.zeros(tokens, np.int8), chosen),
        BeamSearch(np.zeros(tokens, np.int8), chosen, words, token_words=np.zeros(tokens, np.int64)),
        BeamSearch(np.zeros(tokens, np.int8), chosen, words, one),
        BeamSearch(np.array([INSIDE] * (tokens - 1) + [SEPARATES], np.int8), chosen, words, one),
    ]
    for search in searches:
        (found,) = search(log_probs[None], np.array([frames]))
        assert len(found) == 1 and np.isfinite(found[0].score)


def test_utterances_side_by_side_are_decoded_as_alone() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 40, 30)
    log_probs = np.stack([random_log_probs(rng, 40, 5) for _ in lengths])
    search = words_search(LETTERS, ["ell", "lo", "o"], beam_size=8)
    together = search(log_probs, lengths, n_best=3)
    for rows, length, found in zip(log_probs, lengths, together, strict=True):
        assert search(rows[None], np.array([length]), n_best=3) == [found]


@pytest.mark.parametrize("beam_size", [2, 5, 20, 100])
def test_pruning_only_loses(beam_size: int) -> None:
    """What a beam finds has no better score than the best of all, and a wide beam finds that."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        log_probs = random_log_probs(rng, 6, 5)
        (all_found,) = words_search(LETTERS, ["el", "lo"], **EXACT)(log_probs[None], np.array([6]))
        (found,) = words_search(LETTERS, ["el", "lo"], beam_size=beam_size)(log_probs[None], np.array([6]))
        assert found[0].score <= all_found[0].score + 1e-6
        assert beam_size < 100 or found[0].ids == all_found[0].ids


def test_the_language_model_decides_between_like_sounding_words() -> None:
    log_probs = emissions("ell", LETTERS, 0.6)
    log_probs[-1, 4] = log_probs[-1, 0]  # "ell" or "ello"?
    grams: Grams = {(word,): (-1.0, 0.0) for word in ("ell", START, END, UNKNOWN)}
    for likely, text in ((-0.1, "ello"), (-6.0, "ell")):
        model = model_of({**grams, ("ello",): (likely, 0.0)}, 1)
        search = BeamSearch(token_kinds(LETTERS), BeamSettings(alpha=1.0), model, spelled_lexicon(model, LETTERS))
        assert LETTERS.decode(search(log_probs[None], np.array([9]))[0][0].ids) == text


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_log_probs_that_are_no_numbers_are_refused(value: float) -> None:
    log_probs = np.zeros((1, 3, 5), np.float32)
    log_probs[0, 1, 2] = value
    with pytest.raises(DecodeError, match="NaN or infinity"):
        words_search(LETTERS, ["el"])(log_probs, np.array([3]))
    assert words_search(LETTERS, ["el"])(log_probs, np.array([1]))[0]  # behind the end it means nothing


def test_sizes_that_make_no_sense_are_refused() -> None:
    for size in (0, -3, 3_000_000_000):
        with pytest.raises(DecodeError, match=f"beam_size is {size}; it must be from 1 to "):
            BeamSettings(beam_size=size)
    search = BeamSearch(token_kinds(LETTERS), BeamSettings())
    with pytest.raises(DecodeError, match="n_best is 0; it must be at least 1"):
        search(emissions("e", LETTERS)[None], np.array([3]), n_best=0)


def test_log_probs_of_another_model_are_refused() -> None:
    with pytest.raises(DecodeError, match=r"of 4 tokens; expected 5"):
        words_search(LETTERS, ["el"])(np.zeros((1, 3, 4), np.float32), np.array([3]))


@pytest.mark.parametrize("choice", [{"beam_size": 0}, {"alpha": -1.0}, {"window": -1.0}, {"beta": np.nan}])
def test_impossible_settings(choice: dict[str, float]) -> None:
    with pytest.raises(DecodeError, match=next(iter(choice))):
        BeamSettings(**choice)


def test_keeping_the_best_of_those_that_are_alike_makes_room() -> None:
    """Without a list to fill, of prefixes that the language model cannot tell apart any more one will do."""
    alone, listed = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        log_probs = random_log_probs(rng, 7, 4)
        grams = random_grams(rng, tuple(SPELLINGS), 2)
        model = model_of(grams, 2)
        words = lexicon(model, list(SPELLINGS.values()), [model.ids[word] for word in SPELLINGS])
        search = BeamSearch(kinds(INSIDE, INSIDE, INSIDE, SEPARATES), BeamSettings(**EXACT), model, words)
        ((found,),) = search(log_probs[None], np.array([7]), n_best=1)
        scores = {hypothesis.ids: hypothesis.score for hypothesis in search_all(search, log_probs)}
        assert found.score == max(scores.values()) == scores[found.ids]  # there is room for all
        narrow = search.with_settings(BeamSettings(beam_size=5))
        for lost, n_best in ((alone, 1), (listed, 2)):
            best = narrow(log_probs[None], np.array([7]), n_best=n_best)[0][0]
            lost.append(found.score - scores[best.ids])
    assert 0 < np.mean(alone) < np.mean(listed)


@pytest.mark.parametrize("size", [2, 5, 50])
def test_candidates_that_are_all_as_good_come_to_an_end(size: int) -> None:
    """None is worse than another, so that thinning them out must choose."""
    for hot in (None, hot_words({"eel": 8.0}, LETTERS, token_kinds(LETTERS))):
        search = BeamSearch(token_kinds(LETTERS), BeamSettings(beam_size=size), hot=hot)
        for frames in (1, 2, 5, 30):
            assert search.search_all([np.full((frames, len(LETTERS)), -1.0, np.float32)])[0]
