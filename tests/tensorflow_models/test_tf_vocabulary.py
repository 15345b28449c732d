"""A vocabulary that grows or shrinks: `resize_token_embeddings` of the TF classes."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import reference as ref
import torch
from tiny_models import tiny_model

import notebook_kit
from notebook_kit import TFDistilBertForMaskedLM, TFDistilBertForSequenceClassification
from notebook_kit.errors import InputError
from notebook_kit.tensorflow.classes import tf_class

IDS = np.random.default_rng(0).integers(4, 90, (2, 7))
HEADS = {  # the output layer shares the embeddings, has a bias, or is in both halves
    "distilbert": "DistilBertForMaskedLM",
    "bert": "BertForMaskedLM",
    "gpt2": "GPT2LMHeadModel",
    "llama": "LlamaForCausalLM",
    "bart": "BartForConditionalGeneration",
    "t5": "T5ForConditionalGeneration",
}


def made(kind):
    model = tiny_model(kind, HEADS[kind])
    return tf_class(type(model))(model.config, weights=model)


def logits(model, ids):
    both = {"input_ids": ids, "decoder_input_ids": ids} if model.config.is_encoder_decoder else {"input_ids": ids}
    return model(**both).logits.numpy()


@pytest.mark.parametrize("kind", HEADS)
def test_old_tokens_keep_their_rows_and_new_ones_are_known(kind, tmp_path):
    model = made(kind)
    size = model.config.vocab_size
    before = logits(model, IDS)
    table = model.resize_token_embeddings(size + 5)
    assert model.config.vocab_size == table.weights[0].shape[0] == size + 5
    after = logits(model, IDS)
    assert after.shape[-1] == size + 5
    np.testing.assert_allclose(after[..., :size], before, atol=1e-6)
    assert np.isfinite(logits(model, np.full((1, 3), size + 4))).all()
    # The torch model that it is saved as agrees, on new tokens too.
    model.save_pretrained(tmp_path)
    again = getattr(notebook_kit, HEADS[kind]).from_pretrained(tmp_path)
    ids = np.concatenate([IDS, np.full((2, 1), size + 2)], axis=1)
    with torch.no_grad():
        expected = logits(again, torch.from_numpy(ids))
    np.testing.assert_allclose(logits(model, ids), expected, atol=1e-5)


def test_it_trains_with_the_new_size_and_shrinks():
    model = made("distilbert")
    size = model.config.vocab_size
    model.compile(keras.optimizers.SGD(0.1))
    model.evaluate(IDS, IDS, verbose=0)  # traced with the old size
    assert model.resize_token_embeddings(size) is model.resize_token_embeddings()  # nothing to do
    model.resize_token_embeddings(size + 3, pad_to_multiple_of=8)
    new = model.config.vocab_size
    assert new % 8 == 0 and new >= size + 3
    labels = np.full_like(IDS, new - 1)
    losses = model.fit(IDS, labels, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert len(model.trainable_variables) == len({id(each) for each in model.trainable_variables})
    with pytest.raises(InputError, match="optimizer has begun") as error:
        model.resize_token_embeddings(size)
    assert "compile" in error.value.next_step
    assert model.config.vocab_size == new  # as before
    model.compile(keras.optimizers.SGD(0.1))
    model.resize_token_embeddings(size)
    assert model(IDS).logits.shape[-1] == size
    model.fit(IDS, IDS, verbose=0)


def test_a_frozen_table_stays_frozen_and_keras_files_hold_the_new_size(tmp_path):
    model = TFDistilBertForSequenceClassification(notebook_kit.DistilBertConfig(**ref.tiny_fields("distilbert")))
    model.distilbert.embeddings.trainable = False
    frozen = len(model.trainable_variables)
    model.resize_token_embeddings(model.config.vocab_size + 1)
    assert len(model.trainable_variables) == frozen
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(IDS).logits.numpy(), model(IDS).logits.numpy())


def test_new_rows_follow_keras_seed():
    tables = []
    for _ in range(2):
        model = made("distilbert")
        keras.utils.set_random_seed(5)
        model.resize_token_embeddings(120)
        tables.append(model.distilbert.embeddings.word_embeddings.weights[0].numpy()[-10:])
    np.testing.assert_array_equal(*tables)


def test_a_size_that_cannot_be_meant_is_an_error():
    model = TFDistilBertForMaskedLM(notebook_kit.DistilBertConfig(**ref.tiny_fields("distilbert")))
    with pytest.raises(InputError, match="new_num_tokens"):
        model.resize_token_embeddings("many")
