"""A model that is exported for all sizes of input: our fast paths, which look at sizes in ordinary calls, put no limit on them."""

from __future__ import annotations

import pytest
import reference as ref
import torch
from torch.export import Dim, export

import notebook_kit

SMALL = {"vocab_size": 50, "d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": 400}
LAYERS = {"encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
MODELS = {
    "BertForMaskedLM": ref.tiny_fields("bert", max_position_embeddings=400),
    "GPT2LMHeadModel": ref.tiny_fields("gpt2", n_positions=400, use_cache=False),
    "BartForConditionalGeneration": SMALL | LAYERS | {"use_cache": False},
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_sizes_of_one_and_of_hundreds(name, gradients):
    model_class = getattr(notebook_kit, name)
    torch.manual_seed(0)
    model = model_class(model_class.config_class(**MODELS[name])).eval()
    texts = ("input_ids", "decoder_input_ids") if name.startswith("Bart") else ("input_ids",)

    def inputs(rows, tokens):
        return {text: torch.randint(5, 20, (rows, tokens)) for text in texts}

    rows = Dim("rows", min=1, max=16)
    sizes = {text: {0: rows, 1: Dim(f"{text[:3]}_tokens", min=1, max=400)} for text in texts}
    with torch.set_grad_enabled(gradients):
        exported = export(model, (), inputs(3, 7), dynamic_shapes=sizes, strict=False).module()
        for given in (inputs(1, 1), inputs(4, 70), inputs(2, 350)):
            torch.testing.assert_close(exported(**given).logits, model(**given).logits, rtol=1e-4, atol=1e-5)
