"""Fonts for pictures with text in any script."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["families", "families_for", "in_any_script"]

OWN = "DejaVu Sans"
# Common fonts for scripts that matplotlib's own font lacks.
FAMILIES = (
    "Noto-Sans-Telugu Lohit-Telugu Gautami Nirmala-UI Noto-Sans-Devanagari Noto-Sans-Tamil Noto-Sans-Kannada "
    "Noto-Sans-Malayalam Noto-Sans-Bengali Noto-Sans-CJK-SC Noto-Sans-CJK-JP WenQuanYi-Micro-Hei PingFang-SC "
    "Microsoft-YaHei Noto-Sans-Arabic Noto-Sans-Thai Noto-Emoji Noto-Sans-Symbols2 Symbola Arial-Unicode-MS"
)


@functools.cache
def families() -> list[str]:
    """The font families for text in any script, as matplotlib tries them: its own, then those installed here.

    Example:
        >>> families()[0]
        'DejaVu Sans'
    """
    from matplotlib.font_manager import findSystemFonts, fontManager

    wanted = [name.replace("-", " ") for name in FAMILIES.split()]
    listed = {entry.name for entry in fontManager.ttflist}
    missing = {name.replace(" ", ""): name for name in wanted if name not in listed}
    for path in findSystemFonts():  # matplotlib's list may be older than the fonts
        if Path(path).stem.removesuffix("-Regular") in missing:
            with suppress(RuntimeError, OSError):  # a damaged file
                fontManager.addfont(path)
    listed |= {entry.name for entry in fontManager.ttflist}
    return [OWN, *(name for name in wanted if name in listed)]


def families_for(*texts: str) -> list[str] | None:
    """The font families for some texts: matplotlib's own, and those installed that have what it lacks; None if it lacks nothing.

    Example:
        >>> families_for("a cat", "−3 °C") is None, "DejaVu Sans" in families_for("a cat", "పిల్లి")
        (True, True)
    """
    missing = {letter for text in texts if not text.isascii() for letter in text} - _characters(OWN)
    if not missing:
        return None
    return [OWN, *(name for name in families()[1:] if not missing.isdisjoint(_characters(name)))]


@functools.cache
def _characters(family: str) -> frozenset[str]:
    """The characters that a font has."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(map(chr, get_font(findfont(family)).get_charmap()))


def in_any_script(figure: Any) -> Any:
    """Give the texts of a figure fonts that have their characters, where such are installed.

    Args:
        figure: A matplotlib `Figure` that is complete; it is changed.

    Returns:
        The figure.

    Example:
        >>> from matplotlib.figure import Figure
        >>> figure = Figure()
        >>> title = figure.suptitle("పిల్లి")
        >>> in_any_script(figure) is figure, "DejaVu Sans" in title.get_fontfamily()
        (True, True)
    """
    from matplotlib.text import Text

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            axis.get_ticklabels()  # which have no text before
    texts = figure.findobj(Text)
    if found := families_for(*(text.get_text() for text in texts)):
        for text in texts:
            text.set_fontfamily(found)
    return figure
