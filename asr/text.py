"""The tokens of a model, text <-> ids: characters (`Alphabet`) or pieces of words (`Subwords`).

What uses them asks either the same questions. All text goes through `Normalizer` (see `asr.normalizer`) before; what
spells its numbers is in `asr.number_words`.
"""

from __future__ import annotations

import base64
import binascii
import io
import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from asr.normalizer import Case, Normalizer, Punctuation, TextError, nfc
from asr.number_words import spell_numbers

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

__all__ = [
    "BLANK_SYMBOL", "WORD_MARK", "Alphabet", "Case", "Normalizer", "Punctuation", "Subwords", "TextError", "Units",
    "spell_numbers", "units_from_json", "units_to_json",
]  # fmt: skip

BLANK_SYMBOL = ""  # symbol 0 of every model: CTC's "no symbol here"
WORD_MARK = "▁"  # U+2581, with which sentencepiece writes that a piece opens a word


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
            characters.update(nfc(text))
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
            return [self._ids[character] for character in nfc(text)]
        except KeyError:
            raise TextError(
                f"{_name(self.unknown(text))} not in the alphabet of {len(self) - 1} characters, in "
                f"{_shorten(text)!r}; correct or spell out the text, or train with an alphabet that has them"
            ) from None

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of a text that the alphabet lacks, in order of appearance."""
        return [character for character in dict.fromkeys(nfc(text)) if character not in self._ids]

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
        texts = sorted(nfc(text) for text in texts if text)
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
        return self._processor.encode(nfc(text))

    def unknown(self, text: str) -> list[str]:
        """The distinct characters of a text that no piece has, in order of appearance."""
        return [character for character in dict.fromkeys(nfc(text)) if character not in self._characters]

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
        if not isinstance(symbol, str) or len(symbol) != 1 or nfc(symbol) != symbol:
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
