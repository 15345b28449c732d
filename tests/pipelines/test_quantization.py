from __future__ import annotations

import pytest
import torch
from pipeline_helpers import TEXTS, assert_same, ours

from notebook_kit.errors import InputError
from notebook_kit.pipelines.quantization import Int8Linear, quantized


@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 3, 64), (0, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_near_the_exact_one(shape, bias):
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48, bias=bias)
    x = torch.randn(shape)
    rounded = Int8Linear(linear)(x)
    assert rounded.shape == linear(x).shape
    # Each of 64 products is off by at most half a step of either factor.
    assert torch.allclose(rounded, linear(x), atol=0.03)


def test_rows_of_zeros_stay_numbers():
    assert torch.isfinite(Int8Linear(torch.nn.Linear(32, 16))(torch.zeros(3, 32))).all()


def test_an_outlier_in_one_token_does_not_touch_the_others():
    torch.manual_seed(0)
    layer = Int8Linear(torch.nn.Linear(32, 16))
    x = torch.randn(4, 32)
    before = layer(x)
    x[2] *= 1000
    assert torch.equal(layer(x)[[0, 1, 3]], before[[0, 1, 3]])


def test_a_pipeline_with_8_bits(checkpoints, tmp_path):
    folder = checkpoints("ForSequenceClassification", num_labels=3)
    exact = ours("text-classification", folder)
    coarse = ours("text-classification", folder, quantize="int8")
    kinds = [type(module) for module in coarse.model.modules()]
    assert kinds.count(Int8Linear) == 13
    assert kinds.count(torch.nn.Linear) == 1, "the head of three labels is kept exact"
    assert_same(coarse(TEXTS, top_k=None)[0], exact(TEXTS, top_k=None)[0], within=0.05)
    assert "quantize='int8'" in repr(coarse)
    with pytest.raises(InputError, match="cannot be saved"):
        coarse.save_pretrained(tmp_path)


def test_the_given_model_is_left_as_it_is(checkpoints):
    exact = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3))
    quantized(exact.model)
    assert not any(isinstance(module, Int8Linear) for module in exact.model.modules())


def test_what_cannot_be_quantized(checkpoints):
    model = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3)).model
    with pytest.raises(InputError, match="Did you mean 'int8'"):
        quantized(model, "int4")
    with pytest.raises(InputError, match="bfloat16"):
        ours(
            "text-classification",
            checkpoints("ForSequenceClassification", num_labels=3),
            quantize="int8",
            dtype="bfloat16",
        )
