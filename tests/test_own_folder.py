"""A folder of one's own, from the first look to the figures, by the real command; speech of tones or samples."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import srt

from asr import audio, checkpoint, load
from asr.corpus import Utterance, read
from asr.ngram import NGram
from asr.text import Alphabet, Normalizer
from asr.training.after import finish, text_model
from asr.training.folder import RunFolder
from asr.training.loop import DEV_COLUMNS

PROJECT = Path(__file__).resolve().parents[1]
RATE = 16_000
LETTERS = "abcdefgh"
WORDS = ["bad", "cab", "face", "bead", "head", "gab", "fed", "hedge", "age", "beach"]
TINY = {
    "layers": 1,
    "hidden": 48,
    "channels": 48,
    "learning_rate": 0.01,
    "speed": 0.0,  # another speed is another pitch, which here is another letter
    "vtlp": 0.0,
    "low_pass": 0.0,
    "frequency_width": 5,
    "steps": 60,
    "evaluations": 3,
    "workers": 1,
}
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers meet through gloo, which needs Unix here")


def _tones(text: str, random: np.random.Generator) -> np.ndarray:
    """(samples,) 0.1 s a letter, 0.05 s between letters, 0.25 s between words."""
    time = np.arange(int(0.1 * RATE)) / RATE
    parts = [np.zeros(RATE // 20)]
    for letter in text:
        if letter != " ":
            wave = np.sin(2 * np.pi * 300 * 1.4 ** LETTERS.index(letter) * time)
            parts.append(0.3 * wave * np.hanning(len(wave)))
        parts.append(np.zeros(int((0.2 if letter == " " else 0.05) * RATE)))
    samples = np.concatenate(parts)
    return samples + random.normal(0, 0.001, len(samples))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 recordings with texts, two long ones with subtitles, and what is wrong with three more."""
    folder = tmp_path_factory.mktemp("speech") / "my_folder"
    (folder / "short").mkdir(parents=True)
    random = np.random.default_rng(0)

    def text() -> str:
        return " ".join(random.choice(WORDS, random.integers(2, 5)))

    for i in range(24):
        said = text()
        soundfile.write(folder / "short" / f"u{i:02}.wav", _tones(said, random), RATE)
        (folder / "short" / f"u{i:02}.txt").write_text(said.capitalize() + ".\n", encoding="utf-8")
    for name in ("first", "second"):
        said = [text() for _ in range(5)]
        parts = [_tones(each, random) for each in said]
        ends = np.cumsum([len(part) for part in parts]) / RATE
        starts = [0, *ends[:-1]]
        cues = [
            srt.Subtitle(i, *(srt.timedelta(seconds=float(time)) for time in cue[:2]), cue[2])
            for i, cue in enumerate(zip(starts, ends, said, strict=True), 1)
        ]
        soundfile.write(folder / f"{name}.flac", np.concatenate(parts), RATE)
        (folder / f"{name}.srt").write_text(srt.compose(cues), encoding="utf-8")
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    (folder / "silent.txt").write_text("bad age")
    shutil.copy(folder / "short" / "u03.wav", folder / "copy.wav")
    shutil.copy(folder / "short" / "u03.txt", folder / "copy.txt")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASR_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def _settings(**settings: object) -> list[str]:
    return [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]


def test_a_folder_becomes_a_model_with_figures(folder: Path, cache: None, tmp_path: Path, run_module) -> None:
    out = tmp_path / "my_model"
    done = run_module("asr.train", folder, "--out", out, *_settings(**TINY), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(out / "model.safetensors")]
    assert done.stderr.splitlines()[-1].endswith(f": {out / 'report.html'}")
    assert "dev_manifest" in (out / "report.html").read_text(encoding="utf-8")

    # What was found is said, and kept.
    seen = json.loads((out / "look.json").read_text(encoding="utf-8"))
    assert seen["train"]["utterances"] + seen["dev"]["utterances"] == 24 + 10 + 2
    assert seen["counts"]["silent"] == 1 and "silent: nothing louder than" in done.stderr
    assert sum(seen["counts"].get(kind, 0) for kind in ("repeated", "in dev and in training")) == 1
    assert set(seen["characters"]) == set("".join(WORDS) + " ")
    assert "speakers are not known" in done.stderr and "than you set" in done.stderr

    # Dev is whole recordings, none of which was trained on; an evaluation of the kept manifest finds the same figures.
    dev = read(out / "dev_manifest.jsonl")
    assert 1 <= len({each.audio for each in dev}) <= 13 and len(dev) == seen["dev"]["utterances"]
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))["dev"]
    line = ("--model", out / "model.safetensors", "--manifest", out / "dev_manifest.jsonl", "--json")
    again = run_module("asr.evaluate", *line)
    found = json.loads(again.stdout)
    kept = result["lm"] or result["greedy"]
    assert {name: found[name] for name in kept.keys() - {"rtf"}} == {name: kept[name] for name in kept.keys() - {"rtf"}}
    assert (out / "model.lm").is_file() is (result["lm"] is not None)
    assert result["greedy"]["wer"] < 0.5  # it has learnt to hear tones
    assert f"greedy    WER {result['greedy']['wer']:.2%} (95% interval" in done.stderr
    assert "which has chosen the best model" in done.stderr

    # Nothing that was set was chosen otherwise.
    config = json.loads((out / "config.json").read_text(encoding="utf-8"))["settings"]
    assert {name: config[name] for name in TINY} == TINY and config["init"] == ""

    # The finished run goes on to the same end.
    resumed = run_module("asr.train", folder, "--out", out, "--resume", cwd=tmp_path)
    assert resumed.returncode == 0 and resumed.stdout == done.stdout, resumed.stderr
    assert json.loads((out / "result.json").read_text(encoding="utf-8"))["dev"]["greedy"] == result["greedy"]
    refused = run_module("asr.train", folder, "--out", out, cwd=tmp_path)
    assert refused.returncode == 1 and "holds a run already" in refused.stderr


def test_english_starts_from_the_model_that_ships(shipped_model: Path, cache: None, tmp_path: Path, run_module) -> None:
    for sample in read(PROJECT / "data" / "samples" / "manifest.jsonl"):
        shutil.copy(sample.audio, tmp_path / sample.audio.name)
        (tmp_path / sample.audio.name).with_suffix(".txt").write_text(sample.text, encoding="utf-8")
    out = tmp_path / "out"
    line = ("asr.train", tmp_path, "--out", out, "--lm", "none", *_settings(steps=2, evaluations=1, workers=1))
    done = run_module(*line, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "starts from en; new: nothing" in done.stderr and "init=en: " in done.stderr
    stored = checkpoint.load(out / "model.safetensors")
    assert stored.model.hidden == checkpoint.load(shipped_model).model.hidden
    assert stored.info["dev"]["wer"] < 0.9 and not (out / "model.lm").exists()
    scratch = run_module(*line[:3], tmp_path / "scratch", *line[4:], "--init", "none", "--dev", "none", cwd=tmp_path)
    assert scratch.returncode == 0, scratch.stderr
    assert "starts from" not in scratch.stderr and "no dev set" in scratch.stderr


# Language models


def _said(texts: list[str]) -> Callable[[], Iterator[Utterance]]:
    return lambda: (Utterance(str(i), Path(f"{i}.wav"), text) for i, text in enumerate(texts))


def test_texts_of_dev_are_never_in_the_language_model() -> None:
    alphabet = Alphabet.from_texts(["abcdefghijklmnopqrstuvwxyz "])
    texts = [f"alpha {word} golf" for word in ("bravo", "charlie", "delta") for _ in range(10)]
    model = text_model(_said([*texts, "Zulu, Yankee!"] * 2), {"zulu yankee"}, Normalizer(), alphabet)
    assert model.info["units"] == "words" and model.info["sentences"] == 60
    assert model.known("delta") and not model.known("zulu") and not model.known("yankee")
    assert text_model(_said(texts), set(texts), Normalizer(), alphabet) is None
    more = [f"alpha {word} golf 3" for word in ("bravo", "charlie", "delta") for _ in range(1000)]
    longer = text_model(_said(more), set(), Normalizer(), alphabet)
    assert (model.order, longer.order) == (2, 3)
    assert longer.known("golf") and not longer.known("3")  # which the model cannot write


def test_scripts_without_spaces_get_a_model_of_characters() -> None:
    texts = ["今天天气很好", "我们去公园散步吧", "今天我们不去学校", "天气不好的时候我在家", "明天天气会好的"] * 3
    sentences = [f"{text}{'一二三四五六七八九十'[i % 10]}{'甲乙丙丁'[i % 4]}" for i, text in enumerate(texts)]
    alphabet = Alphabet.from_texts(sentences)
    model = text_model(_said(sentences), set(), Normalizer(), alphabet)
    assert model.info["units"] == "characters" and model.known("天")
    commands = text_model(_said(["ja", "nein"] * 40), set(), Normalizer(), Alphabet.from_texts(["janein"]))
    assert commands.info["units"] == "words" and commands.known("nein")


@pytest.fixture
def run(shipped_model: Path, tmp_path: Path) -> tuple[RunFolder, list[Utterance]]:
    """A folder with the model that ships, as if it had been trained, and a dev set of noisy recordings."""
    random = np.random.default_rng(0)
    dev = []
    for sample in read(PROJECT / "data" / "samples" / "manifest.jsonl"):
        samples = audio.load(sample.audio)
        noisy = samples + random.normal(0, 0.3 * samples.std(), len(samples))
        soundfile.write(tmp_path / f"{sample.audio.stem}.wav", noisy, RATE)
        dev.append(Utterance(sample.id, tmp_path / f"{sample.audio.stem}.wav", sample.text))
    from asr.evaluate import evaluate

    folder = RunFolder(tmp_path)
    stored = checkpoint.load(shipped_model)
    found = evaluate(load("en", lm="none"), dev)
    info = {**stored.info, "dev": found.score.to_dict()}
    checkpoint.save(folder.model, checkpoint.Checkpoint(**{**vars(stored), "info": info}))
    folder.write_text("config.json", "{}\n")
    columns = ([each.id for each in dev], [each.text for each in dev], found.texts, [each.speaker for each in dev])
    rows = zip(*columns, strict=True)
    folder.write_lines("dev.jsonl", [dict(zip(DEV_COLUMNS, row, strict=True)) for row in rows])
    return folder, dev


def test_a_language_model_is_kept_if_it_helps(run, cache: None, capsys: pytest.CaptureFixture) -> None:
    folder, dev = run
    helpful = _said([f"{each.text} indeed" for each in dev])
    finish(folder, helpful, dev, "", True)
    result = json.loads((folder.path / "result.json").read_text(encoding="utf-8"))
    assert result["dev"]["lm"]["errors"] < result["dev"]["greedy"]["errors"]
    model = NGram.open(folder.path / "model.lm")
    assert model.known("indeed") and {"alpha", "beam_size"} <= model.info["search"].keys()
    assert load(str(folder.model)).search is not None  # it is the model's own from now on
    assert "its weights were fitted to dev, too" in capsys.readouterr().err


def test_a_language_model_that_does_not_help_is_not_kept(run, cache: None, capsys: pytest.CaptureFixture) -> None:
    folder, dev = run
    folder.record(language_model="of an earlier time, when this was stopped")
    (folder.path / "model.lm").write_bytes(b"as far as it had come")
    finish(folder, _said(["qqqq zzzz xxxx vvvv"] * 30), dev, "", True)
    assert not (folder.path / "model.lm").exists()
    assert json.loads((folder.path / "result.json").read_text(encoding="utf-8"))["dev"]["lm"] is None
    assert "no language model made fewer errors" in capsys.readouterr().err
