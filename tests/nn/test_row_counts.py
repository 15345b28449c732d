"""Few different numbers of rows for oneDNN, which keeps a compiled product for each; what models compute stays the same."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from notebook_kit.nn import few_rows, int8, many_rows, row_counts
from notebook_kit.nn.many_rows import FastProducts
from notebook_kit.nn.row_counts import MOST_EXACT, few_counts, in_parts, parts

pytestmark = pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")


@pytest.fixture
def exact(monkeypatch):
    """As in a new process; the numbers of rows that are multiplied as they are."""
    numbers: set[int] = set()
    monkeypatch.setattr(row_counts, "_exact", numbers)
    return numbers


def test_a_model_multiplies_few_numbers_of_rows(exact, monkeypatch):
    monkeypatch.setattr(many_rows, "LEAST_PRODUCT", 1)
    counts, product = [], many_rows.product

    def counting(x, weight, bias):
        counts.append(x.shape[:-1].numel())
        return product(x, weight, bias)

    monkeypatch.setattr(many_rows, "product", counting)
    torch.manual_seed(0)
    layer = nn.Linear(40, 24)
    with torch.no_grad():
        for rows in range(512, 255, -1):  # so that the scratch memory holds values of others
            x = torch.randn(rows, 40)
            with FastProducts():
                fast = layer(x), layer(x.view(1, rows, 40)), layer(x.t().contiguous().t())
            for found in fast:
                torch.testing.assert_close(found.view(rows, 24), layer(x))
                assert found.view(rows, 24).is_contiguous()
    assert len(counts) == 3 * 257
    assert len(set(counts)) <= MOST_EXACT + 5, "multiples of 64, as the layer is small"


def test_the_first_numbers_stay_as_they_are(exact):
    first = [torch.ones(rows, 3) for rows in range(513, 513 + MOST_EXACT)]
    assert all(few_counts(rows) is rows for rows in first)
    assert len(few_counts(torch.ones(513 + MOST_EXACT, 3))) == 576
    assert few_counts(first[0]) is first[0]
    assert few_counts(round_one := torch.ones(512, 3)) is round_one
    assert len(exact) == MOST_EXACT


@pytest.mark.parametrize(("coarse", "most"), [(False, 16 + 8 + 8 + 8 + 8), (True, 16 + 8 + 8 + 2 + 7)])
def test_many_rows_are_multiplied_in_parts(exact, coarse, most):
    """However many rows there are, oneDNN compiles few products, and none of the rows of zeros is left."""
    counts: set[int] = set()

    def doubled(part):
        counts.add(len(part))
        assert part.is_contiguous()
        return 2 * part

    for count in range(1, 5000, 7):
        rows = torch.arange(3.0 * count).view(count, 3)
        assert torch.equal(in_parts(doubled, rows, coarse=coarse), 2 * rows)
    assert len(exact) == MOST_EXACT and len(counts) <= MOST_EXACT + most
    assert max(counts) == 512
    padded = sum(sum(parts(count, coarse=coarse)) - count for count in range(512, 4096))
    assert padded < (0.02 if coarse else 0.01) * sum(range(512, 4096))


def test_a_model_multiplies_many_rows_in_parts(exact, monkeypatch):
    monkeypatch.setattr(many_rows, "LEAST_PRODUCT", 1)
    exact.update(range(-MOST_EXACT, 0))  # no further one is multiplied as it is
    counts, product = [], many_rows.product
    monkeypatch.setattr(many_rows, "product", lambda x, *more: counts.append(len(x)) or product(x, *more))
    torch.manual_seed(0)
    for width, expected in ((24, [512, 512, 256]), (512, [512, 512, 224])):
        layer, x = nn.Linear(512, width), torch.randn(2, 620, 512)
        with torch.no_grad(), FastProducts():
            fast = layer(x)
        torch.testing.assert_close(fast, layer(x).detach())
        assert counts == expected
        counts.clear()


def test_memory_that_is_used_again_holds_zeros(exact):
    exact.update(range(-MOST_EXACT, 0))
    in_parts(torch.clone, torch.full((50, 4), float("nan")))
    given = []
    in_parts(lambda part: given.append(part.clone()) or part, torch.ones(33, 4))
    assert torch.equal(given[0], torch.ones(36, 4).index_fill(0, torch.tensor([33, 34, 35]), 0.0))


def test_threads_do_not_share_memory(exact):
    exact.update(range(-MOST_EXACT, 0))

    def rows(value):
        given = torch.full((101, 8), float(value))
        return [in_parts(torch.clone, given).unique().tolist() for _ in range(200)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(rows, range(4))) == [[[float(value)]] * 200 for value in range(4)]


@pytest.mark.parametrize("product", int8._candidates(), ids=lambda product: product.name)
@torch.no_grad()
def test_products_of_8_bits(product, exact, monkeypatch):
    if not int8._is_exact(product):
        pytest.skip("not on this processor")
    exact.update(range(-MOST_EXACT, 0))  # no further one is multiplied as it is
    torch.manual_seed(0)
    weight = torch.randint(-product.levels, product.levels + 1, (16, 24), dtype=torch.int8)
    packed, asked = product.pack(weight, torch.ones(16)), []
    monkeypatch.setattr(int8, "few_counts", lambda rows: asked.append(len(rows)) or few_counts(rows))
    for rows in (17, 33, 100):
        x = torch.randint(0, 256, (rows, 24))
        given = x.float() if product.rounds else x.to(torch.uint8)
        assert torch.equal(product.multiply(given, packed).long(), x @ weight.long().t())
    assert asked == ([17, 33, 100] if product.name.startswith("onednn") else [])
