"""Each panel in a kernel as its host has it: Colab's, with older ipykernel and ipywidgets, and one as VS Code starts it.

What such a page gets of a panel is what the kernel sends: the outputs, and the state of the widget with its module's text.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from older_environment import COLAB, kernel_spec, older_environment

from notebook_kit import panels

pytestmark = pytest.mark.slow

VIEW = "application/vnd.jupyter.widget-view+json"
MANAGER = "https://colab.example/manager.min.js"
GOOGLE_COLAB = f"""
calls = []

class _widgets:
    _installed_url = None

def enable_custom_widget_manager():
    calls.append("enable_custom_widget_manager")
    _widgets._installed_url = {MANAGER!r}
"""
"""A stand-in for `google.colab.output`, as far as a widget needs it: the address of its manager is known once it is enabled."""

PREPARED = """
from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer
from notebook_kit.panels import *
name = "notebook-kit/tiny-sentiment"
tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForSequenceClassification.from_pretrained(name)
from writers import byte_tokenizer, gpt2
bytes_ = byte_tokenizer()"""
SHOWN = {
    "AttentionView": "AttentionView(model, 'What a film', tokenizer=tokenizer)",
    "GenerationView": """
writing = GenerationView(gpt2(bytes_), "the cat", tokenizer=bytes_, max_new_tokens=3)
writing.generate(wait=True)
writing""",
    "ModelPicker": "ModelPicker()",
    "ResultView": "ResultView([{'label': 'cat', 'score': 0.9}, {'label': 'dog', 'score': 0.1}])",
    "TokenInspector": "TokenInspector(tokenizer, text='unbelievable tokens')",
    "TrainingDashboard": """
with TrainingDashboard() as board:
    for step in range(1, 41):
        board.log(step, loss=1 / step)
board""",
}
FROM_ELSEWHERE = re.compile(r"\brequire\s*\(|\bimport\s*[({'\"]|\bimport\s+[\w*]+[^;'\"]*\bfrom\b|\bimportScripts\b")
ADDRESS = re.compile(r"(?:https?:)?//[\w-]+(?:\.[\w-]+)+[^\s'\"`]*")
NAMESPACE = re.compile(r"http://www\.w3\.org/(?:2000/svg|1999/xlink|1999/xhtml)")


class Kernel:
    """A running kernel, talked to as a page does."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.widgets: dict[str, dict[str, Any]] = {}

    def run(self, code: str) -> list[dict[str, Any]]:
        """What a cell shows; an error or a word on stderr fails. States of new widgets go to `widgets`."""
        messages: list[dict[str, Any]] = []
        reply = self.client.execute_interactive(code, timeout=120, allow_stdin=False, output_hook=messages.append)
        assert reply["content"]["status"] == "ok", "\n".join(reply["content"].get("traceback", []))
        for message in messages:
            kind, content = message["msg_type"], message["content"]
            assert not (kind == "stream" and content["name"] == "stderr"), content["text"]
            if kind == "comm_open":
                self.widgets[content["comm_id"]] = content["data"]["state"]
        return [m["content"] for m in messages if m["msg_type"] in ("display_data", "execute_result", "stream")]

    def ask(self, model_id: str, question: str, **values: Any) -> dict[str, Any]:
        """A question of a panel's page, and its answer."""
        asked = {"nk": "page.1", "ask": question, "with": values}
        content = {"comm_id": model_id, "data": {"method": "custom", "content": asked}}
        self.client.shell_channel.send(self.client.session.msg("comm_msg", content))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            message = self.client.get_iopub_msg(timeout=60)
            if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == model_id:
                said = message["content"]["data"].get("content", {})
                if said.get("nk") == asked["nk"]:
                    return said
        raise AssertionError(f"{question!r} got no answer")


@pytest.fixture(scope="module", params=["colab", "vscode"])
def host(request, tmp_path_factory) -> Iterator[tuple[str, Kernel]]:
    """The name of a host, and a kernel as that host has it."""
    from jupyter_client.manager import KernelManager

    folder = tmp_path_factory.mktemp(request.param)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder / "ipython"))
        patch.setenv("JUPYTER_PATH", str(folder))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(Path(__file__).parent)]))
        if request.param == "colab":
            package = folder / "google" / "colab"  # `google` itself has no __init__: other packages are in it too
            package.mkdir(parents=True)
            (package / "__init__.py").touch()
            (package / "output.py").write_text(GOOGLE_COLAB)
            startup = folder / "ipython" / "profile_default" / "startup"
            startup.mkdir(parents=True)
            (startup / "colab.py").write_text("import google.colab.output\n")  # Colab's shell has it loaded
            name = kernel_spec(folder, "colab", older_environment(*COLAB))
        else:
            patch.setenv("VSCODE_PID", "1")
            name = "python3"
        manager = KernelManager(kernel_name=name)
        manager.start_kernel(cwd=str(folder))
        client = manager.blocking_client()
        client.start_channels()
        try:
            client.wait_for_ready(timeout=60)
            kernel = Kernel(client)
            kernel.run(PREPARED)
            yield request.param, kernel
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def test_the_kernels_are_what_they_should_be(host):
    where, kernel = host
    (said,) = kernel.run(
        "import ipykernel, ipywidgets, sys\n"
        "print(ipykernel.__version__, ipywidgets.__version__, 'google.colab.output' in sys.modules)"
    )
    expected = "6.29.5 7.7.1 True\n" if where == "colab" else r"[78]\.\S+ 8\.\S+ False\n"
    assert re.fullmatch(expected, said["text"])


def test_all_panels_are_tried_here():
    names = {name for name in panels.__all__ if name != "Panel" and isinstance(getattr(panels, name), type)}
    assert names == set(SHOWN)


@pytest.mark.parametrize("name", SHOWN)
def test_a_panel_is_shown_with_all_that_its_page_needs(host, name):
    where, kernel = host
    shown = [output for output in kernel.run(SHOWN[name]) if "data" in output]
    assert len(shown) == (2 if name == "TrainingDashboard" else 1)  # `with` shows a dashboard, and so does its name
    for output in shown:
        data, metadata = output["data"], output["metadata"]
        assert name in data["text/plain"]
        # The static face: what is seen where the kernel is gone.
        assert re.search(r"<table>|<p>", data["text/html"]) and "<script" not in data["text/html"]
        # The widget's view, and where Colab gets its manager from; which is nobody's business elsewhere.
        state = kernel.widgets[data[VIEW]["model_id"]]
        assert metadata == ({VIEW: {"colab": {"custom_widget_manager": {"url": MANAGER}}}} if where == "colab" else {})
        # The module comes with the widget, and loads nothing: no extension of the host, no CDN, no loader of modules.
        assert (state["_model_module"], state["_view_module"]) == ("anywidget", "anywidget")
        assert state["_anywidget_id"] == f"{getattr(panels, name).__module__}.{name}"
        module, style = state["_esm"], state["_css"]
        assert "export default" in module and len(module) > 10_000
        code = re.sub(r"^\s*//.*$|/\*.*?\*/", "", module, flags=re.M | re.S)
        assert not FROM_ELSEWHERE.findall(code)
        assert not ADDRESS.findall(NAMESPACE.sub("", code)) and not re.search(
            r"url\(\s*['\"]?(?!data:|#)|@import", style
        )
    if name != "ModelPicker":
        assert "data:image/png;base64," in shown[-1]["data"]["text/html"]


def test_what_would_be_loaded_is_found():
    for line in (
        "import x from './x.js'",
        'import "https://esm.sh/d3"',
        "const d3 = await import(address)",
        "import * as d3 from 'd3'",
        "import { a } from 'b'",
        "require(['d3'], run)",
    ):
        assert FROM_ELSEWHERE.search(line), line
    assert ADDRESS.search("fetch('//cdn.example.org/d3.js')") and ADDRESS.search("`https://esm.sh/d3`")


def test_a_click_reaches_the_kernel_and_its_answer_the_page(host):
    _, kernel = host
    (output,) = (output for output in kernel.run(SHOWN["TokenInspector"]) if "data" in output)
    said = kernel.ask(output["data"][VIEW]["model_id"], "tokens", text="unbelievably", text_pair=None)
    assert "error" not in said and "##bel" in json.dumps(said["answer"])


def test_colab_is_asked_once_for_its_widget_manager(host):
    where, kernel = host
    (said,) = kernel.run("import sys\nprint(getattr(sys.modules.get('google.colab.output'), 'calls', None))")
    assert said["text"] == ("['enable_custom_widget_manager']\n" if where == "colab" else "None\n")


def test_a_running_cell_hears_its_dashboard(host):
    where, kernel = host
    (said,) = kernel.run("print(TrainingDashboard()._hears)")
    assert said["text"] == ("poll\n" if where == "colab" else "subshell\n")
