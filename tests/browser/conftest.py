"""Real JupyterLab, driven in headless Chromium.

`notebook(cells)` opens an .ipynb with these cells in one long-lived JupyterLab page and runs it, as Run > Run All does.
Where there is no Chromium the tests skip with a reason; NOTEBOOK_KIT_REQUIRE_ALL=1 turns that into a failure.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from support import skip_or_fail

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome") or ""
SHOTS = Path(__file__).parents[1] / "artifacts"
"""Where screenshots go; ignored by git, kept by CI."""

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a microphone that hears a beep each second
    "--use-fake-ui-for-media-stream",
]
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # cells off the screen stay in the page
    "@jupyterlab/docmanager-extension:plugin": {"autosave": False},
}
KERNEL_IS_IDLE = """name => {
    const panel = window.jupyterapp.shell.currentWidget;
    const kernel = panel?.context?.sessionContext?.session?.kernel;
    return panel?.context?.path === name && kernel?.connectionStatus === 'connected' && kernel?.status === 'idle';
}"""
ALL_HAVE_RUN = """() => {
    const panel = window.jupyterapp.shell.currentWidget;
    const failed = panel.node.querySelector("[data-mime-type='application/vnd.jupyter.error']");  // what follows is not run
    return panel.context.sessionContext.session.kernel.status === 'idle' && (failed || panel.content.widgets.every(cell =>
        cell.model.type !== 'code' || !cell.model.sharedModel.source.trim() || cell.model.executionCount !== null));
}"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this folder is a browser test."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass
class Lab:
    """A running JupyterLab server."""

    url: str
    root: Path
    data: Path


@contextmanager
def served(folder: Path, module: str, *options: str, ready: str = "/api/status") -> Iterator[Lab]:
    """A server of Jupyter's kind, with settings, data and workspaces of its own.

    Args:
        folder: Where everything of it lies; its notebooks under `notebooks`.
        module: What `python -m` starts.
        *options: For its command line, besides the port.
        ready: An address of it that answers once it is up.
    """
    root, config = folder / "notebooks", folder / "config"
    root.mkdir(exist_ok=True)
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(SETTINGS))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("JUPYTER") and not key.lower().endswith("_proxy")
    }
    for key, name in {
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
    }.items():
        environment[key] = str(folder / name)
    environment["JUPYTER_CONFIG_DIR"] = str(config)
    command = [sys.executable, "-m", module, "--no-browser", f"--port={port}", *options]
    log = folder / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, cwd=root, env=environment, stdout=output, stderr=output, start_new_session=True
        )
    url, started = f"http://127.0.0.1:{port}", time.monotonic()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        while True:
            try:
                opener.open(f"{url}{ready}", timeout=2).read()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() - started < 120, log.read_text()[-3000:]
                time.sleep(0.1)
        yield Lab(url, root, folder / "data")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(20)


OPEN = [
    "--allow-root",
    "--ip=127.0.0.1",
    "--ServerApp.port_retries=0",
    "--IdentityProvider.token=",
    "--ServerApp.password=",
    "--ServerApp.disable_check_xsrf=True",
]
"""Options of a server that lets everybody on this machine in."""


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A JupyterLab server of our own, with settings, data and workspaces in a temporary folder."""
    folder = tmp_path_factory.mktemp("lab")
    options = [f"--ServerApp.root_dir={folder / 'notebooks'}", "--LabApp.expose_app_in_browser=True"]
    options += ["--LabApp.extension_manager=readonly", "--LabApp.news_url=None"]
    options += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    with served(folder, "jupyterlab", *OPEN, *options) as server:
        yield server


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium."""
    if not CHROMIUM:
        skip_or_fail("there is no Chromium (on Debian: apt-get install chromium; or set CHROMIUM to its path)")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, headless=True)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab_page(lab: Lab, chromium: Any) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 1300, "height": 1000})
    page = context.new_page()
    load(page, f"{lab.url}/lab?reset")
    yield page
    context.close()


@pytest.fixture
def tall(lab_page: Any) -> Iterator[None]:
    """A page tall enough for a panel to be photographed whole."""
    lab_page.set_viewport_size({"width": 1300, "height": 2000})
    yield
    lab_page.set_viewport_size({"width": 1300, "height": 1000})


@pytest.fixture
def expect() -> Any:
    """Playwright's `expect`, with the patience that a shared machine asks for."""
    from playwright.sync_api import expect

    expect.set_options(timeout=30_000)
    return expect


def load(page: Any, url: str) -> None:
    """Load a JupyterLab address and wait until it is restored."""
    page.goto(url, wait_until="domcontentloaded", timeout=120_000)
    page.wait_for_function("() => !!window.jupyterapp", timeout=120_000)
    page.evaluate("() => window.jupyterapp.restored.then(() => true)")


@pytest.fixture
def notebook(lab: Lab, lab_page: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Opens notebooks; closes them and their kernels after the test, and fails on any script error or dialog of the page."""
    faults: list[str] = []
    opened: list[str] = []

    def on_error(error: Any) -> None:
        faults.append(str(error))

    def on_dialog(dialog: Any) -> None:
        faults.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    lab_page.on("pageerror", on_error)
    lab_page.on("dialog", on_dialog)

    def open_(cells: list[str] | Path, *, run: bool = True, trust: bool = False, timeout: float = 90_000) -> Any:
        """Open a notebook.

        Args:
            cells: Sources of code cells, or the path of an .ipynb to copy in.
            run: Run all cells, and fail if one of them does.
            trust: Sign it, as `jupyter trust` does.
            timeout: Milliseconds to wait for the kernel, and for the cells.
        """
        name = f"{re.sub(r'[^A-Za-z0-9]+', '_', request.node.name)}_{len(opened)}.ipynb"
        opened.append(name)
        if isinstance(cells, list):
            content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        else:
            content = nbformat.read(cells, as_version=4)
        content.metadata.setdefault("kernelspec", {"name": "python3", "display_name": "Python 3", "language": "python"})
        nbformat.write(content, lab.root / name)
        if trust:
            from nbformat.sign import NotebookNotary

            NotebookNotary(data_dir=str(lab.data)).sign(nbformat.read(lab.root / name, as_version=4))
        lab_page.evaluate(
            """async name => {
                const widget = await window.jupyterapp.commands.execute('docmanager:open', {path: name, factory: 'Notebook'});
                await widget.context.ready;
                await widget.revealed;
            }""",
            name,
        )
        lab_page.wait_for_function(KERNEL_IS_IDLE, arg=name, timeout=timeout)
        if run:
            run_all(lab_page, timeout)
        return lab_page

    yield open_
    for name in opened:
        lab_page.evaluate(
            """async name => {
                const widgets = [...window.jupyterapp.shell.widgets('main')];
                const widget = widgets.find(widget => widget.context?.path === name);
                if (!widget) return;
                await widget.context.sessionContext.shutdown();
                widget.context.model.dirty = false;
                widget.dispose();
            }""",
            name,
        )
    lab_page.remove_listener("pageerror", on_error)
    lab_page.remove_listener("dialog", on_dialog)
    set_theme(lab_page, dark=False)
    assert not faults, faults


def run_all(page: Any, timeout: float = 90_000) -> None:
    """Run every cell; fail with its traceback if one does. Widgets draw a little later: use `expect`."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(ALL_HAVE_RUN, timeout=timeout)
    errors = page.locator(".jp-NotebookPanel:visible [data-mime-type='application/vnd.jupyter.error']")
    assert errors.count() == 0, errors.all_inner_texts()


def set_theme(page: Any, dark: bool) -> None:
    """Switch JupyterLab to its dark or light theme, and wait until its splash screen has left the page.

    JupyterLab takes the splash screen out 200 ms after a switch; a second switch within that time makes it remove the
    same node twice, which is an error of the page.
    """
    name = "JupyterLab Dark" if dark else "JupyterLab Light"
    page.evaluate("name => window.jupyterapp.commands.execute('apputils:change-theme', {theme: name})", name)
    page.wait_for_function(
        """dark => document.body.dataset.jpThemeLight === String(!dark) && !document.getElementById("jupyterlab-splash")""",
        arg=dark,
    )


def shot(target: Any, name: str) -> Path:
    """A screenshot of a page or an element, kept as an artefact."""
    SHOTS.mkdir(exist_ok=True)
    path = SHOTS / f"{name}.png"
    target.screenshot(path=path)
    return path


@pytest.fixture(scope="session")
def axe_source() -> str:
    """axe-core, the accessibility checker, from its npm package (fetched once into a cache)."""
    cache = Path(os.environ.get("NOTEBOOK_KIT_CACHE") or Path.home() / ".cache" / "notebook_kit") / "npm"
    script = cache / "axe-core-4.14.1.min.js"
    if not script.exists():
        cache.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                subprocess.run(
                    ["npm", "pack", "--silent", "axe-core@4.14.1"],
                    cwd=folder,
                    check=True,
                    capture_output=True,
                    timeout=120,
                )
                archive = next(Path(folder).glob("*.tgz"))
                with tarfile.open(archive) as tar:
                    member = tar.extractfile("package/axe.min.js")
                    assert member is not None
                    script.write_bytes(member.read())
        except (OSError, subprocess.SubprocessError) as error:
            skip_or_fail(f"axe-core cannot be fetched from npm: {error}")
    return script.read_text(encoding="utf-8")


@pytest.fixture
def accessible(axe_source: str) -> Callable[..., None]:
    """`accessible(page, ".nk-panel")` fails with the list of violations of WCAG 2.2 A and AA inside the selector."""

    def check(page: Any, selector: str = ".nk-panel") -> None:
        page.evaluate(f"() => {{ if (!window.axe) {{ {axe_source} }} }}")
        found = page.evaluate(
            """async selector => {
                const rules = {type: 'tag', values: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']};
                const result = await window.axe.run(selector, {runOnly: rules});
                return result.violations.map(v => `${v.id}: ${v.help}: ` + v.nodes.map(n => n.html).join(' | '));
            }""",
            selector,
        )
        assert not found, "\n".join(found)

    return check
