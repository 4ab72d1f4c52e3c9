"""Files of texts: what is read, what is written, and what is said about bad ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr
from asr.corpus import Utterance, write_manifest
from asr.hypotheses import (
    Line,
    check_writable,
    own_references,
    pair,
    read_hypotheses,
    read_references,
    write,
)


def lines_of(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_json_lines_keep_what_is_known(tmp_path: Path) -> None:
    row = {"id": "a", "text": "Good  morning", "speaker": 7, "duration": "1.5", "accent": "welsh", "words": ["x"]}
    path = lines_of(tmp_path / "r.jsonl", row, {"id": 3, "text": ""})
    assert read_references(path) == [Line("a", "Good  morning", "7", 1.5, {"accent": "welsh"}), Line("3", "")]


def test_the_dev_texts_of_a_run_are_both_sides(tmp_path: Path) -> None:
    path = lines_of(tmp_path / "dev.jsonl", {"id": "a", "reference": "ONE", "hypothesis": "on"})
    assert [line.text for line in read_hypotheses(path)] == ["on"]
    assert [line.text for line in read_references(path)] == [line.text for line in own_references(path)] == ["ONE"]


def test_what_nemo_writes_holds_its_hypothesis_beside_the_reference(tmp_path: Path) -> None:
    row = {"id": "a", "audio_filepath": "a.wav", "duration": 1.5, "text": "one two", "pred_text": "one too"}
    path = lines_of(tmp_path / "nemo.jsonl", row)
    assert read_hypotheses(path) == [Line("a", "one too", None, 1.5, {"audio_filepath": "a.wav"})]
    assert [line.text for line in read_references(path)] == ["one two"]


def test_what_nemo_writes_has_the_ids_of_a_manifest(tmp_path: Path) -> None:
    """It keeps the manifest's rows as they are, which have none; of two parts of a recording the second is #2."""
    rows = [{"audio_filepath": f"{name}.wav", "text": "one two", "pred_text": "one too"} for name in ("x/a", "b", "b")]
    path = lines_of(tmp_path / "nemo.jsonl", *rows)
    ids = [utterance.id for utterance in asr.corpus.read(path)]
    assert ids == ["x/a", "b", "b#2"]
    for read, text in ((read_hypotheses, "one too"), (own_references, "one two"), (read_references, "one two")):
        assert [(line.id, line.text) for line in read(path)] == [(id, text) for id in ids]


@pytest.mark.parametrize("name", ["h.jsonl", "h.trn"])
def test_hypotheses_are_not_taken_for_their_own_references(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, ["a"], ["one"])
    with pytest.raises(asr.Error, match="Name a file of references"):
        own_references(tmp_path / name)


def test_transcripts_of_nist(tmp_path: Path) -> None:
    path = tmp_path / "r.trn"
    path.write_text(";; a comment\ngood morning (anna-1)\n\n  (anna-2)\ngrüß gott  (hans_x_1) \r\nyes (7)\n", "utf-8")
    assert read_references(path) == [
        Line("anna-1", "good morning", "anna"),
        Line("anna-2", "", "anna"),
        Line("hans_x_1", "grüß gott", "hans"),
        Line("7", "yes"),
    ]


def test_manifests_and_folders_are_references(tmp_path: Path) -> None:
    utterance = Utterance("a", tmp_path / "a.wav", "ONE", 1.5, "s", "dev", fields={"accent": "welsh"})
    write_manifest(tmp_path / "manifest.jsonl", [utterance])
    expected = [Line("a", "ONE", "s", 1.5, {"accent": "welsh", "split": "dev"})]
    assert read_references(tmp_path / "manifest.jsonl") == read_references(tmp_path) == expected
    (tmp_path / "m.tsv").write_text("audio_filepath\ttext\nb.wav\ttwo\n")
    assert read_references(tmp_path / "m.tsv") == [Line("b", "two")]


ids = st.text(st.characters(exclude_categories=["Cs", "Z", "C"], exclude_characters="()"), min_size=1, max_size=8)
words = st.text(st.sampled_from("ab é"), max_size=12).map(lambda text: " ".join(text.split()))


@settings(deadline=None)
@given(st.dictionaries(ids, words, min_size=1, max_size=6), st.sampled_from([".jsonl", ".trn"]))
def test_what_is_written_reads_back(tmp_path_factory, texts: dict[str, str], suffix: str) -> None:
    path = tmp_path_factory.mktemp("texts") / f"new/h{suffix}"
    write(path, list(texts), list(texts.values()))
    assert {line.id: line.text for line in read_hypotheses(path)} == texts
    assert [line.id for line in read_hypotheses(path)] == list(texts)


def test_what_a_trn_file_cannot_hold_is_refused(tmp_path: Path) -> None:
    for name, text in (("a b", "x"), ("a(1)", "x"), ("a", "(laughs)"), ("a", "{ b / c }")):
        with pytest.raises(asr.Error, match=r"write a \.jsonl file"):
            write(tmp_path / "h.trn", [name], [text])
        write(tmp_path / "h.jsonl", [name], [text])
        assert [(line.id, line.text) for line in read_hypotheses(tmp_path / "h.jsonl")] == [(name, text)]
    assert not (tmp_path / "h.trn").exists()
    with pytest.raises(asr.Error, match=r"h\.txt: expected a name that ends in \.jsonl or \.trn"):
        check_writable(tmp_path / "h.txt", ["a"])


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("h.jsonl", b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}', "line 2: the id 'a' stands in an earlier"),
        ("h.jsonl", b'{"id": "a"}', "line 1: expected a text in 'hypothesis' or 'pred_text' or 'text'; found None"),
        ("h.jsonl", b'{"id": "a", "text": 3}', "found 3"),
        ("h.jsonl", b'{"id": "a", "audio_filepath": "a.wav", "text": "x"}', "line 1: a row of a manifest ('audio_file"),
        ("h.jsonl", b'{"text": "x"}', "line 1: no 'id'"),
        ("h.jsonl", b'{"id": "a", "text": "x", "duration": -1}', "'duration' should be seconds"),
        ("h.jsonl", b"[1]", "expected an object in braces"),
        ("h.jsonl", b"good morning", "line 1: not a line of JSON"),
        ("h.jsonl", b"\xff", "not UTF-8"),
        ("h.jsonl", b"\n", "holds no texts"),
        ("h.trn", b"good morning", "expected words and an id in brackets"),
        ("h.trn", b"good (uh) morning (a-1)", "'(' is more than a word to sclite"),
        ("h.trn", b"{ good / bad } morning (a-1)", "'{' is more than a word to sclite"),
        ("h.trn", b"x (a)\ny (a)", "line 2: the id 'a' stands in an earlier line"),
        ("h.txt", b"x (a)", "expected a name that ends in .jsonl or .trn"),
    ],
)
def test_bad_files_are_explained(tmp_path: Path, name: str, content: bytes, complaint: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(asr.Error) as raised:
        read_hypotheses(tmp_path / name)
    assert complaint in str(raised.value) and name in str(raised.value)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    for read in (read_hypotheses, read_references):
        with pytest.raises(asr.Error, match="is not a file"):
            read(tmp_path / "none.jsonl")


def test_hypotheses_are_paired_by_id(tmp_path: Path) -> None:
    references = [Line("a", "x"), Line("b", "y"), Line("c", "z")]
    assert pair(references, [Line("c", "3"), Line("a", "1")], tmp_path) == (["1", "", "3"], ["b"])
    with pytest.raises(asr.Error, match=r"h: 7 of 8 ids are not among the references: 0, 1, 2, 3, 4 and 2 more; .* a$"):
        pair(references, [Line("a", "1"), *(Line(str(i), "") for i in range(7))], Path("h"))
