"""The look at the data before training: every kind of trouble is put into it and must be found, and nothing else."""

import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asr
from asr.corpus import Utterance, read
from asr.text import Normalizer
from asr.training.look import Data, Look, clipped_share, is_silent, look, unread
from asr.training.page import MEANINGS, page
from asr.training.suspects import KIND, find_suspects

RATE = 16_000


def _speechlike(seconds: float, seed: int, level: float = 0.1) -> np.ndarray:
    """(samples,) noise in syllables."""
    time = np.arange(round(seconds * RATE)) / RATE
    return level * np.sin(2 * np.pi * 2 * time) ** 2 * np.random.default_rng(seed).standard_normal(len(time))


@pytest.fixture
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_CACHE", str(tmp_path_factory.mktemp("cache")))


def _say(folder: Path, name: str, text: str, samples: np.ndarray, rate: int = RATE, **more: object) -> Utterance:
    soundfile.write(folder / f"{name}.wav", samples, rate)
    return Utterance(name, folder / f"{name}.wav", text, **more)


def _usual(folder: Path, count: int = 30) -> list[Utterance]:
    """Utterances with nothing wrong in them."""
    words = ["alpha", "bravo", "delta", "echo", "golf"]
    return [
        _say(
            folder,
            f"u{i:02}",
            f"{words[i % 5]} {words[i // 5 % 5]} {'xyz'[i % 3]}",
            _speechlike(1 + i / 50, i),
            speaker=f"s{i % 3}",
        )
        for i in range(count)
    ]


def _look(folder: Path, train: list[Utterance], dev: list[Utterance] = ()) -> tuple[Look, list[Data]]:
    parts = [Data.read(train, Normalizer(), folder / "train", False, len(train))]
    if dev:
        parts.append(Data.read(dev, Normalizer(), folder / "dev", True, len(dev)))
    return look(parts[0], parts[1] if dev else None), parts


def _found(seen: Look) -> dict[str, set[str]]:
    kinds: dict[str, set[str]] = {}
    for each in seen.findings:
        kinds.setdefault(each.kind, set()).add(each.utterance)
    return kinds


def test_data_with_nothing_wrong_has_no_findings(tmp_path: Path, cache: None) -> None:
    train = _usual(tmp_path)
    seen, _ = _look(tmp_path, train)
    assert not seen.counts and not seen.findings
    assert (seen.train.utterances, seen.train.speakers, seen.train.unknown_speakers) == (30, 3, 0)
    assert seen.train.seconds == pytest.approx(sum(round((1 + i / 50) * RATE) for i in range(30)) / RATE)
    assert seen.shortest[0] == ("u00", 1.0) and [name for name, _ in seen.longest] == ["u29", "u28", "u27"]
    assert seen.characters == Counter("".join(each.text for each in train)) and seen.words == 90
    assert list(seen.characters.values()) == sorted(seen.characters.values(), reverse=True)
    assert seen.vocabulary == 8 and seen.dev is None and seen.rates == {"16000": 30}
    assert "nothing found" in page(seen, None, "dev: none", [])


def test_every_kind_of_trouble_is_found_where_it_is(tmp_path: Path, cache: None) -> None:
    usual = _usual(tmp_path)
    shutil.copy(usual[3].audio, tmp_path / "copy.wav")
    shutil.copy(usual[4].audio, tmp_path / "leak.wav")
    (tmp_path / "headerless.raw").write_bytes(bytes(1000))
    train = [
        *usual,
        Utterance("copy", tmp_path / "copy.wav", usual[3].text.upper() + "!"),
        Utterance("gone\x1b[31m\n", tmp_path / "gone.wav", "alpha bravo x"),
        _say(tmp_path, "hush", "alpha bravo y", _speechlike(1.2, 90, level=1e-4)),
        _say(tmp_path, "loud", "alpha bravo z", np.clip(_speechlike(1.2, 91, level=3.0), -1, 1)),
        _say(tmp_path, "long-text", "alpha bravo " * 12, _speechlike(1.2, 92)),
        _say(tmp_path, "short-text", "y", _speechlike(1.9, 93)),
        _say(tmp_path, "wordless", "...", _speechlike(1.2, 94)),
        _say(tmp_path, "telephone", "alpha bravo z", _speechlike(0.7, 95), rate=8000),
        Utterance("headerless", tmp_path / "headerless.raw", "alpha bravo w"),
    ]
    dev = [
        Utterance("leak", tmp_path / "leak.wav", usual[4].text),
        _say(tmp_path, "same-text", usual[5].text, _speechlike(1.1, 96)),
        _say(tmp_path, "new", "zulu ökonom", _speechlike(1.0, 97), speaker="s9"),
    ]
    seen, _ = _look(tmp_path, train, dev)
    assert _found(seen) == {
        "unreadable audio": {"gone\x1b[31m\n", "headerless"},
        "empty text": {"wordless"},
        "repeated": {"copy"},
        "in dev and in training": {"leak"},
        "silent": {"hush"},
        "clipped": {"loud"},
        "much text for its length": {"long-text"},
        "little text for its length": {"short-text"},
    }
    assert seen.counts == {kind: len(names) for kind, names in _found(seen).items()}
    assert seen.texts_in_both == 2
    assert seen.only_in_dev == "kmnuö"
    assert (seen.dev.speakers, seen.dev.unknown_speakers, seen.train.unreadable) == (1, 2, 2)
    assert seen.rates == {"16000": 39, "8000": 1, "unknown": 2}
    printed = page(seen, None, "dev: as it was", ["steps=3: enough"])
    for name in ("gone", "wordless", "copy", "leak", "hush", "loud", "long-text", "short-text", "steps=3: enough"):
        assert name in printed
    assert "gone\\x1b[31m\\n: " in printed and "\x1b" not in printed
    assert max(map(len, printed.splitlines())) < 200
    json.dumps(seen.to_dict())


def test_texts_in_whose_place_subtitles_are_read_are_named(tmp_path: Path) -> None:
    for name in ("deep/both", "deep/subtitles", "text"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        _say(tmp_path, name, "", _speechlike(1.0, 1))
        if name != "text":
            (tmp_path / f"{name}.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nof the subtitles\n")
        if name != "deep/subtitles":
            (tmp_path / f"{name}.txt").write_text("of the text")
    assert {each.id: each.text for each in read(tmp_path)} == {
        "deep/both": "of the subtitles",
        "deep/subtitles": "of the subtitles",
        "text": "of the text",
    }
    (found,) = unread([tmp_path])
    assert (found.utterance, found.detail) == ("deep/both.txt", "both.srt is read in its place")
    assert found.kind in MEANINGS
    (tmp_path / "manifest.jsonl").write_text('{"audio_filepath": "text.wav", "text": "of the manifest"}\n')
    assert list(unread([tmp_path, tmp_path / "manifest.jsonl"])) == []


def test_findings_of_one_kind_are_counted_beyond_those_that_are_kept() -> None:
    seen = Look(**{name: None for name in Look.__dataclass_fields__ if name not in ("counts", "findings")})
    found = [asr.training.prepare.Problem(str(i), "silent", "") for i in range(2500)]
    seen.add(found)
    assert seen.counts["silent"] == 2500 and len(seen.findings) == 1000


@pytest.mark.parametrize(("level", "silent"), [(1e-5, True), (1e-3, True), (0.02, False), (0.3, False)])
def test_silence_is_told_from_low_speech(level: float, silent: bool) -> None:
    assert is_silent(_speechlike(2.0, 1, level).astype(np.float32)) is silent
    assert is_silent(np.full(10, 1e-4, np.float32))  # shorter than a window


def test_the_clipped_share_is_that_of_the_samples_that_were_cut_off() -> None:
    samples = _speechlike(2.0, 2, level=0.5)
    loud = np.clip(3 * samples, -1, 1).astype(np.float32)
    cut = np.mean(np.abs(3 * samples) >= 0.985)
    assert clipped_share(loud) == pytest.approx(cut, rel=1e-3) and cut > 0.01
    assert clipped_share((samples / np.abs(samples).max() * 0.98).astype(np.float32)) == 0


# Wrong texts


def test_wrong_texts_are_told_from_right_ones_by_what_is_heard(tmp_path: Path, cache: None, corpora: Path) -> None:
    """With the model that ships, on sentences of a corpus that it was not made for; a fifth have another's text."""
    right = [each for each in read(corpora / "vctk" / "manifest.jsonl") if 2 < each.duration < 4][:40]
    texts = {each.id: each.text for each in right}
    wrong = {each.id for each in right[::5]}
    others = dict(zip(sorted(wrong), sorted(wrong)[1:] + sorted(wrong)[:1], strict=True))
    train = [replace(each, text=texts[others.get(each.id, each.id)]) for each in right]
    parts = [Data.read(train, Normalizer(), tmp_path / "train", False, len(train))]
    found = find_suspects(asr.load("en", lm="none"), parts, 1000.0)
    named = {each.utterance for each in found.found}
    assert found.aligned == 40 and not found.why_not
    assert len(named & wrong) >= 7 and len(named - wrong) <= 2
    assert all(each.kind == KIND and "it sounds like" in each.detail for each in found.found)
    some = find_suspects(asr.load("en", lm="none"), parts, sum(each.duration for each in right) / 2)
    assert some.aligned == 20


def test_a_model_that_knows_nothing_of_the_speech_names_no_texts(tmp_path: Path, cache: None, tiny_model: Path) -> None:
    parts = _look(tmp_path, _usual(tmp_path))[1]
    found = find_suspects(asr.load(str(tiny_model), lm="none"), parts, 1000.0)
    assert not found.found and "knows too little" in found.why_not
    few = find_suspects(asr.load(str(tiny_model), lm="none"), parts, 10.0)
    assert not few.found and "too few" in few.why_not


def test_recordings_so_long_that_they_take_much_memory_are_not_listened_to(
    tmp_path: Path, cache: None, tiny_model: Path
) -> None:
    long = [_say(tmp_path, f"long{i}", "alpha", np.zeros(round(seconds * RATE))) for i, seconds in enumerate((41, 40))]
    parts = [Data.read([*_usual(tmp_path, 20), *long], Normalizer(), tmp_path / "train", False, 22)]
    assert find_suspects(asr.load(str(tiny_model), lm="none"), parts, 1000.0).aligned == 21
