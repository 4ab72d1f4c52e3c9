"""Archives of public corpora: downloaded (resumed, checked) and unpacked safely, once.

The downloaded files stay in `archives/` below the corpora folder and may be deleted. Where no source states a
checksum, the hash of the first download that could be unpacked is kept beside the file, and later downloads are
compared with it. Of several runs that want the same archive one brings it, and the others wait.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import hashlib
import http.client
import shutil
import ssl
import stat
import sys
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from tqdm import tqdm

from asr import Error
from asr.files import lock

CHUNK = 1 << 18  # bytes at a time
TIMEOUT = 30.0  # seconds without a byte
TRIES = 4  # in a row that bring no new byte, before a URL is given up
PAUSE = 1.0  # seconds after a try; doubled after each that brings no new byte
PASSING = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may be gone the next time
NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
NETWORK_ERRNOS = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET)  # of plain OSErrors
GROWTH, SMALL = 20, 64 << 20  # audio hardly packs: over 20 times the archive's size and 64 MiB is no corpus


class ArchiveError(Error):
    """An archive that cannot be downloaded, is not what was published, or is not safe to unpack."""


@dataclass(frozen=True)
class Archive:
    """A public .tar.gz, .tar.bz2 or .zip file and the folder of the corpora that it becomes.

    Attributes:
        urls: its public home and mirrors, tried in this order.
        folder: where its content goes, below the corpora folder.
        inside: the folder inside the archive that becomes `folder`, "." for all of it; the rest is dropped.
        checksum: "sha256:..." or "md5:...", only where a public source states it; a comment names the source.
    """

    urls: tuple[str, ...]
    folder: str
    inside: str
    checksum: str | None = None

    @property
    def file(self) -> str:
        """The name of the downloaded file: the corpus's and that of the first URL."""
        return f"{PurePosixPath(self.folder).parts[0]}-{PurePosixPath(self.urls[0]).name}"


def ensure(archive: Archive, corpora: Path) -> Path:
    """The archive's folder below the corpora folder, downloaded and unpacked first if it is absent.

    Raises:
        ArchiveError: it cannot be had, or is not what it should be. Nothing half done is left in its place.
    """
    folder, archives = corpora / archive.folder, corpora / "archives"
    if not folder.is_dir():
        with _alone(archives / archive.file):
            if not folder.is_dir():  # another run may have put it there meanwhile
                file = fetch(archive, archives)
                unpack(file, archive.inside, folder)
                _record(file, archive)
    return folder


def unpack_once(file: Path, inside: str, folder: Path) -> None:
    """Unpack an archive that was fetched by hand, if its folder is absent; errors as `unpack`."""
    if not folder.is_dir():
        with _alone(file):
            if not folder.is_dir():
                unpack(file, inside, folder)


def fetch(archive: Archive, folder: Path) -> Path:
    """Download an archive into a folder, from the first of its URLs that works, and check it; give the file.

    A download that was cut is continued, in this run or the next, if the server says that the file is still
    the same. The file gets its name only when it is whole and its checksum is right.

    Raises:
        ArchiveError: no URL gives the file, or its checksum is wrong.
    """
    path = folder / archive.file
    if path.exists():
        if wrong := _wrong_checksum(path, archive, path):
            raise ArchiveError(f"{path} is damaged: {wrong}. Delete it and try again.")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in archive.urls:
        try:
            return _fetch_from(url, archive, path)
        except ArchiveError as error:
            failures.append(f"  {url}: {error}")
    raise ArchiveError(f"{path.name} could not be downloaded:\n" + "\n".join(failures))


def unpack(file: Path, inside: str, folder: Path) -> None:
    """Unpack a .tar.gz, .tar.bz2 or .zip archive and put its folder `inside` at `folder`, whole or not at all.

    No two may unpack at the same folder at once: see `unpack_once`.
    Only plain files and folders are made, each below a fresh folder, never a link, so nothing that the
    archive says can reach outside. One with anything else in it, or far more than audio packs, is refused.

    Raises:
        ArchiveError: not such an archive, damaged, without that folder, or not safe.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = folder.with_name(f".{folder.name}.unpacking")
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    try:
        fresh.mkdir()
        with _damage_reported(file):
            _unpack_all(file, fresh)
        if not (fresh / inside).is_dir():
            found = ", ".join(sorted(path.name for path in fresh.iterdir())[:10])
            raise ArchiveError(f"{file}: expected a folder '{inside}' in it; found {found or 'nothing'}.")
        (fresh / inside).rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """While it lasts, no other run downloads or unpacks this archive; one that does is waited for.

    Where there are no locks, as on Windows and some network drives, nothing is done about it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    # The lock's file stays: were it removed, two runs could hold locks on two files of that name. It is open for
    # writing, without which network file systems give no lock.
    with file.with_name(f".{file.name}.lock").open("ab") as handle:
        if lock(handle.fileno()) is False:
            print(f"{file.name}: another run downloads or unpacks it; waiting until it has ended", file=sys.stderr)
            lock(handle.fileno(), wait=True)
        yield


# Downloading


def _fetch_from(url: str, archive: Archive, path: Path) -> Path:
    part = path.with_name(f"{path.name}.part")
    _download(url, part)
    _source(part).unlink(missing_ok=True)
    if wrong := _wrong_checksum(part, archive, path):
        part.unlink()  # so that the next try starts anew
        raise ArchiveError(f"{wrong}. It was damaged on its way, or has changed at its home.")
    return part.replace(path)


def _download(url: str, part: Path) -> None:
    """Receive the rest of `part`, again after each cut, until it is whole or tries bring nothing new."""
    best, failed = _size(part), 0
    while True:
        try:
            if _receive(url, part):
                return
            reason = f"the connection ended after {_size(part)} bytes"
        except (OSError, http.client.HTTPException) as error:
            if not isinstance(error, NETWORK_ERRORS) and error.errno not in NETWORK_ERRNOS:
                raise  # the disk's
            reason = str(error) or type(error).__name__
        failed = failed + 1 if _size(part) <= best else 0
        best = max(best, _size(part))
        if failed == TRIES:
            raise ArchiveError(f"gave up after {TRIES} tries ({reason}). Is this machine online?")
        time.sleep(PAUSE * 2**failed)


def _receive(url: str, part: Path) -> bool:
    """Ask for what is missing of `part` and save what comes; true if it is whole now."""
    validator = _validator(url, part)
    have = _size(part) if validator else 0
    request = urllib.request.Request(url, headers={"User-Agent": "asr-recipes"})
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", validator)  # if the file has changed: all of it, from the start
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return _save(response, url, part, have)
    except urllib.error.HTTPError as error:
        return _refused(error, part, have)


def _refused(error: urllib.error.HTTPError, part: Path, have: int) -> bool:
    """What an HTTP error means: whole already (true), to be tried again, or hopeless (ArchiveError)."""
    if error.code == 416:  # nothing after what we have: it is whole, or not the same file
        if error.headers.get("Content-Range", "").rpartition("/")[2] == str(have):
            return True
        part.unlink(missing_ok=True)
        return False
    if error.code in PASSING:
        raise error
    raise ArchiveError(f"the server answers {error.code} {error.reason}.") from error


def _save(response: http.client.HTTPResponse, url: str, part: Path, have: int) -> bool:
    """Append an answer to `part`, or begin it anew; true if all that the server announced has come."""
    start = _first_byte(response)
    if start not in (0, have):
        raise http.client.HTTPException(f"asked for bytes from {have}, got them from {start}")
    if start == 0:  # the first request, a server that ignores Range, or a file that has changed
        _source(part).write_text(f"{url}\n{_validator_of(response)}", encoding="utf-8")
    length = response.headers.get("Content-Length", "")
    total = start + int(length) if length.isdigit() else None
    _check_space(part.parent, (total or 0) - start)
    with part.open("ab" if start else "wb") as file, _bar(part, total, start) as bar:
        while chunk := response.read1(CHUNK):
            file.write(chunk)
            bar.update(len(chunk))
    return total is None or _size(part) == total


def _first_byte(response: http.client.HTTPResponse) -> int:
    if response.status != 206:
        return 0
    content_range = response.headers.get("Content-Range", "")  # bytes 100-199/200
    first = content_range.removeprefix("bytes ").partition("-")[0]
    if not first.isdigit():
        raise http.client.HTTPException(f"a part of the file without saying which ({content_range!r:.80})")
    return int(first)


def _validator_of(response: http.client.HTTPResponse) -> str:
    """What identifies this version of the file: a strong ETag, its date, or nothing (then it starts anew)."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _validator(url: str, part: Path) -> str:
    """The version that `part` was begun with; empty if that was another URL's or is unknown."""
    try:
        begun_from, _, validator = _source(part).read_text(encoding="utf-8").partition("\n")
    except FileNotFoundError:
        return ""
    return validator if begun_from == url else ""


def _source(part: Path) -> Path:
    return part.with_name(f"{part.name}.source")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise ArchiveError(f"{needed / 1e6:.0f} MB are needed; {folder} has room for {free / 1e6:.0f} MB.")


def _bar(part: Path, total: int | None, start: int) -> tqdm:
    return tqdm(desc=part.stem, total=total, initial=start, unit="B", unit_scale=True, disable=None)


def _wrong_checksum(file: Path, archive: Archive, path: Path) -> str:
    """How a file's checksum differs from the published one, or from the one recorded beside `path`.

    Empty if it does not, or there is nothing to compare with.
    """
    record = _recorded(path)
    expected = archive.checksum or (record.read_text(encoding="ascii").strip() if record.exists() else None)
    if not expected:
        return ""
    kind = expected.partition(":")[0]
    found = f"{kind}:{_digest(file, kind)}"
    if found == expected:
        return ""
    origin = "published" if archive.checksum else f"of the first download; if its home has a new one, delete {record}"
    return f"expected the checksum {expected} ({origin}), found {found}"


def _record(file: Path, archive: Archive) -> None:
    """Keep the checksum of a first download that has proved to be the archive, where no source states one."""
    if not archive.checksum and not _recorded(file).exists():
        _recorded(file).write_text(f"sha256:{_digest(file, 'sha256')}\n", encoding="ascii")


def _recorded(path: Path) -> Path:
    return path.with_name(f"{path.name}.checksum")


def _digest(file: Path, kind: str) -> str:
    digest = hashlib.new(kind, usedforsecurity=False)  # some systems refuse md5 otherwise
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


# Unpacking


@contextmanager
def _damage_reported(file: Path) -> Iterator[None]:
    """Turn what the readers of archives raise for damaged files into an ArchiveError."""
    try:
        yield
    except (tarfile.TarError, gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ArchiveError(f"{file} is damaged, or no archive ({error}). Delete it and try again.") from error
    except (NotImplementedError, RuntimeError) as error:  # encrypted, or packed in a rare way
        raise ArchiveError(f"{file} cannot be unpacked ({error}).") from error
    except OSError as error:
        if error.errno is not None:  # the system's; bz2 has no error of its own for damage
            raise
        raise ArchiveError(f"{file} is damaged, or no archive ({error}). Delete it and try again.") from error


def _unpack_all(file: Path, folder: Path) -> None:
    members = _zip_members if file.suffix == ".zip" else _tar_members
    with tqdm(desc=f"unpacking {file.name}", unit=" files", disable=None) as bar:
        for name, content in members(file):
            path = folder / _safe(file, name)
            try:
                _make(path, content)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise _unsafe(file, name, "there twice") from error
            bar.update()


def _make(path: Path, content: IO[bytes] | None) -> None:
    """Make a new file with its folders, or a folder where there is no content."""
    if content is None:
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as output:
        shutil.copyfileobj(content, output, CHUNK)


def _tar_members(file: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """(name, content) of each file in a .tar.gz or .tar.bz2, (name, None) of each folder; ArchiveError at all else."""
    # Counted before tarfile sees it, so that no header can claim more memory than the bound, either.
    with (bz2 if file.suffix == ".bz2" else gzip).open(file) as stream:
        counted = _Counted(stream, file)
        with tarfile.open(fileobj=counted, mode="r|") as archive:
            for member in archive:
                if not (member.isfile() or member.isdir()):
                    raise _unsafe(file, member.name, "a link, a device or the like")
                yield member.name, archive.extractfile(member) if member.isfile() else None
                archive.members.clear()  # which tarfile keeps: 60 MiB for 100,000
        while counted.read(CHUNK):  # to the very end, where it is checked that nothing was damaged
            pass


def _zip_members(file: Path) -> Iterator[tuple[str, IO[bytes] | None]]:
    """As `_tar_members`, of a .zip."""
    left = _bound(file)
    with zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)  # Unix's file type; 0 from other systems
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(file, info.filename, "a link, a device or the like")
            left -= info.file_size  # zipfile gives no more than this
            if left < 0:
                raise _bomb(file)
            if info.is_dir():
                yield info.filename, None
            else:
                with archive.open(info) as content:
                    yield info.filename, content


class _Counted:
    """The unpacked bytes of a file, up to the most that an archive of its size may hold."""

    def __init__(self, stream: IO[bytes], file: Path) -> None:
        self._stream, self._file, self._left = stream, file, _bound(file)

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise _bomb(self._file)
        return data


def _bound(file: Path) -> int:
    return max(GROWTH * file.stat().st_size, SMALL)


def _safe(file: Path, name: str) -> str:
    """A member's name, if it stays below the folder it is unpacked in, on every system."""
    path = PureWindowsPath(name)  # takes both / and \ for separators
    if path.drive or path.root or ".." in path.parts or "\0" in name:
        raise _unsafe(file, name, "a path out of its folder")
    return name


def _unsafe(file: Path, name: str, what: str) -> ArchiveError:
    return ArchiveError(f"{file} is not safe to unpack: '{name}' is {what}. Nothing of it was kept.")


def _bomb(file: Path) -> ArchiveError:
    most = f"{_bound(file) / 1e6:.0f} MB"
    return ArchiveError(f"{file} unpacks to over {most}, which no corpus does. Nothing of it was kept.")
