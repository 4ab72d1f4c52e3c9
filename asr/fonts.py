"""Fonts for pictures of any script: matplotlib brings one that has Latin, Greek, Cyrillic and Arabic letters."""

from __future__ import annotations

from collections.abc import Iterable

OWN = "DejaVu Sans"  # which matplotlib brings
BOXES = "lastresort"  # in the names of fonts that have a box for every character there is


def fonts_for(characters: Iterable[str]) -> tuple[list[str], str]:
    """Font families that together have these characters, and the characters that no installed font has.

    Returns: matplotlib's own first, then as few others as it takes, in the order of their names, so that a machine
        gives the same picture each time; the sorted characters that are without a font.
    """
    from matplotlib import font_manager

    families = [OWN]
    lacking = set(characters) - _letters(font_manager.findfont(OWN))
    if lacking:  # else no font needs to be opened
        upright = [font for font in font_manager.fontManager.ttflist if font.style == "normal"]
        installed = {font.name: font.fname for font in upright if BOXES not in font.name.replace(" ", "").lower()}
        for family, path in sorted(installed.items()):
            if lacking and (found := lacking & _letters(path)):
                families.append(family)
                lacking -= found
    return families, "".join(sorted(lacking))


def _letters(path: str) -> set[str]:
    """The characters that a font file has; none if it cannot be read."""
    from matplotlib import font_manager

    try:
        return set(map(chr, font_manager.get_font(path).get_charmap()))
    except (OSError, RuntimeError):  # a font that was removed, or of a kind that matplotlib does not draw
        return set()
