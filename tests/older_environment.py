"""An environment with some packages at older versions, as hosts have them that others look after; all else is this one's."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import site
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from support import skip_or_fail

CONSTRAINTS = Path(__file__).parents[1] / "binder" / "constraints.txt"
COLAB = ("ipykernel==6.29.5", "ipywidgets==7.7.1")
"""What Colab has: clicks reach a running cell in another way, and widgets are shown by another method."""
OWN = ("ipykernel", "ipywidgets", "jupyterlab_widgets", "widgetsnbextension")
"""Packages that go with each other's versions, so that the constraints hold for none of them."""


def older_environment(*wanted: str) -> Path:
    """The `python` of an environment, made once for all runs of the tests.

    Args:
        *wanted: Requirements such as "ipykernel==6.29.5". What they need is taken at the versions of `binder/constraints.txt`.
    """
    constraints = [
        line
        for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines()
        if not line.startswith("#") and re.split("==", line)[0] not in OWN
    ]
    rest = [f"import site; site.addsitedir({path!r})" for path in site.getsitepackages()]
    made_of = json.dumps([sys.version, wanted, constraints, rest])
    home = Path(tempfile.gettempdir()) / "notebook_kit_tests"
    folder = home / hashlib.sha256(made_of.encode()).hexdigest()[:16]
    if not folder.exists():
        home.mkdir(exist_ok=True)
        making = Path(tempfile.mkdtemp(dir=home))
        try:
            venv.create(making, symlinks=os.name != "nt")
            found = next(making.glob("lib/python*/site-packages"))
            (found / "rest.pth").write_text("\n".join(rest))
            (making / "constraints.txt").write_text("\n".join(constraints))
            command = [sys.executable, "-m", "pip", "--python", making / "bin" / "python", "install"]
            command += ["--quiet", "--disable-pip-version-check", "-c", making / "constraints.txt", *wanted]
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
            making.rename(folder)  # whole, or not at all: another run may be making it too
        except (OSError, subprocess.SubprocessError) as error:
            if not folder.exists():
                skip_or_fail(f"{', '.join(wanted)} cannot be installed: {getattr(error, 'stderr', None) or error}")
        finally:
            shutil.rmtree(making, ignore_errors=True)
    return folder / "bin" / "python"


def kernel_spec(data: Path, name: str, python: Path) -> str:
    """Let Jupyter know a kernel that runs in an environment; its name.

    Args:
        data: A folder of data of Jupyter's, as in `JUPYTER_PATH`.
        name: The kernel's name.
        python: The environment's Python.
    """
    folder = data / "kernels" / name
    folder.mkdir(parents=True)
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": "python"}))
    return name
