"""Training in the background: the same weights, a handle that waits, and an orderly end; and what shows a run by itself."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from test_controls import LONG, At, events, wait_until
from tiny_training import assert_same_weights, bert, dataset, trainer, weights

from notebook_kit.errors import ConfigurationError, InputError, NotebookKitWarning, RunTimeoutError
from notebook_kit.training import (
    DefaultFlowCallback,
    PrinterCallback,
    ProgressCallback,
    RunMonitor,
    RunRecord,
    TrainerCallback,
    display,
)


def held(folder, **options):
    """A Trainer whose run waits in its third step until it is let go."""
    gate = threading.Event()
    monitor = RunMonitor()
    more = options.pop("more", [])
    run = trainer(folder, callbacks=[At(3, lambda: gate.wait(LONG)), *more, monitor], max_steps=6, **options)
    return run, gate, monitor


def at_step_three(trainer_):
    wait_until(lambda: trainer_.state.global_step == 3)


def test_the_same_weights_as_in_the_foreground(tmp_path):
    options = {"max_steps": 11, "eval_dataset": dataset(9), "eval_strategy": "steps", "eval_steps": 4}
    plain = trainer(tmp_path, **options)
    output = plain.train()
    run = trainer(tmp_path, **options)
    handle = run.train(background=True)
    assert handle.wait(LONG).training_loss == output.training_loss
    assert_same_weights(weights(plain.model), weights(run.model))
    assert handle.done and handle.exception() is None
    assert repr(handle) == "<BackgroundRun: finished at step 11 of 11>"
    assert handle.wait() == handle.wait()


def test_it_gives_the_notebook_back_at_once(tmp_path):
    run, gate, monitor = held(tmp_path)
    handle = run.train(background=True)
    at_step_three(run)
    assert not handle.done and repr(handle) == "<BackgroundRun: running at step 3 of 6>"
    assert handle.controls is monitor.controls
    gate.set()
    assert handle.wait(LONG).global_step == 6


def test_waiting_has_a_limit(tmp_path):
    run, gate, _ = held(tmp_path)
    handle = run.train(background=True)
    with pytest.raises(TimeoutError, match="still in progress") as caught:
        handle.wait(0.01)
    assert isinstance(caught.value, RunTimeoutError) and "run.stop()" in str(caught.value)
    gate.set()
    handle.wait(LONG)


def test_an_interrupt_ends_the_waiting_alone(tmp_path):
    run, gate, _ = held(tmp_path)
    handle = run.train(background=True)
    at_step_three(run)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt, match=r"Only the waiting was stopped\..*at step 3 of 6"):
        handle.wait()
    timer.join()
    assert not handle.done
    gate.set()
    assert handle.wait(LONG).global_step == 6


def test_an_error_comes_out_of_wait_and_is_told_if_nobody_waits(tmp_path, caplog):
    def fail():
        raise RuntimeError("out of luck")

    run = trainer(tmp_path, callbacks=[At(3, fail)], max_steps=6)
    with caplog.at_level(logging.ERROR):
        handle = run.train(background=True)
        wait_until(lambda: handle.done)
        wait_until(lambda: caplog.text)
    assert "out of luck" in caplog.text
    for _ in range(2):
        with pytest.raises(RuntimeError, match="out of luck"):
            handle.wait()
    assert isinstance(handle.exception(), RuntimeError)
    assert repr(handle) == "<BackgroundRun: ended with RuntimeError at step 3 of 6>"
    run.pop_callback(run.callbacks[2])
    assert run.train(background=True).wait(LONG).global_step == 6  # the Trainer is free again


def test_an_error_before_the_first_step(tmp_path):
    run = trainer(tmp_path)
    run.train_dataset = None
    with pytest.raises(InputError, match="train_dataset"):
        run.train(background=True).wait(LONG)


def test_one_run_at_a_time(tmp_path):
    run, gate, _ = held(tmp_path, eval_dataset=dataset(9))
    handle = run.train(background=True)
    for wish in (run.train, lambda: run.train(background=True), run.evaluate, lambda: run.predict(dataset(3))):
        with pytest.raises(ConfigurationError, match="it has a run in progress"):
            wish()
    gate.set()
    assert handle.wait(LONG).global_step == 6
    assert run.evaluate()["eval_loss"] > 0
    assert run.train().global_step == 6


def test_a_run_cannot_train_within_itself(tmp_path):
    run = trainer(tmp_path, callbacks=[At(2, lambda: run.train())], max_steps=3)
    with pytest.raises(ConfigurationError, match="at step 2 of 3"):
        run.train()


def test_stop_pause_and_resume(tmp_path):
    run, gate, _ = held(tmp_path)
    handle = run.train(background=True)
    handle.pause()
    gate.set()
    wait_until(lambda: repr(handle).startswith("<BackgroundRun: paused"))
    handle.resume()
    assert handle.wait(LONG).global_step == 6
    run, gate, monitor = held(tmp_path)
    handle = run.train(background=True)
    at_step_three(run)
    handle.stop()
    gate.set()
    assert handle.wait(LONG).global_step == 3
    assert repr(handle) == "<BackgroundRun: stopped at step 3 of 6>" and events(monitor, "stop")


def test_stop_without_a_monitor_and_before_the_first_step(tmp_path):
    run = trainer(tmp_path, max_steps=50)
    for _ in range(2):  # also the second time, when the controls have seen a run end
        handle = run.train(background=True)
        handle.stop()
        assert handle.wait(LONG).global_step < 50


def test_await(tmp_path):
    run, gate, _ = held(tmp_path)

    async def cell():
        ticks = 0

        async def others():
            nonlocal ticks
            while True:
                ticks += 1
                if ticks == 5:
                    gate.set()
                await asyncio.sleep(0.01)

        busy = asyncio.create_task(others())
        output = await run.train(background=True)
        busy.cancel()
        return output, ticks

    output, ticks = asyncio.run(cell())
    assert output.global_step == 6 and ticks >= 5


def test_await_what_is_over_or_failed(tmp_path):
    run = trainer(tmp_path, max_steps=2)
    handle = run.train(background=True)
    handle.wait(LONG)

    async def again():
        return await handle

    assert asyncio.run(again()).global_step == 2

    def fail():
        raise RuntimeError("out of luck")

    async def failed():
        await trainer(tmp_path, callbacks=[At(1, fail)], max_steps=2).train(background=True)

    with pytest.raises(RuntimeError, match="out of luck"):
        asyncio.run(failed())


def test_who_gives_up_awaiting_does_not_end_the_run(tmp_path):
    run, gate, _ = held(tmp_path)

    async def cell():
        handle = run.train(background=True)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_wait(handle), 0.05)
        return handle

    async def _wait(handle):
        return await handle

    handle = asyncio.run(cell())
    assert not handle.done
    gate.set()
    assert handle.wait(LONG).global_step == 6


def test_what_it_prints_belongs_to_the_cell_that_began_it(tmp_path):
    cell, seen = contextvars.ContextVar("cell", default="none"), []
    cell.set("first")
    handle = trainer(tmp_path, callbacks=[At(1, lambda: seen.append(cell.get()))], max_steps=1).train(background=True)
    cell.set("second")
    handle.wait(LONG)
    assert seen == ["first"]


def test_a_subclass_with_a_train_of_its_own(tmp_path):
    from notebook_kit.training import Trainer

    calls = []

    class Own(Trainer):
        def train(self, *args, **kwargs):
            calls.append(threading.current_thread().name)
            return super().train(*args, **kwargs)

    run = trainer(tmp_path, kind=Own, max_steps=2)
    assert run.train(background=True).wait(LONG).global_step == 2
    assert calls == ["MainThread", "notebook_kit-training"]


ENDING = """
    import sys, time
    sys.path.insert(0, {tests!r})
    from tiny_training import trainer
    from notebook_kit.training import RunMonitor
    run = trainer({folder!r}, callbacks=[RunMonitor()], max_steps=1000000, save_strategy="steps", save_steps=900000)
    handle = run.train(background=True)
    while run.state.global_step < 5:
        time.sleep(0.01)
    {then}
"""


TERMINATED = "import os, signal; os.kill(os.getpid(), signal.SIGTERM); handle.wait()"


@pytest.mark.parametrize("then", ["pass", "handle.pause(); time.sleep(0.5)", "raise SystemExit(3)", TERMINATED])
def test_a_process_that_ends_lets_the_run_write_a_checkpoint(tmp_path, then):
    code = textwrap.dedent(ENDING).format(tests=str(Path(__file__).parent), folder=str(tmp_path), then=then)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert done.returncode == {TERMINATED: 143, "raise SystemExit(3)": 3}.get(then, 0), done.stderr
    [checkpoint] = tmp_path.glob("checkpoint-*")
    record = RunRecord.load(tmp_path)
    step = int(checkpoint.name.rpartition("-")[2])
    assert step >= 5 and record.series["loss"].steps.tolist() == list(range(1, step + 1))
    assert record.events[-1]["kind"] == "end" and record.events[-1]["reason"] == "interrupted"
    again = trainer(tmp_path, bert(seed=1), max_steps=step + 2, save_strategy="steps", save_steps=100)
    assert again.train(resume_from_checkpoint=True).global_step == step + 2


# ------------------------------------------------------------------------------------------------- what shows a run


class Shown(TrainerCallback):
    shows_run = True


class Panel(TrainerCallback):
    pass


class Point:
    """An entry point."""

    def __init__(self, load):
        self.load = load


@pytest.fixture
def notebook(monkeypatch):
    """As if in a notebook, with these displays installed."""
    monkeypatch.setattr(display, "in_notebook", lambda: True)
    monkeypatch.delenv(display.DISPLAY_VARIABLE, raising=False)
    asked, points = [], []

    def entry_points(group):
        asked.append(group)
        return points

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    return points, asked


def display_of(folder, **options):
    made = trainer(folder, **options).callbacks
    return [type(callback) for callback in made if not isinstance(callback, DefaultFlowCallback)]


def test_an_installed_display_is_shown_in_place_of_the_bar(tmp_path, notebook):
    points, asked = notebook
    points.append(Point(lambda: lambda args: Panel()))
    assert display_of(tmp_path, disable_tqdm=False) == [Panel]
    assert asked == ["notebook_kit.displays"]


def test_an_installed_display_may_decline(tmp_path, notebook):
    notebook[0].append(Point(lambda: lambda args: None))
    assert display_of(tmp_path, disable_tqdm=False) == [ProgressCallback]


def test_who_asks_for_quiet_gets_no_display(tmp_path, notebook):
    notebook[0].append(Point(lambda: lambda args: Panel()))
    assert display_of(tmp_path, disable_tqdm=True) == [PrinterCallback] and not notebook[1]


def test_the_environment_can_ask_for_the_bar(tmp_path, notebook, monkeypatch):
    notebook[0].append(Point(lambda: lambda args: Panel()))
    monkeypatch.setenv(display.DISPLAY_VARIABLE, "bar")
    assert display_of(tmp_path, disable_tqdm=False) == [ProgressCallback] and not notebook[1]


@pytest.mark.parametrize("given", [Shown, Shown()])
@pytest.mark.parametrize("quiet", [False, True])
def test_who_brings_a_display_gets_no_second_one(tmp_path, notebook, given, quiet):
    notebook[0].append(Point(lambda: lambda args: Panel()))
    assert display_of(tmp_path, disable_tqdm=quiet, callbacks=[given]) == [Shown]


def test_other_processes_show_nothing_of_it(tmp_path, notebook, monkeypatch):
    notebook[0].append(Point(lambda: lambda args: Panel()))
    from notebook_kit.training import TrainingArguments

    monkeypatch.setattr(TrainingArguments, "process_index", 1)
    assert display_of(tmp_path, disable_tqdm=False) == [ProgressCallback]


@pytest.mark.parametrize("broken", [Point(lambda: 1 / 0), Point(lambda: lambda args: 1 / 0)])
def test_a_display_that_fails_is_told_once_and_the_bar_shown(tmp_path, notebook, broken):
    notebook[0].append(broken)
    with pytest.warns(NotebookKitWarning, match="ZeroDivisionError") as told:
        assert display_of(tmp_path, disable_tqdm=False) == [ProgressCallback]
    assert len(told) == 1


def test_outside_a_notebook_nothing_is_looked_up(tmp_path, monkeypatch):
    def entry_points(group):
        raise AssertionError("looked up")

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)
    assert not display.in_notebook()
    assert display_of(tmp_path, disable_tqdm=False) == [ProgressCallback]


def test_in_the_kernel_of_a_notebook(tmp_path):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    code = "import sys; from notebook_kit.training.display import in_notebook; print(in_notebook(), 'torch' in sys.modules)"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute(cwd=str(tmp_path))
    assert notebook.cells[0].outputs[0]["text"].split()[0] == "True"


def test_the_core_loads_no_panel():
    code = """
        import sys
        from notebook_kit import Trainer, TrainingArguments
        from notebook_kit.training import BackgroundRun, RunControls, RunMonitor, RunRecord
        assert not [name for name in sys.modules if name.startswith(("notebook_kit.panels", "IPython", "ipywidgets"))]
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
