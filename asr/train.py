"""Train an acoustic model: `python -m asr.train DATA... --out DIR [--dev DATA] [--minutes N]`.

The command looks at the data first (`asr.training.look`), holds a dev set out where there is none (`parts`), chooses
what is not set (`plan`), trains (`fit`), and makes a language model and figures (`after`). Recipes use `fit` alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error, command, load
from asr.corpus import Utterance
from asr.training.config import TrainConfig, parse_settings, short_path
from asr.training.parts import Parts, find_parts

if TYPE_CHECKING:
    from asr.text import Units
    from asr.training.folder import RunFolder
    from asr.training.look import Data, Look
    from asr.training.suspects import Suspects
    from asr.training.workers import Group

# Minutes of audio that are compared with their texts for a minute of training: a few seconds' work.
AUDIO_A_MINUTE = 5.0

TEXTS_FOR_CASE = 10_000  # that tell which letters are a pair
LENGTHS = ("minutes", "steps", "epochs")  # settings that say how long to train
FROM_MODEL = (  # settings that the model to start from gives: see `asr.training.initial.sizes`
    *("subsampling", "channels", "layers", "hidden", "cell", "bidirectional", "norm", "phone_layer", "statistics"),
    *("units", "pieces", "case", "lexicon"),
)

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
        asr.Error: nothing to train on, or not all where `strict` asks for it, a folder that holds another run or files
            that a run would replace, or training that cannot go on.
    """
    from asr.training.folder import RunFolder
    from asr.training.job import make_job
    from asr.training.loop import train
    from asr.training.workers import Group, launch, take_part, under_torchrun, worker_count

    group = group or Group()
    folder = RunFolder(out)
    if group.leads:
        out.mkdir(parents=True, exist_ok=True)
    _check_folder(folder, resume, group)
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


@contextmanager
def alone_in(folder: RunFolder, resume: bool, group: Group) -> Iterator[None]:
    """While it lasts, no other command trains in a run's folder, in which there is nothing that must not be replaced.

    Raises:
        asr.Error: there is, or another command trains there already.
    """
    with folder.alone() if group.leads else nullcontext():
        _check_folder(folder, resume, group)
        yield


def _check_folder(folder: RunFolder, resume: bool, group: Group) -> None:
    if not group.from_leader(folder.state.is_file):
        group.from_leader(folder.check_free)
    elif not resume:
        raise Error(f"{folder.path} holds a run already; go on with it (--resume) or choose another folder (--out)")


def configure(
    given: Mapping[str, object], chosen: Mapping[str, object], kept: Mapping[str, object] | None = None
) -> TrainConfig:
    """The defaults, changed by what a recipe gives, by the model to start from, by what a user chooses.

    That model gives its sizes and, if it has one, its lexicon. Where a user chooses how long to train, by whatever of
    `LENGTHS`, what a recipe gives of that does not count.

    Args:
        kept: the settings of a run that has begun, and needs the model to start from no more.

    Raises:
        asr.Error: no such setting, a value that it cannot have, or no such model.
    """
    if any(name in chosen for name in LENGTHS):
        given = {name: value for name, value in given.items() if name not in LENGTHS}
    config = TrainConfig().updated(given)
    init = {**given, **chosen}.get("init")
    if init and kept:
        config = config.updated({name: kept[name] for name in FROM_MODEL if name in kept})
    elif init:
        from asr import checkpoint
        from asr.loading import find_model
        from asr.training.initial import sizes

        start = checkpoint.load(find_model(str(init)))
        config = config.updated({**sizes(start), **({"lexicon": str(init)} if start.lexicon else {})})
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
        help="manifests (.jsonl, .csv, .tsv) or folders (audio with .txt, .srt, .vtt or .TextGrid beside, or Kaldi); "
        "of a manifest with splits the part 'train' is used",
    )
    arguments.add_argument("--out", required=True, type=Path, help="folder of the run: the model, a log, checkpoints")
    arguments.add_argument(
        "--dev",
        help="manifest or folder that chooses the best model, or none; without it the part 'dev' of DATA, or else a "
        "tenth of it, by speakers where they are known",
    )
    arguments.add_argument(
        "--init",
        help="model to start from, by name or path, or none (default: en, where it writes all letters of the texts)",
    )
    arguments.add_argument(
        "--minutes",
        type=float,
        help="how long to train, in minutes of wall-clock time (default: by the hours of audio)",
    )
    arguments.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting that shall not be chosen by itself"
    )
    arguments.add_argument(
        "--lm",
        choices=("auto", "none"),
        default="auto",
        help="make a language model of the training texts, and keep it if it helps on dev (default), or none",
    )
    arguments.add_argument("--licence", help="of the data, kept in the model file (default: unknown)")
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
    if settings.get("init") == "none":
        settings["init"] = ""
    parts = find_parts(options.data, options.dev)
    wanted = None if options.resume else configure({}, settings)  # before torch: wrong usage answers at once
    from asr.training.after import check_finishing, finish
    from asr.training.folder import RunFolder
    from asr.training.job import check_readable
    from asr.training.workers import joined, leave

    if wanted:
        check_readable(wanted)  # before the data is looked at, which may take long
    folder = RunFolder(options.out)
    inputs = [*options.data, options.dev, *(settings.get(name) for name in ("init", "lexicon", "noise", "rooms"))]
    with joined() as group, alone_in(folder, options.resume, group):
        group.from_leader(lambda: folder.check_apart(inputs))
        licence = options.licence or "unknown"
        if options.resume:
            config = group.from_leader(lambda: _stored_config(options.out).updated(settings))
            licence = group.from_leader(lambda: options.licence or folder.read_config().get("licence") or licence)
            group.from_leader(lambda: check_finishing(folder))
        else:
            config = group.from_leader(lambda: _looked_at(parts, folder, settings, group))
        info = {"data": [short_path(str(source.resolve())) for source in options.data], "licence": licence}
        fit(parts.train(), parts.dev, options.out, config, info, options.resume, options.strict, group)
    if group.leads:
        finish(folder, parts.train, parts.dev, config.init, options.lm == "auto")
        print(folder.model)
    if group.size > 1:  # torchrun has started it
        leave(0)
    return 0


def _looked_at(parts: Parts, folder: RunFolder, settings: Mapping[str, object], group: Group) -> TrainConfig:
    """Look at the data, print what was found, keep it as look.json, and choose what is not set."""
    from asr.text import Normalizer
    from asr.training.look import Data, look, unread
    from asr.training.page import page
    from asr.training.plan import make_plan, usual_case
    from asr.training.store import Store, caches_folder
    from asr.training.workers import worker_count

    workers = worker_count(group, int(settings.get("workers", 0)))
    case = configure({}, settings).case  # that of the model to start from, if there is one
    if case == TrainConfig.case and "case" not in settings:
        case = usual_case(each.text for each in islice(parts.train(), TEXTS_FOR_CASE))
    normalizer = Normalizer(case)
    with Store(caches_folder()).draft("a look at the data") as draft:
        train = Data.read(parts.train(), normalizer, draft / "train", False, parts.utterances)
        dev = Data.read(parts.dev, normalizer, draft / "dev", True, len(parts.dev)) if parts.dev else None
        found = look(train, dev)
        found.add(unread(source.path for source in parts.sources))
        known, sizes = _shipped_model()
        plan = make_plan(found, settings, workers, known, sizes)
        if case == "lower-turkish":
            plan.choose(settings, "the texts have ı and İ, as Turkish and Azerbaijani do", case=case)
        config = configure(plan.settings, settings)
        seconds = 60 * AUDIO_A_MINUTE * (config.minutes or 4)
        suspects = _suspects(found, [data for data in (train, dev) if data], seconds) if known else None
    if suspects:
        found.add(suspects.found)
    folder.path.mkdir(parents=True, exist_ok=True)
    chosen = {"split": parts.held.rule, "chosen": plan.settings, "reasons": plan.reasons}
    folder.write_text("look.json", json.dumps(found.to_dict() | chosen, indent=2, ensure_ascii=False) + "\n")
    print(page(found, suspects, parts.held.rule, plan.reasons), file=sys.stderr, flush=True)
    return config


def _shipped_model() -> tuple[Units | None, dict[str, object]]:
    """Tokens and sizes of the model that ships; None where it is missing."""
    from asr import checkpoint
    from asr.loading import find_model
    from asr.training.initial import sizes
    from asr.training.plan import SHIPPED

    try:
        stored = checkpoint.load(find_model(SHIPPED))
    except Error:
        return None, {}
    return stored.alphabet, sizes(stored)


def _suspects(found: Look, data: Sequence[Data], seconds: float) -> Suspects | None:
    """What the model that ships hardly believes, where it writes all letters of the texts."""
    from asr.training.plan import SHIPPED, unknown_letters
    from asr.training.suspects import find_suspects

    recognizer = load(SHIPPED, lm="none")
    if unknown_letters(found.characters, recognizer.alphabet):
        return None
    return find_suspects(recognizer, data, seconds)


def _stored_config(out: Path) -> TrainConfig:
    from asr.training.folder import RunError, RunFolder

    try:
        return TrainConfig(**RunFolder(out).read_config()["settings"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{out}/config.json: of another version of asr ({error}); start another run (--out)") from None


if __name__ == "__main__":
    sys.exit(command.run(main))
