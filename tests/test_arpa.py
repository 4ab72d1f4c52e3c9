"""ARPA files: read and written, what is wrong with them named by line, and scores as KenLM gives them."""

from __future__ import annotations

import gzip
import lzma
import os
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asr import arpa
from asr.kneser_ney import estimate
from asr.ngram import LanguageModelError, Level, NGram, build

GOOD = """\
\\data\\
ngram 1=5
ngram 2=3
ngram 3=2

\\1-grams:
-2\t<unk>
-99\t<s>\t-0.1
-1\t</s>
-0.5\ta\t-0.2
-0.6\tb\t-0.3

\\2-grams:
-0.3\t<s> a\t-0.05
-0.2\ta b\t-0.07
-0.1\tb </s>

\\3-grams:
-0.11\t<s> a b
-0.12\ta b </s>

\\end\\
"""


@pytest.fixture
def written(tmp_path: Path):
    """Writes text to a file and gives its path."""

    def write(text: str | bytes, name: str = "x.arpa") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


@pytest.fixture(scope="session")
def kenlm() -> ModuleType:
    """KenLM's Python module; its absence skips a test on a user's machine and fails it in CI."""
    if os.environ.get("CI") == "true":
        import kenlm

        return kenlm
    return pytest.importorskip("kenlm", reason="needs KenLM's Python module: pip install asr[peers]")


def random_sentences(seed: int = 0, number: int = 80) -> list[list[str]]:
    draw = np.random.default_rng(seed)
    return [[f"w{min(9, draw.geometric(0.3))}" for _ in range(draw.integers(1, 9))] for _ in range(number)]


def check_good(model: NGram) -> None:
    assert model.words == ("<unk>", "<s>", "</s>", "a", "b")
    assert model.counts == (5, 3, 2)
    assert model.log_probs(["a", "b"]) == pytest.approx([-0.3, -0.11, -0.12], abs=1e-6)
    assert model.log_probs(["b", "a", "x"]) == pytest.approx([-0.7, -0.8, -2.2, -1], abs=1e-6)


@pytest.mark.parametrize(
    "text",
    [
        GOOD,
        GOOD.replace("\t", " "),
        GOOD.replace("\t", "  \t "),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n\n", "\n"),
        GOOD.replace("\n\n", "\n\n\n \n"),
        GOOD.rstrip(),
        "# written by hand\nngram 1=9\n\n" + GOOD,
        GOOD.replace("-0.12\t", "-12e-2\t").replace("-0.11\t", "-.0011E+2\t"),
        GOOD.replace("-2\t<unk>", "-2\t<unk>\t0").replace("b </s>", "b </s>\t-0.0"),
        GOOD.replace("<s> a b", "<s> a b\t0"),
        GOOD.replace("-0.3\t<s> a\t-0.05\n-0.2\ta b\t-0.07\n", "-0.2\ta b\t-0.07\n-0.3\t<s> a\t-0.05\n"),
        GOOD.replace("<unk>", "<UNK>"),
    ],
)
def test_forms_that_all_mean_the_same(text: str, written) -> None:
    check_good(arpa.read(written(text)))


def test_a_byte_order_mark_is_no_text(written) -> None:
    check_good(arpa.read(written(b"\xef\xbb\xbf" + GOOD.encode())))


def test_compressed_files(written) -> None:
    check_good(arpa.read(written(gzip.compress(GOOD.encode()), "x.arpa.gz")))
    check_good(arpa.read(written(lzma.compress(GOOD.encode()), "x.arpa.xz")))


def test_without_unknown_words(written) -> None:
    model = arpa.read(written(GOOD.replace("-2\t<unk>\n", "").replace("1=5", "1=4")))
    assert model.words == ("<s>", "</s>", "a", "b", "<unk>")
    assert model.log_probs(["a", "x"]) == pytest.approx([-0.3, -0.05 - 0.2 - 100, -1])


def test_numbers_are_read_to_the_last_digit(written) -> None:
    texts = ["-1.2345678", "-0.00012345678", "-6.2543112e-3", "-12345.6789", "-0", "-3", "-.5", "-99.000000000000001"]
    words = "".join(f"{text}\tw{i}\n" for i, text in enumerate(texts))
    text = f"\\data\\\nngram 1={len(texts) + 2}\n\n\\1-grams:\n{words}-1\t</s>\n-1\t<s>\n\n\\end\\\n"
    found = arpa.read(written(text)).tables.log_probs[1 : 1 + len(texts)]
    assert found.tolist() == [np.float32(text) for text in texts]


def change(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", None, "no ARPA file, it has no line \\data\\"),
        ("hello\nworld\n", None, "no ARPA file"),
        ("\\data\\\n", 2, "no line ngram 1=NUMBER"),
        ("\\data\\\n\n\\1-grams:\n\n\\end\\\n", 3, "no line ngram 1=NUMBER"),
        (change("ngram 2=3", "ngram 3=3"), 3, "found 'ngram 3=3', expected ngram 2=NUMBER"),
        (change("ngram 2=3", "ngram 2=three"), 3, "expected ngram 2=NUMBER"),
        (change("ngram 2=3", "ngram 2=-3"), 3, "expected ngram 2=NUMBER"),
        (change("ngram 2=3", "ngram 2=999999999999999"), 3, "too short for 999999999999999 2-grams"),
        (change("ngram 2=3", "ngram 2=" + "9" * 9999), 3, "expected ngram 2=NUMBER"),
        (change("ngram 1=5", "ngram 1=6"), 12, "expected 1-gram 6 of 6; are the counts wrong?"),
        (
            change("ngram 1=5", "ngram 1=4"),
            11,
            "found '-0.6\\\\tb\\\\t-0.3', expected \\2-grams:; are the counts wrong?",
        ),
        (change("ngram 3=2", "ngram 3=3"), 21, "expected 3-gram 3 of 3"),
        (change("ngram 3=2", "ngram 3=1"), 20, "expected \\end\\"),
        (change("ngram 3=2\n", ""), 17, "found '\\\\3-grams:', expected \\end\\"),
        (change("\\2-grams:", "\\3-grams:"), 13, "expected \\2-grams:"),
        (change("\\end\\\n", ""), 22, "cut short: it ends before \\end\\"),
        (change("\\end\\\n", "\\end\\\nmore\n"), 23, "found 'more' after \\end\\"),
        (GOOD[: GOOD.index("a b\t-0.07")], 15, "cut short: it ends after 1 of its 3 2-grams"),
        (GOOD[: GOOD.index("\\3-grams")], 18, "cut short: it ends before \\3-grams:"),
        (change("-0.2\ta b\t", "nan\ta b\t"), 15, "expected a log10 probability, 2 words and a back-off weight"),
        (change("-0.2\ta b\t", "-inf\ta b\t"), 15, "expected a log10 probability"),
        (change("-0.2\ta b\t", "-1e99\ta b\t"), 15, "expected a log10 probability"),
        (change("-0.2\ta b\t", "-0.2.1\ta b\t"), 15, "expected a log10 probability"),
        (change("-0.2\ta b\t", "-0.2e\ta b\t"), 15, "expected a log10 probability"),
        (change("-0.2\ta b\t", "0.2\ta b\t"), 15, "has a probability above 1"),
        (change("-0.2\ta b\t-0.07", "-0.2\ta"), 15, "expected 2-gram 2 of 3"),
        (change("-0.2\ta b\t", "-0.2\ta c\t"), 15, "has a word that is none of the 1-grams"),
        (change("-0.2\ta b\t-0.07", "-0.2\ta b\tx"), 15, "its back-off weight is not a number"),
        (change("-0.2\ta b\t-0.07", "-0.2\ta b\tnan"), 15, "its back-off weight is not a number"),
        (change("-0.2\ta b\t-0.07", "-0.2\ta b b\t-0.07"), 15, "has more than 2 words"),
        (change("-0.2\ta b\t-0.07", "-0.2\ta b\t-0.07\t1"), 15, "has more than 2 words"),
        (change("-0.2\ta b\t-0.07", "-0.2\ta b"), 15, "begins longer n-grams, but has no back-off weight"),
        (change("-99\t<s>\t-0.1", "-99\t<s>"), 8, "begins longer n-grams, but has no back-off weight"),
        (change("<s> a b", "<s> a b\t-0.1"), 19, "has a back-off weight, but nothing is longer"),
        (change("-0.12\ta b </s>", "-0.12\tb b </s>"), 20, "first words of '-0.12\\\\tb b </s>' are no n-gram"),
        (change("-0.1\tb </s>", "-0.1\ta b"), 16, "is listed twice"),
        (change("-0.1\tb </s>", "-0.1\t<s> a"), 16, "is listed twice"),
        (change("-0.6\tb", "-0.6\ta"), 11, "a word is listed twice"),
        (change("</s>\n-0.5", "</S>\n-0.5"), 16, "none of the 1-grams"),
        (GOOD.replace("</s>", "c"), None, "no </s>"),
    ],
)
def test_what_is_wrong_is_named_by_line(text: str, line: int | None, message: str, written) -> None:
    path = written(text)
    with pytest.raises(LanguageModelError) as caught:
        arpa.read(path)
    found = str(caught.value)
    assert found.startswith(f"{path}:{line}: " if line else f"{path}: ")
    assert message.replace("\\\\", "\\") in found.replace("\\\\", "\\")
    assert "\n" not in found
    assert len(found) < 300 + len(str(path))


def test_words_that_are_not_utf8(written) -> None:
    content = GOOD.encode("latin-1").replace(b"b", b"\xe9")
    with pytest.raises(LanguageModelError, match=r"x\.arpa:11: the word in .*xe9.* is not UTF-8"):
        arpa.read(written(content))


def test_files_that_cannot_be_read(tmp_path: Path, written) -> None:
    with pytest.raises(LanguageModelError, match="no such file"):
        arpa.read(tmp_path / "none.arpa")
    with pytest.raises(LanguageModelError, match="cannot be read"):
        arpa.read(tmp_path)
    for name, pack in (("x.arpa.gz", gzip.compress), ("x.arpa.xz", lzma.compress)):
        whole = pack(GOOD.encode())
        for content in (GOOD.encode(), whole[:-20], whole[:40] + b"?" + whole[41:]):
            with pytest.raises(LanguageModelError, match=f"{re.escape(name)}: cannot be read, or damaged"):
                arpa.read(written(content, name))


@pytest.mark.parametrize("order", range(1, 7))
@pytest.mark.parametrize("name", ["x.arpa", "x.arpa.gz", "x.arpa.xz"])
def test_what_is_written_is_read(order: int, name: str, tmp_path: Path) -> None:
    model = estimate(random_sentences(), order, prune=1e-3)
    arpa.write(tmp_path / name, model)
    again = arpa.read(tmp_path / name)
    assert (again.words, again.counts) == (model.words, model.counts)
    for column, other in zip(again.tables, model.tables, strict=True):
        assert column == pytest.approx(other, rel=6e-7, abs=1e-7)


def test_the_form_of_what_is_written(tmp_path: Path, written) -> None:
    model = arpa.read(written(GOOD))
    arpa.write(tmp_path / "y.arpa", model)
    expected = GOOD.replace("<unk>\n", "<unk>\t0\n").replace("</s>\n\n\\3", "</s>\t0\n\n\\3")
    expected = expected.replace("-1\t</s>\n", "-1\t</s>\t0\n")
    assert (tmp_path / "y.arpa").read_text() == expected


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, written) -> None:
    model = arpa.read(written(GOOD))
    contents = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        arpa.write(tmp_path / folder / "x.arpa.gz", model)
        contents.append((tmp_path / folder / "x.arpa.gz").read_bytes())
    assert contents[0] == contents[1]


def test_more_words_than_the_square_root_of_two_to_the_32nd(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(70_000)]
    model = estimate([words, words[::2]], 2)
    arpa.write(tmp_path / "x.arpa", model)
    again = arpa.read(tmp_path / "x.arpa")
    assert again.counts == model.counts
    assert (again.tables.words == model.tables.words).all()
    assert (again.tables.first_child == model.tables.first_child).all()


def test_between_arpa_and_binary(tmp_path: Path) -> None:
    model = estimate(random_sentences(), 4)
    arpa.write(tmp_path / "a.arpa", model)
    arpa.read(tmp_path / "a.arpa").save(tmp_path / "b.lm")
    arpa.write(tmp_path / "c.arpa", NGram.open(tmp_path / "b.lm"))
    again = arpa.read(tmp_path / "c.arpa")
    assert (again.words, again.counts) == (model.words, model.counts)
    above = model.tables.log_probs > -15  # all but <s>
    assert again.tables.log_probs[above] == pytest.approx(model.tables.log_probs[above], abs=1.3e-4)
    assert again.tables.backoffs == pytest.approx(model.tables.backoffs, abs=1.3e-4)


@pytest.mark.parametrize("word", ["", "a b", "a\tb", "a\nb", "\r"])
def test_words_that_no_arpa_file_can_hold(word: str, tmp_path: Path) -> None:
    level = Level(np.zeros(4, int), np.arange(4), np.full(4, -1.0), np.zeros(4))
    with pytest.raises(LanguageModelError, match=r"x\.arpa: an ARPA file cannot hold the word"):
        arpa.write(tmp_path / "x.arpa", build(("<unk>", "<s>", "</s>", word), [level]))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("table", "value"), [("words", 99), ("first_child", 0), ("first_child", 2**32 - 1)])
def test_a_damaged_model_is_not_written(table: str, value: int, tmp_path: Path) -> None:
    model = estimate(random_sentences(), 3)
    damaged = getattr(model.tables, table).copy()
    damaged[len(damaged) // 2] = value
    model = NGram(model.words, model.counts, model.tables._replace(**{table: damaged}))
    with pytest.raises(LanguageModelError, match="damaged"):
        arpa.write(tmp_path / "x.arpa", model)


def pieces_of_files() -> st.SearchStrategy[bytes]:
    """Files with lines dropped, doubled, swapped and changed, or cut."""
    lines = GOOD.encode().split(b"\n")
    odd = [b"", b"-1\ta", b"-1\ta b\t0", b"0\tb </s>", b"\\end\\", b"\\2-grams:", b"ngram 2=4", b"-1e-400\ta"]
    return st.lists(st.sampled_from(lines + odd) | st.binary(max_size=12), max_size=25).map(b"\n".join)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_anything_is_read_or_refused_in_one_line(tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray(GOOD.encode())
    if data.draw(st.booleans()):
        content = bytearray(data.draw(pieces_of_files()))
    else:
        places = st.integers(0, len(content) - 1)
        values = st.integers(0, 255) | st.sampled_from(list(b"\t\n\r \\-.0129eab<>s/"))
        for place, value in data.draw(st.lists(st.tuples(places, values), max_size=6)):
            content[place] = value
        content = content[: data.draw(st.none() | places)]
    path = tmp_path / "x.arpa"
    path.write_bytes(content)
    try:
        model = arpa.read(path)
    except LanguageModelError as error:
        assert str(error).startswith(str(path))
        assert "\n" not in str(error)
        return
    assert np.isfinite(model.log_probs(["a", "b", "x", "b", "a"])).all()
    arpa.write(tmp_path / "again.arpa", model)
    again = arpa.read(tmp_path / "again.arpa")
    assert again.log_probs(["a", "b", "b"]) == pytest.approx(model.log_probs(["a", "b", "b"]), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("order", range(2, 7))  # KenLM reads no models of words alone
@pytest.mark.parametrize("prune", [0, 1e-3])
def test_scores_equal_kenlm(kenlm: ModuleType, order: int, prune: float, tmp_path: Path) -> None:
    path = tmp_path / "x.arpa"
    arpa.write(path, estimate(random_sentences(order), order, prune=prune))
    check_equal(kenlm, path)


def test_scores_equal_kenlm_without_unknown_words(kenlm: ModuleType, written) -> None:
    check_equal(kenlm, written(GOOD.replace("-2\t<unk>\n", "").replace("1=5", "1=4")), ["a", "b", "x", "y"])


def test_scores_equal_kenlm_where_ends_of_ngrams_are_not_listed(kenlm: ModuleType, tmp_path: Path, written) -> None:
    # SRILM prunes so: w1 w2 </s> may go where w3 w1 w2 </s> stays.
    arpa.write(tmp_path / "whole.arpa", estimate(random_sentences(number=300), 4))
    text = (tmp_path / "whole.arpa").read_text()
    start, end = text.index("\\3-grams"), text.index("\\4-grams")
    lines = text[start:end].splitlines(keepends=True)
    kept = [line for i, line in enumerate(lines) if "</s>" not in line or i % 3 == 0]
    count = len(lines) - 2
    text = text.replace(f"ngram 3={count}", f"ngram 3={count - len(lines) + len(kept)}")
    assert 10 < len(kept) < len(lines) - 10
    check_equal(kenlm, written(text.replace("".join(lines), "".join(kept))))


def check_equal(kenlm: ModuleType, path: Path, words: list[str] | None = None) -> None:
    """Scores of random sentences equal KenLM's."""
    ours, theirs, draw = arpa.read(path), kenlm.Model(str(path)), np.random.default_rng(0)
    words = words or [*(word for word in ours.words if ours.known(word)), "unknown"]
    for _ in range(300):
        sentence = list(draw.choice(words, draw.integers(0, 12)))
        expected = [score for score, _, _ in theirs.full_scores(" ".join(sentence))]
        assert ours.log_probs(sentence) == pytest.approx(expected, abs=1e-4)
