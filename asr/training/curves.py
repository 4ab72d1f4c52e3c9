"""The curves of a run, drawn from its log: TensorBoard's event file while it trains, a picture when it is finished."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from asr.training.folder import EVENT_FILES, RunFolder

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURE = "curves.png"
TAGS = {  # of the log's numbers
    "padding": "train/padding",
    "loss": "train/loss",
    "learning_rate": "train/learning_rate",
    "audio_hours_per_hour": "train/audio_hours_per_hour",
}
RATES = ("wer", "cer")
UNITS = (("hours", 3600), ("minutes", 60), ("seconds", 1))  # of a picture's upper axis: the first with at least 2


class EventFile:
    """TensorBoard's file of a run: the numbers of the log.

    It is made anew from the log whenever a run begins or goes on. What `RunFolder.rewind_log` has forgotten is then in
    no curve, and no step is there twice, however the run had ended.
    """

    def __init__(self, folder: RunFolder) -> None:
        from torch.utils.tensorboard import SummaryWriter

        entries = folder.entries()
        for old in folder.path.glob(EVENT_FILES):
            old.unlink(missing_ok=True)
        self._writer = SummaryWriter(str(folder.path))
        self._seconds = 0.0  # of training, at the newest entry
        self._began = time.time() - max((entry.get("seconds", 0.0) for entry in entries), default=0.0)
        for entry in entries:
            self._write(entry)

    def add(self, entry: Mapping[str, object]) -> None:
        """Write what a new line of the log holds, at once, for who looks on and for a worker that is killed."""
        self._write(entry)
        self._writer.flush()

    def _write(self, entry: Mapping[str, object]) -> None:
        """TensorBoard's clock is that of training: it leaves out the pauses of a run that was resumed."""
        self._seconds = entry.get("seconds", self._seconds)  # a dev score follows a line of progress
        for tag, value in scalars(entry):
            self._writer.add_scalar(tag, value, entry["step"], walltime=self._began + self._seconds)

    def close(self) -> None:
        """No more will come."""
        self._writer.close()


def scalars(entry: Mapping[str, object]) -> Iterator[tuple[str, float]]:
    """TensorBoard's tags and values of one line of the log."""
    for name, tag in TAGS.items():
        if name in entry:
            yield tag, entry[name]
    for name in RATES:
        if entry.get("dev", {}).get(name) is not None:  # null: infinite
            yield f"dev/{name}", entry["dev"][name]


def save_picture(folder: RunFolder) -> None:
    """Draw what the log holds into the run's folder."""
    folder.write_bytes(PICTURE, picture(folder.entries(), f"Training of {folder.path.resolve().name}"))


def picture(entries: Sequence[Mapping[str, object]], title: str) -> bytes:
    """A PNG of loss and, where there is a dev set, WER and CER, over steps and over the time of training.

    Args:
        entries: the log of a run.
        title: stands above.
    """
    from matplotlib.figure import Figure  # draws by Agg, without a screen

    progress = [entry for entry in entries if "loss" in entry]
    scores = [entry for entry in entries if "dev" in entry]
    figure = Figure(figsize=(8, 7 if scores else 4), layout="constrained")
    loss, *dev = figure.subplots(2 if scores else 1, sharex=True, squeeze=False)[:, 0]
    _draw_loss(loss, progress)
    for axes in dev:
        _draw_scores(axes, scores)
    for axes in (loss, *dev):
        axes.grid(alpha=0.3)
    (loss, *dev)[-1].set_xlabel("steps")
    _add_time(loss, progress)
    figure.suptitle(title, parse_math=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=120)
    return png.getvalue()


def _draw_loss(axes: Axes, progress: Sequence[Mapping[str, float]]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    axes.plot([entry["step"] for entry in progress], [entry["loss"] for entry in progress], ".-", linewidth=1)
    axes.set_yscale("log")  # it falls from tens to tenths
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylabel("training loss per token")
    axes.set_xlim(0, max((entry["step"] for entry in progress), default=1))


def _draw_scores(axes: Axes, scores: Sequence[Mapping[str, object]]) -> None:
    steps = [entry["step"] for entry in scores]
    rates = {name: [_percent(entry["dev"][name]) for entry in scores] for name in RATES}
    for name, values in rates.items():
        axes.plot(steps, values, "o-", markersize=4, label=f"dev {name.upper()}")
    wer, cer, step = min(zip(rates["wer"], rates["cer"], steps, strict=True))
    axes.axvline(step, color="gray", linestyle=":", label=f"best: WER {wer:.2f}% CER {cer:.2f}%, step {step}")
    axes.set_ylabel("dev error rate in %")
    axes.set_ylim(bottom=0)
    axes.legend()


def _percent(rate: float | None) -> float:
    return math.inf if rate is None else 100 * rate


def _add_time(axes: Axes, progress: Sequence[Mapping[str, float]]) -> None:
    """An upper axis whose marks stand at round times of training, wherever the steps were by then."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    steps, seconds = ([0.0, *(entry[name] for entry in progress)] for name in ("step", "seconds"))
    total = seconds[-1]
    unit, length = next(((unit, length) for unit, length in UNITS if total >= 2 * length), UNITS[-1])
    round_times = MaxNLocator(8, steps=(1, 2, 5, 10)).tick_values(0, total / length)
    marks = [mark for mark in round_times if 0 <= mark * length <= total]
    upper = axes.twiny()
    upper.set_xlim(axes.get_xlim())
    upper.set_xticks(np.interp(np.array(marks) * length, seconds, steps), [f"{mark:g}" for mark in marks])
    upper.set_xlabel(f"{unit} of training")
