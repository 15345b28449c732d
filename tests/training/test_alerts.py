"""Alerts: each rule fires once when it is broken, and what it is passed on to never ends the run."""

import json
import math

import pytest
import torch
from tiny_training import Line, line_rows, trainer

from notebook_kit.errors import ConfigurationError, InputError, NonFiniteLossError, NotebookKitWarning
from notebook_kit.training import Alert, AlertCallback, RunMonitor, TrainerControl, TrainerState, default_data_collator


def line(folder, data=None, **options):
    torch.manual_seed(0)
    options = {"max_steps": 8, "logging_steps": 1, **options}
    return trainer(folder, Line(), data or line_rows(32), data_collator=default_data_collator, **options)


def told(watch, history):
    """The alerts after a history of (step, name, value)."""
    state = TrainerState()
    for step, name, value in history:
        state.global_step = step
        state.log_history.append({name: value, "step": step})
        watch.on_log(None, state, TrainerControl(), logs={name: value})
    return [(alert.rule, alert.step) for alert in watch.alerts]


def test_each_rule_fires_when_it_is_broken_and_only_once():
    falling = [(step, "loss", 1 / step) for step in range(1, 20)]
    assert told(AlertCallback(), falling) == []
    assert told(AlertCallback(patience=3), [*falling[:5], *((step, "loss", 0.3) for step in range(6, 20))]) == [
        ("plateau", 8)
    ]
    assert told(AlertCallback("nan"), [(1, "loss", 1.0), (2, "eval_loss", math.inf), (3, "loss", math.nan)]) == [
        ("nan", 2)
    ]
    over = [
        (step, name, value)
        for step, loss, check in ((1, 3, 2.0), (2, 2, 1.0), (3, 1, 1.2))
        for name, value in (("loss", loss), ("eval_loss", check))
    ]
    assert told(AlertCallback(), over) == []
    assert told(AlertCallback(), [*over, (4, "loss", 0.5), (4, "eval_loss", 1.3)]) == [("overfitting", 4)]
    assert told(AlertCallback(), [*over, (4, "loss", 2.5), (4, "eval_loss", 1.3)]) == []  # the training loss rises too


def test_an_alert_reaches_the_record_a_function_and_a_command(tmp_path, caplog):
    def steep(state, logs):
        return "The gradient is steep." if state.global_step >= 3 else None

    seen, monitor, written = [], RunMonitor(), tmp_path / "alert"
    command = f'echo "$NOTEBOOK_KIT_RULE $NOTEBOOK_KIT_STEP $NOTEBOOK_KIT_ALERT" > {written}'
    line(tmp_path, callbacks=[monitor, AlertCallback([steep], notify=seen.append, command=command)]).train()
    assert seen == [Alert("steep", 3, "The gradient is steep.")]
    assert written.read_text() == "steep 3 The gradient is steep.\n"  # the run waits for it at its end
    (event,) = (event for event in monitor.record.events if event["kind"] == "alert")
    assert (event["rule"], event["step"]) == ("steep", 3) and "steep at step 3" in caplog.text


@pytest.mark.filterwarnings("ignore:.*losses of the last")
@pytest.mark.parametrize("policy", ["stop", "skip"])
def test_a_nan_is_an_alert_whatever_becomes_of_its_update(tmp_path, policy):
    data = line_rows(32)
    data[3]["labels"] = math.nan
    watch = AlertCallback()
    run = line(tmp_path, data, callbacks=[watch], nan_policy=policy, train_sampling_strategy="sequential")
    if policy == "stop":
        with pytest.raises(NonFiniteLossError):
            run.train()
    else:
        run.train()
    assert [(alert.rule, alert.step) for alert in watch.alerts] == [("nan", 1)]


def test_what_fails_is_a_warning_and_the_run_goes_on(tmp_path):
    def broken(alert):
        raise OSError("no network")

    run = line(tmp_path, callbacks=[AlertCallback([lambda state, logs: True], notify=broken)])
    with pytest.warns(NotebookKitWarning, match="OSError: no network"):
        assert run.train().global_step == 8
    run = line(tmp_path, callbacks=[AlertCallback([lambda state, logs: True], command="echo broken >&2; exit 3")])
    with pytest.warns(NotebookKitWarning, match="failed .broken.: echo"):
        assert run.train().global_step == 8
    with pytest.raises(ConfigurationError, match="Did you mean 'plateau'"):
        AlertCallback(["platau"])
    with pytest.raises(InputError, match="returned 5"):
        line(tmp_path, callbacks=[AlertCallback([lambda state, logs: 5])]).train()


def test_the_command_gets_the_message_as_data(tmp_path):
    harmless = tmp_path / "out"
    rule = lambda state, logs: f'"; touch {tmp_path}/hacked; $(touch {tmp_path}/hacked)'  # noqa: E731
    line(tmp_path, callbacks=[AlertCallback([rule], command=f'printf "%s" "$NOTEBOOK_KIT_ALERT" > {harmless}')]).train()
    assert not (tmp_path / "hacked").exists() and json.dumps(harmless.read_text())
