"""What utterances are heard with, and the script that scores a model by it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import Error, corpus, load
from asr.command import UsageError
from asr.corpus import Utterance, write_manifest
from asr.evaluate import evaluate
from asr.training.augment import code_mp3
from scripts.conditions import (
    DECIBELS,
    REVERBERATION,
    Room,
    conditions,
    grouped,
    held_out,
    narrow,
    reverberation_time,
    telephone,
)
from scripts.figures import evenly
from scripts.robustness import main

PROJECT = Path(__file__).resolve().parents[1]
SAMPLES = PROJECT / "data" / "samples" / "manifest.jsonl"
RATE = 16_000


def white(seconds: float = 4.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE)).astype(np.float32)


def decaying(t60: float, seconds: float) -> np.ndarray:
    """An envelope that has lost 60 dB after t60 seconds: amplitudes fall to a thousandth."""
    return 10 ** (-3 * np.arange(round(seconds * RATE)) / RATE / t60)


def decibels(of: np.ndarray, over: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(of.astype(np.float64) ** 2) / np.mean(over.astype(np.float64) ** 2)))


# Rooms


@pytest.mark.parametrize("t60", [0.1, 0.35, 0.8, 2.5])
@pytest.mark.parametrize("before", [0, 777])
def test_the_reverberation_time_of_an_exponential_decay(t60: float, before: int) -> None:
    signs = np.random.default_rng(0).choice([-1.0, 1.0], round(2 * t60 * RATE))
    response = np.concatenate([np.zeros(before), signs * decaying(t60, 2 * t60)])
    assert reverberation_time(response.astype(np.float32)) == pytest.approx(t60, rel=1e-3)


@pytest.mark.parametrize("t60", [0.4, 1.2])
def test_the_reverberation_time_of_decaying_noise_behind_a_direct_sound(t60: float) -> None:
    response = 0.05 * white(2 * t60) * decaying(t60, 2 * t60)
    response[10] = 0.5 * np.abs(response).sum() ** 0.5  # the loudest, but most of the energy is behind it
    assert reverberation_time(response) == pytest.approx(t60, rel=0.1)


@pytest.mark.parametrize("response", [white(), np.ones(RATE), np.eye(1, 100, 3)[0], np.zeros(100), np.ones(1)])
def test_what_does_not_decay_in_a_straight_line_has_no_reverberation_time(response: np.ndarray) -> None:
    assert reverberation_time(response.astype(np.float32)) is None


@given(st.lists(st.none() | st.floats(0.01, 10) | st.sampled_from(REVERBERATION)))
def test_every_room_is_in_the_one_group_that_names_its_time(times: list[float | None]) -> None:
    rooms = [Room(str(i), np.ones(1, np.float32), t60) for i, t60 in enumerate(times)]
    groups = grouped(rooms)
    assert sorted(room.name for members in groups.values() for room in members) == sorted(room.name for room in rooms)
    for name, members in groups.items():
        words = name.removeprefix("room, T60 ").split()
        for room in members:
            if words == ["unknown"]:
                assert room.t60 is None
            elif words[0] == "under":
                assert room.t60 < float(words[1])
            else:
                assert room.t60 >= float(words[0]) and (words[1] == "s" or room.t60 < float(words[2]))


# Noise


def heard(name: str, utterance: Utterance, noises: list[np.ndarray]) -> np.ndarray:
    (condition,) = (each for each in conditions(noises, []) if each.name == name)
    return condition.of(utterance)


@pytest.fixture(scope="module")
def utterances() -> list[Utterance]:
    return corpus.read(SAMPLES)


def test_noise_has_the_level_that_the_table_says_and_is_the_same_at_all(utterances: list[Utterance]) -> None:
    noises = [white(1.0, seed) for seed in range(5)]
    for utterance in utterances[:3]:
        clean = heard("clean", utterance, noises)
        added = [heard(f"noise, {level:g} dB", utterance, noises) - clean for level in DECIBELS]
        assert [decibels(clean, noise) for noise in added] == pytest.approx(list(DECIBELS), abs=0.01)
        for noise in added[1:]:
            assert np.corrcoef(added[0], noise)[0, 1] == pytest.approx(1, abs=1e-3)


def test_what_is_heard_depends_on_the_utterance_alone(utterances: list[Utterance]) -> None:
    noises = [white(1.0, seed) for seed in range(5)]
    rooms = [Room(str(i), white(0.5, i) * decaying(0.5, 0.5).astype(np.float32), 0.5) for i in range(3)]
    one, other = conditions(noises, rooms), conditions(noises, rooms)
    for first, second in zip(one, other, strict=True):
        forth = [first.of(utterance) for utterance in utterances[:3]]
        back = [second.of(utterance) for utterance in reversed(utterances[:3])]
        assert all(np.array_equal(*pair) for pair in zip(forth, reversed(back), strict=True))
    same = utterances[0]
    renamed = Utterance("another", same.audio, same.text)
    assert not np.array_equal(heard("noise, 5 dB", same, noises), heard("noise, 5 dB", renamed, noises))


@pytest.mark.parametrize("setting", ["noise", "rooms"])
def test_only_recordings_for_tests_are_used(noises: Path, setting: str) -> None:
    rows = [json.loads(line) for line in (noises / "manifest.jsonl").read_text().splitlines()]
    kind = {"noise": "noise", "rooms": "rir"}[setting]
    expected = {str(noises / row["audio_filepath"]) for row in rows if (row["kind"], row["split"]) == (kind, "test")}
    assert {str(recording.audio) for recording in held_out(setting, noises)} == expected != set()


@pytest.mark.parametrize("split", ["train", "dev", None])
def test_recordings_that_a_model_may_have_been_trained_on_are_refused(tmp_path: Path, split: str | None) -> None:
    (tmp_path / "manifest.jsonl").write_text(json.dumps({"audio_filepath": "a.wav", "kind": "noise", "split": split}))
    with pytest.raises(Error, match=f"split 'test'.* found 1 recordings of the splits {split}"):
        held_out("noise", tmp_path)


def test_a_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", white(), RATE)
    with pytest.raises(Error, match=r"manifest\.jsonl: no such file"):
        held_out("noise", tmp_path)


# Channels


def change(before: np.ndarray, after: np.ndarray, low: float, high: float) -> float:
    """Power after over power before, between two frequencies, in dB."""
    powers = [
        np.mean(np.abs(np.fft.rfft(each)[round(low * len(each) / RATE) : round(high * len(each) / RATE)]) ** 2)
        / len(each)
        for each in (after, before)
    ]
    return float(10 * np.log10(powers[0] / powers[1]))


@pytest.mark.parametrize(
    ("channel", "passed", "stopped"),
    [
        (narrow, (50, 3600), [(4100, 8000)]),
        (telephone, (400, 3100), [(0, 150), (4100, 8000)]),
        (lambda samples: code_mp3(samples, 24), (50, 5000), [(6500, 8000)]),
    ],
)
def test_a_channel_keeps_its_band_and_nothing_else(channel, passed, stopped) -> None:
    before = white()
    after = channel(before)
    assert after.dtype == np.float32
    assert change(before, after, *passed) == pytest.approx(0, abs=0.6)
    for band in stopped:
        assert change(before, after, *band) < -20


# The command


@given(st.integers(0, 60), st.integers(1, 70))
@settings(deadline=None)
def test_an_even_part_has_no_utterance_twice_and_no_wide_gap(count: int, limit: int) -> None:
    part = evenly(list(range(count)), limit)
    assert len(part) == min(count, limit) and part[:1] == list(range(count))[:1]
    steps = np.diff([*part, count])
    assert evenly(list(range(count)), None) == list(range(count))
    assert not len(part) or (steps.min() >= 1 and steps.max() - steps.min() <= 1)


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A noise and a room for tests; those for training are not even there."""
    soundfile.write(tmp_path / "noise.wav", white(2.0), RATE)
    soundfile.write(tmp_path / "room.wav", white(1.0) * decaying(0.5, 1.0), RATE)
    rows = [
        ("noise.wav", "noise", "test"),
        ("room.wav", "rir", "test"),
        ("x.wav", "noise", "train"),
        ("y.wav", "rir", "train"),
    ]
    keys = ("audio_filepath", "kind", "split")
    lines = [json.dumps(dict(zip(keys, row, strict=True))) for row in rows]
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_the_command_on_recordings_that_ship(
    sounds: Path, shipped_model: Path, utterances: list[Utterance], capsys: pytest.CaptureFixture
) -> None:
    options = ["--manifest", str(SAMPLES), "--noise", str(sounds), "--limit", "3", "--beam-size", "1", "--json"]
    line = [sys.executable, str(PROJECT / "scripts" / "robustness.py"), *options]
    done = subprocess.run(line, capture_output=True, encoding="utf-8", cwd=sounds, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [row["condition"] for row in found["conditions"]] == [
        "clean",
        "noise, 20 dB",
        "noise, 10 dB",
        "noise, 5 dB",
        "room, T60 0.3 to 0.6 s (1 response)",
        "8 kHz",
        "telephone",
        "mp3, 24 kbit/s",
    ]
    assert found["t60"] == {"room.wav": pytest.approx(0.5, rel=0.1)}
    clean, *others = found["conditions"]
    expected = evaluate(load("en", beam_size=1), evenly(utterances, 3)).score.to_dict()
    assert {key: clean[key] for key in expected} == expected and clean["ratio_to_clean"] == 1
    assert all(row["ratio_to_clean"] == pytest.approx(row["wer"] / clean["wer"]) for row in others)
    assert main(options) == 0
    assert json.loads(capsys.readouterr().out) == found


def test_an_utterance_that_cannot_be_read_counts(
    sounds: Path, shipped_model: Path, utterances: list[Utterance], capsys: pytest.CaptureFixture
) -> None:
    lost = Utterance("lost", sounds / "lost.wav", "three words deleted")
    write_manifest(sounds / "some.jsonl", [lost, utterances[0]])
    assert main(["--manifest", str(sounds / "some.jsonl"), "--noise", str(sounds), "--beam-size", "1"]) == 1
    said = capsys.readouterr()
    words = len(utterances[0].text.split()) + 3
    assert f"2 utterances, {words} words" in said.out
    assert said.out.splitlines()[:2] == ["|  | WER (95% interval) | times clean |", "| --- | ---: | ---: |"]
    assert said.err.count("error: lost: ") == 1


def test_without_a_folder_of_noises_the_command_says_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ASR_NOISE", raising=False)
    with pytest.raises(UsageError, match="--noise FOLDER"):
        main([])
