"""Fonts for pictures with text in any script."""

from __future__ import annotations

import functools
from contextlib import suppress
from pathlib import Path

__all__ = ["families", "families_for"]

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
    return ["DejaVu Sans", *(name for name in wanted if name in listed)]


def families_for(*texts: str) -> list[str] | None:
    """The font families for some texts; None for ASCII, which any font has, since looking for fonts takes a while.

    Example:
        >>> families_for("a cat") is None, "DejaVu Sans" in families_for("a cat", "పిల్లి")
        (True, True)
    """
    return None if all(map(str.isascii, texts)) else families()
