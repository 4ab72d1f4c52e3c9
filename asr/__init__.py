"""Speech recognition that people train, measure and ship on their own machine.

    import asr
    print(asr.load("en").transcribe("recording.wav").text)

Importing this package imports nothing heavy; each module is one stage of the pipeline and is named for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asr.recognizer import Recognizer, Transcript

__all__ = ["Error", "Recognizer", "Transcript", "load"]
__version__ = "0.1.0"


class Error(ValueError):
    """A mistake that the user can mend: its message says what was found, what was expected and what to do."""


def load(name_or_path: str = "en") -> Recognizer:
    """Load a model that ships with the package (by name) or a model file (by path).

    Raises:
        asr.Error: no such model, or the file is not a model of this version.
    """
    from asr.recognizer import load as load_recognizer

    return load_recognizer(name_or_path)


def __getattr__(name: str) -> type:
    # Lazily, so that `import asr` and light commands do not wait for torch.
    if name in ("Recognizer", "Transcript"):
        from asr import recognizer

        return getattr(recognizer, name)
    raise AttributeError(f"module 'asr' has no attribute {name!r}")
