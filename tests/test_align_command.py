"""python -m asr.align: a recording with its text, in every format; and where the two do not match."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from praatio import textgrid
from praatio.utilities.constants import Interval

import asr
from asr import audio, corpus
from asr.align import AlignError, main
from asr.command import UsageError
from asr.features import LogMel
from asr.formats import FORMATS
from asr.known_text import Alignment, align, bad_places
from asr.model import AcousticModel, ModelConfig
from asr.recognizer import Recognizer
from asr.text import Alphabet, Normalizer, Subwords, Units

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import word_times

TEXT = "“Hello,” said the King — and that’s all.\nGood-bye!\n"
WORDS = ["“Hello,”", "said", "the", "King —", "and", "that’s", "all.", "Good-bye!"]


def run_main(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[str, str]:
    assert main(list(map(str, arguments))) == 0
    return capsys.readouterr()


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """A text of 33 letters and spaces, without the letters that the tiny model lacks."""
    path = tmp_path / "text.txt"
    path.write_text(TEXT.replace("’", "").replace("that", "thats").replace("thatss", "thats"), encoding="utf-8")
    return path


def test_words_keep_their_spelling_and_every_character_has_its_time(
    tiny_model: Path, recordings: list[Path], text: Path, capsys: pytest.CaptureFixture
) -> None:
    out, _ = run_main(capsys, recordings[2], text, "--model", tiny_model, "--format", "json")
    found = json.loads(out)
    words = [word for segment in found["segments"] for word in segment["words"]]
    assert [word["text"] for word in words] == [word.replace("’", "") for word in WORDS]
    assert found["text"] == " ".join(word["text"] for word in words)
    assert found["unwritable"] == []
    assert all(word["confidence"] is None for word in words), "the words were given, not recognized"
    assert words[0]["start"] >= 0
    assert words[-1]["end"] <= found["duration"] == pytest.approx(5.0)
    assert all(a["end"] <= b["start"] for a, b in pairwise(words))
    assert all(word["start"] < word["end"] for word in words)
    characters = found["characters"]
    assert "".join(each["text"] for each in characters) == "hellosaidthekingandthatsallgoodbye"
    for word in words:
        own = [each for each in characters if word["start"] <= each["start"] < word["end"]]
        assert "".join(each["text"] for each in own) == Normalizer()(word["text"]).replace(" ", "")
        assert (own[0]["start"], own[-1]["end"]) == (word["start"], word["end"])
        assert all(a["end"] == b["start"] and a["start"] < a["end"] for a, b in pairwise(own))


def test_every_format_as_a_user_writes_it(
    tiny_model: Path, recordings: list[Path], text: Path, tmp_path: Path, run_module: Callable
) -> None:
    arguments = ("--model", tiny_model, "--format", "all", "--output-dir", tmp_path / "out")
    ran = run_module("asr.align", recordings[2], "-", *arguments, input=text.read_text(encoding="utf-8"))
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    written = {path.suffix: path for path in (tmp_path / "out").iterdir()}
    assert set(written) == {format.suffix for format in FORMATS.values()}
    assert all(path.stem == recordings[2].stem for path in written.values())
    found = json.loads(written[".json"].read_text(encoding="utf-8"))
    grid = textgrid.openTextgrid(str(written[".TextGrid"]), includeEmptyIntervals=False)
    assert grid.tierNames == ("segments", "words", "characters")
    characters = [Interval(each["start"], each["end"], each["text"]) for each in found["characters"]]
    for read, expected in zip(grid.getTier("characters").entries, characters, strict=True):
        assert read.label == expected.label
        assert (read.start, read.end) == pytest.approx((expected.start, expected.end), abs=0.0011)
    assert "hello" in written[".srt"].read_text(encoding="utf-8").lower()


def test_neither_the_text_nor_what_lies_beside_the_recording_is_replaced(
    recordings: list[Path], text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = text.read_bytes()
    (tmp_path / "texts").mkdir()
    texts = (tmp_path / "a.txt", tmp_path / "texts" / "a.txt")
    for path in texts:
        path.write_bytes(content)
    shutil.copy(recordings[2], tmp_path / "a.wav")
    monkeypatch.chdir(tmp_path)
    for path, out in ((texts[0], "."), (texts[1], "texts"), (texts[1], ".")):
        with pytest.raises(asr.Error, match=r"a\.txt"):  # before anything is recognized
            main(["a.wav", str(path), "--format", "all", "--output-dir", out, "--model", "none such"])
        assert [each.read_bytes() for each in texts] == [content] * 2


def test_what_the_model_cannot_write_keeps_its_place(
    tiny_model: Path, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "text.txt"
    path.write_text("he paid 12 dollars ñandú", encoding="utf-8")
    line = (recordings[2], path, "--model", tiny_model, "--format", "json")
    out, err = run_main(capsys, *line)
    found = json.loads(out)
    words = [word for segment in found["segments"] for word in segment["words"]]
    assert [word["text"] for word in words] == ["he", "paid", "12", "dollars", "ñandú"]
    assert found["unwritable"] == ["12", "ñandú"]
    assert "2 words have characters that the model cannot write ('12', 'ñandú')" in err
    assert (words[1]["end"], words[3]["start"]) == (words[2]["start"], words[2]["end"])
    assert words[4]["end"] == found["duration"]
    out, err = run_main(capsys, *line, "--normalizer", "english")
    assert json.loads(out)["unwritable"] == ["ñandú"]
    assert "twelve" in "".join(each["text"] for each in json.loads(out)["characters"])
    assert "12" in json.loads(out)["text"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the text has no word"),
        ("— … 12".encode(), "the text has no word that the model can write"),
        (b"ab\xffcd", "not UTF-8"),
        (b"so many letters " * 100, "1599 tokens need 1699 frames, and the recording has 126"),
    ],
)
def test_texts_that_cannot_be_aligned(
    tiny_model: Path, recordings: list[Path], tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(AlignError, match=message) as caught:
        main([str(recordings[2]), str(path), "--model", str(tiny_model)])
    assert str(path) in str(caught.value)


def test_errors_of_standard_input_name_no_copy(tiny_model: Path, text: Path, run_module: Callable) -> None:
    ran = run_module("asr.align", "-", text, "--model", tiny_model, input="no recording" * 500)
    assert ran.returncode == 1 and ran.stderr.startswith("error: -: not audio")


def test_wrong_usage_and_files_that_are_not_there(tiny_model: Path, text: Path, run_module: Callable) -> None:
    with pytest.raises(UsageError, match="--output-dir"):
        main(["a.wav", str(text), "--format", "all"])
    with pytest.raises(UsageError, match="AUDIO and TEXT are both -"):
        main(["-", "-"])
    ran = run_module("asr.align", "nowhere.wav", text, "--model", tiny_model)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: nowhere.wav")
    assert "Traceback" not in ran.stderr


def recognizer_of(units: Units) -> Recognizer:
    config = ModelConfig(vocab=len(units), channels=8, layers=1, hidden=8)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Recognizer(AcousticModel(config).eval(), LogMel(), units, Normalizer(), {})


def log_probs_that_say(units: Units, ids: list[int], times: list[int], frames: int) -> np.ndarray:
    """(T, V) log-probs of a model that is sure of these tokens in these frames, and of the blank in all others."""
    log_probs = np.full((frames, len(units)), 0.01 / len(units))
    path = np.zeros(frames, int)
    path[times] = ids
    log_probs[np.arange(frames), path] = 0.99
    return np.log(log_probs).astype(np.float32)


def align_said(units: Units, said: str, text: str, spread: int = 2) -> Alignment:
    """A text against log-probs that say one, a token every `spread` frames."""
    ids = units.encode(said)
    times = [10 + spread * i for i in range(len(ids))]
    log_probs = log_probs_that_say(units, ids, times, 20 + spread * len(ids))
    recognizer = recognizer_of(units)
    return align(recognizer, log_probs, text, len(log_probs) * recognizer.frame_seconds)


def test_subwords_are_aligned_piece_by_piece() -> None:
    said = "the cat sat on the mat and the rat sat on the hat"
    units = Subwords.from_texts([said] * 10, 14)
    found = align_said(units, said, said.title().replace(" And", ", and"))
    assert [word.text for word in found.transcript.words] == said.title().replace(" And", ", and").split()
    assert "".join(each.text for each in found.characters) == said.replace(" ", "")
    assert found.mismatches == ()
    starts = [word.start for word in found.transcript.words]
    places = [i for i, token in enumerate(units.encode(said)) if units.opens_word(token)]
    assert starts == pytest.approx([(10 + 2 * i) * 0.04 for i in places], abs=0.05)


def test_where_no_spaces_are_set_every_character_is_a_word() -> None:
    units = Alphabet.from_texts(["今日は天気がいい"])
    found = align_said(units, "今日は天気がいい", "今日は、天気が いい。")
    assert [word.text for word in found.transcript.words] == ["今", "日", "は、", "天", "気", "が", "い", "い。"]
    assert found.transcript.text.replace(" ", "") == "今日は、天気がいい。"
    assert [each.text for each in found.characters] == list("今日は天気がいい")


LETTERS = Alphabet.from_texts(["abcdefghijklmnopqrstuvwxyz "])
SAID = "it was a bright cold day in april and the clocks were striking thirteen as he went up the stairs"


@pytest.mark.parametrize(
    ("text", "given", "heard"),
    [
        (SAID.replace("and the clocks were striking thirteen ", ""), "", "and the clocks were striking thirteen"),
        (SAID.replace("went", "never in his whole life went"), "never in his whole life", ""),
        (SAID.replace("clocks were striking", "frogs did croak"), "frogs did croak", "clocks were striking"),
    ],
)
def test_it_says_where_the_text_does_not_match(text: str, given: str, heard: str) -> None:
    found = align_said(LETTERS, SAID, text)
    (place,) = found.mismatches
    assert set(given.split()) <= set(place.text.split())
    assert set(heard.split()) <= set(place.heard.split())
    assert len(place.text.split()) <= len(given.split()) + 4
    assert 0 < place.start < place.end <= found.transcript.duration
    assert align_said(LETTERS, SAID, SAID).mismatches == ()


@pytest.mark.parametrize("seed", range(20))
def test_bad_places_are_the_windows_above_the_limit(seed: int) -> None:
    random = np.random.default_rng(seed)
    worse = random.exponential(1.0, 60) * (random.random(60) < 0.5)
    inside = np.zeros(60, bool)
    for first in range(60 - 5 + 1):
        if worse[first : first + 5].mean() > 1.0:
            inside[first : first + 5] = True
    inside &= worse > 0.5
    found = np.zeros(60, bool)
    for first, end in bad_places(worse, 5, 1.0):
        assert worse[first] > 0.5 < worse[end - 1]
        found[first:end] = True
    assert (found | ~inside).all()
    assert not bad_places(np.zeros(3), 5, 1.0)


def test_on_real_speech_left_out_and_invented_sentences_are_found(
    shipped_model: Path, corpora: Path, tmp_path: Path, run_module: Callable
) -> None:
    """A minute and a half of a book, of whose text one sentence is missing, and to which one was added."""
    utterances = corpus.read(corpora / "LibriSpeech" / "dev-clean")[:12]
    samples = [audio.load(utterance.audio) for utterance in utterances]
    soundfile.write(tmp_path / "book.flac", np.concatenate(samples), audio.SAMPLE_RATE)
    texts = [utterance.text.capitalize() + "." for utterance in utterances]
    invented = "Nobody has ever said this sentence in the recording, which is rather long."
    (tmp_path / "book.txt").write_text("\n".join([*texts[:4], invented, *texts[4:8], *texts[9:]]), encoding="utf-8")
    ran = run_module("asr.align", "book.flac", "book.txt", "--format", "json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    edges = np.concatenate([[0.0], np.cumsum([len(each) for each in samples])]) / audio.SAMPLE_RATE
    left_out = (edges[8], edges[9])
    places = found["mismatches"]
    assert any("Nobody has ever" in place["text"] for place in places)
    assert any(place["start"] < left_out[1] and place["end"] > left_out[0] for place in places)
    assert str(len(places)) in ran.stderr
    # Behind both places the text is where it belongs again.
    starts = {word["text"]: word["start"] for word in found["segments"][-1]["words"]}
    assert starts[texts[-1].split()[-1]] == pytest.approx(edges[-1], abs=1.5)


def test_words_on_joined_digits_are_timed_as_asked(shipped_model: Path, corpora: Path) -> None:
    """Words of known text begin within 60 ms and end within 80 ms of the sound, half of them (the official takes)."""
    recognizer = asr.load("en", beam_size=1)
    joined = list(word_times.recordings("test", recognizer, corpora))
    pairs = [pair for each in joined for pair in word_times.known_text(recognizer, each)]
    assert len(pairs) == 300
    assert np.median([abs(found.start - said.start) for said, found in pairs]) < 0.06
    assert np.median([abs(found.end - said.end) for said, found in pairs]) < 0.08
