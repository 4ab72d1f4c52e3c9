"""Data-parallel workers: processes that share each batch and add up their gradients.

A run starts its own (`launch`), or torchrun has started them, on one host or several, and the process is itself one of
them (`joined`, `take_part`). Either way there is one worker a GPU (nccl), or one a core where there is none (gloo).
"""

from __future__ import annotations

import io
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn, TypeVar

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import ProcessContext, ProcessException, ProcessRaisedException

from asr import Error

T = TypeVar("T")

# glibc gives memory back to the system above these sizes and takes it again, page fault by page fault, in every step.
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**32), "MALLOC_TOP_PAD_": str(2**26)}
NO_MEMORY = (
    "go on from the last saved state (--resume), with fewer workers or smaller batches (batch_seconds) in a new run if "
    "it happens again"
)
ASKED = "stop"  # a file: a Ctrl-C or SIGTERM has come
HANG_UP = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows has none
STOPS = (signal.SIGINT, signal.SIGTERM, *([HANG_UP] if HANG_UP else []))
GRACE_SECONDS = 10.0  # for the other workers to end by themselves when one has failed
CPU = torch.device("cpu")
PATIENCE = timedelta(hours=6)  # for one another: a host may have hundreds of hours of audio to decode first
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # set in the processes that it starts


class PeerLost(RuntimeError):
    """Another worker has ended, or cannot be reached."""


@contextmanager
def _among_peers() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo and nccl tell no more precisely
        raise PeerLost(str(error)) from error


@dataclass(frozen=True)
class Group:
    """The workers of a run: how many, and which one this process is.

    Args:
        rank, size: number of this worker, and how many there are.
        local_rank: its number among those of its host.
        device: where it computes.
        stop: is set when it shall end.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    device: torch.device = CPU
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
            with _among_peers():
                dist.all_reduce(tensor)

    def gather(self, items: list[T]) -> list[T]:
        """The items of all workers, in the order that `share` took them from."""
        if self.size == 1:
            return items
        parts: list[list[T]] = [[] for _ in range(self.size)]
        with _among_peers():
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
        with _among_peers():
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def from_leader(self, call: Callable[[], T]) -> T:
        """What a call gives in the leading worker, such as what it reads from the run's folder, which others lack."""
        return self.agreed(call() if self.leads else None)

    def host_first(self, call: Callable[[], T]) -> T:
        """What a call gives here, made by one worker of each host first: what it leaves on disk, the others find."""
        if self.local_rank == 0:
            found = call()
        self.add_up(torch.zeros(1))  # returns when all have come here
        return found if self.local_rank == 0 else call()

    def said_once(self) -> AbstractContextManager[object]:
        """While it lasts only the leading worker is heard on stderr: the others have the same to say."""
        return nullcontext() if self.leads else redirect_stderr(io.StringIO())


def under_torchrun() -> bool:
    """Whether this process has joined workers that torchrun has started."""
    return dist.is_initialized()


def worker_count(group: Group, wanted: int) -> int:
    """How many workers share each batch: those that torchrun has started, or those that `launch` shall start.

    Args:
        wanted: 0 means as many as torchrun has started, else one a GPU, else one a core: two single-threaded processes
            train faster than one process with two threads.

    Raises:
        asr.Error: torchrun has started another number, or there are fewer GPUs.
    """
    if under_torchrun():
        if wanted not in (0, group.size):
            raise Error(
                f"torchrun has started {group.size} workers, but the run has the setting workers={wanted}; start as "
                f"many, or begin a run with workers={group.size}"
            )
        return group.size
    gpus = torch.cuda.device_count()
    if gpus and wanted > gpus:
        raise Error(f"workers={wanted}, but a worker needs a GPU for itself and there are {gpus}; set workers={gpus}")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return wanted or gpus or cores


@contextmanager
def joined() -> Iterator[Group]:
    """While it lasts, the group of workers that torchrun has started this process for; alone, where it has not.

    Raises:
        asr.Error: more workers than GPUs on this host, or another worker has ended.
    """
    if any(name not in os.environ for name in TORCHRUN):
        yield Group()
        return
    rank, size, local_rank = (int(os.environ[name]) for name in TORCHRUN[:3])
    gpus = torch.cuda.device_count()
    if gpus and local_rank >= gpus:
        raise Error(f"this host has {gpus} GPUs; start as many workers (torchrun --nproc-per-node {gpus})")
    with _connected(Group(rank, size, local_rank, device_of(local_rank)), "env://") as group:
        try:
            yield group
        except PeerLost as error:
            raise Error(f"another worker has ended, and says why, or cannot be reached ({error})") from None


def take_part(group: Group, work: Callable[..., None], *arguments: object) -> None:
    """Run `work(group, *arguments)` as one of the workers that torchrun has started; Ctrl-C and SIGTERM set its `stop`.

    torchrun passes them on to all workers of its host, and gives them 30 s to end.
    """
    with _stops_handled(lambda *_: group.stop.set()):
        work(group, *arguments)


def device_of(local_rank: int) -> torch.device:
    """Where a worker computes: the GPU of its number on this host, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return CPU
    torch.cuda.set_device(local_rank)
    torch.backends.cudnn.allow_tf32 = False  # fp32 is what inference promises, and bf16=false asks for
    return torch.device("cuda", local_rank)


@contextmanager
def _connected(group: Group, meeting_point: str) -> Iterator[Group]:
    """While it lasts, the workers can reach one another."""
    torch.set_num_threads(1)  # more would wait for one another, and collapse when anything else runs
    backend = "gloo" if group.device.type == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, meeting_point, PATIENCE, world_size=group.size, rank=group.rank)
    try:
        yield group
    finally:
        dist.destroy_process_group()


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
        with _interrupts_ignored():  # by those that start, until they can handle them: a Ctrl-C goes to all
            processes = torch.multiprocessing.start_processes(
                _worker, (workers, Path(folder), work, arguments), workers, join=False, start_method="spawn"
            )
        try:
            with _stops_passed_on(processes.processes, Path(folder)) as asked:
                _join(processes, asked, Path(folder))
        finally:
            for process in processes.processes:  # alive still after a second interrupt
                process.kill()


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
def _stops_passed_on(processes: Sequence[BaseProcess], folder: Path) -> Iterator[threading.Event]:
    """While it lasts, the first Ctrl-C or SIGTERM goes to all workers and sets the event; a second one is raised.

    A terminal that is closed may say so twice, by the system and by its shell.

    Workers that have not come to handle signals yet find a file in the folder that all share.
    """
    asked = threading.Event()

    def pass_on(number: int, _: object) -> None:
        if asked.is_set():
            if number == HANG_UP:
                return
            raise KeyboardInterrupt
        asked.set()
        (folder / ASKED).touch()
        for process in processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)

    with _stops_handled(pass_on):
        yield asked


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """While it lasts, Ctrl-C does nothing, also to processes that are started, until they handle it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _stops_handled(handle: Callable[..., None]) -> Iterator[None]:
    """While it lasts, Ctrl-C and SIGTERM come to this function, unless they are ignored."""
    if threading.current_thread() is not threading.main_thread():  # which alone may handle signals
        yield
        return
    heeded = [number for number in STOPS if signal.getsignal(number) is not signal.SIG_IGN]  # as under nohup
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
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
    exits = [process.exitcode for process in processes.processes]
    killed = [-status for status in exits if status < 0 and -status not in excused]
    if not killed:
        return error
    # gloo's threads abort where another worker is gone: the other's signal is the cause.
    cause = next((number for number in killed if number != signal.SIGABRT), signal.SIGABRT)
    return Error(f"a worker was killed by signal {int(cause)}, as the system does when memory runs out; {NO_MEMORY}")


def _worker(rank: int, size: int, folder: Path, work: Callable[..., None], arguments: tuple[object, ...]) -> None:
    stop = threading.Event()
    for number in STOPS:  # those that the main process passes on, or systemd sends to all processes of a service
        if number != HANG_UP or signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stopper(stop, os.getppid()))
    if (folder / ASKED).exists():
        stop.set()
    with _connected(Group(rank, size, rank, device_of(rank), stop), f"file://{folder}/rendezvous") as group:
        try:
            work(group, *arguments)
            status = 0
        except (Error, OSError) as error:
            (folder / f"error-{rank}").write_text(str(error), encoding="utf-8")  # for `_cause`
            status = 1
        except torch.OutOfMemoryError as error:
            said = str(error).partition(". ")[0]
            (folder / f"error-{rank}").write_text(f"{said}; {NO_MEMORY}", encoding="utf-8")
            status = 1
    leave(status)


def leave(status: int) -> NoReturn:
    """End a process that has been one of several workers.

    gloo's threads may still let go of tensors, and abort where the interpreter is half gone by then (pytorch pull
    request 179291): everything is written, so it is not taken down step by step.
    """
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
