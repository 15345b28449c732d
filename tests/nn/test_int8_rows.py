"""Activations of 8-bit layers: rounded row by row, and once for layers that read the same states."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from notebook_kit import BartConfig, BartForConditionalGeneration
from notebook_kit.nn import int8_rows
from notebook_kit.nn.few_rows import here
from notebook_kit.nn.int8 import best_product
from notebook_kit.pipelines.quantization import Int8Linear, quantized

pytestmark = pytest.mark.skipif(not best_product(1).rounds, reason="this processor's product takes whole numbers")


@pytest.fixture
def counted(monkeypatch):
    """How many rows were rounded in each call."""
    calls, rounded = [], int8_rows.rounded_rows

    def counting(x, *others, **more):
        calls.append(len(x))
        return rounded(x, *others, **more)

    monkeypatch.setattr(int8_rows, "rounded_rows", counting)
    here.rounded = here.rounded_many = None
    return calls


def three(columns):
    torch.manual_seed(0)
    linears = [nn.Linear(48, 32) for _ in range(3)]
    return linears, [Int8Linear(linear, columns, 1) for linear in linears]


def test_layers_that_read_the_same_states_round_them_once(counted):
    linears, layers = three(torch.tensor([3, 40]))
    x = torch.randn(2, 1, 48)
    with torch.no_grad():
        shared = [layer(x) for layer in layers]
        assert counted == [2]
        for linear, layer, found in zip(linears, layers, shared, strict=True):
            torch.testing.assert_close(found, linear(x), atol=0.03, rtol=0)
            assert torch.equal(found, layer(x.clone())), "what is kept is what would be computed"


def test_states_that_changed_are_rounded_again(counted):
    linears, layers = three(torch.tensor([3, 40]))
    x = torch.randn(2, 48)
    with torch.no_grad():
        layers[0](x)
        x.mul_(-3)
        torch.testing.assert_close(layers[1](x), linears[1](x), atol=0.09, rtol=0)
        other = Int8Linear(linears[2], torch.tensor([5]), 1)
        torch.testing.assert_close(other(x), linears[2](x), atol=0.09, rtol=0)
    assert counted == [2, 2, 2]
    with torch.inference_mode():  # where changes are not counted
        x = torch.randn(2, 48)
        layers[0](x)
        x.mul_(-3)
        torch.testing.assert_close(layers[1](x), linears[1](x), atol=0.09, rtol=0)


def test_threads_and_batches_keep_their_own(counted):
    _, layers = three(torch.tensor([3, 40]))
    x, results = torch.randn(4, 48), []
    with torch.no_grad():
        layers[0](x)
    thread = threading.Thread(target=lambda: results.append(layers[1](x).detach()))
    thread.start()
    thread.join()
    assert counted == [4, 4]
    with torch.no_grad():
        alone = torch.cat([layers[1](x[i : i + 2].clone()) for i in (0, 2)])
        many = layers[1](x.repeat(20, 1))
    torch.testing.assert_close(alone, results[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(many[:4], alone, atol=1e-6, rtol=0)


def test_queries_keys_and_values_of_a_step_share_theirs(counted):
    config = BartConfig(
        vocab_size=99, d_model=48, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=48, decoder_ffn_dim=48
    )
    torch.manual_seed(0)
    model = quantized(BartForConditionalGeneration(config).eval())
    attention = model.model.decoder.layers[0].self_attn
    assert attention.q_proj.columns is attention.k_proj.columns is attention.v_proj.columns
    counts = []
    for steps in (3, 4):
        counted.clear()
        model.generate(
            torch.randint(5, 99, (1, 6)), num_beams=2, max_new_tokens=steps, min_new_tokens=steps, eos_token_id=2
        )
        counts.append(len(counted))
    assert counts[1] - counts[0] == 8 - 2 + 1, "of 8 layers and the output layer, two read what another has read"


@pytest.mark.skipif(best_product().rounds, reason="this processor's product of many rows rounds them itself")
def test_layers_that_read_the_same_many_states_round_them_once(counted):
    columns = torch.tensor([3, 40])
    linears, layers = three(columns)
    layers, few = [Int8Linear(linear, columns) for linear in linears], layers[0]
    x = torch.randn(2, 60, 48)
    with torch.no_grad():
        found = [layer(x) for layer in layers[:2]]
        few(torch.randn(2, 1, 48))  # a step of a decoder, between two layers that read what the encoder computed
        found.append(layers[2](x))
        assert counted == [120, 2]
        for linear, layer, one in zip(linears, layers, found, strict=True):
            torch.testing.assert_close(one, linear(x), atol=0.03, rtol=0)
            assert torch.equal(one, layer(x.clone()))
        layers[0](x)
        counted.clear()
        x.mul_(2)
        torch.testing.assert_close(layers[0](x), linears[0](x), atol=0.06, rtol=0)
        assert counted == [120]
        kept = here.rounded_many[3]
        assert kept
        del x
        assert not kept, "memory is freed with the states"
    with torch.inference_mode():  # where changes are not counted
        x = torch.randn(60, 48)
        layers[0](x)
        x.mul_(-3)
        torch.testing.assert_close(layers[1](x), linears[1](x), atol=0.09, rtol=0)


@pytest.mark.parametrize("columns", [[], [3, 40]])
def test_blocks_of_rows_are_rounded_as_all_at_once(columns, monkeypatch):
    torch.manual_seed(0)
    x, columns = torch.randn(50, 48) * torch.rand(50, 1), torch.tensor(columns, dtype=torch.int64)
    others = torch.ones(48).index_fill(0, columns, 0)
    with torch.no_grad():
        whole = int8_rows.rounded_rows(x, columns, others, rounds=False)
        floats = int8_rows.rounded_rows(x, columns, others, rounds=True)
        monkeypatch.setattr(int8_rows, "BLOCK", 48 * 7)
        blocks = int8_rows.rounded_rows(x, columns, others, rounds=False, reuse=True)
    assert all(map(torch.equal, blocks, whole))
    assert whole.levels.dtype == torch.uint8 and len(whole.levels.unique()) > 200
    assert (whole.levels - floats.levels).abs().max() < 0.501
    assert torch.equal(whole.factors, floats.factors) and torch.equal(whole.step, floats.step)


def test_the_largest_value_of_a_row_does_not_wrap_around():
    # In steps of a 255th of the range, the largest value of some of these rows would be half a step above the last level.
    few = torch.tensor([[-0.5, 254.5], [-1.5, 253.5], [0.5, 255.5], [-127.5, 127.5]])
    many = torch.linspace(-300, 0, 3001)[:, None] + torch.tensor([0.0, 299.0])
    for rounds in (True, False):
        for x in (few, many, -many, 1e30 * many, 1e-30 * many):
            rows = int8_rows.rounded_rows(x, torch.tensor([], dtype=torch.int64), torch.ones(2), rounds)
            levels = rows.levels.clamp(max=255).round() if rounds else rows.levels.float()
            torch.testing.assert_close(
                levels * rows.step + rows.factors[:, :1], x, rtol=0, atol=0.51 * float(rows.step.max())
            )


def test_numbers_that_are_not_finite_are_seen_in_the_result():
    x = torch.zeros(4, 48)
    x[0, 1], x[1, 2], x[2, 3] = torch.nan, torch.inf, -torch.inf
    layer = Int8Linear(nn.Linear(48, 32))
    with torch.no_grad():
        rows = int8_rows.rounded_rows(x, layer.columns, layer.rounded, rounds=False)
        found = layer(torch.cat([x] * 20))
    assert rows.step[:, 0].mul(0).add(rows.factors[:, 0]).isfinite().tolist() == [False, False, False, True]
    assert found.isfinite().all(dim=1)[:4].tolist() == [False, False, False, True]


@pytest.mark.parametrize("by_onednn", [True, False])
def test_products_are_added_and_finished_in_blocks(by_onednn, monkeypatch):
    torch.manual_seed(0)
    out, step, factors, exact = torch.randn(70, 40), torch.rand(70, 1), torch.randn(70, 5), torch.randn(5, 40)
    expected = torch.relu(out * step + factors @ exact)
    finished = []

    def finish(part):
        finished.append(len(part))
        part.relu_()

    monkeypatch.setattr(int8_rows, "gain", lambda few, threads: 2.0 if by_onednn else 1.0)
    monkeypatch.setattr(int8_rows, "LEAST_PRODUCT", 1)
    monkeypatch.setattr(int8_rows, "BLOCK", 300)
    with torch.no_grad():
        given = out.clone()
        found = int8_rows.added(given, step, factors, exact, finish)
    torch.testing.assert_close(found, expected)
    assert found is given and finished == ([31, 31, 8] if by_onednn else [70])


def test_many_products_are_added_by_onednn(monkeypatch):
    torch.manual_seed(0)
    out, step, factors, exact = torch.randn(70, 40), torch.rand(70, 1), torch.randn(70, 5), torch.randn(5, 40)
    expected = out * step + factors @ exact
    calls, multiply = [], int8_rows.product
    monkeypatch.setattr(int8_rows, "product", lambda *given: calls.append(given) or multiply(*given))
    monkeypatch.setattr(int8_rows, "gain", lambda few, threads: 2.0)
    with torch.no_grad():
        torch.testing.assert_close(int8_rows.added(out.clone(), step, factors, exact), expected)
        assert not calls  # too few
        monkeypatch.setattr(int8_rows, "LEAST_PRODUCT", 1)
        torch.testing.assert_close(int8_rows.added(out.clone(), step, factors, exact), expected)
    assert len(calls) == 1
