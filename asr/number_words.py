"""Numbers in a text as they are said: 21 -> twenty-one, where they have one sure reading."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from asr.normalizer import TextError

# Letters and digits in a row, a digit among them, and what a separator ties to them: 10,000 3.14 2nd 10-15
_NUMBER = re.compile(r"(?<![^\W_])[^\W_]*\d(?:[^\W_]|[.,:/'’–-](?=\d))*")
_ENGLISH_NUMBER = re.compile(r"(\d+|\d{1,3}(?:,\d{3})+)(?:\.(\d+)|(st|nd|rd|th))?", re.IGNORECASE)
_YEARS = range(1100, 2100)  # four digits that are read in pairs
_YEAR_LANGUAGES = ("da", "de", "en", "nl", "no")  # where a year is read otherwise than a number is
_SIGN_CATEGORIES = ("Sc", "Sm", "So")  # currency, mathematics, degrees
_SIGNS = frozenset("%‰#§′″")


def spell_numbers(text: str, language: str = "en") -> str | None:
    """Spell the numbers of a sentence for a language model, which should know only what can be said.

    Whole numbers are spelled in every language of num2words, in some those from 1100 to 2099 as years (1835:
    eighteen thirty-five). English also has thousands (10,000), decimals (3.14) and ordinals (2nd). Nothing
    else is guessed: 2d, 10-15, 3:15, 1/2, 007, £5, 50% and -5 have other or several readings.

    Args:
        text: a sentence as published; normalise it after, not before, which would split 10,000.
        language: a code of num2words, such as "en" or "fr_CH".

    Returns:
        The sentence without digits, or None where one cannot be spelled: drop that sentence.

    Raises:
        TextError: num2words does not know the language.
    """
    check_language(language)
    parts, end = [], 0
    for match in _NUMBER.finditer(text):
        words = None if _beside_sign(match) else _spell(match.group(), language)
        if words is None:
            return None
        parts += [text[end : match.start()], words]
        end = match.end()
    spelled = "".join([*parts, text[end:]])
    return None if any(map(is_numeral, spelled)) else spelled


def is_numeral(character: str) -> bool:
    """Whether numbers are written with it: a digit of any script, ½, Ⅳ and the like."""
    return unicodedata.category(character)[0] == "N"


def check_language(language: str) -> None:
    """See that num2words knows a language.

    Raises:
        TextError: it does not; names those that it knows.
    """
    from num2words import CONVERTER_CLASSES

    if language not in CONVERTER_CLASSES and language[:2] not in CONVERTER_CLASSES:
        known = ", ".join(sorted(CONVERTER_CLASSES))
        raise TextError(f"cannot spell numbers in language {language!r}, expected one of {known}")


def _beside_sign(match: re.Match[str]) -> bool:
    """Whether a sign stands at a number, or one space from it, that changes how the number is read."""
    before = match.string[max(0, match.start() - 2) : match.start()]
    after = match.string[match.end() : match.end() + 2]
    minus = before[-1:] == "-" and not before[:-1].strip()
    return minus or any(map(_is_sign, before.rstrip()[-1:] + after.lstrip()[:1]))


def _is_sign(character: str) -> bool:
    return character in _SIGNS or unicodedata.category(character) in _SIGN_CATEGORIES


def _spell(number: str, language: str) -> str | None:
    if number.isdecimal() and len(number) == 4 and int(number) in _YEARS and language[:2] in _YEAR_LANGUAGES:
        return _words(number, language, "year")
    if number.isdecimal():
        return _words(number, language, "cardinal")
    if language[:2] == "en" and (match := _ENGLISH_NUMBER.fullmatch(number)):
        return _spell_english(*match.groups(), language=language)
    return None


def _spell_english(whole: str, decimals: str | None, ordinal: str | None, language: str) -> str | None:
    whole = whole.replace(",", "")
    if decimals is None:
        return _words(whole, language, "ordinal" if ordinal else "cardinal")
    parts = [_words(digits, language, "cardinal") for digits in (whole, *decimals)]
    return None if None in parts else " ".join([parts[0], "point", *parts[1:]])


def _words(digits: str, language: str, form: Literal["cardinal", "ordinal", "year"]) -> str | None:
    from num2words import num2words

    if len(digits) > 1 and int(digits[0]) == 0:  # 007 is a name, read digit by digit or not at all
        return None
    try:
        return num2words(int(digits), lang=language, to=form).replace(",", "")
    except Exception:  # what is too large or missing shows as whatever error that language's code runs into
        return None
