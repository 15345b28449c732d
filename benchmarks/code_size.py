"""Lines of code by folder, and the largest files and functions.

    python benchmarks/code_size.py                       of this checkout
    python benchmarks/code_size.py ../another/checkout   and of another, side by side

A line counts if it has code on it: blank lines, comments and docstrings do not.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parents[1]
CORE = {
    "pipelines": ["pipelines/"],
    "Trainer core": ["training/"],
    "loading": [
        "configuration.py",
        "checkpoints.py",
        "checkpoints/",
        "hub/source.py",
        "hub/client.py",
        "hub/cache.py",
        "hub/saving.py",
        "registry/",
        "models/base.py",
        "models/placement.py",
        "nn/base.py",
        "nn/inputs.py",
        "nn/placement.py",
    ],
    "generation": ["generation/", "nn/cache.py"],
    "BERT": ["models/bert.py", "nn/heads.py", "nn/losses.py"],
}
"""What a text task needs from the Hub to a trained model, in the paths of today and of the tree before `nn/`."""
NOT_CORE = [
    "training/recording/",
    *(f"training/{old}.py" for old in ("controls", "folders", "journal", "measuring", "monitor", "record", "stepping")),
]
"""What records a run, now and before it had a folder."""
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def docstring_lines(tree: ast.AST) -> set[int]:
    """The lines of a module that belong to docstrings, and to the strings that document an attribute."""
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def code_lines(text: str) -> set[int]:
    """The numbers of the lines that have code on them."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(ast.parse(text))


def functions(tree: ast.AST) -> list[tuple[int, str]]:
    """Each function and method: its lines from `def` to its end, and its name."""
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return [((node.end_lineno or 0) - node.lineno + 1, node.name) for node in ast.walk(tree) if isinstance(node, kinds)]


def measure(checkout: Path) -> dict[str, int]:
    """Code lines per folder and per part of the core; the largest file and function."""
    root, rows = checkout / "notebook_kit", Counter()
    largest_file, largest_function = (0, ""), (0, "")
    for path in sorted(root.rglob("*.py")):
        text, name = path.read_text(encoding="utf-8"), path.relative_to(root).as_posix()
        lines = len(code_lines(text))
        rows[f"{name.partition('/')[0]}/" if "/" in name else name] += lines
        rows["all"] += lines
        for part, places in CORE.items():
            if name.startswith(tuple(places)) and not name.startswith(tuple(NOT_CORE)):
                rows[f"core: {part}"] += lines
                rows["core"] += lines
        largest_file = max(largest_file, (text.count("\n"), name))
        for length, function in functions(ast.parse(text)):
            largest_function = max(largest_function, (length, f"{name}: {function}"))
    for what, (lines, name) in {"file": largest_file, "function": largest_function}.items():
        rows[f"largest {what}, all lines ({name})"] = lines
    return rows


def main(others: list[str]) -> None:
    columns = [measure(Path(other)) for other in others] + [measure(HERE)]
    names = sorted(
        {name for column in columns for name in column},
        key=lambda n: (n.startswith("largest"), n.startswith("core"), n),
    )
    for name in names:
        print(f"{name:78}", *(f"{column[name] or '-':>8}" for column in columns))


if __name__ == "__main__":
    main(sys.argv[1:])
