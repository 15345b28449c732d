"""The sandbox that chat templates run in: Jinja's, with limits on time and size.

A template comes with a checkpoint and is not trusted. Jinja's sandbox keeps it away from Python's internals, but not from
running for hours or building a text of gigabytes. Here, everything a template does counts against a budget: each turn of a
loop, each call, each filter and each piece of text. Operations whose result can be far larger than what goes in
(`"a" * 10**9`, `replace`, `center`, ...) are estimated before they run.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import ext, nodes, sandbox, visitor

__all__ = ["compiled", "limited"]

SECONDS = 2.0  # of this thread, so that a busy machine changes nothing
CHARACTERS = 20_000_000
_BITS = 1 << 16  # of an integer
_ITEM = 20  # what a number, or the brackets of a container, count as
_WRITERS = ("string", "pprint", "escape", "e", "forceescape", "urlencode")
_WIDENERS = ("center", "ljust", "rjust", "zfill")
_MULTIPLIERS = ("indent", "expandtabs", "translate", "wordwrap", "tojson", "batch", "slice", "sum")
_GROWING = {*_WRITERS, *_WIDENERS, *_MULTIPLIERS, "replace", "format", "format_map", "join"}
_NUMBER = re.compile(r"\d+")


class _Budget:
    """What is left of the time and the characters of one rendering."""

    def __init__(self) -> None:
        self.deadline = time.thread_time() + SECONDS
        self.characters = CHARACTERS

    def spend(self, characters: int) -> None:
        self.characters -= characters + 1
        if self.characters < 0:
            raise jinja2.exceptions.SecurityError(f"it produces more than {CHARACTERS:,} characters")
        if time.thread_time() > self.deadline:
            raise jinja2.exceptions.SecurityError(f"it runs for more than {SECONDS:g} seconds")


_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Inside the block, compiling and rendering a template share one budget of time and characters."""
    token = _budget.set(_Budget())
    try:
        yield
    finally:
        _budget.reset(token)


def _spend(characters: int) -> None:
    budget = _budget.get()
    if budget is not None:
        budget.spend(characters)


def _size(value: Any) -> int:
    """The number of characters of a value written out; a value that is too large is an error at once."""
    total, waiting = 0, [value]
    while waiting:
        item = waiting.pop()
        total += len(item) if isinstance(item, str | bytes) else _ITEM
        if isinstance(item, Mapping):
            waiting += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set):
            waiting += item
        if total + len(waiting) > CHARACTERS:
            _spend(total + len(waiting))
    return total


def _width(values: Iterable[Any]) -> int:
    """The largest width that arguments can ask for."""
    return max((abs(value) if isinstance(value, int) else _size(value) for value in values), default=0)


def _estimate(name: str, value: Any, arguments: list[Any]) -> int:
    """An upper bound of the length of what a filter or a method of this name returns; 0 if it grows with its input only."""
    if name not in _GROWING:
        return 0
    size = _size(value)
    if name == "replace" and isinstance(value, str) and len(arguments) > 1 and isinstance(arguments[0], str):
        return size + value.count(arguments[0]) * _width(arguments[1:2])
    if name in _WIDENERS:
        return size + _width(arguments)
    if name in ("format", "format_map"):
        widths = [int(number[:20]) for number in _NUMBER.findall(value)] if isinstance(value, str) else []
        return size + _size(arguments) + sum(widths) + sum(abs(item) for item in arguments if isinstance(item, int))
    if name == "join":
        return _joined(value, arguments)
    return (size + 1) * (_width(arguments) + 1) if name in _MULTIPLIERS else size


def _joined(value: Any, arguments: list[Any]) -> int:
    """`separator.join(items)` as a method, or `items | join(separator)` as a filter."""
    separator, items = (value, arguments[:1]) if isinstance(value, str) and arguments else (arguments[:1], value)
    count = len(items[0]) if isinstance(value, str) and items and hasattr(items[0], "__len__") else 0
    count = max(count, len(value) if isinstance(value, list | tuple | str) else 0)
    return _size(items) + count * _size(separator)


def _guarded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that is estimated before it runs, and counted afterwards."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        value, *arguments = args[1:] if hasattr(function, "jinja_pass_arg") else args
        _spend(_estimate(name, value, [*arguments, *kwargs.values()]))
        return function(*args, **kwargs)

    return guarded


def _counted(items: Iterable[Any]) -> Iterator[Any]:
    """The items of a loop; each turn counts."""
    for item in items:
        _spend(0)
        yield item


def _concatenated(items: Iterable[Any]) -> str:
    """The operator `~`."""
    _spend(_size(items))
    return "".join(map(str, items))


class _Counting(visitor.NodeTransformer):
    """Route what Jinja compiles to plain Python, loops and `~`, through filters that count."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.iter = nodes.Filter(node.iter, "_counted", [], [], None, None, lineno=node.lineno)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return nodes.Filter(nodes.List(node.nodes), "_concatenated", [], [], None, None, lineno=node.lineno)


class _Namespace(jinja2.utils.Namespace):
    """A template's variables, without access to Python's own attributes."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a template may not set {name!r}")
        super().__setitem__(name, value)


class _Generation(ext.Extension):
    """`{% generation %} ... {% endgeneration %}` around the assistant's text."""

    tags = {"generation"}

    def parse(self, parser: Any) -> Any:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_mark"), [], [], body).set_lineno(line)

    def _mark(self, caller: Any) -> str:
        start, end = getattr(self.environment, "marks", None) or ("", "")
        return f"{start}{caller()}{end}"


class _Environment(sandbox.ImmutableSandboxedEnvironment):
    """Jinja's sandbox in which everything counts."""

    intercepted_binops = frozenset({"+", "*", "**", "%"})
    marks: tuple[str, str] | None = None

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        return _Counting().visit(super()._parse(source, name, filename))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            arguments = list(right) if isinstance(right, tuple) else [right]
            _spend(_estimate("format", left, arguments))
        elif isinstance(left, int) and isinstance(right, int):
            bits = {"*": left.bit_length() + right.bit_length(), "**": left.bit_length() * abs(right)}
            if bits.get(operator, 0) > _BITS:
                raise jinja2.exceptions.SecurityError("it computes a number of thousands of digits")
            _spend(0)
        elif operator == "*":
            _spend(max(_size(left) * _width([right]), _size(right) * _width([left])))
        elif operator == "+" and hasattr(left, "__len__") and hasattr(right, "__len__"):
            _spend(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        method = getattr(obj, "__wrapped__", obj)
        owner = getattr(method, "__self__", None)
        known = isinstance(owner, str | list | tuple | Mapping)
        _spend(_estimate(getattr(method, "__name__", ""), owner, [*args, *kwargs.values()]) if known else 0)
        return super().call(context, obj, *args, **kwargs)

    def concat(self, pieces: Iterable[str]) -> str:
        kept = []
        for piece in pieces:
            _spend(len(piece))
            kept.append(piece)
        return "".join(kept)


def _written(value: Any) -> Any:
    """What `{{ value }}` writes: containers are measured before they become text."""
    if not isinstance(value, str | int | float | None):
        _size(value)
    return value


def _refuse(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


@functools.lru_cache(maxsize=32)
def compiled(template: str, marks: tuple[str, str] | None) -> jinja2.Template:
    """The template, ready to render inside `limited()`.

    Args:
        template: The source in Jinja.
        marks: What to put around `{% generation %}` blocks; None for nothing.

    Raises:
        jinja2.TemplateError: If it has a syntax error.
    """
    # Not optimized: what is constant would run while compiling.
    environment = _Environment(
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,
        finalize=_written,
        extensions=[_Generation, ext.loopcontrols],
    )
    environment.marks = marks
    environment.filters["tojson"] = _to_json
    environment.filters = {name: _guarded(name, function) for name, function in environment.filters.items()}
    environment.filters |= {"_counted": _counted, "_concatenated": _concatenated}
    environment.globals.pop("lipsum", None)
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.now().strftime(form),
        "namespace": _Namespace,
    }
    return environment.from_string(template)
