"""What the panels compute is there without a widget."""

from __future__ import annotations

import subprocess
import sys

CODE = """
import importlib, pkgutil, sys
import notebook_kit.inspection as inspection
for module in pkgutil.walk_packages(inspection.__path__, inspection.__name__ + "."):
    importlib.import_module(module.name)
loaded = [name for name in sys.modules if name.split(".")[0] in ("anywidget", "ipywidgets", "traitlets", "matplotlib")]
loaded += [name for name in sys.modules if name.startswith("notebook_kit.panels")]
print(loaded)
"""


def test_inspection_needs_no_widget():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
