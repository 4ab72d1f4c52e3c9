"""What beam search knows of words: the vocabulary of a language model as a tree of tokens, and hot words.

Letters and pieces of words spell every word in one way; a pronunciation lexicon may have several for a word.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr import Error
from asr.beam import BLANK, INSIDE, OPENS, SEPARATES, Trie
from asr.lm import SPACE as SPACE_IN_MODEL
from asr.ngram import END, START, UNKNOWN, NGram
from asr.text import Alphabet, Normalizer, TextError, Units

if TYPE_CHECKING:
    from asr.lexicon import Lexicon

SPACE = " "
WRITABLE = 0.5  # least share of its text that the words of a language model which a model can write may make up
NEARLY_ALL = 0.95  # with less of it the user is told
HEAVIEST = 1000.0  # of a hot word; no model is so sure of another
GUESSES = 4  # ways in which a hot word that no dictionary has is listened to


class VocabularyError(Error):
    """Words that a model cannot write."""


def make_trie(sequences: Sequence[Sequence[int]], ends: Sequence[int]) -> tuple[Trie, NDArray[np.int64]]:
    """The tree of token sequences, each with an entry that ends there; `best` and the bonuses are 0.

    Args:
        sequences: not empty, of tokens above 0; the same may come several times.
        ends: what is at the end of each.

    Returns: the tree, and (N,) the parent of each node, -1 for the first.
    """
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    tokens = np.fromiter(chain.from_iterable(sequences), np.int32, int(lengths.sum()))
    return _grow_trie(tokens, lengths, np.asarray(ends, np.int32))


def _grow_trie(
    tokens: NDArray[np.int32], lengths: NDArray[np.int64], ends: NDArray[np.int32]
) -> tuple[Trie, NDArray[np.int64]]:
    """The same for sequences that lie one after the other in `tokens`; memory is for the tokens that there are."""
    starts = np.cumsum(lengths) - lengths
    places = np.zeros(len(lengths), np.int64)  # the node that each sequence has come to
    labels, parents, made = [np.zeros(1, np.int32)], [np.full(1, -1, np.int64)], 1
    base = int(tokens.max(initial=0)) + 1
    rest, depth = np.flatnonzero(lengths), 0  # sequences that go on
    while len(rest):
        steps, nodes = np.unique(places[rest] * base + tokens[starts[rest] + depth], return_inverse=True)
        labels.append((steps % base).astype(np.int32))
        parents.append(steps // base)
        places[rest] = made + nodes
        made, depth = made + len(steps), depth + 1
        rest = rest[lengths[rest] > depth]
    parent = np.concatenate(parents)
    zeros = _frozen(np.zeros(made, np.float32))
    tree = Trie(
        _frozen(_starts(parent[1:], made, 1)),
        _frozen(np.concatenate(labels)),
        _frozen(_starts(places, made, 0)),
        _frozen(ends[np.argsort(places, kind="stable")]),
        zeros,
        zeros,
        zeros,
    )
    return tree, parent


def _starts(owners: NDArray[np.int64], count: int, first: int) -> NDArray[np.int32]:
    """Where the items of each of `count` owners begin, when they are sorted by owner; (count + 1,)."""
    return np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=count))]).astype(np.int32) + np.int32(first)


def _frozen(array: NDArray) -> NDArray:
    array.setflags(write=False)  # compiled code has one form for arrays that are only read
    return array


def lexicon(model: NGram, sequences: Sequence[Sequence[int]], words: Sequence[int]) -> Trie:
    """The tree of the words that a language model may be asked for.

    Args:
        sequences: tokens of each pronunciation or spelling.
        words: the language model's id of each.

    Returns: with the best log10 probability below every node, so that a word counts before it has ended.
    """
    return _with_best(model, *make_trie(sequences, words))


def _with_best(model: NGram, tree: Trie, parent: NDArray[np.int64]) -> Trie:
    tables = model.tables
    best = np.full(len(parent), -np.inf, np.float32)
    owners = np.repeat(np.arange(len(parent)), np.diff(tree.first_end))
    known = np.where(tree.ends < len(model.words), tree.ends, model.ids[UNKNOWN])
    np.maximum.at(best, owners, np.float32(tables.log_probs[known + 1] * tables.log_prob_unit))
    # Level by level from the deepest: all children of a level's nodes are in the next one.
    starts = [0]
    while starts[-1] < len(parent):
        starts.append(int(tree.first_child[starts[-1]]))
    for start, end in zip(starts[-2:0:-1], starts[:1:-1], strict=True):
        np.maximum.at(best, parent[start:end], best[start:end])
    return tree._replace(best=_frozen(best))


def spelled_lexicon(model: NGram, units: Units, more: Mapping[str, int] | None = None) -> Trie:
    """The tree of a language model's words as they are spelled in the tokens of an acoustic model.

    Args:
        more: words that it shall have as well, with what beam search calls them.

    Raises:
        VocabularyError: hardly any of the model's words can be written with these tokens.
    """
    special = {model.ids[name] for name in (START, END, UNKNOWN)}
    entries = [(word, i) for i, word in enumerate(model.words) if i not in special]
    spelled = [(spelling, i) for word, i in entries if (spelling := _spell(units, word))]
    _check_writable(model, [i for _, i in spelled], [i for _, i in entries])
    extra = [(_spell(units, word), i) for word, i in (more or {}).items()]
    return lexicon(model, *zip(*spelled, *extra, strict=True))


def _check_writable(model: NGram, written: Sequence[int], words: Sequence[int]) -> None:
    """See that what a model can write makes up most of the text that the language model is of, by its 1-grams.

    Args:
        written: ids of the words that it can write.
        words: of all that count.
    """
    shares = model.word_probs
    share = shares[list(written)].sum() / shares[list(words)].sum() if words else 0.0
    if share >= NEARLY_ALL:
        return
    lacking = sorted(set(words) - set(written), key=lambda i: -shares[i])
    listed = ", ".join(model.words[i] for i in lacking[:5]) + ("..." if len(lacking) > 5 else "")
    said = (
        f"the model cannot write {len(lacking)} of the language model's {len(words)} "
        f"{'characters' if of_characters(model) else 'words'} ({listed}), which make up {1 - share:.0%} of its text: "
        "they are of another alphabet or case"
    )
    remedy = "estimate the language model with --model and this model"
    if share < WRITABLE:
        raise VocabularyError(f"{said}; {remedy}")
    print(f"{said} and will not be found; better {remedy}", file=sys.stderr)


def pronounced_lexicon(model: NGram, phones: Sequence[str], more: Sequence[Iterable[Sequence[str]]] = ()) -> Trie:
    """The tree of a language model's words as its file says that they are pronounced.

    Args:
        phones: what an acoustic model tells, the blank first.
        more: pronunciations of words that it shall have as well, whose ids follow those of the language model.

    Raises:
        VocabularyError: no word can be said by the acoustic model's phones.
    """
    said = model.pronunciations
    numbers = {phone: i for i, phone in enumerate(phones)}
    tokens = np.array([numbers.get(phone, BLANK) for phone in said.phones], np.int32)[said.ids]
    lengths = said.lengths.astype(np.int64)
    words = np.repeat(np.arange(len(said.counts)), said.counts)
    starts = np.cumsum(lengths) - lengths
    spoken = np.minimum.reduceat(tokens, starts) != BLANK if len(starts) else np.zeros(0, bool)
    if not spoken.any():
        raise VocabularyError(
            "the language model says its words in other phones than the model tells; estimate it with --model"
        )
    tokens, lengths, words = tokens[np.repeat(spoken, lengths)], lengths[spoken], words[spoken]
    for id, ways in enumerate(more, len(model.words)):
        for way in ways:
            ids = [numbers[phone] for phone in way]
            tokens, lengths, words = np.append(tokens, ids), np.append(lengths, len(ids)), np.append(words, id)
    return _with_best(model, *_grow_trie(tokens, lengths, words.astype(np.int32)))


def say(word: str, lexicon: Lexicon | None, phones: Sequence[str]) -> list[Sequence[str]]:
    """The pronunciations of a hot word, in these phones; of one that had to be guessed the user is told.

    Raises:
        VocabularyError: none is known.
    """
    ways = lexicon.pronunciations(word, GUESSES) if lexicon else ()
    if found := [way for way in ways if way and set(way) <= set(phones)]:
        if word not in lexicon.words:
            ways = ", or ".join(map(" ".join, found))
            print(f"hot word {word}: not in the lexicon, listened to as {ways}", file=sys.stderr)
        return found
    raise VocabularyError(
        f"hot word {word!r}: the model's lexicon does not say how it sounds; write it as known words (in two, say), "
        "or choose --lm none"
    )


def _spell(units: Units, word: str) -> list[int]:
    """The tokens of a word; none if it has characters that the units lack."""
    try:
        return units.encode(word)
    except TextError:
        return []


def of_characters(model: NGram) -> bool:
    """Whether a language model is one of characters, which its file says; else it is one of words."""
    return model.info.get("units") == "characters"


def token_words(model: NGram, units: Units) -> NDArray[np.int64]:
    """(V,) the id, in a language model of characters, of each token.

    Raises:
        VocabularyError: the tokens are not characters, or the language model is one of other characters.
    """
    if not isinstance(units, Alphabet):
        raise VocabularyError("a language model of characters does not fit a model that writes subwords")
    names = [SPACE_IN_MODEL if symbol == SPACE else symbol for symbol in units.symbols]
    found = [model.ids.get(name, -1) for name in names]
    # Marks are the same in all alphabets.
    letters = [i for i, name in enumerate(model.words) if name.isalpha()] or [i for i in found if i >= 0]
    _check_writable(model, sorted(set(found).intersection(letters)), letters)
    return np.array([model.ids[UNKNOWN] if i < 0 else i for i in found], np.int64)


def token_kinds(units: Units) -> NDArray[np.int8]:
    """(V,) what each token does to words: INSIDE, SEPARATES or OPENS."""
    opens = SEPARATES if isinstance(units, Alphabet) else OPENS
    kinds = [INSIDE] + [opens if units.opens_word(i) else INSIDE for i in range(1, len(units))]
    return _frozen(np.array(kinds, np.int8))


def all_open(kinds: NDArray[np.int8]) -> NDArray[np.int8]:
    """(V,) the same for tokens that hot words may begin with anywhere, as in scripts without spaces."""
    return _frozen(np.where(np.arange(len(kinds)) == BLANK, INSIDE, OPENS).astype(np.int8))


def separator(kinds: NDArray[np.int8]) -> int:
    """The token that separates words, or 0."""
    found = np.flatnonzero(kinds == SEPARATES)
    return int(found[0]) if len(found) else 0


def parse_phrases(
    phrases: Mapping[str, float] | Iterable[str], weight: float, units: Units, normalizer: Normalizer
) -> dict[str, float]:
    """Hot words and phrases in the model's own form, each with the bonus of one of its words.

    Args:
        phrases: with weights of their own, or all with `weight`.

    Raises:
        VocabularyError: a phrase is empty or has characters that the model does not write.
    """
    if isinstance(phrases, str):
        raise VocabularyError(f"hot words are a list of phrases; found the text {phrases!r}")
    weights = phrases if isinstance(phrases, Mapping) else dict.fromkeys(phrases, weight)
    found = {}
    for phrase, bonus in weights.items():
        text = normalizer(phrase)
        if not text:
            raise VocabularyError(f"hot word {phrase!r}: there is nothing to hear in it")
        if unknown := units.unknown(text):
            letters = ", ".join(map(repr, unknown))
            raise VocabularyError(f"hot word {phrase!r}: the model does not write {letters}; spell it as it is spoken")
        if not abs(bonus) <= HEAVIEST:
            raise VocabularyError(
                f"hot word {phrase!r}: its weight is {bonus}; expected a number from {-HEAVIEST:g} to {HEAVIEST:g}"
            )
        found[text] = bonus
    return found


def hot_words(phrases: Mapping[str, float], units: Units, kinds: NDArray[np.int8]) -> Trie:
    """The tree of hot words as they are spelled; see `_hot_tree`."""
    return _hot_tree(phrases, [units.encode(text) for text in phrases], kinds)


def hot_words_said(phrases: Mapping[str, float], ids: Mapping[str, int]) -> Trie:
    """The tree of hot words as sequences of words, for words of phones.

    Args:
        ids: what beam search calls each of their words.
    """
    kinds = np.full(max(ids.values(), default=0) + 1, OPENS)
    return _hot_tree(phrases, [[ids[word] for word in text.split()] for text in phrases], kinds)


def _hot_tree(phrases: Mapping[str, float], sequences: Sequence[Sequence[int]], kinds: NDArray) -> Trie:
    """The tree of hot words: what a beginning of them earns, and what is safe when it does not go on.

    A phrase earns its weight for every one of its words, little by little with its tokens; where a match breaks off,
    what it has earned is lost again, but for shorter phrases that were whole by then.

    Args:
        phrases: normalised -> bonus of each word, natural logarithm.
        sequences: of each phrase, tokens or words above 0.
        kinds: of what they are made of, see `token_kinds`.
    """
    texts = list(phrases)
    tree, parent = make_trie(sequences, range(len(texts)))
    size = len(parent)
    best, banked, whole = (np.zeros(size, np.float32) for _ in range(3))
    depth = np.zeros(size, np.int64)
    for node in range(1, size):
        depth[node] = depth[parent[node]] + 1
    totals = np.array([phrases[text] * len(text.split()) for text in texts], np.float32)
    rate = np.full(size, -np.inf)  # most that a token on the way to some phrase earns
    owners = np.repeat(np.arange(size), np.diff(tree.first_end))
    np.maximum.at(rate, owners, totals[tree.ends] / depth[owners])
    for node in range(size - 1, 0, -1):
        rate[parent[node]] = max(rate[parent[node]], rate[node])
    ends = np.full(size, -np.inf)
    np.maximum.at(ends, owners, totals[tree.ends])
    for node in range(1, size):
        before = parent[node]
        banked[node] = banked[before] if kinds[tree.tokens[node]] == INSIDE else whole[before]
        whole[node] = ends[node] if ends[node] > -np.inf else banked[node]
        best[node] = max(rate[node] * depth[node], banked[node])
    return tree._replace(best=_frozen(best), banked=_frozen(banked), whole=_frozen(whole))


NO_WORDS, _ = make_trie([], [])
