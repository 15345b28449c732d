"""The digits that are part of the package."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from notebook_kit.data import load_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits()


def test_each_digit_is_equally_frequent_in_both_parts(digits):
    assert Counter(digits["train"]["label"]) == dict.fromkeys(range(10), 400)
    assert Counter(digits["test"]["label"]) == dict.fromkeys(range(10), 100)


def test_no_picture_is_there_twice(digits):
    pictures = {np.asarray(each["image"]).tobytes() for part in digits.values() for each in part}
    assert len(pictures) == 5_000


def test_labels_fit_the_pictures(digits):
    """A nearest neighbour is right in most cases, which it would not be if labels were shifted against pictures."""
    train, test = (part.with_format("numpy") for part in (digits["train"], digits["test"]))
    known = np.stack([np.asarray(each) for each in train["image"]]).reshape(4000, -1) / 255
    asked = np.stack([np.asarray(each) for each in test["image"]]).reshape(1000, -1)[:200] / 255
    distances = (known**2).sum(1) - 2 * asked @ known.T
    assert (np.asarray(train["label"])[distances.argmin(1)] == np.asarray(test["label"])[:200]).mean() > 0.9
