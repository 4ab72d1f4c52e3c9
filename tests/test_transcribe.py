"""The transcribing command: what it prints, in which order, what it does about faults, and what it imports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import asr
from asr import corpus, transcribe
from asr.reading import Reader
from asr.sources import Recording
from asr.sources import recordings as find

PROJECT = Path(__file__).resolve().parents[1]
COMMAND = [sys.executable, "-m", "asr.transcribe"]


# Output


def test_one_file_gives_its_text_alone(
    tiny_model: Path, recordings: list[Path], texts: list[str], run_module: Callable
) -> None:
    result = run_module("asr.transcribe", recordings[0], "--model", tiny_model)
    assert (result.returncode, result.stdout, result.stderr) == (0, f"{texts[0]}\n", "")


def test_several_files_give_a_line_each_in_the_order_given(
    transcribing: Callable, recordings: list[Path], texts: list[str]
) -> None:
    lines = "".join(f"{path}\t{text}\n" for path, text in zip(recordings, texts, strict=True))
    assert transcribing(*recordings) == (0, lines, "")


def test_a_file_given_twice_is_transcribed_twice(
    transcribing: Callable, recordings: list[Path], texts: list[str]
) -> None:
    line = f"{recordings[1]}\t{texts[1]}\n"
    assert transcribing(recordings[1], recordings[1]) == (0, line * 2, "")


@pytest.fixture
def folder(tmp_path: Path, recordings: list[Path]) -> Path:
    """Recordings in folders and subfolders, and other files."""
    folder = tmp_path / "my recordings"
    for source, name in zip(recordings, ("z.wav", "b/y.flac", "b/a/x.WAV", "c.ogg"), strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, folder / name)
    (folder / "b" / "notes.txt").write_text("not a recording")
    (folder / "._z.wav").write_bytes(b"what macOS leaves beside files")
    (folder / "empty.wav").mkdir()
    return folder


def test_a_folder_is_searched_and_sorted(
    transcribing: Callable, folder: Path, recordings: list[Path], texts: list[str]
) -> None:
    by_name = dict(zip(("z.wav", "b/y.flac", "b/a/x.WAV", "c.ogg"), texts, strict=True))
    names = ["b/a/x.WAV", "b/y.flac", "c.ogg", "z.wav"]
    assert [str(path.relative_to(folder)) for path in corpus.audio_files(folder)] == names
    in_folder = "".join(f"{folder}/{name}\t{by_name[name]}\n" for name in names)
    first = f"{recordings[1]}\t{texts[1]}\n"
    assert transcribing(recordings[1], folder) == (0, first + in_folder, "")


def test_paths_in_the_output_begin_as_they_were_given(
    transcribing: Callable, folder: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    lines = f"./z.wav\t{texts[0]}\nb//y.flac\t{texts[1]}\n./b/a/x.WAV\t{texts[2]}\n"
    assert transcribing("./z.wav", "b//y.flac", "./b/a") == (0, lines, "")


def test_a_folder_of_one_recording_is_labelled_as_any_folder(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    shutil.copy(recordings[1], tmp_path / "only.flac")
    assert transcribing(tmp_path) == (0, f"{tmp_path}/only.flac\t{texts[1]}\n", "")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("with space.flac", "with space.flac"),
        ("line\nbreak\tand tab.flac", "line\\nbreak\\tand tab.flac"),
        ("red\x1b[31m.flac", "red\\x1b[31m.flac"),
        ("naïve.flac", "naïve.flac"),
    ],
)
def test_odd_names_keep_to_their_line(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str], name: str, shown: str
) -> None:
    shutil.copy(recordings[1], tmp_path / name)
    assert transcribing(tmp_path, tmp_path / name) == (0, f"{tmp_path}/{shown}\t{texts[1]}\n" * 2, "")
    (tmp_path / name).write_bytes(b"")
    status, out, err = transcribing(tmp_path / name)
    assert (status, out, err.count("\n")) == (1, "", 1)
    assert err.startswith(f"error: {tmp_path}/{shown}: empty")


def test_names_that_are_options_or_not_unicode(
    tiny_model: Path, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    strange = os.fsdecode(b"caf\xe9.flac")  # Latin-1: not UTF-8
    for name in ("--model.flac", strange):
        shutil.copy(recordings[1], tmp_path / name)
    command = [*COMMAND, "--model", tiny_model, "--", "--model.flac", strange]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONIOENCODING": "ascii"}
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=300)
    text = texts[1].encode()
    lines = b"--model.flac\t" + text + b"\ncaf\xe9.flac\t" + text + b"\n"
    assert (result.returncode, result.stdout, result.stderr) == (0, lines, b"")


def test_a_recording_from_a_pipe(tiny_model: Path, recordings: list[Path], texts: list[str]) -> None:
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    command = [*COMMAND, "--model", tiny_model, "/dev/stdin"]
    with subprocess.Popen(["cat", recordings[0]], stdout=subprocess.PIPE) as cat:
        result = subprocess.run(command, stdin=cat.stdout, env=environment, capture_output=True, timeout=300)
    assert (result.returncode, result.stdout.decode(), result.stderr) == (0, f"{texts[0]}\n", b"")


# Order and batches


def test_batches_change_neither_text_nor_order(tiny_model: Path, recordings: list[Path], texts: list[str]) -> None:
    sources = [str(path) for path in recordings] * 3
    expected = list(zip(sources, texts * 3, strict=True))
    for seconds in (0.1, 6.0, 1000.0):
        recognizer = asr.load(str(tiny_model), batch_seconds=seconds)
        with Reader() as reader:
            results = list(transcribe.transcribe(recognizer, reader, find(sources)))
        assert [(recording.path, transcript.text) for recording, transcript in results] == expected


def test_texts_come_before_later_recordings_are_read(
    tiny_model: Path, recordings: list[Path], texts: list[str]
) -> None:
    given = []

    def sources() -> Iterator[Recording | asr.Error]:
        for path in recordings:
            given.append(path)
            yield from find([str(path)])

    recognizer = asr.load(str(tiny_model), threads=1, batch_seconds=3.0)  # the first lasts 3.1 s, the next two 5.4 s
    with Reader() as reader:
        results = transcribe.transcribe(recognizer, reader, sources())
        assert next(results)[1].text == texts[0]
        assert given == recordings[:1]
        assert next(results)[1].text == texts[1]
        assert given == recordings[:3]


# Faults


def test_what_cannot_be_read_is_named_and_the_rest_transcribed(
    tiny_model: Path, tmp_path: Path, recordings: list[Path], texts: list[str], run_module: Callable
) -> None:
    names = ["missing.wav", "empty.wav", "cut.wav", "notes.wav", "nothing here"]
    missing, empty, cut, notes, nothing = bad = [tmp_path / name for name in names]
    empty.write_bytes(b"")
    cut.write_bytes(recordings[0].read_bytes()[:5000])
    notes.write_text("Dear diary, this is not audio at all.")
    nothing.mkdir()
    (nothing / "README").touch()
    mixed = [missing, recordings[0], empty, cut, recordings[1], notes, nothing, recordings[2]]
    result = run_module("asr.transcribe", *mixed, "--model", tiny_model)
    assert result.returncode == 1
    lines = [f"{path}\t{text}" for path, text in zip(recordings[:3], texts, strict=False)]
    assert result.stdout.splitlines() == lines
    errors = result.stderr.splitlines()
    assert [error.split(": ")[:2] for error in errors] == [["error", str(path)] for path in bad]
    causes = [
        "no such file",
        "empty (0 bytes)",
        "cut short",
        "soundfile",
        "no recordings in this folder",
    ]
    for error, cause in zip(errors, causes, strict=True):
        assert cause in error


@pytest.mark.parametrize("name", ["/dev/stdin", "/proc/self/fd/0", "link.wav"])
def test_standard_input_by_its_path(
    name: str, tiny_model: Path, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    """A path that is something else in another process, such as the one that reads recordings."""
    if name == "link.wav":
        name = str(tmp_path / name)
        Path(name).symlink_to("/dev/stdin")
    line = [sys.executable, "-m", "asr.transcribe", name, "--model", str(tiny_model)]
    with recordings[1].open("rb") as file:
        done = subprocess.run(line, stdin=file, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, texts[1] + "\n"), done.stderr


def test_a_pipe_in_a_folder_is_no_recording(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    """Nobody may ever write into it."""
    shutil.copy(recordings[1], tmp_path / "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    for given in (tmp_path, tmp_path / "*.wav"):
        assert transcribing(given)[:2] == (0, f"{tmp_path / 'a.wav'}\t{texts[1]}\n")


def test_a_file_that_cannot_be_written_is_that_recordings_fault(
    transcribing: Callable, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    out = tmp_path / "out"
    (out / f"{recordings[0].stem}.txt").mkdir(parents=True)
    (out / f"{recordings[1].stem}.txt").symlink_to(tmp_path / "gone" / "x.txt")
    status, _, err = transcribing(*recordings[:3], "--output-dir", out)
    assert status == 1 and err.count("error: ") == 2
    assert (out / f"{recordings[2].stem}.txt").read_text(encoding="utf-8") == texts[2] + "\n"


def test_json_is_utf8_where_a_name_is_not(
    tiny_model: Path, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    names = [os.fsencode(tmp_path) + b"/bad\xff.wav", os.fsencode(tmp_path) + b"/good.wav"]
    for name in names:
        shutil.copy(recordings[1], name)
    line = [sys.executable, "-m", "asr.transcribe", *names, "--model", tiny_model, "--format", "json"]
    done = subprocess.run(line, capture_output=True)
    found = [json.loads(each.decode("utf-8")) for each in done.stdout.splitlines()]
    assert [os.fsencode(each["path"]) for each in found] == names
    assert [each["text"] for each in found] == [texts[1]] * 2


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs Linux's /proc")
def test_a_file_that_the_disk_does_not_give(transcribing: Callable, recordings: list[Path], texts: list[str]) -> None:
    status, out, err = transcribing("/proc/self/mem", recordings[1])  # it opens, and reading fails
    assert (status, out) == (1, f"{recordings[1]}\t{texts[1]}\n")
    assert err.startswith("error: /proc/self/mem: ")


def test_an_unset_variable_is_not_the_current_folder(transcribing: Callable) -> None:
    status, out, err = transcribing("")
    assert (status, out) == (1, "")
    assert err.startswith("error: : ")


def test_something_that_is_not_a_model(recordings: list[Path], run_module: Callable) -> None:
    result = run_module("asr.transcribe", recordings[0], "--model", recordings[0])
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith(f"error: {recordings[0]}: not a model file")
    result = run_module("asr.transcribe", recordings[0], "--model", "klingon")
    assert (result.returncode, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("error: model 'klingon': no such file; expected a model file")


@pytest.mark.parametrize("arguments", [["x.wav", "--modle", "en"], ["x.wav", "--model"]])
def test_wrong_usage(arguments: list[str], run_module: Callable) -> None:
    result = run_module("asr.transcribe", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("usage: python -m asr.transcribe")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name what to transcribe"),
        (["--model", "en"], "name what to transcribe"),
        (["a.wav", "--split", "test"], "--split belongs to --manifest"),
        (["a.wav", "--skip-existing"], "--skip-existing belongs to --output-dir"),
        (["a.wav", "--format", "all"], "say where (--output-dir DIR)"),
        (["a.wav", "b.wav", "--format", "srt"], "--format srt holds one recording"),
        (["a.wav", "--n-best", "3"], "--n-best lists alternatives in json"),
        (["a.wav", "--n-best", "3", "--format", "json", "--beam-size", "1"], "choose a --beam-size above 1"),
        (["a.wav", "--output-dir", "/dev/null"], "--output-dir /dev/null: a file, expected a folder"),
        (["a b.wav", "a_b.wav", "--format", "ctm"], "a b.wav would both be written as a_b;"),
        (["a/x.wav", "b/x.wav", "--format", "ctm"], "a/x.wav would both be written as x.wav;"),
        (["a/x.wav", "b/x.wav", "--output-dir", "out"], "a/x.wav would both be written as x.wav;"),
    ],
)
def test_options_that_do_not_belong_together(arguments: list[str], said: str, run_module: Callable) -> None:
    result = run_module("asr.transcribe", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ") and said in result.stderr and result.stderr.count("\n") == 1


# Ctrl-C and closed pipes


def test_ctrl_c_while_waiting_for_a_recording(
    tiny_model: Path, tmp_path: Path, recordings: list[Path], texts: list[str]
) -> None:
    fifo = tmp_path / "slow.wav"
    os.mkfifo(fifo)
    with start(recordings[0], fifo, model=tiny_model) as process:
        writer = wait_for_reader(fifo, process)
        process.send_signal(signal.SIGINT)
        try:
            out, err = process.communicate(timeout=20)
        except subprocess.TimeoutExpired:  # it came in the instant before the read, which no signal had to end any more
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=300)
        os.close(writer)
    assert (process.returncode, out, err) == (130, "", "interrupted\n")


def test_ctrl_c_while_transcribing(tiny_model: Path, recordings: list[Path]) -> None:
    with start(*[recordings[2]] * 10_000, model=tiny_model) as process:
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (130, "interrupted\n")


def test_a_reader_that_goes_away(tiny_model: Path, recordings: list[Path]) -> None:
    with start(*[recordings[2]] * 10_000, model=tiny_model) as process:
        assert process.stdout.readline()
        process.stdout.close()  # as `| head -1` does
        assert process.stderr.read() == ""
        assert process.wait(timeout=300) == 0


def start(*paths: Path, model: Path) -> subprocess.Popen:
    command = [*COMMAND, "--model", str(model), *map(str, paths)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def wait_for_reader(fifo: Path, process: subprocess.Popen) -> int:
    """Open a FIFO for writing as soon as the process has opened it for reading."""
    while True:
        try:
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # nobody reads it yet
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)


# Imports and speed


def imported(*arguments: object) -> tuple[subprocess.CompletedProcess, set[str]]:
    """Run the command and list the modules that it imported."""
    command = [sys.executable, "-X", "importtime", "-m", "asr.transcribe", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    result = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", timeout=300)
    lines = [line.split("|") for line in result.stderr.splitlines() if line.startswith("import time:")]
    return result, {fields[2].strip() for fields in lines}


@pytest.mark.parametrize("arguments", [["--help"], []])
def test_help_and_wrong_usage_answer_at_once(arguments: list[str]) -> None:
    _, modules = imported(*arguments)
    assert "asr.command" in modules
    assert not {"torch", "torchaudio", "numpy", "soundfile", "soxr", "asr.audio"} & modules


def test_transcribing_imports_what_it_needs_and_no_more(
    tiny_model: Path, recordings: list[Path], texts: list[str]
) -> None:
    result, modules = imported(recordings[0], "--model", tiny_model)
    assert result.stdout == f"{texts[0]}\n"
    assert {"torch", "torchaudio", "soundfile", "asr.recognizer"} <= modules
    heavy = {"librosa", "jiwer", "rapidfuzz", "tensorboard", "num2words", "scipy", "numba", "matplotlib", "sklearn"}
    assert not heavy & {module.partition(".")[0] for module in modules}
    assert not {"asr.training", "asr.score", "asr.corpus", "asr.evaluate", "asr.train"} & modules


def test_the_module_is_not_imported_twice(run_module: Callable) -> None:
    # An import of `asr.transcribe` by the package itself would make `python -m` warn.
    result = run_module(
        "asr.transcribe", "--help", env=os.environ | {"PYTHONWARNINGS": "error", "PYTHONPATH": str(PROJECT)}
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "path, tab, text" in " ".join(result.stdout.split())
