"""Counts against NIST's sclite, which aligns by other weights: 4 for a substitution, 3 for a deletion or an insertion.

So sclite's total is never below ours, which is the fewest errors. It is the same wherever no alignment trades
substitutions for more deletions and insertions at less weight: six of the latter weigh 18, five substitutions 20.
Where totals are the same the kinds may differ: four substitutions weigh 16, two deletions and two insertions 12.
"""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from asr import evaluate
from asr.hypotheses import write
from asr.score import Counts, word_counts


def sclite(nist: str, folder: Path) -> list[Counts]:
    """What sclite counts in each utterance of ref.trn and hyp.trn, in their order."""
    line = [
        nist,
        "sclite",
        "-s",
        "-r",
        "ref.trn",
        "trn",
        "-h",
        "hyp.trn",
        "trn",
        "-i",
        "spu_id",
        "-o",
        "pralign",
        "stdout",
    ]
    printed = subprocess.run(line, capture_output=True, text=True, check=True, cwd=folder).stdout
    counted = re.findall(r"id: \((\S+)\)\s+Scores: \(#C #S #D #I\) (\d+) (\d+) (\d+) (\d+)", printed)
    by_id = {name: Counts(*map(int, counts)) for name, *counts in counted}
    return [by_id[name] for name in sorted(by_id)]


def lightest(reference: list[str], hypothesis: list[str]) -> int:
    """The weight of the best alignment with sclite's weights, by a table as in a textbook."""
    table = np.zeros((len(reference) + 1, len(hypothesis) + 1), int)
    table[:, 0], table[0] = 3 * np.arange(len(reference) + 1), 3 * np.arange(len(hypothesis) + 1)
    for i, said in enumerate(reference, 1):
        for j, heard in enumerate(hypothesis, 1):
            change = table[i - 1, j - 1] + 4 * (said != heard)
            table[i, j] = min(change, table[i - 1, j] + 3, table[i, j - 1] + 3)
    return int(table[-1, -1])


def weight(counts: Counts) -> int:
    return 4 * counts.substitutions + 3 * (counts.deletions + counts.insertions)


def written(folder: Path, references: list[str], hypotheses: list[str]) -> list[Counts]:
    """Our counts of texts that are written for sclite, too."""
    names = [f"s-{i:05}" for i in range(len(references))]
    write(folder / "ref.trn", names, references)
    write(folder / "hyp.trn", names, hypotheses)
    return [word_counts(*texts) for texts in zip(references, hypotheses, strict=True)]


def test_random_texts(nist: str, tmp_path: Path) -> None:
    """Few different words, so that alignments tie and weights matter."""
    random = np.random.default_rng(0)
    texts = [[" ".join(random.choice(list("abcdef"), random.integers(0, 12))) for _ in range(2)] for _ in range(500)]
    references, hypotheses = map(list, zip(*texts, strict=True))
    ours, theirs = written(tmp_path, references, hypotheses), sclite(nist, tmp_path)
    assert len(ours) == len(theirs)
    for x, y, reference, hypothesis in zip(ours, theirs, references, hypotheses, strict=True):
        assert y.reference == x.reference
        assert weight(y) == lightest(reference.split(), hypothesis.split()) <= weight(x)
        assert x.errors <= y.errors
        assert x.deletions - x.insertions == y.deletions - y.insertions
    assert any(x.errors < y.errors for x, y in zip(ours, theirs, strict=True))


def test_five_substitutions_are_six_errors_to_sclite(nist: str, tmp_path: Path) -> None:
    ours = written(tmp_path, ["a b c d e", "a b c d"], ["d e x y z", "c d x y"])
    assert ours == [Counts(substitutions=5), Counts(substitutions=4)]
    assert sclite(nist, tmp_path) == [Counts(2, 0, 3, 3), Counts(2, 0, 2, 2)]  # one error more; as many, of other kinds


def test_text_like_that_of_a_recognizer(nist: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Words of English at rates of errors up to 40%: words and errors are sclite's, in the command's output as well."""
    random = np.random.default_rng(1)
    vocabulary = (Path(evaluate.__file__).parents[1] / "README.md").read_text(encoding="utf-8").lower()
    vocabulary = re.findall(r"[a-z]{2,}", vocabulary)
    references = [" ".join(random.choice(vocabulary, random.integers(1, 30))) for _ in range(300)]
    hypotheses = [heard(random, text, vocabulary) for text in references]
    ours, theirs = sum(written(tmp_path, references, hypotheses), Counts()), sum(sclite(nist, tmp_path), Counts())
    assert ours.errors == theirs.errors
    files = [str(tmp_path / name) for name in ("hyp.trn", "ref.trn")]
    assert evaluate.main(["--hypotheses", files[0], "--references", files[1], "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["words"], printed["errors"]) == (theirs.reference, theirs.errors)


def heard(random: np.random.Generator, text: str, vocabulary: list[str]) -> str:
    """A text with some words substituted, deleted and inserted, in some texts more than in others."""
    rate = random.uniform(0, 0.4)
    words = []
    for word in text.split():
        kind = random.random() / rate
        if kind >= 0.2:  # else deleted
            words.append(word if kind >= 1 else str(random.choice(vocabulary)))
        if random.random() < 0.15 * rate:
            words.append(str(random.choice(vocabulary)))
    return " ".join(words)
