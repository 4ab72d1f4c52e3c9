"""The recipe `english`: the same utterances from miniatures of the public archives and from copies."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pytest
from miniatures import all_decode, every_utterance_is_of_its_split, libri_files, pack, read, sound, texts

from asr.command import UsageError
from asr.corpus import CorpusError
from recipes import (
    an4,
    cmu_arctic,
    common_voice,
    english,
    librispeech,
    ljspeech,
    mini_librispeech,
    speechocean762,
    vctk,
)

DEV_SPEAKERS = [str(number) for number in range(1000, 1012)]
LISTED = [
    *("LibriSpeech/train-clean-5/19-1234-0000", "LibriSpeech/train-clean-100/26-1234-0001"),
    *(f"LibriSpeech/dev-clean/{speaker}-1234-0000" for speaker in DEV_SPEAKERS[1:]),
    *(
        "common_voice_v1/train/sample-000000",
        "common_voice_v1/train/sample-000002",
        "common_voice_v1/dev/sample-000001",
    ),
    *("speechocean762/train/000010011", "speechocean762/dev/000020011"),
    *("an4/train/an1-bert-b", "an4/train/an9-anna-b"),
    *("ljspeech/train/LJ001-0001", "vctk/train/p225_003", "vctk/train/s5_001"),
    *("cmu_arctic/train/aew/arctic_a0001", "cmu_arctic/train/slt/arctic_a0001"),
]
TRAIN = {  # id -> (text, speaker), in their order
    "19-1234-0000": ("WORD'S NUMBER 19", "19"),
    "26-1234-0001": ("WORD'S NUMBER 26", "26"),
    "common_voice_v1/clips/sample-000000": ("said the stranger", None),
    "common_voice_v1/clips/sample-000002": ("a young arab, he said", None),
    "speechocean762/SPEAKER0001/000010011": ("WE CALL IT BEAR", "0001"),
    "an4/wav/an4_clstk/anna/an9-anna-b": ("YES", "anna"),
    "an4/wav/an4_clstk/bert/an1-bert-b": ("GO", "bert"),
    "ljspeech/wav/LJ001-0001": ("fourteen fifty-five", "LJ"),
    "vctk/p225/p225_003": ("Six spoons.", "p225"),
    "vctk/s5/s5_001": ("Please call Stella.", "s5"),
    "cmu_arctic/aew/arctic_a0001": ("Author, etc.", "aew"),
    "cmu_arctic/slt/arctic_a0001": ("Author, etc.", "slt"),
}
COMMON_VOICE_DEV = {"common_voice_v1/clips/sample-000001": ("why, should they", None)}
OCEAN_DEV = {"speechocean762/SPEAKER0002/000020011": ("MIKE LIKES IT", "0002")}
UNLISTED = {  # in copies, too
    "common_voice_v1/clips/sample-000003": ("not listed", None),
    "speechocean762/SPEAKER0003/000030011": ("NOT LISTED", "0003"),
    "an4/wav/an4test_clstk/cilla/an2-cilla-b": ("NOT LISTED", "cilla"),
    "ljspeech/wav/LJ001-0002": ("not listed", "LJ"),
    "vctk/p225/p225_004": ("Not listed.", "p225"),
    "cmu_arctic/aew/arctic_a0002": ("Not listed.", "aew"),
}
NAMES = ("common_voice_v1", "speechocean762", "an4", "ljspeech", "vctk", "cmu_arctic")


def _of(name: str) -> dict[str, tuple[str, str | None]]:
    """Recording's name -> (text, speaker) of all utterances of a corpus."""
    everything = TRAIN | COMMON_VOICE_DEV | OCEAN_DEV | UNLISTED
    return {Path(key).name: value for key, value in everything.items() if key.startswith(f"{name}/")}


def _common_voice_files(nested: bool) -> dict[str, bytes]:
    """As Kaggle packs it, with one folder more, or as its home did."""
    top, clips = ("", "cv-valid-dev/cv-valid-dev") if nested else ("cv_corpus_v1/", "cv-valid-dev")
    rows = [f'cv-valid-dev/{name}.mp3,"{text}",1,0,,,,' for name, (text, _) in _of("common_voice_v1").items()]
    header = "filename,text,up_votes,down_votes,age,gender,accent,duration"
    other = {  # a part whose clips have the same names
        f"{top}cv-valid-test.csv": f"{header}\ncv-valid-test/sample-000000.mp3,another,1,0,,,,\n".encode(),
        f"{top}{clips.replace('dev', 'test')}/sample-000000.mp3": b"another",
    }
    files = {f"{top}{clips}/{name}.mp3": sound("a.mp3", rate=48_000) for name in _of("common_voice_v1")}
    return {f"{top}cv-valid-dev.csv": "\n".join([header, *rows, ""]).encode(), **files, **other}


def _ocean_files() -> dict[str, bytes]:
    files, rows = {"speechocean762/README.md": b"about"}, _of("speechocean762")
    for split, names in (("train", ["000010011", "000020011"]), ("test", ["000030011"])):
        top = f"speechocean762/{split}"
        files[f"{top}/text"] = "".join(f"{name}\t{rows[name][0]}\n" for name in names).encode()
        files[f"{top}/utt2spk"] = "".join(f"{name}\t{rows[name][1]}\n" for name in names).encode()
    waves = {f"speechocean762/WAVE/SPEAKER{who}/{name}.WAV": sound("a.wav") for name, (_, who) in rows.items()}
    return files | waves


def _an4_files() -> dict[str, bytes]:
    parts = {"train": ("an4_clstk", ["an1-bert-b", "an9-anna-b"]), "test": ("an4test_clstk", ["an2-cilla-b"])}
    files, rows = {}, _of("an4")
    for split, (folder, names) in parts.items():
        lines = "".join(f"<s> {rows[name][0]} </s> ({name})\n" for name in names)
        files[f"an4/etc/an4_{split}.transcription"] = lines.encode()
        files |= {f"an4/wav/{folder}/{rows[name][1]}/{name}.sph": sound(name, format="NIST") for name in names}
    return files


def _lj_files() -> dict[str, bytes]:
    lines = "".join(f"{name}|In 1455|{text}\n" for name, (text, _) in _of("ljspeech").items())
    wavs = {f"LJSpeech-1.1/wavs/{name}.wav": sound("a.wav", rate=22_050) for name in _of("ljspeech")}
    return {"LJSpeech-1.1/metadata.csv": lines.encode(), **wavs}


def _vctk_files() -> dict[str, bytes]:
    files = {}
    for name, (text, speaker) in _of("vctk").items():
        files[f"txt/{speaker}/{name}.txt"] = f"{text}\n".encode()
        for microphone in ("mic1", "mic2"):
            files[f"wav48_silence_trimmed/{speaker}/{name}_{microphone}.flac"] = sound("a.flac", rate=48_000)
    return files


def _arctic_files(speaker: str) -> dict[str, bytes]:
    top = f"cmu_us_{speaker}_arctic"
    rows = {"arctic_a0001": "Author, etc.", "arctic_a0002": "Not listed."}
    lines = "".join(f'( {name} "{text}" )\n' for name, text in rows.items())
    return {f"{top}/etc/txt.done.data": lines.encode()} | {f"{top}/wav/{name}.wav": sound("a.wav") for name in rows}


@pytest.fixture
def write_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes a list in the place of the one that ships."""

    def write(lines: list[str]) -> None:
        monkeypatch.setattr(english, "LIST", tmp_path / "ids.txt.xz")
        english.LIST.write_bytes(lzma.compress("".join(f"{line}\n" for line in sorted(lines)).encode()))

    write(LISTED)
    return write


@pytest.fixture
def archives(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_list) -> Path:
    """A folder of corpora that has only what must be fetched by hand; all else can be downloaded."""
    for module, files in (
        (an4, _an4_files),
        (ljspeech, _lj_files),
        (vctk, _vctk_files),
        (speechocean762, _ocean_files),
    ):
        monkeypatch.setattr(module, "ARCHIVE", publish(module.ARCHIVE, files()))
    arctic = {who: publish(cmu_arctic.ARCHIVES[who], _arctic_files(who)) for who in ("aew", "axb", "clb", "slt")}
    monkeypatch.setattr(cmu_arctic, "ARCHIVES", arctic)
    for module, parts in (
        (mini_librispeech, {"train-clean-5": ["19"]}),
        (librispeech, {"train-clean-100": ["26", "14"], "dev-clean": DEV_SPEAKERS}),
    ):
        offered = {part: publish(module.ARCHIVES[part], libri_files(part, people)) for part, people in parts.items()}
        monkeypatch.setattr(module, "ARCHIVES", offered)
    place = tmp_path / "corpora" / "archives" / "common_voice_v1.zip"
    place.parent.mkdir(parents=True)
    place.write_bytes(pack(place.name, _common_voice_files(nested=True)))
    return tmp_path / "corpora"


def _copies(corpora: Path) -> None:
    """Write the manifests of copies, whose splits are for other uses and whose order is another."""
    for key, (text, speaker) in reversed((TRAIN | COMMON_VOICE_DEV | OCEAN_DEV | UNLISTED).items()):
        name, _, path = key.partition("/")
        if name in NAMES:
            row = {"audio_filepath": f"{path}.opus", "text": text, "speaker": speaker, "split": "all"}
            (corpora / name).mkdir(parents=True, exist_ok=True)
            with (corpora / name / "manifest.jsonl").open("a") as file:
                file.write(json.dumps(row) + "\n")


def test_the_archives_and_the_copies_give_what_is_listed(archives: Path, tmp_path: Path) -> None:
    splits = read("english", archives)
    assert list(texts(splits["train"]).items()) == list(TRAIN.items())
    assert texts(splits["common-voice-dev"]) == COMMON_VOICE_DEV
    assert texts(splits["speechocean762-dev"]) == OCEAN_DEV
    assert [each.id for each in splits["dev-clean"]] == [f"{speaker}-1234-0000" for speaker in DEV_SPEAKERS[1:]]
    assert [each.speaker for each in splits["dev"]] == DEV_SPEAKERS[1:11]  # the first ten of those that are listed
    assert [each.speaker for each in splits["dev-clean-others"]] == DEV_SPEAKERS[11:]
    del splits["dev-clean-others"]  # utterances of dev-clean
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)
    copies = tmp_path / "copies"
    _copies(copies)
    (copies / "LibriSpeech").symlink_to(archives / "LibriSpeech")
    for name, part in read("english", copies).items():
        assert name == "dev-clean-others" or [(each.id, each.text, each.speaker, each.split) for each in part] == [
            (each.id, each.text, each.speaker, each.split) for each in splits[name]
        ]


def test_what_is_left_out_is_not_needed(archives: Path) -> None:
    splits = read("english", archives, without="common_voice_v1,vctk")
    assert {each.id.partition("/")[0] for each in splits["train"] if "/" in each.id} == {*NAMES} - {
        "common_voice_v1",
        "vctk",
    }
    assert "common-voice-dev" not in splits and "speechocean762-dev" in splits
    assert not (archives / "common_voice_v1").exists() and not (archives / "vctk").exists()


@pytest.mark.parametrize(
    ("without", "description", "licence"),
    [
        (
            "",
            "LibriSpeech, Common Voice v1, speechocean762, AN4, LJ Speech, VCTK and CMU ARCTIC",
            "CC BY 4.0, CC0, CMU's BSD-like licence, public domain and ODC-By, by part",
        ),
        (
            "an4,cmu_arctic,vctk",
            "LibriSpeech, Common Voice v1, speechocean762 and LJ Speech",
            "CC BY 4.0, CC0 and public domain, by part",
        ),
        ("common_voice_v1,an4,ljspeech,vctk,cmu_arctic", "LibriSpeech and speechocean762", "CC BY 4.0"),
        (",".join(NAMES), "LibriSpeech", "CC BY 4.0"),
    ],
)
def test_a_model_does_not_name_what_was_left_out(without: str, description: str, licence: str) -> None:
    chosen = f" (without={without})" if without else ""
    assert english.recipe.info({"without": without}) == {
        "data": [f"english{chosen}: parts of {description}"],
        "licence": licence,
    }
    with pytest.raises(UsageError, match="without=timit: expected some of common_voice_v1, "):
        english.recipe.info({"without": "timit"})


@pytest.mark.parametrize(
    ("folder", "more"),
    [
        ("vctk", [f"vctk/train/p226_{number:03}" for number in range(7)]),
        ("common_voice_v1", ["common_voice_v1/dev/sample-000009"]),
        ("LibriSpeech/train-clean-100", ["LibriSpeech/train-clean-100/27-1234-0000"]),
    ],
)
def test_what_is_listed_and_not_there_is_named(write_list, archives: Path, folder: str, more: list[str]) -> None:
    write_list(LISTED + more)
    with pytest.raises(CorpusError) as caught:
        read("english", archives)
    part = more[0].rpartition("/")[0]
    size = sum(line.startswith(part) for line in LISTED + more)
    split = {"common_voice_v1/dev": "common-voice-dev"}.get(part, "train")
    said = f"{archives / folder}: of {size} utterances that ids.txt.xz lists for {split}, {len(more)} are not there: "
    assert str(caught.value).startswith(said + ", ".join(line.rpartition("/")[2] for line in more[:5]))
    assert (", ...." in str(caught.value)) == (len(more) > 5)


def test_the_list_that_ships_is_sorted_and_names_nothing_twice() -> None:
    lines = lzma.decompress(english.LIST.read_bytes()).decode("ascii").splitlines()
    assert lines == sorted(set(lines))
    parts = {f"{name}/train" for name in NAMES} | {"common_voice_v1/dev", "speechocean762/dev"}
    parts |= {f"LibriSpeech/{part}" for part in ("train-clean-5", "train-clean-100", "dev-clean")}
    assert english.listed_ids().keys() == parts


# Common Voice's first release, which has to be fetched by hand


def test_nothing_is_downloaded_before_the_first_release_is_there(tmp_path: Path) -> None:
    """No network is needed: it says what to fetch and where to put it."""
    with pytest.raises(CorpusError) as caught:
        read("english", tmp_path)
    for word in (
        "https://www.kaggle.com/datasets/mozillaorg/common-voice",
        str(tmp_path / "archives" / "common_voice_v1.zip"),
        str(tmp_path / "archives" / "common_voice_v1.tar.gz"),
        "--set without=common_voice_v1",
    ):
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "place", ["archives/common_voice_v1.zip", "archives/common_voice_v1.tar.gz", "common_voice_v1"]
)
@pytest.mark.parametrize("nested", [True, False])
def test_the_first_release_wherever_it_was_put(tmp_path: Path, place: str, nested: bool) -> None:
    files = _common_voice_files(nested)
    if "." in place:
        (tmp_path / "archives").mkdir()
        (tmp_path / place).write_bytes(pack(place, files))
    else:
        for name, content in files.items():
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_bytes(content)
    found = common_voice.first_release(tmp_path)
    assert texts(found) == _of("common_voice_v1")
    assert all_decode({"all": found})


def test_a_first_release_of_another_layout(tmp_path: Path) -> None:
    table = tmp_path / "common_voice_v1" / "cv-valid-dev.csv"
    table.parent.mkdir()
    table.write_text("path,sentence\n")
    with pytest.raises(CorpusError, match=r"expected one cv-valid-dev\.csv beside a folder cv-valid-dev.*found 0"):
        common_voice.first_release(tmp_path)
    table.with_suffix("").mkdir()
    with pytest.raises(CorpusError, match="expected the columns filename, text; found"):
        common_voice.first_release(tmp_path)
    table.write_text("filename,text\n")
    with pytest.raises(CorpusError, match=r"expected lines of text; found none\. Fetch the release again"):
        common_voice.first_release(tmp_path)
