"""The trackers that a run can send its logs to, by their names in `report_to`. Imports none of them."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from notebook_kit.errors import ConfigurationError, MissingDependencyError, near_matches

__all__ = ["TRACKERS", "trackers_named"]

# name -> the module that must be installed
TRACKERS = {
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "comet_ml": "comet_ml",
    "swanlab": "swanlab",
    "clearml": "clearml",
    "dvclive": "dvclive",
    "aim": "aim",
}
_OTHERS = {"azure_ml": "MLflow, which Azure records: report_to='mlflow'", "dagshub": "MLflow: report_to='mlflow'"}
_PACKAGES = {"comet_ml": "comet-ml"}


def trackers_named(names: Any) -> list[str]:
    """The names of trackers, checked; "all" means those that are installed, "none" none.

    Raises:
        ConfigurationError: for an unknown name.
        MissingDependencyError: for a tracker that is not installed.

    Example:
        >>> trackers_named(["none"]), trackers_named(None)
        ([], [])
    """
    wanted = [name for name in names or [] if name != "none"]
    if "all" in wanted:
        return [name for name, module in TRACKERS.items() if find_spec(module) is not None]
    for name in wanted:
        if name not in TRACKERS:
            instead = (
                f"Use {_OTHERS[name]}" if name in _OTHERS else f"Use one of {', '.join(TRACKERS)}, 'all' or 'none'"
            )
            raise ConfigurationError(
                f"report_to names {name!r}, which is not a tracker that notebook_kit sends logs to."
                f" {near_matches(name, TRACKERS)}".strip(),
                next_step=f"{instead}, or pass a TrainerCallback with on_log that sends them.",
            )
        if find_spec(TRACKERS[name]) is None:
            raise MissingDependencyError(
                f"report_to={name!r}, but {name} is not installed.",
                next_step=f"Run `pip install {_PACKAGES.get(name, name)}`, or set report_to='none': the logs are in"
                " trainer.state.log_history in any case.",
            )
    return list(dict.fromkeys(wanted))
