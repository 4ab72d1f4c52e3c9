"""The ways in which scripts/robustness.py lets an utterance be heard; its docstring says what they are."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import soundfile
import soxr
from scipy import signal

from asr import Error, audio
from asr.audio import SAMPLE_RATE, Samples
from asr.corpus import Utterance, stable_fraction
from asr.training.augment import code_mp3
from asr.training.noise import add_noise, listed, reverberate

DECIBELS = (20.0, 10.0, 5.0)
REVERBERATION = (0.3, 0.6, 1.0, 2.0, 3.0)  # s of T60: where one group of rooms ends and the next begins
FIT = (-5.0, -25.0)  # dB of the decay that T60 is read from
STRAIGHT = 0.9  # r^2 of a decay that has a reverberation time
NARROW_RATE = 8_000  # Hz
TELEPHONE_BAND = (300, 3400)  # Hz
MP3_BIT_RATE = 24  # kbit/s


@dataclass(frozen=True)
class Condition:
    """A way to hear an utterance.

    Args:
        name: for the table.
        hear: (samples,) and a generator for what is drawn -> (samples,).
    """

    name: str
    hear: Callable[[Samples, np.random.Generator], Samples]

    def of(self, utterance: Utterance) -> Samples:
        """The utterance as it is heard: always the same.

        Raises:
            asr.audio.AudioError: it cannot be read.
        """
        samples = audio.load(utterance.audio, utterance.offset, utterance.duration)
        return self.hear(samples, np.random.default_rng(int(stable_fraction(utterance.id) * 2**53)))


@dataclass(frozen=True)
class Room:
    """An impulse response and its reverberation time in seconds, None where it has none."""

    name: str
    response: Samples
    t60: float | None


def held_out(setting: str, folder: Path) -> list[Utterance]:
    """The recordings of a folder that its manifest marks as `test`, and no others.

    Args:
        setting: "noise" or "rooms".

    Raises:
        Error: no manifest, or it marks none.
    """
    manifest = folder / "manifest.jsonl"
    if not manifest.is_file():
        raise Error(f"{manifest}: no such file; expected a manifest that says which recordings are for tests")
    found = list(listed(setting, manifest))
    chosen = [recording for recording in found if recording.split == "test"]
    if not chosen:
        splits = ", ".join(sorted({str(recording.split) for recording in found})) or "none"
        raise Error(
            f"{manifest}: expected {setting} with the split 'test', on which no model was trained; found {len(found)} "
            f"recordings of the splits {splits}"
        )
    return chosen


def sounds(recordings: Sequence[Utterance]) -> list[Samples]:
    """The (samples,) of each recording."""
    return [audio.load(recording.audio, recording.offset, recording.duration) for recording in recordings]


def room(recording: Utterance) -> Room:
    """The room of an impulse response."""
    (response,) = sounds([recording])
    return Room(recording.audio.name, response, reverberation_time(response))


def reverberation_time(response: Samples) -> float | None:
    """T60 in seconds of a (samples,) impulse response, as scripts/robustness.py describes it; None: it is unknown."""
    left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    level = 10 * np.log10(left[left > 0] / left[0])
    part = np.flatnonzero((level <= FIT[0]) & (level >= FIT[1]))
    if len(part) < 2:
        return None
    if np.corrcoef(part, level[part])[0, 1] ** 2 < STRAIGHT:
        return None
    decay = np.polyfit(part / SAMPLE_RATE, level[part], 1)[0]  # dB a second
    return float(-60 / decay)


def grouped(rooms: Sequence[Room]) -> dict[str, list[Room]]:
    """The rooms by reverberation time, groups without a room left out."""
    ends = [0.0, *REVERBERATION, np.inf]
    groups = {
        _group(low, high): [room for room in rooms if room.t60 is not None and low <= room.t60 < high]
        for low, high in pairwise(ends)
    }
    groups["room, T60 unknown"] = [room for room in rooms if room.t60 is None]
    return {name: members for name, members in groups.items() if members}


def _group(low: float, high: float) -> str:
    if np.isinf(high):
        return f"room, T60 {low:g} s or more"
    return f"room, T60 {low:g} to {high:g} s" if low else f"room, T60 under {high:g} s"


def conditions(noises: Sequence[Samples], rooms: Sequence[Room]) -> list[Condition]:
    """All of them; the first is the utterance as it is."""
    return [
        Condition("clean", lambda samples, _: samples),
        *(Condition(f"noise, {decibels:g} dB", in_noise(noises, decibels)) for decibels in DECIBELS),
        *(
            Condition(f"{name} ({len(members)} response{'s' * (len(members) > 1)})", in_rooms(members))
            for name, members in grouped(rooms).items()
        ),
        Condition(f"{NARROW_RATE // 1000} kHz", lambda samples, _: narrow(samples)),
        Condition("telephone", lambda samples, _: telephone(samples)),
        Condition(f"mp3, {MP3_BIT_RATE} kbit/s", lambda samples, _: code_mp3(samples, MP3_BIT_RATE)),
    ]


def in_noise(noises: Sequence[Samples], decibels: float) -> Callable[[Samples, np.random.Generator], Samples]:
    """Hears with any of the noises, from anywhere in it."""

    def hear(samples: Samples, generator: np.random.Generator) -> Samples:
        return add_noise(samples, noises[generator.integers(len(noises))], decibels, generator)

    return hear


def in_rooms(rooms: Sequence[Room]) -> Callable[[Samples, np.random.Generator], Samples]:
    """Hears in any of the rooms."""
    return lambda samples, generator: reverberate(samples, rooms[generator.integers(len(rooms))].response)


def narrow(samples: Samples) -> Samples:
    """At 8 kHz, and back."""
    return soxr.resample(_at_8_khz(samples), NARROW_RATE, SAMPLE_RATE, quality="HQ")


def telephone(samples: Samples) -> Samples:
    """Through a telephone line: its band (a Butterworth filter of order 8), 8 kHz, mu-law."""
    band = signal.butter(4, TELEPHONE_BAND, "bandpass", fs=NARROW_RATE, output="sos")
    line = signal.sosfilt(band, _at_8_khz(samples))
    coded = io.BytesIO()
    soundfile.write(coded, line, NARROW_RATE, format="WAV", subtype="ULAW")
    return audio.load(coded.getvalue())


def _at_8_khz(samples: Samples) -> Samples:
    return soxr.resample(samples, SAMPLE_RATE, NARROW_RATE, quality="HQ")
