"""From names and paths to a recognizer: the model's file, its language model, beam search with both."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from asr import Error, decode
from asr.confidence import Calibration
from asr.decode import BeamSearch, BeamSettings

if TYPE_CHECKING:
    import torch

    from asr.checkpoint import Checkpoint
    from asr.lexicon import Lexicon
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
    if not (lm_path or hot_words or beam_size is not None):
        return None, Calibration.from_info(stored.info)
    from asr.lm import open_lm
    from asr.vocabulary import parse_phrases

    hot = parse_phrases(hot_words, hot_weight, stored.alphabet, stored.normalizer)
    model = open_lm(lm_path) if lm_path else None
    settings = search_settings(model)
    settings = replace(settings, beam_size=settings.beam_size if beam_size is None else beam_size)
    # Fitted to the beam of the file (asr.evaluate --calibrate): truer of another one than none at all (docs/LOG.md).
    calibration = Calibration.from_info(model.info) if model else None
    return word_search(stored, model, settings, hot), calibration


def search_settings(model: NGram | None) -> BeamSettings:
    """The weights and the beam that a language model's file holds, or the usual ones."""
    kept = model.info.get("search") if model else None
    if not kept:
        return BeamSettings()
    try:
        return BeamSettings(**{"prior": 0.0, **kept})  # older files were fitted without
    except TypeError:
        raise Error(f"the language model's search settings are {kept}; fit them again (asr.evaluate --tune)") from None


def word_search(
    stored: Checkpoint | Recognizer, model: NGram | None, settings: BeamSettings, hot: Mapping[str, float] | None = None
) -> BeamSearch:
    """Beam search for what a model tells: among its phones where the language model has words of them, else letters.

    Args:
        stored: the acoustic model.
        model, hot: as in `beam_search`.
    """
    tokens = len(stored.alphabet)
    model = model and model.with_unknown()  # or no word could be found that is not in it
    if model is None or model.pronunciations is None or not stored.phones:
        return beam_search(stored.alphabet, model, settings, hot, stored.log_priors[:tokens])
    return phone_search(stored.phones, stored.lexicon, model, settings, hot, stored.log_priors[tokens:])


def beam_search(
    units: Units,
    model: NGram | None,
    settings: BeamSettings,
    hot_words: Mapping[str, float] | None = None,
    log_priors: Sequence[float] = (),
) -> BeamSearch:
    """Beam search for the tokens of a model.

    Args:
        model: of words or, if it says so, of characters.
        hot_words: normalised phrases, each with the bonus of one of its words.
        log_priors: (V,) of the tokens, see `asr.priors`; none where they are not known.
    """
    from asr import vocabulary
    from asr.ngram import UNKNOWN

    kinds = vocabulary.token_kinds(units)
    new = sorted({word for phrase in hot_words or () for word in phrase.split() if model and not model.known(word)})
    if model is None or vocabulary.of_characters(model):
        ids = vocabulary.token_words(model, units) if model else None
        kinds = kinds if kinds.any() else vocabulary.all_open(kinds)
        hot = vocabulary.hot_words(hot_words, units, kinds) if hot_words else None
        return BeamSearch(kinds, settings, model, token_words=ids, hot=hot, log_priors=log_priors)
    if kinds.any():
        hot = vocabulary.hot_words(hot_words, units, kinds) if hot_words else None
        more = dict.fromkeys(new, model.ids[UNKNOWN])
    else:  # words end without a sign of it, as words of phones do
        more = dict(zip(new, range(len(model.words), len(model.words) + len(new)), strict=True))
        hot = vocabulary.hot_words_said(hot_words, {**model.ids, **more}) if hot_words else None
    lexicon = vocabulary.spelled_lexicon(model, units, more)
    return BeamSearch(kinds, settings, model, lexicon, hot=hot, log_priors=log_priors)


def phone_search(
    phones: Sequence[str],
    lexicon: Lexicon | None,
    model: NGram,
    settings: BeamSettings,
    hot_words: Mapping[str, float] | None = None,
    log_priors: Sequence[float] = (),
) -> BeamSearch:
    """Beam search for words among the phones of a model; `BeamSearch.names` has the words of its hypotheses.

    Args:
        phones: the model's, the blank first.
        lexicon: says hot words that the language model does not have.
        model: of words, with their pronunciations.
        log_priors: (P,) of the phones, as in `beam_search`.

    Raises:
        asr.vocabulary.VocabularyError: a hot word's pronunciation is not known.
    """
    from asr import vocabulary

    kinds = np.full(len(phones), vocabulary.INSIDE, np.int8)
    said = {word for word, ways in zip(model.words, model.pronunciations.counts.tolist(), strict=True) if ways}
    new = sorted({word for phrase in hot_words or () for word in phrase.split()} - said)
    ways = [vocabulary.say(word, lexicon, phones) for word in new]
    names = [*model.words, *new]
    ids = {**model.ids, **dict(zip(new, range(len(model.words), len(names)), strict=True))}
    hot = vocabulary.hot_words_said(hot_words, ids) if hot_words else None
    tree = vocabulary.pronounced_lexicon(model, phones, ways)
    return BeamSearch(kinds, settings, model, tree, hot=hot, names=names, log_priors=log_priors)


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
    if shipped := _shipped(lm, ".lm"):
        return shipped
    if Path(lm).is_file():
        return Path(lm)
    names = ", ".join(sorted(path.stem for path in MODELS.glob("*.lm")))
    raise Error(
        f"language model {lm!r}: no such file; expected a file of asr.lm (.lm), an ARPA file, none, or the name of a "
        f"language model that ships ({names or 'none does here'})"
    )


def is_model(name_or_path: str) -> bool:
    """Whether it is the name of a model that ships, or of a model file."""
    return _shipped(name_or_path, ".safetensors") is not None or name_or_path.endswith(".safetensors")


def find_model(name_or_path: str) -> Path:
    """The file of a model that ships, or the path itself.

    Raises:
        asr.Error: neither a file nor a model that ships.
    """
    if shipped := _shipped(name_or_path, ".safetensors"):
        return shipped
    if Path(name_or_path).is_file():
        return Path(name_or_path)
    found = "a folder" if Path(name_or_path).is_dir() else "no such file"
    names = ", ".join(sorted(path.stem for path in MODELS.glob("*.safetensors")))
    raise Error(
        f"model {name_or_path!r}: {found}; expected a model file (.safetensors) or the name of a model that ships "
        f"({names or 'none does here'})"
    )


def _shipped(name: str, suffix: str) -> Path | None:
    """The file of that name that ships, if there is one; what has a separator is a path, and no name."""
    path = MODELS / f"{name}{suffix}"
    return path if Path(name).name == name and path.is_file() else None
