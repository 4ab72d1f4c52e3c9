import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import audio
from asr.corpus import Utterance
from asr.training.cache import open_cache

PROJECT = Path(__file__).resolve().parents[1]
RATE = audio.SAMPLE_RATE
INT16_STEP = 1 / 32768


def write(path, samples, rate=RATE, subtype="FLOAT"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return Utterance(path.stem, path, "text")


def noise(seconds, seed=0, scale=0.3):
    return np.clip(np.random.default_rng(seed).normal(0, scale, round(seconds * RATE)), -1, 1)


def held(samples):
    """What 16 bits can hold: a full-scale peak is one step less."""
    return np.minimum(samples, 1 - INT16_STEP)


def contents(cache):
    reader = cache.reader()
    return [reader[i] for i in range(len(cache.lengths))]


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_samples_come_back_as_they_are_decoded(tmp_path):
    utterances = [
        write(tmp_path / "short.wav", noise(0.001, 1)),
        write(tmp_path / "full_scale.wav", np.tile([1.0, -1.0, 0.0], 4000)),
        write(tmp_path / "other_rate.flac", noise(1.3, 2)[:: 16_000 // 8_000], 8_000, "PCM_16"),
        write(tmp_path / "stereo.wav", np.stack([noise(0.7, 3), noise(0.7, 4)], axis=1)),
    ]
    cache = open_cache(utterances, tmp_path / "cache")
    assert cache.errors == {}
    for i, (utterance, samples) in enumerate(zip(utterances, contents(cache), strict=True)):
        expected = audio.load(utterance.audio)
        assert samples.dtype == np.float32 and len(samples) == cache.lengths[i] == len(expected)
        assert np.abs(samples - held(expected)).max() <= 0.51 * INT16_STEP
        assert cache.seconds(i) == pytest.approx(len(expected) / RATE)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=200))
def test_any_samples_round_trip_within_int16_rounding(tmp_path_factory, values):
    folder = tmp_path_factory.mktemp("round")
    utterance = write(folder / "x.wav", np.array(values, np.int16), subtype="PCM_16")
    (samples,) = contents(open_cache([utterance], folder))
    assert np.array_equal(samples, np.array(values, np.float32) / 32768)  # 16-bit recordings lose nothing


def test_parts_of_one_recording_are_apart(tmp_path):
    whole = write(tmp_path / "long.wav", noise(3))
    parts = [Utterance(f"{i}", whole.audio, "text", offset=float(i), duration=1.0) for i in (2, 0, 1)]
    samples = contents(open_cache(parts, tmp_path))
    joined = np.concatenate([samples[1], samples[2], samples[0]])
    assert np.abs(joined - held(audio.load(whole.audio))).max() <= 0.51 * INT16_STEP


def test_more_utterances_than_are_decoded_at_a_time_keep_their_order(tmp_path):
    recording = write(tmp_path / "x.wav", np.linspace(-1, 1, 2 * RATE))
    parts = [Utterance(f"{i}", recording.audio, "text", offset=i / 100, duration=0.02) for i in range(198)]
    for i, samples in enumerate(contents(open_cache(parts, tmp_path))):
        assert samples[0] == pytest.approx(-1 + i / 100, abs=1e-3)


def test_what_cannot_be_read_is_recorded_with_its_error_and_the_rest_is_there(tmp_path):
    good = write(tmp_path / "good.wav", noise(0.5))
    empty, text, folder = tmp_path / "empty.wav", tmp_path / "text.wav", tmp_path / "folder.wav"
    empty.touch()
    text.write_text("this is no recording\n" * 50)
    folder.mkdir()
    bad = [tmp_path / "missing.wav", empty, text, folder]
    utterances = [good, *(Utterance(path.stem, path, "text") for path in bad), good]
    cache = open_cache(utterances, tmp_path / "cache")
    assert sorted(cache.errors) == [1, 2, 3, 4]
    for i, path in enumerate(bad, 1):
        assert str(path) in cache.errors[i] and cache.lengths[i] == 0
    samples = contents(cache)
    assert [len(part) for part in samples] == [RATE // 2, 0, 0, 0, 0, RATE // 2]
    assert np.array_equal(samples[0], samples[-1])


def test_nothing_readable_is_a_cache_of_nothing(tmp_path):
    cache = open_cache([Utterance("x", tmp_path / "missing.wav", "text")], tmp_path / "cache")
    assert list(cache.errors) == [0] and len(cache.reader()[0]) == 0


def test_the_same_files_are_decoded_once(tmp_path):
    utterance = write(tmp_path / "x.wav", noise(0.5))
    first = open_cache([utterance], tmp_path / "cache")
    written = first.path.stat().st_mtime_ns
    again = open_cache([utterance], tmp_path / "cache")
    assert again.path == first.path and again.path.stat().st_mtime_ns == written
    assert all(map(np.array_equal, contents(first), contents(again)))


@pytest.mark.parametrize("change", ["samples", "size", "offset", "duration", "order"])
def test_whatever_changes_makes_a_new_cache(tmp_path, change):
    one, two = write(tmp_path / "1.wav", noise(1, 1)), write(tmp_path / "2.wav", noise(1, 2))
    before = open_cache([one, two], tmp_path / "cache")
    changed = [one, two]
    if change == "samples":
        write(two.audio, noise(1, 3))
    elif change == "size":
        write(two.audio, noise(2, 2))
    elif change == "order":
        changed = [two, one]
    else:
        changed = [one, Utterance("2", two.audio, "text", **{change: 0.25})]
    after = open_cache(changed, tmp_path / "cache")
    assert after.path != before.path
    for utterance, samples in zip(changed, contents(after), strict=True):
        expected = audio.load(utterance.audio, utterance.offset, utterance.duration)
        assert np.abs(samples - held(expected)).max() <= 0.51 * INT16_STEP


def test_copies_have_the_fingerprint_of_their_originals(tmp_path):
    """So that a run goes on where its corpus lies elsewhere, or was copied again."""
    original = [write(tmp_path / f"{i}.wav", noise(1, i)) for i in range(2)]
    part = Utterance("part", original[0].audio, "text", offset=0.25)
    before = open_cache([*original, part], tmp_path / "cache").fingerprint()
    (tmp_path / "copy").mkdir()
    copies = [
        Utterance(str(i), shutil.copyfile(each.audio, tmp_path / "copy" / f"{i}.wav"), "")
        for i, each in enumerate(original)
    ]
    part = Utterance("part", copies[0].audio, "text", offset=0.25)
    assert open_cache([*copies, part], tmp_path / "cache").fingerprint() == before
    assert open_cache([*reversed(copies), part], tmp_path / "cache").fingerprint() != before
    os.utime(original[1].audio, (1, 1))
    assert open_cache([*original, original[0]], tmp_path / "cache").fingerprint() != before
    later = Utterance("part", copies[0].audio, "text", offset=0.2, duration=0.75)
    part = dataclasses.replace(later, offset=0.25)
    found = [open_cache([*copies, each], tmp_path / "cache") for each in (part, later)]
    assert np.array_equal(*(cache.lengths for cache in found))
    assert found[0].fingerprint() == before != found[1].fingerprint()
    part = Utterance("part", copies[0].audio, "text", offset=0.25)
    write(copies[1].audio, noise(1, 7))  # of the same length
    assert open_cache([*copies, part], tmp_path / "cache").fingerprint() != before


def test_what_is_heard_twice_is_stored_once(tmp_path):
    one, two = write(tmp_path / "1.wav", noise(1, 1)), write(tmp_path / "2.wav", noise(1, 2))
    part = Utterance("part", one.audio, "text", offset=0.25)
    missing = Utterance("missing", tmp_path / "3.wav", "text")
    once = open_cache([one, missing, two, part], tmp_path / "cache")
    again = [one, missing, one, two, missing, part, two, one]
    cache = open_cache(again, tmp_path / "cache")
    assert cache.path == once.path and cache.path.stat().st_size == 2 * sum(once.lengths) == 2 * 2.75 * RATE
    assert cache.errors.keys() == {1, 4} and cache.fingerprint() != once.fingerprint()
    stored = dict(zip((1, 2, 3, 4), contents(once), strict=True))
    for number, samples in zip((1, 2, 1, 3, 2, 4, 3, 1), contents(cache), strict=True):
        assert np.array_equal(samples, stored[number])


def test_what_could_not_be_read_and_now_can_is_decoded(tmp_path, monkeypatch):
    """A file that stays as it is: ffmpeg has come, which can read it."""
    utterances = [write(tmp_path / "1.wav", noise(1, 1)), write(tmp_path / "2.wav", noise(1, 2))]

    def load(tape, *arguments):
        if tape.path.stem == "2":
            raise audio.AudioError(f"{tape.path}: no ffmpeg")
        return np.ones(10, np.float32)

    with monkeypatch.context() as before:
        before.setattr("asr.tape.Tape.load", load)
        first = open_cache(utterances, tmp_path / "cache")
        assert open_cache(utterances, tmp_path / "cache").path == first.path
    after = open_cache(utterances, tmp_path / "cache")
    assert first.errors.keys() == {1} and after.errors == {}
    assert list(first.lengths) == [10, 0] and list(after.lengths) == [RATE, RATE]
    assert len(contents(first)[0]) == 10  # a run that has opened it goes on with it
    assert open_cache(utterances, tmp_path / "cache").path == after.path


def test_its_size_is_said_when_it_is_made(tmp_path, capsys):
    utterance, folder = write(tmp_path / "x.wav", noise(50)), tmp_path / "cache"
    open_cache([utterance], folder)
    assert f"decoded audio: 2 MB in {folder}\n" in capsys.readouterr().err
    open_cache([utterance], folder)
    assert "decoded audio" not in capsys.readouterr().err


def test_the_text_does_not_matter_to_the_cache(tmp_path):
    utterance = write(tmp_path / "x.wav", noise(0.1))
    other = Utterance("another id", utterance.audio, "another text", speaker="someone")
    assert open_cache([utterance], tmp_path).path == open_cache([other], tmp_path).path


# Other processes

MAKE_CACHE = """
import sys
from pathlib import Path
from asr.corpus import Utterance
from asr.training.cache import open_cache
wav, count, folder = sys.argv[1:]
utterances = [Utterance(str(i), Path(wav), "text", offset=i / 1000, duration=0.5) for i in range(int(count))]
print(open_cache(utterances, Path(folder)).path, flush=True)
"""


def many_parts(recording, count):
    return [Utterance(f"{i}", recording.audio, "text", offset=i / 1000, duration=0.5) for i in range(count)]


def start_caching(recording, count, folder):
    return subprocess.Popen(
        [sys.executable, "-c", MAKE_CACHE, str(recording.audio), str(count), str(folder)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_some_samples(folder, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if any(path.stat().st_size for path in folder.glob(".*.part/samples")):
            return
        time.sleep(0.002)
    pytest.fail(f"the process wrote nothing that could be cut: {process.communicate()}")


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_a_killed_process_leaves_nothing_that_is_taken_for_a_cache(tmp_path):
    recording, folder = write(tmp_path / "x.wav", noise(3)), tmp_path / "cache"
    folder.mkdir()
    process = start_caching(recording, 2000, folder)
    wait_for_some_samples(folder, process)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert [name for name in files(folder) if not name.startswith(".")] == []
    cache = open_cache(many_parts(recording, 2000), folder)
    assert files(folder) == [cache.path.parent.name]  # what was left behind is gone
    assert cache.errors == {} and cache.lengths.tolist() == [RATE // 2] * 2000
    expected = audio.load(recording.audio)
    for i in (0, 999, 1999):
        at = i * RATE // 1000
        assert np.abs(cache.reader()[i] - held(expected[at : at + RATE // 2])).max() <= 0.51 * INT16_STEP


def test_two_processes_that_make_the_same_cache_at_once_both_get_it(tmp_path):
    recording, folder = write(tmp_path / "x.wav", noise(2)), tmp_path / "cache"
    processes = [start_caching(recording, 300, folder) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (path,) = {Path(out.strip()) for out, _ in outputs}
    assert files(folder) == [path.parent.name]
    cache = open_cache(many_parts(recording, 300), folder)
    assert cache.path == path and path.stat().st_size == 2 * sum(cache.lengths) == 300 * RATE
    assert cache.errors == {}


@pytest.mark.skipif(sys.platform == "win32", reason="needs the limits of Unix")
def test_a_full_disk_is_an_error_and_leaves_nothing_behind(tmp_path):
    """A real limit of the system on the size of files stands for the disk."""
    recording, folder = write(tmp_path / "x.wav", noise(2)), tmp_path / "cache"
    limit = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # Python then raises an error
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # bytes
"""
    done = subprocess.run(
        [sys.executable, "-c", limit + MAKE_CACHE, str(recording.audio), "300", str(folder)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    message = "no space left on the disk for decoded audio ([Errno 27] File too large); make room there, or set "
    assert f"{message}ASR_CACHE" in done.stderr
    assert files(folder) == []


def test_durations_in_milliseconds_ask_for_no_more_room_than_there_is_audio(tmp_path, monkeypatch):
    """What is wrong with them is said with all else that is wrong with the data."""
    monkeypatch.setenv("ASR_CACHE_GIB", "0.001")  # 33 s
    utterances = [dataclasses.replace(write(tmp_path / f"{i}.wav", noise(1, i)), duration=1000) for i in range(3)]
    cache = open_cache(utterances, tmp_path / "cache")
    assert len(cache.errors) == 3 and "the part from 0.000 s to 1000.000 s is not within" in cache.errors[0]


def test_an_exact_cache_gives_the_samples_of_an_evaluation(tmp_path):
    """A dev score is that of an evaluation to the last bit of its input, resampled recordings included."""
    utterances = [write(tmp_path / "x.wav", noise(0.3)), write(tmp_path / "y.flac", noise(0.2), 8_000, "PCM_16")]
    cache = open_cache(utterances, tmp_path / "cache", exact=True)
    for utterance, samples in zip(utterances, contents(cache), strict=True):
        assert np.array_equal(samples, audio.load(utterance.audio))
    assert open_cache(utterances, tmp_path / "cache").path != cache.path
