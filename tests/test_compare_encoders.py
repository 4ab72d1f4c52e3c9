"""The comparison of encoders: equal sizes, intervals over seeds, and the whole command on a small corpus of tones."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

import recipes
from asr import Error, checkpoint
from asr.command import UsageError
from asr.evaluate import main as evaluate
from asr.model import AcousticModel
from asr.score import MIN_SPEAKERS
from asr.train import configure
from asr.training.config import TrainConfig
from scripts.compare_encoders import Plan, check_alike, main, pooled_score, train
from scripts.encoder_costs import ENCODERS, matched_width
from scripts.run_recipe import sort_settings

PROJECT = Path(__file__).resolve().parents[1]
TINY = ("hidden=32", "layers=2", "channels=16", "steps=3", "workers=1", "evaluations=1", "batch_seconds=4.0")
COMPARED = ("gru-both", "transformer-forward")


@settings(deadline=None, max_examples=15)
@given(
    layers=st.integers(1, 5),
    hidden=st.integers(64, 512),
    subsampling=st.sampled_from([2, 4, 8]),
    channels=st.sampled_from([64, 256]),
    vocab=st.integers(28, 32),
)
def test_a_transformer_is_as_large_as_the_gru(
    layers: int, hidden: int, subsampling: int, channels: int, vocab: int
) -> None:
    base = TrainConfig(layers=layers, hidden=hidden, subsampling=subsampling, channels=channels)
    sizes = []
    for name in ("gru-both", "transformer-both", "transformer-forward"):
        config = base.updated(ENCODERS[name].settings(base)).model(vocab, 80)
        with torch.device("meta"):
            sizes.append(sum(weights.numel() for weights in AcousticModel(config).parameters()))
    assert sizes[1] == sizes[2] == pytest.approx(sizes[0], rel=0.03)


def test_a_transformer_that_cannot_be_as_large_is_an_error() -> None:
    with pytest.raises(Error, match="no transformer has as many parameters as a GRU of"):
        matched_width(TrainConfig(layers=5, hidden=2, channels=16))


# Intervals over seeds


def texts(path: Path, wrong: list[int], speakers: int) -> Path:
    """200 utterances of 5 words, of which utterance i has wrong[i] wrong."""
    with path.open("w") as file:
        for i, errors in enumerate(wrong):
            reference = "a b c d e"
            words = ["x"] * errors + reference.split()[errors:]
            row = {"id": f"u{i}", "reference": reference, "hypothesis": " ".join(words), "speaker": f"s{i % speakers}"}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.mark.parametrize("speakers", [3, 40])
def test_seeds_that_err_alike_tell_no_more_than_one(tmp_path: Path, speakers: int) -> None:
    """Were each seed's texts taken for other utterances, the interval would shrink with every seed."""
    random = np.random.default_rng(0)
    wrong = random.integers(0, 6, 200).tolist()
    files = [texts(tmp_path / f"{seed}.jsonl", wrong, speakers) for seed in range(4)]
    one, all_four = pooled_score(files[:1]), pooled_score(files)
    assert one.wer == all_four.wer == sum(wrong) / 1000
    assert (one.low, one.high) == pytest.approx((all_four.low, all_four.high), abs=1e-12)
    other = texts(tmp_path / "other.jsonl", random.permutation(wrong).tolist(), speakers)
    both = pooled_score([files[0], other])
    assert both.wer == one.wer and both.high - both.low < 0.9 * (one.high - one.low)
    assert one.interval == all_four.interval == ("speakers" if speakers >= MIN_SPEAKERS else "utterances")


# The whole command


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus in the layout of the digits recipe, in which a digit is the pitch of a tone."""
    folder, random = tmp_path_factory.mktemp("corpora"), np.random.default_rng(0)
    (folder / "fsdd").mkdir()
    time = np.arange(int(0.3 * 8000)) / 8000
    for digit in range(4):
        for take in range(16):
            samples = 0.3 * np.sin(2 * np.pi * 300 * 1.5**digit * time) + random.normal(0, 0.01, len(time))
            soundfile.write(folder / "fsdd" / f"{digit}_ann_{take}.wav", samples, 8000)
    return folder


@pytest.fixture(scope="module")
def compared(corpora: Path) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder of a comparison with two seeds, and what its command printed."""
    out = corpora / "compared"
    line = [sys.executable, "scripts/compare_encoders.py", "--recipe", "digits", "--minutes", "0", "--turns", "1"]
    line += ["--seeds", "1", "2", "--encoders", *COMPARED, "--out", str(out)]
    line += [part for setting in TINY for part in ("--set", setting)]
    environment = os.environ | {"ASR_CORPORA": str(corpora), "ASR_CACHE": str(corpora / "cache")}
    done = subprocess.run(line, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return out, done


def plan(out: Path, *pairs: str) -> Plan:
    return Plan("digits", 0.0, [1, 2], [*TINY, *pairs], out)


@pytest.mark.parametrize("recipe", recipes.NAMES)
@pytest.mark.parametrize("minutes", [0.0, 10.0])
def test_the_settings_that_are_expected_are_those_that_a_run_gets(recipe: str, minutes: float, tmp_path: Path) -> None:
    """Whatever length the recipe itself has."""
    plan = Plan(recipe, minutes, [1], [] if minutes else ["steps=3"], tmp_path)
    for encoder in (ENCODERS["gru-both"], ENCODERS["lstm-forward"]):
        given, chosen = recipes.find(recipe).settings, sort_settings(recipes.find(recipe), plan.pairs_of(encoder, 1))[1]
        assert plan.config(encoder, 1) == configure(given, chosen)


def test_the_table_says_what_the_runs_and_measurements_found(
    compared: tuple[Path, subprocess.CompletedProcess[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out, done = compared
    assert done.stdout == (out / "encoders.md").read_text()
    *lines, empty, about = done.stdout.splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert not empty and about.startswith("digits, 3 steps each, seeds 1, 2, workers: ")
    assert [row[0] for row in rows[2:]] == ["GRU", "transformer, one direction"]
    kept = json.loads((out / "encoders.json").read_text())["encoders"]
    assert [found["encoder"] for found in kept] == list(COMPARED)
    for found, row in zip(kept, rows[2:], strict=True):
        errors = []
        for seed in (1, 2):
            folder = out / f"{found['encoder']}-{seed}"
            assert evaluate(["--hypotheses", str(folder / "test.jsonl"), "--json"]) == 0
            errors.append(json.loads(capsys.readouterr().out)["errors"])
            model = checkpoint.load(folder / "model.safetensors")
            assert (model.model.cell, model.model.bidirectional) == (
                ENCODERS[found["encoder"]].cell,
                ENCODERS[found["encoder"]].bidirectional,
            )
        assert found["errors"] == sum(errors) and found["words"] == 2 * 20  # takes 0-4 of four digits
        assert found["wer_of_seeds"] == [count / 20 for count in errors]
        for cell, rate in ((row[2], "wer"), (row[3], "cer")):
            low, high = (100 * found[f"{rate}_{end}"] for end in ("low", "high"))
            interval = f" ({low:.1f} to {high:.1f})" if low < high else ""  # none where all of the few words are wrong
            assert cell == f"{found[rate]:.1%}{interval}"
        costs = [cost for cost in (found["packed"], found["own"]) if cost]
        assert all(0 < cost["inference_mib"] <= cost["training_mib"] < 10_000 for cost in costs)
        assert all(0 < cost["inference"] < cost["training"] for cost in costs)
        assert found["seconds_per_epoch"] > 0 and len(found["runs"]) == 2
    assert [bool(found["packed"]) for found in kept] == [True, False]
    assert all(found["own"] for found in kept)
    assert imread(out / "encoders.png").shape[2] == 4


def test_what_is_trained_is_not_trained_again(compared: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    out, _ = compared
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert train(plan(out), ENCODERS["gru-both"], 2).seed == 2
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_runs_with_other_settings_are_not_taken_for_these(
    compared: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    out, _ = compared
    with pytest.raises(Error, match=r"gru-both-1 holds another run .*steps=3"):
        train(plan(out, "dropout=0.5"), ENCODERS["gru-both"], 1)
    with pytest.raises(Error, match="gru-both-1 holds another run"):
        train(dataclasses.replace(plan(out), minutes=1.0), ENCODERS["gru-both"], 1)


def test_settings_that_the_command_line_leaves_to_the_recipe_count(
    compared: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    """A recipe's own may have changed since a run; and in the same minutes two workers train for longer than one."""
    folder = tmp_path / "gru-both-1"
    shutil.copytree(compared[0] / folder.name, folder)
    config = json.loads((folder / "config.json").read_text())
    config["settings"]["frequency_width"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(Error, match=r"gru-both-1 holds another run .*, with other frequency_width\)"):
        train(plan(tmp_path), ENCODERS["gru-both"], 1)
    one = train(plan(compared[0]), ENCODERS["gru-both"], 1)
    with pytest.raises(Error, match="the runs had 1 and 2 workers"):
        check_alike([dataclasses.replace(one, workers=1), dataclasses.replace(one, workers=2)])


def test_the_pooled_score_is_that_of_texts_as_the_model_writes_them(tmp_path: Path) -> None:
    line = {"id": "a", "reference": "Der Hund", "hypothesis": "der Hund", "speaker": None}
    (tmp_path / "test.jsonl").write_text(json.dumps(line) + "\n")
    assert pooled_score([tmp_path / "test.jsonl"]).wer == 0.5


def test_a_seed_counts_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--seeds 1 2 1: one of them is there twice"):
        main(["--seeds", "1", "2", "1", "--out", str(tmp_path)])


def test_a_run_that_fails_ends_the_comparison(corpora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_CORPORA", str(corpora))
    monkeypatch.setenv("ASR_CACHE", str(corpora / "cache"))
    with pytest.raises(Error, match=r"gru-both-1: no result, run_recipe.py ended with status 1"):
        train(plan(tmp_path, "noise=/nowhere"), ENCODERS["gru-both"], 1)
