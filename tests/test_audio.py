"""Reading recordings: real files of every kind, a known signal and librosa as oracles, and real faults."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr import audio, corpus
from asr.audio import SAMPLE_RATE, AudioError, duration, from_array, load

PROJECT = Path(__file__).resolve().parents[1]
SAMPLES = PROJECT / "data" / "samples"

# How far, in dB, the error must stay below the signal after a trip through each encoding.
LOSSLESS = {"PCM_16": 70, "PCM_24": 110, "PCM_32": 130, "FLOAT": 140, "DOUBLE": 140, "ALAC_16": 70}
COMPANDED = {"PCM_U8": 28, "PCM_S8": 28, "ULAW": 30, "ALAW": 30, "IMA_ADPCM": 20, "MS_ADPCM": 20}
LOSSY = {"GSM610": 10, "G721_32": 15, "VORBIS": 15, "OPUS": 15, "MPEG_LAYER_III": 15}
DECIBELS = LOSSLESS | COMPANDED | LOSSY

FORMATS = [
    *(("WAV", subtype) for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE")),
    *(("WAV", subtype) for subtype in ("ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32")),
    *((container, "PCM_16") for container in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF")),
    *((container, "PCM_16") for container in ("NIST", "FLAC", "VOC")),
    *(("FLAC", subtype) for subtype in ("PCM_S8", "PCM_24")),
    *(("AIFF", subtype) for subtype in ("PCM_U8", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM")),
    *(("AU", subtype) for subtype in ("PCM_S8", "FLOAT", "DOUBLE", "ULAW", "ALAW", "G721_32")),
    *(("CAF", subtype) for subtype in ("FLOAT", "ALAC_16")),
    *(("NIST", subtype) for subtype in ("PCM_24", "ULAW", "ALAW")),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]

# Those that say how much there should be. (gsm610 in wav does too, but libsndfile adds a block of its own.)
SEALED = [
    *(("WAV", subtype) for subtype in ("PCM_16", "PCM_U8", "FLOAT", "IMA_ADPCM")),
    *((container, "PCM_16") for container in ("WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC")),
    ("CAF", "ALAC_16"),
    ("OGG", "VORBIS"),
    ("OGG", "OPUS"),
    ("MP3", "MPEG_LAYER_III"),
]

OPUS_AFTER_SEEK = 1e-4  # its decoder predicts from what came before


def tones(seconds: float, rate: int = SAMPLE_RATE) -> np.ndarray:
    """(samples,) two tones that rise and whose loudness changes, so that a shift or a gap shows."""
    time = np.arange(round(seconds * rate)) / rate
    loudness = 0.3 + 0.2 * np.sin(2 * np.pi * 3.1 * time)
    phase = 2 * np.pi * (310 + 40 * time) * time
    return loudness * (np.sin(phase) + 0.4 * np.sin(4.1 * phase))


def encode(samples: np.ndarray, container: str, subtype: str, rate: int = SAMPLE_RATE, **options: object) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=container, subtype=subtype, **options)
    return file.getvalue()


def error_db(found: np.ndarray, expected: np.ndarray) -> float:
    """Power of the difference, in dB below the power of what was expected."""
    return 10 * np.log10(np.mean(expected**2) / max(np.mean((found - expected) ** 2), 1e-30))


@dataclass(repr=False)
class Sealed:
    """A file whose container says how much there should be, and its samples."""

    data: bytes
    samples: np.ndarray


@pytest.fixture(scope="module", params=SEALED, ids="-".join)
def sealed(request: pytest.FixtureRequest) -> Sealed:
    data = encode(tones(1.3), *request.param)
    return Sealed(data, load(data))


@pytest.fixture
def no_ffmpeg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture(scope="session")
def ffmpeg() -> str:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("needs ffmpeg on the PATH")
    return program


# What soundfile reads


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_every_encoding_gives_the_signal(container: str, subtype: str) -> None:
    signal = tones(2.5)
    found = load(encode(signal, container, subtype))
    assert found.dtype == np.float32
    assert len(signal) <= len(found) < len(signal) + 1024, "only block codecs may pad the end"
    assert error_db(found[: len(signal)], signal) > DECIBELS[subtype]


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_duration_is_that_of_what_is_read(container: str, subtype: str) -> None:
    data = encode(tones(1.9, 8000), container, subtype, 8000)
    assert duration(data) == pytest.approx(len(load(data)) / SAMPLE_RATE, abs=1e-4)


def noise(frames: int, channels: int = 1) -> np.ndarray:
    """(frames, channels), or (frames,) for one channel."""
    shape = (frames, channels) if channels > 1 else frames
    return np.random.default_rng(frames).standard_normal(shape).astype(np.float32) / 8


@pytest.mark.parametrize("rate", [8000, 11_025, 12_000, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_any_rate_and_channel_count_matches_librosa(rate: int, channels: int) -> None:
    sound = noise(round(1.01 * rate), channels)
    found = load(encode(sound, "WAV", "FLOAT", rate))
    mono = sound.reshape(len(sound), -1).mean(axis=1)
    expected = librosa.resample(mono, orig_sr=rate, target_sr=SAMPLE_RATE, res_type="soxr_hq")
    assert 0 <= len(expected) - len(found) <= 1  # librosa rounds up
    np.testing.assert_allclose(found, expected[: len(found)], atol=1e-6)


@pytest.mark.parametrize("rate", [11_025, 22_050, 44_100, 48_000, 192_000])
def test_resampling_keeps_tones_in_place(rate: int) -> None:
    found = load(encode(tones(2, rate), "WAV", "DOUBLE", rate))
    middle = slice(1000, -1000)  # at its ends the signal meets silence
    np.testing.assert_allclose(found[middle], tones(2)[middle], atol=1e-4)


def test_resampling_removes_what_16_khz_cannot_hold() -> None:
    time = np.arange(48_000) / 48_000
    found = load(encode(0.5 * np.sin(2 * np.pi * 9000 * time), "WAV", "FLOAT", 48_000))
    assert np.abs(found[1000:-1000]).max() < 1e-4


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 5000), rate=st.integers(1000, 200_000))
def test_length_is_rounded_to_nearest(count: int, rate: int) -> None:
    expected = (2 * count * SAMPLE_RATE + rate) // (2 * rate)  # in integers, so without rounding of its own
    samples = np.full(count, 0.25, np.float32)
    if expected:
        assert len(from_array(samples, rate)) == expected
    else:
        with pytest.raises(AudioError, match="no samples"):
            from_array(samples, rate)


def test_long_files_are_the_same_in_blocks() -> None:
    stereo = noise(300_000, 2)
    expected = soxr.resample(stereo.mean(axis=1), 44_100, SAMPLE_RATE)
    np.testing.assert_allclose(load(encode(stereo, "WAV", "FLOAT", 44_100)), expected, atol=1e-6)


def test_mp3_decodes_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    # The C library prints warnings whenever something seeks in an mp3, as soundfile does after every read.
    load(encode(noise(20 * SAMPLE_RATE), "MP3", "MPEG_LAYER_III"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("container", ["WAV", "FLAC"])
def test_the_name_does_not_matter(container: str, tmp_path: Path) -> None:
    for name in ("misnamed.mp3", "no_extension", "WITH.WAV", "späße und mehr.ogg", "-i"):
        path = tmp_path / name
        path.write_bytes(encode(tones(0.5), container, "PCM_16"))
        assert error_db(load(path), tones(0.5)) > 70


# Sources


def test_every_kind_of_source(tmp_path: Path) -> None:
    data = encode(tones(0.5), "FLAC", "PCM_16")
    path = tmp_path / "tones.flac"
    path.write_bytes(data)
    behind = io.BytesIO(b"something else" + data)
    behind.seek(14)
    with path.open("rb") as file:
        sources = [str(path), path, data, io.BytesIO(data), behind, file]
        found = [load(source) for source in sources]
    for samples in found:
        np.testing.assert_array_equal(samples, found[0])


def test_pipes_cannot_seek_and_are_read_all_the_same(tmp_path: Path) -> None:
    data = encode(tones(0.5), "OGG", "VORBIS")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for source in (pipe, None):
        writer = threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True)
        writer.start()
        if source is None:
            with pipe.open("rb") as file:
                found = load(file)
        else:
            found = load(source)
        writer.join()
        np.testing.assert_array_equal(found, load(data))


def test_a_failing_source_is_not_taken_for_a_short_one() -> None:
    class Broken(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            raise OSError("the network is gone")

    with pytest.raises(OSError, match="network is gone"):
        load(Broken(b"RIFF"))


def test_text_mode_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(TypeError, match="binary mode"):
        load(io.StringIO("text"))  # type: ignore[arg-type]


# Arrays


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.float16, np.float32, np.float64])
def test_arrays_of_every_type_have_the_same_scale(dtype: type) -> None:
    signal = tones(0.5)
    if np.issubdtype(dtype, np.integer):
        full = np.iinfo(dtype).max // (2 if dtype == np.uint8 else 1)
        array = np.round(signal * full + (128 if dtype == np.uint8 else 0)).astype(dtype)
        step = 1 / full
    else:
        array, step = signal.astype(dtype), np.finfo(dtype).eps
    np.testing.assert_allclose(from_array(array, SAMPLE_RATE), signal, atol=2 * step + 1e-7)


def test_integers_reach_exactly_minus_one() -> None:
    found = from_array(np.array([-32768, 0, 16384], np.int16), SAMPLE_RATE)
    np.testing.assert_array_equal(found, [-1, 0, 0.5])


def test_arrays_and_files_give_the_same() -> None:
    stereo = np.stack([tones(1, 22_050), -0.5 * tones(1, 22_050)], axis=1).astype(np.float32)
    found = from_array(stereo, 22_050)
    np.testing.assert_array_equal(found, load(encode(stereo, "WAV", "FLOAT", 22_050)))


def test_an_array_is_not_changed() -> None:
    loud = np.array([0.5, -2.0, 1.0], np.float32)
    np.testing.assert_allclose(from_array(loud, SAMPLE_RATE), [0.25, -1, 0.5])
    np.testing.assert_array_equal(loud, [0.5, -2.0, 1.0])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 16_000), np.float32), r"shape \(2, 16000\).*transpose"),
        (np.zeros((4, 4, 4), np.float32), r"shape \(4, 4, 4\)"),
        (np.float32(0.5), r"shape \(\)"),
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((0, 2), np.float32), "no samples"),
        (np.zeros(10, np.int64), "type int64.*full scale"),
        (np.zeros(10, complex), "type complex128"),
        (np.array([0, np.nan, 0]), r"sample 1 .* is nan"),
        (np.array([0, 0, -np.inf]), r"sample 2 .* is -inf"),
        (np.array([1e300]), r"sample 0 .* is inf"),
    ],
)
def test_arrays_that_are_no_recording(array: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        from_array(array, SAMPLE_RATE)


@pytest.mark.parametrize("rate", [0, -16_000, 1, 999, float("nan"), float("inf")])
def test_rates_that_cannot_be(rate: float) -> None:
    with pytest.raises(AudioError, match=r"sample rate of .* expected at least 1000 Hz"):
        from_array(np.zeros(100, np.float32), rate)


def test_a_file_at_1_hz_cannot_fill_the_memory() -> None:
    with pytest.raises(AudioError, match="sample rate of 1 Hz"):
        load(encode(np.zeros(1_000_000), "WAV", "PCM_U8", 1))


# Level


def test_loud_float_files_are_scaled_not_clipped() -> None:
    signal = tones(1) * 40
    found = load(encode(signal, "WAV", "FLOAT"))
    np.testing.assert_allclose(found, signal / np.abs(signal).max(), atol=1e-6)


@pytest.mark.parametrize("value", [1e10, -3e38])
def test_a_sample_that_no_recording_holds(value: float) -> None:
    """It would be all that is heard, and overflow in the features."""
    spoilt = tones(1)
    spoilt[8000] = value
    with pytest.raises(AudioError, match=r"sample 8000 \(at 0\.500 s\) is (1e\+10|-3e\+38);"):
        load(encode(spoilt, "WAV", "FLOAT"))


def test_floats_with_the_scale_of_integers_are_no_damage() -> None:
    found = load(encode(tones(1) * 2**31, "WAV", "FLOAT"))
    np.testing.assert_allclose(found, tones(1) / np.abs(tones(1)).max(), atol=1e-6)


def test_resampling_full_scale_noise_stays_within_one() -> None:
    square = np.sign(tones(1, 44_100)) * 0.9999
    assert np.abs(soxr.resample(square, 44_100, SAMPLE_RATE)).max() > 1.05, "or this shows nothing"
    assert np.abs(load(encode(square, "WAV", "PCM_16", 44_100))).max() == 1


# Parts


@pytest.mark.parametrize(("container", "subtype"), FORMATS)
def test_a_part_is_a_slice_of_the_whole(container: str, subtype: str) -> None:
    data = encode((tones(3) + noise(48_000)) / 2, container, subtype)  # what exceeds 1 is scaled by its peak
    whole = load(data)
    for start, length in [(0, 8000), (4321, 20_000), (22_222, 3000), (31_007, 10), (47_000, 900), (1, 1)]:
        found = load(data, start / SAMPLE_RATE, length / SAMPLE_RATE)
        tolerance = OPUS_AFTER_SEEK if subtype == "OPUS" else 0
        np.testing.assert_allclose(found, whole[start : start + length], atol=tolerance)
    np.testing.assert_allclose(load(data, offset=2.5)[:4000], whole[40_000:44_000], atol=OPUS_AFTER_SEEK)


def test_a_part_of_another_rate_is_cut_before_it_is_resampled() -> None:
    data = encode(tones(3, 44_100), "FLAC", "PCM_16", 44_100)
    found = load(data, 1.0, 0.5)
    assert len(found) == 8000
    np.testing.assert_allclose(found[500:-500], tones(3)[16_500:23_500], atol=1e-3)


def test_only_the_part_is_decoded() -> None:
    data = bytearray(encode(noise(160_000), "FLAC", "PCM_16"))
    whole = load(bytes(data))
    for at in range(len(data) // 2, len(data) // 2 + 20):
        data[at] ^= 0x5A
    with pytest.raises(AudioError, match="damaged"):
        load(bytes(data))
    np.testing.assert_array_equal(load(bytes(data), 0, 2), whole[:32_000])
    np.testing.assert_array_equal(load(bytes(data), 8, 2), whole[128_000:])


@pytest.mark.parametrize(
    ("offset", "length"),
    [(1.0, None), (1.5, 0.1), (0.5, 0.62), (0.0, 1.12), (100.0, None)],
)
@pytest.mark.parametrize("open_end", [False, True])
def test_parts_outside_of_the_recording(offset: float, length: float | None, open_end: bool) -> None:
    data = encode(tones(1), "FLAC", "PCM_16")
    with pytest.raises(AudioError, match=r"not within the recording, which lasts 1\.000 s"):
        load(without_flac_length(data) if open_end else data, offset, length)


@pytest.mark.parametrize("open_end", [False, True])
def test_times_rounded_in_a_manifest_are_no_mistake(open_end: bool) -> None:
    data = encode(tones(1), "FLAC", "PCM_16")
    data = without_flac_length(data) if open_end else data
    assert len(load(data, 0.0, 1.09)) == 16_000
    assert len(load(data, 0.75, 0.345)) == 4000


@pytest.mark.parametrize(
    ("offset", "length"),
    [(-0.1, None), (float("nan"), None), (float("inf"), None), (0, 0), (0, -1), (0, float("nan")), (0, 1e-6)],
)
def test_parts_that_cannot_be(offset: float, length: float | None) -> None:
    with pytest.raises(AudioError, match="expected a start of 0 or more and a length above 0"):
        load(encode(tones(1), "WAV", "PCM_16"), offset, length)


# Faults


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"nowhere\.wav: no such file"):
        load(tmp_path / "nowhere.wav")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match=r"a folder; expected a file"):
        load(tmp_path)


def test_file_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"x")
    with pytest.raises(AudioError, match="cannot be opened: Not a directory"):
        load(tmp_path / "a.wav" / "b.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_forbidden_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encode(tones(0.1), "WAV", "PCM_16"))
    path.chmod(0)
    with pytest.raises(AudioError, match="cannot be opened: Permission denied"):
        load(path)


@pytest.mark.parametrize("name", ["a\0b.wav", "too long" * 1000])
def test_impossible_name(name: str) -> None:
    with pytest.raises(AudioError, match="cannot be opened"):
        load(name)


@pytest.mark.parametrize("source", [b"", io.BytesIO()])
def test_empty_file(source: audio.Source) -> None:
    with pytest.raises(AudioError, match="audio data: empty"):
        load(source)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "CAF", "NIST"])
@pytest.mark.parametrize("read", [load, duration])
def test_zero_samples(container: str, read: Callable[[bytes], object]) -> None:
    with pytest.raises(AudioError, match="no samples in it"):
        read(encode(np.zeros(0), container, "PCM_16"))


@pytest.mark.parametrize("read", [load, duration])
def test_a_flac_header_and_nothing_else(read: Callable[[bytes], object]) -> None:
    data = without_flac_length(encode(tones(1), "FLAC", "PCM_16"))
    with pytest.raises(AudioError, match="no samples in it"):
        read(b"fLaC\x80" + data[5:42])


@pytest.mark.parametrize("name", ["notes.txt", "notes.wav", "notes.au", "notes.vox", "notes.mp3"])
def test_text_is_not_audio_whatever_its_name(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"Not a recording at all, but some words.\n" * 100)
    with pytest.raises(AudioError, match=rf"{name}: .*(not audio|soundfile cannot read it)"):
        load(path)


MAGIC = [
    b"",
    b"RIFF",
    b"FORM",
    b"caff",
    b".snd",
    b"NIST_1A\n",
    b"ID3\4\0\0",
    b"\xff\xfb\x90\x64",
    b"OggS",
    b"fLaC",
]


@pytest.mark.usefixtures("no_ffmpeg")
@settings(deadline=None, max_examples=300)
@given(start=st.sampled_from(MAGIC), rest=st.binary())
def test_noise_is_not_audio(start: bytes, rest: bytes) -> None:
    with pytest.raises(AudioError):
        load(start + rest)


def test_samples_without_a_header(tmp_path: Path) -> None:
    path = tmp_path / "an1-cbmb.raw"
    path.write_bytes(bytes(1000))
    with pytest.raises(AudioError, match=r"without a header.*wrap them as wav"):
        load(path)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf")])
def test_samples_that_are_no_numbers(subtype: str, value: float, word: str, tmp_path: Path) -> None:
    stereo = np.zeros((100_000, 2))
    stereo[80_000, 1] = value
    path = tmp_path / "broken.wav"
    path.write_bytes(encode(stereo, "WAV", subtype))
    with pytest.raises(AudioError, match=rf"broken\.wav: sample 80000 \(at 5\.000 s\) is {word}"):
        load(path)


@pytest.mark.usefixtures("no_ffmpeg")
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True))
def test_cut_anywhere_is_an_error_or_harmless(sealed: Sealed, where: float) -> None:
    try:
        found = load(sealed.data[: int(where * len(sealed.data))])
    except AudioError:
        return
    np.testing.assert_array_equal(found, sealed.samples)


@pytest.mark.parametrize("share", [0.4, 0.75, 0.99])
def test_cut_says_so(sealed: Sealed, share: float, tmp_path: Path) -> None:
    path = tmp_path / "half.audio"
    path.write_bytes(sealed.data[: int(share * len(sealed.data))])
    with pytest.raises(AudioError, match=r"half\.audio: (damaged or )?cut short.*copy or download it again"):
        load(path)


def test_a_flac_cut_between_two_frames() -> None:
    data = encode(noise(40_000), "FLAC", "PCM_16")
    with pytest.raises(AudioError, match=r"cut short: 2\.304 s of sound, but its header announces 2\.500 s"):
        load(data[: data.rindex(b"\xff\xf8")])  # frames are of 4096 samples


@pytest.mark.parametrize("share", [0.4, 0.75])
def test_the_length_of_a_cut_file_is_not_given(sealed: Sealed, share: float) -> None:
    cut = sealed.data[: int(share * len(sealed.data))]
    if cut.startswith(b"fLaC"):
        assert duration(cut) == pytest.approx(1.3)  # nothing but decoding shows it
    else:
        with pytest.raises(AudioError, match="cut short"):
            duration(cut)


@pytest.mark.usefixtures("no_ffmpeg")
@pytest.mark.parametrize(("container", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
@pytest.mark.parametrize("kind", ["flipped", "zeroed", "missing"])
def test_damage_is_an_error_where_there_are_checksums(container: str, subtype: str, kind: str) -> None:
    data = encode(noise(10 * SAMPLE_RATE), container, subtype)
    for share in np.linspace(0.2, 0.95, 16):  # behind the header, whose every bit might be right
        at = int(share * len(data))
        bad = {"flipped": bytes([data[at] ^ 4]), "zeroed": bytes(300), "missing": b""}[kind]
        with pytest.raises(AudioError, match=r"damaged|cut short"):
            load(data[:at] + bad + data[at + {"flipped": 1, "zeroed": 300, "missing": 300}[kind] :])


def test_joined_ogg_files_are_not_read_in_part() -> None:
    data = encode(tones(1), "OGG", "VORBIS")
    with pytest.raises(AudioError, match="several ogg files joined"):
        load(data + encode(tones(1), "OGG", "VORBIS"))


CHUNKED = [(container, "PCM_16") for container in ("WAV", "RF64", "AIFF", "CAF", "AU", "W64")]


@pytest.mark.parametrize(("container", "subtype"), [*CHUNKED, ("FLAC", "PCM_16")])
def test_joined_recordings_are_not_read_in_part(container: str, subtype: str) -> None:
    data = encode(tones(1), container, subtype)
    for more in (data, encode(tones(0.01), container, subtype)):
        with pytest.raises(AudioError, match="several recordings joined into one file"):
            load(data + more)


def test_a_wav_that_holds_more_than_it_announces_is_not_read_in_part() -> None:
    """As where the size of 4 GiB and more has lost its upper bits, or a recorder did not write it at its end."""
    samples = noise(SAMPLE_RATE)
    data = encode(samples, "WAV", "PCM_16")
    at = data.index(b"data") + 4
    for announced in (0, SAMPLE_RATE):
        with pytest.raises(AudioError, match=r"its header announces .* so that the rest would not be heard"):
            load(data[:at] + struct.pack("<I", announced) + data[at + 4 :])


@pytest.mark.parametrize("odd", [False, True])
def test_what_else_may_stand_behind_the_samples_of_a_wav(odd: bool) -> None:
    """Chunks, aligned as they should be or not, zeros, and a little of anything."""
    samples = (noise(8001 if odd else 8000) * 100).astype(np.uint8)
    data = encode((samples / 128 - 1).astype(np.float32), "WAV", "PCM_U8")[: 44 + len(samples)]
    expected = load(data + b"\0" * odd)
    cover = b"id3 " + struct.pack("<I", 9000) + bytes(range(1, 226)) * 40
    for behind in (cover, cover + b"LIST" + struct.pack("<I", 4) + b"INFO", bytes(10_000), b"\xff" * 4000):
        for padding in {b"", b"\0" * odd}:
            np.testing.assert_array_equal(load(data + padding + behind), expected)


def test_an_ogg_page_out_of_place() -> None:
    data = encode(noise(10 * SAMPLE_RATE), "OGG", "OPUS")
    starts = [at for at in range(len(data)) if data.startswith(b"OggS", at)]
    with pytest.raises(AudioError, match=f"the ogg page at byte {starts[4]} follows one that is missing"):
        load(data[: starts[4]] + data[starts[5] :])


@pytest.mark.parametrize(
    ("container", "subtype"),
    [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
)
def test_what_follows_the_sound_does_not_matter(container: str, subtype: str) -> None:
    data = encode(tones(0.7), container, subtype)
    np.testing.assert_array_equal(load(data + b"TAG" + bytes(125)), load(data))


# Headers that leave the length open, or are odd


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000, 0xFFFFFFFF - 36])
def test_wav_written_into_a_pipe(size: int) -> None:
    data = bytearray(encode(tones(1), "WAV", "PCM_16"))
    struct.pack_into("<I", data, 40, size)
    struct.pack_into("<I", data, 4, min(size + 36, 0xFFFFFFFF))
    assert error_db(load(bytes(data)), tones(1)) > 70
    assert duration(bytes(data)) == 1


def test_au_written_into_a_pipe() -> None:
    data = bytearray(encode(tones(1), "AU", "PCM_16"))
    struct.pack_into(">I", data, 8, 0xFFFFFFFF)
    assert error_db(load(bytes(data)), tones(1)) > 70


def without_flac_length(data: bytes) -> bytes:
    """As `flac -` writes: the 36-bit number of samples in the header is 0."""
    assert data.startswith(b"fLaC\0")
    return data[:21] + bytes([data[21] & 0xF0]) + bytes(4) + data[26:]


@pytest.mark.parametrize("seconds", [0.3, 10])
def test_flac_written_into_a_pipe(seconds: float) -> None:
    data = encode(tones(seconds), "FLAC", "PCM_16")
    np.testing.assert_array_equal(load(without_flac_length(data)), load(data))
    assert duration(without_flac_length(data)) == seconds
    with pytest.raises(AudioError, match="cut short"):
        load(without_flac_length(data)[: len(data) * 3 // 4])


@pytest.mark.usefixtures("no_ffmpeg")
def test_a_chunk_of_negative_size_is_not_walked_forever() -> None:
    data = bytearray(encode(tones(1), "CAF", "PCM_16"))
    struct.pack_into(">q", data, 12, -12)  # back to the chunk's own start
    with pytest.raises(AudioError):
        load(bytes(data))


@pytest.mark.usefixtures("no_ffmpeg")
@pytest.mark.parametrize("length", [0, 1, 23])
def test_a_chunk_that_does_not_hold_itself_is_not_walked_forever(length: int) -> None:
    data = encode(tones(1), "W64", "PCM_16")
    assert data[40:44] == b"fmt "
    with pytest.raises(AudioError, match=f"damaged: the chunk at byte 40 is {length} bytes long"):
        load(data[:56] + struct.pack("<q", length) + data[64:])


@pytest.mark.usefixtures("no_ffmpeg")
def test_samples_of_negative_length_are_not_read_for_years() -> None:
    """libsndfile takes it for a length of 2**63 and more, and goes on with silence."""
    data = encode(tones(1), "W64", "GSM610")
    at = data.index(b"data") + 16
    for length in (-1_507_611_861_099_475_752, -2, -1 << 62):
        with pytest.raises(AudioError, match=f"the chunk at byte {at - 16} is {length} bytes long"):
            load(data[:at] + struct.pack("<q", length) + data[at + 8 :])


@pytest.mark.usefixtures("no_ffmpeg")
def test_a_chunk_of_sizes_that_is_not_all_there() -> None:
    data = encode(tones(1), "RF64", "PCM_16")
    assert data[12:16] == b"ds64"
    for end in range(20, 36):
        with pytest.raises(AudioError):
            load(data[:end])


@pytest.mark.usefixtures("no_ffmpeg")
def test_a_header_that_sends_the_reader_out_of_the_file(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encode(tones(1), "AIFF", "PCM_16"))
    data[data.index(b"SSND")] = ord("X")  # libsndfile looks for the samples at byte -1 then
    with pytest.raises(AudioError):
        load(bytes(data))
    assert capfd.readouterr() == ("", "")


def test_big_endian_wav() -> None:
    data = encode(tones(1), "WAV", "PCM_16", endian="BIG")
    assert data.startswith(b"RIFX")
    assert error_db(load(data), tones(1)) > 70
    with pytest.raises(AudioError, match="cut short"):
        load(data[:20_000])


def test_wav_above_4_gib_states_its_size_elsewhere() -> None:
    data = bytearray(encode(tones(1), "RF64", "PCM_16"))
    at = data.index(b"data")
    assert data[at + 4 : at + 8] == b"\xff\xff\xff\xff"
    assert error_db(load(bytes(data)), tones(1)) > 70
    with pytest.raises(AudioError, match=f"{len(data) - 1} bytes, but its header announces {len(data)}"):
        load(bytes(data[:-1]))


def test_chunks_around_the_samples() -> None:
    data = encode(tones(1), "WAV", "PCM_16")
    extra = b"LIST" + struct.pack("<I", 3001) + bytes(3002)  # odd, so padded
    between = data[:36] + extra + data[36:]
    np.testing.assert_array_equal(load(between), load(data))
    with pytest.raises(AudioError, match="cut short"):
        load(between[:-2])
    np.testing.assert_array_equal(load((data + extra)[:-500]), load(data))  # the samples are all there


@pytest.mark.parametrize(("container", "subtype"), [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", "MPEG_LAYER_III")])
def test_id3_tags_in_front(container: str, subtype: str) -> None:
    data = encode(tones(1), container, subtype)
    tag = b"ID3\4\0\0" + bytes([0, 0, 2, 5]) + bytes(2 * 128 + 5)  # seven bits a byte
    np.testing.assert_array_equal(load(tag + tag + bytes(50) + data), load(data))


def sphere(samples: np.ndarray, coding: str, order: str = "01") -> bytes:
    """A NIST SPHERE file by hand, after the description of the format in its SPHERE package."""
    width = 1 if coding == "ulaw" else 2
    lines = [
        "NIST_1A", "   1024", "database_id -s3 AN4", "channel_count -i 1", f"sample_count -i {len(samples)}",
        "sample_rate -i 16000", "sample_min -i -32768", f"sample_n_bytes -i {width}",
        f"sample_byte_format -s{width} {order[:width]}", "sample_sig_bits -i 16",
        f"sample_coding -s{len(coding)} {coding}", "end_head", "",
    ]  # fmt: skip
    header = "\n".join(lines).encode().ljust(1024)
    integers = np.round(samples * 32767).astype("<i2" if order == "01" else ">i2")
    if coding == "ulaw":
        return header + encode(samples, "AU", "ULAW")[-len(samples) :]
    return header + integers.tobytes()


@pytest.mark.parametrize(("coding", "order"), [("pcm", "01"), ("pcm", "10"), ("ulaw", "1")])
def test_nist_sphere(coding: str, order: str, tmp_path: Path) -> None:
    path = tmp_path / "an251-fash-b.sph"
    path.write_bytes(sphere(tones(1), coding, order))
    assert error_db(load(path), tones(1)) > (30 if coding == "ulaw" else 70)
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(AudioError, match="cut short"):
        load(path)


# MP3: libsndfile believes the length that the first frame states, or guesses


# With a variable bitrate the first frames tell nothing of the others
QUIET_AND_LOUD = np.concatenate([noise(8000), np.zeros(5 * SAMPLE_RATE), noise(5 * SAMPLE_RATE)])


@pytest.fixture(scope="module", params=["VARIABLE", "CONSTANT"])
def mp3(request: pytest.FixtureRequest) -> bytes:
    return encode(QUIET_AND_LOUD, "MP3", "MPEG_LAYER_III", bitrate_mode=request.param, compression_level=0.5)


def without_length(mp3: bytes) -> bytes:
    """Without the first frame, which states the length."""
    assert b"Xing" in mp3[:50] or b"Info" in mp3[:50]
    return mp3[mp3.index(mp3[:2], 4) :]


def lag(longer: np.ndarray, shorter: np.ndarray) -> int:
    """How much later the end of `shorter` is found in `longer`."""
    match = np.correlate(longer, shorter[-20_000:-10_000], "valid")
    return int(np.argmax(match)) - (len(shorter) - 20_000)


def test_mp3_that_does_not_state_its_length_is_read_to_the_end(mp3: bytes) -> None:
    whole, found = load(mp3), load(without_length(mp3))
    # The decoder does not know either how much the encoder has put before and after.
    later = lag(found, whole)
    assert 0 < later < 2000
    assert len(whole) + later <= len(found) < len(whole) + 4000
    np.testing.assert_allclose(found[later + 4000 :][: len(whole) - 4000], whole[4000:], atol=1e-3)
    assert duration(without_length(mp3)) == len(found) / SAMPLE_RATE


def test_libsndfile_alone_would_lose_much_of_a_variable_one() -> None:
    """Shows that the test above can fail, and tells us when a libsndfile does better."""
    data = encode(QUIET_AND_LOUD, "MP3", "MPEG_LAYER_III", bitrate_mode="VARIABLE", compression_level=0.5)
    assert soundfile.info(io.BytesIO(without_length(data))).frames < 0.9 * len(QUIET_AND_LOUD)


def test_joined_mp3_files_are_read_to_the_end(mp3: bytes) -> None:
    second = encode(tones(2), "MP3", "MPEG_LAYER_III")
    tag = b"TAG" + bytes(125)
    found = load(mp3 + tag + second)
    assert duration(mp3) + 2 <= len(found) / SAMPLE_RATE < duration(mp3) + 2.3
    end = lag(found, load(second)) + len(load(second))
    np.testing.assert_allclose(found[end - 20_000 : end - 2000], load(second)[-20_000:-2000], atol=1e-3)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_cut_mp3_that_does_not_state_its_length(mp3: bytes, share: float) -> None:
    data = without_length(mp3)
    with pytest.raises(AudioError, match=r"cut short.* good mp3 frames up to byte"):
        load(data[: int(share * len(data))])


@pytest.mark.parametrize("kind", ["zeroed", "missing"])
@pytest.mark.parametrize("stated", [True, False])
def test_a_hole_in_an_mp3(mp3: bytes, kind: str, stated: bool) -> None:
    data = mp3 if stated else without_length(mp3)
    at = len(data) // 2
    with pytest.raises(AudioError, match="damaged"):
        load(data[:at] + (bytes(1000) if kind == "zeroed" else b"") + data[at + 1000 :])


def test_an_mp3_cut_between_two_frames(mp3: bytes) -> None:
    at = len(mp3)
    for _ in range(3):
        at = mp3.rindex(mp3[:2], 0, at)
    with pytest.raises(AudioError, match="cut short"):
        load(mp3[:at])
    assert len(load(without_length(mp3[:at]))) < len(load(without_length(mp3)))  # nobody could know


def test_what_follows_an_mp3_is_junk_only_if_there_is_little_of_it(mp3: bytes) -> None:
    np.testing.assert_array_equal(load(mp3 + b"junk" * 500), load(mp3))
    with pytest.raises(AudioError, match="damaged"):
        load(mp3 + b"junk" * 2000 + mp3)
    with pytest.raises(AudioError, match="damaged"):
        load(without_length(mp3) + b"junk" * 500)


def test_tags_around_an_mp3(mp3: bytes) -> None:
    ape = b"APETAGEX" + struct.pack("<4I", 2000, 32 + 100, 1, 1 << 31) + bytes(8 + 100 + 32)
    found = load(without_length(mp3) + ape + b"TAG" + bytes(125))
    np.testing.assert_array_equal(found, load(without_length(mp3)))


def lyrics(size: int) -> bytes:
    """A Lyrics3 tag with so much text."""
    fields = b"LYRICSBEGIN" + b"IND0000200" + b"LYR%05d" % size + b"A" * size
    return fields + b"%06dLYRICS200" % len(fields)


def ape_without_head(size: int) -> bytes:
    """An APE tag as of version 1, whose items nothing announces."""
    item = struct.pack("<2I", size, 0) + b"Cover\0" + b"\xff" * size
    return item + b"APETAGEX" + struct.pack("<4I", 1000, len(item) + 32, 1, 0) + bytes(8)


@pytest.mark.parametrize("size", [100, 5000])
@pytest.mark.parametrize("stated", [True, False])
def test_tags_behind_an_mp3(size: int, stated: bool, mp3: bytes) -> None:
    data, id3 = mp3 if stated else without_length(mp3), b"TAG" + bytes(125)
    for behind in (lyrics(size) + id3, ape_without_head(size), ape_without_head(size) + lyrics(size) + id3 + bytes(9)):
        np.testing.assert_array_equal(load(data + behind), load(data))
    if not stated:
        for damaged in (lyrics(size)[:-3], ape_without_head(size)[1:], ape_without_head(size)[:-32]):
            with pytest.raises(AudioError, match="damaged"):
                load(data + damaged)


def test_zeros_behind_an_mp3(mp3: bytes) -> None:
    np.testing.assert_array_equal(load(without_length(mp3) + bytes(100)), load(without_length(mp3)))
    np.testing.assert_array_equal(load(mp3 + bytes(100_000)), load(mp3))
    for hole in (without_length(mp3) + bytes(5000), mp3[: len(mp3) // 2] + bytes(100)):  # room for what never came
        with pytest.raises(AudioError, match="damaged"):
            load(hole)


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2])
def test_every_rate_of_mp3(rate: int, channels: int) -> None:
    data = encode(noise(2 * rate, channels), "MP3", "MPEG_LAYER_III", rate)
    whole, found = load(data), load(without_length(data))
    later = lag(found, whole)
    assert len(found) >= len(whole) + later
    tolerance = 1e-3 if rate == SAMPLE_RATE else 0.2  # the lag is no whole number of samples at another rate
    np.testing.assert_allclose(found[later + 8000 :][:8000], whole[8000:16_000], atol=tolerance)


# ffmpeg


def convert(ffmpeg: str, samples: np.ndarray, path: Path, *options: str) -> Path:
    """Let ffmpeg make a recording at 44.1 kHz in the container that the path's extension names."""
    wav = path.with_name("source.wav")
    wav.write_bytes(encode(samples, "WAV", "PCM_16", 44_100))
    command = [ffmpeg, "-v", "error", "-nostdin", "-y", "-i", wav, *options, path]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


FOREIGN = {
    "m4a": ["-c:a", "aac", "-b:a", "128k"],
    "mp4": ["-f", "lavfi", "-i", "testsrc=duration=3:size=64x64:rate=5", "-c:v", "mpeg4", "-c:a", "aac"],
    "mka": ["-c:a", "pcm_s16le"],
    "webm": ["-c:a", "libopus", "-b:a", "96k"],
    "wma": ["-c:a", "wmav2", "-b:a", "128k"],
    "aac": ["-c:a", "aac", "-b:a", "128k"],
    "ac3": ["-c:a", "ac3", "-b:a", "192k"],
    "avi": ["-c:a", "pcm_s16le"],
}


@pytest.mark.parametrize("extension", FOREIGN)
def test_ffmpeg_reads_what_soundfile_cannot(ffmpeg: str, extension: str, tmp_path: Path) -> None:
    path = convert(ffmpeg, tones(3, 44_100), tmp_path / f"tones.{extension}", *FOREIGN[extension])
    found = load(path)
    later = lag(found, tones(3))  # encoders put some silence first, or lose the first block
    assert -1000 < later < 2500
    assert error_db(found[later + 2000 : later + 42_000], tones(3)[2000:42_000]) > 15
    assert duration(path) == pytest.approx(len(found) / SAMPLE_RATE, abs=1e-4)
    np.testing.assert_array_equal(load(path.read_bytes()), found)
    with path.open("rb") as file:
        np.testing.assert_array_equal(load(file), found)


def test_ffmpeg_resamples_and_mixes_like_soundfile(ffmpeg: str, tmp_path: Path) -> None:
    path = convert(ffmpeg, noise(44_100, 2), tmp_path / "noise.mka", "-c:a", "pcm_s16le")
    np.testing.assert_allclose(load(path), load(path.with_name("source.wav")), atol=1e-6)


def test_a_part_through_ffmpeg(ffmpeg: str, tmp_path: Path) -> None:
    path = convert(ffmpeg, tones(3, 44_100), tmp_path / "tones.mka", "-c:a", "pcm_s16le")
    wav = path.with_name("source.wav")
    np.testing.assert_allclose(load(path, 1.5, 0.25), load(wav, 1.5, 0.25), atol=1e-6)
    np.testing.assert_allclose(load(path, 2.5), load(wav, 2.5), atol=1e-6)
    for offset, length in [(3.0, None), (2.5, 0.7), (10, None)]:
        with pytest.raises(AudioError, match="not within the recording, which lasts 3"):
            load(path, offset, length)


@pytest.mark.parametrize("extension", ["m4a", "webm", "mka", "wma", "aac", "avi"])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_cut_files_of_ffmpeg(ffmpeg: str, extension: str, share: float, tmp_path: Path) -> None:
    options = [*FOREIGN[extension], *(["-movflags", "+faststart"] if extension == "m4a" else [])]
    path = convert(ffmpeg, tones(3, 44_100), tmp_path / f"tones.{extension}", *options)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(AudioError, match=rf"tones\.{extension}: .*(cut short|not audio)"):
        load(path)


def test_ogg_with_another_codec(ffmpeg: str, tmp_path: Path) -> None:
    path = convert(ffmpeg, tones(3, 44_100), tmp_path / "tones.ogg", "-c:a", "flac")
    assert error_db(load(path), tones(3)) > 50
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(AudioError, match="cut short"):
        load(path)


def test_mp3_inside_of_wav(ffmpeg: str, tmp_path: Path) -> None:
    path = convert(ffmpeg, tones(3, 44_100), tmp_path / "tones.wav", "-c:a", "libmp3lame")
    found = load(path)
    assert 3 <= len(found) / SAMPLE_RATE < 3.2
    assert lag(found, tones(3)) < 2500


def test_video_without_sound(ffmpeg: str, tmp_path: Path) -> None:
    path = tmp_path / "silent.mp4"
    source = ["-f", "lavfi", "-i", "testsrc=duration=1:size=64x64:rate=5"]
    subprocess.run([ffmpeg, "-v", "error", *source, "-c:v", "mpeg4", path], check=True)
    with pytest.raises(AudioError, match=r"silent\.mp4: not audio: .*matches no streams"):
        load(path)


def test_a_playlist_opens_nothing_else(ffmpeg: str, tmp_path: Path) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.5)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}/secret.ts"
    path = tmp_path / "list.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{address}\n#EXT-X-ENDLIST\n")
    with listener:
        with pytest.raises(AudioError, match="not audio"):
            load(path)
        with pytest.raises(TimeoutError):
            listener.accept()


def test_without_ffmpeg_the_error_names_it(ffmpeg: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = convert(ffmpeg, tones(1, 44_100), tmp_path / "talk.m4a")
    assert len(load(path)) > 16_000
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AudioError, match=r"talk\.m4a: soundfile cannot.*install ffmpeg or convert it to wav"):
        load(path)


@pytest.mark.usefixtures("no_ffmpeg")
def test_without_ffmpeg_nothing_of_soundfiles_is_missing() -> None:
    for container, subtype in FORMATS:
        assert len(load(encode(tones(0.5), container, subtype))) >= 8000


# Real speech


@pytest.mark.parametrize("name", ["LibriSpeech/dev-clean", "an4", "fsdd", "yesno"])
def test_real_recordings_are_as_long_as_their_manifest_says(corpora: Path, name: str) -> None:
    manifest = corpora / name / "manifest.jsonl"
    for line in manifest.read_text(encoding="utf-8").splitlines()[::40]:
        entry = json.loads(line)
        path = manifest.parent / entry["audio_filepath"]
        samples = load(path)
        assert len(samples) / SAMPLE_RATE == pytest.approx(entry["duration"], abs=0.01)
        assert 0.01 < np.abs(samples).max() <= 1


# The recordings that ship


def test_samples_are_what_their_manifest_says() -> None:
    utterances = corpus.read(SAMPLES)
    assert {utterance.audio for utterance in utterances} == set(SAMPLES.glob("*.flac"))
    assert sum(path.stat().st_size for path in SAMPLES.iterdir()) < 700 * 1024
    for utterance in utterances:
        info = soundfile.info(utterance.audio)
        assert (info.samplerate, info.channels, info.subtype) == (SAMPLE_RATE, 1, "PCM_16")
        assert len(load(utterance.audio)) / SAMPLE_RATE == pytest.approx(utterance.duration, abs=1e-4)
        assert 3 <= utterance.duration <= 6
        assert not set("0123456789") & set(utterance.text)


def make_samples(folder: Path, path: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, PROJECT / "scripts" / "make_samples.py", "--out", folder]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PATH": path}, cwd=folder)


def test_samples_are_made_anew_by_the_script(tmp_path: Path) -> None:
    if shutil.which("flite") is None:
        pytest.skip("needs flite on the PATH")
    result = make_samples(tmp_path, os.environ["PATH"])
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "manifest.jsonl").read_bytes() == (SAMPLES / "manifest.jsonl").read_bytes()
    assert {path.suffix for path in tmp_path.iterdir()} == {".flac", ".jsonl"}
    for path in tmp_path.glob("*.flac"):
        # one step of 16 bits, for processors that round otherwise
        np.testing.assert_allclose(load(path), load(SAMPLES / path.name), atol=1.5 / 32768)


def test_samples_cannot_be_made_without_flite(tmp_path: Path) -> None:
    result = make_samples(tmp_path, str(tmp_path))
    assert result.returncode == 1
    assert result.stderr == "error: no flite on the PATH; install it (Debian, Ubuntu: apt-get install flite)\n"
    assert not list(tmp_path.iterdir())


def test_samples_need_flites_usual_voices(tmp_path: Path) -> None:
    flite = tmp_path / "flite"  # one that was built with a single voice, which it would take for any other
    flite.write_text("#!/bin/sh\necho 'Voices available: kal '\n")
    flite.chmod(0o755)
    result = make_samples(tmp_path, str(tmp_path))
    assert result.returncode == 1
    assert "has no voice awb, kal16, rms, slt" in result.stderr
