"""Handouts open with no network and show what panels show."""

from __future__ import annotations

import base64
import http.server
import json
import re
import threading
import time

import nbformat
import pytest

from notebook_kit.__main__ import main
from notebook_kit.errors import InputError
from notebook_kit.handout import handout
from notebook_kit.panels import TokenInspector

PICTURE = b"\x89PNG\r\n\x1a\n"  # the beginning of one
ELSEWHERE = re.compile(
    r"""<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//|import\(?\s*["']https?:"""
)


def lesson(folder, *cells):
    notebook = nbformat.v4.new_notebook(cells=list(cells))
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"state": {}}}
    path = folder / "lesson.ipynb"
    nbformat.write(notebook, path)
    return path


def test_panels_appear_as_static_faces(tmp_path):
    bundle = TokenInspector("notebook-kit/tiny-sentiment", text="Unbelievably good.")._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    cell = nbformat.v4.new_code_cell("inspector", outputs=[nbformat.v4.new_output("display_data", data=data)])
    page = handout(lesson(tmp_path, cell), tmp_path / "out").read_text(encoding="utf-8")
    assert "tokens 9, characters 18, words 2" in page
    assert not ELSEWHERE.search(page)


def test_formulas_are_pictures_and_code_stays(tmp_path):
    text = r"Weights $\frac{QK^\top}{\sqrt{d}}$, code `cost $5 and $6`, prices $5 and $6, $\nosuchcommand{x}$."
    page = handout(lesson(tmp_path, nbformat.v4.new_markdown_cell(text))).read_text(encoding="utf-8")
    assert len(re.findall(r"<img [^>]*data:image/svg\+xml", page)) == 1
    assert "cost $5 and $6" in page and "prices $5 and $6" in page and r"<code>\nosuchcommand{x}</code>" in page


def test_solutions_are_folded(tmp_path):
    text = "<details>\n<summary>A solution</summary>\n\n```python\nanswer = 42\n```\n\nWhy?\n\n</details>"
    page = handout(lesson(tmp_path, nbformat.v4.new_markdown_cell(text))).read_text(encoding="utf-8")
    inside = re.search(r"<details>\s*<summary>A solution</summary>(.*?)</details>", page, re.DOTALL)
    assert inside and "42" in inside[1] and "Why?" in inside[1]


@pytest.fixture
def gallery():
    """A server with a picture, a page, and a picture that never comes."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path == "/never.png":
                done.wait(20)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(PICTURE if self.path == "/seen.png?a=1&b=2" else b"<html>Log in</html>")

        def log_message(self, *_):
            pass

    done = threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    done.set()
    server.shutdown()
    server.server_close()


def test_pictures_are_inside_or_named_as_missing(tmp_path, gallery, monkeypatch, caplog):
    monkeypatch.setattr("notebook_kit.handout.SECONDS_FOR_A_PICTURE", 0.5)
    monkeypatch.setattr("notebook_kit.handout.SECONDS_FOR_ALL", 0.7)
    (tmp_path / "my cat.png").write_bytes(PICTURE)
    (tmp_path.parent / "outside.png").write_bytes(PICTURE)
    text = (
        f"![near](my%20cat.png) ![far]({gallery}/seen.png?a=1&b=2) ![gone](gone.png) ![lost](attachment:lost.png)\n\n"
        f"<img src='{gallery}/login.png'> <img src='../outside.png'> <img src='ftp://a.b/c.png'> ![never]({gallery}/never.png)"
    )
    script = "<script>const tag = '<img src=\"in-a-script.png\">'</script>"
    output = nbformat.v4.new_output("display_data", data={"text/html": f"<img src='{gallery}/late.png'>{script}"})
    cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("show()", outputs=[output])]
    started = time.monotonic()
    page = handout(lesson(tmp_path, *cells)).read_text(encoding="utf-8")
    assert time.monotonic() - started < 30
    assert page.count(f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}") == 2
    assert not ELSEWHERE.search(page) and 'src="in-a-script.png"' in page
    for name, why in {
        "gone.png": "there is no such file",
        "lost.png": "there is no such file",
        f"{gallery}/login.png": "it is not a picture",
        "../outside.png": "it is outside the notebook&#x27;s folder",
        "ftp://a.b/c.png": "its address begins with",
        f"{gallery}/never.png": "it took longer than 0.5 seconds",
        f"{gallery}/late.png": "",
    }.items():
        assert f"Picture missing: {name} ({why}" in page, name
        assert name in caplog.text


@pytest.mark.slow
def test_a_cell_that_does_not_end(tmp_path):
    path = lesson(tmp_path, nbformat.v4.new_code_cell("import time; time.sleep(600)"))
    with pytest.raises(InputError, match=r"Cell 1 of .* ran for more than 1 seconds"):
        handout(path, execute=True, cell_seconds=1)


@pytest.mark.slow
def test_command_executes_and_writes(tmp_path, capsys):
    path = lesson(tmp_path, nbformat.v4.new_code_cell("print(6 * 7)"))
    assert main(["handout", "--execute", "--output-dir", str(tmp_path / "new" / "folder"), str(path)]) == 0
    assert "42" in (tmp_path / "new" / "folder" / "lesson.html").read_text(encoding="utf-8")
    assert not nbformat.read(path, as_version=4).cells[0].outputs
    assert main(["handout", "--execute", str(lesson(tmp_path, nbformat.v4.new_code_cell("1 / 0")))]) == 1
    told = capsys.readouterr().err
    assert "Cell 1 of" in told and "ZeroDivisionError" in told and "IPKernelApp" not in told


def test_what_is_no_notebook_is_named(tmp_path, capsys):
    for name, content in (("a.ipynb", "{"), ("b.ipynb", json.dumps([1])), ("c.py", "print()")):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=name):
            handout(tmp_path / name)
    assert main(["handout", str(tmp_path / "missing.ipynb")]) == 1
    assert "missing.ipynb" in capsys.readouterr().err
