"""How likely it is that a word is right: from the log-probs on its path, calibrated on words that are known.

What a path says of a word goes through a logistic regression, and its result through a monotone map, so that of the
words that are said to be right with 80% about 80% are. `asr.calibrate` fits both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from asr import Error

BLANK = 0
LEAST = -20.0  # log-prob of any token, at least
# Of each word; logarithms of probabilities. "Best" is a token in its best frame, "path" the token of each frame on the
# word's path, "free" the most probable token of each frame.
FEATURES = (
    "best_mean",
    "best_least",
    "path_mean",
    "path_sum",
    "free_mean",
    "free_least",
    "gap_sum",  # path less free
    "gap_least",
    "tokens",  # logarithm of their number
    "frames_per_token",  # logarithm
)


@dataclass(frozen=True)
class Calibration:
    """Turns the features of words into the probability that they are right.

    Args:
        bias, weights: of the logistic regression: the log odds that a word is right, from its features by name.
        stated, true: corners of a monotone map from the probability that the regression states to what was found.
        words: how many it was fitted to.
    """

    bias: float
    weights: Mapping[str, float]
    stated: tuple[float, ...]
    true: tuple[float, ...]
    words: int = 0

    def __post_init__(self) -> None:
        if set(self.weights) != set(FEATURES):
            raise Error(f"confidences are fitted to {sorted(self.weights)}, not {sorted(FEATURES)}; {AGAIN}")
        if len(self.stated) != len(self.true) or not self.stated:
            raise Error(f"a map of {len(self.stated)} to {len(self.true)} probabilities; {AGAIN}")

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """(W, features) -> (W,) probabilities."""
        return np.interp(self.regression(features), self.stated, self.true)

    def regression(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """The same without the map."""
        odds = self.bias + features @ np.array([self.weights[name] for name in FEATURES])
        return 1 / (1 + np.exp(-np.clip(odds, -50, 50)))

    def to_dict(self) -> dict[str, object]:
        """For a model's file; JSON types."""
        return asdict(self)

    @classmethod
    def from_info(cls, info: Mapping[str, object]) -> Calibration | None:
        """The calibration that a model's or a language model's file holds, if it does.

        Raises:
            asr.Error: it is of another form.
        """
        if (kept := info.get("confidence")) is None:
            return None
        try:
            return cls(**{**kept, "stated": tuple(kept["stated"]), "true": tuple(kept["true"])})
        except (TypeError, KeyError):
            raise Error(f"the file's confidences are {kept}; {AGAIN}") from None


AGAIN = "fit them again (asr.evaluate --calibrate)"


def uncalibrated(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """(W, features) -> (W,) geometric mean of the probabilities of each word's tokens in their best frames."""
    return np.exp(features[:, FEATURES.index("best_mean")])


def features_of(
    log_probs: NDArray[np.float32],
    ids: NDArray[np.integer],
    spans: NDArray[np.integer],
    tokens: NDArray[np.integer],
) -> NDArray[np.float64]:
    """(W, features) what the path says of each word.

    Args:
        log_probs: (T, V).
        ids: (L,) tokens, and `spans`: (L, 2) first frame of each, and the one after its last.
        tokens: (W, 2) first token of each word, and the one after its last.
    """
    if not len(tokens):
        return np.zeros((0, len(FEATURES)))
    path_ids = np.full(len(log_probs), BLANK)
    for (start, end), token in zip(spans, ids, strict=True):
        path_ids[start:end] = token
    path = np.maximum(log_probs[np.arange(len(log_probs)), path_ids], LEAST).astype(np.float64)
    free = np.maximum(log_probs.max(axis=1), LEAST).astype(np.float64)
    best = _within(np.maximum, path, spans)  # of each token
    frames = np.stack([spans[tokens[:, 0], 0], spans[tokens[:, 1] - 1, 1]], axis=1)  # of each word
    token_counts, frame_counts = tokens[:, 1] - tokens[:, 0], frames[:, 1] - frames[:, 0]
    path_sum, free_sum = _within(np.add, path, frames), _within(np.add, free, frames)
    return np.stack(
        [
            _within(np.add, best, tokens) / token_counts,
            _within(np.minimum, best, tokens),
            path_sum / frame_counts,
            path_sum,
            free_sum / frame_counts,
            _within(np.minimum, free, frames),
            path_sum - free_sum,
            _within(np.minimum, path - free, frames),
            np.log(token_counts),
            np.log(frame_counts / token_counts),
        ],
        axis=1,
    )


def _within(operation: np.ufunc, values: NDArray[np.float64], spans: NDArray[np.integer]) -> NDArray[np.float64]:
    """The sum or the extreme of the values in each span; spans are in order and not empty."""
    return operation.reduceat(np.append(values, 0.0), spans.ravel())[::2]
