"""Evaluation: every utterance is scored, and the numbers are those of `asr.score` on the same texts."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

import asr
from asr import audio, corpus, evaluate
from asr.corpus import Utterance
from asr.recognizer import Recognizer
from asr.score import score

KEYS = {"wer", "cer", "words", "errors", "substitutions", "deletions", "insertions", "utterances"}
KEYS |= {"wer_low", "wer_high", "rtf"}


@pytest.fixture(scope="module")
def recognizer(tiny_model: Path) -> Recognizer:
    return asr.load(str(tiny_model))


@pytest.fixture(scope="module")
def utterances(recognizer: Recognizer, recordings: list[Path]) -> list[Utterance]:
    """Recordings whose texts are what the model makes of them, so that changes to them are known errors."""
    return [
        Utterance(path.stem, path, recognizer.transcribe(path).text, audio.duration(path), f"speaker {i}")
        for i, path in enumerate(recordings)
    ]


def words(utterances: list[Utterance]) -> int:
    return sum(len(utterance.text.split()) for utterance in utterances)


def changed(utterances: list[Utterance], number: int, **changes: object) -> list[Utterance]:
    """The same utterances, one of them with other fields."""
    return [*utterances[:number], dataclasses.replace(utterances[number], **changes), *utterances[number + 1 :]]


def json_of(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, dict[str, object]]:
    """Status and object of the command with --json."""
    status = evaluate.main([*map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_texts_come_in_the_order_of_the_utterances(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    result = evaluate.evaluate(recognizer, utterances)
    assert result.texts == [utterance.text for utterance in utterances]
    assert (result.score.wer, result.score.cer, result.failures) == (0, 0, {})
    assert result.score.utterances == len(utterances)
    assert result.seconds_of_audio == pytest.approx(3.1 + 0.4 + 5.0 + 1.7)
    assert 0 < result.rtf == result.seconds / result.seconds_of_audio


def test_the_rates_are_those_of_score_on_the_same_texts(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    texts = ["one two", "", f"{utterances[2].text} three", utterances[3].text[1:]]
    spoken = [dataclasses.replace(utterance, text=text) for utterance, text in zip(utterances, texts, strict=True)]
    result = evaluate.evaluate(recognizer, spoken)
    hypotheses = [utterance.text for utterance in utterances]
    assert result.score == score(texts, hypotheses, [utterance.speaker for utterance in utterances])
    assert result.score.wer > 0


def test_references_go_through_the_models_normaliser(recognizer: Recognizer, utterances: list[Utterance]) -> None:
    loud = changed(utterances, 0, text=f"  {utterances[0].text.upper()}!  ")
    assert evaluate.evaluate(recognizer, loud).score.words.errors == 0


@pytest.mark.parametrize("text", ["日本語", "ω", "a5"])
def test_characters_outside_the_alphabet_stay_errors(
    recognizer: Recognizer, utterances: list[Utterance], text: str
) -> None:
    strange = changed(utterances, 1, text=f"{utterances[1].text} {text}")
    result = evaluate.evaluate(recognizer, strange).score
    assert result.words.reference == words(utterances) + 1
    assert (result.words.errors, result.words.deletions) == (1, 1)
    assert result.characters.errors == len(text) + 1  # and the space before it


def test_parts_of_a_recording(recognizer: Recognizer, utterances: list[Utterance], tmp_path: Path) -> None:
    whole = audio.load(utterances[2].audio)
    soundfile.write(tmp_path / "part.wav", whole[16_000:40_000], audio.SAMPLE_RATE, subtype="FLOAT")
    text = recognizer.transcribe(tmp_path / "part.wav").text
    part = Utterance("part", utterances[2].audio, text, offset=1.0, duration=1.5)
    result = evaluate.evaluate(recognizer, [part])
    assert (result.texts, result.seconds_of_audio) == ([text], 1.5)


def test_audio_that_cannot_be_read_counts_with_its_deletions(
    recognizer: Recognizer, utterances: list[Utterance], tmp_path: Path
) -> None:
    (tmp_path / "broken.wav").write_bytes(utterances[2].audio.read_bytes()[:1000])
    bad = changed(utterances, 0, audio=tmp_path / "missing.wav", text="two words", duration=None)
    bad = changed(bad, 2, audio=tmp_path / "broken.wav", text="three words more")
    result = evaluate.evaluate(recognizer, bad)
    assert [(name, why.split(": ")[1]) for name, why in result.failures.items()] == [
        (utterances[0].id, "no such file; check the path"),
        (utterances[2].id, "cut short"),
    ]
    assert result.score.utterances == len(utterances)
    assert (result.score.words.deletions, result.score.words.errors) == (5, 5)
    assert result.score.words.reference == words(bad)
    assert result.seconds_of_audio == pytest.approx(0.4 + 1.7)


def test_nothing_readable_is_all_deletions(recognizer: Recognizer, tmp_path: Path) -> None:
    result = evaluate.evaluate(recognizer, [Utterance("x", tmp_path / "x.wav", "a b c")])
    assert (result.score.wer, result.rtf) == (1.0, None)
    assert "WER 100.00%" in evaluate.describe(result)


def test_manifest_splits_and_json(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    test = [dataclasses.replace(utterance, split="test") for utterance in utterances[:3]]
    train = dataclasses.replace(utterances[3], text="not what is said", split="train")
    corpus.write_manifest(tmp_path / "m.jsonl", [*test, train])
    arguments = ["--model", tiny_model, "--manifest", tmp_path / "m.jsonl"]

    status, everything = json_of(capsys, *arguments)
    assert status == 0
    assert everything.keys() >= KEYS
    assert everything["utterances"] == 4
    assert everything["errors"] > 0
    assert everything["wer"] == everything["errors"] / everything["words"]
    assert everything["wer_low"] <= everything["wer"] <= everything["wer_high"]

    status, only_test = json_of(capsys, *arguments, "--split", "test")
    assert (status, only_test["utterances"], only_test["errors"]) == (0, 3, 0)
    assert only_test["words"] == words(test)
    assert only_test["wer_high"] == pytest.approx(1 - 0.05 ** (1 / words(test)))

    with pytest.raises(asr.Error, match="no utterance has the split 'dev'; splits found: test, train"):
        evaluate.main([*map(str, arguments), "--split", "dev"])


def test_the_interval_is_over_speakers_where_twenty_are_known(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    many = [dataclasses.replace(utterances[1], id=str(i), speaker=f"speaker {i % 20}") for i in range(40)]
    corpus.write_manifest(tmp_path / "m.jsonl", many)
    _, result = json_of(capsys, "--model", tiny_model, "--manifest", tmp_path / "m.jsonl")
    assert result["interval_over"] == "speakers"
    corpus.write_manifest(tmp_path / "m.jsonl", [utterance for utterance in many if utterance.speaker != "speaker 7"])
    _, result = json_of(capsys, "--model", tiny_model, "--manifest", tmp_path / "m.jsonl")
    assert result["interval_over"] == "utterances"


def test_the_command_scores_what_it_cannot_read_and_says_so(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, run_module: Callable
) -> None:
    lost = changed(utterances, 2, audio=tmp_path / "lost.wav")
    corpus.write_manifest(tmp_path / "m.jsonl", lost)
    result = run_module("asr.evaluate", "--model", tiny_model, "--manifest", tmp_path / "m.jsonl", "--json")
    assert result.returncode == 1
    assert result.stderr == (
        f"error: {utterances[2].id}: {tmp_path / 'lost.wav'}: no such file; check the path; "
        "counted with all its words deleted\n"
    )
    printed = json.loads(result.stdout)
    deleted = len(utterances[2].text.split())
    assert (printed["utterances"], printed["deletions"], printed["errors"]) == (4, deleted, deleted)
    assert 0 < printed["rtf"] < 1


def test_a_line_for_people(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    corpus.write_manifest(tmp_path / "m.jsonl", changed(utterances, 0, text=f"{utterances[0].text} more"))
    assert evaluate.main(["--model", str(tiny_model), "--manifest", str(tmp_path / "m.jsonl")]) == 0
    count = words(utterances) + 1
    line = capsys.readouterr().out
    assert line.startswith(f"WER {1 / count:.2%} (95% interval ")
    assert f"1 errors in {count} words of 4 utterances (0 substitutions, 1 deletions, 0 insertions)" in line


def test_wrong_usage(run_module: Callable, tmp_path: Path) -> None:
    result = run_module("asr.evaluate")
    assert (result.returncode, result.stdout) == (2, "")
    assert "required: --manifest" in result.stderr
    result = run_module("asr.evaluate", "--manifest", tmp_path / "none.jsonl")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {tmp_path / 'none.jsonl'} does not exist.")
