"""What all recipes share: their list, their archives, and splits where a corpus has none."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from miniatures import every_utterance_is_of_its_split, read, sound, speakers, texts

import recipes
from asr import Error
from asr.corpus import CorpusError, Utterance
from asr.training.config import TrainConfig
from recipes import (
    an4,
    cmu_arctic,
    digits,
    fleurs,
    halves,
    librispeech,
    ljspeech,
    mini_librispeech,
    speaker_of,
    speech_commands,
    speechocean762,
    split_by,
    unheard,
    vctk,
    yesno,
)
from recipes.archive import Archive


def test_an_unknown_recipe_is_an_error() -> None:
    with pytest.raises(Error, match="no recipe 'timit'; there are an4, cmu_arctic, common_voice"):
        recipes.find("timit")


def test_every_file_holds_the_recipe_of_its_name() -> None:
    assert tuple(recipes.find(name).name for name in recipes.NAMES) == recipes.NAMES
    assert {"yesno", "english"} <= set(recipes.NAMES)


ARCHIVES = [
    *(yesno.ARCHIVE, digits.ARCHIVE, an4.ARCHIVE, ljspeech.ARCHIVE, vctk.ARCHIVE),
    *mini_librispeech.ARCHIVES.values(),
    *librispeech.ARCHIVES.values(),
    *cmu_arctic.ARCHIVES.values(),
    *(speech_commands.ARCHIVE, speech_commands.TEST_12),
]
WITHOUT_CHECKSUM = [speechocean762.ARCHIVE, fleurs.archive("cy_gb")]


@pytest.mark.parametrize("archive", [*ARCHIVES, *WITHOUT_CHECKSUM], ids=lambda archive: archive.file)
def test_archives_are_stated_completely(archive: Archive) -> None:
    assert all(re.fullmatch(r"https?://[^ ]+\.(tar\.gz|tar\.bz2|zip)", url) for url in archive.urls)
    if archive not in WITHOUT_CHECKSUM:  # of which no source states one
        assert re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", archive.checksum)


def test_no_two_archives_share_a_file_or_a_folder() -> None:
    others = [*WITHOUT_CHECKSUM, fleurs.archive("en_us")]
    different = {archive.urls[0]: archive for archive in [*ARCHIVES, *others]}.values()
    assert len({archive.file for archive in different}) == len(different)
    assert len({archive.folder for archive in different}) == len(different)


@pytest.mark.parametrize("name", recipes.NAMES)
def test_settings_are_those_of_training(name: str) -> None:
    recipe = recipes.find(name)
    TrainConfig().updated(recipe.settings)
    assert not recipe.options.keys() & {field.name for field in dataclasses.fields(TrainConfig)}
    assert recipe.test_split(recipe.options)


@pytest.mark.parametrize(("value", "folder"), [("/srv/speech", "/srv/speech"), ("", "data/corpora")])
def test_where_corpora_are(monkeypatch: pytest.MonkeyPatch, value: str, folder: str) -> None:
    monkeypatch.setenv("ASR_CORPORA", value)
    assert recipes.corpora_folder() == Path(folder)


# Splits


def _utterances(keys: list[str]) -> list[Utterance]:
    return [Utterance(f"u{i}", Path(f"{i}.wav"), f"text {i}", speaker=key) for i, key in enumerate(keys)]


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=40), st.floats(0.01, 0.4), st.floats(0, 0.4))
def test_splits_share_no_key_and_lose_nothing(keys: list[str], dev: float, test: float) -> None:
    utterances = _utterances(keys)
    sizes = {"dev": max(1, round(dev * len(set(keys)))), "test": max(1, round(test * len(set(keys)))) if test else 0}
    if sum(sizes.values()) >= len(set(keys)):
        with pytest.raises(CorpusError, match="cannot split"):
            split_by(utterances, speaker_of, dev, test)
        return
    parts = split_by(utterances, speaker_of, dev, test)
    assert every_utterance_is_of_its_split(parts)
    assert sorted(each.id for part in parts.values() for each in part) == sorted(each.id for each in utterances)
    found = {name: speakers(part) for name, part in parts.items()}
    assert sum(map(len, found.values())) == len(set(keys))  # so that they are disjoint
    assert {name: len(found.get(name, ())) for name in sizes} == sizes
    assert ("test" in parts) == bool(test)


@given(st.lists(st.text(min_size=1, max_size=3), min_size=3, max_size=20, unique=True), st.randoms())
def test_splits_depend_on_the_keys_alone(keys: list[str], random: Random) -> None:
    first = split_by(_utterances(keys), speaker_of)
    more = keys * 2  # in any order, and with more utterances of the same speakers
    random.shuffle(more)
    again = split_by(_utterances(more), speaker_of)
    assert {name: speakers(part) for name, part in first.items()} == {n: speakers(p) for n, p in again.items()}


def _b2sum(name: str) -> bytes:
    done = subprocess.run(["b2sum", "-l", "64"], input=name.encode(), capture_output=True, check=True)
    return done.stdout


@pytest.mark.skipif(not shutil.which("b2sum"), reason="needs b2sum, of GNU coreutils")
def test_splits_never_change() -> None:
    """Published figures hang on them. The order is that of BLAKE2b's first 8 bytes, by another implementation."""
    order = sorted("abcdef", key=_b2sum)
    parts = split_by(_utterances(list("abcdef")), speaker_of, dev=1 / 6, test=1 / 3)
    assert {name: speakers(part) for name, part in parts.items()} == {
        "dev": set(order[:1]),
        "test": set(order[1:3]),
        "train": set(order[3:]),
    }


def test_halves_of_dev_share_no_key() -> None:
    parts = halves(_utterances(list("aabbccddee")), speaker_of)
    assert every_utterance_is_of_its_split(parts)
    assert sorted(len(speakers(part)) for part in parts.values()) == [2, 3]
    assert not speakers(parts["dev"]) & speakers(parts["test"])


def _said(split: str, *texts: str) -> list[Utterance]:
    return [Utterance(f"{split}{i}", Path("a.wav"), text, split=split) for i, text in enumerate(texts)]


def test_what_is_trained_on_is_not_tested_on() -> None:
    parts = {"train": _said("train", "a", "b", "c"), "dev": _said("dev", "a", "d"), "test": _said("test", "b", "c")}
    left = {name: [each.text for each in part] for name, part in unheard(parts).items()}
    assert left == {"train": ["a"], "dev": ["d"], "test": ["b", "c"]}  # test would have been empty


def test_the_same_sentence_is_written_in_more_than_one_way(capsys: pytest.CaptureFixture) -> None:
    parts = {
        "train": _said("train", "Is that right ?", '"We\'re here"', "A third one.", "Asked, in dev."),
        "dev": _said("dev", "asked in dev"),
        "test": _said("test", "Is that right?", "We\u2019re here)", "WERE HERE", "a third", "Third one, a."),
    }
    left = {name: [each.text for each in part] for name, part in unheard(parts).items()}
    assert left == {
        "train": ["Is that right ?", '"We\'re here"', "A third one."],
        "dev": ["asked in dev"],
        "test": ["WERE HERE", "a third", "Third one, a."],
    }
    said = capsys.readouterr().err.splitlines()
    assert said == ["left out, as their sentences are in another part, too: 1 of 4 in train, 2 of 5 in test"]
    assert unheard(left_apart := {"train": parts["train"][:1], "dev": [], "test": parts["test"][2:]}) == left_apart
    assert capsys.readouterr().err == ""


# Transcripts without recordings


def test_a_corpus_that_lacks_some_recordings_says_how_many(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.wav").write_bytes(sound("a.wav"))
    rows = [("a", "ONE", "x"), ("b", "TWO", "x"), ("c", "THREE", None)]
    assert texts(recipes.utterances(tmp_path, "train", rows, lacks_some=True)) == {"a": ("ONE", "x")}
    assert "2 texts without a recording are left out" in capsys.readouterr().err
    for lacks_some, unlike in ((False, rows), (True, rows[1:])):  # none of them is no lack: it is another corpus
        with pytest.raises(CorpusError, match="2 train utterances without audio"):
            recipes.utterances(tmp_path, "train", unlike, lacks_some)


def test_an_own_manifest_is_taken_in_place_of_the_corpus(tmp_path: Path) -> None:
    """No network is needed: the archives' addresses are not asked."""
    rows = [
        {
            "audio_filepath": f"wav/LJ00{i % 5}-{i:04}.opus",
            "text": f"Text {i}.",
            "speaker": f"s{i % 20}",
            "split": split,
        }
        for i, split in enumerate(["train"] * 40 + ["dev"] * 20)
    ]
    for name in ("ljspeech", "vctk", "cmu_arctic", "common_voice_v1", "speechocean762"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
        splits = read(name.removesuffix("_v1"), tmp_path)
        assert set(splits) == {"train", "dev", "test"} and all(splits.values())
        assert every_utterance_is_of_its_split(splits)
