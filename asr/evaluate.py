"""Score a model on recordings with known texts: `python -m asr.evaluate --model en --manifest FILE`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from asr import Error, audio, command, corpus
from asr.corpus import Utterance
from asr.score import Score, score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from asr.recognizer import Recognizer


@dataclass(frozen=True)
class Evaluation:
    """How well and how fast a recognizer did.

    Args:
        score: WER and CER with counts and interval.
        texts: what was recognized, in the order of the utterances.
        failures: utterance id -> why its audio could not be read, in the order of the utterances; such an utterance
            counts with all its words deleted.
        seconds_of_audio, seconds: length of what was read, and the time that recognizing it took, reading included.
    """

    score: Score
    texts: list[str]
    failures: dict[str, str]
    seconds_of_audio: float
    seconds: float

    @property
    def rtf(self) -> float | None:
        """Real-time factor: seconds of work per second of audio; None without audio."""
        return self.seconds / self.seconds_of_audio if self.seconds_of_audio else None

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints; rates are fractions."""
        return {**self.score.to_dict(), "rtf": self.rtf, "failed": len(self.failures)}


def evaluate(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Evaluation:
    """Transcribe utterances and score them against their texts, both in the model's normalised form.

    Every utterance is scored: one that cannot be read counts with its deletions.
    """
    start = time.perf_counter()
    texts, failures, seconds_of_audio = _transcribe(recognizer, utterances)
    seconds = time.perf_counter() - start
    references = [recognizer.normalizer(utterance.text) for utterance in utterances]
    result = score(references, texts, [utterance.speaker for utterance in utterances])
    return Evaluation(result, texts, failures, seconds_of_audio, seconds)


def _transcribe(recognizer: Recognizer, utterances: Sequence[Utterance]) -> tuple[list[str], dict[str, str], float]:
    """Texts in order, failures in order, and seconds of audio; batches hold utterances of like length."""
    from asr.recognizer import length_batches

    texts = [""] * len(utterances)
    failures: dict[int, str] = {}
    seconds = 0.0
    for batch in length_batches([_expected_length(utterance) for utterance in utterances]):
        waveforms = {}
        for i in batch:
            try:
                waveforms[i] = audio.load(utterances[i].audio, utterances[i].offset, utterances[i].duration)
            except (Error, OSError) as error:
                failures[i] = str(error)
        transcripts = recognizer.transcribe_many(list(waveforms.values()))
        for i, transcript in zip(waveforms, transcripts, strict=True):
            texts[i] = transcript.text
            seconds += transcript.duration
    return texts, {utterances[i].id: failures[i] for i in sorted(failures)}, seconds


def _expected_length(utterance: Utterance) -> int:
    """Samples, as the manifest or else the file's header says; they only decide which batch it joins."""
    try:
        return round((utterance.duration or audio.duration(utterance.audio)) * audio.SAMPLE_RATE)
    except (Error, OSError):
        return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m asr.evaluate", description="Word and character error rate of a model, with a 95%% interval."
    )
    command.add_model(arguments)
    arguments.add_argument("--manifest", required=True, type=Path, help="manifest or folder, as asr.train reads it")
    arguments.add_argument("--split", help="score only this split of the manifest, such as test")
    arguments.add_argument(
        "--tune",
        action="store_true",
        help="fit the language model's weights and the beam to this data first, and keep them in its file",
    )
    arguments.add_argument("--json", action="store_true", help="print one JSON object; rates are fractions")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Status 1 if an utterance could not be read; it is scored all the same."""
    options = parser().parse_args(argv)
    utterances = corpus.read(options.manifest, options.split)
    recognizer = command.load_model(options)
    if options.tune:
        _tune(recognizer, options, utterances)
        recognizer = command.load_model(options)
    result = evaluate(recognizer, utterances)
    status = report_failures(result)
    print(json.dumps(result.to_dict()) if options.json else describe(result))
    return status


def _tune(recognizer: Recognizer, options: argparse.Namespace, utterances: Sequence[Utterance]) -> None:
    """Fit the weights of beam search and write them into the language model's file."""
    from asr.lm import is_arpa
    from asr.ngram import NGram
    from asr.recognizer import beam_search, find_lm, find_model, search_settings
    from asr.tune import tune

    path = find_lm(find_model(options.model), options.lm)
    if path is None:
        raise command.UsageError("--tune fits the weights of a language model; name its file (--lm)")
    if is_arpa(path):
        raise command.UsageError(
            f"{path}: an ARPA file cannot keep weights; convert it first (python -m asr.lm convert)"
        )
    model = NGram.open(path)
    log_probs = _log_probs(recognizer, utterances)
    references = [recognizer.normalizer(utterance.text) for utterance in utterances]
    start = beam_search(recognizer.alphabet, model, search_settings(model))
    settings = tune(recognizer, start, log_probs, references)
    replace(model, info={**model.info, "search": asdict(settings)}).save(path)


def _log_probs(recognizer: Recognizer, utterances: Sequence[Utterance]) -> list[NDArray[np.float32]]:
    """(T, V) of each utterance; none of one that cannot be read."""
    import numpy as np

    from asr.recognizer import length_batches

    found = [np.zeros((0, len(recognizer.alphabet)), np.float32)] * len(utterances)
    for batch in length_batches([_expected_length(utterance) for utterance in utterances]):
        readable = {}
        for i in batch:
            with suppress(Error, OSError):
                readable[i] = audio.load(utterances[i].audio, utterances[i].offset, utterances[i].duration)
        if readable:
            log_probs, lengths = recognizer.log_probs(list(readable.values()))
            for i, rows, length in zip(readable, log_probs, lengths, strict=True):
                found[i] = rows[:length].copy()
    return found


def report_failures(result: Evaluation) -> int:
    """Name what could not be read on stderr; the exit status that goes with it."""
    for name, why in result.failures.items():
        print(f"error: {name}: {why}; counted with all its words deleted", file=sys.stderr)
    return command.FAILED if result.failures else 0


def describe(result: Evaluation) -> str:
    """A line for a person."""
    words, found = result.score.words, result.score
    speed = "" if result.rtf is None else f", real-time factor {result.rtf:.4f}"
    return (
        f"WER {found.wer:.2%} (95% interval {found.low:.2%} to {found.high:.2%} over {found.interval}), "
        f"CER {found.cer:.2%}: {words.errors} errors in {words.reference} words of {found.utterances} utterances "
        f"({words.substitutions} substitutions, {words.deletions} deletions, {words.insertions} insertions){speed}"
    )


if __name__ == "__main__":
    sys.exit(command.run(main))
