"""english: all the free English speech at hand, for the model that ships as `en`.

About 17 hours, 16 kHz, many accents: LibriSpeech's train-clean-5 and as much of train-clean-100 as is there
(read books; here 2.7 hours of the second), Common Voice v1 (sentences, noisy microphones, no speaker ids),
speechocean762 (prompts read by Mandarin speakers, half of them children), AN4 (letters, numbers), LJ Speech,
VCTK and CMU ARCTIC (clean read speech).
Tested on LibriSpeech's dev-clean, of whose 20 speakers the first 10 choose. Published: nothing, as this
mixture is our own. It has no public archive: LibriSpeech's parts lie in their own layout, each other corpus
is a folder with a manifest.jsonl that has splits, and can be left out (`--set without=an4,vctk`). Some texts are
cased and punctuated; the normaliser sees to that.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace
from pathlib import Path

import asr.corpus
from asr.command import UsageError
from asr.corpus import CorpusError, Utterance
from recipes import Recipe
from recipes.mini_librispeech import dev_splits, read_part

LIBRISPEECH = {
    "LibriSpeech/train-clean-5": "https://www.openslr.org/31/",
    "LibriSpeech/train-clean-100": "https://www.openslr.org/12/",
    "LibriSpeech/dev-clean": "https://www.openslr.org/12/",
}
WITH_MANIFEST = {
    "common_voice_v1": "https://commonvoice.mozilla.org/",
    "speechocean762": "https://www.openslr.org/101/",
    "an4": "http://www.speech.cs.cmu.edu/databases/an4/",
    "ljspeech": "https://keithito.com/LJ-Speech-Dataset/",
    "vctk": "https://datashare.ed.ac.uk/handle/10283/3443",
    "cmu_arctic": "http://www.festvox.org/cmu_arctic/",
}


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """All training parts as "train", and dev-clean as `mini_librispeech` splits it."""
    without = set(filter(None, options["without"].split(",")))
    if unknown := without - WITH_MANIFEST.keys():
        raise UsageError(f"without={','.join(sorted(unknown))}: expected some of {', '.join(WITH_MANIFEST)}")
    _check_presence(corpora, without)
    train = []
    for name in ("LibriSpeech/train-clean-5", "LibriSpeech/train-clean-100"):
        train += read_part(corpora / name, "train")
    for name in [name for name in WITH_MANIFEST if name not in without]:
        part = asr.corpus.read(corpora / name / "manifest.jsonl", split="train")
        train += [replace(utterance, id=f"{name}/{utterance.id}") for utterance in part]
    return {"train": train, **dev_splits(corpora / "LibriSpeech" / "dev-clean")}


def _check_presence(corpora: Path, without: Set[str]) -> None:
    needed = {corpora / name: home for name, home in LIBRISPEECH.items()}
    needed |= {corpora / name / "manifest.jsonl": home for name, home in WITH_MANIFEST.items() if name not in without}
    missing = [f"  {path} ({home})" for path, home in needed.items() if not path.exists()]
    if missing:
        raise CorpusError(
            f"{corpora} lacks parts of the English training data; put these there, from their homes:\n"
            + "\n".join(missing)
        )


recipe = Recipe(
    name="english",
    read=read,
    settings={
        "hidden": 320,
        "vtlp": 0.15,
        "average": 0.02,
        "time_masks": 0.5,
        "lexicon": "cmudict",
        "batch_seconds": 120.0,
        "learning_rate": 2e-3,
        "evaluations": 30,
        "minutes": 300.0,
    },
    test="dev-clean",
    licence="CC BY 4.0, CC0, public domain, ODC-By and CMU's BSD-like licence, by part",
    description="parts of LibriSpeech, Common Voice v1, speechocean762, AN4, LJ Speech, VCTK and CMU ARCTIC",
    hours="17.1",
    options={"without": ""},
)
