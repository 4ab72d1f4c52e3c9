"""cmu_arctic: eighteen English voices, among them Scottish, Canadian and Indian ones, read the same sentences.

16 kHz, studio recordings of up to 1132 sentences a speaker out of old novels, an hour or less; cased and punctuated.
Home: http://festvox.org/cmu_arctic/, free for any use with its copyright notice. There are no official splits. As all
speakers read the same sentences, speakers and sentences are both kept apart, by stable hashes: 3 speakers and a fifth
of the sentences choose, 3 others and another fifth give the figure, the other 12 and the remaining sentences are
trained on, and nothing else of it is used. Published: nothing for such a split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from asr.corpus import CorpusError, Utterance
from recipes import AGAIN, Recipe, from_manifest, speaker_of, split_by, utterances
from recipes.archive import Archive, ensure

CHECKSUMS = {
    # torchaudio, src/torchaudio/datasets/cmuarctic.py, as are the addresses
    "aew": "645cb33c0f0b2ce41384fdd8d3db2c3f5fc15c1e688baeb74d2e08cab18ab406",
    "ahw": "024664adeb892809d646a3efd043625b46b5bfa3e6189b3500b2d0d59dfab06c",
    "aup": "2c55bc3050caa996758869126ad10cf42e1441212111db034b3a45189c18b6fc",
    "awb": "d74a950c9739a65f7bfc4dfa6187f2730fa03de5b8eb3f2da97a51b74df64d3c",
    "axb": "dd65c3d2907d1ee52f86e44f578319159e60f4bf722a9142be01161d84e330ff",
    "bdl": "26b91aaf48b2799b2956792b4632c2f926cd0542f402b5452d5adecb60942904",
    "clb": "3f16dc3f3b97955ea22623efb33b444341013fc660677b2e170efdcc959fa7c6",
    "eey": "8a0ee4e5acbd4b2f61a4fb947c1730ab3adcc9dc50b195981d99391d29928e8a",
    "fem": "3fcff629412b57233589cdb058f730594a62c4f3a75c20de14afe06621ef45e2",
    "gka": "dc82e7967cbd5eddbed33074b0699128dbd4482b41711916d58103707e38c67f",
    "jmk": "3a37c0e1dfc91e734fdbc88b562d9e2ebca621772402cdc693bbc9b09b211d73",
    "ksp": "8029cafce8296f9bed3022c44ef1e7953332b6bf6943c14b929f468122532717",
    "ljm": "b23993765cbf2b9e7bbc3c85b6c56eaf292ac81ee4bb887b638a24d104f921a0",
    "lnh": "4faf34d71aa7112813252fb20c5433e2fdd9a9de55a00701ffcbf05f24a5991a",
    "rms": "c6dc11235629c58441c071a7ba8a2d067903dfefbaabc4056d87da35b72ecda4",
    "rxr": "1fa4271c393e5998d200e56c102ff46fcfea169aaa2148ad9e9469616fbfdd9b",
    "slp": "54345ed55e45c23d419e9a823eef427f1cc93c83a710735ec667d068c916abf1",
    "slt": "7c173297916acf3cc7fcab2713be4c60b27312316765a90934651d367226b4ea",
}
ARCHIVES = {
    speaker: Archive(
        urls=(f"http://festvox.org/cmu_arctic/packed/cmu_us_{speaker}_arctic.tar.bz2",),
        folder=f"cmu_arctic/cmu_us_{speaker}_arctic",
        inside=f"cmu_us_{speaker}_arctic",
        checksum=f"sha256:{checksum}",
    )
    for speaker, checksum in CHECKSUMS.items()
}


def read(corpora: Path, options: Mapping[str, str]) -> dict[str, list[Utterance]]:
    """Splits that share neither speakers nor sentences."""
    everyone = everything(corpora, ARCHIVES)
    by_speaker = split_by(everyone, speaker_of, dev=0.15, test=0.15)
    by_sentence = split_by(everyone, lambda utterance: utterance.audio.stem, dev=0.2, test=0.2)
    apart = {name: set(part) for name, part in by_sentence.items()}
    return {name: [each for each in part if each in apart[name]] for name, part in by_speaker.items()}


def everything(corpora: Path, speakers: Iterable[str]) -> list[Utterance]:
    """All utterances of a copy with a manifest, or of these speakers' archives; some lack a few of their sentences."""
    if copy := from_manifest(corpora / "cmu_arctic"):
        return copy
    everyone = []
    for speaker in speakers:
        folder = ensure(ARCHIVES[speaker], corpora)
        part = utterances(folder / "wav", "all", _rows(folder / "etc" / "txt.done.data", speaker), lacks_some=True)
        everyone += [replace(utterance, id=f"{speaker}/{utterance.id}") for utterance in part]
    return everyone


def _rows(path: Path, speaker: str) -> Iterator[tuple[str, str, str]]:
    """(id, text, speaker) from lines such as `( arctic_a0001 "Author of the danger trail, Philip Steels, etc." )`."""
    for line in filter(None, path.read_text(encoding="utf-8").splitlines()):
        if not (found := re.fullmatch(r'\( *(\w+) *"(.*)" *\) *', line)):
            raise CorpusError(f'{path}: expected lines such as ( arctic_a0001 "Text." ); found {line!r:.80}. {AGAIN}')
        yield found[1], found[2], speaker


recipe = Recipe(
    name="cmu_arctic",
    read=read,
    settings={
        "dropout": 0.2,
        "average": 0.02,
        "time_masks": 0.5,
        "lexicon": "cmudict",
        "batch_seconds": 60.0,
        "learning_rate": 2e-3,
        "minutes": 60.0,
    },
    test="test",
    licence="CMU, BSD-like",
    description="18 English voices reading the same sentences (CMU ARCTIC)",
    hours="up to 18",
)
