"""AttentionView at 12 x 12 heads: bytes to the page, cell run to first paint, click to painted.

Run with `python benchmarks/panels_attention_view.py`. It drives JupyterLab in a headless Chromium, as the tests in
`tests/browser` do (set CHROMIUM to its path). Bytes are all that the kernel's websocket brings while the cell runs,
headers of messages and the static face included. Times are taken in the page, from the command that runs the cell, or from
the click, to the second frame after the heads are drawn.
"""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "browser"), str(ROOT / "tests")]

import pytest  # noqa: E402
from measure import ROUNDS, table  # noqa: E402

ROWS: list[list[str]] = []

# A random head with a slope towards near tokens; the libraries are loaded and a first view was made, as in a lesson's second cell.
MAKE = """
import torch
from notebook_kit.panels import AttentionView
torch.manual_seed(0)
place = torch.arange({tokens})
attention = (torch.randn(12, 12, {tokens}, {tokens}) - (place[:, None] - place).abs() / 8).softmax(-1)
labels = [f"token{{i}}" for i in range({tokens})]
_ = AttentionView(attention[:2, :2, :8, :8], tokens=labels[:8])
"""
SHOW = "view = AttentionView(attention, tokens=labels)\nview"

FIRST_PAINT = """async () => {
    const panel = window.jupyterapp.shell.currentWidget;
    panel.content.activeCellIndex = 1;
    const frame = () => new Promise(requestAnimationFrame);
    const started = performance.now();
    window.jupyterapp.commands.execute('notebook:run-cell');
    while (!panel.node.querySelector('.nk-av-stage[data-shown]')) await frame();
    await frame();
    return performance.now() - started;
}"""
SWITCH = """async ([layer, head]) => {
    const root = window.jupyterapp.shell.currentWidget.node;
    const frame = () => new Promise(requestAnimationFrame);
    const started = performance.now();
    root.querySelector(`.nk-av-cell[data-layer="${layer}"][data-head="${head}"]`).click();
    while (root.querySelector('.nk-av-stage').dataset.shown !== `${layer}.${head}`) await frame();
    await frame();
    return performance.now() - started;
}"""


@pytest.mark.parametrize("tokens", [128, 512])
def test_measure(notebook, lab_page, tokens):
    """Not a test: it only borrows the notebook of the tests."""
    paints: list[float] = []
    sizes: list[int] = []
    for _ in range(ROUNDS):
        frames: list[int] = []

        def watch(socket, frames=frames):
            socket.on(
                "framereceived", lambda data: frames.append(len(data if isinstance(data, bytes) else data.encode()))
            )

        lab_page.on("websocket", watch)
        page = notebook([MAKE.format(tokens=tokens), SHOW], run=False)
        page.evaluate("() => window.jupyterapp.commands.execute('notebook:run-cell')")
        page.wait_for_function(
            "() => window.jupyterapp.shell.currentWidget.content.widgets[0].model.executionCount !== null",
            timeout=120_000,
        )
        page.wait_for_timeout(500)
        frames.clear()
        paints.append(page.evaluate(FIRST_PAINT))
        page.wait_for_timeout(500)
        sizes.append(sum(frames))
        lab_page.remove_listener("websocket", watch)
    fresh = [page.evaluate(SWITCH, [7, head]) for head in range(12)]
    known = [page.evaluate(SWITCH, [7, head]) for head in range(12)]
    page.get_by_role("tab", name="Matrix").click()
    matrix = [page.evaluate(SWITCH, [3, head]) for head in range(12)]
    median = statistics.median
    ROWS.extend(
        [
            [
                f"bytes to the page, first view, {tokens} tokens",
                f"{median(sizes) / 1e6:.2f} MB",
                "1 MB" if tokens == 512 else "0.5 MB",
            ],
            [
                f"cell run to first paint, {tokens} tokens",
                f"{median(paints):.0f} ms",
                "1000 ms" if tokens == 512 else "",
            ],
            [f"switch of head, click to painted, {tokens} tokens: lines", f"{median(fresh):.0f} ms", "100 ms"],
            [f"the same, a head seen before, {tokens} tokens", f"{median(known):.0f} ms", "100 ms"],
            [f"switch of head, click to painted, {tokens} tokens: matrix", f"{median(matrix):.0f} ms", "100 ms"],
        ]
    )


def main() -> None:
    """Measure in a notebook, then print the table."""
    code = pytest.main([__file__, "-q", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", str(ROOT)])
    table(["12 x 12 heads", "measured", "to reach"], ROWS)
    sys.exit(code)


if __name__ == "__main__":
    sys.modules["panels_attention_view"] = sys.modules["__main__"]  # pytest imports this file by its name
    main()
