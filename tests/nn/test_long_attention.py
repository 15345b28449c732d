"""Attention over long inputs by the products of oneDNN: the results of the fused kernel, and where it is not used."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from notebook_kit import ablate_heads, record_attention
from notebook_kit.models.whisper import WhisperConfig, WhisperModel
from notebook_kit.nn import attention, few_rows, long_attention, row_counts

pytestmark = pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")
bfloat16 = pytest.mark.skipif(not few_rows.available(torch.bfloat16), reason="this processor has no bfloat16")


@pytest.fixture
def counted(monkeypatch):
    """It is faster on every processor and for any length; its calls are counted."""
    monkeypatch.setattr(long_attention, "gain", lambda threads, exact=True: 2.0 if exact else 3.0)
    monkeypatch.setattr(long_attention, "LEAST", 2)
    monkeypatch.setattr(long_attention, "BLOCK", 7)
    calls, compute = [], long_attention.long_attention

    def counting(*given):
        calls.append(tuple(given[0].shape))
        return compute(*given)

    monkeypatch.setattr(attention, "long_attention", counting)
    return calls


@pytest.fixture
def ways(monkeypatch):
    """The ways by which heads are computed, and whether they do."""
    found = []

    def watch(name):
        compute = getattr(long_attention, name)

        def watching(*given):
            done = compute(*given)
            found.append((name, done))
            return done

        monkeypatch.setattr(long_attention, name, watching)

    for name in ("_logistics", "_powers", "_softmax"):
        watch(name)
    return found


def attend(query, key, value, exact=True, **options):
    site = attention.AttentionSite(0, query.shape[1])
    site.exact = exact
    return attention.attend(query, key, value, site=site, **options)


def rows(*shape):
    return torch.randn(shape[0], shape[2], shape[1], shape[3]).transpose(1, 2)  # as models split them into heads


@pytest.mark.parametrize("scale", [None, 0.3])
def test_equals_the_fused_kernel(counted, scale):
    torch.manual_seed(0)
    query, key, value = rows(2, 3, 25, 8), rows(2, 3, 31, 8), rows(2, 3, 31, 4)
    with torch.no_grad():
        found = attend(query, key, value, scale=scale)
    assert counted == [(2, 3, 25, 8)]
    torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value, scale=scale))


@bfloat16
@pytest.mark.parametrize("scale", [None, 1.0])
def test_models_with_8_bits_compute_in_bfloat16(counted, ways, scale):
    torch.manual_seed(0)
    # Large scores that differ little: rounded to bfloat16, they would be off by up to 0.5.
    query, key, value = rows(2, 3, 25, 16), rows(2, 3, 31, 16) + 20, rows(2, 3, 31, 4)
    with torch.no_grad():
        found = attend(query, key, value, exact=False, scale=scale)
        expected = F.scaled_dot_product_attention(query, key, value, scale=scale)
        assert found.dtype == torch.float32 and ways == [("_logistics", True)] * 6
        assert 1e-4 < (found - expected).norm() / expected.norm() < 0.01
        # The fused kernel in bfloat16, whose scores are of float32, but of keys that are rounded with their mean.
        rounded = F.scaled_dot_product_attention(*(part.bfloat16() for part in (query, key, value)), scale=scale)
        assert (found - expected).norm() < 0.5 * (rounded - expected).norm()
        long_attention.gain = lambda threads, exact=True: 2.0  # (put back by the fixture)
        torch.testing.assert_close(attend(query, key, value, exact=False, scale=scale), expected, rtol=1e-4, atol=1e-4)


@bfloat16
@pytest.mark.parametrize("largest", [30, 50, 75, 1_000])
def test_large_scores(counted, ways, largest):
    """They would be infinite as powers, or 1 by the logistic function, so heads that have them are computed again."""
    torch.manual_seed(0)
    query, key, value = rows(1, 2, 25, 8), rows(1, 2, 31, 8), rows(1, 2, 31, 4)
    key = key - key.mean(dim=2, keepdim=True)
    query *= largest / (query @ key.transpose(-2, -1)).amax(dim=(2, 3), keepdim=True)
    query[:, 1] /= largest  # the other head has small ones
    for exact in (True, False):
        ways.clear()
        with torch.no_grad():
            found = attend(query, key, value, exact=exact, scale=1.0)
        expected = F.scaled_dot_product_attention(query, key, value, scale=1.0)
        near = 2e-4 if exact else 0.05
        torch.testing.assert_close(found, expected, rtol=near, atol=near)
        first = [("_logistics", largest < 60)] if not exact else []
        if exact or largest > 60:
            first += [("_powers", largest < 70)] + [("_softmax", None)] * (largest > 70)
        assert ways == [*first, ("_powers" if exact else "_logistics", True)]


@bfloat16
@pytest.mark.parametrize("exact", [True, False])
def test_values_that_are_not_numbers_stay_seen(counted, exact):
    torch.manual_seed(0)
    query, key, value = rows(1, 2, 25, 8).abs(), rows(1, 2, 31, 8), rows(1, 2, 31, 4)
    key[0, 0, 3] = -torch.inf  # gets no attention
    query[0, 1, 5, 2] = torch.nan
    with torch.no_grad():
        found = attend(query, key, value, exact)
    expected = F.scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01, equal_nan=True)
    assert found.isnan().sum() == 4


@bfloat16
def test_the_gain_is_measured_on_this_processor():
    assert long_attention.gain(1) > 0 and long_attention.gain(1, False) > 0


def test_what_is_left_to_torch(counted):
    query, key = rows(2, 4, 9, 8), rows(2, 2, 9, 8)
    mask = torch.zeros(2, 1, 1, 9)
    with torch.no_grad():
        attend(query, query, query, mask=mask)
        attend(query, query, query, is_causal=True)
        attend(query, query, query, dropout=0.5)
        attend(query, key, key)  # groups of heads
        attend(query[:, :, :1], query, query)
        attend(query.double(), query.double(), query.double())
        with torch.autocast("cpu", torch.bfloat16):
            attend(query, query, query)
    given = query.clone().requires_grad_()
    attend(given, query, query).sum().backward()
    torch.compile(attend, backend="eager")(query, query, query)
    assert not counted and given.grad is not None
    long_attention.gain = lambda threads, exact=True: 1.0  # (put back by the fixture)
    with torch.no_grad():
        attend(query, query, query)
    assert not counted, "where oneDNN is no faster"


def test_no_rows_and_shapes_that_do_not_match(counted):
    with torch.no_grad():
        for shape in ((0, 2, 9, 8), (2, 0, 9, 8), (2, 2, 9, 0)):
            assert attend(*[torch.ones(shape)] * 3).shape == shape
        query = rows(2, 2, 9, 8)
        with pytest.raises(RuntimeError, match="Expected size"):  # as torch says it
            attend(query, query[..., :4], query)
    assert not counted


def test_recorded_and_ablated(counted):
    torch.manual_seed(0)
    model = WhisperModel(WhisperConfig(d_model=24, encoder_layers=2, decoder_layers=1, max_source_positions=20)).encoder
    model.eval()
    features = torch.randn(2, 80, 40)
    with torch.no_grad():
        plain = model(features).last_hidden_state
        assert len(counted) == 2
        with record_attention(model, layers=[1]) as record:
            torch.testing.assert_close(model(features).last_hidden_state, plain, rtol=1e-5, atol=1e-5)
        assert record[1].shape == (2, 6, 20, 20) and len(counted) == 3, "the other layer as before"
        with ablate_heads(model, {(0, 1)}):
            ablated = model(features).last_hidden_state
        assert len(counted) == 5 and not torch.allclose(ablated, plain, atol=1e-4)
    with_gradients = model(features).last_hidden_state
    assert len(counted) == 5
    torch.testing.assert_close(with_gradients.detach(), plain, rtol=1e-5, atol=1e-5)


@bfloat16
@pytest.mark.parametrize("exact, large", [(True, 1), (True, 1_000), (False, 1)])
def test_few_lengths_are_multiplied(counted, monkeypatch, exact, large):
    """oneDNN keeps a compiled product for each; padded keys get no attention."""
    monkeypatch.setattr(long_attention, "BLOCK", 512)
    monkeypatch.setattr(long_attention, "_exact", set())
    shapes = set()

    def count(name):
        product = getattr(long_attention, name)

        def counting(x, weight, *others):
            shapes.add((tuple(x.shape), tuple(weight.shape)))
            return product(x, weight, *others)

        monkeypatch.setattr(long_attention, name, counting)

    count("product")
    count("fused_product")
    torch.manual_seed(0)
    with torch.no_grad():
        for length in range(256, 513):
            query, key, value = rows(1, 2, length, 8) * large, rows(1, 2, length, 8), rows(1, 2, length, 4) + 3
            found = attend(query, key, value, exact)
            near = {"rtol": 0.02, "atol": 0.02} if not exact else {"rtol": 1e-3, "atol": 1e-3} if large > 1 else {}
            torch.testing.assert_close(found, F.scaled_dot_product_attention(query, key, value), **near)
    assert len(counted) == 257
    assert len(shapes) <= 2 * (row_counts.MOST_EXACT + 9)
