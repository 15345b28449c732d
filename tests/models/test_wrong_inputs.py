"""Inputs that no model can read are refused in our own words, by every family."""

from __future__ import annotations

import pytest
import reference as ref
import torch

from notebook_kit import AutoModel
from notebook_kit.errors import InputError
from notebook_kit.models.auto import config_class

IDS = torch.tensor([[5, 6, 7], [8, 9, 10]])


@pytest.fixture(scope="module", params=ref.model_types() + ref.model_types("AutoModelForCausalLM"))
def model(request):
    config = config_class(request.param)()
    config.vocab_size = 50
    config.layer_types = None
    for name, value in {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "num_key_value_heads": 2,
    }.items():
        setattr(config, name, value)
    for name in ("embedding_size", "intermediate_size", "hidden_dim"):
        if name in config.field_names():
            setattr(config, name, 16)
    return AutoModel.from_config(config).eval()


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"input_ids": [[1, 2]]}, "is a list; expected a tensor"),
        ({"input_ids": IDS[0]}, "has shape (3,)"),
        ({"input_ids": IDS[:, :0]}, "contains no tokens"),
        ({"input_ids": IDS, "attention_mask": torch.ones(2, 9)}, "attention_mask has shape (2, 9)"),
        ({"input_ids": IDS, "attention_mask": torch.tensor([[1], [0]])}, "attention_mask has shape (2, 1)"),
        ({"input_ids": IDS, "attention_mask": torch.ones(5, 3)}, "attention_mask has shape (5, 3)"),
        ({"input_ids": IDS * 100}, "vocabulary has ids 0 to 49"),
        ({}, "got neither"),
    ],
)
def test_refused_in_our_words(model, inputs, words):
    with pytest.raises(InputError) as caught:
        model(**inputs)
    assert words in str(caught.value)
    assert caught.value.next_step
