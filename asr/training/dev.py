"""The dev set: what chooses the best model, scored by the same code as an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asr.batching import length_batches
from asr.corpus import Utterance
from asr.recognizer import Recognizer
from asr.score import Score, score
from asr.training.cache import AudioCache
from asr.training.workers import Group


@dataclass(frozen=True)
class DevSet:
    """Recordings with their texts.

    Args:
        cache: the recordings; one that cannot be read counts with all its words deleted.
        ids: names of the utterances.
        references: texts as published.
        speakers: None where unknown.
    """

    cache: AudioCache
    ids: list[str]
    references: list[str]
    speakers: list[str | None]

    @classmethod
    def of(cls, utterances: Sequence[Utterance], cache: AudioCache) -> DevSet:
        """These utterances, whose audio is in the cache."""
        columns = zip(*((each.id, each.text, each.speaker) for each in utterances), strict=True)
        return cls(cache, *map(list, columns))

    def transcribe(self, recognizer: Recognizer, group: Group) -> list[str]:
        """The texts of all recordings, shared out over the workers."""
        batches = length_batches(self.cache.lengths)
        reader = self.cache.reader()
        mine = [_texts(recognizer, [reader[i] for i in batch]) for batch in group.share(batches)]
        texts = [""] * len(self.references)
        for batch, batch_texts in zip(batches, group.gather(mine), strict=True):
            for i, text in zip(batch, batch_texts, strict=True):
                texts[i] = text
        return texts

    def score(self, recognizer: Recognizer, texts: list[str]) -> Score:
        """WER and CER of the texts."""
        normalize = recognizer.normalizer
        return score(*([normalize(text) for text in side] for side in (self.references, texts)), self.speakers)


def _texts(recognizer: Recognizer, waveforms: list) -> list[str]:
    readable = [waveform for waveform in waveforms if len(waveform)]
    transcripts = iter(recognizer.transcribe_many(readable))
    return [next(transcripts).text if len(waveform) else "" for waveform in waveforms]
