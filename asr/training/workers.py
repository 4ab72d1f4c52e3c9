"""Data-parallel workers: processes that share each batch and add up their gradients."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessContext, ProcessException, ProcessRaisedException

from asr import Error

T = TypeVar("T")

# glibc gives memory back to the system above these sizes and takes it again, page fault by page fault, in every step.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_TOP_PAD_": str(2**26)}
STOPS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 10.0  # for the other workers to end by themselves when one has failed


@dataclass(frozen=True)
class Group:
    """The workers of a run: how many, and which one this process is."""

    rank: int = 0
    size: int = 1
    stop: threading.Event = field(default_factory=threading.Event, compare=False)  # set: end at the next good place

    @property
    def leads(self) -> bool:
        """True in the one worker that prints and writes."""
        return self.rank == 0

    def share(self, items: list[T]) -> list[T]:
        """This worker's part; sorted items come out balanced."""
        return items[self.rank :: self.size]

    def add_up(self, tensor: torch.Tensor) -> None:
        """Replace a tensor by its sum over the workers."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def gather(self, items: list[T]) -> list[T]:
        """The items of all workers, in the order that `share` took them from."""
        if self.size == 1:
            return items
        parts: list[list[T]] = [[] for _ in range(self.size)]
        dist.all_gather_object(parts, items)
        joined = [None] * sum(map(len, parts))
        for rank, part in enumerate(parts):
            joined[rank :: self.size] = part
        return joined

    def agreed(self, value: T) -> T:
        """The leading worker's value."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]


def default_workers() -> int:
    """One a core: two single-threaded processes train faster than one process with two threads."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def launch(workers: int, work: Callable[..., None], *arguments: object) -> None:
    """Run `work(group, *arguments)` in that many processes and wait; if one fails, the others are stopped.

    At Ctrl-C or SIGTERM the workers find `group.stop` set; when they have ended it is raised here. A second one does
    not wait for them.

    Raises:
        KeyboardInterrupt: after a Ctrl-C or SIGTERM.
        asr.Error: what a worker raised as `asr.Error` or `OSError`, in its words, or a worker was killed.
        torch.multiprocessing.ProcessRaisedException: any other error, with the traceback of the worker that failed.
    """
    with tempfile.TemporaryDirectory() as folder, _environment({**ALLOCATOR, "OMP_NUM_THREADS": "1"}):
        processes = torch.multiprocessing.start_processes(
            _worker, (workers, Path(folder), work, arguments), workers, join=False, start_method="spawn"
        )
        try:
            with _stops_passed_on(processes.processes) as asked:
                _join(processes, asked, Path(folder))
        finally:
            for process in processes.processes:  # alive still after a second interrupt
                process.terminate()


def _join(processes: ProcessContext, asked: threading.Event, folder: Path) -> None:
    try:
        while not processes.join(grace_period=GRACE_SECONDS):
            pass
    except ProcessException as error:
        if not asked.is_set() or any(folder.glob("error-*")):  # such as a full disk when the state was saved
            raise _cause(error, processes, folder) from None
    if asked.is_set():
        raise KeyboardInterrupt


@contextmanager
def _stops_passed_on(processes: Sequence[BaseProcess]) -> Iterator[threading.Event]:
    """While it lasts, the first Ctrl-C or SIGTERM goes to all workers and sets the event; a second one is raised."""
    asked = threading.Event()

    def pass_on(*_: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)

    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield asked
        return
    passed_on = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]  # as under nohup
    before = {number: signal.signal(number, pass_on) for number in passed_on}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables, which the libraries of processes that start now read, and put back what was there."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cause(error: ProcessException, processes: ProcessContext, folder: Path) -> Exception:
    """What to raise for workers that failed: where the user can mend it one line, not the tracebacks of all."""
    if messages := sorted(folder.glob("error-*")):
        return Error(messages[0].read_text(encoding="utf-8"))
    # SIGTERM stops the others when one has failed; gloo's threads may abort one that has left a traceback.
    excused = {signal.SIGTERM, signal.SIGABRT} if isinstance(error, ProcessRaisedException) else {signal.SIGTERM}
    for process in processes.processes:
        if process.exitcode < 0 and -process.exitcode not in excused:
            return Error(
                f"a worker was killed by signal {-process.exitcode}, as the system does when memory runs out; go on "
                "from the last saved state (--resume), with fewer workers or smaller batches (batch_seconds) in a new "
                "run if it happens again"
            )
    return error


def _worker(rank: int, size: int, folder: Path, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    group = Group(rank, size)
    signal.signal(signal.SIGINT, _stopper(group.stop, os.getppid()))
    torch.set_num_threads(1)  # more would wait for one another, and collapse when anything else runs
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=size)
    try:
        work(group, *arguments)
        status = 0
    except (Error, OSError) as error:
        (folder / f"error-{rank}").write_text(str(error), encoding="utf-8")  # for `_cause`
        status = 1
    finally:
        dist.destroy_process_group()
    # gloo's threads may still let go of tensors, and abort where the interpreter is half gone by then (pytorch pull
    # request 179291): everything is written, so leave without taking the interpreter down step by step.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _stopper(stop: threading.Event, parent: int) -> Callable[..., None]:
    """Handles an interrupt: the event is set, but where the main process has died the worker ends at once.

    torch sends the interrupt then, too; whoever starts the run again must not meet workers of the old one.
    """

    def handle(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)
        stop.set()

    return handle
