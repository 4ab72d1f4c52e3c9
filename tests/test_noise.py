"""Noises and rooms: what they do to an utterance, and which recordings are drawn."""

import json
from itertools import pairwise

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import Error
from asr.training.noise import add_noise, open_sounds, reverberate

RATE = 16_000


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))


def power(samples):
    return np.mean(np.square(samples, dtype=np.float64))


def random_samples(length, seed):
    return np.random.default_rng(seed).normal(0, 0.1, length).astype(np.float32)


@given(st.integers(1, 3000), st.integers(1, 3000), st.floats(-10, 40), st.integers(0, 2**32))
@settings(deadline=None)
def test_noise_comes_at_the_ratio_that_was_asked_for(length, noise_length, decibels, seed):
    samples, noise = random_samples(length, seed), random_samples(noise_length, seed + 1)
    mixed = add_noise(samples, noise, decibels, np.random.default_rng(seed))
    assert mixed.dtype == np.float32 and mixed.shape == samples.shape
    added = mixed.astype(np.float64) - samples
    assert 10 * np.log10(power(samples) / power(added)) == pytest.approx(decibels, abs=0.1)


def test_noise_begins_anywhere_and_is_repeated():
    noise = np.arange(1, 5, dtype=np.float32)
    samples = np.full(10, 1e-3, np.float32)
    firsts = set()
    for seed in range(50):
        added = add_noise(samples, noise, -60.0, np.random.default_rng(seed)) - samples
        order = np.round(added / np.abs(added).min()).astype(int)
        assert all(after == before % 4 + 1 for before, after in pairwise(order))
        firsts.add(order[0])
    assert firsts == {1, 2, 3, 4}


@pytest.mark.parametrize(("silent", "noise"), [(True, False), (False, True)])
def test_noise_leaves_silence_alone(silent, noise):
    samples = np.zeros(100, np.float32) if silent else random_samples(100, 1)
    mixed = add_noise(
        samples, np.zeros(30, np.float32) if noise else random_samples(30, 2), 5.0, np.random.default_rng(1)
    )
    assert np.array_equal(mixed, samples)


def test_what_a_decoder_leaves_in_silence_is_no_noise():
    samples = random_samples(100, 1)
    noise = random_samples(30, 2) * np.float32(1e-33)
    assert noise.any() and np.array_equal(add_noise(samples, noise, 5.0, np.random.default_rng(1)), samples)


@given(st.integers(1, 3000), st.integers(1, 500), st.integers(0, 2**32))
@settings(deadline=None)
def test_a_room_is_a_convolution_that_keeps_power_and_place(length, response_length, seed):
    samples, response = random_samples(length, seed), random_samples(response_length, seed + 1)
    heard = reverberate(samples, response)
    direct = np.abs(response).argmax()
    expected = np.convolve(samples.astype(np.float64), response)[direct : direct + length]
    expected *= np.sqrt(power(samples) / power(expected))
    assert heard.dtype == np.float32
    assert np.allclose(heard, expected, atol=1e-4 * np.abs(expected).max())


def test_a_room_without_walls_changes_nothing():
    samples = random_samples(1000, 1)
    assert np.allclose(reverberate(samples, np.eye(1, 50, 20, dtype=np.float32)[0]), samples, atol=1e-6)


def drawn(sounds, rolls=200):
    """Levels of the sounds that are drawn, in tenths."""
    reader, generator = sounds.reader(), np.random.default_rng(1)
    return {round(float(np.abs(reader.draw(generator)).max()) * 10) for _ in range(rolls)}


def record(path, level):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.full(500, level / 10), RATE)
    return path


def test_of_a_manifest_only_its_kind_and_nothing_held_out_is_drawn(tmp_path, capsys):
    rows = [
        ("a", "noise", "train"),
        ("b", "noise", "test"),
        ("c", "noise", "dev"),
        ("d", "rir", "train"),
        ("e", None, None),
    ]
    with (tmp_path / "manifest.jsonl").open("w") as file:
        for level, (name, kind, split) in enumerate(rows, 1):
            record(tmp_path / f"{name}.wav", level)
            row = {"audio_filepath": f"{name}.wav", "kind": kind, "split": split}
            file.write(json.dumps({key: value for key, value in row.items() if value}) + "\n")
    assert drawn(open_sounds("noise", str(tmp_path))) == {1, 5}
    assert drawn(open_sounds("rooms", str(tmp_path / "manifest.jsonl"))) == {4}
    assert "left out" not in capsys.readouterr().err


def test_any_folder_of_recordings_will_do_but_for_what_is_silent_or_unreadable(tmp_path, capsys):
    record(tmp_path / "in" / "a.wav", 3)
    record(tmp_path / "in" / "below" / "b.flac", 4)
    silent = record(tmp_path / "in" / "silent.wav", 0)
    (tmp_path / "in" / "bad.wav").write_bytes(b"no audio")
    assert drawn(open_sounds("noise", str(tmp_path / "in"))) == {3, 4}
    _, bad, quiet = capsys.readouterr().err.splitlines()
    assert bad.startswith(f"noise: {tmp_path / 'in' / 'bad.wav'} is left out: ")
    assert quiet == f"noise: {silent} is left out: silent"


def test_no_setting_no_sounds():
    assert open_sounds("noise", "") is None


@pytest.mark.parametrize("made", ["empty folder", "silent"])
def test_nothing_to_draw_from_is_an_error(tmp_path, made):
    folder = tmp_path / "noises"
    folder.mkdir()
    if made == "silent":
        record(folder / "a.wav", 0)
    with pytest.raises(Error, match=r"^rooms=.*noises: expected recordings; found none that can be read"):
        open_sounds("rooms", str(folder))


@pytest.mark.parametrize("name", ["missing", "missing.jsonl", "one.wav"])
def test_what_is_neither_folder_nor_manifest_is_an_error(tmp_path, name):
    record(tmp_path / "one.wav", 3)
    with pytest.raises(Error, match=rf"^noise=.*{name}: expected a folder of recordings or a manifest \(.jsonl\)"):
        open_sounds("noise", str(tmp_path / name))


@pytest.mark.parametrize(
    "line",
    [
        *(b'{"path": "b.wav"}', b"\xff", b"[]", b"{"),
        *(b'{"audio_filepath": ["b.wav"]}', b'{"audio_filepath": "b.wav", "duration": "long"}'),
        b'{"audio_filepath": "b.wav", "offset": -1}',
    ],
)
def test_a_line_that_is_no_recording_is_named(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_bytes(b'{"audio_filepath": "a.wav"}\n\n' + line + b"\n")
    with pytest.raises(Error, match=r"manifest.jsonl, line 3: expected an object with audio_filepath; found "):
        open_sounds("noise", str(tmp_path))


def test_a_manifest_may_name_a_part_of_a_recording(tmp_path):
    samples = np.concatenate([np.full(RATE, 0.5), np.full(RATE, 0.2)])
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    row = {"audio_filepath": "a.wav", "offset": 1.25, "duration": "0.5"}
    (tmp_path / "manifest.jsonl").write_text("\ufeff" + json.dumps(row) + "\n", encoding="utf-8")
    part = open_sounds("noise", str(tmp_path)).reader().draw(np.random.default_rng(1))
    assert len(part) == RATE // 2 and np.allclose(part, 0.2, atol=1e-4)


def test_the_corpus_of_noises_beside_the_project(noises):
    counts = {name: len(open_sounds(name, str(noises)).numbers) for name in ("noise", "rooms")}
    assert counts == {"noise": 350, "rooms": 23}
