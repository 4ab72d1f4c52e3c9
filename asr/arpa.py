"""ARPA files, the text form of n-gram models that every toolkit writes: read and written, gz and xz included.

A file has a head with the number of n-grams of every order, then a section for each order whose lines hold log10 p, the
words, and the log10 back-off weight where longer n-grams begin so:

    \\data\\
    ngram 1=4
    ngram 2=1

    \\1-grams:
    -99 <s> -0.3
    -0.5 </s>
    ...
    \\end\\

Sections are read by compiled code, which notes where and why it stopped; Python then says so with the line's number.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from asr.arpa_lines import BACKOFF, FINE, LINE_FEED, NUMBER, OTHER, POSITIVE, TWICE, UNKNOWN_WORD, read_section
from asr.files import replacing
from asr.lm import SPACE
from asr.ngram import END, START, UNKNOWN, UNSEEN, LanguageModelError, Level, NGram, build

CHUNK = 1 << 16  # n-grams that are written at a time


class Section(NamedTuple):
    """The N n-grams of one order, first as the file lists them.

    Args:
        place: where the first of them begins in the file.
        rows: (N,) int32: how many lines of the section stand before each one.
        words: (N, order) int32 ids.
        log_probs, backoffs: (N,) float32 log10; a back-off that is missing is NaN.
    """

    place: int
    rows: NDArray[np.int32]
    words: NDArray[np.int32]
    log_probs: NDArray[np.float32]
    backoffs: NDArray[np.float32]

    def reordered(self, order: NDArray[np.int64]) -> Section:
        """The same n-grams in another order."""
        return Section(self.place, *(column[order] for column in self[1:]))

    def level(self, contexts: NDArray[np.int64]) -> Level:
        """For the tree, with the numbers of the contexts."""
        return Level(contexts, self.words[:, -1], self.log_probs, np.nan_to_num(self.backoffs))


def read(path: str | os.PathLike[str]) -> NGram:
    """The model of an ARPA file, its name ending in .gz or .xz where it is compressed.

    Scores are those of KenLM: without an <unk>, unknown words have log10 p of -100; a back-off may be missing where no
    longer n-gram begins so; the end of an n-gram need not be listed (SRILM prunes such). Where all words are single
    characters, "▁" for the space among them, the model says of itself that it is one of characters.

    Raises:
        LanguageModelError: it is missing or not a well-formed ARPA file; the message names the line.
    """
    return _File(path, _content(path)).model()


def _content(path: str | os.PathLike[str]) -> bytes:
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(Path(path).suffix, open)
    try:
        with opened(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise LanguageModelError(f"{path}: no such file; expected an ARPA file") from None
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise LanguageModelError(f"{path}: cannot be read, or damaged ({error})") from None


class _File:
    """An ARPA file that is being read, from its first line to its last.

    Args:
        path: for messages.
        content: all of it.
    """

    def __init__(self, path: str | os.PathLike[str], content: bytes) -> None:
        self.path = path
        self.content = content
        self.place = len(BOM_UTF8) if content.startswith(BOM_UTF8) else 0  # where the next line begins

    def model(self) -> NGram:
        """The model; see `read`."""
        counts = self._counts()
        self._slots = np.full(2 << counts[0].bit_length(), -1, np.int32)
        self._spans = np.zeros((counts[0], 2), np.int64)
        section = self._section(1, counts[0])
        words, levels = self._words(section), [section.level(np.zeros(counts[0], np.int64))]
        if UNKNOWN not in words:
            words, levels = [*words, UNKNOWN], [_with_unknown(levels[0])]
        index = _Index(len(words))
        for order, count in enumerate(counts[1:], 2):
            below = section
            section, contexts = self._sorted(self._section(order, count), index)
            self._check_backoffs(below, contexts)
            levels.append(section.level(contexts))
        self._expect(b"\\end\\")
        self._check_last_backoffs(section)
        if (rest := self._next_line()) is not None:
            raise self._error(self.place, f"found {_shown(rest)} after \\end\\")
        try:
            return build(words, levels, _info(words))
        except LanguageModelError as error:
            raise LanguageModelError(f"{self.path}: {error}") from None

    def _next_line(self) -> bytes | None:
        """The next line that is not blank, left where it is, or None at the end of the file."""
        while self.place < len(self.content):
            line = self.content[self.place : self._line_end(self.place)].strip()
            if line:
                return line
            self.place = self._line_end(self.place) + 1
        return None

    def _line_end(self, place: int) -> int:
        end = self.content.find(b"\n", place)
        return len(self.content) if end < 0 else end

    def _skip_line(self) -> None:
        self.place = self._line_end(self.place) + 1

    def _error(self, place: int, message: str) -> LanguageModelError:
        return LanguageModelError(f"{self.path}:{1 + self.content.count(LINE_FEED, 0, place)}: {message}")

    def _expect(self, header: bytes) -> None:
        """Go past this line."""
        line = self._next_line()
        if line is None:
            raise self._error(self.place, f"the file is cut short: it ends before {header.decode()}")
        if line != header:
            raise self._error(self.place, f"found {_shown(line)}, expected {header.decode()}; are the counts wrong?")
        self._skip_line()

    def _counts(self) -> list[int]:
        """The number of n-grams of every order, from the head."""
        while (line := self._next_line()) != b"\\data\\":
            if line is None:
                raise LanguageModelError(f"{self.path}: no ARPA file, it has no line \\data\\")
            self._skip_line()
        self._skip_line()
        counts: list[int] = []
        while (line := self._next_line()) is not None and not line.startswith(b"\\"):
            entry = re.fullmatch(rb"ngram\s+(\d{1,9})\s*=\s*(\d{1,18})", line)
            if entry is None or int(entry[1]) != len(counts) + 1:
                raise self._error(self.place, f"found {_shown(line)}, expected ngram {len(counts) + 1}=NUMBER")
            counts.append(int(entry[2]))
            if counts[-1] * 2 * (len(counts) + 1) > len(self.content):  # each word has a letter and a space
                raise self._error(self.place, f"the file is too short for {counts[-1]} {len(counts)}-grams")
            self._skip_line()
        if not counts:
            raise self._error(self.place, "no line ngram 1=NUMBER after \\data\\")
        return counts

    def _section(self, order: int, count: int) -> Section:
        self._expect(f"\\{order}-grams:".encode())
        rows, words = np.arange(count, dtype=np.int32), np.zeros((count, order), np.int32)
        section = Section(self.place, rows, words, np.zeros(count, np.float32), np.zeros(count, np.float32))
        text = np.frombuffer(self.content, np.uint8)
        problem, row, self.place = read_section(text, self.place, self._slots, self._spans, *section[2:])
        if problem != FINE:
            raise self._error(self.place, self._why(problem, section, row))
        return section

    def _why(self, problem: int, section: Section, row: int) -> str:
        """What is wrong with the line that comes next."""
        line = self.content[self.place : self._line_end(self.place)].strip()
        count, order = section.words.shape
        if problem == OTHER and self._line_end(self.place) == len(self.content):
            return f"the file is cut short: it ends after {row} of its {count} {order}-grams"
        return {
            OTHER: f"found {_shown(line)}, expected {order}-gram {row + 1} of {count}; are the counts wrong?",
            NUMBER: f"found {_shown(line)}, expected a log10 probability, {order} words and a back-off weight",
            POSITIVE: f"{_shown(line)} has a probability above 1",
            UNKNOWN_WORD: f"{_shown(line)} has a word that is none of the 1-grams",
            TWICE: f"a word is listed twice: {_shown(line)}",
            BACKOFF: f"{_shown(line)} has more than {order} words, or its back-off weight is not a number",
        }[problem]

    def _row_error(self, section: Section, row: int, message: str) -> LanguageModelError:
        """Of the n-gram that is in this row of the section now; the message may hold {} for its line."""
        line, place = section.rows[row], section.place
        number = self.content.count(LINE_FEED, 0, place) + line
        for _ in range(line):
            place = self._line_end(place) + 1
        text = _shown(self.content[place : self._line_end(place)].strip())
        return LanguageModelError(f"{self.path}:{number + 1}: {message.format(text)}")

    def _words(self, unigrams: Section) -> list[str]:
        words = []
        for row, (start, end) in enumerate(self._spans.tolist()):
            try:
                words.append(self.content[start:end].decode())
            except UnicodeDecodeError:
                raise self._row_error(unigrams, row, "the word in {} is not UTF-8") from None
        if UNKNOWN not in words and UNKNOWN.upper() in words:  # as SRILM may write it
            words[words.index(UNKNOWN.upper())] = UNKNOWN
        return words

    def _sorted(self, section: Section, index: _Index) -> tuple[Section, NDArray[np.int64]]:
        """The section's n-grams by context and last word, and the numbers of their contexts."""
        contexts, missing = index.find(section.words[:, :-1])
        if len(missing):
            raise self._row_error(section, missing[0], "the first words of {} are no n-gram of the order below")
        keys = index.keys_of(contexts, section.words[:, -1])
        if not (keys[1:] > keys[:-1]).all():
            order = np.argsort(keys, kind="stable")
            keys, contexts, section = keys[order], contexts[order], section.reordered(order)
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if len(twice):
            raise self._row_error(section, twice[0] + 1, "{} is listed twice")
        index.add(keys)
        return section, contexts

    def _check_backoffs(self, section: Section, contexts: NDArray[np.int64]) -> None:
        is_context = np.zeros(len(section.rows), bool)
        is_context[contexts] = True
        missing = np.flatnonzero(is_context & np.isnan(section.backoffs))
        if len(missing):
            raise self._row_error(section, missing[0], "{} begins longer n-grams, but has no back-off weight")

    def _check_last_backoffs(self, section: Section) -> None:
        wrong = np.flatnonzero(np.nan_to_num(section.backoffs))
        if len(wrong):
            raise self._row_error(section, wrong[0], "{} has a back-off weight, but nothing is longer")


class _Index:
    """Finds n-grams: the numbers of a context and of a last word make a key, and the keys of an order are sorted.

    Args:
        size: number of words.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._keys: list[NDArray[np.int64]] = []

    def add(self, keys: NDArray[np.int64]) -> None:
        """Add the next order, from the pairs on."""
        self._keys.append(keys)

    def keys_of(self, contexts: NDArray[np.integer], words: NDArray[np.int32]) -> NDArray[np.int64]:
        """(N,) numbers of contexts and (N,) ids of last words -> (N,) keys."""
        return contexts * np.int64(self._size) + words

    def find(self, words: NDArray[np.int32]) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
        """(N, order) ids -> (N,) numbers among the n-grams of that order, and the rows that are not among them."""
        found = words[:, 0]
        for column, keys in zip(words.T[1:], self._keys, strict=False):
            wanted = self.keys_of(found, column)
            found = np.searchsorted(keys, wanted)
            is_there = np.zeros(len(found), bool)
            inside = found < len(keys)
            is_there[inside] = keys[found[inside]] == wanted[inside]
            if not is_there.all():
                return found, np.flatnonzero(~is_there)
        return found, np.empty(0, np.int64)


def _info(words: Sequence[str]) -> dict[str, object]:
    """What the words say of the text: it was cut into characters if that is what they are, the space among them."""
    names = set(words) - {START, END, UNKNOWN}
    return {"units": "characters"} if SPACE in names and all(len(name) == 1 for name in names) else {}


def _with_unknown(words: Level) -> Level:
    """The words and, behind them, <unk>."""
    added = (0, len(words.words), UNSEEN, 0)
    return Level(*(np.append(column, value) for column, value in zip(words, added, strict=True)))


def _shown(text: bytes, limit: int = 60) -> str:
    shown = repr(text.decode(errors="backslashreplace"))
    return shown if len(shown) <= limit else f"{shown[: limit - 1]}…"


def write(path: str | os.PathLike[str], model: NGram) -> None:
    """Write an ARPA file, compressed where its name ends in .gz or .xz; seven digits of every number.

    Raises:
        LanguageModelError: the model is damaged, or a word of it cannot stand in such a file.
        OSError: it cannot be written.
    """
    path = Path(path)
    _check_tree(model)
    for word in model.words:
        if not word or not set(word).isdisjoint(" \t\r\n"):
            raise LanguageModelError(f"{path}: an ARPA file cannot hold the word {word!r}")
    with replacing(path) as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as compressed:
                _write(compressed, model)
        elif path.suffix == ".xz":
            with lzma.open(file, "wb") as compressed:
                _write(compressed, model)
        else:
            _write(file, model)


def _write(file: BinaryIO | gzip.GzipFile | lzma.LZMAFile, model: NGram) -> None:
    counts = "".join(f"ngram {order}={count}\n" for order, count in enumerate(model.counts, 1))
    file.write(f"\\data\\\n{counts}".encode())
    for order, (nodes, columns) in enumerate(_levels(model), 1):
        file.write(f"\n\\{order}-grams:\n".encode())
        for start in range(0, len(nodes), CHUNK):
            part = slice(start, start + CHUNK)
            file.write(_lines(model, nodes[part], [column[part] for column in columns]).encode())
    file.write(b"\n\\end\\\n")


def _levels(model: NGram) -> Iterator[tuple[NDArray[np.int64], list[NDArray[np.uint32]]]]:
    """The N nodes of each order, and the (N,) ids of their first, second... words."""
    tables = model.tables
    columns: list[NDArray[np.uint32]] = []
    start, end = 0, 1
    for count in model.counts:
        children = np.diff(tables.first_child[start : end + 1].astype(np.int64))
        contexts = np.repeat(np.arange(end - start), children)
        start, end = end, end + count
        columns = [*(column[contexts] for column in columns), tables.words[start:end]]
        yield np.arange(start, end), columns


def _lines(model: NGram, nodes: NDArray[np.int64], columns: Sequence[NDArray[np.uint32]]) -> str:
    words, tables = model.words, model.tables
    texts = map(" ".join, zip(*([words[i] for i in column.tolist()] for column in columns), strict=True))
    log_probs = (tables.log_probs[nodes] * tables.log_prob_unit).tolist()
    if len(columns) == model.order:
        return "".join(map("%.7g\t%s\n".__mod__, zip(log_probs, texts, strict=True)))
    backoffs = (tables.backoffs[nodes] * tables.backoff_unit).tolist()
    return "".join(map("%.7g\t%s\t%.7g\n".__mod__, zip(log_probs, texts, backoffs, strict=True)))


def _check_tree(model: NGram) -> None:
    """Whether the tables of a binary file are whole, which look-up need not know."""
    first_child = model.tables.first_child.astype(np.int64)
    begins = np.cumsum([1, *model.counts])  # the first node of each order
    contexts = np.cumsum([0, 1, *model.counts])[: model.order + 1]
    is_whole = (np.diff(first_child) >= 0).all() and (first_child[contexts] == begins).all()
    if not is_whole or model.tables.words.max() >= len(model.words):
        raise LanguageModelError("the language model is damaged: its n-grams form no tree; copy it again")
