"""What a run says of itself between two evaluations: loss, speed, time."""

from __future__ import annotations

import math
import time

from asr.training.folder import Progress

PRINT_SECONDS = 15.0  # between two lines of progress


class Meter:
    """Loss and speed since the last line of progress, and the time since the run began."""

    def __init__(self, progress: Progress) -> None:
        self.earlier = progress.seconds  # of a run that was resumed
        self.first_step = progress.step
        self.began = time.monotonic()
        self.clear()

    def clear(self) -> None:
        """Begin a new line."""
        self.since = time.monotonic()
        self.loss, self.count, self.audio = 0.0, 0, 0.0

    def add(self, loss: float, seconds: float) -> None:
        """Count a step: its loss per token, and its audio without padding."""
        if math.isfinite(loss):  # else the step was skipped
            self.loss += loss
            self.count += 1
        self.audio += seconds

    def due(self) -> bool:
        """Time for a line."""
        return time.monotonic() - self.since >= PRINT_SECONDS

    def seconds(self) -> float:
        """Wall-clock seconds of training, earlier parts of the run included."""
        return self.earlier + time.monotonic() - self.began

    def entry(self, progress: Progress, rate: float) -> dict[str, float]:
        """What the log keeps."""
        return {
            "step": progress.step,
            "epoch": progress.epoch,
            "seconds": round(self.seconds(), 1),
            "loss": self.loss / max(1, self.count),
            "learning_rate": rate,
            "audio_hours_per_hour": self.audio / (time.monotonic() - self.since),
            **({"skipped": progress.skipped} if progress.skipped else {}),
        }

    def line(self, progress: Progress) -> str:
        """What a person reads."""
        per_step = (time.monotonic() - self.began) / (progress.step - self.first_step)
        left = per_step * (progress.steps - progress.step)
        loss, speed = self.loss / max(1, self.count), self.audio / (time.monotonic() - self.since)
        return (
            f"step {progress.step}/{progress.steps} epoch {progress.epoch + 1} loss {loss:.3f} {speed:.0f} h/h "
            f"{left / 60:.1f} min left"
        )
