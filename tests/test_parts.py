"""Which utterances are trained on and which are dev: the rule, on manifests as users have them."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.corpus import CorpusError, Utterance, read, write_manifest
from asr.training.parts import DEV_UTTERANCES, MOST_OF_ALL, Held, Sizes, find_parts, hold_out


def _utterances(speakers: dict[str | None, int], per_recording: int = 1) -> list[Utterance]:
    """That many utterances of each speaker, so many to a recording."""
    return [
        Utterance(f"{speaker}/{i}", Path(f"/corpus/{speaker}/{i // per_recording}.wav"), "hello", 1.0, speaker)
        for speaker, count in speakers.items()
        for i in range(count)
    ]


def _held(utterances: list[Utterance]) -> Held:
    sizes = Sizes()
    for utterance in utterances:
        sizes.add(utterance)
    return hold_out(sizes)


def _dev(utterances: list[Utterance]) -> list[Utterance]:
    held = _held(utterances)
    return [utterance for utterance in utterances if utterance in held]


@given(st.dictionaries(st.text("abcdefgh", min_size=1), st.integers(1, 60), min_size=2, max_size=12))
@settings(max_examples=150, deadline=None)
def test_speakers_are_never_in_both_parts(speakers: dict[str, int]) -> None:
    utterances = _utterances(speakers)
    held = _held(utterances)
    dev, train = ({each.speaker for each in utterances if (each in held) is wanted} for wanted in (True, False))
    total = len(utterances)
    if held.speakers:
        assert not dev & train and len(train) >= len(dev)
        assert sum(speakers[name] for name in dev) <= MOST_OF_ALL * total
    elif total >= 5:  # none of them can be spared
        assert min(speakers.values()) > MOST_OF_ALL * total
        assert "expect more errors with other voices" in held.rule


def test_a_tenth_of_many_speakers_is_dev_and_whoever_comes_later_changes_little() -> None:
    speakers = {f"speaker-{i}": 10 for i in range(100)}
    dev = {each.speaker for each in _dev(_utterances(speakers))}
    assert len(dev) == 10
    more = {each.speaker for each in _dev(_utterances({**speakers, **{f"new-{i}": 10 for i in range(20)}}))}
    assert len(dev & more) >= 8 and len(more) == 12
    moved = [replace(each, audio=Path("/elsewhere") / each.audio.name) for each in _utterances(speakers)]
    assert {each.speaker for each in _dev(moved)} == dev


def test_a_speaker_with_most_of_the_data_stays_in_training() -> None:
    dev = Counter(each.speaker for each in _dev(_utterances({"main": 500, "a": 12, "b": 9, "c": 11, "d": 10, "e": 7})))
    assert dev and "main" not in dev and len(dev) <= 3


def test_recordings_stay_whole_where_speakers_are_unknown() -> None:
    utterances = _utterances({None: 400}, per_recording=8)
    dev = _dev(utterances)
    held = {each.audio for each in dev}
    assert len(dev) == 40 and len(held) == 5
    assert "speakers are not known" in _held(utterances).rule
    moved = [replace(each, audio=Path("/new/home") / each.audio.relative_to("/corpus")) for each in utterances]
    assert [each.id for each in _dev(moved)] == [each.id for each in dev]


def test_one_long_recording_is_split_by_utterances_and_says_so() -> None:
    utterances = _utterances({"anna": 300}, per_recording=300)
    assert 10 <= len(_dev(utterances)) <= 60
    rule = _held(utterances).rule
    assert "utterances of the same recordings" in rule and "there is one speaker" in rule


def test_dev_is_bounded_where_there_is_much_data() -> None:
    dev = _dev(_utterances({f"speaker-{i}": 100 for i in range(300)}))
    assert DEV_UTTERANCES <= len(dev) < DEV_UTTERANCES + 100


def test_a_handful_of_utterances_is_not_split() -> None:
    assert _dev(_utterances({"a": 2, "b": 2})) == []


# Sources


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    write_manifest(tmp_path / "data.jsonl", _utterances({"a": 20, "b": 20, "c": 20, "d": 20, "e": 20}))
    return tmp_path / "data.jsonl"


def test_what_is_held_out_is_not_trained_on(manifest: Path) -> None:
    parts = find_parts([manifest], None)
    train, dev = {each.id for each in parts.train()}, {each.id for each in parts.dev}
    assert len(dev) == 20 and len(train) == 80 and not train & dev
    assert {each.id for each in parts.train()} == train  # again


def test_the_split_column_comes_first(tmp_path: Path) -> None:
    utterances = _utterances({"a": 20, "b": 20, "c": 20})
    splits = ["train"] * 40 + ["test"] * 10 + ["dev"] * 10
    marked = [replace(each, split=split) for each, split in zip(utterances, splits, strict=True)]
    write_manifest(tmp_path / "data.jsonl", marked)
    parts = find_parts([tmp_path / "data.jsonl"], None)
    assert [each.id for each in parts.dev] == [each.id for each in marked[50:]]
    assert len(list(parts.train())) == 40 and "column 'split'" in parts.held.rule
    # Without "dev" in it, dev is held out of "train"; "test" is never touched.
    write_manifest(tmp_path / "data.jsonl", marked[:50])
    parts = find_parts([tmp_path / "data.jsonl"], None)
    assert parts.dev and {each.split for each in parts.dev} == {"train"}
    assert len(list(parts.train())) + len(parts.dev) == 40


def test_several_sources_may_have_the_same_names(tmp_path: Path) -> None:
    utterances = _utterances({"a": 10, "b": 10, "c": 10})
    sources = [tmp_path / name for name in ("x/data.jsonl", "y/data.jsonl", "more.jsonl")]
    for source in sources:
        write_manifest(source, utterances)
    parts = find_parts(sources, None)
    ids = [each.id for each in [*parts.train(), *parts.dev]]
    assert parts.dev and len(set(ids)) == len(ids) == 90
    assert {id.split("/", 1)[0] for id in ids} == {"data", "data~2", "more"}
    marked = [replace(each, split="dev" if each.speaker == "c" else "train") for each in utterances]
    for source in sources:
        write_manifest(source, marked)
    parts = find_parts(sources, None)
    write_manifest(tmp_path / "dev.jsonl", parts.dev)
    assert [each.id for each in read(tmp_path / "dev.jsonl")] == [each.id for each in parts.dev]
    assert len(parts.dev) == 30 and len(list(parts.train())) == 60


def test_a_dev_set_that_is_given_or_refused(manifest: Path, tmp_path: Path) -> None:
    write_manifest(tmp_path / "other.jsonl", _utterances({"x": 3}))
    parts = find_parts([manifest], str(tmp_path / "other.jsonl"))
    assert [each.speaker for each in parts.dev] == ["x"] * 3 and len(list(parts.train())) == 100
    parts = find_parts([manifest], "none")
    assert parts.dev == [] and len(list(parts.train())) == 100


def test_a_source_with_other_splits_only_is_an_error(tmp_path: Path) -> None:
    write_manifest(tmp_path / "data.jsonl", [replace(each, split="test") for each in _utterances({"a": 3})])
    with pytest.raises(CorpusError, match="no utterance has the split 'train'; it has test"):
        find_parts([tmp_path / "data.jsonl"], None)


def test_splits_for_some_utterances_alone_are_an_error(tmp_path: Path) -> None:
    utterances = _utterances({"a": 50, "b": 50})
    some = [replace(each, split="train") if i < 3 else each for i, each in enumerate(utterances)]
    write_manifest(tmp_path / "data.jsonl", some)
    with pytest.raises(CorpusError, match="some utterances have a split and others none"):
        find_parts([tmp_path / "data.jsonl"], None)
