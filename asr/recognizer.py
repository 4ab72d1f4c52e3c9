"""Recognizer: a model and a decoder that turn audio into a Transcript."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from asr import Error, audio, checkpoint, decode
from asr.features import LogMel
from asr.model import AcousticModel
from asr.text import Normalizer, Units

MODELS = Path(__file__).parent / "models"
BATCH_SECONDS = 160.0  # padded audio that is recognized at a time


@dataclass(frozen=True)
class Transcript:
    """The text of a recording.

    Args:
        text: as the model's normaliser would write it.
        duration: length of the recording in seconds.
    """

    text: str
    duration: float


class Recognizer:
    """Everything between samples and text, for one model. Inference runs in fp32.

    Args:
        model, features: the acoustic model, in evaluation mode, and the features that it reads.
        alphabet: its tokens, letters or subwords.
        normalizer: what its training texts went through; a reference must go through it before it is compared.
        info: where the model came from, see `asr.checkpoint.Checkpoint`.
    """

    def __init__(
        self,
        model: AcousticModel,
        features: LogMel,
        alphabet: Units,
        normalizer: Normalizer,
        info: Mapping[str, object],
    ) -> None:
        self.model = model
        self.features = features
        self.alphabet = alphabet
        self.normalizer = normalizer
        self.info = info

    @classmethod
    def from_checkpoint(cls, stored: checkpoint.Checkpoint) -> Recognizer:
        """The recognizer of a model file that has been read."""
        model, features = stored.acoustic_model(), LogMel(stored.features)
        return cls(model, features, stored.alphabet, stored.normalizer, stored.info)

    def transcribe(self, source: audio.Source | NDArray[np.float32]) -> Transcript:
        """Transcribe one recording.

        Args:
            source: a file's path, its bytes, an open binary file, or (samples,) float32 mono at 16 kHz.

        Raises:
            asr.audio.AudioError: the recording cannot be read.
        """
        is_array = isinstance(source, np.ndarray)
        samples = audio.from_array(source, audio.SAMPLE_RATE) if is_array else audio.load(source)
        return self.transcribe_batch([samples])[0]

    def transcribe_batch(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Transcript]:
        """Transcribe several recordings in one padded batch; each gets the text that it gets alone.

        Args:
            waveforms: (samples,) float32 mono at 16 kHz each, at least one sample.
        """
        log_probs, lengths = self.log_probs(waveforms)
        hypotheses = decode.greedy(log_probs, lengths)
        return [
            # An output may begin or end with the space between words: it belongs to no word.
            Transcript(" ".join(self.alphabet.decode(hypothesis.ids).split()), len(samples) / audio.SAMPLE_RATE)
            for hypothesis, samples in zip(hypotheses, waveforms, strict=True)
        ]

    def transcribe_many(self, waveforms: Sequence[NDArray[np.float32]]) -> list[Transcript]:
        """Transcribe any number of recordings in batches of like length; the transcripts come in the order given.

        Args:
            waveforms: (samples,) float32 mono at 16 kHz each, at least one sample.
        """
        transcripts: dict[int, Transcript] = {}
        for batch in length_batches([len(waveform) for waveform in waveforms]):
            transcripts.update(zip(batch, self.transcribe_batch([waveforms[i] for i in batch]), strict=True))
        return [transcripts[i] for i in range(len(waveforms))]

    def log_probs(self, waveforms: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(B, T, V) log-probs of a padded batch and the (B,) frames of each recording."""
        device = self.model.output.weight.device
        samples, lengths = (tensor.to(device) for tensor in pad(waveforms))
        with torch.inference_mode():
            log_probs, frames = self.model(*self.features(samples, lengths))
        return log_probs.cpu().numpy(), frames.cpu().numpy()


def length_batches(lengths: Sequence[int], seconds: float = BATCH_SECONDS) -> list[list[int]]:
    """Numbers of recordings, sorted by length and cut into batches of at most that many padded seconds.

    Args:
        lengths: samples of each recording.
    """
    order = sorted(range(len(lengths)), key=lambda i: lengths[i])
    starts = batch_starts((lengths[i] for i in order), seconds * audio.SAMPLE_RATE)
    return [order[start:end] for start, end in pairwise([*starts, len(order)])]


def batch_starts(lengths: Iterable[float], limit: float) -> Iterator[int]:
    """Cut recordings of these lengths, in their order, into batches whose padded length fits: where each one begins.

    A longer recording is a batch of its own.
    """
    size, longest = 0, 0.0
    for place, length in enumerate(lengths):
        longest = max(longest, length)
        if size == 0 or longest * (size + 1) > limit:
            yield place
            size, longest = 0, length
        size += 1


def pad(waveforms: Sequence[NDArray[np.float32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Recordings -> (B, S) float32 samples with zeros behind each, and (B,) int64 lengths."""
    lengths = np.array([len(waveform) for waveform in waveforms], np.int64)
    samples = np.zeros((len(waveforms), lengths.max()), np.float32)
    for row, waveform in zip(samples, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return torch.from_numpy(samples), torch.from_numpy(lengths)


def load(name_or_path: str = "en") -> Recognizer:
    """The recognizer of a model that ships (by name) or of a model file (by path); see `asr.load`."""
    return Recognizer.from_checkpoint(checkpoint.load(find_model(name_or_path)))


def find_model(name_or_path: str) -> Path:
    """The file of a model that ships, or the path itself.

    Raises:
        asr.Error: neither a file nor a model that ships.
    """
    shipped = MODELS / f"{name_or_path}.safetensors"
    if shipped.is_file():
        return shipped
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    found = "a folder" if Path(name_or_path).is_dir() else "no such file"
    names = ", ".join(sorted(path.stem for path in MODELS.glob("*.safetensors")))
    raise Error(
        f"model {name_or_path!r}: {found}; expected a model file (.safetensors) or the name of a model that ships "
        f"({names or 'none does here'})"
    )
