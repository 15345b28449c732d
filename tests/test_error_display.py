"""What IPython shows of an error of ours: the reader's own lines and the message."""

from __future__ import annotations

import contextlib
import io

import IPython
import pytest
from IPython.core.interactiveshell import InteractiveShell

from notebook_kit.errors import InputError, NotebookKitError


@pytest.fixture
def run(monkeypatch):
    """Runs a cell as a notebook does; returns what it printed."""
    shell = InteractiveShell()
    shell.run_line_magic("colors", "nocolor")
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)

    def run(code: str) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            shell.run_cell(code)
        return printed.getvalue()

    return run


def test_the_lines_of_the_library_are_left_out(run):
    shown = run("from notebook_kit import AutoConfig\n\nAutoConfig.for_model('brt')\n")
    assert "----> 3 AutoConfig.for_model('brt')" in shown
    assert "'brt'" in shown.splitlines()[-3]
    assert "notebook_kit/" not in shown
    assert shown.count("\n") < 12
    assert "%xmode Verbose" in shown


def test_verbose_mode_shows_all(run):
    shown = run("%xmode Verbose\nfrom notebook_kit import AutoConfig\nAutoConfig.for_model('brt')\n")
    assert "raise" in shown and "notebook_kit/" in shown and "left out" not in shown


def test_a_function_of_the_reader_stays(run):
    shown = run(
        "from notebook_kit import pipeline\n"
        "def texts():\n"
        "    yield 'good'\n"
        "    raise KeyError('no such column')\n"
        "pipe = pipeline('sentiment-analysis', model='notebook-kit/tiny-sentiment', progress=False)\n"
        "for answer in pipe(texts()): pass\n"
    )
    assert "raise KeyError('no such column')" in shown  # theirs, whatever shows it


def test_the_reason_is_shown_with_the_lines_of_the_reader(run):
    shown = run(
        "from notebook_kit.errors import InputError\n"
        "def metric():\n"
        "    return 1 / 0\n"
        "try:\n"
        "    metric()\n"
        "except ZeroDivisionError as error:\n"
        "    raise InputError('The metric failed.') from error\n"
    )
    assert "ZeroDivisionError: division by zero" in shown
    assert "return 1 / 0" in shown and "The metric failed." in shown


def test_a_reason_that_the_message_repeats_is_shown_once(run):
    shown = run(
        "from notebook_kit import pipeline\n"
        "pipeline('sentiment-analysis', model='notebook-kit/tiny-sentiment', progress=False)(['a', 5])\n"
    )
    assert shown.count("of the type int") == 1
    assert "direct cause" not in shown


def test_showing_an_error_does_not_change_it(run):
    shell = IPython.get_ipython()
    reason, error = InputError("The input is empty."), NotebookKitError("It failed: The input is empty.")
    try:
        raise error from reason
    except NotebookKitError:
        pass
    before = (error.__traceback__, error.__cause__, error.__suppress_context__)
    lines = error._render_traceback_()
    assert any("It failed" in line for line in lines)
    assert (error.__traceback__, error.__cause__, error.__suppress_context__) == before
    assert shell.InteractiveTB.mode != "Verbose"


UNUSUAL = {
    "an error that cannot be compared": """
class Odd(Exception):
    def __eq__(self, other):
        raise RuntimeError('not comparable')
try:
    try:
        raise Odd()
    except Odd as first:
        raise ValueError() from first
except ValueError as second:
    raise InputError('The message.') from second
""",
    "an error that cannot be read": """
class Odd(InputError):
    def __init__(self):
        pass
try:
    raise Odd()
except Odd as first:
    raise InputError('The message.') from first
""",
    "a circle": """
first, second = InputError('The message.'), ValueError('reason')
first.__cause__, second.__cause__ = second, first
raise first
""",
    "lines without a module": """
exec("raise InputError('The message.')", {'InputError': InputError, '__name__': None})
""",
}


@pytest.mark.parametrize("code", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_errors_of_a_reader(run, code):
    shown = run(f"from notebook_kit.errors import InputError\n{code}")
    assert "InputError: The message." in shown and "Unexpected exception" not in shown


def test_a_reason_without_a_message_is_shown(run):
    shown = run(
        "from notebook_kit.errors import InputError\n"
        "try:\n"
        "    raise InputError('')\n"
        "except InputError as error:\n"
        "    raise InputError('The message.') from error\n"
    )
    assert "direct cause" in shown


def test_without_a_shell(monkeypatch):
    monkeypatch.setattr(IPython, "get_ipython", lambda: None)
    lines = InputError("The message.", next_step="Do this.")._render_traceback_()
    assert lines == ["notebook_kit.errors.InputError: The message.", "→ Do this."]
