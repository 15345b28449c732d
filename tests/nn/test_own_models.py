"""What users' code does with models: own heads and initial values, larger vocabularies, adapters, other libraries' arguments."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import reference as ref
import torch
import transformers
from torch import nn
from torch.nn.utils import parametrizations, prune

from notebook_kit import (
    AutoModel,
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)
from notebook_kit.checkpoints.weights import save_weights
from notebook_kit.errors import CheckpointError, InputError, NotebookKitWarning
from notebook_kit.models.bert import BertPreTrainedModel
from notebook_kit.models.gpt2 import GPT2Projection

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 60}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 60, "n_positions": 32}


class OwnHead(nn.Module):
    """A module with a parameter of a kind that no rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.full((3,), 5.0))
        self.recurrent = nn.LSTM(16, 4)


class OwnModel(BertPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.bert = BertModel(config)
        self.head = OwnHead()
        self.scale = nn.Parameter(torch.full((2,), 7.0))
        self.classifier = nn.Linear(16, 3)
        self.norm = nn.LayerNorm(3)
        self.post_init()

    def forward(self, input_ids):
        return self.classifier(self.bert(input_ids).pooler_output)


class OwnRule(OwnModel):
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 0.25)
        else:
            super()._init_weights(module)


def test_own_values_survive_post_init():
    torch.manual_seed(0)
    model = OwnModel(BertConfig(**SMALL))
    assert model.scale.tolist() == [7, 7] and model.head.gain.tolist() == [5, 5, 5]
    assert model.head.recurrent.weight_ih_l0.abs().max() > 0.1  # torch's range, not a standard deviation of 0.02
    assert 0.005 < model.classifier.weight.std() < 0.05 and model.classifier.bias.abs().max() == 0
    assert model.norm.weight.tolist() == [1, 1, 1]


def test_own_rule_is_called_and_the_backbone_keeps_its_own():
    model = OwnRule(BertConfig(**SMALL))
    assert torch.all(model.classifier.weight == 0.25)
    assert model.bert.pooler.dense.weight.std() < 0.1  # as in transformers, a backbone uses the rule of its class


@pytest.mark.parametrize("kind", [OwnModel, OwnRule])
def test_own_values_of_weights_that_a_checkpoint_lacks(tmp_path, kind):
    BertModel(BertConfig(**SMALL)).save_pretrained(tmp_path)
    with pytest.warns(NotebookKitWarning, match="no weights for the head of Own"):
        model = kind.from_pretrained(tmp_path)
    assert model.scale.tolist() == [7, 7] and model.head.gain.tolist() == [5, 5, 5]
    assert torch.all(model.classifier.weight == 0.25) == (kind is OwnRule)
    with torch.no_grad():
        model.scale.fill_(1.0)
    model.save_pretrained(tmp_path)
    assert kind.from_pretrained(tmp_path).scale.tolist() == [1, 1]


# Vocabulary ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "config", "theirs", "their_config"),
    [
        (BertForMaskedLM, BertConfig(**SMALL), transformers.BertForMaskedLM, transformers.BertConfig(**SMALL)),
        (GPT2LMHeadModel, GPT2Config(**GPT2), transformers.GPT2LMHeadModel, transformers.GPT2Config(**GPT2)),
        (
            LlamaForCausalLM,
            LlamaConfig(**SMALL),
            transformers.LlamaForCausalLM,
            transformers.LlamaConfig(**SMALL, tie_word_embeddings=False),
        ),
    ],
)
def test_new_rows_are_those_of_the_oracle(kind, config, theirs, their_config):
    torch.manual_seed(0)
    model, oracle = kind(config).eval(), theirs(their_config).eval()
    oracle.load_state_dict(model.state_dict(), strict=False)
    oracle.tie_weights()
    model.resize_token_embeddings(67)
    oracle.resize_token_embeddings(67)
    for mine, reference in (
        (model.get_input_embeddings(), oracle.get_input_embeddings()),
        (model.get_output_embeddings(), oracle.get_output_embeddings()),
    ):
        torch.testing.assert_close(mine.weight, reference.weight, atol=1e-5, rtol=0)
        if getattr(mine, "bias", None) is not None:
            torch.testing.assert_close(mine.bias, reference.bias, atol=1e-5, rtol=0)
    old = model.get_input_embeddings().weight[:60]
    torch.testing.assert_close(model.get_input_embeddings().weight[60:], old.mean(0).expand(7, -1), atol=1e-5, rtol=0)


def test_new_rows_vary_as_the_old_ones():
    torch.manual_seed(0)
    model = BertModel(BertConfig(**{**SMALL, "vocab_size": 4000}))
    table = model.resize_token_embeddings(8000).weight.detach()
    old, new = table[:4000], table[4000:]
    assert torch.allclose(new.std(0), old.std(0) * 1e-9**0.5, rtol=0.1)


def test_rows_as_in_a_new_model():
    model = BertModel(BertConfig(**SMALL))
    assert 0.01 < model.resize_token_embeddings(600, mean_resizing=False).weight[60:].std() < 0.03


@pytest.mark.parametrize("size", [0, -3, 2.5, "60", True, 10**12])
def test_sizes_that_cannot_be(size):
    with pytest.raises(InputError, match=r"new_num_tokens is .*; expected a whole number"):
        BertModel(BertConfig(**SMALL)).resize_token_embeddings(size)


# GPT-2's projections -------------------------------------------------------------------------------------------------


def test_projections_have_the_hubs_layout_everywhere(tmp_path):
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**GPT2)).eval()
    oracle = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)).eval()
    oracle.load_state_dict(model.state_dict())
    ids = torch.tensor([[5, 6, 7]])
    torch.testing.assert_close(model(ids).logits, oracle(ids).logits, atol=1e-5, rtol=0)
    for (name, mine), (theirs_name, theirs) in zip(model.named_parameters(), oracle.named_parameters(), strict=True):
        assert name == theirs_name and mine.shape == theirs.shape and mine.is_contiguous(), name
    model.save_pretrained(tmp_path)
    for again in (GPT2LMHeadModel.from_pretrained(tmp_path), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(again(ids).logits, model(ids).logits, atol=1e-6, rtol=0)
        assert type(again.transformer.h[0].attn.c_attn) is GPT2Projection
        assert all(each.is_contiguous() for each in again.state_dict().values())
    deep = model.transformer.h[0].mlp.c_proj.weight.std() / model.transformer.h[0].mlp.c_fc.weight.std()
    assert abs(deep - 0.5) < 0.1  # smaller by the square root of twice the number of layers


def test_projections_can_be_called_pruned_and_normalized_by_torch():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(**GPT2)).eval()
    ids, square = torch.tensor([[5, 6, 7]]), "transformer.h.0.attn.c_proj.weight"
    same = torch.func.functional_call(model, {square: model.state_dict()[square]}, (ids,))
    torch.testing.assert_close(same.logits, model(ids).logits, atol=0, rtol=0)
    layer = model.transformer.h[0].mlp.c_fc
    prune.l1_unstructured(layer, "weight", 0.5)
    assert (layer.weight == 0).float().mean() == 0.5
    assert "transformer.h.0.mlp.c_fc.weight_orig" in model.state_dict() and model(ids).logits.isfinite().all()
    before = model(ids).logits
    parametrizations.weight_norm(model.transformer.h[1].mlp.c_fc)
    torch.testing.assert_close(model(ids).logits, before)
    compiled = torch.compile(GPT2LMHeadModel(GPT2Config(**GPT2)).eval(), backend="eager")
    assert compiled(ids).logits.isfinite().all()


def test_projections_pass_for_the_layer_that_adapters_know():
    layer = GPT2LMHeadModel(GPT2Config(**GPT2)).transformer.h[0].attn.c_attn
    assert isinstance(layer, transformers.pytorch_utils.Conv1D) and isinstance(layer, GPT2Projection)
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_TRANSFORMERS], capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert run.stdout.strip() == "GPT2Projection GPT2Projection False", run.stderr


WITHOUT_TRANSFORMERS = """
import copy, sys
from notebook_kit import GPT2Config, GPT2Model
layer = GPT2Model(GPT2Config(n_embd=4, n_layer=1, n_head=1, vocab_size=9)).h[0].mlp.c_fc
print(layer.__class__.__name__, type(copy.deepcopy(layer)).__name__, "transformers" in sys.modules)
"""


@pytest.mark.parametrize("target", ["c_attn", "c_proj"])
def test_lora_of_peft_on_gpt2(target):
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    plain = GPT2LMHeadModel(GPT2Config(**GPT2)).eval()
    config = peft.LoraConfig(target_modules=[target], init_lora_weights=False)
    model, ids = peft.get_peft_model(plain, config).eval(), torch.tensor([[5, 6, 7]])
    adapted = model(input_ids=ids, labels=ids)
    adapted.loss.backward()
    torch.testing.assert_close(model.merge_and_unload()(ids).logits, adapted.logits, atol=1e-5, rtol=0)


# Methods and arguments -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model_type", "head"),
    [
        ("bert", "BertModel"),
        ("bert", "BertForSequenceClassification"),
        ("gpt2", "GPT2Model"),
        ("gpt2", "GPT2LMHeadModel"),
        ("llama", "LlamaForCausalLM"),
        ("llama", "LlamaForSequenceClassification"),
        ("t5", "T5ForConditionalGeneration"),
        ("t5", "T5EncoderModel"),
        ("bart", "BartModel"),
        ("bart", "BartForSequenceClassification"),
    ],
)
def test_encoder_decoder_and_vocabulary_as_in_the_oracle(model_type, head):
    oracle = ref.reference_model(model_type, head)
    model = ref.ours_of(head)(ref.ours_of(head).config_class.from_dict(oracle.config.to_dict()))
    for half in ("get_encoder", "get_decoder"):
        assert type(getattr(model, half)()).__name__ == type(getattr(oracle, half)()).__name__
    if hasattr(oracle, "vocab_size"):
        assert model.vocab_size == oracle.vocab_size
    assert model.supports_gradient_checkpointing == oracle.supports_gradient_checkpointing


def test_tags_of_a_model():
    model = BertForSequenceClassification(BertConfig(**SMALL))
    oracle = transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL))
    for tags in ("first", ["second", "first"]):
        model.add_model_tags(tags)
        oracle.add_model_tags(tags)
    assert model.model_tags == oracle.model_tags == ["first", "second"]
    assert BertForSequenceClassification.model_tags is None


def test_methods_of_transformers():
    model = BertForSequenceClassification(BertConfig(**SMALL))
    oracle = transformers.BertForSequenceClassification(transformers.BertConfig(**SMALL))
    assert model.num_parameters() == oracle.num_parameters()
    assert model.num_parameters(exclude_embeddings=True) == oracle.num_parameters(exclude_embeddings=True)
    assert model.get_memory_footprint(return_buffers=False) == oracle.get_memory_footprint(return_buffers=False)
    assert model.dummy_inputs["input_ids"].equal(oracle.dummy_inputs["input_ids"])
    assert model.main_input_name == "input_ids" and model.get_output_embeddings() is None
    assert not model.is_gradient_checkpointing
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing
    model.set_attn_implementation("eager")
    with pytest.raises(InputError, match="Did you mean 'eager'"):
        model.set_attn_implementation("eagre")
    model.init_weights()


def test_gradients_of_the_inputs():
    model = BertModel(BertConfig(**SMALL)).requires_grad_(False)
    model.enable_input_require_grads()
    model.enable_input_require_grads()
    assert model(torch.tensor([[5, 6]])).last_hidden_state.requires_grad
    model.disable_input_require_grads()
    assert not model(torch.tensor([[5, 6]])).last_hidden_state.requires_grad


def test_loading_info_and_a_given_state_dict(tmp_path):
    backbone = BertModel(BertConfig(**SMALL))
    backbone.save_pretrained(tmp_path)
    with pytest.warns(NotebookKitWarning):
        model, info = BertForSequenceClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == {"classifier.weight", "classifier.bias"}
    assert info["unexpected_keys"] == info["mismatched_keys"] == set() and info["error_msgs"] == []
    weights = {name: tensor + 1 for name, tensor in model.state_dict().items()}
    for name_or_path in (tmp_path, None):
        again = BertForSequenceClassification.from_pretrained(name_or_path, config=model.config, state_dict=weights)
        assert torch.equal(again.classifier.weight, model.classifier.weight + 1)
        with torch.no_grad():
            again.classifier.weight.zero_()
    assert weights["classifier.weight"].abs().min() > 0


@pytest.mark.parametrize(
    "options",
    [
        {"_fast_init": False},
        {"quantization_config": None},
        {"resume_download": True},
        {"use_safetensors": True, "low_cpu_mem_usage": True},
        {"load_in_8bit": False},
        {"from_tf": False},
        {"attn_implementation": "sdpa"},
        {"use_auth_token": None},
    ],
)
def test_arguments_that_change_nothing(tmp_path, options):
    BertModel(BertConfig(**SMALL)).save_pretrained(tmp_path)
    for kind in (BertModel, AutoModel):
        assert not set(options) & set(kind.from_pretrained(tmp_path, **options).config.to_dict())


@pytest.mark.parametrize("kind", [torch.int8, torch.float8_e4m3fn])
def test_quantized_weights_are_an_error_that_says_so(tmp_path, kind):
    model = BertModel(BertConfig(**SMALL))
    model.save_pretrained(tmp_path)
    weights = {name: t.to(kind) if "query.weight" in name else t for name, t in model.state_dict().items()}
    save_weights(weights, tmp_path)
    with pytest.raises(
        CheckpointError, match=r"'encoder.layer.0.attention.self.query.weight'.* was probably quantized"
    ):
        BertModel.from_pretrained(tmp_path)
