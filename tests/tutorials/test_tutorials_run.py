"""Every tutorial runs from top to bottom with no network: untouched, and once more with the hidden solutions filled in."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from form import CHAPTERS, WITH_TENSORFLOW, exercises, read, solved, tags, verdicts
from live_panels import PAGE, install, outputs_with_pages
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

MEMORY = 1.2e9
"""Bytes that the kernel may take at its highest."""
MEMORY_OF_BOTH = 2e9
"""The same for a chapter that loads TensorFlow beside torch."""
SECONDS = 180
"""Of computing, for the whole notebook: time that the kernel's process was at work, which a busy machine does not lengthen."""
EXECUTED = Path(__file__).parents[1] / "artifacts" / "tutorials"
"""Where executed notebooks go; ignored by git. The site is built from them."""

NO_NETWORK = """
import socket

def refuse(*arguments, **options):
    raise OSError("a tutorial may not use the network")

def connect(self, address, real=socket.socket.connect):
    if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "localhost", "::1"):
        return real(self, address)
    return refuse()

socket.socket.connect = connect
socket.getaddrinfo = lambda host, *rest, real=socket.getaddrinfo, **options: (
    real(host, *rest, **options) if host in ("127.0.0.1", "localhost", "::1", None) else refuse()
)
"""


@contextmanager
def kernel(folder: Path, notebook: Any, pages: Path | None = None) -> Iterator[NotebookClient]:
    """A fresh kernel with no network, no cache, and an empty folder to work in; the pages of its panels are kept if a folder is named."""
    startup = folder / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True)
    (startup / "no_network.py").write_text(NO_NETWORK)
    if pages:
        install(folder / "ipython", pages)
    work = folder / "work"
    work.mkdir()
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython"), "HF_HOME": str(folder / "cache")}
    environment.pop("HF_HUB_OFFLINE", None)  # a learner's machine has no such setting
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(work)}})
    with client.setup_kernel(env=environment):
        yield client
    assert not list(work.iterdir()), "a tutorial writes into temporary folders only"


def run(client: NotebookClient, notebook: Any, *, each_twice: bool = False) -> None:
    """Run all cells; fail on errors, and on any word to stderr where the cell has no tag `notice`."""
    client.nb = notebook
    client.reset_execution_trackers()
    for place, cell in enumerate(notebook.cells):
        if cell.cell_type != "code":
            continue
        client.execute_cell(cell, place)
        if each_twice:
            client.execute_cell(cell, place)
        for output in cell.outputs:
            if output.output_type == "stream":
                lesson = "notice" in tags(cell)  # what it says on stderr is what it is there for
                assert lesson or output.name != "stderr", f"cell {place} says on stderr: {output.text}"
                assert "Traceback (most recent call last)" not in output.text
                assert lesson or "Warning:" not in output.text
            assert output.output_type != "error", output


def used_by(client: NotebookClient) -> tuple[int, float]:
    """The highest memory in bytes, and the seconds of computing, of the kernel's process up to now."""
    pid = client.km.provisioner.pid
    status = Path(f"/proc/{pid}/status").read_text()
    highest = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return highest, (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def said(notebook: Any) -> list[tuple[str, str]]:
    return [line for cell in notebook.cells if "check" in tags(cell) for line in verdicts(cell)]


def run_untouched(client: NotebookClient, notebook: Any, path: Path) -> None:
    run(client, notebook)
    signs = [sign for sign, _ in said(notebook)]
    assert len(signs) >= len(exercises(notebook)) and set(signs) == {"…"}, said(notebook)
    highest, seconds = used_by(client)
    print(f"{path.stem}: {highest / 1e6:.0f} MB, {seconds:.0f} s of computing")
    assert highest < (MEMORY_OF_BOTH if path in WITH_TENSORFLOW else MEMORY)
    assert seconds < SECONDS
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, EXECUTED / path.name)
    names = [data[PAGE] for data in outputs_with_pages(notebook)]
    kept = [(EXECUTED / "panels" / path.stem / name).read_text("utf-8") for name in names]
    assert all('id="data"' in page for page in kept)


WITHOUT_EXTRAS = [path for path in CHAPTERS if path not in WITH_TENSORFLOW]
QUICK_TOUR = [path for path in CHAPTERS if path.stem == "00_quick_tour"]
linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory and time are read from /proc")


@linux
@pytest.mark.parametrize("path", QUICK_TOUR, ids=lambda path: path.stem)
def test_runs_untouched(path, tmp_path):
    notebook = read(path)
    with kernel(tmp_path, notebook, EXECUTED / "panels" / path.stem) as client:
        run_untouched(client, notebook, path)


@linux
@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", WITHOUT_EXTRAS, ids=lambda path: path.stem)
def test_runs_untouched_and_then_solved_in_the_same_kernel(path, tmp_path):
    """The second time from the top, with each cell run twice: nothing leans on a fresh kernel."""
    run_twice(path, tmp_path)


@linux
@pytest.mark.tensorflow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", WITH_TENSORFLOW, ids=lambda path: path.stem)
def test_runs_where_tensorflow_is_installed(path, tmp_path):
    """Likewise, in the environment of `pytest -m tensorflow`."""
    run_twice(path, tmp_path)


def run_twice(path: Path, tmp_path: Path) -> None:
    notebook = read(path)
    with kernel(tmp_path, notebook, EXECUTED / "panels" / path.stem) as client:
        run_untouched(client, notebook, path)
        filled = solved(read(path))
        run(client, filled, each_twice=True)
    assert said(filled) and {sign for sign, _ in said(filled)} == {"✓"}, said(filled)


TRAINS = "trainer.train()"


def press_stop(kernel_pid: int, cell: Any) -> None:
    """Interrupt a cell soon after its dashboard has appeared, which is when its training begins."""
    wait = threading.Event().wait
    while not any(output.output_type == "display_data" for output in cell.outputs):
        wait(0.05)
    wait(0.3)
    os.kill(kernel_pid, signal.SIGINT)


@linux
@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in CHAPTERS if TRAINS in path.read_text()], ids=lambda path: path.stem)
def test_stopped_half_way_it_runs_again_from_the_top(path, tmp_path):
    """A learner presses the stop button while a model is in training, and begins again without a new kernel."""
    notebook = read(path)
    stop = next(
        place for place, cell in enumerate(notebook.cells) if cell.cell_type == "code" and TRAINS in cell.source
    )
    with kernel(tmp_path, notebook) as client:
        half = read(path)
        half.cells = half.cells[: stop + 1]
        training = half.cells.pop()
        run(client, half)
        half.cells.append(training)
        training.outputs.clear()  # those of the file
        button = threading.Thread(target=press_stop, args=(client.km.provisioner.pid, training), daemon=True)
        button.start()
        with pytest.raises(CellExecutionError, match="KeyboardInterrupt"):
            client.execute_cell(training, stop)
        button.join()
        run(client, notebook)
    assert {sign for sign, _ in said(notebook)} == {"…"}, said(notebook)
