"""Prefix beam search over CTC log-probs, compiled: the inside of `asr.decode.BeamSearch`.

A prefix is a sequence of tokens; it keeps two probabilities of all paths that give it, those that end with a blank and
those that end with its last token (Graves 2012; Hannun et al. 2014). Prefixes are the nodes of a tree that grows while
the frames go by; what a language model says of a prefix is computed once, when it is made, and kept in its node.

Four modes say what a language model knows of tokens:

NO_WORDS: nothing; the search is for the most probable sequence of tokens.
TOKENS: it is a model of tokens, and is asked at each of them.
SPELLED: it is a model of words, whose ends a token shows: a separator (the space between letters), or a token that
    opens the next word (a piece such as "▁the"). Separators at either end and beside one another count nothing, and
    texts that differ by them alone are one. What is not in the vocabulary is <unk>, at a price.
PRONOUNCED: it is a model of words that end at their last token without a sign of it, such as words of phones. A prefix
    then is tokens and words; only what the lexicon holds can be found.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.compiled import compiled, inner
from asr.ngram import Tables, advance

NO_WORDS, TOKENS, SPELLED, PRONOUNCED = range(4)  # modes
INSIDE, SEPARATES, OPENS = range(3)  # kinds of tokens
BLANK = 0
NATURAL = float(np.log(10.0))  # log10 -> natural logarithm
NOTHING = 30.0  # what is less by so much adds nothing: 1e-13
SCATTER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio (Knuth's multiplicative hashing)
LEAST = -1e3  # log-prob of the blank, at least: something always survives
IMPOSSIBLE = -np.inf
OUTSIDE = -1  # in place of a node of a lexicon: no word of the vocabulary begins so
LOST = -1  # in place of a node of the hot words: no match before the next word
UNKNOWN_YET = -2  # in END_CONTEXT: the word's end has not been scored

# Columns of a prefix: whole numbers, and natural logarithms.
PARENT, TOKEN, WORD, PLACE, CONTEXT, HOT, SLOT, END_CONTEXT = range(8)
LANGUAGE, AHEAD, KEPT, END_LANGUAGE = range(4)
# Columns of a candidate: a prefix that may be made (FOUND -1) or come back.
FROM, C_TOKEN, C_WORD, C_PLACE, C_CONTEXT, C_HOT, FOUND = range(7)
C_LANGUAGE, C_AHEAD, C_KEPT, ACOUSTIC, SCORE = range(5)
WITH_BLANK, WITHOUT = range(2)  # columns of a prefix's paths, which end with a blank or with its last token


class Trie(NamedTuple):
    """Token sequences that share their beginnings. Node 0 is the empty one; N nodes.

    Args:
        first_child: (N + 1,) int32: the children of node i are first_child[i] to first_child[i + 1] - 1.
        tokens: (N,) int32: last token of each node; the children of a node are sorted by it.
        first_end: (N + 1,) int32: entries first_end[i] to first_end[i + 1] - 1 of `ends` end at node i.
        ends: int32: what ends there: words of the language model.
        best: (N,) float32: in a lexicon, the largest log10 probability of a word that passes here; among hot words, the
            bonus for what has matched, a natural logarithm.
        banked: (N,) float32: among hot words, the bonus of shorter phrases that have ended on the way here.
        whole: (N,) float32: among hot words, the bonus of the phrase that ends here, or of a shorter one.
    """

    first_child: NDArray[np.int32]
    tokens: NDArray[np.int32]
    first_end: NDArray[np.int32]
    ends: NDArray[np.int32]
    best: NDArray[np.float32]
    banked: NDArray[np.float32]
    whole: NDArray[np.float32]


class Rules(NamedTuple):
    """What the search is to do.

    Args:
        mode: one of the four.
        kinds: (V,) int8: INSIDE, SEPARATES or OPENS of every token.
        separator: the token that separates words; 0 if there is none.
        token_words: (V,) int64: in mode TOKENS, each token's id in the language model.
        start: context of the language model at the beginning.
        end, unknown: its ids of </s> and <unk>.
        words: in mode PRONOUNCED, how many words it has; ids from there on are of words that are <unk> to it.
        variants: most candidates that a prefix and a token give.
        size: prefixes that survive a frame.
        window: natural logarithm: prefixes that are worse than the best by more than this do not survive.
        floor: natural logarithm: tokens less probable than this are not tried; the best one always is.
        alpha: weight of the language model; beta: bonus of a word (in mode TOKENS, of a token), natural logarithm.
        price: of a word (in mode TOKENS, of a token) that the language model does not know, natural logarithm.
        outside: what such a word is taken to score before it ends, as `Trie.best` is for the others.
        recombine: of prefixes that the language model cannot tell apart any more only the best survives, where there
            are more than `size`: it makes room for others.
    """

    mode: int
    kinds: NDArray[np.int8]
    separator: int
    token_words: NDArray[np.int64]
    start: int
    end: int
    unknown: int
    words: int
    variants: int
    size: int
    window: float
    floor: float
    alpha: float
    beta: float
    price: float
    outside: float
    recombine: bool


@inner
def log_add(a: float, b: float) -> float:
    """log(exp(a) + exp(b))."""
    if a < b:
        a, b = b, a
    return a if b == IMPOSSIBLE or b < a - NOTHING else a + np.log1p(np.exp(b - a))


@inner
def step(trie: Trie, node: int, token: int) -> int:
    """The node after a token, or -1."""
    low, high = trie.first_child[node], trie.first_child[node + 1]
    end = high
    while low < high:
        middle = (low + high) // 2
        if trie.tokens[middle] < token:
            low = middle + 1
        else:
            high = middle
    return low if low < end and trie.tokens[low] == token else -1


@inner
def _word_score(rules: Rules, tables: Tables, context: int, word: int) -> tuple[float, int]:
    """Weighted score of a word or token, natural logarithm, and the context after it."""
    log_prob, after = advance(tables, context, word)
    return rules.alpha * NATURAL * log_prob + rules.beta, after


@inner
def _end_word(rules: Rules, tables: Tables, lexicon: Trie, whole: NDArray, real: NDArray, node: int) -> None:
    """Score the word that a prefix of mode SPELLED is in, as if it ended there; kept in its node."""
    if whole[node, END_CONTEXT] != UNKNOWN_YET:
        return
    place, language, context = whole[node, PLACE], real[node, LANGUAGE], whole[node, CONTEXT]
    best, after = IMPOSSIBLE, context
    if place > 0:
        for i in range(lexicon.first_end[place], lexicon.first_end[place + 1]):
            score, reached = _word_score(rules, tables, context, lexicon.ends[i])
            if score > best:
                best, after = score, reached
    if place != 0 and best == IMPOSSIBLE:
        best, after = _word_score(rules, tables, context, rules.unknown)
        best -= rules.price
    elif place == 0:  # between words
        best = 0.0
    real[node, END_LANGUAGE] = language + best
    whole[node, END_CONTEXT] = after


@inner
def _follow(hot: Trie, node: int, kept: float, token: int, kind: int, fresh: bool) -> tuple[int, float]:
    """Where a token leads among the hot words, and the bonus that is safe by then.

    Args:
        node: where the prefix is; LOST in a word that is none of them.
        kind: of the token.
        fresh: a word may begin here.
    """
    if node == LOST and kind == INSIDE:
        return LOST, kept
    if node != LOST:
        found = step(hot, node, token)
        if found >= 0:
            return found, kept
        kept += hot.banked[node] if kind == INSIDE else hot.whole[node]
    if kind == SEPARATES:
        return 0, kept
    found = step(hot, 0, token) if fresh or kind == OPENS else -1
    return (found if found >= 0 else LOST), kept


@inner
def _extend(
    rules: Rules,
    tables: Tables,
    lexicon: Trie,
    hot: Trie,
    whole: NDArray,
    real: NDArray,
    node: int,
    token: int,
    new_whole: NDArray,
    new_real: NDArray,
) -> None:
    """What a prefix becomes with one more token, in every mode but PRONOUNCED: into the columns of a candidate."""
    place, context, language, ahead = whole[node, PLACE], whole[node, CONTEXT], real[node, LANGUAGE], 0.0
    kind = rules.kinds[token]
    if rules.mode == TOKENS:
        name = rules.token_words[token]
        score, context = _word_score(rules, tables, context, name)
        language += score - (rules.price if name == rules.unknown else 0.0)
    elif rules.mode == SPELLED:
        if kind != INSIDE:
            _end_word(rules, tables, lexicon, whole, real, node)
            language, context, place = real[node, END_LANGUAGE], whole[node, END_CONTEXT], 0
        if kind != SEPARATES:
            was_outside = place == OUTSIDE
            place = OUTSIDE if was_outside else step(lexicon, place, token)
            if was_outside:
                ahead = real[node, AHEAD]
            elif place == OUTSIDE:
                ahead = rules.outside
            else:
                ahead = rules.alpha * NATURAL * lexicon.best[place] + rules.beta
    fresh = node == 0 or rules.kinds[whole[node, TOKEN]] == SEPARATES
    heat, kept = _follow(hot, whole[node, HOT], real[node, KEPT], token, kind, fresh)
    new_whole[C_WORD], new_whole[C_PLACE], new_whole[C_CONTEXT], new_whole[C_HOT] = -1, place, context, heat
    new_real[C_LANGUAGE], new_real[C_AHEAD], new_real[C_KEPT] = language, ahead, kept


@inner
def _pronounce(
    rules: Rules,
    tables: Tables,
    lexicon: Trie,
    hot: Trie,
    whole: NDArray,
    real: NDArray,
    node: int,
    place: int,
    word: int,
    new_whole: NDArray,
    new_real: NDArray,
) -> None:
    """The same in mode PRONOUNCED, for a token that leads to a place in the lexicon.

    Args:
        word: that ends there, or -1: the word goes on.
    """
    context, language, ahead = whole[node, CONTEXT], real[node, LANGUAGE], 0.0
    heat, kept = whole[node, HOT], real[node, KEPT]
    if word < 0:
        ahead = rules.alpha * NATURAL * lexicon.best[place] + rules.beta
    else:
        score, context = _word_score(rules, tables, context, word if word < rules.words else rules.unknown)
        language += score
        place = 0
        heat, kept = _follow(hot, heat, kept, word, OPENS, True)
    new_whole[C_WORD], new_whole[C_PLACE], new_whole[C_CONTEXT], new_whole[C_HOT] = word, place, context, heat
    new_real[C_LANGUAGE], new_real[C_AHEAD], new_real[C_KEPT] = language, ahead, kept


@inner
def _find(table: NDArray[np.int32], whole: NDArray, node: int, token: int, word: int) -> int:
    """The place, in a hash table of nodes, of a prefix with one more token (and the word that it ends).

    There stands its node, or -1 where it has none yet.
    """
    mixed = np.uint64(node) * SCATTER ^ (np.uint64(token) << np.uint64(40)) ^ np.uint64(word + 1) * SCATTER
    place = np.int64((mixed * SCATTER) >> np.uint64(33)) & (len(table) - 1)
    while table[place] >= 0:
        found = table[place]
        if whole[found, PARENT] == node and whole[found, TOKEN] == token and whole[found, WORD] == word:
            break
        place = (place + 1) & (len(table) - 1)
    return place


@compiled
def _rebuilt(table: NDArray[np.int32], whole: NDArray, made: int) -> NDArray[np.int32]:
    """A hash table of twice the size."""
    larger = np.full(2 * len(table), -1, np.int32)
    for node in range(1, made):
        larger[_find(larger, whole, whole[node, PARENT], whole[node, TOKEN], whole[node, WORD])] = node
    return larger


@inner
def _heat(hot: Trie, node: int) -> float:
    """The bonus of what has matched so far."""
    return 0.0 if node == LOST else hot.best[node]


@inner
def _worth(whole: NDArray, real: NDArray, hot: Trie, node: int) -> float:
    """All that a prefix's score has beside its acoustic log-prob."""
    return real[node, LANGUAGE] + real[node, AHEAD] + real[node, KEPT] + _heat(hot, whole[node, HOT])


@inner
def _most(rules: Rules, lexicon: Trie, hot: Trie, whole: NDArray, real: NDArray, node: int) -> tuple[float, float]:
    """What a prefix with one more token can have at most beside its acoustic log-prob: in the same word, and behind it.

    A word's look-ahead only falls from token to token, and no word scores more than its bonus. What opens the next word
    looks ahead in that one, too.
    """
    language, bonus = real[node, LANGUAGE], max(rules.beta, 0.0)
    if len(hot.tokens) > 1:
        return np.inf, np.inf
    if rules.mode == NO_WORDS:
        return language, language
    if rules.mode != SPELLED:
        return language + bonus, language + bonus
    ahead = real[node, AHEAD]
    if whole[node, PLACE] == 0:
        ahead = rules.alpha * NATURAL * lexicon.best[0] + rules.beta
    behind = language + bonus if whole[node, END_CONTEXT] == UNKNOWN_YET else real[node, END_LANGUAGE]
    if rules.separator == 0:
        behind += max(rules.alpha * NATURAL * lexicon.best[0] + rules.beta, rules.outside)
    return language + max(ahead, rules.outside), behind


@inner
def _tokens_to_try(log_probs: NDArray[np.float32], floor: float, tried: NDArray[np.int32]) -> int:
    """Fill in the tokens above the floor, the most probable first, or that one alone; returns how many."""
    count, best = 0, 1
    for token in range(1, len(log_probs)):
        if log_probs[token] > log_probs[best]:
            best = token
        if log_probs[token] >= floor:
            place = count
            while place > 0 and log_probs[tried[place - 1]] < log_probs[token]:
                tried[place] = tried[place - 1]
                place -= 1
            tried[place] = token
            count += 1
    if count == 0:
        tried[0] = best
    return max(count, 1)


@compiled
def _longer(array: NDArray) -> NDArray:
    """Twice the rows."""
    grown = np.empty((2 * len(array), array.shape[1]), array.dtype)
    grown[: len(array)] = array
    return grown


@compiled
def search(
    log_probs: NDArray[np.float32], rules: Rules, tables: Tables, lexicon: Trie, hot: Trie
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """The prefixes of an utterance that are left at its end.

    Args:
        log_probs: (T, V) without NaN.

    Returns: the tree's whole numbers and logarithms (see the columns above), the nodes that are left, the best first,
        and for each its acoustic log-prob, language score with bonuses, and the sum of both: (n, 3).
    """
    frames, tokens = log_probs.shape
    whole, real, table = np.empty((1024, 8), np.int32), np.empty((1024, 4)), np.full(4096, -1, np.int32)
    whole[0, :], real[0, :] = -1, 0.0
    whole[0, PLACE], whole[0, CONTEXT], whole[0, HOT], whole[0, SLOT] = 0, rules.start, 0, 0
    whole[0, TOKEN], whole[0, END_CONTEXT] = BLANK, UNKNOWN_YET
    made = 1
    beam, paths = np.zeros(1, np.int32), np.array([[0.0, IMPOSSIBLE]])
    candidates, numbers, tried = np.empty((1024, 7), np.int32), np.empty((1024, 5)), np.empty(tokens, np.int32)
    enough, slots = rules.size, 1
    if rules.recombine:  # of some that are alike only one survives
        enough *= 2
        while slots < 4 * enough:
            slots *= 2
    seen = np.empty(slots, np.int32)
    for t in range(frames):
        likely = _tokens_to_try(log_probs[t], rules.floor, tried)
        most = len(beam) * likely * rules.variants
        if most > len(candidates):
            candidates, numbers = np.empty((2 * most, 7), np.int32), np.empty((2 * most, 5))
        while made + min(rules.size, len(beam) + most) > len(whole):
            whole, real = _longer(whole), _longer(real)
        while 2 * len(whole) > len(table):
            table = _rebuilt(table, whole, made)

        total, new_paths = np.empty(len(beam)), np.empty((len(beam), 2))
        best, worst = _stay(log_probs[t], rules, hot, whole, real, beam, paths, total, new_paths)
        # Prefixes that are worse cannot be among the best: so many of those that stay, or of the new ones, are better.
        least = max(best - rules.window, worst if len(beam) == rules.size else IMPOSSIBLE)
        count = done = 0
        while done < len(beam):
            count, done = _grow(
                log_probs[t],
                rules,
                tables,
                lexicon,
                hot,
                table,
                whole,
                real,
                beam,
                paths,
                total,
                new_paths,
                tried[:likely],
                least,
                candidates,
                numbers,
                count,
                done,
                enough,
            )
            if count >= 2 * enough:
                count, least = _thin(candidates, numbers, count, enough, least)
        scores = np.empty(len(beam) + count)
        _score(hot, whole, real, beam, new_paths, scores)
        scores[len(beam) :] = numbers[:count, SCORE]
        chosen = _choose(scores, enough, rules.window)
        if rules.recombine and len(chosen) > rules.size:
            chosen = chosen[: _recombine(whole, beam, candidates, chosen, rules.size, seen)]
        survivors, paths = np.empty(len(chosen), np.int32), np.empty((len(chosen), 2))
        made = _survive(whole, real, table, made, beam, new_paths, candidates, numbers, chosen, survivors, paths)
        beam = survivors
    return _finish(rules, tables, lexicon, hot, whole[:made], real[:made], beam, paths)


@inner
def _stay(
    log_probs: NDArray[np.float32],
    rules: Rules,
    hot: Trie,
    whole: NDArray,
    real: NDArray,
    beam: NDArray[np.int32],
    paths: NDArray[np.float64],
    total: NDArray[np.float64],
    new_paths: NDArray[np.float64],
) -> tuple[float, float]:
    """A frame that adds no token to any prefix: into `new_paths`, and the sums of `paths` into `total`.

    Returns: the best and the worst score.
    """
    blank = max(np.float64(log_probs[BLANK]), LEAST)
    best, worst = IMPOSSIBLE, np.inf
    for i in range(len(beam)):
        node = beam[i]
        total[i] = log_add(paths[i, WITH_BLANK], paths[i, WITHOUT])
        new_paths[i, WITH_BLANK] = total[i] + blank
        new_paths[i, WITHOUT] = paths[i, WITHOUT] + log_probs[whole[node, TOKEN]] if node > 0 else IMPOSSIBLE
        if rules.mode == SPELLED and whole[node, PLACE] == 0 and rules.separator > 0:
            # At the beginning or after a separator, another one changes nothing: it stands for a blank.
            new_paths[i, WITHOUT] = total[i] + log_probs[rules.separator]
        score = log_add(new_paths[i, WITH_BLANK], new_paths[i, WITHOUT]) + _worth(whole, real, hot, node)
        best, worst = max(best, score), min(worst, score)
    return best, worst


@inner
def _score(
    hot: Trie,
    whole: NDArray,
    real: NDArray,
    beam: NDArray[np.int32],
    new_paths: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """The scores of prefixes that stay."""
    for i in range(len(beam)):
        scores[i] = log_add(new_paths[i, WITH_BLANK], new_paths[i, WITHOUT]) + _worth(whole, real, hot, beam[i])


@inner
def _grow(
    log_probs: NDArray[np.float32],
    rules: Rules,
    tables: Tables,
    lexicon: Trie,
    hot: Trie,
    table: NDArray[np.int32],
    whole: NDArray,
    real: NDArray,
    beam: NDArray[np.int32],
    paths: NDArray[np.float64],
    total: NDArray[np.float64],
    new_paths: NDArray[np.float64],
    tried: NDArray[np.int32],
    least: float,
    candidates: NDArray,
    numbers: NDArray,
    count: int,
    done: int,
    enough: int,
) -> tuple[int, int]:
    """Prefixes with one more token, until there are twice as many candidates as are enough.

    Args:
        tried: tokens, the most probable first.
        least: candidates with a lower score are not written down.
        count: candidates so far.
        done: prefixes that have been looked at.

    Returns: both by now.
    """
    while done < len(beam) and count < 2 * enough:
        count = _grow_one(
            log_probs,
            rules,
            tables,
            lexicon,
            hot,
            table,
            whole,
            real,
            beam[done],
            paths[done, WITH_BLANK],
            total[done],
            new_paths,
            tried,
            least,
            candidates,
            numbers,
            count,
        )
        done += 1
    return count, done


@inner
def _grow_one(
    log_probs: NDArray[np.float32],
    rules: Rules,
    tables: Tables,
    lexicon: Trie,
    hot: Trie,
    table: NDArray[np.int32],
    whole: NDArray,
    real: NDArray,
    node: int,
    with_blank: float,
    total: float,
    new_paths: NDArray[np.float64],
    tried: NDArray[np.int32],
    least: float,
    candidates: NDArray,
    numbers: NDArray,
    count: int,
) -> int:
    """A prefix with one more token: where that one is kept already its paths are added, else it is a candidate.

    Args:
        with_blank, total: log-probs of the prefix's paths that end with a blank, and of all.

    Other arguments as for `_grow`. Returns: candidates by now.
    """
    inside, behind = _most(rules, lexicon, hot, whole, real, node)
    either = max(inside, behind)
    for token in tried:
        if total + log_probs[token] + either < least:
            break  # and so for all that are less probable
        if rules.mode == SPELLED and token == rules.separator and whole[node, PLACE] == 0:
            continue
        acoustic = (with_blank if token == whole[node, TOKEN] else total) + log_probs[token]
        if acoustic == IMPOSSIBLE or acoustic + (inside if rules.kinds[token] == INSIDE else behind) < least:
            continue
        place, variants = -1, 1
        if rules.mode == PRONOUNCED:
            place = step(lexicon, whole[node, PLACE], token)
            if place < 0:
                continue
            variants = 1 + lexicon.first_end[place + 1] - lexicon.first_end[place]
        for variant in range(variants):
            word = -1
            if variant > 0:
                word = lexicon.ends[lexicon.first_end[place] + variant - 1]
            elif rules.mode == PRONOUNCED and lexicon.first_child[place] == lexicon.first_child[place + 1]:
                continue  # no word goes on from there
            found = table[_find(table, whole, node, token, word)]
            if found >= 0 and whole[found, SLOT] >= 0:
                slot = whole[found, SLOT]
                new_paths[slot, WITHOUT] = log_add(new_paths[slot, WITHOUT], acoustic)
                continue
            if found >= 0:
                score = acoustic + _worth(whole, real, hot, found)
            else:
                new_whole, new_real = candidates[count], numbers[count]
                if rules.mode == PRONOUNCED:
                    _pronounce(rules, tables, lexicon, hot, whole, real, node, place, word, new_whole, new_real)
                else:
                    _extend(rules, tables, lexicon, hot, whole, real, node, token, new_whole, new_real)
                score = acoustic + new_real[C_LANGUAGE] + new_real[C_AHEAD] + new_real[C_KEPT]
                score += _heat(hot, new_whole[C_HOT])
            if score >= least:
                candidates[count, FROM], candidates[count, C_TOKEN], candidates[count, FOUND] = node, token, found
                numbers[count, ACOUSTIC], numbers[count, SCORE] = acoustic, score
                count += 1
    return count


@compiled
def _thin(candidates: NDArray, numbers: NDArray, count: int, size: int, least: float) -> tuple[int, float]:
    """Forget all candidates but the `size` best; returns how many there are, and what is too little by now.

    Of equal ones the first stay: were all kept, there might never be room again.
    """
    limit = np.partition(numbers[:count, SCORE], count - size)[count - size]
    least = max(least, limit)
    room = size - np.count_nonzero(numbers[:count, SCORE] > limit)  # for those that are no better than the limit
    kept = 0
    for i in range(count):
        score = numbers[i, SCORE]
        if score < least or (score == limit and room == 0):
            continue
        room -= score == limit
        candidates[kept], numbers[kept] = candidates[i], numbers[i]
        kept += 1
    return kept, least


@inner
def _survive(
    whole: NDArray,
    real: NDArray,
    table: NDArray[np.int32],
    made: int,
    beam: NDArray[np.int32],
    new_paths: NDArray[np.float64],
    candidates: NDArray,
    numbers: NDArray,
    chosen: NDArray[np.int64],
    survivors: NDArray[np.int32],
    paths: NDArray[np.float64],
) -> int:
    """Put what was chosen, of the prefixes that stay and the candidates behind them, into a new beam.

    Returns: nodes that are made by now.
    """
    for node in beam:
        whole[node, SLOT] = -1
    for slot in range(len(chosen)):
        i = chosen[slot]
        if i < len(beam):
            node = beam[i]
            paths[slot, WITH_BLANK], paths[slot, WITHOUT] = new_paths[i, WITH_BLANK], new_paths[i, WITHOUT]
        else:
            i -= len(beam)
            node = candidates[i, FOUND]
            if node < 0:
                node = made
                made += 1
                _make(whole, real, node, candidates[i], numbers[i])
                table[_find(table, whole, whole[node, PARENT], whole[node, TOKEN], whole[node, WORD])] = node
            paths[slot, WITH_BLANK], paths[slot, WITHOUT] = IMPOSSIBLE, numbers[i, ACOUSTIC]
        whole[node, SLOT] = slot
        survivors[slot] = node
    return made


@inner
def _make(whole: NDArray, real: NDArray, node: int, new_whole: NDArray, new_real: NDArray) -> None:
    """Write a candidate into the tree."""
    whole[node, PARENT], whole[node, TOKEN] = new_whole[FROM], new_whole[C_TOKEN]
    whole[node, WORD] = new_whole[C_WORD]
    whole[node, PLACE], whole[node, CONTEXT] = new_whole[C_PLACE], new_whole[C_CONTEXT]
    whole[node, HOT], whole[node, END_CONTEXT] = new_whole[C_HOT], UNKNOWN_YET
    real[node, LANGUAGE], real[node, AHEAD], real[node, KEPT] = (
        new_real[C_LANGUAGE],
        new_real[C_AHEAD],
        new_real[C_KEPT],
    )


@inner
def _recombine(
    whole: NDArray,
    beam: NDArray[np.int32],
    candidates: NDArray,
    chosen: NDArray[np.int64],
    size: int,
    seen: NDArray[np.int32],
) -> int:
    """Of prefixes to which the same can follow at the same price keep the best: same place, context and last token.

    Args:
        chosen: numbers of prefixes that stay and of candidates behind them, the best first; those that are kept come to
            the front.
        size: how many are kept at most.
        seen: room for a hash table, a power of 2.

    Returns: how many are kept.
    """
    seen[:] = -1
    kept = 0
    for k in range(len(chosen)):
        if kept == size:
            break
        i = chosen[k]
        place = _key(whole, beam, candidates, i) & (len(seen) - 1)
        while seen[place] >= 0 and not _alike(whole, beam, candidates, i, chosen[seen[place]]):
            place = (place + 1) & (len(seen) - 1)
        if seen[place] < 0:
            chosen[kept] = i
            seen[place] = kept
            kept += 1
    return kept


@inner
def _traits(whole: NDArray, beam: NDArray[np.int32], candidates: NDArray, i: int) -> tuple[int, int, int, int]:
    """Last token, place, context and hot word of a prefix that stays or of a candidate."""
    node = beam[i] if i < len(beam) else candidates[i - len(beam), FOUND]
    if node >= 0:
        return whole[node, TOKEN], whole[node, PLACE], whole[node, CONTEXT], whole[node, HOT]
    i -= len(beam)
    return candidates[i, C_TOKEN], candidates[i, C_PLACE], candidates[i, C_CONTEXT], candidates[i, C_HOT]


@inner
def _key(whole: NDArray, beam: NDArray[np.int32], candidates: NDArray, i: int) -> int:
    token, place, context, heat = _traits(whole, beam, candidates, i)
    mixed = np.uint64(place + 1) * SCATTER ^ np.uint64(context) ^ (np.uint64(token) << np.uint64(40))
    return np.int64(((mixed ^ np.uint64(heat + 1) << np.uint64(50)) * SCATTER) >> np.uint64(33))


@inner
def _alike(whole: NDArray, beam: NDArray[np.int32], candidates: NDArray, i: int, j: int) -> bool:
    return _traits(whole, beam, candidates, i) == _traits(whole, beam, candidates, j)


@compiled
def _choose(scores: NDArray[np.float64], size: int, window: float) -> NDArray[np.int64]:
    """Numbers of the best scores, at most `size`, within the window; the best first."""
    least = scores.max() - window
    if len(scores) > size:
        least = max(least, np.partition(scores, len(scores) - size)[len(scores) - size])
    chosen = np.flatnonzero(scores >= least)
    return chosen[np.argsort(-scores[chosen], kind="mergesort")][:size]  # which keeps equal ones in their order


@compiled
def _finish(
    rules: Rules,
    tables: Tables,
    lexicon: Trie,
    hot: Trie,
    whole: NDArray,
    real: NDArray,
    beam: NDArray[np.int32],
    paths: NDArray[np.float64],
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """End the last words and the sentence; see `search` for what it returns."""
    acoustic = np.empty(len(beam))
    for i in range(len(beam)):
        acoustic[i] = log_add(paths[i, WITH_BLANK], paths[i, WITHOUT])
    if rules.mode == SPELLED:  # a separator at the end changes nothing
        for i in range(len(beam)):
            node = beam[i]
            if node > 0 and whole[node, TOKEN] == rules.separator:
                parent = whole[node, PARENT]
                slot = whole[parent, SLOT]
                if slot >= 0:
                    acoustic[slot] = log_add(acoustic[slot], acoustic[i])
                    acoustic[i] = IMPOSSIBLE
                else:
                    beam[i] = parent
    found = np.empty((len(beam), 3))
    any_whole = False
    for i in range(len(beam)):
        any_whole = any_whole or (whole[beam[i], PLACE] == 0 and acoustic[i] > IMPOSSIBLE)
    for i in range(len(beam)):
        node = beam[i]
        language, context = real[node, LANGUAGE], whole[node, CONTEXT]
        if rules.mode == SPELLED:
            _end_word(rules, tables, lexicon, whole, real, node)
            language, context = real[node, END_LANGUAGE], whole[node, END_CONTEXT]
        elif rules.mode == PRONOUNCED and whole[node, PLACE] != 0 and any_whole:
            acoustic[i] = IMPOSSIBLE  # in the middle of a word
        if rules.mode != NO_WORDS:
            language += rules.alpha * NATURAL * advance(tables, context, rules.end)[0]
        heat = whole[node, HOT]
        language += real[node, KEPT] + (0.0 if heat == LOST else hot.whole[heat])
        found[i] = acoustic[i], language, acoustic[i] + language
    order = np.argsort(-found[:, 2])
    kept = order[: np.count_nonzero(found[:, 2] > IMPOSSIBLE)]
    return whole, real, beam[kept], found[kept]
