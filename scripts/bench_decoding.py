"""The benchmark of decoders, for `scripts/bench.py decoding`.

Every system gets the log-probs that a model gives on LibriSpeech's dev-clean, and the same ARPA file. Its weights are
fitted on utterances of the first ten speakers by the same search; word errors and times are of the other ten. Times are
of one thread, per 7 s of audio, decoding alone.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from asr import Error, audio, load
from asr.batching import log_probs_of
from asr.decode import BeamSettings, greedy
from asr.lm import is_arpa, open_lm
from asr.loading import beam_search
from asr.ngram import NGram
from asr.recognizer import Recognizer
from asr.score import bootstrap_interval, word_counts
from asr.text import Alphabet
from asr.tune import fewest_errors
from recipes import corpora_folder
from recipes.mini_librispeech import dev_splits
from scripts.figures import evenly

BEAMS = (10, 50, 200, 500)
NO_LM_BEAMS = (10, 50)
SIGNED = ("beta", "word_score")  # weights that may be below 0, whatever a decoder calls them
FITTED_AT = 50  # beam at which weights are fitted, once for all beams
SLOW_BEAMS = (10, 50)  # of pyctcdecode
SECONDS = 7.0  # of the utterance that times are given for
Decode = Callable[[NDArray[np.float32]], str]


@dataclass(frozen=True)
class Utterances:
    """Log-probs (T, V) of each utterance, what was said, and how long it all is in seconds."""

    log_probs: list[NDArray[np.float32]]
    references: list[str]
    seconds: float


@dataclass(frozen=True)
class Row:
    """A system's figures.

    Args:
        beam: 1 means greedy.
        wer: on the speakers that chose nothing.
        low, high: 95% interval of its WER less the WER of ours at the same beam, over utterances; None of ours, and
            where ours has no such beam.
        milliseconds: for `SECONDS` of audio.
    """

    system: str
    beam: int
    wer: float
    low: float | None
    high: float | None
    milliseconds: float


@dataclass(frozen=True)
class DecodingFigures:
    """All rows, and the weights that were fitted."""

    rows: list[Row]
    weights: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, object]:
        """What `--json` prints; ours at beam 50 first."""
        (ours,) = (row for row in self.rows if row.system == "asr" and row.beam == FITTED_AT)
        peers = [dataclasses.asdict(row) for row in self.rows]
        return {"ms_per_utterance": ours.milliseconds, "wer": ours.wer, "rows": peers, "weights": self.weights}

    def describe(self) -> str:
        """Lines for a person."""
        lines = [f"{'':22}beam     WER   less ours            ms for {SECONDS:g} s"]
        for row in self.rows:
            less = f"{'-':>18}" if row.low is None else f"{row.low:+7.2%} to {row.high:+7.2%}"
            lines.append(f"{row.system:22}{row.beam:4}  {row.wer:6.2%}   {less}  {row.milliseconds:8.2f}")
        lines += [f"{name}: {', '.join(f'{k} {v:g}' for k, v in each.items())}" for name, each in self.weights.items()]
        return "\n".join(lines)


def decoding(model: str, arpa: Path, pyctcdecode: str | None, tuned_on: int) -> DecodingFigures:
    """Measure all decoders.

    Args:
        model: whose log-probs are decoded.
        pyctcdecode: a Python that has it (it needs an old numpy); None leaves it out.
        tuned_on: utterances by which weights are fitted.
    """
    _check_peers(arpa, pyctcdecode)
    recognizer = load(model, lm="none")
    splits = dev_splits(corpora_folder() / "LibriSpeech" / "dev-clean")
    chosen = evenly(splits["dev"], tuned_on)
    fit, test = (_utterances(recognizer, part) for part in (chosen, splits["dev-clean-others"]))
    language = open_lm(arpa)
    bench = _Bench(recognizer, fit, test)
    bench.add("greedy", {}, _greedy(recognizer), (1,))
    bench.add("asr", {"alpha": 0.8, "beta": 1.5, "unknown_price": 10.0}, _ours(recognizer, language), BEAMS)
    bench.add("flashlight", {"lm_weight": 1.0, "word_score": 1.0}, _flashlight(recognizer, arpa, language), BEAMS)
    if pyctcdecode:
        with _PyCtcDecode(pyctcdecode, recognizer.alphabet, arpa, language) as peer:
            bench.add("pyctcdecode", {"alpha": 0.5, "beta": 1.0}, peer.system, SLOW_BEAMS)
    bench.add("asr without LM", {}, _ours(recognizer, None), NO_LM_BEAMS)
    bench.add("fast-ctc-decode", {}, _fast_ctc_decode(recognizer), NO_LM_BEAMS)
    return DecodingFigures(bench.rows, bench.weights)


def _check_peers(arpa: Path, pyctcdecode: str | None) -> None:
    """See, before hours of work, that the peers are there and can read the language model.

    Raises:
        asr.Error: they are not, or cannot.
    """
    for package in ("flashlight", "kenlm", "fast_ctc_decode"):
        if find_spec(package) is None:
            raise Error(f"{package} is not installed; install the peers first: pip install '.[peers]'")
    if not arpa.is_file() or not is_arpa(arpa):
        raise Error(f"{arpa}: expected an ARPA file, which all decoders read; `python -m asr.lm convert` writes one")
    if pyctcdecode and subprocess.run([pyctcdecode, "-c", "import pyctcdecode"], capture_output=True).returncode:
        raise Error(f"--pyctcdecode {pyctcdecode}: no Python that has the package pyctcdecode")


class _Bench:
    def __init__(self, recognizer: Recognizer, fit: Utterances, test: Utterances) -> None:
        self.fit, self.test = fit, test
        self.rows: list[Row] = []
        self.weights: dict[str, dict[str, float]] = {}
        self.ours: dict[int, NDArray[np.int64]] = {}

    def add(
        self,
        name: str,
        start: Mapping[str, float],
        system: Callable[[Mapping[str, float], int], Decode],
        beams: Sequence[int],
    ) -> None:
        """Fit a system's weights and measure it at each beam.

        Args:
            start, system: weights to begin with; weights and a beam -> a decoder.
        """

        def errors(weights: Mapping[str, float]) -> int:
            decode = system(weights, FITTED_AT)
            return int(_errors([decode(rows) for rows in self.fit.log_probs], self.fit.references).sum())

        steps = {key: 0.4 * value for key, value in start.items()}
        weights = fewest_errors(errors, start, steps, SIGNED) if start else {}
        if start:
            self.weights[name] = weights
        words = np.array([len(reference.split()) for reference in self.test.references])
        for beam in beams:
            decode = system(weights, beam)
            decode(self.test.log_probs[0])
            began = time.perf_counter()
            texts = [decode(rows) for rows in self.test.log_probs]
            seconds = time.perf_counter() - began
            found = _errors(texts, self.test.references)
            if name == "asr":
                self.ours[beam] = found
            compared = name != "asr" and beam in self.ours
            low, high = bootstrap_interval(found - self.ours[beam], words) if compared else (None, None)
            wer = found.sum() / words.sum()
            self.rows.append(Row(name, beam, float(wer), low, high, 1000 * seconds / self.test.seconds * SECONDS))
            print(f"{name}, beam {beam}: {wer:.2%}, {self.rows[-1].milliseconds:.2f} ms", file=sys.stderr, flush=True)


def _errors(texts: Sequence[str], references: Sequence[str]) -> NDArray[np.int64]:
    return np.array([word_counts(*pair).errors for pair in zip(references, texts, strict=True)])


def _utterances(recognizer: Recognizer, utterances: Sequence) -> Utterances:
    waveforms = [audio.load(utterance.audio) for utterance in utterances]
    log_probs = log_probs_of(recognizer, [len(waveform) for waveform in waveforms], waveforms.__getitem__)
    references = [recognizer.normalizer(utterance.text) for utterance in utterances]
    seconds = sum(map(len, waveforms)) / audio.SAMPLE_RATE
    return Utterances(log_probs, references, seconds)


def _greedy(recognizer: Recognizer) -> Callable[[Mapping[str, float], int], Decode]:
    return lambda weights, beam: lambda rows: recognizer.text(greedy(rows[None], np.array([len(rows)]))[0])


def _ours(recognizer: Recognizer, language: NGram | None) -> Callable[[Mapping[str, float], int], Decode]:
    search = beam_search(recognizer.alphabet, language, BeamSettings())

    def system(weights: Mapping[str, float], beam: int) -> Decode:
        chosen = search.with_settings(BeamSettings(**weights, beam_size=beam))
        return lambda rows: recognizer.text(chosen.search_all([rows])[0][0])

    return system


def _words(language: NGram, alphabet: Alphabet) -> list[str]:
    """What all decoders may find: the language model's words that the model can write."""
    return [word for word in language.words if language.known(word) and not alphabet.unknown(word)]


def _flashlight(recognizer: Recognizer, arpa: Path, language: NGram) -> Callable[[Mapping[str, float], int], Decode]:
    """flashlight-text's decoder with a lexicon, set up as torchaudio does (torchaudio.models.decoder)."""
    from flashlight.lib.text import decoder
    from flashlight.lib.text.dictionary import Dictionary

    alphabet, words = recognizer.alphabet, _words(language, recognizer.alphabet)
    dictionary = Dictionary([*words, "<unk>"])
    lm = decoder.KenLM(str(arpa), dictionary)
    space = alphabet.encode(" ")[0]
    trie = decoder.Trie(len(alphabet), space)
    start = lm.start(False)
    for word in words:
        number = dictionary.get_index(word)
        trie.insert([*alphabet.encode(word), space], number, lm.score(start, number)[1])
    trie.smear(decoder.SmearingMode.MAX)

    def system(weights: Mapping[str, float], beam: int) -> Decode:
        options = decoder.LexiconDecoderOptions(
            beam_size=beam,
            beam_size_token=len(alphabet),
            beam_threshold=50,
            lm_weight=weights["lm_weight"],
            word_score=weights["word_score"],
            unk_score=-np.inf,
            sil_score=0,
            log_add=False,
            criterion_type=decoder.CriterionType.CTC,
        )
        search = decoder.LexiconDecoder(options, trie, lm, space, 0, dictionary.get_index("<unk>"), [], False)

        def decode(rows: NDArray[np.float32]) -> str:
            best = search.decode(rows.ctypes.data, *rows.shape)[0]
            return " ".join(dictionary.get_entry(word) for word in best.words if word >= 0)

        return decode

    return system


def _fast_ctc_decode(recognizer: Recognizer) -> Callable[[Mapping[str, float], int], Decode]:
    from fast_ctc_decode import beam_search as fast_beam_search

    symbols = ["", *recognizer.alphabet.symbols[1:]]

    def system(_: Mapping[str, float], beam: int) -> Decode:
        def decode(rows: NDArray[np.float32]) -> str:
            text, _ = fast_beam_search(
                np.exp(rows), symbols, beam_size=beam, beam_cut_threshold=float(np.exp(BeamSettings().floor))
            )
            return " ".join(text.split())

        return decode

    return system


class _PyCtcDecode:
    """pyctcdecode in a Python of its own, which gets an utterance and gives its text, line by line."""

    def __init__(self, python: str, alphabet: Alphabet, arpa: Path, language: NGram) -> None:
        self.folder = tempfile.TemporaryDirectory()
        (Path(self.folder.name) / "words.txt").write_text("\n".join(_words(language, alphabet)), encoding="utf-8")
        program = Path(__file__).with_name("pyctcdecode_peer.py")
        line = [
            python,
            str(program),
            str(arpa),
            str(Path(self.folder.name) / "words.txt"),
            json.dumps(alphabet.symbols),
        ]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> _PyCtcDecode:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.folder.cleanup()

    def system(self, weights: Mapping[str, float], beam: int) -> Decode:
        """A decoder; what it takes to hand over an utterance is below a tenth of a millisecond."""

        def decode(rows: NDArray[np.float32]) -> str:
            request = {**weights, "beam_width": beam, "frames": len(rows)}
            self.process.stdin.write(json.dumps(request).encode() + b"\n" + rows.tobytes())
            self.process.stdin.flush()
            return json.loads(self.process.stdout.readline())

        return decode
