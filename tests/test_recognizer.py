"""Recognizer: padding and batching change nothing, every source gives the same text, models are found or named."""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import asr
from asr import audio, corpus, loading
from asr.batching import length_batches, pad
from asr.evaluate import evaluate
from asr.model import AcousticModel
from asr.recognizer import Recognizer
from asr.text import Alphabet

PROJECT = Path(__file__).resolve().parents[1]
SAMPLES = PROJECT / "data" / "samples"
SAMPLES_WER = 0.8  # loose: it tells a model that works from one that does not, and measures nothing


@pytest.fixture(scope="module")
def waveforms(recordings: list[Path]) -> list[np.ndarray]:
    """Shipped speech and noise, from 0.05 to 5 seconds and more."""
    speech = [audio.load(path) for path in sorted(SAMPLES.glob("*.flac"))]
    noise = [audio.load(path) for path in recordings]
    return [*speech, *noise, noise[0][:800]]


# Padding and batches


def test_padding_changes_no_log_prob(tiny: Recognizer, waveforms: list[np.ndarray]) -> None:
    together, frames = tiny.log_probs(waveforms)  # (B, T, V), (B,)
    assert together.shape[1] == frames.max() > frames.min()
    for row, length, waveform in zip(together, frames, waveforms, strict=True):
        alone, (alone_frames,) = tiny.log_probs([waveform])
        assert length == alone_frames
        np.testing.assert_allclose(row[:length], alone[0], atol=1e-4, rtol=0)


def test_batches_change_no_text(tiny: Recognizer, waveforms: list[np.ndarray]) -> None:
    alone = [tiny.transcribe(waveform).text for waveform in waveforms]
    assert len(set(alone)) == len(alone)  # a mix-up would show
    assert [transcript.text for transcript in tiny.transcribe_many(waveforms)] == alone
    assert [transcript.text for transcript in tiny.transcribe_many(waveforms[::-1])] == alone[::-1]


def test_many_recordings_keep_their_order(tiny: Recognizer, waveforms: list[np.ndarray]) -> None:
    # More than one batch holds, the lengths mixed.
    long = np.concatenate(waveforms)
    many = [long[: int(seconds * audio.SAMPLE_RATE)] for seconds in (9.0, 0.5, 7.0, 3.0, 8.0, 1.0)] * 6
    assert len(length_batches([len(waveform) for waveform in many])) > 1
    alone = {len(waveform): tiny.transcribe(waveform) for waveform in many[:6]}
    found = tiny.transcribe_many(many)
    assert [each.text for each in found] == [alone[len(waveform)].text for waveform in many]
    assert [each.duration for each in found] == [alone[len(waveform)].duration for waveform in many]
    assert tiny.transcribe_many([]) == []


@pytest.mark.parametrize("beam_size", [1, 8])
def test_threads_may_share_a_recognizer(tiny_model: Path, recordings: list[Path], beam_size: int) -> None:
    shared = asr.load(str(tiny_model), beam_size=beam_size, threads=2)
    alone = {path: shared.transcribe(path).text for path in recordings}
    assert len(set(alone.values())) == len(alone)
    paths = recordings * 6
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda path: shared.transcribe(path).text, paths))
    assert found == [alone[path] for path in paths]


@given(lengths=st.lists(st.integers(1, 40), max_size=30), limit=st.integers(1, 100))
def test_length_batches(lengths: list[int], limit: int) -> None:
    batches = length_batches(lengths, limit / audio.SAMPLE_RATE)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert [lengths[i] for batch in batches for i in batch] == sorted(lengths)
    for batch in batches:
        assert len(batch) == 1 or lengths[batch[-1]] * len(batch) <= limit
    for batch, following in itertools.pairwise(batches):  # none ends where one more would have fitted
        assert lengths[following[0]] * (len(batch) + 1) > limit


def test_pad() -> None:
    fixed = np.array([0.5, -0.5, 0.25], np.float32)
    fixed.flags.writeable = False  # as memory-mapped audio is
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples, lengths = pad([fixed, np.ones(1, np.float32)])
    assert torch.equal(samples, torch.tensor([[0.5, -0.5, 0.25], [1.0, 0.0, 0.0]]))
    assert torch.equal(lengths, torch.tensor([3, 1]))


# Sources


def test_every_source_gives_the_same_transcript(tiny: Recognizer, recordings: list[Path]) -> None:
    path = recordings[2]
    expected = tiny.transcribe(path)
    assert expected.duration == 5.0
    assert expected.text == " ".join(expected.text.split()) != ""
    assert tiny.transcribe(str(path)) == expected
    assert tiny.transcribe(path.read_bytes()) == expected
    assert tiny.transcribe(audio.load(path)) == expected
    with path.open("rb") as file:
        assert tiny.transcribe(file) == expected


@pytest.mark.parametrize("samples", [1, 2, 159, 160, 161, 640])
@pytest.mark.parametrize("level", [0.0, 1.0])
def test_the_shortest_recordings(tiny: Recognizer, samples: int, level: float) -> None:
    transcript = tiny.transcribe(np.full(samples, level, np.float32))
    assert transcript.duration == samples / audio.SAMPLE_RATE
    assert np.isfinite(tiny.log_probs([np.full(samples, level, np.float32)])[0]).all()


def test_arrays_are_checked(tiny: Recognizer) -> None:
    with pytest.raises(audio.AudioError, match="no samples"):
        tiny.transcribe(np.zeros(0, np.float32))
    with pytest.raises(audio.AudioError, match="is nan"):
        tiny.transcribe(np.array([0.0, np.nan], np.float32))
    with pytest.raises(asr.Error, match="channel 7 of an array"):
        tiny.transcribe(np.zeros(10, np.float32), channel=7)


def test_a_model_that_gives_nan_is_an_error(tiny_model: Path) -> None:
    broken = asr.load(str(tiny_model))
    broken.model.output.bias.data[0] = torch.nan
    with pytest.raises(asr.Error, match="log_probs hold NaN"):
        broken.transcribe(np.full(16_000, 0.1, np.float32))


def test_a_pause_in_a_script_without_spaces_adds_none(tiny: Recognizer) -> None:
    # "eight" has a pause before its t; nothing says that it is one word.
    units = Alphabet.from_texts(["eight"])
    config = replace(tiny.model.config, vocab=len(units))
    recognizer = Recognizer(AcousticModel(config).eval(), tiny.features, units, tiny.normalizer, {})
    rows = np.full((61, len(units)), -9.0, np.float32)
    rows[:, 0] = -1.0
    for frame, letter in ((2, "e"), (4, "i"), (6, "g"), (8, "h"), (50, "t")):
        rows[frame, units.encode(letter)] = -0.1
    recognizer.log_probs = lambda waveforms: (rows[None], np.array([len(rows)]))  # type: ignore[method-assign]
    speech = np.random.default_rng(1).normal(0, 0.1, 60 * 640).astype(np.float32) * np.linspace(0.01, 1, 60 * 640)
    transcript = recognizer.transcribe(speech.astype(np.float32))
    assert transcript.text == "eight" and len(transcript.segments) == 1
    assert "".join(word.text for word in transcript.words) == "eight"


def test_a_used_recognizer_can_be_copied(tiny_model: Path, waveforms: list[np.ndarray]) -> None:
    used = asr.load(str(tiny_model), threads=2)
    expected = [found.text for found in used.transcribe_many(waveforms)]
    for copied in (copy.deepcopy(used), pickle.loads(pickle.dumps(used))):
        assert [found.text for found in copied.transcribe_many(waveforms)] == expected


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_used_recognizer_survives_a_fork(tiny_model: Path, waveforms: list[np.ndarray]) -> None:
    used = asr.load(str(tiny_model), threads=2)
    expected = [found.text for found in used.transcribe_many(waveforms)]
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()

    def again() -> None:
        results.put([found.text for found in used.transcribe_many(waveforms)])

    child = context.Process(target=again, daemon=True)
    child.start()
    child.join(120)
    child.kill()
    assert child.exitcode == 0, "it hangs"
    assert results.get() == expected


def test_a_device_that_holds_no_numbers_is_an_error(tiny_model: Path) -> None:
    with pytest.raises(asr.Error, match="device 'meta': torch says"):
        asr.load(str(tiny_model), device="meta")


def test_log_probs_of_a_recording_that_breaks_off(tiny: Recognizer) -> None:
    def blocks():
        yield np.full(16_000, 0.1, np.float32)
        raise audio.AudioError("damaged")

    with pytest.raises(audio.AudioError, match="damaged"):
        tiny.long_log_probs(blocks())


def test_silence_is_no_speech(tiny: Recognizer) -> None:
    for seconds in (1, 100):
        transcript = tiny.transcribe(np.zeros(seconds * 16_000, np.float32))
        assert transcript == asr.Transcript((), float(seconds)) and transcript.text == ""


# Models


def test_a_model_file_is_enough(tiny_model: Path, tmp_path: Path) -> None:
    moved = tmp_path / "my model.safetensors"
    moved.write_bytes(tiny_model.read_bytes())
    loaded = asr.load(str(moved))
    assert loaded.info == {"data": ["none"], "licence": "CC0-1.0"}
    assert loaded.normalizer("It's HERE.") == "it's here"
    assert loaded.alphabet.decode(loaded.alphabet.encode("é")) == "é"
    assert not loaded.model.training


def test_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_model: Path) -> None:
    monkeypatch.setattr(loading, "MODELS", tmp_path)
    with pytest.raises(asr.Error, match=r"model 'fr': no such file; expected .*\(none does here\)"):
        asr.load("fr")
    (tmp_path / "de.safetensors").write_bytes(tiny_model.read_bytes())
    (tmp_path / "en.safetensors").write_bytes(tiny_model.read_bytes())
    with pytest.raises(asr.Error, match=r"model 'fr': .*\(de, en\)"):
        asr.load("fr")
    with pytest.raises(asr.Error, match=r": a folder; expected a model file"):
        asr.load(str(tmp_path))
    assert asr.load("de").info == asr.load().info == asr.load(str(tiny_model)).info


def test_importing_the_package_is_light() -> None:
    code = (
        "import sys, asr\n"
        "assert not {'torch', 'numpy', 'soundfile'} & sys.modules.keys()\n"
        "from asr import Recognizer, Segment, Transcript, Word\n"
        "assert Transcript((Segment('a', 0.0, 1.0),), 1.0).text == 'a' and Recognizer.__module__ == 'asr.recognizer'\n"
        "import asr.transcribe\n"
        "assert not callable(asr.transcribe)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    with pytest.raises(AttributeError, match="no attribute 'transcriber'"):
        asr.transcriber  # noqa: B018


# Quality


def test_the_shipped_model_understands_the_shipped_samples(shipped_model: Path) -> None:
    result = evaluate(asr.load("en"), corpus.read(SAMPLES))
    assert not result.failures
    assert result.score.wer < SAMPLES_WER
