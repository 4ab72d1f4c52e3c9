"""The comparison with pocketsphinx: counting, times, what is kept, and the peer itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from asr import Error, audio, corpus
from asr.command import UsageError
from asr.corpus import Utterance, write_manifest
from asr.score import word_counts
from asr.text import Normalizer
from scripts import pocketsphinx_peer
from scripts.compare_pocketsphinx import Pair, describe, listen, main, pooled, read, read_own, row
from scripts.pocketsphinx_peer import SAVED_EVERY, Heard, Kept, PocketSphinx, install, pcm

PROJECT = Path(__file__).resolve().parents[1]
SAMPLES = PROJECT / "data" / "samples" / "manifest.jsonl"


@pytest.fixture(scope="module")
def peer() -> PocketSphinx:
    """Pocketsphinx; its absence skips a test on a user's machine and fails it in CI."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("pocketsphinx", reason="needs pocketsphinx: pip install asr[peers]")
    return PocketSphinx()


def pair(name: str, said: str, ours: str, theirs: str, speaker: str | None = None) -> Pair:
    return Pair(Utterance(name, Path(name), said, speaker=speaker), 4.0, Heard(ours, 0.1), Heard(theirs, 0.8))


# Counting


def test_rates_ratios_and_times_of_a_corpus() -> None:
    pairs = [
        pair("a", "Hello, World!", "hello world", "HELLO word"),
        pair("b", "GOOD MORNING", "good morning to", "god mourning"),
    ]
    found = row("c", pairs, Normalizer())
    assert (found.ours.score.words.errors, found.theirs.score.words.errors) == (1, 3)
    assert (found.comparison.words.errors_a, found.comparison.words.errors_b) == (1, 3)
    assert found.wer_ratio == pytest.approx(1 / 3)
    assert (found.ours.rtf, found.theirs.rtf) == (pytest.approx(0.025), pytest.approx(0.2))
    assert found.speed_ratio == pytest.approx(8)
    assert found.seconds == 8.0


def test_all_corpora_together_are_the_sum_of_their_errors_and_words_and_know_their_speakers_apart() -> None:
    draw = np.random.default_rng(0)
    corpora = {
        name: [
            pair(
                f"{i}",
                " ".join(draw.choice(["x", "y"], 5)),
                "x y x",
                " ".join(draw.choice(["x", "y"], 5)),
                f"s{i % 12}",
            )
            for i in range(size)
        ]
        for name, size in (("first", 30), ("second", 50))
    }
    found = row("pooled", pooled(corpora), Normalizer())
    every = [each for pairs in corpora.values() for each in pairs]
    for system, heard in ((found.ours, [e.ours for e in every]), (found.theirs, [e.theirs for e in every])):
        texts = [(each.utterance.text, side.text) for each, side in zip(every, heard, strict=True)]
        assert system.score.words.errors == sum(word_counts(*text).errors for text in texts)
        assert system.score.words.reference == 400
    assert found.ours.score.interval == found.comparison.interval == "speakers"  # 24 of them, 12 names
    assert row("first", corpora["first"], Normalizer()).ours.score.interval == "utterances"


def test_without_errors_and_without_audio_there_are_no_ratios() -> None:
    silent = Pair(Utterance("a", Path("a"), "word"), 0.0, Heard("", 0.0), Heard("word", 0.0))
    found = row("c", [silent], Normalizer())
    assert (found.wer_ratio, found.speed_ratio, found.ours.rtf) == (None, None, None)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["wer_ratio"] is None
    assert "| - | - | - | - |" in describe([found])


def test_an_utterance_that_cannot_be_read_counts_for_both(tmp_path: Path) -> None:
    failures: dict[str, str] = {}
    utterances = [Utterance("lost", tmp_path / "lost.wav", "two words"), corpus.read(SAMPLES)[0]]
    heard = listen(utterances, lambda _: "ours", lambda _: "theirs", Kept(None, "peer"), failures)
    assert list(failures) == ["lost"] and "no such file" in failures["lost"]
    assert [(each.ours.text, each.theirs.text) for each in heard] == [("", ""), ("ours", "theirs")]
    assert row("c", heard, Normalizer()).ours.score.utterances == 2


# What is kept


def test_what_was_recognized_once_is_not_recognized_again(tmp_path: Path) -> None:
    path, heard = tmp_path / "kept.jsonl", []
    one, other = (np.full(100, level, np.float32) for level in (0.1, 0.2))

    def transcribe(samples: np.ndarray) -> str:
        heard.append(samples[0])
        return f"number {len(heard)} »é«"

    kept = Kept(path, "peer 1")
    first = [kept.get(samples, transcribe) for samples in (one, other, one)]
    assert len(heard) == 2 and first[0] == first[2] != first[1]
    kept.save()
    again = Kept(path, "peer 1")
    assert [again.get(samples, transcribe) for samples in (one, other, one)] == first and len(heard) == 2
    assert Kept(path, "peer 2").get(one, transcribe).text == "number 3 »é«"  # another version hears for itself
    assert again.get(one[:99], transcribe).text == "number 4 »é«"


def test_what_was_recognized_is_kept_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "kept.jsonl"
    kept = Kept(path, "peer")
    for i in range(SAVED_EVERY + 1):
        kept.get(np.full(10, i / 100, np.float32), lambda _: "text")
    assert len(path.read_text().splitlines()) == SAVED_EVERY


@pytest.mark.parametrize("line", ["not JSON", "[]", '{"key": "a"}', '{"key": "a", "text": "b", "seconds": "c"}'])
def test_a_file_of_something_else_is_refused_and_stays(tmp_path: Path, line: str) -> None:
    path = tmp_path / "kept.jsonl"
    path.write_text('{"key": "a", "text": "b", "seconds": 1.5}\n' + line)
    with pytest.raises(Error, match=r"kept\.jsonl, line 2: expected what --keep has written"):
        Kept(path, "peer")
    assert path.read_text().endswith(line)


# The peer


def test_samples_become_16_bits() -> None:
    whole = np.arange(-32768, 32768, dtype=np.int16)
    assert pcm(whole.astype(np.float32) / 32768) == whole.tobytes()
    assert np.frombuffer(pcm(np.float32([1.0, -1.0, 2.0])), np.int16).tolist() == [32767, -32768, 32767]


def test_pocketsphinx_recognizes_and_remembers_nothing_of_what_came_before(peer: PocketSphinx) -> None:
    first, second = (audio.load(utterance.audio) for utterance in corpus.read(SAMPLES)[1:3])
    text = peer.transcribe(first)
    reference = Normalizer()(corpus.read(SAMPLES)[1].text)
    assert word_counts(reference, Normalizer()(text)).rate < 0.5
    assert peer.transcribe(second) != text == peer.transcribe(first)
    assert peer.transcribe(np.zeros(1600, np.float32)) == ""


def test_pip_installs_it_or_says_why_not(peer: PocketSphinx, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # what is there already is found without
    monkeypatch.setattr(pocketsphinx_peer, "VERSION", metadata.version("pocketsphinx"))
    install()
    monkeypatch.setattr(pocketsphinx_peer, "VERSION", "0.0.0")
    with pytest.raises(Error, match=r"pip install --quiet pocketsphinx==0\.0\.0 ended with status 1"):
        install()


# The command


def test_the_corpora_that_are_compared(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_CORPORA", str(corpora))
    found = read(without=["an4"])
    assert {name: len(utterances) for name, utterances in found.items()} == {
        "dev-clean": 1313,
        "common_voice_v1": 371,
        "speechocean762": 240,
    }


def test_manifests_go_by_their_names(tmp_path: Path) -> None:
    one, other = tmp_path / "calls.jsonl", tmp_path / "talks" / "manifest.jsonl"
    for path in (one, other):
        write_manifest(path, corpus.read(SAMPLES))
    assert list(read_own([one, other])) == ["calls", "talks"]
    with pytest.raises(UsageError, match="different names; found calls, calls"):
        read_own([one, one])


def test_the_command_on_recordings_that_ship(peer: PocketSphinx, shipped_model: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    write_manifest(tmp_path / "other" / "manifest.jsonl", corpus.read(SAMPLES)[:1])
    manifests = ["--manifests", str(SAMPLES), str(tmp_path / "other" / "manifest.jsonl")]
    options = [*manifests, "--limit", "2", "--beam-size", "1", "--keep", str(tmp_path / "new" / "kept.jsonl")]
    line = [sys.executable, str(PROJECT / "scripts" / "compare_pocketsphinx.py"), *options]
    found = []
    for _ in range(2):
        done = subprocess.run([*line, "--json"], capture_output=True, encoding="utf-8", check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        found.append(json.loads(done.stdout))
    first, again = (each["rows"] for each in found)
    assert [each["corpus"] for each in first] == ["samples", "other", "pooled"]
    assert [each["pocketsphinx"] for each in first] == [each["pocketsphinx"] for each in again]  # its times, too
    assert [each["asr"]["wer"] for each in first] == [each["asr"]["wer"] for each in again]
    assert first[2]["asr"]["words"] == first[0]["asr"]["words"] + first[1]["asr"]["words"]
    kept = (tmp_path / "new" / "kept.jsonl").read_text().splitlines()
    assert len(kept) == 2  # the second corpus is the first's beginning
    for each in first:
        assert each["wer_ratio"] == pytest.approx(each["asr"]["wer"] / each["pocketsphinx"]["wer"])
        assert each["speed_ratio"] == pytest.approx(each["pocketsphinx"]["rtf"] / each["asr"]["rtf"])


def test_corpora_cannot_be_named_and_left_out() -> None:
    with pytest.raises(UsageError, match="--without"):
        main(["--manifests", str(SAMPLES), "--without", "an4"])
