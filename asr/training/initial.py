"""Starting from a trained model: its sizes, and its weights wherever they fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor

from asr.checkpoint import Checkpoint
from asr.model import AcousticModel
from asr.text import Subwords, Units
from asr.training.config import TrainConfig

OUTPUT = ("output.weight", "output.bias")  # a row for every token
PHONE_OUTPUT = ("phones.output.weight", "phones.output.bias")


def sizes(checkpoint: Checkpoint) -> dict[str, object]:
    """The training settings under which another model has the sizes, features, units and case of this one."""
    own = dataclasses.asdict(checkpoint.model)
    # What depends on the new alphabet and lexicon, what is always the same, and what is no size.
    for name in ("vocab", "phones", "n_mels", "dropout"):
        del own[name]
    if not checkpoint.phones:
        del own["phone_layer"]
    own |= {"statistics": checkpoint.features.statistics, **unit_settings(checkpoint.alphabet)}
    # Small letters are what is usual; those of a new corpus may be Turkish.
    return own | ({"case": case} if (case := checkpoint.normalizer.case) != TrainConfig.case else {})


def unit_settings(units: Units) -> dict[str, object]:
    """The training settings that ask for such tokens."""
    return {"units": units.kind} | ({"pieces": len(units) - 1} if isinstance(units, Subwords) else {})


def adopt(model: AcousticModel, alphabet: Units, phones: Sequence[str], checkpoint: Checkpoint) -> list[str]:
    """Give a new model a trained model's weights, tensor by tensor and, in the output, token by token.

    A letter and a piece of one letter are not the same token: an output from letters to subwords, or back, is all new.

    Args:
        model: changed in place; what the trained model does not have stays as it is.
        alphabet: of the new model; best the trained one's, extended.
        phones: what the new model tells; where the trained one tells others, that output is new.
        checkpoint: the trained model.

    Returns: what stays as it is: names of tensors that differ in shape or tokens, and tokens that are new.
    """
    weights, trained = model.state_dict(), checkpoint.weights
    new = []
    for name in weights.keys() - set(OUTPUT):
        same = name not in PHONE_OUTPUT or tuple(phones) == checkpoint.phones
        if same and name in trained and trained[name].shape == weights[name].shape:
            weights[name].copy_(trained[name])
        else:
            new.append(name)
    other_units = alphabet.kind != checkpoint.alphabet.kind
    if other_units or trained[OUTPUT[0]].shape[1] != weights[OUTPUT[0]].shape[1]:
        return sorted([*new, *OUTPUT])
    return sorted(new) + _adopt_rows(weights, alphabet, trained, checkpoint.alphabet)


def _adopt_rows(weights: dict[str, Tensor], alphabet: Units, trained: dict[str, Tensor], known: Units) -> list[str]:
    old_rows, new_rows = _rows(known), _rows(alphabet)
    shared = [symbol for symbol in alphabet.symbols if symbol in old_rows]
    for name in OUTPUT:
        for symbol in shared:
            weights[name][new_rows[symbol]] = trained[name][old_rows[symbol]]
    return [repr(symbol) for symbol in alphabet.symbols if symbol not in old_rows]


def _rows(alphabet: Units) -> dict[str, int]:
    return {symbol: i for i, symbol in enumerate(alphabet.symbols)}
