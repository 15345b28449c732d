"""Shows a function step by step: the code of a step, then what that very code gave, then how long it took.

A section is a generator function. Each `yield` ends a step, and what it yields is the step's output; what the reader
sees as code is the source of the function itself, so the two cannot drift apart.
"""

from __future__ import annotations

import ast
import inspect
import pprint
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

__all__ = ["Section", "Step", "show", "steps_of"]


@dataclass(frozen=True)
class Section:
    """One stop of the tour.

    Args:
        name: The short name by which `notebook-kit tour NAME` asks for it.
        title: Its heading.
        about: A sentence or two on what there is to see.
        run: The generator function whose code is shown and run.
    """

    name: str
    title: str
    about: str
    run: Callable[[], Iterator[Any]]


@dataclass(frozen=True)
class Step:
    """Some lines of a section and what they gave.

    Args:
        code: The lines, as they stand in the function; a yielded expression stands alone on the last line.
        output: What was yielded.
        seconds: How long the lines took.
    """

    code: str
    output: Any
    seconds: float


def steps_of(run: Callable[[], Iterator[Any]]) -> Iterator[Step]:
    """Run a section, step by step.

    Args:
        run: A generator function; each of its top-level `yield` statements ends a step.

    Example:
        >>> from notebook_kit.tour.sections import SECTIONS
        >>> step = next(steps_of(SECTIONS[0].run))
        >>> step.code.splitlines()[0]
        'from notebook_kit import pipeline'
    """
    codes = _codes(run)
    lines = run()
    for code in codes:
        start = time.perf_counter()
        output = next(lines)
        yield Step(code, output, time.perf_counter() - start)


def _codes(run: Callable[[], Iterator[Any]]) -> list[str]:
    """The source of a function's body, cut after each top-level yield, with the word `yield` taken out."""
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


def show(sections: list[Section], stream: TextIO | None = None, colour: bool | None = None) -> None:
    """Walk through `sections`, writing to `stream`.

    Args:
        sections: The stops, in order.
        stream: Where to write; the standard output unless given.
        colour: Whether to use the terminal's colours; as the stream allows unless given.
    """
    stream = sys.stdout if stream is None else stream
    paint = _Paint(stream.isatty() if colour is None else colour)
    start = time.perf_counter()
    for number, section in enumerate(sections, 1):
        stream.write("\n" + paint.title(f" {number}. {section.title} ") + "\n")
        stream.write(textwrap.fill(section.about, 100) + "\n\n")
        for step in steps_of(section.run):
            stream.write(_prompted(step.code, paint) + "\n")
            shown = (
                step.output if isinstance(step.output, str) else pprint.pformat(step.output, width=96, sort_dicts=False)
            )
            stream.write(paint.output(shown) + "\n" + paint.faint(f"{_time(step.seconds):>100}") + "\n\n")
            stream.flush()
    total = time.perf_counter() - start
    stream.write(paint.faint(f"{len(sections)} sections in {total:.1f} s. ") + "Next: jupyter lab tutorials/\n")


def _prompted(code: str, paint: _Paint) -> str:
    marked = []
    for line in code.splitlines():
        top_level = line[:1] not in (" ", ")", "]", "}", "")
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
