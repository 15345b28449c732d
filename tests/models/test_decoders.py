"""Every decoder equals its counterpart in transformers, with and without a cache, and can be looked into as the encoders can."""

from __future__ import annotations

import copy
import inspect

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit.errors import CheckpointError, ConfigurationError, InputError
from notebook_kit.generation import KVCache
from notebook_kit.models import auto
from notebook_kit.models.auto import config_class, model_classes
from notebook_kit.registry.families import FAMILIES

CAUSAL = "AutoModelForCausalLM"
TYPES = [name for name in ref.model_types(CAUSAL) if name != "bert"]  # a decoder only if its config says so
ALL = [pytest.param(*pair, id=pair[1]) for pair in ref.class_names(kind=CAUSAL)]


def causal(model_type, tmp_path, **edits):
    """`(ours, theirs)` with the head that predicts the next token."""
    name = model_classes(model_type)[CAUSAL].__name__
    reference = ref.reference_model(model_type, name, **edits)
    return ref.ours_of(name).from_pretrained(ref.saved(reference, tmp_path)), reference


@pytest.mark.parametrize(("model_type", "name"), ALL)
def test_equals_reference(model_type, name, tmp_path):
    ref.assert_matches_reference(model_type, name, tmp_path)


@pytest.mark.parametrize(
    ("model_type", "edits"),
    [
        ("gpt2", {"tie_word_embeddings": False}),
        ("gpt2", {"scale_attn_weights": False}),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True, "activation_function": "relu", "n_inner": None}),
        ("gpt_neox", {"use_parallel_residual": False, "attention_bias": False}),
        ("gpt_neox", {"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}}),
        ("llama", {"attention_bias": True, "mlp_bias": True, "head_dim": 12, "tie_word_embeddings": True}),
        ("llama", {"num_key_value_heads": 1, "rope_parameters": {"rope_theta": 500.0}}),
        ("qwen3", {"attention_bias": True, "num_key_value_heads": 4}),
        ("smollm3", {"no_rope_layers": [0, 1, 1], "attention_bias": True, "mlp_bias": True}),
        ("gemma", {"hidden_act": "gelu", "num_key_value_heads": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_unusual_settings(model_type, edits, tmp_path):
    ref.assert_matches_reference(model_type, model_classes(model_type)[CAUSAL].__name__, tmp_path, **edits)


ROPES = {
    "linear": {"factor": 4.0},
    "dynamic": {"factor": 2.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 16},
    "yarn": {"factor": 4.0, "original_max_position_embeddings": 10},
    "yarn, given": {"factor": 4.0, "attention_factor": 0.7, "beta_fast": 8.0, "beta_slow": 2.0, "truncate": False},
    "yarn, scaled": {"factor": 4.0, "mscale": 0.5, "mscale_all_dim": 0.9, "original_max_position_embeddings": 8},
}


@pytest.mark.parametrize("kind", ROPES)
@torch.no_grad()
def test_ways_to_reach_further(kind, tmp_path):
    """In one call, within and beyond the positions of the training, and in generation over that border."""
    parameters = {"rope_type": kind.partition(",")[0], "rope_theta": 100.0, **ROPES[kind]}
    model, reference = causal("llama", tmp_path, rope_parameters=parameters, max_position_embeddings=24)
    generator = torch.Generator().manual_seed(0)
    for length in (9, 24, 60):
        ids = torch.randint(4, 99, (2, length), generator=generator)
        torch.testing.assert_close(model(ids).logits, reference(ids).logits, rtol=1e-4, atol=2e-5)
    settings = {"max_new_tokens": 20, "eos_token_id": None, "pad_token_id": 0}
    ids = torch.randint(4, 99, (2, 14), generator=generator)
    assert model.generate(ids, **settings).tolist() == reference.generate(ids, **settings).tolist()


def test_older_names_of_rotary_settings(tmp_path):
    old = {"rope_theta": 500000.0, "rope_scaling": {"type": "linear", "factor": 2.0}}
    mine = notebook_kit.LlamaConfig(**old)
    assert mine.rope_theta == 500000.0 and mine.rope_scaling["rope_type"] == "linear"
    theirs = transformers.LlamaConfig(**copy.deepcopy(old))
    assert mine.rope_parameters == theirs.rope_parameters
    mine.save_pretrained(tmp_path)
    assert transformers.LlamaConfig.from_pretrained(tmp_path).rope_parameters == mine.rope_parameters
    assert notebook_kit.LlamaConfig.from_pretrained(tmp_path) == mine
    assert notebook_kit.GPTNeoXConfig(rotary_pct=0.5, rotary_emb_base=77).rope_parameters == (
        transformers.GPTNeoXConfig(rotary_pct=0.5, rotary_emb_base=77).rope_parameters
    )


@pytest.mark.parametrize(
    ("model_type", "edits"),
    [
        ("mistral", {"sliding_window": 4}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 3, "max_window_layers": 1}),
        (
            "qwen3",
            {
                "use_sliding_window": True,
                "sliding_window": 4,
                "layer_types": ["sliding_attention", "full_attention"] * 2,
            },
        ),
        ("smollm3", {"use_sliding_window": True, "sliding_window": 4}),
    ],
    ids=["mistral", "qwen2", "qwen3", "smollm3"],
)
def test_sliding_windows(model_type, edits, tmp_path):
    edits = {**edits, "num_hidden_layers": 4 if "layer_types" in edits else 3}
    model, reference = causal(model_type, tmp_path, **edits)
    whole = ref.batch(reference.config, padding=False)
    left = {name: value.flip(1) for name, value in ref.batch(reference.config).items()}
    with torch.no_grad():
        for given in (whole, left):
            ref.assert_same_output(model(**given, output_attentions=True), reference(**given, output_attentions=True))
        settings = {"max_new_tokens": 12, "eos_token_id": None, "num_beams": 3, "pad_token_id": 3}
        assert model.generate(**left, **settings).tolist() == reference.generate(**left, **settings).tolist()
    ref.assert_same_gradients(model, reference, lambda one: one(**whole, labels=whole["input_ids"]).loss)


def test_settings_that_cannot_be():
    with pytest.raises(ConfigurationError, match="only causal attention"):
        notebook_kit.GemmaConfig(use_bidirectional_attention=True)
    with pytest.raises(ConfigurationError, match="1 entries for 2 layers"):
        notebook_kit.SmolLM3Config(num_hidden_layers=2, no_rope_layers=[1])


def test_registry_is_whole():
    for model_type in TYPES:
        heads = model_classes(model_type)
        assert {"AutoModel", CAUSAL, "AutoModelForSequenceClassification"} <= heads.keys()
        for auto_name, kind in heads.items():
            assert kind.config_class is config_class(model_type)
            assert getattr(notebook_kit, kind.__name__) is kind
            assert getattr(auto, auto_name).model_class(config_class(model_type)()) is kind
        assert getattr(notebook_kit, FAMILIES[model_type].config) is config_class(model_type)


@pytest.mark.parametrize(("model_type", "name"), ALL)
def test_takes_the_inputs_that_the_reference_takes(model_type, name):
    mine = [name for name in inspect.signature(ref.ours_of(name).forward).parameters if name != "options"]
    theirs = [given for given in inspect.signature(getattr(transformers, name).forward).parameters if given in mine]
    assert [given for given in mine if given in theirs] == theirs  # in the same order, for calls by position
    assert set(mine) - set(theirs) <= {"output_attentions", "output_hidden_states"}


@pytest.mark.parametrize(("model_type", "name"), ALL)
def test_fresh_weights_are_drawn_as_the_reference_draws_them(model_type, name):
    torch.manual_seed(0)
    fields = ref.tiny_fields(model_type, num_labels=2)
    kind, reference_class = ref.ours_of(name), getattr(transformers, name)
    mine = dict(ref.all_parameters(kind(kind.config_class(**fields))))
    theirs = dict(ref.all_parameters(reference_class(reference_class.config_class(**fields))))
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        assert mine[key].shape == value.shape
        assert (mine[key] == 0).all() == (value == 0).all(), key
        assert (mine[key] == 1).all() == (value == 1).all(), key
        if value.numel() > 500 and value.any():
            assert mine[key].std().item() == pytest.approx(value.std().item(), rel=0.15), key


# With a cache --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cache", [None, "empty", "limited"])
@pytest.mark.parametrize("model_type", TYPES)
@torch.no_grad()
def test_in_pieces_as_in_one(model_type, cache, tmp_path):
    """Prompts padded on the left, given in three pieces, one of several tokens after the first."""
    model, reference = causal(model_type, tmp_path)
    given = {name: value.flip(1) for name, value in ref.batch(reference.config).items()}
    ids, mask = given["input_ids"], given["attention_mask"]
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    whole = reference(ids, attention_mask=mask, position_ids=positions).logits
    held = {None: None, "empty": KVCache(), "limited": KVCache(limit=9)}[cache]
    pieces = []
    for start, end in ((0, 4), (4, 8), (8, 9)):
        part = {"attention_mask": mask[:, :end], "position_ids": positions[:, start:end]}
        out = model(ids[:, start:end], **part, past_key_values=held, use_cache=True)
        held = out.past_key_values
        pieces.append(out.logits)
        assert held.length == end
    real = mask[..., None].bool()
    torch.testing.assert_close(torch.cat(pieces, 1) * real, whole * real, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
def test_gradients_pass_through_the_cache(model_type, tmp_path):
    model, _ = causal(model_type, tmp_path)
    ids = torch.tensor([[5, 17, 23, 9, 31]])
    out = model(ids[:, :3], use_cache=True)
    split = torch.cat([out.logits, model(ids[:, 3:], past_key_values=out.past_key_values).logits], 1).square().sum()
    whole = model(ids).logits.square().sum()
    parameters = list(model.parameters())
    mine, expected = (torch.autograd.grad(loss, parameters, retain_graph=True) for loss in (split, whole))
    for a, b in zip(mine, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("model_type", TYPES)
@torch.no_grad()
def test_logits_of_the_last_tokens_alone(model_type, tmp_path):
    model, _ = causal(model_type, tmp_path)
    ids = torch.tensor([[5, 17, 23, 9, 31]])
    whole = model(ids).logits
    torch.testing.assert_close(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    torch.testing.assert_close(model(ids, logits_to_keep=torch.tensor([0, 3])).logits, whole[:, [0, 3]])
    assert model(ids, use_cache=False).past_key_values is None
    assert copy.deepcopy(model).train()(ids).past_key_values is None


def test_cache_says_what_does_not_fit():
    model = notebook_kit.GPT2Model(notebook_kit.GPT2Config(**ref.tiny_fields("gpt2"))).eval()
    out = model(torch.tensor([[5, 6]]))
    with pytest.raises(InputError, match="holds a batch of 1, and the call has one of 2"):
        model(torch.tensor([[7], [8]]), past_key_values=out.past_key_values)
    with pytest.raises(InputError, match="room for 2 positions, and 3"):
        model(torch.tensor([[5, 6, 7]]), past_key_values=KVCache(limit=2))
    with pytest.raises(InputError, match="2 cached and 1 new tokens"):
        model(
            torch.tensor([[7]]),
            past_key_values=model(torch.tensor([[5, 6]])).past_key_values,
            attention_mask=torch.ones(1, 1),
        )
    with pytest.raises(InputError, match="41 tokens, and this model has positions for 40"):
        model(torch.full((1, 41), 5))


# Looking in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", TYPES)
@torch.no_grad()
def test_recorded_weights_equal_the_references(model_type, tmp_path):
    model, reference = causal(model_type, tmp_path)
    given = {name: value.flip(1) for name, value in ref.batch(reference.config).items()}
    expected = reference(**given, output_attentions=True).attentions
    with notebook_kit.record_attention(model) as record:
        model(**given)
    for layer, weights in enumerate(expected):
        torch.testing.assert_close(record[layer], weights, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
@torch.no_grad()
def test_generation_is_recorded_step_by_step(model_type, tmp_path):
    """For each new token, what it looked at: the rows that one call on the whole text would have."""
    model, _ = causal(model_type, tmp_path)
    prompt = torch.tensor([[5, 17, 23, 9], [31, 7, 40, 12]])
    settings = {"max_new_tokens": 4, "eos_token_id": None}
    with notebook_kit.record_attention(model, layers=[1]) as record:
        ids = model.generate(prompt, **settings)
    assert ids.tolist() == model.generate(prompt, **settings).tolist()
    steps = record.steps(1)
    assert [tuple(step.shape[-2:]) for step in steps] == [(4, 4), (1, 5), (1, 6), (1, 7)]
    with notebook_kit.record_attention(model, layers=[1]) as at_once:
        model(ids[:, :-1])
    for position, step in zip((3, 4, 5, 6), steps, strict=True):
        torch.testing.assert_close(step[:, :, -1], at_once[1][:, :, position, : position + 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
@torch.no_grad()
def test_ablated_heads_change_what_follows(model_type, tmp_path):
    model, _ = causal(model_type, tmp_path)
    ids = torch.tensor([[5, 17, 23, 9]])
    plain = model(ids).logits
    with notebook_kit.ablate_heads(model, {(0, 1)}):
        fused = model(ids).logits
        with notebook_kit.record_attention(model):
            recorded = model(ids).logits
    assert (fused - plain).abs().max() > 1e-3
    torch.testing.assert_close(fused, recorded, rtol=1e-4, atol=1e-5)


# In use ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", TYPES)
def test_gradient_checkpointing(model_type, tmp_path):
    model, _ = causal(model_type, tmp_path)
    ids = torch.tensor([[5, 17, 23, 9]])
    model.train()
    losses = []
    for save_memory in (False, True):
        (model.gradient_checkpointing_enable if save_memory else model.gradient_checkpointing_disable)()
        model.zero_grad()
        model(ids, labels=ids).loss.backward()
        losses.append([parameter.grad.clone() for parameter in model.parameters()])
    for a, b in zip(*losses, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("model_type", TYPES)
def test_resized_embeddings_follow(model_type, tmp_path):
    model, _ = causal(model_type, tmp_path)
    before = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(105)
    assert model(torch.tensor([[104]])).logits.shape == (1, 1, 105)
    torch.testing.assert_close(model.get_input_embeddings().weight[:99], before)
    model.save_pretrained(tmp_path / "larger")
    assert type(model).from_pretrained(tmp_path / "larger").config.vocab_size == 105


def test_generation_config_goes_there_and_back(tmp_path):
    model, _ = causal("gpt2", tmp_path, eos_token_id=7)
    assert model.generation_config.eos_token_id == 7
    model.generation_config.update(max_new_tokens=3, do_sample=False)
    model.generation_config.extra["note_of_nobody"] = [1, 2]
    model.save_pretrained(tmp_path / "ours")
    there = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "ours").generation_config
    assert there.max_new_tokens == 3 and there.eos_token_id == 7 and there.note_of_nobody == [1, 2]
    here = notebook_kit.GPT2LMHeadModel.from_pretrained(tmp_path / "ours")
    assert here.generation_config == model.generation_config
    assert here.generate(torch.tensor([[5]]), eos_token_id=None).shape == (1, 4)


def test_wrong_configurations(tmp_path):
    with pytest.raises(ConfigurationError, match="width of 30 cannot be split evenly over 4"):
        notebook_kit.GPT2Config(n_embd=30, n_head=4)
    with pytest.raises(ConfigurationError, match="6 query heads cannot share 4 key heads"):
        notebook_kit.LlamaConfig(hidden_size=36, num_attention_heads=6, num_key_value_heads=4)
    with pytest.raises(ConfigurationError, match=r"rope_type is 'lama3'. Did you mean 'llama3'"):
        notebook_kit.LlamaConfig(rope_parameters={"rope_type": "lama3"})
    with pytest.raises(ConfigurationError, match="lack low_freq_factor, high_freq_factor"):
        notebook_kit.LlamaConfig(rope_parameters={"rope_type": "llama3", "factor": 8.0})
    with pytest.raises(InputError, match="does not generate text"):
        notebook_kit.GPT2Model(notebook_kit.GPT2Config(**ref.tiny_fields("gpt2"))).generate(torch.tensor([[5]]))
    model, _ = causal("gpt2", tmp_path)
    for file in tmp_path.glob("generation_config.json"):
        file.write_text("{")
    with pytest.raises(CheckpointError, match="not valid JSON"):
        type(model).from_pretrained(tmp_path)
