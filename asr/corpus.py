"""Corpora: which words are said in which file, read from manifests and folders.

A source is one of
- a JSON Lines manifest as NeMo uses: `audio_filepath` (relative to the manifest), `text`, and where known
  `duration` and `offset` (seconds), `speaker`, `split` and `id`; further columns, such as `accent`, are kept;
- a CSV or TSV file with a header line and the same columns;
- a folder with a `manifest.jsonl`;
- a Kaldi data folder (`wav.scp`, `text`, optional `segments` and `utt2spk`);
- a folder of recordings, each with its text beside it (`x.wav` and `x.txt`), or with labels that say what is said from
  when to when (`x.srt`, `x.vtt` or `x.TextGrid`, see `asr.labels`), searched recursively.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from asr import Error
from asr.audio import EXTENSIONS
from asr.files import replacing
from asr.labels import SUFFIXES, Label, LabelError, read_labels

COLUMNS = frozenset({"audio_filepath", "duration", "text", "speaker", "split", "offset", "id"})
SHOWN = 20  # bad lines that an error spells out; the rest are counted


class CorpusError(Error):
    """A corpus that cannot be read: names the bad lines (the first 20, and how many there are)."""


@dataclass(frozen=True)
class Utterance:
    """One recording, or a part of one, and what is said in it.

    Attributes:
        id: unique within a corpus.
        audio: the recording; read only when it is used, so it may turn out to be missing.
        text: as published, not normalised.
        duration: seconds; None where the source does not say: to the end of the recording.
        speaker: None where unknown.
        split: "train", "dev", "test"...; None where the source has no splits.
        offset: seconds into the recording at which the part begins.
        fields: what else the manifest's columns say, as text; nothing for an empty one, a list or an object.
    """

    id: str
    audio: Path
    text: str
    duration: float | None = None
    speaker: str | None = None
    split: str | None = None
    offset: float = 0.0
    fields: Mapping[str, str] = field(default_factory=dict, hash=False)


def read(source: Path | str, split: str | None = None) -> list[Utterance]:
    """All utterances of a manifest or a folder at once; arguments, order, ids and errors as in `stream`."""
    return list(stream(source, split))


def stream(source: Path | str, split: str | None = None, needs_text: bool = True) -> Iterator[Utterance]:
    """Read a manifest or a folder (see the module's docstring) one utterance at a time, in the order of the source.

    Of a manifest's utterances only hashes of their ids stay in memory, about 100 bytes each; a Kaldi folder and a
    folder of recordings are held as a whole.

    An utterance without an id gets its audio's path within the source, without the extension; further parts
    of one recording and repeated lines get `#2`, `#3`... An id that the source gives twice is an error.

    Args:
        source: a .jsonl, .json, .csv or .tsv file, or a folder.
        split: keep only the utterances of this split.
        needs_text: whether an utterance without a text is an error; else it has an empty one.

    Raises:
        CorpusError: nothing there; or, at the end, no utterance, no utterance of that split, or bad lines, reported
            together.
    """
    source = Path(source)
    splits: set[str | None] = set()
    for utterance in _reader(source)(source, needs_text):
        splits.add(utterance.split)
        if split in (None, utterance.split):
            yield utterance
    if not splits:
        raise CorpusError(f"{source} holds no utterances.")
    if split is not None and split not in splits:
        found = ", ".join(sorted(map(str, splits)))
        raise CorpusError(f"{source}: no utterance has the split '{split}'; splits found: {found}.")


def write_manifest(path: Path | str, utterances: Iterable[Utterance]) -> None:
    """Write a JSON Lines manifest, from which `read` gives the same utterances with absolute audio paths.

    In the file the paths are relative to it, so that it can move together with the audio. It is written
    beside its place and then renamed, so a reader never sees half of it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = path.parent.resolve()
    with replacing(path) as file:
        for utterance in utterances:
            file.write(_to_line(utterance, folder))


def audio_files(folder: Path) -> list[Path]:
    """All audio below a folder, by extension, sorted; hidden files, as macOS makes, and pipes are no audio.

    Raises:
        OSError: a folder cannot be read: nothing is left out without a word.
    """
    return [
        path
        for path in sorted(_files(folder))
        if path.suffix.lower() in EXTENSIONS and not path.name.startswith(".") and not is_special(path)
    ]


def is_special(path: Path | str) -> bool:
    """Whether it is a pipe, a socket or a device: opening one of these by a search may wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False  # who opens it says why
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def unread_texts(source: Path) -> Iterator[tuple[Path, Path]]:
    """Texts of a folder of recordings that are not read, since labels lie beside them; each with the first of these."""
    if source.is_dir() and _reader(source) is _read_pairs:
        labels = _label_files(source)
        for audio in audio_files(source):
            text, beside = audio.with_suffix(".txt"), labels.get(audio.with_suffix(""), [])
            if beside and text.exists():
                yield text, beside[0]


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder, in linked folders too, each folder once: links may lead back.

    Raises:
        OSError: a folder cannot be read.
    """
    seen = set()
    for where, folders, names in os.walk(folder, onerror=_raise, followlinks=True):
        if (place := os.path.realpath(where)) in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        yield from (Path(where, name) for name in names)


def _raise(error: OSError) -> None:
    raise error


def stable_fraction(key: str) -> float:
    """A number in [0, 1) that depends on the key alone: the same in every process, on every machine."""
    return (_hash(key) >> 11) / 2**53  # 53 bits are exact in a float: never rounded to 1


def report_problems(source: Path, problems: list[str], what: str = "bad lines") -> None:
    """Raise one CorpusError that lists the first 20 problems and counts them all, if there are any."""
    if problems:
        shown = [f"  {problem}" for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            shown.append(f"  ... and {len(problems) - SHOWN} more")
        raise CorpusError("\n".join([f"{source}: {len(problems)} {what}:", *shown]))


def _reader(source: Path) -> Callable[[Path, bool], Iterable[Utterance]]:
    """The function that reads this kind of source, given whether utterances need a text."""
    if source.is_dir():
        if (source / "manifest.jsonl").is_file():
            return lambda folder, needs_text: _read_json_lines(folder / "manifest.jsonl", needs_text)
        if (source / "wav.scp").is_file():
            from asr.kaldi import read_kaldi  # which imports this module

            return read_kaldi
        return _read_pairs
    if not source.exists():
        raise CorpusError(f"{source} does not exist. Expected a manifest (.jsonl, .csv, .tsv) or a folder.")
    if source.suffix.lower() in (".jsonl", ".json"):
        return _read_json_lines
    if source.suffix.lower() in (".csv", ".tsv"):
        return _read_table
    raise CorpusError(f"{source}: expected a name that ends in .jsonl, .json, .csv or .tsv, or a folder.")


def _to_line(utterance: Utterance, folder: Path) -> bytes:
    """One line of a manifest that lies in `folder` (a resolved path)."""
    entry = {
        **utterance.fields,
        "audio_filepath": _relative(utterance.audio, folder),
        "duration": utterance.duration,
        "text": utterance.text,
        "speaker": utterance.speaker,
        "split": utterance.split,
        "offset": utterance.offset or None,
        "id": utterance.id,
    }
    line = json.dumps({key: value for key, value in entry.items() if value is not None}, ensure_ascii=False)
    # File names need not be Unicode: what cannot be encoded becomes \udcXX, which is an escape of JSON, too.
    return line.encode("utf-8", "backslashreplace") + b"\n"


def _relative(audio: Path, folder: Path) -> str:
    try:
        return Path(os.path.relpath(os.path.abspath(audio), folder)).as_posix()
    except ValueError:  # Windows: another drive
        return Path(os.path.abspath(audio)).as_posix()


class _Rows:
    """Turns the rows of a manifest that lies in `folder` into utterances, and collects what is wrong with them.

    Attributes:
        problems: a line for each bad row.
    """

    def __init__(self, folder: Path, needs_text: bool) -> None:
        self._needs_text = needs_text
        # Resolved, so that a path from it which begins with .. means what the system takes it for.
        self.folder = str(folder.resolve())
        self.problems: list[str] = []
        self.lines: dict[int, int] = {}  # hash of an id -> the line that it was first seen in
        self.parts: dict[int, int] = {}  # hash of an audio path without extension -> its parts, where there are several

    def utterance(self, line: int, row: Mapping[str, object]) -> Utterance | None:
        """The utterance of a row with the columns of a manifest; None where the row is bad, which is a problem."""
        try:
            found = self._utterance(row)
        except ValueError as error:
            self.problems.append(f"line {line}: {error}")
            return None
        first = self.lines.setdefault(_hash(found.id), line)
        if first != line:
            self.problems.append(f"line {line}: the id '{found.id}' is that of line {first}, too")
        return found

    def _utterance(self, row: Mapping[str, object]) -> Utterance:
        path = string_of(row, "audio_filepath", required=True)
        return Utterance(
            id=string_of(row, "id") or self._derived_id(path),
            audio=Path(os.path.normpath(os.path.join(self.folder, path))),
            text=_text(row, self._needs_text),
            duration=seconds_of(row, "duration"),
            speaker=string_of(row, "speaker"),
            split=string_of(row, "split"),
            offset=seconds_of(row, "offset") or 0.0,
            fields=other_fields(row, COLUMNS),
        )

    def _derived_id(self, path: str) -> str:
        base = name = os.path.splitext(path)[0]
        while _hash(name) in self.lines:
            part = self.parts[_hash(base)] = self.parts.get(_hash(base), 1) + 1
            name = f"{base}#{part}"
        return name


def other_fields(row: Mapping[str, object], known: Collection[str]) -> dict[str, str]:
    """What the columns that are not among the known ones say, as text, where they say it in one word or number."""
    others = {key: value for key, value in row.items() if key not in known and value not in (None, "")}
    return {key: _as_text(value) for key, value in others.items() if isinstance(value, (str, int, float))}


def _as_text(value: str | int | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)  # as JSON has it: true, false


def _hash(text: str) -> int:
    """64 bits in place of a string that may be long: of a million strings two are taken for one in 4e7 cases."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def string_of(row: Mapping[str, object], key: str, required: bool = False) -> str | None:
    """A name or path; numbers, which NeMo writes for speakers, become text. None where there is nothing.

    Raises:
        ValueError: it is of another kind, or nothing although required.
    """
    value = row.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"'{key}' should be text; found {value!r:.60}")
    if required and not value:
        raise ValueError(f"no '{key}'")
    if value and "\0" in value:
        raise ValueError(f"'{key}' holds a zero character")
    try:
        os.fsencode(value or "")  # names of files need not be Unicode: some lone surrogates stand for their bytes
    except UnicodeEncodeError:
        raise ValueError(f"'{key}' holds half of a character (a lone surrogate): {value!r:.60}") from None
    return value or None


def _text(row: Mapping[str, object], required: bool) -> str:
    """The words; they may be empty, which the check before training reports, but not left out where required."""
    text = row.get("text")
    if text is None and not required:
        return ""
    if not isinstance(text, str):
        raise ValueError("no 'text'" if text is None else f"'text' should be text; found {text!r:.60}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"'text' holds half of a character (a lone surrogate): {text!r:.60}") from None
    return text


def seconds_of(row: Mapping[str, object], key: str) -> float | None:
    """Seconds, as a number or as text; None where there is nothing.

    Raises:
        ValueError: it is not a finite number, or below 0.
    """
    value = row.get(key)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"'{key}' should be seconds, 0 or more; found {value!r:.60}")
    return seconds


def _read_json_lines(path: Path, needs_text: bool) -> Iterator[Utterance]:
    rows = _Rows(path.parent, needs_text)
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or brackets without end
                rows.problems.append(f"line {number}: not a line of JSON ({error})")
                continue
            if not isinstance(row, dict):
                rows.problems.append(f"line {number}: expected an object in braces; found {row!r:.60}")
            elif utterance := rows.utterance(number, row):
                yield utterance
    report_problems(path, rows.problems)


def _read_table(path: Path, needs_text: bool) -> Iterator[Utterance]:
    """Read a CSV file, or a TSV file, in which quotation marks are ordinary (as in Common Voice's)."""
    rows = _Rows(path.parent, needs_text)
    for number, row in _table_rows(path, rows.problems, needs_text):
        if utterance := rows.utterance(number, row):
            yield utterance
    report_problems(path, rows.problems)


def _table_rows(path: Path, problems: list[str], needs_text: bool) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and rows of a table; rows of another length are problems."""
    tabs = path.suffix.lower() == ".tsv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            quoting = csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL
            table = csv.reader(file, delimiter="\t" if tabs else ",", quoting=quoting, strict=True)
            columns = next(table, [])
            _check_columns(path, columns, "tab" if tabs else "comma", needs_text)
            for cells in table:
                if len(cells) == len(columns):
                    yield table.line_num, dict(zip(columns, cells, strict=True))
                elif cells:  # not an empty line
                    problems.append(f"line {table.line_num}: expected {len(columns)} columns; found {len(cells)}")
    except (UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{path}: not a table in UTF-8 ({error}).") from error


def _check_columns(path: Path, columns: Sequence[str], separator: str, needs_text: bool) -> None:
    needed = ["audio_filepath", "text"] if needs_text else ["audio_filepath"]
    if not set(needed) <= set(columns):
        raise CorpusError(
            f"{path}: the first line should name the columns, with a {separator} between them, among them"
            f" {' and '.join(needed)}; found {', '.join(columns)!r:.200}."
        )


def _read_pairs(folder: Path, needs_text: bool) -> list[Utterance]:
    """Read recordings with texts or labels beside them, sorted. A text without a recording is left out (a README).

    Labels cut a recording to utterances, and are preferred to a text of the whole.
    """
    problems: list[str] = []
    names: dict[str, Path] = {}
    utterances: list[Utterance] = []
    labels = _label_files(folder)
    for audio in audio_files(folder):
        name = audio.relative_to(folder).with_suffix("").as_posix()
        if name in names:
            problems.append(f"{audio.name} and {names[name].name} share one text, {name}.txt")
        names[name] = audio
        beside = labels.get(audio.with_suffix(""), [])
        try:
            utterances += _parts(name, audio, beside) if beside else [_whole(name, audio, needs_text)]
        except FileNotFoundError:
            problems.append(f"{audio.relative_to(folder)}: no {name}.txt beside it, nor .srt, .vtt or .TextGrid")
        except UnicodeDecodeError as error:
            problems.append(f"{name}.txt: not UTF-8 ({error})")
        except LabelError as error:
            problems.append(str(error))
    report_problems(folder, problems, "recordings without a text of their own")
    if not names:
        raise CorpusError(
            f"{folder}: no manifest.jsonl, no wav.scp, no recordings with a .txt, .srt, .vtt or .TextGrid beside them."
        )
    return utterances


def _label_files(folder: Path) -> dict[Path, list[Path]]:
    """Path without extension -> files of labels, sorted."""
    found: dict[Path, list[Path]] = {}
    for path in sorted(_files(folder)):
        if path.suffix.lower() in SUFFIXES:
            found.setdefault(path.with_suffix(""), []).append(path)
    return found


def _whole(name: str, audio: Path, needs_text: bool) -> Utterance:
    text = audio.with_suffix(".txt")
    if not needs_text and not text.exists():
        return Utterance(name, audio, "")
    return Utterance(name, audio, text.read_text(encoding="utf-8-sig").strip())


def _parts(name: str, audio: Path, labels: Sequence[Path]) -> list[Utterance]:
    """The utterances that a file of labels cuts a recording to."""
    if len(labels) > 1:
        raise LabelError(f"{audio.name} has {' and '.join(path.name for path in labels)}: keep one of them")
    return [
        Utterance(
            name if i == 1 else f"{name}#{i}", audio, label.text, _length(label), label.speaker, None, label.start
        )
        for i, label in enumerate(read_labels(labels[0]), 1)
    ]


def _length(label: Label) -> float:
    return round(label.end - label.start, 6)  # 1.2 - 1 is 0.19999999999999996
