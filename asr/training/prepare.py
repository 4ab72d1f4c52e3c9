"""The look at the data before training: what can be trained on, and what is left out and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from asr.corpus import Utterance
from asr.features import FeatureConfig
from asr.model import ModelConfig
from asr.text import Alphabet, Normalizer
from asr.training.cache import AudioCache

SHARE_TO_WARN = 0.02  # of the utterances left out because their text does not fit


@dataclass(frozen=True)
class Example:
    """An utterance that can be trained on.

    Args:
        number: its place in the audio cache.
        id: its name in reports.
        seconds: its length.
        ids: its text as token ids.
    """

    number: int
    id: str
    seconds: float
    ids: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """Why an utterance is left out of training."""

    utterance: str
    kind: str
    detail: str


def examples(
    utterances: Sequence[Utterance],
    cache: AudioCache,
    normalizer: Normalizer,
    alphabet: Alphabet,
    model: ModelConfig,
    features: FeatureConfig,
    max_seconds: float,
) -> tuple[list[Example], list[Problem]]:
    """Sort utterances into those that can be trained on and those that cannot.

    Left out are: unreadable audio, audio longer than `max_seconds`, empty texts, texts with characters outside the
    alphabet, and texts that CTC cannot fit into their frames (its loss would be infinite).
    """
    good: list[Example] = []
    problems: list[Problem] = []
    for i, utterance in enumerate(utterances):
        text = normalizer(utterance.text)
        found = _audio_problem(cache, i, max_seconds) or _text_problem(text, alphabet)
        if not found:
            ids = tuple(alphabet.encode(text))
            found = _fit_problem(ids, model.frames(features.frames(cache.lengths[i])))
        if found:
            problems.append(Problem(utterance.id, *found))
        else:
            good.append(Example(i, utterance.id, cache.seconds(i), ids))
    return good, problems


def _audio_problem(cache: AudioCache, i: int, max_seconds: float) -> tuple[str, str] | None:
    if i in cache.errors:
        return "unreadable audio", cache.errors[i]
    if cache.seconds(i) > max_seconds:
        return "too long", f"{cache.seconds(i):.1f} s; max_seconds is {max_seconds:g}"
    return None


def _text_problem(text: str, alphabet: Alphabet) -> tuple[str, str] | None:
    if not text:
        return "empty text", "nothing is left of the text after normalisation"
    if unknown := alphabet.unknown(text):
        return "unknown characters", f"{' '.join(map(repr, unknown))} are not in the model's alphabet"
    return None


def _fit_problem(ids: Sequence[int], frames: int) -> tuple[str, str] | None:
    needed = frames_needed(ids)
    if needed > frames:
        return "text does not fit", f"{len(ids)} letters need {needed} output frames; there are {frames}"
    return None


def frames_needed(ids: Sequence[int]) -> int:
    """Output frames that CTC needs: one a token, and a blank between two equal neighbours."""
    return len(ids) + sum(a == b for a, b in pairwise(ids))


def report(problems: Sequence[Problem], total: int, subsampling: int, hop_ms: float) -> Iterator[str]:
    """Lines for a person: how many utterances are left out, for which reasons, with an example of each."""
    counts = Counter(problem.kind for problem in problems)
    for kind, count in counts.most_common():
        example = next(problem for problem in problems if problem.kind == kind)
        yield f"left out: {count} of {total} utterances: {kind} (such as {example.utterance}: {example.detail})"
    if counts["text does not fit"] > SHARE_TO_WARN * total and subsampling > 2:
        rate = 1000 / hop_ms / subsampling
        yield (
            f"warning: many texts do not fit their audio at {subsampling}x subsampling ({rate:g} output frames a "
            f"second): set subsampling={subsampling // 2}, or check that texts and recordings belong together"
        )
