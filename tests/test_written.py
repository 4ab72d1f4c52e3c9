"""Written forms: what is said alike becomes alike."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.text import Normalizer
from asr.written import ABBREVIATIONS, english


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("Mr. Brown paid 21 dollars,", "mister brown paid twenty one dollars"),
        ("Dr Smith, Jr., and Mrs. Smith", "doctor smith junior and missus smith"),
        ("In 1835; 10,000 men (the 2nd army).", "in eighteen thirty five ten thousand men the second army"),
        ("3.14", "three point one four"),
        ("105 of 1,012 and 3", "one hundred five of one thousand twelve and three"),
        ("a hundred and five, two hundred and some", "a hundred five two hundred and some"),
        ("-5", "five"),
        ("50% of AT&T, etc.", "fifty percent of at and t et cetera"),
        ("£5 and 007", "£5 and 007"),  # nothing is guessed
        ("10-15 at 3:15", "ten fifteen at three fifteen"),
        ("No. 1 in the col.", "no one in the col"),  # words as well
        ("", ""),
    ],
)
def test_what_is_written_becomes_what_is_said(written: str, said: str) -> None:
    assert english(written, Normalizer()) == said
    assert english(said, Normalizer()) == said


def test_the_models_normaliser_comes_last() -> None:
    assert english("one hundred and five", Normalizer(case="upper")) == "ONE HUNDRED FIVE"
    assert english("mr. O’Neil's 2 dogs", Normalizer(case="upper")) == "MISTER O'NEIL'S TWO DOGS"


@pytest.mark.parametrize("text", ["Don't stop — it's “fine”.", "naïve co-operation, ’tis", "日本語 text"])
def test_other_text_is_normalised_alone(text: str) -> None:
    assert english(text, Normalizer()) == Normalizer()(text)


@settings(deadline=None)
@given(st.text(st.sampled_from("019 ,.-:%&£mrstd'"), max_size=12))
def test_a_second_time_changes_nothing(text: str) -> None:
    """A transcript that went through the model's normaliser before is read as the published text is."""
    once = english(text, Normalizer())
    assert english(once, Normalizer()) == once


def test_no_reading_is_abbreviated_again() -> None:
    for said in ABBREVIATIONS.values():
        assert english(said, Normalizer()) == said
