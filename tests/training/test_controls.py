"""A person's requests to a run: carried out by both Trainers, from other threads, and again after a resumption."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest
import torch
from tiny_training import SIZES, Padder, assert_same_weights, dataset, trainer, weights

from notebook_kit import get_scheduler
from notebook_kit.errors import InputError, NotebookKitWarning
from notebook_kit.training import DataCollatorWithPadding, RunControls, RunMonitor, TrainerCallback
from notebook_kit.training.recording.controls import ControlsCallback, best_checkpoint, scale_learning_rate

LONG = 120  # seconds that a busy machine may take for what takes none


class Call(TrainerCallback):
    """Calls a function at the end of a step, before the monitor sees that step."""

    def __init__(self, step, do):
        self.step, self.do = step, do

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            self.do()

    def on_push_begin(self, args, state, control, **kwargs):
        pass


def At(step, do):
    return type(f"At{step}{do}", (Call,), {})(step, do)  # a class of its own: a Trainer warns of two of one


def hf_trainer(folder, monitor, *more, **options):
    transformers = pytest.importorskip("transformers")
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-3, "save_strategy": "no"}
    arguments = transformers.TrainingArguments(str(folder), **{**quiet, "logging_steps": 5, **options})
    torch.manual_seed(0)
    return transformers.Trainer(
        model=transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, num_labels=2)),
        args=arguments,
        train_dataset=dataset().remove_columns("text"),
        eval_dataset=dataset(9).remove_columns("text"),
        data_collator=lambda examples: DataCollatorWithPadding(Padder())(examples),  # no tokenizer that it would save
        callbacks=[*more, monitor],
    )


def our_trainer(folder, monitor, *more, **options):
    return trainer(folder, eval_dataset=dataset(9), callbacks=[*more, monitor], **options)


both = pytest.mark.parametrize("make", [our_trainer, hf_trainer])


def kinds(monitor):
    return [event["kind"] for event in monitor.record.events]


def events(monitor, kind):
    return [event for event in monitor.record.events if event["kind"] == kind]


def wait_until(condition, run=None):
    until = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < until and (run is None or run.is_alive()), "it never came"
        time.sleep(0.01)


# ---------------------------------------------------------------------------------------------------------------- asked


@pytest.mark.parametrize("value", [0, -1e-5, float("nan"), float("inf"), "fast", None, [1]])
def test_a_learning_rate_is_a_number_above_zero(value):
    controls = RunControls()
    with pytest.raises(InputError, match="above 0"):
        controls.set_learning_rate(value)
    assert controls.pending == {}


def test_nothing_can_be_asked_of_a_run_that_is_over(tmp_path):
    monitor = RunMonitor()
    our_trainer(tmp_path, monitor, max_steps=2).train()
    assert monitor.controls.status == "ended"
    monitor.controls.pause()
    monitor.controls.stop()
    assert monitor.controls.pending == {} and monitor.controls.status == "ended"


def test_one_monitor_serves_two_runs(tmp_path):
    monitor = RunMonitor()
    run = our_trainer(tmp_path, monitor, At(3, lambda: monitor.controls.stop()), max_steps=6)
    assert run.train().global_step == 3
    run.pop_callback(Call)
    assert run.train().global_step == 6
    assert monitor.controls.status == "ended" and events(monitor, "end")[-1]["reason"] == "finished"


# ----------------------------------------------------------------------------------------------------------------- stop


@both
def test_stop_ends_the_run_cleanly(tmp_path, make):
    monitor = RunMonitor()
    run = make(tmp_path, monitor, At(4, lambda: monitor.controls.stop()), max_steps=12)
    assert run.train().global_step == 4
    [end] = events(monitor, "end")
    assert end["reason"] == "stopped" and end["kept"] == "present weights" and end["why"]
    assert monitor.controls.status == "ended"
    assert [event["step"] for event in events(monitor, "stop")] == [4]


@both
@pytest.mark.parametrize("named", [True, False])
def test_stop_and_keep_the_best(tmp_path, make, named):
    monitor, seen = RunMonitor(), {}

    def spoil():
        # The weights become bad after the checkpoint of step 4, which was the best.
        seen["best"] = weights(run.model)
        with torch.no_grad():
            for parameter in run.model.parameters():
                parameter.mul_(50.0)

    options = {"eval_strategy": "steps", "eval_steps": 4, "save_strategy": "steps", "save_steps": 4, "max_steps": 40}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss"} if named else {}

    class AfterSave(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.global_step == 4:
                spoil()

        def on_push_begin(self, args, state, control, **kwargs):
            pass

    run = make(tmp_path, monitor, AfterSave(), At(9, lambda: monitor.controls.stop()), **options, **best)
    run.train()
    assert run.state.global_step == 9
    losses = {entry["step"]: entry["eval_loss"] for entry in run.state.log_history if "eval_loss" in entry}
    assert losses[8] > losses[4]
    assert_same_weights(seen["best"], weights(run.model))
    [end] = events(monitor, "end")
    assert end["kept"] == "best checkpoint" and end["checkpoint"].endswith("checkpoint-4")
    assert end["value"] == pytest.approx(losses[4])


def test_stop_without_keeping_the_best(tmp_path):
    monitor = RunMonitor()
    options = {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 2}
    run = our_trainer(tmp_path, monitor, At(5, lambda: monitor.controls.stop(keep_best=False)), max_steps=9, **options)
    seen = {}
    run.add_callback(At(5, lambda: seen.update(now=weights(run.model))))
    run.train()
    assert_same_weights(seen["now"], weights(run.model))
    assert events(monitor, "end")[0]["why"] == "as asked for"


def test_the_present_weights_may_be_the_best(tmp_path):
    class State:
        global_step, best_metric, best_global_step, best_model_checkpoint = 8, 0.1, 8, str(tmp_path)
        log_history = [{"step": 4, "eval_loss": 0.5}, {"step": 8, "eval_loss": 0.1}]

    class Arguments:
        output_dir, metric_for_best_model = str(tmp_path), "loss"

    (tmp_path / "checkpoint-4").mkdir()
    assert best_checkpoint(Arguments, State) == (None, "loss", 0.1)
    Arguments.metric_for_best_model = None
    assert best_checkpoint(Arguments, State) == (None, "eval_loss", 0.1)
    State.log_history = [{"step": 4, "eval_loss": 0.5}, {"step": 8, "eval_loss": float("nan")}]
    assert best_checkpoint(Arguments, State) == (tmp_path / "checkpoint-4", "eval_loss", 0.5)
    State.log_history = []
    assert best_checkpoint(Arguments, State) is None


# ---------------------------------------------------------------------------------------------------- save and evaluate


@both
def test_save_and_evaluate_now(tmp_path, make):
    monitor = RunMonitor()
    # With an eval_strategy, so that the other Trainer is known to have data to evaluate on.
    options = {"eval_strategy": "steps", "eval_steps": 100}

    def ask():
        monitor.controls.save()
        monitor.controls.evaluate()

    run = make(tmp_path, monitor, At(3, ask), max_steps=7, **options)
    run.train()
    assert (tmp_path / "checkpoint-3" / "trainer_state.json").is_file()
    assert 3 in [entry["step"] for entry in run.state.log_history if "eval_loss" in entry]
    assert 3 in [event["step"] for event in events(monitor, "save")]
    assert 3 in [event["step"] for event in events(monitor, "evaluate")]
    assert 3 in monitor.record.series["eval_loss"].steps


@both
def test_nothing_to_evaluate_on_is_told_and_the_run_goes_on(tmp_path, make):
    monitor = RunMonitor()
    run = make(tmp_path, monitor, At(3, monitor.controls.evaluate), max_steps=5)
    run.eval_dataset = None
    assert run.train().global_step == 5
    [note] = events(monitor, "note")
    assert "no data to evaluate on" in note["text"] and note["step"] == 3


def test_without_a_record_it_is_a_warning(tmp_path):
    watcher = ControlsCallback()
    run = trainer(tmp_path, callbacks=[At(2, watcher.controls.evaluate), watcher], max_steps=3)
    with pytest.warns(NotebookKitWarning, match="no data to evaluate on"):
        run.train()


def test_requests_to_one_of_several_processes_are_left_out():
    class Arguments:
        world_size = 2

    controls, monitor = RunControls(), RunMonitor()
    controls.begin()
    controls.stop()

    class State:
        global_step = 1

    class Control:
        should_training_stop = should_save = should_evaluate = False

    controls.apply(Arguments, State, Control, record=monitor.record)
    assert not Control.should_training_stop and "several processes" in events(monitor, "note")[0]["text"]


# ---------------------------------------------------------------------------------------------------------------- pause


def on_a_thread(run):
    """Train on a thread; the thread and what came of it."""
    outcome = {}

    def work():
        try:
            outcome["output"] = run.train()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=work)
    thread.start()
    return thread, outcome


@both
def test_pause_and_resume(tmp_path, make):
    monitor, rounds = RunMonitor(), []
    run = make(tmp_path, monitor, At(3, monitor.controls.pause), max_steps=6)
    monitor.idle = lambda: rounds.append(monitor.controls.status)
    thread, outcome = on_a_thread(run)
    wait_until(lambda: monitor.controls.status == "paused" and rounds.count("paused") > 3, thread)
    assert run.state.global_step == 3 and monitor.record.series["loss"].steps[-1] == 3
    monitor.controls.resume()
    thread.join(LONG)
    assert outcome["output"].global_step == 6
    assert [event["step"] for event in events(monitor, "pause")] == [3]
    assert [event["step"] for event in events(monitor, "resume")] == [3]
    # A pause is no part of the time of a step.
    paused = events(monitor, "resume")[0]["time"] - events(monitor, "pause")[0]["time"]
    times = monitor.record.series["step_time"]
    assert len(times) == 6 and paused > 0.1


@both
def test_a_paused_run_is_the_same_run(tmp_path, make):
    plain = make(tmp_path / "plain", RunMonitor(), max_steps=6)
    plain.train()
    monitor = RunMonitor()
    run = make(tmp_path / "paused", monitor, At(3, monitor.controls.pause), max_steps=6)
    thread, _ = on_a_thread(run)
    wait_until(lambda: monitor.controls.status == "paused", thread)
    monitor.controls.resume()
    thread.join(LONG)
    assert_same_weights(weights(plain.model), weights(run.model))


@both
def test_stop_within_a_pause(tmp_path, make):
    monitor = RunMonitor()
    run = make(tmp_path, monitor, At(3, monitor.controls.pause), max_steps=6)
    thread, outcome = on_a_thread(run)
    wait_until(lambda: monitor.controls.status == "paused", thread)
    monitor.controls.stop()
    thread.join(LONG)
    assert outcome["output"].global_step == 3 and events(monitor, "end")[0]["reason"] == "stopped"


@both
def test_save_and_a_learning_rate_within_a_pause_take_no_step(tmp_path, make):
    monitor = RunMonitor()
    run = make(tmp_path, monitor, At(3, monitor.controls.pause), max_steps=6)
    thread, outcome = on_a_thread(run)
    wait_until(lambda: monitor.controls.status == "paused", thread)
    monitor.controls.save()
    wait_until(lambda: events(monitor, "save"), thread)
    monitor.controls.set_learning_rate(5e-4)
    wait_until(lambda: events(monitor, "learning_rate"), thread)
    assert monitor.controls.status == "paused" and run.state.global_step == 3
    assert (tmp_path / "checkpoint-3").is_dir()
    monitor.controls.resume()
    thread.join(LONG)
    assert outcome["output"].global_step == 6
    assert monitor.record.series["learning_rate"].values[3] == 5e-4


def test_several_evaluations_within_a_pause(tmp_path):
    monitor = RunMonitor()
    run = our_trainer(tmp_path, monitor, At(3, monitor.controls.pause), max_steps=6)
    thread, outcome = on_a_thread(run)
    wait_until(lambda: monitor.controls.status == "paused", thread)
    for count in (1, 2):
        monitor.controls.evaluate()
        wait_until(lambda count=count: len(events(monitor, "evaluate")) == count, thread)
    assert run.state.global_step == 3
    monitor.controls.resume()
    thread.join(LONG)
    assert outcome["output"].global_step == 6


def test_another_trainer_keeps_a_second_save_of_a_pause_for_later(tmp_path):
    monitor = RunMonitor()
    run = hf_trainer(tmp_path, monitor, At(3, monitor.controls.pause), max_steps=6)
    thread, outcome = on_a_thread(run)
    wait_until(lambda: monitor.controls.status == "paused", thread)
    monitor.controls.save()
    wait_until(lambda: events(monitor, "save"), thread)
    monitor.controls.save()
    time.sleep(0.3)
    assert run.state.global_step == 3 and monitor.controls.pending == {"save": True}
    monitor.controls.resume()
    thread.join(LONG)
    assert outcome["output"].global_step == 6
    assert [event["step"] for event in events(monitor, "save")] == [3, 4]


@both
def test_an_interrupt_breaks_a_pause(tmp_path, make):
    monitor = RunMonitor()
    run = make(tmp_path, monitor, At(3, monitor.controls.pause), max_steps=6)

    def interrupt():
        wait_until(lambda: monitor.controls.status == "paused")
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run.train()
    thread.join(LONG)
    assert run.state.global_step == 3
    if make is our_trainer:
        assert events(monitor, "end")[0]["reason"] == "interrupted" and monitor.controls.status == "ended"


# -------------------------------------------------------------------------------------------------------- learning rate

SCHEDULES = [
    "linear",
    "cosine",
    "cosine_with_restarts",
    "polynomial",
    "constant",
    "constant_with_warmup",
    "inverse_sqrt",
]


def rates_of(schedule, optimizer, steps):
    rates = []
    for _ in range(steps):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return rates


def two_groups(rate=0.1):
    parameters = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    return torch.optim.SGD([{"params": parameters[:1]}, {"params": parameters[1:], "lr": rate / 2}], lr=rate)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_goes_on_from_the_new_rate(name):
    plain, changed = two_groups(), two_groups()
    first, second = (get_scheduler(name, optimizer, 2, 12) for optimizer in (plain, changed))
    expected = rates_of(first, plain, 12)
    seen = rates_of(second, changed, 5)
    old = scale_learning_rate(changed, second, 0.02)
    assert old == expected[5][0] and changed.param_groups[0]["lr"] == 0.02
    assert second.get_last_lr() == pytest.approx([0.02, 0.01])
    seen += rates_of(second, changed, 7)
    factor = 0.02 / old
    for step, (before, after) in enumerate(zip(expected, seen, strict=True)):
        assert after == pytest.approx([rate * (factor if step >= 5 else 1) for rate in before]), step


@pytest.mark.parametrize(
    "make",
    [
        lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 12),
        lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9),
        lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 4),
        lambda optimizer: torch.optim.lr_scheduler.OneCycleLR(optimizer, [0.1, 0.05], 12),
        lambda optimizer: torch.optim.lr_scheduler.SequentialLR(
            optimizer,
            [
                torch.optim.lr_scheduler.LinearLR(optimizer, 0.5, 1.0, 3),
                torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9),
            ],
            [3],
        ),
        lambda optimizer: torch.optim.lr_scheduler.ChainedScheduler(
            [torch.optim.lr_scheduler.LinearLR(optimizer, 0.5, 1.0, 3), torch.optim.lr_scheduler.StepLR(optimizer, 4)]
        ),
    ],
)
def test_schedules_of_torch(make):
    plain, changed = two_groups(), two_groups()
    first, second = make(plain), make(changed)
    expected = rates_of(first, plain, 11)
    seen = rates_of(second, changed, 5)
    factor = 0.02 / scale_learning_rate(changed, second, 0.02)
    seen += rates_of(second, changed, 6)
    for step, (before, after) in enumerate(zip(expected, seen, strict=True)):
        assert after == pytest.approx([rate * (factor if step >= 5 else 1) for rate in before]), step


def test_a_plateau_goes_on_from_the_new_rate():
    optimizer = two_groups()
    schedule = get_scheduler("reduce_lr_on_plateau", optimizer, scheduler_specific_kwargs={"patience": 0})
    schedule.step(1.0)
    assert scale_learning_rate(optimizer, schedule, 0.04) == 0.1
    schedule.step(2.0)  # worse: a tenth
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.004, 0.002])


def test_a_schedule_that_stands_at_zero_gets_another_top():
    optimizer = two_groups()
    schedule = get_scheduler("linear", optimizer, 4, 12)
    assert scale_learning_rate(optimizer, schedule, 0.2) == 0.0
    assert optimizer.param_groups[0]["lr"] == 0.0
    rates = rates_of(schedule, optimizer, 5)
    assert rates[4] == pytest.approx([0.2, 0.1])


def test_a_rate_in_a_tensor_is_changed_in_place():
    parameter = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([parameter], lr=torch.tensor(0.1))
    held = optimizer.param_groups[0]["lr"]
    assert scale_learning_rate(optimizer, None, 0.05) == pytest.approx(0.1)
    assert optimizer.param_groups[0]["lr"] is held and held.item() == pytest.approx(0.05)


@both
def test_the_next_step_is_made_with_the_new_rate(tmp_path, make):
    monitor = RunMonitor()
    run = make(tmp_path, monitor, At(4, lambda: monitor.controls.set_learning_rate(2e-4)), max_steps=10)
    run.train()
    rates = monitor.record.series["learning_rate"].values
    assert rates[3] == pytest.approx(1e-3 * 7 / 10)
    assert rates[4] == 2e-4
    assert rates[4:] == pytest.approx([2e-4 * (10 - step) / 6 for step in range(4, 10)])
    [event] = events(monitor, "learning_rate")
    assert event["step"] == 4 and event["new"] == 2e-4 and event["old"] == pytest.approx(6e-4)


@both
def test_a_change_is_set_again_by_a_resumed_run(tmp_path, make):
    """A run that is killed twice, and resumed from before its changes, ends with the weights of one that never was."""
    options = {"max_steps": 14, "save_strategy": "steps", "save_steps": 4}

    def changes(monitor):
        return [
            At(6, lambda: monitor.controls.set_learning_rate(4e-4)),
            At(10, lambda: monitor.controls.set_learning_rate(9e-4)),
        ]

    monitor = RunMonitor()
    whole = make(tmp_path / "whole", monitor, *changes(monitor), **options)
    whole.train()

    class Killed(Exception):
        pass

    def kill():
        raise Killed

    monitor = RunMonitor()
    with pytest.raises(Killed):
        make(tmp_path / "cut", monitor, *changes(monitor), At(11, kill), **options).train()
    monitor.record.close()
    again = RunMonitor()
    with pytest.raises(Killed):
        # Before it came to the second change.
        make(tmp_path / "cut", again, At(7, kill), **options).train(str(tmp_path / "cut" / "checkpoint-4"))
    assert [(event["step"], event["new"]) for event in events(again, "learning_rate")] == [(6, 4e-4)]
    again.record.close()
    last = RunMonitor()
    resumed = make(tmp_path / "cut", last, **options)
    resumed.train(str(tmp_path / "cut" / "checkpoint-4"))
    assert_same_weights(weights(whole.model), weights(resumed.model))
    assert [(event["step"], event["new"], event["replayed"]) for event in events(last, "learning_rate")] == [
        (6, 4e-4, True),
        (10, 9e-4, True),
    ]
    assert len(list((tmp_path / "cut" / "runs").iterdir())) == 1  # one record, that goes on
    assert last.record.series["loss"].steps.tolist() == list(range(1, 15))
