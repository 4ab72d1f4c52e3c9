"""yesno: its composed recordings, on real ones and on tones."""

from __future__ import annotations

import io
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile
from miniatures import read, texts

from asr import audio
from asr.corpus import CorpusError
from recipes import yesno

PITCHES = {"0": 440, "1": 1760}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is derived from recordings goes away with the test."""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))


def test_yesno_trains_on_nothing_derived_from_its_test_half(
    corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(yesno, "COMPOSED", 2)
    copy = tmp_path / "corpora" / "yesno" / "waves_yesno"
    copy.mkdir(parents=True)
    for i, path in enumerate(sorted((corpora / "yesno").rglob("[01]_*"))):
        (copy / path.name).write_bytes(path.read_bytes() if i < 30 else b"")
    trained = [(utterance.text, utterance.audio.name) for utterance in read("yesno", corpora)["train"]]
    assert trained == [(utterance.text, utterance.audio.name) for utterance in read("yesno", copy.parents[1])["train"]]
    assert 0.2 < sum(text.startswith("YES") for text, _ in trained) / len(trained) < 0.8


def _beeps(name: str) -> bytes:
    """For every digit of a name a tone of its pitch that comes and goes by 100 dB a second, between pauses."""
    rate, random = audio.SAMPLE_RATE, np.random.default_rng(1)
    time = np.arange(rate) / rate
    tone = 0.5 * 10 ** (np.minimum(0, 100 * (0.2 - np.abs(time - 0.5))) / 20)
    samples = [1e-4 * random.normal(size=rate)]
    for digit in name.split("_"):
        samples += [
            tone * np.sin(2 * np.pi * PITCHES[digit] * time),
            1e-4 * random.normal(size=rate // 4),
        ]
    file = io.BytesIO()
    soundfile.write(file, np.concatenate([*samples, samples[0]]), rate, format="WAV", subtype="FLOAT")
    return file.getvalue()


def test_yesno_composed_recordings_say_what_their_texts_say(tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.wav" for name in ("0_1_1", "0_0_1")]
    for path in paths:
        path.write_bytes(_beeps(path.stem))
    composed = yesno._composed(paths, tmp_path / "derived")
    assert len(composed) == 2 * yesno.COMPOSED
    for utterance in composed:
        samples = audio.load(utterance.audio)
        # At 14 dB below the peak: the tones, not the sounds in the silences.
        words = librosa.effects.split(samples, top_db=14, frame_length=512, hop_length=128)
        assert " ".join(_nearest_text(samples[start:end]) for start, end in words) == utterance.text
    before = [utterance.audio.stat().st_mtime_ns for utterance in composed]
    again = yesno._composed(paths, tmp_path / "derived")
    assert again == composed
    assert before == [utterance.audio.stat().st_mtime_ns for utterance in again]  # the audio cache stays valid


def _nearest_text(samples: np.ndarray) -> str:
    pitch = np.abs(np.fft.rfft(samples)).argmax() * audio.SAMPLE_RATE / len(samples)
    return {"0": "NO", "1": "YES"}[min(PITCHES, key=lambda digit: abs(PITCHES[digit] - pitch))]


def test_yesno_leaves_out_recordings_that_do_not_show_their_words(tmp_path: Path) -> None:
    (tmp_path / "0_1.wav").write_bytes(_beeps("0_1"))
    (tmp_path / "0_0_1.wav").write_bytes(_beeps("0_1"))  # a word is missing
    (tmp_path / "0_1_1.wav").write_bytes(b"")
    paths = sorted(tmp_path.iterdir())
    assert len(yesno._composed(paths, tmp_path / "derived")) == yesno.COMPOSED
    with pytest.raises(CorpusError, match="expected words between pauses"):
        yesno._composed([path for path in paths if path.stem != "0_1"], tmp_path / "derived")


def test_yesno_from_its_archive(publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["0_0_0_0_1_1_1_1", "1_1_1_1_1_1_1_1", "0_1_0_1_0_1_0_1", "1_0_0_0_0_0_0_0"]
    files = {f"waves_yesno/{name}.wav": _beeps(name) for name in names}
    files |= {"waves_yesno/README": b"about", "waves_yesno/README~": b"about"}
    monkeypatch.setattr(yesno, "ARCHIVE", publish(yesno.ARCHIVE, files))
    splits = read("yesno", tmp_path / "corpora")
    assert len(splits["train"]) == 2 * yesno.COMPOSED and splits["dev"] == []
    assert texts(splits["test"]) == {
        "1_0_0_0_0_0_0_0": ("YES NO NO NO NO NO NO NO", "one"),
        "1_1_1_1_1_1_1_1": ("YES YES YES YES YES YES YES YES", "one"),
    }
