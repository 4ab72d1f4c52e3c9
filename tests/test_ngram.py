"""Look-up and scores by hand and against the definition, the binary file, and what is left of it when it is damaged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr.kneser_ney import estimate
from asr.ngram import STEP, LanguageModelError, Level, NGram, build

WORDS = ("<unk>", "<s>", "</s>", "a", "b")
SMALL_CHANGE = 6 * STEP  # what three log-probs and back-offs are off by at most, each half a step


@pytest.fixture(scope="module")
def small() -> NGram:
    """A 4-gram model with numbers that are easy to add."""
    words = Level(
        np.zeros(5, int), np.arange(5), np.array([-2, -99, -1, -0.5, -0.6]), np.array([0, -0.1, 0, -0.2, -0.3])
    )
    # <s> a, a b, b </s>
    pairs = Level(np.array([1, 3, 4]), np.array([3, 4, 2]), np.array([-0.3, -0.2, -0.1]), np.array([-0.05, -0.07, 0]))
    # <s> a b, a b </s>
    triples = Level(np.array([0, 1]), np.array([4, 2]), np.array([-0.11, -0.12]), np.zeros(2))
    # <s> a b </s>
    return build(WORDS, [words, pairs, triples, Level(np.array([0]), np.array([2]), np.array([-0.01]), np.zeros(1))])


@pytest.fixture(scope="module")
def larger() -> NGram:
    """A 4-gram model of random text."""
    return estimate(random_sentences(), 4, info={"units": "words"})


def random_sentences() -> list[list[str]]:
    draw = np.random.default_rng(0)
    return [[f"w{min(9, draw.geometric(0.3))}" for _ in range(draw.integers(1, 9))] for _ in range(80)]


@pytest.mark.parametrize(
    ("sentence", "log_probs"),
    [
        ("a b", [-0.3, -0.11, -0.01]),
        ("", [-0.1 - 1]),
        ("b", [-0.1 - 0.6, -0.1]),
        ("a a b", [-0.3, -0.05 - 0.2 - 0.5, -0.2, -0.12]),
        ("b a b a", [-0.7, -0.3 - 0.5, -0.2, -0.07 - 0.3 - 0.5, -0.2 - 1]),
        ("a x b", [-0.3, -0.05 - 0.2 - 2, -0.6, -0.1]),
        ("<s> </s> <unk>", [-2.1, -2, -2, -1]),  # not words that a sentence can hold
    ],
)
def test_scores_by_hand(small: NGram, sentence: str, log_probs: list[float]) -> None:
    assert small.log_probs(sentence.split()) == pytest.approx(log_probs, abs=1e-6)
    assert small.score(sentence.split()) == pytest.approx(sum(log_probs), abs=1e-6)


def test_scores_in_the_middle_of_a_sentence(small: NGram) -> None:
    assert small.log_probs(["a", "b"], start=False, end=False) == pytest.approx([-0.5, -0.2], abs=1e-6)
    assert small.log_probs(["a"], start=False) == pytest.approx([-0.5, -0.2 - 1], abs=1e-6)


def test_words_and_orders(small: NGram) -> None:
    assert (small.order, small.counts) == (4, (5, 3, 2, 1))
    assert small.known("a")
    assert not any(small.known(word) for word in ("x", "<s>", "</s>", "<unk>", ""))


def test_perplexity_by_hand(small: NGram) -> None:
    result = small.perplexity([["a", "b"], ["a", "x", "b"]])
    assert (result.words, result.unknown, result.sentences) == (5, 1, 2)
    known = -(0.3 + 0.11 + 0.01) - (0.3 + 0.6 + 0.1)
    assert result.with_unknown == pytest.approx(10 ** (-(known - 2.25) / 7), rel=1e-5)
    assert result.without_unknown == pytest.approx(10 ** (-known / 6), rel=1e-5)


@pytest.mark.parametrize("missing", ["<s>", "</s>", "<unk>"])
def test_special_words_must_be_there(missing: str) -> None:
    words = ["x" if word == missing else word for word in WORDS]
    with pytest.raises(LanguageModelError, match=f"no {missing}; it has 5 words"):
        build(words, [Level(np.zeros(5, int), np.arange(5), np.full(5, -1.0), np.zeros(5))])


def test_the_binary_file_scores_the_same(small: NGram, larger: NGram, tmp_path: Path) -> None:
    for model in (small, larger):
        model.save(tmp_path / "x.lm")
        again = NGram.open(tmp_path / "x.lm")
        assert (again.words, again.counts, again.info) == (model.words, model.counts, model.info)
        above = model.tables.log_probs > -15
        unit = again.tables.log_prob_unit
        assert again.tables.log_probs[above] * unit == pytest.approx(model.tables.log_probs[above], abs=1.3e-4)
        assert again.tables.backoffs * again.tables.backoff_unit == pytest.approx(model.tables.backoffs, abs=1.3e-4)
        for sentence in [*random_sentences(), ["a", "b", "a", "x", "b"]]:
            assert again.log_probs(sentence) == pytest.approx(model.log_probs(sentence), abs=SMALL_CHANGE)


def test_a_binary_file_that_is_saved_again_is_the_same(larger: NGram, tmp_path: Path) -> None:
    larger.save(tmp_path / "a.lm")
    NGram.open(tmp_path / "a.lm").save(tmp_path / "b.lm")
    assert (tmp_path / "a.lm").read_bytes() == (tmp_path / "b.lm").read_bytes()


def test_what_the_binary_file_cannot_hold_is_clipped(tmp_path: Path) -> None:
    words = Level(np.zeros(5, int), np.arange(5), np.array([-100, -99, -1, -0.5, -17]), np.array([0, -99, 0, 12, 0]))
    build(WORDS, [words, Level(np.array([1]), np.array([3]), np.array([-0.1]), np.zeros(1))]).save(tmp_path / "x.lm")
    tables = NGram.open(tmp_path / "x.lm").tables
    assert tables.log_probs[1:6] * tables.log_prob_unit == pytest.approx([-16, -16, -1, -0.5, -16], abs=1e-3)
    assert tables.backoffs[1:6] * tables.backoff_unit == pytest.approx([0, -8, 0, 8, 0], abs=1e-3)


def test_tables_cannot_be_written_to(small: NGram, tmp_path: Path) -> None:
    small.save(tmp_path / "x.lm")
    for model in (small, NGram.open(tmp_path / "x.lm")):
        arrays = [array for array in model.tables if isinstance(array, np.ndarray)]
        assert len(arrays) == 5
        assert not any(array.flags.writeable for array in arrays)


def test_words_of_any_script_survive_the_file(tmp_path: Path) -> None:
    words = (*WORDS[:3], "größer", "日本", "\u200dक्ष", "a\u2028b\x85")
    level = Level(np.zeros(7, int), np.arange(7), np.full(7, -1.0), np.zeros(7))
    build(words, [level], {"text": "λόγος"}).save(tmp_path / "x.lm")
    again = NGram.open(tmp_path / "x.lm")
    assert (again.words, again.info) == (words, {"text": "λόγος"})


def test_words_that_the_file_cannot_hold(tmp_path: Path) -> None:
    level = Level(np.zeros(4, int), np.arange(4), np.full(4, -1.0), np.zeros(4))
    with pytest.raises(LanguageModelError, match="line feed"):
        build((*WORDS[:3], "a\nb"), [level]).save(tmp_path / "x.lm")
    assert not list(tmp_path.iterdir())


def test_the_longest_end_of_a_context_is_found_where_the_next_one_is_missing(small: NGram) -> None:
    # a b is no n-gram, so x a b backs off to b, as the toolkits that prune so mean it.
    words = Level(np.zeros(6, int), np.arange(6), np.full(6, -1.0), np.full(6, -0.5))
    pairs = Level(np.array([4, 5]), np.array([5, 3]), np.array([-0.1, -0.2]), np.array([-0.3, -0.4]))  # b a, a </s>
    triples = Level(np.array([0]), np.array([4]), np.array([-0.01]), np.array([-0.7]))  # b a b
    fours = Level(np.array([0]), np.array([4]), np.array([-0.001]), np.zeros(1))  # b a b b
    model = build(("<unk>", "<s>", "x", "</s>", "b", "a"), [words, pairs, triples, fours])
    found = model.log_probs(["b", "a", "b", "b", "a"], start=False, end=False)
    assert found == pytest.approx([-1, -0.1, -0.01, -0.001, -0.1], abs=1e-6)
    # After b a b comes a: back off from b a b (-0.7) to b, of which b a is an n-gram.
    found = model.log_probs(["b", "a", "b", "a"], start=False, end=False)
    assert found[-1] == pytest.approx(-0.7 - 0.1, abs=1e-6)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a language model, or damaged"),
        (b"\\data\\\nngram 1=3\n", "not a language model, or damaged"),
        (b"\x02\0\0\0\0\0\0\0{}", "no language model; estimate one"),
        (b"\x08\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", "not a language model, or damaged"),
    ],
)
def test_files_of_other_kinds(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "x.lm"
    path.write_bytes(content)
    with pytest.raises(LanguageModelError, match=message) as caught:
        NGram.open(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(LanguageModelError, match="no such file"):
        NGram.open(tmp_path / "x.lm")
    with pytest.raises(LanguageModelError, match="not a language model, or damaged"):
        NGram.open(tmp_path)


def test_models_of_sound_are_no_language_models(tiny_model: Path) -> None:
    with pytest.raises(LanguageModelError, match="not a language model"):
        NGram.open(tiny_model)


def rewrite_header(source: Path, target: Path, **changes: object) -> None:
    """Another header around the same tables."""
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    with safe_open(source, framework="numpy") as file:
        header = json.loads(file.metadata()["asr.ngram"]) | changes
    save_file(load_file(source), target, {"asr.ngram": json.dumps(header)})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "format 2, but this version of asr reads 1"),
        ({"counts": [5, 3, 2, 2]}, "damaged"),
        ({"counts": [5, 3, 3]}, "damaged"),
        ({"counts": []}, "damaged"),
        ({"counts": [5, -3, 2, 1]}, "damaged"),
        ({"counts": [float("inf")]}, "no language model"),
        ({"counts": None}, "no language model"),
        ({"info": 3}, "no language model"),
    ],
)
def test_headers_that_do_not_fit(small: NGram, tmp_path: Path, changes: dict[str, object], message: str) -> None:
    small.save(tmp_path / "a.lm")
    rewrite_header(tmp_path / "a.lm", tmp_path / "b.lm", **changes)
    with pytest.raises(LanguageModelError, match=message):
        NGram.open(tmp_path / "b.lm")


def check_opens_or_says_why(path: Path) -> None:
    """A damaged file is either refused in one line, or gives numbers: no crash, no endless loop."""
    try:
        model = NGram.open(path)
    except LanguageModelError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
        return
    for sentence in ([], ["w1", "w2", "w1", "x", "w3", "w9"], list(model.words[:20])):
        log_probs = model.log_probs(sentence)
        assert np.isfinite(log_probs).all()
        assert len(log_probs) == len(sentence) + 1


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_files(larger: NGram, tmp_path: Path, data: st.DataObject) -> None:
    path = tmp_path / "whole.lm"
    if not path.exists():
        larger.save(path)
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=8)):
        content[place] = value
    end = data.draw(st.none() | places)
    (tmp_path / "damaged.lm").write_bytes(content[:end])
    check_opens_or_says_why(tmp_path / "damaged.lm")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.floats(0.001, 1))
def test_tables_full_of_anything(larger: NGram, tmp_path: Path, seed: int, share: float) -> None:
    # Sizes that fit, so that the file opens, and numbers that lead anywhere.
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    path, draw = tmp_path / "x.lm", np.random.default_rng(seed)
    larger.save(path)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    tables = {name: array.copy() for name, array in load_file(path).items()}
    for name in ("words", "log_probs", "backoffs", "first_child", "suffixes"):
        array = tables[name]
        wrong = draw.random(len(array)) < share
        limits = np.iinfo(array.dtype)
        top = limits.max if draw.random() < 0.5 else sum(larger.counts)
        array[wrong] = draw.integers(limits.min, top, wrong.sum(), endpoint=True, dtype=np.int64).astype(array.dtype)
    save_file(tables, path, metadata)
    check_opens_or_says_why(path)
