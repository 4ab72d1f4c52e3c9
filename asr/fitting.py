"""What `asr.evaluate --tune` and `--calibrate` do: fit to recordings whose texts are known, and keep that in files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr import Error, command, files
from asr.batching import log_probs_of
from asr.calibrate import calibrate, keep
from asr.corpus import Utterance
from asr.lm import is_arpa
from asr.loading import find_lm, search_settings, word_search
from asr.ngram import NGram
from asr.recognizer import Recognizer
from asr.tape import load_parts
from asr.tune import tune


def tune_lm(recognizer: Recognizer, model: Path, lm: str | None, utterances: Sequence[Utterance]) -> None:
    """Fit the weights of beam search and write them into the language model's file.

    Args:
        recognizer: it searches with these weights to begin with from now on.
        model, lm: its files, as `asr.loading.find_lm` takes them.

    Raises:
        command.UsageError: there is no language model, or it is an ARPA file.
        asr.Error: the file cannot be written.
    """
    path = _lm_file(model, lm)
    _check_writable(path, "--lm")
    language = NGram.open(path)
    recognizer.search = word_search(recognizer, language, search_settings(language))
    settings = tune(recognizer, _log_probs(recognizer, utterances), _references(recognizer, utterances))
    kept = {name: value for name, value in language.info.items() if name != "confidence"}  # that of another search
    replace(language, info={**kept, "search": asdict(settings)}).save(path)
    if "confidence" in language.info:
        lost = "confidences fitted to the search before are no longer in it; fit them anew (--calibrate)"
        print(f"{path}: {lost}", file=sys.stderr)


def calibrate_words(recognizer: Recognizer, model: Path, lm: str | None, utterances: Sequence[Utterance]) -> None:
    """Fit the confidences of this way to decode, and write them into the file that decides it; see `tune_lm`.

    Args:
        recognizer: it decodes greedily, or with the search that the language model's file asks for.
    """
    path = None if recognizer.search is None else _lm_file(model, lm)
    _check_writable(*((model, "--model") if path is None else (path, "--lm")))
    fitted = calibrate(recognizer, _log_probs(recognizer, utterances), _references(recognizer, utterances))
    keep(fitted, model, path)


def _lm_file(model: Path, lm: str | None) -> Path:
    """The language model's file, in which settings can be kept."""
    path = find_lm(model, lm)
    if path is None:
        raise command.UsageError("--tune fits the weights of a language model; name its file (--lm)")
    if is_arpa(path):
        raise command.UsageError(
            f"{path}: an ARPA file cannot keep weights; convert it first (python -m asr.lm convert)"
        )
    return path


def _check_writable(path: Path, option: str) -> None:
    """See, before the long work, that what it finds can be kept."""
    try:
        files.check_writable(path)
    except OSError as error:
        raise Error(
            f"{path}: what is fitted would be kept in this file, but it cannot be written ({error.strerror}); copy it "
            f"to a folder of yours, and name the copy ({option})"
        ) from None


def _log_probs(recognizer: Recognizer, utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """Of each utterance, as `Recognizer.log_probs` gives them; no frames of one that cannot be read."""
    found = []
    for block in load_parts(utterances, recognizer.threads):
        waveforms = [None if isinstance(each, Exception) else each for each in block]
        lengths = [0 if each is None else len(each) for each in waveforms]
        found += log_probs_of(recognizer, lengths, waveforms.__getitem__)
    return found


def _references(recognizer: Recognizer, utterances: Sequence[Utterance]) -> list[str]:
    return [recognizer.normalizer(utterance.text) for utterance in utterances]
