"""Languages that espeak-ng speaks, one a script, as corpora for scripts/languages.py.

espeak-ng is a small free synthesizer (Debian and Ubuntu: `apt-get install espeak-ng`; GPL) that builds speech from
formants. Sentences are random sequences of common words (data/languages): no text of any length can be found for all
languages that everybody may use, and what the words mean together is of no matter to a recognizer that hears them.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from asr import Error
from asr.corpus import Utterance, read, write_manifest
from asr.text import Normalizer

WORDS = Path(__file__).resolve().parents[1] / "data" / "languages"
LENGTHS = (3, 8)  # words of a sentence
SPEAKERS = ("m1", "m2", "m3", "m4", "m6", "m7", "f1", "f2", "f3", "f4", "f5")  # timbres that every voice can take
SPEEDS = (130, 190)  # words a minute; espeak-ng's own is 175
PITCHES = (25, 75)  # of 99; espeak-ng's own is 50
SEED = 1
# Which of every thousand sentences a split may have: whatever its size, none of its sentences is ever in another.
THOUSAND = 1000
PLACES = {"train": range(800), "dev": range(800, 900), "test": range(900, 1000)}


def _decomposed(text: str) -> str:
    """Hangul as jamo, every mark of a letter as a character of its own."""
    return unicodedata.normalize("NFD", text)


@dataclass(frozen=True)
class Language:
    """A language and how its texts are published, which is never quite what a model writes.

    Args:
        name: with the script.
        voice: of espeak-ng.
        publish: a sentence -> as it stands in the corpus; the model's normaliser has to find the sentence in it.
        space: what stands between two words.
    """

    name: str
    voice: str
    publish: Callable[[str], str]
    space: str = " "


LANGUAGES: Mapping[str, Language] = {
    "ru": Language("Russian, Cyrillic", "ru", lambda text: f"{text.capitalize()}."),
    "ar": Language("Arabic, with vowel signs", "ar", lambda text: f"«{text}»؟"),
    "hi": Language("Hindi, Devanagari", "hi", lambda text: f"{text}।"),
    "ko": Language("Korean, Hangul syllables", "ko", lambda text: _decomposed(f"{text}.")),
    # The voice "cmn" of espeak-ng 1.51 reads pinyin as if it were English.
    "zh": Language("Mandarin, Han", "cmn-latn-pinyin", lambda text: f"{text}。", space=""),
    "tr": Language("Turkish, Latin with ı and İ", "tr", lambda text: f"{Normalizer('upper-turkish')(text)}!"),
    "vi": Language("Vietnamese, Latin with tones", "vi", lambda text: _decomposed(f"{text.capitalize()}.")),
}


@dataclass(frozen=True)
class Spoken:
    """A sentence and how it is said.

    Args:
        text: as it is spoken.
        speaker: one of `SPEAKERS`.
        speed: words a minute.
        pitch: 0 to 99.
    """

    text: str
    speaker: str
    speed: int
    pitch: int


def read_words(code: str) -> list[str]:
    """The words of a language, each once, in the order of its file."""
    return list(dict.fromkeys((WORDS / f"{code}.txt").read_text(encoding="utf-8").split()))


def draw(language: Language, words: Sequence[str], count: int) -> Iterator[Spoken]:
    """Different sentences, always the same ones."""
    random = np.random.default_rng(SEED)
    seen: set[str] = set()
    while len(seen) < count:
        length = random.integers(LENGTHS[0], LENGTHS[1] + 1)
        text = language.space.join(random.choice(words, length, replace=False))
        speaker, speed, pitch = random.choice(SPEAKERS), random.integers(*SPEEDS), random.integers(*PITCHES)
        if text not in seen:
            seen.add(text)
            yield Spoken(text, str(speaker), int(speed), int(pitch))


def find_espeak() -> str:
    """The program.

    Raises:
        Error: it is not there.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        raise Error(
            "no espeak-ng on the PATH; install it (Debian, Ubuntu: apt-get install espeak-ng; macOS: brew install "
            "espeak-ng)"
        )
    return program


def speak(espeak: str, voice: str, spoken: Spoken, path: Path) -> float:
    """Say a sentence into a FLAC file at espeak-ng's own sample rate; its seconds.

    Raises:
        Error: espeak-ng has no such voice, or has said nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        wav = Path(scratch) / "said.wav"
        manner = ["-v", f"{voice}+{spoken.speaker}", "-s", str(spoken.speed), "-p", str(spoken.pitch)]
        done = subprocess.run([espeak, *manner, "-w", wav, "--stdin"], input=spoken.text.encode(), capture_output=True)
        if done.returncode or not wav.is_file():
            said = done.stderr.decode(errors="replace").strip()
            raise Error(f"espeak-ng did not say {spoken.text!r} with the voice {voice}: {said}")
        samples, rate = soundfile.read(wav, dtype="int16")
    if not samples.any():
        raise Error(f"espeak-ng said nothing for {spoken.text!r} with the voice {voice}")
    soundfile.write(path, samples, rate)
    return len(samples) / rate


def make_corpus(espeak: str, code: str, sizes: Mapping[str, int], folder: Path) -> Path:
    """Speak all splits of a language into a folder that `asr.train` reads.

    Args:
        sizes: split -> its sentences, of which no two are the same, in one split or two.

    Returns: the manifest, which is written last: where there is one, it is left as it is.

    Raises:
        Error: the folder holds a corpus of other sizes.
    """
    manifest = folder / "manifest.jsonl"
    if manifest.is_file():
        _check_sizes(manifest, sizes)
        return manifest
    folder.mkdir(parents=True, exist_ok=True)
    language, utterances = LANGUAGES[code], []
    chosen = {place(split, number): split for split, size in sizes.items() for number in range(size)}
    for i, spoken in enumerate(draw(language, read_words(code), max(chosen) + 1)):
        if (split := chosen.get(i)) is None:
            continue
        name = f"{code}-{i:05}"
        seconds = speak(espeak, language.voice, spoken, folder / f"{name}.flac")
        text = language.publish(spoken.text)
        utterances.append(Utterance(name, folder / f"{name}.flac", text, round(seconds, 4), spoken.speaker, split))
    write_manifest(manifest, utterances)
    return manifest


def place(split: str, number: int) -> int:
    """Which of all sentences is number so-and-so of a split."""
    places = PLACES[split]
    return THOUSAND * (number // len(places)) + places[number % len(places)]


def _check_sizes(manifest: Path, sizes: Mapping[str, int]) -> None:
    found = Counter(each.split for each in read(manifest))
    if found != sizes:
        there, asked = (", ".join(f"{each[split]} {split}" for split in PLACES) for each in (found, sizes))
        raise Error(f"{manifest} has other sentences: {there} in place of {asked}; choose another folder (--out)")
