"""Logs in trackers: what they get, and what happens if one fails. TensorBoard and trackio are read back where installed."""

import accelerate.tracking
import pytest
from tiny_training import bert, dataset, trainer

from notebook_kit.errors import NotebookKitWarning
from notebook_kit.training import TrainingArguments, tracker_names
from notebook_kit.training.trackers import tracker_options

LOGGED = {"train/loss", "train/learning_rate", "train/grad_norm", "eval/loss", "train/train_loss"}


class Fake:
    calls = []
    fails_at = ""

    def __init__(self, *positional, **options):
        self.note("create", positional, options)

    def note(self, name, *values):
        Fake.calls.append((name, *values))
        if name == Fake.fails_at:
            raise OSError("the server is down")

    def start(self):
        self.note("start")

    def store_init_configuration(self, values):
        self.note("settings", values)

    def log(self, values, step=None):
        self.note("log", values, step)

    def finish(self):
        self.note("finish")


@pytest.fixture
def tracked(monkeypatch):
    monkeypatch.setattr(tracker_names, "find_spec", lambda name: name)
    monkeypatch.setitem(accelerate.tracking.LOGGER_TYPE_TO_CLASS, "wandb", Fake)
    monkeypatch.setattr(Fake, "calls", [])
    return Fake


def run_with(tmp_path, report_to, **options):
    steps = {"max_steps": 4, "logging_steps": 2, "eval_strategy": "steps", "eval_steps": 4}
    run = trainer(tmp_path, bert(), eval_dataset=dataset(9), report_to=report_to, **steps, **options)
    run.train()
    return run


def test_a_tracker_gets_settings_and_logs(tmp_path, tracked):
    run = run_with(tmp_path, "wandb", run_name="first", project="mine")
    names = [call[0] for call in tracked.calls]
    assert names == ["create", "start", "settings", "log", "log", "log", "log", "finish"]
    assert tracked.calls[0][1:] == (("mine",), {"name": "first"})
    settings = tracked.calls[2][1]
    assert (settings["learning_rate"], settings["model/hidden_size"], settings["hub_token"]) == (1e-3, 32, "None")
    logs = [call for call in tracked.calls if call[0] == "log"]
    assert [step for _, _, step in logs] == [2, 4, 4, 4]
    assert logs[0][1]["train/loss"] == run.state.log_history[0]["loss"] and {n for c in logs for n in c[1]} >= LOGGED
    run.train()
    assert [call[0] for call in tracked.calls].count("create") == 2  # a second run is a second one there too


@pytest.mark.parametrize("when", ["create", "settings", "log", "finish"])
def test_a_tracker_that_fails_ends_no_run(tmp_path, tracked, monkeypatch, when):
    monkeypatch.setattr(tracked, "fails_at", when)
    with pytest.warns(NotebookKitWarning, match="wandb failed to .*the server is down.*goes on without it"):
        run = run_with(tmp_path, "wandb")
    assert run.state.global_step == 4 and [call[0] for call in tracked.calls].count(when) == 1


def test_every_tracker_can_be_created_as_accelerate_defines_it(tmp_path, monkeypatch):
    monkeypatch.setattr(tracker_names, "find_spec", lambda name: name)
    for name in tracker_names.TRACKERS:
        args = TrainingArguments(tmp_path, report_to=name, run_name="first")
        positional, options = tracker_options(name, args)
        kind = accelerate.tracking.LOGGER_TYPE_TO_CLASS[name]
        if hasattr(kind, "start"):  # otherwise it connects at once
            kind(*positional, **options)


def test_tensorboard_reads_what_was_logged(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = run_with(tmp_path, "tensorboard", logging_dir=str(tmp_path / "board"))
    events = EventAccumulator(str(tmp_path / "board")).Reload()
    assert set(events.Tags()["scalars"]) >= LOGGED
    losses = [(event.step, event.value) for event in events.Scalars("train/loss")]
    expected = [(entry["step"], entry["loss"]) for entry in run.state.log_history if "loss" in entry]
    assert losses == [(step, pytest.approx(loss)) for step, loss in expected]


def test_trackio_reads_what_was_logged(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    pytest.importorskip("trackio")
    run = run_with(tmp_path / "out", "trackio", project="mine", run_name="first")
    from trackio import Api
    from trackio.sqlite_storage import SQLiteStorage

    (found,) = Api().runs("mine")
    assert found.name == "first" and found.config["learning_rate"] == 1e-3
    logs = SQLiteStorage.get_logs("mine", "first")
    assert {name for log in logs for name in log} >= LOGGED
    assert [log["train/loss"] for log in logs if "train/loss" in log] == [
        pytest.approx(entry["loss"]) for entry in run.state.log_history if "loss" in entry
    ]
