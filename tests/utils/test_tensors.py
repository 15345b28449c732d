"""The helpers of Trainers of users' own give what those of the reference give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers.trainer_pt_utils as reference
from transformers.trainer_utils import has_length, number_of_arguments

import notebook_kit.utils as ours
from notebook_kit.errors import InputError


def same(mine, theirs):
    assert type(mine) is type(theirs)
    if isinstance(mine, list | tuple):
        assert len(mine) == len(theirs)
        for a, b in zip(mine, theirs, strict=True):
            same(a, b)
    elif isinstance(mine, dict):
        assert mine.keys() == theirs.keys()
        for name in mine:
            same(mine[name], theirs[name])
    elif isinstance(mine, torch.Tensor):
        assert torch.equal(mine, theirs)
    else:
        assert np.array_equal(mine, theirs)


NESTED = {"a": torch.ones(2, 3, requires_grad=True), "b": (torch.zeros(2, 4), [torch.arange(2)])}


@pytest.mark.parametrize("name", ["nested_detach", "nested_numpify", "find_batch_size"])
@pytest.mark.parametrize("value", [NESTED, NESTED["b"], NESTED["a"]], ids=["mapping", "tuple", "tensor"])
def test_nested_tensors(name, value):
    same(getattr(ours, name)(value), getattr(reference, name)(ours.nested_detach(value)))


def test_truncation_and_half_precision():
    same(ours.nested_truncate(NESTED["b"], 1), reference.nested_truncate(NESTED["b"], 1))
    half = ours.nested_numpify(torch.ones(2, dtype=torch.bfloat16))
    assert half.dtype == np.float32 and half.tolist() == [1, 1]


@pytest.mark.parametrize("widths", [(3, 3), (3, 5), (5, 3)])
@pytest.mark.parametrize("as_array", [False, True])
def test_concatenation(widths, as_array):
    pair = [(torch.full((2, width), float(width)), [torch.ones(2, width, 2)]) for width in widths]
    if as_array:
        pair = [ours.nested_numpify(value) for value in pair]
    same(ours.nested_concat(*pair, padding_index=-7), reference.nested_concat(*pair, padding_index=-7))
    with pytest.raises(InputError, match="cannot be joined"):
        ours.nested_concat(pair[0], list(pair[1]))


def test_parameter_names():
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch.nn.LayerNorm(2), torch.nn.Sequential(torch.nn.Linear(2, 2))
    )
    for arguments in ([[torch.nn.LayerNorm]], [[torch.nn.LayerNorm], [r"bias"]], [[]]):
        assert sorted(ours.get_parameter_names(model, *arguments)) == sorted(
            reference.get_parameter_names(model, *arguments)
        )


@pytest.mark.parametrize("shift", [False, True])
@pytest.mark.parametrize("items", [None, 7, torch.tensor(7)], ids=str)
@pytest.mark.parametrize("as_tuple", [False, True])
def test_label_smoothing(shift, items, as_tuple):
    torch.manual_seed(0)
    logits, labels = torch.randn(2, 5, 6), torch.randint(6, (2, 5))
    labels[0, 2:4] = -100
    output = (logits,) if as_tuple else {"logits": logits}
    mine = ours.LabelSmoother(0.2)(output, labels, shift, items)
    torch.testing.assert_close(mine, reference.LabelSmoother(0.2)(output, labels.clone(), shift, items))


def test_lengths_and_arguments():
    for value in ([1], iter([1]), torch.utils.data.DataLoader([1]), torch.nn.Linear(1, 1), 5):
        assert ours.has_length(value) == has_length(value)
    for function in (lambda: 0, lambda a, b=1: 0):
        assert ours.number_of_arguments(function) == number_of_arguments(function)
