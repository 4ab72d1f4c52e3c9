"""Forced alignment: when each token and each word was said, and how sure that is.

Run as `python -m asr.align AUDIO TEXT` it aligns a recording with its text; see `asr.known_text`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr import Error
from asr.confidence import Calibration, features_of, uncalibrated
from asr.text import Units
from asr.transcript import Word

if TYPE_CHECKING:
    from asr.known_text import Alignment

BEFORE = 0.035  # s from the beginning of a word to the middle of the first frame of its first token
BEHIND = 0.085  # s from the middle of the last frame of its last token to its end, if no word begins before


class AlignError(Error):
    """A text that cannot be aligned with a recording."""


def token_spans(log_probs: NDArray[np.float32], ids: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int32]:
    """(L, 2) the first frame of each token, and the one after its last, on the most probable path that gives them all.

    Exact for any length: see `asr.viterbi`. An hour (90,000 frames, 50,000 tokens) takes 5 s of one core and 50 MB.

    Args:
        log_probs: (T, V) natural log-probabilities, the blank first; less than -1000 counts as -1000.
        ids: (L,) tokens.

    Raises:
        AlignError: the tokens do not fit into the frames, or are not among the model's; NaN.
    """
    from asr import viterbi

    ids = np.asarray(ids, np.int32)
    _check(log_probs, ids)
    path = viterbi.best_path(np.ascontiguousarray(log_probs, np.float32), ids)
    spoken = np.flatnonzero(path % 2)
    changes = np.flatnonzero(np.diff(path[spoken])) + 1  # two tokens in a row are in different states
    starts = np.concatenate([spoken[:1], spoken[changes]])
    ends = np.concatenate([spoken[changes - 1], spoken[-1:]]) + 1
    return np.stack([starts, ends], axis=1).astype(np.int32)


def frames_needed(ids: Sequence[int]) -> int:
    """Output frames that CTC needs: one a token, and a blank between two equal neighbours."""
    return len(ids) + sum(a == b for a, b in pairwise(ids))


def _check(log_probs: NDArray[np.float32], ids: NDArray[np.int32]) -> None:
    if log_probs.ndim != 2 or ids.ndim != 1:
        raise AlignError(f"log_probs of shape {log_probs.shape}, ids of shape {ids.shape}; expected (T, V) and (L,)")
    frames, tokens = log_probs.shape
    if len(ids) and not 0 < ids.min() <= ids.max() < tokens:
        raise AlignError(f"ids from {ids.min()} to {ids.max()}; expected 1 to {tokens - 1} (0 is the blank)")
    if (needed := frames_needed(ids.tolist())) > frames:
        raise AlignError(
            f"the text is too long: its {len(ids)} tokens need {needed} frames, and the recording has {frames}; "
            "is it the text of another recording?"
        )
    if np.isnan(log_probs).any():
        raise AlignError("log_probs hold NaN; the model that made them did not learn, or its file is damaged")


def words(
    found: Sequence[tuple[str, tuple[int, int]]],
    ids: Sequence[int],
    spans: NDArray[np.integer],
    log_probs: NDArray[np.float32],
    frame_seconds: float,
    offset: float = 0.0,
    calibration: Calibration | None = None,
) -> list[Word]:
    """The words of an utterance with their times and confidences.

    Args:
        found: the words, each with the number of its first token and the one after its last; see `group_words`.
        ids: (L,) tokens.
        spans: (L, 2) first frame of each, and the one after its last; see `token_spans`.
        log_probs: (T, V) of the utterance.
        frame_seconds: from one frame to the next.
        offset: seconds from the beginning of the recording to the first frame.
        calibration: of the confidences; None: they are no more than a hint, see `asr.confidence.uncalibrated`.
    """
    if not found:
        return []
    texts, tokens = [text for text, _ in found], np.array([numbers for _, numbers in found])
    times = word_times(spans, tokens, len(log_probs), frame_seconds)
    features = features_of(log_probs, ids, spans, tokens)
    sure = uncalibrated(features) if calibration is None else calibration(features)
    numbers = np.column_stack([times + offset, sure]).round(4).tolist()
    return [Word(text, *row) for text, row in zip(texts, numbers, strict=True)]


def word_times(
    spans: NDArray[np.integer], tokens: NDArray[np.integer], frames: int, frame_seconds: float
) -> NDArray[np.float64]:
    """(W, 2) start and end of each word in seconds from the first frame, which is centred on 0.

    A model places a token some time after its sound begins and, the last one of a word, before the word ends. By how
    much differs little between models (`scripts/word_times.py`).

    Args:
        spans: (L, 2) first frame of each token, and the one after its last.
        tokens: (W, 2) first token of each word, and the one after its last.
        frames: of the utterance.
    """
    starts = np.maximum(spans[tokens[:, 0], 0] * frame_seconds - BEFORE, 0.0)
    ends = (spans[tokens[:, 1] - 1, 1] - 1) * frame_seconds + BEHIND
    return np.stack([starts, np.minimum(ends, np.append(starts[1:], (frames - 1) * frame_seconds))], axis=1)


def group_words(units: Units, ids: Sequence[int]) -> list[tuple[str, tuple[int, int]]]:
    """The words that tokens spell, each with the number of its first token and the one after its last.

    A space alone belongs to none. Where no token opens words, as in scripts that set no spaces between them, each
    token is a word.
    """
    one_each = not any(units.opens_word(i) for i in range(1, len(units)))
    groups: list[list[int]] = []
    for number, token in enumerate(ids):
        if one_each or not groups or units.opens_word(token):
            groups.append([])
        if units.decode([token]).strip():
            groups[-1].append(number)
    spelled = [(group[0], group[-1] + 1) for group in groups if group]
    return [(units.decode(ids[first:end]).strip(), (first, end)) for first, end in spelled]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    from asr import command
    from asr.formats import FORMATS
    from asr.outputs import ALL
    from asr.written import FORMS

    arguments = argparse.ArgumentParser(
        prog="python -m asr.align",
        description="Find out when each word of a known text is said in a recording, and where the two do not match.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    arguments.add_argument("audio", metavar="AUDIO", help="a recording of any length and format")
    arguments.add_argument("text", metavar="TEXT", help="a text file in UTF-8 with what is said in it; - for stdin")
    arguments.add_argument(
        "--normalizer",
        choices=tuple(FORMS),
        help="english: numbers are spelled and abbreviations read out; turkish: I is ı in small letters; the output "
        "has words as they were written",
    )
    arguments.add_argument(
        "--format",
        choices=(*FORMATS, ALL),
        default="ctm",
        help="ctm: a line for each word; json: characters as well, and where the text does not match; textgrid: a tier "
        "of characters; srt, vtt: subtitles; txt, tsv: a line for each stretch between pauses; all takes --output-dir "
        "(default: ctm)",
    )
    arguments.add_argument(
        "--output-dir",
        type=Path,
        metavar="DIR",
        help="write a file for each format here; files of the same name are replaced, but neither TEXT nor any in the "
        "folder of the recording itself",
    )
    command.add_acoustic_model(arguments)
    return arguments


EXAMPLES = """\
examples:
  python -m asr.align chapter.mp3 chapter.txt                               a line for each word
  python -m asr.align chapter.mp3 chapter.txt --format srt > chapter.srt    subtitles
  python -m asr.align talk.wav talk.txt --format all --output-dir out       every format

Places where the recording sounds otherwise than the text are listed on stderr, and in json: words that were not said,
or said otherwise, and speech that is not in the text. Words that the model cannot write, such as numbers without
--normalizer english, are counted there too; they get the time between their neighbours. It takes memory for the
recording's length (10 MB an hour) and time for that of recording times text: 5 s of a core for an hour, besides what
the model takes.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    from asr import command
    from asr.outputs import ALL

    if options.format == ALL and options.output_dir is None:
        raise command.UsageError("--format all writes several files; say where (--output-dir DIR)")
    if options.audio == options.text == "-":
        raise command.UsageError("AUDIO and TEXT are both -; give one of them as a file")
    targets = _targets(options)
    text = _read_text(options.text)
    found = _aligned(options, text)
    _report(found)
    _write(options, found, targets)
    return 0


def _targets(options: argparse.Namespace) -> dict[str, Path]:
    """Format -> the file to be written; none without --output-dir.

    Raises:
        asr.Error: one of them would replace what the user has written.
    """
    from asr.command import check_apart
    from asr.formats import FORMATS
    from asr.outputs import ALL, check_beside, paths

    if options.output_dir is None:
        return {}
    found = paths(options.output_dir, _name(options), FORMATS if options.format == ALL else [options.format])
    for path in found.values():
        check_apart(path, [options.text])
        check_beside(path, options.audio)
    return found


def _name(options: argparse.Namespace) -> str:
    """The recording's name, of which those of the files are made."""
    from asr.sources import STDIN

    return "stdin" if options.audio == STDIN else Path(options.audio).stem


def _read_text(path: str) -> str:
    """What a text file or standard input holds.

    Raises:
        AlignError: it is not UTF-8.
    """
    from asr.sources import standard_input

    data = standard_input().read() if path == "-" else Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise AlignError(f"{path}: not UTF-8 ({error}); expected a text file: save it as UTF-8") from None


def _aligned(options: argparse.Namespace, text: str) -> Alignment:
    """Read the recording, and align it."""
    from asr import command
    from asr.audio import SAMPLE_RATE
    from asr.known_text import align
    from asr.outputs import Progress
    from asr.reading import Reader
    from asr.sources import renamed, seekable
    from asr.written import FORMS

    count = 0

    def counted(blocks: Iterator[NDArray[np.float32]], progress: Progress) -> Iterator[NDArray[np.float32]]:
        nonlocal count
        for block in blocks:
            yield block
            count += len(block)
            progress.heard(len(block) / SAMPLE_RATE)

    with Reader() as reader:
        recognizer = command.load_acoustic_model(options)
        with (
            seekable(options.audio) as path,
            renamed(path, options.audio),
            reader.stream(path) as stream,
            Progress() as progress,
        ):
            progress.opened(stream.duration)
            log_probs = recognizer.long_log_probs(counted(stream.blocks, progress))
    form = FORMS[options.normalizer] if options.normalizer else None
    try:
        return align(recognizer, log_probs, text, count / SAMPLE_RATE, form)
    except Error as error:
        raise AlignError(f"{options.text}: {error}") from None


def _report(found: Alignment) -> None:
    """Say on stderr where the text does not match."""
    from asr.outputs import escaped

    for place in found.mismatches:
        text = f"the text says {escaped(place.text)!r}" if place.text else "nothing in the text"
        heard = f"it sounds like {escaped(place.heard)!r}" if place.heard else "nothing is heard"
        print(f"{place.start:.2f}-{place.end:.2f} s: {text}, {heard}", file=sys.stderr)
    if found.mismatches:
        seconds = sum(place.end - place.start for place in found.mismatches)
        print(
            f"the text may not match in {len(found.mismatches)} places, {seconds:.1f} s of "
            f"{found.transcript.duration:.1f} s",
            file=sys.stderr,
        )
    if found.unwritable:
        words = ", ".join(repr(escaped(word)) for word in list(dict.fromkeys(found.unwritable))[:8])
        print(
            f"{len(found.unwritable)} words have characters that the model cannot write ({words}); "
            "their times are those between their neighbours",
            file=sys.stderr,
        )


def _write(options: argparse.Namespace, found: Alignment, targets: Mapping[str, Path]) -> None:
    """To stdout, or to a file for each format."""
    from asr.files import replacing

    if options.output_dir is None:
        print(_rendered(found, options.format, _name(options)), end="")
        return
    options.output_dir.mkdir(parents=True, exist_ok=True)
    for format, path in targets.items():
        with replacing(path) as file:
            file.write(_rendered(found, format, _name(options)).encode("utf-8", "backslashreplace"))


def _rendered(found: Alignment, format: str, name: str) -> str:
    from asr.formats import render, textgrid

    if format == "json":
        return json.dumps(found.to_dict(), ensure_ascii=False) + "\n"
    if format == "textgrid":
        return textgrid(found.transcript, name, found.characters)
    return render(found.transcript, format, name)


if __name__ == "__main__":
    from asr import command

    sys.exit(command.run(main))
