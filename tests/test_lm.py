"""The command `python -m asr.lm`, and how it reads text."""

from __future__ import annotations

import gzip
import json
import lzma
import re
import subprocess
import sys
from pathlib import Path

import pytest

from asr import Error, arpa, lm
from asr.command import UsageError
from asr.kneser_ney import estimate
from asr.lm import TextReader, open_lm, read_lines, save_lm
from asr.ngram import LanguageModelError, NGram
from asr.text import Alphabet, Normalizer

PROJECT = Path(__file__).resolve().parents[1]
TEXT = "The cat sat.\n\nThe dog sat on the cat, 2 times!\n“Sat!” said the dog.\n"
SENTENCES = ["the cat sat", "the dog sat on the cat two times", "sat said the dog"]


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def run(*arguments: object) -> int:
    return lm.main([str(argument) for argument in arguments])


@pytest.mark.parametrize(("name", "pack"), [("x.txt", bytes), ("x.gz", gzip.compress), ("x.txt.xz", lzma.compress)])
def test_lines_of_files(name: str, pack, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(pack("größer\r\n\n日本\u2028x".encode()))
    assert list(read_lines(path)) == ["größer\r\n", "\n", "日本\u2028x"]


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_bytes(b"good\n\ncaf\xe9 cr\xe8me\n")
    lines = read_lines(path)
    assert [next(lines), next(lines)] == ["good\n", "\n"]
    with pytest.raises(Error, match=re.escape(f"{path}:3: not UTF-8 (invalid continuation byte at byte 3)")):
        next(lines)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", None, "no such file; expected text"),
        ("x.gz", b"not gz", "cannot be read, or damaged, after line 0"),
        ("x.gz", gzip.compress(b"one\ntwo\n" * 999, mtime=0)[:-9], "cannot be read, or damaged, after line"),
        ("x.xz", b"not xz", "cannot be read, or damaged, after line 0"),
        ("x.xz", lzma.compress(b"one\n" * 999)[:-9], "cannot be read, or damaged, after line"),
    ],
)
def test_text_that_cannot_be_read(name: str, content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Error, match=message):
        list(read_lines(path))
    with pytest.raises(Error, match="cannot be read"):
        list(read_lines(tmp_path))


def test_sentences_are_normalised_and_their_numbers_spelled(text: Path) -> None:
    reader = TextReader(Normalizer(), language="en")
    assert [" ".join(words) for words in reader.read([text, text])] == SENTENCES * 2
    assert (reader.sentences, reader.unspoken, reader.left_out) == (6, 0, {})


def test_a_number_without_a_sure_reading_takes_its_sentence_with_it(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("It is late. “At 3:15 he came.” Who? He. No one at 7.\n1/2\nDone.\n")
    reader = TextReader(Normalizer(), language="en")
    expected = [["it", "is", "late", None, "who", "he", "no", "one", "at", "seven"], ["done"]]
    assert list(reader.read([path])) == expected
    assert (reader.sentences, reader.unspoken) == (2, 2)


def test_words_that_a_model_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("Ein café & ein Bett\nß\n")
    reader = TextReader(Normalizer(), alphabet=Alphabet.from_texts(["abcdefghijklmnopqrstuvwxyz "]))
    assert list(reader.read([path])) == [["ein", None, None, "ein", "bett"]]
    assert (reader.sentences, reader.left_out) == (1, {"letter": 3})


TURKISH = "Bugün 21 kişi geldi. 10-15 yok"  # each of them is read in one way, or in several


@pytest.mark.parametrize(
    ("language", "alphabet", "words", "left_out"),
    [
        ("tr", None, "bugün yirmibir kişi geldi -", {}),
        (None, None, "bugün - kişi geldi - - yok", {"number": 3}),
        (None, "bugünkişeldyo", "bugün - kişi geldi - - yok", {"number": 3}),
        (None, "bugünkişeldyo0125", "bugün 21 kişi geldi 10 15 yok", {}),
        (None, "bugünkiş21", "bugün 21 kişi - - - -", {"letter": 2, "number": 2}),
    ],
)
def test_numbers_are_spelled_where_the_language_is_known(
    language: str | None, alphabet: str | None, words: str, left_out: dict[str, int], tmp_path: Path
) -> None:
    (tmp_path / "x.txt").write_text(TURKISH)
    reader = TextReader(Normalizer(), "words", alphabet and Alphabet.from_texts([alphabet]), language=language)
    assert list(reader.read([tmp_path / "x.txt"])) == [[None if word == "-" else word for word in words.split()]]
    assert (reader.left_out, reader.spells) == (left_out, language is not None)


def test_what_is_too_long_is_no_word(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(f"a {'b' * 100} {'c' * 101} d")
    reader = TextReader(Normalizer())
    assert list(reader.read([tmp_path / "x.txt"])) == [["a", "b" * 100, None, "d"]]
    assert reader.left_out == {"long": 1}


def test_characters(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("A bé.\n")
    assert list(TextReader(Normalizer(), "characters").read([path])) == [["a", "▁", "b", "é"]]
    alphabet = Alphabet.from_texts(["ab "])
    assert list(TextReader(Normalizer(), "characters", alphabet).read([path])) == [["a", "▁", "b", None]]


@pytest.mark.parametrize(
    ("name", "is_arpa"),
    [("x.arpa", True), ("3-gram.1e-7.arpa.gz", True), ("x.arpa.xz", True), ("x.lm", False), ("arpa", False)],
)
def test_the_name_tells_the_form(name: str, is_arpa: bool, tmp_path: Path) -> None:
    model = estimate([["a", "b"]], 2)
    save_lm(tmp_path / name, model)
    assert open_lm(tmp_path / name).words == model.words
    with pytest.raises(LanguageModelError):
        (NGram.open if is_arpa else arpa.read)(tmp_path / name)


@pytest.mark.parametrize("name", ["x.lm", "x.arpa", "x.arpa.gz"])
def test_estimate(name: str, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("estimate", text, "--out", tmp_path / name, "--order", 2, "--language", "en") == 0
    printed = capsys.readouterr()
    assert re.fullmatch(rf"{re.escape(str(tmp_path / name))}: 11 1-grams, 15 2-grams; 0\.0 MB\n", printed.out)
    assert (
        printed.err
        == "too little text, or too many words left out, to tell the discounts of order 1, 2: took the usual ones\n"
    )
    expected, model = estimate([sentence.split() for sentence in SENTENCES], 2), open_lm(tmp_path / name)
    assert model.words == expected.words
    for sentence in SENTENCES:
        assert model.score(sentence.split()) == pytest.approx(expected.score(sentence.split()), abs=2e-3)


def test_what_a_model_file_says_of_itself(text: Path, tmp_path: Path) -> None:
    run("estimate", text, "--out", tmp_path / "x.lm", "--prune", "1e-7", "--order", 1, "--language", "en")
    info = dict(NGram.open(tmp_path / "x.lm").info)
    assert info.pop("discounts") == [pytest.approx([1 / 2, 1 / 2, 2])]  # 4, 2, 2 and 1 words occur 1, 2, 3 and 4 times
    assert info == {
        "units": "words",
        "normalizer": {"case": "lower", "punctuation": "remove"},
        "language": "en",
        "text": ["text.txt"],
        "prune": 1e-7,
        "sentences": 3,
        "words": 15,
        "fallback": [],
    }


def test_settings_reach_the_estimate(text: Path, tmp_path: Path) -> None:
    def counts(*arguments: object) -> tuple[int, ...]:
        run("estimate", text, "--out", tmp_path / "x.lm", "--language", "en", *arguments)
        return NGram.open(tmp_path / "x.lm").counts

    assert counts()[0] == 11
    assert len(counts("--order", 5)) == 5
    assert counts("--min-count", 3)[0] == 3 + 2  # the, sat
    assert counts("--max-words", 4)[0] == 3 + 4
    assert counts("--prune", 0.9) == (11,)


def test_a_model_of_characters(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("estimate", text, "--out", tmp_path / "x.lm", "--units", "characters", "--order", 4, "--language", "en")
    model = NGram.open(tmp_path / "x.lm")
    assert set(model.words) == {"<unk>", "<s>", "</s>", *TEXT.lower().replace(" ", "▁"), "w"} - set(".,!“”\n2")
    capsys.readouterr()
    run("perplexity", tmp_path / "x.lm", text, "--json")  # knows that it is one of characters
    assert json.loads(capsys.readouterr().out)["words"] == len("".join(SENTENCES))


def test_a_model_for_a_recognizer(
    tiny_model: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text.write_text("Café naïve café\n")  # its alphabet has é, but no ï
    run("estimate", text, "--out", tmp_path / "x.lm", "--model", tiny_model, "--order", 2)
    assert "1 words left out: the model's alphabet cannot write them" in capsys.readouterr().err
    assert NGram.open(tmp_path / "x.lm").words[3:] == ("café",)


def test_the_language_of_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What --language says, and goes on to hold for the model; or English, where the letters are those."""

    def found(*arguments: object, lm: Path = tmp_path / "x.lm") -> tuple[int, int, str]:
        run("perplexity", lm, other, "--json", *arguments)
        printed = capsys.readouterr()
        result = json.loads(printed.out)
        return result["words"], result["unknown"], printed.err

    text, other = tmp_path / "text.txt", tmp_path / "other.txt"
    other.write_text("21 kişi\n")
    text.write_text(TURKISH)
    run("estimate", text, "--out", tmp_path / "x.lm", "--language", "tr")
    assert "yirmibir" in NGram.open(tmp_path / "x.lm").words
    assert capsys.readouterr().err.endswith("\n1 sentences left out: a number in them has no sure reading\n")
    assert found() == (2, 0, "numbers are spelled in language 'tr'; --language CODE chooses another\n")
    assert found("--language", "en") == (3, 2, "")
    run("estimate", text, "--out", tmp_path / "x.lm")
    why = "words left out: they are numbers, and in which language to spell them is not known (--language CODE)\n"
    assert capsys.readouterr().err.endswith(f"\n3 {why}")
    assert found() == (2, 1, f"1 {why}")
    estimate([["kişi", "21"]], 1).save(tmp_path / "digits.lm")
    assert found(lm=tmp_path / "digits.lm") == (2, 0, "")
    estimate([["don't", "kişi"], ["abcdefghijklm", "nopqrstuvwxyz"]], 1).save(tmp_path / "x.lm")
    assert found() == (2, 1, f"1 {why}")
    estimate([["don't", "twenty"], ["abcdefghijklm", "nopqrstuvwxyz"]], 1).save(tmp_path / "x.lm")
    assert found() == (3, 2, "numbers are spelled in language 'en'; --language CODE chooses another\n")


def test_the_model_tells_the_language_of_numbers(shipped_model: Path, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("A 21 b\n")
    for model, words in ((shipped_model, {"a", "b", "twenty", "one"}), (tiny_model, {"a", "b"})):  # the latter has é
        run("estimate", tmp_path / "x.txt", "--out", tmp_path / "x.lm", "--model", model, "--order", 1)
        assert set(NGram.open(tmp_path / "x.lm").words[3:]) == words


def test_an_arpa_file_of_characters_is_known_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.txt").write_text("a bé\nbé a\n")
    run("estimate", tmp_path / "x.txt", "--out", tmp_path / "x.arpa", "--units", "characters", "--order", 2)
    run("convert", tmp_path / "x.arpa", tmp_path / "x.lm")
    for name in ("x.arpa", "x.lm"):
        assert open_lm(tmp_path / name).info == {"units": "characters"}
        capsys.readouterr()
        run("perplexity", tmp_path / name, tmp_path / "x.txt", "--json")
        found = json.loads(capsys.readouterr().out)
        assert (found["words"], found["unknown"]) == (8, 0)
    for words in (["a", "b"], ["▁", "ab"]):  # of single letters, or of pieces
        save_lm(tmp_path / "x.arpa", estimate([words], 2))
        assert open_lm(tmp_path / "x.arpa").info == {}


def test_convert(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("estimate", text, "--out", tmp_path / "a.lm", "--language", "en")
    run("convert", tmp_path / "a.lm", tmp_path / "b.arpa.gz")
    run("convert", tmp_path / "b.arpa.gz", tmp_path / "c.lm")
    a, c = NGram.open(tmp_path / "a.lm"), NGram.open(tmp_path / "c.lm")
    assert (a.words, a.counts) == (c.words, c.counts)
    assert all((x == y).all() for x, y in zip(a.tables[:5], c.tables[:5], strict=True))
    assert "c.lm: 11 1-grams, " in capsys.readouterr().out


def test_perplexity(text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("estimate", text, "--out", tmp_path / "x.lm", "--order", 2, "--language", "en")
    model = NGram.open(tmp_path / "x.lm")
    other = tmp_path / "other.txt"
    other.write_text("The bird sat!\nA cat.\n3:15\n")
    capsys.readouterr()
    run("perplexity", tmp_path / "x.lm", other)
    printed = capsys.readouterr()
    assert printed.err == "1 sentences left out: a number in them has no sure reading\n"
    scores = [model.log_probs(sentence) for sentence in (["the", "bird", "sat"], ["a", "cat"])]
    total = sum(float(score.sum()) for score in scores)
    known = total - float(scores[0][1]) - float(scores[1][0])
    lines = [
        "5 words, 2 of them unknown (40.00%), in 2 sentences",
        f"perplexity {10 ** (-total / 7):.2f} with unknown words, {10 ** (-known / 5):.2f} without",
    ]
    assert printed.out.splitlines() == lines
    run("perplexity", tmp_path / "x.lm", other, "--json")
    result = json.loads(capsys.readouterr().out)
    assert result == {
        "perplexity": pytest.approx(10 ** (-total / 7)),
        "perplexity_known": pytest.approx(10 ** (-known / 5)),
        "words": 5,
        "unknown": 2,
        "sentences": 2,
    }


def test_perplexity_of_words_that_are_left_out_counts_them_as_unknown(
    tiny_model: Path, text: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("estimate", text, "--out", tmp_path / "x.lm")
    capsys.readouterr()
    text.write_text("The naïve cat\n")
    run("perplexity", tmp_path / "x.lm", text, "--model", tiny_model, "--json")
    assert json.loads(capsys.readouterr().out)["unknown"] == 1


def test_perplexity_of_nothing(text: Path, tmp_path: Path) -> None:
    run("estimate", text, "--out", tmp_path / "x.lm")
    text.write_text("\n...\n")
    with pytest.raises(Error, match=r"text\.txt: no sentence to score"):
        run("perplexity", tmp_path / "x.lm", text)


@pytest.mark.parametrize(
    "info",
    [{"units": "bytes"}, {"units": 3}, {"normalizer": 3}, {"normalizer": {}}, {"language": 3}, {"language": "xx"}],
)
def test_a_file_that_says_odd_things_of_itself(info: dict[str, object], text: Path, tmp_path: Path) -> None:
    estimate([["a"]], 2, info=info).save(tmp_path / "x.lm")
    with pytest.raises(Error):
        run("perplexity", tmp_path / "x.lm", text)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["estimate", "TEXT"],
        ["estimate", "--out", "x.lm"],
        *(["estimate", "TEXT", "--out", "x.lm", *odd.split()] for odd in ("--order 7", "--order 0", "--min-count 0")),
        *(["estimate", "TEXT", "--out", "x.lm", *odd.split()] for odd in ("--prune -1", "--prune x", "--max-words 0")),
        ["estimate", "TEXT", "--out", "x.lm", "--units", "bytes"],
        ["estimate", "TEXT", "--out", "x.lm", "--language", "xx"],
        ["estimate", "TEXT", "--out", "no/such/folder/x.lm"],
        *(["estimate", "TEXT", "--out", name] for name in ("TEXT", "x", "x.txt", "x.gz", "x.lm.gz")),
        ["convert", "x.lm"],
        ["convert", "x.lm", "x.txt"],
        ["perplexity", "x.lm"],
    ],
)
def test_wrong_usage(arguments: list[str], text: Path, tmp_path: Path, run_module) -> None:
    result = run_module("asr.lm", *[text if argument == "TEXT" else argument for argument in arguments], cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [text]


def test_what_is_read_is_not_replaced(text: Path, tmp_path: Path) -> None:
    mine = text.rename(tmp_path / "text.lm")
    (tmp_path / "link.arpa").symlink_to(mine)
    for name in ("text.lm", "link.arpa"):
        for line in (["estimate", mine, "--out", tmp_path / name], ["convert", mine, tmp_path / name]):
            with pytest.raises(UsageError, match=f"{name}: this file is read, too, and would be replaced"):
                run(*line)
    assert mine.read_text() == TEXT


def test_failures_are_one_line_and_leave_nothing(text: Path, tmp_path: Path, run_module) -> None:
    (tmp_path / "odd.txt").write_bytes(b"good\n\xff\n")
    (tmp_path / "odd.arpa").write_text("\\data\\\nngram 1=2\n")
    for arguments, message in (
        (["estimate", "none.txt", "--out", "x.lm"], "none.txt: no such file"),
        (["estimate", text, "odd.txt", "--out", "x.lm"], "odd.txt:2: not UTF-8"),
        (["estimate", text, "--out", "x.lm", "--min-count", "9"], "no words to estimate a model from"),
        (["convert", "odd.arpa", "x.lm"], "odd.arpa:3: the file is cut short"),
        (["perplexity", "odd.txt", text], "odd.txt: not a language model, or damaged"),
        (["estimate", text, "--out", "x.lm", "--model", "none"], "model 'none': no such file"),
    ):
        result = run_module("asr.lm", *arguments, cwd=tmp_path)
        assert result.returncode == 1
        assert result.stderr.startswith(f"error: {message}")
        assert result.stderr.count("\n") == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["odd.arpa", "odd.txt", "text.txt"]


def test_standard_input(text: Path, tmp_path: Path, run_module) -> None:
    result = run_module("asr.lm", "estimate", "-", "--out", "x.lm", "--language", "en", cwd=tmp_path, input=TEXT)
    assert result.returncode == 0
    assert NGram.open(tmp_path / "x.lm").info["words"] == 15


def test_nothing_heavy_is_imported(text: Path, tmp_path: Path) -> None:
    code = f"""
import sys
from asr import lm
lm.parser()
assert not {{"numpy", "numba", "torch"}} & set(sys.modules)
lm.main(["estimate", {str(text)!r}, "--out", {str(tmp_path / "x.lm")!r}])
lm.main(["perplexity", {str(tmp_path / "x.lm")!r}, {str(text)!r}])
assert "numba" in sys.modules and "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PROJECT, timeout=300)
