"""Kaldi data folders (https://kaldi-asr.org/doc/data_prep.html): wav.scp, text, and optional segments and utt2spk."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from asr.corpus import CorpusError, Utterance, report_problems

_Part = tuple[str, float, "float | None"]  # recording, offset (s), duration (s)


def read_kaldi(folder: Path, needs_text: bool = True) -> Iterator[Utterance]:
    """The utterances, in the order of `text`; those without one behind them, if they need none.

    Shell commands in wav.scp are refused, never run. A relative path is looked for in the folder, then, as
    Kaldi does, in the current directory.

    Raises:
        CorpusError: files that are missing, and bad lines, reported together.
    """
    problems: list[str] = []
    recordings = _table(folder / "wav.scp", problems)
    audio = {name: _audio(folder, name, value, problems) for name, value in recordings}
    parts = _parts(folder, audio, problems)
    speakers = dict(_table(folder / "utt2spk", problems)) if (folder / "utt2spk").exists() else {}
    told = needs_text or (folder / "text").exists()
    texts = dict(_table(folder / "text", problems, needs_value=False)) if told else {}
    problems += [f"text: '{name}' has no audio in wav.scp or segments" for name in texts if name not in parts]
    if needs_text:
        problems += [f"'{name}' has no line in text" for name in parts if name not in texts]
    else:
        texts = {**texts, **{name: "" for name in parts if name not in texts}}
    report_problems(folder, problems)
    for name, text in texts.items():
        yield Utterance(name, audio[parts[name][0]], text, parts[name][2], speakers.get(name), None, parts[name][1])


def _table(path: Path, problems: list[str], needs_value: bool = True) -> Iterator[tuple[str, str]]:
    """(first word, rest of the line) of each line; a repeated first word or a missing rest is a problem."""
    if not path.is_file():
        raise CorpusError(f"{path} does not exist. A Kaldi data folder has wav.scp and text.")
    seen: set[str] = set()
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        try:
            name, _, rest = line.decode("utf-8").strip().replace("\t", " ").partition(" ")
        except UnicodeDecodeError as error:
            problems.append(f"{path.name} line {number}: not UTF-8 ({error})")
            continue
        if not name:
            continue
        if name in seen:
            problems.append(f"{path.name} line {number}: '{name}' appears twice")
        if needs_value and not rest.strip():
            problems.append(f"{path.name} line {number}: nothing after '{name}'")
        seen.add(name)
        yield name, rest.strip()


def _audio(folder: Path, name: str, value: str, problems: list[str]) -> Path:
    if value.endswith("|") or value.startswith("|"):
        problems.append(
            f"wav.scp: '{name}' is a shell command, which is never run here ({value!r:.80}):"
            " convert the recordings to files and name those"
        )
        return Path(value)
    inside = folder / value
    return inside if inside.exists() else Path(value)


def _parts(folder: Path, audio: Mapping[str, Path], problems: list[str]) -> dict[str, _Part]:
    """Utterance -> its part of a recording; whole recordings where the folder has no `segments`."""
    if not (folder / "segments").exists():
        return {name: (name, 0.0, None) for name in audio}
    parts: dict[str, _Part] = {}
    for name, value in _table(folder / "segments", problems):
        try:
            parts[name] = _part(value, audio)
        except ValueError as error:
            problems.append(f"segments: '{name}': {error}")
    return parts


def _part(value: str, audio: Mapping[str, Path]) -> _Part:
    fields = value.split()
    if len(fields) != 3:
        raise ValueError(f"expected a recording, a start and an end; found {value!r:.80}")
    recording, start, end = fields[0], float(fields[1]), float(fields[2])
    if recording not in audio:
        raise ValueError(f"the recording '{recording}' is not in wav.scp")
    to_the_end = end == -1  # Kaldi's way of writing it
    if not 0 <= start < (math.inf if to_the_end else end) or end == math.inf:
        raise ValueError(f"expected 0 <= start < end in seconds; found {start} and {end}")
    return recording, start, None if to_the_end else end - start
