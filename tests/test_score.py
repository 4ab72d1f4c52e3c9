import json
import math
import subprocess
import sys
import tracemalloc

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from asr.score import (
    Counts,
    ScoreError,
    bootstrap_interval,
    character_counts,
    count,
    score,
    word_counts,
)

unhurried = settings(deadline=None)  # a busy machine may stall one example for long

# Few tokens, so that many alignments tie; some that jiwer's own transforms would strip, split or drop.
tokens = st.lists(st.sampled_from(["a", "b", "c", "A", "", " ", "a b", "\n", "ß"]), max_size=12)
sentences = st.text(alphabet="ab ", max_size=30)


def levenshtein(reference, hypothesis):
    """The least number of edits by Wagner and Fischer's table, written down as in the textbook."""
    table = [[0] * (len(hypothesis) + 1) for _ in range(len(reference) + 1)]
    for i in range(len(reference) + 1):
        for j in range(len(hypothesis) + 1):
            if i == 0 or j == 0:
                table[i][j] = i + j
            else:
                change = table[i - 1][j - 1] + (reference[i - 1] != hypothesis[j - 1])
                table[i][j] = min(change, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


@unhurried
@given(tokens, tokens)
def test_errors_are_the_fewest_and_counts_add_up(reference, hypothesis):
    counts = count(reference, hypothesis)
    assert counts.errors == levenshtein(reference, hypothesis)
    assert counts.reference == len(reference)
    assert counts.hits + counts.substitutions + counts.insertions == len(hypothesis)
    assert min(counts.hits, counts.substitutions, counts.deletions, counts.insertions) >= 0


@unhurried
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=8))
def test_corpus_totals_are_those_of_jiwer(pairs):
    references, hypotheses = map(list, zip(*pairs, strict=True))
    words = jiwer.process_words(references, hypotheses)
    squeezed = [[" ".join(text.split()) for text in texts] for texts in (references, hypotheses)]
    characters = jiwer.process_characters(*squeezed)
    result = score(references, hypotheses)
    for ours, theirs in ((result.words, words), (result.characters, characters)):
        assert ours == Counts(theirs.hits, theirs.substitutions, theirs.deletions, theirs.insertions)
    if result.words.reference:
        assert result.wer == pytest.approx(words.wer) and result.cer == pytest.approx(characters.cer)


@unhurried
@given(st.lists(st.tuples(sentences, sentences), min_size=1, max_size=8))
def test_a_corpus_counts_as_the_sum_of_its_utterances(pairs):
    total = Counts()
    for reference, hypothesis in pairs:
        total = total + word_counts(reference, hypothesis)
    assert score(*zip(*pairs, strict=True)).words == total


@pytest.mark.parametrize(
    ("reference", "hypothesis", "rate"),
    [("X", "X", 0), ("X", "X X Y Y", 3), ("X Y X", "X Z", 2 / 3), ("X", "Y", 1), ("X", "Y Z", 2)],
)
def test_published_values(reference, hypothesis, rate):
    """Examples of Morris, Maier and Green, "From WER and RIL to MER and WIL", Interspeech 2004."""
    assert word_counts(reference, hypothesis).rate == rate


@pytest.mark.parametrize(
    ("reference", "hypothesis", "words", "characters"),
    [
        ("X", "X X Y Y", Counts(hits=1, insertions=3), Counts(hits=1, insertions=6)),
        ("X Y", "X", Counts(hits=1, deletions=1), Counts(hits=1, deletions=2)),
        ("kitten", "sitting", Counts(substitutions=1), Counts(hits=4, substitutions=2, insertions=1)),
        ("new york", "newyork", Counts(substitutions=1, deletions=1), Counts(hits=7, deletions=1)),
        (" a  b\tc\n", "a b c", Counts(3), Counts(5)),
        ("", "", Counts(), Counts()),
        ("", "a bc", Counts(insertions=2), Counts(insertions=4)),
        ("a bc", " ", Counts(deletions=2), Counts(deletions=4)),
    ],
)
def test_counts_by_hand(reference, hypothesis, words, characters):
    assert word_counts(reference, hypothesis) == words
    assert character_counts(reference, hypothesis) == characters


def test_text_is_compared_as_it_is():
    assert word_counts("Don't STOP", "don't stop.").errors == 2
    assert word_counts("é", "e\u0301").errors == 1
    assert character_counts("[unk] a", "a").deletions == 6


def test_a_corpus_rate_is_not_the_mean_of_its_rates():
    result = score(["a b c d e f g h i j", "k"], ["a b c d e f g h i j", "x"])
    assert result.wer == 1 / 11
    assert result.words == Counts(hits=10, substitutions=1)
    assert result.utterances == 2


def test_a_rate_may_exceed_one():
    assert word_counts("a", "b c d").rate == 3.0


def test_empty_references_and_hypotheses_are_scored_by_definition():
    result = score(["a b", "", "c", ""], ["a b", "x y", "", ""])
    assert result.words == Counts(hits=2, deletions=1, insertions=2)
    assert result.wer == 1.0 and result.utterances == 4


def test_without_a_reference_word_the_rate_is_zero_or_infinite_and_json_stays_valid():
    silent, noisy = score(["", ""], ["", " "]), score(["", ""], ["a", "b"])
    assert (silent.wer, silent.cer, silent.low, silent.high) == (0.0, 0.0, 0.0, 1.0)
    assert (noisy.wer, noisy.cer, noisy.high) == (math.inf, math.inf, math.inf)
    for result in (silent, noisy):
        json.dumps(result.to_dict(), allow_nan=False)
    assert noisy.to_dict()["wer"] is None and noisy.to_dict()["insertions"] == 2


def test_draws_without_a_reference_word_have_rate_zero_or_infinity():
    assert bootstrap_interval([0, 0, 0, 1], [0, 0, 0, 5]) == (0.0, 0.2)
    assert bootstrap_interval([1, 0, 0, 1], [0, 0, 5, 0]) == (0.0, math.inf)


def test_a_score_as_json():
    result = score(["a b", "c d"], ["a x", "c"])
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written == {
        "wer": 0.5,
        "cer": 0.5,
        "words": 4,
        "errors": 2,
        "substitutions": 1,
        "deletions": 1,
        "insertions": 0,
        "utterances": 2,
        "wer_low": 0.5,
        "wer_high": 0.5,
        "interval_over": "utterances",
        "characters": 6,
        "character_errors": 3,
        "character_substitutions": 1,
        "character_deletions": 2,
        "character_insertions": 0,
        "cer_low": 1 / 3,
        "cer_high": 2 / 3,
    }


def test_nothing_to_score_and_unequal_lengths_are_errors():
    with pytest.raises(ScoreError, match="nothing to score"):
        score([], [])
    with pytest.raises(ScoreError, match=r"found 1 hypotheses for 2 references.*empty hypothesis"):
        score(["a", "b"], ["a"])
    with pytest.raises(ScoreError, match="found 3 speakers for 2 references"):
        score(["a", "b"], ["a", "b"], speakers=["s", "s", "s"])


@pytest.mark.parametrize(
    ("speakers", "interval"),
    [
        (None, "utterances"),
        ([None] * 60, "utterances"),
        ([f"s{i % 19}" for i in range(60)], "utterances"),
        ([f"s{i % 20}" for i in range(60)], "speakers"),
        ([f"s{i % 20}" if i < 20 else None for i in range(60)], "speakers"),
        ([f"s{i}" if i < 19 else None for i in range(60)], "utterances"),
    ],
)
def test_speakers_are_resampled_from_twenty_known_ones_on(speakers, interval):
    result = score(["a b"] * 60, ["a b", "a", "x y"] * 20, speakers)
    assert result.interval == interval
    assert result.to_dict()["interval_over"] == interval


def test_utterances_of_unknown_speakers_are_speakers_of_their_own():
    errors, words = [i % 3 for i in range(60)], [3] * 60
    references = ["a b c"] * 60
    hypotheses = [" ".join("abc"[: 3 - n]) for n in errors]
    speakers = [f"s{i % 20}" if i < 40 else None for i in range(60)]
    groups = [i % 20 if i < 40 else i for i in range(60)]
    result = score(references, hypotheses, speakers, seed=3)
    assert (result.low, result.high) == bootstrap_interval(errors, words, groups, seed=3)
    assert (result.low, result.high) != bootstrap_interval(errors, words, seed=3)
    wrong = [character_counts(*pair).errors for pair in zip(references, hypotheses, strict=True)]
    assert (result.cer_low, result.cer_high) == bootstrap_interval(wrong, [5] * 60, groups, seed=3)


@pytest.mark.parametrize("words", [1, 3, 240, 100_000])
def test_without_an_error_the_upper_end_is_exact(words):
    low, high = bootstrap_interval([0] * words, [1] * words)
    assert low == 0.0 and high == 1 - 0.05 ** (1 / words)
    two_tails_of_5_percent = stats.binomtest(0, words).proportion_ci(0.90, method="exact")
    assert high == pytest.approx(two_tails_of_5_percent.high)
    if words >= 240:
        assert high == pytest.approx(3 / words, rel=0.01)  # the rule of three


def test_without_an_error_speakers_do_not_matter():
    result = score(["yes no"] * 40, ["yes no"] * 40, speakers=[f"s{i}" for i in range(40)])
    assert (result.low, result.high, result.interval) == (0.0, 1 - 0.05 ** (1 / 80), "speakers")


def utterances(n, seed, speakers=None):
    """Counts like a test set's: (n,) errors, words and speaker numbers; speakers differ if there are any."""
    random = np.random.default_rng(seed)
    words = random.integers(1, 30, n)
    groups = random.integers(0, speakers, n) if speakers else np.arange(n)
    skill = random.uniform(0.05, 0.6, speakers)[groups] if speakers else np.full(n, 0.3)
    return random.binomial(words, skill), words, groups


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_over_utterances_is_that_of_scipy(level):
    errors, words, _ = utterances(150, seed=1)
    theirs = stats.bootstrap(
        (errors, words),
        lambda e, w, axis: e.sum(axis) / w.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        confidence_level=level,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert bootstrap_interval(errors, words, level=level) == pytest.approx(tuple(theirs), abs=0.04 * width)


def test_the_interval_over_speakers_is_that_of_drawing_speakers_one_by_one():
    errors, words, groups = utterances(600, seed=2, speakers=25)
    utterances_of = [np.flatnonzero(groups == speaker) for speaker in range(25)]
    random, rates = np.random.default_rng(7), []
    for _ in range(10_000):
        drawn = np.concatenate([utterances_of[speaker] for speaker in random.integers(0, 25, 25)])
        rates.append(errors[drawn].sum() / words[drawn].sum())
    brute = np.quantile(rates, [0.025, 0.975])
    width = brute[1] - brute[0]
    ours = bootstrap_interval(errors, words, groups)
    assert ours == pytest.approx(brute, abs=0.04 * width)
    low, high = bootstrap_interval(errors, words)
    assert width > 1.5 * (high - low)  # speakers differ, which drawing utterances does not see


def test_the_interval_holds_the_true_rate_as_often_as_it_says():
    """Of 1,000 test sets of 1,000 independent utterances 93% to 97% have an interval that holds the true rate.

    Utterances differ in length, and in how hard they are: rates from a beta distribution of mean 0.3.
    """
    held = 0
    for seed in range(1000):
        random = np.random.default_rng(seed)
        words = random.choice([5, 10, 20], 1000)
        low, high = bootstrap_interval(random.binomial(words, random.beta(3, 7, 1000)), words, samples=500, seed=seed)
        held += low <= 0.3 <= high
    assert 930 <= held <= 970


def test_same_seed_same_interval_in_any_order():
    errors, words, groups = utterances(300, seed=3, speakers=30)
    order = np.random.default_rng(0).permutation(300)
    for g in (None, groups):
        renamed = None if g is None else 100 - g[order]
        assert bootstrap_interval(errors[order], words[order], renamed, seed=5) == bootstrap_interval(
            errors, words, g, seed=5
        )
    assert bootstrap_interval(errors, words, seed=5) != bootstrap_interval(errors, words, seed=6)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=20))
def test_the_ends_lie_between_the_rates_of_single_utterances(pairs):
    errors, words = np.array(pairs).T
    low, high = bootstrap_interval(errors, words, samples=200)
    assert 0 <= low <= high
    if errors.any():
        rates = [e / w if w else (math.inf if e else 0.0) for e, w in pairs]
        assert min(rates) - 1e-12 <= low and high <= max(rates) + 1e-12


def test_where_all_counts_differ_the_interval_is_that_of_many_draws_all_the_same():
    """Groups are then drawn one by one, which is quicker; the ends agree with the normal distribution's."""
    random = np.random.default_rng(6)
    characters = random.permutation(np.arange(50, 1250))
    errors = random.binomial(characters, 0.2)
    low, high = bootstrap_interval(errors, characters)
    rate = errors.sum() / characters.sum()
    deviation = np.sqrt(((errors - rate * characters) ** 2).sum()) / characters.sum()
    assert (low, high) == pytest.approx((rate - 1.96 * deviation, rate + 1.96 * deviation), abs=0.1 * deviation)
    order = random.permutation(1200)
    assert bootstrap_interval(errors[order], characters[order]) == (low, high)


def test_one_utterance_or_speaker_has_no_width():
    assert bootstrap_interval([3], [10]) == (0.3, 0.3)
    assert bootstrap_interval([1, 2], [5, 5], groups=[4, 4]) == (0.3, 0.3)


def test_memory_is_bounded_for_a_hundred_thousand_utterances():
    random = np.random.default_rng(4)
    words = random.integers(1, 100, 100_000)
    errors = random.binomial(words, 0.3)
    tracemalloc.start()
    low, high = bootstrap_interval(errors, words)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert low < errors.sum() / words.sum() < high and high - low < 0.01
    assert peak < 100 * 2**20  # drawing utterance by utterance would take 8 GB


def test_importing_needs_no_torch():
    loaded = "import sys, asr.score; print(sorted({'torch', 'scipy', 'num2words'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "[]\n"
