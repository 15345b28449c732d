"""Make `.venv` beside the project and install notebook_kit into it, at the versions of `constraints.txt`.

    python3 binder/install.py            what is needed to use it
    python3 binder/install.py test       and to test it (any extra of pyproject.toml can be named)

On a Linux machine with no NVIDIA GPU it installs PyTorch's CPU build, which saves several gigabytes of CUDA libraries.
"""

import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"
FETCHED = re.compile(r"\s*(?:Downloading|Using cached) (?!\S+\.metadata )\S+ \(([\d.]+) ([kMG]?)B\)")
INSTALLING = re.compile(r"Installing collected packages: (.+)")
MEGABYTES = {"": 1e-6, "k": 1e-3, "M": 1, "G": 1e3}
LINES_OF_AN_ERROR = 40


def main(extras: list) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is run before anything is installed)
        print(f"notebook_kit needs Python 3.11 or newer; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    project = Path(__file__).resolve().parent.parent
    python = project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        code = create_environment(project / ".venv")
        if code:
            return code
    code = install(python, project, extras)
    if code == 0:
        folder = os.path.relpath(python.parent)
        print(f"Done. To start:\n  {os.path.join(folder, 'notebook-kit')} tour")
        print(f"  {os.path.join(folder, 'jupyter')} lab {os.path.relpath(project / 'tutorials')}")
    return code


def create_environment(folder: Path) -> int:
    step = Step("Creating .venv")
    done = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True, text=True)
    step.end("" if done.returncode == 0 else "failed")
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        print(done.stdout + done.stderr, file=sys.stderr)
        print("The virtual environment could not be created. On Debian: apt-get install python3-venv", file=sys.stderr)
    return done.returncode


def install(python: Path, project: Path, extras: list) -> int:
    constraints = str(project / "binder" / "constraints.txt")
    target = f"{project}[{','.join(extras)}]" if extras else str(project)
    command = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--no-color", "--no-input"]
    command += ["--progress-bar", "off", "-c", constraints, "-e", target]
    if wants_cpu_build() and answers(CPU_BUILDS):
        command += ["--extra-index-url", CPU_BUILDS]
    return follow(command)


def follow(command: list) -> int:
    """Run a `pip install`, and show how far it is; its own words appear only if it fails."""
    step, lines, found, megabytes = Step("Finding and downloading packages"), [], 0, 0.0
    pip = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    assert pip.stdout is not None
    for line in pip.stdout:
        lines = [*lines[1 - LINES_OF_AN_ERROR :], line]
        fetched, installing = FETCHED.match(line), INSTALLING.match(line)
        found += line.startswith("Collecting ")
        megabytes += float(fetched[1]) * MEGABYTES[fetched[2]] if fetched else 0
        progress = f"{found} found, {megabytes:,.0f} MB"
        if installing:
            step.end(progress)
            step = Step(f"Installing {len(installing[1].split(', '))} packages")
        elif found:
            step.show(progress)
    code = pip.wait()
    step.end("" if code == 0 else "failed")
    if code:
        print("The last lines of pip:\n", *lines, sep="", file=sys.stderr)
    return code


class Step:
    """One line of the installer's output: what is going on, how far it is (in a terminal), and how long it took."""

    def __init__(self, title: str) -> None:
        self.title, self.started, self.width = title, time.monotonic(), 0
        self.is_live = sys.stdout.isatty()
        print(f"{title} ...", end="", flush=True)

    def show(self, progress: str) -> None:
        """Say how far the step is, where a line can be written again; a log only gets the end."""
        if self.is_live:
            self._write(f"{self.title} ... {progress}")

    def end(self, result: str) -> None:
        seconds = f"{time.monotonic() - self.started:.0f} s"
        line = f"{self.title} ... {', '.join(filter(None, [result, seconds]))}"
        if self.is_live:
            self._write(line)
            print()
        else:
            print(line[len(self.title) + 4 :], flush=True)

    def _write(self, line: str) -> None:
        print(f"\r{line.ljust(self.width)}", end="", flush=True)
        self.width = len(line)


def wants_cpu_build() -> bool:
    """Whether this machine would get CUDA libraries that it cannot use."""
    return sys.platform == "linux" and shutil.which("nvidia-smi") is None


def answers(address: str) -> bool:
    """Whether the address can be reached; a closed network may have its own source of CPU builds."""
    try:
        with urllib.request.urlopen(f"{address}/torch/", timeout=5):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
