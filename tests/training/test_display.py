"""A display that fails, or that knows no length, never ends a run."""

import os
import subprocess
import sys
import warnings

import pytest
from tiny_training import Line, line_rows, trainer
from torch.utils.data import IterableDataset

from notebook_kit.errors import ConfigurationError, NotebookKitWarning
from notebook_kit.training import ProgressCallback, TrainerCallback, default_data_collator
from notebook_kit.training.recording.controls import ControlsCallback

EVENTS = ["on_train_begin", "on_step_end", "on_prediction_step", "on_evaluate", "on_log", "on_train_end"]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(line_rows(8))


def line(folder, **options):
    options = {"data_collator": default_data_collator, "max_steps": 2, "logging_steps": 1, **options}
    return trainer(folder, Line(), line_rows(), **options)


@pytest.mark.parametrize("quiet", [True, False])
def test_streams_have_no_length(tmp_path, quiet, capsys):
    run = line(tmp_path, eval_dataset=Stream(), eval_strategy="steps", eval_steps=1, disable_tqdm=quiet)
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotebookKitWarning)
        run.train()
        assert "eval_loss" in run.evaluate()
        assert run.predict(Stream()).predictions.shape == (8,)


@pytest.mark.parametrize("event", EVENTS)
def test_a_display_that_fails_is_left_out(tmp_path, event, capsys):
    class Broken(TrainerCallback):
        is_display = True

    setattr(Broken, event, lambda *args, **kwargs: 1 / 0)
    run = line(tmp_path, eval_dataset=line_rows(4), eval_strategy="steps", eval_steps=1, callbacks=[Broken])
    with pytest.warns(NotebookKitWarning, match=r"Broken failed to display the run \(ZeroDivisionError") as seen:
        assert run.train().global_step == 2
    assert len(seen) == 1 and not any(isinstance(callback, Broken) for callback in run.callbacks)


def test_a_bar_that_fails_is_left_out(tmp_path, monkeypatch, capsys):
    def broken(self, *args):
        raise OSError("the terminal is gone")

    monkeypatch.setattr("tqdm.std.tqdm.update", broken)
    run = line(tmp_path, disable_tqdm=False)
    with pytest.warns(NotebookKitWarning, match="the terminal is gone"):
        assert run.train().global_step == 2
    assert not any(isinstance(callback, ProgressCallback) for callback in run.callbacks)


def test_other_callbacks_and_our_own_errors_end_the_run(tmp_path):
    class Own(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        line(tmp_path, callbacks=[Own]).train()

    class Misused(TrainerCallback):
        is_display = True

        def on_train_begin(self, args, state, control, **kwargs):
            raise ConfigurationError("misused")

    with pytest.raises(ConfigurationError, match="misused"):
        line(tmp_path, callbacks=[Misused]).train()


def test_an_evaluation_that_a_display_asks_for_ends_the_run_if_it_fails(tmp_path):
    class Dashboard(ControlsCallback):
        is_display = True

        def on_step_begin(self, args, state, control, **kwargs):
            self.controls.pause()
            self.controls.evaluate()

    def broken(prediction):
        raise OSError("the disk is full")

    options = {"eval_dataset": line_rows(4), "compute_metrics": broken, "callbacks": Dashboard}
    with pytest.raises(OSError, match="the disk is full"):
        line(tmp_path, **options).train()


def test_disabled_bars(tmp_path):
    code = """
import sys, warnings; warnings.simplefilter("error", UserWarning)
from test_display import Stream, line, line_rows
run = line(sys.argv[1], disable_tqdm=False, eval_dataset=Stream(), eval_strategy="steps", eval_steps=1)
print(run.train().global_step, len(run.predict(line_rows(4)).predictions), "eval_loss" in run.evaluate())
"""
    places = os.pathsep.join([os.path.dirname(__file__), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "TQDM_DISABLE": "1", "PYTHONPATH": places}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "2 4 True"


def test_epochs_of_a_stream(tmp_path):
    def run():
        options = {"data_collator": default_data_collator, "per_device_train_batch_size": 2, "logging_steps": 2}
        return trainer(tmp_path, Line(), Stream(), max_steps=10, save_strategy="steps", save_steps=5, **options)

    whole = run()
    whole.train()  # four batches an epoch
    epochs = [(log["step"], log["epoch"]) for log in whole.state.log_history if "loss" in log]
    assert epochs == [(2, 0.2), (4, 0.4), (6, 1.5), (8, 2.0), (10, 2.5)]  # unknown until the first pass is over
    again = run()
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert [(log["step"], log["epoch"]) for log in again.state.log_history if "loss" in log] == epochs
