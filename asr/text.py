"""Text: one normaliser for transcripts, language model text and references, and the tokens of a model.

What is done to one side of a comparison must be done to the other, so all text goes through `Normalizer`, and
a model file keeps the one that its model was trained with. Tokens are characters (`Alphabet`) or pieces of words
(`Subwords`); what uses them asks either the same questions.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
import struct
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

from asr import Error

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

Case = Literal["lower", "upper", "lower-turkish", "upper-turkish", "keep"]
Punctuation = Literal["remove", "keep"]

BLANK_SYMBOL = ""  # symbol 0 of every model: CTC's "no symbol here"
WORD_MARK = "▁"  # U+2581, with which sentencepiece writes that a piece opens a word

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


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _turkish_lower(text: str) -> str:
    """As Unicode's SpecialCasing.txt has it for tr and az; an I whose dot is a character of its own is İ."""
    return _nfc(text).replace("İ", "i").replace("I", "ı").lower()


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
        text = _nfc(text).translate(_TIDY)
        if self.punctuation == "remove":
            text = _remove_punctuation(text)
        text = _nfc(_CASES[self.case](text))  # deletions bring together what composes, and case may decompose
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
    _check_language(language)
    parts, end = [], 0
    for match in _NUMBER.finditer(text):
        words = None if _beside_sign(match) else _spell(match.group(), language)
        if words is None:
            return None
        parts += [text[end : match.start()], words]
        end = match.end()
    spelled = "".join([*parts, text[end:]])
    return None if any(unicodedata.category(character)[0] == "N" for character in spelled) else spelled


def _check_language(language: str) -> None:
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


@dataclass(frozen=True)
class Alphabet:
    """The characters a model can write, as ids 0 to len - 1; id 0 is CTC's blank, the empty string.

    Attributes:
        symbols: "" first, then different single characters in Unicode NFC.

    Raises:
        TextError: the symbols are not of that form.
    """

    kind: ClassVar[str] = "letters"
    symbols: tuple[str, ...]
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        _check_symbols(self.symbols)
        object.__setattr__(self, "_ids", {symbol: i for i, symbol in enumerate(self.symbols)})

    @classmethod
    def from_texts(cls, texts: Iterable[str]) -> Alphabet:
        """The alphabet of training text that went through a `Normalizer`: its characters in code point order.

        Raises:
            TextError: there is no character in the texts.
        """
        characters: set[str] = set()
        for text in texts:
            characters.update(_nfc(text))
        return cls((BLANK_SYMBOL, *sorted(characters)))

    def extended(self, other: Alphabet) -> Alphabet:
        """This alphabet with the characters behind it that only the other one has."""
        return Alphabet((*self.symbols, *(symbol for symbol in other.symbols if symbol not in self.symbols)))

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The ids of a normalised text, one for each character of its NFC form.

        Raises:
            TextError: characters are not in the alphabet; the message names them all.
        """
        try:
            return [self._ids[character] for character in _nfc(text)]
        except KeyError:
            raise TextError(
                f"{_name(self.unknown(text))} not in the alphabet of {len(self) - 1} characters, in "
                f"{_shorten(text)!r}; correct or spell out the text, or train with an alphabet that has them"
            ) from None

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of a text that the alphabet lacks, in order of appearance."""
        return [character for character in dict.fromkeys(_nfc(text)) if character not in self._ids]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids as `encode` gives them.

        Raises:
            TextError: an id is the blank, which stands for no character, or is not in the alphabet.
        """
        return "".join(_symbols_of(ids, self.symbols, "characters"))

    def opens_word(self, i: int) -> bool:
        """Whether token i ends the word before it and opens the next: here, the space."""
        return self.symbols[i] == " "

    def to_list(self) -> list[str]:
        """The symbols, for a model file."""
        return list(self.symbols)

    @classmethod
    def from_list(cls, symbols: Sequence[str]) -> Alphabet:
        """The alphabet that `to_list` described.

        Raises:
            TextError: the symbols are not of the form that the class describes.
        """
        return cls(tuple(symbols))


@dataclass(frozen=True)
class Subwords:
    """The pieces of words a model can write, as ids 0 to len - 1; id 0 is CTC's blank, the empty string.

    The pieces are those of a unigram model (Kudo 2018) of sentencepiece, with its ids, the blank in the place of its
    "unknown". "▁" in a piece stands for the space before a word, which the first word has too: "▁the", "▁", "ing".
    Only learning pieces and cutting text into them needs sentencepiece; writing text does not.

    Attributes:
        symbols: "" first, then different pieces.
        model: the sentencepiece model, as bytes.

    Raises:
        TextError: the symbols are not of that form.
    """

    kind: ClassVar[str] = "subwords"
    symbols: tuple[str, ...]
    model: bytes = field(repr=False)
    _characters: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "symbols", tuple(self.symbols))
        _check_pieces(self.symbols)
        characters = {piece for piece in self.symbols if len(piece) == 1}
        object.__setattr__(self, "_characters", frozenset(characters - {WORD_MARK} | {" "}))

    @classmethod
    def from_texts(cls, texts: Iterable[str], pieces: int) -> Subwords:
        """Learn pieces from training text that went through a `Normalizer`; the same texts in any order give the same.

        Every character of the text is a piece of its own too, so that no text in these characters lacks one.

        Args:
            pieces: how many.

        Raises:
            TextError: there is no character in the texts, or so many pieces are too few or too many for them; the
                message says how many are possible.
        """
        texts = sorted(_nfc(text) for text in texts if text)
        characters = set().union(*texts) - {" ", WORD_MARK}
        if not characters:
            raise TextError("there is no character to learn pieces from: is there any text in the training data?")
        if pieces < (least := len(characters) + 1):
            raise TextError(
                f"{pieces} pieces are too few for this text: each of its {len(characters)} characters is one, and "
                f"'{WORD_MARK}'; set pieces to at least {least}, or look for characters that do not belong there"
            )
        learned = cls._of(_learn_pieces(texts, pieces))
        if len(learned) - 1 < pieces:
            raise TextError(
                f"{pieces} pieces are too many for this text, which gives {len(learned) - 1} at most; "
                f"set pieces to a number from {least} to {len(learned) - 1}"
            )
        return learned

    @classmethod
    def _of(cls, model: bytes) -> Subwords:
        return cls(_pieces_of(_open_pieces(model)), model)

    def extended(self, other: Alphabet) -> Subwords:
        """These pieces with the characters behind them that only the alphabet has."""
        new = [symbol for symbol in other.symbols[1:] if symbol not in self._characters and symbol != WORD_MARK]
        if not new:
            return self
        score = min(self._processor.get_score(i) for i in range(1, len(self)))  # used where nothing else will do
        return self._of(self.model + b"".join(_piece_entry(character, score) for character in new))

    def __len__(self) -> int:
        return len(self.symbols)

    def encode(self, text: str) -> list[int]:
        """The ids of the pieces of a normalised text: the most probable ones that give its NFC form.

        Raises:
            TextError: characters are in no piece; the message names them all.
        """
        if unknown := self.unknown(text):
            raise TextError(
                f"{_name(unknown)} not in the {len(self) - 1} pieces, in {_shorten(text)!r}; "
                "correct or spell out the text, or train with pieces that have them"
            )
        return self._processor.encode(_nfc(text))

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of a text that no piece has, in order of appearance."""
        return [character for character in dict.fromkeys(_nfc(text)) if character not in self._characters]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids as `encode` gives them, without the space that the first word opens with.

        Raises:
            TextError: an id is the blank, which stands for no piece, or is none of the pieces.
        """
        return "".join(_symbols_of(ids, self.symbols, "pieces")).replace(WORD_MARK, " ").lstrip(" ")

    def opens_word(self, i: int) -> bool:
        """Whether token i ends the word before it and opens the next: here, a piece that begins with "▁"."""
        return self.symbols[i].startswith(WORD_MARK)

    def to_dict(self) -> dict[str, object]:
        """The pieces and the sentencepiece model, for a model file; JSON types."""
        return {"pieces": list(self.symbols), "sentencepiece": base64.b64encode(self.model).decode("ascii")}

    @classmethod
    def from_dict(cls, stored: Mapping[str, object]) -> Subwords:
        """The pieces that `to_dict` described.

        Raises:
            TextError: something is missing, unknown or not of the form that the class describes.
        """
        if set(stored) != {"pieces", "sentencepiece"}:
            raise TextError(f"subwords are stored as {sorted(stored)}, expected 'pieces' and 'sentencepiece'")
        try:
            return cls(tuple(stored["pieces"]), base64.b64decode(stored["sentencepiece"], validate=True))
        except (binascii.Error, TypeError) as error:
            raise TextError(f"the stored subwords are damaged ({error})") from None

    @cached_property
    def _processor(self) -> SentencePieceProcessor:
        """Opened when it is needed, which is not in decoding."""
        processor = _open_pieces(self.model)
        if _pieces_of(processor) != self.symbols:
            raise TextError("the sentencepiece model has other pieces than the list beside it; copy the model again")
        return processor


Units = Alphabet | Subwords  # what the tokens of a model are


def units_to_json(units: Units) -> list[str] | dict[str, object]:
    """The tokens of a model, for its file; JSON types."""
    return units.to_dict() if isinstance(units, Subwords) else units.to_list()


def units_from_json(stored: object) -> Units:
    """The tokens that `units_to_json` described.

    Raises:
        TextError: they are not of the form that the classes describe.
    """
    return Subwords.from_dict(stored) if isinstance(stored, Mapping) else Alphabet.from_list(stored)


def _learn_pieces(texts: Sequence[str], pieces: int) -> bytes:
    """A sentencepiece model of that many pieces, or of fewer where the texts do not give as many."""
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="unigram",
            vocab_size=pieces + 1,  # and "unknown", whose place the blank takes
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",  # the text is normalised
            split_by_unicode_script=False,  # an apostrophe is part of its word
            max_sentence_length=2**30,  # bytes; a longer text would be left out without a word
            bos_id=-1,
            eos_id=-1,
            num_threads=1,  # sums come in one order: the same text gives the same model
            minloglevel=2,
        )
    except RuntimeError as error:
        raise TextError(f"sentencepiece cannot learn pieces from this text ({error})") from None
    return model.getvalue()


def _open_pieces(model: bytes) -> SentencePieceProcessor:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_proto=model)
    except RuntimeError as error:
        raise TextError(f"the sentencepiece model is damaged ({error}); copy the model again") from None


def _pieces_of(processor: SentencePieceProcessor) -> tuple[str, ...]:
    return (BLANK_SYMBOL, *(processor.id_to_piece(i) for i in range(1, len(processor))))


def _piece_entry(character: str, score: float) -> bytes:
    """What adds a character to the pieces of a sentencepiece model when it is put behind it.

    The model is a protocol buffer, in which a list may go on anywhere: field 1 is the list of pieces, and in each
    field 1 is its text and field 2 its score, a log-probability.
    """
    text = character.encode()
    entry = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", score)
    return b"\x0a" + bytes([len(entry)]) + entry


def _symbols_of(ids: Iterable[int], symbols: Sequence[str], what: str) -> list[str]:
    ids = list(ids)
    if wrong := sorted({int(i) for i in ids if not 0 < i < len(symbols)}):
        raise TextError(f"ids {wrong} are not {what}, expected 1 to {len(symbols) - 1} (0 is the blank)")
    return [symbols[i] for i in ids]


def _check_symbols(symbols: tuple[str, ...]) -> None:
    if symbols[:1] != (BLANK_SYMBOL,):
        raise TextError(f"an alphabet begins with {list(symbols[:1])}, expected the blank '' first")
    if len(symbols) == 1:
        raise TextError("an alphabet has no character but the blank: is there any text in the training data?")
    for symbol in symbols[1:]:
        if not isinstance(symbol, str) or len(symbol) != 1 or _nfc(symbol) != symbol:
            raise TextError(f"alphabet symbol {symbol!r} is not one character in Unicode NFC")
    if twice := [symbol for symbol, times in Counter(symbols).items() if times > 1]:
        raise TextError(f"alphabet symbols occur more than once: {_name(twice)}")


def _check_pieces(symbols: tuple[str, ...]) -> None:
    if symbols[:1] != (BLANK_SYMBOL,) or len(symbols) == 1:
        raise TextError(f"subwords begin with {list(symbols[:2])}, expected the blank '' and then a piece")
    for piece in symbols[1:]:
        if not isinstance(piece, str) or not piece or " " in piece:
            raise TextError(f"subword {piece!r} is not a piece of a word, in which '{WORD_MARK}' stands for a space")
    if twice := [piece for piece, times in Counter(symbols).items() if times > 1]:
        raise TextError(f"subwords occur more than once: {', '.join(map(repr, twice))}")


def _name(characters: Iterable[str]) -> str:
    """Characters with their code points, since many look alike or like nothing: 'é' (U+00E9)."""
    return ", ".join(f"{character!r} (U+{ord(character):04X})" for character in characters)


def _shorten(text: str, limit: int = 80) -> str:  # characters: about one line of a terminal
    return text if len(text) <= limit else text[: limit - 1] + "…"
