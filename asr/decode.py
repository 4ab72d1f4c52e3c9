"""Decoding: (log_probs, lengths) -> token ids, scores and frames. It knows ids, not letters."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr import Error

if TYPE_CHECKING:
    from asr.beam import Trie
    from asr.ngram import NGram

BLANK = 0
WIDEST = 10_000_000  # prefixes in a beam


class DecodeError(Error):
    """Log-probs that cannot be decoded."""


@dataclass(frozen=True)
class Hypothesis:
    """What a decoder makes of one utterance.

    Args:
        ids: token ids, without blanks.
        score: what the decoder has ranked it by, a natural logarithm: `acoustic` + `language`.
        frames, ends: for every token the output frame at which it starts, and the one after its last, on the most
            probable path that gives the tokens.
        acoustic: log-probability of the audio's path (greedy) or of all paths that give the tokens (beam search; of
            probabilities divided by their priors, if they are).
        language: weighted score of the language model, with the bonuses of words and hot words.
        words: ids of its words in the language model, where the words are pronounced, not spelled.
        word_ends: for each of these the number of tokens by its end.
    """

    ids: tuple[int, ...]
    score: float
    frames: tuple[int, ...]
    ends: tuple[int, ...]
    acoustic: float
    language: float = 0.0
    words: tuple[int, ...] = ()
    word_ends: tuple[int, ...] = ()


@dataclass(frozen=True)
class BeamSettings:
    """How beam search weighs and prunes; logarithms are natural.

    Args:
        beam_size: prefixes that survive a frame.
        alpha: weight of the language model's log-prob.
        beta: bonus of a word (with a language model of tokens, of a token).
        unknown_price: what a word costs that is not in the vocabulary, beside its <unk>.
        prior: power of the tokens' priors by which their probabilities are divided, where there is a language model.
        window: prefixes that are worse than the best one by more do not survive.
        floor: tokens whose log-prob is less are not tried in a frame, but for the best one.
    """

    beam_size: int = 50
    alpha: float = 0.8
    beta: float = 1.5
    unknown_price: float = 10.0
    prior: float = 0.3
    window: float = 14.0
    floor: float = -9.0

    def __post_init__(self) -> None:
        if not 1 <= self.beam_size <= WIDEST:
            raise DecodeError(f"beam_size is {self.beam_size}; it must be from 1 to {WIDEST}")
        for name in ("alpha", "beta", "unknown_price", "prior", "window", "floor"):
            if np.isnan(getattr(self, name)):
                raise DecodeError(f"{name} is not a number")
        if min(self.window, self.alpha, self.prior) < 0:
            raise DecodeError(
                f"window is {self.window}, alpha {self.alpha} and prior {self.prior}; they must be at least 0"
            )


def greedy(log_probs: NDArray[np.floating], lengths: NDArray[np.integer]) -> list[Hypothesis]:
    """The most probable token of every frame; then repeats are merged and blanks removed (Graves et al. 2006, 3.2).

    A double letter survives where a blank stands between its two parts.

    Args:
        log_probs: (B, T, V) natural log-probabilities, the blank first.
        lengths: (B,) frames of each utterance, 0..T.

    Raises:
        DecodeError: shapes that do not fit, or NaN within an utterance.
    """
    _check(log_probs, lengths)
    return [_greedy(utterance[:length]) for utterance, length in zip(log_probs, lengths, strict=True)]


def _check(log_probs: NDArray[np.floating], lengths: NDArray[np.integer]) -> None:
    if log_probs.ndim != 3 or lengths.shape != log_probs.shape[:1]:
        raise DecodeError(
            f"log_probs of shape {log_probs.shape} and lengths of shape {lengths.shape}; expected (B, T, V) and (B,)"
        )
    if len(lengths) and not 0 <= lengths.min() <= lengths.max() <= log_probs.shape[1]:
        raise DecodeError(f"lengths from {lengths.min()} to {lengths.max()}; expected 0 to {log_probs.shape[1]}")


def _check_numbers(log_probs: NDArray[np.floating]) -> None:
    if np.isnan(log_probs).any() or np.isposinf(log_probs).any():
        raise DecodeError(
            "log_probs hold NaN or infinity; the model that made them did not learn, or its file is damaged"
        )


def _greedy(log_probs: NDArray[np.floating]) -> Hypothesis:
    """(T, V) -> the best path's hypothesis."""
    _check_numbers(log_probs)
    if len(log_probs) == 0:
        return Hypothesis((), 0.0, (), (), 0.0)
    path = log_probs.argmax(axis=1)
    starts = np.flatnonzero(np.diff(path, prepend=BLANK))  # where a run of one token or of blanks begins
    ends = np.append(starts[1:], len(path))
    spoken = path[starts] != BLANK
    starts, ends = starts[spoken], ends[spoken]
    score = float(log_probs.max(axis=1).sum(dtype=np.float64))
    return Hypothesis(tuple(path[starts].tolist()), score, tuple(starts.tolist()), tuple(ends.tolist()), score)


class BeamSearch:
    """Prefix beam search, alone or with a language model and hot words; see `asr.beam` for the modes and sources.

    Args:
        kinds: (V,) of the tokens, see `asr.vocabulary.token_kinds`; for a lexicon of pronunciations all INSIDE.
        settings: weights and sizes.
        model: n-gram model of words or, without a lexicon, of tokens.
        lexicon: the model's words as tokens. If no token separates or opens words, each ends at its last token.
        token_words: (V,) where there is no lexicon, the language model's id of each token.
        hot: hot words; of tokens or, for a lexicon of pronunciations, of words.
        names: what the words of such a lexicon are called, by their ids; for those who read hypotheses.
        log_priors: (V,) of the tokens, see `asr.priors`; none where they are not known.

    Attributes:
        finds_unknown: whether words can come out that the language model does not have, at `unknown_price`.
        has_priors: whether `prior` changes anything.
    """

    def __init__(
        self,
        kinds: NDArray[np.int8],
        settings: BeamSettings,
        model: NGram | None = None,
        lexicon: Trie | None = None,
        token_words: NDArray[np.int64] | None = None,
        hot: Trie | None = None,
        names: Sequence[str] = (),
        log_priors: Sequence[float] = (),
    ) -> None:
        from asr import beam, ngram, vocabulary

        if model is None:
            mode = beam.NO_WORDS
        elif lexicon is None:
            mode = beam.TOKENS
        else:
            mode = beam.SPELLED if kinds.any() else beam.PRONOUNCED
        self.settings = settings
        self.names = names
        self.finds_unknown = mode in (beam.TOKENS, beam.SPELLED)
        self.has_priors = model is not None and len(log_priors) > 0
        self._log_priors = np.array(log_priors, np.float32)
        self._tables = model.tables if model else ngram.NO_TABLES
        self._lexicon = vocabulary.NO_WORDS if lexicon is None else lexicon
        self._hot = vocabulary.NO_WORDS if hot is None else hot
        self._unknown = 0.0  # log10 p
        if model:
            node = 1 + model.ids[ngram.UNKNOWN]
            self._unknown = float(model.tables.log_probs[node]) * model.tables.log_prob_unit
        variants = 1 + int(np.diff(lexicon.first_end).max()) if mode == beam.PRONOUNCED else 1
        self._rules = beam.Rules(
            mode,
            kinds,
            vocabulary.separator(kinds),
            np.zeros(len(kinds), np.int64) if token_words is None else np.asarray(token_words, np.int64),
            model.start if model else 0,
            model.ids[ngram.END] if model else 0,
            model.ids[ngram.UNKNOWN] if model else 0,
            len(model.words) if model else 0,
            variants,
            **_numbers(settings, self._unknown),
            recombine=False,
        )

    def __call__(
        self, log_probs: NDArray[np.floating], lengths: NDArray[np.integer], n_best: int = 1
    ) -> list[list[Hypothesis]]:
        """The best hypotheses of each utterance, at least one and at most `n_best`, the best first.

        Utterances are decoded side by side, as many as there are cores.

        Args:
            log_probs: (B, T, V) natural log-probabilities, the blank first.
            lengths: (B,) frames of each utterance, 0..T.

        Raises:
            DecodeError: shapes that do not fit, or NaN within an utterance.
        """
        _check(log_probs, lengths)
        return self.search_all([each[:length] for each, length in zip(log_probs, lengths, strict=True)], n_best)

    def search_all(
        self, utterances: Sequence[NDArray[np.floating]], n_best: int = 1, threads: int | None = None
    ) -> list[list[Hypothesis]]:
        """The same for utterances that are apart, (T, V) each; side by side in `threads`, or one a core."""
        if len(utterances) < 2 or threads == 1:
            return [self._search(utterance, n_best) for utterance in utterances]
        with ThreadPoolExecutor(threads or cores()) as pool:
            return list(pool.map(lambda utterance: self._search(utterance, n_best), utterances))

    def with_settings(self, settings: BeamSettings) -> BeamSearch:
        """The same search, weighed and pruned otherwise."""
        other = copy(self)
        other.settings = settings
        other._rules = self._rules._replace(**_numbers(settings, self._unknown))
        return other

    def _divided(self, log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(T, V) log-probs, divided by a power of the priors; those of a frame are of probabilities again."""
        found = log_probs - self.settings.prior * self._log_priors
        return found - np.logaddexp.reduce(found, axis=1, keepdims=True)

    def _search(self, log_probs: NDArray[np.floating], n_best: int) -> list[Hypothesis]:
        """(T, V) -> hypotheses of one utterance."""
        from asr import beam

        if n_best < 1:
            raise DecodeError(f"n_best is {n_best}; it must be at least 1")
        if log_probs.shape[1] != len(self._rules.kinds):
            raise DecodeError(f"log_probs of {log_probs.shape[1]} tokens; expected {len(self._rules.kinds)}")
        _check_numbers(log_probs)
        log_probs = np.ascontiguousarray(log_probs, np.float32)
        searched = self._divided(log_probs) if self.has_priors and self.settings.prior else log_probs
        # Alternatives that differ in words long past alone are for lists; without a list they take others' places.
        rules = self._rules._replace(recombine=n_best == 1 and self._rules.mode != beam.NO_WORDS)
        whole, _, nodes, scores = beam.search(searched, rules, self._tables, self._lexicon, self._hot)
        found: dict[tuple[int, ...], Hypothesis] = {}
        for node, (acoustic, language, score) in zip(nodes.tolist(), scores.tolist(), strict=True):
            ids, words, word_ends = _trace(whole, node)
            hypothesis = Hypothesis(ids, score, (), (), acoustic, language, words, word_ends)
            key = words if self._rules.mode == beam.PRONOUNCED else ids  # other pronunciations of the same words
            found[key] = _joined(found[key], hypothesis) if key in found else hypothesis
            if self._rules.mode != beam.PRONOUNCED and len(found) == n_best:
                break
        best = sorted(found.values(), key=lambda hypothesis: -hypothesis.score)[:n_best]
        return [_timed(hypothesis, log_probs) for hypothesis in best]


def _numbers(settings: BeamSettings, unknown: float) -> dict[str, float]:
    """Settings as the compiled search takes them.

    Args:
        unknown: log10 probability of <unk>.
    """
    return {
        "size": settings.beam_size,
        "window": float(settings.window),
        "floor": float(settings.floor),
        "alpha": float(settings.alpha),
        "beta": float(settings.beta),
        "price": float(settings.unknown_price),
        "outside": float(settings.alpha * np.log(10) * unknown + settings.beta - settings.unknown_price),
    }


def _trace(whole: NDArray[np.int32], node: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Tokens and words of a prefix, and the number of tokens by each word's end."""
    from asr.beam import PARENT, TOKEN, WORD

    path = []
    while node > 0:
        path.append(node)
        node = int(whole[node, PARENT])
    rows = whole[path[::-1]]
    last = np.flatnonzero(rows[:, WORD] >= 0)  # tokens that end a word
    return tuple(rows[:, TOKEN].tolist()), tuple(rows[last, WORD].tolist()), tuple((last + 1).tolist())


def _joined(one: Hypothesis, other: Hypothesis) -> Hypothesis:
    """The better of two, with the probability of both."""
    best = max(one, other, key=lambda hypothesis: hypothesis.score)
    acoustic = float(np.logaddexp(one.acoustic, other.acoustic))
    return replace(best, acoustic=acoustic, score=acoustic + best.language)


def _timed(hypothesis: Hypothesis, log_probs: NDArray[np.float32]) -> Hypothesis:
    """The same with the frames of its tokens."""
    from asr.align import token_spans

    starts, ends = token_spans(log_probs, hypothesis.ids).T.tolist()
    return replace(hypothesis, frames=tuple(starts), ends=tuple(ends))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
