import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import ctc_loss
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import bench
import bench_decoding
import bench_transcribe

from asr import Error, audio, checkpoint
from asr.corpus import Utterance, audio_files
from asr.features import FeatureConfig
from asr.model import AcousticModel, ModelConfig
from asr.text import Alphabet, Normalizer
from asr.training.config import TrainConfig
from asr.training.workers import Group
from recipes.mini_librispeech import read_part

PROJECT = Path(__file__).resolve().parents[1]

# Training


@pytest.mark.parametrize("subsampling", [2, 4, 8])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_operations_are_those_that_torch_counts(subsampling, bidirectional):
    sizes = {"channels": 24, "layers": 3, "hidden": 16, "dropout": 0.0}
    config = ModelConfig(30, 80, subsampling=subsampling, bidirectional=bidirectional, **sizes)
    seconds = 4
    counted = operations(AcousticModel(config), torch.randn(2, seconds * 100, 80))
    # torch counts the state before the first frame, too, and leaves out its gradient: 1 of 400 / subsampling frames.
    expected = 2 * seconds * bench.flops_per_second(config, FeatureConfig())
    assert counted == pytest.approx(expected, rel=0.02)


def operations(model, features):
    """What torch counts while a model computes log-probs and gradients, of matrix products and convolutions."""
    in_place = {torch.ops.aten.baddbmm_: lambda state, a, b, *_, **__: 2 * a[0] * a[1] * a[2] * b[2]}
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter:
        log_probs, _ = model(features, torch.full((len(features),), features.shape[1]))
        log_probs.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize(("time_stride", "subsampling"), [(1, 2), (2, 4)])
def test_the_peer_gives_log_probs_at_its_frame_rate_and_ignores_padding(time_stride, subsampling):
    torch.manual_seed(0)
    peer = bench.DeepSpeech(ModelConfig(30, layers=2, hidden=16), time_stride).eval()
    for frames in (1, 2, 7, 100, 101):
        alone, lengths = peer(torch.randn(1, frames, 80), torch.tensor([frames]))
        assert lengths.tolist() == [-(-frames // subsampling)] and alone.shape == (1, lengths[0], 30)
        assert alone.exp().sum(-1).sub(1).abs().max() < 1e-5
    features = torch.randn(2, 90, 80)
    features[1, 50:] = 0
    together, lengths = peer(features, torch.tensor([90, 50]))
    alone, _ = peer(features[1:, :50], torch.tensor([50]))
    assert (together[1, : lengths[1]] - alone[0]).abs().max() < 1e-4


def test_the_peer_learns():
    """It is no straw man: its gradients do what they should."""
    torch.manual_seed(0)
    peer = bench.DeepSpeech(ModelConfig(5, layers=2, hidden=32))
    features, lengths = torch.randn(4, 60, 80), torch.tensor([60, 60, 50, 40])
    targets = torch.tensor([[1, 2, 3], [3, 2, 1], [4, 4, 1], [2, 1, 4]])
    optimizer = torch.optim.Adam(peer.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        log_probs, frames = peer(features, lengths)
        loss = ctc_loss(log_probs.transpose(0, 1), targets, frames, torch.tensor([3] * 4))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.parametrize("with_noise", [True, False])
def test_systems_take_turns_on_real_speech(with_noise, corpora, noises, tmp_path, monkeypatch):
    mixed = {"noise": str(noises), "rooms": str(noises)} if with_noise else {}
    monkeypatch.setenv("ASR_CACHE", str(tmp_path))
    utterances = read_part(corpora / "LibriSpeech" / "train-clean-5", "train")[:2]
    monkeypatch.setitem(bench.SUBWORDS, "pieces", 40)  # as many as so little text has
    monkeypatch.setitem(bench.SUBWORDS, "hidden", 16)
    config = TrainConfig().updated({"hidden": 16, "channels": 16, "layers": 1, "batch_seconds": 36.0, **mixed})
    plan = bench.Plan(repeats=2, steps=1, gemm_seconds=0.02)
    start = time.monotonic()
    found = bench.measure(utterances, config, plan).to_dict()
    seconds = time.monotonic() - start
    costs = found.pop("augmentation")
    assert (
        min(found.values()) > 0 and min(costs.values()) > 0 and found["batch_seconds"] == 36 and found["workers"] == 2
    )
    # A turn is a batch of some seconds, and can neither last longer than all of them nor beat the peak.
    assert {"speed", "low_pass", "mp3", "vtlp", "SpecAugment", "features"} == costs.keys() - {"noise", "rooms"}
    assert with_noise == ("noise" in costs) == ("rooms" in costs)
    for name in (
        "hours_per_hour",
        "augmented_hours_per_hour",
        "deepspeech_hours_per_hour",
        "deepspeech_4x_hours_per_hour",
    ):
        assert 5 / seconds < found[name] < found["bf16_gflops"] / found["gflop_per_second"]
    assert found["ratio_to_deepspeech"] == found["hours_per_hour"] / found["deepspeech_hours_per_hour"]
    operations = found["hours_per_hour"] * found["gflop_per_second"]
    assert found["gemm_share"] == pytest.approx(operations / found["bf16_gflops"]) and found["gemm_share"] < 1


def test_matrix_products_are_counted_in_operations_a_second():
    found = bench.gemm_speed(Group(), torch.float32, 0.1)
    a = torch.randn(bench.GEMM_SIZE, bench.GEMM_SIZE)
    start = time.perf_counter()
    for _ in range(3):
        a @ a
    expected = 3 * 2 * bench.GEMM_SIZE**3 / (time.perf_counter() - start)
    assert expected / 4 < found < expected * 4  # the machine may be busy


def test_a_missing_corpus_is_said_with_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_CORPORA", str(tmp_path))
    with pytest.raises(Error, match=r"train-clean-5 is not there; set ASR_CORPORA .*run_recipe.py mini_librispeech"):
        bench.main(["training"])


# Transcription


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model file that nobody trained: benchmarks do not listen."""
    alphabet = Alphabet.from_texts(["a model of letters"])
    config = ModelConfig(len(alphabet), layers=1, hidden=32, channels=32)
    torch.manual_seed(1)
    weights = AcousticModel(config).state_dict()
    path = tmp_path_factory.mktemp("model") / "untrained.safetensors"
    checkpoint.save(path, checkpoint.Checkpoint(config, FeatureConfig(), alphabet, Normalizer(), weights))
    return path


def test_transcription_is_timed_by_the_real_command(model):
    line = [sys.executable, "scripts/bench.py", "transcribe", "--json", "--model", str(model)]
    start = time.monotonic()
    done = subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, timeout=600)
    seconds = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == {
        *("rtf", "seconds", "peak_mib", "audio_seconds", "text", "ratio_to_torch", "lengths", "joined", "word_times")
    }
    assert found["ratio_to_torch"] > 0
    assert found["audio_seconds"] == 10
    assert 0 < found["rtf"] * 10 * bench_transcribe.RUNS / 2 < seconds  # half of the runs took at least the median
    assert 0 < found["seconds"] * bench_transcribe.COMMAND_RUNS / 2 < seconds
    assert 50 < found["peak_mib"] < 10_000  # Python with torch; not KiB, not bytes


def test_long_recordings_and_joined_utterances(model):
    waveforms = sorted((PROJECT / "data" / "samples").glob("*.flac"))
    utterances = [Utterance(path.stem, path, "a model of letters") for path in waveforms] * 3
    found = bench_transcribe.transcribe(str(model), [50.0], utterances)
    (length,) = found.lengths
    assert length.audio_seconds == 50 and length.seconds > 0 and length.peak_mib > 50
    for joined in found.joined.values():
        assert joined.audio_seconds == pytest.approx(3 * sum(audio.duration(path) for path in waveforms))
        assert {joined.apart.words.reference, joined.cut.words.reference, joined.uncut.words.reference} == {4 * 18}
        assert joined.confidence is None or 0 <= joined.confidence <= 1
    few = sum(joined.confidence is None for joined in found.joined.values())  # with fewer than 100 words
    assert found.describe().count("too few words to judge confidences by") == few
    assert "50.0 s" not in found.describe() and "joined and not cut" in found.describe()


def test_the_memory_of_a_command_is_its_own():
    """And not what the benchmark held when it started it."""
    held = np.ones(2**26)  # 512 MiB
    line = [sys.executable, "-c", bench_transcribe.MEASURE, sys.executable, "-c", "pass"]
    _, memory = subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()
    assert float(memory) < held.nbytes / 2 / (1 if sys.platform == "darwin" else 2**10)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--arpa", "missing.arpa"], r"missing\.arpa: expected an ARPA file"),
        (["--arpa", str(PROJECT / "asr" / "models" / "en.lm")], r"en\.lm: expected an ARPA file"),
        (["--arpa", "toy.arpa", "--pyctcdecode", sys.executable], "no Python that has the package pyctcdecode"),
    ],
)
def test_what_decoders_need_is_looked_at_first(options, complaint, tmp_path, monkeypatch):
    pytest.importorskip("kenlm", reason="needs the peers: pip install '.[peers]'")
    monkeypatch.chdir(tmp_path)
    Path("toy.arpa").write_text("\\data\\\nngram 1=1\n\n\\1-grams:\n-1.0\ta\n\n\\end\\\n", encoding="utf-8")
    with pytest.raises(Error, match=complaint):
        bench.main(["decoding", *options])


def test_a_decoder_that_is_not_compared_has_no_difference(monkeypatch):
    rows = np.log(np.full((3, 2), 0.5, np.float32))
    utterances = bench_decoding.Utterances([rows] * 4, ["a b"] * 4, 4.0)
    found = bench_decoding._Bench(None, utterances, utterances)
    for name, beams, text in (("greedy", (1,), "c"), ("asr", (50,), "a b"), ("other", (50, 500), "a")):
        found.add(name, {}, lambda weights, beam, text=text: lambda rows: text, beams)
    assert [row.wer for row in found.rows] == [1.0, 0.0, 0.5, 0.5]
    assert [row.low for row in found.rows] == [None, None, 0.5, None]
    lines = bench_decoding.DecodingFigures(found.rows, {}).describe().splitlines()
    assert [" - " in line for line in lines[1:]] == [True, True, False, True]


def test_a_command_that_fails_is_no_result(model, tmp_path):
    with pytest.raises(Error, match=r"missing.wav .*ended with status"):
        bench_transcribe.run_command(tmp_path / "missing.wav", str(model))
    with pytest.raises(Error, match=r"missing\.safetensors.*expected a model file"):
        bench.main(["transcribe", "--model", str(tmp_path / "missing.safetensors")])


@pytest.mark.parametrize("seconds", [0.5, 10.0])
def test_the_samples_that_ship_are_joined_to_the_length_that_is_asked_for(seconds, tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_CORPORA", str(tmp_path))
    samples = bench_transcribe.recording(seconds)
    assert samples.dtype == np.float32 and len(samples) == seconds * 16_000 and samples.std() > 1e-3
    with pytest.raises(Error, match=r"samples holds .* s of speech; 1e\+06 s are needed"):
        bench_transcribe.recording(1e6)


def test_real_speech_comes_first(corpora, monkeypatch):
    monkeypatch.setenv("ASR_CORPORA", str(corpora))
    first = audio.load(audio_files(corpora / "LibriSpeech" / "dev-clean")[0])
    samples = bench_transcribe.recording()
    assert len(samples) == 160_000
    assert np.array_equal(samples[: len(first)], first[: len(samples)])
