"""Recipes: one small file per corpus, with its facts, how to get and read it, and what differs in training.

A recipe looks for its corpus in the folder that $ASR_CORPORA names (`data/corpora` by default) and downloads
it there from its public home when it is absent. Utterances find their audio by its stem, whatever the
extension, so a corpus that was transcoded works like the original.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from asr import Error
from asr.corpus import CorpusError, Utterance, audio_files, report_problems

NAMES = ("yesno", "digits", "an4", "mini_librispeech", "english")
AGAIN = "Delete the corpus's folder, and it is downloaded again."


@dataclass(frozen=True)
class Recipe:
    """A corpus and what differs in training on it.

    Attributes:
        name: what `scripts/run_recipe.py` calls it.
        read: (corpora folder, options) -> split -> utterances. Downloads what is absent. "train" is trained
            on, "dev" chooses (empty: nothing is chosen); both are always there. The others only give figures.
        settings: keys of the training configuration that differ from its defaults.
        test: the split that the final WER is about; `{option}` in it stands for an option's value.
        licence: of the data.
        description: one line on what is in it.
        hours: of speech in all of it, for people: a number, or what it depends on.
        options: the recipe's own settings, with their defaults.
    """

    name: str
    read: Callable[[Path, Mapping[str, str]], dict[str, list[Utterance]]]
    settings: Mapping[str, object]
    test: str
    licence: str
    description: str
    hours: str
    options: Mapping[str, str] = field(default_factory=dict)

    def test_split(self, options: Mapping[str, str]) -> str:
        """The split that the final WER is about, given the values of all options."""
        return self.test.format(**options)


def find(name: str) -> Recipe:
    """The recipe of that name; Error lists the names there are."""
    if name not in NAMES:
        raise Error(f"there is no recipe '{name}'; there are {', '.join(NAMES)}.")
    return importlib.import_module(f"recipes.{name}").recipe


def corpora_folder() -> Path:
    """Where corpora are looked for and downloaded to: $ASR_CORPORA, by default data/corpora."""
    return Path(os.environ.get("ASR_CORPORA") or "data/corpora")


def audio_by_stem(folder: Path) -> dict[str, Path]:
    """File name without extension -> path, for all audio below a folder; x.sph before x.wav made of it."""
    return {path.stem: path for path in reversed(audio_files(folder))}


def recordings(folder: Path, pattern: str) -> list[tuple[re.Match[str], Path]]:
    """(match, path) of the audio below a folder whose stem matches a pattern as a whole, sorted by stem.

    Raises:
        CorpusError: there is none.
    """
    audio = sorted(audio_by_stem(folder).items())
    found = [(match, path) for stem, path in audio if (match := re.fullmatch(pattern, stem))]
    if not found:
        raise CorpusError(f"{folder}: expected recordings called {pattern}; found none. {AGAIN}")
    return found


def utterances(folder: Path, split: str, rows: Iterable[tuple[str, str, str]]) -> list[Utterance]:
    """Utterances from (id, text, speaker) rows, whose audio lies below the folder and has the id as its stem.

    Raises:
        CorpusError: naming the utterances without audio, or there are no rows.
    """
    audio = audio_by_stem(folder)
    rows = list(rows)
    if not rows:
        raise CorpusError(f"{folder}: expected transcripts; found none. {AGAIN}")
    missing = [name for name, _, _ in rows if name not in audio]
    report_problems(folder, missing, f"{split} utterances without audio")
    return [Utterance(name, audio[name], text, speaker=speaker, split=split) for name, text, speaker in rows]
