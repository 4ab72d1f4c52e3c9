"""Evaluation: every utterance is scored, and the numbers are those of `asr.score` on the same texts."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asr
from asr import audio, corpus, evaluate
from asr.batching import expected_length
from asr.command import UsageError
from asr.corpus import Utterance
from asr.recognizer import Recognizer
from asr.score import score

SAMPLES = Path(__file__).resolve().parents[1] / "data" / "samples"
KEYS = {"wer", "cer", "words", "errors", "substitutions", "deletions", "insertions", "utterances"}
KEYS |= {"wer_low", "wer_high", "rtf", "characters", "character_errors", "cer_low", "cer_high"}


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


def test_a_part_without_a_duration_goes_to_the_end_of_its_recording(recordings: list[Path]) -> None:
    lengths = [
        expected_length(Utterance("part", recordings[2], "text", duration, offset=offset))
        for duration, offset in ((None, 0.0), (None, 3.0), (1.5, 3.0), (None, 6.0))
    ]
    assert lengths == [80_000, 32_000, 24_000, 0]


def test_parts_of_a_recording_that_cannot_seek_in_any_order(recognizer: Recognizer, tmp_path: Path) -> None:
    path = tmp_path / "long.mp3"
    samples = audio.load(SAMPLES / "river.flac")
    soundfile.write(path, np.tile(samples, 3), audio.SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
    starts = (3.0, 0.5, 4.0, 0.0, 2.9)
    parts = [Utterance(str(start), path, "text", offset=start, duration=1.0 + start / 4) for start in starts]
    result = evaluate.evaluate(recognizer, [*parts[:2], Utterance("x", tmp_path / "x.wav", "text"), *parts[2:]])
    texts = [recognizer.transcribe(audio.load(path, part.offset, part.duration)).text for part in parts]
    assert result.texts == [*texts[:2], "", *texts[2:]] and list(result.failures) == ["x"]
    assert len(set(texts)) > 1


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
    assert result.stderr.startswith("error: name what to score: recordings (--manifest FILE), or texts")
    result = run_module("asr.evaluate", "--manifest", tmp_path / "none.jsonl")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {tmp_path / 'none.jsonl'} does not exist.")


# Groups, written forms, kept hypotheses and comparisons of a model


def test_groups_of_recordings(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    several = changed(utterances, 0, text=f"{utterances[0].text} more", fields={"room": "loud"}, duration=None)
    several = changed(several, 1, fields={"room": "quiet"}, speaker="speaker 0")
    corpus.write_manifest(tmp_path / "m.jsonl", several)
    arguments = ["--model", str(tiny_model), "--manifest", str(tmp_path / "m.jsonl")]
    arguments += ["--by", "speaker", "--by", "duration", "--by", "room"]
    _, result = json_of(capsys, *arguments)
    assert {field: list(groups) for field, groups in result["by"].items()} == {
        "speaker": ["speaker 0", "speaker 2", "speaker 3"],
        "duration": ["under 2 s", "2 to 5 s", "5 to 10 s"],  # the first is measured: 3.1 s
        "room": ["loud", "quiet", "unknown"],
    }
    loud = result["by"]["room"]["loud"]
    assert (loud["utterances"], loud["words"], loud["errors"]) == (1, words(several[:1]), 1)
    assert loud.keys() == score(["a"], ["a"]).to_dict().keys()
    for groups in result["by"].values():
        for count in ("utterances", "words", "errors"):
            assert sum(group[count] for group in groups.values()) == result[count]
    assert evaluate.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("95% interval") == 4
    assert "\nspeaker " in printed and "\nduration " in printed and "\nroom " in printed


def test_a_field_that_nothing_has_is_an_error_before_the_work(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path
) -> None:
    corpus.write_manifest(tmp_path / "m.jsonl", utterances)
    with pytest.raises(asr.Error, match=r"no utterance has a field 'room'.*found: speaker, and duration"):
        evaluate.main(["--model", "no such model", "--manifest", str(tmp_path / "m.jsonl"), "--by", "room"])
    (tmp_path / "texts.jsonl").write_text('{"id": "a", "text": "one"}\n')
    line = ["--hypotheses", str(tmp_path / "texts.jsonl"), "--references", str(tmp_path / "texts.jsonl")]
    with pytest.raises(asr.Error, match="no utterance has a duration to group by"):
        evaluate.main([*line, "--by", "duration"])


def test_written_forms_show_their_effect(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    corpus.write_manifest(tmp_path / "m.jsonl", changed(utterances, 0, text=f"{utterances[0].text} 21"))
    arguments = ["--model", tiny_model, "--manifest", tmp_path / "m.jsonl"]
    plain = json_of(capsys, *arguments)[1]
    result = json_of(capsys, *arguments, "--normalizer", "english")[1]
    assert "without_normalizer" not in plain
    assert plain["errors"] == result["without_normalizer"]["errors"] == 1
    assert result["errors"] == 2 and result["words"] == plain["words"] + 1  # twenty one
    evaluate.main([*map(str, arguments), "--normalizer", "english"])
    assert f"without --normalizer: WER {plain['wer']:.2%} (95%" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["h.jsonl", "h.trn"])
def test_what_was_recognized_is_kept_and_compared(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture, name: str
) -> None:
    corpus.write_manifest(tmp_path / "m.jsonl", changed(utterances, 2, text="something else"))
    arguments = ["--model", tiny_model, "--manifest", tmp_path / "m.jsonl"]
    first = json_of(capsys, *arguments, "--hypotheses-out", tmp_path / name)[1]
    again = json_of(capsys, "--hypotheses", tmp_path / name, "--references", tmp_path / "m.jsonl")[1]
    assert again | {"rtf": first["rtf"], "recognizer": first["recognizer"]} == first
    compared = json_of(capsys, *arguments, "--compare", tmp_path / name)[1]["comparison"]
    assert (compared["a"], compared["b"]) == ("this run", str(tmp_path / name))
    assert compared["wer_a"] == compared["wer_b"] == first["wer"]
    assert (compared["difference"], compared["p"], compared["better"]) == (0, 1, None)


def test_what_could_not_be_read_is_missing_in_what_is_kept(
    tiny_model: Path, utterances: list[Utterance], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    corpus.write_manifest(tmp_path / "m.jsonl", changed(utterances, 2, audio=tmp_path / "lost.wav"))
    arguments = ["--model", tiny_model, "--manifest", tmp_path / "m.jsonl"]
    assert json_of(capsys, *arguments, "--hypotheses-out", tmp_path / "h.jsonl")[0] == 1
    kept = [json.loads(line)["id"] for line in (tmp_path / "h.jsonl").read_text().splitlines()]
    assert kept == [each.id for each in utterances if each is not utterances[2]]
    corpus.write_manifest(tmp_path / "m.jsonl", utterances)
    status, found = json_of(capsys, *arguments, "--compare", tmp_path / "h.jsonl")
    assert (status, found["comparison"]["missing_a"], found["comparison"]["missing_b"]) == (1, 0, 1)


def test_nothing_readable_leaves_an_empty_file(recognizer: Recognizer, tiny_model: Path, tmp_path: Path) -> None:
    corpus.write_manifest(tmp_path / "m.jsonl", [Utterance("x", tmp_path / "x.wav", "a b c")])
    line = ["--model", tiny_model, "--manifest", tmp_path / "m.jsonl", "--hypotheses-out", tmp_path / "h.trn"]
    assert evaluate.main(list(map(str, line))) == 1 and (tmp_path / "h.trn").read_text() == ""


# Texts alone


def lines_of(path: Path, **texts: str) -> Path:
    path.write_text("".join(json.dumps({"id": name, "text": text}) + "\n" for name, text in texts.items()))
    return path


@pytest.fixture
def said(tmp_path: Path) -> Path:
    return lines_of(tmp_path / "said.jsonl", a="One, two, THREE.", b="Mr. Brown", c="")


def test_texts_are_scored_as_score_does(said: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    heard = lines_of(tmp_path / "heard.jsonl", c="uh", b="mister brown", a="one too three")
    status, result = json_of(capsys, "--hypotheses", heard, "--references", said)
    assert status == 0
    expected = score(["one two three", "mr brown", ""], ["one too three", "mister brown", "uh"])
    assert result == expected.to_dict() | {"rtf": None, "failed": 0}
    as_they_are = json_of(capsys, "--hypotheses", heard, "--references", said, "--normalizer", "none")[1]
    assert as_they_are["errors"] == 3 + 2 + 1
    spoken = json_of(capsys, "--hypotheses", heard, "--references", said, "--normalizer", "english")[1]
    assert (spoken["errors"], spoken["without_normalizer"]["errors"]) == (2, 3)


def test_missing_hypotheses_are_deleted_and_named(said: Path, tmp_path: Path, run_module: Callable) -> None:
    heard, other = lines_of(tmp_path / "h.jsonl", a="one two three"), lines_of(tmp_path / "o.jsonl", b="mr brown")
    result = run_module("asr.evaluate", "--hypotheses", heard, "--references", said, "--compare", other, "--json")
    assert result.returncode == 1
    assert result.stderr.splitlines() == [
        *(f"error: {name}: no hypothesis in {heard}; counted with all its words deleted" for name in "bc"),
        *(f"error: {name}: no hypothesis in {other}; counted with all its words deleted" for name in "ac"),
    ]
    printed = json.loads(result.stdout)
    assert (printed["utterances"], printed["deletions"], printed["errors"], printed["failed"]) == (3, 2, 2, 2)
    compared = printed["comparison"]
    assert (compared["wer_a"], compared["wer_b"]) == (2 / 5, 3 / 5)
    assert (compared["missing_a"], compared["missing_b"]) == (2, 2)
    result = run_module("asr.evaluate", "--hypotheses", said, "--references", said, "--compare", other)
    told = f"; utterances without a hypothesis, all deleted: 0 ({said}), 2 ({other})"
    assert result.stdout.splitlines()[1].endswith(told)


def test_a_split_of_the_references(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    said = [
        Utterance(name, tmp_path / f"{name}.wav", "one two", split=split)
        for name, split in (("a", "test"), ("b", "train"))
    ]
    corpus.write_manifest(tmp_path / "m.jsonl", said)
    heard = lines_of(tmp_path / "h.jsonl", a="one too")
    arguments = ["--hypotheses", heard, "--references", tmp_path / "m.jsonl"]
    status, result = json_of(capsys, *arguments, "--split", "test")
    assert (status, result["utterances"], result["wer"], result["failed"]) == (0, 1, 0.5, 0)
    with pytest.raises(asr.Error, match="no text has the split 'dev'; splits found: test, train"):
        evaluate.main([*map(str, arguments), "--split", "dev"])


def test_unknown_ids_are_an_error(said: Path, tmp_path: Path) -> None:
    heard = lines_of(tmp_path / "h.jsonl", a="one", x="two")
    for arguments in (["--hypotheses", heard], ["--hypotheses", said, "--compare", heard]):
        with pytest.raises(
            asr.Error, match=r"h\.jsonl: 1 of 2 ids are not among the references: x; expected ids like a"
        ):
            evaluate.main([*map(str, arguments), "--references", str(said)])


def test_a_comparison_for_people(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    names = [f"u{i}" for i in range(60)]
    right = dict.fromkeys(names, "one two three four five")
    good = lines_of(tmp_path / "good.jsonl", **right | {"u0": "one two"})
    bad = lines_of(tmp_path / "bad.jsonl", **dict.fromkeys(names, "one to three four"))
    arguments = ["--references", str(lines_of(tmp_path / "said.jsonl", **right)), "--hypotheses", str(bad)]
    assert evaluate.main([*arguments, "--compare", str(good)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("WER 40.00% (95% interval - over utterances), CER 26.09% (-): 120 errors in 300")
    assert second.startswith(f"{good} is better: WER 40.00% ({bad}) and 1.00% ({good}), difference +39.00 points (95%")


def test_the_dev_texts_of_a_run_are_scored_alone(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "dev.jsonl"
    path.write_text('{"id": "a", "reference": "ONE TWO", "hypothesis": "one too"}\n')
    assert json_of(capsys, "--hypotheses", path)[1]["wer"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--references", "r.trn"], "name what to score"),
        (["--hypotheses", "h.trn", "--manifest", "m.jsonl", "--model", "en"], "leave out --manifest, --model"),
        (["--hypotheses", "h.trn", "--device", "cuda", "--threads", "4"], "leave out --device, --threads"),
        (["--hypotheses", "h.trn", "--hotword-weight", "4"], "leave out --hotword-weight"),
        (["--hypotheses", "h.jsonl", "--split", "test"], "leave out --split"),
        (["--hypotheses", "h.trn", "--lm", "x", "--tune", "--hypotheses-out", "o"], "--lm, --tune, --hypotheses-out"),
        (["--manifest", "m.jsonl", "--references", "r.trn"], "--references belongs to --hypotheses"),
        (["--manifest", "m.jsonl", "--normalizer", "none"], "--normalizer none belongs to --hypotheses"),
    ],
)
def test_options_that_do_not_belong_together(arguments: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        evaluate.main(arguments)


def test_names_of_files_are_checked_before_the_work(tmp_path: Path) -> None:
    for option in ("--hypotheses-out", "--compare"):
        with pytest.raises(asr.Error, match=r"x\.txt: expected a name that ends in \.jsonl or \.trn"):
            evaluate.main(["--model", "no such model", "--manifest", "none.jsonl", option, str(tmp_path / "x.txt")])


@pytest.mark.parametrize("option", ["--manifest", "--hotwords", "--compare"])
def test_what_is_read_is_not_replaced(option: str, tmp_path: Path) -> None:
    path, link = tmp_path / "manifest.jsonl", tmp_path / "out.jsonl"
    path.write_text("mine")
    link.symlink_to(path)
    given = tmp_path if option == "--manifest" else path
    line = ["--model", "no such model", "--manifest", "none.jsonl", option, str(given), "--hypotheses-out", str(link)]
    with pytest.raises(UsageError, match=r"out\.jsonl: this file is read, too, and would be replaced"):
        evaluate.main(line)
    assert path.read_text() == "mine"


def test_a_report_that_cannot_be_written_is_known_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for option, name in (("--report", "r.html"), ("--hypotheses-out", "h.jsonl")):
        path = tmp_path / "file" / name
        with pytest.raises(OSError, match="file"):
            evaluate.main(["--model", "no such model", "--manifest", "none.jsonl", option, str(path)])


def test_odd_ids_keep_to_their_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, heard = tmp_path / "said.jsonl", tmp_path / "heard.jsonl"
    said.write_text("".join(json.dumps({"id": name, "text": "one"}) + "\n" for name in ("a\x1b[31m\nb", "c")))
    heard.write_text('{"id": "c", "text": "one"}\n')
    assert evaluate.main(["--hypotheses", str(heard), "--references", str(said)]) == 1
    assert capsys.readouterr().err.startswith("error: a\\x1b[31m\\nb: no hypothesis in ")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full")
def test_a_report_that_fails_costs_no_figures(said: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.html").symlink_to("/dev/full")
    arguments = ["--hypotheses", said, "--references", said, "--report", tmp_path / "r.html", "--json"]
    with pytest.raises(OSError, match="No space left"):
        evaluate.main(list(map(str, arguments)))
    assert json.loads(capsys.readouterr().out)["wer"] == 0


def test_a_name_that_is_no_text(said: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/odd\xff.jsonl"))
    try:
        shutil.copy(said, odd)
    except OSError:
        pytest.skip("this file system wants names of text")
    line = ["--hypotheses", said, "--references", odd, "--report", tmp_path / "r.html"]
    assert evaluate.main(list(map(str, line))) == 0
    assert "<title>odd?</title>" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_one_utterance_has_no_interval(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "a", "reference": "one two", "hypothesis": "one too"}\n')
    assert evaluate.main(["--hypotheses", str(tmp_path / "a.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("WER 50.00% (95% interval - over utterances), ")


def test_texts_alone_need_no_torch(said: Path) -> None:
    arguments = ["--hypotheses", str(said), "--references", str(said)]
    code = f"import sys; from asr.evaluate import main; main({arguments!r})"
    found = subprocess.run(
        [sys.executable, "-c", f"{code}; print({{'torch', 'scipy', 'numba'}} & set(sys.modules))"],
        capture_output=True,
        text=True,
    )
    assert found.stdout.endswith("set()\n")
