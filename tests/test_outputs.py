"""The transcribing command's inputs and outputs: files, patterns, pipes, manifests, channels; where it writes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import asr
from asr import Error, audio, corpus
from asr.command import UsageError
from asr.files import replacing
from asr.formats import FORMATS
from asr.reading import Reader
from asr.recognizer import Recognizer
from asr.sources import Recording
from asr.transcribe import transcribe

PROJECT = Path(__file__).resolve().parents[1]


# Inputs


def test_patterns(transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]) -> None:
    shutil.copy(recordings[0], tmp_path / "b1.wav")
    shutil.copy(recordings[1], tmp_path / "a1.wav")
    shutil.copy(recordings[2], tmp_path / "a[1].wav")  # a name, though it could be a pattern
    both = f"{tmp_path}/a1.wav\t{texts[1]}\n{tmp_path}/b1.wav\t{texts[0]}\n"
    assert transcribing(tmp_path / "?1.wav") == (0, both, "")
    assert transcribing(tmp_path / "a[1].wav") == (0, f"{texts[2]}\n", "")
    status, out, err = transcribing(tmp_path / "*.mp3")
    assert (status, out) == (1, "") and err == f"error: {tmp_path}/*.mp3: no file has a name like that\n"


def test_standard_input(tiny_model: Path, recordings: list[Path], texts: list[str]) -> None:
    command = [sys.executable, "-m", "asr.transcribe", "--model", tiny_model, "-"]
    for content, expected in ((recordings[0].read_bytes(), (0, f"{texts[0]}\n", "")), (b"no audio", (1, "", None))):
        result = subprocess.run(
            command, input=content, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}, capture_output=True
        )
        status, out, err = expected
        assert (result.returncode, result.stdout.decode()) == (status, out)
        if err is None:
            assert result.stderr.startswith(b"error: -: not audio") and result.stderr.count(b"\n") == 1


def test_a_manifest_names_parts_of_recordings(
    transcribing: Callable, tiny: Recognizer, tmp_path: Path, recordings: list[Path]
) -> None:
    path = recordings[2]
    lines = [
        {"audio_filepath": str(path), "text": "x", "id": "first", "offset": 0.0, "duration": 2.0, "split": "test"},
        {"audio_filepath": str(path), "text": "x", "id": "second", "offset": 2.0, "duration": 2.5, "split": "test"},
        {"audio_filepath": str(path), "text": "x", "id": "third", "split": "train"},
    ]
    manifest = tmp_path / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    parts = [tiny.transcribe(audio.load(path, *part)).text for part in ((0.0, 2.0), (2.0, 2.5))]
    expected = f"first\t{parts[0]}\nsecond\t{parts[1]}\n"
    assert transcribing("--manifest", manifest, "--split", "test") == (0, expected, "")


def test_parts_of_a_recording_are_read_by_their_starts_and_come_in_the_order_given(
    tiny: Recognizer, tmp_path: Path, recordings: list[Path]
) -> None:
    path = str(tmp_path / "long.mp3")
    samples = np.concatenate([audio.load(each) for each in recordings])
    soundfile.write(path, samples, audio.SAMPLE_RATE, format="MP3", subtype="MPEG_LAYER_III")
    parts = [Recording(str(start), path, "x", start, 1.0) for start in (4.0, 1.5, 20.0, 0.5, 4.0)]
    given = [Error("one"), *parts, Error("two"), Recording("c", str(recordings[2]), "c"), parts[1]]
    asked: list[tuple[str, float]] = []

    class Asked(Reader):
        def stream(self, path: str, channel: int | None, offset: float, duration: float | None):
            asked.append((path, offset))
            return super().stream(path, channel, offset, duration)

    with Asked() as reader:
        found = list(transcribe(tiny, reader, given))
    other = str(recordings[2])
    assert asked == [*((path, start) for start in (0.5, 1.5, 4.0, 4.0, 20.0)), (other, 0.0), (path, 1.5)]
    assert [recording for recording, _ in found] == [None if isinstance(each, Error) else each for each in given]
    for recording, result in found:
        if recording is None or recording.offset == 20.0:
            assert isinstance(result, Error)
        else:
            assert result.text == tiny.transcribe(audio.load(recording.path, recording.offset, recording.duration)).text


def test_what_is_transcribed_needs_no_text(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    shutil.copy(recordings[1], tmp_path / "c.flac")
    (tmp_path / "list.jsonl").write_text('{"audio_filepath": "c.flac"}\n')
    (tmp_path / "list.csv").write_text("audio_filepath\nc.flac\n")
    (tmp_path / "wav.scp").write_text("c c.flac\n")
    for name in ("list.jsonl", "list.csv", "."):
        assert transcribing("--manifest", tmp_path / name) == (0, f"c\t{texts[1]}\n", "")
    (tmp_path / "wav.scp").unlink()
    assert transcribing("--manifest", tmp_path) == (0, f"c\t{texts[1]}\n", "")
    for name in ("list.jsonl", "list.csv", "."):
        with pytest.raises(asr.Error, match=r"no 'text'|audio_filepath and text|no c\.txt beside"):
            corpus.read(tmp_path / name)


def test_recordings_that_differ_in_their_ending_alone(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for path, name in zip(recordings, ("a.wav", "a.flac", "b.wav"), strict=False):
        shutil.copy(path, source / name)
    assert transcribing(source, "--output-dir", out) == (0, "", "")
    found = {path.name: path.read_text().split() for path in out.iterdir()}
    assert found == {f"{name}.txt": texts[i].split() for i, name in enumerate(("a.wav", "a.flac", "b"))}


def test_files_stay_in_their_folder_whatever_ids_say(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    (tmp_path / "wavs").mkdir()
    (tmp_path / "lists").mkdir()
    shutil.copy(recordings[0], tmp_path / "wavs" / "x.wav")
    (tmp_path / "wavs" / "x.txt").write_text("the reference")
    rows = [{"audio_filepath": "../wavs/x.wav", "text": "x"}]  # whose id is ../wavs/x
    rows += [{"audio_filepath": "../wavs/x.wav", "text": "x", "id": name} for name in ("/etc/y", "../../z", "a" * 300)]
    manifest = tmp_path / "lists" / "test.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "deep" / "out"
    out.mkdir(parents=True)
    status, _, err = transcribing("--manifest", manifest, "--format", "txt", "--output-dir", out, "--skip-existing")
    assert status == 1 and err.count("\n") == 1 and "too long" in err  # and the others are written
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.txt")}
    assert written == {"wavs/x.txt", "deep/out/wavs/x.txt", "deep/out/etc/y.txt", "deep/out/z.txt"}
    assert (tmp_path / "wavs" / "x.txt").read_text() == "the reference"
    assert (out / "z.txt").read_text().split() == texts[0].split()


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
@pytest.mark.parametrize("module", ["asr.transcribe - <&-", "asr.align x.wav - <&-"])
def test_closed_standard_input(module: str, tiny_model: Path, tmp_path: Path, recordings: list[Path]) -> None:
    shutil.copy(recordings[0], tmp_path / "x.wav")
    line = module.replace(" <&-", f" --model {tiny_model} <&-")
    result = subprocess.run(
        f"{sys.executable} -m {line}",
        shell=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error: -: standard input is closed") and result.stderr.count("\n") == 1


def stereo(path: Path, recordings: list[Path]) -> list[np.ndarray]:
    """Write a recording of three channels, of which the last is silent; each channel's samples."""
    left, right = audio.load(recordings[0]), audio.load(recordings[2])
    length = max(len(left), len(right))
    channels = [np.pad(each, (0, length - len(each))) for each in (left, right, np.zeros(1, np.float32))]
    soundfile.write(path, np.stack(channels, axis=1), audio.SAMPLE_RATE, subtype="FLOAT")
    return channels


def test_channels(transcribing: Callable, tiny: Recognizer, tmp_path: Path, recordings: list[Path]) -> None:
    path = tmp_path / "call.wav"
    channels = stereo(path, recordings)
    alone = [tiny.transcribe(channel) for channel in channels]
    mixed = tiny.transcribe(np.mean(channels, axis=0, dtype=np.float32))
    assert transcribing(path) == (0, f"{mixed.text}\n", "")
    assert transcribing(path, "--channel", "2") == (0, f"{alone[1].text}\n", "")
    assert tiny.transcribe(path, channel=2) == alone[1]
    status, out, err = transcribing(path, "--channel", "each", "--format", "json")
    found = json.loads(out)
    assert (status, err, found["duration"]) == (0, "", alone[0].duration)
    for number, transcript in enumerate(alone, 1):
        own = [segment["text"] for segment in found["segments"] if segment["channel"] == number]
        assert own == [segment.text for segment in transcript.segments]
    starts = [segment["start"] for segment in found["segments"]]
    assert starts == sorted(starts)
    status, out, err = transcribing(path, recordings[1], "--channel", "3")
    assert status == 1 and out.startswith(f"{path}\t\n")
    assert "channel 3 of a recording that has" in err


def test_channels_of_a_damaged_recording(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    stereo(tmp_path / "call.wav", recordings)
    samples, rate = soundfile.read(tmp_path / "call.wav")
    soundfile.write(tmp_path / "call.flac", samples, rate)
    data = bytearray((tmp_path / "call.flac").read_bytes())
    data[-3000:-1500] = bytes(1500)
    (tmp_path / "call.flac").write_bytes(data)
    status, out, err = transcribing(tmp_path / "call.flac", recordings[0], "--channel", "each")
    assert (status, out) == (1, f"{recordings[0]}\t{texts[0]}\n")
    assert err.startswith(f"error: {tmp_path}/call.flac: damaged") and err.count("\n") == 1


# Outputs


def test_json_of_one_and_of_several(transcribing: Callable, tiny: Recognizer, recordings: list[Path]) -> None:
    expected = tiny.transcribe(recordings[0])
    status, out, _ = transcribing(recordings[0], "--format", "json")
    assert status == 0 and json.loads(out) == json.loads(json.dumps(expected.to_dict()))
    words = json.loads(out)["segments"][0]["words"]
    assert words and all(0 <= word["start"] <= word["end"] <= expected.duration for word in words)
    status, out, _ = transcribing(*recordings[:2], "--format", "json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["path"] for line in lines] == [str(path) for path in recordings[:2]]
    assert lines[0]["text"] == expected.text


def test_alternatives(transcribing: Callable, recordings: list[Path]) -> None:
    status, out, _ = transcribing(recordings[0], "--format", "json", "--beam-size", "8", "--n-best", "3")
    (segment,) = json.loads(out)["segments"]
    listed = segment["alternatives"]
    assert status == 0 and len(listed) == 3 == len({each["text"] for each in listed})
    assert listed[0]["text"] == segment["text"]
    scores = [each["score"] for each in listed]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(asr.Error, match="lists of alternatives need beam search"):
        transcribing(recordings[0], "--format", "json", "--n-best", "3")


def test_a_file_for_each_recording_and_format(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    source, out = tmp_path / "in", tmp_path / "out" / "deep"
    (source / "b").mkdir(parents=True)
    shutil.copy(recordings[0], source / "one.wav")
    shutil.copy(recordings[1], source / "b" / "two.flac")
    (source / "bad.wav").write_bytes(b"")
    status, printed, err = transcribing(source, "--format", "all", "--output-dir", out)
    assert (status, printed) == (1, "") and err.startswith(f"error: {source}/bad.wav: empty")
    written = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
    assert written == sorted(
        f"{name}{each.suffix}" for name in ("one", "b/two") for each in FORMATS.values()
    )  # nothing half written, nothing of what failed
    assert json.loads((out / "b" / "two.json").read_text())["text"] == texts[1]


def test_what_is_there_is_left_out(transcribing: Callable, tmp_path: Path, recordings: list[Path]) -> None:
    out = tmp_path / "out"
    paths = [tmp_path / name for name in ("a.wav", "b.wav")]
    for path in paths:
        shutil.copy(recordings[0], path)
    assert transcribing(paths[0], "--output-dir", out, "--format", "srt")[0] == 0
    (out / "a.srt").write_text("mine")
    assert transcribing(*paths, "--output-dir", out, "--format", "srt", "--skip-existing") == (0, "", "")
    assert (out / "a.srt").read_text() == "mine" and (out / "b.srt").read_text() != "mine"
    assert transcribing(*paths, "--output-dir", out, "--format", "srt") == (0, "", "")
    assert (out / "a.srt").read_text() == (out / "b.srt").read_text()


def test_nothing_beside_a_recording_is_replaced(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()
    for name in ("a.wav", "b/new.wav", "b/own.wav"):
        shutil.copy(recordings[0], tmp_path / name)
    for name in ("a.txt", "b/own.txt"):
        (tmp_path / name).write_text("what was said")
    monkeypatch.chdir(tmp_path)
    status, out, err = transcribing(".", "--format", "txt", "--output-dir", tmp_path)
    assert (status, out) == (1, "")
    assert [line.split(" is ")[0] for line in err.splitlines()] == [
        f"error: {tmp_path}/a.txt",
        f"error: {tmp_path}/b/own.txt",
    ]
    assert {(tmp_path / name).read_text() for name in ("a.txt", "b/own.txt")} == {"what was said"}
    assert (tmp_path / "b" / "new.txt").read_text()
    assert transcribing(".", "--format", "txt", "--output-dir", ".", "--skip-existing") == (0, "", "")
    assert transcribing("a.wav", "--format", "txt", "--output-dir", "out") == (0, "", "")


def test_the_manifest_is_not_replaced(transcribing: Callable, tmp_path: Path, recordings: list[Path]) -> None:
    (tmp_path / "wavs").mkdir()
    shutil.copy(recordings[0], tmp_path / "wavs" / "meeting.wav")
    table = "audio_filepath\ttext\tid\nwavs/meeting.wav\tmy precious text\tmeeting\n"
    (tmp_path / "meeting.tsv").write_text(table)
    line = ("--manifest", tmp_path / "meeting.tsv", "--format", "tsv", "--output-dir")
    status, out, err = transcribing(*line, tmp_path)
    assert (status, out) == (1, "") and "meeting.tsv: this file is read, too" in err
    assert (tmp_path / "meeting.tsv").read_text() == table
    assert transcribing(*line, tmp_path / "out") == (0, "", "")


def test_a_file_that_is_written_takes_the_place_of_what_it_stands_for(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link, pipe = tmp_path / "there" / "target", tmp_path / "link", tmp_path / "pipe"
    target.write_bytes(b"old")
    link.symlink_to("there/target")
    os.mkfifo(pipe)
    longest = tmp_path / ("ä" * 127 + "x")  # 255 bytes, which file systems allow
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    for path in (link, pipe, longest):
        with replacing(path) as file:
            file.write(b"new")
    assert link.is_symlink() and target.read_bytes() == longest.read_bytes() == os.read(reader, 10) == b"new"
    assert pipe.is_fifo() and {path.name for path in tmp_path.iterdir()} == {"there", "link", "pipe", longest.name}
    os.close(reader)
    with pytest.raises(OSError, match=r"File name too long: .*/a{300}'"), replacing(tmp_path / ("a" * 300)) as file:
        file.write(b"new")
    with pytest.raises(ValueError, match="embedded null"), replacing(tmp_path / "a\0b"):
        pass


def test_a_folder_that_cannot_be_written(transcribing: Callable, tmp_path: Path, recordings: list[Path]) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UsageError, match="out: a file, expected a folder or a new name"):
        transcribing(recordings[0], "--output-dir", tmp_path / "out")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_no_success(tiny_model: Path, recordings: list[Path]) -> None:
    command = [sys.executable, "-m", "asr.transcribe", "--model", tiny_model, recordings[0]]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, cwd=PROJECT, env=os.environ | {"PYTHONPATH": str(PROJECT)}
        )
    assert result.returncode == 1 and b"No space left" in result.stderr and b"Traceback" not in result.stderr


def test_ctrl_c_leaves_no_half_file(tiny_model: Path, tmp_path: Path, recordings: list[Path]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for number in range(2000):
        (source / f"{number:04}.wav").symlink_to(recordings[2])
    command = [sys.executable, "-m", "asr.transcribe", source, "--model", tiny_model, "--output-dir", out]
    command += ["--format", "all", "--batch-seconds", "10"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=PROJECT, env=environment) as process:
        while not (out / "0003.TextGrid").exists():
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (130, b"interrupted\n")
    names = {path.name for path in out.iterdir()}
    assert not [name for name in names if name.startswith(".")]
    for name in names:
        if name.endswith(".json"):
            json.loads((out / name).read_text())


def test_devices(transcribing: Callable, recordings: list[Path], texts: list[str]) -> None:
    assert transcribing(recordings[0], "--device", "cpu", "--threads", "1", "--batch-seconds", "1") == (
        0,
        f"{texts[0]}\n",
        "",
    )
    with pytest.raises(asr.Error, match=r"device 'toaster': torch says .*; choose cpu"):
        transcribing(recordings[0], "--device", "toaster")
