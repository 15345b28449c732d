"""What the monitor records of runs of both Trainers and of loops, and where."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
import weakref
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_controls import At, events, hf_trainer, our_trainer
from tiny_training import Line, line_rows, rows, trainer

from notebook_kit.errors import InputError
from notebook_kit.training import RunMonitor, RunRecord, Trainer, TrainerCallback
from notebook_kit.training.recording import steps as steps_module
from notebook_kit.training.recording.journal import decode, encode
from notebook_kit.training.recording.monitor import _Writer
from notebook_kit.training.recording.record import continued_run, new_run
from notebook_kit.training.recording.steps import DeviceNumbers, Steps, count_samples, count_tokens, memory
from notebook_kit.training.state import LastStep

both = pytest.mark.parametrize("make", [our_trainer, hf_trainer])
EACH_STEP = {"loss", "epoch", "step_time", "learning_rate", "samples_per_second", "tokens_per_second"}


class Seen(TrainerCallback):
    """The losses of the steps and the logs, as the Trainer has them."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append({**logs, "step": state.global_step})

    def on_push_begin(self, args, state, control, **kwargs):
        pass


@both
def test_every_step_and_every_log(tmp_path, make):
    monitor, seen = RunMonitor(), Seen()
    options = {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4}
    run = make(tmp_path, monitor, seen, max_steps=9, logging_steps=2, **options)
    run.train()
    series = monitor.record.series
    for name in EACH_STEP:
        assert series[name].steps.tolist() == list(range(1, 10)), name
        assert np.isfinite(series[name].values).all(), name
    assert series["epoch"].values == pytest.approx([step / 8 for step in range(1, 10)])
    assert series["memory"].last > 1e7
    for log in seen.logs:
        if "loss" in log:
            # What the Trainer logs is the mean of the steps since its last log.
            own = series["loss"].values[log["step"] - 2 : log["step"]]
            assert log["loss"] == pytest.approx(own.mean(), abs=1e-4)  # transformers rounds
            assert log["loss"] in series["logged_loss"].values
        elif "eval_loss" in log:
            assert log["eval_loss"] in series["eval_loss"].values
    assert len(series["logged_loss"]) == 4 and series["eval_loss"].steps.tolist()[:2] == [4, 8]
    happened = [(event["kind"], event["step"]) for event in monitor.record.events]
    assert happened[0] == ("begin", 0) and happened[-1] == ("end", 9)
    assert {("evaluate", 4), ("save", 4), ("evaluate", 8), ("save", 8)} <= set(happened)
    facts = monitor.record.facts
    assert facts["max_steps"] == 9 and facts["model"] == "BertForSequenceClassification"
    assert facts["parameters"] == sum(parameter.numel() for parameter in run.model.parameters())
    assert facts["hyperparameters"]["learning_rate"] == 1e-3 and facts["summary"]["train_runtime"] > 0
    json.dumps(facts)


@both
def test_the_learning_rate_is_the_one_that_the_step_was_made_with(tmp_path, make):
    monitor = RunMonitor()
    make(tmp_path, monitor, max_steps=5, warmup_steps=2).train()
    assert monitor.record.series["learning_rate"].values == pytest.approx([0, 5e-4, 1e-3, 1e-3 * 2 / 3, 1e-3 / 3])


@both
def test_a_watched_run_is_the_same_run(tmp_path, make):
    plain = make(tmp_path / "plain", Seen(), max_steps=6)
    plain.train()
    watched = make(tmp_path / "watched", RunMonitor(), max_steps=6)
    watched.train()
    for first, second in zip(plain.model.parameters(), watched.model.parameters(), strict=True):
        assert torch.equal(first, second)


@both
def test_losses_of_an_update_of_several_batches(tmp_path, make):
    monitor, seen = RunMonitor(), Seen()
    make(tmp_path, monitor, seen, max_steps=3, gradient_accumulation_steps=3, logging_steps=1).train()
    losses = monitor.record.series["loss"].values
    assert losses == pytest.approx([log["loss"] for log in seen.logs if "loss" in log], abs=1e-4)


def test_tokens_and_samples_are_counted_without_padding(tmp_path):
    data = rows(16)
    monitor = RunMonitor()
    trainer(tmp_path, data=data, callbacks=[monitor], num_train_epochs=1).train()
    series = monitor.record.series
    times = series["step_time"].values
    assert (series["samples_per_second"].values * times).sum() == pytest.approx(16)
    tokens = sum(len(row["input_ids"]) for row in data)
    assert (series["tokens_per_second"].values * times).sum() == pytest.approx(tokens)
    quiet = RunMonitor(tokens=False)
    trainer(tmp_path, data=data, callbacks=[quiet], max_steps=2).train()
    assert "tokens_per_second" not in quiet.record.series and "samples_per_second" in quiet.record.series


def test_counting():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    ids = torch.ones(2, 3, dtype=torch.long)
    assert count_tokens([{"input_ids": ids, "attention_mask": mask}, {"input_ids": ids}]) == 11
    assert count_tokens([{"x": ids}]) is None and count_tokens([(ids,)]) is None and count_tokens([]) is None
    assert count_samples({"x": ids}) == 2 and count_samples((ids,)) == 2 and count_samples({}) == 0


def test_a_model_of_numbers_has_no_tokens(tmp_path):
    monitor = RunMonitor()
    trainer(tmp_path, Line(), line_rows(), callbacks=[monitor], max_steps=3, data_collator=None).train()
    assert "tokens_per_second" not in monitor.record.series and len(monitor.record.series["loss"]) == 3


class Bad(torch.nn.Module):
    """Gives losses that are no numbers at some steps."""

    def __init__(self, losses):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.losses = list(losses)

    def forward(self, x, labels=None):
        loss = self.losses.pop(0) if self.training else 1.0
        return {"loss": self.weight.sum() * 0 + loss, "logits": x}


@pytest.mark.filterwarnings("ignore::notebook_kit.errors.NotebookKitWarning")
def test_a_loss_that_is_no_number_is_flagged_where_it_came(tmp_path):
    monitor = RunMonitor()
    losses = [1.0, math.nan, math.nan, 0.5, math.inf, 0.5, 0.5]
    options = {"max_steps": 7, "logging_steps": 100, "nan_policy": "ignore"}
    run = trainer(tmp_path, Bad(losses), line_rows(), callbacks=[monitor], **options)
    run.data_collator = Trainer(Line(), run.args).data_collator
    run.train()
    assert [(event["step"], event["name"]) for event in events(monitor, "nonfinite")] == [(2, "loss"), (5, "loss")]
    assert math.isnan(events(monitor, "nonfinite")[0]["value"]) and events(monitor, "nonfinite")[1]["value"] == math.inf
    assert repr(monitor.record.series["loss"].values.tolist()) == repr(losses)


def test_numbers_that_a_device_has_to_be_waited_for():
    numbers = DeviceNumbers()
    for step in range(5):
        numbers.add(step, 10.0 + step, {"loss": torch.tensor(step / 2), "grad_norm": torch.tensor(1.0)})
    first = numbers.take()  # in one go
    assert [entry[0] for entry in first] == list(range(5)) and first[3] == (3, 13.0, {"loss": 1.5, "grad_norm": 1.0})
    numbers.add(5, 15.0, {"loss": torch.tensor(9.0)})
    assert numbers.take() == []  # ten times a second at most
    assert numbers.take(wait=True) == [(5, 15.0, {"loss": 9.0})]
    assert numbers.take(wait=True) == []


def recorded(folder, losses, processed_every):
    """The record of queued steps, the lines of its file without the times of events, and how often they were written."""
    record, writes = RunRecord(folder, name="a run"), []
    steps = Steps(_Writer(record).log_later, lambda: writes.append(1) or record.flush())
    steps._offset, steps._memory_at = 1e9, math.inf  # no memory, which differs from run to run
    for step, loss in enumerate(losses, 1):
        last = LastStep(torch.tensor(loss, dtype=torch.float64), 1.0 if step % 3 else None, 1e-3, [torch.ones(4, 2)])
        steps.note(step, 0.25 * (step != 5), 10.0 + step, step / 8, last)
        if step % 10 == 0:
            steps.add(step, 10.5 + step, {"logged_loss": loss})
        if step % processed_every == 0:
            steps.process()
            lines = (folder / "events.jsonl").read_text().splitlines()
            assert any(f'"step": {step}, "time": {1e9 + 10 + step}' in line for line in lines), "written at once"
    steps.stop()
    record.close()
    lines = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    for line in lines:
        line.get("event", {}).pop("time", None)
    return record, lines, len(writes)


def test_steps_that_wait_together_are_recorded_as_one_by_one(tmp_path, monkeypatch):
    monkeypatch.setattr(steps_module, "PERIOD", 1000.0)  # the other thread processes none
    losses = [1.0, 0.9] * 15 + [9.0, math.nan, math.inf, 0.5, -0.0, 1e-320, 1e22, 0.1 + 0.2]
    one, lines, _ = recorded(tmp_path / "one", losses, 1)
    many, same_lines, writes = recorded(tmp_path / "many", losses, len(losses))
    assert lines == same_lines and writes == 1
    assert [line["event"]["kind"] for line in lines if "event" in line] == ["spike", "nonfinite"]
    assert repr(many.series["loss"].values.tolist()) == repr(losses)
    read = RunRecord.load(tmp_path / "many")
    for name, series in one.series.items():
        for other in (many, read):
            for column in ("steps", "values", "times"):
                np.testing.assert_array_equal(getattr(series, column), getattr(other.series[name], column))


def test_a_line_of_numbers_is_json(tmp_path):
    lines = [
        {"log": {'a "name" of 100 %s': 0.1 + 0.2, "ü": -1e-320}, "step": 3, "time": 1e9},
        {"log": {"loss": math.inf, "other": -math.inf}, "step": 3, "time": 1e9},
        {"log": {"loss": 1e308, "other": 1e308}, "step": 2**70, "time": 5},
        {"log": {}, "step": 3, "time": 1.5},
        {"log": {"loss": 1.0}, "step": 3, "time": math.nan},
        {"log": {"loss": np.float64(0.5)}, "step": 3, "time": np.float64(1.5)},
    ]
    for line in lines:
        assert repr(decode(encode(line))) == repr(json.loads(json.dumps(line, default=float)))


def test_memory_is_that_of_the_process():
    before = memory()["memory"]
    block = np.ones(30_000_000)
    assert memory()["memory"] - before > 0.8 * block.nbytes


# ---------------------------------------------------------------------------------------------------------- where it is


@both
def test_the_record_stands_in_the_output_folder(tmp_path, make):
    monitor = RunMonitor()
    make(tmp_path, monitor, max_steps=3, save_strategy="steps").train()
    [folder] = (tmp_path / "runs").iterdir()
    assert monitor.record.run_dir == folder
    read = RunRecord.load(tmp_path)
    assert read.series["loss"].values.tolist() == monitor.record.series["loss"].values.tolist()
    assert read.events == monitor.record.events and read.facts == monitor.record.facts


@both
def test_a_run_that_saves_nothing_writes_nothing(tmp_path, make):
    monitor = RunMonitor()
    make(tmp_path, monitor, max_steps=3, save_strategy="no").train()
    assert not (tmp_path / "runs").exists() and len(monitor.record.series["loss"]) == 3


@pytest.mark.parametrize("how", ["run_dir", "record"])
def test_a_folder_that_was_named_is_taken(tmp_path, how):
    place = tmp_path / "here"
    monitor = RunMonitor(run_dir=place) if how == "run_dir" else RunMonitor(RunRecord(place))
    trainer(tmp_path / "out", callbacks=[monitor], max_steps=3).train()
    assert len(RunRecord.load(place).series["loss"]) == 3 and not (tmp_path / "out" / "runs").exists()


def test_each_run_has_a_record_of_its_own(tmp_path):
    monitor = RunMonitor()
    run = trainer(tmp_path, callbacks=[monitor], max_steps=3, save_strategy="steps", run_name="a/b <c>")
    run.train()
    first = monitor.record.series["loss"].values.tolist()
    run.train()
    assert sorted(folder.name for folder in (tmp_path / "runs").iterdir()) == ["a_b_c", "a_b_c-2"]
    assert RunRecord.load(tmp_path / "runs" / "a_b_c").series["loss"].values.tolist() == first
    assert len(monitor.record.series["loss"]) == 3 and monitor.record.name == "a/b <c>-2"


@pytest.mark.parametrize("name", ["..", "../../etc", "/etc/passwd", "", "🤗", "x" * 300, None])
def test_a_name_stays_in_its_folder(tmp_path, name):
    folder = new_run(tmp_path, name)
    assert folder.parent == tmp_path / "runs" and folder.name.strip(".")
    folder.mkdir(parents=True)
    assert new_run(tmp_path, name) != folder


@both
def test_a_resumed_run_goes_on_with_its_record(tmp_path, make):
    options = {"save_strategy": "steps", "save_steps": 2, "max_steps": 6}

    def fail():
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        make(tmp_path, RunMonitor(), At(5, fail), **options).train()
    RunMonitor(RunRecord(tmp_path / "runs" / "another")).log(9, loss=1.0)  # a later run that wrote no checkpoint
    monitor = RunMonitor()
    make(tmp_path, monitor, **options).train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert monitor.record.series["loss"].steps.tolist() == list(range(1, 7))
    assert [(event["kind"], event["step"]) for event in events(monitor, "begin")] == [("begin", 0), ("begin", 4)]
    read = RunRecord.load(monitor.record.run_dir)
    assert read.series["loss"].values.tolist() == monitor.record.series["loss"].values.tolist()
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_run_that_failed_and_was_forgotten_is_written(tmp_path):
    def fail():
        raise RuntimeError("out of luck")

    def run():
        monitor = RunMonitor()
        made = hf_trainer(tmp_path, monitor, At(4, fail), max_steps=9, save_strategy="steps")
        with pytest.raises(RuntimeError):
            made.train()
        return weakref.ref(monitor)

    monitor = run()
    gc.collect()
    assert monitor() is None
    assert RunRecord.load(tmp_path).series["loss"].steps.tolist() == [1, 2, 3]


def test_the_run_that_a_checkpoint_is_of(tmp_path):
    for number, (name, saved) in enumerate((("one", 4), ("two", 8), ("three", None))):
        record = RunRecord(tmp_path / "runs" / name)
        record.log(10, {"loss": 1.0})
        if saved:
            record.event("save", saved)
        record.close()
        os.utime(tmp_path / "runs" / name / "events.jsonl", (number, number))
    assert continued_run(tmp_path, 4).name == "one" and continued_run(tmp_path, 8).name == "two"
    assert continued_run(tmp_path, 6).name == "three" and continued_run(tmp_path, 20) is None
    assert continued_run(tmp_path / "nowhere", 4) is None


# ------------------------------------------------------------------------------------------------------------- its end


@both
def test_an_error_ends_the_record(tmp_path, make):
    monitor = RunMonitor()

    def fail():
        raise RuntimeError("<b>out of luck</b>")

    with pytest.raises(RuntimeError):
        make(tmp_path, monitor, At(3, fail), max_steps=5, save_strategy="steps").train()
    if make is our_trainer:
        [error] = events(monitor, "error")
        assert error["type"] == "RuntimeError" and error["message"] == "<b>out of luck</b>"
        assert events(monitor, "end")[0]["reason"] == "error" and monitor.controls.status == "ended"
    monitor.update()  # the other Trainer tells nobody; it would come a moment later
    assert RunRecord.load(tmp_path).series["loss"].steps.tolist() == [1, 2]


def test_an_interrupt_ends_the_record(tmp_path):
    monitor = RunMonitor()
    run = our_trainer(tmp_path, monitor, At(3, lambda: os.kill(os.getpid(), signal.SIGINT)), max_steps=5)
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert events(monitor, "end")[0]["reason"] == "interrupted" and len(monitor.record.series["loss"]) == 3


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    from test_controls import At, hf_trainer, our_trainer
    from notebook_kit.training import RunMonitor

    def end():
        {end}

    {make}({folder!r}, RunMonitor(), At(4, end), max_steps=100000, save_strategy="steps").train()
"""


def script(folder, make, end):
    code = SCRIPT.format(tests=str(Path(__file__).parent), folder=str(folder), make=make.__name__, end=end)
    return subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)


@both
def test_a_script_that_is_interrupted_says_so_in_its_record(tmp_path, make):
    done = script(tmp_path, make, "import os, signal; os.kill(os.getpid(), signal.SIGINT)")
    assert "KeyboardInterrupt" in done.stderr
    read = RunRecord.load(tmp_path)
    assert read.series["loss"].steps.tolist()[:3] == [1, 2, 3]
    assert read.events[-1]["kind"] == "end" and read.events[-1]["reason"] == "interrupted"


@both
def test_a_script_that_is_killed_leaves_its_record(tmp_path, make):
    done = script(tmp_path, make, "import os, signal, time; time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)")
    assert done.returncode == -signal.SIGKILL
    read = RunRecord.load(tmp_path)
    assert read.series["loss"].steps.tolist() == [1, 2, 3] and read.facts["max_steps"] == 100_000


def test_a_cell_that_ended_ends_the_run_of_a_trainer_that_tells_nobody(tmp_path):
    pytest.importorskip("IPython")
    cell = """
        from types import SimpleNamespace
        from notebook_kit.training import RunMonitor, TrainerState
        monitor, loop = RunMonitor(), RunMonitor()
        args = SimpleNamespace(save_strategy="no", output_dir="x", metric_for_best_model=None)
        loop.log(loss=1.0)
        monitor.on_train_begin(args, TrainerState(max_steps=9), None)
        raise KeyboardInterrupt
    """
    program = f"""
        from IPython.core.interactiveshell import InteractiveShell
        shell = InteractiveShell.instance()
        shell.run_cell({textwrap.dedent(cell)!r})
        monitor, loop = shell.user_ns["monitor"], shell.user_ns["loop"]
        print([event["reason"] for event in monitor.record.events if event["kind"] == "end"], loop.controls.status)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['interrupted'] running", done.stdout + done.stderr


# -------------------------------------------------------------------------------------------------------- loops of one's own


def test_a_loop_of_ones_own(tmp_path):
    monitor = RunMonitor(run_dir=tmp_path)
    for step in range(1, 5):
        monitor.log(loss=torch.tensor(1 / step), learning_rate=0.1)
    monitor.log(10, accuracy=0.5)
    monitor.log(10, recall=0.25)
    assert monitor.controls.status == "running" and monitor.learning_rate == 0.1
    monitor.finish()
    read = RunRecord.load(tmp_path)
    assert read.series["loss"].steps.tolist() == [1, 2, 3, 4] and read.series["loss"].values[1] == 0.5
    assert read.series["accuracy"].steps.tolist() == read.series["recall"].steps.tolist() == [10]
    assert len(read.series["step_time"]) == 5
    assert read.events[0]["kind"] == "begin" and read.events[-1]["reason"] == "finished"


def test_a_person_can_stop_a_loop_and_set_its_rate():
    with RunMonitor() as monitor:
        assert monitor.learning_rate is None
        for step in range(1, 100):
            monitor.log(step, loss=1.0)
            if step == 3:
                monitor.controls.set_learning_rate(0.25)
                monitor.controls.stop()
            if monitor.should_stop:
                break
    assert step == 4 and monitor.learning_rate == 0.25
    assert events(monitor, "end")[0]["reason"] == "stopped"
    assert [event["new"] for event in events(monitor, "learning_rate")] == [0.25]


def test_a_loop_that_fails():
    monitor = RunMonitor()
    with pytest.raises(ZeroDivisionError), monitor:
        monitor.log(loss=1.0)
        monitor.log(loss=1 / 0)
    assert [event["kind"] for event in monitor.record.events] == ["begin", "error", "end"]


def test_words_are_no_values():
    with pytest.raises(InputError, match="not a number"):
        RunMonitor().log(loss="low")


def test_the_front_end_is_asked_between_steps():
    monitor, rounds, calls = RunMonitor(), [], 0
    monitor.idle = lambda: rounds.append(calls)
    start = time.perf_counter()
    while time.perf_counter() - start < 0.55:
        monitor.log(loss=1.0)
        calls += 1
    assert 1 <= len(rounds) <= (time.perf_counter() - start) / 0.1 + 1  # ten times a second at most
    assert len(rounds) < calls


def test_other_processes_record_nothing(tmp_path):
    monitor = RunMonitor()
    state = SimpleNamespace(is_world_process_zero=False, global_step=0)
    monitor.on_train_begin(None, state, None)
    monitor.on_step_end(None, state, None)
    monitor.on_log(None, state, None, logs={"loss": 1.0})
    assert monitor.record.version == 0 and monitor.controls.status == "idle"
