"""The largest numbers, found by blocks, are those that torch finds."""

from __future__ import annotations

import pytest
import torch

from notebook_kit.nn.largest import BLOCK, FEWEST, largest, largest_in_order


@pytest.mark.parametrize("size", [1, 100, FEWEST, FEWEST + 1, 50_257])
@pytest.mark.parametrize("count", [1, 8, 64])
def test_of_random_numbers(size, count):
    torch.manual_seed(0)
    x, count = torch.randn(3, size), min(size, count)
    values, places = x.topk(count, dim=1)
    for found in (largest(x, count), largest_in_order(x, count)):
        assert torch.equal(found[0], values) and torch.equal(found[1], places)


def test_all_in_one_block_or_in_the_rest_of_a_row():
    x = torch.zeros(2, FEWEST + BLOCK // 2)
    x[0, 128 : 128 + 8] = torch.arange(1.0, 9)
    x[1, -8:] = torch.arange(1.0, 9)
    values, places = largest(x, 8)
    assert values.tolist() == [[8, 7, 6, 5, 4, 3, 2, 1]] * 2
    assert places.tolist() == [list(range(135, 127, -1)), list(range(x.shape[1] - 1, x.shape[1] - 9, -1))]


@pytest.mark.parametrize("kind", ["equal", "few values", "mostly -inf", "all -inf", "nan", "inf"])
def test_equal_numbers_and_what_is_no_number(kind):
    torch.manual_seed(1)
    x = torch.randn(2, 20_000)
    if kind == "equal":
        x[:] = 1.5
    elif kind == "few values":
        x = x.round()
    elif kind == "mostly -inf":
        x[:, torch.randperm(20_000)[: 20_000 - 5]] = -torch.inf
    elif kind == "all -inf":
        x[:] = -torch.inf
    else:
        x[:, 777], x[1, 15_000] = float(kind), float(kind)
    for count in (1, 8):
        expected = x.topk(count, dim=1)
        found = largest_in_order(x, count)
        assert torch.equal(found[1], expected.indices)
        torch.testing.assert_close(found[0], expected.values, rtol=0, atol=0, equal_nan=True)
        values, places = largest(x, count)
        torch.testing.assert_close(values, expected.values, rtol=0, atol=0, equal_nan=True)
        torch.testing.assert_close(x.gather(1, places), values, rtol=0, atol=0, equal_nan=True)


def test_with_another_default_device():
    x = torch.randn(2, FEWEST + 1)
    with torch.device("meta"):
        found = largest(x, 3)
    assert all(map(torch.equal, found, x.topk(3, dim=1)))
