"""Chips show the characters of a text in every script for which there is a font."""

from __future__ import annotations

import shutil

import matplotlib
from matplotlib import font_manager

from notebook_kit.inspection.drawing import fonts


def test_fonts_that_are_newer_than_matplotlibs_list(tmp_path, monkeypatch):
    """Their files are found by name; a damaged one is left out."""
    found = tmp_path / "LohitTelugu-Regular.ttf"
    shutil.copy(f"{matplotlib.get_data_path()}/fonts/ttf/STIXGeneral.ttf", found)
    damaged = tmp_path / "Gautami.ttf"
    damaged.write_bytes(b"no font")
    listed = [entry for entry in font_manager.fontManager.ttflist if entry.name not in ("Gautami", "Lohit Telugu")]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", listed)
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda: [str(found), str(damaged), str(tmp_path / "Other.ttf")]
    )
    assert "DejaVu Sans" in fonts.families.__wrapped__()
    assert [entry.fname for entry in font_manager.fontManager.ttflist if entry.fname.startswith(str(tmp_path))] == [
        str(found)
    ]
