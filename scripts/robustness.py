"""How much worse a model gets in noise, in rooms and through lossy channels: `python scripts/robustness.py`.

It transcribes the same utterances, by default LibriSpeech's dev-clean, in each of these conditions:

    noise      mixed with recordings of everyday noise at 20, 10 and 5 dB, power of the whole utterance over power of
               the noise heard with it (asr.training.noise.add_noise); at all three levels an utterance has the same
               noise.
    rooms      convolved with impulse responses of rooms, in groups by reverberation time; in each group an utterance is
               heard in one of its rooms.
    8 kHz      sampled down and up again.
    telephone  300 to 3400 Hz at 8 kHz, with 8 bits a sample (G.711's mu-law).
    mp3        coded at 24 kbit/s, 16 kHz, by LAME as libsndfile has it, and decoded.

Noises and impulse responses are those that the manifest of a folder ($ASR_NOISE or --noise) marks as `test`. No other
is ever used: a model may have been trained on it. What an utterance is heard with depends on its id alone, so that
models and parts of the data can be compared.

The reverberation time T60 is measured by Schroeder's backward integration (M. R. Schroeder, "New method of measuring
reverberation time", JASA 37, 1965): the energy that is left after each sample, in dB, and a straight line through its
part from -5 to -25 dB, which ISO 3382-1 calls T20. Where that part is not straight (r^2 below 0.9), as in a recording
of more noise than room, the time counts as unknown. Responses cut short, as after 1.5 s, look a little less
reverberant than they are.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))  # recipes are not in the installed package

import torch

from asr import Error, command, corpus, load
from asr.audio import Samples
from asr.corpus import Utterance
from asr.recognizer import Recognizer
from asr.score import Score, score
from scripts.conditions import Condition, Room, conditions, held_out, room, sounds
from scripts.figures import add_options, dev_clean, evenly, markdown, ratio, status, times, with_interval


@dataclass(frozen=True)
class Row:
    """What was found in one condition, and its rate as a multiple of that without any (None: that was 0)."""

    condition: str
    score: Score
    ratio: float | None

    def to_dict(self) -> dict[str, object]:
        """What JSON can hold; rates are fractions."""
        return {"condition": self.condition, **self.score.to_dict(), "ratio_to_clean": self.ratio}


@dataclass(frozen=True)
class Robustness:
    """What was found.

    Args:
        rows: of all conditions, clean first.
        rooms: in which the utterances were heard.
        failures: utterance id -> why it could not be read; it counts with all its words deleted.
    """

    rows: Sequence[Row]
    rooms: Sequence[Room]
    failures: Mapping[str, str]

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints."""
        rooms = {room.name: room.t60 for room in self.rooms}
        return {"conditions": [row.to_dict() for row in self.rows], "t60": rooms, "failed": len(self.failures)}

    def describe(self) -> str:
        """A table in Markdown, and what it is about."""
        found = self.rows[0].score
        cells = [(row.condition, with_interval(row.score), times(row.ratio)) for row in self.rows]
        about = f"{found.utterances:,} utterances, {found.words.reference:,} words; intervals over {found.interval}"
        return f"{markdown(('', 'WER (95% interval)', 'times clean'), cells)}\n\n{about}"


def measure(
    recognizer: Recognizer, utterances: Sequence[Utterance], noises: Sequence[Samples], rooms: Sequence[Room]
) -> Robustness:
    """Score the model in every condition; a line to stderr as each is done."""
    rows: list[Row] = []
    failures: dict[str, str] = {}
    references = [recognizer.normalizer(utterance.text) for utterance in utterances]
    speakers = [utterance.speaker for utterance in utterances]
    for condition in conditions(noises, rooms):
        texts = _texts(recognizer, utterances, condition, failures)
        found = score(references, texts, speakers)
        clean = rows[0].score if rows else found
        rows.append(Row(condition.name, found, ratio(found.wer, clean.wer)))
        print(f"{condition.name}: WER {with_interval(found)}", file=sys.stderr, flush=True)
    return Robustness(rows, rooms, failures)


def _texts(
    recognizer: Recognizer, utterances: Sequence[Utterance], condition: Condition, failures: dict[str, str]
) -> list[str]:
    """What is recognized of each utterance; nothing of one that cannot be read, which is added to the failures."""
    texts = []
    for utterance, found in recognizer.transcribe_all(_heard(utterances, condition)):
        if isinstance(found, Error):
            failures[utterance.id] = str(found)
        texts.append("" if isinstance(found, Error) else found.text)
    return texts


def _heard(utterances: Sequence[Utterance], condition: Condition) -> Iterator[tuple[Utterance, list[Samples] | Error]]:
    """One after the other, so that few of them lie in memory."""
    for utterance in utterances:
        try:
            yield utterance, [condition.of(utterance)]
        except (Error, OSError) as error:
            yield utterance, Error(str(error))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python scripts/robustness.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_options(arguments)
    arguments.add_argument("--manifest", type=Path, help="what to transcribe (default: LibriSpeech's dev-clean)")
    arguments.add_argument(
        "--noise", type=Path, default=os.environ.get("ASR_NOISE") or None, metavar="FOLDER", help="default: $ASR_NOISE"
    )
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Status 1 if an utterance could not be read; it is scored all the same."""
    options = parser().parse_args(argv)
    if options.noise is None:
        raise command.UsageError(
            "name a folder of noises and rooms with a manifest.jsonl (--noise FOLDER or $ASR_NOISE)"
        )
    noises, responses = (held_out(setting, options.noise) for setting in ("noise", "rooms"))
    rooms = [room(response) for response in responses]
    utterances = evenly(corpus.read(options.manifest) if options.manifest else dev_clean(), options.limit)
    torch.set_num_threads(1)  # each; batches run side by side
    recognizer = load(options.model, beam_size=options.beam_size)
    result = measure(recognizer, utterances, sounds(noises), rooms)
    print(json.dumps(result.to_dict()) if options.json else result.describe())
    return status(result.failures)


if __name__ == "__main__":
    sys.exit(command.run(main))
