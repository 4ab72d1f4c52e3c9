"""What suits the data and the time: a model to start from, sizes and schedule, wherever the user has not chosen.

The rules are rough, and come from what was measured on two cores (docs/LOG.md).
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from asr.text import Units
from asr.training.config import TrainConfig
from asr.training.look import Look

SHIPPED = "en"  # the model to start from
COUNTED = ("steps", "epochs")  # settings that say how long to train: who counts them wants to know what they train
NOTHING = "none"  # of --init: from scratch

MINUTES_AN_HOUR = {True: 10, False: 20}  # of training for an hour of audio; True: starting from a model
SHORTEST, LONGEST = 10, 480  # minutes
SPEED = 100.0  # hours of audio that a core trains on in an hour (3x256; 127 on a quiet Zen 4 core)
SMALL_IS = 4.0  # times faster is a 2x128 model
LITTLE_HEARD = 10.0  # hours, repeats counted: a 3x256 model gets to letters after some 10 hours heard
MUCH_DATA = 10.0  # hours
MUCH_HEARD = 300.0  # hours: what the larger model needs to show its worth
STEPS = 3_000  # below so many, steps count more than the audio in each
BATCH = (40.0, 120.0)  # seconds
BATCHES_AN_EPOCH = 10
MANY_PASSES = 40.0  # over the data, from where on models overfit
SINGLE_WORDS = 1.5  # s: over so short an utterance a mel band's mean is the vowel
TURKISH_SHARE = 0.01  # of ı and İ among the characters: they are 5% in Turkish, 4% in Azerbaijani
FAST = 20.0  # characters a second: more, and the usual 25 output frames a second are too few


def usual_case(texts: Iterable[str]) -> str:
    """The setting `case` that suits texts as published: that of Turkish where its letters ı and İ are common."""
    counts = Counter(unicodedata.normalize("NFC", "".join(texts)))
    return "lower-turkish" if counts["ı"] + counts["İ"] > TURKISH_SHARE * counts.total() else TrainConfig.case


@dataclass
class Plan:
    """Settings, each with its reason.

    Attributes:
        settings: for `asr.train.configure`; none of those that the user gives.
        reasons: lines for a person.
    """

    settings: dict[str, object] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)

    def choose(self, given: Mapping[str, object], why: str, **settings: object) -> None:
        """Add settings that the user has not given, and the reason if there are any."""
        new = {name: value for name, value in settings.items() if name not in given}
        if new:
            self.settings |= new
            listed = ", ".join(
                f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in new.items()
            )
            self.reasons.append(f"{listed}: {why}")


def make_plan(
    look: Look, given: Mapping[str, object], workers: int, known: Units | None, sizes: Mapping[str, object]
) -> Plan:
    """Choose what is not given.

    Args:
        look: at the data.
        given: settings that the user has chosen; "init" is a name, a path, or empty or "none" for no model.
        workers: that share the work.
        known: tokens of the model that ships; None where it is missing.
        sizes: the settings that give a model its sizes (`asr.training.initial.sizes`).
    """
    plan = Plan()
    if "init" not in given:
        _choose_start(plan, look, given, known, sizes)
    if any(given.get(name) for name in COUNTED):
        plan.reasons.append("all else as set or by default: who sets steps or epochs wants to know what is trained")
        return plan
    tuned = bool(plan.settings.get("init", given.get("init", "")))
    heard = _choose_minutes(plan, look, given, tuned) / 60 * SPEED * workers
    if not tuned:
        heard *= _choose_sizes(plan, look, given, heard)
    _choose_schedule(plan, look, given, heard, tuned)
    return plan


def _choose_start(
    plan: Plan, look: Look, given: Mapping[str, object], known: Units | None, sizes: Mapping[str, object]
) -> None:
    """Start from the model that ships if it writes all letters of the texts and has the sizes that are asked for."""
    if known is None:
        plan.reasons.append(f"from scratch: the model {SHIPPED} is not there")
        return
    foreign = unknown_letters(look.characters, known)
    other = [name for name, value in sizes.items() if given.get(name, value) != value]
    if foreign:
        shown = " ".join(foreign[:10]) + (" ..." if len(foreign) > 10 else "")
        plan.reasons.append(f"from scratch: the model {SHIPPED} does not write {shown}")
    elif other:
        plan.reasons.append(f"from scratch: the model {SHIPPED} has another {' and '.join(other)} than you set")
    else:
        plan.choose(
            given, "it writes all letters of the texts, and has heard much speech (--init none: do not)", init=SHIPPED
        )


def unknown_letters(characters: Iterable[str], known: Units) -> list[str]:
    """The letters and combining marks of an alphabet that a model cannot write; digits and signs can be learnt anew."""
    return [each for each in characters if unicodedata.category(each)[0] in "LM" and known.unknown(each)]


def _choose_minutes(plan: Plan, look: Look, given: Mapping[str, object], tuned: bool) -> float:
    """How long to train."""
    if given.get("minutes"):
        return float(given["minutes"])
    minutes = float(min(LONGEST, max(SHORTEST, round(MINUTES_AN_HOUR[tuned] * look.hours))))
    rule = f"about {MINUTES_AN_HOUR[tuned]} an hour of audio, at least {SHORTEST} and at most {LONGEST}"
    plan.choose(given, f"{rule} (--minutes: as long as you like)", minutes=minutes)
    return minutes


def _choose_sizes(plan: Plan, look: Look, given: Mapping[str, object], heard: float) -> float:
    """Sizes of a model from scratch; how much faster it is than the usual one.

    Args:
        heard: hours of audio that the usual model would hear in the time.
    """
    faster = 1.0
    if heard < LITTLE_HEARD:
        why = f"a small model: in the time, the usual 3x256 would hear but {heard:.1f} hours of audio, repeats counted"
        plan.choose(given, why, layers=2, hidden=128, channels=128)
        faster = SMALL_IS
    elif heard >= MUCH_HEARD and look.hours >= MUCH_DATA:
        plan.choose(given, f"a larger model: {look.hours:.0f} hours of data, and time for them", layers=3, hidden=320)
    else:
        plan.choose(given, f"the usual size for {_hours(look.hours)} of audio", layers=3, hidden=256)
    if look.median_seconds < SINGLE_WORDS:
        plan.choose(given, "single words: a mel band's mean over so short a time is the vowel", statistics="utterance")
    if look.characters_per_second > FAST:
        why = f"{look.characters_per_second:.0f} characters a second would not fit into 25 output frames"
        plan.choose(given, why, subsampling=2)
    return faster


def _choose_schedule(plan: Plan, look: Look, given: Mapping[str, object], heard: float, tuned: bool) -> None:
    least, most = BATCH
    seconds = min(most, max(least, heard * 3600 / STEPS))
    seconds = max(5.0, min(seconds, look.train.seconds / BATCHES_AN_EPOCH))
    plan.choose(
        given, "audio in a step: the more steps a short time allows, the better", batch_seconds=float(round(seconds))
    )
    passes = heard / max(look.hours, 1e-3)
    if tuned:
        plan.choose(given, "gentler than from scratch, so as not to forget", learning_rate=1e-3)
    if passes >= MANY_PASSES:
        why = f"about {passes:.0f} passes over the data: against learning it by heart"
        plan.choose(given, why, dropout=0.2, time_masks=0.5)
    plan.choose(given, "the kept model is an average over the last 2% of the steps", average=0.02)


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"
