"""Verbosity: what it hides, and where messages go."""

from __future__ import annotations

import logging as python_logging
import subprocess
import sys
import warnings

import pytest
import transformers

import notebook_kit
from notebook_kit import logging
from notebook_kit.errors import ConfigurationError, NotebookKitWarning
from notebook_kit.utils import logging as again


@pytest.fixture(autouse=True)
def restored():
    """The package's logger as before, so that other tests can still catch its messages."""
    logger = python_logging.getLogger("notebook_kit")
    before = (logger.level, logger.propagate, list(logger.handlers))
    with warnings.catch_warnings():
        yield
        logging.set_verbosity_warning()
        logging.reset_format()
    logger.level, logger.propagate, logger.handlers[:] = before
    logger.manager._clear_cache()


@pytest.fixture
def logger(restored):
    made = logging.get_logger("notebook_kit.test")
    logging.enable_default_handler()
    logging.disable_propagation()
    return made


def test_the_module_is_the_same_by_all_its_names():
    assert logging is again is notebook_kit.logging is notebook_kit.utils.logging


def test_it_has_the_names_of_the_reference():
    theirs = {name for name in dir(transformers.logging) if name.startswith(("set_", "get_", "enable_", "disable_"))}
    assert theirs - set(dir(logging)) <= {"set_tqdm_hook"}


@pytest.mark.parametrize("name", ["debug", "info", "warning", "error"])
def test_levels(name, logger, capsys):
    getattr(logging, f"set_verbosity_{name}")()
    assert logging.get_verbosity() == logging.log_levels[name] == getattr(logging, name.upper())
    for level in ("debug", "info", "warning", "error"):
        getattr(logger, level)(level)
    shown = [level for level in logging.log_levels if logging.log_levels[level] >= logging.log_levels[name]]
    assert capsys.readouterr().err.split() == [level for level in shown if level != "critical"]


def test_errors_only_hides_warnings_too(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error", NotebookKitWarning)
        logging.set_verbosity_error()
        warnings.warn("hidden", NotebookKitWarning, stacklevel=1)
    with warnings.catch_warnings(record=True) as shown:
        logging.set_verbosity_warning()
        warnings.warn("shown", NotebookKitWarning, stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["shown"]


def test_a_number_or_a_name():
    logging.set_verbosity(logging.CRITICAL)
    assert logging.get_verbosity() == 50
    logging.set_verbosity("INFO")
    assert logging.get_verbosity() == 20
    with pytest.raises(ConfigurationError, match="Did you mean 'warning'"):
        logging.set_verbosity("warnings")


def test_handlers_and_formats(logger, capsys):
    logging.disable_default_handler()
    logger.warning("nowhere")
    logging.enable_default_handler()
    logging.enable_explicit_format()
    logger.warning("with its place")
    logging.reset_format()
    logger.warning("plain")
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("[WARNING|test_logging.py:") and first.endswith(">> with its place") and second == "plain"
    kept = []
    handler = python_logging.Handler()
    handler.emit = lambda record: kept.append(record.getMessage())
    logging.add_handler(handler)
    logger.warning("kept")
    logging.remove_handler(handler)
    logger.warning("lost")
    assert kept == ["kept"]


def test_messages_reach_pythons_root_logger_only_if_asked(logger):
    with logging.CaptureLogger(python_logging.getLogger()) as captured:
        logger.warning("one")
        logging.enable_propagation()
        logger.warning("two")
    assert captured.out == "two\n"


def test_once(logger, capsys):
    for _ in range(3):
        logger.warning_once("again and again")
    assert capsys.readouterr().err == "again and again\n"


def test_captured_messages():
    logger = logging.get_logger("notebook_kit.test")
    with logging.CaptureLogger(logger) as captured:
        logger.warning("first")
        logger.error("second")
    assert captured.out == "first\nsecond\n"


def test_progress_bars(capsys, monkeypatch):
    from huggingface_hub.utils import are_progress_bars_disabled

    # The tests' environment forbids them.
    monkeypatch.setattr(sys.modules["huggingface_hub.utils.tqdm"], "HF_HUB_DISABLE_PROGRESS_BARS", None)
    assert logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    assert not logging.is_progress_bar_enabled() and are_progress_bars_disabled()
    assert list(logging.tqdm([1, 2])) == [1, 2]
    classify = notebook_kit.pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
    classify(["Fine."] * 2, progress=True)
    assert capsys.readouterr().err == ""
    logging.enable_progress_bar()
    assert not are_progress_bars_disabled()
    assert list(logging.tqdm([1, 2], disable=False)) == [1, 2] and "2/2" in capsys.readouterr().err
    classify(["Fine."] * 2, progress=True)
    assert "2/2" in capsys.readouterr().err


def test_a_script_from_the_web_runs():
    script = """
import notebook_kit
from notebook_kit import pipeline
notebook_kit.utils.logging.set_verbosity_info()
logger = notebook_kit.utils.logging.get_logger(__name__)
notebook_kit.logging.set_verbosity_error()
pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")("Fine.")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
