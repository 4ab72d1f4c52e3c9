"""Score a model on recordings with known texts: `python -m asr.evaluate --model en --manifest FILE`.

Or texts of any recognizer: `python -m asr.evaluate --hypotheses a.jsonl --references b.jsonl`. What counts as an error,
and what empty texts count, is defined in `asr.score`; an utterance without a hypothesis counts with all its words
deleted.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from asr import __version__, audio, command, corpus, files
from asr.batching import expected_length
from asr.corpus import Utterance
from asr.evaluation import TUNED, Evaluation, Report, Texts, describe
from asr.groups import GroupError, by_duration, by_field
from asr.hypotheses import (
    HypothesisError,
    Line,
    check_name,
    check_writable,
    of_utterance,
    own_references,
    pair,
    read_hypotheses,
    read_references,
    write,
)
from asr.loading import find_lm, find_model
from asr.outputs import escaped
from asr.report import WORST, check_page_name, write_report
from asr.report_data import report_data
from asr.score import score
from asr.tape import load_parts
from asr.text import Normalizer
from asr.written import FORMS

if TYPE_CHECKING:
    from asr.recognizer import Recognizer

__all__ = ["Evaluation", "describe", "evaluate", "main", "parser", "report_failures"]

AS_IS = "none"  # the normaliser that changes nothing
MODEL_OPTIONS = (
    *("manifest", "split", "model", "lm", "beam_size", "hotwords", "hotword_weight"),
    *("tune", "calibrate", "hypotheses_out"),
    *("device", "threads", "batch_seconds"),
)


def evaluate(recognizer: Recognizer, utterances: Sequence[Utterance]) -> Evaluation:
    """Transcribe utterances and score them against their texts, both in the model's normalised form.

    Every utterance is scored: one that cannot be read counts with its deletions.
    """
    start = time.perf_counter()
    texts, failures, seconds_of_audio = _transcribe(recognizer, utterances)
    seconds = time.perf_counter() - start
    normalize = recognizer.normalizer
    references = [normalize(utterance.text) for utterance in utterances]
    result = score(references, [normalize(text) for text in texts], [utterance.speaker for utterance in utterances])
    return Evaluation(result, texts, failures, seconds_of_audio, seconds)


def _transcribe(recognizer: Recognizer, utterances: Sequence[Utterance]) -> tuple[list[str], dict[str, str], float]:
    """Texts in order, failures in order, and seconds of audio; those of like length are recognized together."""
    texts: list[str] = []
    failures: dict[str, str] = {}
    seconds = 0.0
    for block in load_parts(utterances, recognizer.threads):
        start = len(texts)
        texts += [""] * len(block)
        failures |= {utterances[start + i].id: str(why) for i, why in enumerate(block) if isinstance(why, Exception)}
        readable = [i for i, samples in enumerate(block) if not isinstance(samples, Exception)]
        readable.sort(key=lambda i: len(block[i]))
        for i, transcript in zip(readable, recognizer.transcribe_many([block[i] for i in readable]), strict=True):
            texts[start + i] = transcript.text
            seconds += transcript.duration
    return texts, failures, seconds


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m asr.evaluate",
        description="Word and character error rate with a 95% interval: of a model on recordings (--manifest), or of "
        "texts that any recognizer wrote (--hypotheses).",
    )
    command.add_model(arguments)
    arguments.set_defaults(model=None)  # so that one can tell whether it was named
    arguments.add_argument("--manifest", type=Path, help="manifest or folder, as asr.train reads it")
    arguments.add_argument("--split", help="score only this split of the manifest or the references")
    arguments.add_argument(
        "--tune",
        action="store_true",
        help="fit the language model's weights and the beam to this data first, and keep them in its file",
    )
    arguments.add_argument(
        "--calibrate",
        action="store_true",
        help="fit the confidences of words to this data first, and keep them in the language model's file, or for "
        "greedy decoding in the model's",
    )
    arguments.add_argument(
        "--hypotheses-out",
        type=Path,
        metavar="FILE",
        help="keep what is recognized: .jsonl (id and text) or NIST's .trn; without recordings that cannot be read",
    )
    arguments.add_argument(
        "--hypotheses",
        type=Path,
        metavar="FILE",
        help="score these texts in place of a model: .jsonl with id and text, or NIST's .trn",
    )
    arguments.add_argument(
        "--references",
        type=Path,
        metavar="FILE",
        help="what was said: .jsonl or .trn in the same way, or a manifest (default: the 'reference' column of "
        "--hypotheses, which the dev.jsonl of a training run has)",
    )
    arguments.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="hypotheses of a second system for the same utterances: which is better, and how sure is it?",
    )
    arguments.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="FIELD",
        help="score groups, too: by speaker, duration (in bins) or any column of the manifest; may be repeated",
    )
    arguments.add_argument(
        "--normalizer",
        choices=(*FORMS, AS_IS),
        help="english: numbers spelled and abbreviations read out on both sides; turkish: small letters by the rules "
        "of Turkish and Azerbaijani (I ı, İ i) on both sides; none, with --hypotheses: texts are "
        "compared as they are (default: the model's normaliser, or lower case without punctuation)",
    )
    arguments.add_argument(
        "--report",
        type=Path,
        metavar="FILE.html",
        help="write a page to look at: scores, groups, confusions, every utterance with its alignment; of a model also "
        f"sound, spectrogram and posteriors of the {WORST} utterances with the most errors; with --compare of both "
        "systems",
    )
    arguments.add_argument("--json", action="store_true", help="print one JSON object; rates are fractions")
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Status 1 if an utterance could not be read or has no hypothesis; it is scored all the same."""
    options = parser().parse_args(argv)
    check_usage(options)
    utterances = corpus.read(options.manifest, options.split) if options.manifest else []
    line = _measured if "duration" in options.by or options.report else of_utterance
    lines = [line(utterance) for utterance in utterances] or _references(options)
    # Whatever is wrong with the command line shows here, before an hour of recognizing.
    labels = {field: _labels(lines, field) for field in options.by}
    others, lost = _hypotheses(lines, options.compare) if options.compare else ([], {})
    recognizer = None if options.hypotheses else _recognizer(options, utterances, lines)
    result, texts = _of_model(options, recognizer, utterances, lines) if recognizer else _of_files(options, lines)
    status = report_failures(result)
    report = Report(result)
    if options.normalizer in FORMS:
        texts = replace(texts, normalizer=partial(FORMS[options.normalizer], normalizer=texts.normalizer))
        report = Report(replace(result, score=texts.score()), without=result.score)
    if options.compare:
        status = _name(lost) or status
        compared = texts.compare(others, str(options.compare))
        report = replace(report, comparison=replace(compared, missing=(len(result.failures), len(lost))))
    groups = {field: texts.score_groups(found) for field, found in labels.items()}
    made_by = _made_by(options, recognizer) if recognizer else None
    report = replace(report, groups=groups, tuned=options.tune, recognizer=made_by)
    print(json.dumps(report.to_dict()) if options.json else report.describe(), flush=True)
    if options.report:
        theirs = replace(texts, hypotheses=others, system=str(options.compare)) if options.compare else None
        data = report_data(report, texts, labels, theirs)
        title = _source(options).resolve().stem
        write_report(options.report, title, _facts(options, recognizer), data, recognizer, utterances)
    return status


def check_usage(options: argparse.Namespace) -> None:
    """See that the options belong together, before any work is done.

    Raises:
        command.UsageError: they do not; says which, and what to do.
        OSError: what is to be written cannot be.
    """
    if options.manifest is None and options.hypotheses is None:
        raise command.UsageError(
            "name what to score: recordings (--manifest FILE), or texts of any recognizer (--hypotheses FILE)"
        )
    if options.hypotheses is not None:
        usual = parser().get_default
        refused = set(MODEL_OPTIONS) - ({"split"} if options.references else set())
        needless = [
            f"--{name.replace('_', '-')}"
            for name in MODEL_OPTIONS
            if name in refused and getattr(options, name) != usual(name)
        ]
        if needless:
            raise command.UsageError(
                f"--hypotheses scores texts without a model: leave out {', '.join(needless)}, or leave out --hypotheses"
            )
    elif options.references is not None:
        raise command.UsageError("--references belongs to --hypotheses; a manifest has its texts within")
    elif options.normalizer == AS_IS:
        raise command.UsageError("--normalizer none belongs to --hypotheses; a model's texts are in its own form")
    if options.tune or options.calibrate:
        _check_fitting(options)
    for path in (options.hypotheses, options.hypotheses_out, options.compare):
        if path is not None:
            check_name(path)
    if options.report is not None:
        check_page_name(options.report)
    for path in (options.hypotheses_out, options.report):
        if path is not None:
            command.check_apart(path, _inputs(options))
            files.check_writable(path)


def _inputs(options: argparse.Namespace) -> Iterator[str | Path | None]:
    """What is read, of folders their manifests; recordings have other endings than what is written."""
    yield from (options.model, options.lm, options.hotwords, options.hypotheses, options.compare)
    for source in (options.manifest, options.references):
        yield source
        yield source and source / "manifest.jsonl"


def _check_fitting(options: argparse.Namespace) -> None:
    """See that what is fitted is that to which the file is put later: its own beam, without hot words."""
    if options.hotwords:
        raise command.UsageError(
            "--tune and --calibrate fit what is kept for all decoding, with hot words and without; leave out --hotwords"
        )
    if options.tune and options.beam_size is not None:
        raise command.UsageError("--tune chooses the beam, too; leave out --beam-size")
    if options.beam_size not in (None, 1):
        raise command.UsageError(
            "--calibrate fits the confidences of the beam that the language model's file holds (--tune chooses it) or, "
            "with --beam-size 1, of greedy decoding; leave out --beam-size"
        )


def _measured(utterance: Utterance) -> Line:
    """The text of an utterance, and how long it is, by the file's header where the manifest does not say."""
    return replace(of_utterance(utterance), duration=expected_length(utterance) / audio.SAMPLE_RATE or None)


def _references(options: argparse.Namespace) -> list[Line]:
    if options.references is None:
        return own_references(options.hypotheses)
    lines = read_references(options.references)
    found = [line for line in lines if options.split in (None, line.fields.get("split"))]
    if not found:
        splits = ", ".join(sorted({str(line.fields.get("split")) for line in lines}))
        raise HypothesisError(f"{options.references}: no text has the split '{options.split}'; splits found: {splits}.")
    return found


def _labels(lines: Sequence[Line], field: str) -> list[str]:
    """The group of each utterance."""
    if field == "duration":
        if all(line.duration is None for line in lines):
            raise GroupError("no utterance has a duration to group by; expected seconds in a column 'duration'")
        return by_duration([line.duration for line in lines])
    return by_field(field, [line.fields | ({"speaker": line.speaker} if line.speaker else {}) for line in lines])


def _hypotheses(lines: Sequence[Line], path: Path) -> tuple[list[str], dict[str, str]]:
    """The texts of a file in the order of the references, and why some are missing."""
    found, missing = pair(lines, read_hypotheses(path), path)
    return found, dict.fromkeys(missing, f"no hypothesis in {path}")


def _of_files(options: argparse.Namespace, lines: list[Line]) -> tuple[Evaluation, Texts]:
    """Score texts that were recognized elsewhere."""
    hypotheses, failures = _hypotheses(lines, options.hypotheses)
    texts = Texts(lines, hypotheses, str if options.normalizer == AS_IS else Normalizer(), str(options.hypotheses))
    return Evaluation(texts.score(), hypotheses, failures, 0.0, 0.0), texts


def _recognizer(options: argparse.Namespace, utterances: Sequence[Utterance], lines: Sequence[Line]) -> Recognizer:
    """The recognizer that the options ask for, tuned first if they say so."""
    if options.hypotheses_out:
        check_writable(options.hypotheses_out, [line.id for line in lines])
    options.model = options.model or "en"
    recognizer = command.load_model(options)
    if options.tune or options.calibrate:
        from asr import fitting

        fitting.fit(recognizer, find_model(options.model), options.lm, utterances, options.tune, options.calibrate)
        recognizer = command.load_model(options)
    return recognizer


def _of_model(
    options: argparse.Namespace, recognizer: Recognizer, utterances: Sequence[Utterance], lines: list[Line]
) -> tuple[Evaluation, Texts]:
    """Recognize recordings, and score that."""
    result = evaluate(recognizer, utterances)
    if options.hypotheses_out:
        # An empty text would be a hypothesis: whoever reads the file is to learn which utterances have none.
        heard = {
            line.id: text for line, text in zip(lines, result.texts, strict=True) if line.id not in result.failures
        }
        write(options.hypotheses_out, list(heard), list(heard.values()))
    return result, Texts(lines, result.texts, recognizer.normalizer, "this run")


def _source(options: argparse.Namespace) -> Path:
    """Where the references are from."""
    return options.manifest or options.references or options.hypotheses


def _facts(options: argparse.Namespace, recognizer: Recognizer | None) -> list[tuple[str, str]]:
    """How a report was made, for its reader."""
    facts = [("data", str(_source(options)))]
    if options.split:
        facts.append(("split", options.split))
    if recognizer is None:
        facts.append(("hypotheses", str(options.hypotheses)))
    else:
        facts += [("model", options.model), ("decoding", _decoding(options, recognizer))]
    if options.hotwords:
        facts += [("hot words", options.hotwords), ("weight of hot words", f"{options.hotword_weight:g}")]
    if options.tune:
        facts.append(("tuned", TUNED))
    if options.normalizer:
        facts.append(("normalizer", options.normalizer))
    if options.compare:
        facts.append(("compared with", str(options.compare)))
    made = datetime.now(timezone.utc)
    return [*facts, ("made", f"{made:%Y-%m-%d %H:%M} UTC by asr {__version__}")]


def _made_by(options: argparse.Namespace, recognizer: Recognizer) -> dict[str, object]:
    """The model and how it decoded, for JSON."""
    search = recognizer.search
    return {
        "model": options.model,
        "lm": _language_model(options, recognizer),
        "beam_size": search.settings.beam_size if search else 1,
        "hotwords": options.hotwords,
        "hotword_weight": options.hotword_weight if options.hotwords else None,
    }


def _decoding(options: argparse.Namespace, recognizer: Recognizer) -> str:
    if recognizer.search is None:
        return "greedy"
    lm = _language_model(options, recognizer)
    beam = f"beam of {recognizer.search.settings.beam_size}"
    return f"{beam}, language model {lm}" if lm else beam


def _language_model(options: argparse.Namespace, recognizer: Recognizer) -> str | None:
    """The name of the file that beam search has used; None where it had none, and of greedy decoding."""
    lm = find_lm(find_model(options.model), options.lm) if recognizer.search else None
    return lm.name if lm else None


def report_failures(result: Evaluation) -> int:
    """Name what could not be read or was not recognized on stderr; the exit status that goes with it."""
    return _name(result.failures)


def _name(failures: Mapping[str, str]) -> int:
    for name, why in failures.items():
        print(escaped(f"error: {name}: {why}; counted with all its words deleted"), file=sys.stderr)
    return command.FAILED if failures else 0


if __name__ == "__main__":
    sys.exit(command.run(main))
