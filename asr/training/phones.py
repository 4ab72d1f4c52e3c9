"""Phones as a second target in training, from a pronunciation dictionary.

English letters say little of how a word sounds. A second CTC loss asks a recurrent layer for phones, so that the layers
above it start from sounds and learn to spell (hierarchical multitask CTC; Krishna et al. 2018, Sanabria and Metze
2018); and by its phones a model finds the words of a language model (`asr.lexicon`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from asr.features import FeatureConfig
from asr.lexicon import LEAST_KNOWN, Lexicon
from asr.model import ModelConfig
from asr.training.columns import INTEGERS, RaggedWriter
from asr.training.prepare import Transcripts, frames_needed


@dataclass(frozen=True)
class PhoneTargets:
    """The words of the training texts in phones.

    Args:
        symbols: "" for the blank, then all phones of the lexicon.
        lexicon: how words are said.
        counts: words of all texts -> how often they occur.
    """

    symbols: tuple[str, ...]
    lexicon: Lexicon
    counts: Counter[str]

    @classmethod
    def of(cls, texts: Iterable[str], lexicon: Lexicon) -> PhoneTargets:
        """The targets for normalised texts."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text.split())
        return cls(("", *lexicon.names), lexicon, counts)

    @cached_property
    def guessed(self) -> Counter[str]:
        """Words that are not in the dictionary -> how often they occur."""
        return Counter({word: count for word, count in self.counts.items() if word not in self.lexicon.words})

    @property
    def known(self) -> float:
        """Share of the words that are in the dictionary."""
        return 1 - self.guessed.total() / max(1, self.counts.total())

    @cached_property
    def spelled(self) -> Mapping[str, list[int]]:
        """Word -> its phone ids."""
        numbers = {symbol: i for i, symbol in enumerate(self.symbols)}
        return {word: [numbers[phone] for phone in self.lexicon.phones(word)] for word in self.counts}

    def ids(self, text: str) -> list[int]:
        """Phone ids of one of the texts."""
        return [phone for word in text.split() for phone in self.spelled[word]]

    def report(self) -> Iterator[str]:
        """Lines for a person."""
        line = f"{len(self.symbols) - 1} phones"
        if self.guessed:
            word = self.guessed.most_common(1)[0][0]
            line += f"; {1 - self.known:.1%} of the words are not in the lexicon ({len(self.guessed)} different ones), "
            line += f"such as {word}, taken for {' '.join(self.lexicon.phones(word)) or 'nothing'}"
        yield line


def write_phones(
    transcripts: Transcripts, lexicon: Lexicon, model: ModelConfig, features: FeatureConfig, folder: Path
) -> PhoneTargets:
    """Add phones to the files of `Examples`; none for an utterance into whose frames CTC could not fit them.

    Where the lexicon is of another language, as the words show that it does not have, nothing is written.

    Args:
        folder: where `find_examples` has written.
    """
    numbers = np.load(folder / "numbers.npy")
    targets = PhoneTargets.of((transcripts.texts[number] for number in numbers), lexicon)
    if targets.known < LEAST_KNOWN:
        return targets
    with RaggedWriter(folder / "phones", INTEGERS) as column:
        for number in numbers:
            ids = targets.ids(transcripts.texts[number])
            frames = model.frames(features.frames(int(transcripts.cache.lengths[number])))
            column.append(ids if frames_needed(ids) <= frames else ())
    return targets
