"""Texts by id, of any recognizer: what was said and what was recognized, without the audio.

Two kinds of file hold them, told apart by their names:

- `.jsonl`: JSON Lines with `id` and `text`; where known `speaker`, `duration` (seconds) and further columns. For the
  text a `reference` column is taken first in a file of references, `hypothesis` or NeMo's `pred_text` in one of
  hypotheses, so that the `dev.jsonl` of a training run is both. Hypotheses with `audio_filepath` need one of those: in
  a manifest `text` is what was said; there an id may be missing, as in NeMo's files, and is made of the path.
- `.trn`: NIST's transcripts, a line `words (id)` for each utterance. The speaker is what stands before the first - or _
  of the id, as for sclite's `-i spu_id`; an id without them has none. A line that begins with ;; is a comment. What
  sclite alone understands is refused, not guessed: alternatives, { a / b }, and words that may be left out, (uh).

As references, all that `asr.corpus` reads will do as well.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr import Error, corpus
from asr.files import replacing

SUFFIXES = (".jsonl", ".trn")
SHOWN = 5  # ids that an error names
_HYPOTHESES = ("hypothesis", "pred_text", "text")  # columns that hold what was recognized, the first one that is there
_OWN = ("reference",)  # the column that holds what was said, beside what was recognized
_COLUMNS = frozenset({"id", "text", "reference", "hypothesis", "pred_text", "speaker", "duration"})
_TRN = re.compile(r"(.*)\(([^()\s]+)\)\s*")  # words (id)
_TRN_MARKS = re.compile(r"[(){}]|(?<!\S)@(?!\S)|^;;")  # what .trn files give a meaning of its own


class HypothesisError(Error):
    """Files of texts that cannot be read, or that do not belong together."""


@dataclass(frozen=True)
class Line:
    """One text of a file.

    Attributes:
        id: unique within a file.
        text: as it stands there, not normalised.
        speaker, duration: None where unknown; seconds.
        fields: further columns, as text.
    """

    id: str
    text: str
    speaker: str | None = None
    duration: float | None = None
    fields: dict[str, str] = field(default_factory=dict, hash=False)


def read_hypotheses(path: Path) -> list[Line]:
    """Read what was recognized, in the order of the file.

    Raises:
        asr.Error: it is not there, is neither .jsonl nor .trn, holds nothing, or has bad lines, which are named.
    """
    return _read(path, _HYPOTHESES)


def read_references(path: Path) -> list[Line]:
    """Read what was said, in the order of the source: a file of texts, or any manifest or folder of `asr.corpus`.

    Raises:
        asr.Error: as in `read_hypotheses` and `asr.corpus.read`.
    """
    if path.is_dir() or path.suffix.lower() in (".csv", ".tsv") or _is_manifest(path):
        return [of_utterance(utterance) for utterance in corpus.read(path)]
    return _read(path, ("reference", "text"))


def own_references(path: Path) -> list[Line]:
    """The references that a file of hypotheses holds itself, in its `reference` column.

    Raises:
        asr.Error: it holds none, or as in `read_hypotheses`.
    """
    try:
        if path.suffix.lower() == ".trn":
            raise HypothesisError(f"{path}: a .trn file of hypotheses holds no references")
        return _read(path, _OWN)
    except Error as error:
        raise HypothesisError(f"{error}\nName a file of references (--references FILE).") from None


def of_utterance(utterance: corpus.Utterance) -> Line:
    """The text of an utterance."""
    fields = {**utterance.fields, **({"split": utterance.split} if utterance.split else {})}
    return Line(utterance.id, utterance.text, utterance.speaker, utterance.duration, fields)


def _is_manifest(path: Path) -> bool:
    """Whether the first line names audio."""
    if path.suffix.lower() not in (".jsonl", ".json") or not path.is_file():
        return False
    with path.open("rb") as file:
        return b'"audio_filepath"' in file.readline()


def _read(path: Path, columns: Sequence[str]) -> list[Line]:
    check_name(path)
    if not path.is_file():
        raise HypothesisError(f"{path} is not a file. Expected texts: .jsonl with id and text, or NIST's .trn.")
    found: dict[str, Line] = {}
    problems: list[str] = []
    paths: Counter[str] = Counter()
    for number, content in enumerate(_lines(path), 1):
        try:
            line = _trn_line(content) if path.suffix.lower() == ".trn" else _json_line(content, columns, paths)
            if line is not None and line.id in found:
                raise ValueError(f"the id '{line.id}' stands in an earlier line, too")
        except ValueError as error:
            problems.append(f"line {number}: {error}")
            continue
        if line is not None:
            found[line.id] = line
    corpus.report_problems(path, problems)
    if not found:
        raise HypothesisError(f"{path} holds no texts.")
    return list(found.values())


def check_name(path: Path) -> None:
    """See that a file's name tells what it holds.

    Raises:
        HypothesisError: it does not.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise HypothesisError(f"{path}: expected a name that ends in {' or '.join(SUFFIXES)}")


def _lines(path: Path) -> Iterator[str]:
    try:
        yield from path.read_bytes().decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise HypothesisError(f"{path}: not UTF-8 ({error}); convert it first") from None


def _json_line(content: str, columns: Sequence[str], paths: Counter[str]) -> Line | None:
    """The text of a line of JSON, in the first of the columns that it has; None of an empty line.

    Args:
        paths: counts those of which ids are made, as `asr.corpus` makes them.
    """
    if not content.strip():
        return None
    try:
        row = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a line of JSON ({error})") from None
    if not isinstance(row, dict):
        raise ValueError(f"expected an object in braces; found {row!r:.60}")
    if columns == _OWN and "pred_text" in row:  # NeMo's, who keeps what was said beside it
        columns = ("reference", "text")
    column = next((name for name in columns if name in row), columns[-1])
    if columns == _HYPOTHESES and column == "text" and "audio_filepath" in row:
        raise ValueError(
            "a row of a manifest ('audio_filepath'), whose 'text' is what was said; expected what was recognized in "
            "'hypothesis' or 'pred_text'"
        )
    text = row.get(column)
    if not isinstance(text, str):
        named = "' or '".join(columns)
        raise ValueError(f"expected a text in '{named}'; found {text!r:.60}")
    return Line(
        id=_id(row, paths),
        text=text,
        speaker=corpus.string_of(row, "speaker"),
        duration=corpus.seconds_of(row, "duration"),
        fields=corpus.other_fields(row, _COLUMNS),
    )


def _id(row: Mapping[str, object], paths: Counter[str]) -> str:
    path = corpus.string_of(row, "audio_filepath")
    if found := corpus.string_of(row, "id", required=path is None):
        return found
    base = os.path.splitext(path)[0]
    paths[base] += 1
    return base if paths[base] == 1 else f"{base}#{paths[base]}"


def _trn_line(content: str) -> Line | None:
    """The text of a line `words (id)`; None of an empty one and of a comment."""
    if not content.strip() or content.startswith(";;"):
        return None
    match = _TRN.fullmatch(content.strip())
    if match is None:
        raise ValueError(f"expected words and an id in brackets, as in 'good morning (anna-1)'; found {content!r:.60}")
    if mark := _TRN_MARKS.search(match[1]):
        raise ValueError(f"{mark[0]!r} is more than a word to sclite, which is not supported; found {content!r:.60}")
    before, *rest = re.split("[-_]", match[2], maxsplit=1)
    return Line(match[2], match[1].strip(), before if before and rest else None)


def check_writable(path: Path, ids: Sequence[str]) -> None:
    """See, before there are texts, that a file of this name can hold these ids.

    Raises:
        HypothesisError: the name has another ending, or an id does not fit into a .trn file.
    """
    check_name(path)
    unfit = [name for name in ids if re.search(r"[()\s]", name)] if path.suffix.lower() == ".trn" else []
    if unfit:
        raise HypothesisError(f"{path}: ids with brackets or spaces do not fit: {_some(unfit)}; write a .jsonl file")


def write(path: Path, ids: Sequence[str], texts: Sequence[str]) -> None:
    """Write what was recognized; `read_hypotheses` reads it back.

    Raises:
        HypothesisError: as in `check_writable`, or a text does not fit into a .trn file.
    """
    check_writable(path, ids)
    line = _to_trn if path.suffix.lower() == ".trn" else _to_json
    lines = [line(*pair) for pair in zip(ids, texts, strict=True)]
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        for content in lines:
            file.write(content.encode("utf-8", "backslashreplace") + b"\n")


def _to_json(name: str, text: str) -> str:
    return json.dumps({"id": name, "text": text}, ensure_ascii=False)


def _to_trn(name: str, text: str) -> str:
    if mark := _TRN_MARKS.search(text):
        raise HypothesisError(f"'{name}': {mark[0]!r} does not fit into a .trn file; write a .jsonl file")
    return f"{' '.join(text.split())} ({name})"


def pair(references: Sequence[Line], hypotheses: Sequence[Line], source: Path) -> tuple[list[str], list[str]]:
    """The hypothesis of each reference, empty where there is none, and the ids of those without one.

    Args:
        source: where the hypotheses are from, for the error.

    Raises:
        HypothesisError: a hypothesis has an id that no reference has.
    """
    texts = {line.id: line.text for line in hypotheses}
    known = {line.id for line in references}
    if unknown := [name for name in texts if name not in known]:
        raise HypothesisError(
            f"{source}: {len(unknown)} of {len(texts)} ids are not among the references: {_some(unknown)}; "
            f"expected ids like {references[0].id}"
        )
    return [texts.get(line.id, "") for line in references], [line.id for line in references if line.id not in texts]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
