"""Languages of every script: what the words are, how texts are published, and the whole command on a few sentences."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from itertools import islice
from pathlib import Path

import pytest
import soundfile

from asr import Error, corpus
from asr.text import Normalizer
from asr.training.plan import usual_case
from scripts.synthetic_speech import LANGUAGES, LENGTHS, SPEAKERS, draw, find_espeak, make_corpus, read_words

PROJECT = Path(__file__).resolve().parents[1]
TINY = ("layers=1", "hidden=8", "channels=8", "steps=2", "workers=1", "evaluations=1")
FEWEST_WORDS = 100


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_model_is_taught_what_is_said_however_it_is_published(code: str) -> None:
    """The normaliser that `asr.train` chooses for the published texts finds the spoken sentences in them."""
    language = LANGUAGES[code]
    spoken = [each.text for each in islice(draw(language, read_words(code), 200), 200)]
    published = [language.publish(text) for text in spoken]
    assert all(there != text for there, text in zip(published, spoken, strict=True))
    normalizer = Normalizer(usual_case(published))
    assert list(map(normalizer, published)) == [unicodedata.normalize("NFC", text) for text in spoken]


@pytest.mark.parametrize("code", LANGUAGES)
def test_sentences_are_different_and_always_the_same(code: str) -> None:
    language, words = LANGUAGES[code], read_words(code)
    assert len(words) >= FEWEST_WORDS
    drawn = list(draw(language, words, 300))
    assert len({each.text for each in drawn}) == 300 and {each.speaker for each in drawn} == set(SPEAKERS)
    assert drawn[:100] == list(draw(language, words, 100))
    if language.space:
        assert all(LENGTHS[0] <= len(each.text.split(language.space)) <= LENGTHS[1] for each in drawn)
    else:
        assert not any(character.isspace() for each in drawn for character in each.text)


def _run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, PROJECT / "scripts" / "languages.py", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    return subprocess.run(list(map(str, line)), env=environment, capture_output=True, encoding="utf-8", timeout=600)


def test_without_a_synthesizer_or_with_an_unknown_language_it_says_so(tmp_path: Path) -> None:
    missing = _run("ru", "--out", tmp_path / "out", PATH=str(tmp_path))
    assert missing.returncode == 1 and "no espeak-ng on the PATH; install it" in missing.stderr
    unknown = _run("ru", "xx", "--out", tmp_path / "out")
    assert unknown.returncode == 2 and "no words of xx; there are ru, ar, hi, ko, zh, tr, vi" in unknown.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="session")
def espeak() -> None:
    """The synthesizer; its absence skips a test, and fails it in CI."""
    if shutil.which("espeak-ng") is None:
        reason = "needs espeak-ng: apt-get install espeak-ng"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def test_what_is_scored_is_never_learnt_from_whatever_the_size(espeak: None, tmp_path: Path) -> None:
    learned, held_out = set(), set()
    for size in (6, 12):
        sizes = {"train": size, "dev": 2, "test": 2}
        manifest = make_corpus(find_espeak(), "ru", sizes, tmp_path / str(size))
        for each in corpus.read(manifest):
            (learned if each.split == "train" else held_out).add(each.text)
    assert len(learned) == 12 and len(held_out) == 4 and not learned & held_out
    with pytest.raises(Error, match=r"6 train, 2 dev, 2 test in place of 12 train, 2 dev, 2 test; .*\(--out\)"):
        make_corpus(find_espeak(), "ru", {"train": 12, "dev": 2, "test": 2}, tmp_path / "6")


@pytest.mark.skipif(sys.platform == "win32", reason="workers meet through gloo, which needs Unix here")
def test_from_words_to_a_figure(espeak: None, tmp_path: Path) -> None:
    """By the real commands; what has learnt nothing fails, and what is done is not done again."""
    out = tmp_path / "out"
    settings = [part for pair in TINY for part in ("--set", pair)]
    line = ("ko", "--sentences", 12, "--minutes", 0, "--out", out, *settings)
    done = _run(*line, ASR_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 1, done.stderr
    found = json.loads((out / "ko" / "result.json").read_text(encoding="utf-8"))
    assert found["cer"] > 0.5 and found["low"] <= found["cer"] <= found["high"] and found["utterances"] == 1
    assert f"| `ko` Korean, Hangul syllables | 1 | {found['characters']} | 1 | {found['cer']:.2%} (" in done.stdout

    utterances = corpus.read(out / "ko" / "corpus")
    texts = {split: {each.text for each in utterances if each.split == split} for split in ("train", "dev", "test")}
    assert {split: len(some) for split, some in texts.items()} == {"train": 12, "dev": 1, "test": 1}
    assert len(set.union(*texts.values())) == 14
    syllables = {letter for text in texts["train"] for letter in unicodedata.normalize("NFC", text) if letter.isalpha()}
    assert found["characters"] == len(syllables | {" "})
    for each in utterances:
        assert soundfile.info(each.audio).duration == pytest.approx(each.duration, abs=1e-3)

    changed = _run("ko", "--sentences", 12, "--minutes", 1, "--out", out, *settings)
    assert changed.returncode == 1 and "this run was made with other minutes; choose another folder" in changed.stderr
    written = {path: path.stat().st_mtime_ns for path in (out / "ko").rglob("*") if path.is_file()}
    again = _run(*line, ASR_CACHE=str(tmp_path / "cache"))
    assert again.returncode == 1 and again.stdout == done.stdout and "step" not in again.stderr
    changed = {path.name for path, when in written.items() if path.stat().st_mtime_ns != when}
    assert changed == {"result.json"}
