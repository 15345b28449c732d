"""What a well-known course does runs here as it does with `transformers`: each cell that runs there runs here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_course_runs(tmp_path):
    results = tmp_path / "results.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "compatibility.py"), str(ROOT / "tests" / "course")]
    subprocess.run([*command, "--json", str(results)], check=True, capture_output=True)
    found = json.loads(results.read_text())
    wrong = []
    runs = 0
    for file, theirs in found["transformers"].items():
        ours = found["notebook_kit"][file]["cells"]
        assert len(ours) == len(theirs["cells"]) > 3
        for a, b in zip(theirs["cells"], ours, strict=True):
            runs += a["error"] is None
            if a["error"] is None and b["error"] is not None:
                wrong.append(f"{Path(file).name}, cell {b['cell']}: {b['error']}")
    assert runs > 30 and not wrong, "\n".join(wrong)
