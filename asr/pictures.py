"""Pictures: `python -m asr.pictures talk.flac --model en --out talk.png`.

Of a recording: its log-mel spectrogram with the tokens where the model heard them, and below the posteriors that they
come from. Of the folder of a training run: its curves, while it trains too (`python -m asr.pictures my_model`).
"""

from __future__ import annotations

import argparse
import io
import sys
import unicodedata
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from asr import Error, audio, command
from asr.decode import BLANK
from asr.files import replacing
from asr.fonts import fonts_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from asr.inside import Inside

MAX_SECONDS = 60.0  # of a picture: longer ones are too wide to look at
INCHES = 1.2  # of a picture's width, a second
LEAST = 0.1  # tokens that are never more probable have no row among the posteriors
ROWS = 40  # of tokens at most: the most probable ones
RANGE = 80.0  # decibels below the loudest that a spectrogram shows
SIGNS = {"": "blank", " ": "␣"}  # how tokens are written that one cannot see


class PictureError(Error):
    """What cannot be drawn."""


def picture(inside: Inside, title: str) -> bytes:
    """A PNG of the spectrogram with the alignment and, below it, of the posteriors.

    Characters that no installed font has are boxes; a line on stderr names them.

    Args:
        inside: a recording of a minute at most, see `asr.inside.look_inside`.
        title: stands above.

    Raises:
        PictureError: the recording is longer.
    """
    from matplotlib import rc_context

    if inside.seconds > MAX_SECONDS:
        raise PictureError(
            f"the recording has {inside.seconds:.1f} s; a picture shows {MAX_SECONDS:g} s at most: choose a part "
            "(--offset and --duration, in seconds)"
        )
    families, boxes = fonts_for(written(inside) | set(title))
    if boxes:
        print(f"no font for {' '.join(boxes)}: install one, such as Noto Sans for this script", file=sys.stderr)
    with rc_context({"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # which is said above, once
        return _drawn(inside, title)


def written(inside: Inside) -> set[str]:
    """The characters of the tokens in a picture."""
    tokens = [*inside.heard, *(inside.said or [])]
    return set().union(*(sign(inside.units.symbols[i]) for i in [*token_rows(inside), *(token.id for token in tokens)]))


def _drawn(inside: Inside, title: str) -> bytes:
    from matplotlib.figure import Figure  # draws by Agg, without a screen

    rows = token_rows(inside)
    heights = (3.0, 0.6 + 0.17 * len(rows))  # inches
    figure = Figure(figsize=(max(8.0, INCHES * inside.seconds + 1.5), sum(heights) + 1), layout="constrained")
    above, below = figure.subplots(2, sharex=True, height_ratios=heights)
    draw_spectrogram(above, inside)
    draw_posteriors(below, inside)
    above.set_xlabel("")  # the axis is that of the posteriors
    figure.suptitle(title, parse_math=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=100)
    return png.getvalue()


def draw_spectrogram(axes: Axes, inside: Inside) -> None:
    """Draw the log-mel spectrogram, with the tokens heard and, where known, those said above it where they start."""
    import librosa.display

    f_min, f_max = inside.band
    librosa.display.specshow(
        shown(inside.log_mel),
        x_axis="time",
        y_axis="mel",
        sr=audio.SAMPLE_RATE,
        hop_length=round(inside.hop * audio.SAMPLE_RATE),
        fmin=f_min,
        fmax=f_max,
        htk=True,
        cmap="magma",
        ax=axes,
    )
    axes.set_ylabel("Hz")
    lines = [("heard", inside.heard, "tab:red")]
    if inside.said is not None:
        lines.append(("said", inside.said, "tab:blue"))
    for number, (name, tokens, color) in enumerate(lines):
        height = 4 + 11 * number  # points above the spectrogram
        _write(axes, name, (-0.005, 1.0), height, color, "right", "axes fraction")
        for token in tokens:
            place = (token.start, 1.0)
            _write(
                axes, sign(inside.units.symbols[token.id]), place, height, color, "center", ("data", "axes fraction")
            )
    for word in inside.words(inside.heard):
        axes.axvline(word.start, color="white", alpha=0.5, linewidth=0.8)


def _write(
    axes: Axes, text: str, place: tuple[float, float], height: float, color: str, align: str, system: str | tuple
) -> None:
    """A text some points above a place; a $ in it is a $."""
    axes.annotate(
        text,
        place,
        (0, height),
        system,
        textcoords="offset points",
        ha=align,
        va="bottom",
        fontsize=8,
        color=color,
        parse_math=False,
    )


def draw_posteriors(axes: Axes, inside: Inside) -> None:
    """Draw the probability of the tokens in every frame, darker for more, with rings where those heard start."""
    rows = token_rows(inside)
    half = inside.step / 2
    axes.imshow(
        inside.posteriors[:, rows].T,  # (T', R) -> (R, T')
        aspect="auto",
        cmap="Greys",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(-half, len(inside.posteriors) * inside.step - half, len(rows) - 0.5, -0.5),
    )
    axes.set_yticks(range(len(rows)), [sign(inside.units.symbols[row]) for row in rows], fontsize=8)
    axes.set_ylabel("posterior")
    axes.set_xlabel("seconds")
    heard = [token for token in inside.heard if token.id in rows]
    starts, places = [token.start for token in heard], [rows.index(token.id) for token in heard]
    axes.plot(starts, places, "o", markersize=6, fillstyle="none", color="tab:red")


def token_rows(inside: Inside) -> list[int]:
    """The tokens whose posteriors are worth a row, the blank first: those that are probable in some frame."""
    highest = inside.posteriors.max(axis=0)  # (V,)
    probable = [i for i in np.argsort(-highest).tolist() if i != BLANK and highest[i] >= LEAST]
    return [BLANK, *sorted(probable[:ROWS])]


def shown(log_mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """The decibels of a spectrogram that pictures show: the loudest 80."""
    return np.maximum(log_mel, log_mel.max() - RANGE)


def sign(symbol: str) -> str:
    """A token as pictures write it: a mark stands on a circle, as in Unicode's charts."""
    alone = symbol and unicodedata.category(symbol[0])[0] == "M"
    return f"◌{symbol}" if alone else SIGNS.get(symbol, symbol)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    arguments = argparse.ArgumentParser(
        prog="python -m asr.pictures",
        description="Draw a recording as a model sees it: log-mel spectrogram, tokens in time, posteriors. Or the "
        "curves of a training run.",
    )
    arguments.add_argument("source", type=Path, help="a recording, or the folder of a training run")
    arguments.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="where the picture goes")
    arguments.add_argument("--text", help="what is said: its tokens are drawn too, where they fit best")
    arguments.add_argument("--offset", type=float, default=0.0, metavar="S", help="second to begin at (default: 0)")
    arguments.add_argument("--duration", type=float, metavar="S", help="seconds to draw (default: to the end)")
    command.add_model(arguments)
    return arguments


def main(argv: Sequence[str] | None = None) -> int:
    """The command."""
    options = parser().parse_args(argv)
    if options.out.suffix.lower() != ".png":
        raise command.UsageError(f"{options.out}: expected a name that ends in .png")
    png = _curves(options.source) if options.source.is_dir() else _recording(options)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(options.out) as file:
        file.write(png)
    return 0


def _curves(folder: Path) -> bytes:
    from asr.training.curves import picture as curves
    from asr.training.folder import RunFolder

    entries = RunFolder(folder).entries()
    if not entries:
        raise PictureError(f"{folder}: expected a recording or the folder of a training run; nothing is logged there")
    return curves(entries, f"Training of {folder.resolve().name}")


def _recording(options: argparse.Namespace) -> bytes:
    from asr.inside import look_inside

    samples = audio.load(options.source, options.offset, options.duration)
    return picture(look_inside(command.load_model(options), samples, options.text), options.source.name)


if __name__ == "__main__":
    sys.exit(command.run(main))
