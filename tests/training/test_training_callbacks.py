import math

import pytest
import torch
import transformers
from tiny_training import Line, dataset, line_rows, trainer

from notebook_kit.errors import ConfigurationError, NotebookKitWarning
from notebook_kit.training import (
    DefaultFlowCallback,
    EarlyStoppingCallback,
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    default_data_collator,
    display,
)


def recorder(kind, events):
    """A callback of that base class that notes every event, with the step and whether the usual things came along."""

    def note(event):
        def method(self, args, state, control, **kwargs):
            events.append((event, state.global_step))
            self.last = kwargs

        return method

    names = [name for name in vars(TrainerCallback) if name.startswith("on_") and hasattr(kind, name)]
    return type("Recorder", (kind,), {name: note(name) for name in names})()


def test_events_come_as_in_the_reference(tmp_path):
    mine, theirs = [], []
    options = {
        "max_steps": 4,
        "gradient_accumulation_steps": 2,
        "per_device_train_batch_size": 4,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "save_strategy": "steps",
        "save_steps": 3,
        "logging_steps": 2,
        "use_cpu": True,
        "report_to": "none",
        "disable_tqdm": True,
    }
    data = line_rows()
    run = trainer(
        tmp_path / "mine",
        Line(),
        data,
        data_collator=default_data_collator,
        eval_dataset=data,
        callbacks=[recorder(TrainerCallback, mine)],
        group_by_length=False,
        **options,
    )
    run.train()
    reference = transformers.Trainer(
        Line(),
        transformers.TrainingArguments(str(tmp_path / "theirs"), **options),
        train_dataset=data,
        eval_dataset=data,
        callbacks=[recorder(transformers.TrainerCallback, theirs)],
    )
    reference.train()
    assert mine == theirs
    run.predict(data)
    assert mine[-1][0] == "on_predict"


def test_a_callback_is_given_everything(tmp_path):
    seen = recorder(TrainerCallback, [])
    run = trainer(tmp_path, eval_dataset=dataset(8), callbacks=[seen], max_steps=1, eval_strategy="steps", eval_steps=1)
    run.train()
    names = {"trainer", "model", "processing_class", "tokenizer", "optimizer", "lr_scheduler"}
    names |= {"train_dataloader", "eval_dataloader"}
    assert names <= set(seen.last)
    assert seen.last["trainer"] is run
    assert seen.last["model"] is run.model
    assert all(seen.last[name] is not None for name in names - {"processing_class", "tokenizer"})


def test_control_steers_the_loop(tmp_path):
    class Steer(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_epoch_stop = state.global_step == 2
            control.should_log = state.global_step == 3
            control.should_training_stop = state.global_step == 5
            return control

    run = trainer(tmp_path, callbacks=[Steer], num_train_epochs=9, logging_steps=100)
    run.train()
    assert run.state.global_step == 5
    assert [entry["step"] for entry in run.state.log_history] == [3, 5]
    assert 1 < run.state.epoch < 2


def test_add_pop_remove(tmp_path):
    run = trainer(tmp_path)
    kinds = [type(callback) for callback in run.callbacks]
    assert kinds == [DefaultFlowCallback, PrinterCallback]
    assert isinstance(run.pop_callback(PrinterCallback), PrinterCallback)
    assert run.pop_callback(PrinterCallback) is None
    run.add_callback(ProgressCallback())
    with pytest.warns(NotebookKitWarning, match="already"):
        run.add_callback(ProgressCallback)
    run.remove_callback(run.callbacks[-1])
    assert [type(callback) for callback in run.callbacks] == [DefaultFlowCallback, ProgressCallback]


def test_a_layer_above_can_show_the_run_instead(tmp_path, monkeypatch):
    class Panel(TrainerCallback):
        pass

    monkeypatch.setattr(display, "display_makers", [lambda args: None, lambda args: Panel()])
    assert isinstance(trainer(tmp_path).callbacks[1], Panel)


def test_early_stopping_counts_as_in_the_reference(tmp_path):
    scores = [0.5, 0.7, 0.7, 0.71, 0.6, 0.9, 0.9, 0.9]
    stopped = []
    for library_kind in (EarlyStoppingCallback, transformers.EarlyStoppingCallback):
        left = iter(scores)
        run = trainer(
            tmp_path / library_kind.__module__,
            eval_dataset=dataset(8),
            compute_metrics=lambda prediction, left=left: {"score": next(left)},
            callbacks=[library_kind(early_stopping_patience=2, early_stopping_threshold=0.05)],
            eval_strategy="steps",
            eval_steps=1,
            save_strategy="steps",
            save_steps=1,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="score",
            max_steps=8,
        )
        run.train()
        stopped.append((run.state.global_step, run.state.best_metric))
    assert stopped[0] == stopped[1] == (4, 0.71)


def test_early_stopping_without_a_metric_says_what_to_set(tmp_path):
    with pytest.raises(ConfigurationError, match="metric_for_best_model='loss'"):
        trainer(tmp_path, callbacks=[EarlyStoppingCallback()], max_steps=2).train()


def test_unknown_metric_for_the_best_model_lists_those_there_are(tmp_path):
    run = trainer(
        tmp_path,
        eval_dataset=dataset(8),
        max_steps=2,
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="accuracy",
    )
    with pytest.raises(ConfigurationError, match="eval_loss"):
        run.train()


def test_progress_shows_a_bar_and_losses(tmp_path, capsys):
    run = trainer(
        tmp_path, eval_dataset=dataset(8), max_steps=4, logging_steps=2, eval_strategy="epoch", disable_tqdm=False
    )
    run.train()
    shown = capsys.readouterr()
    assert "Training Loss" in shown.out
    assert "4/4" in shown.err
    run.evaluate()
    assert "Predicting: 100%" in capsys.readouterr().err


def test_a_notebook_gets_one_table_that_grows(tmp_path, monkeypatch):
    import tqdm.auto
    import tqdm.std
    from IPython import display

    class tqdm_notebook(tqdm.std.tqdm):  # what a kernel with widgets has
        pass

    shown = []

    class Handle:
        def update(self, html):
            shown.append(html.data)

    def show(html, display_id):
        shown.append(html.data)
        return Handle()

    monkeypatch.setattr(tqdm.auto, "tqdm", type("tqdm", (tqdm_notebook,), {}))
    monkeypatch.setattr(display, "display", show)
    scores = {"eval_dataset": dataset(8), "compute_metrics": lambda prediction: {"<b>f1": 0.5}}
    trainer(tmp_path, max_steps=2, logging_steps=1, eval_strategy="steps", disable_tqdm=False, **scores).train()
    assert len(shown) == 4
    assert shown[-1].count("<tr>") == 3
    assert all(name in shown[-1] for name in ("Training Loss", "Validation Loss", "&lt;b&gt;f1"))


def test_printer_writes_lines(tmp_path, capsys):
    trainer(tmp_path, max_steps=2, logging_steps=1).train()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "'loss'" in lines[0]


def test_losses_that_are_no_numbers_are_told(tmp_path):
    class Sometimes(Line):
        calls = 0

        def forward(self, x, labels=None):
            self.calls += 1
            out = super().forward(x, labels)
            return {**out, "loss": out["loss"] * math.nan} if self.calls == 2 else out

    run = trainer(
        tmp_path,
        Sometimes(),
        line_rows(),
        data_collator=default_data_collator,
        max_steps=4,
        logging_steps=4,
        optim="sgd",
        nan_policy="ignore",
    )
    with pytest.warns(NotebookKitWarning, match="3 losses of the last 4 steps"):
        run.train()
    # As in the reference, clipping by a norm that is no number spoils the weights; the log goes on.
    assert run.state.global_step == 4


def test_memory_errors_get_a_hint(tmp_path):
    class Full(Line):
        def forward(self, x, labels=None):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    run = trainer(tmp_path, Full(), line_rows(), data_collator=default_data_collator, max_steps=1)
    with pytest.raises(torch.OutOfMemoryError) as caught:
        run.train()
    assert "per_device_train_batch_size" in "".join(caught.value.__notes__)


def test_an_evaluation_returns_what_was_measured_whatever_callbacks_do(tmp_path):
    class Clears(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            logs.clear()

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            metrics.clear()

    options = {"data_collator": default_data_collator, "callbacks": [Clears()]}
    run = trainer(tmp_path, Line(), line_rows(), eval_dataset=line_rows(4), **options)
    assert {"eval_loss", "eval_runtime", "epoch"} <= run.evaluate().keys()
