"""Vocabularies as trees, and hot words that a model can or cannot write."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.beam import INSIDE, OPENS, SEPARATES, Trie
from asr.ngram import Level, NGram, build
from asr.text import Alphabet, Normalizer, Subwords
from asr.vocabulary import (
    VocabularyError,
    hot_words,
    make_trie,
    parse_phrases,
    spelled_lexicon,
    token_kinds,
    token_words,
)

ABC = Alphabet(("", " ", "'", "a", "b", "c"))


def unigrams(*words: str) -> NGram:
    """Every word half as likely as the one before."""
    names = ("<unk>", "<s>", "</s>", *words)
    log_probs = -np.log10(2) * np.arange(1, len(names) + 1)
    contexts, zeros = np.zeros(len(names), np.int64), np.zeros(len(names), np.float32)
    return build(names, [Level(contexts, np.arange(len(names)), log_probs.astype(np.float32), zeros)])


def paths(tree: Trie) -> dict[tuple[int, ...], tuple[int, ...]]:
    """Every node's tokens -> what ends there, by walking down from the first node."""
    found, waiting = {}, [(0, ())]
    while waiting:
        node, tokens = waiting.pop()
        found[tokens] = tuple(tree.ends[tree.first_end[node] : tree.first_end[node + 1]].tolist())
        children = range(tree.first_child[node], tree.first_child[node + 1])
        assert [tree.tokens[child] for child in children] == sorted({tree.tokens[child] for child in children})
        waiting += [(child, (*tokens, int(tree.tokens[child]))) for child in children]
    assert len(found) == len(tree.tokens)
    return found


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=5), max_size=30))
def test_a_trie_holds_every_sequence_and_its_beginnings(sequences: list[list[int]]) -> None:
    tree, parents = make_trie(sequences, range(len(sequences)))
    expected: dict[tuple[int, ...], list[int]] = {(): []}
    for i, sequence in enumerate(sequences):
        for end in range(1, len(sequence) + 1):
            expected.setdefault(tuple(sequence[:end]), [])
        expected[tuple(sequence)].append(i)
    assert {tokens: sorted(ends) for tokens, ends in paths(tree).items()} == expected
    assert all(parent < node for node, parent in enumerate(parents))


def test_one_absurdly_long_word_takes_little_memory() -> None:
    sequences = [[1 + i % 26, 1 + i // 26 % 26, 1 + i // 676] for i in range(17_576)] + [[1, 2] * 1500]
    tracemalloc.start()
    tree, _ = make_trie(sequences, range(len(sequences)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(tree.tokens) == 1 + 26 + 26**2 + 26**3 + 3000 - 2 - 1
    assert peak < 20e6


def test_a_words_probability_counts_from_its_first_letter() -> None:
    model = unigrams("ab", "abc", "b")
    tree = spelled_lexicon(model, ABC)
    best = {tokens: best for tokens, best in zip(sorted(paths(tree)), [None] * 9, strict=False)}
    assert best.keys() == {(), (3,), (3, 4), (3, 4, 5), (4,)}
    ab, abc, b = (np.float32(-np.log10(2) * i) for i in (4, 5, 6))
    # Numbered by length, then by letters: nothing, a, b, ab, abc.
    np.testing.assert_allclose(tree.best, [ab, ab, b, ab, abc], rtol=1e-6)


def test_words_that_the_model_cannot_write_are_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    """`unigrams` halves the probability from word to word."""
    assert set(paths(spelled_lexicon(unigrams("ab", "x", "cé"), ABC))) == {(), (3,), (3, 4)}
    said = "cannot write 2 of the language model's 3 words (x, cé), which make up 43% of its text"
    assert said in capsys.readouterr().err
    spelled_lexicon(unigrams("a", "b", "c", "ab", "bc", "x"), ABC)
    assert not capsys.readouterr().err, "1.6% of its text"


@pytest.mark.parametrize("words", [("AB", "X"), ("Cab", "ab", "a")])
def test_a_language_model_of_words_that_the_model_cannot_write_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(VocabularyError, match=r"cannot write . of .* words \(.*another alphabet or case.*--model"):
        spelled_lexicon(unigrams(*words), ABC)


def test_words_beside_the_vocabulary_are_unknown_to_the_language_model() -> None:
    tree = spelled_lexicon(unigrams("ab"), ABC, {"cab": 0})
    assert paths(tree)[ABC_ids("cab")] == (0,) and paths(tree)[ABC_ids("ab")] == (3,)


def ABC_ids(text: str) -> tuple[int, ...]:
    return tuple(ABC.encode(text))


def test_kinds_of_tokens() -> None:
    assert token_kinds(ABC).tolist() == [INSIDE, SEPARATES, INSIDE, INSIDE, INSIDE, INSIDE]
    pieces = Subwords.from_texts(["a cab a back", "back a cab"], 7)
    opening = [symbol.startswith("▁") for symbol in pieces.symbols]
    assert [kind == OPENS for kind in token_kinds(pieces).tolist()] == opening and any(opening) and not all(opening)


def test_a_model_of_characters_knows_the_space_by_another_name() -> None:
    model = unigrams("▁", "a", "c")
    assert token_words(model, ABC).tolist()[1:] == [3, 0, 4, 0, 5]  # what it does not know is <unk>
    for other in (("x",), ("▁", "'", "A", "B")):  # a space is the same in all alphabets
        with pytest.raises(VocabularyError, match=r"cannot write . of the language model's . "):
            token_words(unigrams(*other), ABC)


@pytest.mark.parametrize(
    ("phrase", "message"),
    [
        ("caé", r"'caé': the model does not write 'é'; spell it as it is spoken"),
        ("42", "'42': the model does not write '4', '2'"),
        ("?!", r"'\?!': there is nothing to hear in it"),
    ],
)
def test_hot_words_that_cannot_be_heard_are_named(phrase: str, message: str) -> None:
    with pytest.raises(VocabularyError, match=message):
        parse_phrases(["abc", phrase], 5.0, ABC, Normalizer())


def test_hot_words_come_in_the_models_own_form_with_their_weights() -> None:
    assert parse_phrases(["A-B", "Cab"], 5.0, ABC, Normalizer()) == {"a b": 5.0, "cab": 5.0}
    assert parse_phrases({"A": 1.5}, 5.0, ABC, Normalizer()) == {"a": 1.5}
    for weight in (float("nan"), 1e39, -2000.0):
        with pytest.raises(VocabularyError, match=r"its weight is .*; expected a number from -1000 to 1000"):
            parse_phrases({"a": weight}, 5.0, ABC, Normalizer())


def test_a_phrase_earns_little_by_little_and_keeps_what_was_whole() -> None:
    tree = hot_words({"a": 1.0, "a cb": 3.0}, ABC, token_kinds(ABC))
    nodes = dict(zip([(), (3,), (3, 1), (3, 1, 5), (3, 1, 5, 4)], range(5), strict=True))  # each has one child
    assert paths(tree).keys() == nodes.keys()
    np.testing.assert_allclose(tree.best, [0, 1.5, 3.0, 4.5, 6.0])  # two words of 3 on four letters
    np.testing.assert_allclose(tree.banked, [0, 0, 1, 1, 1])
    np.testing.assert_allclose(tree.whole, [0, 1, 1, 1, 6])
