"""What a report holds, as JSON: scores, groups, confusions, and every utterance with its word alignment.

An alignment is a string of one letter a step: = for a word that is right, S substituted, D deleted, I inserted. The
words that it joins are those of the reference (=, S, D) and of the hypothesis (=, S, I), in order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import jiwer

from asr.evaluation import Report, Texts
from asr.groups import UNKNOWN, by_duration, by_rate
from asr.score import Score, as_they_are

STEPS = {"equal": "=", "substitute": "S", "delete": "D", "insert": "I"}
LISTED = 200  # confusions of a kind, the most frequent ones
LETTERS = 2000  # pairs of letters, the most frequent ones: all of them in alphabets of up to 43

Step = tuple[str, str | None, str | None]  # letter, word of the reference, word of the hypothesis


def report_data(
    report: Report, texts: Texts, labels: Mapping[str, Sequence[str]], others: Texts | None = None
) -> dict[str, object]:
    """All that a report shows of an evaluation, but for what the model saw.

    Args:
        report: what the command prints.
        texts: what it was made of.
        labels: further fields to group by, each with the group of every utterance.
        others: the texts of the system that `report.comparison` compares with; None where there is none.
    """
    systems = [texts] if others is None else [texts, others]
    sides = [system.sides() for system in systems]
    said = [reference.split() for reference in sides[0][0]]
    heard = [[hypothesis.split() for hypothesis in hypotheses] for _, hypotheses in sides]  # [system][utterance]
    alignments = [[alignment(*pair) for pair in zip(said, words, strict=True)] for words in heard]
    scores = [report.result.score, *(system.score() for system in systems[1:])]
    return {
        "systems": [{"name": system.system, **found.to_dict()} for system, found in zip(systems, scores, strict=True)],
        "rtf": report.result.rtf,
        "without": None if report.without is None else report.without.to_dict(),
        "comparison": report.comparison.to_dict() if report.comparison else None,
        "groups": _groups(systems, [len(words) for words in said], labels),
        "confusions": [_confusions(said, *found) for found in zip(heard, alignments, strict=True)],
        "changed": changed(said, *alignments) if others else None,
        "utterances": [
            {
                "id": line.id,
                "speaker": line.speaker,
                "seconds": line.duration,
                "said": " ".join(said[i]),
                "heard": [" ".join(words[i]) for words in heard],
                "steps": [found[i] for found in alignments],
                "failed": report.result.failures.get(line.id),
            }
            for i, line in enumerate(texts.lines)
        ],
    }


def alignment(reference: Sequence[str], hypothesis: Sequence[str]) -> str:
    """Align two sequences of tokens with the fewest errors; a letter a step. Ties are jiwer's choice, as in `score`."""
    found = jiwer.process_words([list(reference)], [list(hypothesis)], as_they_are, as_they_are)
    return "".join(
        STEPS[chunk.type] * max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in found.alignments[0]
    )


def steps(reference: Sequence[str], hypothesis: Sequence[str], letters: str) -> Iterator[Step]:
    """The steps of an alignment with their tokens; None where there is none."""
    said, heard = iter(reference), iter(hypothesis)
    for letter in letters:
        yield letter, None if letter == "I" else next(said), None if letter == "D" else next(heard)


def worst(errors: Sequence[int], count: int) -> list[int]:
    """The utterances with the most errors, the worst first and no more than `count`; none that is right."""
    wrong = [i for i, found in enumerate(errors) if found]
    return sorted(wrong, key=lambda i: -errors[i])[:count]


def errors_of(letters: str) -> int:
    """Errors of an alignment."""
    return len(letters) - letters.count("=")


def confusions(found: Iterable[Step]) -> dict[str, list]:
    """What was taken for what, the most frequent first; where counts tie, what came first.

    Returns: `substitutions` [said, heard, times], `deletions` [said, times], `insertions` [heard, times], and `costs`
        [word, errors, substituted or deleted, inserted, said], where errors is the sum of the next two; at most 200.
    """
    pairs = Counter(found)
    kinds: dict[str, list] = {letter: [] for letter in "SDI"}
    wrong: Counter[str] = Counter()
    inserted: Counter[str] = Counter()
    spoken: Counter[str] = Counter()
    for (letter, said, heard), times in pairs.most_common():
        if letter != "=":
            kinds[letter].append([word for word in (said, heard) if word is not None] + [times])
        if said is not None:
            spoken[said] += times
            wrong[said] += times * (letter != "=")
        else:
            inserted[heard] += times
    costs = sorted((wrong + inserted).items(), key=lambda item: -item[1])
    return {
        "substitutions": kinds["S"][:LISTED],
        "deletions": kinds["D"][:LISTED],
        "insertions": kinds["I"][:LISTED],
        "costs": [[word, cost, wrong[word], inserted[word], spoken[word]] for word, cost in costs[:LISTED]],
    }


def letter_counts(references: Iterable[str], hypotheses: Iterable[str]) -> list[list]:
    """How often each letter was written as which: [said or None, heard or None, times], the 2,000 most frequent.

    The alignment is that of the CER: over whole utterances, with the spaces between words.
    """
    counted: Counter[tuple[str | None, str | None]] = Counter()
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        for _, said, heard in steps(reference, hypothesis, alignment(reference, hypothesis)):
            counted[said, heard] += 1
    return [[said, heard, times] for (said, heard), times in counted.most_common(LETTERS)]


def changed(said: Sequence[Sequence[str]], a: Sequence[str], b: Sequence[str]) -> list[list]:
    """Words that one of two systems alone got right: [word, times only A, times only B], the most frequent first.

    Args:
        said: the words of each reference.
        a, b: the alignments of both systems.
    """
    only_a: Counter[str] = Counter()
    only_b: Counter[str] = Counter()
    for words, *alignments in zip(said, a, b, strict=True):
        right = [[letter == "=" for letter in letters if letter != "I"] for letters in alignments]
        for word, in_a, in_b in zip(words, *right, strict=True):
            only_a[word] += in_a > in_b
            only_b[word] += in_b > in_a
    found = (only_a + only_b).most_common(2 * LISTED)
    return [[word, only_a[word], only_b[word]] for word, _ in found]


def _confusions(said: Sequence[list[str]], heard: Sequence[list[str]], alignments: Sequence[str]) -> dict[str, list]:
    found = (step for utterance in zip(said, heard, alignments, strict=True) for step in steps(*utterance))
    return confusions(found) | {"letters": letter_counts(map(" ".join, said), map(" ".join, heard))}


def _groups(
    systems: Sequence[Texts], words: Sequence[int], asked: Mapping[str, Sequence[str]]
) -> list[dict[str, object]]:
    """By speaker, length and speaking rate where they are known, and by what else was asked for."""
    lines = systems[0].lines
    durations = [line.duration for line in lines]
    labels: dict[str, Sequence[str]] = {}
    if any(line.speaker for line in lines):
        labels["speaker"] = [line.speaker or UNKNOWN for line in lines]
    if any(durations):
        labels["duration"] = by_duration(durations)
        labels["speaking rate"] = by_rate(words, durations)
    return [
        {"field": field, "rows": _rows([system.score_groups(found) for system in systems])}
        for field, found in (labels | asked).items()
    ]


def _rows(scores: Sequence[Mapping[str, Score]]) -> list[dict[str, object]]:
    """The groups of a field, with the score of each system."""
    return [{"label": label, "scores": [found[label].to_dict() for found in scores]} for label in scores[0]]
