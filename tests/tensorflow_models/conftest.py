"""Tests of the TF classes, which need the extra `tensorflow`: where it is not installed, their files are not even read.

They run with `pytest -m tensorflow`, which fails if it finds none, and in CI in an environment of their own.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("keras") else ["test_*.py"]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.tensorflow)


@pytest.fixture(scope="session", autouse=True)
def graphs_apart(tmp_path_factory):
    """Graphs that these tests trace are kept apart from the user's, and shared among them."""
    from notebook_kit.tensorflow import stored_graphs

    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("graphs")
    patch.setattr(stored_graphs, "graphs_folder", lambda: folder)
    yield
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def without_cache_of_shapes():
    """Models as shallow as those of these tests are traced faster without it, to the same graphs."""
    import torch._dynamo.config

    with torch._dynamo.config.patch(fake_tensor_cache_enabled=False):
        yield


@pytest.fixture(autouse=True)
def seeded():
    """New weights, dropout and the order of examples are the same in each run, and whichever tests ran before."""
    import keras

    keras.utils.set_random_seed(0)
