"""Recordings of any length in bounded memory: audio is cut into windows, log-probs into utterances.

A long recording is cut at quiet places into windows of at most `LONGEST` seconds. The acoustic model reads each with
`CONTEXT` seconds of what lies on both sides, and only the frames in between are kept: joined, they are the log-probs of
the whole recording, as if it had been read at once. These are cut into utterances at pauses, where the model hears
no word, and each utterance is decoded by itself. A recording of at most `WHOLE` seconds is one window, and
one utterance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from asr.audio import SAMPLE_RATE
from asr.text import Units

WHOLE = 40.0  # s: up to here a recording is read and decoded as it is
SHORTEST, LONGEST = 12.0, 24.0  # s: of a window, without its context; utterances of training are rarely longer
CONTEXT = 2.0  # s
QUIET = 0.2  # s: a place is as quiet as its surroundings of this length
SILENT = 1e-4  # of full scale: what never exceeds it (-80 dB) is no recorded speech
STEADY = 1.5  # dB: what never stands out more from its quieter parts, in two seconds and more, is not either
FAINT = 35.0  # dB below the loudest 0.4 s of a window: what stays below it is no speech beside that
LOUDEST = 0.4  # s
SILENCE, EDGE = 2.0, 0.5  # s: of a longer faint stretch the model hears only so much at both of its ends

PAUSE = 0.3  # s without a word: an utterance may end in it
LONG_PAUSE = 2.0  # s without a word: an utterance ends
UTTERANCE = 20.0  # s: a longer utterance ends at its longest pause, but for those of its first quarter
UNENDING = 60.0  # s: an utterance that has no pause ends all the same, where the blank is likeliest


@dataclass(frozen=True)
class Window:
    """A part of a recording, with context.

    Args:
        samples: (samples,) float32 at 16 kHz.
        skip: output frames of context in front.
        keep: output frames behind them that count; None: all there are, to the end of the recording.
    """

    samples: NDArray[np.float32]
    skip: int
    keep: int | None

    @property
    def last(self) -> bool:
        """Whether the recording ends with it."""
        return self.keep is None

    @property
    def whole(self) -> bool:
        """Whether it is all of a recording."""
        return not self.skip and self.last

    def kept(self, log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Of the (T, V) log-probs of its samples those without context."""
        return log_probs[self.skip :] if self.last else log_probs[self.skip : self.skip + self.keep]

    @property
    def silent(self) -> bool:
        """Whether there is nothing in it but silence or the steady noise of a room or a recorder."""
        if np.abs(self.samples).max(initial=0.0) <= SILENT:
            return True
        return len(self.samples) >= 2 * SAMPLE_RATE and contrast(self.samples) < STEADY

    def heard(self, step: int) -> NDArray[np.bool_]:
        """(F,) whether the audio of each output frame is for the model: all but the inside of long silences.

        Features are normalised over what is read together. Seconds of digital silence or of a faint background, as on
        the side of a call where the other one speaks, would move the speech beside them to where no model has seen any.

        Args:
            step: samples per output frame.
        """
        count = len(self.samples) // step
        centred = (self.samples - self.samples.mean())[: count * step].reshape(-1, step)
        level = 10 * np.log10(np.square(centred, dtype=np.float64).mean(axis=1) + 1e-14)
        place = min(count, max(1, round(LOUDEST * SAMPLE_RATE / step)))
        loud = level >= np.partition(level, -place)[-place] - FAINT if count else np.zeros(0, bool)
        edge, least = (round(seconds * SAMPLE_RATE / step) for seconds in (EDGE, SILENCE))
        heard = np.ones(count + 1, bool)  # a last frame begins where the whole ones end
        bounds = np.flatnonzero(np.diff(loud, prepend=True, append=True))
        for start, end in bounds.reshape(-1, 2):
            if end - start > least:
                heard[start + edge : end - edge] = False
        return heard


def contrast(samples: NDArray[np.float32]) -> float:
    """How far the loudest 60 ms stand out from the quieter ones, in dB; white noise: 1, speech: 20 and more.

    The difference of neighbouring samples takes out hum. Of 2,000 utterances of four corpora, mixed with white noise at
    an SNR of 5 dB, 1% had less than 1.5 dB.
    """
    frame = round(0.06 * SAMPLE_RATE)
    steps = np.diff(samples, append=samples[-1:])[: len(samples) // frame * frame].reshape(-1, frame)
    level = 10 * np.log10(np.square(steps, dtype=np.float64).mean(axis=1) + 1e-14)
    return float(level.max() - np.percentile(level, 5))


def windows(blocks: Iterable[NDArray[np.float32]], step: int) -> Iterator[Window]:
    """Cut a recording into windows, of which no more than one lies in memory.

    Args:
        blocks: (samples,) float32 at 16 kHz each.
        step: samples per output frame of the model; windows begin at multiples of it.
    """
    context = round(CONTEXT * SAMPLE_RATE / step) * step
    limit = WHOLE * SAMPLE_RATE
    pending, before = np.zeros(0, np.float32), 0  # samples, and how many of them are context
    for block in blocks:
        pending = np.concatenate([pending, block])
        while len(pending) - before > limit:
            seam = before + _quietest(pending[before:], step)
            yield Window(pending[: seam + context], before // step, (seam - before) // step)
            pending, before = pending[max(0, seam - context) :], min(seam, context)
            limit = (LONGEST + CONTEXT) * SAMPLE_RATE
    yield Window(pending, before // step, None)


def _quietest(samples: NDArray[np.float32], step: int) -> int:
    """Where a window should end: the middle of the quietest place between its shortest and its longest length.

    Returns: samples, a multiple of `step`.
    """
    first, last = (round(seconds * SAMPLE_RATE / step) for seconds in (SHORTEST, LONGEST))
    power = np.square(samples[: last * step].reshape(-1, step), dtype=np.float64).mean(axis=1)
    width = max(1, round(QUIET * SAMPLE_RATE / step))
    smooth = np.convolve(power, np.ones(width) / width, mode="same")
    return (first + int(np.argmin(smooth[first : last - width // 2]))) * step


@dataclass(frozen=True)
class Utterance:
    """Log-probs that are decoded together.

    Args:
        log_probs: (T, V), and the phones' behind them where these are searched.
        start: output frame of the recording at which they begin.
    """

    log_probs: NDArray[np.float32]
    start: int


class Cutter:
    """Cuts the log-probs of a recording into utterances while they come.

    Args:
        units: the tokens.
        frame_seconds: seconds from one output frame to the next.
    """

    def __init__(self, units: Units, frame_seconds: float) -> None:
        self._opens = np.array([False] + [units.opens_word(i) for i in range(1, len(units))])
        self._spoken = np.array([False] + [bool(units.decode([i]).strip()) for i in range(1, len(units))])
        self._seconds = frame_seconds
        self._pending: list[NDArray[np.float32]] = []
        self._start = 0  # frame of the recording at which what is pending begins

    def add(self, log_probs: NDArray[np.float32]) -> Iterator[Utterance]:
        """Take the next (T, V) log-probs, or with other columns behind; the utterances that are complete by them."""
        pending = np.concatenate([*self._pending, log_probs])
        while end := self._end(pending):
            yield from self._utterance(pending[:end])
            pending = pending[end:]
            self._start += end
        self._pending = [pending]

    def finish(self) -> Iterator[Utterance]:
        """The last utterance."""
        if self._pending:
            yield from self._utterance(np.concatenate(self._pending))
        self._pending = []

    def _end(self, log_probs: NDArray[np.float32]) -> int:
        """The frame at which the first utterance of these (T, V) log-probs ends; 0: not in them.

        What it looks at lies before what it waits for, so that it does not matter how the log-probs come.
        """
        path = self._path(log_probs)
        spoken = np.flatnonzero(self._spoken[path])
        if not len(spoken):
            return max(0, len(path) - self._frames(PAUSE))  # silence; what comes may begin at once
        pauses = self._pauses(path, spoken)
        first, long_pause = int(spoken[0]), self._frames(LONG_PAUSE)
        limit, latest = first + self._frames(UTTERANCE), first + self._frames(UNENDING)
        within = [pause for pause in pauses if pause[1] <= limit]
        for length, place in within:
            if length >= long_pause:
                return place
        if len(path) < limit + long_pause:
            return 0
        late = [pause for pause in within if pause[1] >= first + self._frames(UTTERANCE / 4)]
        beyond = [pause for pause in pauses if limit < pause[1] <= latest]
        for length, place in [max(late, default=(0, 0)), *beyond]:
            if length >= self._frames(PAUSE):
                return place
        if len(path) < latest + long_pause:
            return 0
        return max([*within, *beyond], default=(0, 0))[1] or 1 + int(log_probs[1:latest, 0].argmax())

    def _pauses(self, path: NDArray[np.int64], spoken: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Frames of all gaps between words on a path, and where to cut them: in the middle, or soon in a long one.

        What is long is a gap wherever it is: at the end of the path, too, where the next word is still to come.

        Args:
            spoken: the frames with letters.
        """
        words = np.cumsum(self._opens[path]) if self._opens.any() else np.arange(len(path))
        long_pause = self._frames(LONG_PAUSE)
        gaps = [
            (after - before - 1, before + 1)
            for before, after in pairwise([*spoken.tolist(), len(path)])
            if after - before > long_pause
            or (after < len(path) and after > before + 1 and words[after] > words[before])
        ]
        return [(length, start + min(length, long_pause) // 2) for length, start in gaps]

    def _utterance(self, log_probs: NDArray[np.float32]) -> Iterator[Utterance]:
        """The utterance, if a word is heard in it, without most of the silence at its ends."""
        spoken = np.flatnonzero(self._spoken[self._path(log_probs)])
        if len(spoken):
            first = max(0, int(spoken[0]) - self._frames(PAUSE))
            yield Utterance(log_probs[first : spoken[-1] + 1 + self._frames(PAUSE)], self._start + first)

    def _path(self, log_probs: NDArray[np.float32]) -> NDArray[np.int64]:
        """(T,) the most probable token of each frame."""
        return log_probs[:, : len(self._spoken)].argmax(axis=1)

    def _frames(self, seconds: float) -> int:
        return max(1, round(seconds / self._seconds))
