"""Clicks that reach Python while a cell is running.

A kernel handles messages of widgets between cells. How to let them through while a cell runs depends on its version, and partly
on private names; all of that is kept in this module, and each way has a fallback:

- ipykernel 7: messages to the widget are routed to a subshell, a thread of the kernel's own ("subshell").
- ipykernel 6: whoever works calls `poll()` now and then, which handles the messages for the widget and leaves all others in
  the queue; so no other cell is run ("poll").
- anything else: they are handled after the cell ("after"); or there is no kernel ("none").
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from typing import Any

__all__ = ["hear", "poll"]

logger = logging.getLogger("notebook_kit")

POLL_SECONDS = 0.1

_subshells: dict[int, str] = {}  # id of the kernel -> the subshell that all panels share
_heard: set[str] = set()  # ids of the comms whose messages are handled by `poll`
_lock = threading.Lock()
_last = 0.0


def hear(widget: Any) -> str:
    """Let messages from the page reach a widget while a cell is running.

    Args:
        widget: An `ipywidgets` widget.

    Returns:
        How: "subshell", "poll" (call `poll` while working), "after" (not before the cell has ended), or "none".

    Example:
        >>> import ipywidgets
        >>> hear(ipywidgets.Text())  # not in a notebook
        'none'
    """
    kernel, comm = _kernel(), getattr(widget, "comm", None)
    if kernel is None or comm is None or not hasattr(comm, "comm_id"):
        return "none"
    try:
        if getattr(kernel, "_supports_kernel_subshells", False):
            subshell = _subshell(kernel)
            if subshell is not None and hasattr(comm, "_reply_subshell_for"):
                comm._reply_subshell_for = lambda data, default: subshell
                _quiet(comm)
                return "subshell"
            return "after"
        if hasattr(kernel, "msg_queue") and hasattr(kernel, "shell_stream") and hasattr(kernel, "comm_manager"):
            with _lock:
                _heard.add(comm.comm_id)
            _quiet(comm)
            return "poll"
    except Exception:  # private names of another version: the panel explains that its buttons act after the cell
        logger.debug("messages cannot be let through", exc_info=True)
    return "after"


def forget(widget: Any) -> None:
    """Leave a widget's messages to the kernel again."""
    with _lock:
        _heard.discard(getattr(getattr(widget, "comm", None), "comm_id", ""))


def poll() -> None:
    """Handle the messages that wait for widgets which `hear` answered with "poll"; at most ten times a second.

    Call it on the thread that runs the cell, as often as you like; elsewhere it does nothing.
    """
    global _last
    if (
        not _heard
        or time.monotonic() - _last < POLL_SECONDS
        or threading.current_thread() is not threading.main_thread()
    ):
        return
    _last = time.monotonic()
    kernel = _kernel()
    if kernel is None:
        return
    kernel.shell_stream.flush()  # from the socket into the queue
    left = []
    try:
        while True:
            try:
                item = kernel.msg_queue.get_nowait()
            except Exception:  # asyncio's and tornado's queues each signal "empty" differently
                break
            if not _handled(kernel, item):
                left.append(item)
    finally:
        for item in left:
            kernel.msg_queue.put_nowait(item)


def _handled(kernel: Any, item: Any) -> bool:
    """Handle one queued message if it is for a widget that is heard."""
    message = item[2][0]
    identities, frames = kernel.session.feed_identities(message, copy=False)
    header = kernel.session.unpack(frames[1].bytes)  # not `deserialize`: it takes a message once only
    if header.get("msg_type") != "comm_msg" or kernel.session.unpack(frames[4].bytes).get("comm_id") not in _heard:
        return False
    whole = kernel.session.deserialize(frames, content=True, copy=False)
    kernel._publish_status("busy", "shell", parent=whole)
    try:
        kernel.comm_manager.comm_msg(kernel.shell_stream, identities, whole)
    finally:
        kernel._publish_status("idle", "shell", parent=whole)
        kernel._publish_status("busy", "shell")  # the cell itself goes on
    return True


def _kernel() -> Any:
    """The kernel of this process, if it is one; without importing IPython for it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None)


def _quiet(comm: Any) -> None:
    """Handle messages without IPython's events around them: they would show and close the figures that a running cell draws."""

    def handle(message: Any) -> None:
        if comm._msg_callback:
            comm._msg_callback(message)

    comm.handle_msg = handle


def _subshell(kernel: Any) -> str | None:
    """The subshell of the panels, made when it is first wanted; None if it cannot be had."""
    with _lock:
        if id(kernel) not in _subshells:
            made: queue.Queue[str | None] = queue.Queue()

            def make() -> None:
                try:
                    made.put(kernel.shell_channel_thread.manager._create_subshell())
                except Exception:
                    logger.debug("no subshell", exc_info=True)
                    made.put(None)

            kernel.shell_channel_thread.io_loop.add_callback(make)  # only that thread may make one
            try:
                subshell = made.get(timeout=3)
            except queue.Empty:
                return None
            if subshell is None:
                return None
            _subshells[id(kernel)] = subshell
        return _subshells[id(kernel)]
