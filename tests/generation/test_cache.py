"""`DynamicCache`, under the names of other libraries."""

from __future__ import annotations

import pytest
import torch
import transformers
from oracle import BATCH, ONE, PAD, pair

from notebook_kit import DynamicCache, KVCache
from notebook_kit.errors import InputError

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
    with pytest.raises(InputError, match="past_key_values is a int"):
        model.generate(**ONE, **PLAIN, past_key_values=5)
