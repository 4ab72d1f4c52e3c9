"""The look at the data before training: what can be trained on, and what is left out and why."""

from __future__ import annotations

import dataclasses
import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.align import frames_needed
from asr.corpus import Utterance
from asr.features import FeatureConfig
from asr.model import ModelConfig
from asr.text import Normalizer, Units
from asr.training.cache import AudioCache, open_cache
from asr.training.columns import INTEGERS, Ragged, RaggedWriter, Texts, TextWriter, fingerprint, mapped
from asr.training.store import Entry, caches_folder

SHARE_TO_WARN = 0.02  # of the utterances whose text does not fit, or that are noise
LISTENED = 200  # recordings, spread over the data, that are tested for noise
LOUD = 0.2  # root mean square; read speech stays below
LIKE_ITS_NEIGHBOUR = 0.6  # correlation of neighbouring samples; white noise 0, speech mostly above 0.9


@dataclass(frozen=True)
class Example:
    """An utterance that can be trained on.

    Args:
        number: its place in the audio cache.
        id: its name in reports.
        seconds: its length.
        ids: its text as token ids.
        phones: its text as phone ids, where training has a lexicon and they fit into its frames.
    """

    number: int
    id: str
    seconds: float
    ids: tuple[int, ...]
    phones: tuple[int, ...] = ()


class Examples(Sequence[Example]):
    """All that can be trained on, memory-mapped: `find_examples` writes the files, and `write_phones` those of phones.

    Pickling it for another process takes the folder's name only.

    Attributes:
        numbers: (N,) int32, places in the audio cache.
        seconds: (N,) float64, lengths.
    """

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.numbers = np.load(entry.path / "numbers.npy", mmap_mode="r")
        self.seconds = np.load(entry.path / "seconds.npy", mmap_mode="r")
        self._names = Texts(entry.path / "names")
        self._ids = Ragged(entry.path / "ids", INTEGERS)
        has_phones = (entry.path / "phones").exists()
        self._phones = Ragged(entry.path / "phones", INTEGERS) if has_phones else None

    def __reduce__(self) -> tuple[type[Examples], tuple[Entry]]:
        return Examples, (self.entry,)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, i: int) -> Example:
        i = range(len(self))[i]
        return Example(
            int(self.numbers[i]),
            self._names[i],
            float(self.seconds[i]),
            tuple(self._ids[i].tolist()),
            () if self._phones is None else tuple(self._phones[i].tolist()),
        )

    def problems(self) -> Iterator[Problem]:
        """Why the other utterances are left out."""
        with (self.entry.path / "problems.jsonl").open(encoding="utf-8") as file:
            for line in file:
                yield Problem(**json.loads(line))

    def fingerprint(self) -> str:
        """A hash of which utterances they are, their lengths, and their texts as ids."""
        phones = () if self._phones is None else (self._phones.values, self._phones.ends)
        return fingerprint(self.numbers, self.seconds, self._ids.values, self._ids.ends, *phones)

    def content(self) -> str:
        """A hash of all there is in the files."""
        problems = mapped(self.entry.path / "problems.jsonl", np.uint8)
        return fingerprint(self.fingerprint(), self._names.joined.values, self._names.joined.ends, problems)


@dataclass(frozen=True)
class Problem:
    """Why an utterance is left out of training."""

    utterance: str
    kind: str
    detail: str


@dataclass(frozen=True)
class Transcripts:
    """What is said in a list of utterances, memory-mapped.

    Args:
        names: of the utterances.
        texts: normalised.
        cache: audio.
    """

    names: Texts
    texts: Texts
    cache: AudioCache

    @classmethod
    def read(
        cls, utterances: Iterable[Utterance], normalizer: Normalizer, folder: Path, exact: bool = False
    ) -> Transcripts:
        """Go through the utterances, once.

        Args:
            folder: where names and texts are written; it has to stay as long as they are read.
            exact: see `asr.training.cache.open_cache`.
        """
        with TextWriter(folder / "names") as names, TextWriter(folder / "texts") as texts:
            cache = open_cache(_written_down(utterances, normalizer, names, texts), caches_folder(), exact)
        return cls(Texts(folder / "names"), Texts(folder / "texts"), cache)

    def __len__(self) -> int:
        return len(self.texts)


def _written_down(
    utterances: Iterable[Utterance], normalizer: Normalizer, names: TextWriter, texts: TextWriter
) -> Iterator[Utterance]:
    """The same utterances, whose names and texts are written as they go by."""
    for utterance in utterances:
        names.append(utterance.id)
        texts.append(normalizer(utterance.text))
        yield utterance


def find_examples(
    transcripts: Transcripts,
    alphabet: Units,
    model: ModelConfig,
    features: FeatureConfig,
    max_seconds: float,
    folder: Path,
) -> None:
    """Sort utterances into those that can be trained on and those that cannot, and write the files of `Examples`.

    Left out are: unreadable audio, audio longer than `max_seconds`, empty texts, texts with characters outside the
    alphabet, and texts that CTC cannot fit into their frames (its loss would be infinite).
    """
    cache = transcripts.cache
    numbers, seconds = array("i"), array("d")
    with (
        TextWriter(folder / "names") as names,
        RaggedWriter(folder / "ids", INTEGERS) as ids,
        (folder / "problems.jsonl").open("w", encoding="utf-8") as problems,
    ):
        for i, (name, text) in enumerate(zip(transcripts.names, transcripts.texts, strict=True)):
            problem = _audio_problem(cache, i, max_seconds) or _text_problem(text, alphabet)
            if not problem:
                encoded = alphabet.encode(text)
                frames = model.frames(features.frames(int(cache.lengths[i])))
                problem = _fit_problem(encoded, alphabet.kind, frames)
            if problem:
                problems.write(json.dumps(dataclasses.asdict(Problem(name, *problem))) + "\n")
                continue
            numbers.append(i)
            seconds.append(cache.seconds(i))
            names.append(name)
            ids.append(encoded)
    np.save(folder / "numbers.npy", np.array(numbers, np.int32))
    np.save(folder / "seconds.npy", np.array(seconds, np.float64))


def _audio_problem(cache: AudioCache, i: int, max_seconds: float) -> tuple[str, str] | None:
    if i in cache.errors:
        return "unreadable audio", cache.errors[i]
    if cache.seconds(i) > max_seconds:
        return "too long", f"{cache.seconds(i):.1f} s; max_seconds is {max_seconds:g}"
    return None


def _text_problem(text: str, alphabet: Units) -> tuple[str, str] | None:
    if not text:
        return "empty text", "nothing is left of the text after normalisation"
    if unknown := alphabet.unknown(text):
        return "unknown characters", f"{' '.join(map(repr, unknown))} are not in the model's alphabet"
    return None


def _fit_problem(ids: Sequence[int], units: str, frames: int) -> tuple[str, str] | None:
    needed = frames_needed(ids)
    if needed > frames:
        return "text does not fit", f"{len(ids)} {units} need {needed} output frames; there are {frames}"
    return None


def noise_report(good: Sequence[Example], cache: AudioCache) -> Iterator[str]:
    """A line for a person if recordings are noise where speech should be, as wrong byte order makes of it.

    Samples with their bytes swapped are as loud as can be and hardly resemble their neighbours; speech at that level
    does. Of eight corpora at hand it names 9 in 10 of the recordings that were swapped, and none that were not.
    """
    heard = [good[i] for i in range(0, len(good), max(1, len(good) // LISTENED))]
    reader = cache.reader()
    noisy = [example.id for example in heard if is_loud_noise(reader[example.number])]
    if len(noisy) > SHARE_TO_WARN * len(heard):
        yield (
            f"warning: {len(noisy)} of {len(heard)} recordings that were looked at are loud noise, not speech (such as "
            f"{noisy[0]}): listen to them; a wrong byte order or sample format when they were converted does this, and "
            "what is lost so cannot be learnt from"
        )


def is_loud_noise(samples: NDArray[np.float32]) -> bool:
    """Whether (S,) samples are louder than speech is recorded, and each says little of the next."""
    power = float(np.dot(samples, samples))
    return power > LOUD**2 * len(samples) and float(np.dot(samples[1:], samples[:-1])) < LIKE_ITS_NEIGHBOUR * power


def samples_needed(ids: Sequence[int], model: ModelConfig, features: FeatureConfig) -> int:
    """Samples that give as many output frames as CTC needs."""
    return (frames_needed(ids) - 1) * model.subsampling * features.hop_length


def report(problems: Iterable[Problem], total: int, subsampling: int, hop_ms: float, units: str) -> Iterator[str]:
    """Lines for a person: how many utterances are left out, for which reasons, with an example of each."""
    counts: Counter[str] = Counter()
    examples: dict[str, Problem] = {}
    for problem in problems:
        counts[problem.kind] += 1
        examples.setdefault(problem.kind, problem)
    for kind, count in counts.most_common():
        example = examples[kind]
        yield f"left out: {count} of {total} utterances: {kind} (such as {example.utterance}: {example.detail})"
    if counts["text does not fit"] > SHARE_TO_WARN * total and subsampling > 2:
        rate = 1000 / hop_ms / subsampling
        fewer = " or units=subwords, of which a text has fewer," if units == "letters" else ""
        yield (
            f"warning: many texts do not fit their audio at {subsampling}x subsampling ({rate:g} output frames a "
            f"second): set subsampling={subsampling // 2}{fewer} or check that texts and recordings belong together"
        )
