"""Long recordings: windows and utterances hold all of a recording once, and are cut in silence, never in a word."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

import asr
from asr import audio, batching, long
from asr.long import Cutter, Window, windows
from asr.recognizer import Recognizer
from asr.text import Alphabet, Subwords

RATE = audio.SAMPLE_RATE
STEP = 640
FRAME = STEP / RATE  # s
LETTERS = Alphabet.from_texts(["ab c"])
BLANK, SPACE = 0, LETTERS.encode(" ")[0]


# Windows


def speech(seconds: float, pauses: list[float], rng: np.random.Generator) -> np.ndarray:
    """Noise with silence of half a second around these times."""
    samples = rng.normal(0, 0.1, round(seconds * RATE)).astype(np.float32)
    for pause in pauses:
        samples[round((pause - 0.25) * RATE) : round((pause + 0.25) * RATE)] = 0.0
    return samples


@settings(deadline=None, max_examples=40)
@given(seconds=st.floats(0.001, 150), block=st.floats(0.01, 70), seed=st.integers(0, 5))
def test_windows_hold_every_frame_once(seconds: float, block: float, seed: int) -> None:
    samples = np.random.default_rng(seed).normal(0, 0.1, max(1, round(seconds * RATE))).astype(np.float32)
    size = max(1, round(block * RATE))
    found = list(windows((samples[i : i + size] for i in range(0, len(samples), size)), STEP))
    position = 0  # frame at which a window's own part begins
    for window in found:
        first = (position - window.skip) * STEP
        np.testing.assert_array_equal(window.samples, samples[first : first + len(window.samples)])
        assert window.last == (window is found[-1])
        assert window.whole == (len(found) == 1)
        if not window.last:
            assert (long.SHORTEST - FRAME) * RATE <= window.keep * STEP <= long.LONGEST * RATE
            assert len(window.samples) == (window.skip + window.keep) * STEP + long.CONTEXT * RATE
            position += window.keep
        if not window.whole:
            assert window.skip * STEP == (long.CONTEXT * RATE if position and window is not found[0] else 0)
    assert (len(found) == 1) == (len(samples) <= long.WHOLE * RATE)
    assert (position - found[-1].skip) * STEP + len(found[-1].samples) == len(samples)


def test_windows_end_where_it_is_quiet() -> None:
    pauses = [3.0, 14.0, 30.0, 46.0, 62.0, 78.0]
    samples = speech(90.0, pauses, np.random.default_rng(0))
    found = list(windows([samples], STEP))
    ends = np.cumsum([window.keep for window in found[:-1]]) * FRAME
    for end in ends:
        assert min(abs(end - pause) for pause in pauses) <= 0.25


def test_the_next_window_is_cut_before_the_recording_has_been_read() -> None:
    read = 0

    def blocks():
        nonlocal read
        for _ in range(1000):
            read += 1
            yield np.full(RATE, 0.1, np.float32)

    next(windows(blocks(), STEP))
    assert read <= long.WHOLE + 1


@pytest.mark.parametrize("level", [1e-5, 1e-3, 0.3])
@pytest.mark.parametrize("kind", ["white", "brown", "hum", "constant"])
def test_steady_noise_is_silence(kind: str, level: float) -> None:
    rng = np.random.default_rng(1)
    for seconds in (2.0, 5.0, 28.0):
        times = np.arange(round(seconds * RATE)) / RATE
        noise = {
            "white": rng.normal(0, 1, len(times)),
            "brown": np.cumsum(rng.normal(0, 0.01, len(times))),
            "hum": np.sin(2 * np.pi * 50 * times) + 0.3 * np.sin(2 * np.pi * 150 * times),
            "constant": np.ones(len(times)),
        }[kind]
        assert long.Window((level * noise).astype(np.float32), 0, None).silent


def test_quiet_and_noisy_speech_is_not_silence() -> None:
    rng = np.random.default_rng(1)
    paths = sorted((Path(__file__).resolve().parents[1] / "data" / "samples").glob("*.flac"))
    for path in paths:
        speech = audio.load(path)
        noise = rng.normal(0, np.sqrt(np.mean(speech**2) / 10), len(speech)).astype(np.float32)  # SNR 10 dB
        for samples in (speech, speech / 100, speech[: RATE // 5], speech + noise):
            assert not long.Window(samples, 0, None).silent


# Utterances


def log_probs_of(path: list[int], vocab: int = len(LETTERS)) -> np.ndarray:
    """(T, V) log-probs of which these are the most probable tokens."""
    rows = np.full((len(path), vocab), -9.0, np.float32)
    rows[np.arange(len(path)), path] = -0.1
    return rows


def cut(path: list[int], parts: tuple[int, ...] = (1000,), units=LETTERS) -> list[tuple[int, list[int]]]:
    """Utterances as first frame and path, when the log-probs come in parts of these lengths, over and over."""
    cutter, found, position, number = Cutter(units, FRAME), [], 0, 0
    while position < len(path):
        part = path[position : position + parts[number % len(parts)]]
        found += cutter.add(log_probs_of(part, len(units)))
        position += len(part)
        number += 1
    return [(each.start, each.log_probs.argmax(axis=1).tolist()) for each in [*found, *cutter.finish()]]


def frames(seconds: float) -> int:
    return round(seconds / FRAME)


WORD = [2, 0, 0, 3, 0]  # with gaps of blanks inside


@st.composite
def paths(draw) -> list[int]:
    """Words and silences in turn."""
    path: list[int] = [BLANK] * draw(st.integers(0, 100))
    for _ in range(draw(st.integers(0, 60))):
        path += WORD * draw(st.integers(1, 12))
        path += [BLANK] * draw(st.integers(0, 20)) + [SPACE]
        path += [BLANK] * draw(st.integers(0, 90) | st.integers(0, frames(100.0)))
    return path


@settings(deadline=None, max_examples=60)
@given(path=paths(), parts=st.lists(st.integers(1, 700), min_size=1, max_size=5).map(tuple))
def test_utterances_hold_every_word_once_and_whole(path: list[int], parts: tuple[int, ...]) -> None:
    found = cut(path, parts)
    letters = [(i, token) for i, token in enumerate(path) if token not in (BLANK, SPACE)]
    heard = [(start + i, token) for start, own in found for i, token in enumerate(own) if token not in (BLANK, SPACE)]
    assert heard == letters
    for (start, own), (after, _) in pairwise(found):
        assert start + len(own) <= after + frames(long.LONG_PAUSE)
        last = start + max(i for i, token in enumerate(own) if token not in (BLANK, SPACE))
        first = after + min(i for i, token in enumerate(path[after:]) if token not in (BLANK, SPACE))
        assert SPACE in path[last:first]  # between two words, not in one
    assert all(len(own) * FRAME < long.UNENDING + 2 * long.UTTERANCE for _, own in found)
    assert found == cut(path, (len(path) + 1,))  # however the log-probs come


def test_an_utterance_ends_in_a_long_pause() -> None:
    path = [*WORD, SPACE, *[BLANK] * frames(3.0), *WORD]
    assert [start for start, _ in cut(path)] == [0, len(path) - len(WORD) - frames(long.PAUSE)]


@pytest.mark.parametrize("seconds", [25.0, 45.0, 75.0, 200.0])
@pytest.mark.parametrize("words", [1, 12, 60])  # 0.24, 2.9 and 14.4 s
def test_long_silence_cuts_nothing_of_what_was_said_before(words: int, seconds: float) -> None:
    phrase = [*WORD, SPACE] * words
    found = cut((phrase + [BLANK] * frames(seconds)) * 2, (500,))
    assert [sum(token not in (BLANK, SPACE) for token in own) for _, own in found] == [2 * words] * 2


def test_an_utterance_that_grows_long_ends_at_its_longest_pause() -> None:
    pauses = [1.0, 0.2, 0.5, 0.2, 0.4, 0.2]
    path, ends = [], []
    for pause in pauses * 2:
        path += WORD * frames(4.0 / len(WORD)) + [SPACE] + [BLANK] * frames(pause)
        ends.append(len(path))
    starts = [start for start, _ in cut(path)]
    # The first, longer pause comes too early to be worth an utterance.
    assert abs(starts[1] - ends[2]) <= frames(0.5)


def test_without_a_pause_an_utterance_ends_all_the_same() -> None:
    path = [2, 3] * frames(100.0)
    found = cut(path, (700,))
    assert [token for _, own in found for token in own] == path
    assert len(found) >= 2 and all(len(own) * FRAME <= 2 * long.UNENDING for _, own in found)


def test_silence_is_no_utterance_and_takes_no_memory() -> None:
    cutter = Cutter(LETTERS, FRAME)
    silence = log_probs_of([BLANK] * frames(20.0))
    for _ in range(100):
        assert list(cutter.add(silence)) == []
        assert sum(len(part) for part in cutter._pending) <= frames(long.PAUSE)
    assert list(cutter.finish()) == []


def test_units_without_a_space() -> None:
    han = Alphabet.from_texts(["你好"])
    path = ([1, 0, 2] * 200 + [0] * frames(0.5)) * 3
    found = cut(path, units=han)
    assert len(found) > 1
    assert sum(token > 0 for _, own in found for token in own) == sum(token > 0 for token in path)
    pieces = Subwords.from_texts(["the cat sat on the mat"] * 20, 12)
    opening = next(i for i in range(1, len(pieces)) if pieces.opens_word(i) and pieces.decode([i]).strip())
    assert len(cut([opening, *[0] * frames(3.0), opening], units=pieces)) == 2


# The recognizer


@pytest.fixture(scope="module")
def minutes() -> np.ndarray:
    """Almost two minutes of the speech that ships."""
    samples = Path(__file__).resolve().parents[1] / "data" / "samples"
    once = np.concatenate([audio.load(path) for path in sorted(samples.glob("*.flac"))])
    return np.concatenate([once] * 5)


def test_joined_log_probs_are_those_of_the_windows(tiny: Recognizer, minutes: np.ndarray) -> None:
    joined = tiny.long_log_probs([minutes])
    whole, (count,) = tiny.log_probs([minutes])
    assert joined.shape == whole[0].shape and count == len(joined)
    position = 0
    for window in windows([minutes], tiny.step):
        rows, (length,) = tiny.log_probs([window.samples])
        part = rows[0, :length][window.skip :][: window.keep]
        np.testing.assert_allclose(joined[position : position + len(part)], part, atol=1e-4)
        position += len(part)
    assert position == len(joined)


def test_weights_are_fitted_to_the_log_probs_that_are_decoded(tiny: Recognizer, minutes: np.ndarray) -> None:
    waveforms = [minutes, minutes[: 5 * RATE]]
    found = batching.log_probs_of(tiny, [len(each) for each in waveforms], waveforms.__getitem__)
    np.testing.assert_array_equal(found[0], tiny.long_log_probs([minutes]))
    np.testing.assert_allclose(found[1], tiny.log_probs(waveforms[1:])[0][0], atol=1e-4)
    beside = np.concatenate([minutes[: 5 * RATE], np.zeros(20 * RATE, np.float32)])  # silence that is not heard
    (rows,) = batching.log_probs_of(tiny, [len(beside)], lambda i: beside)
    assert tiny.text(tiny.decode([rows])[0][0]) == tiny.transcribe(beside).text
    assert np.abs(rows[:120] - tiny.log_probs([beside])[0][0, :120]).max() > 0.1  # where all is normalised together


def test_blocks_threads_and_batches_change_nothing(tiny_model: Path, minutes: np.ndarray) -> None:
    recognizer = asr.load(str(tiny_model), threads=1)
    expected = recognizer.transcribe(minutes)
    assert len(expected.segments) > 1 and expected.duration == len(minutes) / RATE
    assert [segment.start for segment in expected.segments] == sorted(segment.start for segment in expected.segments)
    for threads, seconds in ((1, 10.0), (3, 30.0), (2, 1000.0)):
        recognizer = asr.load(str(tiny_model), threads=threads, batch_seconds=seconds)
        assert recognizer.transcribe(minutes).text == expected.text
        found = list(recognizer.segments(minutes))
        assert [(each.text, each.start, each.end) for each in found] == [
            (each.text, each.start, each.end) for each in expected.segments
        ]
        assert [found.text for found in recognizer.transcribe_many([minutes, minutes[:RATE], minutes])][::2] == [
            expected.text
        ] * 2


def test_segments_come_while_the_recording_is_read(tiny_model: Path, minutes: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "long.flac"
    soundfile.write(path, np.concatenate([minutes] * 3), RATE)
    data = bytearray(path.read_bytes())
    data[-5000:-3000] = bytes(2000)  # damaged near its end
    path.write_bytes(data)
    counts = []
    for seconds in (30.0, 10_000.0):  # what is found before the damage comes, also where it is one batch with it
        segments = asr.load(str(tiny_model), threads=1, batch_seconds=seconds).segments(path)
        assert next(segments).text
        counts.append(1)
        with pytest.raises(audio.AudioError, match=r"long\.flac: damaged"):
            for _ in segments:
                counts[-1] += 1
    assert counts[0] == counts[1] > 1


# Silence beside speech


def _syllables(frames: int, level: float = 0.1) -> np.ndarray:
    """(samples,) float32 of so many output frames, 640 samples each, as loud as speech."""
    return (level * np.random.default_rng(3).standard_normal(frames * 640)).astype(np.float32)


@pytest.mark.parametrize("faint", [0.0, 1e-3])
def test_of_long_silences_only_the_edges_are_heard(faint: float) -> None:
    pause, said = _syllables(200, faint), _syllables(40)
    heard = Window(np.concatenate([said, pause, said, pause[: 50 * 640], said]), 0, None).heard(640)
    edge = round(0.5 * RATE / 640)
    expected = np.ones(40 + 200 + 40 + 50 + 40 + 1, bool)
    expected[40 + edge : 40 + 200 - edge] = False  # 8 s are long, 2 s are not
    assert np.array_equal(heard, expected)


def test_quiet_speech_beside_loud_is_heard() -> None:
    assert Window(np.concatenate([_syllables(50, 0.3), _syllables(200, 0.01)]), 0, None).heard(640).all()
    click = np.concatenate([_syllables(200, 0.003), [1.0, -1.0], _syllables(100, 0.003)])
    assert Window(click.astype(np.float32), 0, None).heard(640).all()


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 32_000])
def test_any_length_has_its_frames(tiny: Recognizer, samples: int) -> None:
    window = Window(_syllables(50)[:samples], 0, None)
    assert len(window.heard(tiny.step)) == len(tiny.log_probs([window.samples])[0][0])
    assert window.heard(tiny.step).all()


@pytest.mark.parametrize("before", [False, True])
def test_silence_beside_speech_changes_nothing_of_it(tiny: Recognizer, recordings: list[Path], before: bool) -> None:
    """A second of it or half a minute: the model hears the same, and nothing in what it does not hear."""
    said = audio.load(recordings[2])[2000 : 2000 + 120 * STEP]  # from syllable to syllable
    silences = [np.zeros(count * STEP, np.float32) for count in (24, 800)]
    short, longer = (np.concatenate([silence, said] if before else [said, silence]) for silence in silences)
    heard = Window(longer, 0, None).heard(STEP)
    found = tiny.long_log_probs([longer])
    assert np.array_equal(found[heard], tiny.long_log_probs([short]))
    assert (found[~heard].argmax(axis=1) == BLANK).all() and (~heard).sum() == 776
