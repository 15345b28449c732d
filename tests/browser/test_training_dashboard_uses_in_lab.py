"""TrainingDashboard as people use it: exact values, zoom, files, several at a time, other languages, and what goes wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import set_theme, shot
from test_training_dashboard_in_lab import AXE, LOOP, PANEL, TRAINER, start_all, wait_until_idle

pytestmark = pytest.mark.usefixtures("tall")

LONG = "a metric with a very long name that nobody would type by hand but some logger makes " * 2

GOING = """
import math, random, threading, time
from notebook_kit.panels import TrainingDashboard
board = TrainingDashboard()
def work():
    board.begin(max_steps=2000, learning_rate=5e-4)
    for step in range(1, 2001):
        if board.should_stop:
            break
        loss = 2 * math.exp(-step / 400) + 0.3 + random.gauss(0, 0.1)
        board.log(step, loss=loss, learning_rate=board.learning_rate or 5e-4, grad_norm=random.random() + 0.5)
        if step % 50 == 0:
            board.log(step, eval_loss=2 * math.exp(-step / 380) + 0.35)
        time.sleep(0.01)
    board.finish()
thread = threading.Thread(target=work)
thread.start()
time.sleep(2)"""


@pytest.fixture
def panel_of(notebook, expect):
    def made(*cells):
        page = notebook(list(cells))
        panel = page.locator(PANEL).last
        expect(panel.locator(".nk-td-line").first).to_contain_text("step 600")
        return page, panel

    return made


def test_exact_values_and_zoom_with_the_mouse(panel_of, expect):
    page, panel = panel_of(LOOP + "\nprint('step 300:', board.table()['loss'][300])")
    exact = page.locator(".jp-NotebookPanel:visible .jp-OutputArea-output", has_text="step 300:").last.inner_text()
    value = float(exact.split()[-1])
    stage = panel.locator(".nk-td-stage")
    box = stage.bounding_box()
    left, right = 58, box["width"] - 14
    where = lambda step: box["x"] + left + (step - 1) / 599 * (right - left)  # noqa: E731
    page.mouse.move(where(300), box["y"] + 100)
    tip = panel.locator(".nk-td-tip")
    expect(tip.locator(".nk-td-tip-step")).to_contain_text(re.compile(r"step (299|300|301)"))
    stage.focus()
    for key in ("Home", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    expect(tip.locator(".nk-td-tip-step")).to_have_text("step 1")
    page.mouse.move(where(300), box["y"] + 100)
    while "step 300" not in (said := tip.locator(".nk-td-tip-step").inner_text()):
        page.keyboard.press("ArrowRight" if int(re.search(r"\d+", said).group()) < 300 else "ArrowLeft")
    shown = float(tip.locator(".nk-td-tip-value").first.inner_text().split()[0].replace("−", "-"))
    assert shown == pytest.approx(value, rel=1e-3)
    assert f"{shown}"[:4] in stage.get_attribute("aria-valuetext")
    shot(panel, "dashboard_cursor")
    page.mouse.move(where(200), box["y"] + 80)
    page.mouse.down()
    page.mouse.move(where(300), box["y"] + 90, steps=5)
    page.mouse.up()
    every = panel.get_by_role("button", name="All", exact=True)
    expect(every).to_be_enabled()
    ticks = panel.locator(".nk-td-grid text[text-anchor=middle]").all_text_contents()
    assert ticks and all(195 <= int(tick) <= 305 for tick in ticks), ticks
    shot(panel, "dashboard_zoomed")
    stage.dblclick()
    expect(every).to_be_disabled()
    page.mouse.move(where(300), box["y"] + 100)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    expect(every).to_be_enabled()
    every.click()
    panel.get_by_label("Log scale").check()
    expect(panel.locator(".nk-td-grid")).to_contain_text("0.5")
    shot(panel, "dashboard_log")
    panel.locator(".nk-td-legend button").first.click()
    expect(panel.locator(".nk-td-legend button").first).to_have_attribute("aria-pressed", "false")
    panel.get_by_label("X axis").select_option("time")
    expect(panel.locator(".nk-td-grid")).to_contain_text(re.compile(r"\d s"))


def test_a_long_run_is_fine_where_it_is_looked_at(notebook, expect):
    cell = LOOP.replace("601", "20001").replace("step % 60", "step % 2000") + "\nboard"
    page = notebook([cell])
    panel = page.locator(PANEL).last
    expect(panel.locator(".nk-td-line").first).to_contain_text("step 20,000")
    stage = panel.locator(".nk-td-stage")
    stage.focus()
    page.keyboard.press("Home")
    expect(panel.locator(".nk-td-tip-step")).to_contain_text("steps 1 to")
    for _ in range(9):
        page.keyboard.press("+")
    expect(panel.locator(".nk-td-tip-step")).to_have_text(
        re.compile(r"^step \d+$")
    )  # Python was asked for what lies between


@pytest.mark.parametrize("kind", ["PNG", "SVG"])
def test_pictures_are_taken_away(panel_of, kind, tmp_path):
    page, panel = panel_of(LOOP)
    with page.expect_download() as waiting:
        panel.get_by_role("button", name=f"Save picture as {kind}").click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    data = path.read_bytes()
    assert path.name == f"training-loss.{kind.lower()}"
    assert data.startswith(b"\x89PNG") if kind == "PNG" else (b"<svg" in data and b"var(--" not in data)
    Path(shot(panel, "dashboard_light")).with_name(f"dashboard_export.{kind.lower()}").write_bytes(data)


def test_a_run_that_is_opened_again(panel_of, expect, accessible, tmp_path):
    folder = str(tmp_path / "run")
    cell = LOOP.replace("TrainingDashboard()", f"TrainingDashboard({folder!r})")
    page, panel = panel_of(cell, f"TrainingDashboard.load({folder!r})")
    expect(panel.locator(".nk-td-why")).to_have_text("This run was opened from a record.")
    expect(panel.locator(".nk-td-title bdi")).to_have_text("run")
    for name in ("Pause", "Save now"):
        expect(panel.get_by_role("button", name=name)).to_have_attribute("aria-disabled", "true")
    panel.locator(".nk-td-fold summary", has_text="Events").click()
    expect(panel.locator(".nk-td-events")).to_contain_text("finished")
    accessible(page, AXE)


def test_a_trainers_state_has_no_times(notebook, expect, tmp_path):
    history = [{"step": step, "epoch": step / 10, "loss": 1 / step, "learning_rate": 1e-3} for step in range(1, 31)]
    history += [{"step": 30, "epoch": 3.0, "eval_loss": 0.4}]
    state = {"log_history": history, "global_step": 30, "max_steps": 30, "num_train_epochs": 3}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    cell = "from notebook_kit.panels import TrainingDashboard\n"
    page = notebook([cell + f"TrainingDashboard.load({str(tmp_path / 'trainer_state.json')!r}, axis='time')"])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-td-note")).to_contain_text("The record has no times")
    expect(panel.locator(".nk-td-grid")).to_contain_text("30")
    panel.locator(".nk-td-fold summary", has_text="Events").click()
    expect(panel.locator(".nk-td-events")).to_contain_text("finished")
    shot(panel, "dashboard_state")


def test_while_it_runs_narrow_dark_and_in_telugu(notebook, expect, accessible):
    page = notebook([GOING])
    panel = page.locator(PANEL)
    expect(panel.locator(".nk-td-pill")).to_have_text("running")
    expect(panel.locator(".nk-td-line").first).to_contain_text("left")
    set_theme(page, dark=True)
    panel.evaluate("element => { element.style.width = '320px'; }")
    page.wait_for_timeout(400)
    accessible(page, AXE)
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    shot(panel, "dashboard_running_narrow_dark")
    set_theme(page, dark=False)
    panel.evaluate("element => { element.style.width = ''; }")
    page.evaluate(
        """() => { const widget = window.jupyterapp.shell.currentWidget;
                   widget.content.model.sharedModel.insertCell(1, {cell_type: 'code',
                       source: "from notebook_kit.panels import set_language\\nset_language('te')"}); }"""
    )
    start_all_below(page)
    expect(panel).to_have_attribute("lang", "te")
    expect(panel.locator(".nk-td-pill")).to_have_text("నడుస్తోంది")
    page.wait_for_timeout(500)
    accessible(page, AXE)
    shot(panel, "dashboard_telugu")
    panel.locator("[data-ask=stop]").click()
    expect(panel.locator(".nk-td-pill")).to_have_text("ముగిసింది")


def start_all_below(page) -> None:
    page.evaluate(
        """() => { const { content } = window.jupyterapp.shell.currentWidget; content.activeCellIndex = 1;
                   return window.jupyterapp.commands.execute('notebook:run-cell'); }"""
    )


def test_several_at_a_time_and_in_a_box(notebook, expect):
    second = re.sub(r"\bboard\b", "other", GOING).replace("2000", "1500")
    page = notebook([GOING, second, "import ipywidgets\nipywidgets.VBox([board, other])"])
    panels = page.locator(PANEL)
    expect(panels).to_have_count(4)
    for number in range(4):
        expect(panels.nth(number).locator(".nk-td-pill")).to_have_text("running")
    panels.nth(0).locator("[data-ask=stop]").click()
    for number, said in ((0, "ended"), (2, "ended"), (1, "running"), (3, "running")):
        expect(panels.nth(number).locator(".nk-td-pill")).to_have_text(said)
    panels.nth(2).locator(".nk-td-more summary").click()
    panels.nth(2).locator(".nk-td-tile", has_text="Gradient norm").click()
    expect(panels.nth(0).locator(".nk-td-heading")).to_have_text("Gradient norm")  # two views of one dashboard
    expect(panels.nth(1).locator(".nk-td-heading")).to_have_text("Loss")
    panels.nth(3).locator("[data-ask=stop]").click()
    expect(panels.nth(1).locator(".nk-td-pill")).to_have_text("ended")


def test_one_dashboard_for_two_runs_and_two_kinds(notebook, expect):
    cells = [TRAINER.replace("3000", "40").replace("eval_dataset=data)", "eval_dataset=data, callbacks=[board])")]
    cells[0] = "from notebook_kit.panels import TrainingDashboard\nboard = TrainingDashboard()" + cells[0]
    cells += ["_ = trainer.train()", "_ = trainer.train()"]
    page = notebook(cells)
    panels = page.locator(PANEL)
    expect(panels).to_have_count(2)  # one below each cell that trains
    for number in range(2):
        expect(panels.nth(number).locator(".nk-td-line").first).to_contain_text("step 40 of 40")


def test_what_goes_wrong_is_told(notebook, expect):
    cell = LOOP.replace(
        "    loss = 2.2", "    if step == 300: raise ValueError('the data ended')\n        loss = 2.2", 1
    )
    page = notebook([cell, "board"], run=False)
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-td-pill")).to_have_text("ended")
    panel.locator(".nk-td-fold summary", has_text="Events").click()
    expect(panel.locator(".nk-td-events")).to_contain_text("ValueError: the data ended")
    expect(panel.locator(".nk-td-line").first).to_contain_text("stopped by an error (ValueError: the data ended)")
    shot(panel, "dashboard_error")
    wait_until_idle(page)


@pytest.mark.parametrize("library", ["notebook_kit", "transformers"])
def test_a_cell_that_is_interrupted(notebook, expect, library):
    cell = TRAINER.replace("eval_dataset=data)", "eval_dataset=data, callbacks=[TrainingDashboard()])")
    if library == "transformers":
        cell = cell.replace("from notebook_kit import", "from transformers import")
    page = notebook([cell, "trainer.train()", "trainer.train()"], run=False)
    start_all(page)
    panels = page.locator(PANEL)
    expect(panels.locator(".nk-td-pill")).to_have_text("running")
    expect(panels.locator(".nk-td-line").first).to_contain_text("loss")
    page.evaluate("() => window.jupyterapp.shell.currentWidget.context.sessionContext.session.kernel.interrupt()")
    expect(panels.first.locator(".nk-td-pill")).to_have_text("ended")
    wait_until_idle(page)
    page.evaluate(
        """() => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = 2;
                   window.jupyterapp.commands.execute('notebook:run-cell'); }"""
    )
    expect(panels).to_have_count(2)  # the next run is shown below its own cell
    expect(panels.last.locator(".nk-td-pill")).to_have_text("running")
    panels.last.locator("[data-ask=stop]").click()
    expect(panels.last.locator(".nk-td-pill")).to_have_text("ended")


def test_long_names_odd_values_and_none(notebook, expect, accessible):
    cell = f"""
from notebook_kit.panels import TrainingDashboard
with TrainingDashboard(shown={LONG!r}) as board:
    board.record.name = {LONG!r}
    for step in range(1, 40):
        board.log(step, **{{{LONG!r}: -float(step), "eval_" + {LONG!r}: -step / 2, "loss": float("nan") if step > 30 else 1 / step,
                            "constant": 0.1, "huge": 1e30 * step, "tiny": 1e-30 * step}})"""
    page = notebook([cell, "TrainingDashboard()"])
    panel = page.locator(PANEL).first
    expect(panel.locator(".nk-td-verdict")).to_contain_text("NaN or infinite since step 31")
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    accessible(page, AXE)
    shot(panel, "dashboard_odd")
    panel.locator(".nk-td-tile[data-metric=constant]").click()
    expect(panel.locator(".nk-td-grid")).to_contain_text("0.1")
    panel.locator(".nk-td-tile[data-metric=loss]").click()
    for place in (".nk-td-tile[data-metric=loss]", ".nk-td-legend", ".nk-td-head"):
        expect(panel.locator(place)).to_contain_text("not finite")
    shot(panel, "dashboard_not_finite")
    unused = page.locator(PANEL).last
    expect(unused.locator(".nk-td-empty")).to_contain_text("Nothing has been logged yet")
    shot(unused, "dashboard_unused")
