"""Fixtures that every test file may use."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

PROJECT = Path(__file__).resolve().parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:  # a process a core: threads of several would wait for one another
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_reaches_commands() -> None:
    """A shell starts background jobs with Ctrl-C ignored, which the commands that tests start would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def corpora() -> Path:
    """The folder of real corpora; its absence skips a test on a user's machine and fails it in CI."""
    return _folder("ASR_CORPORA", "corpora", "real speech")


@pytest.fixture(scope="session")
def noises() -> Path:
    """The folder of real noises and rooms, in the same way."""
    return _folder("ASR_NOISE", "noise", "real noises")


def _folder(variable: str, name: str, what: str) -> Path:
    folder = Path(os.environ.get(variable, PROJECT.parent / "shared" / name))
    if not folder.is_dir():
        reason = f"needs {what}: {folder} is not a folder (set {variable})"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def nist() -> str:
    """NIST's scoring toolkit, as Debian's package sctk has it; its absence skips a test, and fails it in CI."""
    path = shutil.which("sctk")
    if path is None:
        reason = "needs NIST's sclite and sc_stats: apt-get install sctk (PyPI's package of that name is another)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def shipped_model() -> Path:
    """The model `en` of the package; its absence skips a test on a developer's machine and fails it in CI."""
    path = PROJECT / "asr" / "models" / "en.safetensors"
    if not path.is_file():
        reason = f"needs the shipped model: {path} is not there"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def noise_with_texts() -> Callable[[Path], Path]:
    """Fills a folder with data.jsonl, of the splits train and dev: 12 recordings of noise with letters for texts."""
    import numpy as np
    import soundfile

    from asr.corpus import Utterance, write_manifest

    def fill(folder: Path) -> Path:
        draw = np.random.default_rng(0)
        utterances = []
        for i in range(12):
            path = folder / f"u{i}.wav"
            samples = draw.normal(0, 0.1, draw.integers(8000, 20_000))
            soundfile.write(path, samples, 16_000)
            text = "".join(draw.choice(list("abc "), 8))
            split = "train" if i else "dev"
            utterances.append(Utterance(f"u{i}", path, f"a{text}b", len(samples) / 16_000, split=split))
        write_manifest(folder / "data.jsonl", utterances)
        return folder

    return fill


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights, for all that does not depend on what a model has learnt."""
    import torch

    from asr import checkpoint
    from asr.features import FeatureConfig
    from asr.model import AcousticModel, ModelConfig
    from asr.text import Alphabet, Normalizer

    alphabet = Alphabet.from_texts(["abcdefghijklmnopqrstuvwxyzé "])
    config = ModelConfig(vocab=len(alphabet), channels=16, layers=2, hidden=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AcousticModel(config)
    for weight in model.parameters():
        weight.data *= 2  # lively: many different letters
    model.output.bias.data[alphabet.encode(" é")] += 2  # and words, not all of them ASCII
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    weights, info = model.state_dict(), {"data": ["none"], "licence": "CC0-1.0"}
    checkpoint.save(path, checkpoint.Checkpoint(config, FeatureConfig(), alphabet, Normalizer(), weights, info))
    return path


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Recordings of 3.1, 0.4, 5.0 and 1.7 seconds that sound a little like speech: noise in syllables."""
    import numpy as np
    import soundfile

    folder = tmp_path_factory.mktemp("recordings")
    random = np.random.default_rng(0)
    paths = []
    for name, seconds in (("d.wav", 3.1), ("c.flac", 0.4), ("b.wav", 5.0), ("a.ogg", 1.7)):
        time = np.arange(round(seconds * 16_000)) / 16_000
        syllables = np.sin(2 * np.pi * 2 * time) ** 2 * 0.1
        pitch = np.sin(2 * np.pi * np.cumsum(random.uniform(80, 3000, len(time))) / 16_000)
        soundfile.write(folder / name, syllables * (random.standard_normal(len(time)) + pitch), 16_000)
        paths.append(folder / name)
    return paths


@pytest.fixture(scope="session")
def tiny(tiny_model: Path) -> Recognizer:
    """The recognizer of the model with random weights."""
    import asr

    return asr.load(str(tiny_model))


@pytest.fixture(scope="session")
def texts(tiny: Recognizer, recordings: list[Path]) -> list[str]:
    """What it makes of each recording alone."""
    return [tiny.transcribe(path).text for path in recordings]


@pytest.fixture
def transcribing(tiny_model: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., tuple[int, str, str]]:
    """The transcribing command in this process, with that model: status, stdout, stderr."""
    from asr import transcribe

    def run(*arguments: object) -> tuple[int, str, str]:
        status = transcribe.main([*map(str, arguments), "--model", str(tiny_model)])
        output = capsysbinary.readouterr()
        return status, output.out.decode(), output.err.decode()

    return run


@pytest.fixture(scope="session")
def event_scalars() -> Callable[[Path], dict[str, list[tuple[int, float]]]]:
    """Reads a folder as TensorBoard does: tag -> (step, value) in the order of the events."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
        events = EventAccumulator(str(folder)).Reload()
        return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    return read


@pytest.fixture
def publish(tmp_path: Path) -> Iterator[Callable]:
    """Offers files as the archive that a recipe downloads: the same but for its address and checksum."""
    import hashlib
    import threading
    from dataclasses import replace
    from functools import partial
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    from miniatures import pack

    shop = tmp_path / "shop"
    shop.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(shop))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()

        def offer(archive, files: dict[str, bytes]):
            name = archive.urls[0].rpartition("/")[2]
            content = pack(name, files)
            (shop / name).write_bytes(content)
            url = f"http://127.0.0.1:{server.server_port}/{name}"
            return replace(archive, urls=(url,), checksum=f"sha256:{hashlib.sha256(content).hexdigest()}")

        yield offer
        server.shutdown()
        thread.join()


@pytest.fixture
def run_module() -> Callable[..., subprocess.CompletedProcess]:
    """Runs `python -m MODULE ARGUMENT...` as a user does, from any folder; stdout and stderr are captured as text."""

    def run(module: str, *arguments: object, **options: object) -> subprocess.CompletedProcess:
        environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", module, *map(str, arguments)]
        defaults = {"env": environment, "capture_output": True, "encoding": "utf-8", "timeout": 300}
        return subprocess.run(command, check=False, **{**defaults, **options})

    return run
