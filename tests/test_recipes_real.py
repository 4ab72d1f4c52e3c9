"""The recipes on real corpora, as they lie beside the project."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from miniatures import Splits, counts, every_utterance_is_of_its_split, read, recordings, speakers

import recipes
from asr import Error, corpus
from recipes import Recipe, english, yesno

HERE = {"mini_librispeech": {"dev": "dev-clean"}}  # dev-clean-2 is not at hand


EXPECTED = {
    "yesno": {"train": (32 * 29, 1), "dev": (0, 0), "test": (30, 1)},
    "digits": {"train": (2400, 6), "dev": (300, 6), "test": (300, 6)},
    "an4": {"train": (844, 66), "dev": (104, 8), "test": (130, 10)},
    "mini_librispeech": {
        "train": (1519, 28),
        "dev": (649, 10),
        "dev-clean": (1313, 20),
        "dev-clean-others": (664, 10),
    },
    # of these, parts with a manifest of their own
    "ljspeech": {"train": (345, 1), "dev": (20, 1), "test": (20, 1)},
    "vctk": {"train": (490, 2), "dev": (10, 1), "test": (6, 1)},
    "cmu_arctic": {"train": (21, 2), "dev": (1, 1), "test": (6, 1)},
    "common_voice": {"train": (3700, 1), "dev": (178, 1), "test": (193, 1)},  # no speakers
    "speechocean762": {"train": (2260, 113), "dev": (120, 6), "test": (120, 6)},
    "english": {
        "train": (10_252, 233),  # 232 and those without a name
        "dev": (649, 10),
        "dev-clean": (1313, 20),
        "dev-clean-others": (664, 10),
        "common-voice-dev": (371, 1),  # without names
        "speechocean762-dev": (240, 12),
    },
}
ORIGINAL = {  # folders that keep the original layout beside a manifest
    "yesno": ["yesno"],
    "digits": ["fsdd"],
    "an4": ["an4"],
    "mini_librispeech": ["LibriSpeech/train-clean-5", "LibriSpeech/dev-clean"],
    "english": ["LibriSpeech/train-clean-100"],
}
ONE_VOICE = (  # in all parts
    *("yesno", "ljspeech"),  # there is no other
    "digits",  # officially
    "common_voice",  # speakers are not known
)
WITH_MANIFEST = {  # folder, and the hours of it that are used: all where no sentence is in two parts
    "ljspeech": ("ljspeech", 0.69),
    "vctk": ("vctk", 0.44),
    "cmu_arctic": ("cmu_arctic", 0.02),
    "common_voice": ("common_voice_v1", 4.97),
    "speechocean762": ("speechocean762", 2.88),
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What recipes derive from recordings goes away with the test."""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=EXPECTED)
def real(
    request: pytest.FixtureRequest, corpora: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Recipe, Splits]:
    """Every recipe whose corpus is at hand, and what it reads; a test that changes it takes a copy."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASR_CACHE", str(tmp_path_factory.mktemp("cache")))
        return recipes.find(request.param), read(request.param, corpora, **HERE.get(request.param, {}))


def test_the_split_that_counts_is_there(real: tuple[Recipe, Splits]) -> None:
    recipe, splits = real
    options = {**recipe.options, **HERE.get(recipe.name, {})}
    assert recipe.test_split(options) in splits.keys() - {"train", "dev"}


def test_every_split_is_whole(real: tuple[Recipe, Splits]) -> None:
    recipe, splits = real
    assert counts(splits) == EXPECTED[recipe.name]
    for part in splits.values():
        assert len({utterance.id for utterance in part}) == len(part)
        assert all(utterance.text and utterance.audio.is_file() for utterance in part)


def test_nothing_that_is_tested_on_is_trained_on(real: tuple[Recipe, Splits]) -> None:
    recipe, splits = real
    train = splits["train"]
    for part in (part for name, part in splits.items() if name != "train"):
        assert not recordings(train) & recordings(part)
        if recipe.name not in ONE_VOICE:
            assert not speakers(train) & speakers(part) - {None}


def test_official_test_parts_choose_nothing(real: tuple[Recipe, Splits]) -> None:
    _, splits = real
    if "test" in splits:
        assert not recordings(splits["dev"]) & recordings(splits["test"])
    else:  # dev-clean, of which half chooses: then the others' figure is there, too
        everyone, others = splits["dev-clean"], splits["dev-clean-others"]
        assert recordings(splits["dev"]) | recordings(others) == recordings(everyone)
        assert not speakers(splits["dev"]) & speakers(others)
        assert max(speakers(splits["dev"])) < min(speakers(others))


@pytest.mark.parametrize("real", ORIGINAL, indirect=True)
def test_the_original_layouts_say_what_the_manifests_say(real: tuple[Recipe, Splits], corpora: Path) -> None:
    # The manifests beside the corpora were made apart from our readers: text and speaker must agree.
    recipe, splits = real
    folders = ORIGINAL[recipe.name]
    stated = {u.audio.resolve(): (u.text, u.speaker) for name in folders for u in corpus.read(corpora / name)}
    found = {u.audio.resolve(): (u.text, u.speaker) for part in splits.values() for u in part}
    if recipe.name == "yesno":  # which trains on recordings composed of those of the first half
        stated = dict(sorted(stated.items())[30:])
    assert {path: found.get(path) for path in stated} == stated


@pytest.mark.parametrize("name", WITH_MANIFEST)
def test_copies_with_a_manifest_are_used_as_it_says(corpora: Path, name: str) -> None:
    splits = read(name, corpora)
    folder, hours = WITH_MANIFEST[name]
    stated = {each.id: (each.text, each.speaker, each.duration) for each in corpus.read(corpora / folder)}
    found = {each.id: (each.text, each.speaker, each.duration) for part in splits.values() for each in part}
    assert found.items() <= stated.items()
    assert sum(duration for _, _, duration in found.values()) / 3600 == pytest.approx(hours, abs=0.005)
    said = {split: {utterance.text for utterance in part} for split, part in splits.items()}
    assert not said["train"] & (said["dev"] | said["test"])
    assert every_utterance_is_of_its_split(splits)


def test_the_official_sizes_in_words(corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yesno, "COMPOSED", 1)
    words = {
        name: sum(len(utterance.text.split()) for utterance in read(name, corpora)["test"])
        for name in ("yesno", "an4", "digits")
    }
    assert words == {"yesno": 240, "an4": 773, "digits": 300}


def test_digits_splits_by_take(corpora: Path) -> None:
    takes = {
        name: {int(utterance.id.rpartition("_")[2]) for utterance in part}
        for name, part in read("digits", corpora).items()
    }
    assert takes == {"test": set(range(5)), "dev": set(range(5, 10)), "train": set(range(10, 50))}


def test_an4_dev_speakers_never_change(corpora: Path) -> None:
    # Published figures hang on them.
    dev = {"fkai", "flmm2", "fnsv", "mcen", "mcfl", "mgah", "mmal", "mmkw"}
    assert speakers(read("an4", corpora)["dev"]) == dev


def test_english_is_every_training_part(corpora: Path) -> None:
    counts: dict[str, int] = {}
    for utterance in read("english", corpora)["train"]:
        name = utterance.id.partition("/")[0] if "/" in utterance.id else "LibriSpeech"
        counts[name] = counts.get(name, 0) + 1
    assert counts == {
        "LibriSpeech": 1519 + 825,
        "common_voice_v1": 3700,
        "speechocean762": 2260,
        "an4": 948,
        "ljspeech": 385,
        "vctk": 549,
        "cmu_arctic": 66,
    }


def test_english_lists_what_the_copies_hold(corpora: Path) -> None:
    libri = [f"LibriSpeech/{part}" for part in ("train-clean-5", "train-clean-100", "dev-clean")]
    lines = [f"{part}/{each.audio.stem}" for part in libri for each in corpus.read(corpora / part)]
    for name in ("common_voice_v1", "speechocean762", "an4", "ljspeech", "vctk", "cmu_arctic"):
        for each in (each for each in corpus.read(corpora / name) if each.split in ("train", "dev")):
            speaker = f"{each.speaker}/" if name == "cmu_arctic" else ""  # who all read the same sentences
            lines.append(f"{name}/{each.split}/{speaker}{each.audio.stem}")
    assert lzma.decompress(english.LIST.read_bytes()).decode().splitlines() == sorted(lines)


def test_english_has_the_utterances_of_the_copies_in_their_order(corpora: Path) -> None:
    splits = read("english", corpora)
    for name, split in (("common_voice_v1", "common-voice-dev"), ("speechocean762", "speechocean762-dev")):
        for its, part in (("dev", splits[split]), ("train", splits["train"])):
            copy = [(f"{name}/{each.id}", each.text, each.speaker) for each in corpus.read(corpora / name, split=its)]
            assert [(each.id, each.text, each.speaker) for each in part if each.id.startswith(name)] == copy
    for name in ("an4", "ljspeech", "vctk", "cmu_arctic"):
        copy = [f"{name}/{each.id}" for each in corpus.read(corpora / name, split="train")]
        assert [each.id for each in splits["train"] if each.id.startswith(f"{name}/")] == copy


def test_english_can_do_without_some_of_its_parts(corpora: Path) -> None:
    """A copy that is damaged is left out by name."""
    splits = read("english", corpora, without="an4,common_voice_v1")
    parts = {utterance.id.partition("/")[0] for utterance in splits["train"]}
    assert {"vctk", "ljspeech"} <= parts and not {"an4", "common_voice_v1"} & parts
    assert splits.keys() == {"train", "dev", "dev-clean", "dev-clean-others", "speechocean762-dev"}
    with pytest.raises(Error, match="without=timit: expected some of common_voice_v1"):
        read("english", corpora, without="an4,timit")
