"""Callbacks: what happens at each event of a run, in addition to the loop itself."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from notebook_kit.errors import ConfigurationError, NotebookKitWarning
from notebook_kit.training.state import ExportableState, TrainerControl, TrainerLike, TrainerState

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

__all__ = ["DefaultFlowCallback", "EarlyStoppingCallback", "TrainerCallback"]

EVENTS = (
    "on_init_end",
    "on_train_begin",
    "on_epoch_begin",
    "on_step_begin",
    "on_substep_end",
    "on_pre_optimizer_step",
    "on_optimizer_step",
    "on_step_end",
    "on_log",
    "on_prediction_step",
    "on_evaluate",
    "on_predict",
    "on_save",
    "on_epoch_end",
    "on_train_end",
    "on_error",
)


class TrainerCallback:
    """Acts on the events of a run. Override the methods of the events you care about.

    Each method is called as `on_event(args, state, control, **kwargs)`, where `kwargs` has `trainer`, `model`,
    `processing_class` (also as `tokenizer`), `optimizer`, `lr_scheduler`, `train_dataloader`, `eval_dataloader`, and
    `logs` at `on_log`, `metrics` at `on_evaluate` and `on_predict`, `error` at `on_error`. A method may change `control`,
    which the loop obeys; it may return it.

    `on_error` replaces `on_train_end` if a run ends with an exception.

    Attributes:
        shows_run: Whether it displays the run; a Trainer with such a callback adds no progress bar.

    Example:
        >>> class StopAfter(TrainerCallback):
        ...     def on_step_end(self, args, state, control, **kwargs):
        ...         control.should_training_stop = state.global_step >= 10
    """

    shows_run: ClassVar[bool] = False

    def on_init_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """The Trainer has been created."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        """A run begins."""

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        """A pass over the training data begins."""

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        """An optimizer update begins; with gradient accumulation it takes several batches."""

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        """A batch is done that is not the last of its update."""

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        """Gradients are complete and clipped; the weights have not moved."""

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        """The weights have moved; the gradients are still there."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An optimizer update is done."""

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """`logs` was just added to `state.log_history`."""

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        """A batch of an evaluation or prediction is done."""

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """An evaluation is done; `metrics` has its results."""

    def on_predict(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A prediction is done; `metrics` has its results."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A checkpoint was written."""

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A pass over the training data is done."""

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A run is over, also if it was stopped early."""

    def on_error(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        """A run or an evaluation ended with an exception, `error`."""


class CallbackList:
    """The callbacks of one Trainer. An event costs nothing for callbacks that do not override its method."""

    def __init__(self, trainer: TrainerLike, callbacks: list[Any]) -> None:
        self.trainer = trainer
        self.callbacks: list[Any] = []
        self._listeners: dict[str, list[Any]] = {}
        for callback in callbacks:
            self.add(callback)

    def add(self, callback: Any) -> None:
        """Add a callback, or an instance of a callback class."""
        instance = callback() if isinstance(callback, type) else callback
        if any(type(instance) is type(other) for other in self.callbacks):
            warnings.warn(
                f"A {type(instance).__name__} is already among the callbacks; now there are two.",
                NotebookKitWarning,
                stacklevel=4,
            )
        self.callbacks.append(instance)
        self._listeners.clear()

    def pop(self, callback: Any) -> Any:
        """Remove a callback, or the first of a class, and return it; None if there is none."""
        for index, other in enumerate(self.callbacks):
            if (isinstance(callback, type) and isinstance(other, callback)) or other is callback:
                self._listeners.clear()
                return self.callbacks.pop(index)
        return None

    def _methods(self, event: str) -> list[Any]:
        if event not in self._listeners:
            self._listeners[event] = [
                getattr(callback, event)
                for callback in self.callbacks
                if getattr(type(callback), event, None) not in (None, getattr(TrainerCallback, event))
                or event in vars(callback)
            ]
        return self._listeners[event]

    def call(self, event: str, **kwargs: Any) -> None:
        """Call every callback that listens to an event."""
        methods = self._methods(event)
        if not methods:
            return
        trainer = self.trainer
        for method in methods:
            control = method(
                trainer.args,
                trainer.state,
                trainer.control,
                trainer=trainer,
                model=trainer.model,
                processing_class=trainer.processing_class,
                tokenizer=trainer.processing_class,
                optimizer=trainer.optimizer,
                lr_scheduler=trainer.lr_scheduler,
                train_dataloader=trainer.train_dataloader,
                eval_dataloader=trainer.eval_dataloader,
                **kwargs,
            )
            if control is not None:
                trainer.control = control

    def states(self) -> dict[str, Any]:
        """The states of the callbacks that have one, by class name."""
        result: dict[str, Any] = {}
        for callback in self.callbacks:
            if isinstance(callback, ExportableState):
                result.setdefault(type(callback).__name__, []).append(callback.state())
        return {name: states[0] if len(states) == 1 else states for name, states in result.items()}

    def restore(self, states: dict[str, Any]) -> None:
        """Restore the attributes that the callbacks had when `states` were taken."""
        pending = {name: list(state) if isinstance(state, list) else [state] for name, state in states.items()}
        for callback in self.callbacks:
            if isinstance(callback, ExportableState) and pending.get(type(callback).__name__):
                for name, value in pending[type(callback).__name__].pop(0)["attributes"].items():
                    setattr(callback, name, value)


class DefaultFlowCallback(TrainerCallback):
    """Logs, evaluates, saves and stops when the arguments say so."""

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
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

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        if args.logging_strategy == "epoch":
            control.should_log = True
        if args.eval_strategy == "epoch" and args.eval_delay <= state.epoch:
            control.should_evaluate = True
        if args.save_strategy == "epoch":
            control.should_save = True


class EarlyStoppingCallback(TrainerCallback, ExportableState):
    """Ends a run when the metric for the best model has not improved for some evaluations.

    Args:
        early_stopping_patience: Evaluations without improvement after which the run ends.
        early_stopping_threshold: By how much a metric must improve to count.

    Raises:
        ConfigurationError: at the start of a run that has no `metric_for_best_model` or no evaluations.

    Example:
        >>> EarlyStoppingCallback(early_stopping_patience=3).state()["attributes"]
        {'early_stopping_patience_counter': 0}
    """

    def __init__(self, early_stopping_patience: int = 1, early_stopping_threshold: float | None = 0.0) -> None:
        self.early_stopping_patience = early_stopping_patience
        self.early_stopping_threshold = early_stopping_threshold or 0.0
        self.early_stopping_patience_counter = 0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> Any:
        if args.metric_for_best_model is None or args.eval_strategy == "no":
            raise ConfigurationError(
                "EarlyStoppingCallback watches a metric of the evaluations, but metric_for_best_model is"
                f" {args.metric_for_best_model!r} and eval_strategy is {args.eval_strategy!r}.",
                next_step="Set eval_strategy='epoch', save_strategy='epoch', load_best_model_at_end=True"
                " and metric_for_best_model='loss'.",
            )

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        value = kwargs["metrics"].get(metric_key(args))
        if value is None:
            return
        gain = value - state.best_metric if state.best_metric is not None else float("inf")
        gain = gain if args.greater_is_better or state.best_metric is None else -gain
        if gain > self.early_stopping_threshold:
            self.early_stopping_patience_counter = 0
        else:
            self.early_stopping_patience_counter += 1
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            control.should_training_stop = True

    def state(self) -> dict[str, Any]:
        return {
            "args": {
                "early_stopping_patience": self.early_stopping_patience,
                "early_stopping_threshold": self.early_stopping_threshold,
            },
            "attributes": {"early_stopping_patience_counter": self.early_stopping_patience_counter},
        }


class PublishCallback(TrainerCallback):
    """Uploads the model at each save and at the end of a run, as `args.hub_strategy` says."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        if args.hub_strategy != "end":
            kwargs["trainer"].push_to_hub(f"Training in progress, step {state.global_step}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Any:
        kwargs["trainer"].push_to_hub("End of training")


def metric_key(args: TrainingArguments) -> str:
    """The key among the metrics of an evaluation that decides which model is the best."""
    name = args.metric_for_best_model or "loss"
    return name if name.startswith("eval_") else f"eval_{name}"
