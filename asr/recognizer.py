"""Recognizer: a model and a decoder that turn audio into a Transcript."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from asr import BATCH_SECONDS, Error, audio, checkpoint, decode
from asr.align import group_words, words
from asr.batching import length_batches, pad
from asr.confidence import Calibration
from asr.decode import BeamSearch
from asr.features import LogMel
from asr.lexicon import Lexicon
from asr.long import Cutter, Utterance, Window, windows
from asr.model import AcousticModel
from asr.text import Normalizer, Units
from asr.transcript import Alternative, Segment, Transcript, Word

SEGMENT_PAUSE = 0.6  # s without a word that ends a segment
Key = TypeVar("Key")
SPARE = 4  # hypotheses that are looked at for an alternative: several may be the same text
NEVER = -1e3  # log-prob of what is not heard in silence


class Recognizer:
    """Everything between samples and text, for one model. Inference runs in fp32.

    Several threads may use one recognizer at a time.

    Args:
        model, features: the acoustic model, in evaluation mode, and the features that it reads.
        alphabet: its tokens, letters or subwords.
        normalizer: what its training texts went through; a reference must go through it before it is compared.
        info: where the model came from, see `asr.checkpoint.Checkpoint`.
        search: beam search over its log-probs, of tokens or of phones; None decodes greedily.
        calibration: of its words' confidences, for this way to decode; None: they are a hint.
        threads: batches that are recognized side by side.
        batch_seconds: padded audio of a batch.
        phones, lexicon: what the model tells beside its tokens, see `asr.checkpoint.Checkpoint`.
        log_priors: of its tokens, then of its phones, as there.
    """

    def __init__(
        self,
        model: AcousticModel,
        features: LogMel,
        alphabet: Units,
        normalizer: Normalizer,
        info: Mapping[str, object],
        search: BeamSearch | None = None,
        calibration: Calibration | None = None,
        threads: int = 1,
        batch_seconds: float = BATCH_SECONDS,
        phones: tuple[str, ...] = (),
        lexicon: Lexicon | None = None,
        log_priors: Sequence[float] = (),
    ) -> None:
        self.model = model
        self.features = features
        self.alphabet = alphabet
        self.normalizer = normalizer
        self.info = info
        self.search = search
        self.calibration = calibration
        self.threads = threads
        self._pools: dict[int, ThreadPoolExecutor] = {}  # by process: threads are lost when one forks
        self.batch_seconds = batch_seconds
        self.phones = phones
        self.lexicon = lexicon
        self.log_priors = log_priors

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_pools": {}}  # threads can be neither copied nor pickled

    @classmethod
    def from_checkpoint(
        cls,
        stored: checkpoint.Checkpoint,
        search: BeamSearch | None = None,
        calibration: Calibration | None = None,
    ) -> Recognizer:
        """The recognizer of a model file that has been read."""
        model, features = stored.acoustic_model(), LogMel(stored.features)
        return cls(
            model,
            features,
            stored.alphabet,
            stored.normalizer,
            stored.info,
            search,
            calibration,
            phones=stored.phones,
            lexicon=stored.lexicon,
            log_priors=stored.log_priors,
        )

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return self.model.output.weight.device

    @property
    def step(self) -> int:
        """Samples from one output frame to the next."""
        return self.features.config.hop_length * self.model.config.subsampling

    @property
    def frame_seconds(self) -> float:
        """Seconds from one output frame to the next."""
        return self.step / audio.SAMPLE_RATE

    @property
    def between_words(self) -> str:
        """What stands between two words: a space, or nothing where every token is a word."""
        return " " if any(self.alphabet.opens_word(i) for i in range(1, len(self.alphabet))) else ""

    def split_words(self, text: str) -> list[str]:
        """A normalised text cut as what is recognized: to words or, where nothing is between them, to characters."""
        return text.split() if self.between_words else list("".join(text.split()))

    @property
    def by_phones(self) -> bool:
        """Whether it finds words by their phones, not their letters."""
        return self.search is not None and bool(self.search.names)

    def transcribe(
        self, source: audio.Source | NDArray[np.float32], channel: int | None = None, n_best: int = 1
    ) -> Transcript:
        """Transcribe one recording of any length.

        Args:
            source: a file's path, its bytes, an open binary file, or (samples,) float32 mono at 16 kHz.
            channel: one of the channels of a file, from 1; None: the mean of all.
            n_best: how many alternatives of each segment to list; more than one takes beam search.

        Raises:
            asr.audio.AudioError: the recording cannot be read.
            asr.Error: n_best without beam search; a channel of an array.
        """
        job = _Job(self)
        segments = tuple(self._segments(job, source, channel, n_best))
        return Transcript(segments, job.samples / audio.SAMPLE_RATE)

    def segments(
        self, source: audio.Source | NDArray[np.float32], channel: int | None = None, n_best: int = 1
    ) -> Iterator[Segment]:
        """As `transcribe`, segment by segment while the recording is read: for long ones, in bounded memory.

        An error comes behind the segments that were found before it.
        """
        return self._segments(_Job(self), source, channel, n_best)

    def _segments(
        self, job: _Job, source: audio.Source | NDArray[np.float32], channel: int | None, n_best: int
    ) -> Iterator[Segment]:
        if isinstance(source, np.ndarray):
            if channel is not None:
                raise Error(f"channel {channel} of an array, which has but one; leave out channel, or choose a column")
            yield from self._segments_of(job, [audio.from_array(source, audio.SAMPLE_RATE)], n_best)
            return
        with audio.stream(source, channel) as stream:
            yield from self._segments_of(job, stream.blocks, n_best)

    def _segments_of(self, job: _Job, blocks: Iterable[NDArray[np.float32]], n_best: int) -> Iterator[Segment]:
        for group in self._groups([(job, job.windows(blocks))]):
            self._recognize(group, n_best)
            yield from job.take()
        if job.error:
            raise job.error

    def transcribe_many(self, waveforms: Sequence[NDArray[np.float32]], n_best: int = 1) -> list[Transcript]:
        """Transcribe any number of recordings, those of like length together; each gets the text that it gets alone.

        Args:
            waveforms: (samples,) float32 mono at 16 kHz each, at least one sample.

        Returns: the transcripts, in the order given.
        """
        return [found for _, found in self.transcribe_all(enumerate([each] for each in waveforms), n_best)]

    def transcribe_all(
        self, recordings: Iterable[tuple[Key, Iterable[NDArray[np.float32]] | Error]], n_best: int = 1
    ) -> Iterator[tuple[Key, Transcript | Error]]:
        """Transcribe recordings that come block by block, each as soon as it and those before it are done.

        Args:
            recordings: (samples,) float32 mono at 16 kHz each; no more than a group of windows lies in memory. What
                could not even be opened is an error in its place. All blocks of one are taken before the next one.

        Yields: the key of each recording with its transcript, or with the error that came while it was read.
        """
        jobs: deque[tuple[Key, _Job]] = deque()

        def started() -> Iterator[tuple[_Job, Iterator[Window]]]:
            for key, blocks in recordings:
                jobs.append((key, _Job(self, blocks if isinstance(blocks, Error) else None)))
                if not isinstance(blocks, Error):
                    yield jobs[-1][1], jobs[-1][1].windows(blocks)

        for group in self._groups(started()):
            self._recognize(group, n_best)
            while jobs and jobs[0][1].done:
                key, job = jobs.popleft()
                yield key, job.result()

    def log_probs(self, waveforms: Sequence[NDArray[np.float32]]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(B, T, V) log-probs of a padded batch and the (B,) frames of each recording.

        Where words are found by their phones it is (B, T, V + P), those of the phones behind those of the tokens; see
        `of_tokens` and `searched`.
        """
        samples, lengths = (tensor.to(self.device) for tensor in pad(waveforms))
        with torch.inference_mode():
            features = self.features(samples, lengths)
            if self.by_phones:
                tokens, phones, frames = self.model.with_phones(*features)
                log_probs = torch.cat([tokens, phones], dim=2)
            else:
                log_probs, frames = self.model(*features)
        return log_probs.cpu().numpy(), frames.cpu().numpy()

    def whole_log_probs(self, waveforms: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """(T, V) log-probs of each recording of at most 40 s, (T, V + P) as in `log_probs`, as it is transcribed.

        That is: silence alone, and the inside of long silences, is not for the model (`asr.long.Window`).
        """
        return self._rows([Window(samples, 0, None) for samples in waveforms])

    def of_tokens(self, log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The log-probs of tokens among those that `log_probs` gives, (..., V)."""
        return log_probs[..., : len(self.alphabet)]

    def searched(self, log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
        """The log-probs that are decoded among those that `log_probs` gives: of phones, (..., P), or of tokens."""
        return log_probs[..., len(self.alphabet) :] if self.by_phones else log_probs

    def long_log_probs(self, blocks: Iterable[NDArray[np.float32]]) -> NDArray[np.float32]:
        """(T, V) log-probs of a recording of any length; (T, V + P) as in `log_probs`.

        Args:
            blocks: (samples,) float32 mono at 16 kHz each.

        Raises:
            asr.Error: whatever ended the blocks too early.
        """
        job = _Job(self)
        parts = [self.no_frames()]
        for group in self._groups([(job, job.windows(blocks))]):
            windows = [window for _, window in group]
            parts += [window.kept(rows) for window, rows in zip(windows, self._rows(windows), strict=True)]
        if job.error:
            raise job.error
        return np.concatenate(parts)

    def no_frames(self) -> NDArray[np.float32]:
        """The log-probs of nothing."""
        return np.zeros((0, self._width), np.float32)

    @property
    def _width(self) -> int:
        """Columns of the log-probs."""
        return self.model.config.vocab + self.by_phones * self.model.config.phones

    def text(self, hypothesis: decode.Hypothesis) -> str:
        """A hypothesis as text; spaces at its ends belong to no word."""
        if self.by_phones:
            return " ".join(self.search.names[word] for word in hypothesis.words)
        return " ".join(self.alphabet.decode(hypothesis.ids).split())

    def _groups(self, jobs: Iterable[tuple[_Job, Iterator[Window]]]) -> Iterator[list[tuple[_Job, Window]]]:
        """The windows of recordings, one after the other, as many at a time as fill a batch for every thread."""
        group: list[tuple[_Job, Window]] = []
        seconds = 0.0
        for job, parts in jobs:
            for window in parts:
                group.append((job, window))
                job.waiting += 1
                seconds += len(window.samples) / audio.SAMPLE_RATE
                if seconds >= self.batch_seconds * self.threads:
                    yield group
                    group, seconds = [], 0.0
        yield group

    def _recognize(self, group: Sequence[tuple[_Job, Window]], n_best: int) -> None:
        """Give each window's log-probs to its recording, and decode the utterances that are complete by them."""
        found: list[tuple[_Job, Utterance]] = []
        for (job, window), rows in zip(group, self._rows([window for _, window in group]), strict=True):
            found += [(job, utterance) for utterance in job.add(window, rows)]
        hypotheses = self.decode([utterance.log_probs for _, utterance in found], n_best)
        for (job, utterance), best in zip(found, hypotheses, strict=True):
            job.segments += self._to_segments(utterance, best)

    def _rows(self, windows: Sequence[Window]) -> list[NDArray[np.float32]]:
        """(T, V) log-probs of each window; those of like length are read together."""
        frames = [self._no_frame_heard(window) if window.silent else window.heard(self.step) for window in windows]
        rows = [_silence(len(each), self._width, self.model.config.vocab) for each in frames]
        spoken = [i for i, each in enumerate(frames) if each.any()]
        samples = [_cut(windows[i].samples, frames[i], self.step) for i in spoken]
        lengths = [len(each) for each in samples]
        share = sum(lengths) / audio.SAMPLE_RATE / self.threads
        batches = length_batches(lengths, min(self.batch_seconds, share))

        def read(batch: Sequence[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
            return self.log_probs([samples[i] for i in batch])

        for batch, (log_probs, counts) in zip(batches, self._side_by_side(read, batches), strict=True):
            for i, found, count in zip(batch, log_probs, counts, strict=True):
                rows[spoken[i]][frames[spoken[i]]] = found[:count]
        return rows

    def _no_frame_heard(self, window: Window) -> NDArray[np.bool_]:
        return np.zeros(self.model.config.frames(self.features.config.frames(len(window.samples))), bool)

    def _side_by_side(self, function: Callable, items: Sequence) -> Iterator:
        """The results for all items, from as many threads as it has."""
        if self.threads == 1 or len(items) < 2:
            return map(function, items)
        pool = self._pools.get(os.getpid())
        if pool is None:
            # Kept, since what allocates memory keeps some for each thread that there ever was.
            pool = ThreadPoolExecutor(self.threads, initializer=torch.set_num_threads, initargs=(1,))
            pool = self._pools.setdefault(os.getpid(), pool)  # another thread may have been quicker
        return pool.map(function, items)

    def decode(self, utterances: Sequence[NDArray[np.float32]], n_best: int = 1) -> list[list[decode.Hypothesis]]:
        """The best hypotheses of each utterance, from its (T, V) log-probs, or (T, V + P) as in `log_probs`."""
        if self.search is not None:
            more = SPARE * n_best if n_best > 1 else n_best
            found = self.search.search_all([self.searched(rows) for rows in utterances], more, self.threads)
            return [self._of_other_texts(hypotheses)[:n_best] for hypotheses in found]
        if n_best > 1:
            raise Error("lists of alternatives need beam search; choose a beam_size above 1")
        return [decode.greedy(rows[None], np.array([len(rows)])) for rows in utterances]

    def _of_other_texts(self, hypotheses: Sequence[decode.Hypothesis]) -> list[decode.Hypothesis]:
        """The first of each text: spaces at its ends, and where words without spaces begin, are not in it."""
        first: dict[str, decode.Hypothesis] = {}
        for hypothesis in hypotheses:
            first.setdefault(self.text(hypothesis), hypothesis)
        return list(first.values())

    def _to_segments(self, utterance: Utterance, hypotheses: Sequence[decode.Hypothesis]) -> list[Segment]:
        """The segments of an utterance: between pauses.

        It stays whole with alternatives, which have other pauses, and where nothing tells a pause between words from
        one within a word, since the script sets no spaces.
        """
        texts = [self.text(hypothesis) for hypothesis in hypotheses]
        if not texts[0]:
            return []
        found = self._words(utterance, hypotheses[0])
        if len(hypotheses) == 1 and self.between_words:
            return [_segment(" ".join(word.text for word in part), part) for part in between_pauses(found)]
        listed = [Alternative(text, hypothesis.score) for text, hypothesis in zip(texts, hypotheses, strict=True)]
        return [replace(_segment(texts[0], found), alternatives=tuple(listed if len(listed) > 1 else ()))]

    def group_words(self, hypothesis: decode.Hypothesis) -> list[tuple[str, tuple[int, int]]]:
        """The words of a hypothesis, each with the number of its first token (or phone) and the one after its last."""
        if not self.by_phones:
            return group_words(self.alphabet, hypothesis.ids)
        names = (self.search.names[word] for word in hypothesis.words)
        return list(zip(names, pairwise([0, *hypothesis.word_ends]), strict=True))

    def _words(self, utterance: Utterance, hypothesis: decode.Hypothesis) -> list[Word]:
        spans = np.array([hypothesis.frames, hypothesis.ends], np.int64).T
        start, rows = utterance.start * self.frame_seconds, self.searched(utterance.log_probs)
        found = self.group_words(hypothesis)
        return words(found, hypothesis.ids, spans, rows, self.frame_seconds, start, self.calibration)


def _segment(text: str, found: Sequence[Word]) -> Segment:
    return Segment(text, found[0].start, found[-1].end, tuple(found))


class _Job:
    """A recording on its way to a transcript.

    Attributes:
        samples: how many have been read.
        waiting: windows whose log-probs are still to come.
        segments: found so far.
        error: what ended it too early.
    """

    def __init__(self, recognizer: Recognizer, error: Error | None = None) -> None:
        self._step = recognizer.step
        self._cutter = Cutter(recognizer.alphabet, recognizer.frame_seconds)
        self._complete = False
        self.samples = 0
        self.waiting = 0
        self.segments: list[Segment] = []
        self.error = error

    @property
    def done(self) -> bool:
        """Whether all that there is of it has been read and recognized."""
        return self._complete or (self.error is not None and not self.waiting)

    def windows(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[Window]:
        """The windows of the recording; an error while it is read ends them, and is kept."""
        try:
            yield from windows(self._counted(blocks), self._step)
        except Error as error:
            self.error = error

    def add(self, window: Window, log_probs: NDArray[np.float32]) -> list[Utterance]:
        """Take a window's (T, V) log-probs; the utterances that are complete by them."""
        self.waiting -= 1
        self._complete = window.last
        if window.whole:
            return [Utterance(log_probs, 0)]
        found = list(self._cutter.add(window.kept(log_probs)))
        return [*found, *self._cutter.finish()] if window.last else found

    def take(self) -> list[Segment]:
        """The segments found since the last time."""
        taken, self.segments = self.segments, []
        return taken

    def result(self) -> Transcript | Error:
        """What has become of it."""
        return self.error or Transcript(tuple(self.segments), self.samples / audio.SAMPLE_RATE)

    def _counted(self, blocks: Iterable[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
        for block in blocks:
            self.samples += len(block)
            yield block


def _cut(samples: NDArray[np.float32], heard: NDArray[np.bool_], step: int) -> NDArray[np.float32]:
    """The samples of the output frames that are heard, see `Window.heard`."""
    whole = (len(heard) - 1) * step
    return np.concatenate([samples[:whole].reshape(-1, step)[heard[:-1]].ravel(), samples[whole:]])


def _silence(frames: int, width: int, tokens: int) -> NDArray[np.float32]:
    """(T, width) log-probs that hold the blank alone, of the tokens and of the phones that may stand behind them."""
    log_probs = np.full((frames, width), NEVER, np.float32)
    log_probs[:, decode.BLANK] = 0.0
    log_probs[:, tokens : tokens + 1] = 0.0  # the phones' blank, where there are any
    return log_probs


def between_pauses(found: Sequence[Word]) -> Iterator[Sequence[Word]]:
    """Cut words where there is a pause between them."""
    cuts = [i for i, (word, after) in enumerate(pairwise(found), 1) if after.start - word.end >= SEGMENT_PAUSE]
    return (found[start:end] for start, end in pairwise([0, *cuts, len(found)]))
