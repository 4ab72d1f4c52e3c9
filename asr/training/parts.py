"""Which utterances are learnt from, and which choose the best model: the dev set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from asr import corpus
from asr.corpus import CorpusError, Utterance, stable_fraction

DEV_SHARE = 0.1  # of the utterances, where nothing says what the dev set is
DEV_UTTERANCES = 500  # it needs no more: the 95% interval of 10% WER is then about one point wide to either side
MOST_OF_ALL = 0.3  # a speaker, or a recording, with a larger share of the utterances is needed for training
MOST_UTTERANCES = 3000  # so is one with more utterances: they would be scored many times
FEWEST = 5  # utterances without which there is no dev set


@dataclass
class Held:
    """Which utterances are held out of training, by a hash that stays the same on every machine.

    Args:
        rule: for a person.
        speakers, recordings: all utterances of these; recordings as `recording_key` has them.
        share: all utterances whose id has a stable fraction below this.
    """

    rule: str
    speakers: frozenset[str] = frozenset()
    recordings: frozenset[float] = frozenset()
    share: float = 0.0

    def __contains__(self, utterance: Utterance) -> bool:
        return (
            utterance.speaker in self.speakers
            or (bool(self.recordings) and recording_key(utterance) in self.recordings)
            or (self.share > 0 and stable_fraction(utterance.id) < self.share)
        )


@dataclass(frozen=True)
class Source:
    """A manifest or folder that `asr.train` was given.

    Args:
        prefix: what ids get in front where there are several sources, whose ids may be the same.
        split: what is trained on; None: all of it.
    """

    path: Path
    prefix: str = ""
    split: str | None = None

    def stream(self) -> Iterator[Utterance]:
        """All utterances, of every split.

        Raises:
            CorpusError: bad lines.
        """
        for utterance in corpus.stream(self.path):
            yield replace(utterance, id=self.prefix + utterance.id) if self.prefix else utterance


@dataclass(frozen=True)
class Parts:
    """The training and the dev part of what `asr.train` was given.

    Args:
        sources: whose splits are used.
        dev: chooses the best model; may be empty.
        held: what of the sources is not trained on.
        utterances: how many there are in the sources' splits, those that are held out among them.
    """

    sources: tuple[Source, ...]
    dev: list[Utterance]
    held: Held
    utterances: int

    def train(self) -> Iterator[Utterance]:
        """What is learnt from, read anew each time."""
        return (utterance for utterance in _stream(self.sources) if utterance not in self.held)


@dataclass
class Sizes:
    """Utterances of each speaker and of each recording.

    Attributes:
        unknown: utterances without a speaker.
    """

    speakers: Counter[str] = field(default_factory=Counter)
    recordings: Counter[float] = field(default_factory=Counter)
    unknown: int = 0

    @property
    def total(self) -> int:
        return self.unknown + self.speakers.total()

    def add(self, utterance: Utterance) -> None:
        """Count an utterance."""
        self.recordings[recording_key(utterance)] += 1
        if utterance.speaker is None:
            self.unknown += 1
        else:
            self.speakers[utterance.speaker] += 1


def recording_key(utterance: Utterance) -> float:
    """A number for a recording, by its name and that of its folder, so that it does not change where a corpus moves."""
    return stable_fraction("/".join(utterance.audio.parts[-2:]))


def find_parts(data: Sequence[Path], dev: str | None) -> Parts:
    """Look through all sources.

    Args:
        data: what `asr.corpus.stream` reads; where a source has splits, its "train" is used.
        dev: such a source too, whose "dev" is used if it has splits; "none" for no dev set; None: the split "dev" of
            the data if there is one, else what `hold_out` chooses.

    Raises:
        CorpusError: bad lines, or a source has other splits only.
    """
    sizes = Sizes()
    sources, devs = [], []
    for source in _named(data):
        split, found = _look_through(source, "train", sizes)
        sources.append(replace(source, split=split))
        devs += found
    if dev == "none":
        return Parts(tuple(sources), [], Held("no dev set: the newest model is kept"), sizes.total)
    if dev is not None:
        split, _ = _look_through(Source(Path(dev)), "dev", Sizes())
        return Parts(tuple(sources), corpus.read(dev, split), Held(f"dev: {dev}"), sizes.total)
    if devs:
        return Parts(tuple(sources), devs, Held("dev: as the data's column 'split' says"), sizes.total)
    held = hold_out(sizes)
    found = [each for each in _stream(sources) if each in held]
    if not found or len(found) == sizes.total:  # few utterances of one recording, and chance
        held, found = Held(f"no dev set: {sizes.total} utterances are too few to hold any out"), []
    return Parts(tuple(sources), found, held, sizes.total)


def _named(data: Sequence[Path]) -> Iterator[Source]:
    """The sources, with their names before the ids where there are several: all may have a 001.wav."""
    names: Counter[str] = Counter()
    for path in data:
        name = path.resolve().stem
        names[name] += 1
        again = f"~{names[name]}" * (names[name] > 1)  # train.jsonl of two folders
        yield Source(path, f"{name}{again}/" * (len(data) > 1))


def _stream(sources: Sequence[Source]) -> Iterator[Utterance]:
    for source in sources:
        yield from (each for each in source.stream() if source.split in (None, each.split))


def _look_through(source: Source, split: str, sizes: Sizes) -> tuple[str | None, list[Utterance]]:
    """Check all of a source, and find which part of it is meant and its dev set.

    Args:
        sizes: counts what is trained on.

    Returns: `split`, or None, which means all utterances, where the source has no splits; the utterances of "dev".

    Raises:
        CorpusError: bad lines, or the source has other splits only, or splits for some utterances alone.
    """
    splits: set[str | None] = set()
    dev = []
    for utterance in source.stream():
        splits.add(utterance.split)
        if utterance.split == "dev":
            dev.append(utterance)
        if utterance.split in (None, split):  # None: of a source without splits
            sizes.add(utterance)
    if splits == {None}:
        return None, []
    if None in splits:
        raise CorpusError(
            f"{source.path}: some utterances have a split and others none; "
            "give all of them one (train, dev...), or none"
        )
    if split not in splits:
        names = ", ".join(sorted(map(str, splits)))
        raise CorpusError(f"{source.path}: no utterance has the split {split!r}; it has {names}")
    return split, dev


def hold_out(sizes: Sizes) -> Held:
    """Choose the dev set: about a tenth of the utterances, at most some 500.

    Whole speakers are taken where they are known, in the order of their stable hashes, but for those with more than
    0.3 of all utterances, and never more than half of them. Else whole recordings are taken in the same way, and where
    these are too few or too long, utterances; of a handful none.
    """
    total = sizes.total
    if total < FEWEST:
        return Held("")
    if speakers := _first({name: (stable_fraction(name), size) for name, size in sizes.speakers.items()}, total):
        unknown = f"; {sizes.unknown} utterances of unknown speakers are trained on" if sizes.unknown else ""
        rule = f"dev: {len(speakers)} of {len(sizes.speakers)} speakers, by a stable hash; they are not trained on"
        return Held(rule + unknown, speakers=frozenset(speakers))
    known = "speakers are not known" if not sizes.speakers else "there is one speaker"
    if len(sizes.speakers) > 1:
        known = "the speakers are too few, or one has too much of it, to hold whole ones out"
    warning = f"{known}, so that who speaks in dev is trained on as well: expect more errors with other voices"
    if recordings := _first({key: (key, size) for key, size in sizes.recordings.items()}, total):
        rule = f"dev: {len(recordings)} of {len(sizes.recordings)} recordings, by a stable hash; {warning}"
        return Held(rule, recordings=frozenset(recordings))
    share = min(DEV_SHARE, DEV_UTTERANCES / total)
    rule = f"dev: utterances of the same recordings, which are few or long, by a stable hash; {warning}"
    return Held(rule, share=max(share, 1.5 / total))


def _first(groups: Mapping[object, tuple[float, int]], total: int) -> list[object]:
    """The groups that make up the dev set.

    Args:
        groups: name -> (stable hash, utterances).
        total: utterances of all.
    """
    wanted = min(DEV_SHARE * total, DEV_UTTERANCES)
    most = min(MOST_OF_ALL * total, MOST_UTTERANCES)
    chosen, size = [], 0
    for name, (_, utterances) in sorted(groups.items(), key=lambda group: group[1]):
        if size >= wanted or 2 * len(chosen) + 2 > len(groups):
            break
        if utterances <= most - size:
            chosen.append(name)
            size += utterances
    return chosen
