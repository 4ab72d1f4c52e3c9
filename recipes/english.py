"""english: all the free English speech at hand, for the model that ships as `en`.

About 17 hours, 16 kHz, many accents: LibriSpeech's train-clean-5 and 2.7 hours of train-clean-100 (read books), Common
Voice v1 (sentences, noisy microphones, no speaker ids), speechocean762 (prompts read by Mandarin speakers, half of them
children), AN4 (letters, numbers), LJ Speech, VCTK and CMU ARCTIC (clean read speech). Some texts are cased and
punctuated; the normaliser sees to that. Published: nothing, as this mixture is our own.

Tested on 20 speakers of LibriSpeech's dev-clean, of whom the first 10 choose; common-voice-dev and speechocean762-dev
only give figures. The speakers of Common Voice are not known, and may be in training, too: that figure flatters.

english_ids.txt.xz, beside this file, names every utterance: CORPUS/PART/ID, the id as in the public archive. Of each
corpus the copy that is there is read, or the archive downloaded (about 22 GB in all, most of it VCTK and
train-clean-100), and just these utterances are taken, so that everybody trains on the same. The list was made from
copies of parts of the corpora: of LibriSpeech's parts everything, of the others what their manifests call train or dev.
Common Voice v1 has to be fetched by hand; the recipe says where. Each corpus but LibriSpeech can be left out
(`--set without=common_voice_v1,vctk`). Noises and rooms to mix in are folders: `--set noise=FOLDER --set rooms=FOLDER`.

So much different speech takes long from scratch: it is meant to start from a model that has learnt to read one kind, as
that of `mini_librispeech` (`--set init=data/runs/mini_librispeech/model.safetensors`), or from `en`, which is how the
model that ships has come about (README).
"""

from __future__ import annotations

import lzma
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from asr.command import UsageError
from asr.corpus import CorpusError, Utterance
from recipes import (
    AGAIN,
    Recipe,
    an4,
    cmu_arctic,
    common_voice,
    librispeech,
    ljspeech,
    mini_librispeech,
    speechocean762,
    vctk,
)
from recipes.archive import ensure

LIST = Path(__file__).with_name("english_ids.txt.xz")
CMU = "CMU's BSD-like licence"
ARCTIC_SPEAKERS = ("aew", "axb", "clb", "slt")


@dataclass(frozen=True)
class Corpus:
    """A corpus besides LibriSpeech.

    Attributes:
        title: for people.
        licence: of the data.
        everything: corpora folder -> at least the listed utterances, of whatever copy is there.
        id: what an utterance is called here after the corpus's name, by {speaker} and {name}, its recording's name.
        listed: what the list calls it.
        dev: the name here of the dev part that is listed; empty where there is none.
    """

    title: str
    licence: str
    everything: Callable[[Path], list[Utterance]]
    id: str
    listed: str = "{name}"
    dev: str = ""


CORPORA = {  # the first may have to be fetched by hand: that is said before anything is downloaded
    "common_voice_v1": Corpus(
        "Common Voice v1", "CC0", common_voice.first_release, "clips/{name}", dev="common-voice-dev"
    ),
    "speechocean762": Corpus(
        "speechocean762",
        "CC BY 4.0",
        speechocean762.everything,
        "SPEAKER{speaker}/{name}",
        dev="speechocean762-dev",
    ),
    "an4": Corpus("AN4", CMU, an4.everything, "wav/an4_clstk/{speaker}/{name}"),
    "ljspeech": Corpus("LJ Speech", "public domain", ljspeech.everything, "wav/{name}"),
    "vctk": Corpus("VCTK", "ODC-By", vctk.everything, "{speaker}/{name}"),  # ODC-By before 0.92, CC BY 4.0 since
    "cmu_arctic": Corpus(
        "CMU ARCTIC",
        CMU,
        lambda corpora: cmu_arctic.everything(corpora, ARCTIC_SPEAKERS),
        "{speaker}/{name}",
        listed="{speaker}/{name}",
    ),
}


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """All training parts as "train", dev-clean as `mini_librispeech` splits it, and the other corpora's dev parts.

    Raises:
        CorpusError: a copy lacks utterances of the list, or has to be fetched by hand.
    """
    listed, others, dev_parts = listed_ids(), [], {}
    for name in _taken(options):
        found, dev = _of_corpus(name, corpora), CORPORA[name].dev
        others += _take(found, listed[f"{name}/train"], "train", corpora / name)
        if dev:
            dev_parts[dev] = _take(found, listed[f"{name}/dev"], dev, corpora / name)
    libri = {
        part: _libri_part(part, split, listed, corpora)
        for part, split in (("train-clean-5", "train"), ("train-clean-100", "train"), ("dev-clean", "dev-clean"))
    }
    return {
        "train": libri["train-clean-5"] + libri["train-clean-100"] + others,
        **mini_librispeech.choosing(libri["dev-clean"], "dev-clean"),
        **dev_parts,
    }


def about(options: Mapping[str, str]) -> dict[str, str]:
    """Description and licence of what is not left out."""
    corpora = [CORPORA[name] for name in _taken(options)]
    licences = dict.fromkeys(("CC BY 4.0", *(corpus.licence for corpus in corpora)))
    return {
        "description": f"parts of {_joined(['LibriSpeech', *(corpus.title for corpus in corpora)])}",
        "licence": _joined(list(licences)) + ", by part" * (len(licences) > 1),
    }


def _taken(options: Mapping[str, str]) -> list[str]:
    """The names of the corpora that are not left out."""
    without = set(filter(None, options["without"].split(",")))
    if unknown := without - CORPORA.keys():
        raise UsageError(f"without={','.join(sorted(unknown))}: expected some of {', '.join(CORPORA)}")
    return [name for name in CORPORA if name not in without]


def _joined(names: Sequence[str]) -> str:
    """One, two and three."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def listed_ids() -> dict[str, list[str]]:
    """Corpus and part, such as "LibriSpeech/dev-clean" -> the ids of its utterances."""
    listed = defaultdict(list)
    for line in lzma.decompress(LIST.read_bytes()).decode("ascii").splitlines():
        corpus, part, name = line.split("/", 2)
        listed[f"{corpus}/{part}"].append(name)
    return dict(listed)


def _libri_part(part: str, split: str, listed: Mapping[str, Sequence[str]], corpora: Path) -> list[Utterance]:
    folder = ensure({**mini_librispeech.ARCHIVES, **librispeech.ARCHIVES}[part], corpora)
    found = {utterance.id: utterance for utterance in mini_librispeech.read_part(folder, split)}
    return _take(found, listed[f"LibriSpeech/{part}"], split, folder)


def _of_corpus(name: str, corpora: Path) -> dict[str, Utterance]:
    """A corpus's utterances by what the list calls them, with the same ids whichever copy they are of."""
    corpus, found = CORPORA[name], {}
    for utterance in corpus.everything(corpora):
        facts = {
            "speaker": utterance.speaker,
            "name": utterance.audio.stem.removesuffix("_mic1"),  # VCTK's original recordings: the first microphone
        }
        found[corpus.listed.format(**facts)] = replace(utterance, id=f"{name}/{corpus.id.format(**facts)}")
    return found


def _take(found: Mapping[str, Utterance], names: Sequence[str], split: str, folder: Path) -> list[Utterance]:
    """The utterances of the list, sorted by id."""
    if missing := [name for name in names if name not in found]:
        raise CorpusError(
            f"{folder}: of {len(names)} utterances that {LIST.name} lists for {split}, {len(missing)} are not there:"
            f" {', '.join(missing[:5])}{', ...' * (len(missing) > 5)}. {AGAIN}"
        )
    return sorted((replace(found[name], split=split) for name in names), key=lambda utterance: utterance.id)


OPTIONS = {"without": ""}
recipe = Recipe(
    name="english",
    read=read,
    settings={
        "hidden": 256,
        "vtlp": 0.15,
        "average": 0.02,
        "time_masks": 0.25,
        "plain": 0.4,
        "lexicon": "cmudict",
        "batch_seconds": 120.0,
        "learning_rate": 1.2e-3,
        "evaluations": 16,
        "minutes": 100.0,
    },
    test="dev-clean",
    **about(OPTIONS),
    hours="17.1",
    options=OPTIONS,
    about=about,
)
