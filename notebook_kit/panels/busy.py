"""Handling of clicks while a cell is running.

A kernel handles the messages of widgets between cells. How to handle them while a cell runs depends on the kernel's version,
and partly on private names. All of that is in this module, with a fallback for each way:

- ipykernel 7: messages for the widget are routed to a subshell, one of the kernel's threads ("subshell").
- ipykernel 6: the running code calls `poll()` regularly, which handles the messages for the widget and leaves all others in
  the queue, so that no other cell runs ("poll").
- any other kernel: messages are handled after the cell ("after"). Without a kernel: "none".
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
import time
from typing import Any

__all__ = ["forget", "hear", "poll"]

logger = logging.getLogger("notebook_kit")

POLL_SECONDS = 0.1

_subshells: dict[int, str] = {}  # id of the kernel -> the subshell that all panels share
_heard: set[str] = set()  # ids of the comms whose messages `poll` handles
_lock = threading.Lock()
_last = 0.0


def hear(widget: Any) -> str:
    """Let a widget receive messages from the page while a cell is running.

    Args:
        widget: An `ipywidgets` widget.

    Returns:
        How they are handled: "subshell", "poll" (by calls of `poll`), "after" (only after the cell), or "none".

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
    except Exception:  # private names differ between versions; the panel explains that its buttons act after the cell
        logger.debug("Messages cannot be handled while a cell runs", exc_info=True)
    return "after"


def forget(widget: Any) -> None:
    """Stop handling a widget's messages in `poll`, and leave them to the kernel."""
    with _lock:
        _heard.discard(getattr(getattr(widget, "comm", None), "comm_id", ""))


def poll() -> None:
    """Handle the waiting messages of widgets for which `hear` returned "poll".

    Call it as often as you like on the thread that runs the cell; it works at most ten times per second. On other threads it
    does nothing.
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
            except Exception:  # the queues of asyncio and tornado raise different errors when empty
                break
            if not _handled(kernel, item):
                left.append(item)
    finally:
        for item in left:
            kernel.msg_queue.put_nowait(item)


def _handled(kernel: Any, item: Any) -> bool:
    """Handle a queued message if it is for a widget in `_heard`."""
    message = item[2][0]
    identities, frames = kernel.session.feed_identities(message, copy=False)
    header = kernel.session.unpack(frames[1].bytes)  # not `deserialize`, which accepts each message only once
    if header.get("msg_type") != "comm_msg" or kernel.session.unpack(frames[4].bytes).get("comm_id") not in _heard:
        return False
    whole = kernel.session.deserialize(frames, content=True, copy=False)
    kernel._publish_status("busy", "shell", parent=whole)
    try:
        kernel.comm_manager.comm_msg(kernel.shell_stream, identities, whole)
    finally:
        kernel._publish_status("idle", "shell", parent=whole)
        kernel._publish_status("busy", "shell")  # the cell is still running
    return True


def _kernel() -> Any:
    """The kernel of this process, or None; does not import IPython."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None)


def _quiet(comm: Any) -> None:
    """Handle messages without IPython's events around them, which would show and close the figures of the running cell."""

    def handle(message: Any) -> None:
        if comm._msg_callback:
            comm._msg_callback(message)

    comm.handle_msg = handle


def _subshell(kernel: Any) -> str | None:
    """The subshell of the panels, created on first use; None if the kernel cannot create one."""
    with _lock:
        if id(kernel) not in _subshells:
            created: queue.Queue[str | None] = queue.Queue()

            def create() -> None:
                try:
                    created.put(kernel.shell_channel_thread.manager._create_subshell())
                except Exception:
                    logger.debug("No subshell", exc_info=True)
                    created.put(None)

            kernel.shell_channel_thread.io_loop.add_callback(create)  # only that thread may create one
            try:
                subshell = created.get(timeout=3)
            except queue.Empty:
                return None
            if subshell is None:
                return None
            _subshells[id(kernel)] = subshell
        return _subshells[id(kernel)]
