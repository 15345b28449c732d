"""Alerts: a run that needs attention says so on its page, to a function, or to a command of the system."""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import ConfigurationError, InputError, near_matches, notice, warn
from notebook_kit.training.callbacks import TrainerCallback
from notebook_kit.training.state import TrainerState
from notebook_kit.training.values import typed

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments
    from notebook_kit.training.state import TrainerControl

__all__ = ["Alert", "AlertCallback"]

SECONDS = 60.0  # after which a command is ended
WORSE = 0.01  # the part by which a validation loss is clearly worse
BETTER = 0.001  # the part by which a loss must fall to count as lower


@dataclass(frozen=True)
class Alert:
    """A message about a run.

    Attributes:
        rule: The name of the rule: "nan", "plateau", "overfitting", or that of a function.
        step: The step at which it was found.
        message: A sentence.

    Example:
        >>> Alert("nan", 12, "The loss is not finite.").rule
        'nan'
    """

    rule: str
    step: int
    message: str


class AlertCallback(TrainerCallback):
    """Watches a run by rules, and reports the first time that each is broken.

    An alert is logged as one line and shown on the run's dashboard; `notify` and `command` take it further.

    - "nan": a loss, or a metric of an evaluation, is NaN or infinite, also if its update was skipped or ended the run.
    - "plateau": the validation loss (the training loss, in a run without evaluations) has not fallen by 0.1 % for `patience`
      evaluations (logs).
    - "overfitting": the best validation loss is at least two evaluations ago, the latest is more than 1 % worse, and the
      training loss has fallen since.

    Args:
        rules: Names of the above, and functions `(state, logs) -> message or None`, called at each log: `state.log_history` has
            all logs. Each is reported once per run.
        patience: See "plateau".
        notify: Called with each `Alert`.
        command: A command for the system's shell. The alert is in its environment, as `NOTEBOOK_KIT_ALERT` (the message),
            `NOTEBOOK_KIT_RULE` and `NOTEBOOK_KIT_STEP`. It runs in the background, for at most a minute.

    Attributes:
        alerts: Those of the latest run.

    Raises:
        ConfigurationError: for an unknown rule, or a `notify` that is not a function.

    Example:
        >>> def slow(state, logs):
        ...     return "The gradient is large." if logs.get("grad_norm", 0) > 100 else None
        >>> watch = AlertCallback(["nan", slow], notify=print, command='notify-send "$NOTEBOOK_KIT_ALERT"')
        >>> watch.alerts
        []
    """

    def __init__(
        self,
        rules: Any = ("nan", "plateau", "overfitting"),
        *,
        patience: int = 5,
        notify: Callable[[Alert], Any] | None = None,
        command: str | None = None,
    ) -> None:
        known = {"nan": self._nan, "plateau": self._plateau, "overfitting": self._overfitting}
        self.rules: dict[str, Callable[[TrainerState, Mapping[str, Any]], str | None]] = {}
        for rule in [rules] if isinstance(rules, str) or callable(rules) else rules:
            if callable(rule):
                name = getattr(rule, "__name__", type(rule).__name__)
                self.rules[f"rule {len(self.rules) + 1}" if name == "<lambda>" else name] = rule
            elif rule in known:
                self.rules[rule] = known[rule]
            else:
                raise ConfigurationError(
                    f"AlertCallback has no rule {rule!r}. {near_matches(str(rule), known)}".strip(),
                    next_step=f"Use {', '.join(map(repr, known))}, or a function (state, logs) -> message or None.",
                )
        if notify is not None and not callable(notify):
            raise ConfigurationError(f"notify is {notify!r:.60}.", next_step="Pass a function of one argument.")
        self.patience = typed("patience", patience, "int")
        self.notify, self.command = notify, command
        self.alerts: list[Alert] = []
        self._processes: list[subprocess.Popen[bytes]] = []

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self.alerts = []

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if not state.is_world_process_zero:
            return
        logs = dict(kwargs.get("logs") or {})
        trainer = kwargs.get("trainer")
        if trainer is not None and trainer.loop is not None and trainer.loop.meter.total_bad:
            logs["skipped_loss"] = math.nan  # the logged mean leaves it out
        for name, rule in self.rules.items():
            if not any(alert.rule == name for alert in self.alerts) and (message := _judged(name, rule, state, logs)):
                self._raise(Alert(name, state.global_step, str(message)), trainer)

    def on_error(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        error = kwargs.get("error")
        if isinstance(error, ArithmeticError) and "nan" in self.rules and state.is_world_process_zero:
            self._raise(Alert("nan", getattr(error, "step", state.global_step), str(error)), kwargs.get("trainer"))
        self._wait()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self._wait()

    def _raise(self, alert: Alert, trainer: Any) -> None:
        self.alerts.append(alert)
        notice(f"{alert.rule} at step {alert.step}: {alert.message}")
        for callback in trainer.callbacks if trainer is not None else ():
            if callable(getattr(getattr(callback, "record", None), "event", None)):
                callback.record.event("alert", alert.step, rule=alert.rule, message=alert.message)
        try:
            if self.notify is not None:
                self.notify(alert)
            if self.command is not None:
                self._run(alert)
        except Exception as error:  # an alert never ends the run
            warn(f"The alert {alert.rule!r} could not be passed on: {type(error).__name__}: {error}. The run goes on.")

    def _run(self, alert: Alert) -> None:
        variables = {"ALERT": alert.message, "RULE": alert.rule, "STEP": str(alert.step)}
        environment = {**os.environ, **{f"NOTEBOOK_KIT_{name}": value for name, value in variables.items()}}
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self._processes.append(subprocess.Popen(self.command or "", shell=True, env=environment, **quiet))  # type: ignore[call-overload]

    def _wait(self) -> None:
        """Wait for the commands, and warn of those that failed."""
        processes, self._processes = self._processes, []
        for process in processes:
            try:
                _, errors = process.communicate(timeout=SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                warn(f"The command of an alert did not end within {SECONDS:g} seconds and was stopped: {self.command}")
                continue
            if process.returncode:
                why = errors.decode("utf-8", "replace").strip() or f"status {process.returncode}"
                warn(f"The command of an alert failed ({why[:200]}): {self.command}")

    # -------------------------------------------------------------------------------------------------------- rules

    def _nan(self, state: TrainerState, logs: Mapping[str, Any]) -> str | None:
        bad = [name for name, value in logs.items() if isinstance(value, float) and not math.isfinite(value)]
        named = ", ".join("loss" if name == "skipped_loss" else name for name in bad)
        return f"{named} is NaN or infinite." if bad else None

    def _plateau(self, state: TrainerState, logs: Mapping[str, Any]) -> str | None:
        name = "eval_loss" if any("eval_loss" in entry for entry in state.log_history) else "loss"
        values = [entry[name] for entry in state.log_history if name in entry]
        if name not in logs or len(values) <= self.patience:
            return None
        before, since = values[: -self.patience], values[-self.patience :]
        best = min(before)
        if min(since) < best - BETTER * abs(best) or not math.isfinite(best):
            return None
        kind = "validation" if name == "eval_loss" else "training"
        return f"The {kind} loss has not fallen below {best:.4g} in the last {self.patience} measurements."

    def _overfitting(self, state: TrainerState, logs: Mapping[str, Any]) -> str | None:
        checks = [(entry["step"], entry["eval_loss"]) for entry in state.log_history if "eval_loss" in entry]
        if "eval_loss" not in logs or len(checks) < 3:
            return None
        at, (step, best) = min(enumerate(checks), key=lambda item: item[1][1])
        last = checks[-1][1]
        training = [(entry["step"], entry["loss"]) for entry in state.log_history if "loss" in entry]
        around = [loss for logged, loss in training if logged <= step][-1:]
        falls = not around or training[-1][1] < around[0]
        if len(checks) - 1 - at < 2 or not last > best + WORSE * abs(best) or not falls:
            return None
        return f"The validation loss was best at step {step} ({best:.4g}) and is {last:.4g} now, while the model still learns."


def _judged(
    name: str,
    rule: Callable[[TrainerState, Mapping[str, Any]], str | None],
    state: TrainerState,
    logs: Mapping[str, Any],
) -> str | None:
    message = rule(state, logs)
    if message is not None and not isinstance(message, str | bool):
        raise InputError(
            f"The rule {name!r} returned {message!r:.60}; expected a message or None.",
            next_step="End it with `return message`, or with None if all is well.",
        )
    return f"The rule {name} is broken." if message is True else message or None
