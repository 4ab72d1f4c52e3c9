"""Language models: estimate them from text, convert and score them: `python -m asr.lm estimate TEXT --out FILE.lm`.

The models themselves are in `asr.ngram`, their smoothing in `asr.kneser_ney`, ARPA files in `asr.arpa`.
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import re
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, get_args

from asr import Error, command

if TYPE_CHECKING:
    from asr.lexicon import Lexicon
    from asr.ngram import NGram, Perplexity
    from asr.text import Normalizer, Units

WordUnit = Literal["words", "characters"]  # what an n-gram is made of
Fault = Literal["long", "number", "letter"]
WHY = {
    "long": "they are too long to be words",
    "number": "they are numbers, and in which language to spell them is not known (--language CODE)",
    "letter": "the model's alphabet cannot write them",
}
LONGEST = 100  # characters of a word; of base64 or an address there may be thousands
SPACE = "▁"  # U+2581, the space between words in a model of characters, as sentencepiece writes it
SENTENCE_END = re.compile(r"""(?<=[.!?])\s+|(?<=[.!?]["'”’)])\s+""")
COMPRESSED = {".gz": gzip.open, ".xz": lzma.open}
ARPA = (".arpa", ".arpa.gz", ".arpa.xz")  # how the names of ARPA files end
BINARY = ".lm"
ENGLISH = frozenset("abcdefghijklmnopqrstuvwxyz")


@dataclass
class TextReader:
    """Sentences of text files, one a line, as a language model counts them. Counts what it leaves out.

    Numbers are spelled (`asr.text.spell_numbers`), then the text is normalised and cut into words or characters. The
    space between words is a character too, "▁". Where a line holds a number that has no reading or several, what stands
    around it up to the ends of its own sentence is left out, and the rest of the line stays. Where it is not known in
    which language to spell them, numbers are characters like others.

    Args:
        normalizer: that of the acoustic model.
        units: what n-grams are made of.
        alphabet: the tokens of the acoustic model; None if any character will do that is not of a number.
        lexicon: how the acoustic model has learnt to hear words, if it has; of no use to the reading.
        language: in which numbers are spelled, a code of num2words; None if that is not known.
        numerals: where there is no alphabet, the characters of numbers that will do.
        sentences: how many it has given.
        spells: whether any of them had a number.
        unspoken: how many it has left out, or parts of them, because of a number without one sure reading.
        left_out: why words, or characters, are left out -> how many are.
    """

    normalizer: Normalizer
    units: WordUnit = "words"
    alphabet: Units | None = None
    lexicon: Lexicon | None = None
    language: str | None = None
    numerals: Collection[str] = ()
    sentences: int = 0
    spells: bool = False
    unspoken: int = 0
    left_out: Counter[Fault] = field(default_factory=Counter)
    _faults: dict[str, Fault | None] = field(default_factory=dict, repr=False)

    def read(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[list[str | None]]:
        """The words of each sentence that has any; None for one that is left out.

        Args:
            paths: text files in UTF-8, compressed if the name ends in .gz or .xz; "-" is standard input.

        Raises:
            asr.Error: a file is missing, damaged or not UTF-8; names the line.
        """
        for path in paths:
            for line in read_lines(path):
                words = self._words(line)
                if any(words):
                    self.sentences += 1
                    yield words

    def _words(self, line: str) -> list[str | None]:
        if self.language is None:
            return self._units(line)
        spelled = self._spelled(line)
        if spelled is not None:
            return self._units(spelled)
        words: list[str | None] = []
        parts = [self._spelled(part) for part in SENTENCE_END.split(line)]
        self.unspoken += parts.count(None)
        for is_spoken, group in groupby(parts, lambda part: part is not None):
            words += self._units(" ".join(group)) if is_spoken else [None]
        return words

    def _spelled(self, text: str) -> str | None:
        from asr.text import spell_numbers

        spelled = spell_numbers(text, self.language)
        self.spells |= spelled not in (None, text)
        return spelled

    def _units(self, text: str) -> list[str | None]:
        text = self.normalizer(text)
        return [self._checked(unit) for unit in (text.split() if self.units == "words" else text.replace(" ", SPACE))]

    def _checked(self, word: str) -> str | None:
        if word not in self._faults:
            self._faults[word] = self._fault(word)
        if (fault := self._faults[word]) is None:
            return word
        self.left_out[fault] += 1
        return None

    def _fault(self, word: str) -> Fault | None:
        from asr.number_words import is_numeral

        if len(word) > LONGEST:
            return "long"
        if self.alphabet is None:
            unknown = [character for character in word if is_numeral(character) and character not in self.numerals]
        else:
            unknown = self.alphabet.unknown(" " if word == SPACE else word)
        return "number" if any(map(is_numeral, unknown)) else "letter" if unknown else None


def read_lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """The lines of a text file; see `TextReader.read`."""
    number = 0  # of the line that is read
    try:
        with _open_bytes(path) as file:
            for line in file:
                number += 1
                yield line.decode()
    except UnicodeDecodeError as error:
        raise Error(f"{path}:{number}: not UTF-8 ({error.reason} at byte {error.start}); convert it first") from None
    except FileNotFoundError:
        raise Error(f"{path}: no such file; expected text") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise Error(f"{path}: cannot be read, or damaged, after line {number} ({error})") from None


def _open_bytes(path: str | os.PathLike[str]) -> BinaryIO:
    if str(path) == "-":
        return open(sys.stdin.fileno(), "rb", closefd=False)
    return COMPRESSED.get(Path(path).suffix, open)(path, "rb")


def is_arpa(path: str | os.PathLike[str]) -> bool:
    """Whether a file of this name is an ARPA file: .arpa, .arpa.gz or .arpa.xz."""
    return Path(path).name.endswith(ARPA)


def open_lm(path: str | os.PathLike[str]) -> NGram:
    """The language model of a file: an ARPA file by its name, else our binary form.

    Raises:
        asr.ngram.LanguageModelError: it is missing, damaged or malformed.
    """
    from asr import arpa
    from asr.ngram import NGram

    return arpa.read(path) if is_arpa(path) else NGram.open(path)


def save_lm(path: str | os.PathLike[str], model: NGram) -> None:
    """Write a language model: an ARPA file by its name, else our binary form.

    Raises:
        OSError: it cannot be written.
    """
    from asr import arpa

    if is_arpa(path):
        arpa.write(path, model)
    else:
        model.save(path)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(prog="python -m asr.lm", description="Language models: n-grams.")
    commands = arguments.add_subparsers(dest="command", required=True)

    estimate = commands.add_parser("estimate", help="estimate a model from text, one sentence a line")
    _add_text(estimate)
    estimate.add_argument("--out", required=True, type=Path, help="FILE.lm (binary), FILE.arpa, FILE.arpa.gz or .xz")
    estimate.add_argument("--order", type=int, choices=range(1, 7), default=3, help="longest n-grams (default: 3)")
    estimate.add_argument("--min-count", type=_positive, default=1, metavar="N", help="leave out words rarer than this")
    estimate.add_argument("--max-words", type=_positive, metavar="N", help="keep only the N most frequent words")
    estimate.add_argument(
        "--prune",
        type=_share,
        default=0.0,
        metavar="X",
        help="leave out n-grams that lower the perplexity by less than this share, such as 1e-8 to 1e-6 (default: 0)",
    )
    estimate.set_defaults(run=_estimate)

    convert = commands.add_parser("convert", help="from ARPA to binary or back, by the names' endings")
    convert.add_argument("source", type=Path, help="language model")
    convert.add_argument("out", type=Path, help="FILE.lm (binary), FILE.arpa, FILE.arpa.gz or FILE.arpa.xz")
    convert.set_defaults(run=_convert)

    perplexity = commands.add_parser("perplexity", help="how well a model foretells text, one sentence a line")
    perplexity.add_argument("lm", type=Path, help="language model: binary or ARPA")
    _add_text(perplexity)
    perplexity.add_argument("--json", action="store_true", help="print one JSON object")
    perplexity.set_defaults(run=_perplexity)
    return arguments


def _add_text(arguments: argparse.ArgumentParser) -> None:
    arguments.add_argument("text", nargs="+", help="text file in UTF-8, also .gz or .xz; - is standard input")
    arguments.add_argument("--units", choices=get_args(WordUnit), help="what n-grams are made of (default: words)")
    arguments.add_argument(
        "--model", help="acoustic model, by name or file: its normaliser, and only words that it can write"
    )
    arguments.add_argument(
        "--language",
        type=_language,
        metavar="CODE",
        help="in which language numbers are spelled, such as tr or fr_CH (default: that of the language model's own "
        "text; English, where the letters are those from a to z alone; else words with digits are left out)",
    )


def _positive(text: str) -> int:
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return int(text)


def _share(text: str) -> float:
    if not 0 <= float(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 0 and less than 1")
    return float(text)


def _language(text: str) -> str:
    from asr.number_words import check_language

    try:
        check_language(text)
    except Error as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    options.run(options)
    return 0


def _estimate(options: argparse.Namespace) -> None:
    from asr.kneser_ney import estimate

    _check_out(options.out, options.text)
    reader = _reader(options)
    info = {
        "units": reader.units,
        "normalizer": reader.normalizer.to_dict(),
        "language": reader.language,
        "text": [Path(path).name for path in options.text],
        "prune": options.prune,
    }
    cuts = {"min_count": options.min_count, "max_words": options.max_words, "prune": options.prune}
    model = estimate(reader.read(options.text), options.order, **cuts, info=info)
    if model.info["fallback"]:
        orders = ", ".join(map(str, model.info["fallback"]))
        why = "too little text, or too many words left out,"
        print(f"{why} to tell the discounts of order {orders}: took the usual ones", file=sys.stderr)
    _report(reader, options)
    if reader.lexicon and reader.units == "words" and not is_arpa(options.out):
        model = model.said_by(reader.lexicon)
        _report_guessed(model, reader.lexicon)
    save_lm(options.out, model)
    print(describe(options.out, model))


def _report_guessed(model: NGram, lexicon: Lexicon) -> None:
    if model.pronunciations is None:
        print("words are found by their letters: the model's lexicon has less than half of them", file=sys.stderr)
        return
    new = [word for word in model.words if model.known(word) and word not in lexicon.words]
    if new:
        phones = " ".join(lexicon.phones(new[0])) or "nothing"
        example = f"such as {new[0]}, taken for {phones}"
        print(f"{len(new)} words are not in the lexicon; how they sound is guessed, {example}", file=sys.stderr)


def _check_out(path: Path, inputs: Sequence[str | Path]) -> None:
    """See that a language model can be written there, and replaces nothing that it is made of."""
    if not path.name.endswith((BINARY, *ARPA)):
        raise command.UsageError(f"{path}: expected a name that ends in {BINARY} (binary), or {', '.join(ARPA)}")
    if not path.parent.is_dir():
        raise command.UsageError(f"{path}: {path.parent} is not a folder")
    command.check_apart(path, inputs)


def _convert(options: argparse.Namespace) -> None:
    _check_out(options.out, [options.source])
    model = open_lm(options.source)
    save_lm(options.out, model)
    print(describe(options.out, model))
    left = ["pronunciations"] * (model.pronunciations is not None) + sorted(model.info)
    if is_arpa(options.out) and left:
        said = "an ARPA file holds n-grams alone; not in it, and lost if it is converted back"
        print(f"{options.out}: {said}: {', '.join(left)}", file=sys.stderr)


def _perplexity(options: argparse.Namespace) -> None:
    model = open_lm(options.lm)
    reader = _reader(options, model)
    result = model.perplexity(reader.read(options.text))
    if not result.sentences:
        raise Error(f"{' '.join(options.text)}: no sentence to score")
    _report(reader, options)
    print(json.dumps(perplexity_to_dict(result)) if options.json else describe_perplexity(result))


def _reader(options: argparse.Namespace, lm: NGram | None = None) -> TextReader:
    """What reads text as the options say, or else as the language model's text was read."""
    from asr.number_words import is_numeral
    from asr.text import Normalizer

    info = lm.info if lm else {}
    units, language = options.units or info.get("units", "words"), info.get("language")
    makes_sense = isinstance(info.get("normalizer", {}), dict) and isinstance(language, str | None)
    if units not in get_args(WordUnit) or not makes_sense:
        raise Error(f"{options.lm}: damaged, what it says of its text makes no sense; copy it again")
    if options.model is None:
        normalizer = Normalizer.from_dict(info["normalizer"]) if "normalizer" in info else Normalizer()
        reader = TextReader(normalizer, units)
        characters = set("".join(filter(lm.known, lm.words)) if lm else "")
    else:
        from asr import checkpoint
        from asr.loading import find_model

        stored = checkpoint.load(find_model(options.model))
        reader = TextReader(stored.normalizer, units, stored.alphabet, stored.lexicon)
        characters = set("".join(stored.alphabet.symbols))
    reader.language = options.language or (language if "language" in info else _assumed_language(characters))
    reader.numerals = set(filter(is_numeral, characters))
    return reader


def _assumed_language(characters: Collection[str]) -> str | None:
    """English, if these are its letters: most other languages write more of them, or not all; else none."""
    return "en" if set("".join(characters).lower()) - {"'", " ", SPACE} == ENGLISH else None


def _report(reader: TextReader, options: argparse.Namespace) -> None:
    """Say what was made of the text."""
    if reader.spells and options.language is None:
        print(f"numbers are spelled in language {reader.language!r}; --language CODE chooses another", file=sys.stderr)
    if reader.unspoken:
        print(f"{reader.unspoken} sentences left out: a number in them has no sure reading", file=sys.stderr)
    for fault, count in reader.left_out.items():
        print(f"{count} {reader.units} left out: {WHY[fault]}", file=sys.stderr)


def describe(path: Path, model: NGram) -> str:
    """A line for a person."""
    counts = ", ".join(f"{count} {order}-grams" for order, count in enumerate(model.counts, 1))
    return f"{path}: {counts}; {path.stat().st_size / 1e6:.1f} MB"


def perplexity_to_dict(result: Perplexity) -> dict[str, object]:
    """What `--json` prints."""
    return {
        "perplexity": result.with_unknown,
        "perplexity_known": result.without_unknown,
        "words": result.words,
        "unknown": result.unknown,
        "sentences": result.sentences,
    }


def describe_perplexity(result: Perplexity) -> str:
    """Two lines for a person."""
    share = result.unknown / result.words
    return (
        f"{result.words} words, {result.unknown} of them unknown ({share:.2%}), in {result.sentences} sentences\n"
        f"perplexity {result.with_unknown:.2f} with unknown words, {result.without_unknown:.2f} without"
    )


if __name__ == "__main__":
    sys.exit(command.run(main))
