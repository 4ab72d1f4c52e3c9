"""Transformer blocks: attention against a plain implementation, rotary positions, padding, the real training loop."""

from __future__ import annotations

import cmath
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import asr
from asr import checkpoint
from asr.attention import Attention, Block, head_count, rotate
from asr.checkpoint import Checkpoint
from asr.corpus import Utterance, write_manifest
from asr.features import FeatureConfig
from asr.model import NORMS, AcousticModel, Dropout, ModelConfig
from asr.text import Alphabet, Normalizer
from asr.training.config import TrainConfig
from asr.training.folder import RunFolder
from asr.training.initial import adopt, sizes
from asr.training.job import make_job
from asr.training.loop import Trainer
from asr.training.workers import Group

LETTERS = "abcdef"
RATE = 16_000


def plain_attention(layer: Attention, x: np.ndarray) -> np.ndarray:
    """What the layer should make of one utterance (T, F): frame by frame, head by head, with complex numbers."""
    weights = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
    size = x.shape[1]
    head = size // layer.heads
    projected = x @ weights["project.weight"].T + weights["project.bias"]
    queries, keys, values = (projected[:, i * size : (i + 1) * size] for i in range(3))

    def turned(features: np.ndarray, frame: int) -> list[complex]:
        half = head // 2
        pairs = [complex(features[i], features[i + half]) for i in range(half)]
        return [pair * cmath.exp(1j * frame * 10_000 ** (-2 * i / head)) for i, pair in enumerate(pairs)]

    read = np.zeros_like(x)
    for h in range(layer.heads):
        part = slice(h * head, (h + 1) * head)
        for t in range(len(x)):
            query = turned(queries[t, part], t)
            seen = range(t + 1) if layer.causal else range(len(x))
            scores = [
                sum((q * k.conjugate()).real for q, k in zip(query, turned(keys[s, part], s), strict=True))
                for s in seen
            ]
            shares = np.exp(np.array(scores) / math.sqrt(head))
            read[t, part] = (shares / shares.sum()) @ values[: len(shares), part]
    return read @ weights["output.weight"].T + weights["output.bias"]


@settings(deadline=None, max_examples=25)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=1, max_size=4),
    padding=st.integers(0, 3),
    size=st.sampled_from([2, 6, 136]),
    causal=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_it_is_plain_attention_over_each_utterance(
    lengths: list[int], padding: int, size: int, causal: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    layer = Attention(size, causal).double()
    x = 3 * torch.randn(max(lengths) + padding, len(lengths), size, dtype=torch.double)
    found = layer(x, torch.tensor(lengths)).detach().numpy()
    for i, length in enumerate(lengths):
        expected = plain_attention(layer, x[:length, i].numpy())
        np.testing.assert_allclose(found[:length, i], expected, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("size", "heads"), [(2, 1), (64, 1), (136, 2), (192, 3), (228, 3), (256, 4), (320, 5), (512, 8)]
)
def test_heads_have_about_64_features(size: int, heads: int) -> None:
    assert head_count(size) == heads


# Rotary positions


@settings(deadline=None, max_examples=50)
@given(
    pairs=st.integers(1, 5),
    frames=st.integers(1, 6),
    shift=st.integers(0, 200_000),  # more than an hour of the frames that a 2x model has
    seed=st.integers(0, 1000),
)
def test_products_depend_on_the_distance_alone(pairs: int, frames: int, shift: int, seed: int) -> None:
    """Also in fp32, and also late in a long recording."""
    torch.manual_seed(seed)
    queries, keys = torch.randn(2, frames, 2 * pairs)

    def products(first: int) -> Tensor:
        later = [torch.cat([torch.zeros(first, 2 * pairs), part]) for part in (queries, keys)]
        turned = [rotate(part)[first:] for part in later]
        return turned[0] @ turned[1].T

    torch.testing.assert_close(products(shift), products(0), atol=1e-5, rtol=1e-5)


def test_rotation_keeps_lengths_and_tells_places_apart() -> None:
    x = torch.randn(1, 8, dtype=torch.double).expand(50, 8)
    turned = rotate(x)
    torch.testing.assert_close(turned[0], x[0])
    torch.testing.assert_close(turned.norm(dim=1), x.norm(dim=1))
    assert torch.cdist(turned, turned).add(torch.eye(50) * 9).min() > 1e-3


def test_an_utterance_read_backwards_is_another_one() -> None:
    """Without positions attention could not tell: its output would be that of the utterance, backwards."""
    torch.manual_seed(0)
    layer, lengths = Attention(8, causal=False), torch.tensor([9])
    x = 3 * torch.randn(9, 1, 8)
    assert (layer(x, lengths) - layer(x.flip(0), lengths).flip(0)).abs().max() > 0.01


# Blocks


def block(size: int, causal: bool, norm: str = "layer") -> Block:
    torch.manual_seed(1)
    return Block(size, causal, NORMS[norm], Dropout(0.0)).eval()


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("norm", sorted(NORMS))
def test_neither_padding_nor_its_neighbours_change_an_utterance(causal: bool, norm: str) -> None:
    layer = block(64, causal, norm)
    x, lengths = torch.randn(90, 3, 64), torch.tensor([90, 31, 1])
    together = layer(x, lengths)
    for i, length in enumerate(lengths.tolist()):
        alone = layer(x[:length, i : i + 1], lengths[i : i + 1])
        torch.testing.assert_close(together[:length, i : i + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("causal", [False, True])
def test_only_a_two_directional_block_sees_later_frames(causal: bool) -> None:
    layer, lengths = block(64, causal), torch.tensor([40, 40])
    x = torch.randn(40, 2, 64)
    changed = x.clone()
    changed[25:] += torch.randn(15, 2, 64)
    before, after = layer(x, lengths), layer(changed, lengths)
    assert (before[25:] - after[25:]).abs().amax(2).min() > 0.1
    difference = (before[:25] - after[:25]).abs().amax(2)
    assert difference.max() < 1e-6 if causal else difference.min() > 1e-4


@pytest.mark.parametrize("causal", [False, True])
def test_gradients_are_those_of_finite_differences(causal: bool) -> None:
    """Of what the real frames give; nothing of it comes from the padding."""
    layer, lengths = block(4, causal).double(), torch.tensor([5, 2])
    x = torch.randn(5, 2, 4, dtype=torch.double, requires_grad=True)
    mask = (torch.arange(5)[:, None] < lengths)[:, :, None].double()
    weights = [weight.detach().requires_grad_() for weight in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def output(x: Tensor, *weights: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, lengths)) * mask

    assert torch.autograd.gradcheck(output, (x, *weights))
    (gradient,) = torch.autograd.grad(output(x, *weights).sum(), x)
    assert gradient[2:, 1].abs().max() == 0 < gradient[:2, 1].abs().min()


def test_minutes_are_read_as_a_plain_softmax_reads_them() -> None:
    """Twenty minutes at 4x, 30,000 frames, whose products would take 3.6 GB at once; looked at at four places."""
    torch.manual_seed(0)
    frames, layer = 30_000, Attention(8, causal=False)
    x = torch.randn(frames, 1, 8)
    with torch.inference_mode():
        found = layer(x, torch.tensor([frames]))[:, 0]
        queries, keys, values = layer.project(x[:, 0]).split(8, dim=1)
        places = torch.tensor([0, 1, frames // 2, frames - 1])
        shares = (rotate(queries)[places] @ rotate(keys).T / math.sqrt(8)).softmax(1)
        torch.testing.assert_close(found[places], layer.output(shares @ values), atol=1e-5, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("causal", [False, True])
def test_a_gpu_computes_what_the_cpu_does(causal: bool) -> None:
    layer, x, lengths = block(64, causal), torch.randn(50, 3, 64), torch.tensor([50, 20, 3])
    expected = layer(x, lengths)
    found = layer.cuda()(x.cuda(), lengths.cuda()).cpu()
    for i, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(found[:length, i], expected[:length, i], atol=1e-3, rtol=1e-3)


# Models and training

CONFIG = ModelConfig(vocab=4, channels=12, layers=2, hidden=16, cell="transformer", norm="layer", dropout=0.0)


def test_a_model_file_gives_back_the_same_model(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, alphabet = AcousticModel(CONFIG).eval(), Alphabet(("", *"abc"))
    file = tmp_path / "model.safetensors"
    checkpoint.save(file, Checkpoint(CONFIG, FeatureConfig(), alphabet, Normalizer(), model.state_dict()))
    stored = checkpoint.load(file)
    features, lengths = torch.randn(2, 50, 80), torch.tensor([50, 21])
    assert stored.model == CONFIG
    assert torch.equal(stored.acoustic_model()(features, lengths)[0], model(features, lengths)[0])


def test_a_model_to_start_from_gives_its_sizes_and_weights() -> None:
    torch.manual_seed(0)
    alphabet = Alphabet(("", *"abc"))
    trained, model = AcousticModel(CONFIG).eval(), AcousticModel(CONFIG).eval()
    start = Checkpoint(CONFIG, FeatureConfig(), alphabet, Normalizer(), trained.state_dict())
    assert TrainConfig(dropout=0.0).updated(sizes(start)).model(4, 80) == CONFIG
    assert adopt(model, alphabet, (), start) == []
    features, lengths = torch.randn(1, 50, 80), torch.tensor([50])
    assert torch.equal(model(features, lengths)[0], trained(features, lengths)[0])


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of 24 utterances in which every letter is a tone of its own."""
    folder, random = tmp_path_factory.mktemp("tones"), np.random.default_rng(0)
    time, silence = np.arange(int(0.12 * RATE)) / RATE, np.zeros(int(0.06 * RATE))
    utterances = []
    for i in range(24):
        text = "".join(random.choice(list(LETTERS), random.integers(3, 8)))
        waves = [
            np.sin(2 * np.pi * 300 * 1.5 ** LETTERS.index(letter) * time) * np.hanning(len(time)) for letter in text
        ]
        samples = np.concatenate([silence, *(part for wave in waves for part in (0.3 * wave, silence))])
        samples += random.normal(0, 0.001, len(samples))
        soundfile.write(folder / f"u{i}.wav", samples, RATE)
        utterances.append(Utterance(f"u{i}", folder / f"u{i}.wav", text, len(samples) / RATE))
    write_manifest(folder / "tones.jsonl", utterances)
    (folder / "lexicon.txt").write_text("".join(f"{u.text} {' '.join(u.text)}\n" for u in utterances))
    return folder


@pytest.fixture
def trainer(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Makes a trainer of a small transformer that hears the tones, with phones, dropout and averaged weights."""
    monkeypatch.setenv("ASR_CACHE", str(tones / "cache"))
    small = {"cell": "transformer", "layers": 2, "hidden": 48, "channels": 48, "norm": "layer", "learning_rate": 5e-3}
    unchanged = {"speed": 0.0, "vtlp": 0.0, "low_pass": 0.0, "batch_seconds": 8.0, "workers": 1, "evaluations": 2}
    phones = {"lexicon": str(tones / "lexicon.txt"), "phone_layer": 1}

    def make(out: str, resume: bool = False, **changes: object) -> Trainer:
        folder = RunFolder(tmp_path / out)
        folder.path.mkdir(exist_ok=True)
        config = TrainConfig().updated({**small, **unchanged, **phones, "average": 0.1, **changes})
        data = asr.corpus.read(tones / "tones.jsonl")
        job = dataclasses.replace(make_job(data, data, folder, config, {}), resume=resume)
        made = Trainer(Group(), job)
        made.restore() if resume else made.plan()
        return made

    return make


@pytest.mark.parametrize("bidirectional", [True, False])
def test_a_tiny_sample_is_learned_by_heart(tones: Path, trainer, bidirectional: bool) -> None:
    """By the training loop, in bf16 where the machine has it, and read by the model file in fp32."""
    learner = trainer("run", steps=120, bidirectional=bidirectional)
    learner.run()
    recognizer = asr.load(str(learner.folder.model))
    for utterance in asr.corpus.read(tones / "tones.jsonl"):
        assert recognizer.transcribe(utterance.audio).text == utterance.text


def test_a_run_that_was_stopped_and_resumed_equals_one_that_was_not(trainer) -> None:
    whole = trainer("whole", steps=6)
    whole.run()
    first = trainer("parts", steps=6)
    first.group.stop.set()  # stops after the next step, and saves
    first.run()
    assert first.progress.step == 1
    second = trainer("parts", steps=6, resume=True)
    second.run()
    for part in ("model", "average"):
        states = [getattr(run, part).state_dict() for run in (whole, second)]
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    logs = [json.loads(line) for line in (second.folder.path / "log.jsonl").read_text().splitlines()]
    assert logs[-1]["step"] == 6 and logs[-1]["dev"]["utterances"] == 24
