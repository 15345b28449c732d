"""Bars that fail: whatever is wrong with the display, the work goes on and its results are kept."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import tqdm.std

from notebook_kit.progress import lenient_bar


def failing(*names):
    """A class of bars of which the methods named fail."""

    def fail(self, *args, **kwargs):
        raise OSError("no display")

    def fail_at_first(self, *args, **kwargs):
        if not kwargs.get("disable"):
            raise ImportError("IProgress not found. Please update jupyter and ipywidgets.")
        tqdm.std.tqdm.__init__(self, *args, **kwargs)

    methods = {name: fail_at_first if name == "__init__" else fail for name in names}
    if "every __init__" in names:
        methods["__init__"] = fail
    return type("Failing", (tqdm.std.tqdm,), methods)


KINDS = [
    ("__init__",),
    ("every __init__",),
    ("display",),
    ("refresh",),
    ("update",),
    ("close",),
    ("update", "close", "display"),
]


@pytest.mark.parametrize("names", KINDS, ids=" ".join)
def test_a_bar_that_fails_is_switched_off(names):
    bar = lenient_bar(failing(*names))(total=3, mininterval=0)
    for _ in range(3):
        bar.update(1)
    bar.set_description("on")
    bar.set_postfix_str("and on")
    bar.close()
    assert bar.disable and bar.total == 3
    del bar
    assert list(lenient_bar(failing(*names))([1, 2])) == [1, 2]


def test_an_interrupt_is_no_failure():
    class Interrupted(tqdm.std.tqdm):
        def update(self, n=1):
            raise KeyboardInterrupt

    bar = lenient_bar(Interrupted)(total=3, disable=True)
    with pytest.raises(KeyboardInterrupt):
        bar.update(1)


def test_a_bar_that_works_is_shown(capsys):
    with lenient_bar(tqdm.std.tqdm)(total=2, desc="Counting") as bar:
        bar.update(2)
    assert not bar.disable or "2/2" in capsys.readouterr().err


LONG_RUN = """
import sys, types
import notebook_kit.pipelines.progress as progress
from notebook_kit import pipeline
ticks = iter(range(10**6))
progress.time = types.SimpleNamespace(monotonic=lambda: float(next(ticks)))
classify = pipeline("sentiment-analysis", model="zoo", device="cpu")
out = sys.stdout if sys.argv[1] != "stdout" else sys.stderr
if sys.argv[1] in ("stderr", "stdout"):
    getattr(sys, sys.argv[1]).close()
if sys.argv[1] == "none":
    sys.stderr = None
for options in ({}, {"progress": True}):
    answers = classify(["good"] * 50, batch_size=1, window=5, **options)
answers += list(classify(iter(["good"] * 5), progress=True))
out.write(f"{len(answers)} {answers[-1]['label']}")
out.flush()
"""


@pytest.mark.parametrize("case", ["TQDM_DISABLE", "stderr", "stdout", "none"])
def test_a_pipeline_keeps_its_results(case):
    env = os.environ | ({"TQDM_DISABLE": "1"} if case == "TQDM_DISABLE" else {})
    done = subprocess.run([sys.executable, "-c", LONG_RUN, case], env=env, capture_output=True, text=True)
    said = done.stderr if case == "stdout" else done.stdout
    assert done.returncode == 0, done.stderr
    assert said.endswith("55 POSITIVE")


def test_a_bar_that_fails_leaves_the_bars_of_other_threads_alone():
    with ThreadPoolExecutor(1) as pool:
        for error in (OSError, KeyboardInterrupt):

            class Failing(tqdm.std.tqdm):
                def display(self, *args, error=error, **kwargs):
                    raise error

            with contextlib.suppress(KeyboardInterrupt):
                lenient_bar(Failing)(total=1)
            other = pool.submit(lambda: tqdm.std.tqdm(total=1, file=io.StringIO()).update(1))
            other.result(timeout=20)


def test_bars_of_a_kind_share_a_class_and_its_thread():
    assert lenient_bar(tqdm.std.tqdm) is lenient_bar(tqdm.std.tqdm)
