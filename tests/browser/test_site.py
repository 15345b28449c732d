"""The built site, from disk and from a server: the panels in its pages are live, with no kernel and no network elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import shot
from support import skip_or_fail

SITE = Path(__file__).parents[2] / "docs" / "_build" / "html"
CHAPTERS = sorted(path.stem for path in (Path(__file__).parents[2] / "tutorials").glob("[0-9]*.ipynb"))
# Both are read again until they agree: a picture in the panel may still be loading.
HEIGHT_FITS = """place => {
    const frame = document.querySelectorAll("iframe.live-panel")[place];
    const panel = frame.contentDocument.querySelector(".nk-panel");
    return Math.abs(frame.offsetHeight - panel.getBoundingClientRect().bottom) < 4;
}"""
# Where TensorFlow is not installed, its chapter has pictures in place of panels.
WITH_PANELS = [name for name in CHAPTERS if not name.endswith(("_pipelines", "_tensorflow", "_one_machine"))]


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """The address of a server of the site."""
    if not (SITE / "tutorials" / "panels").is_dir():
        skip_or_fail("the site is not built: python docs/build.py")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(SITE)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def visit(chromium: Any, served: str) -> Iterator[Any]:
    """`visit("tutorials/index.html")` opens a page of the server, or with `from_disk` the file.

    A script error in it, or a request that leaves the site, fails the test.
    """
    context = chromium.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(error.stack or str(error)))
    inside = ("file:", "blob:", "data:", f"{served}/")
    page.on("request", lambda one: None if one.url.startswith(inside) else faults.append(one.url))

    def open_(name: str, from_disk: bool = False) -> Any:
        page.goto((SITE / name).as_uri() if from_disk else f"{served}/{name}")
        return page

    yield open_
    context.close()
    assert not faults, faults


def panels(page: Any, name: str) -> Any:
    """The frames with a kind of panel, by the beginning of their titles."""
    return page.locator(f'iframe.live-panel[title^="{name}"]')


@pytest.mark.parametrize("from_disk", [True, False], ids=["from disk", "from a server"])
def test_a_panel_of_a_chapter_answers_a_click(visit, expect, from_disk):
    page = visit("tutorials/03_attention.html", from_disk)
    frame = panels(page, "AttentionView").first
    frame.scroll_into_view_if_needed()
    panel = frame.content_frame.locator(".nk-panel")
    panel.locator('.nk-av-cell[data-layer="0"][data-head="5"]').click()
    expect(panel.locator(".nk-av-said-line")).to_contain_text("Layer 0 · head 5")
    panel.get_by_role("tab", name="Matrix").click()
    expect(panel.locator(".nk-av-raw .nk-av-map")).to_be_visible()


def test_the_first_page_begins_with_a_panel_that_answers(visit, expect):
    page = visit("index.html", from_disk=True)
    frame = panels(page, "AttentionView")
    expect(frame).to_have_count(1)
    cell = frame.content_frame.locator('.nk-av-cell[data-layer="0"][data-head="1"]')
    cell.click()
    expect(frame.content_frame.locator(".nk-av-said-line")).to_contain_text("Layer 0 · head 1")
    assert frame.bounding_box()["y"] < 1000, "on the first screen"
    shot(page, "site_start")


def test_outputs_keep_to_the_page(visit):
    page = visit("tutorials/01_pipelines.html")
    wide = "pres => pres.filter(pre => pre.scrollWidth > pre.clientWidth + 1).map(pre => pre.textContent.slice(0, 80))"
    assert page.locator(".cell_output .stream pre, .cell_output .text_plain pre").evaluate_all(wide) == []


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
        page.wait_for_function(HEIGHT_FITS, arg=place)


def test_a_frame_that_loads_before_the_script_gets_its_height(visit, expect):
    held: list[Any] = []
    page = visit("tutorials/index.html")
    page.route("**/live_panels.js*", lambda route: held.append(route))
    page.goto(page.url.replace("index", "02_tokenization"), wait_until="commit")
    panel = page.frame_locator("iframe.live-panel >> nth=0").locator(".nk-panel")
    expect(panel.locator("button:visible").first).to_be_visible()
    held[0].continue_()
    page.wait_for_function(HEIGHT_FITS, arg=0)


def test_frames_follow_the_theme_of_the_page(visit, expect):
    page = visit("tutorials/02_tokenization.html")
    frame = page.locator("iframe.live-panel").first
    frame.scroll_into_view_if_needed()
    root = frame.content_frame.locator("html")
    for theme in ("dark", "light"):
        page.evaluate("theme => { document.body.dataset.theme = theme; }", theme)
        expect(root).to_have_attribute("theme", theme)
