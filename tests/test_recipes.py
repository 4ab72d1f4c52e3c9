"""The recipes on real corpora, and from archives of the original layout that a loopback server offers."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

import recipes
from asr import Error, audio, corpus
from asr.corpus import CorpusError, Utterance
from recipes import Recipe, an4, digits, mini_librispeech, yesno
from recipes.archive import Archive

Splits = dict[str, list[Utterance]]


def _read(name: str, folder: Path, **options: str) -> Splits:
    recipe = recipes.find(name)
    return recipe.read(folder, {**recipe.options, **options})


def _counts(splits: Splits) -> dict[str, tuple[int, int]]:
    """Split -> (utterances, speakers)."""
    return {name: (len(part), len({u.speaker for u in part})) for name, part in splits.items()}


def _speakers(part: list[Utterance]) -> set[str | None]:
    return {utterance.speaker for utterance in part}


def _audio(part: list[Utterance]) -> set[Path]:
    return {utterance.audio for utterance in part}


# On real speech

HERE = {"mini_librispeech": {"dev": "dev-clean"}}  # dev-clean-2 is not at hand


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What recipes derive from recordings goes away with the test."""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=recipes.NAMES)
def real(
    request: pytest.FixtureRequest, corpora: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Splits]:
    """Every recipe and what it reads; a test that changes it takes a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASR_CACHE", str(tmp_path_factory.mktemp("cache")))
        return recipes.find(request.param), _read(request.param, corpora, **HERE.get(request.param, {}))


EXPECTED = {
    "yesno": {"train": (32 * 29, 1), "dev": (0, 0), "test": (30, 1)},
    "digits": {"train": (2400, 6), "dev": (300, 6), "test": (300, 6)},
    "an4": {"train": (844, 66), "dev": (104, 8), "test": (130, 10)},
    "mini_librispeech": {
        "train": (1519, 28),
        "dev": (649, 10),
        "dev-clean": (1313, 20),
        "dev-clean-others": (664, 10),
    },
    "english": {
        "train": (10_252, 233),  # 232 and those without a name
        "dev": (649, 10),
        "dev-clean": (1313, 20),
        "dev-clean-others": (664, 10),
    },
}


def test_the_split_that_counts_is_there(real: tuple[Recipe, Splits]) -> None:
    recipe, splits = real
    options = {**recipe.options, **HERE.get(recipe.name, {})}
    assert recipe.test_split(options) in splits.keys() - {"train", "dev"}


def test_every_split_is_whole(real: tuple[Recipe, Splits]) -> None:
    recipe, splits = real
    assert _counts(splits) == EXPECTED[recipe.name]
    for part in splits.values():
        assert len({utterance.id for utterance in part}) == len(part)
        assert all(utterance.text and utterance.audio.is_file() for utterance in part)


def test_nothing_that_is_tested_on_is_trained_on(real: tuple[Recipe, Splits]) -> None:
    recipe, splits = real
    train = splits["train"]
    for part in (part for name, part in splits.items() if name != "train"):
        assert not _audio(train) & _audio(part)
        if recipe.name not in ("yesno", "digits"):  # there, officially, all speakers are in all parts
            assert not _speakers(train) & _speakers(part)


def test_official_test_parts_choose_nothing(real: tuple[Recipe, Splits]) -> None:
    _, splits = real
    if "test" in splits:
        assert not _audio(splits["dev"]) & _audio(splits["test"])
    else:  # dev-clean, of which half chooses: then the others' figure is there, too
        everyone, others = splits["dev-clean"], splits["dev-clean-others"]
        assert _audio(splits["dev"]) | _audio(others) == _audio(everyone)
        assert not _speakers(splits["dev"]) & _speakers(others)
        assert max(_speakers(splits["dev"])) < min(_speakers(others))


def test_the_original_layouts_say_what_the_manifests_say(real: tuple[Recipe, Splits], corpora: Path) -> None:
    # The manifests beside the corpora were made apart from our readers: text and speaker must agree.
    recipe, splits = real
    folders = {
        "yesno": ["yesno"],
        "digits": ["fsdd"],
        "an4": ["an4"],
        "mini_librispeech": ["LibriSpeech/train-clean-5", "LibriSpeech/dev-clean"],
        "english": ["LibriSpeech/train-clean-100"],
    }[recipe.name]
    stated = {u.audio.resolve(): (u.text, u.speaker) for name in folders for u in corpus.read(corpora / name)}
    found = {u.audio.resolve(): (u.text, u.speaker) for part in splits.values() for u in part}
    if recipe.name == "yesno":  # which trains on recordings composed of those of the first half
        stated = dict(sorted(stated.items())[30:])
    assert {path: found.get(path) for path in stated} == stated


def test_the_official_sizes_in_words(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yesno, "COMPOSED", 1)
    words = {
        name: sum(len(utterance.text.split()) for utterance in _read(name, corpora)["test"])
        for name in ("yesno", "an4", "digits")
    }
    assert words == {"yesno": 240, "an4": 773, "digits": 300}


def test_yesno_trains_on_nothing_derived_from_its_test_half(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yesno, "COMPOSED", 2)
    copy = tmp_path / "corpora" / "yesno" / "waves_yesno"
    copy.mkdir(parents=True)
    for i, path in enumerate(sorted((corpora / "yesno").rglob("[01]_*"))):
        (copy / path.name).write_bytes(path.read_bytes() if i < 30 else b"")
    trained = [(utterance.text, utterance.audio.name) for utterance in _read("yesno", corpora)["train"]]
    assert trained == [(utterance.text, utterance.audio.name) for utterance in _read("yesno", copy.parents[1])["train"]]
    assert 0.2 < sum(text.startswith("YES") for text, _ in trained) / len(trained) < 0.8


PITCHES = {"0": 440, "1": 1760}


def _beeps(name: str) -> bytes:
    """For every digit of a name a tone of its pitch that comes and goes by 100 dB a second, between pauses."""
    rate, random = audio.SAMPLE_RATE, np.random.default_rng(1)
    time = np.arange(rate) / rate
    tone = 0.5 * 10 ** (np.minimum(0, 100 * (0.2 - np.abs(time - 0.5))) / 20)
    samples = [1e-4 * random.normal(size=rate)]
    for digit in name.split("_"):
        samples += [
            tone * np.sin(2 * np.pi * PITCHES[digit] * time),
            1e-4 * random.normal(size=rate // 4),
        ]
    file = io.BytesIO()
    soundfile.write(file, np.concatenate([*samples, samples[0]]), rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_yesno_composed_recordings_say_what_their_texts_say(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.wav" for name in ("0_1_1", "0_0_1")]
    for path in paths:
        path.write_bytes(_beeps(path.stem))
    composed = yesno._composed(paths, tmp_path / "derived")
    assert len(composed) == 2 * yesno.COMPOSED
    for utterance in composed:
        samples = audio.load(utterance.audio)
        # At 14 dB below the peak: the tones, not the sounds in the silences.
        words = librosa.effects.split(samples, top_db=14, frame_length=512, hop_length=128)
        assert " ".join(_nearest_text(samples[start:end]) for start, end in words) == utterance.text
    before = [utterance.audio.stat().st_mtime_ns for utterance in composed]
    again = yesno._composed(paths, tmp_path / "derived")
    assert again == composed
    assert before == [utterance.audio.stat().st_mtime_ns for utterance in again]  # the audio cache stays valid


def _nearest_text(samples: np.ndarray) -> str:
    pitch = np.abs(np.fft.rfft(samples)).argmax() * audio.SAMPLE_RATE / len(samples)
    return {"0": "NO", "1": "YES"}[min(PITCHES, key=lambda digit: abs(PITCHES[digit] - pitch))]


def test_yesno_leaves_out_recordings_that_do_not_show_their_words(tmp_path: Path) -> None:
    (tmp_path / "0_1.wav").write_bytes(_beeps("0_1"))
    (tmp_path / "0_0_1.wav").write_bytes(_beeps("0_1"))  # a word is missing
    (tmp_path / "0_1_1.wav").write_bytes(b"")
    paths = sorted(tmp_path.iterdir())
    assert len(yesno._composed(paths, tmp_path / "derived")) == yesno.COMPOSED
    with pytest.raises(CorpusError, match="expected words between pauses"):
        yesno._composed([path for path in paths if path.stem != "0_1"], tmp_path / "derived")


def test_digits_splits_by_take(corpora: Path) -> None:
    takes = {
        name: {int(utterance.id.rpartition("_")[2]) for utterance in part}
        for name, part in _read("digits", corpora).items()
    }
    assert takes == {"test": set(range(5)), "dev": set(range(5, 10)), "train": set(range(10, 50))}


def test_an4_dev_speakers_never_change(corpora: Path) -> None:
    # Published figures hang on them.
    dev = {"fkai", "flmm2", "fnsv", "mcen", "mcfl", "mgah", "mmal", "mmkw"}
    assert _speakers(_read("an4", corpora)["dev"]) == dev


def test_english_is_every_training_part(corpora: Path) -> None:
    counts: dict[str, int] = {}
    for utterance in _read("english", corpora)["train"]:
        name = utterance.id.partition("/")[0] if "/" in utterance.id else "LibriSpeech"
        counts[name] = counts.get(name, 0) + 1
    assert counts == {
        "LibriSpeech": 1519 + 825,
        "common_voice_v1": 3700,
        "speechocean762": 2260,
        "an4": 948,
        "ljspeech": 385,
        "vctk": 549,
        "cmu_arctic": 66,
    }


def test_english_can_do_without_some_of_its_parts(corpora: Path) -> None:
    """A copy that is damaged is left out by name."""
    parts = {utterance.id.partition("/")[0] for utterance in _read("english", corpora, without="an4,vctk")["train"]}
    assert {"common_voice_v1", "ljspeech"} <= parts and not {"an4", "vctk"} & parts
    with pytest.raises(Error, match="without=timit: expected some of common_voice_v1"):
        _read("english", corpora, without="an4,timit")


# From archives of the original layout


def _sound(name: str, format: str | None = None) -> bytes:
    """A quarter of a second of noise, by default encoded as the name's extension says."""
    output = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 4000)
    soundfile.write(output, noise, 16_000, format=format or name.rpartition(".")[2])
    return output.getvalue()


def _pack(name: str, files: dict[str, bytes]) -> bytes:
    output = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        return output.getvalue()
    with tarfile.open(fileobj=output, mode="w:gz") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


@pytest.fixture
def publish(tmp_path: Path) -> Iterator[Callable[[Archive, dict[str, bytes]], Archive]]:
    """Offers files as the archive that a recipe downloads: the same but for its address and checksum."""
    shop = tmp_path / "shop"
    shop.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(shop))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()

        def offer(archive: Archive, files: dict[str, bytes]) -> Archive:
            name = archive.urls[0].rpartition("/")[2]
            content = _pack(name, files)
            (shop / name).write_bytes(content)
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            return replace(archive, urls=(url,), checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")

        yield offer
        server.shutdown()
        thread.join()


def _texts(part: list[Utterance]) -> dict[str, tuple[str, str | None]]:
    return {utterance.id: (utterance.text, utterance.speaker) for utterance in part}


def _all_decode(splits: Splits) -> bool:
    return all(len(audio.load(utterance.audio)) == 4000 for part in splits.values() for utterance in part)


def test_yesno_from_its_archive(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["0_0_0_0_1_1_1_1", "1_1_1_1_1_1_1_1", "0_1_0_1_0_1_0_1", "1_0_0_0_0_0_0_0"]
    files = {f"waves_yesno/{name}.wav": _beeps(name) for name in names}
    files |= {"waves_yesno/README": b"about", "waves_yesno/README~": b"about"}
    monkeypatch.setattr(yesno, "ARCHIVE", publish(yesno.ARCHIVE, files))
    splits = _read("yesno", tmp_path / "corpora")
    assert len(splits["train"]) == 2 * yesno.COMPOSED and splits["dev"] == []
    assert _texts(splits["test"]) == {
        "1_0_0_0_0_0_0_0": ("YES NO NO NO NO NO NO NO", "one"),
        "1_1_1_1_1_1_1_1": ("YES YES YES YES YES YES YES YES", "one"),
    }


def test_digits_from_its_archive(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["7_theo_0", "7_theo_4", "3_theo_5", "0_george_9", "9_george_10", "1_yweweler_49"]
    top = "free-spoken-digit-dataset-1.0.10"
    files = {f"{top}/recordings/{name}.wav": _sound(f"{name}.wav") for name in names}
    files |= {f"{top}/README.md": b"about", f"{top}/utils/fsdd.py": b"pass"}
    monkeypatch.setattr(digits, "ARCHIVE", publish(digits.ARCHIVE, files))
    splits = _read("digits", tmp_path / "corpora")
    assert {name: _texts(part) for name, part in splits.items()} == {
        "test": {"7_theo_0": ("SEVEN", "theo"), "7_theo_4": ("SEVEN", "theo")},
        "dev": {"3_theo_5": ("THREE", "theo"), "0_george_9": ("ZERO", "george")},
        "train": {"9_george_10": ("NINE", "george"), "1_yweweler_49": ("ONE", "yweweler")},
    }
    assert _all_decode(splits)


def _an4_files() -> dict[str, bytes]:
    train = [f"an{number}-sp{number:02}-b" for number in range(74)]
    test = ["an406-fcaw-b", "an407-fcaw-b"]
    files = {f"an4/wav/an4_clstk/{name.split('-')[1]}/{name}.sph": name for name in train}
    files |= {f"an4/wav/an4test_clstk/fcaw/{name}.sph": name for name in test}
    return {path: _sound(name, format="NIST") for path, name in files.items()} | {
        "an4/etc/an4_train.transcription": "".join(f"<s> GO {n[2]} </s> ({n})\n" for n in train).encode(),
        "an4/etc/an4_test.transcription": "".join(f"RUBOUT G M ({name})\n" for name in test).encode(),
        "an4/etc/an4.dic": b"A  AH\n",
        "an4/LICENSE": b"free",
    }


def test_an4_from_its_archive(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(an4, "ARCHIVE", publish(an4.ARCHIVE, _an4_files()))
    splits = _read("an4", tmp_path / "corpora")
    assert _counts(splits) == {"train": (66, 66), "dev": (8, 8), "test": (2, 1)}
    assert _texts(splits["test"]) == {
        "an406-fcaw-b": ("RUBOUT G M", "fcaw"),
        "an407-fcaw-b": ("RUBOUT G M", "fcaw"),
    }
    assert all(text == f"GO {name[2]}" for name, (text, _) in _texts(splits["train"]).items())
    assert _all_decode(splits)


def test_utterances_without_audio_are_named(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = _an4_files()
    del files["an4/wav/an4_clstk/sp07/an7-sp07-b.sph"]
    monkeypatch.setattr(an4, "ARCHIVE", publish(an4.ARCHIVE, files))
    with pytest.raises(CorpusError) as caught:
        _read("an4", tmp_path / "corpora")
    assert "1 train utterances without audio" in str(caught.value)
    assert "an7-sp07-b" in str(caught.value)


def _libri_files(part: str, speakers: list[str]) -> dict[str, bytes]:
    top, files = f"LibriSpeech/{part}", {"LibriSpeech/README.TXT": b"about", "LibriSpeech/SPEAKERS.TXT": b";"}
    for speaker in speakers:
        chapter = f"{speaker}-1234"
        lines = [f"{chapter}-{number:04} WORD'S NUMBER {speaker}\n" for number in range(2)]
        files[f"{top}/{speaker}/1234/{chapter}.trans.txt"] = "".join(lines).encode()
        for line in lines:
            name = line.split()[0]
            files[f"{top}/{speaker}/1234/{name}.flac"] = _sound(f"{name}.flac")
    return files


@pytest.mark.parametrize("part", ["dev-clean-2", "dev-clean"])
def test_mini_librispeech_from_its_archives(
    publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    archives = mini_librispeech.ARCHIVES
    dev = ["84", "9", "777", *[str(number) for number in range(1000, 1010)]]
    offered = {
        "train-clean-5": publish(archives["train-clean-5"], _libri_files("train-clean-5", ["19", "26"])),
        part: publish(archives[part], _libri_files(part, dev)),
    }
    monkeypatch.setattr(mini_librispeech, "ARCHIVES", offered)
    splits = _read("mini_librispeech", tmp_path / "corpora", dev=part)
    assert _counts(splits) == {"train": (4, 2), "dev": (20, 10), part: (26, 13), f"{part}-others": (6, 3)}
    assert _speakers(splits[f"{part}-others"]) == {"84", "9", "777"}  # sorted as text, 1000... come first
    assert _texts(splits["train"])["19-1234-0001"] == ("WORD'S NUMBER 19", "19")
    assert recipes.find("mini_librispeech").test_split({"dev": part}) == part
    assert _all_decode(splits)


def test_audio_is_found_whatever_its_extension(tmp_path: Path) -> None:
    # A transcoded copy works, and of two formats of one recording the first by name is taken.
    folder = tmp_path / "fsdd"
    folder.mkdir()
    for name in ("3_theo_9.ogg", "3_theo_0.flac", "3_theo_0.wav"):
        (folder / name).write_bytes(_sound(name))
    splits = _read("digits", tmp_path)
    assert [u.audio.name for part in splits.values() for u in part] == ["3_theo_9.ogg", "3_theo_0.flac"]


# When something is amiss


@pytest.mark.parametrize(("name", "folder"), [("yesno", "yesno/waves_yesno"), ("digits", "fsdd/recordings")])
def test_a_corpus_without_recordings_is_an_error(tmp_path: Path, name: str, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "other.wav").write_bytes(_sound("other.wav"))
    with pytest.raises(CorpusError, match=r"found none\. Delete the corpus's folder"):
        _read(name, tmp_path)


def test_a_librispeech_part_without_transcripts_is_an_error(tmp_path: Path) -> None:
    for part in ("train-clean-5", "dev-clean"):
        (tmp_path / "LibriSpeech" / part).mkdir(parents=True)
    with pytest.raises(CorpusError, match="expected transcripts; found none"):
        _read("mini_librispeech", tmp_path, dev="dev-clean")


def test_english_names_every_missing_part_and_its_home(tmp_path: Path) -> None:
    (tmp_path / "vctk").mkdir()
    (tmp_path / "vctk" / "manifest.jsonl").write_text("")
    (tmp_path / "ljspeech").mkdir()  # there, but without a manifest
    with pytest.raises(CorpusError) as caught:
        _read("english", tmp_path)
    lines = str(caught.value).split("\n")[1:]
    assert len(lines) == 8
    assert f"  {tmp_path / 'LibriSpeech/train-clean-100'} (https://www.openslr.org/12/)" in lines
    assert f"  {tmp_path / 'ljspeech/manifest.jsonl'} (https://keithito.com/LJ-Speech-Dataset/)" in lines
    assert "vctk" not in "".join(lines)


def test_a_wrong_dev_part_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Error, match="dev=test-clean: expected dev-clean-2 or dev-clean"):
        _read("mini_librispeech", tmp_path, dev="test-clean")


def test_an_unknown_recipe_is_an_error() -> None:
    with pytest.raises(Error, match="no recipe 'timit'; there are yesno, digits, an4"):
        recipes.find("timit")


def test_the_recipes_files_and_names_agree() -> None:
    files = {path.stem for path in Path(recipes.__file__).parent.glob("*.py")} - {"__init__", "archive"}
    assert files == set(recipes.NAMES) == {recipes.find(name).name for name in recipes.NAMES}


@pytest.mark.parametrize("archive", [yesno.ARCHIVE, digits.ARCHIVE, an4.ARCHIVE, *mini_librispeech.ARCHIVES.values()])
def test_archives_are_stated_completely(archive: Archive) -> None:
    assert all(re.fullmatch(r"https?://[^ ]+\.(tar\.gz|zip)", url) for url in archive.urls)
    assert re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", archive.checksum)


@pytest.mark.parametrize(("value", "folder"), [("/srv/speech", "/srv/speech"), ("", "data/corpora")])
def test_where_corpora_are(monkeypatch: pytest.MonkeyPatch, value: str, folder: str) -> None:
    monkeypatch.setenv("ASR_CORPORA", value)
    assert recipes.corpora_folder() == Path(folder)
