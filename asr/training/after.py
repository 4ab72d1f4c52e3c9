"""What comes after training: a language model of the training texts, if it helps, and the figures on the dev set.

dev_manifest.jsonl   the dev set, for `asr.evaluate`
model.lm             the language model beside the model, with its weights; only if it makes fewer errors on dev
report.html          every dev utterance, to look at and to listen to
result.json          the figures
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr import Error, checkpoint
from asr.batching import log_probs_of
from asr.checkpoint import Checkpoint
from asr.corpus import Utterance, write_manifest
from asr.decode import BeamSettings
from asr.groups import interval
from asr.lm import SPACE
from asr.loading import find_lm, find_model, word_search
from asr.ngram import NGram
from asr.recognizer import Recognizer
from asr.text import Normalizer, Units
from asr.training.cache import AudioCache, open_cache
from asr.training.folder import MADE_LM, RunFolder
from asr.training.store import caches_folder

RESULT, REPORT = "result.json", "report.html"
FEWEST_WORDS = 50  # a text with less says nothing of a language
ENOUGH_FOR_THREE = 10_000  # words: with fewer, two words in a row are all that is seen often enough
CHARACTERS_ORDER = 5
SPACES = 1 / 30  # characters: with fewer spaces, text is not written in words
SAMPLED = 10_000  # texts that are looked at for repeats
TUNED = 100  # dev utterances, spread over the set, that the weights are fitted to


@dataclass(frozen=True)
class Helper:
    """A language model with fitted weights, and what it does on the dev set.

    Args:
        what: where it is from, for a person.
        errors: wrong words of the whole dev set, see `asr.tune.word_errors`.
    """

    what: str
    model: NGram
    settings: BeamSettings
    errors: int


def check_finishing(folder: RunFolder) -> None:
    """See that nothing is in the way of `finish`.

    Raises:
        RunError: a language model that the run has not made.
    """
    if not (folder.path / RESULT).is_file():
        folder.check_language_model()


def finish(
    folder: RunFolder, train: Callable[[], Iterator[Utterance]], dev: Sequence[Utterance], init: str, with_lm: bool
) -> None:
    """Make a language model, evaluate, and print what came out on stderr.

    Args:
        train: gives what was learnt from, each time anew; its texts become the language model.
        dev: what has chosen the model; where there is none, nothing is done.
        init: the model that training started from, whose language model is tried too; empty for none.
        with_lm: try language models at all.

    What is done is not done again: result.json, which comes last, says so.
    """
    if (folder.path / RESULT).is_file():
        return
    check_finishing(folder)
    lm_path = folder.language_model
    lm_path.unlink(missing_ok=True)  # of an earlier time
    if not dev:
        _say("no dev set: no figures, and no language model, since nothing could tell whether it helps")
        folder.write_text(RESULT, json.dumps({"dev": None, "language_model": None}, indent=2) + "\n")
        return
    stored = checkpoint.load(folder.model)
    manifest = folder.path / "dev_manifest.jsonl"
    write_manifest(manifest, dev)
    best = _best_helper(stored, train, dev, init) if with_lm else None
    if best:
        folder.record(**{MADE_LM: best.what})
        replace(best.model, info={**best.model.info, "search": asdict(best.settings)}).save(lm_path)
    greedy, found = stored.info["dev"], _evaluated(folder, manifest, best is not None)
    if best and found["errors"] >= greedy["errors"]:  # an evaluation leaves silences out, which may turn a close call
        lm_path.unlink()
        best, found = None, _evaluated(folder, manifest, False)
    figures = {"greedy": greedy, "lm": found if best else None}
    folder.write_text(RESULT, json.dumps({"dev": figures, "language_model": best and best.what}, indent=2) + "\n")
    _say("on the dev set, which has chosen the best model, so that other speech may be harder:")
    _say(f"  greedy    {describe(greedy)}")
    if best:
        _say(f"  {lm_path.name}  {describe(found)}")
        _say(f"  (the language model is {best.what}; its weights were fitted to dev, too)")
    elif with_lm:
        _say("  no language model made fewer errors, so none is kept")
    _say(f"every utterance, to look at and to listen to: {folder.path / REPORT}")


def describe(score: dict[str, object]) -> str:
    """A line for a person on a score as `asr.score.Score.to_dict` gives it."""
    low, high = score["wer_low"], score["wer_high"]
    wer = "-" if score["wer"] is None else f"{score['wer']:.2%}"
    between = "-" if low is None else interval(low, high)
    counts = f"{score['errors']} errors in {score['words']} words of {score['utterances']} utterances"
    return f"WER {wer} (95% interval {between} over {score['interval_over']}): {counts}"


def _evaluated(folder: RunFolder, manifest: Path, with_lm: bool) -> dict[str, object]:
    """What `asr.evaluate` finds with all that lies beside the model; it writes the report.

    Args:
        with_lm: the report compares with what the model recognizes alone.
    """
    from asr import evaluate

    line = ["--model", str(folder.model), "--manifest", str(manifest), "--json", "--report", str(folder.path / REPORT)]
    with redirect_stdout(io.StringIO()) as printed:
        evaluate.main([*line, "--compare", str(folder.path / "dev.jsonl")] if with_lm else line)
    found = json.loads(printed.getvalue())
    return {name: found[name] for name in found if name not in ("comparison", "recognizer")}


def _best_helper(
    stored: Checkpoint, train: Callable[[], Iterator[Utterance]], dev: Sequence[Utterance], init: str
) -> Helper | None:
    """The language model with the fewest errors, if there are fewer than without."""
    cache = open_cache(dev, caches_folder(), exact=True)
    references = [stored.normalizer(utterance.text) for utterance in dev]
    without = _errors(Recognizer.from_checkpoint(stored), cache, references)
    best = None
    for what, model in _candidates(stored, train, set(references), init):
        _say(f"fitting the weights of a language model: {what}")
        found = _fitted(Recognizer.from_checkpoint(stored), what, model, cache, references)
        _say(f"  {found.errors} wrong words on dev, {without} without it")
        if found.errors < min(without, best.errors if best else without):
            best = found
    return best


def _candidates(
    stored: Checkpoint, train: Callable[[], Iterator[Utterance]], dev_texts: set[str], init: str
) -> Iterator[tuple[str, NGram]]:
    own = text_model(train, dev_texts, stored.normalizer, stored.alphabet)
    if own:
        units = own.info["units"]
        what = f"of the training text (order {own.order}, {own.info['words']} {units} without those of dev's texts)"
        yield what, own
        said = own.said_by(stored.lexicon) if stored.lexicon and units == "words" else own
        if said.pronunciations:
            yield f"{what}, its words by their phones", said
    else:
        _say("no language model of the training text: too little of it, dev's texts left out")
    try:
        beside = find_lm(find_model(init), None) if init else None
    except Error as error:  # the run has not needed that model since it began
        _say(f"the language model of {init} is not tried: {error}")
        beside = None
    if beside:
        yield f"that of {init}", NGram.open(beside)


def text_model(
    train: Callable[[], Iterator[Utterance]], dev_texts: set[str], normalizer: Normalizer, alphabet: Units
) -> NGram | None:
    """An n-gram model of the training texts without those that dev has too; None where there is too little text.

    It is one of words; of characters, where hardly a space is written.
    """
    from asr.kneser_ney import estimate

    def texts() -> Iterator[str]:
        return (text for each in train() if (text := normalizer(each.text)) and text not in dev_texts)

    words = characters = sentences = 0
    for text in texts():
        words, characters, sentences = words + len(text.split()), characters + len(text), sentences + 1
    by_character = words - sentences < SPACES * characters and _differ(list(islice(texts(), SAMPLED)))
    if (characters if by_character else words) < FEWEST_WORDS:
        return None
    units = "characters" if by_character else "words"
    order = CHARACTERS_ORDER if by_character else 3 if words >= ENOUGH_FOR_THREE else 2
    info = {"units": units, "normalizer": normalizer.to_dict(), "text": ["training texts"], "prune": 0.0}
    return estimate((_units(text, by_character, alphabet) for text in texts()), order, info=info)


def _differ(texts: Sequence[str]) -> bool:
    """Whether they are sentences without spaces, and not single words that come again and again."""
    return len(set(texts)) > len(texts) / 2


def _units(text: str, by_character: bool, alphabet: Units) -> list[str | None]:
    units = list(text.replace(" ", SPACE)) if by_character else text.split()
    return [None if alphabet.unknown(" " if unit == SPACE else unit) else unit for unit in units]


def _fitted(recognizer: Recognizer, what: str, model: NGram, cache: AudioCache, references: Sequence[str]) -> Helper:
    from asr.tune import tune

    recognizer.search = word_search(recognizer, model, BeamSettings())
    log_probs = _log_probs(recognizer, cache)
    some = range(0, len(references), -(-len(references) // TUNED))
    with redirect_stderr(io.StringIO()):  # every weight that it tries
        settings = tune(recognizer, [log_probs[i] for i in some], [references[i] for i in some])
    recognizer.search = recognizer.search.with_settings(settings)
    return Helper(what, model, settings, _errors(recognizer, cache, references))


def _errors(recognizer: Recognizer, cache: AudioCache, references: Sequence[str]) -> int:
    """Wrong words, see `asr.tune.word_errors`."""
    from asr.tune import word_errors

    return word_errors(recognizer, references, [best for best, *_ in recognizer.decode(_log_probs(recognizer, cache))])


def _log_probs(recognizer: Recognizer, cache: AudioCache) -> list[NDArray[np.float32]]:
    reader = cache.reader()
    return log_probs_of(recognizer, cache.lengths, lambda i: reader[i] if cache.lengths[i] else None)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
