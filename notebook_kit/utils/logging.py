"""How much the package tells: levels of its messages, where they go, and progress bars.

Messages go through Python's logger `notebook_kit`, and through warnings of the class `NotebookKitWarning`; the levels set
here apply to both. Before the first call here, messages go where Python's `logging` sends them by default.

Example:
    >>> from notebook_kit import logging
    >>> logging.set_verbosity_error()  # hides notices and warnings
    >>> logging.get_verbosity() == logging.ERROR
    True
    >>> logging.set_verbosity_warning()  # the default
"""

from __future__ import annotations

import logging
import sys
import warnings
from functools import cache
from logging import CRITICAL, DEBUG, ERROR, FATAL, INFO, NOTSET, WARN, WARNING
from typing import Any, TextIO

from notebook_kit.errors import ConfigurationError, NotebookKitWarning, near_matches

__all__ = [
    "CRITICAL",
    "DEBUG",
    "ERROR",
    "FATAL",
    "INFO",
    "NOTSET",
    "WARN",
    "WARNING",
    "CaptureLogger",
    "add_handler",
    "captureWarnings",
    "disable_default_handler",
    "disable_progress_bar",
    "disable_propagation",
    "enable_default_handler",
    "enable_explicit_format",
    "enable_progress_bar",
    "enable_propagation",
    "get_log_levels_dict",
    "get_logger",
    "get_verbosity",
    "is_progress_bar_enabled",
    "log_levels",
    "remove_handler",
    "reset_format",
    "set_verbosity",
    "set_verbosity_debug",
    "set_verbosity_error",
    "set_verbosity_info",
    "set_verbosity_warning",
    "tqdm",
]

log_levels = {"debug": DEBUG, "info": INFO, "warning": WARNING, "error": ERROR, "critical": CRITICAL}
_EXPLICIT = logging.Formatter("[%(levelname)s|%(filename)s:%(lineno)s] %(asctime)s >> %(message)s")


class _StandardError(logging.StreamHandler):
    """Writes to what is the standard error at the time of a message: notebooks and tests replace it."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass


class _Settings:
    """What the functions below have set."""

    handler = _StandardError()
    quiet = False
    bars = True


@cache
def _library() -> logging.Logger:
    """The package's logger, which from the first call on writes to the standard error by itself."""
    logger = logging.getLogger("notebook_kit")
    logger.addHandler(_Settings.handler)
    logger.propagate = False
    if logger.level == NOTSET:
        logger.setLevel(WARNING)
    return logger


# --------------------------------------------------------------------------------------------------------------- levels


def get_logger(name: str | None = None) -> logging.Logger:
    """A logger by name; by default that of the package. Its `warning_once` and `info_once` give each message only once.

    Example:
        >>> get_logger("notebook_kit.pipelines").name
        'notebook_kit.pipelines'
    """
    logger = _library() if name in (None, "notebook_kit") else logging.getLogger(name)
    if not hasattr(logger, "warning_once"):
        logger.warning_once = cache(logger.warning)  # type: ignore[attr-defined]
        logger.info_once = cache(logger.info)  # type: ignore[attr-defined]
    return logger


def get_log_levels_dict() -> dict[str, int]:
    """The levels by name."""
    return log_levels


def get_verbosity() -> int:
    """The level of the package's messages: lower ones are hidden."""
    return _library().getEffectiveLevel()


def set_verbosity(verbosity: int | str) -> None:
    """Hide messages below a level; above `WARNING`, the package's warnings too.

    Args:
        verbosity: A level of Python's `logging`, such as `logging.ERROR` or 40, or its name.

    Raises:
        ConfigurationError: for an unknown name.

    Example:
        >>> set_verbosity("error")
        >>> get_verbosity()
        40
        >>> set_verbosity(WARNING)
    """
    if isinstance(verbosity, str):
        if verbosity.lower() not in log_levels:
            raise ConfigurationError(
                f"There is no verbosity {verbosity!r}. {near_matches(verbosity, log_levels)}".strip(),
                next_step=f"Use one of {', '.join(log_levels)}.",
            )
        verbosity = log_levels[verbosity.lower()]
    _library().setLevel(verbosity)
    if (verbosity > WARNING) != _Settings.quiet:
        _Settings.quiet = not _Settings.quiet
        warnings.simplefilter("ignore" if _Settings.quiet else "default", NotebookKitWarning)


def set_verbosity_debug() -> None:
    """Show all messages."""
    set_verbosity(DEBUG)


def set_verbosity_info() -> None:
    """Show messages about progress, and more important ones."""
    set_verbosity(INFO)


def set_verbosity_warning() -> None:
    """Show warnings and errors, as by default."""
    set_verbosity(WARNING)


def set_verbosity_error() -> None:
    """Show errors only."""
    set_verbosity(ERROR)


# ------------------------------------------------------------------------------------------------- where messages go


def enable_default_handler() -> None:
    """Write messages to the standard error."""
    _library().addHandler(_Settings.handler)


def disable_default_handler() -> None:
    """Do not write messages to the standard error."""
    _library().removeHandler(_Settings.handler)


def add_handler(handler: logging.Handler) -> None:
    """Pass messages to a handler of Python's `logging` too."""
    _library().addHandler(handler)


def remove_handler(handler: logging.Handler) -> None:
    """Undo `add_handler`."""
    _library().removeHandler(handler)


def enable_propagation() -> None:
    """Pass messages on to Python's root logger. Disable the default handler too, or they may appear twice."""
    _library().propagate = True


def disable_propagation() -> None:
    """Undo `enable_propagation`."""
    _library().propagate = False


def enable_explicit_format() -> None:
    """Write level, file, line and time before each message."""
    for handler in _library().handlers:
        handler.setFormatter(_EXPLICIT)


def reset_format() -> None:
    """Undo `enable_explicit_format`."""
    for handler in _library().handlers:
        handler.setFormatter(None)


def captureWarnings(capture: bool) -> None:
    """Write Python's warnings as messages, in the same way and at the same level (True), or show them again (False)."""
    logger = logging.getLogger("py.warnings")
    if not logger.handlers:
        logger.addHandler(_Settings.handler)
    logger.setLevel(_library().level)
    logging.captureWarnings(capture)


class CaptureLogger:
    """Collects the messages of a logger within a `with` block.

    Args:
        logger: A logger.

    Attributes:
        out: After the block, the messages, one per line.

    Example:
        >>> with CaptureLogger(get_logger("demo")) as captured:
        ...     get_logger("demo").warning("twice as long as allowed")
        >>> captured.out
        'twice as long as allowed\\n'
    """

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger
        self.out = ""

    def __enter__(self) -> CaptureLogger:
        import io

        self._text = io.StringIO()
        self._handler, self._propagate = logging.StreamHandler(self._text), self.logger.propagate
        self.logger.addHandler(self._handler)
        self.logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self._handler)
        self.logger.propagate = self._propagate
        self.out = self._text.getvalue()


# ------------------------------------------------------------------------------------------------------ progress bars


def is_progress_bar_enabled() -> bool:
    """Whether pipelines and downloads show progress bars."""
    return _Settings.bars


def enable_progress_bar() -> None:
    """Show progress bars, as by default."""
    from huggingface_hub.utils import enable_progress_bars

    _Settings.bars = True
    enable_progress_bars()


def disable_progress_bar() -> None:
    """Show no progress bars in pipelines and downloads. The Trainer's is an argument: `disable_tqdm=True`."""
    from huggingface_hub.utils import disable_progress_bars

    _Settings.bars = False
    disable_progress_bars()


def tqdm(*args: Any, **kwargs: Any) -> Any:
    """A `tqdm` bar for the notebook or terminal, switched off by `disable_progress_bar`."""
    from tqdm.auto import tqdm as bar

    return bar(*args, **({} if _Settings.bars else {"disable": True}), **kwargs)
