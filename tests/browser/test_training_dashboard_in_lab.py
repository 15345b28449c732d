"""TrainingDashboard in a real JupyterLab: a run watched and steered while its cell is running, both themes, narrow, saved."""

from __future__ import annotations

import re

import nbformat
import pytest
from conftest import KERNEL_IS_IDLE, load, set_theme, shot
from older_environment import kernel_spec, older_environment

pytestmark = pytest.mark.usefixtures("tall")

PANEL = '.jp-NotebookPanel:visible .nk-panel[data-panel="training_dashboard"]'
AXE = '.jp-NotebookPanel:not(.lm-mod-hidden) .nk-panel[data-panel="training_dashboard"]'
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"

LOOP = """
import math, random
from notebook_kit.panels import TrainingDashboard
random.seed(0)
with TrainingDashboard() as board:
    for step in range(1, 601):
        loss = 2.2 * math.exp(-step / 150) + 0.3 + random.gauss(0, 0.06)
        board.log(step, loss=loss, learning_rate=5e-4 * (1 - step / 600), grad_norm=1 + random.random())
        if step % 60 == 0:
            check = 2.2 * math.exp(-step / 130) + 0.38 + max(0, step - 360) / 900
            board.log(step, eval_loss=check, eval_accuracy=1 - math.exp(-step / 200))"""

TRAINER = """
import tempfile, time, torch
from notebook_kit import Trainer, TrainingArguments
from notebook_kit.panels import TrainingDashboard
class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def forward(self, x, labels=None):
        time.sleep(0.01)
        y = self.layer(x).squeeze(-1)
        return {"loss": ((y - labels) ** 2).mean(), "logits": y}
data = [{"x": [i / 8], "labels": i / 4} for i in range(64)]
arguments = TrainingArguments(tempfile.mkdtemp(), max_steps=3000, per_device_train_batch_size=8, use_cpu=True,
                              save_strategy="no", logging_steps=10, learning_rate=1e-3)
trainer = Trainer(Line(), arguments, train_dataset=data, eval_dataset=data)"""


def start_all(page) -> None:
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")


def wait_until_idle(page) -> None:
    name = page.evaluate("() => window.jupyterapp.shell.currentWidget.context.path")
    page.wait_for_function(KERNEL_IS_IDLE, arg=name, timeout=60_000)


def test_a_loop_is_drawn(notebook, expect, accessible):
    page = notebook([LOOP])
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-td-line").first).to_contain_text("step 600")
    expect(panel.locator(".nk-td-verdict")).to_contain_text("Overfitting")
    accessible(page, AXE)
    shot(panel, "dashboard_light")
    set_theme(page, dark=True)
    accessible(page, AXE)
    shot(panel, "dashboard_dark")
    set_theme(page, dark=False)
    panel.evaluate("element => { element.style.width = '320px'; }")
    page.wait_for_timeout(300)
    accessible(page, AXE)
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    shot(panel, "dashboard_narrow")


def test_buttons_reach_a_run_while_its_cell_is_running(notebook, expect):
    page = notebook([TRAINER, "trainer.train()", "print('ended at', trainer.state.global_step)"], run=False)
    start_all(page)
    panel = page.locator(PANEL)
    expect(panel).to_have_count(1)  # the Trainer shows it by itself
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    panel.get_by_role("textbox", name="Learning rate").fill("0.05")
    panel.get_by_role("button", name="Set").click()
    expect(panel.locator(".nk-td-events li[data-kind=learning_rate]")).to_have_count(1)
    panel.get_by_role("button", name="Pause").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("paused")
    still = panel.get_attribute("data-step")
    page.wait_for_timeout(500)
    assert panel.get_attribute("data-step") == still
    shot(panel, "dashboard_paused")
    panel.get_by_role("button", name="Evaluate now").click()
    panel.get_by_role("button", name="Resume").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    expect(panel.locator(".nk-td-events li[data-kind=evaluate]")).to_have_count(1)
    panel.get_by_role("button", name="Stop, keep the best").press("Enter")
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")
    wait_until_idle(page)
    output = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output", has_text="ended at").last
    assert 0 < int(re.search(r"ended at (\d+)", output.inner_text()).group(1)) < 3000


@pytest.fixture(scope="module")
def older_kernel(lab, lab_page) -> str:
    """The name of a kernel of ipykernel 6.29, as Colab has it; all else comes from this environment."""
    name = kernel_spec(lab.data, "ipykernel6", older_environment("ipykernel==6.29.5"))
    lab_page.evaluate("() => window.jupyterapp.serviceManager.kernelspecs.refreshSpecs()")
    return name


def test_buttons_reach_a_run_in_an_older_kernel(notebook, expect, older_kernel, tmp_path):
    cells = ["import ipykernel\nprint('ipykernel', ipykernel.__version__)", TRAINER, "trainer.train()"]
    cells += ["print('ended at', trainer.state.global_step)"]
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    content.metadata["kernelspec"] = {"name": older_kernel, "display_name": "Older", "language": "python"}
    nbformat.write(content, tmp_path / "older.ipynb")
    page = notebook(tmp_path / "older.ipynb", run=False)
    start_all(page)
    panel = page.locator(PANEL)
    outputs = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    expect(outputs.filter(has_text="ipykernel 6.29")).to_have_count(1)
    panel.get_by_role("button", name="Pause").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("paused")
    assert outputs.filter(has_text="ended at").count() == 0  # the cell after it waits for its turn
    panel.get_by_role("button", name="Resume").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    panel.get_by_role("button", name="Stop, keep the best").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")
    wait_until_idle(page)
    assert 0 < int(re.search(r"ended at (\d+)", outputs.filter(has_text="ended at").last.inner_text()).group(1)) < 3000


def test_in_the_background_the_notebook_is_free(notebook, expect):
    page = notebook([TRAINER, "run = trainer.train(background=True)", "print('free', run.done)"])
    panel = page.locator(PANEL)
    expect(page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output", has_text="free False")).to_have_count(1)
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    panel.get_by_role("button", name="Stop, keep the best").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")


def test_hostile_names_run_nowhere(notebook, expect):
    cell = f"""
from notebook_kit.panels import TrainingDashboard
with TrainingDashboard(shown={HOSTILE!r}) as board:
    for step in range(1, 30):
        board.log(step, **{{"loss": 1 / step, {HOSTILE!r}: float(step)}})
board"""
    page = notebook([cell])
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-td-tiles")).to_contain_text("<img src=x")
    assert panel.locator("img").count() == 0  # a dialog would fail the test as well


def test_what_is_seen_without_a_kernel(notebook, expect, tmp_path, chromium):
    page = notebook([LOOP + f"\nboard.to_html({str(tmp_path / 'run.html')!r})\nboard"])
    expect(page.locator(PANEL).last.locator(".nk-td-line").first).to_contain_text("step 600")
    alone = chromium.new_page()
    faults: list[str] = []
    alone.on("pageerror", lambda error: faults.append(str(error)))
    alone.goto((tmp_path / "run.html").as_uri())
    expect(alone.locator(".nk-td-line").first).to_contain_text("step 600")
    alone.get_by_role("button", name=re.compile("Learning rate")).first.click()
    expect(alone.locator(".nk-td-heading")).to_have_text("Learning rate")
    alone.close()
    assert not faults, faults


def test_shown_again_it_is_the_same_run(notebook, expect):
    page = notebook([LOOP, "board"])
    expect(page.locator(PANEL)).to_have_count(2)  # `with` shows it, and so does its name
    for panel in page.locator(PANEL).all():
        expect(panel.locator(".nk-td-line").first).to_contain_text("step 600")


def reloaded(page, lab) -> None:
    """Save the notebook, load the whole page again, and open the notebook."""
    path = page.evaluate(
        """async () => {
            const context = window.jupyterapp.shell.currentWidget.context;
            await context.save();
            return context.path;
        }"""
    )
    load(page, f"{lab.url}/lab")
    page.evaluate(
        """async path => {
            const widget = await window.jupyterapp.commands.execute('docmanager:open', {path, factory: 'Notebook'});
            await widget.context.ready;
        }""",
        path,
    )


def test_a_page_that_is_reloaded_in_a_run_shows_all_of_it(notebook, expect, lab):
    """In the background, as the kernel goes on while there is no page."""
    page = notebook([TRAINER.replace("3000", "1500"), "run = trainer.train(background=True)"])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    reloaded(page, lab)
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    expect(panel.locator(".nk-td-legend")).to_contain_text("Loss")
    before = int(panel.get_attribute("data-step"))
    page.wait_for_function(
        f"""() => Number([...document.querySelectorAll('[data-panel="training_dashboard"]')].at(-1).dataset.step) > {before}"""
    )
    shot(panel, "dashboard_running_light")
    set_theme(page, dark=True)
    shot(panel, "dashboard_running_dark")
    panel.get_by_role("button", name="Stop, keep the best").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")


@pytest.mark.parametrize("kernel", ["python3", "older"])
def test_a_page_that_is_reloaded_while_its_cell_is_running_controls_the_run(
    notebook, expect, lab, kernel, request, tmp_path
):
    content = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in (TRAINER, "trainer.train()")]
    )
    name = request.getfixturevalue("older_kernel") if kernel == "older" else kernel
    content.metadata["kernelspec"] = {"name": name, "display_name": kernel, "language": "python"}
    nbformat.write(content, tmp_path / "run.ipynb")
    page = notebook(tmp_path / "run.ipynb", run=False)
    start_all(page)
    expect(page.locator(PANEL).locator(".nk-td-pill")).to_have_text("running")
    reloaded(page, lab)
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-td-pill")).to_have_text("running", timeout=5_000 if kernel == "python3" else 20_000)
    panel.get_by_role("button", name="Pause").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("paused", timeout=5_000)
    shot(panel, f"dashboard_reloaded_{kernel}")
    panel.get_by_role("button", name="Stop, keep the best").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")
    wait_until_idle(page)


SLOW_LOOP = """
import time
from notebook_kit.panels import TrainingDashboard
with TrainingDashboard(shown="loss") as board:
    for step in range(1, 151):
        board.log(step, loss=1 / step, eval_loss=2 / step)
        time.sleep(0.05)"""


def test_at_its_end_a_run_is_kept_as_a_picture_and_looked_at_as_before(notebook, expect):
    page = notebook([SLOW_LOOP], run=False)
    start_all(page)
    panel = page.locator(PANEL)
    # Under way; a browser that looks once a second would miss the half second of steps 30 to 39.
    expect(panel.locator(".nk-td-line").first).to_contain_text(re.compile(r"step [3-9]\d? "))
    panel.locator(".nk-td-legend button", has_text="validation").click()
    panel.get_by_role("button", name="Zoom in").click()
    panel.locator("summary", has_text="As a table").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")
    wait_until_idle(page)
    kept = """() => window.jupyterapp.shell.currentWidget.content.model.toJSON().cells[0].outputs.map(
        output => output.data?.["text/html"] ?? "")"""
    page.wait_for_function(f"() => ({kept})().join().includes('ended')")
    assert [face.count("data:image/png") for face in page.evaluate(kept)] == [1]
    assert "step 150" in page.evaluate(kept)[0]
    expect(panel).to_have_count(1)
    expect(panel.locator(".nk-td-line").first).to_contain_text("step 150")
    expect(panel.locator(".nk-td-legend button", has_text="validation")).to_have_attribute("aria-pressed", "false")
    expect(panel.get_by_role("button", name="All", exact=True)).to_be_enabled()  # it is zoomed in
    expect(panel.locator("table tbody tr").first).to_be_visible()
    shot(panel, "dashboard_at_its_end")


def test_what_is_chosen_in_one_board_stays_there(notebook, expect):
    page = notebook([LOOP, LOOP])
    expect(page.locator(PANEL)).to_have_count(2)
    first, second = page.locator(PANEL).all()
    first.locator(".nk-td-legend button", has_text="validation").click()
    expect(first.locator(".nk-td-legend button", has_text="validation")).to_have_attribute("aria-pressed", "false")
    second.get_by_label("Log scale").check()
    expect(second.locator(".nk-td-legend button", has_text="validation")).to_have_attribute("aria-pressed", "true")


def test_a_saved_notebook_without_a_kernel(notebook, expect, tmp_path):
    from notebook_kit.panels import TrainingDashboard

    with TrainingDashboard() as board:
        for step in range(1, 100):
            board.log(step, loss=1 / step, **{HOSTILE: 1.0})
    data, _ = board._repr_mimebundle_()
    kept = {"text/plain": data["text/plain"], "text/html": data["text/html"]}
    output = nbformat.v4.new_output("display_data", data=kept)
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("board", outputs=[output], execution_count=1)])
    nbformat.write(book, tmp_path / "saved.ipynb")
    page = notebook(tmp_path / "saved.ipynb", run=False)
    area = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output")
    expect(area.locator("img[src^='data:image/png']")).to_be_visible()
    expect(area).to_contain_text(HOSTILE)
    shot(area, "dashboard_face_light")


def test_by_keyboard(notebook, expect):
    page = notebook([LOOP])
    panel = page.locator(PANEL)
    chart = panel.locator("[role=slider], .nk-td-stage").last
    chart.focus()
    page.keyboard.press("End")
    expect(panel.locator(".nk-td-chart")).to_contain_text("step 600")  # the exact values of the last step
    page.keyboard.press("+")
    expect(panel.get_by_role("button", name="All", exact=True)).to_be_enabled()
    page.keyboard.press("Escape")
    expect(panel.get_by_role("button", name="All", exact=True)).to_be_disabled()
    tile = panel.locator(".nk-td-tiles button", has_text="Accuracy")
    tile.focus()
    page.keyboard.press("Enter")
    expect(panel.locator(".nk-td-heading")).to_have_text("Accuracy")
    panel.locator("summary", has_text="As a table").focus()
    page.keyboard.press("Enter")
    expect(panel.locator("table tbody tr")).to_have_count(10)


PROBES = """
import tempfile, torch
from notebook_kit import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments
from notebook_kit.panels import TrainingDashboard
name = "notebook-kit/tiny-sentiment"
tokenizer, model = AutoTokenizer.from_pretrained(name), AutoModelForSequenceClassification.from_pretrained(name)
rows = [{**tokenizer(text), "label": label} for text, label in (("what a good film", 0), ("what a bad film", 1)) for _ in range(8)]
board = TrainingDashboard(probes=["what a good film", "what a bad film"], probe_every=2, probe_attention=(1, 3))
arguments = TrainingArguments(tempfile.mkdtemp(), max_steps=20, use_cpu=True, save_strategy="no", learning_rate=1e-4)
trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer, callbacks=[board])
trainer.train()"""


def test_probes_are_scrubbed(notebook, expect, accessible):
    page = notebook([PROBES])
    panel = page.locator(PANEL)
    expect(panel).to_have_count(1)
    probes = panel.locator(".nk-td-probes")
    expect(probes.get_by_role("row", name=re.compile("POSITIVE"))).to_be_visible()
    late = probes.get_by_role("row", name=re.compile("POSITIVE")).inner_text()
    probes.get_by_role("slider").focus()
    page.keyboard.press("Home")
    expect(probes.get_by_role("row", name=re.compile("POSITIVE"))).not_to_have_text(late)
    accessible(page, AXE)
    shot(panel, "dashboard_probes")


def test_runs_laid_over_each_other(notebook, expect, accessible):
    second = LOOP.replace("TrainingDashboard() as board", "TrainingDashboard() as other").replace(
        "board.log", "other.log"
    )
    page = notebook([LOOP, second.replace("/ 150", "/ 90"), "board.compare(other)\nboard"])
    panel = page.locator(PANEL).last
    expect(panel.locator(".nk-td-legend button")).to_have_count(4)
    accessible(page, AXE)
    shot(panel, "dashboard_compared")


def test_what_matters_comes_first_and_the_rest_is_in_a_fold(notebook, expect, accessible):
    more = "board.log(600, logged_loss=1.0, eval_runtime=1.5, eval_samples_per_second=400.0)"
    page = notebook([f"{LOOP}\n    {more}"])
    panel = page.locator(PANEL).last
    tiles = panel.locator(".nk-td-tiles").first.locator(".nk-td-tile-name")
    expect(tiles).to_have_text(["Loss", "Accuracy", "Learning rate"])
    panel.locator(".nk-td-more summary").click()
    others = panel.locator(".nk-td-more .nk-td-tile-name")
    expect(others.filter(has_text="Evaluation speed")).to_be_visible()
    expect(others.filter(has_text="Logged loss")).to_have_count(0)
    rate = panel.get_by_role("textbox", name="Learning rate")
    assert float(rate.input_value()) >= 0
    panel.get_by_role("button", name="How to read this panel").click()
    expect(panel.get_by_role("heading", name="Do not conclude that")).to_be_visible()
    accessible(page, AXE)
    shot(panel, "dashboard_more")
