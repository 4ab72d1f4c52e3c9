"""The one form of text that is trained on, decoded to and scored: Unicode, case, punctuation.

What is done to one side of a comparison must be done to the other, so all text goes through `Normalizer`, and
a model file keeps the one that its model was trained with.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from asr import Error

Case = Literal["lower", "upper", "lower-turkish", "upper-turkish", "keep"]
Punctuation = Literal["remove", "keep"]

_APOSTROPHES = frozenset("'‘’‛ʼ`´＇՚׳")  # what is typed or typeset for an apostrophe in any script
_JOINERS = frozenset("\u200c\u200d")  # ZWNJ and ZWJ: invisible, yet part of Persian and Indic spelling
_VARIATION_SELECTORS = frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
_INSIDE_WORDS = frozenset("՛՜՝՞՟״")  # Armenian tone marks and Hebrew gershayim, which do not end a word
_STRETCHES = frozenset("ـߺ")  # Arabic tatweel and its N'Ko twin: letters by category, but only draw a word out
_SPOKEN = frozenset("&%‰@+°№")  # read out as words, like currency signs (category Sc)
_VIRAMA = 9  # canonical combining class of the signs that silence an Indic consonant's vowel


class TextError(Error):
    """Text, an alphabet or a setting of the normaliser that cannot be used."""


class _CharacterMap(dict[int, str]):
    """A table for `str.translate` that asks `rule` once for every character it meets."""

    def __init__(self, rule: Callable[[str], str]) -> None:
        super().__init__()
        self._rule = rule

    def __missing__(self, code: int) -> str:
        self[code] = result = self._rule(chr(code))
        return result


def _tidy_character(character: str) -> str:
    """What a character becomes in any case: one kind of apostrophe, nothing that only steers display."""
    if character in _APOSTROPHES:
        return "'"
    if character == "ŉ":  # deprecated by Unicode in favour of this pair, which its upper case is made of
        return "'n"
    category = unicodedata.category(character)
    if category == "Cc" or character == "\u200b":  # zero width space: the gap between words in Khmer and Thai
        return " "
    if (category == "Cf" and character not in _JOINERS) or character in _VARIATION_SELECTORS | _STRETCHES:
        return ""
    return character


def _bare_character(character: str) -> str:
    """What a character becomes where punctuation is removed: itself, nothing, or the space it leaves."""
    if character in _INSIDE_WORDS:
        return ""
    category = unicodedata.category(character)
    if category[0] in "LMNC" or category == "Sc" or character in _SPOKEN or character in "'·":
        return character
    return " "


_TIDY = _CharacterMap(_tidy_character)
_BARE = _CharacterMap(_bare_character)
_JOINER_RUN = re.compile("[\u200c\u200d]+")
_LONE_DOT = re.compile(r"(?<!l)·|·(?!l)", re.IGNORECASE)  # all but Catalan's, as in "col·lecció"
_QUOTE = re.compile(r"(?<![^\s'])'|'(?![^\s'])")  # an apostrophe without a word on both sides


def nfc(text: str) -> str:
    """Unicode NFC: each letter with its marks is one character where there is one."""
    return unicodedata.normalize("NFC", text)


def _turkish_lower(text: str) -> str:
    """As Unicode's SpecialCasing.txt has it for tr and az; an I whose dot is a character of its own is İ."""
    return nfc(text).replace("İ", "i").replace("I", "ı").lower()


def _turkish_upper(text: str) -> str:
    return text.replace("i", "İ").upper()


_CASES: Mapping[str, Callable[[str], str]] = {
    "lower": str.lower,
    "upper": str.upper,
    "lower-turkish": _turkish_lower,
    "upper-turkish": _turkish_upper,
    "keep": str,
}


def _joiner(match: re.Match[str]) -> str:
    """Keep a joiner inside a word or after a virama; at other edges of a word nobody sees a difference."""
    before = match.string[match.start() - 1] if match.start() else " "
    after = match.string[match.end() : match.end() + 1] or " "
    inside = before not in " '·" and after not in " '·"
    return match.group() if inside or unicodedata.combining(before) == _VIRAMA else ""


def _remove_punctuation(text: str) -> str:
    text = _JOINER_RUN.sub(_joiner, text.translate(_BARE))
    return _QUOTE.sub(" ", _LONE_DOT.sub(" ", text))


@dataclass(frozen=True)
class Normalizer:
    """Bring text to the one form that is trained on, decoded to and scored; a second time changes nothing.

    Always: Unicode NFC; every kind of apostrophe becomes ' ; runs of white space and control characters
    become one space, none at the ends; soft hyphens, directional marks and the like, which nobody sees, go, and
    so does tatweel, which only draws an Arabic word out. Nothing else is folded: Hangul is written as syllables,
    Arabic with the vowel signs that it has, full-width letters stay wide.

    `case` "lower" or "upper" maps letters as Unicode does for all languages alike, where I and i are a pair;
    "lower-turkish" and "upper-turkish" as in Turkish and Azerbaijani, where the pairs are I ı and İ i; "keep"
    leaves them.

    `punctuation` "remove" puts a space for every mark, so that hyphens and dashes split words, except that
      - an apostrophe between two other characters of a word stays (don't); at the edge of a word it could as
        well be a quote, so it goes ('tis -> tis, dogs' -> dogs);
      - letters, digits and combining marks of every script stay, as do Catalan l·l and joiners inside words;
        marks that Armenian and Hebrew write inside a word are deleted without splitting it;
      - & % ‰ @ + ° № and currency signs stay. They are spoken as words, so dropping them would leave less in
        a transcript than was said; like digits they are for the alphabet, or its error, to notice.
    """

    case: Case = "lower"
    punctuation: Punctuation = "remove"

    def __post_init__(self) -> None:
        _check_choice("case", self.case, get_args(Case))
        _check_choice("punctuation", self.punctuation, get_args(Punctuation))

    def __call__(self, text: str) -> str:
        text = nfc(text).translate(_TIDY)
        if self.punctuation == "remove":
            text = _remove_punctuation(text)
        text = nfc(_CASES[self.case](text))  # deletions bring together what composes, and case may decompose
        return " ".join(text.split())

    def to_dict(self) -> dict[str, str]:
        """The settings, for a model file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, settings: Mapping[str, object]) -> Normalizer:
        """The normaliser that `to_dict` described.

        Raises:
            TextError: a setting is missing, unknown or has a value that is not offered.
        """
        if set(settings) != {"case", "punctuation"}:
            raise TextError(f"normaliser settings are {sorted(settings)}, expected 'case' and 'punctuation'")
        return cls(**settings)


def _check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise TextError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")
