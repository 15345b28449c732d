"""The command line: `notebook-kit tour`, `handout` and `runs`, also as `python -m notebook_kit ...`."""

from __future__ import annotations

import argparse
import os
import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Those after the program's name; by default those of this process.

    Returns:
        The exit status: 0, 1 after an error of this library, 130 after Ctrl-C.
    """
    from notebook_kit import __version__
    from notebook_kit.errors import NotebookKitError, near_matches
    from notebook_kit.training.recording.run_commands import add_parser, run

    parser = argparse.ArgumentParser(
        prog="notebook-kit", description="The Transformers quick tour, alive in a notebook."
    )
    parser.add_argument("--version", action="version", version=f"notebook_kit {__version__}")
    commands = parser.add_subparsers(dest="command", required=True)
    tour = commands.add_parser("tour", help="the quick tour in the terminal, with real output and times")
    tour.add_argument("section", nargs="*", help="only these sections, by name or number (see --list)")
    tour.add_argument("--list", action="store_true", help="list the sections")
    tour.add_argument(
        "--offline", action="store_true", help="use the embedded checkpoints even if the Hub is reachable"
    )
    page = commands.add_parser("handout", help="a notebook as one HTML page that opens with no kernel and no network")
    page.add_argument("notebook", nargs="+", help="the notebooks")
    page.add_argument("--execute", action="store_true", help="run them first, in a fresh kernel of this environment")
    page.add_argument("--cell-seconds", type=float, default=1800, help="how long a cell may run; 0 for any time")
    page.add_argument("--output-dir", default="", help="the folder to write to; by default that of the notebook")
    add_parser(commands)
    options = parser.parse_args(arguments)

    if options.command == "runs":
        try:
            run(options)
        except NotebookKitError as error:
            print(error, file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:  # of `| head`
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        return 0

    if options.command == "handout":
        from notebook_kit.handout import handout

        try:
            for notebook in options.notebook:
                print(f"{notebook} ...", end=" ", flush=True)
                limit = options.cell_seconds or None
                print(handout(notebook, options.output_dir, execute=options.execute, cell_seconds=limit))
        except NotebookKitError as error:
            print(f"\n{error}", file=sys.stderr)
            return 1
        return 0

    from notebook_kit.tour.sections import SECTIONS, find

    if options.list:
        for number, section in enumerate(SECTIONS, 1):
            print(f"{number:>2}  {section.name:<10} {section.title}")
        return 0
    wanted = []
    for query in options.section:
        wanted.append(find(query))
        if wanted[-1] is None:
            near = near_matches(query, [section.name for section in SECTIONS])
            print(f"There is no section {query!r}. {near}\n→ notebook-kit tour --list", file=sys.stderr)
            return 1
    if options.offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")  # for 96 rows they are only noise

    from notebook_kit.tour.guide import show

    try:
        numbers = [number for number, section in enumerate(SECTIONS, 1) if not wanted or section in wanted]
        show([SECTIONS[number - 1] for number in numbers], numbers=numbers)
    except NotebookKitError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
