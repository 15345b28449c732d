"""Several processes from a cell, in a real kernel: with the dashboard, with what a notebook already did, stopped, and failing."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from notebook_kit.errors import ConfigurationError
from notebook_kit.training import notebook_launcher

HERE = Path(__file__).parent
SETUP = f"""
import sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parents[1])!r}]
import os, tempfile, time
import accelerate
from notebook_kit import notebook_launcher
from notebook_kit.training import TrainerCallback
from tiny_training import bert, dataset, trainer

folder, rows = tempfile.mkdtemp(), dataset(24)

def losses(folder, size, callbacks=(), **options):
    shown = {{"disable_tqdm": False, "max_steps": 4, "logging_steps": 1, **options}}
    run = trainer(folder, bert(0.0), rows, per_device_train_batch_size=size, callbacks=list(callbacks), **shown)
    run.train()
    return [round(log["loss"], 5) for log in run.state.log_history if "loss" in log] + [run.args.world_size]
"""
OF_ACCELERATE = "accelerate.notebook_launcher(losses, (folder, 4), num_processes=2)"
ALONE = "print(losses(folder, 8, disable_tqdm=True))"
OURS = "print(notebook_launcher(losses, (folder, 4), num_processes=2))"
AGAIN = ALONE  # the Trainers of the notebook work as before
STOPPED = """
class Slow(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        open(os.path.join(folder, "started"), "w").close()
        time.sleep(0.05)

saving = {"save_strategy": "steps", "save_steps": 1000, "max_steps": 500, "disable_tqdm": True}
print(folder)
try:
    notebook_launcher(lambda: losses(folder, 4, [Slow()], **saving), num_processes=2)
except KeyboardInterrupt:
    kept = [name for name in os.listdir(folder) if name.startswith("checkpoint-")]
    print("stopped", len(kept), 0 < int(kept[0].partition("-")[2]) < 500)
"""
FAILED = """
def fails():
    if os.environ["RANK"] == "1":
        raise ValueError("the second process fails")
    losses(folder, 4, disable_tqdm=True)

try:
    notebook_launcher(fails, num_processes=2)
except Exception as error:
    print(type(error).__name__, "the second process fails" in str(error))
"""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The outputs of the cells, and the widgets that the page got."""
    cells = [SETUP, OF_ACCELERATE, ALONE, OURS, AGAIN, STOPPED, FAILED]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    home = tmp_path_factory.mktemp("kernel")
    client = NotebookClient(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(home)}})
    with client.setup_kernel(env={**os.environ, "IPYTHONDIR": str(home), "OMP_NUM_THREADS": "1"}):
        for place, cell in enumerate(notebook.cells):
            if cell.source != STOPPED:
                client.execute_cell(cell, place)
                continue
            presser = threading.Thread(target=press_stop, args=(client, notebook.cells[place]), daemon=True)
            presser.start()
            client.execute_cell(cell, place)
            presser.join()
    return dict(
        zip(["setup", "accelerate", "alone", "ours", "again", "stopped", "failed"], notebook.cells, strict=True)
    ), client


def press_stop(client, cell):
    """Press the stop button once the processes train."""
    printed = threading.Event()
    while not (folder := printed_by(cell)):
        printed.wait(0.05)
    while not Path(folder.splitlines()[0], "started").exists():
        printed.wait(0.05)
    os.killpg(os.getpgid(client.km.provisioner.pid), signal.SIGINT)  # as a Jupyter server does it


def printed_by(cell):
    return "".join(output.text for output in cell.outputs if output.get("name") == "stdout")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["accelerate", "ours"])
def test_one_live_dashboard_shows_the_run(notebook, launcher):
    cells, client = notebook
    shown = [output.data for output in cells[launcher].outputs if output.output_type == "display_data"]
    assert len(shown) == 1, "the first process alone"
    assert "step 4 of 4, ended" in shown[0]["text/plain"] and "<img" in shown[0]["text/html"]
    assert "application/vnd.jupyter.widget-view+json" not in shown[0], "the live panel ended with its process"
    panels = [
        state for state in client.widget_state.values() if "training_dashboard" in str(state.get("_anywidget_id"))
    ]
    assert len(panels) == 2, "but it was on the page, from each launcher"
    assert not [output for output in cells[launcher].outputs if output.get("name") == "stderr"]


@pytest.mark.slow
def test_the_first_process_returns_what_one_process_finds(notebook):
    cells, _ = notebook
    alone, ours, again = (eval(printed_by(cells[name]).splitlines()[-1]) for name in ("alone", "ours", "again"))
    assert (alone.pop(), ours.pop(), again.pop()) == (1, 2, 1)
    assert ours == pytest.approx(alone, abs=2e-5) and again == alone


@pytest.mark.slow
def test_the_stop_button_saves_and_ends_all_processes(notebook):
    assert "stopped 1 True" in printed_by(notebook[0]["stopped"])


@pytest.mark.slow
def test_the_error_of_a_process_is_raised_in_the_notebook(notebook):
    assert "ChildFailedError True" in printed_by(notebook[0]["failed"])


def test_what_cannot_be_launched_is_refused(monkeypatch):
    with pytest.raises(ConfigurationError, match="num_processes=0"):
        notebook_launcher(print, num_processes=0)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigurationError, match="already one of several processes"):
        notebook_launcher(print, num_processes=2)
