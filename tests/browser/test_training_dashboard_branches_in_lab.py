"""TrainingDashboard in JupyterLab: the rows behind a spike and behind a point, alerts, and branches drawn as a tree."""

from __future__ import annotations

import pytest
from conftest import set_theme, shot
from test_training_dashboard_in_lab import AXE, PANEL

pytestmark = pytest.mark.usefixtures("tall")

TRAINER = """
import tempfile, torch, logging
from notebook_kit import AlertCallback, Trainer, TrainingArguments
logging.getLogger("notebook_kit").setLevel(logging.ERROR)
class Line(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def forward(self, x, labels=None):
        y = self.layer(x).squeeze(-1)
        return {"loss": (y - labels).abs().mean(), "logits": y}
data = [{"x": [i % 8 / 8], "labels": i % 8 / 4 + 1, "text": f"line {i}: <b>eighths</b>"} for i in range(640)]
data[330]["labels"] = 90.0
arguments = TrainingArguments(tempfile.mkdtemp(), max_steps=60, per_device_train_batch_size=8, use_cpu=True, save_steps=20,
                              train_sampling_strategy="sequential", logging_steps=5, learning_rate=2e-2, run_name="first")
steep = lambda state, logs: "the gradient is steep" if state.global_step == 30 else None
torch.manual_seed(1)
trainer = Trainer(Line(), arguments, train_dataset=data, callbacks=[AlertCallback([steep])])
output = trainer.train()"""
BRANCH = "slower = trainer.branch(20, learning_rate=2e-3)\noutput = slower.train()"


def test_rows_alerts_and_branches(notebook, expect, accessible):
    page = notebook([TRAINER, BRANCH])
    first, second = page.locator(PANEL).nth(0), page.locator(PANEL).nth(1)
    expect(second.locator(".nk-td-pill")).to_have_text("ended")
    expect(first.locator(".nk-td-alerts")).to_contain_text("the gradient is steep")
    # The spike offers its rows, the worst first.
    first.get_by_role("button", name="Show the rows of its batch").click()
    worst = first.locator(".nk-td-rows tbody tr").first
    expect(worst).to_contain_text("line 330: <b>eighths</b>")
    # So does any point, by mouse and by keyboard.
    chart = first.locator(".nk-td-stage")
    chart.click(position={"x": 200, "y": 120})
    expect(first.locator(".nk-td-rows h3")).not_to_have_text("Rows of step 42")
    chart.press("Home")
    chart.press("Enter")
    expect(first.locator(".nk-td-rows h3")).to_have_text("Rows of step 1")
    expect(first.locator(".nk-td-rows tbody tr")).to_have_count(8)
    # The branch, in both dashboards.
    for panel in (first, second):
        expect(panel.locator(".nk-td-tree-row")).to_have_count(2)
        expect(panel.locator(".nk-td-tree-row").nth(1)).to_contain_text("from step 20")
        expect(panel.locator("path.nk-td-fork")).to_have_count(1)
    # A second one, from the page.
    first.get_by_text("Branch from a checkpoint").click()
    form = first.locator(".nk-td-branch-form")
    expect(form.locator("option")).to_have_text(["step 20", "step 40", "step 60"])
    form.get_by_label("Checkpoint").select_option("40")
    form.get_by_label("Learning rate").fill("0.1")
    form.get_by_role("button", name="Start the branch").click()
    expect(first.locator(".nk-td-tree-row")).to_have_count(3)
    expect(first.locator(".nk-td-tree-row").nth(2)).to_contain_text("ended")
    shot(first, "dashboard_branches_light")
    accessible(page, AXE)
    set_theme(page, dark=True)
    shot(first, "dashboard_branches_dark")
    accessible(page, AXE)
    set_theme(page, dark=False)
