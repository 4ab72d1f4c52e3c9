"""From names and paths to a recognizer: the model's file, its language model, beam search with both."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error, decode
from asr.confidence import Calibration
from asr.decode import BeamSearch, BeamSettings

if TYPE_CHECKING:
    import torch

    from asr.checkpoint import Checkpoint
    from asr.ngram import NGram
    from asr.recognizer import Recognizer
    from asr.text import Units

# Torch and numba are imported where they are needed: finding a file takes neither, greedy decoding no numba.

MODELS = Path(__file__).parent / "models"


def load(
    name_or_path: str,
    lm: str | None,
    beam_size: int | None,
    hot_words: Mapping[str, float] | Collection[str],
    hot_weight: float,
    device: str,
    threads: int | None,
    batch_seconds: float,
) -> Recognizer:
    """What `asr.load` does, which has the defaults."""
    from asr import checkpoint
    from asr.recognizer import Recognizer

    path = find_model(name_or_path)
    stored = checkpoint.load(path)
    search, calibration = _search(path, stored, lm, beam_size, hot_words, hot_weight)
    place = _device(device)
    recognizer = Recognizer.from_checkpoint(stored, search, calibration)
    recognizer.threads = threads or (decode.cores() if place.type == "cpu" else 1)
    recognizer.batch_seconds = batch_seconds
    recognizer.model.to(place)
    recognizer.features.to(place)
    return recognizer


def _device(name: str) -> torch.device:
    """A device that is there.

    Raises:
        asr.Error: it is not, or torch knows no device of that name.
    """
    import torch

    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:  # what torch raises where it was built without CUDA
        said = str(error).partition("\n")[0]
        raise Error(f"device {name!r}: torch says {said!r}; choose cpu or a device that this machine has") from None
    return device


def _search(
    path: Path,
    stored: Checkpoint,
    lm: str | None,
    beam_size: int | None,
    hot_words: Mapping[str, float] | Collection[str],
    hot_weight: float,
) -> tuple[BeamSearch | None, Calibration | None]:
    """The beam search that these choices ask for, or None for greedy decoding; and what confidences go with it."""
    lm_path = find_lm(path, lm)
    if beam_size == 1:
        if hot_words:
            raise Error("hot words need beam search; choose a beam_size above 1")
        return None, Calibration.from_info(stored.info)
    if not (lm_path or hot_words or beam_size):
        return None, Calibration.from_info(stored.info)
    from asr.lm import open_lm
    from asr.vocabulary import parse_phrases

    hot = parse_phrases(hot_words, hot_weight, stored.alphabet, stored.normalizer)
    model = open_lm(lm_path) if lm_path else None
    settings = search_settings(model)
    settings = replace(settings, beam_size=beam_size or settings.beam_size)
    calibration = Calibration.from_info(model.info) if model else None
    return beam_search(stored.alphabet, model, settings, hot), calibration


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
