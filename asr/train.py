"""Train an acoustic model: `python -m asr.train DATA... --out DIR [--dev DATA] [--minutes N]`."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error, command, corpus
from asr.corpus import Utterance
from asr.training.config import TrainConfig, parse_settings, short_path

if TYPE_CHECKING:
    from asr.training.workers import Group

# torch takes seconds to import: what needs it is imported when a run begins, so that wrong usage answers at once.


def fit(
    data: Iterable[Utterance],
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
        data: what it learns from, gone through once: a stream of a million is as good as a list. Utterances that cannot
            be used are reported and left out.
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
    from asr.training.job import make_job
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
        job = make_job(data, dev, folder, config, info, strict, group)
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
    parts, devs = zip(*(_look_through(source, "train") for source in options.data), strict=True)
    data = chain.from_iterable(map(corpus.stream, options.data, parts))
    if options.dev:
        dev = corpus.read(options.dev, _look_through(options.dev, "dev")[0])
    else:
        dev = list(chain.from_iterable(devs))
    config = None if options.resume else configure({}, settings)  # before torch: wrong usage answers at once
    info = {"data": [short_path(str(source.resolve())) for source in options.data], "licence": options.licence}
    from asr.training.workers import joined

    with joined() as group:
        config = config or group.from_leader(lambda: _stored_config(options.out).updated(settings))
        model = fit(data, dev, options.out, config, info, options.resume, options.strict, group)
    if group.leads:
        print(model)
    return 0


def _look_through(source: Path, split: str) -> tuple[str | None, list[Utterance]]:
    """Check all of a source, and find which part of it is meant and its dev set.

    Returns: `split`, or None, which means all utterances, where the source has no splits; the utterances of "dev".

    Raises:
        CorpusError: bad lines, or the source has other splits only.
    """
    splits: set[str | None] = set()
    dev = []
    for utterance in corpus.stream(source):
        splits.add(utterance.split)
        if utterance.split == "dev":
            dev.append(utterance)
    if splits == {None}:
        return None, []
    if split not in splits:
        names = ", ".join(sorted(map(str, splits)))
        raise corpus.CorpusError(f"{source}: no utterance has the split {split!r}; it has {names}")
    return split, dev


def _stored_config(out: Path) -> TrainConfig:
    from asr.training.folder import RunError, RunFolder

    try:
        return TrainConfig(**RunFolder(out).read_config()["settings"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{out}/config.json: of another version of asr ({error}); start another run (--out)") from None


if __name__ == "__main__":
    sys.exit(command.run(main))
