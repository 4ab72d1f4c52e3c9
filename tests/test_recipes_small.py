"""The recipes of small corpora, from miniature archives of the original layout that a loopback server offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import all_decode, counts, libri_files, read, sound, speakers, texts

import recipes
from asr import Error
from asr.corpus import CorpusError
from recipes import an4, digits, mini_librispeech


def test_digits_from_its_archive(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["7_theo_0", "7_theo_4", "3_theo_5", "0_george_9", "9_george_10", "1_yweweler_49"]
    top = "free-spoken-digit-dataset-1.0.10"
    files = {f"{top}/recordings/{name}.wav": sound(f"{name}.wav") for name in names}
    files |= {f"{top}/README.md": b"about", f"{top}/utils/fsdd.py": b"pass"}
    monkeypatch.setattr(digits, "ARCHIVE", publish(digits.ARCHIVE, files))
    splits = read("digits", tmp_path / "corpora")
    assert {name: texts(part) for name, part in splits.items()} == {
        "test": {"7_theo_0": ("SEVEN", "theo"), "7_theo_4": ("SEVEN", "theo")},
        "dev": {"3_theo_5": ("THREE", "theo"), "0_george_9": ("ZERO", "george")},
        "train": {"9_george_10": ("NINE", "george"), "1_yweweler_49": ("ONE", "yweweler")},
    }
    assert all_decode(splits)


def _an4_files() -> dict[str, bytes]:
    train = [f"an{number}-sp{number:02}-b" for number in range(74)]
    test = ["an406-fcaw-b", "an407-fcaw-b"]
    files = {f"an4/wav/an4_clstk/{name.split('-')[1]}/{name}.sph": name for name in train}
    files |= {f"an4/wav/an4test_clstk/fcaw/{name}.sph": name for name in test}
    return {path: sound(name, format="NIST") for path, name in files.items()} | {
        "an4/etc/an4_train.transcription": "".join(f"<s> GO {n[2]} </s> ({n})\n" for n in train).encode(),
        "an4/etc/an4_test.transcription": "".join(f"RUBOUT G M ({name})\n" for name in test).encode(),
        "an4/etc/an4.dic": b"A  AH\n",
        "an4/LICENSE": b"free",
    }


def test_an4_from_its_archive(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(an4, "ARCHIVE", publish(an4.ARCHIVE, _an4_files()))
    splits = read("an4", tmp_path / "corpora")
    assert counts(splits) == {"train": (66, 66), "dev": (8, 8), "test": (2, 1)}
    assert texts(splits["test"]) == {
        "an406-fcaw-b": ("RUBOUT G M", "fcaw"),
        "an407-fcaw-b": ("RUBOUT G M", "fcaw"),
    }
    assert all(text == f"GO {name[2]}" for name, (text, _) in texts(splits["train"]).items())
    assert all_decode(splits)


def test_utterances_without_audio_are_named(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _an4_files()
    del files["an4/wav/an4_clstk/sp07/an7-sp07-b.sph"]
    monkeypatch.setattr(an4, "ARCHIVE", publish(an4.ARCHIVE, files))
    with pytest.raises(CorpusError) as caught:
        read("an4", tmp_path / "corpora")
    assert "1 train utterances without audio" in str(caught.value)
    assert "an7-sp07-b" in str(caught.value)


@pytest.mark.parametrize("part", ["dev-clean-2", "dev-clean"])
def test_mini_librispeech_from_its_archives(
    publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    archives = mini_librispeech.ARCHIVES
    dev = ["84", "9", "777", *[str(number) for number in range(1000, 1010)]]
    offered = {
        "train-clean-5": publish(archives["train-clean-5"], libri_files("train-clean-5", ["19", "26"])),
        part: publish(archives[part], libri_files(part, dev)),
    }
    monkeypatch.setattr(mini_librispeech, "ARCHIVES", offered)
    splits = read("mini_librispeech", tmp_path / "corpora", dev=part)
    assert counts(splits) == {"train": (4, 2), "dev": (20, 10), part: (26, 13), f"{part}-others": (6, 3)}
    assert speakers(splits[f"{part}-others"]) == {"84", "9", "777"}  # sorted as text, 1000... come first
    assert texts(splits["train"])["19-1234-0001"] == ("WORD'S NUMBER 19", "19")
    assert recipes.find("mini_librispeech").test_split({"dev": part}) == part
    assert all_decode(splits)


def test_digits_of_a_speaker_who_is_not_heard_in_training(tmp_path: Path) -> None:
    folder = tmp_path / "fsdd"
    folder.mkdir()
    names = [f"3_{speaker}_{take}" for speaker in ("theo", "george", "lucas") for take in (4, 5, 10)]
    for name in names:
        (folder / f"{name}.wav").write_bytes(sound(f"{name}.wav"))
    splits = read("digits", tmp_path, unheard="theo")
    assert {name: {each.id for each in part} for name, part in splits.items()} == {
        "test": {"3_theo_4", "3_theo_5", "3_theo_10"},
        "dev": {"3_george_5", "3_lucas_5"},
        "train": {"3_george_10", "3_lucas_10"},
    }
    assert all(each.split == name for name, part in splits.items() for each in part)
    with pytest.raises(Error, match=r"unheard=ann: there is no such speaker; there are george, lucas, theo"):
        read("digits", tmp_path, unheard="ann")


def test_audio_is_found_whatever_its_extension(tmp_path: Path) -> None:
    # A transcoded copy works, and of two formats of one recording the first by name is taken.
    folder = tmp_path / "fsdd"
    folder.mkdir()
    for name in ("3_theo_9.ogg", "3_theo_0.flac", "3_theo_0.wav"):
        (folder / name).write_bytes(sound(name))
    splits = read("digits", tmp_path)
    assert [u.audio.name for part in splits.values() for u in part] == ["3_theo_9.ogg", "3_theo_0.flac"]


# When something is amiss


@pytest.mark.parametrize(("name", "folder"), [("yesno", "yesno/waves_yesno"), ("digits", "fsdd/recordings")])
def test_a_corpus_without_recordings_is_an_error(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "other.wav").write_bytes(sound("other.wav"))
    with pytest.raises(CorpusError, match=r"found none\. Delete the corpus's folder"):
        read(name, tmp_path)


def test_a_librispeech_part_without_transcripts_is_an_error(tmp_path: Path) -> None:
    for part in ("train-clean-5", "dev-clean"):
        (tmp_path / "LibriSpeech" / part).mkdir(parents=True)
    with pytest.raises(CorpusError, match="expected transcripts; found none"):
        read("mini_librispeech", tmp_path, dev="dev-clean")


def test_a_wrong_dev_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Error, match="dev=test-clean: expected dev-clean-2 or dev-clean"):
        read("mini_librispeech", tmp_path, dev="test-clean")
