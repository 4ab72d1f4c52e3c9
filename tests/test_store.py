"""The bounded folder: what is removed to make room, and what never is."""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from asr.training.store import Entry, Store, StoreError, size_of

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs the locks of Unix")
PROJECT = Path(__file__).resolve().parents[1]
MIB = 2**20


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of at most 10 MiB."""
    monkeypatch.setenv("ASR_CACHE_GIB", str(10 / 1024))
    return Store(tmp_path / "store")


def name(number: int) -> str:
    """Of an entry."""
    return f"{number:032x}.int16"


def make(store: Store, number: int, mib: float) -> Path:
    """Make an entry of that many MiB, which nobody uses afterwards; a later one was used later."""
    with store.draft("audio", int(mib * MIB)) as draft:
        (draft / "samples").touch()
        os.truncate(draft / "samples", int(mib * MIB))  # takes no room on the disk
        path = store.keep(draft, name(number)).path
    os.utime(path, (1e9 + number, 1e9 + number))
    return path


def numbers(store: Store) -> list[int]:
    """Of the entries; nothing else may be there."""
    return sorted(int(path.name.partition(".")[0], 16) for path in store.path.iterdir())


@contextmanager
def another_process(code: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A process that has run this code when this begins, and is killed when it ends."""
    line = [sys.executable, "-c", f"{code}\nprint(flush=True)\ninput()", *map(str, arguments)]
    process = subprocess.Popen(line, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_was_used_longest_ago_makes_room(store: Store) -> None:
    for number in (1, 2, 3):
        make(store, number, 3)
    assert numbers(store) == [1, 2, 3]
    assert store.find(name(1)).path == store.path / name(1)  # used now
    make(store, 4, 3.5)
    assert numbers(store) == [1, 3, 4]
    make(store, 5, 0.4)
    assert numbers(store) == [1, 3, 4, 5]  # there is room enough
    assert store.find(name(2)) is None


def test_what_is_used_is_never_removed(store: Store) -> None:
    """In this process, or in another one that has got it from there."""
    for number in (1, 2, 3):
        make(store, number, 3)
    mine = store.find(name(1))
    code = "import pickle, sys\nentry = pickle.loads(bytes.fromhex(sys.argv[1]))"
    with another_process(code, pickle.dumps(Entry(store.path / name(2))).hex()):
        make(store, 4, 3)
        assert numbers(store) == [1, 2, 4]
        with pytest.raises(StoreError, match=r"audio needs 5 MB, which with all that is in use there makes 12 MB; "):
            make(store, 5, 5)
        assert numbers(store) == [1, 2, 4]  # nothing was removed in vain
    make(store, 5, 5)
    assert numbers(store) == [1, 5]
    del mine
    make(store, 6, 9.5)
    assert numbers(store) == [6]


def test_what_does_not_fit_at_all_is_an_error_that_says_what_would(store: Store, monkeypatch) -> None:
    make(store, 1, 3)
    with pytest.raises(StoreError) as caught:
        make(store, 2, 300)
    found = re.search(
        r"audio needs 315 MB, .*; at most 10 MB may be kept\. Set ASR_CACHE_GIB to ([\d.]+) or more", str(caught.value)
    )
    assert numbers(store) == [1]
    monkeypatch.setenv("ASR_CACHE_GIB", found[1])
    make(store, 2, 300)
    assert numbers(store) == [1, 2]


def test_a_draft_that_grows_is_checked_against_the_bound(store: Store) -> None:
    make(store, 1, 6)
    with store.draft("audio") as draft:  # whose size is not known
        (draft / "samples").write_bytes(bytes(5 * MIB))
        store.check("audio")
        assert [path for path in store.path.iterdir()] == [draft]
        (draft / "more").write_bytes(bytes(6 * MIB))
        with pytest.raises(StoreError, match="in use there makes 12 MB; at most 10 MB may be kept"):
            store.check("audio")
    assert numbers(store) == []


def test_drafts_of_others_count_while_they_live_and_go_when_they_are_killed(store: Store) -> None:
    code = (
        "import sys, pathlib, asr.training.store as s\n"
        "draft = s.Store(pathlib.Path(sys.argv[1])).draft('x')\n"
        "(draft.__enter__() / 'samples').write_bytes(bytes(6 * 2**20))"
    )
    with another_process(code, store.path):
        with pytest.raises(StoreError, match="with all that is in use there makes 12 MB"):
            make(store, 1, 5)
        (left,) = store.path.iterdir()
    assert left.exists()
    make(store, 1, 5)
    assert numbers(store) == [1]


def test_files_of_earlier_versions_make_room_and_those_of_others_stay(store: Store) -> None:
    for old in (name(1), f"{name(1)}.json", "notes.txt"):
        (store.path / old).write_bytes(bytes(4 * MIB))
    make(store, 2, 9)
    assert {path.name for path in store.path.iterdir()} == {"notes.txt", name(2)}


def test_a_draft_that_fails_leaves_nothing(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), store.draft("audio") as draft:
        (draft / "samples").write_bytes(b"half")
        raise KeyboardInterrupt
    assert numbers(store) == []


def test_of_two_that_make_the_same_the_first_is_taken(store: Store) -> None:
    make(store, 1, 1)
    with store.draft("audio") as draft:
        (draft / "samples").write_bytes(b"the same, made again")
        entry = store.keep(draft, name(1))
    assert size_of(entry.path) == MIB and numbers(store) == [1]


@pytest.mark.parametrize("bound", ["much", "0", "-1", "nan"])
def test_a_bound_that_is_no_size_is_an_error(store: Store, bound: str, monkeypatch) -> None:
    monkeypatch.setenv("ASR_CACHE_GIB", bound)
    with pytest.raises(StoreError, match=rf"ASR_CACHE_GIB is '{bound}'; expected how many GiB"):
        make(store, 1, 1)
