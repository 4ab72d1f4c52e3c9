"""Beam search as users reach it: the file beside a model, options of the commands, weights fitted to data."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import asr
from asr import audio, files
from asr.command import UsageError
from asr.corpus import Utterance, write_manifest
from asr.decode import BeamSettings
from asr.evaluate import main as evaluate
from asr.kneser_ney import estimate
from asr.lm import save_lm
from asr.loading import find_lm, find_model, is_model, search_settings
from asr.ngram import NGram
from asr.transcribe import main as transcribe

SENTENCES = ["a bold cat", "the old bat sat", "é la la", "go to it", "a cat sat", "if so do it now"] * 5
WORDS = {word for sentence in SENTENCES for word in sentence.split()}


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    """A model file with a language model beside it, to which no other word exists."""
    path = Path(shutil.copy(tiny_model, tmp_path / "m.safetensors"))
    search = {"alpha": 0.5, "beta": 1.0, "unknown_price": 1000.0, "beam_size": 20}
    estimate([sentence.split() for sentence in SENTENCES], 2, info={"search": search}).save(path.with_suffix(".lm"))
    return path


def test_the_language_model_beside_a_model_is_its_own(model: Path, recordings: list[Path]) -> None:
    found = [asr.load(str(model)).transcribe(path).text for path in recordings]
    assert {word for text in found for word in text.split()} <= WORDS and any(found)
    named = asr.load(str(model), lm=str(model.with_suffix(".lm")))
    assert [named.transcribe(path).text for path in recordings] == found


def test_without_a_language_model_or_a_beam_it_decodes_greedily(model: Path, recordings: list[Path]) -> None:
    greedy = asr.load(str(model), lm="none")
    assert greedy.search is None and asr.load(str(model), beam_size=1).search is None
    assert {word for path in recordings for word in greedy.transcribe(path).text.split()} - WORDS
    wide = asr.load(str(model), lm="none", beam_size=30)
    assert wide.search.settings.beam_size == 30 and wide.transcribe(recordings[0]).text


def test_batches_change_no_text(model: Path, recordings: list[Path]) -> None:
    recognizer, waveforms = asr.load(str(model)), [audio.load(path) for path in recordings]
    alone = [recognizer.transcribe(waveform).text for waveform in waveforms]
    assert [transcript.text for transcript in recognizer.transcribe_many(waveforms)] == alone


@pytest.mark.parametrize("more", [[], ["--lm", "none"]])
def test_hot_words_are_heard(
    model: Path, recordings: list[Path], more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Loud enough they come out of anything, also where the vocabulary does not have them."""
    words = tmp_path / "hot.txt"
    words.write_text("Zab-xy\t50\n\nquiz\t40\n", encoding="utf-8")
    for given in ("zab xy,quiz", str(words)):
        options = ["--hotwords", given, "--hotword-weight", "45", *more]
        assert transcribe([str(recordings[2]), "--model", str(model), *options]) == 0
        text = capsys.readouterr().out
        assert "zab xy" in text or "quiz" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--hotwords", "42"], "hot word '42': the model does not write '4', '2'"),
        (["--hotwords", "cat", "--beam-size", "1"], "hot words need beam search"),
        (["--hotwords", "nosuch_names.txt"], "nosuch_names.txt: no such file of hot words"),
        (["--hotwords", "lists/names"], "lists/names: no such file of hot words"),
        (["--lm", "nowhere.lm"], "language model 'nowhere.lm': no such file"),
    ],
)
def test_what_cannot_be_done_is_said(
    model: Path, recordings: list[Path], options: list[str], message: str, run_module: Callable
) -> None:
    done = run_module("asr.transcribe", recordings[0], "--model", model, *options)
    assert done.returncode == 1 and message in done.stderr and not done.stdout and done.stderr.count("\n") == 1


def test_a_weight_that_is_no_number_is_named(model: Path, recordings: list[Path], tmp_path: Path) -> None:
    words = tmp_path / "hot.txt"
    words.write_text("cat\tvery\n", encoding="utf-8")
    with pytest.raises(asr.Error, match=r"hot.txt, line 1: 'very' is no weight"):
        transcribe([str(recordings[0]), "--model", str(model), "--hotwords", str(words)])
    with pytest.raises(UsageError, match="--hotword-weight belongs to --hotwords"):
        transcribe([str(recordings[0]), "--model", str(model), "--hotword-weight", "4"])


def test_alternatives_are_other_texts(model: Path) -> None:
    """A space at the end of a text makes no other one."""
    recognizer = asr.load(str(model), lm="none", beam_size=100)
    letter, space = recognizer.alphabet.encode("a ")
    probabilities = np.full((3, len(recognizer.alphabet)), 0.001)
    probabilities[0, letter] = probabilities[1, 0] = 0.9
    probabilities[2, [0, space]] = 0.45
    (found,) = recognizer.decode([np.log(probabilities).astype(np.float32)], n_best=5)
    texts = [recognizer.text(hypothesis) for hypothesis in found]
    assert len(set(texts)) == len(texts) == 5 and texts[0] == "a"


@pytest.mark.parametrize("given", ["", " , ", "hot.txt"])
def test_hot_words_that_are_none_are_refused(
    given: str, model: Path, recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hot.txt").write_text("\n \t5\n", encoding="utf-8")
    with pytest.raises(UsageError, match=f"--hotwords {given!r}: there is no word in it"):
        transcribe([str(recordings[0]), "--model", str(model), "--hotwords", given])


def test_a_path_is_no_name_of_a_file_that_ships(model: Path, tmp_path: Path) -> None:
    given = str(tmp_path / "mine.arpa")
    for path in (given, f"{given}.lm", f"{given}.safetensors"):
        Path(path).touch()
    assert find_lm(model, given) == find_model(given) == Path(given)
    assert not is_model(given)
    Path(given).unlink()
    for name in (given, "./en"):
        for find in (partial(find_lm, model), find_model):
            with pytest.raises(asr.Error, match=f"{name}': no such file"):
                find(name)
    assert find_model("en") == find_lm(model, "en").with_suffix(".safetensors") and is_model("en")


def test_a_language_model_of_other_letters_is_refused(model: Path) -> None:
    estimate([["ДОМ", "ГОД"]] * 3, 1).save(model.with_suffix(".lm"))
    with pytest.raises(asr.Error, match="cannot write 2 of the language model's 2 words"):
        asr.load(str(model))


def test_a_language_model_of_characters(model: Path, recordings: list[Path]) -> None:
    letters = [list(sentence.replace(" ", "▁")) for sentence in SENTENCES]
    info = {"units": "characters", "search": {"unknown_price": 1000.0}}
    estimate(letters, 3, info=info).save(model.with_suffix(".lm"))
    with_model = [asr.load(str(model)).transcribe(path).text for path in recordings]
    assert any(with_model)
    assert not {letter for text in with_model for letter in text} - set("".join(SENTENCES))


def test_tuning_fits_weights_to_data_and_keeps_them(
    model: Path, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ["the cat sat", "go", "a bold bat", "it"]
    pairs = [*zip(recordings, texts, strict=True)] * 13
    write_manifest(tmp_path / "dev.jsonl", [Utterance(f"{i}", *pair) for i, pair in enumerate(pairs)])
    line = ["--model", str(model), "--manifest", str(tmp_path / "dev.jsonl"), "--json"]
    lm = model.with_suffix(".lm")
    before = NGram.open(lm)
    assert evaluate(line) == 0
    untuned = json.loads(capsys.readouterr().out)
    assert evaluate([*line, "--tune"]) == 0
    tuned = json.loads(capsys.readouterr().out)
    assert tuned["errors"] <= untuned["errors"]
    assert tuned["tuned_on_this_data"] is True and "tuned_on_this_data" not in untuned
    after = NGram.open(lm)
    assert after.info["search"] != before.info["search"] and after.words == before.words
    assert dataclasses.asdict(search_settings(after)) == after.info["search"]
    assert search_settings(after).beam_size >= 20, "so few words do not tell that a narrower beam is as good"
    assert after.score(["the", "cat"]) == before.score(["the", "cat"])


def test_who_tunes_is_told_that_the_figure_is_of_the_same_data(
    model: Path, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(tmp_path / "dev.jsonl", [Utterance("a", recordings[1], "go " * 100)])
    page = tmp_path / "report.html"
    line = ["--model", str(model), "--manifest", str(tmp_path / "dev.jsonl"), "--report", str(page)]
    said = "weights of beam search were fitted to this data: expect more errors on other speech"
    for more, count in ((["--tune"], 1), ([], 0)):
        assert evaluate([*line, *more]) == 0
        assert capsys.readouterr().out.count(said) == page.read_text(encoding="utf-8").count(said) == count


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--hotwords", "cat"], "for all decoding, with hot words and without; leave out --hotwords"),
        (["--beam-size", "4"], "--tune chooses the beam, too; leave out --beam-size"),
    ],
)
def test_what_would_not_be_tuned_is_refused(model: Path, more: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(["--model", str(model), "--manifest", "dev.jsonl", "--tune", *more])


def test_a_file_that_cannot_keep_weights_is_known_before_the_work(
    model: Path, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm = model.with_suffix(".lm")
    files.beside(lm).mkdir()  # where it would be written first
    write_manifest(tmp_path / "dev.jsonl", [Utterance("a", recordings[1], "go")])
    with pytest.raises(asr.Error, match=r"m\.lm: what is fitted would be kept in .*name the copy \(--lm\)"):
        evaluate(["--model", str(model), "--manifest", str(tmp_path / "dev.jsonl"), "--tune"])
    assert "word errors" not in capsys.readouterr().err


def test_what_cannot_be_heard_is_not_tuned_to(
    model: Path, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lm, manifest = model.with_suffix(".lm"), tmp_path / "dev.jsonl"
    lost = [Utterance(f"lost {i}", tmp_path / "nowhere.wav", "go " * 50) for i in range(9)]
    heard = [Utterance(f"heard {i}", recordings[1], "go " * 60) for i in range(2)]
    before = lm.read_bytes()
    write_manifest(manifest, [*lost, heard[0]])
    line = ["--model", str(model), "--manifest", str(manifest)]
    with pytest.raises(asr.Error, match="60 words can be heard; to fit to them takes at least 100"):
        evaluate([*line, "--tune"])
    write_manifest(manifest, [*heard, *lost])
    with pytest.raises(asr.Error, match="120 words can be heard; to fit to them takes at least 200"):
        evaluate([*line, "--tune", "--calibrate"])
    assert lm.read_bytes() == before
    capsys.readouterr()
    evaluate([*line, "--tune"])
    said = capsys.readouterr().err
    assert "9 of 11 recordings cannot be read and are not fitted to, such as lost 0: " in said
    assert "word errors" in said and NGram.open(lm).info["search"]["beam_size"] >= 20


def test_tuning_needs_a_language_model(tiny_model: Path, tmp_path: Path, recordings: list[Path]) -> None:
    write_manifest(tmp_path / "dev.jsonl", [Utterance("a", recordings[0], "a")])
    with pytest.raises(asr.Error, match="--lm"):
        evaluate(["--model", str(tiny_model), "--manifest", str(tmp_path / "dev.jsonl"), "--tune"])


def test_an_arpa_file_keeps_no_weights(model: Path, tmp_path: Path, recordings: list[Path]) -> None:
    save_lm(tmp_path / "m.arpa", NGram.open(model.with_suffix(".lm")))
    write_manifest(tmp_path / "dev.jsonl", [Utterance("a", recordings[0], "a")])
    line = ["--model", str(model), "--lm", str(tmp_path / "m.arpa"), "--manifest", str(tmp_path / "dev.jsonl")]
    with pytest.raises(UsageError, match=r"m.arpa: an ARPA file cannot keep weights; .*asr.lm convert"):
        evaluate([*line, "--tune"])
    assert evaluate(line) == 0


def test_weights_of_older_files_were_fitted_without_priors(model: Path) -> None:
    lm = NGram.open(model.with_suffix(".lm"))
    older = {"beam_size": 20, "alpha": 0.5, "beta": 1.0}
    assert search_settings(dataclasses.replace(lm, info={"search": older})) == BeamSettings(20, 0.5, 1.0, prior=0.0)
    assert search_settings(dataclasses.replace(lm, info={})) == BeamSettings()


def test_weights_of_another_version_are_named(model: Path) -> None:
    lm = NGram.open(model.with_suffix(".lm"))
    dataclasses.replace(lm, info={"search": {"gamma": 1.0}}).save(model.with_suffix(".lm"))
    with pytest.raises(asr.Error, match=r"search settings are .*gamma.*--tune"):
        asr.load(str(model))
