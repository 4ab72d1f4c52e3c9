"""librispeech: a thousand hours of read books, the corpus that English recognizers are compared on.

16 kHz FLAC, upper case, no punctuation. Hours and speakers (Panayotov et al. 2015), bytes of the archives:

    train-clean-100  100.6  251   6,387,309,499      dev-clean   5.4  40  337,926,286
    train-clean-360  363.6  921  23,049,477,885      dev-other   5.3  33  314,305,928
    train-other-500  496.7 1166  30,593,501,606      test-clean  5.4  40  346,663,984
                                                     test-other  5.1  33  328,757,843

Home: https://www.openslr.org/12/, CC BY 4.0. All splits are official, and no speaker is in two of them. Trained on
train-clean-100, or with `--set train=460h` on both clean parts, with `--set train=960h` on all three. dev-clean
chooses; dev-other, test-other and test-clean only give figures. Published for 100 hours, test-clean / test-other:
ESPnet's E-Branchformer by greedy CTC 9.6 / 23.1% WER; for 960 hours: deepspeech.pytorch's 5x800 BiGRU, greedy, 11.55 /
31.81%.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from asr.command import UsageError
from asr.corpus import Utterance
from recipes import Recipe
from recipes.archive import ensure
from recipes.mini_librispeech import CHECKSUMS, archives, read_part

ARCHIVES = archives(
    {
        # torchaudio, src/torchaudio/datasets/librispeech.py; TensorFlow Datasets, which also states the sizes above
        "12/train-clean-100": "sha256:d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
        "12/train-clean-360": "sha256:146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
        "12/train-other-500": "sha256:ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
        "12/dev-clean": CHECKSUMS["12/dev-clean"],
        "12/dev-other": "sha256:12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
        "12/test-clean": "sha256:39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
        "12/test-other": "sha256:d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
    }
)
TRAIN = {
    "100h": ("train-clean-100",),
    "460h": ("train-clean-100", "train-clean-360"),
    "960h": ("train-clean-100", "train-clean-360", "train-other-500"),
}


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """The official parts; dev-clean is called "dev"."""
    if options["train"] not in TRAIN:
        raise UsageError(f"train={options['train']}: expected {', '.join(TRAIN)}")
    splits: dict[str, list[Utterance]] = {"train": []}
    for part in TRAIN[options["train"]]:
        splits["train"] += read_part(ensure(ARCHIVES[part], corpora), "train")
    for split, part in {
        "dev": "dev-clean",
        **{name: name for name in ("dev-other", "test-other", "test-clean")},
    }.items():
        splits[split] = read_part(ensure(ARCHIVES[part], corpora), split)
    return splits


recipe = Recipe(
    name="librispeech",
    read=read,
    settings={
        "hidden": 512,
        "average": 0.02,
        "time_masks": 0.5,
        "vtlp": 0.15,
        "lexicon": "cmudict",
        "batch_seconds": 240.0,
        "learning_rate": 2e-3,
        "evaluations": 30,
        "minutes": 1200.0,  # about 20 epochs of 100 hours on two cores; 960h is for GPUs
    },
    test="test-clean",
    licence="CC BY 4.0",
    description="read books",
    hours="100, 460 or 960",
    options={"train": "100h"},
)
