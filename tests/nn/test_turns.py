"""Whoever looks into a model that a cell is training leaves no trace on the training."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from notebook_kit import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments, set_seed
from notebook_kit.inspection.attention.evaluation import evaluating
from notebook_kit.nn.attention import record_attention
from notebook_kit.nn.turns import looking, using


def test_a_look_waits_for_a_step_and_the_next_step_for_the_look():
    model, order = nn.Linear(2, 2), []
    stepping, may_end = threading.Event(), threading.Event()

    def step():
        with using(model):
            stepping.set()
            may_end.wait(10)
            order.append("step")
        with using(nn.Sequential(model)):  # the same weights in a wrapper
            order.append("next step")

    def look():
        with looking(model):
            order.append("look")

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(step)
        assert stepping.wait(10)
        second = threads.submit(look)
        with using(nn.Linear(2, 2)), looking(nn.Linear(2, 2)):
            pass  # other models are not concerned
        while not order:
            may_end.set()
        first.result(10), second.result(10)
    assert order[0] == "step"
    assert set(order) == {"step", "look", "next step"}


def test_within_one_thread_nothing_waits():
    model = nn.Linear(2, 2)
    with looking(model), looking(model), using(model), using(model), looking(model):
        pass
    with pytest.raises(ValueError, match="inside"), looking(model), using(model):
        raise ValueError("inside")
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: [None for _ in range(2) if _within(model)]).result(10) == [None, None]


def _within(model):
    with looking(model):
        return True


def test_a_copy_of_the_process_does_not_wait_for_threads_that_it_lacks():
    model, looks, may_end = nn.Linear(2, 2), threading.Event(), threading.Event()

    def look():
        with looking(model):
            looks.set()
            may_end.wait(10)

    with ThreadPoolExecutor(1) as thread:
        thread.submit(look)
        assert looks.wait(10)
        if not (copy := os.fork()):
            signal.alarm(5)  # ends it if it waits
            with using(model):
                os._exit(0)
        assert os.waitpid(copy, 0)[1] == 0
        may_end.set()


def test_training_is_the_same_while_others_look(tmp_path):
    rows = [{"input_ids": [2 + step % 7, 3, 4, 5 + step % 5], "labels": step % 2} for step in range(16)]

    def trained(looks):
        set_seed(0)
        config = BertConfig(
            vocab_size=20, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
        )
        model = BertForSequenceClassification(config)  # with dropout
        args = TrainingArguments(
            tmp_path, max_steps=40, eval_strategy="steps", eval_steps=10, save_strategy="no", disable_tqdm=True
        )
        trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows)
        ended, count = threading.Event(), 0

        def look():
            nonlocal count
            while not ended.is_set():
                with evaluating(model), record_attention(model) as record:
                    model(torch.tensor([[2, 3, 4]]))
                assert record[0].shape == (1, 4, 3, 3)
                count += 1

        with ThreadPoolExecutor(1) as thread:
            looking_on = thread.submit(look) if looks else None
            try:
                trainer.train()
            finally:
                ended.set()
            if looking_on is not None:
                looking_on.result(10)
                assert count > 5
        losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
        return losses, model.state_dict()

    alone, watched = trained(False), trained(True)
    assert alone[0] == watched[0]
    assert all(torch.equal(alone[1][name], watched[1][name]) for name in alone[1])
