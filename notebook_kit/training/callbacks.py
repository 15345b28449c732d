"""Callbacks, which act on the events of a run."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from notebook_kit.errors import ConfigurationError, InputError, NotebookKitError, a_kind, warn
from notebook_kit.training.state import ExportableState, TrainerControl, TrainerLike, TrainerState
from notebook_kit.training.values import typed

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

__all__ = ["DefaultFlowCallback", "EarlyStoppingCallback", "TrainerCallback"]


class TrainerCallback:
    """Acts on the events of a run. Override the methods of the events you need.

    Each method is called as `on_event(args, state, control, **kwargs)`. `kwargs` holds `trainer`, `model`,
    `processing_class` (also as `tokenizer`), `optimizer`, `lr_scheduler`, `train_dataloader` and `eval_dataloader`; also
    `logs` for `on_log`, `metrics` for `on_evaluate` and `on_predict`, and `error` for `on_error`. A method may change
    `control`, which the loop obeys, or return a new one.

    If a run ends with an exception, `on_error` is called instead of `on_train_end`.

    Attributes:
        shows_run: Whether the callback displays the run; a Trainer with such a callback adds no progress bar.
        is_display: Whether the run does not depend on the callback: if it fails, a warning says so, and the run continues
            without it.

    Example:
        >>> class StopAfter(TrainerCallback):
        ...     def on_step_end(self, args, state, control, **kwargs):
        ...         control.should_training_stop = state.global_step >= 10
    """

    shows_run: ClassVar[bool] = False
    is_display: ClassVar[bool] = False

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """The Trainer has been created."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A run begins."""

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A pass over the training data begins."""

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """An optimizer update begins; with gradient accumulation it covers several batches."""

    def on_substep_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A batch is done, but not the last one of its update."""

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ):
        """The gradients are complete and clipped; the weights are not updated yet."""

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """The weights have been updated; the gradients are not cleared yet."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """An optimizer update is done."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """`logs` has been added to `state.log_history`."""

    def on_prediction_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A batch of an evaluation or a prediction is done."""

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """An evaluation is done; `metrics` holds its results."""

    def on_predict(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A prediction is done; `metrics` holds its results."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A checkpoint has been written."""

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A pass over the training data is done."""

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A run has ended, whether complete or stopped early."""

    def on_error(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        """A run or an evaluation has raised an exception, `error`."""


class CallbackList:
    """The callbacks of one Trainer. Callbacks that do not override an event's method cost nothing at that event."""

    def __init__(self, trainer: TrainerLike, callbacks: list[Any]) -> None:
        self.trainer = trainer
        self.callbacks: list[Any] = []
        self._listeners: dict[str, list[tuple[Any, Any]]] = {}
        for callback in callbacks:
            self.add(callback)

    def add(self, callback: Any) -> None:
        """Add a callback, given as an instance or a class.

        Raises:
            InputError: if it has none of the events' methods.
        """
        instance = callback() if isinstance(callback, type) else callback
        if not any(hasattr(instance, event) for event in vars(TrainerCallback) if event.startswith("on_")):
            raise InputError(
                f"{callback!r} is not a callback: it has no method such as on_step_end.",
                next_step="Derive its class from TrainerCallback, and pass the class or an instance.",
            )
        if any(type(instance) is type(other) for other in self.callbacks):
            warn(f"There is already {a_kind(instance)} among the callbacks; now there are two.")
        self.callbacks.append(instance)
        self._listeners.clear()

    def pop(self, callback: Any) -> Any:
        """Remove a callback, or the first of a class, and return it; None if it is not found."""
        for index, other in enumerate(self.callbacks):
            if (isinstance(callback, type) and isinstance(other, callback)) or other is callback:
                self._listeners.clear()
                return self.callbacks.pop(index)
        return None

    def _methods(self, event: str) -> list[tuple[Any, Any]]:
        if event not in self._listeners:
            self._listeners[event] = [
                (callback, getattr(callback, event))
                for callback in self.callbacks
                if getattr(type(callback), event, None) not in (None, getattr(TrainerCallback, event))
                or event in vars(callback)
            ]
        return self._listeners[event]

    def call(self, event: str, **kwargs: Any) -> None:
        """Call every callback that listens to an event."""
        trainer = self.trainer
        names = ("model", "processing_class", "optimizer", "lr_scheduler", "train_dataloader", "eval_dataloader")
        for callback, method in self._methods(event):
            given = {name: getattr(trainer, name) for name in names} | kwargs
            given |= {"trainer": trainer, "tokenizer": trainer.processing_class}
            try:
                control = method(trainer.args, trainer.state, trainer.control, **given)
            except Exception as error:
                fatal = isinstance(error, NotebookKitError) or getattr(error, "ends_run", False)
                if fatal or not getattr(callback, "is_display", False):
                    error.add_note(f"→ {type(callback).__name__}.{event} raised this error.")
                    raise
                self.pop(callback)
                warn(
                    f"{type(callback).__name__} failed to display the run ({type(error).__name__}: {error}); the run"
                    " continues without it."
                )
                continue
            if control is not None:
                trainer.control = control

    def __getattr__(self, event: str) -> Any:
        # Subclasses written for transformers call `callback_handler.on_evaluate(args, state, control, metrics)`.
        if not (event.startswith("on_") and hasattr(TrainerCallback, event)):
            raise AttributeError(f"{type(self).__name__} has no attribute {event!r}.")

        def called(args: Any, state: Any, control: Any, result: Any = None, **kwargs: Any) -> TrainerControl:
            name = "logs" if event == "on_log" else "metrics"
            self.call(event, **({name: result} if result is not None else {}), **kwargs)
            return self.trainer.control

        return called

    def states(self) -> dict[str, Any]:
        """The states of the callbacks that export one, by class name."""
        result: dict[str, Any] = {}
        for callback in self.callbacks:
            if isinstance(callback, ExportableState):
                result.setdefault(type(callback).__name__, []).append(callback.state())
        return {name: states[0] if len(states) == 1 else states for name, states in result.items()}

    def restore(self, states: dict[str, Any], with_arguments: bool = False) -> None:
        """Restore the attributes of the callbacks from what `states` returned.

        Args:
            states: The states by class name.
            with_arguments: Also restore the arguments of their constructors.
        """
        pending = {name: list(state) if isinstance(state, list) else [state] for name, state in states.items()}
        for callback in self.callbacks:
            if isinstance(callback, ExportableState) and pending.get(type(callback).__name__):
                state = pending[type(callback).__name__].pop(0)
                values = vars(type(callback).from_state(state)) if with_arguments else state.get("attributes", {})
                for name, value in values.items():
                    setattr(callback, name, value)


class DefaultFlowCallback(TrainerCallback):
    """Logs, evaluates, saves and stops at the steps that the training arguments set. Every Trainer has one.

    Example:
        >>> from notebook_kit import DefaultFlowCallback, TrainerControl, TrainerState, TrainingArguments
        >>> state, control = TrainerState(max_steps=5, global_step=5), TrainerControl()
        >>> DefaultFlowCallback().on_step_end(TrainingArguments("run"), state, control)
        >>> control.should_training_stop
        True
    """

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        step = state.global_step
        if (step == 1 and args.logging_first_step) or (
            args.logging_strategy == "steps" and step % state.logging_steps == 0
        ):
            control.should_log = True
        last = step >= state.max_steps
        if last:
            control.should_training_stop = True
        if args.eval_strategy == "steps" and args.eval_delay <= step and (last or step % state.eval_steps == 0):
            control.should_evaluate = True
        if args.save_strategy == "steps" and (last or step % state.save_steps == 0):
            control.should_save = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if args.logging_strategy == "epoch":
            control.should_log = True
        if args.eval_strategy == "epoch" and args.eval_delay <= state.epoch:
            control.should_evaluate = True
        if args.save_strategy == "epoch":
            control.should_save = True


class EarlyStoppingCallback(TrainerCallback, ExportableState):
    """Ends a run once the metric for the best model has stopped improving.

    Args:
        early_stopping_patience: The number of evaluations without improvement after which the run ends.
        early_stopping_threshold: The smallest change of the metric that counts as an improvement.

    Raises:
        ConfigurationError: for arguments that are not numbers, and at the start of a run without `metric_for_best_model` or
            without evaluations.

    Example:
        >>> EarlyStoppingCallback(early_stopping_patience=3).state()["attributes"]
        {'early_stopping_patience_counter': 0}
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float | None = 0.0) -> None:
        self.early_stopping_patience = typed("early_stopping_patience", early_stopping_patience, "int")
        self.early_stopping_threshold = typed("early_stopping_threshold", early_stopping_threshold or 0.0, "float")
        self.early_stopping_patience_counter = 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if args.metric_for_best_model is None or args.eval_strategy == "no":
            raise ConfigurationError(
                "EarlyStoppingCallback watches a metric of the evaluations, but metric_for_best_model is"
                f" {args.metric_for_best_model!r} and eval_strategy is {args.eval_strategy!r}.",
                next_step="Set eval_strategy='epoch', save_strategy='epoch', load_best_model_at_end=True"
                " and metric_for_best_model='loss'.",
            )

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        value = kwargs["metrics"].get(metric_key(args))
        if value is None:
            return
        gain = math.inf if state.best_metric is None else value - state.best_metric
        gain = gain if args.greater_is_better or state.best_metric is None else -gain
        if gain > self.early_stopping_threshold:
            self.early_stopping_patience_counter = 0
        else:
            self.early_stopping_patience_counter += 1
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        counter = "early_stopping_patience_counter"
        args = ("early_stopping_patience", "early_stopping_threshold")
        return {"args": {name: getattr(self, name) for name in args}, "attributes": {counter: getattr(self, counter)}}


def metric_key(args: TrainingArguments) -> str:
    """The key of `args.metric_for_best_model` among the metrics of an evaluation."""
    name = args.metric_for_best_model or "loss"
    return name if name.startswith("eval_") else f"eval_{name}"
