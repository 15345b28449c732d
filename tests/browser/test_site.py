"""The built site, opened from disk: the panels in its pages are live, with no kernel and no network."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import shot
from support import skip_or_fail

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
CHAPTERS = sorted(path.stem for path in (Path(__file__).parents[2] / "tutorials").glob("[0-9]*.ipynb"))
WITH_PANELS = [name for name in CHAPTERS if name != "01_pipelines"]


@pytest.fixture
def visit(chromium: Any) -> Iterator[Any]:
    """`visit("tutorials/index.html")` opens a page; a script error in it, or a request that leaves the folder, fails the test."""
    if not (SITE / "tutorials" / "panels").is_dir():
        skip_or_fail("the site is not built: python docs/build.py")
    context = chromium.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda one: None if one.url.startswith(("file:", "blob:", "data:")) else faults.append(one.url))

    def open_(name: str) -> Any:
        page.goto((SITE / name).as_uri())
        return page

    yield open_
    context.close()
    assert not faults, faults


def panels(page: Any, name: str) -> Any:
    """The frames with a kind of panel, by the beginning of their titles."""
    return page.locator(f'iframe.live-panel[title^="{name}"]')


def test_a_panel_of_a_chapter_answers_a_click(visit, expect):
    page = visit("tutorials/03_attention.html")
    frame = panels(page, "AttentionView").first
    frame.scroll_into_view_if_needed()
    panel = frame.content_frame.locator(".nk-panel")
    panel.locator('.nk-av-cell[data-layer="0"][data-head="5"]').click()
    expect(panel.locator(".nk-av-said-line")).to_contain_text("Layer 0 · head 5")
    panel.get_by_role("tab", name="Matrix").click()
    expect(panel.locator(".nk-av-raw .nk-av-map")).to_be_visible()


def test_the_first_page_begins_with_a_panel_that_answers(visit, expect):
    page = visit("index.html")
    frame = panels(page, "AttentionView")
    expect(frame).to_have_count(1)
    cell = frame.content_frame.locator('.nk-av-cell[data-layer="0"][data-head="1"]')
    cell.click()
    expect(frame.content_frame.locator(".nk-av-said-line")).to_contain_text("Layer 0 · head 1")
    assert frame.bounding_box()["y"] < 1000, "on the first screen"
    shot(page, "site_start")


@pytest.mark.parametrize("chapter", WITH_PANELS)
def test_every_panel_of_every_chapter_is_drawn(visit, expect, chapter):
    page = visit(f"tutorials/{chapter}.html")
    frames = page.locator("iframe.live-panel")
    assert frames.count() >= 2, "panels that answer"
    for place in range(frames.count()):
        frame = frames.nth(place)
        frame.scroll_into_view_if_needed()
        panel = frame.content_frame.locator(".nk-panel")
        expect(panel.locator("button:visible").first).to_be_visible()
        expect(panel.locator(".nk-error:visible")).to_have_count(0)
        height = panel.evaluate("panel => panel.getBoundingClientRect().bottom")
        page.wait_for_function(
            "([place, height]) => Math.abs(document.querySelectorAll('iframe.live-panel')[place].offsetHeight - height) < 4",
            arg=[place, height],
        )


def test_frames_follow_the_theme_of_the_page(visit, expect):
    page = visit("tutorials/02_tokenization.html")
    frame = page.locator("iframe.live-panel").first
    frame.scroll_into_view_if_needed()
    root = frame.content_frame.locator("html")
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.body.dataset.theme = theme; }", theme)
        expect(root).to_have_attribute("theme", theme)
