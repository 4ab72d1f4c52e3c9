"""Training, by the real commands, on speech of tones: every letter is a short burst of its own frequency."""

import atexit
import copy
import dataclasses
import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.image import imread

import asr.evaluate
import asr.train
from asr import Error, checkpoint
from asr.command import UsageError
from asr.corpus import Utterance, read, write_manifest
from asr.features import FeatureConfig, LogMel
from asr.priors import log_priors
from asr.text import Alphabet, Normalizer, Subwords
from asr.training.augment import MP3_BIT_RATES, code_mp3
from asr.training.average import averaged_copy, decay_after, move_towards
from asr.training.batches import epoch_batches
from asr.training.config import TrainConfig
from asr.training.folder import Progress, RunFolder
from asr.training.hearing import Hearing
from asr.training.job import make_job
from asr.training.loop import Trainer, train
from asr.training.losses import blank_score
from asr.training.meter import Meter
from asr.training.prepare import Examples, Transcripts, find_examples, frames_needed, noise_report
from asr.training.store import Entry
from asr.training.workers import Group, launch

PROJECT = Path(__file__).resolve().parents[1]
RATE = 16_000
PATIENCE = 600  # s: what hangs fails in the end, what only waits for a busy machine does not
LETTERS = "abcdefgh"

# Small enough for seconds of training; dropout, masks, batch normalisation and averaged weights take part, so that a
# resumed run has all to restore that there is.
TINY = {
    "layers": 1,
    "hidden": 48,
    "channels": 48,
    "norm": "batch",
    "learning_rate": 0.01,
    "average": 0.1,
    "frequency_width": 5,
    "speed": 0.0,  # another speed is another pitch, which here is another letter
    "vtlp": 0.0,
    "low_pass": 0.0,
    "batch_seconds": 12.0,
    "steps": 100,
    "evaluations": 5,
    "workers": 2,
}
WITH_DEV = {**TINY, "patience": 5}  # which must not end a run that gets better
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="workers meet through gloo, which needs Unix here")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Speech of tones


def tones(text, random):
    """(samples,) of a text: 0.12 s a letter, 0.06 s between letters, 0.26 s between words."""
    time_in_burst = np.arange(int(0.12 * RATE)) / RATE
    parts = [np.zeros(RATE // 20)]
    for letter in text:
        if letter != " ":
            wave = np.sin(2 * np.pi * 300 * 1.4 ** LETTERS.index(letter) * time_in_burst)
            parts.append(0.3 * wave * np.hanning(len(wave)))
        parts.append(np.zeros(int((0.2 if letter == " " else 0.06) * RATE)))
    samples = np.concatenate(parts)
    return samples + random.normal(0, 0.001, len(samples))


def say(folder, name, text, random):
    """An utterance of tones."""
    samples = tones(text, random)
    soundfile.write(folder / f"{name}.wav", samples, RATE)
    return Utterance(name, folder / f"{name}.wav", text, len(samples) / RATE)


def random_text(random):
    words = ["".join(random.choice(list(LETTERS), random.integers(2, 5))) for _ in range(random.integers(1, 4))]
    return " ".join(words)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Folder with train.jsonl, and dev.jsonl: the same, but for wrong texts and a recording that is not there."""
    folder = tmp_path_factory.mktemp("speech")
    random = np.random.default_rng(0)
    utterances = [say(folder, f"u{i:02}", random_text(random), random) for i in range(30)]
    write_manifest(folder / "train.jsonl", utterances)
    wrong = [dataclasses.replace(utterance, text="hh " + utterance.text) for utterance in utterances[:4]]
    missing = Utterance("missing", folder / "missing.wav", "ab cd ef", 1.0)
    write_manifest(folder / "dev.jsonl", [*wrong, missing, *utterances[4:]])
    os.environ["ASR_CACHE"] = str(folder / "cache")
    yield folder
    del os.environ["ASR_CACHE"]


def command(module, *arguments, **settings):
    """The command line of a module with settings for `--set`."""
    pairs = [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    return [sys.executable, "-m", f"asr.{module}", *map(str, arguments), *pairs]


def run(line):
    return subprocess.run(line, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE)


@pytest.fixture(scope="module")
def trained(speech):
    """The folder of a finished run, and what its command printed."""
    out = speech / "trained"
    line = command("train", speech / "train.jsonl", "--dev", speech / "dev.jsonl", "--out", out, **WITH_DEV)
    done = run(line)
    assert done.returncode == 0, done.stderr
    return out, done


def dev_scores(out):
    """step -> the dev score that a run logged, in the order of the log."""
    entries = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return {entry["step"]: entry["dev"] for entry in entries if "dev" in entry}


def logged_curves(out):
    """tag -> (step, value), of all that a log holds of them."""
    curves = {}
    for line in (out / "log.jsonl").read_text().splitlines():
        entry = json.loads(line)
        numbers = {f"dev/{name}": entry["dev"][name] for name in ("wer", "cer")} if "dev" in entry else {}
        for name in {"padding", "loss", "learning_rate", "audio_hours_per_hour"} & entry.keys():
            numbers[f"train/{name}"] = entry[name]
        for tag, value in numbers.items():
            curves.setdefault(tag, []).append((entry["step"], pytest.approx(value, rel=1e-6)))
    return curves


def job_of(utterances, out, dev=(), **changes):
    """A run of one worker that has not begun."""
    config = TrainConfig().updated({**TINY, "norm": "layer", "workers": 1, **changes})
    out.mkdir(parents=True, exist_ok=True)
    return make_job(utterances, list(dev), RunFolder(out), config, {"data": ["tones"]})


# The whole way


def test_a_tiny_sample_is_learned_by_heart(speech, trained):
    out, done = trained
    assert done.stdout.splitlines() == [str(out / "model.safetensors")]
    result = run(command("evaluate", "--model", done.stdout.strip(), "--manifest", speech / "train.jsonl", "--json"))
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["wer"] == found["cer"] == found["errors"] == 0 and found["words"] > 50


def test_the_wer_of_training_is_that_of_an_evaluation(speech, trained, capsys):
    out, done = trained
    assert (
        asr.evaluate.main(
            ["--model", str(out / "model.safetensors"), "--manifest", str(speech / "dev.jsonl"), "--json"]
        )
        == 1
    )
    evaluated = json.loads(capsys.readouterr().out)
    assert evaluated.pop("failed") == 1 and evaluated.pop("rtf") > 0 and evaluated.pop("recognizer")["lm"] is None
    scores = dev_scores(out)
    best = min(scores, key=lambda step: (scores[step]["wer"], scores[step]["cer"]))
    assert evaluated == scores[best]
    assert evaluated["deletions"] == 4 + 3  # words that nobody said, and those of the recording that is not there
    printed = re.findall(r"step (\d+): dev WER ([\d.]+)% CER", done.stderr)
    assert printed == [(str(step), f"{100 * score['wer']:.2f}") for step, score in scores.items()]


def test_the_best_model_is_kept_with_its_origin(speech, trained):
    out, _ = trained
    scores = dev_scores(out)
    assert list(scores) == [20, 40, 60, 80, 100]
    best = min(scores, key=lambda step: (scores[step]["wer"], scores[step]["cer"]))
    info = checkpoint.load(out / "model.safetensors").info
    assert info["step"] == best and info["steps"] == 100 and info["dev"] == scores[best]
    assert info["data"] == [f"{speech.name}/train.jsonl"] and info["licence"] == "unknown" and info["utterances"] == 30
    assert info["settings"] == dataclasses.asdict(TrainConfig(**WITH_DEV))
    lines = [json.loads(line) for line in (out / "dev.jsonl").read_text().splitlines()]
    assert [line["reference"] for line in lines] == [Normalizer()(u.text) for u in read(speech / "dev.jsonl")]
    assert [line["speaker"] for line in lines] == [u.speaker for u in read(speech / "dev.jsonl")]
    assert {line["hypothesis"] for line in lines if line["reference"] == "ab cd ef"} == {""}


def test_the_model_that_is_kept_knows_how_often_it_says_what(speech, trained):
    """Over the training audio as it is, all of it where it is short, whatever has been heard of it."""
    stored = checkpoint.load(trained[0] / "model.safetensors")
    heard = [[asr.audio.load(utterance.audio)] for utterance in read(speech / "train.jsonl")]
    expected = log_priors(stored.acoustic_model(), LogMel(stored.features), heard)
    assert stored.log_priors == pytest.approx(expected, abs=0.01)
    assert len(stored.log_priors) == 1 + len({*LETTERS, " "})


def test_a_finished_run_leaves_its_curves(trained, event_scalars):
    out, done = trained
    found = event_scalars(out)
    assert found == logged_curves(out)
    assert [step for step, _ in found["dev/wer"]] == [20, 40, 60, 80, 100]
    assert imread(out / "curves.png").shape[2] == 4
    assert re.search(rf"{found['train/padding'][0][1]:.1%} of the frames are padding", done.stderr)


def test_a_run_that_was_killed_and_resumed_equals_one_that_was_not(speech, trained, event_scalars):
    """It is stopped and killed, each time as soon as a new state was saved."""
    out = speech / "killed"
    line = command("train", speech / "train.jsonl", "--dev", speech / "dev.jsonl", "--out", out, **WITH_DEV)
    first = 0
    for kill in (
        lambda process: process.send_signal(signal.SIGTERM),  # as a system does that shuts down
        lambda process: os.killpg(process.pid, signal.SIGINT),  # as a terminal does
    ):
        error, status = stop([*line, "--resume"] if first else line, out, kill)
        assert first < saved_step(out) < 100
        first = saved_step(out)
        last_lines = [f"stopped after step {first} of 100; --resume goes on", "interrupted"]
        assert status == 130 and error.splitlines()[-2:] == last_lines and "Traceback" not in error
    assert first % 20  # between two evaluations
    for kill in (lambda process: process.kill(), lambda process: os.killpg(process.pid, signal.SIGKILL)):
        error, status = stop([*line, "--resume"], out, kill, signal.SIG_IGN)
        assert status == -signal.SIGKILL and f"resumed after step {first} of 100" in error
        assert first < saved_step(out) < 100  # workers whose main process was killed have not gone on
        first = saved_step(out)
    done = run([*line, "--resume"])
    assert done.returncode == 0, done.stderr
    whole, _ = trained
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()
    assert (out / "dev.jsonl").read_bytes() == (whole / "dev.jsonl").read_bytes()
    states = [checkpoint.read_tensors(folder / "state.safetensors")[0] for folder in (out, whole)]
    assert states[0].keys() == states[1].keys() >= {"model.output.bias", "average.output.bias"}
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert dev_scores(out) == dev_scores(whole)
    assert event_scalars(out) == logged_curves(out) and (out / "curves.png").is_file()
    ends = [RunFolder(folder).progress() for folder in (out, whole)]
    assert dataclasses.replace(ends[0], seconds=0) == dataclasses.replace(ends[1], seconds=0)


def test_a_terminal_that_is_closed_stops_a_run_as_ctrl_c_does(speech, tmp_path):
    """Nothing can be said to it any more, and what was learnt is saved all the same."""
    import fcntl  # of Unix alone
    import termios

    terminal, end = os.openpty()
    out = tmp_path / "out"
    line = command("train", speech / "train.jsonl", "--out", out, **{**TINY, "steps": 10**4, "evaluations": 1})
    process = subprocess.Popen(
        line,
        cwd=PROJECT,
        stdin=end,
        stdout=end,
        stderr=end,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # the terminal that hangs up when it is closed
    )
    os.close(end)
    said = b""
    while b"step 1" not in said:  # a line of progress
        said += os.read(terminal, 2**16)
    os.close(terminal)
    assert process.wait(PATIENCE) != 0
    assert 0 < saved_step(out) < 10**4


def stop(line, out, kill, interrupts=signal.SIG_DFL):
    """Start a run, stop it as soon as it has saved a new state; its error output, of all workers, and its status.

    Args:
        interrupts: what Ctrl-C does: SIG_IGN as under nohup.
    """
    state = out / "state.safetensors"
    before = state.stat().st_mtime_ns if state.exists() else 0
    process = subprocess.Popen(
        line,
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, interrupts),
    )
    deadline = time.monotonic() + PATIENCE
    while not (state.exists() and state.stat().st_mtime_ns > before):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)
    kill(process)
    _, error = process.communicate(timeout=PATIENCE)
    return error, process.returncode


def saved_step(out):
    _, metadata = checkpoint.read_tensors(out / "state.safetensors")
    return json.loads(metadata["progress"])["step"]


def test_a_run_of_another_version_is_not_gone_on_with(speech, trained, tmp_path):
    """It would train another model by the same settings."""
    out = shutil.copytree(trained[0], tmp_path / "old")
    config = json.loads((out / "config.json").read_text())
    for version in ({}, {"version": config.pop("version") - 1}):
        (out / "config.json").write_text(json.dumps({**config, **version}))
        with pytest.raises(Error, match=r"another version of asr; .*--out"):
            asr.train.main([str(speech / "train.jsonl"), "--out", str(out), "--resume"])


def test_a_run_goes_on_that_began_before_there_was_a_setting(speech, trained, tmp_path):
    out = shutil.copytree(trained[0], tmp_path / "old")
    config = json.loads((out / "config.json").read_text())
    del config["settings"]["mmi"]
    (out / "config.json").write_text(json.dumps(config))
    done = run(command("train", speech / "train.jsonl", "--dev", speech / "dev.jsonl", "--out", out, "--resume"))
    assert "this run is finished" in done.stderr


def test_a_finished_run_is_never_overwritten_by_mistake(speech, trained):
    out, _ = trained
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(Error, match=r"holds a run already; .*--resume.*--out"):
        asr.train.main([str(speech / "train.jsonl"), "--out", str(out)])
    with pytest.raises(Error, match="began with other hidden"):
        asr.train.main([str(speech / "train.jsonl"), "--out", str(out), "--resume", "--set", "hidden=64"])
    with pytest.raises(Error, match="began with other data"):
        asr.train.main([str(speech / "dev.jsonl"), "--out", str(out), "--resume"])
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "data_report.jsonl"} == {
        name: content for name, content in before.items() if name != "data_report.jsonl"
    }


def test_there_must_be_a_run_to_resume(speech, tmp_path):
    with pytest.raises(Error, match="there is no run to resume"):
        asr.train.main([str(speech / "train.jsonl"), "--out", str(tmp_path / "new"), "--resume"])


# The end of a run

STALE = {"learning_rate": 1e-9, "steps": 30, "evaluations": 6, "patience": 2}  # nothing changes: it ends at step 15


def test_a_run_ends_early_where_the_dev_score_gets_no_better(speech, tmp_path):
    line = command("train", speech / "train.jsonl", "--dev", speech / "dev.jsonl", "--out", tmp_path / "out")
    line = [*line, *command("train", **{**WITH_DEV, "norm": "layer", **STALE})[3:]]
    done = run(line)
    assert done.returncode == 0, done.stderr
    why = r"^ended early after step 15 of 30: 2 evaluations without a better score than dev WER .*patience"
    assert re.search(why, done.stderr, re.MULTILINE)
    assert list(dev_scores(tmp_path / "out")) == [5, 10, 15]
    assert checkpoint.load(tmp_path / "out" / "model.safetensors").info["step"] == 5
    before = (tmp_path / "out" / "state.safetensors").read_bytes()
    again = run([*line, "--resume"])
    assert again.returncode == 0 and again.stdout == done.stdout
    assert again.stderr.splitlines()[-1] == "this run is finished, after step 15 of 30"
    assert (tmp_path / "out" / "state.safetensors").read_bytes() == before


def test_a_run_stopped_after_every_step_ends_early_as_one_that_was_not(speech, tmp_path, event_scalars):
    utterances = read(speech / "train.jsonl")
    train(Group(), job_of(utterances, tmp_path / "whole", utterances[:3], **STALE))
    steps = []
    while not steps or not RunFolder(tmp_path / "stopped").progress().finished:
        group = Group()
        group.stop.set()
        train(group, job_of(utterances, tmp_path / "stopped", utterances[:3], **STALE))
        steps.append(saved_step(tmp_path / "stopped"))
    assert steps == list(range(1, 16))
    curves = event_scalars(tmp_path / "stopped")
    assert curves == logged_curves(tmp_path / "stopped")
    assert curves["dev/cer"] == event_scalars(tmp_path / "whole")["dev/cer"] and len(curves["train/padding"]) == 1
    ends = [RunFolder(tmp_path / name).progress() for name in ("whole", "stopped")]
    assert (ends[0].stale, ends[0].early) == (2, True)
    assert dataclasses.replace(ends[0], seconds=0) == dataclasses.replace(ends[1], seconds=0)
    states = [checkpoint.read_tensors(tmp_path / name / "state.safetensors")[0] for name in ("whole", "stopped")]
    assert all(torch.equal(states[0][name], states[1][name]) for name in {**states[0], **states[1]})
    assert dev_scores(tmp_path / "whole") == dev_scores(tmp_path / "stopped")


def test_patience_without_a_dev_set_is_wrong_usage(speech, tmp_path):
    with pytest.raises(UsageError, match=r"patience=3 needs a dev set \(--dev\)"):
        job_of(read(speech / "train.jsonl"), tmp_path, patience=3)


def test_the_last_steps_are_plain(speech, tmp_path):
    """They are those of a run that has no masks and changes nothing, and the steps before are those of any run."""
    none = {"speed": 0.0, "vtlp": 0.0, "frequency_masks": 0, "time_masks": 0.0}
    losses = {}
    for name, changes in {"plain": {"plain": 0.5}, "varied": {}, "without": none}.items():
        trainer = Trainer(Group(), job_of(read(speech / "train.jsonl"), tmp_path / name, dropout=0.0, **changes))
        batch = [trainer.job.examples[i] for i in range(3)]
        for step in range(4):
            trainer.progress = Progress(steps=4, step=step)
            losses[name, step] = trainer._backward(batch, batch)
    for step in range(4):
        assert losses["plain", step] == losses["varied" if step < 2 else "without", step]
    assert losses["varied", 0] != losses["without", 0]


# Workers


def work_together(group, job, batches):
    """A worker's part of one update for each batch; the leading one leaves what came of it."""
    found = []
    for batch in batches:
        trainer = Trainer(group, job)
        trainer.plan()
        loss = trainer.update(batch)
        found.append({"loss": loss, "gradient": trainer.gradient, "buffers": dict(trainer.model.named_buffers())})
    if group.leads:
        torch.save(found, job.out / f"{group.size}.pt")


def test_two_workers_have_the_gradient_of_one(speech, tmp_path):
    job = job_of(read(speech / "train.jsonl"), tmp_path, dropout=0.0, bf16=False, clip=1e9)
    batches = [list(range(7)), [3]]  # shared unequally, and one worker with nothing to do
    work_together(Group(), job, batches)
    launch(2, work_together, job, batches)
    alone, together = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (1, 2))
    for one, two in zip(alone, together, strict=True):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
        assert one["gradient"].norm() > 0.1
        assert (two["gradient"] - one["gradient"]).norm() < 1e-5 * one["gradient"].norm()


def test_two_workers_have_the_statistics_of_one(speech, tmp_path):
    """Each counts by its frames; one with nothing to do does not hold the others back."""
    job = job_of(read(speech / "train.jsonl"), tmp_path, dropout=0.0, bf16=False, norm="batch")
    batches = [[3], list(range(7))]
    work_together(Group(), job, batches)
    launch(2, work_together, job, batches)
    alone, together = (torch.load(tmp_path / f"{size}.pt", weights_only=True) for size in (1, 2))
    idle, shared = zip(alone, together, strict=True)
    assert idle[0]["buffers"].keys() == idle[1]["buffers"].keys()
    for name, one in idle[0]["buffers"].items():
        torch.testing.assert_close(idle[1]["buffers"][name], one)
    # Where they share a batch, the inputs of the first layer are the same; the others are normalised apart.
    mean = "norms.0.running_mean"
    assert shared[0]["buffers"][mean].norm() > 1e-4
    torch.testing.assert_close(shared[1]["buffers"][mean], shared[0]["buffers"][mean])


def test_a_step_that_is_skipped_leaves_all_of_the_model_as_it_was(speech, tmp_path):
    trainer = Trainer(Group(), job_of(read(speech / "train.jsonl"), tmp_path, norm="batch"))
    trainer.plan()
    trainer.update([0, 1])
    before = copy.deepcopy(trainer.model.state_dict())
    hear = trainer.hearing.samples
    trainer.hearing.samples = lambda *arguments: hear(*arguments) * np.float32("nan")
    assert math.isnan(trainer.update([2, 3]))
    after = trainer.model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert trainer.progress.skipped == 1
    trainer.hearing.samples = hear
    assert math.isfinite(trainer.update([2, 3]))
    assert Meter(trainer.progress).entry(trainer.progress, 0.0)["skipped"] == 1


def test_a_loss_that_is_not_finite_ends_with_advice(speech, tmp_path):
    settings = {**TINY, "learning_rate": 1e30}  # weights beyond what a float can hold
    done = run(command("train", speech / "train.jsonl", "--out", tmp_path / "out", **settings))
    assert done.returncode == 1 and done.stdout == ""
    *_, skipped, last = done.stderr.splitlines()
    assert re.fullmatch(r"step \d+: loss not finite, step skipped; utterances u\d\d, .*", skipped)
    assert re.fullmatch(r"error: the loss was not finite in 5 steps .*learning_rate.*1e\+30.*bf16=false.*u\d\d.*", last)
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out" / "model.safetensors").exists()


def fail(group, how):
    """One worker fails while the other waits for it."""
    if group.rank == 0:
        group.add_up(torch.zeros(1))
    elif how == "disk full":
        raise OSError(errno.ENOSPC, "No space left on device", "state.safetensors")
    elif how == "memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8")
    else:
        os.kill(os.getpid(), {"killed": signal.SIGKILL, "aborted": signal.SIGABRT}[how])


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("disk full", r"^\[Errno 28\] No space left on device: 'state.safetensors'$"),
        ("memory", r"^CUDA out of memory; .*--resume.*batch_seconds"),
        ("killed", r"^a worker was killed by signal 9, .*--resume"),
        ("aborted", r"^a worker was killed by signal 6, .*--resume"),
    ],
)
def test_a_worker_that_fails_ends_all_of_them_with_one_line(how, message):
    with pytest.raises(Error, match=message):
        launch(2, fail, how)


def stop_after_asking(group, number, full):
    os.kill(os.getppid(), number)
    while not group.stop.is_set():  # a signal that comes just before a long wait would not end it
        time.sleep(0.01)
    if full:
        raise OSError(errno.ENOSPC, "No space left on device", "state.safetensors")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopping_waits_for_the_workers_and_says_what_went_wrong(number):
    handler = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        launch(1, stop_after_asking, number, False)
    with pytest.raises(Error, match="No space left on device"):
        launch(1, stop_after_asking, number, True)
    assert signal.getsignal(number) is handler


def broken(group):
    atexit.register(os.abort)  # as gloo's threads do at times where the interpreter ends with an error
    raise ZeroDivisionError("a bug of ours")


def test_a_bug_keeps_its_traceback():
    with pytest.raises(torch.multiprocessing.ProcessRaisedException, match=r"in broken(.|\n)*a bug of ours"):
        launch(1, broken)


# The look at the data


def test_utterances_that_cannot_be_trained_on_are_named_and_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(1)
    good = [say(tmp_path, f"good{i}", "abba cab", random) for i in range(3)]
    (tmp_path / "cut.wav").write_bytes(good[0].audio.read_bytes()[:-1000])
    bad = {
        "missing": (Utterance("missing", tmp_path / "missing.wav", "ab"), "unreadable audio", "missing.wav"),
        "cut": (Utterance("cut", tmp_path / "cut.wav", "ab"), "unreadable audio", "cut.wav"),
        "silent": (dataclasses.replace(good[0], id="silent", text=""), "empty text", "nothing is left"),
        "dots": (dataclasses.replace(good[0], id="dots", text="... !"), "empty text", "nothing is left"),
        "dense": (
            dataclasses.replace(good[0], id="dense", text="ab" * 40),
            "text does not fit",
            "80 letters",
        ),
        "long": (say(tmp_path, "long", "a" * 30, random), "too long", "max_seconds is 4"),
    }
    job = job_of([*(entry[0] for entry in bad.values()), *good], tmp_path / "out", max_seconds=4.0)
    assert [example.id for example in job.examples] == ["good0", "good1", "good2"]
    reported = [json.loads(line) for line in (tmp_path / "out" / "data_report.jsonl").read_text().splitlines()]
    assert [(entry["utterance"], entry["kind"]) for entry in reported] == [
        (name, kind) for name, (_, kind, _) in bad.items()
    ]
    for entry in reported:
        assert bad[entry["utterance"]][2] in entry["detail"]
    printed = capsys.readouterr().err
    for count, kind, name in (
        (2, "unreadable audio", "missing"),
        (2, "empty text", "silent"),
        (1, "text does not fit", "dense"),
        (1, "too long", "long"),
    ):
        assert re.search(rf"left out: {count} of 9 utterances: {kind} \(such as {name}: .*\)", printed)
    assert "subsampling=2 or units=subwords" in printed  # more than a few texts do not fit
    assert math.isfinite(Trainer(Group(), job).update([0, 1, 2]))


def test_strict_training_stops_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    good = say(tmp_path, "good", "abba cab", np.random.default_rng(1))
    write_manifest(tmp_path / "data.jsonl", [good, Utterance("missing", tmp_path / "missing.wav", "ab")])
    done = run(command("train", tmp_path / "data.jsonl", "--out", tmp_path / "out", "--strict", **TINY))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(r"error: 1 of 2 utterances can be trained on, and --strict asks for all; .*says why", last)
    assert json.loads((tmp_path / "out" / "data_report.jsonl").read_text())["utterance"] == "missing"
    assert not (tmp_path / "out" / "model.safetensors").exists()


def look_at(utterances, folder, alphabet, max_seconds):
    """What can be trained on with an alphabet, and its audio."""
    folder.mkdir()
    transcripts = Transcripts.read(utterances, Normalizer(), make(folder / "all"))
    found = make(folder / "examples")
    find_examples(transcripts, alphabet, TrainConfig().model(len(alphabet), 80), FeatureConfig(), max_seconds, found)
    return Examples(Entry(found)), transcripts.cache


def test_characters_that_the_alphabet_lacks_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(1)
    utterances = [say(tmp_path, "known", "abba", random), say(tmp_path, "unknown", "bach", random)]
    good, _ = look_at(utterances, tmp_path / "out", Alphabet.from_texts(["ab"]), max_seconds=10)
    assert [example.id for example in good] == ["known"]
    (problem,) = good.problems()
    assert (problem.utterance, problem.kind) == ("unknown", "unknown characters")
    assert "'c' 'h'" in problem.detail and "'a'" not in problem.detail


def test_nothing_to_train_on_is_an_error_that_says_where_the_reasons_are(tmp_path, monkeypatch):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Error, match=r"^0 of 1 utterances can be trained on; .*data_report.jsonl says why"):
        job_of([Utterance("x", tmp_path / "missing.wav", "ab")], tmp_path / "out")


@settings(deadline=None)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=8))
def test_frames_needed_is_where_the_ctc_loss_becomes_finite(ids):
    needed = frames_needed(ids)
    for frames, finite in ((needed, True), (needed - 1, False)):
        log_probs = torch.zeros(max(frames, 1), 1, 4).log_softmax(-1)
        lengths = torch.tensor([frames]), torch.tensor([len(ids)])
        loss = torch.nn.functional.ctc_loss(log_probs, torch.tensor([ids]), *lengths, reduction="sum")
        assert bool(loss.isfinite()) == finite


def test_speech_in_the_wrong_byte_order_is_said_to_be_noise(tmp_path, monkeypatch):
    """What a converter makes of big-endian samples that it takes for little-endian ones."""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    for gain in (0.05, 0.3, 1.0):
        reports = []
        for order in ("<i2", ">i2"):
            utterances = []
            for path in sorted((PROJECT / "data" / "samples").glob("*.flac")):
                samples, rate = soundfile.read(path)
                swapped = (samples / abs(samples).max() * gain * 32767).astype("<i2").view(order).astype("=i2")
                soundfile.write(tmp_path / f"{path.stem}{gain}{order[0] == '>'}.wav", swapped, rate)
                utterances.append(Utterance(path.stem, tmp_path / f"{path.stem}{gain}{order[0] == '>'}.wav", "ab"))
            good, cache = look_at(utterances, tmp_path / f"{gain}{order[0]}", Alphabet(("", "a", "b")), 60.0)
            assert len(good) == len(utterances)
            reports.append(list(noise_report(good, cache)))
        right, (wrong,) = reports
        assert right == []
        assert (
            f"{len(utterances)} of {len(utterances)}" in wrong and "byte order" in wrong and utterances[0].id in wrong
        )


# The loop


def test_output_of_only_blanks_is_said_with_what_to_try(tmp_path, monkeypatch, capsys):
    """Recordings that have nothing to do with their texts: no letter is ever worth writing."""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(2)
    for i in range(8):
        soundfile.write(tmp_path / f"{i}.wav", random.normal(0, 0.1, 2 * RATE), RATE)
    noises = [Utterance(f"{i}", tmp_path / f"{i}.wav", random_text(random)[:4]) for i in range(8)]
    train(Group(), job_of(noises, tmp_path / "out", noises, steps=30, evaluations=3, muon=False))
    lines = [line for line in capsys.readouterr().err.splitlines() if "loss" not in line]
    *_, before, last, warning = lines
    assert "dev WER 100.00%" in last and "warning" in before
    assert "only blanks" in warning and "learning_rate" in warning and "batch_seconds" in warning


def test_a_dev_set_that_cannot_be_read_counts_with_all_its_words_deleted(speech, tmp_path):
    dev = [Utterance(f"{i}", tmp_path / f"{i}.wav", "one two three") for i in range(4)]
    train(Group(), job_of(read(speech / "train.jsonl"), tmp_path, dev, steps=2, evaluations=1))
    (score,) = dev_scores(tmp_path).values()
    assert (score["wer"], score["deletions"], score["words"], score["utterances"]) == (1.0, 12, 12, 4)


@pytest.mark.parametrize(("average", "kept_part"), [(0.0, "model"), (0.5, "average")])
def test_without_a_dev_set_the_newest_model_is_kept(average, kept_part, speech, tmp_path):
    train(Group(), job_of(read(speech / "train.jsonl"), tmp_path, steps=6, evaluations=2, average=average))
    kept = checkpoint.load(tmp_path / "model.safetensors")
    state, _ = checkpoint.read_tensors(tmp_path / "state.safetensors")
    assert kept.info["step"] == kept.info["steps"] == 6
    assert all(torch.equal(weight, state[f"{kept_part}.{name}"]) for name, weight in kept.weights.items())


def test_the_model_that_is_kept_is_the_average_of_its_latest_weights(speech, tmp_path):
    """By hand: of 8 steps the average reaches back over 4, but in the beginning over fewer."""
    trainer = Trainer(Group(), job_of(read(speech / "train.jsonl"), tmp_path, steps=8, average=0.5, norm="batch"))
    trainer.plan()
    expected = {name: tensor.double() for name, tensor in trainer.model.state_dict().items()}
    for step, decay in enumerate([1 / 10, 2 / 11, 3 / 12, 4 / 13, 5 / 14, 6 / 15, 7 / 16, 8 / 17]):
        assert decay < 1 - 1 / 4
        trainer.update([2 * step, 2 * step + 1])
        trainer._advance(step=step + 1)
        for name, tensor in trainer.model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    trainer._evaluate()
    kept, latest = checkpoint.load(tmp_path / "model.safetensors").weights, trainer.model.state_dict()
    assert {"norms.0.running_mean", "norms.0.running_var", "output.weight"} <= kept.keys()
    for name, weight in kept.items():
        if weight.is_floating_point():
            assert torch.allclose(weight.double(), expected[name], rtol=1e-5, atol=1e-7), name
            assert not torch.equal(weight, latest[name]), name


def test_an_average_reaches_back_over_its_horizon_once_it_has_begun():
    """A weight that jumps from 0 to 1 is 1 - 1/e in the average after `horizon` steps."""
    model = torch.nn.Linear(1, 1, bias=False)
    average = averaged_copy(model)
    for weight in (model.weight, average.weight):
        torch.nn.init.zeros_(weight)
    torch.nn.init.ones_(model.weight)
    for updates in range(10_000, 10_100):
        move_towards(average, model, decay_after(updates, horizon=100))
    assert average.weight.item() == pytest.approx(1 - 1 / math.e, abs=0.002)


def test_the_averaged_model_is_what_the_dev_set_scores(speech, tmp_path):
    utterances = read(speech / "train.jsonl")
    trainer = Trainer(Group(), job_of(utterances, tmp_path, utterances[:3], steps=4))
    trainer._advance(step=2)
    torch.nn.init.constant_(trainer.model.output.bias[:1], 100.0)  # only blanks
    torch.nn.init.constant_(trainer.average.output.bias[trainer.job.alphabet.encode("a")[0]], 100.0)
    trainer._evaluate()
    (line, *_) = (tmp_path / "dev.jsonl").read_text().splitlines()
    assert json.loads(line)["hypothesis"] == "a"


def test_minutes_become_a_number_of_steps_that_repeats_the_run(speech, tmp_path, capsys):
    utterances = read(speech / "train.jsonl")
    settings = {"norm": "batch", "evaluations": 1}
    train(Group(), job_of(utterances, tmp_path / "minutes", steps=0, minutes=0.1, **settings))
    steps = json.loads((tmp_path / "minutes" / "config.json").read_text())["steps"]
    assert f"{steps} steps, 1 workers" in capsys.readouterr().err
    train(Group(), job_of(utterances, tmp_path / "steps", steps=steps, **settings))
    one, two = (checkpoint.load(tmp_path / name / "model.safetensors").weights for name in ("minutes", "steps"))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_padding_is_that_of_the_frames_that_each_worker_pads(speech, tmp_path, capsys):
    job = job_of(read(speech / "train.jsonl"), tmp_path)
    for size in (1, 2):
        Trainer(Group(0, size), job).plan()
        padded = real = 0
        for batch in epoch_batches([example.seconds for example in job.examples], TINY["batch_seconds"], 1, 0):
            for part in (batch[rank::size] for rank in range(size)):
                frames = [job.cache.lengths[job.examples[i].number] // 160 + 1 for i in part]
                padded, real = padded + len(part) * max(frames, default=0), real + sum(frames)
        share = 1 - real / padded
        assert 0.01 < share < 0.5 and f", {share:.1%} of the frames are padding" in capsys.readouterr().err
        entry = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
        assert entry == {"step": 0, "padding": pytest.approx(share)}


def test_epochs_count_passes_over_the_data(speech, tmp_path):
    job = job_of(read(speech / "train.jsonl"), tmp_path, steps=0, epochs=2.5)
    trainer = Trainer(Group(), job)
    trainer.plan()
    seconds = [example.seconds for example in job.examples]
    assert trainer.progress.steps == round(2.5 * len(epoch_batches(seconds, TINY["batch_seconds"], 1, 0)))


def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(speech, tmp_path):
    job = job_of(read(speech / "train.jsonl")[:2], tmp_path, steps=20, warmup=0.25)
    trainer = Trainer(Group(), job)
    trainer.plan()
    rates = []
    for step in range(20):
        trainer.progress = dataclasses.replace(trainer.progress, step=step)
        trainer.update([0, 1])
        rates += {group["lr"] for optimizer in trainer.optimizers for group in optimizer.param_groups}
    assert rates[:5] == pytest.approx([0.002, 0.004, 0.006, 0.008, 0.01])
    # A half cosine over the 15 steps that are left.
    assert rates[5:] == pytest.approx([0.005 * (1 + math.cos(math.pi * i / 15)) for i in range(15)])


def test_a_step_is_clipped_to_the_largest_norm(speech, tmp_path):
    job = job_of(read(speech / "train.jsonl")[:4], tmp_path, clip=0.05)
    trainer = Trainer(Group(), job)
    trainer.plan()
    trainer.update([0, 1, 2, 3])
    assert trainer.gradient.norm().item() == pytest.approx(0.05, rel=1e-4)


def test_a_run_is_not_resumed_with_other_data(speech, tmp_path):
    """Other texts, another dev set or none: each would silently make another model of the same name."""
    utterances = read(speech / "train.jsonl")
    dev = utterances[:3]
    train(Group(), job_of(utterances, tmp_path, dev, steps=2, evaluations=1))
    others = [dataclasses.replace(utterances[0], text="hh"), *utterances[1:]]
    for data, chooses, what in ((others, dev, "data"), (utterances, utterances[:2], "dev"), (utterances, [], "dev")):
        with pytest.raises(Error, match=f"began with other {what};"):
            job_of(data, tmp_path, chooses, steps=2, evaluations=1)


def test_among_models_of_equal_wer_the_one_with_fewer_wrong_characters_is_kept(speech, tmp_path):
    """Early on every word is wrong in every model; the newest, not the first, is then worth keeping."""
    utterances = read(speech / "train.jsonl")
    trainer = Trainer(Group(), job_of(utterances, tmp_path, utterances[:3], steps=4, average=0.0))
    trainer.progress = dataclasses.replace(trainer.progress, best=(1.0, 2.0), step=2)
    torch.nn.init.constant_(trainer.model.output.bias[:1], 100.0)  # only blanks: WER and CER are 1
    trainer._evaluate()
    assert trainer.progress.best == (1.0, 1.0)
    assert checkpoint.load(tmp_path / "model.safetensors").info["step"] == 2


def test_minutes_that_are_too_few_are_an_error(speech, tmp_path):
    with pytest.raises(Error, match="leaves no time to train"):
        train(Group(), job_of(read(speech / "train.jsonl"), tmp_path, steps=0, minutes=1e-6))


@pytest.mark.parametrize(
    "setting",
    [
        "evaluations=0",
        "workers=-1",
        "seed=-1",
        "steps=-5",
        "epochs=nan",
        "warmup=3",
        "average=1.5",
        "learning_rate=inf",
        "hiden=3",
        "units=words",
        "pieces=0",
        "speed=0.04",
        "subsampling=3",
        "statistics=all",
    ],
)
def test_impossible_settings_are_wrong_usage(setting, speech, tmp_path):
    done = run([*command("train", speech / "train.jsonl", "--out", tmp_path), "--set", setting])
    assert done.returncode == 2 and setting.split("=")[0] in done.stderr and "Traceback" not in done.stderr


def test_a_dev_file_without_a_dev_split_is_an_error(speech, tmp_path):
    rows = [dataclasses.replace(utterance, split="test") for utterance in read(speech / "train.jsonl")]
    write_manifest(tmp_path / "other.jsonl", rows)
    done = run(command("train", speech / "train.jsonl", "--dev", tmp_path / "other.jsonl", "--out", tmp_path / "out"))
    assert done.returncode == 1 and "no utterance has the split 'dev'; it has test" in done.stderr


# Noises and rooms


def heard(utterances, out, epoch, **changes):
    """What a worker hears of each utterance in an epoch."""
    job = job_of(utterances, out, **changes)
    hearing = Hearing(job)
    return [hearing.samples(example, epoch) for example in job.examples]


def test_noises_and_rooms_are_drawn_by_seed_epoch_and_utterance(speech, tmp_path):
    random = np.random.default_rng(1)
    for name, samples in (("noise", random.normal(0, 0.1, 4000)), ("rooms", np.exp(-np.arange(800) / 100))):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "a.wav", samples, RATE)
    mixed = {"noise": str(tmp_path / "noise"), "rooms": str(tmp_path / "rooms"), "noise_share": 0.5, "room_share": 0.5}
    utterances = read(speech / "train.jsonl")
    plain = heard(utterances, tmp_path / "plain", 0)
    first, again, later = (heard(utterances, tmp_path / f"{i}", epoch, **mixed) for i, epoch in enumerate((0, 0, 1)))
    other_seed = heard(utterances, tmp_path / "seed", 0, **mixed, seed=2)
    other_half = heard(utterances[::-1], tmp_path / "reversed", 0, **mixed | {"noise_share": 1.0, "room_share": 0.0})
    same = [np.array_equal(one, two) for one, two in zip(plain, first, strict=True)]
    assert 2 <= sum(same) <= 15  # of 30 a quarter, about
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    for other in (later, other_seed):
        assert sum(np.array_equal(one, two) for one, two in zip(first, other, strict=True)) <= 15
    assert not any(np.array_equal(one, two) for one, two in zip(plain, other_half[::-1], strict=True))


def test_a_share_is_coded_as_mp3_at_every_rate(speech, tmp_path):
    utterances = read(speech / "train.jsonl")
    unchanged = {"low_pass": 0.0, "speed": 0.0}
    plain = heard(utterances, tmp_path / "plain", 0, **unchanged)
    for share, least, most in ((0.5, 8, 22), (1.0, 30, 30)):  # of 30
        coded = heard(utterances, tmp_path / f"{share}", 0, **unchanged, mp3=share)
        rates = []
        for one, two in zip(plain, coded, strict=True):
            if not np.array_equal(one, two):
                rates.append(next(rate for rate in MP3_BIT_RATES if np.array_equal(two, code_mp3(one, rate))))
        assert least <= len(rates) <= most and set(rates) == set(MP3_BIT_RATES)


def test_noise_alone_is_no_text(speech, tmp_path):
    noise = np.random.default_rng(1).integers(-9000, 9000, 4000) / np.float32(32768)
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "a.wav", noise, RATE, subtype="FLOAT")
    sounds = {"noise": str(tmp_path / "noise"), "noise_share": 0.0, "low_pass": 0.0}
    job = job_of(read(speech / "train.jsonl"), tmp_path / "run", **sounds, wordless=0.3)
    hearing = Hearing(job)
    examples = [hearing.example(each, 0) for each in job.examples]
    alone = [example for example in examples if not example.ids]
    assert 3 <= len(alone) <= 15  # of 30
    for example in alone:
        samples = hearing.samples(example, 0)
        assert len(samples) in range(len(hearing.audio[example.number]) * 9 // 10, len(samples) + 1)
        assert set(samples.tolist()) <= set(noise.tolist())
    with pytest.raises(UsageError, match=r"wordless is 0\.3, but there are no noises"):
        TrainConfig(wordless=0.3)


def test_the_score_of_no_text_is_ctcs():
    torch.manual_seed(1)
    log_probs = torch.randn(3, 7, 5, dtype=torch.float64).log_softmax(-1)  # (B, T, V)
    lengths = torch.tensor([7, 4, 5])
    found = blank_score(log_probs, lengths, [True, True, False])
    empty = torch.zeros(2, 1, dtype=torch.long)
    theirs = torch.nn.functional.ctc_loss(
        log_probs[:2].transpose(0, 1), empty, lengths[:2], torch.zeros(2, dtype=torch.long), reduction="sum"
    )
    torch.testing.assert_close(-found, theirs)
    assert blank_score(log_probs, lengths, [False] * 3) == 0


def test_a_run_is_not_resumed_with_other_noises(speech, tmp_path):
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "a.wav", np.ones(100), RATE)
    settings = {"noise": str(tmp_path / "noise")}
    utterances = read(speech / "train.jsonl")
    out = tmp_path / "run"
    job_of(utterances, out, **settings)
    RunFolder(out).state.write_bytes(b"")  # as if it had begun
    os.utime(tmp_path / "noise" / "a.wav", (1, 1))  # the same, copied again
    job_of(utterances, out, **settings)
    soundfile.write(tmp_path / "noise" / "b.wav", np.ones(100), RATE)
    with pytest.raises(Error, match="this run began with other data"):
        job_of(utterances, out, **settings)


# Subwords


WORDS = ["abcd", "bad", "cafe", "head", "dab"]


@pytest.fixture(scope="module")
def of_words(tmp_path_factory, speech):
    """Manifest of utterances of few words, whose letters are too many for 8x subsampling."""
    folder = tmp_path_factory.mktemp("words")
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(WORDS, random.integers(2, 5))) for _ in range(30)]
    write_manifest(folder / "train.jsonl", [say(folder, f"w{i:02}", text, random) for i, text in enumerate(texts)])
    return folder / "train.jsonl"


SUBWORDS = {"units": "subwords", "pieces": 13, "subsampling": 8}


@pytest.fixture(scope="module")
def subword_run(of_words):
    """The folder of a finished run with subwords, and what its command printed."""
    out = of_words.parent / "out"
    done = run(command("train", of_words, "--dev", "none", "--out", out, "--strict", **TINY, **SUBWORDS))
    assert done.returncode == 0, done.stderr
    return out, done


def test_subwords_are_learned_by_heart_at_8x(of_words, subword_run):
    out, done = subword_run
    assert re.search(r"30 utterances, 0\.\d\d hours, 13 pieces$", done.stderr, re.M)
    code = (
        "import sys, asr, asr.corpus\n"
        "recognizer = asr.load(sys.argv[1])\n"
        "for utterance in asr.corpus.read(sys.argv[2]):\n"
        "    print(recognizer.transcribe(utterance.audio).text)\n"
        "assert 'sentencepiece' not in sys.modules\n"  # only training needs it
    )
    found = run([sys.executable, "-c", code, str(out / "model.safetensors"), str(of_words)])
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines() == [utterance.text for utterance in read(of_words)]


def test_a_run_is_not_resumed_with_other_units(of_words, subword_run):
    out, _ = subword_run
    line = [str(of_words), "--dev", "none", "--out", str(out), "--resume"]
    for change, what in (("pieces=12", "pieces"), ("units=letters", "units")):
        with pytest.raises(Error, match=f"this run began with other {what}"):
            asr.train.main([*line, "--set", change])
    assert asr.train.main(line) == 0  # nothing is left to do, and nothing has changed


def test_too_many_pieces_for_the_text_end_training_with_how_many_there_can_be(of_words, tmp_path):
    done = run(command("train", of_words, "--out", tmp_path / "out", **TINY, units="subwords"))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    most = re.fullmatch(
        r"error: 500 pieces are too many for this text, which gives (\d+) at most; set pieces to a number from 8 to \1",
        done.stderr.splitlines()[-1],
    )
    assert job_of(read(of_words), tmp_path / "most", units="subwords", pieces=int(most[1])).examples


def test_pieces_fit_where_letters_do_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(1).normal(0, 0.1, RATE), RATE)  # 13 frames at 8x
    texts = [f"abba cab {letter}" for letter in LETTERS] + ["dd" * 20]
    utterances = [Utterance(f"{i}", tmp_path / "a.wav", text * 2) for i, text in enumerate(texts)]
    with pytest.raises(Error, match="0 of 9 utterances"):
        job_of(utterances, tmp_path / "letters", subsampling=8)
    assert "set subsampling=4 or units=subwords, of which" in capsys.readouterr().err
    job = job_of(utterances, tmp_path / "pieces", subsampling=8, units="subwords", pieces=16)
    printed = capsys.readouterr().err
    assert len(job.examples) == 8 and re.search(r"\d+ subwords need \d+ output frames; there are 13\)", printed)
    assert "set subsampling=4 or check" in printed
    for example in job.examples:
        assert job.alphabet.decode(example.ids) == texts[example.number] * 2


def test_from_letters_to_subwords_the_output_is_new_and_the_rest_taken_over(of_words, trained, tmp_path):
    model = trained[0] / "model.safetensors"
    line = command("train", of_words, "--out", tmp_path / "out", "--init", model, units="subwords", pieces=12)
    done = run([*line, "--set", "steps=1", "--set", "learning_rate=1e-9", "--set", "workers=1"])
    assert done.returncode == 0, done.stderr
    assert f"starts from {model}; new: output.bias, output.weight" in done.stderr.splitlines()
    before, after = checkpoint.load(model), checkpoint.load(tmp_path / "out" / "model.safetensors")
    assert isinstance(after.alphabet, Subwords) and after.model == dataclasses.replace(before.model, vocab=13)
    layers = [name for name in before.weights if name.startswith("layers") and before.weights[name].ndim > 1]
    assert layers and all(torch.allclose(after.weights[name], before.weights[name], atol=1e-6) for name in layers)


def test_a_subword_model_to_start_from_keeps_its_pieces_and_learns_new_characters(of_words, subword_run, tmp_path):
    model = subword_run[0] / "model.safetensors"
    known = checkpoint.load(model).alphabet
    utterances = [dataclasses.replace(utterance, text=f"{utterance.text} gaff") for utterance in read(of_words)[:9]]
    config = asr.train.configure({}, {**TINY, "init": str(model), "workers": 1, "dropout": 0.0})
    assert (config.units, config.pieces, config.subsampling) == ("subwords", 13, 8)
    job = make_job(utterances, [], RunFolder(make(tmp_path / "more")), config, {})
    assert job.alphabet.symbols == (*known.symbols, "g")
    assert job.alphabet.decode(job.examples[0].ids) == utterances[0].text
    weights = Trainer(Group(), job).model.state_dict()["output.weight"]
    assert torch.equal(weights[:14], checkpoint.load(model).weights["output.weight"])
    other = make_job(read(of_words), [], RunFolder(make(tmp_path / "o")), config.updated({"pieces": 10}), {})
    assert len(other.alphabet) == 11 and other.model.vocab == 11  # learnt anew, since as many were asked for


def make(folder):
    folder.mkdir()
    return folder


# Starting from a model


def test_a_model_to_start_from_is_not_forgotten(speech, trained, tmp_path):
    """After one tiny step it still knows what it knew; sizes are its own, whatever the defaults are."""
    model = trained[0] / "model.safetensors"
    data = speech / "train.jsonl"
    line = command("train", data, "--dev", "none", "--out", tmp_path / "out", "--init", model, "--strict")
    done = run([*line, "--set", "steps=1", "--set", "learning_rate=1e-9", "--set", "workers=1"])
    assert done.returncode == 0, done.stderr
    assert f"starts from {model}; new: nothing" in done.stderr.splitlines()
    recognizer = asr.load(str(tmp_path / "out" / "model.safetensors"))
    assert recognizer.info["init"] == {
        "model": "trained/model.safetensors",
        "data": asr.load(str(model)).info["data"],
        "licence": "unknown",
    }
    known = read(speech / "train.jsonl")
    found = recognizer.transcribe_many([soundfile.read(utterance.audio, dtype="float32")[0] for utterance in known])
    assert [transcript.text for transcript in found] == [utterance.text for utterance in known]


def test_a_model_to_start_from_keeps_its_letters_and_is_not_needed_to_go_on(speech, trained, tmp_path):
    model = tmp_path / "model.safetensors"
    model.write_bytes((trained[0] / "model.safetensors").read_bytes())
    known = checkpoint.load(model).alphabet.symbols
    texts = [dataclasses.replace(read(speech / "train.jsonl")[0], text="xa"), read(speech / "train.jsonl")[1]]
    first = job_of(texts, tmp_path / "run", init=str(model))
    assert first.alphabet.symbols == (*known, "x")
    RunFolder(tmp_path / "run").state.write_bytes(b"")  # as if it had begun
    model.unlink()
    again = job_of(texts, tmp_path / "run", init=str(model))
    assert (again.alphabet, again.info) == (first.alphabet, first.info)


def test_a_model_to_start_from_must_be_there(speech, tmp_path):
    line = command("train", speech / "train.jsonl", "--out", tmp_path / "out", "--init", "nowhere")
    done = run(line)
    assert done.returncode == 1 and "model 'nowhere': no such file" in done.stderr and "Traceback" not in done.stderr
