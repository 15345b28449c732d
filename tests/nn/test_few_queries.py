"""Attention of a few queries by two products: the same results as the fused kernel, and only where it may be used."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from notebook_kit import BartConfig, BartForConditionalGeneration, LlamaConfig, LlamaForCausalLM
from notebook_kit.nn import attention, few_queries, weighted_sums
from notebook_kit.nn.attention import AttentionSite, attend, record_attention
from notebook_kit.nn.cache import KVCache
from notebook_kit.pipelines.quantization import quantized

SITE = AttentionSite(0, 4, "cross")


@pytest.fixture(params=[2.0, 0.0], ids=["sums", "products"])
def used(monkeypatch, request):
    """Use it on every processor, as sums of weighted rows or as products, and count its calls."""
    monkeypatch.setattr(few_queries, "gain", lambda *given, **more: 2.0)
    monkeypatch.setattr(few_queries, "gain_of_sums", lambda threads: request.param)
    monkeypatch.setattr(few_queries, "FEWEST_KEYS", 2)
    monkeypatch.setattr(few_queries, "LEAST_NUMBERS", 1)
    monkeypatch.setattr(few_queries, "FEWEST_AS_STORED", 4)
    calls, compute = [], few_queries.attention
    monkeypatch.setattr(few_queries, "attention", lambda *args: calls.append(args[0].shape) or compute(*args))
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
        found = attend(query, *few_queries.laid_out(key, value), site=SITE, scale=scale)
    assert len(used) == 1
    torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value, scale=scale))


@pytest.mark.parametrize("queries", [1, 5])
def test_bfloat16(used, queries):
    key, value = keys_and_values(2, 4, 50, 16)
    query = torch.randn(2, 4, queries, 16)
    with torch.no_grad():
        key, value = few_queries.laid_out(key.bfloat16(), value.bfloat16())
        found = attend(query.bfloat16(), key, value, site=SITE)
    assert len(used) == 1 and found.dtype == torch.bfloat16
    exact = F.scaled_dot_product_attention(query.bfloat16().float(), key.float(), value.float())
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layout_keeps_the_numbers(used, dtype):
    given = [x.to(dtype).transpose(1, 2).contiguous().transpose(1, 2) for x in keys_and_values(2, 4, 50, 16)]
    with torch.no_grad():
        turned = few_queries.laid_out(*given)
        assert all(map(torch.equal, turned, given))
        assert sorted(x.stride(-2) for x in turned) == [1, 16]
        assert all(one is other for one, other in zip(few_queries.laid_out(*turned), turned, strict=True))
    left = few_queries.laid_out(*given)
    assert all(x.is_contiguous() for x in left), "gradients are left to torch"


def test_processors_on_which_it_gains_nothing(used, monkeypatch):
    key, value = keys_and_values(2, 4, 50, 16)
    monkeypatch.setattr(few_queries, "gain", lambda *given, **more: 1.0)
    with torch.no_grad():
        laid_out = few_queries.laid_out(key, value)
        assert all(x.is_contiguous() for x in laid_out)
        attend(key[:, :, :1], *laid_out, site=SITE)
    assert not used


def test_large_scores_in_bfloat16(used):
    key, value = keys_and_values(1, 4, 500, 64).bfloat16()
    query = 4 * torch.randn(1, 4, 1, 64).bfloat16()
    exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float())
    with torch.no_grad():
        error = (attend(query, *few_queries.laid_out(key, value), site=SITE) - exact).abs().max()
    fused = (F.scaled_dot_product_attention(query, key, value) - exact).abs().max()
    assert len(used) == 1 and error < 2 * fused + 0.002


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sharing", [2, 3])
def test_heads_that_share_keys(used, dtype, sharing):
    key, value = (x.to(dtype) for x in keys_and_values(2, 4, 50, 16))
    query = torch.randn(2, 4 * sharing, 1, 16, dtype=dtype)
    with torch.no_grad():
        found = attend(query, key, value, site=SITE)
    assert len(used) == 1
    exact = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), enable_gqa=True)
    rounding = {torch.float32: (1e-5, 1e-5), torch.bfloat16: (0.02, 0.01)}[dtype]
    torch.testing.assert_close(found.float(), exact, rtol=rounding[0], atol=rounding[1])


@pytest.mark.parametrize("sharing", [1, 3])
def test_padding(used, sharing):
    key, value = keys_and_values(2, 4, 50, 16)
    mask = torch.zeros(2, 1, 1, 50)
    mask[1, :, :, 20:] = torch.finfo(torch.float32).min
    query = torch.randn(2, 4 * sharing, 1, 16)
    with torch.no_grad():
        found = attend(query, *few_queries.laid_out(key, value), site=SITE, mask=mask)
    assert len(used) == 1
    exact = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=True)
    torch.testing.assert_close(found, exact)


def test_everything_else_is_left_to_torch(used):
    key, value = keys_and_values(2, 4, 50, 16)
    with torch.no_grad():
        turned = few_queries.laid_out(key, value)
        query = torch.randn(2, 4, 1, 16)
        attend(query, key, value, site=SITE)  # keys of a decoder, which grow
        attend(query, *turned, site=SITE, dropout=0.1)
        attend(query.expand(2, 4, 2, 16), *turned, site=SITE, is_causal=True)
        attend(torch.randn(2, 8, 2, 16), key, value, site=SITE, mask=torch.zeros(2, 1, 2, 50))
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
        turned = few_queries.laid_out(key, value)
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
        found = attend(query, *few_queries.laid_out(key, value), site=SITE, mask=mask, bias=bias)
    assert len(used) == 1
    offset = mask if bias is None else bias if mask is None else mask + bias
    torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value, attn_mask=offset))


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_beams_of_padded_texts(used, dtype, tolerance):
    key, value = keys_and_values(2, 4, 50, 16).to(dtype)
    query, mask = torch.randn(2 * 9, 4, 1, 16, dtype=dtype), torch.zeros(2, 1, 1, 50, dtype=dtype)
    mask[1, ..., 30:] = torch.finfo(dtype).min
    with torch.no_grad():
        found = attend(query, *few_queries.laid_out(key, value), site=SITE, mask=mask)
        each = [x.repeat_interleave(9, dim=0) for x in (key, value, mask)]
        expected = attend(query, *each[:2], site=SITE, mask=each[2])
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert used[0][2] == 9


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
    monkeypatch.setattr(attention.few_queries, "suits", lambda *inputs: False)
    assert torch.equal(model.generate(ids, **options), fast)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_generation_with_shared_keys(used, monkeypatch, dtype):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=60, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, initializer_range=0.5, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(dtype).eval()
    ids = torch.randint(4, 60, (2, 12))
    ids[0, :4] = 0
    options = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "attention_mask": (ids != 0).int()}
    options |= {"return_dict_in_generate": True, "output_logits": True}
    fast = model.generate(ids, **options)
    assert len(used) == 2 * 5, "two layers, and each further token"
    monkeypatch.setattr(attention.few_queries, "suits", lambda *inputs: False)
    plain = model.generate(ids, **options)
    # Later tokens may differ after a rounding error in bfloat16.
    torch.testing.assert_close(fast.logits[1], plain.logits[1], rtol=0.02, atol=0.2 if dtype != torch.float32 else 1e-4)
    assert dtype != torch.float32 or torch.equal(fast.sequences, plain.sequences)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sharing, is_turned", [(1, True), (4, False)])
def test_the_gain_is_measured(dtype, sharing, is_turned):
    assert few_queries.gain(torch.get_num_threads(), dtype, sharing, is_turned) > 0


def test_the_gain_of_sums_is_measured():
    assert few_queries.gain_of_sums(torch.get_num_threads()) > 0 or not weighted_sums.available(torch.float32)
    assert few_queries.gain_of_bytes(torch.get_num_threads()) > 0 or not weighted_sums.available(torch.uint8)


@pytest.mark.parametrize("missing", [TypeError, RuntimeError])
def test_a_torch_that_does_not_sum_rows(monkeypatch, missing):
    def fail(*given):
        raise missing("no such operation")

    monkeypatch.setattr(torch, "embedding_bag", fail)
    monkeypatch.setattr(torch.ops, "quantized", None)
    monkeypatch.setattr(few_queries, "available", weighted_sums.available.__wrapped__)
    assert few_queries.gain_of_sums.__wrapped__(1) == few_queries.gain_of_bytes.__wrapped__(1) == 0


@pytest.mark.parametrize("queries", [8, 9])
def test_the_way_is_chosen_by_the_number_of_queries(monkeypatch, used, queries):
    summed, sums = [], few_queries.weighted_sums
    monkeypatch.setattr(few_queries, "weighted_sums", lambda *given: summed.append(given) or sums(*given))
    key, value = keys_and_values(2, 4, 50, 16)
    with torch.no_grad():
        attend(torch.randn(2, 4, queries, 16), *few_queries.laid_out(key, value), site=SITE)
    by_sums = few_queries.gain_of_sums(1) > 1 and queries == 8
    assert len(summed) == (2 if by_sums else 0) and len(used) == 1


@pytest.mark.parametrize("rows, queries", [(0, 1), (2, 0)])
@pytest.mark.parametrize("heads", [2, 4])
def test_nothing_to_compute(used, rows, queries, heads):
    key, value = keys_and_values(rows, heads, 150, 16)
    with torch.no_grad():
        found = attend(torch.randn(rows, 4, queries, 16), *few_queries.laid_out(key, value), site=SITE)
    assert found.shape == (rows, 4, queries, 16)


@pytest.fixture
def rounded(used, monkeypatch):
    """Round to 8 bits on every processor that can."""
    monkeypatch.setattr(few_queries, "gain_of_bytes", lambda *given: 2.0)
    return used


@pytest.mark.parametrize("queries", [1, 5, 40])
@pytest.mark.parametrize("scale", [None, 1.0])
@pytest.mark.parametrize("is_padded", [False, True])
def test_keys_in_a_quarter_of_the_memory(rounded, queries, scale, is_padded):
    key, value = keys_and_values(2, 5, 50, 16)
    key[:, :, :, 3] *= 30  # one number of each head may be much larger than others: it has its own step
    query, mask = torch.randn(2, queries, 5, 16, generator=torch.Generator().manual_seed(1)).transpose(1, 2), None
    query[:, :, :, 3] /= 30
    if is_padded:
        mask = torch.zeros(2, 1, 1, 50)
        mask[1, :, :, 20:] = torch.finfo(torch.float32).min
    with torch.no_grad():
        stored = few_queries.laid_out(key, value, exact=False)
        assert all(x.dtype == torch.uint8 and x.shape == key.shape for x in stored)
        assert all(x.untyped_storage().nbytes() < 0.52 * x.numel() * 4 for x in stored), "short rows have long endings"
        found = attend(query, *stored, site=SITE, scale=scale, mask=mask)
    assert len(rounded) == 1 and found.dtype == torch.float32
    exact = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    torch.testing.assert_close(
        found, exact, rtol=0.02, atol=0.02 if scale is None else 0.06
    )  # scores up to 4, or to 16


@pytest.mark.parametrize("largest", [2e30, -2e30, float("inf"), float("nan")])
def test_keys_too_large_for_8_bits_stay(rounded, largest):
    key, value = keys_and_values(2, 4, 50, 16)
    value[1, 2, 3, 4] = largest
    with torch.no_grad():
        stored = few_queries.laid_out(key, value, exact=False)
    assert all(x.dtype == torch.float32 for x in stored)


@pytest.mark.parametrize(
    "which, part, size, is_rounded",
    [
        (0, (..., slice(7, 8), slice(None)), 5, True),  # a position of the keys
        (0, (..., slice(7, 8), slice(None)), 100, False),
        (0, (..., slice(25, None), slice(None)), 3, True),  # half of the positions, such as padding
        (0, (..., slice(25, None), slice(None)), 100, False),
        (1, (..., slice(7, 8), slice(None)), 100, True),  # a position of the values: each has its own step
        (1, (..., slice(None), slice(5, 6)), 3, True),  # a number of the values
        (1, (..., slice(None), slice(5, 6)), 100, False),
        (0, (...,), 1e-7, False),  # the kernel's least range is larger
        (1, (...,), 1e-7, False),
    ],
)
def test_outliers_that_would_make_steps_coarse(rounded, which, part, size, is_rounded):
    given = keys_and_values(2, 4, 50, 16)
    given[which][part] *= size
    with torch.no_grad():
        stored = few_queries.laid_out(*given, exact=False)
        assert all(few_queries.is_rounded(x) == is_rounded for x in stored)
        query = torch.randn(2, 4, 1, 16)
        exact = F.scaled_dot_product_attention(query, *given)
        error = (attend(query, *stored, site=SITE) - exact).norm() / exact.norm()
    assert error < (0.03 if is_rounded else 1e-5)


def test_rounded_keys_are_read_by_other_ways_too(rounded):
    key, value = keys_and_values(2, 4, 50, 16)
    with torch.no_grad():
        stored = few_queries.laid_out(key, value, exact=False)
        exact = few_queries.by_rows(*stored, torch.float32)
        for one, other in zip(exact, (key, value), strict=True):
            torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)
        long, one, six = torch.randn(2, 4, 65, 16), torch.randn(2, 4, 1, 16), torch.randn(6, 4, 1, 16)
        torch.testing.assert_close(attend(long, *stored, site=SITE), attend(long, *exact, site=SITE))
        some = [x[:1] for x in stored], [x[:1] for x in exact]
        torch.testing.assert_close(attend(one[:1], *some[0], site=SITE), attend(one[:1], *some[1], site=SITE))
        second = [x[1:] for x in stored], [x[1:] for x in exact]
        torch.testing.assert_close(attend(one[:1], *second[0], site=SITE), attend(one[:1], *second[1], site=SITE))
        for mask in (None, torch.zeros(6, 1, 1, 50).index_fill(3, torch.arange(9), -1e4)):
            shared = [attend(six, *given, site=SITE, mask=mask) for given in (stored, exact)]
            torch.testing.assert_close(*shared)
        with torch.autocast("cpu", torch.bfloat16):
            assert attend(one, *stored, site=SITE).isfinite().all()
            assert attend(one.bfloat16(), *stored, site=SITE).isfinite().all()
    one.requires_grad_()
    attend(one, *stored, site=SITE).sum().backward()
    assert one.grad is not None


def test_a_copy_of_a_cache_with_rounded_keys(rounded):
    cache, (key, value) = KVCache(), keys_and_values(1, 2, 20, 8)
    with torch.no_grad():
        for _ in range(2):
            stored = cache.cross(0, lambda: (key, value), exact=False)
        copied = copy.deepcopy(cache).cross(0, lambda: (key, value), exact=False)
        query = torch.randn(1, 2, 1, 8)
        assert torch.equal(attend(query, *copied, site=SITE), attend(query, *stored, site=SITE))


@pytest.mark.parametrize("beams", [1, 3])
def test_generation_with_8_bits(rounded, monkeypatch, beams):
    monkeypatch.setattr(few_queries, "LEAST_NUMBERS", 1)
    widths = ("d_model", "encoder_ffn_dim", "decoder_ffn_dim")
    sizes = dict.fromkeys(widths, 64) | {"vocab_size": 97, "encoder_layers": 2, "decoder_layers": 2}
    torch.manual_seed(0)
    model = quantized(BartForConditionalGeneration(BartConfig(**sizes, max_position_embeddings=64)).eval())
    ids = torch.randint(4, 97, (2, 30), generator=torch.Generator().manual_seed(0))
    rules = {"max_new_tokens": 6, "min_new_tokens": 6, "num_beams": beams, "do_sample": False}
    stored, lay_out = [], few_queries._rounded
    monkeypatch.setattr(few_queries, "_rounded", lambda *given: stored.append(given) or lay_out(*given))
    found = model.generate(ids, **rules)
    assert len(stored) == 2, "once per layer"
    with record_attention(model) as record:
        assert torch.equal(model.generate(ids, **rules), found)
    assert record.sites and not any(site.exact for site in record.sites)
