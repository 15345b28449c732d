"""`DynamicCache` and `StaticCache`, under the names of other libraries."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import pytest
import reference as ref
import torch
import transformers
from oracle import BATCH, ONE, PAD, pair

import notebook_kit
from notebook_kit import DynamicCache, KVCache, StaticCache
from notebook_kit.errors import ConfigurationError, InputError, notice_once

PLAIN = {"max_new_tokens": 6, "eos_token_id": None, "pad_token_id": PAD}


def test_holds_what_the_oracles_holds():
    ours, theirs = DynamicCache(), transformers.DynamicCache()
    assert ours.get_seq_length() == theirs.get_seq_length() == 0 and len(ours) == 0
    for step in (4, 1, 1):
        for layer in range(2):
            key, value = torch.randn(2, 3, step, 5), torch.randn(2, 3, step, 5)
            mine, other = ours.update(key, value, layer), theirs.update(key, value, layer)
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
    assert ours.get_seq_length() == theirs.get_seq_length() == 6 and len(ours) == len(theirs) == 2
    for (key, value), layer in zip(ours, theirs.layers, strict=True):
        assert torch.equal(key, layer.keys) and torch.equal(value, layer.values)
    named = DynamicCache()
    named.update(key_states=key, value_states=value, layer_idx=0, cache_kwargs={})
    assert torch.equal(named[0][0], key)
    for change in (lambda c: c.reorder_cache(torch.tensor([1, 1])), lambda c: c.batch_repeat_interleave(2)):
        change(ours), change(theirs)
        assert all(torch.equal(ours[i][0], theirs.layers[i].keys) for i in range(2))
    ours.batch_select_indices(torch.tensor([3, 0]))
    theirs.batch_select_indices(torch.tensor([3, 0]))
    assert torch.equal(ours[1][1], theirs.layers[1].values)


def test_to_and_from_tuples():
    layers = tuple((torch.randn(1, 2, 3, 4), torch.randn(1, 2, 3, 4)) for _ in range(3))
    cache = DynamicCache.from_legacy_cache(layers)
    assert cache.get_seq_length() == 3 and isinstance(cache, KVCache)
    back = cache.to_legacy_cache()
    assert all(
        torch.equal(a, b) for pair, other in zip(back, layers, strict=True) for a, b in zip(pair, other, strict=True)
    )
    assert DynamicCache.from_legacy_cache(None).to_legacy_cache() == ()
    cache.crop(2)
    assert cache.get_seq_length() == 2 and cache[0][0].shape[2] == 2
    cache.crop(-1)
    assert cache.get_seq_length() == 1
    cache.reset()
    assert cache.get_seq_length() == 0


@pytest.mark.parametrize("family", ["gpt2", "llama", "mistral"])
def test_in_forward_and_generate(family):
    model = pair(family)[0]
    ids = ONE["input_ids"]
    with torch.no_grad():
        whole = model(ids).logits
        cache = DynamicCache()
        first = model(ids[:, :4], past_key_values=cache, use_cache=True)
        assert first.past_key_values is cache and cache.get_seq_length() == 4
        rest = model(ids[:, 4:], past_key_values=cache).logits
        torch.testing.assert_close(torch.cat([first.logits, rest], dim=1), whole)
    expected = model.generate(**BATCH, **PLAIN)
    cache = DynamicCache()
    assert model.generate(**BATCH, **PLAIN, past_key_values=cache).tolist() == expected.tolist()
    assert cache.get_seq_length() == expected.shape[1] - 1
    alone = model.generate(**ONE, **PLAIN)
    for given in (DynamicCache, lambda: None):
        cache = given()
        half = model.generate(
            **ONE, **{**PLAIN, "max_new_tokens": 3}, past_key_values=cache, return_dict_in_generate=True
        )
        rest = model.generate(half.sequences, **{**PLAIN, "max_new_tokens": 3}, past_key_values=half.past_key_values)
        assert rest.tolist() == alone.tolist()
    legacy = DynamicCache()
    with torch.no_grad():
        model(ids[:, :4], past_key_values=legacy)
    assert model.generate(**ONE, **PLAIN, past_key_values=legacy.to_legacy_cache()).tolist() == alone.tolist()
    with pytest.raises(InputError, match="past_key_values is an int"):
        model.generate(**ONE, **PLAIN, past_key_values=5)


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5"])
def test_a_static_cache_gives_the_same(family, caplog, monkeypatch):
    model, oracle = any_pair(family)
    for options in ({}, {"num_beams": 3, "num_return_sequences": 2}):
        expected = model.generate(**BATCH, **PLAIN, **options)
        static = model.generate(
            **BATCH, **PLAIN, **options, cache_implementation="static", return_dict_in_generate=True
        )
        assert static.sequences.tolist() == expected.tolist()
        assert isinstance(static.past_key_values, StaticCache)
        given = StaticCache(config=model.config, max_cache_len=64, max_batch_size=2, device="cpu", dtype=torch.float32)
        assert model.generate(**BATCH, **PLAIN, **options, past_key_values=given).tolist() == expected.tolist()
        assert (given.max_cache_len, given.get_seq_length()) == (64, static.past_key_values.get_seq_length())
    if family != "t5":  # the oracle's has as many layers as the encoder
        theirs = oracle.generate(**BATCH, **PLAIN, cache_implementation="static")
        assert theirs.tolist() == model.generate(**BATCH, **PLAIN).tolist()
    with pytest.raises(InputError, match="which are two caches"):
        model.generate(**ONE, **PLAIN, past_key_values=StaticCache(max_cache_len=64), cache_implementation="static")
    with pytest.raises(ConfigurationError, match="cache_implementation is 'statik'"):
        model.generate(**ONE, **PLAIN, cache_implementation="statik")
    notice_once.cache_clear()
    monkeypatch.setattr(model.generation_config, "cache_implementation", "quantized")
    for _ in range(2):
        model.generate(**ONE, **PLAIN)
    assert len([record for record in caplog.records if "quantized" in record.getMessage()]) == 1


def test_a_static_cache_in_forward_has_a_size_and_is_used_again():
    model = pair("llama")[0]
    ids = ONE["input_ids"]
    with torch.no_grad():
        whole = model(ids).logits
        cache = StaticCache(model.config, ids.shape[1])
        for _ in range(2):
            first = model(ids[:, :4], past_key_values=cache, use_cache=True)
            assert first.past_key_values is cache and cache.get_seq_length() == 4
            rest = model(ids[:, 4:], past_key_values=cache).logits
            torch.testing.assert_close(torch.cat([first.logits, rest], dim=1), whole)
            with pytest.raises(InputError, match=f"room for {ids.shape[1]} positions"):
                model(ids, past_key_values=cache)
            cache.reset()
    assert StaticCache(model.config).get_max_cache_shape() == model.config.max_position_embeddings
    assert StaticCache(max_cache_len=9).get_max_cache_shape() == 9 and DynamicCache().get_max_cache_shape() == -1
    for wrong in (0, "x", None):
        with pytest.raises(InputError, match="max_cache_len is"):
            StaticCache(max_cache_len=wrong)


def any_pair(family):
    """As `pair`, encoder-decoders included."""
    heads = {"t5": "T5ForConditionalGeneration", "bart": "BartForConditionalGeneration"}
    if family not in heads:
        return pair(family)
    alike = {"encoder_attention_heads": 4, "decoder_attention_heads": 4, "encoder_layers": 2, "decoder_layers": 2}
    alike = alike if family == "bart" else {}  # PEFT reads the encoder's alone
    reference = ref.reference_model(family, heads[family], decoder_start_token_id=1, **alike)
    with tempfile.TemporaryDirectory() as folder:
        return ref.ours_of(heads[family]).from_pretrained(ref.saved(reference, Path(folder))), reference


@pytest.mark.parametrize("family", ["gpt2", "llama", "t5", "bart"])
def test_a_cache_of_another_library_is_extended_in_place(family):
    model, oracle = any_pair(family)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    is_seq2seq, own = model.config.is_encoder_decoder, transformers.DynamicCache()
    cache = transformers.EncoderDecoderCache(own, transformers.DynamicCache()) if is_seq2seq else own
    name, source = ("decoder_input_ids", {"input_ids": ONE["input_ids"]}) if is_seq2seq else ("input_ids", {})
    with torch.no_grad():
        whole = oracle(**source, **{name: ids}).logits
        out = model(**source, **{name: ids[:, :4]}, past_key_values=cache, use_cache=True)
        assert cache.get_seq_length() == out.past_key_values.get_seq_length() == 4
        assert out.past_key_values.layers is cache.layers if not is_seq2seq else cache.is_updated[0]
        rest = model(**source, **{name: ids[:, 4:]}, past_key_values=out.past_key_values).logits
    torch.testing.assert_close(torch.cat([out.logits, rest], dim=1), whole, atol=1e-5, rtol=0)
    key, value = out.past_key_values[0]
    assert (
        key.shape[2] == 6 and torch.equal(value, own.layers[0].values) and "BorrowedCache" in repr(out.past_key_values)
    )


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"num_return_sequences": 2, "num_beams": 2}])
def test_generate_with_a_cache_of_another_library(options):
    model = pair("gpt2")[0]
    expected, cache = model.generate(**BATCH, **PLAIN, **options), transformers.DynamicCache()
    out = model.generate(**BATCH, **PLAIN, **options, past_key_values=cache, return_dict_in_generate=True)
    assert out.sequences.tolist() == expected.tolist() and cache.get_seq_length() == expected.shape[1] - 1


class TwoMethods:
    """The least that a cache must have."""

    def __init__(self):
        self.kept = {}

    def update(self, key, value, layer):
        old = self.kept.get(layer)
        pair = (
            (key, value)
            if old is None
            else tuple(torch.cat(both, dim=2) for both in zip(old, (key, value), strict=True))
        )
        self.kept[layer] = pair
        return pair

    def get_seq_length(self):
        return self.kept[0][0].shape[2] if self.kept else 0


def test_two_methods_make_a_cache():
    model = pair("gpt2")[0]
    expected = model.generate(**ONE, **PLAIN)
    assert model.generate(**ONE, **PLAIN, past_key_values=TwoMethods()).tolist() == expected.tolist()
    with pytest.raises(InputError, match="TwoMethods, which has no method batch_repeat_interleave"):
        model.generate(**ONE, **PLAIN, num_beams=2, past_key_values=TwoMethods())
    static = transformers.StaticCache(config=pair("gpt2")[1].config, max_cache_len=16)
    with pytest.raises(InputError, match="StaticCache; expected a cache that grows"):
        model(ONE["input_ids"], past_key_values=static)


class VirtualTokens(notebook_kit.GPT2LMHeadModel):
    """Puts two vectors, or a cache of two positions, before the prompt, as the prompt and prefix tuning of PEFT do."""

    as_cache = False

    def prepare_inputs_for_generation(self, *args, **kwargs):
        call = super().prepare_inputs_for_generation(*args, **kwargs)
        if call.get("attention_mask") is not None:
            call["attention_mask"] = torch.nn.functional.pad(call["attention_mask"], (2, 0), value=1)
        if call.get("past_key_values") is None:
            prefix = self.get_input_embeddings()(torch.tensor([[33, 4]])).expand(len(call["input_ids"]), -1, -1)
            if self.as_cache:
                call["past_key_values"] = transformers.DynamicCache()
                self(inputs_embeds=prefix, past_key_values=call["past_key_values"])
            else:
                ids = call.pop("input_ids")
                call["inputs_embeds"] = torch.cat([prefix, self.get_input_embeddings()(ids)], dim=1)
                call.pop("position_ids", None)
        return call


@pytest.mark.parametrize("as_cache", [False, True])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"prompt_lookup_num_tokens": 2}])
def test_positions_that_a_model_puts_before_the_prompt(as_cache, options):
    plain = pair("gpt2")[0]
    model = VirtualTokens(plain.config).eval()
    model.load_state_dict(plain.state_dict())
    model.as_cache, ids = as_cache, torch.tensor([[5, 6, 7, 8]])
    expected = plain.generate(torch.tensor([[33, 4, 5, 6, 7, 8]]), **PLAIN, **options)[:, 2:]
    assert model.generate(ids, **PLAIN, **options).tolist() == expected.tolist()
    assert plain.generate(ids, **PLAIN, **options).tolist() != expected.tolist()


@pytest.mark.parametrize("kind", ["PrefixTuningConfig", "PromptTuningConfig"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "bart"])
def test_tuned_prompts_of_peft(family, kind):
    peft = pytest.importorskip("peft")
    results = []
    for model in copy.deepcopy(any_pair(family)):
        torch.manual_seed(1)
        task = "SEQ_2_SEQ_LM" if family == "bart" else "CAUSAL_LM"
        tuned = peft.get_peft_model(model, getattr(peft, kind)(task_type=task, num_virtual_tokens=3)).eval()
        loss = tuned(**BATCH, labels=BATCH["input_ids"]).loss
        loss.backward()
        results.append((round(loss.item(), 4), tuned.generate(**BATCH, **PLAIN, num_beams=2).tolist()))
    assert results[0] == results[1]


def test_the_encoders_keys_are_copied_for_further_steps_only():
    """As a model splits them into heads, a step reads them more slowly than it could."""
    cache, made = KVCache(), []

    def compute():
        made.append(torch.randn(2, 9, 4, 8).transpose(1, 2))
        return made[-1], made[-1] + 1

    key, _ = cache.cross(0, compute)
    assert key is made[0], "a single call costs nothing"
    for _ in range(2):
        later, value = cache.cross(0, compute)
        assert (
            later.is_contiguous() and value.is_contiguous() and torch.equal(later, key) and torch.equal(value, key + 1)
        )
    assert later is cache.cross(0, compute)[0] and len(made) == 1
