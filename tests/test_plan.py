"""What is chosen for data and time, and that it is never what the user has set."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asr.text import Alphabet
from asr.train import configure
from asr.training.config import TrainConfig
from asr.training.look import Look, Part
from asr.training.plan import LONGEST, SHIPPED, SHORTEST, Plan, make_plan

ENGLISH = Alphabet.from_texts(["abcdefghijklmnopqrstuvwxyz' "])
SIZES = {"layers": 3, "hidden": 320, "channels": 256, "units": "letters"}


def _look(hours: float, text: str = "hello there", median: float = 6.0, speed: float = 14.0) -> Look:
    part = Part(max(1, round(hours * 600)), hours * 3600, 0, 1, 0)
    return Look(part, None, {}, [], [], median, dict(Counter(text)), "", {}, 1000, 300, speed, 0, 0)


def _plan(look: Look, **given: object) -> Plan:
    return make_plan(look, given, 2, ENGLISH, SIZES)


CHOICES = {
    "init": st.sampled_from(["", "en"]),
    "minutes": st.sampled_from([0.5, 6.0, 60.0]),
    "steps": st.sampled_from([10, 5000]),
    "hidden": st.sampled_from([64, 320]),
    "layers": st.sampled_from([1, 3]),
    "batch_seconds": st.sampled_from([12.0, 90.0]),
    "learning_rate": st.just(0.01),
    "dropout": st.just(0.3),
    "average": st.just(0.0),
    "subsampling": st.just(8),
    "statistics": st.just("utterance"),
}


@given(
    st.fixed_dictionaries({}, optional=CHOICES),
    st.floats(0.001, 500),
    st.sampled_from(["hello", "привет"]),
    st.floats(0.5, 20),
    st.floats(3, 30),
)
@settings(max_examples=300, deadline=None)
def test_what_is_set_stays_and_what_is_chosen_can_be_used(
    given: dict, hours: float, text: str, median: float, speed: float
) -> None:
    plan = _plan(_look(hours, text, median, speed), **given)
    assert not plan.settings.keys() & given.keys()
    assert len(plan.reasons) == len(set(plan.reasons)) and all(": " in reason for reason in plan.reasons)
    chosen = {name: value for name, value in plan.settings.items() if name != "init"}  # whose file is not read here
    config = TrainConfig().updated(chosen).updated({**given, "init": ""})
    assert all(getattr(config, name) == value for name, value in given.items() if name != "init")
    assert 5 <= config.batch_seconds <= 120
    assert "minutes" in given or "steps" in given or SHORTEST <= config.minutes <= LONGEST
    if "init" not in given and "hidden" not in given and "layers" not in given and "subsampling" not in given:
        assert (plan.settings.get("init") == SHIPPED) is (text == "hello")


def test_english_letters_start_from_the_model_that_ships() -> None:
    assert _plan(_look(0.7)).settings["init"] == SHIPPED
    assert _plan(_look(0.7, "it's 5% more")).settings["init"] == SHIPPED  # digits and signs can be learnt anew
    assert not {"hidden", "layers", "channels"} & _plan(_look(0.7)).settings.keys()  # which are that model's


@pytest.mark.parametrize("text", ["привет", "naïve café", "สวัสดี", "नमस्ते", "안녕"])
def test_letters_that_it_does_not_write_are_learnt_from_scratch(text: str) -> None:
    plan = _plan(_look(0.7, text))
    assert "init" not in plan.settings and f"the model {SHIPPED} does not write" in plan.reasons[0]
    assert {"hidden", "layers"} <= plan.settings.keys()


def test_other_sizes_or_none_are_learnt_from_scratch() -> None:
    plan = _plan(_look(0.7), hidden=64)
    assert "init" not in plan.settings and "another hidden than you set" in plan.reasons[0]
    assert _plan(_look(0.7), hidden=320).settings["init"] == SHIPPED  # the same as the model's
    assert "init" not in _plan(_look(0.7), init="").settings
    without = make_plan(_look(0.7), {}, 2, None, {})
    assert "init" not in without.settings and "is not there" in without.reasons[0]


def test_more_data_and_time_make_larger_models_and_batches() -> None:
    def chosen(hours: float, minutes: float) -> dict[str, object]:
        return _plan(_look(hours), init="", minutes=minutes).settings

    assert chosen(0.5, 1)["hidden"] < chosen(5, 90)["hidden"] < chosen(50, 600)["hidden"]
    batches = [chosen(5, minutes)["batch_seconds"] for minutes in (2, 30, 60, 600)]
    assert batches == sorted(batches) and batches[0] < batches[-1]
    assert chosen(0.02, 60)["batch_seconds"] <= 0.02 * 3600 / 10
    assert chosen(0.5, 60)["dropout"] > TrainConfig().dropout and "dropout" not in chosen(50, 60)
    assert _plan(_look(0.1)).settings["minutes"] == SHORTEST and _plan(_look(900)).settings["minutes"] == LONGEST
    assert _plan(_look(3), init="").settings["minutes"] > _plan(_look(3)).settings["minutes"]


@pytest.mark.parametrize("length", [{"steps": 8}, {"epochs": 600.0}])
def test_who_counts_steps_or_epochs_gets_the_defaults(length: dict[str, object]) -> None:
    assert _plan(_look(1), **length).settings == {"init": SHIPPED}
    assert _plan(_look(1), init="", **length).settings == {}


def test_single_words_and_quick_speech_get_what_they_need() -> None:
    assert _plan(_look(0.4, median=0.6), init="").settings["statistics"] == "utterance"
    assert _plan(_look(0.4, speed=24), init="").settings["subsampling"] == 2
    assert not {"statistics", "subsampling"} & _plan(_look(0.4), init="").settings.keys()


def test_a_plan_is_a_configuration(shipped_model: object) -> None:
    """With the model that really ships: its sizes, the plan's schedule, the user's word before both."""
    from asr import checkpoint
    from asr.training.initial import sizes

    stored = checkpoint.load(shipped_model)
    look = replace(_look(0.7), characters=dict.fromkeys("hello world", 1))
    plan = make_plan(look, {"learning_rate": 0.02}, 2, stored.alphabet, sizes(stored))
    config = configure(plan.settings, {"learning_rate": 0.02})
    assert config.init == SHIPPED and config.learning_rate == 0.02
    assert all(getattr(config, name) == value for name, value in sizes(stored).items())
