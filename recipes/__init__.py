"""Recipes: one small file per corpus, with its facts, how to get and read it, and what differs in training.

A recipe looks for its corpus in the folder that $ASR_CORPORA names (`data/corpora` by default) and downloads
it there from its public home when it is absent. Utterances find their audio by its stem, whatever the
extension, so a corpus that was transcoded works like the original.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr import Error, corpus
from asr.corpus import CorpusError, Utterance, audio_files, report_problems, stable_fraction
from asr.normalizer import Normalizer

NOT_RECIPES = ("__init__", "archive")
NAMES = tuple(sorted(file.stem for file in Path(__file__).parent.glob("*.py") if file.stem not in NOT_RECIPES))
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
        about: options -> which of these attributes are others then, such as the licence.
    """

    name: str
    read: Callable[[Path, Mapping[str, str]], dict[str, list[Utterance]]]
    settings: Mapping[str, object]
    test: str
    licence: str
    description: str
    hours: str
    options: Mapping[str, str] = field(default_factory=dict)
    about: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda options: {}

    def test_split(self, options: Mapping[str, str]) -> str:
        """The split that the final WER is about, given the values of all options."""
        return self.test.format(**options)

    def info(self, options: Mapping[str, str]) -> dict[str, object]:
        """What a model's file says of its data and their licence, given the values of all options."""
        its = replace(self, **self.about(options))
        chosen = ", ".join(f"{name}={value}" for name, value in options.items() if value != self.options[name])
        return {"data": [f"{its.name}{chosen and f' ({chosen})'}: {its.description}"], "licence": its.licence}


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


def utterances(
    folder: Path,
    split: str,
    rows: Iterable[tuple[str, str, str | None]],
    lacks_some: bool = False,
    audio: Mapping[str, Path] | None = None,
) -> list[Utterance]:
    """Utterances from (id, text, speaker) rows, whose audio lies below the folder and has the id as its stem.

    Args:
        folder: of the recordings.
        split: the name that the utterances' split gets.
        rows: in the order of the utterances.
        lacks_some: the corpus is known to lack recordings: their texts are left out, and counted on stderr.
        audio: what `audio_by_stem` gives for the folder, where several parts share it.

    Raises:
        CorpusError: naming the utterances without audio, or there are no rows.
    """
    rows = list(rows)
    if not rows:
        raise CorpusError(f"{folder}: expected transcripts; found none. {AGAIN}")
    audio = audio_by_stem(folder) if audio is None else audio
    missing = [name for name, _, _ in rows if name not in audio]
    if lacks_some and 0 < len(missing) < len(rows):
        print(f"{folder}: {len(missing)} texts without a recording are left out", file=sys.stderr)
        rows = [row for row in rows if row[0] in audio]
    else:
        report_problems(folder, missing, f"{split} utterances without audio")
    return [Utterance(name, audio[name], text, speaker=speaker, split=split) for name, text, speaker in rows]


def from_manifest(folder: Path) -> list[Utterance]:
    """The utterances of a copy that has a manifest.jsonl in place of the corpus's own files; none where it has not."""
    return corpus.read(folder) if (folder / "manifest.jsonl").is_file() else []


# Splits where a corpus has no official ones


def split_by(
    utterances: Iterable[Utterance], key: Callable[[Utterance], str], dev: float = 0.1, test: float = 0.1
) -> dict[str, list[Utterance]]:
    """Split utterances so that no key, such as a speaker, is in two parts; the same on every machine.

    The keys are put in the order of a hash of their own. The first are dev's, the next test's, all others train's.

    Args:
        utterances: in any order, which each part keeps.
        key: what an utterance must share with all others of its part only.
        dev, test: shares of the keys, rounded, but at least one key; 0: no such part.

    Returns: "train", and "dev" and "test" where they were asked for.

    Raises:
        CorpusError: there are too few keys for a training part.
    """
    keyed = [(key(utterance), utterance) for utterance in utterances]
    order = sorted({its for its, _ in keyed}, key=stable_fraction)
    names = []
    for name, share in (("dev", dev), ("test", test)):
        names += [name] * (max(1, round(share * len(order))) if share else 0)
    if len(names) >= len(order):
        raise CorpusError(f"cannot split {', '.join(order) or 'nothing'} into parts: more than {len(names)} are needed")
    of_key = dict(zip(order, names + ["train"] * (len(order) - len(names)), strict=True))
    parts: dict[str, list[Utterance]] = {name: [] for name in ("train", *dict.fromkeys(names))}
    for its, utterance in keyed:
        parts[of_key[its]].append(replace(utterance, split=of_key[its]))
    return parts


def speaker_of(utterance: Utterance) -> str:
    """The speaker, as a key for `split_by`."""
    return str(utterance.speaker)


def halves(dev: Iterable[Utterance], key: Callable[[Utterance], str]) -> dict[str, list[Utterance]]:
    """A dev part in two, for a copy without a test part: one half chooses ("dev"), one gives the figure ("test")."""
    parts = split_by(dev, key, dev=0.5, test=0)
    return {"dev": parts["dev"], "test": [replace(utterance, split="test") for utterance in parts["train"]]}


def unheard(splits: Mapping[str, list[Utterance]]) -> dict[str, list[Utterance]]:
    """The same parts, where speakers read the same sentences: none is both in train and in another part.

    Dev and test give up what is also read in train; one that would be empty then keeps all, and train gives it up. Two
    texts are one sentence if they differ in case and punctuation alone. How many were given up is said on stderr.
    """
    sentence = Normalizer()
    said = {name: [sentence(utterance.text) for utterance in part] for name, part in splits.items()}
    kept = {name: _without(part, said[name], set(said["train"])) or part for name, part in splits.items()}
    asked = {sentence(each.text) for name, part in kept.items() if name != "train" for each in part}
    kept["train"] = _without(splits["train"], said["train"], asked)
    taken = {name: len(part) - len(kept[name]) for name, part in splits.items()}
    if any(taken.values()):
        counts = ", ".join(f"{count} of {len(splits[name])} in {name}" for name, count in taken.items() if count)
        print(f"left out, as their sentences are in another part, too: {counts}", file=sys.stderr)
    return kept


def _without(part: list[Utterance], said: Iterable[str], known: Collection[str]) -> list[Utterance]:
    return [utterance for utterance, sentence in zip(part, said, strict=True) if sentence not in known]
