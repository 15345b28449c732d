"""Pages for modules that the site's environment cannot import, such as those that need TensorFlow: from their source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from pathlib import Path

from docstrings import restructured
from sphinx.ext.napoleon import Config, GoogleDocstring

SETTINGS = Config(napoleon_use_ivar=True)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def documented(package: str, path: Path, names: Iterable[str]) -> list[str]:
    """The lines of a page in reStructuredText that document some names of a module.

    Args:
        package: The package in which users find the names.
        path: The module's file.
        names: Classes and functions that are defined in it.
    """
    tree = ast.parse(path.read_text("utf-8"))
    found = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef | Function)}
    lines = []
    for name in names:
        node = found[name]
        if isinstance(node, ast.ClassDef):
            lines += _class(f"{package}.{name}", node)
        else:
            lines += _directive("function", f"{package}.{name}{_signature(node)}", node)
    return lines


def _class(name: str, node: ast.ClassDef) -> list[str]:
    methods = [each for each in node.body if isinstance(each, Function)]
    builder = next((each for each in methods if each.name == "__init__"), None)
    signature = _signature(builder, leave_out=1) if builder else "()"
    members = []
    for method in methods:
        kinds = {ast.unparse(decorator) for decorator in method.decorator_list}
        if method.name.startswith("_") or not ast.get_docstring(method):
            continue
        if "property" in kinds:
            members += _directive("property", method.name, method)
        else:
            kind = "classmethod" if "classmethod" in kinds else "method"
            members += _directive(kind, method.name + _signature(method, leave_out=1), method)
    return [*_directive("class", name + signature, node), *(f"   {line}".rstrip() for line in members)]


def _signature(node: Function, leave_out: int = 0) -> str:
    """The parameters of a function without their types; the first ones, such as `self`, are left out."""
    arguments = node.args
    positional = [*arguments.posonlyargs, *arguments.args]
    values = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    shown = [_parameter(each, value) for each, value in zip(positional, values, strict=True)][leave_out:]
    if arguments.vararg:
        shown.append(f"*{arguments.vararg.arg}")
    elif arguments.kwonlyargs:
        shown.append("*")
    shown += [_parameter(each, value) for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    if arguments.kwarg:
        shown.append(f"**{arguments.kwarg.arg}")
    return f"({', '.join(shown)})"


def _parameter(argument: ast.arg, value: ast.expr | None) -> str:
    return argument.arg if value is None else f"{argument.arg}={ast.unparse(value)}"


def _directive(kind: str, head: str, node: ast.ClassDef | Function) -> list[str]:
    text = restructured(inspect.cleandoc(ast.get_docstring(node) or ""))
    body = str(GoogleDocstring(text, SETTINGS, what="class" if kind == "class" else "function"))
    return [f".. py:{kind}:: {head}", "", *textwrap.indent(body, "   ").splitlines(), ""]
