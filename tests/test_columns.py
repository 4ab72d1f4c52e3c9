"""Columns of any length, written and mapped again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asr.training.columns import INTEGERS, Ragged, RaggedWriter, Texts, TextWriter, fingerprint


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=5), max_size=8))
def test_rows_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[int]]) -> None:
    path = tmp_path_factory.mktemp("columns") / "rows"
    with RaggedWriter(path, INTEGERS) as writer:
        for row in rows:
            writer.append(row)
    column = Ragged(path, INTEGERS)
    assert len(column) == len(rows) and [column[i].tolist() for i in range(len(rows))] == rows
    assert column.values.tolist() == [number for row in rows for number in row]


@given(st.lists(st.text(st.characters()), max_size=8))  # half characters too, as in names of files
def test_texts_come_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("columns") / "texts"
    with TextWriter(path) as writer:
        for text in texts:
            writer.append(text)
    column = Texts(path)
    assert len(column) == len(texts) and list(column) == texts


def test_a_fingerprint_tells_apart_what_differs(tmp_path: Path) -> None:
    """Numbers, where an array ends, its type and shape, texts, and what follows what."""
    array = np.arange(6)
    others = [array[:5], array[::-1], array.astype(np.int32), array.reshape(2, 3), "a", ("a", 1), None, 1, "1"]
    found = {fingerprint(*parts) for parts in [(array,), *((other,) for other in others), (array[:3], array[3:]), ()]}
    assert len(found) == len(others) + 3
    array.tofile(tmp_path / "array")
    assert fingerprint(np.memmap(tmp_path / "array", array.dtype)) == fingerprint(array.copy()) == fingerprint(array)
