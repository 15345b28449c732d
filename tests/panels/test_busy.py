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


def message(kind, comm_id, **content):
    parts = ["signature", json.dumps({"msg_type": kind}), "{}", "{}", json.dumps({"comm_id": comm_id, **content})]
    return (0, None, ([SimpleNamespace(bytes=part) for part in parts],))


@pytest.fixture
def kernel(monkeypatch):
    """An ipykernel 6, as far as `busy` looks at it."""
    done = []

    def handle(stream, identities, whole):
        done.append(whole["content"]["comm_id"])

    async def reply(stream, identities, whole):
        handle(stream, identities, whole)

    made = SimpleNamespace(
        msg_queue=queue.Queue(),
        shell_stream=SimpleNamespace(flush=lambda: None),
        session=Session(),
        comm_manager=SimpleNamespace(),
        shell_handlers={
            **dict.fromkeys(("comm_open", "comm_msg", "comm_close"), handle),
            **dict.fromkeys(("kernel_info_request", "comm_info_request"), reply),
        },
        _publish_status=lambda *args, **keys: None,
        done=done,
    )
    monkeypatch.setattr(busy, "present_kernel", lambda: made)
    monkeypatch.setattr(busy, "_heard", set())
    monkeypatch.setattr(busy, "_controls", set())
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


def test_what_a_page_asks_when_it_is_loaded_again_is_let_through(kernel):
    busy.hear(widget())
    asked = [message("kernel_info_request", "a"), message("comm_open", "b", target_name=busy.CONTROL)]
    asked += [message("comm_msg", "b"), message("comm_info_request", "c"), message("comm_close", "b")]
    kept = [message("execute_request", "-"), message("comm_open", "d", target_name="another")]
    for one in (asked[0], kept[0], *asked[1:], kept[1]):
        kernel.msg_queue.put(one)
    busy.poll()
    assert kernel.done == ["a", "b", "b", "c", "b"]
    assert [kernel.msg_queue.get_nowait() for _ in range(2)] == kept and kernel.msg_queue.empty()


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

    kernel.shell_handlers["comm_msg"] = fail
    waiting = message("execute_request", "-")
    for one in (waiting, message("comm_msg", "mine"), waiting):
        kernel.msg_queue.put(one)
    busy.poll()  # and the cell that runs goes on
    assert kernel.msg_queue.qsize() == 2


def test_a_kernel_that_is_not_as_expected_does_not_end_the_cell_that_runs(kernel):
    busy.hear(widget())
    del kernel.shell_stream
    busy.poll()
    assert not busy._heard


def test_other_kernels_act_after_the_cell(monkeypatch):
    for made in (
        SimpleNamespace(),  # nothing that is known
        SimpleNamespace(_supports_kernel_subshells=True),  # subshells of another making
        SimpleNamespace(_supports_kernel_subshells=False),
    ):
        monkeypatch.setattr(busy, "present_kernel", lambda made=made: made)
        assert busy.hear(widget()) == "after"
    monkeypatch.setattr(busy, "present_kernel", lambda: None)
    assert busy.hear(widget()) == "none" and busy.poll() is None
