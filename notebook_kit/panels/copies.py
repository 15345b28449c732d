"""Panels in a copy (a fork) of a notebook's kernel, such as those that `notebook_launcher` starts.

What a copy sends reaches the page through the kernel; what the page sends does not reach the copy.
"""

from __future__ import annotations

import os
import sys
from typing import Any

__all__ = ["is_copy", "let_send", "present_kernel"]


def is_copy() -> bool:
    """Whether this process is a copy of a notebook's kernel."""
    # A fork has only the thread that made it, so the one that sends messages is gone.
    thread = getattr(getattr(present_kernel(), "iopub_thread", None), "thread", None)
    return thread is not None and not thread.is_alive()


def let_send() -> None:
    """Let a copy of a kernel send the messages of widgets, as it may already send what it prints."""
    session: Any = getattr(present_kernel(), "session", None)
    if session is not None and is_copy():
        session.pid = os.getpid()  # ipykernel does the same before the first print in a copy


def present_kernel() -> Any:
    """The kernel of this process, or None; does not import IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None)
