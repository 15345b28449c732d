"""A pipeline in Ray Data's `map_batches`, as chapter 12 of the course shows it."""

from __future__ import annotations

from pathlib import Path

import nbformat
import numpy as np
import pytest

from notebook_kit import pipeline

CHAPTER = Path(__file__).parents[2] / "tutorials" / "12_beyond_one_machine.ipynb"
TEXTS = ["A warm, funny film.", "Dull from start to end.", "It is neither good nor bad.", "Great!"] * 20


@pytest.fixture(scope="module")
def example():
    """The names that the chapter's cell defines, without running Ray."""
    cells = nbformat.read(CHAPTER, as_version=4).cells
    source = next(cell.source for cell in cells if "class Classifier" in cell.source).partition("\ntry:")[0]
    names = {"np": np}
    exec(source, names)
    return names


def answered(example, attempts=3):
    """The chapter's answers. Ray gives its helpers 15 seconds to start, which no setting changes: too few for a busy machine."""
    for attempt in range(1, attempts + 1):
        try:
            return example["with_ray"](TEXTS)
        except Exception as error:
            if attempt == attempts or "timed out during startup" not in str(error):
                raise
            example["ray"].shutdown()
    raise AssertionError


def expected():
    return pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")(TEXTS)


def test_a_block_is_answered_as_by_the_pipeline(example):
    block = example["Classifier"]()({"text": np.array(TEXTS), "number": np.arange(len(TEXTS))})
    assert [*zip(block["label"].tolist(), block["score"].tolist(), strict=True)] == [
        (answer["label"], pytest.approx(answer["score"], abs=1e-5)) for answer in expected()
    ]
    assert block["number"].tolist() == list(range(len(TEXTS)))


def test_ray_answers_block_by_block(example):
    """Only where Ray is installed: with its dependencies it takes longer to install and to start than the suite can spare."""
    example["ray"] = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    rows = answered(example)
    for row, answer in zip(rows, expected(), strict=False):
        assert (row["label"], row["score"]) == (answer["label"], pytest.approx(answer["score"], abs=1e-5))
    assert len(rows) == 4
