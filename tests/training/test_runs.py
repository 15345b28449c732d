"""Runs from their records: listed, shown, compared and followed, by the Trainer and by the command line."""

import json

import pytest
import torch
from tiny_training import Line, line_rows, trainer

from notebook_kit.__main__ import main
from notebook_kit.errors import InputError
from notebook_kit.training import RunMonitor, RunRecord, RunSummary, default_data_collator, list_runs
from notebook_kit.training.recording.runs import follow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two runs, one of which has a branch, and the Trainers."""
    place = tmp_path_factory.mktemp("runs")
    trainers = []
    for name, rate in (("first", 0.1), ("second", 0.2)):
        torch.manual_seed(0)
        options = {"max_steps": 8, "eval_strategy": "steps", "save_strategy": "steps", "save_steps": 4, "eval_steps": 4}
        options |= {"learning_rate": rate, "run_name": name, "callbacks": [RunMonitor()], "eval_dataset": line_rows(8)}
        run = trainer(place / name, Line(), line_rows(32), data_collator=default_data_collator, **options)
        run.train()
        trainers.append(run)
    branch = trainers[0].branch(4, learning_rate=0.05)
    branch.train()
    return place, trainers, branch


def shown(capsys, *words):
    assert main(["runs", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_a_trainer_is_compared_with_others_and_with_its_branches(folder):
    place, (first, second), branch = folder
    found = first.compare(second, branch, place / "second")
    assert found.differences == {"learning_rate": [0.1, 0.2, 0.05, 0.2]}
    assert [run.status for run in found.runs] == ["finished"] * 4 and found.runs[2].branched_at == 4
    value, step = found.runs[0].best["eval_loss"]
    evaluated = {entry["step"]: entry["eval_loss"] for entry in first.state.log_history if "eval_loss" in entry}
    assert found.metrics["eval_loss"][0] == value == min(evaluated.values()) == evaluated[step]
    assert [run.name for run in first.compare().runs] == ["first", "step 4, learning_rate 0.05"]
    assert "<th>learning_rate</th><td>0.2</td><td>0.1</td>" in second.compare(first)._repr_html_()
    with pytest.raises(InputError, match="no other run"):
        second.compare()
    with pytest.raises(InputError, match="Did you mean 'first'"):
        first.compare("frist")


def test_the_command_lists_shows_and_compares(folder, capsys):
    place, _, _ = folder
    assert {record.name for record in list_runs(place)} == {"first", "second", "step 4, learning_rate 0.05"}
    text = shown(capsys, "list", place)
    assert "8 of 8" in text and "first, step 4" in text
    listed = json.loads(shown(capsys, "list", place, "--json"))
    assert next(run["name"] for run in listed) == "step 4, learning_rate 0.05" and len(listed) == 3
    one = json.loads(shown(capsys, "show", "first", "--folder", place, "--json"))
    assert one["series"]["loss"][0] == list(range(1, 9)) and one["settings"]["learning_rate"] == 0.1
    assert "best eval_loss" in shown(capsys, "show", place / "first")
    both = json.loads(shown(capsys, "compare", "first", "second", "--folder", place, "--json"))
    assert both["differences"] == {"learning_rate": [0.1, 0.2]}
    assert "learning_rate  0.1" in shown(capsys, "compare", "first", "second", "--folder", place)
    assert main(["runs", "show", "third", "--folder", str(place)]) == 1
    assert "Runs there: " in capsys.readouterr().err
    assert "no runs" in shown(capsys, "list", place / "first" / "checkpoint-4")


def test_a_run_is_followed_to_its_end(tmp_path, capsys):
    record = RunRecord(tmp_path / "live")
    record.event("begin", 0)
    steps = iter(range(1, 6))

    def go_on(seconds):
        step = next(steps, None)
        if step is None:
            record.event("end", 5, reason="finished")
        else:
            record.log(step, {"loss": float("nan") if step == 3 else 1 / step})
            if step == 4:
                record.event("rows", 2, rows=[])  # of an earlier step
        record.flush()

    lines = list(follow(tmp_path / "live", wait=go_on))
    assert [line["step"] for line in lines if "log" in line] == [1, 2, 3, 4, 5]
    assert [line["event"]["kind"] for line in lines if "event" in line] == ["begin", "rows", "end"]
    record.close()
    texts = shown(capsys, "follow", tmp_path / "live", "--json").splitlines()
    assert [json.loads(text) for text in texts][3] == {**lines[3], "log": {"loss": "nan"}}
    assert "step 5  end: reason finished" in shown(capsys, "follow", tmp_path / "live")


def test_a_run_without_an_end_is_running_as_long_as_it_is_written(tmp_path, monkeypatch):
    record = RunRecord(tmp_path / "live")
    record.event("begin", 0)
    record.flush()
    assert RunSummary.of(record).status == "running"
    monkeypatch.setattr("notebook_kit.training.recording.runs.SILENT", -1.0)
    assert RunSummary.of(record).status == "unknown"
