"""The recipes of larger corpora, from miniature archives of the original layout that a loopback server offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from miniatures import (
    all_decode,
    counts,
    every_utterance_is_of_its_split,
    libri_files,
    pack,
    read,
    recordings,
    sound,
    speakers,
    texts,
)

from asr import Error
from asr.command import UsageError
from asr.corpus import CorpusError, audio_files
from recipes import cmu_arctic, fleurs, librispeech, ljspeech, speech_commands, speechocean762, vctk

PARTS = {
    "train-clean-100": ["19", "26"],
    "train-clean-360": ["14"],
    "train-other-500": ["20", "29"],
    "dev-clean": ["84"],
    "dev-other": ["116"],
    "test-clean": ["61", "121"],
    "test-other": ["367"],
}


@pytest.mark.parametrize(("train", "found"), [("100h", (4, 2)), ("460h", (6, 3)), ("960h", (10, 5))])
def test_librispeech(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, train: str, found) -> None:
    wanted = [part for part in PARTS if not part.startswith("train") or part in librispeech.TRAIN[train]]
    offered = {part: publish(librispeech.ARCHIVES[part], libri_files(part, PARTS[part])) for part in wanted}
    monkeypatch.setattr(librispeech, "ARCHIVES", offered)  # only what is asked for is downloaded
    splits = read("librispeech", tmp_path / "corpora", train=train)
    assert counts(splits) == {
        "train": found,
        "dev": (2, 1),
        "dev-other": (2, 1),
        "test-other": (2, 1),
        "test-clean": (4, 2),
    }
    assert texts(splits["test-clean"])["121-1234-0001"] == ("WORD'S NUMBER 121", "121")
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)


def test_librispeech_of_other_hours_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="train=50h: expected 100h, 460h, 960h"):
        read("librispeech", tmp_path, train="50h")


def _lj_files(chapters: int) -> dict[str, bytes]:
    names = [f"LJ{chapter:03}-{clip:04}" for chapter in range(1, chapters + 1) for clip in range(1, 31)]
    lines = "".join(f'{name}|"In 1455," it is said|"In fourteen fifty-five," it is said\n' for name in names)
    wavs = {f"LJSpeech-1.1/wavs/{name}.wav": sound(f"{name}.wav", rate=22_050) for name in names}
    return {"LJSpeech-1.1/metadata.csv": lines.encode(), "LJSpeech-1.1/README": b"about", **wavs}


@pytest.mark.parametrize(("chapters", "unit"), [(2, len("LJ001-000")), (5, len("LJ001"))])
def test_ljspeech(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chapters: int, unit: int) -> None:
    monkeypatch.setattr(ljspeech, "ARCHIVE", publish(ljspeech.ARCHIVE, _lj_files(chapters)))
    splits = read("ljspeech", tmp_path / "corpora")
    units = {name: {utterance.id[:unit] for utterance in part} for name, part in splits.items()}
    assert len(units["dev"]) == len(units["test"]) == 1
    assert len(set().union(*units.values())) == sum(map(len, units.values()))  # no chapter in two parts
    assert sum(map(len, splits.values())) == 30 * chapters
    assert set(texts(splits["train"]).values()) == {('"In fourteen fifty-five," it is said', "LJ")}
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)


def test_ljspeech_with_a_broken_line(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _lj_files(3) | {"LJSpeech-1.1/metadata.csv": b"LJ001-0001|a|a\nLJ001-0002|b\n"}
    monkeypatch.setattr(ljspeech, "ARCHIVE", publish(ljspeech.ARCHIVE, files))
    with pytest.raises(CorpusError, match="line 2: expected 3 columns, found 2"):
        read("ljspeech", tmp_path / "corpora")


def _vctk_files() -> dict[str, bytes]:
    files = {"speaker-info.txt": b"about", "license_text": b"free"}
    for speaker in [*(f"p{number}" for number in range(225, 243)), "p362", "s5"]:
        sentences = ["Please call Stella.", f"A sentence of {speaker}.", f'"Another," said {speaker}.']
        for i, sentence in enumerate(sentences, 1):
            name = f"{speaker}_{i:03}"
            files[f"txt/{speaker}/{name}.txt"] = f"{sentence}\n".encode()
            if (speaker, i) != ("p362", 2):  # lacks recordings
                for microphone in ("mic1", "mic2"):
                    path = f"wav48_silence_trimmed/{speaker}/{name}_{microphone}.flac"
                    files[path] = sound(path, rate=48_000)
    files["wav48_silence_trimmed/p315/p315_001_mic1.flac"] = sound("a.flac", rate=48_000)  # lacks texts
    return files


def test_vctk(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(vctk, "ARCHIVE", publish(vctk.ARCHIVE, _vctk_files()))
    splits = read("vctk", tmp_path / "corpora")
    assert "1 texts without a recording are left out" in capsys.readouterr().err
    assert {name: len(speakers(part)) for name, part in splits.items()} == {"train": 16, "dev": 2, "test": 2}
    assert not speakers(splits["train"]) & (speakers(splits["dev"]) | speakers(splits["test"]))
    everything = {name: text for part in splits.values() for name, text in texts(part).items()}
    assert everything["p225_002_mic1"] == ("A sentence of p225.", "p225") and "p362_003_mic1" in everything
    assert not [name for name in everything if name.startswith(("p315", "p362_002")) or name.endswith("mic2")]
    read_in = {name: {utterance.text for utterance in part} for name, part in splits.items()}
    assert "Please call Stella." in read_in["train"]
    assert not read_in["train"] & (read_in["dev"] | read_in["test"])
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)


def _arctic_files(speaker: str, sentences: int, lacking: str = "") -> dict[str, bytes]:
    top, names = f"cmu_us_{speaker}_arctic", [f"arctic_a{number:04}" for number in range(1, sentences + 1)]
    lines = "".join(f'( {name} "Author of the danger trail, no. {name[-4:]}, etc." )\n' for name in names)
    wavs = {f"{top}/wav/{name}.wav": sound(f"{name}.wav") for name in names if name != lacking}
    return {f"{top}/etc/txt.done.data": lines.encode(), f"{top}/COPYING": b"free", **wavs}


def test_cmu_arctic(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    names = ["aew", "awb", "bdl", "ksp", "rms", "slt"]
    lacking = {"awb": "arctic_a0003"}
    offered = {
        name: publish(cmu_arctic.ARCHIVES[name], _arctic_files(name, 30, lacking.get(name, ""))) for name in names
    }
    monkeypatch.setattr(cmu_arctic, "ARCHIVES", offered)
    splits = read("cmu_arctic", tmp_path / "corpora")
    assert "1 texts without a recording are left out" in capsys.readouterr().err
    assert {name: len(speakers(part)) for name, part in splits.items()} == {"train": 4, "dev": 1, "test": 1}
    sentences = {name: {utterance.audio.stem for utterance in part} for name, part in splits.items()}
    assert {name: len(part) for name, part in sentences.items()} == {"train": 18, "dev": 6, "test": 6}
    assert len(set().union(*speakers_of(splits))) == 6 and len(set().union(*sentences.values())) == 30
    name, (text, speaker) = next(iter(texts(splits["test"]).items()))
    assert (text, name[:3]) == (f"Author of the danger trail, no. {name[-4:]}, etc.", speaker)
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)


def speakers_of(splits) -> list[set[str | None]]:
    return [speakers(part) for part in splits.values()]


def test_cmu_arctic_with_a_broken_line(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _arctic_files("aew", 3) | {"cmu_us_aew_arctic/etc/txt.done.data": b"arctic_a0001 Author\n"}
    monkeypatch.setattr(cmu_arctic, "ARCHIVES", {"aew": publish(cmu_arctic.ARCHIVES["aew"], files)})
    with pytest.raises(CorpusError, match=r"expected lines such as .* found 'arctic_a0001 Author'"):
        read("cmu_arctic", tmp_path / "corpora")


def _commands_files() -> dict[str, bytes]:
    # Two commands and two other words, of 200 speakers each; the archive's names begin with "./".
    names = [f"{word}/{i:08x}_nohash_0.wav" for word in ("yes", "go", "bed", "tree") for i in range(200)]
    files = {f"./{name}": sound("a.wav") for name in names}
    files |= {f"./_background_noise_/{name}.wav": sound("a.wav", seconds=2.6) for name in ("pink_noise", "running_tap")}
    files["./validation_list.txt"] = "".join(f"{n}\n" for n in names if n.split("/")[1] < "00000020").encode()
    files["./testing_list.txt"] = "".join(f"{n}\n" for n in names if n.split("/")[1] >= "000000b8").encode()
    return {**files, "./README.md": b"about", "./LICENSE": b"free"}


def test_speech_commands_of_35_words(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speech_commands, "ARCHIVE", publish(speech_commands.ARCHIVE, _commands_files()))
    splits = read("speech_commands", tmp_path / "corpora")
    assert counts(splits) == {"train": (4 * 152, 152), "dev": (4 * 32, 32), "test": (4 * 16, 16)}
    assert texts(splits["dev"])["bed/0000001f_nohash_0"] == ("BED", "0000001f")
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)


def test_speech_commands_of_12_classes(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    test = {
        "./yes/0132a06d_nohash_1.wav": sound("a.wav"),
        "./_unknown_/bed_0132a06d_nohash_2.wav": sound("a.wav"),
        "./_silence_/0.wav": sound("a.wav"),
        "./LICENSE": b"free",
    }
    monkeypatch.setattr(speech_commands, "ARCHIVE", publish(speech_commands.ARCHIVE, _commands_files()))
    monkeypatch.setattr(speech_commands, "TEST_12", publish(speech_commands.TEST_12, test))
    splits = read("speech_commands", tmp_path / "corpora", words="12")
    assert texts(splits["test"]) == {
        "yes/0132a06d_nohash_1": ("YES", "0132a06d"),
        "_unknown_/bed_0132a06d_nohash_2": ("UNKNOWN", "0132a06d"),
        "_silence_/0": ("SILENCE", None),
    }
    for name, commands in (("train", 152), ("dev", 32)):
        said = [utterance.text for utterance in splits[name]]
        assert set(said) == {"YES", "GO", "UNKNOWN", "SILENCE"}
        assert said.count("YES") == said.count("GO") == commands
        assert 0 < said.count("UNKNOWN") < commands / 2  # of twice as many
    silence = [utterance for utterance in splits["dev"] if utterance.text == "SILENCE"]
    assert [(each.audio.stem, each.offset, each.duration) for each in silence] == [
        ("running_tap", start, 1.0) for start in (0.0, 0.5, 1.0, 1.5)
    ]
    assert len({utterance.id for utterance in splits["train"]}) == len(splits["train"])
    assert every_utterance_is_of_its_split(splits)
    assert not recordings(splits["train"]) & recordings(splits["dev"])


def test_speech_commands_with_transcoded_recordings_beside(
    publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same recordings, each once: of a listed one no copy is left for training."""
    monkeypatch.setattr(speech_commands, "ARCHIVE", publish(speech_commands.ARCHIVE, _commands_files()))
    test = {"./yes/0132a06d_nohash_1.wav": sound("a.wav")}
    monkeypatch.setattr(speech_commands, "TEST_12", publish(speech_commands.TEST_12, test))
    before = {words: read("speech_commands", tmp_path / "corpora", words=words) for words in ("35", "12")}
    for name in ("yes/000000b8_nohash_0", "_background_noise_/running_tap"):
        path = tmp_path / "corpora" / "speech_commands" / "v0.02" / f"{name}.flac"
        path.write_bytes(sound("a.flac", seconds=2.6))
    for words, splits in before.items():
        after = read("speech_commands", tmp_path / "corpora", words=words)
        assert {name: [each.id for each in part] for name, part in after.items()} == {
            name: [each.id for each in part] for name, part in splits.items()
        }


def test_speech_commands_without_a_listed_recording(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _commands_files()
    del files["./bed/00000001_nohash_0.wav"]
    monkeypatch.setattr(speech_commands, "ARCHIVE", publish(speech_commands.ARCHIVE, files))
    with pytest.raises(CorpusError, match="1 recordings of its lists are missing, as bed/00000001_nohash_0"):
        read("speech_commands", tmp_path / "corpora")
    with pytest.raises(UsageError, match="words=10: expected 12 or 35"):
        read("speech_commands", tmp_path / "corpora", words="10")


def _common_voice_files(language: str) -> dict[str, bytes]:
    top, files = f"cv-corpus-17.0-2024-03-15/{language}", {}
    for split, size in (("train", 3), ("dev", 2), ("test", 1), ("invalidated", 1)):
        clips = [f"common_voice_{language}_{split}{number}.mp3" for number in range(size)]
        rows = [["client_id", "path", "sentence_id", "sentence", "up_votes"]]
        rows += [[f"{split}-{clip[-5]}", clip, "1", f'Mae "hen wlad" {clip[-5]}', "2"] for clip in clips]
        files[f"{top}/{split}.tsv"] = "".join("\t".join(row) + "\n" for row in rows).encode()
        files |= {f"{top}/clips/{clip}": sound(clip, rate=48_000) for clip in clips}
    return files


def test_common_voice(tmp_path: Path) -> None:
    """First it says what to fetch and where to put it; once that is there, it is read."""
    with pytest.raises(CorpusError) as caught:
        read("common_voice", tmp_path, language="cy")
    place = tmp_path / "archives" / "common_voice-cy.tar.gz"
    for word in ("https://mozilladatacollective.com/", "'Common Voice Scripted Speech'", "'cy'", f"put it at {place},"):
        assert word in str(caught.value)
    place.parent.mkdir()
    place.write_bytes(pack(place.name, _common_voice_files("cy")))
    splits = read("common_voice", tmp_path, language="cy")
    assert counts(splits) == {"train": (3, 3), "dev": (2, 2), "test": (1, 1)}
    assert texts(splits["test"]) == {"common_voice_cy_test0": ('Mae "hen wlad" 0', "test-0")}
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)
    assert {path.name for path in place.parent.iterdir()} == {place.name, f".{place.name}.lock"}
    place.unlink()  # unpacked once
    assert read("common_voice", tmp_path, language="cy") == splits


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_common_voice_without_a_part(tmp_path: Path, split: str) -> None:
    """Some small languages have a table with nothing but its header; only without dev one can do."""
    files, place = _common_voice_files("cy"), tmp_path / "archives" / "common_voice-cy.tar.gz"
    table = next(name for name in files if name.endswith(f"/{split}.tsv"))
    files[table] = files[table].partition(b"\n")[0] + b"\n"
    place.parent.mkdir()
    place.write_bytes(pack(place.name, files))
    if split == "dev":
        assert counts(read("common_voice", tmp_path, language="cy")) == {"train": (3, 3), "dev": (0, 0), "test": (1, 1)}
        return
    with pytest.raises(CorpusError) as caught:
        read("common_voice", tmp_path, language="cy")
    assert f"the part '{split}' of the language 'cy' is empty" in str(caught.value)
    assert "choose another language (--set language=...)" in str(caught.value)
    assert f"put the archive of another release at {place}" in str(caught.value)
    assert "downloaded again" not in str(caught.value)


def test_common_voice_lists_its_clips_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, listed = tmp_path / "archives" / "common_voice-cy.tar.gz", []
    place.parent.mkdir()
    place.write_bytes(pack(place.name, _common_voice_files("cy")))
    monkeypatch.setattr("recipes.audio_files", lambda folder: listed.append(folder) or audio_files(folder))
    read("common_voice", tmp_path, language="cy")
    assert [folder.name for folder in listed] == ["clips"]


def test_common_voice_of_no_language_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"language=\.\./cy: expected a code"):
        read("common_voice", tmp_path, language="../cy")


def test_common_voice_of_another_layout(tmp_path: Path) -> None:
    folder = tmp_path / "common_voice" / "cy"
    folder.mkdir(parents=True)
    with pytest.raises(
        CorpusError, match=r"expected one train\.tsv below it, found 0; delete .* put the archive"
    ) as caught:
        read("common_voice", tmp_path, language="cy")
    assert "downloaded again" not in str(caught.value)
    (folder / "train.tsv").write_text("path\ttext\n")
    with pytest.raises(CorpusError, match="expected the columns client_id, path, sentence; found"):
        read("common_voice", tmp_path, language="cy")


def _ocean_files() -> dict[str, bytes]:
    files = {"speechocean762/README.md": b"about", "speechocean762/resource/text-phone": b"000010011.0\tW IY0\n"}
    for split, first, last in (("train", 1, 20), ("test", 21, 23)):
        people = [f"{number:04}" for number in range(first, last + 1)]
        names = [(f"{int(person):05}{number:04}", person) for person in people for number in (11, 35)]
        top = f"speechocean762/{split}"
        files[f"{top}/text"] = "".join(f"{name}\tWE CALL IT {name}\n" for name, _ in names).encode()
        files[f"{top}/utt2spk"] = "".join(f"{name}\t{person}\n" for name, person in names).encode()
        waves = {name: f"WAVE/SPEAKER{person}/{name}.WAV" for name, person in names}
        files[f"{top}/wav.scp"] = "".join(f"{name}\t{wave}\n" for name, wave in waves.items()).encode()
        files |= {f"speechocean762/{wave}": sound("a.wav") for wave in waves.values()}
    return files


def test_speechocean762(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speechocean762, "ARCHIVE", publish(speechocean762.ARCHIVE, _ocean_files()))
    splits = read("speechocean762", tmp_path / "corpora")
    assert counts(splits) == {"train": (36, 18), "dev": (4, 2), "test": (6, 3)}
    assert not speakers(splits["train"]) & speakers(splits["dev"])
    assert texts(splits["test"])["000210035"] == ("WE CALL IT 000210035", "0021")
    assert every_utterance_is_of_its_split(splits) and all_decode(splits)


def test_speechocean762_with_a_line_cut_off(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _ocean_files() | {"speechocean762/train/text": b"000010011\tWE CALL\n000010035\n"}
    monkeypatch.setattr(speechocean762, "ARCHIVE", publish(speechocean762.ARCHIVE, files))
    with pytest.raises(CorpusError, match="nothing after '000010035'"):
        read("speechocean762", tmp_path / "corpora")


def _fleurs_files(language: str) -> dict[str, bytes]:
    files = {}
    for split, size in (("train", 3), ("dev", 1), ("test", 2)):
        names = [f"{split}{number}.wav" for number in range(size)]
        rows = [["9", name, f'"Raw," 1 {name}.', f"raw 1 {name[0]}", "r a w |", "4000", "FEMALE"] for name in names]
        files[f"{language}/{split}.tsv"] = "".join("\t".join(row) + "\n" for row in rows).encode()
        files |= {f"{language}/audio/{split}/{name}": sound(name) for name in names}
    return files


def test_fleurs(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = fleurs.archive
    monkeypatch.setattr(fleurs, "archive", lambda language: publish(official(language), _fleurs_files(language)))
    for language in ("cy_gb", "es_419"):  # one does not stand in for another
        splits = read("fleurs", tmp_path / "corpora", language=language)
        assert counts(splits) == {"train": (3, 1), "dev": (1, 1), "test": (2, 1)}
        assert texts(splits["test"])["test1"] == ("raw 1 t", None)
        assert all(language in path.parts for path in recordings(splits["train"]))
        assert every_utterance_is_of_its_split(splits) and all_decode(splits)


def test_fleurs_with_a_broken_line_or_language(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"language=\.\./cy: expected a code of FLEURS's, such as cy_gb"):
        read("fleurs", tmp_path, language="../cy")
    files = _fleurs_files("cy_gb") | {"cy_gb/dev.tsv": b"9\tdev0.wav\ttext\n"}
    archive = publish(fleurs.archive("cy_gb"), files)
    monkeypatch.setattr(fleurs, "archive", lambda language: archive)
    with pytest.raises(Error, match=r"dev\.tsv line 1: expected 7 columns, found 3"):
        read("fleurs", tmp_path / "corpora", language="cy_gb")
