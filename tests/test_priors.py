"""Priors: how often a model gives each of its outputs, and a search without them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_beam import EXACT, kinds, model_of, random_grams, random_log_probs, search_all

import asr
from asr import checkpoint
from asr.checkpoint import Checkpoint
from asr.decode import BeamSearch, BeamSettings, DecodeError
from asr.features import FeatureConfig, LogMel
from asr.kneser_ney import estimate
from asr.loading import word_search
from asr.model import AcousticModel, ModelConfig
from asr.ngram import UNKNOWN
from asr.priors import log_priors
from asr.recognizer import Recognizer
from asr.text import Alphabet, Normalizer
from asr.tune import tune

SAMPLES = [np.random.default_rng(n).normal(size=n).astype(np.float32) for n in (16000, 4000, 9000, 200)]


def acoustic_model(phones: int) -> AcousticModel:
    torch.manual_seed(3)
    return AcousticModel(ModelConfig(vocab=5, phones=phones, channels=6, layers=2, hidden=7)).eval()


@pytest.mark.parametrize("phones", [0, 3])
def test_they_are_the_mean_probabilities_of_all_frames(phones: int) -> None:
    """Those of one recording after the other, as of padded batches; of each kind as if one frame more had all."""
    model, features = acoustic_model(phones), LogMel(FeatureConfig())
    rows = []
    for samples in SAMPLES:
        inputs = features(torch.from_numpy(samples)[None], torch.tensor([len(samples)]))
        with torch.inference_mode():
            parts = model.with_phones(*inputs)[:-1] if phones else model(*inputs)[:-1]
        rows.append(torch.cat(parts, dim=2)[0].exp().double().numpy())
    together = np.concatenate(rows)
    found = np.exp(log_priors(model, features, [SAMPLES[:2], SAMPLES[2:]]))
    for first, outputs in ((0, 5), (5, phones)):
        part = together[:, first : first + outputs]
        expected = (part.sum(axis=0) + 1) / (len(part) + outputs)
        np.testing.assert_allclose(found[first : first + outputs], expected, rtol=1e-3)
    assert len(found) == 5 + phones and found[:5].sum() == pytest.approx(1, abs=1e-3)


def test_nothing_is_heard_in_no_recordings() -> None:
    assert log_priors(acoustic_model(0), LogMel(FeatureConfig()), []) == ()


@settings(deadline=None)  # the first search is compiled
@given(st.integers(0, 2**31), st.floats(0, 2))
def test_a_search_divides_by_a_power_of_them(seed: int, weight: float) -> None:
    """It finds what a search finds that is given the divided probabilities, and says the same scores."""
    rng = np.random.default_rng(seed)
    log_probs = random_log_probs(rng, 4, 4)
    priors = random_log_probs(rng, 1, 4)[0]
    model = model_of(random_grams(rng, "ab", 2), 2)
    arguments = {"model": model, "token_words": np.array([0, model.ids["a"], model.ids["b"], model.ids[UNKNOWN]])}
    chosen = BeamSettings(prior=weight, **EXACT)
    divided = np.exp(log_probs) / np.exp(priors) ** weight
    divided /= divided.sum(axis=1, keepdims=True)
    expected = search_all(BeamSearch(kinds(0, 0, 0, 0), BeamSettings(**EXACT), **arguments), np.log(divided))
    found = search_all(BeamSearch(kinds(0, 0, 0, 0), chosen, **arguments, log_priors=priors), log_probs)
    expected_scores = {each.ids: (each.acoustic, each.language) for each in expected}
    assert expected_scores.keys() == {each.ids for each in found}
    for each in found:
        assert (each.acoustic, each.language) == pytest.approx(expected_scores[each.ids], abs=1e-3)


def test_nothing_is_divided_where_no_language_model_takes_their_place() -> None:
    log_probs = random_log_probs(np.random.default_rng(0), 5, 4)
    alone = [
        BeamSearch(kinds(0, 0, 0, 0), BeamSettings(prior=weight, **EXACT), log_priors=(-0.1, -3, -3, -9))
        for weight in (0.0, 1.0)
    ]
    assert search_all(alone[0], log_probs) == search_all(alone[1], log_probs) and not alone[1].has_priors


@pytest.mark.parametrize("weight", [-0.1, np.nan])
def test_a_power_that_is_none(weight: float) -> None:
    with pytest.raises(DecodeError, match="prior"):
        BeamSettings(prior=weight)


TOKENS, PHONES = ("", " ", "a", "b"), ("", "x")


def stored(priors: tuple[float, ...]) -> Checkpoint:
    config = ModelConfig(vocab=len(TOKENS), phones=len(PHONES), channels=6, layers=1, hidden=4)
    torch.manual_seed(0)
    weights = AcousticModel(config).state_dict()
    return Checkpoint(config, FeatureConfig(), Alphabet(TOKENS), Normalizer(), weights, {}, PHONES, None, priors)


def test_a_model_file_holds_them(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, stored((-0.5, -1.5, -2.5, -3.5, -0.25, -1.25)))
    assert checkpoint.load(path).log_priors == (-0.5, -1.5, -2.5, -3.5, -0.25, -1.25)
    assert asr.load(str(path)).log_priors == (-0.5, -1.5, -2.5, -3.5, -0.25, -1.25)


@pytest.mark.parametrize("priors", [(-1.0,) * 5, (-1.0,) * 5 + (float("nan"),)])
def test_priors_of_something_else_are_refused(priors: tuple[float, ...], tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m.safetensors", stored(priors))
    with pytest.raises(checkpoint.CheckpointError, match=r"priors for 6 outputs.*copy the model again"):
        checkpoint.load(tmp_path / "m.safetensors")


def test_a_model_of_older_code_has_none(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    checkpoint.save(path, stored(()))
    tensors, metadata = checkpoint.read_tensors(path)
    header = json.loads(metadata["asr"])
    del header["log_priors"]
    checkpoint.write_tensors(path, tensors, {"asr": json.dumps(header)})
    assert checkpoint.load(path).log_priors == ()


def test_their_weight_is_fitted() -> None:
    """A model that says a where b is said, since a is what it says nearly always: no other weight mends that."""
    model = stored((*np.log([0.1, 0.1, 0.7, 0.1]).tolist(), -0.1, -2.4))
    words = estimate([["a", "b"], ["b", "a"], ["a", "a"], ["b", "b"]], 1)
    recognizer = Recognizer.from_checkpoint(model, word_search(model, words, BeamSettings(beam_size=8, prior=0.0)))
    heard = {"a": [0.02, 0.02, 0.94, 0.02], "b": [0.02, 0.02, 0.56, 0.4], " ": [0.02, 0.94, 0.02, 0.02]}
    references = ["b a b", "a b", "b", "a a b"]
    log_probs = [np.log([heard[letter] for letter in text]).astype(np.float32) for text in references]
    before = [recognizer.text(best) for best, *_ in recognizer.decode(log_probs)]
    tuned = tune(recognizer, log_probs, references)
    recognizer.search = recognizer.search.with_settings(tuned)
    after = [recognizer.text(best) for best, *_ in recognizer.decode(log_probs)]
    assert before == ["a a a", "a a", "a", "a a a"] and after == references and tuned.prior > 0
