"""A search for hyperparameters: a run per trial, with values drawn at random or proposed by Optuna."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from notebook_kit.errors import ConfigurationError, MissingDependencyError, near_matches
from notebook_kit.training.state import TrainerLike

__all__ = ["BestRun", "Trial", "hyperparameter_search"]


class BestRun(NamedTuple):
    """The best run of a search.

    Attributes:
        run_id: The number of its trial, from 0; its files are in the folder `run-{run_id}`.
        objective: Its objective.
        hyperparameters: Its values.
        run_summary: The objective and the values of every trial.

    Example:
        >>> BestRun("3", 0.25, {"learning_rate": 5e-5}).objective
        0.25
    """

    run_id: str
    objective: float
    hyperparameters: dict[str, Any]
    run_summary: Any = None


class Trial:
    """One trial of a search, which draws values at random. It has the methods of an `optuna` trial that spaces use.

    Attributes:
        number: Its number, from 0.
        params: The values drawn so far.

    Example:
        >>> trial = Trial(0, seed=1)
        >>> 1e-5 <= trial.suggest_float("learning_rate", 1e-5, 1e-3, log=True) <= 1e-3
        True
        >>> trial.suggest_categorical("per_device_train_batch_size", [4, 8]) in (4, 8)
        True
    """

    def __init__(self, number: int, seed: int) -> None:
        self.number = number
        self.params: dict[str, Any] = {}
        self._random = random.Random(f"{seed} {number}")

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number from `low` to `high`, uniform or, with `log`, uniform in its logarithm."""
        value = (
            math.exp(self._random.uniform(math.log(low), math.log(high))) if log else self._random.uniform(low, high)
        )
        if step:
            value = low + round((value - low) / step) * step
        return self.params.setdefault(name, min(max(value, low), high))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number from `low` to `high`, both included."""
        if log:
            return self.params.setdefault(name, round(self.suggest_float(f"{name} (log)", low, high, log=True)))
        return self.params.setdefault(name, self._random.randrange(low, high + 1, step))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        return self.params.setdefault(name, self._random.choice(list(choices)))


class RandomTrials:
    """Trials with random values."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def ask(self, number: int) -> Trial:
        """The trial with this number."""
        return Trial(number, self.seed)

    def tell(self, trial: Trial, objective: float) -> None:
        """Nothing is learnt from a trial."""


class OptunaTrials:
    """Trials of a study of Optuna.

    Raises:
        MissingDependencyError: if Optuna is not installed.
    """

    def __init__(self, seed: int, direction: str, options: dict[str, Any]) -> None:
        try:
            import optuna
        except ImportError:
            raise MissingDependencyError(
                "backend='optuna', but optuna is not installed.",
                next_step="Run `pip install optuna`, or leave out backend: then values are drawn at random.",
            ) from None
        sampler = {"sampler": optuna.samplers.TPESampler(seed=seed)}
        self.study = optuna.create_study(**{"direction": direction, **sampler, **options})

    def ask(self, number: int) -> Any:
        """The next trial of the study, which numbers its trials itself."""
        return self.study.ask()

    def tell(self, trial: Any, objective: float) -> None:
        """The objective of a trial."""
        self.study.tell(trial, objective)


def default_space(trial: Trial) -> dict[str, Any]:
    """The space that is searched by default."""
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4, log=True),
        "num_train_epochs": trial.suggest_int("num_train_epochs", 1, 5),
        "seed": trial.suggest_int("seed", 1, 40),
        "per_device_train_batch_size": trial.suggest_categorical("per_device_train_batch_size", [4, 8, 16, 32, 64]),
    }


def default_objective(metrics: dict[str, float]) -> float:
    """The sum of the metrics that `compute_metrics` returns; the loss if there are none."""
    left_out = ("eval_loss", "epoch")
    kept = [v for k, v in metrics.items() if k not in left_out and not k.endswith(("_runtime", "_per_second"))]
    return sum(kept) if kept else metrics["eval_loss"]


def hyperparameter_search(
    trainer: TrainerLike,
    hp_space: Callable[[Any], dict[str, Any]] | None = None,
    compute_objective: Callable[[dict[str, float]], float] | None = None,
    n_trials: int = 20,
    direction: str = "minimize",
    backend: str | None = None,
    hp_name: Callable[[Any], str] | None = None,
    **kwargs: Any,
) -> BestRun:
    """Train once per trial, each with other arguments, and return the trial with the best evaluation.

    The values are drawn at random (from `args.seed`), which needs no further package, or by Optuna, which learns from the
    trials so far. Each trial begins with a new model
    from `model_init`, and its checkpoints are in the folder `run-0`, `run-1`, ... of the output folder. Afterwards the
    Trainer has its former arguments and a new model.

    Args:
        trainer: The Trainer; it needs `model_init` and an `eval_dataset`.
        hp_space: `(trial) -> {argument: value}`, such as `{"learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-4,
            log=True)}`; by default learning rate, epochs, seed and batch size.
        compute_objective: The number to optimize, from the metrics of an evaluation; by default the sum of the metrics, or
            the loss if there are none.
        n_trials: The number of trials.
        direction: "minimize" or "maximize".
        backend: None or "random"; "optuna", if it is installed.
        hp_name: `(trial) -> name` of the run.
        kwargs: With Optuna, options of `optuna.create_study`, such as `sampler` or `storage`.

    Raises:
        MissingDependencyError: if Optuna is not installed.
        ConfigurationError: without `model_init`, for another backend, or for an argument that does not exist.
    """
    if trainer.model_init is None:
        raise ConfigurationError(
            "hyperparameter_search trains a new model in each trial, but the Trainer has no model_init.",
            next_step="Pass Trainer(model_init=function) in place of model, where function returns a new model.",
        )
    if backend not in (None, "random", "optuna") or direction not in ("minimize", "maximize") or n_trials < 1:
        raise ConfigurationError(
            f"hyperparameter_search got backend={backend!r}, direction={direction!r} and n_trials={n_trials!r}.",
            next_step="backend is 'random' or 'optuna', direction 'minimize' or 'maximize', and n_trials at least 1.",
        )
    if kwargs and backend != "optuna":
        raise ConfigurationError(
            f"hyperparameter_search got {', '.join(kwargs)}, which are options of Optuna.",
            next_step="Set backend='optuna', or leave them out.",
        )
    args, history = trainer.args, []
    fields = {f.name for f in dataclasses.fields(args)}
    source: Any = OptunaTrials(args.seed, direction, kwargs) if backend == "optuna" else RandomTrials(args.seed)
    try:
        for number in range(n_trials):
            trial = source.ask(number)
            values = (hp_space or default_space)(trial)
            for name in values:
                if name not in fields:
                    raise ConfigurationError(
                        f"hp_space returned {name!r}, which TrainingArguments does not have."
                        f" {near_matches(name, fields)}".strip(),
                        next_step="Return the names of training arguments; model_init(trial) can use other values.",
                    )
            folder = str(Path(args.output_dir or "") / f"run-{number}")
            run_name = hp_name(trial) if hp_name else args.run_name
            trainer.args = dataclasses.replace(args, **{"output_dir": folder, "run_name": run_name, **values})
            trainer.train(trial=trial)
            trainer.state.is_hyper_param_search, trainer.state.trial_params = True, values
            objective = (compute_objective or default_objective)(dict(trainer.evaluate()))
            source.tell(trial, objective)
            history.append(BestRun(str(number), objective, values))
    finally:
        trainer.args = args
    best = (min if direction == "minimize" else max)(history, key=lambda run: run.objective)
    return best._replace(run_summary=history)
