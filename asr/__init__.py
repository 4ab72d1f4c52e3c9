"""Speech recognition that people train, measure and ship on their own machine.

    import asr
    print(asr.load("en").transcribe("recording.wav").text)

Importing this package imports nothing heavy; each module is one stage of the pipeline and is named for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from asr.recognizer import Recognizer
    from asr.transcript import Segment, Transcript, Word

__all__ = ["Error", "Recognizer", "Segment", "Transcript", "Word", "load"]
__version__ = "0.1.0"
BATCH_SECONDS = 80.0  # padded audio that is recognized at a time, in each thread
HOT_WEIGHT = 8.0  # bonus of each word of a hot phrase, where none is given: a natural logarithm


class Error(ValueError):
    """A mistake that the user can mend: its message says what was found, what was expected and what to do."""


def load(
    name_or_path: str = "en",
    lm: str | None = None,
    beam_size: int | None = None,
    hot_words: Mapping[str, float] | Collection[str] = (),
    hot_weight: float = HOT_WEIGHT,
    device: str = "cpu",
    threads: int | None = None,
    batch_seconds: float = BATCH_SECONDS,
) -> Recognizer:
    """Load a model that ships with the package (by name) or a model file (by path).

    Args:
        lm: language model, by name or path, that beam search asks; "none" for none; None for the model's own: the file
            beside it with its name that ends in .lm, if there is one.
        beam_size: prefixes that beam search keeps; 1 decodes greedily, without a language model. None: what the
            language model's file says; without one, greedily.
        hot_words: words and phrases that are likelier than usual, with weights of their own or all with `hot_weight`.
        hot_weight: bonus of each word of a phrase, a natural logarithm.
        device: where the acoustic model runs, as torch names it: "cpu", "cuda"...
        threads: batches that are recognized side by side; None: one a core, and one on a GPU.
        batch_seconds: padded audio of a batch; less takes less memory.

    Raises:
        asr.Error: no such model or device, or the file is not a model of this version; hot words that it cannot write.
    """
    from asr import loading

    return loading.load(name_or_path, lm, beam_size, hot_words, hot_weight, device, threads, batch_seconds)


def __getattr__(name: str) -> type:
    # Lazily, so that `import asr` and light commands do not wait for torch.
    if name == "Recognizer":
        from asr.recognizer import Recognizer

        return Recognizer
    if name in ("Segment", "Transcript", "Word"):
        from asr import transcript

        return getattr(transcript, name)
    raise AttributeError(f"module 'asr' has no attribute {name!r}")
