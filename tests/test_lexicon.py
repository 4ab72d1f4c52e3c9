"""Words that are found by their phones: lexicons, pronunciations in language models, and the search among phones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import asr
from asr import Error, checkpoint, lm
from asr.align import group_words
from asr.corpus import Utterance
from asr.decode import BeamSettings
from asr.features import FeatureConfig
from asr.fitting import fit
from asr.kneser_ney import estimate
from asr.lexicon import Lexicon, Pronunciations
from asr.loading import phone_search, word_search
from asr.model import AcousticModel, ModelConfig
from asr.ngram import LanguageModelError, NGram
from asr.recognizer import Recognizer
from asr.text import Alphabet, Normalizer
from asr.vocabulary import VocabularyError

WAYS = {
    "the": [("DH", "AH"), ("DH", "IY")],
    "cat": [("K", "AE", "T")],
    "sat": [("S", "AE", "T")],
    "at": [("AE", "T")],
    "mat": [("M", "AE", "T")],
    "key": [("K", "IY")],
}
SENTENCES = ["the cat sat", "the cat sat at the mat", "a mat", "the key", "the cat"]
PHONES = ("", "AE", "AH", "DH", "IY", "K", "M", "S", "T")


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon.of(WAYS)


@pytest.fixture(scope="module")
def model(lexicon: Lexicon) -> NGram:
    """A language model of words with their pronunciations: that of "a" is guessed, "ox" has none."""
    return estimate([sentence.split() for sentence in (*SENTENCES, "the ox")], 2).said_by(lexicon)


# Lexicons


@given(st.dictionaries(st.text("abcü'", min_size=1), st.lists(st.lists(st.sampled_from(PHONES[1:]), min_size=1))))
def test_a_packed_lexicon_is_the_same(words: dict[str, list[list[str]]]) -> None:
    ways = {word: [tuple(way) for way in each] for word, each in words.items() if each}
    assert Lexicon(Lexicon.of(ways).packed).words == {word: tuple(each) for word, each in ways.items()}


def test_what_stands_for_silence_and_noise_is_no_word(tmp_path: Path) -> None:
    (tmp_path / "lexicon.txt").write_text("<SIL> SIL\n!SIL SIL\n<UNK> SPN\n[noise] NSN\nhello HH AH0 L OW1\n")
    assert Lexicon.read(str(tmp_path / "lexicon.txt"), Normalizer()).words == {"hello": (("HH", "AH", "L", "OW"),)}


def test_a_damaged_lexicon_is_an_error(lexicon: Lexicon) -> None:
    with pytest.raises(Error, match="lexicon of the model is damaged"):
        Lexicon(lexicon.packed[:-9]).phones("cat")


@pytest.mark.parametrize(
    ("word", "ways"),
    [
        ("the", (("DH", "AH"), ("DH", "IY"))),
        ("catmat", (("K", "AE", "T", "M", "AE", "T"),)),
        ("cat's", ()),  # no word of the lexicon has such a letter
        ("", ()),
    ],
)
def test_unknown_words_are_said_as_known_ones_are(
    lexicon: Lexicon, word: str, ways: tuple[tuple[str, ...], ...]
) -> None:
    assert lexicon.pronunciations(word) == ways


# In files


def test_a_language_model_keeps_its_pronunciations(model: NGram, tmp_path: Path) -> None:
    model.save(tmp_path / "a.lm")
    kept, said = NGram.open(tmp_path / "a.lm").pronunciations, model.pronunciations
    assert kept.phones == said.phones == PHONES[1:]
    for name in ("ids", "lengths", "counts"):
        assert np.array_equal(getattr(kept, name), getattr(said, name))
    counts = dict(zip(model.words, said.counts.tolist(), strict=True))
    ways = {word: len(ways) for word, ways in WAYS.items()}
    assert counts == {"<unk>": 0, "<s>": 0, "</s>": 0, "ox": 0, "a": 1, **ways}
    dataclasses.replace(model, pronunciations=None).save(tmp_path / "b.lm")
    assert NGram.open(tmp_path / "b.lm").pronunciations is None


@pytest.mark.parametrize("change", ["ids", "lengths", "counts", "phones", "none"])
def test_pronunciations_that_do_not_fit_are_damage(model: NGram, tmp_path: Path, change: str) -> None:
    said = model.pronunciations
    if change == "phones":
        wrong = dataclasses.replace(said, phones=said.phones[:-1])
    elif change == "none":
        wrong = dataclasses.replace(said, lengths=np.append(said.lengths[:-1] * 0, said.lengths.sum() - 0).astype("u1"))
    else:
        wrong = dataclasses.replace(said, **{change: getattr(said, change)[:-1]})
    dataclasses.replace(model, pronunciations=wrong).save(tmp_path / "a.lm")
    with pytest.raises(LanguageModelError, match="pronunciations are not those of its words"):
        NGram.open(tmp_path / "a.lm")


@pytest.fixture(scope="module")
def hears_phones(lexicon: Lexicon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file with random weights that tells phones, too."""
    alphabet = Alphabet.from_texts(["thecasmky "])
    config = ModelConfig(len(alphabet), channels=16, layers=2, hidden=16, phones=len(PHONES), phone_layer=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = {name: weight * 2 for name, weight in AcousticModel(config).state_dict().items()}
    path = tmp_path_factory.mktemp("models") / "phones.safetensors"
    stored = checkpoint.Checkpoint(config, FeatureConfig(), alphabet, Normalizer(), weights, {}, PHONES, lexicon)
    checkpoint.save(path, stored, half=True)
    return path


def test_a_model_file_keeps_phones_and_lexicon(hears_phones: Path, lexicon: Lexicon, tmp_path: Path) -> None:
    stored = checkpoint.load(hears_phones)
    assert stored.phones == PHONES and stored.lexicon.words == lexicon.words
    assert "phones.output.weight" in stored.weights and stored.weights["phones.output.weight"].dtype == torch.float16
    checkpoint.save(tmp_path / "fewer.safetensors", dataclasses.replace(stored, phones=PHONES[:-1]))
    with pytest.raises(checkpoint.CheckpointError, match="8 phones for 9 outputs"):
        checkpoint.load(tmp_path / "fewer.safetensors")


# Search


def spoken(*words: str, unsure: float = 0.0) -> np.ndarray:
    """(T, P) log-probs of these words' phones, each in two frames; by an `unsure` share anything."""
    frames = [phone for word in words for phone in WAYS[word][0] for _ in range(2)]
    probs = np.full((len(frames), len(PHONES)), 1e-4 + unsure)
    probs[np.arange(len(frames)), [PHONES.index(phone) for phone in frames]] = 1.0
    return np.log(probs / probs.sum(1, keepdims=True)).astype(np.float32)


def words_of(search: asr.decode.BeamSearch, log_probs: np.ndarray) -> list[str]:
    """Names of the words of the best hypothesis, whose phones are checked to be theirs."""
    ((best,),) = search.search_all([log_probs])
    starts = (0, *best.word_ends)
    for word, start, end in zip(best.words, starts, best.word_ends, strict=False):
        assert tuple(PHONES[i] for i in best.ids[start:end]) in WAYS[search.names[word]]
    assert starts[-1] == len(best.ids) == len(best.frames)
    return [search.names[word] for word in best.words]


def test_words_are_found_by_their_phones(model: NGram, lexicon: Lexicon) -> None:
    search = phone_search(PHONES, lexicon, model, BeamSettings())
    assert words_of(search, spoken("the", "cat", "sat", "at", "the", "mat")) == [
        "the",
        "cat",
        "sat",
        "at",
        "the",
        "mat",
    ]
    assert words_of(search, spoken("the", "key", unsure=0.2)) == ["the", "key"]


def test_hot_words_are_found_that_the_language_model_does_not_have(lexicon: Lexicon) -> None:
    small = estimate([["the", "cat"]] * 3, 2).said_by(lexicon)
    said = spoken("the", "key", unsure=0.01)
    assert "key" not in words_of(phone_search(PHONES, lexicon, small, BeamSettings()), said)
    for hot in ({"key": 8.0}, {"the key": 8.0}, {"cat": 3.0, "the key": 8.0}):
        assert words_of(phone_search(PHONES, lexicon, small, BeamSettings(), hot), said) == ["the", "key"]
    with pytest.raises(VocabularyError, match=r"hot word 'zebra': the model's lexicon does not say how it sounds"):
        phone_search(PHONES, lexicon, small, BeamSettings(), {"zebra": 8.0})


def test_a_search_among_phones_has_their_priors(hears_phones: Path, model: NGram) -> None:
    """Those of the tokens come first in the file. Here the model nearly always says S."""
    priors = np.log([0.9 if phone == "S" else 0.0125 for phone in PHONES])
    kept = checkpoint.load(hears_phones)
    stored = dataclasses.replace(kept, log_priors=(*np.linspace(-9, -1, len(kept.alphabet)), *priors))
    said = spoken("cat")
    said[:2, PHONES.index("S")], said[:2, PHONES.index("K")] = np.log(0.9), np.log(0.09)
    found = [words_of(word_search(stored, model, BeamSettings(prior=weight)), said) for weight in (0.0, 1.0)]
    assert found == [["sat"], ["cat"]]


def test_a_language_model_in_other_phones_is_an_error(model: NGram, lexicon: Lexicon) -> None:
    with pytest.raises(VocabularyError, match="other phones than the model tells"):
        phone_search(("", "a", "b"), lexicon, model, BeamSettings())
    only = Pronunciations.of(model.words, Lexicon.of({"key": [("K", "IY")]}))
    search = phone_search(PHONES, None, dataclasses.replace(model, pronunciations=only), BeamSettings())
    assert words_of(search, spoken("key")) == ["key"]


# Recognizers


@pytest.fixture(scope="module")
def with_lm(hears_phones: Path, model: NGram) -> Recognizer:
    path = hears_phones.with_name("words.lm")
    model.save(path)
    return asr.load(str(hears_phones), lm=str(path))


def test_log_probs_of_phones_stand_behind_those_of_letters(
    hears_phones: Path, with_lm: Recognizer, recordings: list[Path]
) -> None:
    waveforms = [asr.audio.load(path) for path in recordings]
    wide, frames = with_lm.log_probs(waveforms)
    letters, same_frames = asr.load(str(hears_phones), lm="none").log_probs(waveforms)
    assert np.array_equal(frames, same_frames) and wide.shape[2] == letters.shape[2] + len(PHONES)
    assert np.array_equal(with_lm.of_tokens(wide), letters)
    np.testing.assert_allclose(np.exp(with_lm.searched(wide)).sum(2), 1, rtol=1e-5)
    for i, waveform in enumerate(waveforms):  # padding changes nothing
        alone, _ = with_lm.log_probs([waveform])
        np.testing.assert_allclose(alone[0], wide[i, : frames[i]], atol=1e-4)


def test_words_have_the_times_of_their_phones(with_lm: Recognizer, recordings: list[Path]) -> None:
    assert with_lm.by_phones
    transcripts = with_lm.transcribe_many([asr.audio.load(path) for path in recordings])
    assert any(len(transcript.text.split()) > 2 for transcript in transcripts)
    for transcript, path in zip(transcripts, recordings, strict=True):
        found = [word for segment in transcript.segments for word in segment.words]
        assert " ".join(word.text for word in found) == transcript.text == with_lm.transcribe(path).text
        assert {word.text for word in found} <= {"a", *WAYS}
        times = [time for word in found for time in (word.start, word.end)]
        assert times == sorted(times) and (not times or times[-1] <= transcript.duration)
        assert all(0 <= word.confidence <= 1 for word in found)


def test_alternatives_are_words_too(with_lm: Recognizer, recordings: list[Path]) -> None:
    (segment, *_) = with_lm.transcribe(recordings[0], n_best=4).segments
    texts = [alternative.text for alternative in segment.alternatives]
    assert len(set(texts)) == len(texts) > 1 and texts[0] == segment.text
    assert all(set(text.split()) <= {"a", *WAYS} for text in texts)


def test_silence_says_nothing_by_phones_either(with_lm: Recognizer) -> None:
    assert with_lm.transcribe(np.zeros(50 * 16_000, np.float32)).text == ""
    assert with_lm.long_log_probs([np.zeros(16_000, np.float32)]).argmax(1).max() == 0


def test_silence_holds_the_blanks_alone(shipped_model: Path) -> None:
    """Of a model that tells more phones than tokens."""
    recognizer = asr.load(str(shipped_model))
    rows = recognizer.long_log_probs([np.zeros(16_000, np.float32)])
    assert recognizer.by_phones and rows.shape[1] > 2 * len(recognizer.alphabet)
    for part in (recognizer.of_tokens(rows), recognizer.searched(rows)):
        assert (part[:, 0] == 0).all() and part[:, 1:].max() < -100


def test_other_searches_are_among_letters(hears_phones: Path, model: NGram, tmp_path: Path) -> None:
    plain = dataclasses.replace(model, pronunciations=None)
    plain.save(tmp_path / "plain.lm")
    for choices in ({"lm": "none"}, {"beam_size": 1}, {"lm": str(tmp_path / "plain.lm")}, {"hot_words": ["mat"]}):
        found = asr.load(str(hears_phones), **choices)
        assert not found.by_phones
        if found.search:
            ((best,),) = found.decode([np.log(np.full((5, len(found.alphabet)), 0.1, np.float32))])
            assert found.group_words(best) == group_words(found.alphabet, best.ids)


# Commands


def test_language_models_of_a_model_get_its_pronunciations(
    hears_phones: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "text.txt").write_text("\n".join(SENTENCES * 3))
    line = ["estimate", str(tmp_path / "text.txt"), "--model", str(hears_phones), "--out"]
    lm.main([*line, str(tmp_path / "text.lm")])
    assert "1 words are not in the lexicon" in (said := capsys.readouterr().err) and "such as a, taken for A" in said
    said = NGram.open(tmp_path / "text.lm").pronunciations
    assert said.counts.sum() == sum(map(len, WAYS.values())) + 1
    lm.main([*line, str(tmp_path / "text.arpa")])  # has no place for them
    assert "phones" not in capsys.readouterr().err
    (tmp_path / "other.txt").write_text("masky te ha\n")
    lm.main(["estimate", str(tmp_path / "other.txt"), *line[2:], str(tmp_path / "other.lm")])
    assert "by their letters" in capsys.readouterr().err
    assert not asr.load(str(hears_phones), lm=str(tmp_path / "other.lm")).by_phones


def test_a_search_among_phones_is_tuned(
    hears_phones: Path, model: NGram, recordings: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the real code, but few steps of it; pronunciations stay in the file."""
    monkeypatch.setattr("asr.tune.BEAMS", (2, 4))
    monkeypatch.setattr("asr.tune.ROUNDS", 1)
    narrow = dataclasses.replace(model, info={"search": dataclasses.asdict(BeamSettings(beam_size=4))})
    narrow.save(tmp_path / "words.lm")
    utterances = [Utterance(path.stem, path, "the cat sat " * 10) for path in recordings]
    recognizer = asr.load(str(hears_phones), lm=str(tmp_path / "words.lm"))
    fit(recognizer, hears_phones, str(tmp_path / "words.lm"), utterances, tunes=True, calibrates=False)
    tuned = NGram.open(tmp_path / "words.lm")
    assert tuned.info["search"]["beam_size"] == 4 and tuned.pronunciations.phones == PHONES[1:]
    assert asr.load(str(hears_phones), lm=str(tmp_path / "words.lm")).by_phones
