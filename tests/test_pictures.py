"""Pictures of what a model sees in a recording."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

import asr
from asr import audio, pictures
from asr.command import UsageError
from asr.decode import BLANK, greedy
from asr.inside import Inside, Token, look_inside
from asr.pictures import PictureError, draw_posteriors, draw_spectrogram, picture, token_rows
from asr.recognizer import Recognizer
from asr.text import Subwords


@pytest.fixture(scope="module")
def recognizer(tiny_model: Path) -> Recognizer:
    return asr.load(str(tiny_model))


@pytest.fixture(scope="module")
def samples(recordings: list[Path]) -> np.ndarray:
    return audio.load(recordings[0])  # 3.1 s


@pytest.fixture(scope="module")
def inside(recognizer: Recognizer, samples: np.ndarray) -> Inside:
    return look_inside(recognizer, samples, recognizer.transcribe(samples).text)


def test_what_is_heard_is_what_is_transcribed(recognizer: Recognizer, samples: np.ndarray, inside: Inside) -> None:
    text = recognizer.transcribe(samples).text
    assert " ".join(span.word for span in inside.words(inside.heard)) == text
    log_probs, lengths = recognizer.log_probs([samples])
    np.testing.assert_allclose(inside.posteriors, np.exp(log_probs[0]), rtol=1e-6)
    frames = greedy(log_probs, lengths)[0].frames
    assert [token.start for token in inside.heard] == pytest.approx([frame * 0.04 for frame in frames])
    assert inside.log_mel.shape == (80, 311) and inside.posteriors.shape[0] == 78
    assert (inside.seconds, inside.hop, inside.step) == pytest.approx((3.1, 0.01, 0.04))


def test_long_silence_is_not_heard(recognizer: Recognizer, samples: np.ndarray) -> None:
    beside = np.concatenate([samples, np.zeros(20 * audio.SAMPLE_RATE, np.float32)])
    inside = look_inside(recognizer, beside)
    assert " ".join(span.word for span in inside.words(inside.heard)) == recognizer.transcribe(beside).text
    assert (inside.posteriors[200:400, 1:] == 0).all()


def test_the_spectrogram_is_in_decibels(recognizer: Recognizer, samples: np.ndarray, inside: Inside) -> None:
    louder = look_inside(recognizer, samples * 0.1)
    loud = inside.log_mel > inside.log_mel.max() - 30  # far above the floor
    np.testing.assert_allclose((inside.log_mel - louder.log_mel)[loud], 20, atol=0.05)


def test_a_known_text_is_aligned(recognizer: Recognizer, samples: np.ndarray, inside: Inside) -> None:
    assert inside.said == inside.heard  # of its own text the best path is the most probable one of all
    said = look_inside(recognizer, samples, "ab  CD!").said
    assert [recognizer.alphabet.symbols[token.id] for token in said] == list("ab cd")
    assert sorted(token.start for token in said) == [token.start for token in said]
    for text in ("ω", "ab" * 40):  # not in the alphabet; 80 tokens in 78 frames
        assert look_inside(recognizer, samples, text).said is None
    assert look_inside(recognizer, samples).said is None
    assert look_inside(recognizer, samples, "").said == []


def test_words_begin_with_a_letter_and_end_before_the_space(inside: Inside) -> None:
    ids = [inside.units.encode(character)[0] for character in " ab c  d"]
    words = inside.words([Token(i, 0.04 * place) for place, i in enumerate(ids)])
    assert [span.word for span in words] == ["ab", "c", "d"]
    assert [(span.start, span.end) for span in words] == [
        pytest.approx(times) for times in ((0.04, 0.12), (0.16, 0.2), (0.28, 0.32))
    ]
    assert inside.words([]) == []


def test_words_of_subwords(inside: Inside) -> None:
    units = Subwords.from_texts(["low lower lowest new newer newest"] * 3, 15)
    ids = units.encode("newer low")
    spelled = replace(inside, units=units).words([Token(i, float(place)) for place, i in enumerate(ids)])
    assert [span.word for span in spelled] == ["newer", "low"]
    assert spelled[0].start == 0 and spelled[0].end == spelled[1].start


def test_rows_are_those_of_probable_tokens(inside: Inside) -> None:
    posteriors = np.full_like(inside.posteriors, 0.001)
    posteriors[5, 7] = 0.9
    posteriors[6, 3] = 0.2
    posteriors[7, 4] = 0.05
    assert token_rows(replace(inside, posteriors=posteriors)) == [BLANK, 3, 7]
    many = np.linspace(0.2, 0.9, 100)[None].repeat(4, axis=0)
    assert token_rows(replace(inside, posteriors=many)) == [BLANK, *range(60, 100)]


def test_what_is_drawn_stands_where_it_was_heard(inside: Inside) -> None:
    above, below = Figure().subplots(2)
    draw_spectrogram(above, inside)
    draw_posteriors(below, inside)
    words = inside.words(inside.heard)
    assert [line.get_xdata()[0] for line in above.lines] == [word.start for word in words]
    mesh = above.collections[0].get_array()
    assert mesh.shape == inside.log_mel.shape and mesh.max() - mesh.min() <= 80 + 1e-3
    starts = [text.xy[0] for text in above.texts if text.get_color() == "tab:red"][1:]  # the first names the line
    assert starts == [token.start for token in inside.heard]
    (rings,) = below.lines
    for start, row in rings.get_xydata():
        label = below.get_yticklabels()[int(row)].get_text()
        token = next(token for token in inside.heard if token.start == start)
        assert label.replace("␣", " ") == inside.units.symbols[token.id]
        assert inside.posteriors[round(start / inside.step)].argmax() == token.id


def test_signs_of_mathematics_are_text(inside: Inside) -> None:
    assert len(picture(inside, r"$\nonsense$ and $x")) > 10_000


def test_a_long_recording_is_refused(inside: Inside) -> None:
    with pytest.raises(PictureError, match=r"has 61\.0 s; a picture shows 60 s at most"):
        picture(replace(inside, seconds=61.0), "long")


def test_the_command(tiny_model: Path, recordings: list[Path], tmp_path: Path, run_module: Callable) -> None:
    out = tmp_path / "new" / "a.png"
    arguments = [recordings[2], "--model", tiny_model, "--out", out, "--text", "ab c", "--offset", 1, "--duration", 2]
    result = run_module("asr.pictures", *arguments)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    height, width, _ = imread(out).shape
    assert width >= 800 and height >= 400


def test_the_curves_of_a_run(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"step": 10, "seconds": 9.0, "loss": 2.0}\n{"step": 20, "seconds": 19.0, "loss": 1.0}\n'
    )
    assert pictures.main([str(tmp_path), "--out", str(tmp_path / "c.png")]) == 0
    assert imread(io.BytesIO((tmp_path / "c.png").read_bytes())).shape[1] > 600


def test_wrong_usage(tmp_path: Path, recordings: list[Path]) -> None:
    with pytest.raises(PictureError, match=r"expected .* the folder of a training run; nothing is logged there"):
        pictures.main([str(tmp_path), "--out", str(tmp_path / "c.png")])
    with pytest.raises(UsageError, match=r"expected a name that ends in \.png"):
        pictures.main([str(recordings[0]), "--out", str(tmp_path / "c.jpg")])
