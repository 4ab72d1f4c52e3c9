"""One model file: weights, sizes, tokens, feature settings, normaliser, and where the model came from.

The file is in safetensors format: tensors behind a JSON header, nothing that runs when it is opened. Our part of the
header is the metadata entry "asr", a JSON object with the fields of `Checkpoint` and a format version.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from asr import Error
from asr.features import FeatureConfig
from asr.files import replacing
from asr.lexicon import Lexicon
from asr.model import AcousticModel, ModelConfig
from asr.text import Normalizer, Units, units_from_json, units_to_json

FORMAT_VERSION = 1
LEXICON = "lexicon"  # the tensor that holds it


class CheckpointError(Error):
    """A file that is not a model, is damaged, or belongs to another version."""


@dataclass(frozen=True)
class Checkpoint:
    """A model and all that is needed to use it.

    Args:
        model: sizes of the acoustic model.
        features: how audio becomes its input.
        alphabet: its tokens, letters or subwords; the blank is number 0.
        normalizer: what texts went through before training.
        weights: the acoustic model's state dict.
        info: where it came from: data, licence, training settings, results. JSON types only.
        phones: names of the phones that it tells beside the tokens, "" for the blank first; none where it tells none.
        lexicon: by which it learnt them.
        log_priors: of its tokens, then of its phones, see `asr.priors`; none in files of older code.
    """

    model: ModelConfig
    features: FeatureConfig
    alphabet: Units
    normalizer: Normalizer
    weights: dict[str, Tensor]
    info: dict[str, object] = field(default_factory=dict)
    phones: tuple[str, ...] = ()
    lexicon: Lexicon | None = None
    log_priors: tuple[float, ...] = ()

    def acoustic_model(self) -> AcousticModel:
        """The model with its weights in fp32, ready for inference."""
        with torch.device("meta"):  # no time spent on random weights
            model = AcousticModel(self.model)
        weights = {name: _widened(weight) for name, weight in self.weights.items()}
        model.load_state_dict(weights, assign=True)
        return model.eval()


def _widened(weight: Tensor) -> Tensor:
    return weight.float() if weight.is_floating_point() else weight


def save(path: str | os.PathLike[str], checkpoint: Checkpoint, half: bool = False) -> None:
    """Write a model file: beside it first, then renamed, so that a crash leaves the old file as it was.

    Args:
        half: store the weights as fp16, half the size. They are computed with in fp32 all the same.
    """
    header = {
        "version": FORMAT_VERSION,
        "model": dataclasses.asdict(checkpoint.model),
        "features": dataclasses.asdict(checkpoint.features),
        "alphabet": units_to_json(checkpoint.alphabet),
        "normalizer": checkpoint.normalizer.to_dict(),
        "info": checkpoint.info,
        "phones": checkpoint.phones,
        "log_priors": checkpoint.log_priors,
    }
    weights = {name: _stored(weight, half) for name, weight in checkpoint.weights.items()}
    if checkpoint.lexicon:
        weights[LEXICON] = torch.frombuffer(bytearray(checkpoint.lexicon.packed), dtype=torch.uint8)
    write_tensors(path, weights, {"asr": json.dumps(header, ensure_ascii=False)})


def _stored(weight: Tensor, half: bool) -> Tensor:
    weight = weight.detach().cpu().contiguous()
    return weight.half() if half and weight.is_floating_point() else weight


def write_tensors(path: str | os.PathLike[str], tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """A safetensors file, written beside, flushed to the disk, then renamed; of any device's tensors."""
    from safetensors.torch import save as to_bytes

    with replacing(Path(path)) as file:
        file.write(to_bytes({name: tensor.cpu() for name, tensor in tensors.items()}, metadata))


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors and the metadata of a safetensors file.

    Raises:
        CheckpointError: the file is missing, cut short or not safetensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; expected a model file (.safetensors)") from None
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a model file, or damaged ({error}); expected .safetensors as asr.train writes it"
        ) from None


def load(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a model file.

    Raises:
        CheckpointError: it is missing, not a model, damaged, or of another version.
    """
    weights, metadata = read_tensors(path)
    if "asr" not in metadata:
        raise CheckpointError(f"{path}: a safetensors file, but not a model of this project; train one with asr.train")
    try:
        header = json.loads(metadata["asr"])
        version = header["version"]
    except (ValueError, KeyError, TypeError):
        raise CheckpointError(f"{path}: its header is damaged; copy or download the model again") from None
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: model format {version}, but this version of asr reads format {FORMAT_VERSION}; "
            "use the asr that made it, or train again"
        )
    try:
        lexicon = weights.pop(LEXICON, None)
        checkpoint = Checkpoint(
            ModelConfig(**header["model"]),
            FeatureConfig(**header["features"]),
            units_from_json(header["alphabet"]),
            Normalizer.from_dict(header["normalizer"]),
            weights,
            header["info"],
            tuple(header.get("phones", ())),
            None if lexicon is None else Lexicon(lexicon.numpy().tobytes()),
            tuple(map(float, header.get("log_priors", ()))),
        )
        _check_weights(checkpoint)
    except (Error, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its contents do not fit together ({error}); copy the model again") from None
    return checkpoint


def _check_weights(checkpoint: Checkpoint) -> None:
    """The file's tensors are those of the model that its header describes, and its alphabet fits the output."""
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in AcousticModel(checkpoint.model).state_dict().items()}
    found = {name: tensor.shape for name, tensor in checkpoint.weights.items()}
    if found != expected:
        different = sorted(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise CheckpointError(f"weights that differ from the header's sizes: {', '.join(different[:3])}")
    if len(checkpoint.alphabet) != checkpoint.model.vocab:
        raise CheckpointError(f"{len(checkpoint.alphabet)} tokens for {checkpoint.model.vocab} outputs")
    if len(checkpoint.phones) != checkpoint.model.phones:
        raise CheckpointError(f"{len(checkpoint.phones)} phones for {checkpoint.model.phones} outputs")
    priors, outputs = checkpoint.log_priors, checkpoint.model.vocab + checkpoint.model.phones
    if priors and not (len(priors) == outputs and all(map(math.isfinite, priors))):
        raise CheckpointError(f"{len(priors)} priors for {outputs} outputs, or some that are no numbers")
