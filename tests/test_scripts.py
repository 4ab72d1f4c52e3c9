"""Scripts of the world: what is one text to its readers is one text here, and what differs stays different."""

from __future__ import annotations

import json
import sys
import unicodedata
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from asr import checkpoint
from asr.command import UsageError
from asr.pictures import sign
from asr.text import Alphabet, Case, Normalizer
from asr.training.config import TrainConfig
from asr.training.plan import usual_case
from asr.written import turkish

TURKISH = Normalizer("lower-turkish")
NORMALIZERS = [Normalizer(case) for case in get_args(Case)]
# Letters and marks of scripts whose marks compose, reorder or must not be taken for punctuation.
LETTERS = "абйёابتةأـकखनड़़ािी्ंँ가각한각漢字aeoẹọṣİıIiשלם"
MARKS = "\u0301\u0300\u0302\u0323\u0307\u0308\u064e\u064f\u0651\u093c\u094d\u05b8\u05c1\u200c\u200d "
words = st.text(LETTERS + MARKS, max_size=12)


@settings(deadline=None)
@given(words | st.text(), st.sampled_from(NORMALIZERS), st.sampled_from(["NFC", "NFD"]))
def test_how_a_text_is_encoded_makes_no_difference(text: str, normalizer: Normalizer, form: str) -> None:
    """Conjoining jamo, nuktas, harakat in any order, dots that are characters of their own."""
    assert normalizer(unicodedata.normalize(form, text)) == normalizer(text)


@settings(deadline=None)
@given(st.lists(words, min_size=1), st.sampled_from(["NFC", "NFD"]))
def test_an_alphabet_knows_its_texts_in_either_encoding(texts: list[str], form: str) -> None:
    normal = [text for text in map(Normalizer(), texts) if text]
    if normal:
        alphabet = Alphabet.from_list(json.loads(json.dumps(Alphabet.from_texts(normal).to_list())))
        for text in normal:
            assert alphabet.decode(alphabet.encode(unicodedata.normalize(form, text))) == text


@pytest.mark.parametrize(
    ("published", "normal"),
    [
        ("«Ещё раз», — сказал ОН.", "ещё раз сказал он"),
        ("Ёжик и й", "ёжик и й"),  # ё and й as a letter and a mark
        ("مـــرحـبـا بِالْعَالَمِ!", "مرحبا بِالْعَالَمِ"),  # tatweel draws a word out; vowel signs are heard
        ("أَنَّ، هٰذَا؛ كَمْ؟ ١٢٪", "أَنَّ هٰذَا كَمْ ١٢"),
        ("کتاب\u200cها و می\u200cروم، نامه\u200cای", "کتاب\u200cها و می\u200cروم نامه\u200cای"),  # Persian
        ("שָׁלוֹם, עוֹלָם", "שָׁלוֹם עוֹלָם"),
        ("संस्कृत, हिन्दी। ज़रूर॥", "संस्कृत हिन्दी ज़रूर"),
        ("क्\u200dष क्\u200cष", "क्\u200dष क्\u200cष"),  # a half form, and a virama that shows: they are spelled so
        ("안녕하세요, 세계! ㅋㅋ", "안녕하세요 세계 ㅋㅋ"),
        ("한글", "한글"),  # conjoining jamo are a syllable
        ("你好，世界。「我們」《書》、ＡＢＣ！", "你好 世界 我們 書 ａｂｃ"),
        ("𠮷野家", "𠮷野家"),  # beyond 16 bits
        ("Ọjọ́ dára, ẹ̀ṣẹ̀!", "ọjọ́ dára ẹ̀ṣẹ̀"),  # Yoruba: a dot composes, the tone above it does not
        ("Tiếng Việt, TIẾNG VIỆT", "tiếng việt tiếng việt"),
        ("ພາສາລາວ ភាសាខ្មែរ༌བོད་ཡིག", "ພາສາລາວ ភាសាខ្មែរ བོད ཡིག"),
        ("ትግርኛ፣ አማርኛ።", "ትግርኛ አማርኛ"),
    ],
)
def test_letters_and_marks_stay_and_punctuation_goes(published: str, normal: str) -> None:
    assert Normalizer()(published) == unicodedata.normalize("NFC", normal)


def test_hangul_is_written_as_syllables() -> None:
    assert Alphabet.from_texts([Normalizer()(unicodedata.normalize("NFD", "한국 사람"))]).symbols == tuple(
        ["", " ", *sorted("한국사람")]
    )


def test_a_composed_letter_that_unicode_has_taken_apart_is_two_characters() -> None:
    """Devanagari's nukta letters are excluded from composition: U+0958 is ka and a nukta in every normal form."""
    assert Alphabet.from_texts(["\u0958"]).symbols == ("", "\u0915", "\u093c")


def test_marks_are_drawn_on_something() -> None:
    assert [sign(symbol) for symbol in ("\u064e", "\u093e", "क", " ")] == ["◌\u064e", "◌\u093e", "क", "␣"]


@pytest.mark.parametrize(
    ("published", "lower"),
    [
        # https://www.unicode.org/Public/UNIDATA/SpecialCasing.txt, the entries for tr and az
        ("\u0130", "\u0069"),
        ("I\u0307", "\u0069"),
        ("I", "\u0131"),
        ("i", "i"),
        ("ISPARTA, Iğdır, İSTANBUL'da, İzmir", "ısparta ığdır istanbul'da izmir"),
        ("DİYARBAKIR ŞIRNAK", "diyarbakır şırnak"),
        ("Bakı, İsmayıllı, QIRMIZI", "bakı ismayıllı qırmızı"),  # Azerbaijani
        ("Îman ÂLEM", "îman âlem"),
    ],
)
def test_turkish_lower_case(published: str, lower: str) -> None:
    assert TURKISH(published) == lower


def test_turkish_letters_are_pairs() -> None:
    """All 29, and the circumflexes of loanwords; by the rules of other languages two of them are not."""
    small, large = "abcçdefgğhıijklmnoöprsştuüvyzâîû", "ABCÇDEFGĞHIİJKLMNOÖPRSŞTUÜVYZÂÎÛ"
    assert TURKISH(large) == small and Normalizer("upper-turkish")(small) == large
    assert len(Normalizer("lower")(large)) == len(small) + 1  # an i with a second dot
    assert Normalizer("upper")("ıi") == "II"


@settings(deadline=None)
@given(st.text(st.characters(exclude_characters="iIıİ\u0307"), max_size=20))
def test_turkish_case_differs_from_others_in_the_i_alone(text: str) -> None:
    for case in ("lower", "upper"):
        plain = Normalizer(case)(text)
        if not set(unicodedata.normalize("NFD", text.lower() + text.upper())) & set("iIı\u0307"):
            assert Normalizer(f"{case}-turkish")(text) == plain


@pytest.mark.parametrize(
    ("texts", "case"),
    [
        (["Kapıyı açtı, ışığı yaktı.", "Bu ev kimin?"], "lower-turkish"),
        (["İKİ KİŞİ GELDİ", "KAPI"], "lower-turkish"),
        (["I\u0307ki kis\u0327i I\u0307zmir'den geldi, I\u0307stanbul'a gitti."], "lower-turkish"),
        (["Qapını açdı."], "lower-turkish"),
        (
            ["I have been to İstanbul, and I liked it there.", *["I saw other places, too, which are less far."] * 3],
            "lower",
        ),
        (["Ich bin da", "Íslensk orð", "Îles françaises", "В лесу"], "lower"),
        ([], "lower"),
    ],
)
def test_turkish_is_known_by_its_letters(texts: list[str], case: str) -> None:
    assert usual_case(texts) == case


def test_a_case_that_there_is_not_is_refused() -> None:
    with pytest.raises(UsageError, match="case is 'title'; expected one of lower, upper, lower-turkish"):
        TrainConfig(case="title")


@settings(deadline=None)
@given(st.text() | words, st.sampled_from(["remove", "keep"]))
def test_texts_of_a_turkish_recognizer_and_what_was_published_become_alike(text: str, punctuation: str) -> None:
    normalizer = Normalizer("lower", punctuation)
    assert turkish(text, normalizer) == turkish(Normalizer("lower-turkish", punctuation)(text), normalizer)
    assert turkish("ISPARTA", normalizer) == "ısparta"


@pytest.mark.skipif(sys.platform == "win32", reason="workers meet through gloo, which needs Unix here")
@pytest.mark.parametrize(("given", "case"), [([], "lower-turkish"), (["case=keep"], "keep")])
def test_turkish_capitals_are_learnt_as_turkish_letters(
    given: list[str], case: str, tmp_path: Path, run_module, monkeypatch
) -> None:
    """By the real command, from capitals to a model that keeps the rule."""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    for i in range(10):
        soundfile.write(tmp_path / f"u{i}.wav", random.normal(0, 0.1, 32_000), 16_000)
        (tmp_path / f"u{i}.txt").write_text("IRGAT, İZ! DAĞI AÇ."[: 19 - i], encoding="utf-8")
    out = tmp_path / "model"
    tiny = ["layers=1", "hidden=8", "channels=8", "steps=1", "workers=1"]
    options = [part for pair in tiny + given for part in ("--set", pair)]
    done = run_module("asr.train", tmp_path, "--out", out, "--lm", "none", *options)
    assert done.returncode == 0, done.stderr
    stored = checkpoint.load(out / "model.safetensors")
    assert stored.normalizer == Normalizer(case)
    assert ("case=lower-turkish: the texts have ı and İ" in done.stderr) == (not given)
    assert set(stored.alphabet.symbols[1:]) == set(Normalizer(case)("IRGAT, İZ! DAĞI AÇ."))
