"""Attention to keys that stay the same: the same results as the fused kernel, and only where it may be used."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from notebook_kit import BartConfig, BartForConditionalGeneration
from notebook_kit.nn import attention, fixed_keys
from notebook_kit.nn.attention import AttentionSite, attend, record_attention
from notebook_kit.nn.cache import KVCache

SITE = AttentionSite(0, 4, "cross")


@pytest.fixture
def used(monkeypatch):
    """Use it on every processor, and count its calls."""
    monkeypatch.setattr(fixed_keys, "gain", lambda threads, dtype: 2.0)
    monkeypatch.setattr(fixed_keys, "FEWEST_KEYS", 2)
    calls, compute = [], fixed_keys.attention
    monkeypatch.setattr(fixed_keys, "attention", lambda *args: calls.append(args[0].shape) or compute(*args))
    return calls


def keys_and_values(*shape):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, *shape, generator=generator)


@pytest.mark.parametrize("queries", [1, 3, 8])
@pytest.mark.parametrize("scale", [None, 1.0])
def test_same_as_the_fused_kernel(used, queries, scale):
    key, value = keys_and_values(2, 4, 50, 16)
    query = torch.randn(2, 4, queries, 16)
    with torch.no_grad():
        found = attend(query, *fixed_keys.laid_out(key, value), site=SITE, scale=scale)
    assert len(used) == 1
    torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value, scale=scale))


@pytest.mark.parametrize("queries", [1, 5])
def test_bfloat16(used, queries):
    key, value = keys_and_values(2, 4, 50, 16)
    query = torch.randn(2, 4, queries, 16)
    with torch.no_grad():
        key, value = fixed_keys.laid_out(key.bfloat16(), value.bfloat16())
        found = attend(query.bfloat16(), key, value, site=SITE)
    assert len(used) == 1 and found.dtype == torch.bfloat16
    exact = F.scaled_dot_product_attention(query.bfloat16().float(), key.float(), value.float())
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layout_keeps_the_numbers(used, dtype):
    given = [x.to(dtype).transpose(1, 2).contiguous().transpose(1, 2) for x in keys_and_values(2, 4, 50, 16)]
    with torch.no_grad():
        turned = fixed_keys.laid_out(*given)
        assert all(map(torch.equal, turned, given))
        assert sorted(x.stride(-2) for x in turned) == [1, 16]
        assert all(one is other for one, other in zip(fixed_keys.laid_out(*turned), turned, strict=True))
    left = fixed_keys.laid_out(*given)
    assert all(x.is_contiguous() for x in left), "gradients are left to torch"


def test_processors_on_which_it_gains_nothing(used, monkeypatch):
    key, value = keys_and_values(2, 4, 50, 16)
    monkeypatch.setattr(fixed_keys, "gain", lambda threads, dtype: 1.0)
    with torch.no_grad():
        laid_out = fixed_keys.laid_out(key, value)
        assert all(x.is_contiguous() for x in laid_out)
        attend(key[:, :, :1], *laid_out, site=SITE)
    assert not used


def test_everything_else_is_left_to_torch(used):
    key, value = keys_and_values(2, 4, 50, 16)
    with torch.no_grad():
        turned = fixed_keys.laid_out(key, value)
        query = torch.randn(2, 4, 1, 16)
        attend(query, key, value, site=SITE)  # keys of a decoder, which grow
        attend(query, *turned, site=SITE, dropout=0.1)
        attend(torch.randn(2, 4, 65, 16), *turned, site=SITE)
        attend(*(x.half() for x in (query, *turned)), site=SITE)
    attend(query.requires_grad_(), *turned, site=SITE).sum().backward()
    assert not used


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("queries, gradients", [(65, False), (1, True)])
def test_other_kernels_read_row_by_row(used, monkeypatch, dtype, queries, gradients):
    key, value = keys_and_values(2, 4, 80, 16).to(dtype)
    query = torch.randn(2, 4, queries, 16, dtype=dtype, requires_grad=gradients)
    with torch.no_grad():
        turned = fixed_keys.laid_out(key, value)
    read, fused = [], F.scaled_dot_product_attention
    monkeypatch.setattr(
        F, "scaled_dot_product_attention", lambda *args, **named: read.append(args) or fused(*args, **named)
    )
    with torch.set_grad_enabled(gradients):
        found = attend(query, *turned, site=SITE)
    torch.testing.assert_close(found, fused(query, key, value))
    assert read and all(x.is_contiguous() for x in read[0][1:3]), "it takes up to four times as long otherwise"


@pytest.mark.parametrize("mask_rows, bias_rows", [(2, None), (1, None), (None, 1), (2, 2)])
def test_masks_and_biases(used, mask_rows, bias_rows):
    key, value = keys_and_values(2, 4, 50, 16)
    query = torch.randn(2, 4, 3, 16)
    mask = None if mask_rows is None else torch.zeros(mask_rows, 1, 1, 50)
    if mask is not None:
        mask[-1, ..., 30:] = torch.finfo(torch.float32).min
    bias = None if bias_rows is None else torch.randn(bias_rows, 4, 3, 50)
    with torch.no_grad():
        found = attend(query, *fixed_keys.laid_out(key, value), site=SITE, mask=mask, bias=bias)
    assert len(used) == 1
    offset = mask if bias is None else bias if mask is None else mask + bias
    torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value, attn_mask=offset))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_beams_of_padded_texts(used, dtype, tolerance):
    key, value = keys_and_values(2, 4, 50, 16).to(dtype)
    query, mask = torch.randn(2 * 9, 4, 1, 16, dtype=dtype), torch.zeros(2, 1, 1, 50, dtype=dtype)
    mask[1, ..., 30:] = torch.finfo(dtype).min
    with torch.no_grad():
        found = attend(query, *fixed_keys.laid_out(key, value), site=SITE, mask=mask)
        each = [x.repeat_interleave(9, dim=0) for x in (key, value, mask)]
        expected = attend(query, *each[:2], site=SITE, mask=each[2])
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert [shape[2] for shape in used] == [9]


def test_a_step_without_gradients_keeps_those_of_others(used):
    cache, states = KVCache(), keys_and_values(1, 2, 20, 8).transpose(-3, -2).requires_grad_()

    def compute():
        return states[0].transpose(1, 2), states[1].transpose(1, 2)

    cache.cross(0, compute)
    with torch.no_grad():
        cache.cross(0, compute)
    sum(part.sum() for part in cache.cross(0, compute)).backward()
    assert torch.equal(states.grad, torch.ones_like(states))


def test_a_cache_lays_keys_out_once(used):
    cache, (key, value) = KVCache(), keys_and_values(1, 2, 20, 8)
    with torch.no_grad():
        first, second, third = (cache.cross(0, lambda: (key, value)) for _ in range(3))
    assert first[0] is key and second[0].stride(-2) == 1 and third[0] is second[0]


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize("beams", [1, 3])
def test_generation(used, monkeypatch, beams, padding):
    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=60, d_model=32, encoder_layers=1, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=32, decoder_ffn_dim=32, init_std=0.5,
    )  # fmt: skip
    model = BartForConditionalGeneration(config).eval()
    ids = torch.randint(4, 60, (2, 12))
    options = {"num_beams": beams, "max_new_tokens": 6, "min_new_tokens": 6, "attention_mask": torch.ones(2, 12)}
    options["attention_mask"][1, 12 - padding :] = 0
    fast = model.generate(ids, **options)
    assert len(used) == 2 * 5, "two layers, and each further token"
    with record_attention(model.model.decoder) as record:
        assert torch.equal(model.generate(ids, **options), fast)
    assert len(used) == 2 * 5 and record.steps(0, "cross")
    monkeypatch.setattr(attention.fixed_keys, "suits", lambda *inputs: False)
    assert torch.equal(model.generate(ids, **options), fast)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gain_is_measured(dtype):
    assert fixed_keys.gain(torch.get_num_threads(), dtype) > 0
