"""Fonts for pictures: those that are needed, and no others; a font of one letter is made for it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder  # matplotlib needs it, so it is there
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from asr.fonts import OWN, fonts_for
from asr.inside import Inside
from asr.pictures import picture, written
from asr.text import Alphabet

LETTER, NOWHERE = "\U00100001", "\U00100002"  # for private use: no font has them


@pytest.fixture
def font(tmp_path: Path) -> Iterator[str]:
    """The name of a font, known to matplotlib, whose one letter is a large square."""
    name, path = "One Letter", tmp_path / "one.ttf"
    pen = TTGlyphPen(None)
    for place, draw in (((0, 0), pen.moveTo), ((0, 900), pen.lineTo), ((900, 900), pen.lineTo), ((900, 0), pen.lineTo)):
        draw(place)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(LETTER): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "square": (1000, 0)})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    builder.setupNameTable({"familyName": name, "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    known = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(path)
    yield name
    font_manager.fontManager.ttflist[:] = known


@pytest.fixture
def inside() -> Inside:
    """Half a second in which one letter is heard, over and over."""
    posteriors = np.tile(np.array([[0.8, 0.2], [0.2, 0.8]], np.float32), (6, 1))
    return Inside(
        seconds=0.48,
        band=(0.0, 8000.0),
        hop=0.01,
        step=0.04,
        log_mel=np.zeros((80, 48), np.float32),
        posteriors=posteriors,
        units=Alphabet(("", LETTER)),
        heard=[],
        said=None,
    )


def test_only_the_fonts_that_are_needed(font: str) -> None:
    assert fonts_for("Iğdır, Ωмега, سلام") == ([OWN], "")
    assert fonts_for(f"a{LETTER}") == ([OWN, font], "")
    assert fonts_for(f"a{NOWHERE}{LETTER}b") == ([OWN, font], NOWHERE)


def test_a_font_that_is_gone_is_none(font: str, tmp_path: Path) -> None:
    (tmp_path / "one.ttf").unlink()
    assert fonts_for(LETTER) == ([OWN], LETTER)


def test_letters_are_drawn_by_a_font_that_has_them(
    font: str, inside: Inside, capsys: pytest.CaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    assert LETTER in written(inside)
    drawn = picture(inside, "a")
    assert capsys.readouterr().err == ""
    boxes = picture(replace(inside, units=Alphabet(("", NOWHERE))), "a")
    assert capsys.readouterr().err == f"no font for {NOWHERE}: install one, such as Noto Sans for this script\n"
    assert drawn != boxes and not recwarn
