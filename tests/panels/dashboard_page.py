"""What the tests of TrainingDashboard share: a stand-in for the page, tiny runs of both Trainers."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
import torch
from comm.base_comm import BaseComm
from training.tiny_training import SIZES, Padder, dataset, trainer

from notebook_kit.panels import TrainingDashboard
from notebook_kit.training import DataCollatorWithPadding

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"
SECRET = "hf_planted_secret_value"


def our_trainer(folder, *callbacks, **options):
    return trainer(folder, eval_dataset=dataset(9), callbacks=list(callbacks), **options)


def hf_trainer(folder, *callbacks, **options):
    transformers = pytest.importorskip("transformers")
    quiet = {"use_cpu": True, "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-3, "save_strategy": "no"}
    torch.manual_seed(0)
    return transformers.Trainer(
        model=transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, num_labels=2)),
        args=transformers.TrainingArguments(str(folder), **{**quiet, "logging_steps": 5, **options}),
        train_dataset=dataset().remove_columns("text"),
        eval_dataset=dataset(9).remove_columns("text"),
        data_collator=lambda examples: DataCollatorWithPadding(Padder())(examples),  # no tokenizer that it would save
        callbacks=list(callbacks),
    )


both = pytest.mark.parametrize("make", [our_trainer, hf_trainer])


class Page(BaseComm):
    """Stands for the page: packs what is sent as a kernel does, counts it, and keeps what `store.js` would know."""

    latest: Page

    def __init__(self, *args, **keys):
        self.sent, self.moments, self.bytes, self.number, self.runs = [], [], 0, -1, {}
        Page.latest = self
        super().__init__(*args, **keys)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        self.bytes += len(json.dumps({"data": data, "metadata": metadata, **keys}, allow_nan=False))
        self.bytes += sum(memoryview(part).nbytes for part in buffers or ())
        data = data or {}
        if data.get("method") == "custom" and "feed" in data["content"]:
            said = data["content"]["feed"]
            self._seen()
            if said["number"] > self.number:
                assert said["after"] == self.number, "something was missed"
                self._take(said, buffers[0], False)
        elif "_frame" in data.get("state", {}):
            self._seen()
            [place] = [i for i, path in enumerate(data["buffer_paths"]) if path == ["_frame", "buffer"]]
            said = data["state"]["_frame"]
            if said["number"] > self.number:
                self._take(said, buffers[place], True)

    def _seen(self):
        self.sent.append(time.monotonic())

    def _take(self, said, data, whole):
        self.number = said["number"]
        if whole:
            self.runs = {}
        numbers, at = np.frombuffer(data, np.int32), 0
        for told in said["runs"]:
            run = self.runs.setdefault(told["key"], {"series": {}, "events": [], "probes": []})
            run.update({name: told[name] for name in ("name", "facts", "live") if name in told})
            for name in told.get("dropped", ()):
                run["series"].pop(name, None)
            for name in ("events", "probes"):
                if name in told:
                    run[name][told[f"{name}_from"] :] = told[name]
            for name, _, first, size, width, count, least, greatest, last in told.get("series", ()):
                block = numbers[at : at + 6 * size].reshape(6, size)
                at += 6 * size
                known = run["series"].get(name, (np.zeros((6, 0), np.int32),))[0]
                assert known.shape[1] >= first, "a hole"
                run["series"][name] = (np.hstack([known[:, :first], block]), width, count, least, greatest, last)
        assert at == len(numbers)

    def values(self, name, run="0"):
        """The means of the buckets."""
        return self.runs[run]["series"][name][0][1:].view(np.float32)[2]


@pytest.fixture(name="page")
def page_fixture(monkeypatch):
    """As if there was a page: the dashboard that is made next talks to it."""
    monkeypatch.setattr("comm.create_comm", Page)
    return lambda: Page.latest


def asker(board):
    """Ask as the page does."""
    sent = []
    board.send = lambda content, buffers=None: sent.append((content, buffers or []))

    def ask(kind, **values):
        sent.clear()
        board._handle_custom_msg({"nk": "view.1", "ask": kind, "with": values}, [])
        [(content, buffers)] = [entry for entry in sent if entry[0].get("nk") == "view.1"]
        json.dumps(content, allow_nan=False)
        return content, buffers

    return ask


def until(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        time.sleep(0.005)


def filled(steps=30, **traits):
    board = TrainingDashboard(**traits)
    with board:
        for step in range(1, steps + 1):
            board.log(step, loss=1 / step, learning_rate=1e-3 * (1 - step / steps))
            if step % 10 == 0:
                board.log(step, eval_loss=1 / step + 0.1)
    return board
