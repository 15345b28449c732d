"""Clicks while a cell is running, against stand-ins for the kernels that `busy` knows and does not know."""

from __future__ import annotations

import json
import queue
import threading
from types import SimpleNamespace

import pytest

from notebook_kit.panels import busy

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
SECRET = "hf_planted_secret_value"


class Session:
    def feed_identities(self, message, copy=False):
        return [], message

    def unpack(self, text):
        return json.loads(text)

    def deserialize(self, frames, content=True, copy=False):
        return {"content": json.loads(frames[4].bytes)}


def message(kind, comm_id):
    parts = ["signature", json.dumps({"msg_type": kind}), "{}", "{}", json.dumps({"comm_id": comm_id})]
    return (0, None, ([SimpleNamespace(bytes=part) for part in parts],))


@pytest.fixture
def kernel(monkeypatch):
    """An ipykernel 6, as far as `busy` looks at it."""
    done = []
    made = SimpleNamespace(
        msg_queue=queue.Queue(),
        shell_stream=SimpleNamespace(flush=lambda: None),
        session=Session(),
        comm_manager=SimpleNamespace(
            comm_msg=lambda stream, identities, whole: done.append(whole["content"]["comm_id"])
        ),
        _publish_status=lambda *args, **keys: None,
        done=done,
    )
    monkeypatch.setattr(busy, "_kernel", lambda: made)
    monkeypatch.setattr(busy, "_heard", set())
    monkeypatch.setattr(busy, "_last", 0.0)
    return made


def widget(comm_id="mine"):
    return SimpleNamespace(comm=SimpleNamespace(comm_id=comm_id, _msg_callback=None))


def test_only_messages_for_the_panel_are_let_through(kernel):
    assert busy.hear(widget()) == "poll"
    sent = [message("execute_request", "-"), message("comm_msg", "mine"), message("comm_msg", "other")]
    sent += [message("comm_open", "mine")]
    for one in sent:
        kernel.msg_queue.put(one)
    busy.poll()
    assert kernel.done == ["mine"]
    left = [kernel.msg_queue.get_nowait() for _ in range(3)]
    assert left == [sent[0], sent[2], sent[3]] and kernel.msg_queue.empty()  # in their order


def test_polling_is_rare_and_on_the_main_thread_only(kernel, monkeypatch):
    busy.hear(widget())
    looked = []
    kernel.shell_stream.flush = lambda: looked.append(threading.current_thread())
    for _ in range(50):
        busy.poll()
    assert len(looked) == 1
    monkeypatch.setattr(busy, "_last", 0.0)
    other = threading.Thread(target=busy.poll)
    other.start()
    other.join()
    assert len(looked) == 1
    panel = widget()
    busy.hear(panel)
    busy.forget(panel)
    busy._heard.clear()
    busy.poll()
    assert len(looked) == 1


def test_a_message_that_cannot_be_handled_loses_none(kernel):
    busy.hear(widget())

    def fail(*given):
        raise ValueError("a handler of the widget")

    kernel.comm_manager.comm_msg = fail
    waiting = message("execute_request", "-")
    for one in (waiting, message("comm_msg", "mine"), waiting):
        kernel.msg_queue.put(one)
    with pytest.raises(ValueError):
        busy.poll()
    assert kernel.msg_queue.qsize() == 2


def test_other_kernels_act_after_the_cell(monkeypatch):
    for made in (
        SimpleNamespace(),  # nothing that is known
        SimpleNamespace(_supports_kernel_subshells=True),  # subshells of another making
        SimpleNamespace(_supports_kernel_subshells=False),
    ):
        monkeypatch.setattr(busy, "_kernel", lambda made=made: made)
        assert busy.hear(widget()) == "after"
    monkeypatch.setattr(busy, "_kernel", lambda: None)
    assert busy.hear(widget()) == "none" and busy.poll() is None
