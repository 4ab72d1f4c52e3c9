"""Recognizer: a model and a decoder that turn audio into a Transcript."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from asr import HOT_WEIGHT, Error, audio, checkpoint, decode
from asr.decode import BeamSearch, BeamSettings
from asr.features import LogMel
from asr.model import AcousticModel
from asr.text import Normalizer, Units

if TYPE_CHECKING:
    from asr.ngram import NGram  # which brings numba, and greedy decoding should not wait for it

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
        search: beam search over its log-probs; None decodes greedily.
    """

    def __init__(
        self,
        model: AcousticModel,
        features: LogMel,
        alphabet: Units,
        normalizer: Normalizer,
        info: Mapping[str, object],
        search: BeamSearch | None = None,
    ) -> None:
        self.model = model
        self.features = features
        self.alphabet = alphabet
        self.normalizer = normalizer
        self.info = info
        self.search = search

    @classmethod
    def from_checkpoint(cls, stored: checkpoint.Checkpoint, search: BeamSearch | None = None) -> Recognizer:
        """The recognizer of a model file that has been read."""
        model, features = stored.acoustic_model(), LogMel(stored.features)
        return cls(model, features, stored.alphabet, stored.normalizer, stored.info, search)

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
        texts = self.decode(*self.log_probs(waveforms))
        return [
            Transcript(text, len(samples) / audio.SAMPLE_RATE) for text, samples in zip(texts, waveforms, strict=True)
        ]

    def decode(self, log_probs: NDArray[np.float32], lengths: NDArray[np.int64]) -> list[str]:
        """The texts of a padded batch of log-probs, as `log_probs` gives them."""
        if self.search is None:
            hypotheses = decode.greedy(log_probs, lengths)
        else:
            hypotheses = [best for best, *_ in self.search(log_probs, lengths)]
        return [self.text(hypothesis) for hypothesis in hypotheses]

    def text(self, hypothesis: decode.Hypothesis) -> str:
        """A hypothesis as text; spaces at its ends belong to no word."""
        return " ".join(self.alphabet.decode(hypothesis.ids).split())

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


def load(
    name_or_path: str = "en",
    lm: str | None = None,
    beam_size: int | None = None,
    hot_words: Mapping[str, float] | Collection[str] = (),
    hot_weight: float = HOT_WEIGHT,
) -> Recognizer:
    """The recognizer of a model that ships (by name) or of a model file (by path); see `asr.load`."""
    path = find_model(name_or_path)
    stored = checkpoint.load(path)
    return Recognizer.from_checkpoint(stored, _search(path, stored, lm, beam_size, hot_words, hot_weight))


def _search(
    path: Path,
    stored: checkpoint.Checkpoint,
    lm: str | None,
    beam_size: int | None,
    hot_words: Mapping[str, float] | Collection[str],
    hot_weight: float,
) -> BeamSearch | None:
    """The beam search that these choices ask for; None for greedy decoding."""
    lm_path = find_lm(path, lm)
    if beam_size == 1:
        if hot_words:
            raise Error("hot words need beam search; choose a beam_size above 1")
        return None
    if not (lm_path or hot_words or beam_size):
        return None
    from asr.lm import open_lm
    from asr.vocabulary import parse_phrases

    hot = parse_phrases(hot_words, hot_weight, stored.alphabet, stored.normalizer)
    model = open_lm(lm_path) if lm_path else None
    settings = search_settings(model)
    return beam_search(stored.alphabet, model, replace(settings, beam_size=beam_size or settings.beam_size), hot)


def search_settings(model: NGram | None) -> BeamSettings:
    """The weights and the beam that a language model's file holds, or the usual ones."""
    kept = model.info.get("search", {}) if model else {}
    try:
        return BeamSettings(**kept)
    except TypeError:
        raise Error(f"the language model's search settings are {kept}; fit them again (asr.evaluate --tune)") from None


def beam_search(
    units: Units, model: NGram | None, settings: BeamSettings, hot_words: Mapping[str, float] | None = None
) -> BeamSearch:
    """Beam search for the tokens of a model.

    Args:
        model: of words or, if it says so, of characters.
        hot_words: normalised phrases, each with the bonus of one of its words.
    """
    from asr import vocabulary

    kinds = vocabulary.token_kinds(units)
    hot = vocabulary.hot_words(hot_words, units) if hot_words else None
    if model is None:
        return BeamSearch(kinds, settings, hot=hot)
    if vocabulary.of_characters(model):
        return BeamSearch(kinds, settings, model, token_words=vocabulary.token_words(model, units), hot=hot)
    more = {word for phrase in hot_words or () for word in phrase.split()}
    return BeamSearch(kinds, settings, model, vocabulary.spelled_lexicon(model, units, more), hot=hot)


def find_lm(model: Path, lm: str | None) -> Path | None:
    """The language model's file: the one beside the model and named like it, one that ships, or the path itself.

    Args:
        lm: name or path; "none" for none; None for the model's own, if it has one.

    Raises:
        asr.Error: neither a file nor a language model that ships.
    """
    if lm is None:
        beside = model.with_suffix(".lm")
        return beside if beside.is_file() else None
    if lm == "none":
        return None
    shipped = MODELS / f"{lm}.lm"
    if shipped.is_file():
        return shipped
    if Path(lm).is_file():
        return Path(lm)
    names = ", ".join(sorted(path.stem for path in MODELS.glob("*.lm")))
    raise Error(
        f"language model {lm!r}: no such file; expected a file of asr.lm (.lm), an ARPA file, none, or the name of a "
        f"language model that ships ({names or 'none does here'})"
    )


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
