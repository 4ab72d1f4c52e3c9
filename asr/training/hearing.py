"""What training hears of an utterance in an epoch.

It is trimmed, at another speed, in a room, beside noise, coded; or noise alone is heard. That is drawn from the seed,
the epoch and the utterance, so that it is the same in every run and for any number of workers.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from asr.training.augment import MP3_BIT_RATES, code_mp3, limit_band, perturb_speed, seed_for, trim_ends
from asr.training.job import Job
from asr.training.noise import add_noise, repeated, reverberate
from asr.training.prepare import Example, samples_needed


class Hearing:
    """The training data of a job as one of the workers hears it."""

    def __init__(self, job: Job) -> None:
        self.config, self.model, self.features = job.config, job.model, job.features
        self.audio = job.cache.reader()
        self.sounds = {setting: sounds.reader() for setting, sounds in job.sounds.items()}

    def example(self, example: Example, epoch: int) -> Example:
        """An utterance as this epoch takes it: itself, or nothing said, where noise alone is heard."""
        draw = seed_for("wordless", self.config.seed, epoch, example.number)
        if self.config.wordless and np.random.default_rng(draw).random() < self.config.wordless:
            return dataclasses.replace(example, ids=(), phones=())
        return example

    def samples(self, example: Example, epoch: int, plain: bool = False) -> NDArray[np.float32]:
        """(S,) samples of an utterance, as `example` gave it, as this epoch hears them; `plain`: at its own speed."""
        config, sounds = self.config, self.sounds
        least = max(samples_needed(ids, self.model, self.features) for ids in (example.ids, example.phones))
        draw = (config.seed, epoch, example.number)
        samples = trim_ends(self.audio[example.number], config.trim, least, seed_for("trim", *draw))
        samples = perturb_speed(samples, 0.0 if plain else config.speed, least, seed_for("speed", *draw))
        generator = np.random.default_rng(seed_for("sounds", *draw))
        if not example.ids:
            return repeated(sounds["noise"].draw(generator), len(samples), generator)
        if "rooms" in sounds and generator.random() < config.room_share:
            samples = reverberate(samples, sounds["rooms"].draw(generator))
        if "noise" in sounds and generator.random() < config.noise_share:
            decibels = generator.uniform(config.snr_low, config.snr_high)
            samples = add_noise(samples, sounds["noise"].draw(generator), decibels, generator)
        if np.random.default_rng(seed_for("low pass", *draw)).random() < config.low_pass:
            samples = limit_band(samples, seed_for("band", *draw))
        generator = np.random.default_rng(seed_for("mp3", *draw))
        if generator.random() < config.mp3:
            samples = code_mp3(samples, generator.choice(MP3_BIT_RATES))
        return samples
