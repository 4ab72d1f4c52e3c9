"""Fit the confidences of words to dev data: `python -m asr.evaluate --calibrate`; and how true they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jiwer
import numpy as np
from numpy.typing import NDArray

from asr import Error, checkpoint
from asr.confidence import FEATURES, Calibration, features_of
from asr.ngram import NGram
from asr.recognizer import Recognizer
from asr.score import as_they_are

FEWEST = 200  # words to fit to
SHRINKAGE = 1e-3  # of the regression's weights, whose features have variance 1: mean log-loss for each square
CORNERS = 20  # of the map, at most


@dataclass(frozen=True)
class Bin:
    """Words whose confidence is alike.

    Args:
        words: how many.
        stated: their mean confidence.
        true: the share of them that are right.
    """

    words: int
    stated: float
    true: float


def calibrate(
    recognizer: Recognizer, log_probs: Sequence[NDArray[np.float32]], references: Sequence[str]
) -> Calibration:
    """Confidences of the words that a recognizer finds, fitted to which of them are right.

    Args:
        log_probs: of each utterance, as `Recognizer.log_probs` gives them.
        references: normalised.

    Raises:
        asr.Error: the words are too few, or all are right or all wrong.
    """
    features, right = [], []
    for rows, (best, *_), reference in zip(log_probs, recognizer.decode(log_probs), references, strict=True):
        found = recognizer.group_words(best)
        if found:
            spans = np.array([best.frames, best.ends]).T
            tokens = np.array([numbers for _, numbers in found])
            features.append(features_of(recognizer.searched(rows), np.array(best.ids), spans, tokens))
            right.append(right_words(recognizer.split_words(reference), [text for text, _ in found]))
    return fit(np.concatenate([np.zeros((0, len(FEATURES))), *features]), np.concatenate([np.zeros(0, bool), *right]))


def fit(features: NDArray[np.float64], right: NDArray[np.bool_]) -> Calibration:
    """A logistic regression, and a monotone map of its result by isotonic regression (Zadrozny and Elkan 2002).

    Args:
        features: (W, features) of words, see `asr.confidence.FEATURES`.
        right: (W,) which of them are right.

    Raises:
        asr.Error: the words are too few, or all are right or all wrong.
    """
    if len(right) < FEWEST or right.all() or not right.any():
        raise Error(
            f"{len(right)} words were recognized, {int(right.sum())} of them right; to fit confidences takes at least "
            f"{FEWEST}, right ones and wrong ones: give more recordings"
        )
    bias, weights = _regression(features, right)
    straight = Calibration(bias, dict(zip(FEATURES, weights.tolist(), strict=True)), (0.0, 1.0), (0.0, 1.0), len(right))
    stated, true = _monotone(straight.regression(features), right)
    return replace(straight, stated=tuple(stated.tolist()), true=tuple(true.tolist()))


def _regression(features: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Bias and weights of the log odds, for the features as they are."""
    from scipy.optimize import minimize

    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-6
    inputs = np.column_stack([np.ones(len(features)), (features - mean) / scale])
    shrinkage = np.append(0.0, np.full(features.shape[1], SHRINKAGE))

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = inputs @ weights
        slope = inputs.T @ (1 / (1 + np.exp(-np.clip(odds, -50, 50))) - right) / len(right)
        value = np.mean(np.logaddexp(0, odds) - right * odds) + shrinkage @ weights**2
        return value, slope + 2 * shrinkage * weights

    found = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="L-BFGS-B").x
    weights = found[1:] / scale
    return float(found[0] - weights @ mean), weights


def _monotone(stated: NDArray[np.float64], right: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Corners of the map: mean statement and share of right words, in bins of as many words each."""
    from scipy.optimize import isotonic_regression

    order = np.argsort(stated, kind="stable")
    bins = np.array_split(order, min(CORNERS, len(order) // 25))
    # One half of a word is right beside those that are seen: nothing is certain.
    true = [(np.count_nonzero(right[each]) + 0.5) / (len(each) + 1) for each in bins]
    corners = isotonic_regression(true, weights=[len(each) for each in bins]).x
    return np.array([stated[each].mean() for each in bins]), np.asarray(corners)


def right_words(reference: Sequence[str], words: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the recognized words are right, by the alignment with the fewest errors; ties are jiwer's choice."""
    right = np.zeros(len(words), bool)
    if reference and words:
        found = jiwer.process_words([list(reference)], [list(words)], as_they_are, as_they_are)
        for chunk in found.alignments[0]:
            if chunk.type == "equal":
                right[chunk.hyp_start_idx : chunk.hyp_end_idx] = True
    return right


def reliability(stated: NDArray[np.float64], right: NDArray[np.bool_], bins: int = 10) -> list[Bin]:
    """Confidences and truth of words in bins of equal width; bins without a word are left out."""
    number = np.minimum((stated * bins).astype(int), bins - 1)
    members = [number == i for i in range(bins)]
    return [
        Bin(int(each.sum()), float(stated[each].mean()), float(right[each].mean())) for each in members if each.any()
    ]


def keep(calibration: Calibration, model: Path, lm: Path | None) -> Path:
    """Write a calibration into the file that decides how words are found: the language model's, else the model's.

    Returns: that file.
    """
    entry = {"confidence": calibration.to_dict()}
    if lm is not None:
        stored = NGram.open(lm)
        replace(stored, info={**stored.info, **entry}).save(lm)
        return lm
    kept = checkpoint.load(model)
    checkpoint.save(model, replace(kept, info={**kept.info, **entry}))
    return model
