"""Parts of long recordings: each recording is opened and checked once, and decoded once, front to back.

`asr.audio.load` opens a recording anew for every part, and where a format cannot seek it decodes all that lies before
the part: a thousand parts of an mp3 of two hours would be a thousand hours to decode.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from asr.audio import AudioError, Samples, Stream, load_part, naming, stream_part
from asr.audio_readers import BLOCK, Reader, opened
from asr.containers import unheard

KEPT = 1 << 23  # samples of all channels: those decoded last, for parts that overlap (3 minutes of 44.1 kHz mono)
AHEAD, AHEAD_SECONDS = 256, 1800.0  # parts that are read at a time, and their length: bounds the memory
_UNSTATED_SECONDS = 30.0  # what a part up to the end of its recording counts there


class Part(Protocol):
    """A part of a recording, as an utterance is one."""

    @property
    def audio(self) -> Path: ...

    @property
    def offset(self) -> float: ...

    @property
    def duration(self) -> float | None: ...


AnyPart = TypeVar("AnyPart", bound=Part)
Result = TypeVar("Result")


class Tape:
    """A recording that stays open, so that one decoding serves all parts that are read in the order of their starts.

    Where its format can seek, every part is sought. Else decoding goes on from where the last part ended; for a part
    that begins before what is kept of the last samples it begins again. Not for several threads at a time.

    Args:
        path: the file; opened when a part is read.
        alive: called again and again while it is checked, and while decoding goes on to a part.
    """

    def __init__(self, path: str | os.PathLike[str], alive: Callable[[], None] = unheard) -> None:
        self.path = path
        self._alive = alive
        self._stack = contextlib.ExitStack()
        self._reader: Reader | None = None
        self._fault: AudioError | None = None  # why it cannot be opened
        self._forget()

    def __enter__(self) -> Tape:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; the next part opens it again."""
        self._reader = None
        self._forget()
        self._stack.close()

    def load(self, offset: float = 0.0, duration: float | None = None) -> Samples:
        """As `asr.audio.load`: the same samples, the same errors."""
        with naming(self.path):
            return load_part(self, offset, duration)

    @contextlib.contextmanager
    def stream(
        self, channel: int | None = None, offset: float = 0.0, duration: float | None = None
    ) -> Iterator[Stream]:
        """As `asr.audio.stream`. Its blocks are for before the next part is asked for."""
        with naming(self.path):
            yield stream_part(self, channel, offset, duration)

    # What follows makes it a Reader itself, of one part after the other.

    @property
    def rate(self) -> int:
        return self._opened().rate

    @property
    def channels(self) -> int:
        return self._opened().channels

    @property
    def frames(self) -> int | None:
        return self._opened().frames

    can_seek = True

    def seek(self, frame: int) -> int:
        if self._opened().can_seek:
            return self._or_close(lambda: self._opened().seek(frame))
        if frame < self._end - self._kept:
            self.close()
        while self._end < frame and len(self._decode(min(frame - self._end, max(1, BLOCK // self.channels)))):
            self._alive()
        self._at = min(frame, self._end)
        return self._at

    def read(self, frames: int) -> Samples:
        if self._opened().can_seek:
            return self._or_close(lambda: self._opened().read(frames))
        block = self._decoded(frames) if self._at < self._end else self._decode(frames)
        self._at += len(block)
        return block

    def _opened(self) -> Reader:
        if self._reader is None:
            if self._fault is not None:
                raise self._fault
            try:
                self._reader = self._stack.enter_context(opened(self.path, self._alive))
            except AudioError as error:
                self._fault = error
                raise
        return self._reader

    def _or_close(self, work: Callable[[], Result]) -> Result:
        """Damage leaves a decoder in a state that the next part is not to meet."""
        try:
            return work()
        except AudioError:
            self.close()
            raise

    def _forget(self) -> None:
        self._blocks: deque[Samples] = deque()  # (frames, channels) each, decoded last
        self._kept = 0  # frames in them
        self._end = 0  # frame up to which it is decoded
        self._at = 0  # frame that is read next
        self._damage: AudioError | None = None  # that ended decoding

    def _decode(self, frames: int) -> Samples:
        """Up to so many frames more; none at the end of the recording."""
        if self._damage is not None:
            raise self._damage
        try:
            block = self._opened().read(frames)
        except AudioError as error:
            self._damage = error  # so that the parts behind it need not meet it again
            raise
        if len(block):
            self._blocks.append(block)
            self._kept += len(block)
            self._end += len(block)
            while self._kept - len(self._blocks[0]) >= KEPT // self.channels:
                self._kept -= len(self._blocks.popleft())
        return block

    def _decoded(self, frames: int) -> Samples:
        """Up to so many of the frames that are kept, from where it is."""
        start = self._end
        for block in reversed(self._blocks):
            start -= len(block)
            if start <= self._at:
                return block[self._at - start :][:frames]
        raise AssertionError("seek begins again rather than go where nothing is kept")


def load_parts(parts: Iterable[Part], threads: int) -> Iterator[list[Samples | AudioError | OSError]]:
    """The samples of every part, or why it cannot be read, in order; some at a time, see `map_parts`."""
    return map_parts(_samples, parts, threads)


def _samples(tape: Tape, part: Part) -> Samples | AudioError | OSError:
    try:
        return tape.load(part.offset, part.duration)
    except (AudioError, OSError) as error:
        return error


def map_parts(
    work: Callable[[Tape, AnyPart], Result], parts: Iterable[AnyPart], threads: int
) -> Iterator[list[Result]]:
    """What `work` makes of every part and the tape of its recording, in the order of the parts, some at a time.

    Among these the parts of one recording are read by one thread, in the order of their starts; a recording whose
    parts go on behind them stays open. So recordings whose parts follow one another in order are decoded once; those
    whose parts come in any order, once each time.
    """
    last = Tape("")
    with ThreadPoolExecutor(threads) as pool:
        try:
            for block in _blocks(parts):
                tapes = {part.audio: last if part.audio == last.path else Tape(part.audio) for part in block}
                if last.path not in tapes:
                    last.close()
                last = tapes[block[-1].audio]
                yield _read(pool, work, block, tapes, last)
        finally:
            last.close()


def _blocks(parts: Iterable[AnyPart]) -> Iterator[list[AnyPart]]:
    """Some parts at a time."""
    block: list[AnyPart] = []
    seconds = 0.0
    for part in parts:
        block.append(part)
        seconds += _UNSTATED_SECONDS if part.duration is None else part.duration
        if len(block) == AHEAD or not seconds < AHEAD_SECONDS:
            yield block
            block, seconds = [], 0.0
    if block:
        yield block


def _read(
    pool: ThreadPoolExecutor,
    work: Callable[[Tape, AnyPart], Result],
    block: list[AnyPart],
    tapes: dict[Path, Tape],
    last: Tape,
) -> list[Result]:
    """See `map_parts`; `last` stays open."""
    numbers: dict[Path, list[int]] = {path: [] for path in tapes}
    for number in sorted(range(len(block)), key=lambda number: block[number].offset):
        numbers[block[number].audio].append(number)
    found: dict[int, Result] = {}

    def read(path: Path) -> None:
        for number in numbers[path]:
            found[number] = work(tapes[path], block[number])
        if tapes[path] is not last:
            tapes[path].close()

    list(pool.map(read, tapes))
    return [found[number] for number in range(len(block))]
