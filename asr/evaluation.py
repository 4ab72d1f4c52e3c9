"""What an evaluation found: texts beside references, scores, groups, a comparison; as JSON and for a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from asr.compare import Comparison, compare
from asr.groups import interval, score_groups, table
from asr.hypotheses import Line
from asr.score import Score, score

TUNED = "the weights of beam search were fitted to this data: expect more errors on other speech"


@dataclass(frozen=True)
class Evaluation:
    """How well and how fast a recognizer did.

    Args:
        score: WER and CER with counts and intervals.
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


@dataclass(frozen=True)
class Texts:
    """What was said and what was recognized, and what is known of each utterance; lists in one order.

    Args:
        lines: id, reference, speaker, duration and fields of each utterance.
        hypotheses: as recognized.
        normalizer: what both sides go through.
        system: a name for what recognized them.
    """

    lines: list[Line]
    hypotheses: list[str]
    normalizer: Callable[[str], str]
    system: str

    def score(self) -> Score:
        """The score of both sides in normalised form."""
        return score(*self.sides(), self._speakers())

    def score_groups(self, labels: Sequence[str]) -> dict[str, Score]:
        """The scores of groups, of which each utterance names its own."""
        return score_groups(labels, *self.sides(), self._speakers())

    def compare(self, others: Sequence[str], name: str) -> Comparison:
        """Compare with the hypotheses of another system, as that one recognized them, in the same order."""
        references, ours = self.sides()
        theirs = [self.normalizer(text) for text in others]
        return compare(references, ours, theirs, self._speakers(), (self.system, name))

    def sides(self) -> tuple[list[str], list[str]]:
        """References and hypotheses, normalised."""
        return [self.normalizer(line.text) for line in self.lines], [self.normalizer(text) for text in self.hypotheses]

    def _speakers(self) -> list[str | None]:
        return [line.speaker for line in self.lines]


@dataclass(frozen=True)
class Report:
    """All that the command prints.

    Args:
        result: the evaluation.
        without: the score without the written forms of `--normalizer`; None where none were asked for.
        groups: `--by` field -> group -> score.
        comparison: with the system of `--compare`.
        tuned: whether the weights of beam search were fitted to the same data (`--tune`).
        recognizer: the model and how it decoded, for JSON; None of texts that were recognized elsewhere.
    """

    result: Evaluation
    without: Score | None = None
    groups: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    comparison: Comparison | None = None
    tuned: bool = False
    recognizer: Mapping[str, object] | None = None

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints; rates are fractions."""
        printed = self.result.to_dict()
        if self.recognizer is not None:
            printed["recognizer"] = dict(self.recognizer)
        if self.tuned:
            printed["tuned_on_this_data"] = True
        if self.without is not None:
            printed["without_normalizer"] = self.without.to_dict()
        if self.groups:
            printed["by"] = {
                name: {label: found.to_dict() for label, found in scores.items()}
                for name, scores in self.groups.items()
            }
        if self.comparison is not None:
            printed["comparison"] = self.comparison.to_dict()
        return printed

    def describe(self) -> str:
        """Lines for a person."""
        lines = [describe(self.result)]
        if self.tuned:
            lines.append(TUNED)
        if self.without is not None:
            ends = interval(self.without.low, self.without.high)
            lines.append(f"without --normalizer: WER {self.without.wer:.2%} (95% interval {ends})")
        if self.comparison is not None:
            lines.append(self.comparison.describe())
        lines += [f"\n{table(name, scores)}" for name, scores in self.groups.items()]
        return "\n".join(lines)


def describe(result: Evaluation) -> str:
    """A line for a person."""
    words, found = result.score.words, result.score
    speed = "" if result.rtf is None else f", real-time factor {result.rtf:.4f}"
    return (
        f"WER {found.wer:.2%} (95% interval {interval(found.low, found.high)} over {found.interval}), "
        f"CER {found.cer:.2%} ({interval(found.cer_low, found.cer_high)}): "
        f"{words.errors} errors in {words.reference} words of {found.utterances} utterances "
        f"({words.substitutions} substitutions, {words.deletions} deletions, {words.insertions} insertions){speed}"
    )
