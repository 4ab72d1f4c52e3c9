"""The report: its numbers are those of the scores, its text cannot become markup, its sound and pictures are true."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import asr
from asr import audio, evaluate
from asr.compare import error_slots
from asr.corpus import Utterance, write_manifest
from asr.evaluation import Evaluation, Report, Texts
from asr.hypotheses import Line
from asr.inside import look_inside
from asr.pictures import shown, token_rows
from asr.recognizer import Recognizer
from asr.report import ReportError, check_page_name, escaped_json, page
from asr.report_data import (
    alignment,
    changed,
    confusions,
    errors_of,
    letter_counts,
    report_data,
    steps,
    worst,
)
from asr.report_media import media, medium, posteriors, sound, spectrogram
from asr.score import Counts, character_counts, word_counts

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=8).map(" ".join)


def counted(letters: str) -> Counts:
    return Counts(*(letters.count(letter) for letter in "=SDI"))


# The numbers


@given(WORDS, WORDS)
def test_alignments_are_those_of_the_scores(said: str, heard: str) -> None:
    letters = alignment(said.split(), heard.split())
    assert counted(letters) == word_counts(said, heard)
    assert errors_of(letters) == word_counts(said, heard).errors
    found = list(steps(said.split(), heard.split(), letters))
    assert [word for _, word, _ in found if word is not None] == said.split()
    assert [word for _, _, word in found if word is not None] == heard.split()
    assert all((letter == "=") == (one == other) for letter, one, other in found)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=6))
def test_confusions_add_up_to_the_errors(pairs: list[tuple[str, str]]) -> None:
    total = sum((word_counts(*pair) for pair in pairs), Counts())
    found = [step for a, b in pairs for step in steps(a.split(), b.split(), alignment(a.split(), b.split()))]
    listed = confusions(found)
    for kind in ("substitutions", "deletions", "insertions"):
        assert sum(row[-1] for row in listed[kind]) == getattr(total, kind)
    spoken = Counter(word for a, _ in pairs for word in a.split())
    for word, errors, wrong, inserted, said in listed["costs"]:
        assert errors == wrong + inserted > 0 and said == spoken[word]
        assert wrong == sum(letter in "SD" and one == word for letter, one, _ in found)
        assert inserted == sum(letter == "I" and other == word for letter, _, other in found)
    assert sum(row[1] for row in listed["costs"]) == total.errors
    assert [row[1] for row in listed["costs"]] == sorted((row[1] for row in listed["costs"]), reverse=True)


@given(st.lists(st.tuples(WORDS, WORDS), max_size=6))
def test_letters_add_up_to_the_character_errors(pairs: list[tuple[str, str]]) -> None:
    total = sum((character_counts(*pair) for pair in pairs), Counts())
    found = letter_counts(*zip(*pairs, strict=True)) if pairs else []
    assert sum(times for said, heard, times in found if said != heard) == total.errors
    assert sum(times for said, heard, times in found if said == heard) == total.hits
    assert sum(times for said, _, times in found if said is None) == total.insertions


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), max_size=6))
def test_words_that_one_system_alone_gets_right(triples: list[tuple[str, str, str]]) -> None:
    said = [reference.split() for reference, _, _ in triples]
    letters = [[alignment(r, texts[i].split()) for r, texts in zip(said, triples, strict=True)] for i in (1, 2)]
    only_a, only_b = Counter(), Counter()
    for reference, a, b in ([text.split() for text in triple] for triple in triples):
        wrong_a, wrong_b = error_slots(reference, a)[1::2], error_slots(reference, b)[1::2]
        for word, in_a, in_b in zip(reference, wrong_a, wrong_b, strict=True):
            only_a[word] += in_b > in_a
            only_b[word] += in_a > in_b
    found = {word: (times_a, times_b) for word, times_a, times_b in changed(said, *letters)}
    assert found == {word: (only_a[word], only_b[word]) for word in only_a if only_a[word] + only_b[word]}


def test_the_worst_utterances() -> None:
    assert worst([0, 3, 1, 3, 0, 7], 3) == [5, 1, 3]
    assert worst([0, 3, 1], 5) == [1, 2]
    assert worst([0, 0], 5) == []


def two_systems() -> tuple[Report, Texts, Texts]:
    lines = [
        Line("one", "A b c.", "x", 1.0),
        Line("two", "d e", "y", 4.0),
        Line("three", "", None, None),
    ]
    ours = Texts(lines, ["a B", "d e f", ""], str.lower, "ours")
    theirs = Texts(lines, ["", "d", "uh"], str.lower, "theirs")
    result = Evaluation(ours.score(), ours.hypotheses, {"one": "no such file"}, 0.0, 0.0)
    return Report(result, comparison=ours.compare(theirs.hypotheses, "theirs")), ours, theirs


def test_the_data_of_a_report() -> None:
    found = report_data(*two_systems()[:2], {"room": ["r", "r", "q"]}, two_systems()[2])
    assert json.loads(escaped_json(found)) == found  # nothing but JSON
    assert [system["name"] for system in found["systems"]] == ["ours", "theirs"]
    assert [system["errors"] for system in found["systems"]] == [2, 5]
    assert found["utterances"][0] == {
        "id": "one",
        "speaker": "x",
        "seconds": 1.0,
        "said": "a b c.",
        "heard": ["a b", ""],
        "steps": ["==D", "DDD"],
        "failed": "no such file",
    }
    assert [each["steps"] for each in found["utterances"][1:]] == [["==I", "=D"], ["", "I"]]
    groups = {each["field"]: [row["label"] for row in each["rows"]] for each in found["groups"]}
    assert groups == {
        "speaker": ["x", "y", "unknown"],
        "duration": ["under 2 s", "2 to 5 s", "unknown"],
        "speaking rate": ["under 1.5 words/s", "3 to 3.5 words/s", "unknown"],
        "room": ["q", "r"],
    }
    for each in found["groups"]:
        for system, total in enumerate((2, 5)):
            assert sum(row["scores"][system]["errors"] for row in each["rows"]) == total
    assert found["changed"] == [[word, 1, 0] for word in "abe"]
    assert (found["comparison"]["a"], found["comparison"]["b"]) == ("ours", "theirs")


def test_what_is_not_known_is_left_out() -> None:
    texts = Texts([Line("one", "a")], ["a"], str, "ours")
    found = report_data(Report(Evaluation(texts.score(), ["a"], {}, 0.0, 0.0)), texts, {})
    assert (found["groups"], found["comparison"], found["changed"], found["rtf"]) == ([], None, None, None)


# The page


class Elements(HTMLParser):
    """The elements of a page as a browser finds them: names, attributes, and the contents of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.contents: list[tuple[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.found and data.strip():
            self.contents.append((self.found[-1][0], data))


def pieces(text: str) -> tuple[str, str, str]:
    """Style, data and script of a page."""
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    data, script = re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)
    return style, data, script


@settings(max_examples=15, deadline=None)
@given(st.text(), st.text())
def test_text_never_becomes_markup(title: str, text: str) -> None:
    for hostile in (text, f"</script><script>{text}", f"<!--<script>{text}", "{{script}}"):
        made = page(title, {"text": hostile})
        parsed = Elements(made)
        assert [tag for tag, _ in parsed.found] == [tag for tag, _ in Elements(page("", {})).found]
        assert json.loads(pieces(made)[1])["text"] == hostile
        assert pieces(made)[1].isascii()


def test_the_policy_allows_what_is_in_the_page_and_nothing_else() -> None:
    made = page("a title", {})
    style, _, script = pieces(made)
    policy = next(attributes["content"] for tag, attributes in Elements(made).found if "http-equiv" in attributes)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for name, content in (("style-src", style), ("script-src", script)):
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert rules["img-src"] == rules["media-src"] == "data:"
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", made)  # it names no other place
    assert "innerHTML" not in script and "insertAdjacentHTML" not in script and "document.write" not in script


def test_a_number_that_json_lacks_is_no_report() -> None:
    with pytest.raises(ValueError, match="JSON"):
        escaped_json({"wer": float("inf")})


@pytest.mark.parametrize("name", ["report.txt", "report"])
def test_other_names_are_refused_before_the_work(name: str, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"expected a name that ends in \.html or \.htm"):
        evaluate.main(["--model", "no such model", "--manifest", "none.jsonl", "--report", str(tmp_path / name)])
    check_page_name(tmp_path / "r.HTML")


# The command


def test_texts_alone_need_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text('{"id": "a", "reference": "ONE TWO", "hypothesis": "one too"}\n')
    arguments = ["--hypotheses", str(path), "--report", str(tmp_path / "sub" / "r.html")]
    code = f"import sys; from asr.evaluate import main; main({arguments!r})"
    loaded = f"{code}; print({{'torch', 'scipy', 'numba', 'matplotlib', 'PIL'}} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True)
    assert found.stdout.endswith("set()\n"), found.stderr
    data = json.loads(pieces((tmp_path / "sub" / "r.html").read_text())[1])
    assert data["title"] == "dev" and data["media"] == {} and data["utterances"][0]["steps"] == ["=S"]
    assert ["hypotheses", str(path)] in data["facts"]


def test_the_command_writes_a_report_of_a_model(
    tiny_model: Path, recordings: list[Path], tmp_path: Path, run_module: Callable
) -> None:
    recognizer = asr.load(str(tiny_model))
    texts = [f"{recognizer.transcribe(path).text} more" for path in recordings[:2]]
    utterances = [Utterance(path.stem, path, text) for path, text in zip(recordings, texts, strict=False)]
    utterances += [Utterance("lost", tmp_path / "lost.wav", "a b")]
    write_manifest(tmp_path / "data.jsonl", utterances)
    arguments = ["--model", tiny_model, "--manifest", tmp_path / "data.jsonl", "--report", tmp_path / "r.html"]
    result = run_module("asr.evaluate", *arguments, "--json")
    assert result.returncode == 1 and result.stderr.startswith("error: lost: ")
    data = json.loads(pieces((tmp_path / "r.html").read_text())[1])
    assert json.loads(result.stdout)["errors"] == data["systems"][0]["errors"] == 4
    assert [each["seconds"] for each in data["utterances"]] == pytest.approx([3.1, 0.4, None])  # measured
    assert "lost.wav" in data["utterances"][2]["failed"]
    assert list(data["media"]) == ["0", "1"]
    assert ["decoding", "greedy"] in data["facts"] and "hot words" not in dict(data["facts"])
    how = {"model": str(tiny_model), "lm": None, "beam_size": 1, "hotwords": None, "hotword_weight": None}
    assert json.loads(result.stdout)["recognizer"] == how
    assert not list(tmp_path.glob(".*"))


def test_hot_words_are_said(
    tiny_model: Path, recordings: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_manifest(tmp_path / "data.jsonl", [Utterance("a", recordings[1], "a b")])
    arguments = ["--model", tiny_model, "--manifest", tmp_path / "data.jsonl", "--report", tmp_path / "r.html"]
    arguments += ["--beam-size", 4, "--hotwords", "abba", "--hotword-weight", 3.5, "--json"]
    assert evaluate.main(list(map(str, arguments))) == 0
    facts = dict(json.loads(pieces((tmp_path / "r.html").read_text())[1])["facts"])
    assert (facts["decoding"], facts["hot words"], facts["weight of hot words"]) == ("beam of 4", "abba", "3.5")
    how = json.loads(capsys.readouterr().out)["recognizer"]
    assert (how["beam_size"], how["hotwords"], how["hotword_weight"]) == (4, "abba", 3.5)


# Sound and pictures


@pytest.fixture(scope="module")
def recognizer(tiny_model: Path) -> Recognizer:
    return asr.load(str(tiny_model))


def content(uri: str, kind: str) -> io.BytesIO:
    head, data = uri.split(",", 1)
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(data, validate=True))


def test_the_sound_is_that_of_the_recording(recordings: list[Path]) -> None:
    time = np.arange(32_000) / 16_000
    samples = (0.01 * np.sin(2 * np.pi * 440 * time) * (time > 1)).astype(
        np.float32
    )  # quiet, a tone in its second half
    heard, rate = soundfile.read(content(sound(samples), "audio/mpeg"))
    assert rate == 16_000 and abs(len(heard) - len(samples)) < 2500
    assert 0.8 < np.abs(heard).max() < 1.0
    spectrum = np.abs(np.fft.rfft(heard[18_000:30_000]))
    assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(440, abs=2)
    assert np.abs(heard[:14_000]).max() < 0.05
    assert soundfile.read(content(sound(np.zeros(16_000, np.float32)), "audio/mpeg"))[0].max() < 0.01


def test_pictures_have_a_pixel_a_frame(recognizer: Recognizer, recordings: list[Path]) -> None:
    inside = look_inside(recognizer, audio.load(recordings[0]))
    with Image.open(content(spectrogram(inside), "image/webp")) as picture:
        pixels = np.asarray(picture, np.float64).sum(axis=2)
    assert pixels.shape == inside.log_mel.shape
    level = shown(inside.log_mel)[::-1]  # low bands below; magma grows lighter with the level
    assert np.corrcoef(pixels.ravel(), level.ravel())[0, 1] > 0.9
    rows = token_rows(inside)
    with Image.open(content(posteriors(inside, rows), "image/png")) as picture:
        opacity = np.asarray(picture)[:, :, 1]
    np.testing.assert_allclose(opacity / 255, inside.posteriors[:, rows].T, atol=0.5 / 255 + 1e-6)


def test_what_stands_in_time(recognizer: Recognizer, recordings: list[Path]) -> None:
    samples = audio.load(recordings[0])
    text = recognizer.transcribe(samples).text
    found = medium(recognizer, samples, text)
    assert not found["cut"] and found["seconds"] == pytest.approx(3.1)
    assert " ".join(word for word, _, _ in found["heard"]) == text
    assert [word for word, _, _ in found["said"]] == text.split()
    for sign, start, row in found["tokens"]:
        assert 0 <= start <= 3.1 and (row is None or found["rows"][row] == sign)
    assert medium(recognizer, samples, "ω")["said"] is None  # not in the alphabet
    assert json.loads(escaped_json(found)) is not None


def test_of_a_long_recording_there_is_the_first_minute(recognizer: Recognizer, recordings: list[Path]) -> None:
    samples = np.tile(audio.load(recordings[2]), 13)
    found = medium(recognizer, samples, "a")
    assert found["cut"] and found["seconds"] == 60 and found["said"] is None
    heard, _ = soundfile.read(content(found["audio"], "audio/mpeg"))
    assert len(heard) / 16_000 == pytest.approx(60, abs=0.2)


def test_parts_of_recordings_and_what_cannot_be_read(
    recognizer: Recognizer, recordings: list[Path], tmp_path: Path
) -> None:
    part = Utterance("part", recordings[2], "a", offset=1.0, duration=1.5)
    lost = Utterance("lost", tmp_path / "lost.wav", "a")
    found = media(recognizer, [lost, part, part], [0, 2])
    assert list(found) == [2] and found[2]["seconds"] == 1.5


def test_fifty_pictures_are_small(recognizer: Recognizer, recordings: list[Path]) -> None:
    """A minute of sound and pictures is at most some hundred kilobytes, so that fifty can be sent by mail."""
    found = medium(recognizer, audio.load(recordings[2]), "a")  # 5 s
    assert len(escaped_json(found)) < 5 / 60 * 800_000
