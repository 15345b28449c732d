"""`python -m notebook_kit.recipes list` and `python -m notebook_kit.recipes build tiny-sentiment`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from notebook_kit.errors import NotebookKitError
from notebook_kit.zoo import ZOO, folder, names


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m notebook_kit.recipes", description="The small checkpoints included in notebook_kit."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="list the checkpoints with their tasks and folders")
    build = commands.add_parser("build", help="train a checkpoint with its recipe, and write its model card")
    build.add_argument("name", choices=sorted(ZOO), metavar="name", help=", ".join(sorted(ZOO)))
    build.add_argument("--output", type=Path, metavar="DIR", help="output folder; default: build/zoo/NAME")
    build.add_argument(
        "--work", type=Path, metavar="DIR", help="keep intermediate results here, and reuse existing ones"
    )
    build.add_argument(
        "--quick", action="store_true", help="train a few steps on a few sentences, to check that the recipe works"
    )
    chosen = parser.parse_args(arguments)
    try:
        return _list() if chosen.command == "list" else _build(chosen)
    except NotebookKitError as error:
        print(error, file=sys.stderr)
        return 1


def _list() -> int:
    for full_name, (name, checkpoint) in zip(names(), ZOO.items(), strict=True):
        print(f"{full_name}  ({', '.join(checkpoint.tasks)})  {checkpoint.summary}\n    {folder(name)}")
    return 0


def _build(chosen: argparse.Namespace) -> int:
    recipe = importlib.import_module(f".{chosen.name.replace('-', '_')}", __package__)
    output = chosen.output or Path("build", "zoo", chosen.name)
    recipe.build(output, quick=chosen.quick, work=chosen.work)
    print(f"Written to {output}. The measurements are in its model card: {output / 'README.md'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
