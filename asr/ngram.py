"""N-gram language models as arrays: look-up and scores. `asr.ngram_file` maps them into memory from a file.

The n-grams form a tree: node 0 is the empty context, its children are the words, and the children of the node of
w1..wn-1 are the n-grams w1..wn-1 wn. Nodes are numbered by order, and within an order by parent and word, so that the
children of a node lie side by side, sorted by word, and are found by halving.

Probabilities follow the back-off form that ARPA files have (Katz 1987), logarithms to base 10 as in these files:

    p(w | context) = p of the node context + w                    if there is one
                     backoff(context) p(w | shorter context)      otherwise
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr import Error
from asr.compiled import compiled

if TYPE_CHECKING:
    from asr.lexicon import Lexicon, Pronunciations

START, END, UNKNOWN = "<s>", "</s>", "<unk>"
NO_CHILD = -1
NEVER = -15.0  # log10 probability that stands for none: a file of ours holds no less than -16
UNSEEN = -100.0  # log10 probability of unknown words where a file has no <unk>, as KenLM takes it
# The file holds log-probs as 16-bit multiples of this: off by at most 0.00012, which no decision depends on.
STEP = 1 / 4096
TYPES = {  # of the file's arrays; little endian, as safetensors is
    "letters": np.uint8,  # the words in UTF-8, a line feed after each
    "words": np.uint32,
    "log_probs": np.uint16,
    "backoffs": np.int16,
    "first_child": np.uint32,
    "suffixes": np.uint32,
}
SAID = {  # those that a file with pronunciations has beside, see `asr.lexicon.Pronunciations`
    "phone_ids": np.uint8,
    "phone_lengths": np.uint8,
    "phone_counts": np.uint8,
}


class LanguageModelError(Error):
    """A language model, or a file of one, that cannot be used."""


class Tables(NamedTuple):
    """What look-up needs, for compiled code. N nodes, of which C are of less than the highest order; V words.

    Args:
        first_child: (C + 1,) uint32: the children of node i are first_child[i] to first_child[i + 1] - 1.
        words: (N,) uint32: last word of each node.
        log_probs: (N,) of the last word after the others; in units of `log_prob_unit`.
        backoffs: (C,) in units of `backoff_unit`.
        suffixes: (C - 1 - V - number of word pairs,) uint32: for contexts of three words and more, the node of the
            longest of their ends that there is. For pairs it is their last word, for words the empty context.
        pairs: number of the first node of order 2; the words are 1 to pairs - 1.
        triples: number of the first node of order 3.
    """

    first_child: NDArray[np.uint32]
    words: NDArray[np.uint32]
    log_probs: NDArray
    backoffs: NDArray
    suffixes: NDArray[np.uint32]
    log_prob_unit: float
    backoff_unit: float
    pairs: int
    triples: int


@compiled
def child(tables: Tables, node: int, word: int) -> int:
    """The node of a context followed by a word, or NO_CHILD. Safe with whatever a damaged file holds."""
    if node == 0:
        return word + 1 if 0 <= word < tables.pairs - 1 else NO_CHILD
    if node >= len(tables.first_child) - 1:
        return NO_CHILD
    low, high = np.int64(tables.first_child[node]), np.int64(tables.first_child[node + 1])
    end = min(high, len(tables.words))
    high = end
    while low < high:
        middle = (low + high) // 2
        if tables.words[middle] < word:
            low = middle + 1
        else:
            high = middle
    return low if low < end and tables.words[low] == word else NO_CHILD


@compiled
def shorter(tables: Tables, node: int) -> int:
    """The node of a context without its first word, or without more where that is not there."""
    if node < tables.pairs:
        return 0
    if node < tables.triples:
        return min(np.int64(tables.words[node]) + 1, tables.pairs - 1)
    if node - tables.triples >= len(tables.suffixes):
        return 0
    suffix = np.int64(tables.suffixes[node - tables.triples])
    return suffix if suffix < node else 0


@compiled
def state(tables: Tables, node: int) -> int:
    """The shortest context that tells as much as this one: one that nothing follows and that costs nothing goes."""
    while node > 0:
        if node < len(tables.first_child) - 1 and (
            tables.first_child[node] < tables.first_child[node + 1] or tables.backoffs[node] != 0
        ):
            return node
        node = shorter(tables, node)
    return 0


@compiled
def advance(tables: Tables, context: int, word: int) -> tuple[float, int]:
    """log10 p(word | context), and the context after it.

    Args:
        context: as this function or `NGram.start` gave it.
        word: id of a word of the model.
    """
    log_prob, node = 0.0, context
    found = child(tables, node, word)
    while found == NO_CHILD and node > 0:
        log_prob += tables.backoffs[node] * tables.backoff_unit
        node = shorter(tables, node)
        found = child(tables, node, word)
    if found == NO_CHILD:  # not a word of the model
        return log_prob + UNSEEN, 0
    log_prob += tables.log_probs[found] * tables.log_prob_unit
    if found < len(tables.first_child) - 1:
        return log_prob, state(tables, found)
    while node > 0:  # of the highest order: what follows is seen by its end alone
        node = shorter(tables, node)
        found = child(tables, node, word)
        if found != NO_CHILD:
            return log_prob, state(tables, found)
    return log_prob, 0


@compiled
def score_ids(tables: Tables, context: int, ids: NDArray[np.int64]) -> tuple[NDArray[np.float64], int]:
    """log10 p of each of these words after those before it, and the context after the last."""
    log_probs = np.empty(len(ids))
    for i in range(len(ids)):
        log_probs[i], context = advance(tables, context, ids[i])
    return log_probs, context


@dataclass(frozen=True)
class NGram:
    """An n-gram model.

    Args:
        words: what its ids 0, 1... stand for: words, <s>, </s> and <unk>.
        counts: number of n-grams of each order, the words first.
        tables: the tree.
        info: what the file says of its origin and use; JSON types.
        pronunciations: how the words are said, where the file says it.
    """

    words: tuple[str, ...]
    counts: tuple[int, ...]
    tables: Tables
    info: Mapping[str, object] = field(default_factory=dict)
    pronunciations: Pronunciations | None = None

    def __post_init__(self) -> None:
        for name in (START, END, UNKNOWN):
            if name not in self.ids:
                raise LanguageModelError(f"the language model has no {name}; it has {len(self.words)} words")

    @property
    def order(self) -> int:
        """The longest n-gram's number of words."""
        return len(self.counts)

    @cached_property
    def ids(self) -> dict[str, int]:
        """Word -> id."""
        return dict(zip(self.words, range(len(self.words)), strict=True))

    @cached_property
    def start(self) -> int:
        """The context at the beginning of a sentence."""
        return int(state(self.tables, 1 + self.ids[START]))

    @cached_property
    def word_probs(self) -> NDArray[np.float64]:
        """(V,) probability of each word, whatever stands before it."""
        return 10.0 ** (self.tables.log_probs[1 : self.tables.pairs].astype(np.float64) * self.tables.log_prob_unit)

    def with_unknown(self) -> NGram:
        """The same model, in which unknown words are as likely as the rarest known one, where it has no <unk>."""
        unknown = self.ids[UNKNOWN]
        possible = np.flatnonzero(self.word_probs > 10.0**NEVER)
        if unknown in possible or not len(possible):
            return self
        log_probs = np.array(self.tables.log_probs)
        log_probs[1 + unknown] = log_probs[1 + possible[self.word_probs[possible].argmin()]]
        log_probs.setflags(write=False)  # compiled code has one form for arrays that are only read
        return replace(self, tables=self.tables._replace(log_probs=log_probs))

    def said_by(self, lexicon: Lexicon) -> NGram:
        """The same model with the pronunciations of its words; without, if the lexicon is of another language."""
        from asr.lexicon import LEAST_KNOWN, Pronunciations

        marks = (START, END, UNKNOWN)
        words = {word: prob for word, prob in zip(self.words, self.word_probs, strict=True) if word not in marks}
        known = sum(prob for word, prob in words.items() if word in lexicon.words)
        if known < LEAST_KNOWN * sum(words.values()):
            return replace(self, pronunciations=None)
        return replace(self, pronunciations=Pronunciations.of(self.words, lexicon, marks))

    def known(self, word: str) -> bool:
        """Whether it is a word of the model that a sentence may hold."""
        return word in self.ids and word not in (START, END, UNKNOWN)

    def log_probs(self, sentence: Sequence[str], start: bool = True, end: bool = True) -> NDArray[np.float64]:
        """log10 p of every word of a sentence, unknown ones as <unk>, and of its end.

        Args:
            start: it begins here, else anywhere.
            end: it ends here; adds a last element, for </s>.
        """
        unknown = self.ids[UNKNOWN]
        ids = [self.ids[word] if self.known(word) else unknown for word in sentence]
        if end:
            ids.append(self.ids[END])
        return score_ids(self.tables, self.start if start else 0, np.array(ids, np.int64))[0]

    def score(self, sentence: Sequence[str]) -> float:
        """log10 p of a whole sentence."""
        return float(self.log_probs(sentence).sum())

    def perplexity(self, sentences: Iterable[Sequence[str]]) -> Perplexity:
        """How well the model foretells text; ends of sentences count as words."""
        words = unknown = count = 0
        total = without = 0.0
        for sentence in sentences:
            log_probs = self.log_probs(sentence)
            new = np.array([not self.known(word) for word in sentence] + [False])
            total += log_probs.sum()
            without += log_probs[~new].sum()
            words, unknown, count = words + len(sentence), unknown + int(new.sum()), count + 1
        return Perplexity(words, unknown, count, total, without)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the binary file: a safetensors file, with log-probs to 16 bits.

        They are then off by at most 0.00012; a log-prob below -16, such as that of <s>, becomes -16, and a back-off
        beyond -8 or 8 becomes that.

        Raises:
            LanguageModelError: a word has a line feed in it.
            OSError: it cannot be written.
        """
        from asr import ngram_file

        ngram_file.write(path, self)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> NGram:
        """Map a binary file into memory.

        Raises:
            LanguageModelError: it is missing, damaged, or no file of this kind or version.
        """
        from asr import ngram_file

        return ngram_file.read(path)


@dataclass(frozen=True)
class Perplexity:
    """How well a model foretells a text.

    Args:
        words, unknown, sentences: how many; unknown ones are words too.
        log10: sum of the log-probs of all words and sentence ends.
        log10_known: the same without unknown words.
    """

    words: int
    unknown: int
    sentences: int
    log10: float
    log10_known: float

    @property
    def with_unknown(self) -> float:
        """Perplexity over all words and sentence ends, unknown words having the probability of <unk>."""
        return 10 ** (-self.log10 / (self.words + self.sentences))

    @property
    def without_unknown(self) -> float:
        """Perplexity over known words and sentence ends."""
        return 10 ** (-self.log10_known / (self.words - self.unknown + self.sentences))


def _no_tables() -> Tables:
    """Of no language model at all."""
    empty = {name: np.zeros(0, TYPES[name]) for name in ("words", "log_probs", "backoffs", "suffixes")}
    for array in (*empty.values(), first_child := np.zeros(1, np.uint32)):
        array.setflags(write=False)
    return Tables(first_child, **empty, log_prob_unit=-STEP, backoff_unit=STEP, pairs=1, triples=1)


NO_TABLES = _no_tables()


class Level(NamedTuple):
    """The N n-grams of one order, to build a tree of; sorted by context and, within one, by last word.

    Args:
        contexts: (N,) integers: number of the context among the n-grams of the order below; 0 for words.
        words: (N,) integers: id of the last word. Words are 0, 1, 2...
        log_probs: (N,) log10 p of the last word after the others.
        backoffs: (N,) log10 of the back-off weight; of no use in the highest order.
    """

    contexts: NDArray[np.integer]
    words: NDArray[np.integer]
    log_probs: NDArray[np.floating]
    backoffs: NDArray[np.floating]


def build(words: Sequence[str], levels: Sequence[Level], info: Mapping[str, object] | None = None) -> NGram:
    """The model of these n-grams.

    Args:
        words: what the ids stand for.
        levels: the words, the word pairs, and so on.
        info: see `NGram`.
    """
    counts = tuple(len(level.words) for level in levels)
    pairs = 1 + counts[0]
    triples = pairs + sum(counts[1:2])
    children = [[counts[0]]]
    for below, level in zip(counts, levels[1:], strict=False):
        children.append(np.bincount(level.contexts, minlength=below))
    first_child = np.cumsum(np.concatenate([[1], *children]))
    suffixes = np.zeros(max(0, len(first_child) - 1 - triples), np.uint32)
    tables = Tables(
        _constant(first_child, np.uint32),
        _constant(np.concatenate([[0], *(level.words for level in levels)]), np.uint32),
        _constant(np.concatenate([[0], *(level.log_probs for level in levels)]), np.float32),
        _constant(np.concatenate([[0], *(level.backoffs for level in levels[:-1])]), np.float32),
        _constant(suffixes.view(), np.uint32),
        log_prob_unit=1.0,
        backoff_unit=1.0,
        pairs=pairs,
        triples=triples,
    )
    if len(suffixes):
        _find_suffixes(tables, suffixes)
    return NGram(tuple(words), counts, tables, info or {})


def _constant(array: NDArray, kind: type) -> NDArray:
    """Of that type, and read-only as what is mapped from a file is: compiled code is made for either once."""
    array = array.astype(kind, copy=False)
    array.setflags(write=False)
    return array


@compiled
def _find_suffixes(tables: Tables, suffixes: NDArray[np.uint32]) -> None:
    """Fill in `tables.suffixes`, of which `suffixes` is a view that can be written, from the shortest contexts on."""
    for context in range(tables.pairs, len(tables.first_child) - 1):
        for node in range(tables.first_child[context], tables.first_child[context + 1]):
            if node - tables.triples < len(suffixes):
                end = shorter(tables, context)
                found = child(tables, end, tables.words[node])
                while found == NO_CHILD and end > 0:
                    end = shorter(tables, end)
                    found = child(tables, end, tables.words[node])
                suffixes[node - tables.triples] = max(found, 0)
