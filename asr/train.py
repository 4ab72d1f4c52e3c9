"""Train an acoustic model: `python -m asr.train DATA... --out DIR [--dev DATA] [--minutes N]`."""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error, __version__, command, corpus
from asr.corpus import Utterance
from asr.training.config import TrainConfig, parse_settings

if TYPE_CHECKING:
    from asr.text import Units
    from asr.training.folder import RunFolder
    from asr.training.loop import Job
    from asr.training.workers import Group

# torch takes seconds to import: what needs it is imported when a run begins, so that wrong usage answers at once.


def fit(
    data: Sequence[Utterance],
    dev: Sequence[Utterance],
    out: Path,
    config: TrainConfig,
    info: Mapping[str, object],
    resume: bool = False,
    strict: bool = False,
    group: Group | None = None,
) -> Path:
    """Train a model and keep the best by dev WER.

    Args:
        data: what it learns from. Utterances that cannot be used are reported and left out.
        dev: what chooses; empty keeps the newest model.
        out: the run's folder, see `asr.training.folder`.
        config: settings.
        info: what the model file says of its origin, such as data and licence; JSON types.
        resume: go on with the run in `out` where it has got so far as to save its state.
        strict: do not train at all if any utterance cannot be trained on.
        group: see `asr.training.workers.joined`. Only the leading worker reads and writes in `out`, which the others
            need not see; all need the recordings.

    Returns: the model file.

    Raises:
        asr.Error: nothing to train on, or not all where `strict` asks for it, a folder that holds another run, or
            training that cannot go on.
    """
    from asr.training.folder import RunFolder
    from asr.training.loop import train
    from asr.training.workers import Group, launch, take_part, under_torchrun, worker_count

    group = group or Group()
    folder = RunFolder(out)
    if group.leads:
        out.mkdir(parents=True, exist_ok=True)
    if group.from_leader(folder.state.is_file) and not resume:
        raise Error(f"{out} holds a run already; go on with it (--resume) or choose another folder (--out)")
    config = dataclasses.replace(config, workers=worker_count(group, config.workers))
    with group.said_once():
        job = prepare(data, dev, folder, config, info, strict, group)
    if under_torchrun():
        take_part(group, train, job)
    else:
        launch(config.workers, train, job)
    progress = group.from_leader(folder.progress)
    if group.stop.is_set():
        raise KeyboardInterrupt
    if not progress.finished:
        raise Error(f"{out}: training was stopped after step {progress.step} of {progress.steps}; --resume goes on")
    return folder.model


def configure(given: Mapping[str, object], chosen: Mapping[str, object]) -> TrainConfig:
    """The defaults, changed by what a recipe gives, by the sizes of the model to start from, by what a user chooses.

    Raises:
        asr.Error: no such setting, a value that it cannot have, or no such model.
    """
    config = TrainConfig().updated(given)
    if init := {**given, **chosen}.get("init"):
        from asr import checkpoint
        from asr.recognizer import find_model
        from asr.training.initial import sizes

        config = config.updated(sizes(checkpoint.load(find_model(str(init)))))
    return config.updated(chosen)


def prepare(
    data: Sequence[Utterance],
    dev: Sequence[Utterance],
    folder: RunFolder,
    config: TrainConfig,
    info: Mapping[str, object],
    strict: bool = False,
    group: Group | None = None,
) -> Job:
    """Look at the data, report what is left out, and gather what the workers need; arguments and errors as in `fit`."""
    from asr.features import FeatureConfig
    from asr.text import Normalizer
    from asr.training.cache import caches_folder, fingerprint, open_cache
    from asr.training.dev import DevSet
    from asr.training.loop import Job
    from asr.training.noise import KINDS, open_sounds
    from asr.training.phones import Lexicon, PhoneTargets, with_phones
    from asr.training.prepare import examples, noise_report, report
    from asr.training.workers import Group

    group = group or Group()
    resume = group.from_leader(folder.state.is_file)
    if config.patience and not (dev or resume):
        raise command.UsageError(f"patience={config.patience} needs a dev set (--dev) whose score could get better")
    origin = group.from_leader(lambda: _origin(folder, config.init, resume)) if config.init else None
    sounds, cache, dev_cache = group.host_first(
        lambda: (
            {name: found for name in KINDS if (found := open_sounds(name, getattr(config, name)))},
            open_cache(data, caches_folder()),
            open_cache(dev, caches_folder(), exact=True) if dev else None,
        )
    )
    normalizer, features = Normalizer(), FeatureConfig(statistics=config.statistics)
    alphabet = _units(config, [normalizer(utterance.text) for utterance in data], origin)
    model = config.model(len(alphabet), features.n_mels)
    good, problems = examples(data, cache, normalizer, alphabet, model, features, config.max_seconds)
    left_out = report(problems, len(data), config.subsampling, features.hop_ms, config.units)
    for line in (*left_out, *noise_report(good, cache)):
        print(line, file=sys.stderr)
    targets = None
    if config.lexicon:
        lexicon = Lexicon.read(config.lexicon, normalizer)
        targets = PhoneTargets.of((normalizer(data[example.number].text) for example in good), lexicon)
        good = with_phones(good, targets, cache, model, features)
    dev_set = DevSet.of(dev, dev_cache) if dev_cache else None
    for i, why in (dev_set.cache.errors if dev_set else {}).items():
        print(f"dev: {dev[i].id} counts as deleted, unreadable audio: {why}", file=sys.stderr)
    settings = dataclasses.asdict(config)
    mixed_with = [(name, fingerprint(found.cache, found.numbers)) for name, found in sorted(sounds.items())]
    learned = fingerprint(cache, [(example.number, example.ids, example.phones) for example in good] + mixed_with)
    chosen_by = fingerprint(dev_set.cache, dev_set.references) if dev_set else ""
    if group.leads:
        folder.settle({"settings": settings, "data": learned, "dev": chosen_by, "origin": origin}, resume)
        folder.write_lines("data_report.jsonl", map(dataclasses.asdict, problems))
    if not good or (strict and problems):
        found = f"{len(good)} of {len(data)} utterances can be trained on"
        raise Error(f"{found}{', and --strict asks for all' * strict}; {folder.path}/data_report.jsonl says why")
    hours = sum(example.seconds for example in good) / 3600
    found = [(name, sounds[name].numbers, sounds[name].cache.lengths) for name in sorted(sounds)]
    found += [(dev_set.references, dev_set.cache.lengths)] if dev_set else []
    _check_same(group, [alphabet.symbols, *((each.number, each.seconds, each.ids) for each in good), *found])
    tokens = "pieces" if config.units == "subwords" else "characters"
    print(f"{len(good)} utterances, {hours:.2f} hours, {len(alphabet) - 1} {tokens}", file=sys.stderr)
    if targets:
        print(*targets.report(lexicon), sep="\n", file=sys.stderr)
    if origin:
        info = {**info, "init": {name: value for name, value in origin.items() if name != "alphabet"}}
    settings |= {name: _short(settings[name]) for name in ("init", "lexicon", *KINDS)}
    info = {"asr": __version__, **info, "hours": round(hours, 3), "utterances": len(good), "settings": settings}
    phones = targets.symbols if targets else ()
    return Job(
        config, model, features, alphabet, normalizer, cache, good, phones, sounds, dev_set, folder.path, info, resume
    )


def _check_same(group: Group, found: object) -> None:
    """Make sure that all hosts have found the same data: each would train another model."""
    digest = hashlib.blake2b(repr(found).encode()).hexdigest()
    if group.agreed(digest) != digest:
        raise Error(
            f"{platform.node()}: recordings, texts or noises are not those of the leading worker (rank 0); copy the "
            "same files to all hosts"
        )


def _origin(folder: RunFolder, init: str, resume: bool) -> dict[str, object]:
    """Of the model to start from: name, data, licence and alphabet. A run that goes on needs its file no more."""
    from asr import checkpoint
    from asr.recognizer import find_model
    from asr.text import units_to_json

    if resume:
        return folder.read_config()["origin"]
    start = checkpoint.load(find_model(init))
    known = {name: start.info[name] for name in ("data", "licence", "init") if name in start.info}
    return {"model": _short(init), **known, "alphabet": units_to_json(start.alphabet)}


def _units(config: TrainConfig, texts: Sequence[str], origin: Mapping[str, object] | None) -> Units:
    """The tokens of a run: those of the model to start from, and what they lack, if it has the units that are set.

    Args:
        texts: the training texts, normalised.
    """
    from asr.text import Alphabet, Subwords, units_from_json
    from asr.training.initial import unit_settings

    letters = Alphabet.from_texts(texts)
    if origin:
        known = units_from_json(origin["alphabet"])
        if all(getattr(config, name) == value for name, value in unit_settings(known).items()):
            return known.extended(letters)
    return letters if config.units == "letters" else Subwords.from_texts(texts, config.pieces)


def _short(path: str) -> str:
    """The end of a path, for model files: where it lies on somebody's machine is nobody else's business."""
    return "/".join(Path(path).parts[-2:])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m asr.train",
        description="Train an acoustic model on recordings with their texts.",
        epilog="settings for --set, with their defaults: "
        + ", ".join(f"{name}={value}" for name, value in dataclasses.asdict(TrainConfig()).items()),
    )
    arguments.add_argument(
        "data",
        nargs="+",
        type=Path,
        help="manifests (.jsonl, .csv, .tsv) or folders (audio with .txt beside, or Kaldi); of a manifest with splits "
        "the part 'train' is used",
    )
    arguments.add_argument("--out", required=True, type=Path, help="folder of the run: the model, a log, checkpoints")
    arguments.add_argument(
        "--dev",
        type=Path,
        help="manifest or folder that chooses the best model; without it the part 'dev' of DATA, if there is one",
    )
    arguments.add_argument("--init", help="model to start from, by name or path, such as en")
    arguments.add_argument("--minutes", type=float, help="how long to train, in minutes of wall-clock time")
    arguments.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a setting")
    arguments.add_argument("--licence", default="unknown", help="of the data, kept in the model file")
    arguments.add_argument("--strict", action="store_true", help="do not train if any utterance cannot be trained on")
    arguments.add_argument("--resume", action="store_true", help="go on with the run in --out, with its settings")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    settings = parse_settings(options.set)
    for name in ("init", "minutes"):
        if (value := getattr(options, name)) is not None:
            settings[name] = value
    sources = [(source, corpus.read(source)) for source in options.data]
    data = [utterance for source in sources for utterance in _named_split(*source, "train")]
    if options.dev:
        dev = _named_split(options.dev, corpus.read(options.dev), "dev")
    else:
        dev = [utterance for _, utterances in sources for utterance in utterances if utterance.split == "dev"]
    config = None if options.resume else configure({}, settings)  # before torch: wrong usage answers at once
    info = {"data": [_short(str(source.resolve())) for source in options.data], "licence": options.licence}
    from asr.training.workers import joined

    with joined() as group:
        config = config or group.from_leader(lambda: _stored_config(options.out).updated(settings))
        model = fit(data, dev, options.out, config, info, options.resume, options.strict, group)
    if group.leads:
        print(model)
    return 0


def _named_split(source: Path, utterances: list[Utterance], split: str) -> list[Utterance]:
    """The utterances of a split; where the source has no splits, all of them.

    Raises:
        CorpusError: the source has other splits only.
    """
    found = {utterance.split for utterance in utterances}
    if found == {None}:
        return utterances
    if split not in found:
        names = ", ".join(sorted(map(str, found)))
        raise corpus.CorpusError(f"{source}: no utterance has the split {split!r}; it has {names}")
    return [utterance for utterance in utterances if utterance.split == split]


def _stored_config(out: Path) -> TrainConfig:
    from asr.training.folder import RunError, RunFolder

    try:
        return TrainConfig(**RunFolder(out).read_config()["settings"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{out}/config.json: of another version of asr ({error}); start another run (--out)") from None


if __name__ == "__main__":
    sys.exit(command.run(main))
