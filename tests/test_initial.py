"""Starting from a trained model."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.checkpoint import Checkpoint
from asr.features import FeatureConfig
from asr.model import AcousticModel, ModelConfig
from asr.text import Alphabet, Normalizer, Subwords
from asr.train import FROM_MODEL
from asr.training.config import TrainConfig
from asr.training.initial import adopt, sizes

CONFIG = ModelConfig(vocab=1, channels=6, layers=2, hidden=5, norm="batch", dropout=0.0)


def random_model(alphabet, seed, **changes):
    torch.manual_seed(seed)
    model = AcousticModel(dataclasses.replace(CONFIG, vocab=len(alphabet), **changes)).eval()
    with torch.no_grad():
        for tensor in model.state_dict().values():
            tensor.copy_(torch.rand_like(tensor.float()) + 0.1)
    return model


def stored(model, alphabet):
    return Checkpoint(model.config, FeatureConfig(), alphabet, Normalizer(), model.state_dict())


def log_probs(model):
    features = torch.randn(2, 30, 80, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return model(features, torch.tensor([30, 21]))[0]


letters = st.sets(st.sampled_from("abcdefgh"), min_size=1)


@given(letters, letters)
@settings(deadline=None, max_examples=20)
def test_known_letters_are_heard_as_before_and_new_ones_are_named(old, new):
    before, after = (
        Alphabet(("", *sorted(found, key=lambda c: (seed * ord(c)) % 7))) for seed, found in ((3, old), (5, new))
    )
    trained, model = random_model(before, 1), random_model(after, 2)
    untouched = model.output.bias.detach().clone()
    named = adopt(model, after, (), stored(trained, before))
    assert named == [repr(letter) for letter in after.symbols if letter in new - old]
    shared = ["", *sorted(old & new)]
    one, two = (
        log_probs(model)[..., [alphabet.symbols.index(symbol) for symbol in shared]]
        for model, alphabet in ((trained, before), (model, after))
    )
    # Another alphabet has another normaliser in the softmax: the tokens' ratios are what stays.
    assert torch.allclose(one - one[..., :1], two - two[..., :1], atol=1e-5)
    rows = [i for i, symbol in enumerate(after.symbols) if symbol in new - old]
    assert torch.equal(model.output.bias[rows], untouched[rows])


def test_what_has_another_size_stays_as_it_is_and_is_named():
    alphabet = Alphabet(("", "a", "b"))
    trained, model = random_model(alphabet, 1), random_model(alphabet, 2, hidden=4, layers=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    named = adopt(model, alphabet, (), stored(trained, alphabet))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name] if name in named else trained.state_dict()[name]), name
    assert "output.weight" in named and "layers.2.weights" not in trained.state_dict()
    assert not [name for name in named if name.startswith("subsample")]


def test_a_letter_and_a_piece_of_one_letter_are_different_tokens():
    letters, pieces = Alphabet(("", "a", "b")), Subwords(("", "a", "b"), b"")
    for before, after in ((letters, pieces), (pieces, letters)):
        trained, model = random_model(before, 1), random_model(after, 2)
        fresh = {name: model.state_dict()[name].clone() for name in ("output.weight", "output.bias")}
        assert adopt(model, after, (), stored(trained, before)) == ["output.bias", "output.weight"]
        for name, tensor in model.state_dict().items():
            assert torch.equal(tensor, fresh.get(name, trained.state_dict()[name])), name


def test_pieces_that_were_learnt_anew_keep_the_outputs_that_they_share():
    before, after = Subwords(("", "▁", "▁the", "a"), b""), Subwords(("", "▁the", "b"), b"")
    trained, model = random_model(before, 1), random_model(after, 2)
    assert adopt(model, after, (), stored(trained, before)) == ["'b'"]
    assert torch.equal(model.output.weight[:2], trained.output.weight[[0, 2]])


def test_sizes_are_settings_that_make_the_same_model():
    alphabet = Alphabet(("", "a"))
    config = ModelConfig(2, 80, 8, 12, 2, 7, "lstm", False, "batch", 0.3)
    found = TrainConfig().updated(sizes(stored(AcousticModel(config), alphabet))).model(2, 80)
    assert found == dataclasses.replace(config, dropout=TrainConfig().dropout)


def test_sizes_bring_the_units():
    config = TrainConfig(units="subwords", pieces=7)
    letters, pieces = Alphabet(("", "a", "b")), Subwords(("", "▁", "a", "b"), b"")
    back = config.updated(sizes(stored(random_model(letters, 1), letters)))
    assert (back.units, back.pieces) == ("letters", 7)
    there = TrainConfig().updated(sizes(stored(random_model(pieces, 1), pieces)))
    assert (there.units, there.pieces) == ("subwords", 3)


@pytest.mark.parametrize("case", ["lower", "upper", "keep", "lower-turkish"])
def test_sizes_bring_the_case(case):
    alphabet = Alphabet(("", "a"))
    model = random_model(alphabet, 1)
    trained = Checkpoint(model.config, FeatureConfig(), alphabet, Normalizer(case), model.state_dict())
    assert TrainConfig().updated(sizes(trained)).case == case
    # Small letters are what is usual: those of the new texts may be Turkish.
    assert TrainConfig(case="lower-turkish").updated(sizes(trained)).case == {"lower": "lower-turkish"}.get(case, case)


def test_all_that_a_model_gives_is_kept_for_a_run_that_goes_on_without_it():
    alphabet = Subwords(("", "▁", "a", "b"), b"")
    model = AcousticModel(dataclasses.replace(CONFIG, vocab=len(alphabet), phones=3))
    trained = Checkpoint(
        model.config, FeatureConfig(), alphabet, Normalizer("upper"), model.state_dict(), {}, ("", "A")
    )
    assert sizes(trained).keys() | {"lexicon"} == set(FROM_MODEL)


@pytest.mark.parametrize("statistics", ["band", "utterance"])
def test_sizes_bring_the_features(statistics):
    alphabet = Alphabet(("", "a"))
    model = AcousticModel(dataclasses.replace(CONFIG, vocab=2))
    trained = Checkpoint(model.config, FeatureConfig(statistics=statistics), alphabet, Normalizer(), model.state_dict())
    assert TrainConfig().updated(sizes(trained)).statistics == statistics
