"""What one hears and sees of an utterance in a report: its audio, the spectrogram, and the posteriors, as data URIs.

The pictures hold pixels alone, one for each frame; words, letters and axes are the page's own text above them. They are
made without matplotlib's canvas: fifty take seconds.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from itertools import chain

import numpy as np
import soundfile
from numpy.typing import NDArray

from asr import audio
from asr.corpus import Utterance
from asr.inside import Inside, Token, look_inside
from asr.pictures import MAX_SECONDS, shown, sign, token_rows
from asr.recognizer import Recognizer
from asr.tape import load_parts

LOUDEST = 0.9  # sample that audio is scaled to: quiet recordings can be heard
COMPRESSION = 0.5  # of MP3, which all browsers play: about 36 kbit/s


def media(recognizer: Recognizer, utterances: Sequence[Utterance], chosen: Sequence[int]) -> dict[int, dict]:
    """What to hear and see of the chosen utterances, by number; those whose audio cannot be read are left out.

    Of a recording longer than a minute it is the first minute.
    """
    found = {}
    blocks = load_parts((utterances[i] for i in chosen), recognizer.threads)
    for i, samples in zip(chosen, chain.from_iterable(blocks), strict=True):
        if not isinstance(samples, Exception):
            found[i] = medium(recognizer, samples, utterances[i].text)
    return found


def medium(recognizer: Recognizer, samples: NDArray[np.float32], text: str) -> dict[str, object]:
    """What to hear and see of one utterance, as JSON; seconds and data URIs.

    Args:
        samples: (S,) float32 mono at 16 kHz.
        text: what was said.
    """
    part = samples[: round(MAX_SECONDS * audio.SAMPLE_RATE)]
    inside = look_inside(recognizer, part, text if len(part) == len(samples) else None)
    rows = token_rows(inside)
    return {
        "seconds": inside.seconds,
        "cut": len(part) < len(samples),
        "audio": sound(part),
        "spectrogram": spectrogram(inside),
        "spectrogram_seconds": inside.log_mel.shape[1] * inside.hop,
        "hertz": inside.band,
        "posteriors": posteriors(inside, rows),
        "posteriors_seconds": len(inside.posteriors) * inside.step,
        "step": inside.step,
        "rows": [sign(inside.units.symbols[row]) for row in rows],
        "tokens": _tokens(inside, inside.heard, rows),
        "heard": _words(inside, inside.heard),
        "said": None if inside.said is None else _words(inside, inside.said),
    }


def sound(samples: NDArray[np.float32]) -> str:
    """MP3, as loud as it goes without clipping: (S,) float32 at 16 kHz -> data URI."""
    loudest = float(np.abs(samples).max())
    scaled = samples * (LOUDEST / loudest) if loudest else samples
    file = io.BytesIO()
    soundfile.write(
        file,
        scaled,
        audio.SAMPLE_RATE,
        format="MP3",
        subtype="MPEG_LAYER_III",
        compression_level=COMPRESSION,
        bitrate_mode="VARIABLE",
    )
    return _data_uri("audio/mpeg", file.getvalue())


def spectrogram(inside: Inside) -> str:
    """WebP, a pixel for each frame and mel band, low ones below."""
    from matplotlib import colormaps
    from PIL import Image

    decibels = shown(inside.log_mel)[::-1]  # (M, T), the highest band first
    level = (decibels - decibels.min()) / max(float(np.ptp(decibels)), 1e-6)
    pixels = colormaps["magma"](level, bytes=True)[..., :3]  # (M, T, 3)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "WEBP", quality=60)
    return _data_uri("image/webp", file.getvalue())


def posteriors(inside: Inside, rows: Sequence[int]) -> str:
    """PNG, a pixel for each output frame and row; the more probable the more opaque, so that it suits any ground."""
    from PIL import Image

    opacity = np.rint(255 * inside.posteriors[:, list(rows)].T).astype(np.uint8)  # (T', R) -> (R, T')
    pixels = np.stack([np.full_like(opacity, 128), opacity], axis=2)  # grey and opacity
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return _data_uri("image/png", file.getvalue())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _tokens(inside: Inside, tokens: Sequence[Token], rows: Sequence[int]) -> list[list]:
    """Sign, start and row of each token; None for a row that is not shown."""
    places = {row: place for place, row in enumerate(rows)}
    return [[sign(inside.units.symbols[token.id]), token.start, places.get(token.id)] for token in tokens]


def _words(inside: Inside, tokens: Sequence[Token]) -> list[list]:
    return [[span.word, span.start, span.end] for span in inside.words(tokens)]
