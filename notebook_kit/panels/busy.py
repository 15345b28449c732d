"""Handling of clicks while a cell is running.

A kernel handles the messages of widgets between cells. How to handle them while a cell runs depends on the kernel's version,
and partly on private names. All of that is in this module, with a fallback for each way:

- ipykernel 7: messages for the widget are routed to a subshell, one of the kernel's threads ("subshell").
- ipykernel 6: the running code calls `poll()` regularly, which handles the messages for the widget and leaves all others in
  the queue, so that no other cell runs ("poll").
- any other kernel: messages are handled after the cell ("after"). Without a kernel: "none".

A page that is loaded again while a cell runs asks for the kernel's description, and for the state of all widgets, before it
shows any of them. These questions are handled in the same way.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from notebook_kit.panels.copies import is_copy, present_kernel

__all__ = ["forget", "hear", "poll"]

logger = logging.getLogger("notebook_kit")

POLL_SECONDS = 0.1

CONTROL = "jupyter.widget.control"
"""The target of the comm over which a page asks for the state of all widgets."""

_subshells: dict[int, str] = {}  # id of the kernel -> the subshell that all panels share
_heard: set[str] = set()  # ids of the comms whose messages `poll` handles
_lock = threading.Lock()
_last = 0.0
_controls: set[str] = set()  # ids of the comms of CONTROL


def hear(widget: Any, polls: bool = True) -> str:
    """Let a widget receive messages from the page while a cell is running.

    Args:
        widget: An `ipywidgets` widget.
        polls: Whether `poll` handles the widget's messages on a kernel without subshells.

    Returns:
        How they are handled: "subshell", "poll" (by calls of `poll`), "after" (only after the cell), or "none".

    Example:
        >>> import ipywidgets
        >>> hear(ipywidgets.Text())  # not in a notebook
        'none'
    """
    kernel, comm = present_kernel(), getattr(widget, "comm", None)
    if kernel is None or comm is None or not hasattr(comm, "comm_id") or is_copy():
        return "none"
    try:
        if getattr(kernel, "_supports_kernel_subshells", False):
            subshell = _subshell(kernel)
            if subshell is not None and hasattr(comm, "_reply_subshell_for"):
                comm._reply_subshell_for = lambda data, default: subshell
                _quiet(comm)
                return "subshell"
            return "after"
        if (
            polls
            and hasattr(kernel, "msg_queue")
            and hasattr(kernel, "shell_stream")
            and hasattr(kernel, "comm_manager")
        ):
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
    kernel = present_kernel()
    if kernel is None:
        return
    try:
        _handle_waiting(kernel)
    except Exception:  # private names differ between versions
        logger.debug("Messages cannot be handled while a cell runs", exc_info=True)
        _heard.clear()


def _handle_waiting(kernel: Any) -> None:
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
    kind = header.get("msg_type")
    content = kernel.session.unpack(frames[4].bytes) if str(kind).startswith("comm_") else {}
    if not (kind == "comm_msg" and content.get("comm_id") in _heard) and not _is_of_new_page(kind, content):
        return False
    whole = kernel.session.deserialize(frames, content=True, copy=False)
    kernel._publish_status("busy", "shell", parent=whole)
    try:
        result = kernel.shell_handlers[kind](kernel.shell_stream, identities, whole)
        if isinstance(result, Coroutine):  # of requests; it awaits nothing
            with suppress(StopIteration):
                result.send(None)
            result.close()
    except Exception:  # what a page asked must not end the cell that runs
        logger.exception("A message of a page failed")
    finally:
        kernel._publish_status("idle", "shell", parent=whole)
        kernel._publish_status("busy", "shell")  # the cell is still running
    return True


def _is_of_new_page(kind: Any, content: dict[str, Any]) -> bool:
    """Whether a message is one of those that a page sends when it is loaded, before it can show widgets."""
    if kind == "comm_open" and content.get("target_name") == CONTROL:
        _controls.add(str(content.get("comm_id")))
        return True
    return kind in ("kernel_info_request", "comm_info_request") or (
        kind in ("comm_msg", "comm_close") and content.get("comm_id") in _controls
    )


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
                    subshell = kernel.shell_channel_thread.manager._create_subshell()
                    _divert(kernel, subshell)
                    created.put(subshell)
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


def _divert(kernel: Any, subshell: str) -> None:
    """Let a subshell handle what a page asks when it is loaded. Called on the thread that receives messages."""
    session, manager, receive = kernel.session, kernel.shell_channel_thread.manager, kernel.shell_channel_thread_main

    async def receive_or_divert(message: Any) -> None:
        frames = None
        try:
            identities, parts = session.feed_identities(message, copy=False)
            kind = session.unpack(parts[1].bytes).get("msg_type")
            content = session.unpack(parts[4].bytes) if str(kind).startswith("comm_") else {}
            if _is_of_new_page(kind, content):
                peeked = session.deserialize(parts, content=False, copy=False)  # checks the signature
                if peeked["header"].get("subshell_id") is None:
                    header = {**peeked["header"], "subshell_id": subshell}  # without it, a subshell refuses the message
                    frames = session.serialize({**peeked, "header": header}, ident=identities) + parts[5:]
            socket = manager.get_shell_channel_to_subshell_socket(subshell)
        except Exception:  # the kernel reports what is wrong with a message
            logger.debug("A message was left to the kernel", exc_info=True)
            frames = None
        if frames is None:
            await receive(message)
        else:
            async with kernel.shell_channel_thread.asyncio_lock:
                socket.send_multipart(frames, copy=False)

    kernel.shell_stream.on_recv(receive_or_divert, copy=False)
