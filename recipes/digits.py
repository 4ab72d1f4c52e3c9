"""digits: six people say the ten English digits, one a recording (Free Spoken Digit Dataset).

0.4 hours, 3000 recordings, 6 speakers, 8 kHz, trimmed so closely that some last 0.14 s. CC BY-SA 4.0. Home:
https://github.com/Jakobovski/free-spoken-digit-dataset, which officially tests on takes 0-4 of each digit and
speaker (300) and trains on takes 5-49 (2700): all speakers are in both. Published: no result of the author's;
a CNN has 97% on a random split. `--set unheard=theo` asks instead how a stranger is understood: all takes of that
speaker (500) are the test, and nothing of them is in the other parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from asr.command import UsageError
from asr.corpus import Utterance
from recipes import Recipe, recordings
from recipes.archive import Archive, ensure

ARCHIVE = Archive(
    urls=("https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip",),
    folder="fsdd",
    inside="free-spoken-digit-dataset-1.0.10",
    # stated in the source-identity audit of FSDD v1.0.10 in github.com/ryan-voitiskis/lossytrace
    checksum="sha256:c680098f5d2355ba7cc4bd8b0ca9e0a24c00ebe3b4c552208889a4d28d4fbc2b",
)
WORDS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
LAST_TEST, LAST_DEV = 4, 9  # takes 0-4 are the official test; 5-9, of the official training part, choose


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """Takes 0-4 as "test", 5-9 as "dev", 10-49 as "train"; a recording is called <digit>_<speaker>_<take>."""
    splits: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for name, path in recordings(ensure(ARCHIVE, corpora), r"(\d)_([a-z]+)_(\d+)"):
        digit, speaker, take = name.groups()
        split = _split(int(take))
        splits[split].append(Utterance(path.stem, path, WORDS[int(digit)], speaker=speaker, split=split))
    return _leave_out(splits, options["unheard"]) if options["unheard"] else splits


def _split(take: int) -> str:
    if take <= LAST_TEST:
        return "test"
    return "dev" if take <= LAST_DEV else "train"


def _leave_out(splits: Mapping[str, list[Utterance]], speaker: str) -> dict[str, list[Utterance]]:
    """All takes of a speaker as the test, and the test takes of the others nowhere.

    Raises:
        UsageError: there is no such speaker.
    """
    everything = [each for part in splits.values() for each in part]
    theirs = [replace(each, split="test") for each in everything if each.speaker == speaker]
    if not theirs:
        names = sorted({str(each.speaker) for each in everything})
        raise UsageError(f"unheard={speaker}: there is no such speaker; there are {', '.join(names)}")
    others = {name: [each for each in splits[name] if each.speaker != speaker] for name in ("train", "dev")}
    return {**others, "test": theirs}


recipe = Recipe(
    name="digits",
    read=read,
    settings={
        "subsampling": 2,  # at the usual 4x, 0.14 s leave 4 frames: too few for the letters of SEVEN
        "statistics": "utterance",
        "dropout": 0.3,
        "frequency_width": 16,
        "trim": 0.5,  # one speaker's takes 5-9 are cut tighter than his others
        "speed": 0.0,
        "vtlp": 0.0,
        "low_pass": 0.0,
        "muon": False,
        "batch_seconds": 20.0,
        "epochs": 40.0,
    },
    test="test",
    licence="CC BY-SA 4.0",
    description="single English digits, six speakers",
    hours="0.4",
    options={"unheard": ""},
)
