"""How a word that no dictionary has is likely said: grapheme-to-phoneme conversion, learnt from those that one has.

A joint-sequence model (Bisani and Ney 2008, "Joint-sequence models for grapheme-to-phoneme conversion"): every letter
goes with no phone, one or two, such as x with K S; an n-gram model of these pairs tells by the pairs before how the
next letter sounds. Which letters go with which phones is found as HMMs are trained: from a flat start, by aligning and
counting in turn (Viterbi training). Of 6,144 words of CMUdict that were kept from it, it says 73% exactly as CMUdict
does, and 94 of 100 phones; of 91% one of its first four guesses is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from asr.compiled import compiled
from asr.kneser_ney import estimate
from asr.lexicon import Phones
from asr.ngram import END, START, UNKNOWN, NGram, Tables, advance

ORDER = 6  # pairs in the longest n-grams
PASSES = 6  # of aligning and counting; from the fourth on hardly anything changes
UNSEEN = 1e-9  # share of what was not counted: possible where nothing else is
BEAM = 8  # for each pronunciation that is asked for
MOST_LETTERS = 500  # of different ones: beyond, they are signs of syllables or words, of more phones than two
MOST_PAIRS = 20_000_000  # of all letters with one or two of all phones; beyond, "phones" are syllables
NONE = -1


@dataclass(frozen=True)
class G2P:
    """What is learnt of a dictionary's words.

    Args:
        pairs: the n-gram model; its words are letters with their phones: "h HH", "x K S", "e".
    """

    pairs: NGram

    @classmethod
    def of(cls, words: Mapping[str, Sequence[Phones]]) -> G2P | None:
        """Learn from words and their pronunciations; those of more than two phones a letter are passed over.

        None where nothing can be learnt: every word is like that, or there are too many different letters or phones.
        """
        entries = [(word, way) for word, ways in words.items() for way in ways if 0 < len(way) <= 2 * len(word)]
        letters = sorted({letter for word, _ in entries for letter in word})
        phones = sorted({phone for _, way in entries for phone in way})
        if not 0 < len(letters) <= MOST_LETTERS or len(letters) * len(phones) ** 2 > MOST_PAIRS:
            return None
        numbers = {letter: i for i, letter in enumerate(letters)}
        spelled = [[numbers[letter] for letter in word] for word, _ in entries]
        numbers = {phone: i for i, phone in enumerate(phones)}
        said = [[numbers[phone] for phone in way] for _, way in entries]
        codes = _align(spelled, said, len(letters), len(phones))
        names = [(), *((phone,) for phone in phones), *((one, two) for one in phones for two in phones)]
        pairs = [
            [" ".join((letter, *names[code])) for letter, code in zip(word, each, strict=True)]
            for (word, _), each in zip(entries, codes, strict=True)
        ]
        return cls(estimate(pairs, ORDER))

    @cached_property
    def _choices(self) -> tuple[dict[str, int], NDArray[np.int64]]:
        """Letter -> its row, and in every row the ids of the letter's pairs, -1 behind them."""
        of_letter: dict[str, list[int]] = {}
        for id, pair in enumerate(self.pairs.words):
            if pair not in (START, END, UNKNOWN):
                of_letter.setdefault(pair[0], []).append(id)
        table = np.full((len(of_letter), max(map(len, of_letter.values()))), NONE, np.int64)
        for row, ids in zip(table, of_letter.values(), strict=True):
            row[: len(ids)] = ids
        return {letter: row for row, letter in enumerate(of_letter)}, table

    def pronunciations(self, word: str, count: int = 1) -> tuple[Phones, ...]:
        """The likeliest ways to say a word, so many at most; none if the dictionary lacks one of its letters."""
        rows, table = self._choices
        if not word or not rows.keys() >= set(word):
            return ()
        ids = table[[rows[letter] for letter in word]]
        found = _best_pairs(self.pairs.tables, self.pairs.start, ids, self.pairs.ids[END], BEAM * count)
        ways = (tuple(phone for id in pairs for phone in self.pairs.words[id].split(" ")[1:]) for pairs in found)
        return tuple(dict.fromkeys(filter(None, ways)))[:count]


def _align(
    spelled: Sequence[Sequence[int]], said: Sequence[Sequence[int]], letters: int, phones: int
) -> list[list[int]]:
    """The phones of every letter, as a code: 0 for none, 1 + i for phone i, 1 + P + i P + j for phones i and j."""
    size = 1 + phones + phones**2
    lengths, counts = (np.array([len(each) for each in side]) for side in (spelled, said))
    ids, targets = (np.array([id for each in side for id in each], np.int64) for side in (spelled, said))
    starts, first = (np.concatenate([[0], np.cumsum(each)]) for each in (lengths, counts))
    # The flat start: a word's phones spread evenly over its letters. What goes with two phones or none shows later.
    word = np.repeat(np.arange(len(lengths)), lengths)
    codes = 1 + targets[first[word] + (np.arange(len(ids)) - starts[word]) * counts[word] // lengths[word]]
    for i in range(PASSES):
        seen = np.bincount(ids * size + codes, minlength=letters * size).reshape(letters, size).astype(np.float64)
        if i == 0:
            seen[:, 0] = seen[:, 1:].mean(1)
        shares = seen / np.maximum(seen.sum(1, keepdims=True), 1)
        codes = _best_codes(ids, starts, targets, first, np.log(np.maximum(shares, UNSEEN)), phones)
    return [each.tolist() for each in np.split(codes, starts[1:-1])]


@compiled
def _best_codes(
    ids: NDArray[np.int64],
    starts: NDArray[np.int64],
    targets: NDArray[np.int64],
    first: NDArray[np.int64],
    costs: NDArray[np.float64],
    phones: int,
) -> NDArray[np.int64]:
    """The most probable code of every letter, such that each word's letters have all of its phones, in their order.

    Args:
        ids: letters of all words, one word after the other; word k has those from starts[k] to starts[k + 1] - 1.
        targets, first: its phones, in the same way; not more than two for a letter.
        costs: (L, C) log-probs of the codes of each letter.
    """
    codes = np.zeros(len(ids), np.int64)
    for k in range(len(starts) - 1):
        word, way = ids[starts[k] : starts[k + 1]], targets[first[k] : first[k + 1]]
        best = np.full((len(word) + 1, len(way) + 1), -np.inf)  # after so many letters and phones
        taken = np.zeros(best.shape, np.int64)  # phones of the last of these letters
        best[0, 0] = 0
        for i in range(1, len(word) + 1):
            for j in range(len(way) + 1):
                for n in range(min(j, 2) + 1):
                    score = best[i - 1, j - n] + costs[word[i - 1], _code(way, j, n, phones)]
                    if score > best[i, j]:
                        best[i, j], taken[i, j] = score, n
        j = len(way)
        for i in range(len(word), 0, -1):
            codes[starts[k] + i - 1] = _code(way, j, taken[i, j], phones)
            j -= taken[i, j]
    return codes


@compiled
def _code(way: NDArray[np.int64], end: int, count: int, phones: int) -> int:
    """The code of as many of these phones that end there."""
    if count == 0:
        return 0
    if count == 1:
        return 1 + way[end - 1]
    return 1 + phones + way[end - 2] * phones + way[end - 1]


@compiled
def _best_pairs(tables: Tables, start: int, choices: NDArray[np.int64], end: int, beam: int) -> NDArray[np.int64]:
    """(N, L) the most probable pairs of a word, by beam search, the best first; N is at most the beam.

    Args:
        start: the context at the beginning.
        choices: (L, K) ids of the pairs of each letter of the word, -1 behind them.
        end: id of the end of a word.
    """
    length, width = choices.shape
    contexts, scores = np.full((length + 1, beam), start), np.full((length + 1, beam), -np.inf)
    before, taken = np.zeros((2, length + 1, beam), np.int64)
    scores[0, 0], size = 0.0, 1
    for i in range(length):
        new_scores, new_contexts = np.full(size * width, -np.inf), np.zeros(size * width, np.int64)
        for k in range(size):
            for q in range(width):
                if choices[i, q] != NONE:
                    log_prob, context = advance(tables, contexts[i, k], choices[i, q])
                    new_scores[k * width + q], new_contexts[k * width + q] = scores[i, k] + log_prob, context
        order = np.argsort(-new_scores)[:beam]
        size = 0
        for new in order[new_scores[order] > -np.inf]:
            contexts[i + 1, size], scores[i + 1, size] = new_contexts[new], new_scores[new]
            before[i + 1, size], taken[i + 1, size] = new // width, choices[i, new % width]
            size += 1
    for k in range(size):
        scores[length, k] += advance(tables, contexts[length, k], end)[0]
    found = np.empty((size, length), np.int64)
    for n, place in enumerate(np.argsort(-scores[length, :size])):
        for i in range(length, 0, -1):
            found[n, i - 1] = taken[i, place]
            place = before[i, place]
    return found
