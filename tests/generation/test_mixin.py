"""Which models generate, and what a mixin adds to them."""

import pytest
import torch

from notebook_kit import (
    BertConfig,
    BertModel,
    GenerationConfig,
    GenerationMixin,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Model,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
    T5Model,
)
from notebook_kit.errors import InputError
from notebook_kit.nn.outputs import CausalLMOutputWithPast

GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2, "vocab_size": 20, "n_positions": 16}
IDS = torch.tensor([[7]])


def successor(*bases):
    """A model that says that each token is followed by the next larger one, of these bases."""

    class Successor(*bases):
        config_class = GPT2Config

        def __init__(self, config):
            super().__init__(config)
            self.table = torch.nn.Embedding.from_pretrained(torch.eye(config.vocab_size).roll(1, dims=1))

        def forward(self, input_ids, **kwargs):
            return CausalLMOutputWithPast(logits=self.table(input_ids))

    return Successor


@pytest.mark.parametrize("bases", [(PreTrainedModel, GenerationMixin), (GenerationMixin, PreTrainedModel)])
def test_a_users_model_generates_whatever_the_order_of_its_bases(bases, tmp_path):
    kind = successor(*bases)
    model = kind(GPT2Config(**GPT2))
    assert kind.can_generate() and model.generation_kind == "decoder"
    assert model.generate(IDS, max_new_tokens=3, use_cache=False).tolist() == [[7, 8, 9, 10]]
    model.generation_config = GenerationConfig(max_new_tokens=2, use_cache=False)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "generation_config.json").is_file()
    assert kind.from_pretrained(tmp_path).generate(IDS).tolist() == [[7, 8, 9]]


def test_kinds():
    assert GPT2LMHeadModel(GPT2Config(**GPT2)).generation_kind == "decoder"
    tiny = T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=20)
    assert T5ForConditionalGeneration(tiny).generation_kind == "encoder-decoder"


@pytest.mark.parametrize("kind", [BertModel, GPT2Model, T5Model, successor(PreTrainedModel)])
def test_other_models_do_not_generate(kind, tmp_path):
    sizes = {
        BertConfig: {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 20},
        GPT2Config: GPT2,
        T5Config: {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "vocab_size": 20},
    }
    model = kind(kind.config_class(**sizes[kind.config_class]))
    assert not kind.can_generate()
    with pytest.raises(InputError, match=f"{kind.__name__} does not generate text"):
        model.generate(IDS)
    model.save_pretrained(tmp_path)
    assert not (tmp_path / "generation_config.json").exists()
