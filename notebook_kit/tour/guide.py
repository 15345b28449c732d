"""Shows a function step by step: the code of a step, then its output, then how long it took.

A section is a generator function. Each `yield` ends a step, and the yielded value is the step's output; the code shown
is the source of the function itself, so the two cannot drift apart.
"""

from __future__ import annotations

import ast
import inspect
import os
import pprint
import shlex
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

__all__ = ["Section", "codes_of", "next_command", "show"]


@dataclass(frozen=True)
class Section:
    """One stop of the tour.

    Args:
        name: The short name, for `notebook-kit tour NAME`.
        title: Its heading.
        about: A sentence or two about it.
        run: The generator function whose code is shown and run.
    """

    name: str
    title: str
    about: str
    run: Callable[[], Iterator[Any]]


def codes_of(run: Callable[[], Iterator[Any]]) -> list[str]:
    """The source of a section, split after each `yield` and without that word: the code shown for each step.

    Args:
        run: A generator function whose steps end in a `yield` at its top level.

    Example:
        >>> from notebook_kit.tour.sections import SECTIONS
        >>> print(codes_of(SECTIONS[0].run)[0])
        from notebook_kit import pipeline
        <BLANKLINE>
        classifier = pipeline("sentiment-analysis")
        classifier("We are very happy to show you the 🤗 Transformers library.")
    """
    source = textwrap.dedent(inspect.getsource(run))
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    lines = source.splitlines()
    codes, start = [], function.body[0].lineno - 1
    for statement in function.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Yield):
            assert statement.value.value is not None and statement.end_lineno is not None
            before = lines[start : statement.lineno - 1]
            shown = lines[statement.lineno - 1 : statement.end_lineno]
            shown[0] = shown[0].replace("yield ", "", 1)
            codes.append(textwrap.dedent("\n".join([*before, *shown])).strip("\n"))
            start = statement.end_lineno
    return codes


def show(
    sections: list[Section],
    stream: TextIO | None = None,
    colour: bool | None = None,
    numbers: Sequence[int] | None = None,
) -> None:
    """Walk through `sections`, writing to `stream`.

    Args:
        sections: The stops, in order.
        stream: Where to write; standard output by default.
        colour: Whether to use the terminal's colours; by default if the stream is a terminal and the environment variable
            `NO_COLOR` is empty or not set.
        numbers: The number of each section; by default from 1.

    Lines are as wide as the terminal, from 40 to 100 columns; code longer than that is left to the terminal to wrap.
    """
    stream = sys.stdout if stream is None else stream
    paint = _Paint(stream.isatty() and not os.environ.get("NO_COLOR") if colour is None else colour)
    width = max(40, min(shutil.get_terminal_size((100, 24)).columns, 100))
    start = time.perf_counter()
    for number, section in zip(numbers or range(1, len(sections) + 1), sections, strict=True):
        stream.write("\n" + paint.title(f" {number}. {section.title} ") + "\n")
        stream.write(textwrap.fill(section.about, width) + "\n\n")
        outputs = section.run()
        for code in codes_of(section.run):
            stream.write(_prompted(code, paint) + "\n")
            stream.flush()  # the code is visible while it runs
            step_start = time.perf_counter()
            output = next(outputs)
            seconds = time.perf_counter() - step_start
            stream.write(
                paint.output(_shown(output, width)) + "\n" + paint.faint(f"{_time(seconds):>{width}}") + "\n\n"
            )
    total = time.perf_counter() - start
    count = f"{len(sections)} section{'s' * (len(sections) != 1)}"
    stream.write(paint.faint(f"{count} in {total:.1f} s. ") + f"Next: {next_command()}\n")


def next_command() -> str:
    """The command that opens the tutorials in this environment's JupyterLab, to be run in the current folder.

    Installed from a wheel there are no tutorials, and the command opens JupyterLab alone.
    """
    lab = Path(sys.executable).with_name("jupyter-lab.exe" if os.name == "nt" else "jupyter-lab")
    found = shutil.which("jupyter-lab")
    if found and lab.exists() and Path(found).resolve() == lab.resolve():
        command = "jupyter lab"
    else:
        command = f"{_relative(lab.with_name('jupyter'))} lab" if lab.exists() else f"{sys.executable} -m jupyterlab"
    tutorials = Path(__file__).parents[2] / "tutorials"
    return f"{command} {_relative(tutorials)}{os.sep}" if (tutorials / "index.ipynb").exists() else command


def _relative(path: Path) -> str:
    """The path from the current folder if it is inside, else the whole path; quoted for a shell."""
    folder = Path.cwd()
    return shlex.quote(str(path.relative_to(folder) if path.is_relative_to(folder) else path))


def _shown(output: Any, width: int) -> str:
    if not isinstance(output, str):
        return pprint.pformat(output, width=width, sort_dicts=False)
    return "\n".join(textwrap.fill(line, width) for line in output.splitlines())


def _prompted(code: str, paint: _Paint) -> str:
    marked = []
    for line in code.splitlines():
        if not line:
            marked.append("")
            continue
        top_level = line[0] not in " )]}"
        marked.append(paint.prompt(">>> " if top_level else "... ") + paint.code(line))
    return "\n".join(marked)


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"


class _Paint:
    """ANSI colours, or none."""

    def __init__(self, on: bool) -> None:
        self.on = on

    def _in(self, style: str, text: str) -> str:
        return f"\033[{style}m{text}\033[0m" if self.on else text

    def title(self, text: str) -> str:
        return self._in("1;7", text)

    def prompt(self, text: str) -> str:
        return self._in("32", text)

    def code(self, text: str) -> str:
        return self._in("1", text)

    def output(self, text: str) -> str:
        return self._in("36", text)

    def faint(self, text: str) -> str:
        return self._in("2", text)
