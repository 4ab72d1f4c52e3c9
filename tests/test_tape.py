"""Parts of recordings that are decoded once: the samples and the errors of `asr.audio.load`, to the last bit."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import audio, tape
from asr.audio import AudioError, load
from asr.audio_readers import BLOCK, opened
from asr.containers import checked
from asr.corpus import Utterance
from asr.tape import Tape, load_parts, map_parts

SECONDS = 12
KINDS = {  # file -> how it is written; the rest takes ffmpeg
    "x.wav": ("WAV", "PCM_16", 44_100),
    "x.flac": ("FLAC", "PCM_16", 44_100),
    "x.ogg": ("OGG", "VORBIS", 44_100),
    "x.opus": ("OGG", "OPUS", 48_000),
    "x.mp3": ("MP3", "MPEG_LAYER_III", 44_100),
    "16_khz.mp3": ("MP3", "MPEG_LAYER_III", 16_000),
    "x.m4a": None,
    "x.webm": None,
}
# In order, overlapping, one within another, twice, one after the other, up to the end, and back to the start.
PARTS = [
    (0.0, 1.0),
    (1.0, 0.013),
    (1.5, 3.0),
    (2.0, 0.5),
    (2.0, 0.5),
    (4.3, 2.0),
    (6.3, 1.0),
    (9.0, None),
    (0.7, 11.25),
]


def sound(rate: int) -> np.ndarray:
    """(samples, 2): noise whose colour and loudness change, so that no two places are alike."""
    time = np.arange(SECONDS * rate) / rate
    noise = np.random.default_rng(1).normal(0, 0.1, (len(time), 2))
    return np.cumsum(noise, 0) % 0.5 * np.sin(time)[:, None]


@pytest.fixture(scope="module", params=KINDS)
def recording(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    path, kind = folder / request.param, KINDS[request.param]
    if kind is not None:
        container, subtype, rate = kind
        soundfile.write(path, sound(rate), rate, format=container, subtype=subtype)
        return path
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("needs ffmpeg on the PATH")
    soundfile.write(folder / "original.wav", sound(44_100), 44_100)
    subprocess.run([ffmpeg, "-v", "error", "-i", folder / "original.wav", path], check=True)
    return path


def test_parts_are_those_of_the_library(recording: Path) -> None:
    with Tape(recording) as open_tape:
        for part in PARTS:
            np.testing.assert_array_equal(open_tape.load(*part), load(recording, *part))
        with open_tape.stream(2, 3.0, 2.5) as ours, audio.stream(recording, 2, 3.0, 2.5) as theirs:
            assert (ours.duration, ours.channels) == (theirs.duration, theirs.channels)
            np.testing.assert_array_equal(np.concatenate(list(ours.blocks)), np.concatenate(list(theirs.blocks)))


def test_errors_are_those_of_the_library(recording: Path) -> None:
    with Tape(recording) as open_tape:
        for part in [(1.0, 1.0), (20.0, 1.0), (11.0, 5.0), (-1.0, None), (3.0, 0.0), (float("nan"), 1.0)]:
            assert outcome(open_tape.load, *part) == outcome(load, recording, *part)
        assert outcome(open_tape.load, 2.0, 1.0) == outcome(load, recording, 2.0, 1.0)  # it goes on


def outcome(read: Callable[..., np.ndarray], *arguments: object) -> str | list[float]:
    try:
        return read(*arguments).tolist()
    except AudioError as error:
        return str(error)


@pytest.fixture(scope="module")
def mp3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mp3") / "x.mp3"
    soundfile.write(path, sound(16_000), 16_000, format="MP3", subtype="MPEG_LAYER_III")
    return path


times = st.floats(0, SECONDS + 1)


@settings(deadline=None, max_examples=15)
@given(parts=st.lists(st.tuples(times, st.none() | times), max_size=12), kept=st.integers(2, 300_000))
def test_any_parts_in_any_order_however_little_is_kept(
    mp3: Path, parts: list[tuple[float, float | None]], kept: int
) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tape, "KEPT", kept)
        with Tape(mp3) as open_tape:
            for part in parts:
                assert outcome(open_tape.load, *part) == outcome(load, mp3, *part)


class Counting:
    """What a decoder gives, counted."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.frames = self.opened = 0

        @contextlib.contextmanager
        def counted(*arguments: object):
            with opened(*arguments) as reader:
                self.opened += 1
                read = reader.read

                def counted_read(frames: int) -> np.ndarray:
                    block = read(frames)
                    self.frames += len(block)
                    return block

                reader.read = counted_read
                yield reader

        monkeypatch.setattr(tape, "opened", counted)


def test_a_recording_is_decoded_once_and_no_more_is_kept_than_said(mp3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counting = Counting(monkeypatch)
    monkeypatch.setattr(tape, "KEPT", 32_000)
    monkeypatch.setattr("asr.tape.BLOCK", 1000)
    with Tape(mp3) as open_tape:
        for i in range(110):
            open_tape.load(i / 10, 0.5)  # each overlaps the four before it
            assert sum(block.size for block in open_tape._blocks) < 32_000 + 2 * 8000
    assert counting.opened == 1 and counting.frames <= SECONDS * 16_000


def part(path: Path, offset: float, duration: float | None = 0.25) -> Utterance:
    return Utterance(f"{path}-{offset}", path, "", offset=offset, duration=duration)


def test_many_parts_of_several_recordings_come_in_the_order_given(
    mp3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "y.mp3"
    soundfile.write(other, sound(16_000)[::-1], 16_000, format="MP3", subtype="MPEG_LAYER_III")
    missing = tmp_path / "missing.mp3"
    order = np.random.default_rng(3)
    parts = [part(mp3, i / 4) for i in range(40)]
    parts += [part((mp3, other, missing)[order.integers(3)], float(order.uniform(0, 11))) for _ in range(60)]
    counting = Counting(monkeypatch)
    monkeypatch.setattr(tape, "AHEAD", 16)
    found = [each for block in load_parts(parts, threads=3) for each in block]
    readable = [str(each) if isinstance(each, Exception) else each.tolist() for each in found]
    assert readable == [outcome(load, each.audio, each.offset, 0.25) for each in parts]
    assert counting.opened <= 1 + 2 * 5  # those in order in one go, the others once for each 16 parts


def test_parts_without_a_length_fill_the_memory_no_more_than_others(mp3: Path) -> None:
    given = iter([part(mp3, 0.0, None)] * 1000)
    block = next(map_parts(lambda open_tape, each: each, given, threads=1))
    assert 10 < len(block) < 100 and len(list(given)) == 1000 - len(block)


# Damage


def test_damage_costs_the_parts_that_it_is_in(tmp_path: Path) -> None:
    """flac can seek: what lies behind the damage is read, as ever."""
    path = tmp_path / "x.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(data)
    with Tape(path) as open_tape:
        found = [outcome(open_tape.load, float(i), 1.0) for i in range(10)]
    assert found == [outcome(load, path, float(i), 1.0) for i in range(10)]
    assert {type(each) for each in found[:4] + found[-3:]} == {list} and str in map(type, found)


def test_a_part_behind_damage_does_not_decode_all_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a flac of unknown length, which cannot seek."""
    path = tmp_path / "x.flac"
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
    data = bytearray(path.read_bytes())
    data[21] &= 0xF0  # the number of samples: 36 bits
    data[22:26] = bytes(4)
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(data)
    expected = [outcome(load, path, i / 2, 1.0) for i in range(20)]
    counting = Counting(monkeypatch)
    with Tape(path) as open_tape:
        assert [outcome(open_tape.load, i / 2, 1.0) for i in range(20)] == expected
    assert counting.opened == 1 and counting.frames < 100_000
    assert {type(each) for each in expected[:6]} == {list} and {type(each) for each in expected[12:]} == {str}


def test_what_cannot_be_opened_is_looked_at_once(mp3: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.ogg"
    soundfile.write(cut, sound(16_000), 16_000)
    cut.write_bytes(cut.read_bytes()[:-100])
    with Tape(cut) as open_tape:
        first = outcome(open_tape.load, 0.0, 1.0)
        assert first == outcome(load, cut, 0.0, 1.0) and "cut short" in first
        shutil.copyfile(mp3, cut)
        assert outcome(open_tape.load, 1.0, 1.0) == first


# Keeping alive


@pytest.mark.parametrize(("container", "subtype"), [("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS")])
def test_a_check_is_heard_of_all_the_time(container: str, subtype: str) -> None:
    file = io.BytesIO()
    soundfile.write(file, sound(44_100), 44_100, format=container, subtype=subtype)
    places: list[int] = []
    stream = io.BytesIO(b"ID3\4\0\0\0\0\0\0" + bytes(1 << 18) + file.getvalue())  # a tag, and zeros behind it
    checked(stream, lambda: places.append(stream.tell()))
    assert np.diff([0, *places, len(stream.getvalue())]).max() <= 1 << 17


def test_going_far_is_heard_of(mp3: Path) -> None:
    heard: list[int] = []
    with Tape(mp3, lambda: heard.append(1)) as open_tape:
        open_tape.load(0.0, 0.1)
        heard.clear()
        open_tape.load(11.0, 0.1)
    assert len(heard) >= 11 * 16_000 * 2 // BLOCK
