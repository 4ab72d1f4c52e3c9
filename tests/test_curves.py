"""The curves of a run, from logs that are known."""

import io

import numpy as np
import pytest
from matplotlib.image import imread
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from asr.training.curves import EVENT_FILES, EventFile, picture, save_picture
from asr.training.folder import RunError, RunFolder


def progress(step, loss=1.0):
    rates = {"learning_rate": 0.1 / step, "audio_hours_per_hour": 200.0 + step}
    return {"step": step, "epoch": 0, "seconds": 10.0 * step, "loss": loss, **rates}


def dev(step, wer=0.5, cer=0.25):
    return {"step": step, "dev": {"wer": wer, "cer": cer, "words": 10}}


FIRST = [{"step": 0, "padding": 0.125}, progress(10, 3.0), dev(10, 1.5), progress(20, 2.0), dev(20, None, None)]


def write(folder, entries):
    events = EventFile(folder)
    for entry in entries:
        folder.log(entry)
        events.add(entry)
    return events


def test_tensorboard_shows_what_the_log_holds(tmp_path, event_scalars):
    write(RunFolder(tmp_path), FIRST).close()
    assert event_scalars(tmp_path) == {
        "train/padding": [(0, 0.125)],
        "train/loss": [(10, 3.0), (20, 2.0)],
        "train/learning_rate": [(10, pytest.approx(0.01)), (20, pytest.approx(0.005))],
        "train/audio_hours_per_hour": [(10, 210.0), (20, 220.0)],
        "dev/wer": [(10, 1.5)],  # that of step 20 is infinite
        "dev/cer": [(10, 0.25)],
    }


def test_a_run_that_was_killed_and_goes_on_has_no_step_twice(tmp_path, event_scalars):
    folder = RunFolder(tmp_path)
    write(folder, FIRST)  # never closed
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"step": 2')
    folder.rewind_log(10)
    write(folder, [progress(15, 2.5), progress(20, 2.25)]).close()
    assert event_scalars(tmp_path)["train/loss"] == [(10, 3.0), (15, 2.5), (20, 2.25)]
    assert len(list(tmp_path.glob(EVENT_FILES))) == 1


def test_the_clock_of_tensorboard_leaves_out_pauses(tmp_path):
    folder = RunFolder(tmp_path)
    write(folder, FIRST[:3]).close()
    write(folder, [progress(20), dev(20)]).close()  # at once, though step 20 came 100 s after step 10
    events = EventAccumulator(str(tmp_path)).Reload()
    for tag in ("train/loss", "dev/wer"):
        one, two = events.Scalars(tag)
        assert two.wall_time - one.wall_time == pytest.approx(100)


@pytest.mark.parametrize(
    "log",
    [
        FIRST,
        [entry for entry in FIRST if "dev" not in entry],
        [{**progress(1), "seconds": 0.0}],  # a single short step
        [progress(10), dev(10, None, None)],  # references without words
        [],  # somebody has deleted the log
    ],
)
def test_the_picture_can_be_read_whatever_the_log_holds(log):
    pixels = imread(io.BytesIO(picture(log, "a run")), format="png")
    height, width, _ = pixels.shape
    assert width > 600 and height > 300 and len(np.unique(pixels)) > 10


def test_a_title_is_no_formula():
    assert imread(io.BytesIO(picture(FIRST, r"x$\frac$y and a$b^$c")), format="png").size


@pytest.mark.parametrize("line", [b"hello world", b"\xff\xfe", b"[]", b'{"loss": 1}', b'{"step": "1"}'])
def test_a_log_of_something_else_is_named(line, tmp_path):
    (tmp_path / "log.jsonl").write_bytes(b'{"step": 1, "loss": 2.0}\n' + line + b"\n")
    with pytest.raises(RunError, match=r"log.jsonl, line 2: found .*, expected what a training run logs"):
        RunFolder(tmp_path).entries()


def test_the_picture_has_steps_below_and_time_above(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **_: (figures.append(figure), file.write(b"drawn")))
    folder = RunFolder(tmp_path)
    folder.write_lines("log.jsonl", [progress(500, 4.0), dev(500), progress(1000, 2.0), dev(1000, 0.25, 0.5)])
    save_picture(folder)
    assert (tmp_path / "curves.png").read_bytes() == b"drawn"
    loss, scores, time = figures[0].axes
    assert [line.get_xydata().tolist() for line in loss.lines] == [[[500, 4], [1000, 2]]]
    wer, cer, best = scores.lines
    assert wer.get_xydata().tolist() == [[500, 50], [1000, 25]] and cer.get_xydata().tolist() == [[500, 25], [1000, 50]]
    assert best.get_xdata() == [1000, 1000]
    assert scores.get_xlabel() == "steps" and time.get_xlabel() == "hours of training"  # 10 s a step: 2.8 hours
    marks = {label.get_text(): place for label, place in zip(time.get_xticklabels(), time.get_xticks(), strict=True)}
    assert marks["1"] == pytest.approx(360) and marks["2"] == pytest.approx(720) and loss.get_xlim() == time.get_xlim()
