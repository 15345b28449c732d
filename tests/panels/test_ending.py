"""A process that ends while a panel is at work."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from notebook_kit.panels import ending
from notebook_kit.panels.ending import EndingThread

WRITING = """
from notebook_kit import pipeline
from notebook_kit.panels import GenerationView
view = GenerationView(pipeline("text-generation", model="zoo"), "The old king", max_new_tokens=200)
"""
LOADING = """
from notebook_kit.panels import ModelPicker
ModelPicker("sentiment-analysis").answer_load({"id": "notebook-kit/tiny-sentiment"})
"""


@pytest.mark.parametrize("script", [WRITING, LOADING], ids=["writing", "loading"])
def test_a_process_ends_as_usual_while_a_panel_is_at_work(script):
    """A thread that was in torch when the interpreter ended aborted the process: "terminate called without an active exception"."""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_threads_are_stopped_and_waited_for():
    stopped = threading.Event()
    threads = [EndingThread(stopped.wait, f"thread {i}", stopped.set) for i in range(2)]
    for thread in threads:
        thread.start()
    assert set(threads) <= ending._running
    ending._end_all()
    assert stopped.is_set() and not any(thread.is_alive() for thread in threads)
    assert not set(threads) & ending._running


def test_a_thread_that_does_not_stop_is_not_waited_for_long(monkeypatch):
    monkeypatch.setattr(ending, "LAST_SECONDS", 0.05)
    release = threading.Event()
    thread = EndingThread(release.wait, "deaf", lambda: None)
    thread.start()
    ending._end_all()
    assert thread.is_alive()
    release.set()
    thread.join()
