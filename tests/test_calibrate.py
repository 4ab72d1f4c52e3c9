"""Confidences: what is fitted, how true it is, and the files that keep it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import asr
from asr import checkpoint, files
from asr.align import token_spans
from asr.calibrate import calibrate, fit, reliability, right_words
from asr.command import UsageError
from asr.confidence import FEATURES, Calibration, features_of, uncalibrated
from asr.corpus import Utterance, write_manifest
from asr.evaluate import main as evaluate
from asr.features import FeatureConfig
from asr.lm import main as lm_command
from asr.model import AcousticModel, ModelConfig
from asr.recognizer import Recognizer
from asr.text import Alphabet, Normalizer
from asr.tune import word_errors


def words_that_are_right(count: int, odds: Callable, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of words, and which are right, with a probability that is a function of them."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, len(FEATURES))) * np.arange(1, len(FEATURES) + 1)
    return features, random.random(count) < 1 / (1 + np.exp(-odds(features)))


@pytest.mark.parametrize(
    "odds",
    [
        lambda x: 1.0 + 2.0 * x[:, 0] - 0.3 * x[:, 4],  # what a logistic regression can express
        lambda x: 3.0 * np.tanh(4 * x[:, 0]) + 0.5,  # and a step, which it cannot
        lambda x: -3.0 + 0 * x[:, 0],  # words of which nothing is known but that most are wrong
    ],
)
def test_confidences_are_true_of_words_that_were_not_seen(odds: Callable) -> None:
    calibration = fit(*words_that_are_right(8000, odds, seed=0))
    features, right = words_that_are_right(20_000, odds, seed=1)
    found = [each for each in reliability(calibration(features), right) if each.words >= 500]
    assert sum(each.words for each in found) > 15_000
    for each in found:
        assert each.stated == pytest.approx(each.true, abs=0.05)


def test_surer_words_are_never_said_to_be_less_likely() -> None:
    calibration = fit(*words_that_are_right(2000, lambda x: x[:, 0], seed=0))
    assert list(calibration.stated) == sorted(calibration.stated)
    assert list(calibration.true) == sorted(calibration.true)
    extreme = np.array([np.full(len(FEATURES), sign * 1e6) for sign in (-1, 1)])
    assert (calibration(extreme) > 0).all()
    assert (calibration(extreme) < 1).all()


def test_features_of_words_by_hand() -> None:
    """Frames: blank, a a, b, blank | c, of words "ab" and "c"; in the last frame of "a" the blank is likelier."""
    probabilities = np.full((6, 4), 0.05)
    for frame, token, p in [(0, 0, 0.85), (1, 1, 0.8), (2, 1, 0.3), (2, 0, 0.6), (3, 2, 0.5), (4, 0, 0.9), (5, 3, 0.7)]:
        probabilities[frame, token] = p
    spans = np.array([[1, 3], [3, 4], [5, 6]])
    found = features_of(np.log(probabilities), np.array([1, 2, 3]), spans, np.array([[0, 2], [2, 3]]))
    first, second = (dict(zip(FEATURES, row, strict=True)) for row in np.exp(found))
    assert first["best_mean"] == pytest.approx((0.8 * 0.5) ** 0.5)
    assert first["best_least"] == pytest.approx(0.5)
    assert first["path_sum"] == pytest.approx(0.8 * 0.3 * 0.5)
    assert first["path_mean"] == pytest.approx((0.8 * 0.3 * 0.5) ** (1 / 3))
    assert first["free_mean"] == pytest.approx((0.8 * 0.6 * 0.5) ** (1 / 3))
    assert first["free_least"] == pytest.approx(0.5)
    assert first["gap_sum"] == first["gap_least"] == pytest.approx(0.5)
    assert (first["tokens"], first["frames_per_token"]) == (pytest.approx(2), pytest.approx(1.5))
    assert second["best_mean"] == second["path_sum"] == second["free_least"] == pytest.approx(0.7)
    assert uncalibrated(found).tolist() == pytest.approx([first["best_mean"], 0.7])


def test_probabilities_of_0_are_no_infinite_features() -> None:
    log_probs = np.full((3, 3), -np.inf, np.float32)
    log_probs[:, 0] = 0.0
    found = features_of(log_probs, np.array([2]), token_spans(log_probs, [2]), np.array([[0, 1]]))
    assert np.isfinite(found).all()


@given(st.lists(st.sampled_from("abc"), max_size=8), st.lists(st.sampled_from("abc"), max_size=8))
@settings(max_examples=100, deadline=None)
def test_right_words_are_those_of_an_alignment_with_the_fewest_errors(said: list[str], found: list[str]) -> None:
    right = right_words(said, found)
    assert len(right) == len(found)
    hits = jiwer.process_words(" ".join(said), " ".join(found)).hits if said else 0
    assert right.sum() == hits
    kept = iter(said)  # they come in the order of the reference
    assert all(word in kept for word, is_right in zip(found, right, strict=True) if is_right)


def test_without_spaces_between_them_characters_count() -> None:
    """Every fourth character is heard wrong, and none is sure."""
    alphabet = Alphabet(("", "今", "大", "天"))
    config = ModelConfig(len(alphabet), layers=1, hidden=8, channels=8)
    stored = checkpoint.Checkpoint(config, FeatureConfig(), alphabet, Normalizer(), AcousticModel(config).state_dict())
    recognizer = Recognizer.from_checkpoint(stored)
    assert recognizer.split_words("今大 天") == ["今", "大", "天"]
    random = np.random.default_rng(1)
    references, log_probs = [], []
    for _ in range(50):
        ids = random.integers(1, 4, 8)
        heard = ids.copy()
        heard[::4] = ids[::4] % 3 + 1
        rows = np.full((24, 4), 0.1)
        rows[np.arange(24), np.column_stack([heard, heard, np.zeros_like(heard)]).ravel()] = 0.7
        log_probs.append(np.log(rows).astype(np.float32))
        references.append(alphabet.decode(ids.tolist()))
    fitted = calibrate(recognizer, log_probs, references)
    assert fitted.words == 400 and fitted.true[-1] == pytest.approx(0.75, abs=0.05)
    hypotheses = [best for best, *_ in recognizer.decode(log_probs)]
    assert word_errors(recognizer, references, hypotheses) == 100


def test_reliability_counts_every_word_once() -> None:
    found = reliability(np.array([0.0, 0.05, 0.1, 0.95, 1.0]), np.array([False, True, True, True, False]))
    assert [(each.words, each.true) for each in found] == [(2, 0.5), (1, 1.0), (2, 0.5)]
    assert [each.stated for each in found] == pytest.approx([0.025, 0.1, 0.975])


def test_a_damaged_calibration_is_an_error() -> None:
    good = fit(*words_that_are_right(1000, lambda x: x[:, 0], seed=0)).to_dict()
    assert Calibration.from_info({"confidence": json.loads(json.dumps(good))}).to_dict() == good
    assert Calibration.from_info({}) is None
    for bad in ({}, {**good, "weights": {"best_mean": 1.0}}, {**good, "true": []}, {**good, "more": 1}, [1]):
        with pytest.raises(asr.Error, match="--calibrate"):
            Calibration.from_info({"confidence": bad})


@pytest.fixture(scope="module")
def dev(tiny_model: Path, recordings: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model, and a manifest whose texts are what it finds in the recordings, every second word replaced."""
    folder = tmp_path_factory.mktemp("dev")
    model = folder / "model.safetensors"
    shutil.copy(tiny_model, model)
    recognizer = asr.load(str(model), beam_size=1)
    utterances = []
    for i, path in enumerate(recordings * 24):
        words = recognizer.transcribe(path).text.split()
        text = " ".join("wrong" if (i // len(recordings) + j) % 2 else word for j, word in enumerate(words))
        utterances.append(Utterance(f"u{i}", path, text))
    write_manifest(folder / "dev.jsonl", utterances)
    return model, folder / "dev.jsonl"


def test_calibrate_writes_into_the_model_for_greedy_decoding(dev: tuple[Path, Path], run_module: Callable) -> None:
    model, manifest = dev
    before = checkpoint.load(model)
    assert asr.load(str(model)).calibration is None
    ran = run_module("asr.evaluate", "--model", model, "--manifest", manifest, "--beam-size", 1, "--calibrate")
    assert ran.returncode == 0, ran.stderr
    after = checkpoint.load(model)
    assert {**after.info, "confidence": None} == {**before.info, "confidence": None}
    assert all((after.weights[name] == weight).all() for name, weight in before.weights.items())
    recognizer = asr.load(str(model))
    assert recognizer.calibration.words >= 200
    assert asr.load(str(model), beam_size=4).calibration is None, "fitted to greedy decoding"
    words = recognizer.transcribe(asr.corpus.read(manifest)[0].audio).words
    assert all(0.3 < word.confidence < 0.7 for word in words), "half of the words are wrong, and nothing says which"


def test_calibrate_writes_into_the_language_model_for_beam_search(
    dev: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    model, manifest = dev
    (tmp_path / "text.txt").write_text("\n".join(each.text for each in asr.corpus.read(manifest)), encoding="utf-8")
    lm = tmp_path / "words.lm"
    assert lm_command(["estimate", str(tmp_path / "text.txt"), "--order", "1", "--out", str(lm)]) == 0
    assert asr.load(str(model), lm=str(lm)).calibration is None
    line = ["--model", str(model), "--manifest", str(manifest), "--lm", str(lm)]
    assert evaluate([*line, "--calibrate"]) == 0
    assert asr.load(str(model), lm=str(lm)).calibration.words >= 200
    capsys.readouterr()
    assert evaluate([*line, "--tune"]) == 0
    assert "words.lm: confidences fitted to the search before are no longer in it" in capsys.readouterr().err
    assert asr.load(str(model), lm=str(lm)).calibration is None, "what was fitted to other weights is gone"


def test_a_file_that_cannot_keep_confidences_is_known_before_the_work(dev: tuple[Path, Path], tmp_path: Path) -> None:
    model = Path(shutil.copy(dev[0], tmp_path / "m.safetensors"))
    files.beside(model).mkdir()  # where it would be written first
    write_manifest(tmp_path / "few.jsonl", asr.corpus.read(dev[1])[:2])  # too few, as the work would find
    line = ["--model", str(model), "--manifest", str(tmp_path / "few.jsonl"), "--calibrate"]
    with pytest.raises(asr.Error, match=r"m\.safetensors: what is fitted would be kept in .*name the copy \(--model\)"):
        evaluate(line)


def test_what_cannot_be_calibrated(dev: tuple[Path, Path], tmp_path: Path) -> None:
    model, manifest = dev
    line = ["--model", str(model), "--calibrate", "--manifest"]
    with pytest.raises(UsageError, match=r"the beam that the language model's file holds .*; leave out --beam-size"):
        evaluate([*line, str(manifest), "--beam-size", "4"])
    with pytest.raises(UsageError, match="for all decoding, with hot words and without; leave out --hotwords"):
        evaluate([*line, str(manifest), "--hotwords", "cab"])
    write_manifest(tmp_path / "few.jsonl", asr.corpus.read(manifest)[:2])
    with pytest.raises(asr.Error, match="at least 200"):
        evaluate([*line, str(tmp_path / "few.jsonl"), "--beam-size", "1"])
