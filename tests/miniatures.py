"""What the tests of recipes share: miniature corpora, packed as the originals are, and what a recipe makes of them."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import soundfile

import recipes
from asr import audio
from asr.corpus import Utterance

Splits = dict[str, list[Utterance]]


def sound(name: str, format: str | None = None, rate: int = 16_000, seconds: float = 0.25) -> bytes:
    """Noise, by default encoded as the name's extension says."""
    output = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))
    soundfile.write(output, noise, rate, format=format or name.rpartition(".")[2])
    return output.getvalue()


def pack(name: str, files: dict[str, bytes]) -> bytes:
    """An archive of the kind that its name says."""
    output = io.BytesIO()
    if name.endswith(".zip"):
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, content in files.items():
                archive.writestr(path, content)
        return output.getvalue()
    with tarfile.open(fileobj=output, mode=f"w:{name.rpartition('.')[2]}") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return output.getvalue()


def libri_files(part: str, speakers: list[str]) -> dict[str, bytes]:
    """A part of LibriSpeech: two utterances of each speaker."""
    top, files = f"LibriSpeech/{part}", {"LibriSpeech/README.TXT": b"about", "LibriSpeech/SPEAKERS.TXT": b";"}
    for speaker in speakers:
        chapter = f"{speaker}-1234"
        lines = [f"{chapter}-{number:04} WORD'S NUMBER {speaker}\n" for number in range(2)]
        files[f"{top}/{speaker}/1234/{chapter}.trans.txt"] = "".join(lines).encode()
        for line in lines:
            name = line.split()[0]
            files[f"{top}/{speaker}/1234/{name}.flac"] = sound(f"{name}.flac")
    return files


def read(name: str, folder: Path, **options: str) -> Splits:
    """What a recipe reads from a folder of corpora."""
    recipe = recipes.find(name)
    return recipe.read(folder, {**recipe.options, **options})


def counts(splits: Splits) -> dict[str, tuple[int, int]]:
    """Split -> (utterances, speakers)."""
    return {name: (len(part), len(speakers(part))) for name, part in splits.items()}


def speakers(part: list[Utterance]) -> set[str | None]:
    return {utterance.speaker for utterance in part}


def recordings(part: list[Utterance]) -> set[Path]:
    return {utterance.audio for utterance in part}


def texts(part: list[Utterance]) -> dict[str, tuple[str, str | None]]:
    """Id -> (text, speaker)."""
    return {utterance.id: (utterance.text, utterance.speaker) for utterance in part}


def all_decode(splits: Splits) -> bool:
    """Every recording can be read and is a quarter of a second long."""
    return all(len(audio.load(utterance.audio)) == 4000 for part in splits.values() for utterance in part)


def every_utterance_is_of_its_split(splits: Splits) -> bool:
    return all(utterance.split == name for name, part in splits.items() for utterance in part)
