"""The binary file of an n-gram model: a safetensors file that holds its tables, to be mapped into memory.

Its metadata entry "asr.ngram" is a JSON object with the format's version, the number of n-grams of every order, and
what the model says of itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr.files import replacing
from asr.lexicon import Pronunciations
from asr.ngram import SAID, STEP, TYPES, LanguageModelError, NGram, Tables

FORMAT_VERSION = 1


def write(path: str | os.PathLike[str], model: NGram) -> None:
    """See `NGram.save`."""
    from safetensors.numpy import save

    path, tables = Path(path), model.tables
    letters = "".join(f"{word}\n" for word in model.words)
    if letters.count("\n") > len(model.words):
        raise LanguageModelError(f"{path}: a word of the language model has a line feed in it")
    arrays = {
        "letters": np.frombuffer(letters.encode(), np.uint8),
        "words": tables.words,
        "log_probs": _codes(tables.log_probs * -tables.log_prob_unit, np.uint16),
        "backoffs": _codes(tables.backoffs * tables.backoff_unit, np.int16),
        "first_child": tables.first_child,
        "suffixes": tables.suffixes,
    }
    header = {"version": FORMAT_VERSION, "counts": model.counts, "info": model.info}
    if said := model.pronunciations:
        header["phones"] = said.phones
        arrays |= {"phone_ids": said.ids, "phone_lengths": said.lengths, "phone_counts": said.counts}
    content = save(
        {name: np.ascontiguousarray(array, {**TYPES, **SAID}[name]) for name, array in arrays.items()},
        {"asr.ngram": json.dumps(header, ensure_ascii=False)},
    )
    with replacing(path) as file:
        file.write(content)


def read(path: str | os.PathLike[str]) -> NGram:
    """See `NGram.open`."""
    metadata, arrays = _map_tensors(path)
    try:
        header = json.loads(metadata["asr.ngram"])
        version = header["version"]
        counts, info = tuple(map(int, header["counts"])), dict(header["info"])
        phones = tuple(map(str, header["phones"])) if "phones" in header else None
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise LanguageModelError(f"{path}: no language model; estimate one with python -m asr.lm") from None
    if version != FORMAT_VERSION:
        raise LanguageModelError(
            f"{path}: language model format {version}, but this version of asr reads {FORMAT_VERSION}"
        )
    types = TYPES if phones is None else {**TYPES, **SAID}
    if {name: array.dtype for name, array in arrays.items()} != {name: np.dtype(t) for name, t in types.items()}:
        raise LanguageModelError(f"{path}: damaged, its tables are missing or of other types; copy it again")
    try:
        words = tuple(arrays.pop("letters").tobytes().decode().split("\n")[:-1])
    except UnicodeDecodeError:
        raise LanguageModelError(f"{path}: damaged, its words are not UTF-8; copy it again") from None
    said = None if phones is None else Pronunciations(phones, *(arrays.pop(name) for name in SAID))
    _check_sizes(path, counts, words, arrays)
    if said and not said.fits(len(words)):
        raise LanguageModelError(f"{path}: damaged, its pronunciations are not those of its words; copy it again")
    pairs = 1 + counts[0]
    triples = pairs + (counts[1] if len(counts) > 1 else 0)
    tables = Tables(**arrays, log_prob_unit=-STEP, backoff_unit=STEP, pairs=pairs, triples=triples)
    try:
        return NGram(words, counts, tables, info, said)
    except LanguageModelError as error:
        raise LanguageModelError(f"{path}: {error}") from None


def _codes(values: NDArray, kind: type) -> NDArray:
    limits = np.iinfo(kind)
    return np.clip(np.rint(values / STEP), limits.min, limits.max).astype(kind)


def _map_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, str], dict[str, NDArray]]:
    """Metadata and read-only arrays of a safetensors file, whose header the library checks."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
    except FileNotFoundError:
        raise LanguageModelError(f"{path}: no such file; expected a language model") from None
    except (SafetensorError, OSError, ValueError, RecursionError) as error:
        raise LanguageModelError(
            f"{path}: not a language model, or damaged ({error}); expected a .lm file of asr.lm or an .arpa file"
        ) from None
    mapped = np.memmap(path, np.uint8, "r")
    kinds = {"U8": np.uint8, "U16": np.uint16, "I16": np.int16, "U32": np.uint32}
    arrays = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in kinds or len(entry["shape"]) != 1:
            raise LanguageModelError(f"{path}: damaged, or not a language model (table {name!r})")
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        arrays[name] = np.asarray(mapped[start:end]).view(kinds[entry["dtype"]])
    return metadata, arrays


def _check_sizes(
    path: str | os.PathLike[str], counts: tuple[int, ...], words: Sequence[str], arrays: Mapping[str, NDArray]
) -> None:
    """Whether the tables are as long as the numbers of n-grams say; look-up checks what they hold."""
    nodes, contexts = 1 + sum(counts), 1 + sum(counts[:-1])
    expected = {
        "words": nodes,
        "log_probs": nodes,
        "backoffs": contexts,
        "first_child": contexts + 1,
        "suffixes": max(0, contexts - 1 - sum(counts[:2])),
    }
    found = {name: len(array) for name, array in arrays.items()}
    if not counts or min(counts) < 0 or len(words) != counts[0] or found != expected:
        raise LanguageModelError(f"{path}: damaged, its tables have other sizes than its header says; copy it again")
