"""A TF model where models of PyTorch are expected: it works, or an error says what to do."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tensorflow as tf

from notebook_kit import (
    AutoModelForCausalLM,
    AutoTokenizer,
    TFAutoModelForCausalLM,
    TFAutoModelForSequenceClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)
from notebook_kit.errors import InputError
from notebook_kit.panels import AttentionView, GenerationView

NAME, WRITER = "notebook-kit/tiny-sentiment", "notebook-kit/tiny-gpt2"
TEXT = "A warm, funny film."


@pytest.fixture(scope="module")
def model():
    return TFAutoModelForSequenceClassification.from_pretrained(NAME)


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(NAME)


@pytest.fixture(scope="module")
def writer():
    return TFAutoModelForCausalLM.from_pretrained(WRITER)


def test_a_pipeline(model, tokenizer, caplog):
    [expected] = pipeline("sentiment-analysis", model=NAME)(TEXT)
    with caplog.at_level(logging.WARNING, "notebook_kit"):
        [found] = pipeline("sentiment-analysis", model=model, tokenizer=tokenizer, framework="tf")(TEXT)
    assert found == expected and "Pipelines compute with PyTorch" in caplog.text
    score = tf.nn.softmax(model(tokenizer(TEXT, return_tensors="tf")).logits).numpy().max()
    assert found["score"] == pytest.approx(float(score), abs=1e-5)


def test_panels(model, tokenizer, writer):
    view = AttentionView(model, TEXT, tokenizer=tokenizer, layer=1, head=0)
    attentions = model(tokenizer(TEXT, return_tensors="tf"), output_attentions=True).attentions
    np.testing.assert_allclose(view.matrix().to_numpy(), attentions[1][0, 0].numpy(), atol=2e-3)
    board = GenerationView((writer, AutoTokenizer.from_pretrained(WRITER)))
    assert type(board.model).__name__ == "GPT2LMHeadModel"


def test_generation(model, writer):
    batch = AutoTokenizer.from_pretrained(WRITER)("def read", return_tensors="tf")
    options = {"max_new_tokens": 8, "num_beams": 2, "do_sample": False}
    written = writer.generate(**batch, **options)
    theirs = AutoModelForCausalLM.from_pretrained(WRITER)
    inputs = AutoTokenizer.from_pretrained(WRITER)("def read", return_tensors="pt")
    assert isinstance(written, tf.Tensor)
    np.testing.assert_array_equal(written.numpy(), theirs.generate(**inputs, **options).numpy())
    assert writer.to_torch().generation_config.top_p == theirs.generation_config.top_p == 0.95
    with pytest.raises(InputError, match=r"does not write texts\.\n.*TFAutoModelForCausalLM"):
        model.generate(batch["input_ids"])


def test_the_trainer_says_what_to_do(model, tmp_path):
    with pytest.raises(InputError, match=r"is a model of Keras.*\n.*model\.fit"):
        Trainer(model=model, args=TrainingArguments(str(tmp_path)))
