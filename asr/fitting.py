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
from asr.calibrate import FEWEST as FEWEST_TO_CALIBRATE
from asr.calibrate import calibrate, keep
from asr.corpus import Utterance
from asr.decode import BeamSettings
from asr.lm import is_arpa
from asr.loading import find_lm
from asr.ngram import NGram
from asr.recognizer import Recognizer
from asr.tape import load_parts
from asr.tune import tune

FEWEST = 100  # words to fit weights to


def fit(
    recognizer: Recognizer, model: Path, lm: str | None, utterances: Sequence[Utterance], tunes: bool, calibrates: bool
) -> None:
    """Fit to recordings, and keep in files, the weights of beam search, the confidences of words, or both.

    Args:
        recognizer: it decodes greedily, or with the search that the language model's file asks for; with the fitted
            weights from then on.
        model, lm: its files, as `asr.loading.find_lm` takes them.
        tunes: the weights, into the language model's file.
        calibrates: the confidences, into the file that decides how words are found.

    Raises:
        command.UsageError: there are weights to fit, but no language model, or it is an ARPA file.
        asr.Error: a file cannot be written, or too little is heard to fit anything to; nothing is kept then.
    """
    path = _lm_file(model, lm) if tunes or recognizer.search is not None else None
    _check_writable(*((model, "--model") if path is None else (path, "--lm")))
    log_probs, references = _heard(recognizer, utterances, FEWEST_TO_CALIBRATE if calibrates else FEWEST)
    if tunes:
        settings = tune(recognizer, log_probs, references)
        recognizer.search = recognizer.search.with_settings(settings)
    calibration = calibrate(recognizer, log_probs, references) if calibrates else None
    if tunes:
        _keep_settings(path, settings, calibrates)
    if calibration:
        keep(calibration, model, path)


def _keep_settings(path: Path, settings: BeamSettings, calibrates: bool) -> None:
    """Write the weights into a language model's file; confidences that were fitted to others go."""
    language = NGram.open(path)
    kept = {name: value for name, value in language.info.items() if name != "confidence"}  # that of another search
    replace(language, info={**kept, "search": asdict(settings)}).save(path)
    if "confidence" in language.info and not calibrates:
        lost = "confidences fitted to the search before are no longer in it; fit them anew (--calibrate)"
        print(f"{path}: {lost}", file=sys.stderr)


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


def _heard(
    recognizer: Recognizer, utterances: Sequence[Utterance], fewest: int
) -> tuple[list[NDArray[np.float32]], list[str]]:
    """The log-probs of the utterances that can be read, as `Recognizer.log_probs` gives them, and their references.

    Raises:
        asr.Error: their texts hold fewer words than that.
    """
    found: list[NDArray[np.float32]] = []
    references, problems = [], []
    rest = iter(utterances)
    for block in load_parts(utterances, recognizer.threads):
        waveforms = []
        for samples, utterance in zip(block, rest, strict=False):  # of the rest those of this block
            if isinstance(samples, Exception):
                problems.append(f"{utterance.id}: {samples}")
            else:
                waveforms.append(samples)
                references.append(recognizer.normalizer(utterance.text))
        found += log_probs_of(recognizer, [len(each) for each in waveforms], waveforms.__getitem__)
    if problems:
        said = f"{len(problems)} of {len(utterances)} recordings cannot be read and are not fitted to"
        print(f"{said}, such as {problems[0]}", file=sys.stderr)
    words = sum(len(recognizer.split_words(reference)) for reference in references)
    if words < fewest:
        raise Error(f"{words} words can be heard; to fit to them takes at least {fewest}: give more recordings")
    return found, references
