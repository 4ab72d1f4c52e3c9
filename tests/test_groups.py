"""Groups of utterances: each is scored as a corpus of its own."""

from __future__ import annotations

import pytest

from asr.groups import GroupError, by_duration, by_field, by_rate, score_groups, table
from asr.score import score


def test_durations_fall_into_bins() -> None:
    labels = by_duration([0.0, 1.99, 2.0, 4.9, 5, 10, 15, 20, 3600, None])
    assert labels == [
        *["under 2 s"] * 2,
        *["2 to 5 s"] * 2,
        "5 to 10 s",
        "10 to 15 s",
        "15 to 20 s",
        *["20 s or more"] * 2,
        "unknown",
    ]


def test_speaking_rates_fall_into_bins_and_stand_in_their_order() -> None:
    words, seconds = [0, 2, 3, 4, 5, 7, 9, 3, 3], [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, None, 0.0]
    labels = by_rate(words, seconds)
    assert labels == [
        *["under 1.5 words/s"] * 2,
        "1.5 to 2 words/s",
        "2 to 2.5 words/s",
        "2.5 to 3 words/s",
        *["3.5 words/s or more"] * 2,
        *["unknown"] * 2,
    ]
    found = score_groups(labels[::-1], ["a"] * 9, ["a"] * 9, [None] * 9)
    assert list(found) == list(dict.fromkeys(labels))


def test_a_field_may_be_absent_here_but_not_everywhere() -> None:
    fields = [{"accent": "welsh"}, {}, {"age": "31"}]
    assert by_field("accent", fields) == ["welsh", "unknown", "unknown"]
    with pytest.raises(GroupError, match=r"'colour' to group by; fields found: accent, age, and duration"):
        by_field("colour", fields)
    with pytest.raises(GroupError, match="fields found: none"):
        by_field("colour", [{}])


def test_each_group_is_a_corpus_of_its_own() -> None:
    references, hypotheses = ["a b", "c", "d e f", "g"], ["a", "c", "x e y", "g"]
    found = score_groups(["s", "t", "s", "t"], references, hypotheses, [None, "x", None, "y"])
    assert found == {
        "s": score(["a b", "d e f"], ["a", "x e y"], [None, None]),
        "t": score(["c", "g"], ["c", "g"], ["x", "y"]),
    }


@pytest.mark.parametrize(
    ("labels", "order"),
    [
        (["unknown", "b", "a"], ["a", "b", "unknown"]),
        (["10", "9", "x"], ["9", "10", "x"]),
        (["20 s or more", "unknown", "10 to 15 s", "under 2 s"], None),
    ],
)
def test_groups_come_in_order(labels: list[str], order: list[str] | None) -> None:
    order = order or ["under 2 s", "10 to 15 s", "20 s or more", "unknown"]
    texts = ["a"] * len(labels)
    assert list(score_groups(labels, texts, texts, [None] * len(labels))) == order


def test_a_table_for_people() -> None:
    scores = score_groups(["anna", "ben"], ["a b", "c d e f"], ["a", "c d e f"], [None, None])
    assert table("speaker", scores) == (
        "speaker     WER  95% interval over utterances  words  utterances\n"
        "anna     50.00%                             -      2           1\n"
        "ben       0.00%               0.00% to 52.71%      4           1"
    )


def test_labels_do_not_steer_the_terminal() -> None:
    scores = score_groups(["\x1b[31mred\n"], ["a b"], ["a"], [None])
    assert table("room", scores).splitlines()[1].startswith("\\x1b[31mred\\n  50.00%")


@pytest.mark.parametrize(("few", "expected"), [(20, "speakers"), (19, "utterances")])
def test_all_groups_of_a_field_have_intervals_of_one_kind(few: int, expected: str) -> None:
    speakers = [*(f"s{i % 30}" for i in range(60)), *(f"t{i % few}" for i in range(60))]
    labels, hypotheses = ["loud"] * 60 + ["quiet"] * 60, ["a b", "a", "x y"] * 40
    found = score_groups(labels, ["a b"] * 120, hypotheses, speakers)
    assert [each.interval for each in found.values()] == [expected] * 2
    assert f"95% interval over {expected}  words" in table("room", found)
