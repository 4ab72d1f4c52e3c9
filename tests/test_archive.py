"""recipes.archive against a real HTTP server on the loopback address, and against hostile archives."""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import io
import os
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from asr.files import CAN_LOCK
from recipes import archive as module
from recipes.archive import Archive, ArchiveError, ensure, fetch, unpack

PROJECT = Path(__file__).resolve().parents[1]
NOISE = np.random.default_rng(0).bytes(300_000)  # does not pack, so the archive is as long
FILES = {"corpus/a/one.wav": NOISE, "corpus/two.txt": b"hello\n", "corpus/empty": b"", "LICENSE": b"free"}


def _tar(files: dict[str, bytes], packed: str = "gz") -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode=f"w:{packed}") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return output.getvalue()


def _bz2(files: dict[str, bytes]) -> bytes:
    return _tar(files, "bz2")


def _zip(files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return output.getvalue()


GOOD = _tar(FILES)


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# Downloading


class Server(ThreadingHTTPServer):
    """Serves one file, badly on request.

    Attributes:
        content, etag: the file and its version.
        cuts: for the answers in turn, after how many bytes to hang up; None and further answers: whole.
        statuses: for the answers in turn, an error to send instead; None: the file.
        faults: "no range", "no version", "blind" (Range whatever If-Range says), "shifted" (a wrong part),
            "chunked" (no length), "vast" (much too long a length), "stall" (silence, not hanging up).
        seen: Range headers of the requests so far.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.etag = GOOD, '"v1"'
        self.cuts: list[int | None] = []
        self.statuses: list[int | None] = []
        self.faults: set[str] = set()
        self.seen: list[str | None] = []
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/corpus.tar.gz"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: object) -> None:
        """Keep the tests' output clean."""

    def do_GET(self) -> None:
        self.close_connection = True
        server = self.server
        asked = self.headers.get("Range")
        server.seen.append(asked)
        status = server.statuses.pop(0) if server.statuses else None
        if status:
            self.send_error(status)
            return
        start = self._start(asked)
        if start >= len(server.content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(server.content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._send(start)

    def _start(self, asked: str | None) -> int:
        unchanged = "blind" in self.server.faults or self.headers.get("If-Range") == self.server.etag
        if asked is None or "no range" in self.server.faults or not unchanged:
            return 0
        return int(asked.removeprefix("bytes=").removesuffix("-"))

    def _send(self, start: int) -> None:
        server = self.server
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            first, size = start + 7 * ("shifted" in server.faults), len(server.content)
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        if "no version" not in server.faults:
            self.send_header("ETag", server.etag)
        if "chunked" in server.faults:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:1000], body[1000:], b""))
        else:
            self.send_header("Content-Length", str(10**17 if "vast" in server.faults else len(body)))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(body[:cut])
        self.wfile.flush()
        if "stall" in server.faults and cut is not None:
            server.released.wait()


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.released.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSE", 0.001)


def _archive(*urls: str, content: bytes | None = GOOD, kind: str = "sha256") -> Archive:
    checksum = f"{kind}:{hashlib.new(kind, content).hexdigest()}" if content is not None else None
    return Archive(urls=urls, folder="corpus/part", inside="corpus", checksum=checksum)


def _left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


FILE = "corpus-corpus.tar.gz"
LOCK = f".{FILE}.lock"


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_a_corpus_is_downloaded_and_unpacked_once(server: Server, tmp_path: Path, kind: str) -> None:
    archive = _archive(server.url, kind=kind)
    folder = ensure(archive, tmp_path)
    assert folder == tmp_path / "corpus" / "part"
    assert _tree(folder) == {"a/one.wav": NOISE, "two.txt": b"hello\n", "empty": b""}
    assert _left(tmp_path) == {"corpus", "archives"}
    assert _left(tmp_path / "archives") == {FILE, LOCK}
    ensure(archive, tmp_path)
    assert server.seen == [None]


def test_a_corpus_that_is_there_needs_no_network(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "part").mkdir(parents=True)
    assert ensure(_archive("http://127.0.0.1:9/gone.tar.gz"), tmp_path) == tmp_path / "corpus" / "part"
    assert _left(tmp_path) == {"corpus"}


def test_a_cut_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.cuts = [100_000]
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD
    assert server.seen == [None, "bytes=100000-"]


def test_any_number_of_cuts_is_borne_while_bytes_come(server: Server, tmp_path: Path) -> None:
    server.cuts = [20_000] * 12
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD
    assert server.seen == [None, *[f"bytes={20_000 * n}-" for n in range(1, 13)]]


def test_a_silent_server_is_asked_again(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 1.5)
    server.faults, server.cuts = {"stall"}, [100_000]
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD
    assert server.seen == [None, "bytes=100000-"]


def test_a_server_that_ignores_ranges_sends_it_all_again(server: Server, tmp_path: Path) -> None:
    server.faults, server.cuts = {"no range"}, [100_000]
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD
    assert server.seen == [None, "bytes=100000-"]


def test_a_file_without_a_version_is_never_continued(server: Server, tmp_path: Path) -> None:
    # Nothing would tell whether the rest belongs to the same file.
    server.faults, server.cuts = {"no version"}, [100_000]
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD
    assert server.seen == [None, None]


def _interrupted(server: Server, tmp_path: Path, archive: Archive) -> None:
    """Leave half a download behind, as a run that was stopped does."""
    server.cuts, server.statuses = [100_000], [None, 403]
    with pytest.raises(ArchiveError, match="403"):
        fetch(archive, tmp_path)
    assert (tmp_path / f"{FILE}.part").read_bytes() == GOOD[:100_000]
    server.seen.clear()


def test_the_next_run_goes_on_where_the_last_one_stopped(server: Server, tmp_path: Path) -> None:
    archive = _archive(server.url)
    _interrupted(server, tmp_path, archive)
    assert fetch(archive, tmp_path).read_bytes() == GOOD
    assert server.seen == ["bytes=100000-"]
    assert _left(tmp_path) == {FILE}


def test_a_file_that_changed_meanwhile_is_taken_anew(server: Server, tmp_path: Path) -> None:
    _interrupted(server, tmp_path, _archive(server.url, content=None))
    server.content, server.etag = _tar({"corpus/new": NOISE[::-1]}), '"v2"'
    assert fetch(_archive(server.url, content=None), tmp_path).read_bytes() == server.content
    assert server.seen == ["bytes=100000-"]


def test_halves_of_two_files_are_found_out(server: Server, tmp_path: Path) -> None:
    # A server that knows Range but not If-Range sends the rest of another file.
    changed = GOOD[:50_000] + bytes(100) + GOOD[50_100:]
    archive = _archive(server.url, content=changed)
    _interrupted(server, tmp_path, archive)
    server.content, server.etag, server.faults = changed, '"v2"', {"blind"}
    with pytest.raises(ArchiveError, match="expected the checksum"):
        fetch(archive, tmp_path)
    assert _left(tmp_path) == set()
    assert fetch(archive, tmp_path).read_bytes() == changed


def test_another_url_does_not_continue_a_file(server: Server, tmp_path: Path) -> None:
    _interrupted(server, tmp_path, _archive(server.url))
    assert fetch(_archive(f"{server.url}?mirror"), tmp_path).read_bytes() == GOOD
    assert server.seen == [None]


def test_a_part_other_than_the_one_asked_for_is_refused(server: Server, tmp_path: Path) -> None:
    server.faults, server.cuts = {"shifted"}, [100_000]
    with pytest.raises(ArchiveError, match="asked for bytes from 100000, got them from 100007"):
        fetch(_archive(server.url), tmp_path)


def test_a_download_that_was_whole_already_only_gets_its_name(server: Server, tmp_path: Path) -> None:
    archive = _archive(server.url)
    _interrupted(server, tmp_path, archive)
    (tmp_path / f"{FILE}.part").write_bytes(GOOD)  # killed between the last byte and the renaming
    assert fetch(archive, tmp_path).read_bytes() == GOOD
    assert server.seen == [f"bytes={len(GOOD)}-"]


def test_a_part_that_is_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    archive = _archive(server.url)
    _interrupted(server, tmp_path, archive)
    (tmp_path / f"{FILE}.part").write_bytes(GOOD + b"more")
    assert fetch(archive, tmp_path).read_bytes() == GOOD
    assert server.seen == [f"bytes={len(GOOD) + 4}-", None]


def test_a_file_of_unknown_length(server: Server, tmp_path: Path) -> None:
    server.faults = {"chunked"}  # as GitHub sends its archives
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD


def test_a_wrong_checksum_leaves_nothing_behind(server: Server, tmp_path: Path) -> None:
    server.content = GOOD[:-9] + bytes([GOOD[-9] ^ 1]) + GOOD[-8:]
    with pytest.raises(ArchiveError) as caught:
        ensure(_archive(server.url), tmp_path)
    assert hashlib.sha256(GOOD).hexdigest() in str(caught.value)
    assert hashlib.sha256(server.content).hexdigest() in str(caught.value)
    assert _left(tmp_path) == {"archives"}
    assert _left(tmp_path / "archives") == {LOCK}


def test_the_first_downloads_hash_is_kept_and_compared(server: Server, tmp_path: Path) -> None:
    archive, archives = _archive(server.url, content=None), tmp_path / "archives"
    folder, record = ensure(archive, tmp_path), archives / f"{FILE}.checksum"
    assert record.read_text() == f"sha256:{hashlib.sha256(GOOD).hexdigest()}\n"
    (archives / FILE).unlink()
    assert fetch(archive, archives).read_bytes() == GOOD
    (archives / FILE).unlink()
    shutil.rmtree(folder)
    server.content = _tar({"corpus/new": b"x"})
    with pytest.raises(ArchiveError, match=r"of the first download; if its home has a new one, delete .*\.checksum\)"):
        ensure(archive, tmp_path)
    assert _left(archives) == {record.name, LOCK}
    record.unlink()
    assert _tree(ensure(archive, tmp_path)) == {"new": b"x"}


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"<html>Please log in</html>", "no archive"), (_tar({"x": b""}), "expected a folder")],
    ids=["page", "archive"],  # the archive has its time inside, and names must be the same in every process
)
def test_the_hash_of_what_is_not_the_corpus_is_not_kept(
    server: Server, tmp_path: Path, content: bytes, said: str
) -> None:
    """As a page to log in that comes with status 200: it must not stand in the way of what comes after it."""
    server.content = content
    with pytest.raises(ArchiveError, match=said):
        ensure(_archive(server.url, content=None), tmp_path)
    (tmp_path / "archives" / FILE).unlink()
    server.content = GOOD
    assert _tree(ensure(_archive(server.url, content=None), tmp_path))["a/one.wav"] == NOISE


def test_a_file_damaged_on_the_disk_is_found_out(server: Server, tmp_path: Path) -> None:
    path = fetch(_archive(server.url), tmp_path)
    path.write_bytes(GOOD[:-1])
    with pytest.raises(ArchiveError, match=r"is damaged: .* Delete it and try again"):
        fetch(_archive(server.url), tmp_path)
    assert server.seen == [None]


def test_mirrors_are_tried_in_turn(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    archive = _archive("http://127.0.0.1:9/corpus.tar.gz", f"{server.url}?gone", f"{server.url}?mirror")
    assert fetch(archive, tmp_path).read_bytes() == GOOD
    assert server.seen == [None, None]


def test_what_went_wrong_at_each_url_is_told(server: Server, tmp_path: Path) -> None:
    server.statuses = [404]
    with pytest.raises(ArchiveError) as caught:
        fetch(_archive("http://127.0.0.1:9/corpus.tar.gz", server.url), tmp_path)
    assert f"{server.url}: the server answers 404 Not Found" in str(caught.value)
    assert "http://127.0.0.1:9/corpus.tar.gz: gave up after 4 tries" in str(caught.value)
    assert "Is this machine online?" in str(caught.value)


def test_a_server_that_is_busy_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD
    server.statuses = [500] * 10
    (tmp_path / FILE).unlink()
    with pytest.raises(ArchiveError, match="HTTP Error 500"):
        fetch(_archive(server.url), tmp_path)
    assert len(server.seen) == 3 + module.TRIES


class Dropping:
    """An answer whose network goes while it is read, or whose disk: what `read1` raises."""

    def __init__(self, number: int) -> None:
        self.error = OSError(number, os.strerror(number))

    def __call__(self, *_: object) -> bytes:
        raise self.error


@pytest.mark.parametrize("number", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ECONNABORTED])
def test_a_network_that_goes_while_it_is_read_is_asked_again(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(module.http.client.HTTPResponse, "read1", Dropping(number))
        with pytest.raises(ArchiveError, match=f"gave up after {module.TRIES} tries .*{os.strerror(number)}"):
            fetch(_archive(server.url), tmp_path)
    assert len(server.seen) == module.TRIES
    assert fetch(_archive(server.url), tmp_path).read_bytes() == GOOD


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_is_no_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(module.http.client.HTTPResponse, "read1", Dropping(number))
    with pytest.raises(OSError, match=os.strerror(number)):
        fetch(_archive(server.url), tmp_path)
    assert len(server.seen) == 1


def test_a_file_larger_than_the_disk_is_not_begun(server: Server, tmp_path: Path) -> None:
    server.faults = {"vast"}
    with pytest.raises(ArchiveError, match=r"100000000000 MB are needed; .* has room for"):
        fetch(_archive(server.url), tmp_path)


CHILD = """
import signal, sys
from pathlib import Path
from recipes.archive import Archive, ensure, unpack, unpack_once
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a shell's background jobs lack
"""


@contextmanager
def _child(code: str, *arguments: object) -> Iterator[subprocess.Popen]:
    """A process that runs the code; killed at the end of the block."""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-c", CHILD + code, *map(str, arguments)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def _until(condition, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300  # machines under test may be busy
    while not condition():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline, "nothing happened in 300 s"
        time.sleep(0.01)


ENSURE = "ensure(Archive((sys.argv[1],), 'corpus/part', 'corpus'), Path(sys.argv[2]))"


def test_a_run_killed_while_downloading_is_continued(server: Server, tmp_path: Path) -> None:
    server.faults, server.cuts = {"stall"}, [100_000]
    part = tmp_path / "archives" / f"{FILE}.part"
    with _child(ENSURE, server.url, tmp_path) as process:
        _until(lambda: part.exists() and part.stat().st_size == 100_000, process)
    assert not (tmp_path / "corpus").exists()
    assert _tree(ensure(_archive(server.url), tmp_path))["a/one.wav"] == NOISE
    assert server.seen == [None, "bytes=100000-"]


def _waits(process: subprocess.Popen) -> None:
    """See that it says that another run has the archive."""
    assert select.select([process.stderr], [], [], 100)[0], "nothing was said in 100 s"
    assert b"another run downloads or unpacks it; waiting" in process.stderr.readline()


needs_locks = pytest.mark.skipif(not CAN_LOCK, reason="needs locks")


@needs_locks
@pytest.mark.parametrize("killed", [False, True])
def test_of_two_runs_one_downloads_and_the_other_waits(server: Server, tmp_path: Path, killed: bool) -> None:
    """Whether the first one comes to its end or is killed, its download is gone on with, and by nobody else."""
    server.faults, server.cuts = {"stall"}, [100_000]
    part = tmp_path / "archives" / f"{FILE}.part"
    with _child(ENSURE, server.url, tmp_path) as first:
        _until(lambda: part.exists() and part.stat().st_size == 100_000, first)
        with _child(ENSURE, server.url, tmp_path) as second:
            _waits(second)
            assert server.seen == [None]
            if killed:
                first.kill()
            server.released.set()
            assert second.wait(100) == 0
            assert second.stderr.read() == b""  # it is said once
    assert _tree(tmp_path / "corpus" / "part") == {"a/one.wav": NOISE, "two.txt": b"hello\n", "empty": b""}
    assert server.seen == [None, "bytes=100000-"]


def test_without_locks_all_goes_on(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("asr.files.fcntl", None)
    assert _tree(ensure(_archive(server.url), tmp_path))["a/one.wav"] == NOISE


needs_pipes = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")


UNPACK = "unpack(Path(sys.argv[1]), 'corpus', Path(sys.argv[2]))"
UNPACK_ONCE = UNPACK.replace("unpack", "unpack_once")


@contextmanager
def _amid_unpacking(tmp_path: Path, folder: Path, code: str = UNPACK) -> Iterator[subprocess.Popen]:
    """A process that is surely in the midst of unpacking: its archive comes through a pipe, and not to the end."""
    pipe = tmp_path / "pipe.tar.gz"
    os.mkfifo(pipe)
    with _child(code, pipe, folder) as process, pipe.open("wb") as writer:
        writer.write(GOOD[:200_000])
        writer.flush()
        _until((folder.with_name(f".{folder.name}.unpacking") / "corpus" / "a" / "one.wav").exists, process)
        yield process


@needs_pipes
def test_a_run_killed_while_unpacking_leaves_nothing_half(tmp_path: Path) -> None:
    folder = tmp_path / "corpora" / "part"
    with _amid_unpacking(tmp_path, folder) as process:
        process.kill()
        process.wait()
    assert not folder.exists()
    (tmp_path / "good.tar.gz").write_bytes(GOOD)
    unpack(tmp_path / "good.tar.gz", "corpus", folder)
    assert _tree(folder)["a/one.wav"] == NOISE
    assert _left(folder.parent) == {"part"}


@needs_locks
@needs_pipes
def test_of_two_runs_one_unpacks_and_the_other_waits(tmp_path: Path) -> None:
    folder, file = tmp_path / "corpora" / "part", tmp_path / "pipe.tar.gz"
    with (
        _amid_unpacking(tmp_path, folder, UNPACK_ONCE) as first,
        _child(UNPACK_ONCE, file, folder) as second,
    ):
        _waits(second)
        assert folder.with_name(".part.unpacking").is_dir()
        file.unlink()
        file.write_bytes(GOOD)  # for the one that waits
        first.kill()
        assert second.wait(100) == 0
    assert _tree(folder)["a/one.wav"] == NOISE
    assert _left(folder.parent) == {"part"}


# Unpacking


def _write(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("name", "pack"), [("good.tar.gz", _tar), ("good.tar.bz2", _bz2), ("good.zip", _zip)])
def test_unpacking_gives_what_the_standard_library_gives(tmp_path: Path, name: str, pack) -> None:
    files = FILES | {"corpus/./deep/er/\u00e4 b.txt": "\u00e4".encode()}
    path = _write(tmp_path, name, pack(files))
    unpack(path, "corpus", tmp_path / "ours")
    if name.endswith(".zip"):
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "theirs")
    else:
        with tarfile.open(path) as archive:
            archive.extractall(tmp_path / "theirs")
    assert _tree(tmp_path / "ours") == _tree(tmp_path / "theirs" / "corpus")
    unpack(path, ".", tmp_path / "all")
    assert _tree(tmp_path / "all") == _tree(tmp_path / "theirs")


def _member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", content: bytes = b"evil") -> bytes:
    """A .tar.gz with a good file, then one member of a kind, then a file below that member's name."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w:gz") as tar:
        for info in (tarfile.TarInfo("corpus/good"), tarfile.TarInfo(name), tarfile.TarInfo(f"{name}/below")):
            regular = info.name != name or kind == tarfile.REGTYPE
            info.type, info.linkname = (tarfile.REGTYPE, "") if regular else (kind, target)
            info.size = len(content) if regular else 0
            tar.addfile(info, io.BytesIO(content) if regular else None)
    return output.getvalue()


ESCAPES = ["../evil", "corpus/../../evil", "C:\\evil", "corpus\\..\\..\\evil"]


@pytest.mark.parametrize(
    "content",
    [
        *[_member(name) for name in ESCAPES],
        _member("corpus/link", tarfile.SYMTYPE, ".."),
        _member("corpus/link", tarfile.SYMTYPE, "/tmp"),
        _member("corpus/link", tarfile.SYMTYPE, "good"),
        _member("corpus/hard", tarfile.LNKTYPE, "/etc/passwd"),
        _member("corpus/hard", tarfile.LNKTYPE, "../../outside"),
        _member("corpus/device", tarfile.CHRTYPE),
        _member("corpus/disk", tarfile.BLKTYPE),
        _member("corpus/pipe", tarfile.FIFOTYPE),
        _member("corpus/good"),  # twice, so the second could differ from what was checked
        _member("corpus/file"),  # and then a file below it
    ],
)
def test_a_hostile_tar_is_refused_without_a_trace(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "outside").write_text("precious")
    home = tmp_path / "home"
    home.mkdir()
    path = _write(home, "evil.tar.gz", content)
    with pytest.raises(ArchiveError, match=r"is not safe to unpack: .* Nothing of it was kept"):
        unpack(path, "corpus", home / "corpora" / "part")
    assert _tree(tmp_path) == {"outside": b"precious", "home/evil.tar.gz": content}
    assert _left(home / "corpora") == set()


@pytest.mark.parametrize(("name", "pack"), [("evil.tar.gz", _tar), ("evil.tar.bz2", _bz2), ("evil.zip", _zip)])
def test_absolute_paths_are_refused(tmp_path: Path, name: str, pack) -> None:
    path = _write(tmp_path, name, pack({"corpus/good": b"good", f"{tmp_path}/evil": b"evil"}))
    with pytest.raises(ArchiveError, match="a path out of its folder"):
        unpack(path, "corpus", tmp_path / "part")
    assert _left(tmp_path) == {name}


@pytest.mark.parametrize("name", ESCAPES)
def test_a_hostile_zip_is_refused_without_a_trace(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    path = _write(home, "evil.zip", _zip({"corpus/good": b"good", name: b"evil"}))
    with pytest.raises(ArchiveError, match="a path out of its folder"):
        unpack(path, "corpus", home / "part")
    assert _left(tmp_path) == {"home"}
    assert _left(home) == {"evil.zip"}


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    output = io.BytesIO()
    with zipfile.ZipFile(output, "w") as archive:
        info = zipfile.ZipInfo("corpus/link")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc")
    with pytest.raises(ArchiveError, match="a link, a device or the like"):
        unpack(_write(tmp_path, "link.zip", output.getvalue()), "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"link.zip"}


def _zeros(size: int) -> Iterator[bytes]:
    yield from (bytes(1 << 20) for _ in range(size >> 20))


def _tar_bomb() -> bytes:
    info = tarfile.TarInfo("corpus/zeros")
    info.size = module.SMALL + (16 << 20)
    return gzip.compress(info.tobuf() + b"".join(_zeros(info.size)), 1)


def _header_bomb() -> bytes:
    """A header, which tarfile would read into memory at once, of 80 MB."""
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, module.SMALL + (16 << 20)
    return gzip.compress(info.tobuf() + b"".join(_zeros(info.size)), 1)


def _trailing_bomb() -> bytes:
    return _tar({"corpus/good": b"good"}) + gzip.compress(b"".join(_zeros(module.SMALL + (16 << 20))), 1)


def _repacked(bomb: Callable[[], bytes]) -> bytes:
    """The same bytes as a .tar.bz2."""
    return bz2.compress(gzip.decompress(bomb()), 1)


@pytest.mark.parametrize("bomb", [_tar_bomb, _header_bomb, _trailing_bomb])
@pytest.mark.parametrize(("name", "pack"), [("bomb.tar.gz", lambda bomb: bomb()), ("bomb.tar.bz2", _repacked)])
def test_a_tar_bomb_is_stopped(tmp_path: Path, bomb, name: str, pack) -> None:
    path = _write(tmp_path, name, pack(bomb))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(ArchiveError, match=r"unpacks to over 67 MB, .* Nothing of it was kept"):
        unpack(path, "corpus", tmp_path / "part")
    assert _left(tmp_path) == {name}


def test_a_zip_bomb_is_stopped(tmp_path: Path) -> None:
    files = {f"corpus/{number}": bytes(10 << 20) for number in range(8)}
    path = _write(tmp_path, "bomb.zip", _zip(files))
    with pytest.raises(ArchiveError, match="unpacks to over 67 MB"):
        unpack(path, "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"bomb.zip"}


def test_a_zip_that_lies_about_its_size_is_no_bomb_either(tmp_path: Path) -> None:
    content = bytearray(_zip({"corpus/zeros": bytes(100_000)}))
    directory = content.index(b"PK\x01\x02")
    for place in (22, directory + 24):  # the uncompressed size in the local header and in the directory
        assert struct.unpack_from("<I", content, place) == (100_000,)
        struct.pack_into("<I", content, place, 10)
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(_write(tmp_path, "liar.zip", bytes(content)), "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"liar.zip"}


def test_a_tar_of_many_files_takes_no_memory_for_them(tmp_path: Path) -> None:
    path = _write(tmp_path, "many.tar.gz", _tar({f"corpus/{number}": b"" for number in range(4000)}))
    tracemalloc.start()
    try:
        assert sum(1 for _ in module._tar_members(path)) == 4000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000  # 2.1 MB if they are kept
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kept", [0, 10, 5_000, 200_000, len(GOOD) - 4])
def test_a_cut_tar_is_refused(tmp_path: Path, kept: int) -> None:
    with pytest.raises(ArchiveError, match=r"is damaged, or no archive .* Delete it"):
        unpack(_write(tmp_path, "cut.tar.gz", GOOD[:kept]), "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"cut.tar.gz"}


@pytest.mark.parametrize("kept", [0, 10, 5_000, 200_000, -4])
def test_a_cut_bz2_is_refused(tmp_path: Path, kept: int) -> None:
    with pytest.raises(ArchiveError, match=r"is damaged, or no archive .* Delete it"):
        unpack(_write(tmp_path, "cut.tar.bz2", _bz2(FILES)[:kept]), "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"cut.tar.bz2"}


@pytest.mark.parametrize("name", ["wrong.tar.gz", "wrong.tar.bz2", "wrong.zip"])
def test_what_is_no_archive_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArchiveError, match="is damaged, or no archive"):
        unpack(_write(tmp_path, name, b"<html>Please log in here</html>"), "corpus", tmp_path / "part")


def test_a_changed_byte_in_a_tar_is_found(tmp_path: Path) -> None:
    # Uncompressed blocks, so that nothing but gzip's checksum at the very end can tell.
    plain = gzip.decompress(GOOD)
    content = bytearray(gzip.compress(plain, 0))
    content[150_000] ^= 1
    with pytest.raises(ArchiveError, match="CRC"):
        unpack(_write(tmp_path, "bad.tar.gz", bytes(content)), "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"bad.tar.gz"}


def test_a_changed_byte_in_a_bz2_is_found(tmp_path: Path) -> None:
    content = bytearray(_bz2(FILES))
    content[150_000] ^= 1
    with pytest.raises(ArchiveError, match="is damaged"):
        unpack(_write(tmp_path, "bad.tar.bz2", bytes(content)), "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"bad.tar.bz2"}


def test_a_full_disk_is_not_taken_for_damage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.shutil, "copyfileobj", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(_write(tmp_path, "good.tar.bz2", _bz2(FILES)), "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"good.tar.bz2"}


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    content = bytearray(_zip({"corpus/a": b"secret"}))
    directory = content.index(b"PK\x01\x02")
    for place in (6, directory + 8):
        content[place] |= 1
    with pytest.raises(ArchiveError, match=r"cannot be unpacked .*encrypted"):
        unpack(_write(tmp_path, "secret.zip", bytes(content)), "corpus", tmp_path / "part")


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, "other.tar.gz", _tar({"LibriTTS/a": b"x", "README": b"y"}))
    with pytest.raises(ArchiveError, match="expected a folder 'corpus' in it; found LibriTTS, README"):
        unpack(path, "corpus", tmp_path / "part")
    assert _left(tmp_path) == {"other.tar.gz"}


def _interrupt(process: subprocess.Popen) -> None:
    """Press Ctrl-C until it is heard: on a busy machine Python 3.11 at times misses one that comes before a read."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)


@needs_pipes
def test_an_interrupt_while_unpacking_cleans_up(tmp_path: Path) -> None:
    folder = tmp_path / "corpora" / "part"
    with _amid_unpacking(tmp_path, folder) as process:
        _interrupt(process)
    assert _left(folder.parent) == set()
