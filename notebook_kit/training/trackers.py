"""A callback that sends the logs of a run to trackers, such as TensorBoard, by way of accelerate."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from notebook_kit.errors import warn
from notebook_kit.training.arguments import TrainingArguments
from notebook_kit.training.callbacks import TrainerCallback
from notebook_kit.training.state import TrainerControl, TrainerState

__all__ = ["TrackersCallback", "tracker_options"]


class TrackersCallback(TrainerCallback):
    """Sends the settings, logs and evaluations of runs to the trackers in `args.report_to`, from the first process.

    If a tracker fails, for example because its server is down, a warning says so, and the run goes on without it.
    Names of metrics get a folder as in `transformers`: `train/loss`, `eval/loss`, `eval/accuracy`.
    """

    def __init__(self) -> None:
        self._trackers: dict[str, Any] = {}

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self._close()
        if not state.is_world_process_zero:
            return
        settings = _settings(args, kwargs.get("model"))
        self._trackers = dict.fromkeys(args.report_to or [])
        self._call("start", lambda name, tracker: self._trackers.update({name: _started(name, args)}))
        self._call("take the settings", lambda name, tracker: tracker.store_init_configuration(settings))

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        values = {_in_folder(name): value for name, value in kwargs["logs"].items() if _is_number(value)}
        self._call("take a log", lambda name, tracker: tracker.log(values, step=state.global_step))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self._close()

    def on_error(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        self._close()

    def _close(self) -> None:
        self._call("finish", lambda name, tracker: tracker.finish())
        self._trackers = {}

    def _call(self, wish: str, act: Callable[[str, Any], None]) -> None:
        """Do something with each tracker; without those that fail from then on."""
        for name, tracker in list(self._trackers.items()):
            try:
                act(name, tracker)
            except Exception as error:
                del self._trackers[name]
                warn(
                    f"{name} failed to {wish} ({type(error).__name__}: {error}). The run goes on without it; its logs are in"
                    " trainer.state.log_history."
                )


def _started(name: str, args: TrainingArguments) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    positional, options = tracker_options(name, args)
    tracker = LOGGER_TYPE_TO_CLASS[name](*positional, **options)
    if hasattr(tracker, "start"):  # since accelerate 1.11
        tracker.start()
    return tracker


def tracker_options(name: str, args: TrainingArguments) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What the tracker `name` of accelerate is created with."""
    run = args.run_name
    if name == "tensorboard":
        folder = args.logging_dir or str(Path(args.output_dir or "") / "tensorboard")
        return (run or "", os.path.expanduser(folder)), {}
    if name == "mlflow":
        return (os.environ.get("MLFLOW_EXPERIMENT_NAME", args.project),), {"run_name": run}
    if name in ("dvclive", "clearml"):
        return (run,), {}
    # What accelerate calls the name of the run is the project of these.
    options: dict[str, Any] = {"name": run} if run and name in ("trackio", "wandb") else {}
    if name == "trackio" and args.trackio_space_id is not None:
        options["space_id"] = args.trackio_space_id
    project = os.environ.get("WANDB_PROJECT", args.project) if name == "wandb" else args.project
    return (project,), options


def _settings(args: TrainingArguments, model: Any) -> dict[str, Any]:
    """The arguments and the sizes of the model, as trackers take them."""
    config = getattr(model, "config", None)
    facts = dataclasses.asdict(config) if dataclasses.is_dataclass(config) and not isinstance(config, type) else {}
    sizes = {f"model/{name}": value for name, value in facts.items() if isinstance(value, (bool, int, float, str))}
    return {**sizes, **args.to_sanitized_dict()}


def _in_folder(name: str) -> str:
    for split in ("eval", "test"):
        if name.startswith(f"{split}_"):
            return f"{split}/{name.removeprefix(f'{split}_')}"
    return f"train/{name}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
