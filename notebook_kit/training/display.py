"""Displays of a run: a progress bar with a table of logs, lines of text, or a panel that a package installs for notebooks."""

from __future__ import annotations

import html
import operator
import os
import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from notebook_kit.errors import warn
from notebook_kit.training.callbacks import DefaultFlowCallback, TrainerCallback

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

__all__ = ["PrinterCallback", "ProgressCallback"]

_QUIET = {"epoch", "total_flos", "step", "grad_norm", "learning_rate"}


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class PrinterCallback(TrainerCallback):
    """Writes each log to the standard output as one line.

    Example:
        >>> from notebook_kit import PrinterCallback, TrainerControl, TrainerState, TrainingArguments
        >>> logs = {"loss": 0.693147, "learning_rate": 5e-05, "epoch": 0.5}
        >>> PrinterCallback().on_log(TrainingArguments("run"), TrainerState(), TrainerControl(), logs=logs)
        {'loss': '0.6931', 'learning_rate': '5e-05', 'epoch': '0.5'}
    """

    is_display = True

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_local_process_zero:
            logs = {name: _short(value) for name, value in kwargs["logs"].items() if name != "total_flos"}
            sys.stdout.write(f"{logs}\n")
            sys.stdout.flush()


class ProgressCallback(TrainerCallback):
    """One progress bar over the steps of a run, and below it a table of losses and metrics.

    In a notebook one table is displayed and updated; in a terminal each row is written above the bar. Evaluations and
    predictions outside a run have their own bar.

    Example:
        >>> from notebook_kit import ProgressCallback, TrainerControl, TrainerState
        >>> shown, state, control = ProgressCallback(), TrainerState(max_steps=200), TrainerControl()
        >>> shown.on_train_begin(None, state, control)  # the bar, on the standard error
        >>> state.global_step, state.epoch = 100, 1.0
        >>> shown.on_log(None, state, control, logs={"eval_loss": 0.41, "eval_accuracy": 0.875})
        Step: 100  Epoch: 1  Validation Loss: 0.41  Accuracy: 0.875
        >>> shown.on_train_end(None, state, control)
    """

    is_display = True

    def __init__(self) -> None:
        self.bar: Any = None
        self.prediction_bar: Any = None
        self.rows: list[dict[str, Any]] = []
        self.table: Any = None
        self._predicted = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.rows, self.table = [], None
        if state.is_local_process_zero:
            from tqdm.auto import tqdm

            self.bar = tqdm(total=state.max_steps, initial=state.global_step, dynamic_ncols=True, desc="Training")

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if not state.is_local_process_zero:
            return
        total = operator.length_hint(kwargs.get("eval_dataloader")) or None  # the `__len__` of a stream's loader raises
        self._predicted += 1
        if self.bar is not None:
            self.bar.set_postfix_str(f"evaluating {self._predicted}/{total or '?'}", refresh=False)
            self.bar.update(0)
            return
        if self.prediction_bar is None:
            from tqdm.auto import tqdm

            self.prediction_bar = tqdm(total=total, dynamic_ncols=True, desc="Predicting")
        self.prediction_bar.update(1)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end_prediction()

    def on_predict(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end_prediction()

    def _end_prediction(self) -> None:
        self._predicted = 0
        if self.bar is not None:
            self.bar.set_postfix_str("", refresh=False)
        if self.prediction_bar is not None:
            self.prediction_bar.close()
            self.prediction_bar = None

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        logs = kwargs["logs"]
        if self.bar is None or "train_runtime" in logs:
            return
        row: dict[str, Any] = {"Step": state.global_step, "Epoch": round(state.epoch, 2)}
        for name, value in logs.items():
            if name == "loss":
                row["Training Loss"] = value
            elif name == "eval_loss":
                row["Validation Loss"] = value
            elif name not in _QUIET and not name.endswith(("_runtime", "_per_second")):
                row[name.removeprefix("eval_").replace("_", " ").capitalize()] = value
        if self.rows and self.rows[-1]["Step"] == row["Step"]:
            self.rows[-1].update(row)
        else:
            self.rows.append(row)
        # In a notebook tqdm.auto returns its own class, a subclass of tqdm_notebook.
        if any(kind.__name__ == "tqdm_notebook" for kind in type(self.bar).__mro__):
            self._draw()
        else:
            self.bar.write("  ".join(f"{name}: {_short(value)}" for name, value in row.items()))

    def _draw(self) -> None:
        from IPython.display import HTML, display

        shown = HTML(table_html(self.rows))
        if self.table is None:
            self.table = display(shown, display_id=True)
        else:
            self.table.update(shown)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end_prediction()
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def on_error(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.on_train_end(args, state, control)


def table_html(rows: list[dict[str, Any]]) -> str:
    """The rows as an HTML table with one column per name; names and values are escaped.

    Example:
        >>> table_html([{"Step": 1}])
        '<table><thead><tr><th>Step</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table>'
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{html.escape(_short(row[name])) if name in row else ''}</td>" for name in names)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


# -------------------------------------------------------------------------------------------- which display a run gets

# Other packages may add functions that create the callback that displays a run. The first callback returned replaces the
# progress bar. Entry points of the group below are tried after these.
display_makers: list[Callable[[TrainingArguments], TrainerCallback | None]] = []
DISPLAY_GROUP = "notebook_kit.displays"
DISPLAY_VARIABLE = "NOTEBOOK_KIT_DISPLAY"


def default_callbacks(args: TrainingArguments, given: Iterable[Any] = ()) -> list[TrainerCallback]:
    """The callbacks that every Trainer has: `DefaultFlowCallback`, and one that displays the run.

    In a notebook the display is the panel installed as an entry point of the group `notebook_kit.displays`; elsewhere it is
    a progress bar. With `disable_tqdm=True` it is lines of text everywhere, and with the environment variable
    `NOTEBOOK_KIT_DISPLAY=bar` always the bar. No display is added if one of the `given` callbacks has `shows_run`.
    """
    if any(getattr(callback, "shows_run", False) for callback in given):
        return [DefaultFlowCallback()]
    return [DefaultFlowCallback(), _display(args)]


def _display(args: TrainingArguments) -> TrainerCallback:
    if os.environ.get(DISPLAY_VARIABLE, "").lower() != "bar" and args.process_index == 0:
        for maker in [*display_makers, *([] if args.disable_tqdm else _installed_displays())]:
            try:
                shown = maker(args)
            except Exception as error:
                warn(
                    f"The display of the run could not be created ({type(error).__name__}: {error}); a progress bar is used"
                    f" instead. Set the environment variable {DISPLAY_VARIABLE}=bar to always use the bar."
                )
                continue
            if shown is not None:
                return shown
    return PrinterCallback() if args.disable_tqdm else ProgressCallback()


def _installed_displays() -> list[Callable[[TrainingArguments], TrainerCallback | None]]:
    """The functions of installed packages that create displays; looked up only in the kernel of a notebook."""
    if not in_notebook():
        return []
    from importlib.metadata import entry_points

    return [lambda args, point=point: point.load()(args) for point in entry_points(group=DISPLAY_GROUP)]  # type: ignore[misc]


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. Imports nothing.

    Example:
        >>> in_notebook()
        False
    """
    shells = sys.modules.get("ipykernel.zmqshell")
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if shells is not None and ipython is not None else None
    # Colab's shell is a subclass of this one.
    return shell is not None and isinstance(shell, shells.ZMQInteractiveShell)  # type: ignore[union-attr]
