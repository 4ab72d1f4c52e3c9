"""Phones as a second target in training, from a pronunciation dictionary.

English letters say little of how a word sounds. A second CTC loss asks a recurrent layer for phones, so that the layers
above it start from sounds and learn to spell (hierarchical multitask CTC; Krishna et al. 2018, Sanabria and Metze
2018); and by its phones a model finds the words of a language model (`asr.lexicon`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asr.features import FeatureConfig
from asr.lexicon import Lexicon
from asr.model import ModelConfig
from asr.training.columns import INTEGERS, RaggedWriter
from asr.training.prepare import Transcripts, frames_needed

LEAST_KNOWN = 0.5  # share of the words: a lexicon that has fewer is of another language


@dataclass(frozen=True)
class PhoneTargets:
    """The words of the training texts in phones.

    Args:
        symbols: "" for the blank, then all phones of the lexicon.
        spelled: word -> its phone ids.
        guessed: words that are not in the dictionary -> how often they occur.
        words: words of all texts.
    """

    symbols: tuple[str, ...]
    spelled: Mapping[str, tuple[int, ...]]
    guessed: Counter[str]
    words: int

    @classmethod
    def of(cls, texts: Iterable[str], lexicon: Lexicon) -> PhoneTargets:
        """The targets for normalised texts."""
        counts: Counter[str] = Counter()
        for text in texts:
            counts.update(text.split())
        known = {word: lexicon.phones(word) for word in counts}
        symbols = ("", *lexicon.names)
        numbers = {symbol: i for i, symbol in enumerate(symbols)}
        guessed = Counter({word: count for word, count in counts.items() if word not in lexicon.words})
        spelled = {word: tuple(numbers[phone] for phone in phones) for word, phones in known.items()}
        return cls(symbols, spelled, guessed, counts.total())

    @property
    def known(self) -> float:
        """Share of the words that are in the dictionary."""
        return 1 - self.guessed.total() / max(1, self.words)

    def ids(self, text: str) -> list[int]:
        """Phone ids of one of the texts."""
        return [phone for word in text.split() for phone in self.spelled[word]]

    def report(self, lexicon: Lexicon) -> Iterator[str]:
        """Lines for a person."""
        line = f"{len(self.symbols) - 1} phones"
        if self.guessed:
            word = self.guessed.most_common(1)[0][0]
            line += f"; {1 - self.known:.1%} of the words are not in the lexicon ({len(self.guessed)} different ones), "
            line += f"such as {word}, taken for {' '.join(lexicon.phones(word)) or 'nothing'}"
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
