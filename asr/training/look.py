"""A look at the data before training: how much there is, of what kind, and what in it looks wrong."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr.audio import SAMPLE_RATE
from asr.corpus import Utterance, stable_fraction, unread_texts
from asr.text import Normalizer
from asr.training.cache import SCALE, AudioCache
from asr.training.columns import Texts
from asr.training.prepare import Problem, Transcripts

HEARD = 20_000  # recordings, spread over the data, whose level is looked at
HEADERS = 2_000  # files whose sample rate is looked at, about
NAMED = 1_000  # findings of a kind that are kept; all are counted
EXTREMES = 3  # shortest and longest utterances that are named
SILENT = 10 ** (-50 / 20)  # full scale is 1: nothing in a recording, by windows of 25 ms, is louder than -50 dB
WINDOW = SAMPLE_RATE // 40
FULL_SCALE = 0.985  # from here on a sample counts as cut off; codecs round what was at 1
CLIPPED = 1e-3  # share of such samples; loud speech without clipping has none to speak of
UNLIKELY = 5.0  # robust standard deviations from the median, in log characters a second
AT_LEAST = math.log(2)  # and no less than twice or half of what is usual
RARE, RARE_SHARE = 5, 0.005  # characters in fewer texts, and in a smaller share of them, are named


@dataclass(frozen=True)
class Part:
    """How much there is of the training or the dev data.

    Args:
        speakers: how many different ones are known.
        unknown_speakers: utterances without one.
        unreadable: utterances whose audio cannot be read.
    """

    utterances: int
    seconds: float
    speakers: int
    unknown_speakers: int
    unreadable: int


@dataclass(frozen=True)
class Look:
    """What was found.

    Args:
        train, dev: sizes; dev is None where there is none.
        rates: sample rate in Hz, or "unknown", -> files of training and dev data, of those that were looked at.
        shortest, longest: (utterance, seconds) of the training data, the most extreme first.
        median_seconds: of the training utterances.
        characters: of the normalised training texts, the most frequent first, with their counts.
        only_in_dev: characters that no training text has.
        rare: character -> an utterance that has it, where hardly any text does.
        words, vocabulary: how many, and how many different ones.
        characters_per_second: median over the training utterances.
        heard: recordings whose level was looked at.
        texts_in_both: dev utterances whose text is that of a training utterance, too.
        counts: kind of finding -> how many.
        findings: the first of each kind, for `look.json`.
    """

    train: Part
    dev: Part | None
    rates: dict[str, int]
    shortest: list[tuple[str, float]]
    longest: list[tuple[str, float]]
    median_seconds: float
    characters: dict[str, int]
    only_in_dev: str
    rare: dict[str, str]
    words: int
    vocabulary: int
    characters_per_second: float
    heard: int
    texts_in_both: int
    counts: Counter[str] = field(default_factory=Counter)
    findings: list[Problem] = field(default_factory=list)

    @property
    def hours(self) -> float:
        """Hours of training data."""
        return self.train.seconds / 3600

    def add(self, findings: Iterable[Problem]) -> None:
        """Note what looks wrong."""
        for found in findings:
            self.counts[found.kind] += 1
            if self.counts[found.kind] <= NAMED:
                self.findings.append(found)

    def to_dict(self) -> dict[str, object]:
        """JSON types."""
        return {**asdict(self), "counts": dict(self.counts)}


@dataclass(frozen=True)
class Data:
    """The utterances of a part, by number.

    Args:
        names: ids.
        texts: normalised.
        cache: audio.
        speakers: known one -> utterances.
        files: of audio, of which sample rates are looked at.
    """

    names: Texts
    texts: Texts
    cache: AudioCache
    speakers: Counter[str]
    files: set[Path]

    @classmethod
    def read(
        cls, utterances: Iterable[Utterance], normalizer: Normalizer, folder: Path, exact: bool, total: int
    ) -> Data:
        """Go through utterances, once, and decode their audio into the cache that training will use.

        Args:
            folder: where names and texts are written; it has to stay as long as they are read.
            exact: see `asr.training.cache.open_cache`.
            total: how many utterances there are, about.
        """
        speakers: Counter[str] = Counter()
        files: set[Path] = set()

        def noted() -> Iterator[Utterance]:
            for each in utterances:
                if each.speaker is not None:
                    speakers[each.speaker] += 1
                if total * stable_fraction(each.audio.name) <= HEADERS:
                    files.add(each.audio)
                yield each

        folder.mkdir()
        found = Transcripts.read(noted(), normalizer, folder, exact)
        return cls(found.names, found.texts, found.cache, speakers, files)

    def part(self) -> Part:
        """How much it is."""
        total = len(self.names)
        seconds = float(self.cache.lengths.sum()) / SAMPLE_RATE
        return Part(total, seconds, len(self.speakers), total - self.speakers.total(), len(self.cache.errors))

    def seconds(self) -> NDArray[np.float64]:
        """(N,) lengths."""
        return self.cache.lengths / SAMPLE_RATE


def look(train: Data, dev: Data | None) -> Look:
    """Measure everything but how well texts fit their audio, for which see `asr.training.suspects`."""
    characters, words, rare, lengths = _count(train)
    seconds = train.seconds()
    order = [int(i) for i in np.argsort(seconds, kind="stable") if seconds[i] > 0]
    speeds = _speeds(lengths, seconds)
    parts = [data for data in (train, dev) if data]
    found = Look(
        train=train.part(),
        dev=dev.part() if dev else None,
        rates=_rates(set.union(*(data.files for data in parts))),
        shortest=[(train.names[i], float(seconds[i])) for i in order[:EXTREMES]],
        longest=[(train.names[i], float(seconds[i])) for i in order[: -EXTREMES - 1 : -1]],
        median_seconds=float(np.median(seconds[order])) if order else 0.0,
        characters=dict(characters.most_common()),
        only_in_dev="".join(sorted(_characters(dev) - set(characters))),
        rare=rare,
        words=words.total(),
        vocabulary=len(words),
        characters_per_second=_usual(speeds),
        heard=sum(len(spread(len(data.names))) for data in parts),
        texts_in_both=_texts_in_both(train, dev),
    )
    found.add(_unusable(parts))
    found.add(_repeated(parts))
    found.add(_levels(parts))
    found.add(_odd_speeds(train, lengths, seconds, speeds))
    return found


def _count(data: Data) -> tuple[Counter[str], Counter[str], dict[str, str], NDArray[np.int64]]:
    """Characters, words, an utterance for each rare character, and the length of each text."""
    characters: Counter[str] = Counter()
    words: Counter[str] = Counter()
    texts_with: Counter[str] = Counter()
    where: dict[str, str] = {}
    lengths = array("q")
    for name, text in zip(data.names, data.texts, strict=True):
        characters.update(text)
        words.update(text.split())
        lengths.append(len(text))
        for character in set(text):
            texts_with[character] += 1
            where.setdefault(character, name)
    limit = min(RARE, RARE_SHARE * len(lengths))
    rare = {character: where[character] for character, count in sorted(texts_with.items()) if count < limit}
    return characters, words, rare, np.array(lengths, np.int64)


def _characters(data: Data | None) -> set[str]:
    return {character for text in data.texts for character in text} if data else set()


def _usual(speeds: NDArray[np.float64]) -> float:
    finite = speeds[np.isfinite(speeds)]
    return float(np.exp(np.median(finite))) if len(finite) else 0.0


def _rates(files: set[Path]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for path in files:
        try:
            counts[str(soundfile.info(path).samplerate)] += 1
        except (soundfile.SoundFileError, OSError, TypeError):  # TypeError: samples without a header, by their name
            counts["unknown"] += 1
    return dict(counts.most_common())


def _unusable(parts: Sequence[Data]) -> Iterator[Problem]:
    for data in parts:
        for i, why in data.cache.errors.items():
            yield Problem(data.names[i], "unreadable audio", why)
        for name, text in zip(data.names, data.texts, strict=True):
            if not text:
                yield Problem(name, "empty text", "nothing is left of the text after normalisation")


def unread(sources: Iterable[Path]) -> Iterator[Problem]:
    """Texts that are not learnt, since subtitles or other labels lie beside them."""
    for source in sources:
        for text, labels in unread_texts(source):
            yield Problem(str(text.relative_to(source)), "text beside labels", f"{labels.name} is read in its place")


def _texts_in_both(train: Data, dev: Data | None) -> int:
    wanted = Counter(text for text in dev.texts if text) if dev else Counter()
    return sum(wanted[text] for text in {text for text in train.texts if text in wanted})


def _repeated(parts: Sequence[Data]) -> Iterator[Problem]:
    """Utterances with the text and the samples of an earlier one; of dev, with those of a training utterance."""
    keys = np.concatenate([_keys(data) for data in parts])
    which = np.repeat(np.arange(len(parts)), [len(data.names) for data in parts])
    starts = np.cumsum([0, *(len(data.names) for data in parts)])
    _, groups, sizes = np.unique(keys, return_inverse=True, return_counts=True)
    readers = [data.cache.reader() for data in parts]
    seen: dict[tuple[int, bytes], tuple[int, str]] = {}
    for i in np.flatnonzero(sizes[groups] > 1):
        part, number = int(which[i]), int(i - starts[which[i]])
        if not parts[part].cache.lengths[number]:
            continue
        samples = np.clip(np.round(readers[part][number] * SCALE), -SCALE, SCALE - 1).astype(np.int16)
        name = parts[part].names[number]
        first = seen.setdefault((int(groups[i]), hashlib.blake2b(samples, digest_size=16).digest()), (part, name))
        if first[0] != part:
            yield Problem(
                name, "in dev and in training", f"text and audio are those of {first[1]}, which is trained on"
            )
        elif first[1] != name:
            yield Problem(name, "repeated", f"text and audio are those of {first[1]}")


def _keys(data: Data) -> NDArray[np.uint64]:
    """(N,) a hash of text and length."""
    keys = np.empty(len(data.names), np.uint64)
    for i, text in enumerate(data.texts):
        content = f"{int(data.cache.lengths[i])} {text}".encode()
        keys[i] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
    return keys


def spread(total: int) -> range:
    """Numbers of the utterances that are listened to: all, or some 20,000 evenly spread."""
    return range(0, total, max(1, -(-total // HEARD)))


def _levels(parts: Sequence[Data]) -> Iterator[Problem]:
    for data in parts:
        reader = data.cache.reader()
        for i in spread(len(data.names)):
            samples = reader[i]
            if not len(samples):
                continue
            if is_silent(samples):
                yield Problem(data.names[i], "silent", f"nothing louder than {_decibels(samples):.0f} dB")
            elif (share := clipped_share(samples)) > CLIPPED:
                yield Problem(data.names[i], "clipped", f"{share:.1%} of the samples are cut off at full scale")


def is_silent(samples: NDArray[np.float32]) -> bool:
    """Whether no window of (S,) samples is loud enough for speech, even if it was recorded very low."""
    return bool(_loudest(samples) < SILENT)


def _loudest(samples: NDArray[np.float32]) -> float:
    """Largest root mean square of a window."""
    whole = samples[: len(samples) // WINDOW * WINDOW] if len(samples) >= WINDOW else samples
    power = np.square(whole.reshape(-1, WINDOW) if len(samples) >= WINDOW else whole[None]).mean(axis=1)
    return float(np.sqrt(power.max()))


def _decibels(samples: NDArray[np.float32]) -> float:
    return 20 * math.log10(max(_loudest(samples), 1e-5))


def clipped_share(samples: NDArray[np.float32]) -> float:
    """Share of (S,) samples that are at full scale."""
    return float(np.mean(np.abs(samples) >= FULL_SCALE))


def _speeds(lengths: NDArray[np.int64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N,) logarithms of characters a second; not finite where there are none of either."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(lengths / seconds)


def _odd_speeds(
    data: Data, lengths: NDArray[np.int64], seconds: NDArray[np.float64], speeds: NDArray[np.float64]
) -> Iterator[Problem]:
    """Utterances with far more or less text than their length suggests."""
    finite = np.isfinite(speeds)
    if not finite.any():
        return
    usual = float(np.median(speeds[finite]))
    spread = 1.4826 * float(np.median(np.abs(speeds[finite] - usual)))
    limit = max(AT_LEAST, UNLIKELY * spread)
    for i in np.flatnonzero(finite & (np.abs(speeds - usual) > limit)):
        kind = "much text for its length" if speeds[i] > usual else "little text for its length"
        usually = f"usual here are {math.exp(usual):.0f} a second"
        yield Problem(data.names[i], kind, f"{lengths[i]} characters in {seconds[i]:.1f} s; {usually}")
