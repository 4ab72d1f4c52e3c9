"""The folder of a training run: settings, log, the best model, and the state from which it resumes.

look.json           what was found in the data, and what was chosen for it; of `asr.train` alone
config.json         settings, fingerprints of the data, the fixed number of steps
lexicon.z           how words are said, as the model's file has it, where phones are learnt
data_report.jsonl   utterances that were left out of training, and why
log.jsonl           the share of padding, then one object for every line of progress and every dev score
dev.jsonl           the best model's dev texts beside their references
model.safetensors   the best model by dev WER; without a dev set the newest
events.out.*        what the log holds, for TensorBoard
curves.png          loss and dev scores of a finished run
state.safetensors   weights, their average, optimizers and place in the schedule, after the last evaluation or where it
                    was stopped

`asr.training.after` adds more. Where there is a state, there is a run; elsewhere none of these names may be taken.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from asr import Error, command
from asr.checkpoint import CheckpointError, read_tensors, write_tensors
from asr.files import CAN_LOCK, lock, replacing
from asr.lexicon import Lexicon
from asr.training.config import TrainConfig
from asr.training.workers import Group

VERSION = 4  # goes up when the same settings, data and seed train another model than before
EVENT_FILES = "events.out.tfevents.*"  # as TensorBoard names them
STATE, MODEL, LEXICON = "state.safetensors", "model.safetensors", "lexicon.z"
WRITTEN = (  # by a run, its state apart
    *("look.json", "config.json", LEXICON, "data_report.jsonl", "log.jsonl", EVENT_FILES),
    *("dev.jsonl", MODEL, "curves.png", "dev_manifest.jsonl", "model.lm", "report.html", "result.json"),
)
SAVED = "saved"  # the field of config.json that says that there has been a state
MADE_LM = "language_model"  # the one that says that the run has made a model.lm


class RunError(Error):
    """A run folder that cannot be used; says what to do."""


@dataclass(frozen=True)
class Progress:
    """A place in the schedule.

    Args:
        steps: length of the schedule.
        step: updates that are done.
        epoch, batch: the next batch is number `batch` of epoch `epoch`.
        best: dev WER and CER of the best model so far, as fractions; None before the first.
        stale: evaluations since the best one.
        early: training has ended before the last step, because no better model had come for long.
        seconds: wall-clock seconds of training so far.
        skipped: steps that changed nothing, since their loss was not finite.
    """

    steps: int
    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: tuple[float, float] | None = None
    stale: int = 0
    early: bool = False
    seconds: float = 0.0
    skipped: int = 0

    @property
    def finished(self) -> bool:
        """Nothing is left to train."""
        return self.early or self.step >= self.steps


class RunFolder:
    """Reads and writes the files of a run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / MODEL
        self.language_model = self.model.with_suffix(".lm")
        self.state = path / STATE

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While it lasts, no other command trains in this folder, which is made where there is none.

        Where there are no locks, as on Windows and some network drives, nothing is done about it.

        Raises:
            RunError: another command does already.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if not CAN_LOCK:
            yield
            return
        handle = os.open(self.path, os.O_RDONLY)
        try:
            if lock(handle) is False:
                raise RunError(
                    f"{self.path}: another command trains there now; wait until it has ended, or choose another "
                    "folder (--out)"
                )
            yield
        finally:
            os.close(handle)

    def check_free(self, more: Iterable[str] = ()) -> None:
        """See that a run that begins here replaces nothing, but for what one has left that never saved a state.

        Args:
            more: names besides those of `WRITTEN`.

        Raises:
            RunError: names what it would replace.
        """
        if self._begun() and not self._has_saved():
            return
        if found := [path for path in self._there((*WRITTEN, *more)) if not self._is_look(path)]:
            names = ", ".join(path.name for path in found)
            raise RunError(
                f"{self.path} has files that a run would replace, and none that it could go on from ({STATE}): "
                f"{names}; choose another folder (--out), or move them away"
            )

    def check_apart(self, inputs: Sequence[Path | str | None]) -> None:
        """See that what a run reads is nothing that it writes.

        Raises:
            asr.command.UsageError: one of the files is.
        """
        for path in self._there((STATE, *WRITTEN)):
            command.check_apart(path, inputs)

    def check_language_model(self) -> None:
        """See that a language model beside the model is the run's own, which it may replace.

        Raises:
            RunError: it is not.
        """
        if self.language_model.is_file() and MADE_LM not in self.read_config():
            raise RunError(
                f"{self.language_model}: this run did not make it, and would replace it at its end; move it away first"
            )

    def _there(self, names: Iterable[str]) -> list[Path]:
        return [path for name in names for path in sorted(self.path.glob(name))]

    def _has_saved(self) -> bool:
        """Whether a run that began here has ever saved its state."""
        return (self.path / "config.json").is_file() and SAVED in self.read_config()

    def _begun(self) -> bool:
        return self._has_field("config.json", "settings")

    def _is_look(self, path: Path) -> bool:
        """Whether it is all that a command has left that was stopped after its look at the data."""
        return path.name == "look.json" and self._has_field(path.name, "reasons")

    def _has_field(self, name: str, field: str) -> bool:
        try:
            found = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError):
            return False
        return isinstance(found, dict) and field in found

    def write_text(self, name: str, text: str) -> None:
        """Write a text file, beside its place, then renamed."""
        self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file beside its place, then rename it."""
        with replacing(self.path / name) as file:
            file.write(content)

    def write_lines(self, name: str, objects: Iterable[Mapping[str, object]]) -> None:
        """A JSON Lines file, written in the same way, one object at a time."""
        with replacing(self.path / name) as file:
            file.writelines(json.dumps(entry, ensure_ascii=False).encode("utf-8") + b"\n" for entry in objects)

    def log(self, entry: Mapping[str, object]) -> None:
        """Append an object to log.jsonl."""
        with (self.path / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")

    def entries(self) -> list[dict[str, object]]:
        """What log.jsonl holds, but for a line that a killed run has left half-written.

        Raises:
            RunError: it holds something else than a run logs.
        """
        path = self.path / "log.jsonl"
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        return [_entry(path, number, line) for number, line in enumerate(lines, 1) if line.endswith(b"\n")]

    def rewind_log(self, step: int) -> None:
        """Forget what a run that was killed has logged after the step from which it goes on."""
        self.write_lines("log.jsonl", [entry for entry in self.entries() if entry["step"] <= step])

    def remove_parts(self) -> None:
        """Delete half-written files that a killed run has left."""
        for part in self.path.glob(".*.part"):
            part.unlink(missing_ok=True)

    def settle(self, config: Mapping[str, object], resume: bool) -> None:
        """Write config.json, or, when a run is resumed, make sure that nothing in it has changed.

        Raises:
            RunError: names what has changed.
        """
        if not resume:
            self._write_config({"version": VERSION, **config})
            self.write_lines("log.jsonl", [])  # of a run that was stopped before it saved a state
            return
        stored = self.read_config()
        if stored.get("version") != VERSION:
            raise RunError(f"{self.path}: this run began with another version of asr; choose another folder (--out)")
        # Those that came with a newer version are at their defaults, which change nothing.
        settings = {**dataclasses.asdict(TrainConfig()), **stored.get("settings", {})}
        changed = [name for name, value in config["settings"].items() if settings.get(name) != value]
        changed += [name for name in ("data", "dev") if stored.get(name) != config[name]]
        if changed:
            what = ", ".join(changed)
            raise RunError(
                f"{self.path}: this run began with other {what}; resume with the same, or choose another folder"
            )

    def record(self, **facts: object) -> None:
        """Add to config.json what the run found out, such as its number of steps."""
        self._write_config({**self.read_config(), **facts})

    def _write_config(self, config: Mapping[str, object]) -> None:
        self.write_text("config.json", json.dumps(config, indent=2, ensure_ascii=False) + "\n")

    def read_config(self) -> dict[str, object]:
        """What config.json holds.

        Raises:
            RunError: there is none.
        """
        path = self.path / "config.json"
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{path}: no such file; there is no run to resume in {self.path}") from None
        except ValueError as error:
            raise RunError(f"{path}: damaged ({error}); start another run (--out)") from None

    def write_lexicon(self, lexicon: Lexicon) -> None:
        """Keep it for when the run goes on."""
        self.write_bytes(LEXICON, lexicon.packed)

    def read_lexicon(self) -> Lexicon | None:
        """The lexicon that the run began with, if it has kept one."""
        path = self.path / LEXICON
        return Lexicon(path.read_bytes()) if path.is_file() else None

    def save_state(self, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], progress: Progress) -> None:
        """Everything that the next step depends on.

        Args:
            modules: name in the file -> what is trained, and the average where there is one.
        """
        tensors = {f"{part}.{name}": tensor for part in modules for name, tensor in modules[part].state_dict().items()}
        for number, optimizer in enumerate(optimizers):
            for i, state in optimizer.state_dict()["state"].items():
                tensors.update({f"{number}.{i}.{name}": tensor for name, tensor in state.items()})
        is_first = not self.state.is_file()
        write_tensors(self.state, tensors, {"progress": json.dumps(vars(progress))})
        if is_first:
            self.record(**{SAVED: True})

    def load_state(self, modules: Mapping[str, nn.Module], optimizers: Sequence[Optimizer], group: Group) -> Progress:
        """Put a saved state, which the leading worker gives to the others, into modules and optimizers, in place.

        Raises:
            RunError: it is damaged, or belongs to a model of other sizes.
        """
        tensors, metadata = group.from_leader(self._read_state)
        states: list[dict[int, dict[str, Tensor]]] = [{} for _ in optimizers]
        weights: dict[str, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part.isdecimal() and int(part) < len(states):
                number, _, key = rest.partition(".")
                states[int(part)].setdefault(int(number), {})[key] = tensor
            else:
                weights.setdefault(part, {})[rest] = tensor
        try:
            for part, module in modules.items():
                module.load_state_dict(weights.get(part, {}))
        except RuntimeError as error:
            raise RunError(f"{self.state}: does not fit the settings of this run ({error})") from None
        for optimizer, state in zip(optimizers, states, strict=True):
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        return self._progress(metadata)

    def progress(self) -> Progress:
        """How far the run had got when it saved its state.

        Raises:
            RunError: there is no state, or its file is damaged.
        """
        return self._progress(self._read_state()[1])

    def _read_state(self) -> tuple[dict[str, Tensor], dict[str, str]]:
        try:
            return read_tensors(self.state)
        except CheckpointError as error:
            kept = f", from the best model so far (--init {self.model})" if self.model.is_file() else ""
            raise RunError(f"{error}; start another run (--out){kept}") from None

    def _progress(self, metadata: Mapping[str, str]) -> Progress:
        try:
            progress = Progress(**json.loads(metadata["progress"]))
        except (KeyError, TypeError, ValueError):
            raise RunError(f"{self.state}: damaged, or of another version of asr; start another run (--out)") from None
        return dataclasses.replace(progress, best=tuple(progress.best) if progress.best else None)


def _entry(path: Path, number: int, line: bytes) -> dict[str, object]:
    try:
        entry = json.loads(line)
    except ValueError:  # no JSON, or no UTF-8
        entry = None
    if not (isinstance(entry, dict) and isinstance(entry.get("step"), int)):
        shown = line.decode(errors="backslashreplace").strip()
        raise RunError(
            f"{path}, line {number}: found {shown!r:.60}, expected what a training run logs, with its step; remove the "
            "line, if the file is a run's"
        )
    return entry
