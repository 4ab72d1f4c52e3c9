"""Texts that are likely not what is said: how well a trained model can align them with their recordings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import ctc_loss
from torch.nn.utils.rnn import pad_sequence

from asr.batching import length_batches
from asr.decode import BLANK
from asr.long import WHOLE
from asr.recognizer import Recognizer
from asr.training.look import Data, spread
from asr.training.prepare import Problem

KIND = "text may be wrong"
FEWEST = 20  # utterances from which it can be told what is usual
TELLS = 0.7  # right texts cost less than this share of what others' texts do; else the model knows too little
SHOWN = 60  # characters


@dataclass(frozen=True)
class Suspects:
    """Utterances whose texts a model hardly believes.

    Args:
        aligned: how many it has listened to.
        found: the least credible first.
        why_not: why nothing could be found out; empty where it could.
    """

    aligned: int
    found: list[Problem]
    why_not: str = ""


def find_suspects(recognizer: Recognizer, parts: Sequence[Data], seconds: float) -> Suspects:
    """Compare what a text costs, as CTC loss a character, with what the texts of other recordings cost there.

    Texts of others say what a wrong text costs with this model and these recordings, and most texts are right: one that
    costs more than half-way from the median of the right ones to the median of the wrong ones is a suspect. Measured on
    300 utterances each of four corpora, a fifth of which had got another's text, had lost half of theirs, or another's
    put behind it, with a model of half of the words wrong on clean speech (68% greedily): it named 92 to 100% of these,
    and of the others none of LJ Speech, 1 to 3% of the rest, whose own texts are not all right.

    Args:
        parts: training and dev data.
        seconds: of audio that may be listened to, spread over the data.
    """
    chosen = [(data, i) for data in parts for i in _usable(recognizer, data)]
    total = sum(data.cache.seconds(i) for data, i in chosen)
    chosen = chosen[:: max(1, math.ceil(total / max(seconds, 1.0)))]
    if len(chosen) < FEWEST:
        return Suspects(len(chosen), [], f"{len(chosen)} utterances of up to {WHOLE:g} s are too few to compare")
    own, others, heard = _costs(recognizer, chosen)
    finite = np.isfinite(own)
    if not finite.any() or not np.isfinite(others).any():
        return Suspects(len(chosen), [], "no recording could have another's text: they are too long to be compared")
    usual, wrong = float(np.median(own[finite])), float(np.median(others[np.isfinite(others)]))
    if not usual < TELLS * wrong:
        return Suspects(
            len(chosen), [], "the model knows too little of this speech to tell right texts from wrong ones"
        )
    order = [i for i in np.argsort(-own, kind="stable") if finite[i] and own[i] > (usual + wrong) / 2]
    found = [
        Problem(chosen[i][0].names[chosen[i][1]], KIND, _detail(heard[i], chosen[i][0].texts[chosen[i][1]]))
        for i in order
    ]
    return Suspects(len(chosen), found)


def _usable(recognizer: Recognizer, data: Data) -> Iterator[int]:
    """Utterances with audio and a text that the model can write; none that is too long to be heard in one pass.

    A loss takes memory for frames times letters: an hour would take 39 GB.
    """
    for i in spread(len(data.names)):
        text = data.texts[i]
        if text and 0 < data.cache.seconds(i) <= WHOLE and not recognizer.alphabet.unknown(text):
            yield i


def _costs(
    recognizer: Recognizer, chosen: Sequence[tuple[Data, int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """(N,) loss a character of each text and of another's, infinite where it does not fit; and what is heard."""
    own, others, heard = np.full(len(chosen), np.inf), np.full(len(chosen), np.inf), [""] * len(chosen)
    readers = {id(data): data.cache.reader() for data, _ in chosen}
    texts = [data.texts[i] for data, i in chosen]
    for batch in length_batches([int(data.cache.lengths[i]) for data, i in chosen]):
        log_probs = recognizer.whole_log_probs([readers[id(chosen[n][0])][chosen[n][1]] for n in batch])
        own[batch] = _losses(recognizer, log_probs, [texts[n] for n in batch])
        if len(batch) > 1:
            turned = [*batch[1:], batch[0]]
            others[batch] = _losses(recognizer, log_probs, [texts[n] for n in turned])
        for n, rows in zip(batch, log_probs, strict=True):
            heard[n] = _greedy(recognizer, rows)
    return own, others, heard


def _losses(
    recognizer: Recognizer, log_probs: Sequence[NDArray[np.float32]], texts: Sequence[str]
) -> NDArray[np.float64]:
    ids = [recognizer.alphabet.encode(text) for text in texts]
    targets = torch.tensor([token for each in ids for token in each])
    lengths = torch.tensor([len(each) for each in ids])
    rows = pad_sequence([torch.from_numpy(each) for each in log_probs])
    frames = torch.tensor([len(each) for each in log_probs])
    losses = ctc_loss(rows, targets, frames, lengths, blank=BLANK, reduction="none")
    return losses.double().numpy() / [len(text) for text in texts]


def _greedy(recognizer: Recognizer, log_probs: NDArray[np.float32]) -> str:
    from asr.decode import greedy

    return recognizer.text(greedy(log_probs[None], np.array([len(log_probs)]))[0])


def _detail(heard: str, text: str) -> str:
    return f"it sounds like '{_short(heard)}'; the text says '{_short(text)}'"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
