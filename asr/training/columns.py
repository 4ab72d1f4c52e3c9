"""Columns of a table with any number of rows, in files that processes memory-map: memory holds only what is read."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

BYTES, INTEGERS = "B", "i"  # types of the numbers in a row, as `array` and numpy call them: 8 and 32 bits


def mapped(path: Path, dtype: DTypeLike) -> NDArray:
    """The numbers in a file, memory-mapped; an empty one, which cannot be, gives an empty array."""
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


class RaggedWriter:
    """Writes rows of numbers, each of any length; `Ragged` reads them once this is closed, as `with` does.

    Args:
        path: of the file with all numbers; that with the ends of the rows is called `....ends.npy`.
        kind: BYTES or INTEGERS.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path, self._kind = path, kind
        self._file = path.open("wb")
        self._ends = array("q", [0])

    def append(self, row: Iterable[int]) -> None:
        """Write the next row."""
        numbers = array(self._kind, row)
        self._file.write(numbers)
        self._ends.append(self._ends[-1] + len(numbers))

    def __enter__(self) -> RaggedWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        np.save(_ends_of(self._path), np.frombuffer(self._ends, np.int64))


class Ragged:
    """Rows of numbers, each of any length, memory-mapped; arguments as in `RaggedWriter`.

    Attributes:
        values: all rows joined.
        ends: (rows + 1,) where each row ends in `values`, after a 0.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.values = mapped(path, kind)
        self.ends = np.load(_ends_of(path), mmap_mode="r")

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __getitem__(self, i: int) -> NDArray:
        """Row i, from 0 to len - 1."""
        return self.values[self.ends[i] : self.ends[i + 1]]


class TextWriter(RaggedWriter):
    """Writes texts, which `Texts` reads."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, BYTES)

    def append(self, text: str) -> None:
        """Write the next text, which may be the name of a file that is not Unicode."""
        super().append(text.encode("utf-8", "surrogatepass"))


class Texts:
    """Texts, memory-mapped.

    Attributes:
        joined: their bytes.
    """

    def __init__(self, path: Path) -> None:
        self.joined = Ragged(path, BYTES)

    def __len__(self) -> int:
        return len(self.joined)

    def __getitem__(self, i: int) -> str:
        """Text i, from 0 to len - 1."""
        return self.joined[i].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        return map(self.__getitem__, range(len(self)))


def fingerprint(*parts: object) -> str:
    """A hash that is the same in every process: of arrays, however large, by their bytes; of all else by its `repr`."""
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part))
        else:
            digest.update(f"{part!r};".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _ends_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.ends.npy")
