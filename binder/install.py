"""Make `.venv` beside the project and install notebook_kit into it, at the versions of `constraints.txt`.

    python3 binder/install.py            what is needed to use it
    python3 binder/install.py test       and to test it (any extra of pyproject.toml can be named)

On a Linux machine with no NVIDIA GPU it installs PyTorch's CPU build, which saves several gigabytes of CUDA libraries.
"""

import os
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

CPU_BUILDS = "https://download.pytorch.org/whl/cpu"


def main(extras: list[str]) -> int:
    if sys.version_info < (3, 11):  # noqa: UP036 (this file is run before anything is installed)
        print(f"notebook_kit needs Python 3.11 or newer; this is {sys.version.split()[0]}.", file=sys.stderr)
        return 1
    project = Path(__file__).resolve().parent.parent
    python = project / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        made = subprocess.run([sys.executable, "-m", "venv", str(project / ".venv")])
        if made.returncode:
            shutil.rmtree(project / ".venv", ignore_errors=True)
            print("No virtual environment could be made. On Debian: apt-get install python3-venv", file=sys.stderr)
            return made.returncode
    target = f"{project}[{','.join(extras)}]" if extras else str(project)
    constraints = str(project / "binder" / "constraints.txt")
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--quiet",
        "-c",
        constraints,
        "-e",
        target,
    ]
    if wants_cpu_build() and answers(CPU_BUILDS):
        command += ["--extra-index-url", CPU_BUILDS]
    print("Installing notebook_kit into .venv (a minute or two) ...", flush=True)
    return subprocess.run(command).returncode


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
