"""Comparisons of two systems: their statistics against scipy, brute force, NIST's sc_stats and simulation."""

from __future__ import annotations

import json
import math
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asr.compare import bootstrap_difference, compare, error_slots, matched_pairs, segments, without_spaces
from asr.score import ScoreError, character_counts, word_counts

unhurried = settings(deadline=None)
sentences = st.lists(st.sampled_from("abcd"), max_size=12).map(" ".join)


@unhurried
@given(sentences, sentences)
def test_errors_in_slots_are_those_of_the_score(reference, hypothesis):
    slots, counts = error_slots(reference.split(), hypothesis.split()), word_counts(reference, hypothesis)
    assert len(slots) == 2 * counts.reference + 1
    assert slots[0::2].sum() == counts.insertions
    assert slots[1::2].sum() == counts.substitutions + counts.deletions
    assert slots[1::2].max(initial=0) <= 1


def test_slots_by_hand():
    assert error_slots("abc", "xaycde").tolist() == [1, 0, 0, 1, 0, 0, 2]
    assert error_slots(["one", "two"], []).tolist() == [0, 1, 0, 1, 0]
    assert error_slots([], ["one", "two"]).tolist() == [2]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("a b c d e f", "a b c d e f", []),
        ("x b c d e f", "a b c d e x", [(1, 0), (0, 1)]),  # four good words between
        ("a x c d y f", "a b c d e f", [(1, 0), (1, 0)]),  # two
        ("a x c y e f", "a b c d e f", [(2, 0)]),  # one
        ("a b x d e f", "a b c d e y", [(1, 0), (0, 1)]),
        ("a b x d e f", "a b c d z f", [(1, 1)]),  # good in A alone does not count
        ("a b i c d e f", "x b c d e y", [(1, 1), (0, 1)]),  # only b between the first two, which are one segment
        ("a b c i d e f", "a x c d e f", [(1, 1)]),
        ("a x c i d y f", "a b c d e f", [(3, 0)]),  # c and d are both correct, but not in a row
        ("", "a b c d e f g", [(6, 1)]),
    ],
)
def test_segments_by_hand(a, b, expected):
    found = segments(error_slots("abcdef", a.split()), error_slots("abcdef", b.split()))
    assert [tuple(counts) for counts in found.tolist()] == expected


def segments_by_walking(a, b):
    """Segments one word at a time: errors gather until two good words in a row."""
    found, errors, good = [], [0, 0], 0
    for i in range(0, len(a), 2):
        gap = (a[i], b[i])
        word = (a[i + 1], b[i + 1]) if i + 1 < len(a) else (0, 0)
        if any(gap):
            good = 0
            errors = [errors[0] + gap[0], errors[1] + gap[1]]
        good = 0 if any(word) else good + 1
        errors = [errors[0] + word[0], errors[1] + word[1]]
        if good >= 2:
            found.append(errors)
            errors = [0, 0]
    return [counts for counts in [*found, errors] if any(counts)]


@unhurried
@given(sentences, sentences, sentences)
def test_segments_are_those_of_a_walk(reference, a, b):
    slots = error_slots(reference.split(), a.split()), error_slots(reference.split(), b.split())
    assert segments(*slots).tolist() == segments_by_walking(*slots)


def test_matched_pairs_is_a_paired_test_of_scipy():
    """W is the t statistic of paired samples, and p the two tails of the normal distribution."""
    random = np.random.default_rng(0)
    counts = random.poisson([1.2, 0.9], (80, 2))
    result = matched_pairs(counts)
    assert result.segments == 80
    assert result.statistic == pytest.approx(stats.ttest_rel(counts[:, 0], counts[:, 1]).statistic)
    assert result.p == pytest.approx(2 * stats.norm.sf(abs(result.statistic)))


def test_matched_pairs_by_hand():
    """Z = 1 28 times, -1 4 times, 0 8 times: mean 24/40, s^2 = (32 - 24^2/40) / 39, W = 0.6 / sqrt(s^2 / 40)."""
    z = np.array([1, -1, 1, 1, 0, 1, 1, 1, 1, 0] * 4)
    result = matched_pairs(np.stack([z + 1, np.ones(40, int)], axis=1))
    assert (result.segments, result.mean) == (40, pytest.approx(0.6))
    assert result.statistic == pytest.approx(5.6488, abs=1e-4)
    assert result.p == pytest.approx(1.6e-8, rel=0.02)  # from a table of the normal distribution


@pytest.mark.parametrize(
    ("counts", "statistic", "p"),
    [
        ([], 0, 1),
        ([(2, 2), (1, 1)], 0, 1),
        ([(3, 0)], math.inf, 1),  # one segment says nothing
        ([(0, 1)] * 5, -math.inf, 1 / 16),  # five coins on one side, either side
        ([(0, 1)] * 20, -math.inf, 2**-19),
    ],
)
def test_matched_pairs_of_few_segments(counts, statistic, p):
    result = matched_pairs(np.array(counts, int).reshape(-1, 2))
    assert (result.statistic, result.p) == (statistic, p)
    json.dumps(result.to_dict(), allow_nan=False)


def utterances(n, seed):
    """Differences and words of utterances, most of them small: (n,), (n,)."""
    random = np.random.default_rng(seed)
    words = random.integers(1, 30, n)
    return random.binomial(words, 0.25) - random.binomial(words, 0.22), words


def test_the_interval_of_the_difference_is_that_of_scipy():
    differences, words = utterances(200, seed=1)
    theirs = stats.bootstrap(
        (differences, words),
        lambda d, w, axis: d.sum(axis) / w.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        random_state=np.random.default_rng(0),
    )
    low, high, p = bootstrap_difference(differences, words)
    width = high - low
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.04 * width)
    drawn = theirs.bootstrap_distribution
    assert p == pytest.approx(2 * min((drawn <= 0).mean(), (drawn >= 0).mean()), abs=0.02)


def test_speakers_are_drawn_whole():
    differences, words = utterances(300, seed=2)
    groups = np.arange(300) % 20
    differences = differences + np.where(groups % 2, 3, -3)  # A is better for half of the speakers
    random, drawn = np.random.default_rng(3), []
    for _ in range(5000):
        of = np.concatenate([np.flatnonzero(groups == speaker) for speaker in random.integers(0, 20, 20)])
        drawn.append(differences[of].sum() / words[of].sum())
    low, high, p = bootstrap_difference(differences, words, groups)
    brute = np.quantile(drawn, [0.025, 0.975])
    assert (low, high) == pytest.approx(brute, abs=0.05 * (high - low))
    assert p == pytest.approx(2 * min(np.mean(np.array(drawn) <= 0), np.mean(np.array(drawn) >= 0)), abs=0.05)
    alone = bootstrap_difference(differences, words)
    assert high - low > 1.5 * (alone[1] - alone[0])


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.integers(8, 60), st.floats(-0.1, 0.1))
def test_the_interval_excludes_zero_where_p_is_below_5_percent(seed, n, shift):
    random = np.random.default_rng(seed)
    words = random.integers(1, 20, n)
    differences = np.round(random.normal(shift * words, 2)).astype(int)
    if np.count_nonzero(differences) >= 6:  # with fewer, p is bounded by their number
        low, high, p = bootstrap_difference(differences, words, samples=1000, seed=seed)  # 500: one draw apart
        assert (p < 0.05) == (low > 0 or high < 0)


@pytest.mark.parametrize(("differ", "least"), [(0, 1), (1, 1), (3, 1 / 4), (6, 1 / 32), (30, 2 / 10_001)])
def test_few_utterances_that_differ_prove_little(differ, least):
    """They may all favour one system by chance: m of them do, on either side, with a chance of 2^(1-m)."""
    p = bootstrap_difference([1] * differ + [0] * (30 - differ), [10] * 30)[2]
    assert p >= least
    if differ in (0, 1, 30):
        assert p == least


def test_same_seed_same_result_in_any_order():
    differences, words = utterances(100, seed=5)
    order = np.random.default_rng(0).permutation(100)
    assert bootstrap_difference(differences[order], words[order]) == bootstrap_difference(differences, words)
    assert bootstrap_difference(differences, words, seed=1) != bootstrap_difference(differences, words)


def wrong_words(random, utterances, words, rates):
    """Which words each of two systems gets wrong: (2, utterances, words); what is hard for one is for the other."""
    hard = random.gamma(4, 1 / 4, (utterances, 1))
    return random.random((2, utterances, words)) < np.array(rates)[:, None, None] * hard


def test_false_alarms_are_5_percent_where_neither_is_better():
    """Of 1,000 comparisons 5% +- 2.1% (three deviations) find p < 0.05, by either test."""
    alarms = np.zeros(2)
    for seed in range(1000):
        a, b = wrong_words(np.random.default_rng(seed), 200, 10, [0.2, 0.2]).astype(int)
        slots = np.zeros((2, 200, 12, 2), int)  # two good words after each utterance, which ends a segment
        slots[:, :, :10, 1] = a, b
        counts = segments(*np.concatenate([slots.reshape(2, -1), np.zeros((2, 1), int)], axis=1))
        p = bootstrap_difference(a.sum(1) - b.sum(1), np.full(200, 10), samples=500, seed=seed)[2]
        alarms += [p < 0.05, matched_pairs(counts).p < 0.05]
    assert np.abs(alarms / 1000 - 0.05).max() < 0.021


def texts(random, utterances, words, rates):
    """References of distinct words and the hypotheses of two systems, which only substitute."""
    references, hypotheses = [], ([], [])
    for number, pair in enumerate(wrong_words(random, utterances, words, rates).transpose(1, 0, 2)):
        reference = [f"w{number}x{i}" for i in range(words)]
        references.append(" ".join(reference))
        for system, wrong in zip(hypotheses, pair, strict=True):
            system.append(" ".join(f"{word}y" if bad else word for word, bad in zip(reference, wrong, strict=True)))
    return references, *hypotheses


def test_a_better_system_is_found_and_named():
    references, a, b = texts(np.random.default_rng(0), 200, 10, [0.3, 0.2])
    result = compare(references, a, b, names=("old", "new"))
    assert result.better == "new"
    words = result.words
    assert words.difference == pytest.approx(words.rate_a - words.rate_b) and words.difference > 0
    assert 0 < words.low < words.difference < words.high
    assert max(words.p, result.matched.p) < 0.001
    assert result.describe().startswith(f"new is better: WER {words.rate_a:.2%} (old) and {words.rate_b:.2%} (new)")
    assert result.describe().endswith(f"p < 0.001 by matched pairs of {result.matched.segments} segments")
    turned = compare(references, b, a, names=("new", "old"))
    assert (turned.better, turned.words.difference) == ("new", -words.difference)
    assert turned.matched.statistic == -result.matched.statistic
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["better"] == "new" and written["matched_pairs"]["p"] == result.matched.p
    assert written.keys() >= {"wer_a", "wer_b", "difference", "difference_low", "difference_high", "p"}
    assert (written["by"], written["missing_a"], written["missing_b"]) == ("words", 0, 0)


def test_a_system_is_no_better_than_itself():
    references, a, _ = texts(np.random.default_rng(1), 30, 10, [0.3, 0.2])
    result = compare(references, a, a)
    assert (result.better, result.words.difference, result.words.p, result.matched.p) == (None, 0, 1, 1)
    assert (result.words.low, result.words.high) == (0, 0)
    assert result.describe().startswith("no difference shown between A and B: WER")
    assert result.describe().count("(95% interval -)") == 2  # no width is no certainty


HANZI = [chr(0x4E00 + i) for i in range(500)]


def spelled(random: np.random.Generator, texts: list[str], rate: float) -> list[str]:
    """Texts with a share of their letters taken for others."""
    return ["".join(str(random.choice(HANZI)) if random.random() < rate else c for c in text) for text in texts]


def test_scripts_without_spaces_are_compared_by_characters():
    """Sentences of 20 characters, of which no system gets one wholly right, but one hardly a character wrong."""
    random = np.random.default_rng(3)
    references = ["".join(random.choice(HANZI, 20)) for _ in range(60)]
    a = [f"{HANZI[0]}{text[1:]}" for text in references]
    result = compare(references, a, spelled(random, references, 0.5), names=("good", "bad"))
    assert (result.by, result.better) == ("characters", "good")
    assert result.words.rate_a > 0.9 and result.words.p > 0.1  # a "word" is a whole sentence
    characters, written = result.characters, result.to_dict()
    assert characters.errors_a == sum(character_counts(*pair).errors for pair in zip(references, a, strict=True)) <= 60
    assert characters.reference == 1200 and characters.high < 0 and max(characters.p, result.matched.p) < 0.001
    assert written["cer_difference"] == characters.difference < -0.4 and written["cer_p"] == characters.p
    assert (written["by"], written["cer_a"], written["cer_b"]) == ("characters", characters.rate_a, characters.rate_b)
    assert result.describe().startswith(
        "good is better, by characters, as in scripts without spaces between words: "
        f"CER {characters.rate_a:.2%} (good) and {characters.rate_b:.2%} (bad), difference -"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good morning", False),
        ("안녕하세요 여러분", False),
        ("Donaudampfschifffahrtsgesellschaft", False),
        ("", False),
        ("请帮我打开 wifi", True),
        ("おはようございます", True),
        ("สวัสดีตอนเช้า", True),
        ("𠮷野家", True),
    ],
)
def test_scripts_without_spaces_are_known(text, expected):
    assert without_spaces([text, ""]) == expected


def test_speakers_are_drawn_from_twenty_on():
    references, a, b = texts(np.random.default_rng(2), 60, 5, [0.3, 0.2])
    assert compare(references, a, b, [f"s{i % 20}" for i in range(60)]).interval == "speakers"
    assert compare(references, a, b, [f"s{i % 19}" for i in range(60)]).interval == "utterances"


def test_without_a_reference_word_json_stays_valid():
    result = compare(["", ""], ["a", "b c"], ["", ""])
    words = result.words
    assert (words.rate_a, words.rate_b, words.difference) == (math.inf, 0, math.inf)
    json.dumps(result.to_dict(), allow_nan=False)
    assert compare([""], [""], [""]).words.difference == 0


def test_unequal_lengths_are_errors():
    with pytest.raises(ScoreError, match="found 1 hypotheses for 2 references"):
        compare(["a", "b"], ["a", "b"], ["a"])
    with pytest.raises(ScoreError, match="nothing to score"):
        compare([], [], [])


@pytest.mark.parametrize("seed", range(3))
def test_segments_and_statistic_are_those_of_nist(nist: str, tmp_path: Path, seed: int) -> None:
    """sc_stats on the same texts, with words deleted, inserted and substituted, whose alignments are unique.

    Each utterance ends in a correct word: sc_stats overlooks what its second system inserts after the last word.
    """
    random = np.random.default_rng(seed)
    references, a, b = texts(random, 150, 12, [0.2, 0.25])
    systems = [[f"{change(random, text)} end" for text in system] for system in (a, b)]
    references = [f"{text} end" for text in references]
    files = {"ref": references, "a": systems[0], "b": systems[1]}
    for name, lines in files.items():
        (tmp_path / f"{name}.trn").write_text("".join(f"{line} (s-{i:03})\n" for i, line in enumerate(lines)))
    printed = [nist_sgml(nist, tmp_path, name) for name in "ab"]
    found = subprocess.run(
        [nist, "sc_stats", "-p", "-t", "mapsswe", "-v", "-n", "-"],
        input="".join(printed),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    line = re.search(r"# segs: (\d+)\).*?mean: *(\S+)\).*?Z Stat: *(\S+)\)", found)
    result = compare(references, *systems).matched
    assert result.segments == int(line[1]) > 100
    assert (result.mean, result.statistic) == pytest.approx((float(line[2]), float(line[3])), abs=6e-4)


def change(random: np.random.Generator, text: str) -> str:
    """Delete some words and insert new ones between others."""
    kept = [word for word in text.split() if random.random() < 0.95]
    return " ".join(f"{word} new" if random.random() < 0.05 else word for word in kept)


def nist_sgml(nist: str, folder: Path, name: str) -> str:
    """sclite's alignment as sc_stats reads it."""
    line = [nist, "sclite", "-r", "ref.trn", "trn", "-h", f"{name}.trn", "trn", "-i", "spu_id", "-o", "sgml", "stdout"]
    return subprocess.run(line, capture_output=True, text=True, check=True, cwd=folder).stdout
