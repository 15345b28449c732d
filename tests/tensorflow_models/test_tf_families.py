"""Every family and head computes as its torch class does: all outputs, the loss, and the gradients of all weights.

Each case traces a model, which takes most of the time. So by default each family is compared with one head; and the heads, which are
written once for all families, on a few families. `-m "tensorflow and slow"` compares all the others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import torch
from tiny_models import WORDS, heads, inputs_for, labels_for, tiny_model

from notebook_kit import BertConfig, BertModel
from notebook_kit.errors import InputError
from notebook_kit.tensorflow.graphs import Signature
from notebook_kit.tensorflow.interpreter import run
from notebook_kit.tensorflow.tracing import meta_model, trace

TOLERANCE = 5e-5
GRADIENTS = 1e-4
"""Of the largest number in a gradient, or of 1 if that is larger."""
RANDOM = {"Wav2Vec2ForPreTraining"}
"""Models that draw at random in training, so that no two runs are alike."""
FIXED: set[str] = set()
FAST = {
    *("BertForMaskedLM", "BertForMultipleChoice", "BertForPreTraining", "BertForQuestionAnswering", "BertLMHeadModel"),
    *("BertForNextSentencePrediction", "GPT2ForSequenceClassification", "LlamaForSequenceClassification"),
    *("SegformerForSemanticSegmentation", "ViTForMaskedImageModeling", "T5ForTokenClassification", "BartForCausalLM"),
}


def _cases() -> list[Any]:
    """All families and heads; those that are not compared by default are marked as slow."""
    found = []
    for modality in ("text", "image", "audio", "multimodal"):
        pairs = heads(modality)
        for model_type in dict.fromkeys(model_type for model_type, _ in pairs):
            names = [name for each, name in pairs if each == model_type]
            chosen = {names[1] if len(names) > 1 else names[0], *FAST}
            found += [
                pytest.param(model_type, name, id=name, marks=[] if name in chosen else [pytest.mark.slow])
                for name in names
            ]
    return found


def flat(output: Any, prefix: str = "") -> dict[str, Any]:
    """All tensors of an output by their places."""
    found: dict[str, Any] = {}
    for name, value in output.items() if hasattr(output, "items") else enumerate(output):
        if isinstance(value, tuple | list) or hasattr(value, "items"):
            found |= flat(value, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value
    return found


def total(output: dict[str, Any], weigh: Any) -> Any:
    """The loss, or for a backbone a sum that depends on all of its outputs."""
    if "loss" in output:
        return output["loss"]
    return sum(weigh(value) for value in output.values() if "float" in str(value.dtype))


def weighed_by_torch(value: torch.Tensor) -> torch.Tensor:
    return (value * torch.linspace(-1, 1, value.numel()).view_as(value)).mean()


def weighed_by_tf(value: Any) -> Any:
    return tf.reduce_mean(value * tf.reshape(tf.linspace(-1.0, 1.0, tf.size(value)), tf.shape(value)))


def traced(model: Any, given: dict[str, torch.Tensor]) -> tuple[Any, dict[str, Any]]:
    options = {"use_cache": False} if getattr(type(model), "takes_cache", False) else {}
    shapes = {name: (str(value.dtype).removeprefix("torch."), tuple(value.shape)) for name, value in given.items()}
    return trace(meta_model(type(model), model.config), Signature(shapes, options)), options


@pytest.mark.parametrize(("model_type", "name"), _cases())
def test_computes_as_torch_does(model_type, name):
    """In training mode, where batch norms use the batch; there is no dropout."""
    model = tiny_model(model_type, name).train()
    given = {**inputs_for(model), **labels_for(model)}
    graph, options = traced(model, given)
    assert name in FIXED or all(isinstance(each.shape[0], str) for each in graph.inputs), "any number of examples"
    weights = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    variables = {key: tf.Variable(weights[key].detach().numpy()) for key in set(graph.weights.values())}
    tensors = {key: tf.constant(value.numpy()) for key, value in given.items()}
    with tf.GradientTape() as tape:
        mine = flat(run(graph, tensors, lambda key: tf.convert_to_tensor(variables[key]), True))
        loss = total(mine, weighed_by_tf)
    theirs = flat({key: value for key, value in model(**given, **options).items() if key != "past_key_values"})
    assert list(mine) == list(theirs)
    if name in RANDOM:
        assert [value.shape.as_list() for value in mine.values()] == [list(value.shape) for value in theirs.values()]
        return
    for key, expected in theirs.items():
        np.testing.assert_allclose(
            mine[key].numpy(), expected.detach().numpy(), atol=TOLERANCE, rtol=TOLERANCE, err_msg=key
        )
    total(theirs, weighed_by_torch).backward()
    trained = {key: each for key, each in model.named_parameters() if each.grad is not None and each.grad.any()}
    assert trained and trained.keys() <= variables.keys()
    found = tape.gradient(loss, [variables[key] for key in trained])
    for (key, weight), gradient in zip(trained.items(), found, strict=True):
        expected = weight.grad.numpy()
        largest = max(1.0, float(np.abs(expected).max()))
        np.testing.assert_allclose(
            tf.convert_to_tensor(gradient).numpy() / largest, expected / largest, atol=GRADIENTS, err_msg=key
        )


def test_what_depends_on_the_values_of_tensors_is_an_error(capfd):
    """ViLT cuts each picture's patches out by its mask; how many there are, no graph can know."""
    model = tiny_model("vilt", "ViltModel")
    given = inputs_for(model)
    given["pixel_mask"] = torch.ones(3, 30, 30, dtype=torch.long)
    with pytest.raises(
        InputError, match=r"ViltModel cannot be traced with .*pixel_mask.*\n→ Use the torch class, ViltModel"
    ):
        traced(model, given)
    assert not capfd.readouterr().err, "torch's own messages about it are not shown"


def test_an_operation_that_is_missing_is_named(monkeypatch):
    from notebook_kit.tensorflow import operations

    monkeypatch.delitem(operations.OPERATIONS, "aten.conv2d")
    model = tiny_model("vit", "ViTModel")
    given = inputs_for(model)
    graph, _ = traced(model, given)
    tensors = {key: tf.constant(value.numpy()) for key, value in given.items()}
    with pytest.raises(InputError, match=r"The operation aten\.conv2d .* cannot be computed with TensorFlow"):
        run(graph, tensors, lambda key: tf.constant(model.get_parameter(key).detach().numpy()), False)


def test_a_shape_is_computed_once():
    model = meta_model(BertModel, BertConfig(**WORDS | {"num_hidden_layers": 3}))
    graph = trace(model, Signature({"input_ids": ("int64", (2, 5))}, {}))
    weights = {name: tf.zeros(weight.shape) for name, weight in model.named_parameters()}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int64)], autograph=False)
    def compute(ids):
        return run(graph, {"input_ids": ids}, weights.__getitem__, training=False).last_hidden_state

    built = compute.get_concrete_function().graph.get_operations()
    shapes = sum(each.type == "Pack" for each in built)
    assert shapes < 6, "one of the states and one of the heads, not one for each of 30 results"
    assert compute(tf.zeros((3, 7), tf.int64)).shape == (3, 7, 32)
