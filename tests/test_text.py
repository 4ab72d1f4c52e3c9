import json
import random
import re
import string
import subprocess
import sys
import unicodedata
from typing import get_args

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from num2words import num2words
from sentencepiece import SentencePieceProcessor

from asr.text import (
    BLANK_SYMBOL,
    WORD_MARK,
    Alphabet,
    Case,
    Normalizer,
    Subwords,
    TextError,
    spell_numbers,
    units_from_json,
    units_to_json,
)

unhurried = settings(deadline=None)  # a busy machine may stall one example for long

NORMALIZERS = [Normalizer(case, marks) for case in get_args(Case) for marks in ("remove", "keep")]
normalizers = st.sampled_from(NORMALIZERS)
# Characters at which rules meet: apostrophes, joiners, viramas, marks that compose, middle dots, odd cases.
TRICKY = "aAlLiIıـσΣßŉİ'’`·-.=\u00ad\u200b\u200c\u200d\u0301\u0338\u094d\u0d4d\u0345\ufe0f\u0307 \t1,&€◌՞״é"
texts = st.text() | st.text(alphabet=TRICKY)


@pytest.mark.parametrize(
    ("published", "normal"),
    [
        (" It must\tbe said:  that he\n(carried it).", "it must be said that he carried it"),
        ("THE FELONS' SIDE HAD ENTREATIES'", "the felons side had entreaties"),
        ("Don’t you’ll o'clock DON`T", "don't you'll o'clock don't"),
        ("'and this is what your son said' the angel told", "and this is what your son said the angel told"),
        ("she said ‘it's “fine”’ ''twice''", "she said it's fine twice"),
        ("God bless 'em, rock 'n' roll", "god bless em rock n roll"),
        ("forty-two—line well‐known − a–b...c,d/e_f", "forty two line well known a b c d e f"),
        ("In 1835 he paid 1,000 for 3.14 by 10:30", "in 1835 he paid 1 000 for 3 14 by 10 30"),
        ("R&D: 50% + $5, £3, 4 €, 20° @home", "r&d 50% + $5 £3 4 € 20° @home"),
        ("emoji ❤️👍🏽 *bold* <b> ~#^|= \\", "emoji bold b"),
        ("soft\u00adhyphen \ufeffmark \u202bbidi\u202c", "softhyphen mark bidi"),
        ("zero\u200bwidth nul\x00byte", "zero width nul byte"),
        ("\u200dunseen '\u200cjoiners\u200d' \u200d", "unseen joiners"),
        ("", ""),
        (" -'- ", ""),
    ],
)  # fmt: skip
def test_english(published, normal):
    assert Normalizer()(published) == normal


@pytest.mark.parametrize(
    ("published", "normal"),
    [
        ("हिन्दी में, “क्या” है।", "हिन्दी में क्या है"),  # vowel signs, viramas and nuktas are marks (M)
        ("العَرَبِيَّةُ، لُغَةٌ؟", "العَرَبِيَّةُ لُغَةٌ"),
        ("ภาษาไทยนี้", "ภาษาไทยนี้"),
        ("می\u200cخواهم\u200c.", "می\u200cخواهم"),  # ZWNJ within a word; at its end it is invisible
        ("അവന്\u200d!", "അവന്\u200d"),  # ZWJ after a virama at a word's end: another letter without it
        ("Qui és? COL·LECCIÓ · a·l l·a", "qui és col·lecció a l l a"),
        ("Ինչո՞ւ, այո՛։", "ինչու այո"),
        ("צה״ל ג׳ירפה־לבן", "צהל ג'ירפה לבן"),
        ("Чи п’ять? П'ЯТЬ; пʼять", "чи п'ять п'ять п'ять"),
        ("ΟΔΟΣ. Ὀδυσσεύς·", "οδος ὀδυσσεύς"),
        ("İSTANBUL Straße", "i̇stanbul straße"),
        ("ラーメン、二〇二四年。「はい」", "ラーメン 二〇二四年 はい"),
    ],
)
def test_scripts(published, normal):
    assert Normalizer()(published) == normal


def test_case_and_punctuation():
    text = "‘Straße’  — It’s \u00adFINE!"
    assert Normalizer("keep", "remove")(text) == "Straße It's FINE"
    assert Normalizer("upper", "remove")(text) == "STRASSE IT'S FINE"
    assert Normalizer("keep", "keep")(text) == "'Straße' — It's FINE!"
    assert Normalizer("lower", "keep")(text) == "'straße' — it's fine!"


def test_composed_and_decomposed_text_become_the_same():
    composed = "É ñ ệ 각 ཱི ë̀"
    assert Normalizer()(unicodedata.normalize("NFD", composed)) == Normalizer()(composed)


@unhurried
@given(texts, normalizers)
@example("e\u00ad\u0301", NORMALIZERS[0])  # two characters that compose once the one between them is deleted
@example("l·'l", NORMALIZERS[0])  # a mark that is at an edge once its neighbour is gone
@example("'\u200da", NORMALIZERS[0])
@example("ŉ", NORMALIZERS[3])  # its upper case begins with an apostrophe
def test_normalizing_is_idempotent_and_gives_nfc_with_single_spaces(text, normalizer):
    once = normalizer(text)
    assert normalizer(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert once == " ".join(once.split())


@pytest.mark.parametrize("normalizer", NORMALIZERS, ids=str)
def test_every_character_is_normalized_once_and_for_all(normalizer):
    random.seed(0)
    characters = [chr(code) for code in range(sys.maxunicode + 1)]
    characters = [c for c in characters if unicodedata.category(c) not in ("Cn", "Co")]  # but those without meaning
    random.shuffle(characters)
    for size, joint in (
        (3, ""),
        (1, "a"),
        (2, "'"),
    ):  # neighbours by chance, between letters, beside apostrophes
        groups = ("".join(characters[i : i + size]) for i in range(0, len(characters), size))
        once = normalizer(joint.join(groups))
        assert normalizer(once) == once


@unhurried
@given(texts)
def test_removing_punctuation_drops_no_letter_or_digit(text):
    def spoken(text):
        return [c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c)[0] in "LN"]

    text = text.translate({ord("ʼ"): "'", ord("ŉ"): "n", ord("ـ"): "", ord("ߺ"): ""})  # letters by category alone
    assert spoken(Normalizer("keep", "remove")(text)) == spoken(text)


# Variation selectors are marks by category, but only choose between glyphs.
marks = st.characters(categories=["M"]).filter(lambda c: "VARIATION SELECTOR" not in unicodedata.name(c, ""))
letters = st.characters(categories=["L", "N"], exclude_characters="ʼŉـߺ")


@unhurried
@given(st.lists(st.tuples(letters, st.text(marks, max_size=3)), min_size=1))
def test_combining_marks_of_any_script_stay_with_their_letters(syllables):
    word = "".join(letter + signs for letter, signs in syllables)
    assert Normalizer("keep", "remove")(f"“{word}”, ") == unicodedata.normalize("NFC", word)


@unhurried
@given(texts)
def test_an_apostrophe_only_ever_stands_inside_a_word(text):
    for word in Normalizer()(text).split():
        assert not word.startswith("'") and not word.endswith("'") and "''" not in word


@unhurried
@given(normalizers)
def test_settings_survive_a_model_file(normalizer):
    assert Normalizer.from_dict(json.loads(json.dumps(normalizer.to_dict()))) == normalizer


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        (
            {"case": "title", "punctuation": "keep"},
            "case is 'title', expected one of 'lower', 'upper', 'lower-turkish', 'upper-turkish', 'keep'",
        ),
        ({"case": "lower", "punctuation": ["keep"]}, "punctuation is"),
        ({"case": "lower"}, r"settings are \['case'\]"),
        ({"case": "lower", "punctuation": "keep", "digits": "spell"}, "'digits'"),
    ],
)
def test_settings_that_are_not_offered_are_refused(settings, found):
    with pytest.raises(TextError, match=found):
        Normalizer.from_dict(settings)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("no number at all", "no number at all"),
        ("The 17th July 1784, 10,000 men", "The seventeenth July seventeen eighty-four, ten thousand men"),
        ("1,054,336 men", "one million fifty-four thousand three hundred and thirty-six men"),
        ("1905 (or 1900).", "nineteen oh-five (or nineteen hundred)."),
        ("1066 1100 2024", "one thousand and sixty-six eleven hundred twenty twenty-four"),
        ("2000 2099 2100", "two thousand twenty ninety-nine two thousand one hundred"),
        ("3.14, 9.30 or 0.05.", "three point one four, nine point three zero or zero point zero five."),
        ("1st, 2nd 3RD 21st; the 1,000th", "first, second third twenty-first; the one thousandth"),
        ("42-gun, mid-1835, _7_, '95", "forty-two-gun, mid-eighteen thirty-five, _seven_, 'ninety-five"),
        ("0 men, 1845--THE END--7", "zero men, eighteen forty-five--THE END--seven"),
    ],
)  # fmt: skip
def test_numbers_are_spelled(text, spelled):
    assert spell_numbers(text) == spelled


TIED = ["2d", "R17's", "MP3", "10-15", "1714–15", "3:15", "1/2", "1.2.3", "10,00", "1,0000", "1'000"]
SIGNED = ["£5", "5 €", "$ 5", "50%", "50 %", "75°", "41′", "-5", "−5", "#1"]
ODD = ["007", "½", "10½", "x²", "Ⅷ", "①", "9" * 400, "9" * 5000]


@pytest.mark.parametrize("number", [*TIED, *SIGNED, *ODD])
def test_a_sentence_is_dropped_where_a_number_has_no_sure_reading(number):
    assert spell_numbers(f"it was {number} then") is None
    assert spell_numbers(number) is None
    assert spell_numbers(f"12 and {number}") is None


@pytest.mark.parametrize(
    ("language", "spelled"),
    [
        ("de", "achtzehnhundertfünfunddreißig und zwölf"),
        ("fr", "mille huit cent trente-cinq und douze"),
        ("fr_CH", "mille huit cents trente-cinq und douze"),
        ("pl", "tysiąc osiemset trzydzieści pięć und dwanaście"),
    ],
)
def test_other_languages_spell_whole_numbers(language, spelled):
    assert spell_numbers("1835 und 12", language) == spelled
    assert spell_numbers("3,5", language) is None
    assert spell_numbers("10.000", language) is None
    assert spell_numbers("2nd", language) is None


def test_a_number_that_breaks_num2words_drops_the_sentence():
    with pytest.raises(TypeError):  # a fault of its Amharic at five digits; mended, this test needs another one
        num2words(12345, lang="am")
    assert spell_numbers("12345", "am") is None
    assert spell_numbers("7", "am") == num2words(7, lang="am")


def test_an_unknown_language_is_an_error_and_drops_no_sentence():
    with pytest.raises(TextError, match=r"language 'xx', expected one of .*\ben\b"):
        spell_numbers("no number", "xx")


@unhurried
@given(st.integers(0, 10**15))
def test_spelled_numbers_are_those_of_num2words_and_normalize_to_letters(number):
    spelled = spell_numbers(f"{number:,}")
    assert spelled == num2words(number).replace(",", "")
    assert Normalizer()(spelled).replace(" ", "").isalpha()


@unhurried
@given(texts | st.from_regex(r"([$-]?[0-9]{1,4}([.,:/-][0-9]+)?(st|th|[a-z%])? ?)+", fullmatch=True))
def test_what_is_spelled_has_no_digit_left(text):
    spelled = spell_numbers(text)
    assert spelled is None or not any(c.isdigit() or unicodedata.category(c)[0] == "N" for c in spelled)


@unhurried
@given(st.text().filter(lambda text: not any(unicodedata.category(c)[0] == "N" for c in text)))
def test_text_without_digits_is_left_as_it_is(text):
    assert spell_numbers(text) == text


def test_an_alphabet_is_blank_then_the_characters_in_order():
    alphabet = Alphabet.from_texts(["do it", "don't"])
    assert alphabet.to_list() == ["", " ", "'", "d", "i", "n", "o", "t"]
    assert len(alphabet) == 8 and alphabet.symbols[0] == BLANK_SYMBOL
    assert alphabet.encode("it do") == [4, 7, 1, 3, 6]
    assert alphabet.decode([4, 7, 1, 3, 6]) == "it do"
    assert alphabet.decode([]) == "" and alphabet.encode("") == []


@unhurried
@given(st.lists(texts), normalizers)
def test_round_trips_in_any_script(texts, normalizer):
    normal = [normalizer(text) for text in texts]
    if not any(normal):
        with pytest.raises(TextError, match="no character but the blank"):
            Alphabet.from_texts(normal)
        return
    alphabet = Alphabet.from_texts(normal)
    for text in normal:
        ids = alphabet.encode(text)
        assert all(0 < i < len(alphabet) for i in ids)
        assert alphabet.decode(ids) == text
    assert Alphabet.from_list(json.loads(json.dumps(alphabet.to_list()))) == alphabet
    assert Alphabet.from_texts(reversed(normal)) == alphabet


def test_decomposed_text_has_the_ids_of_composed_text():
    alphabet = Alphabet.from_texts(["café"])
    assert Alphabet.from_texts([unicodedata.normalize("NFD", "café")]) == alphabet
    assert alphabet.encode("cafe\u0301") == alphabet.encode("café")


def test_unknown_characters_are_named_never_dropped():
    alphabet = Alphabet.from_texts(["abc "])
    assert alphabet.unknown("zab éz ça") == ["z", "é", "ç"]
    assert alphabet.unknown("abc") == []
    named = r"'z' \(U\+007A\), 'é' \(U\+00E9\), 'ç' \(U\+00E7\) not in the alphabet of 4 .*'zab éz ça'"
    with pytest.raises(TextError, match=named):
        alphabet.encode("zab éz ça")
    with pytest.raises(TextError, match=r"'\\u200b' \(U\+200B\).*'ab\\u200b(ab){38}…'"):
        alphabet.encode("ab\u200b" + "ab" * 1000)


@pytest.mark.parametrize("ids", [[0], [1, 0, 1], [-1], [4], [1, 99]])
def test_ids_that_are_no_character_are_refused(ids):
    wrong = [i for i in ids if i != 1]
    with pytest.raises(TextError, match=rf"ids \[{wrong[0]}\] are not characters, expected 1 to 3"):
        Alphabet(("", "a", "b", "c")).decode(iter(ids))


@pytest.mark.parametrize(
    ("symbols", "found"),
    [
        ([], r"begins with \[\], expected the blank"),
        (["a", "b"], r"begins with \['a'\]"),
        ("abc", r"begins with \['a'\]"),
        ([""], "no character but the blank"),
        (["", "a", "", "b"], "symbol '' is not one character"),
        (["", "a", "th"], "symbol 'th' is not one character"),
        (["", "a", 5], "symbol 5 is not"),
        (["", ["a"]], r"symbol \['a'\] is not"),
        (["", "\u212b"], "is not one character in Unicode NFC"),  # the Angstrom sign is Å in NFC
        (["", "b", "a", "b"], r"more than once: 'b' \(U\+0062\)"),
    ],
)
def test_symbols_that_are_no_alphabet_are_refused(symbols, found):
    with pytest.raises(TextError, match=found):
        Alphabet(symbols)


def test_an_alphabet_is_frozen_and_hashable():
    alphabet = Alphabet(["", "a", "b"])
    with pytest.raises(AttributeError):
        alphabet.symbols = ("", "c")
    assert {alphabet: 1}[Alphabet(("", "a", "b"))] == 1
    assert alphabet != Alphabet(("", "b", "a"))


@pytest.mark.parametrize("corpus", ["LibriSpeech/train-clean-5", "common_voice_v1", "ljspeech", "vctk"])
def test_english_corpora_need_letters_and_the_apostrophe_only(corpora, corpus):
    manifest = corpora / corpus / "manifest.jsonl"
    if not manifest.exists():
        pytest.skip(f"{manifest} does not exist: this copy of the corpus has no manifest")
    published = [json.loads(line)["text"] for line in manifest.read_text(encoding="utf-8").splitlines()]
    normal = list(map(Normalizer(), published))
    assert Alphabet.from_texts(normal).to_list() == [BLANK_SYMBOL, " ", "'", *string.ascii_lowercase]
    assert all(normal)


def test_importing_needs_nothing_heavy():
    heavy = {"torch", "num2words", "sentencepiece", "numpy", "jiwer"}
    loaded = f"import sys, asr.text; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True).stdout == "[]\n"


letter_sets = st.sets(st.characters(codec="ascii", categories=["L"]), min_size=1)


@given(letter_sets, letter_sets)
def test_an_extended_alphabet_keeps_its_ids(first, second):
    known, other = (Alphabet(("", *sorted(letters))) for letters in (first, second))
    extended = known.extended(other)
    assert extended.symbols[: len(known)] == known.symbols
    assert set(extended.symbols) == {"", *first, *second}


# Subwords

SENTENCES = [
    "the cat sat on the mat and the cats sat on the mats",
    "don't let the cat in said the hatter's mother",
    "she sells sea shells on the sea shore the shells she sells are sea shells i'm sure",
    "the rain in spain stays mainly in the plain",
]
# What sentencepiece keeps for itself: its sign for a space and its sign for what it does not know.
RESERVED = {WORD_MARK, "▅"}


@pytest.fixture(scope="module")
def subwords():
    return Subwords.from_texts(SENTENCES, 30)


def most_pieces(texts):
    """How many pieces a text gives at most, and at least, as the errors say."""
    with pytest.raises(TextError, match="too many") as many:
        Subwords.from_texts(texts, 100_000)
    with pytest.raises(TextError, match="too few") as few:
        Subwords.from_texts(texts, 1)
    most = re.search(r"gives (\d+) at most; set pieces to a number from \d+ to \1$", str(many.value))
    least = re.search(r"at least (\d+)", str(few.value))
    return int(most[1]), int(least[1])


@unhurried
@given(st.lists(texts, max_size=5), normalizers, st.data())
def test_subwords_round_trip_in_any_script_as_sentencepiece_has_it(texts, normalizer, data):
    normal = [normalizer(text) for text in texts]
    characters = set().union(*normal)
    assume(not characters & RESERVED)
    if not characters:
        with pytest.raises(TextError, match="no character to learn pieces from"):
            Subwords.from_texts(normal, 10)
        return
    most, least = most_pieces(normal)
    learned = Subwords.from_texts(normal, data.draw(st.integers(least, most)))
    oracle = SentencePieceProcessor(model_proto=learned.model)
    assert characters - {" "} <= set(learned.symbols) and learned.symbols[0] == BLANK_SYMBOL
    for text in normal:
        ids = learned.encode(text)
        assert learned.decode(iter(ids)) == text and learned.unknown(text) == []
        assert ids == oracle.encode(text) and 0 not in ids
    ids = data.draw(st.lists(st.integers(1, len(learned) - 1)))
    assert learned.decode(ids) == oracle.decode(ids)


def test_pieces_are_as_many_as_asked_and_learnt_alike_twice(subwords):
    assert len(subwords) == 31
    assert "▁cat" in subwords.symbols
    assert len(subwords.encode(SENTENCES[0])) < 0.6 * len(SENTENCES[0])
    again = Subwords.from_texts(reversed(SENTENCES), 30)
    assert again == subwords and again.model == subwords.model and {again: 1}[subwords] == 1


def test_too_many_and_too_few_pieces_say_how_many_are_possible():
    most, least = most_pieces(SENTENCES)
    assert least == len(set("".join(SENTENCES)))  # "▁" for the space
    for pieces in (least, most):
        assert len(Subwords.from_texts(SENTENCES, pieces)) - 1 == pieces
    with pytest.raises(TextError, match=f"{most + 1} pieces are too many"):
        Subwords.from_texts(SENTENCES, most + 1)
    with pytest.raises(TextError, match=f"{least - 1} pieces are too few"):
        Subwords.from_texts(SENTENCES, least - 1)


def test_no_text_is_too_long_to_learn_from():
    long = "ab " * 5000 + "z"  # bytes beyond what sentencepiece takes by default
    assert "z" in Subwords.from_texts(["ab ba", long], 4).symbols


def test_characters_in_no_piece_are_named(subwords):
    assert subwords.unknown("the éle on a cat▁zé") == ["é", "▁", "z"]
    with pytest.raises(TextError, match=r"'z' \(U\+007A\), 'é' \(U\+00E9\) not in the 30 pieces, in 'the zé'"):
        subwords.encode("the zé")


@pytest.mark.parametrize("ids", [[0], [-1], [31]])
def test_ids_that_are_no_piece_are_refused(subwords, ids):
    with pytest.raises(TextError, match=rf"ids \[{ids[0]}\] are not pieces, expected 1 to 30"):
        subwords.decode([1, *ids])


@pytest.mark.parametrize("units", [Subwords.from_texts(SENTENCES, 30), Alphabet.from_texts(SENTENCES)])
@pytest.mark.parametrize("text", SENTENCES)
def test_words_begin_where_a_token_opens_one(units, text):
    words = [[]]
    for i in units.encode(text):
        if units.opens_word(i):
            words.append([])
        words[-1].append(i)
    assert [units.decode(word).strip() for word in words if word] == text.split()


@unhurried
@given(st.text(st.characters(min_codepoint=0xC0, max_codepoint=0x10FFF, categories=["L"]), min_size=1, max_size=5))
def test_extended_subwords_keep_their_ids_and_write_the_new_characters(subwords, new):
    new = unicodedata.normalize("NFC", new)
    letters = Alphabet.from_texts([new, *SENTENCES])
    extended = subwords.extended(letters)
    assert extended.symbols[: len(subwords)] == subwords.symbols
    assert sorted(extended.symbols[len(subwords) :]) == sorted(set(new))
    for text in SENTENCES:
        assert extended.encode(text) == subwords.encode(text)
    text = f"the cat{new} {new[::-1]}"
    assert extended.decode(extended.encode(text)) == unicodedata.normalize("NFC", text)
    assert extended.extended(letters) == extended


@pytest.mark.parametrize("units", [Subwords.from_texts(SENTENCES, 30), Alphabet.from_texts(SENTENCES)])
def test_units_go_through_json(units):
    found = units_from_json(json.loads(json.dumps(units_to_json(units))))
    assert found == units and type(found) is type(units)
    assert found.encode(SENTENCES[0]) == units.encode(SENTENCES[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pieces": None}, "damaged"),
        ({"pieces": ["a", "b"]}, r"begin with \['a', 'b'\]"),
        ({"pieces": [""]}, r"begin with \[''\]"),
        ({"pieces": ["", "a b"]}, "'a b' is not a piece"),
        ({"pieces": ["", "a", ""]}, "'' is not a piece"),
        ({"pieces": ["", "a", 5]}, "5 is not a piece"),
        ({"pieces": ["", "a", "a"]}, "more than once: 'a'"),
        ({"sentencepiece": "ab!"}, "damaged"),
        ({"sentencepiece": None}, "damaged"),
        ({"more": 1}, "expected 'pieces' and 'sentencepiece'"),
    ],
)
def test_stored_subwords_that_are_none_are_refused(subwords, change, message):
    with pytest.raises(TextError, match=message):
        units_from_json({**subwords.to_dict(), **change})


def test_a_sentencepiece_model_that_does_not_belong_to_the_pieces_is_refused(subwords):
    other = Subwords(subwords.symbols, Subwords.from_texts(SENTENCES, 25).model)
    assert other.decode([1, 2]) == subwords.decode([1, 2])  # which needs no model
    with pytest.raises(TextError, match="other pieces than the list"):
        other.encode("the cat")
    with pytest.raises(TextError, match="model is damaged"):
        Subwords(subwords.symbols, subwords.model[:100]).encode("the cat")
