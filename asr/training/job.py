"""From utterances and settings to all that a worker needs to train."""

from __future__ import annotations

import dataclasses
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from asr import Error, __version__, checkpoint, command
from asr.corpus import Utterance
from asr.features import FeatureConfig
from asr.lexicon import LEAST_KNOWN, Lexicon
from asr.loading import find_model, is_model
from asr.model import ModelConfig
from asr.text import Alphabet, Normalizer, Subwords, Units, units_from_json, units_to_json
from asr.training.cache import AudioCache, open_cache
from asr.training.columns import Texts, fingerprint
from asr.training.config import TrainConfig, short_path
from asr.training.dev import DevSet
from asr.training.folder import RunFolder
from asr.training.initial import unit_settings
from asr.training.noise import KINDS, Sounds, open_sounds, recordings
from asr.training.phones import PhoneTargets, write_phones
from asr.training.prepare import Examples, Transcripts, find_examples, noise_report, report
from asr.training.store import Entry, Store, caches_folder
from asr.training.workers import Group

WHAT = "the table of training data"
TEXTS_FOR_PIECES = 200_000  # subwords are learnt from no more texts, which have to be in memory for it


@dataclass(frozen=True)
class Job:
    """All that a worker needs to train; small when it is pickled, since most of it lies in files.

    Args:
        config: settings.
        model, features, alphabet, normalizer: what the model file will say of itself.
        cache, examples: the training data.
        phones: names of the phones that `Example.phones` counts, blank first; empty without a lexicon.
        lexicon: what they are from.
        sounds: "noise" and "rooms", where there are any: what the training data is mixed with.
        dev: chooses the best model; None keeps the newest.
        out: the run's folder.
        info: where the model comes from, for the model file.
        resume: go on from the run's saved state.
    """

    config: TrainConfig
    model: ModelConfig
    features: FeatureConfig
    alphabet: Units
    normalizer: Normalizer
    cache: AudioCache
    examples: Examples
    phones: tuple[str, ...]
    lexicon: Lexicon | None
    sounds: dict[str, Sounds]
    dev: DevSet | None
    out: Path
    info: dict[str, object]
    resume: bool


def make_job(
    data: Iterable[Utterance],
    dev: Sequence[Utterance],
    folder: RunFolder,
    config: TrainConfig,
    info: Mapping[str, object],
    strict: bool = False,
    group: Group | None = None,
) -> Job:
    """Look at the data, report what is left out, and gather what the workers need.

    Args:
        data: gone through once.
        folder: of the run; it exists.

    Other arguments, and errors, as in `asr.train.fit`.
    """
    group = group or Group()
    resume = group.from_leader(folder.state.is_file)
    if config.patience and not (dev or resume):
        raise command.UsageError(f"patience={config.patience} needs a dev set (--dev) whose score could get better")
    origin = group.from_leader(lambda: _origin(folder, config.init, resume)) if config.init else None
    lexicon = group.from_leader(lambda: _lexicon(folder, config, resume))
    found = _prepare(data, dev, config, origin, lexicon, group)
    _print(found.left_out(config.units))
    if group.leads:
        began_with = {"settings": dataclasses.asdict(config), "data": found.learned(), "dev": found.chosen_by()}
        folder.settle({**began_with, "origin": origin, "licence": info.get("licence")}, resume)
        if lexicon:
            folder.write_lexicon(lexicon)
        folder.write_lines("data_report.jsonl", map(vars, found.examples.problems()))
    if not found.examples or (strict and len(found.examples) < found.total):
        what = f"{len(found.examples)} of {found.total} utterances can be trained on"
        raise Error(f"{what}{', and --strict asks for all' * strict}; {folder.path}/data_report.jsonl says why")
    _check_same(group, found.learned() + found.chosen_by())
    _print(found.summary())
    return Job(
        config,
        found.model,
        found.features,
        found.alphabet,
        found.normalizer,
        found.cache,
        found.examples,
        found.targets.symbols if found.targets else (),
        found.lexicon,
        found.sounds,
        found.dev,
        folder.path,
        _info(config, info, origin, found),
        resume,
    )


@dataclass(frozen=True)
class _Prepared:
    """What the look at the data has found; attributes as in `Job`.

    Args:
        total: utterances, those that are left out among them.
        targets, lexicon: None without a lexicon.
    """

    total: int
    cache: AudioCache
    examples: Examples
    normalizer: Normalizer
    alphabet: Units
    model: ModelConfig
    features: FeatureConfig
    sounds: dict[str, Sounds]
    dev: DevSet | None
    targets: PhoneTargets | None
    lexicon: Lexicon | None

    @property
    def hours(self) -> float:
        """Hours of training data."""
        return float(self.examples.seconds.sum()) / 3600

    def left_out(self, units: str) -> Iterator[str]:
        """Lines for a person on what is left out or looks wrong."""
        yield from report(self.examples.problems(), self.total, self.model.subsampling, self.features.hop_ms, units)
        yield from noise_report(self.examples, self.cache)
        for i, why in (self.dev.cache.errors if self.dev else {}).items():
            yield f"dev: {self.dev.ids[i]} counts as deleted, unreadable audio: {why}"

    def summary(self) -> Iterator[str]:
        """Lines for a person on what is there."""
        tokens = "pieces" if isinstance(self.alphabet, Subwords) else "characters"
        yield f"{len(self.examples)} utterances, {self.hours:.2f} hours, {len(self.alphabet) - 1} {tokens}"
        if self.targets:
            yield from self.targets.report()

    def learned(self) -> str:
        """A hash of what is learnt from, which copies share: recordings, texts and noises."""
        tokens = (self.alphabet.symbols, self.targets.symbols if self.targets else ())
        mixed_with = [(name, each.cache.fingerprint(), each.numbers) for name, each in sorted(self.sounds.items())]
        return fingerprint(self.cache.fingerprint(), tokens, self.examples.fingerprint(), mixed_with)

    def chosen_by(self) -> str:
        """The same for the dev set; empty where there is none."""
        return fingerprint(self.dev.cache.fingerprint(), self.dev.references) if self.dev else ""


def _prepare(
    data: Iterable[Utterance],
    dev: Sequence[Utterance],
    config: TrainConfig,
    origin: Mapping[str, object] | None,
    lexicon: Lexicon | None,
    group: Group,
) -> _Prepared:
    """Decode all audio, choose the tokens, and write what can be trained on into files that workers map."""
    normalizer, features = Normalizer(config.case), FeatureConfig(statistics=config.statistics)
    store = Store(caches_folder())
    with store.draft(WHAT) as draft:
        sounds, transcripts, dev_set = group.host_first(
            lambda: (_open_all_sounds(config), Transcripts.read(data, normalizer, draft), _open_dev(dev))
        )
        alphabet = _units(config, transcripts.texts, origin)
        model = config.model(len(alphabet), features.n_mels)
        folder = draft / "examples"
        folder.mkdir()
        find_examples(transcripts, alphabet, model, features, config.max_seconds, folder)
        targets = write_phones(transcripts, lexicon, model, features, folder) if lexicon else None
        if targets and targets.known < LEAST_KNOWN:
            _check_chosen(config, targets.known)
            targets = lexicon = None
        model = dataclasses.replace(model, phones=len(targets.symbols) if targets else 0)
        entry = store.keep(folder, f"{Examples(Entry(folder)).content()}.examples")
    examples, total = Examples(entry), len(transcripts)
    return _Prepared(
        total,
        transcripts.cache,
        examples,
        normalizer,
        alphabet,
        model,
        features,
        sounds,
        dev_set,
        targets,
        lexicon,
    )


def _lexicon(folder: RunFolder, config: TrainConfig, resume: bool) -> Lexicon | None:
    """By what phones are learnt, if they are. A run that goes on has kept it, and needs no other file for it."""
    if not (config.lexicon and config.phone_weight):
        return None
    kept = folder.read_lexicon() if resume else None
    return kept or _open_lexicon(config.lexicon, Normalizer(config.case))


def _open_lexicon(name: str, normalizer: Normalizer) -> Lexicon:
    """The lexicon of a model that has one, or a dictionary."""
    if not is_model(name):
        return Lexicon.read(name, normalizer)
    if (found := checkpoint.load(find_model(name)).lexicon) is None:
        raise Error(f"lexicon={name}: that model has none; name a dictionary, or a model that was trained with one")
    return found


def _check_chosen(config: TrainConfig, known: float) -> None:
    """A lexicon that does not fit may be that of the model to start from; none that somebody has asked for."""
    why = f"the lexicon {short_path(config.lexicon)} has {known:.0%} of the words of the texts"
    if config.lexicon != config.init:
        raise Error(f"{why}; name one of their language, or none")
    _print([f"no phones are learnt: {why}"])


def check_readable(config: TrainConfig) -> None:
    """See that the sizes fit one another, and that the lexicon, noises and rooms that are set can be read.

    Raises:
        asr.Error: says which setting is wrong.
    """
    config.model(2, FeatureConfig().n_mels)
    try:
        FeatureConfig(statistics=config.statistics)
    except Error as error:
        raise command.UsageError(str(error)) from None
    if config.lexicon:
        _open_lexicon(config.lexicon, Normalizer(config.case))
    for setting in KINDS:
        if source := getattr(config, setting):
            recordings(setting, Path(source))


def _open_all_sounds(config: TrainConfig) -> dict[str, Sounds]:
    opened = {setting: open_sounds(setting, getattr(config, setting)) for setting in KINDS}
    return {setting: sounds for setting, sounds in opened.items() if sounds}


def _open_dev(dev: Sequence[Utterance]) -> DevSet | None:
    return DevSet.of(dev, open_cache(dev, caches_folder(), exact=True)) if dev else None


def _origin(folder: RunFolder, init: str, resume: bool) -> dict[str, object]:
    """Of the model to start from: name, data, licence and alphabet. A run that goes on needs its file no more."""
    if resume:
        return folder.read_config()["origin"]
    start = checkpoint.load(find_model(init))
    known = {name: start.info[name] for name in ("data", "licence", "init") if name in start.info}
    return {"model": short_path(init), **known, "alphabet": units_to_json(start.alphabet)}


def _units(config: TrainConfig, texts: Texts, origin: Mapping[str, object] | None) -> Units:
    """The tokens of a run: those of the model to start from, and what they lack, if it has the units that are set.

    Args:
        texts: the training texts, normalised.
    """
    letters = Alphabet.from_texts(texts)
    if origin:
        known = units_from_json(origin["alphabet"])
        if all(getattr(config, name) == value for name, value in unit_settings(known).items()):
            return known.extended(letters)
    if config.units == "letters":
        return letters
    step = -(-len(texts) // TEXTS_FOR_PIECES)
    return Subwords.from_texts((texts[i] for i in range(0, len(texts), step)), config.pieces).extended(letters)


def _check_same(group: Group, found: str) -> None:
    """Make sure that all hosts have found the same data: each would train another model."""
    if group.agreed(found) != found:
        raise Error(
            f"{platform.node()}: recordings, texts or noises are not those of the leading worker (rank 0); copy the "
            "same files to all hosts"
        )


def _info(
    config: TrainConfig, info: Mapping[str, object], origin: Mapping[str, object] | None, found: _Prepared
) -> dict[str, object]:
    """What the model file says of its origin."""
    settings = dataclasses.asdict(config)
    settings |= {name: short_path(settings[name]) for name in ("init", "lexicon", *KINDS)}
    start = {"init": {name: value for name, value in origin.items() if name != "alphabet"}} if origin else {}
    counts = {"hours": round(found.hours, 3), "utterances": len(found.examples)}
    return {"asr": __version__, **info, **start, **counts, "settings": settings}


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
