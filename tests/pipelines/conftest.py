"""Our pipelines and those of `transformers` over the same tiny random checkpoints."""

from __future__ import annotations

import pytest
from pipeline_helpers import make_checkpoint, ours


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """`checkpoints(head, **config)` makes a checkpoint once and gives its folder."""
    made: dict = {}

    def make(head: str, **settings) -> str:
        key = (head, repr(sorted(settings.items())))
        if key not in made:
            made[key] = make_checkpoint(str(tmp_path_factory.mktemp(head)), head, **settings)
        return made[key]

    return make


@pytest.fixture(scope="session")
def both(checkpoints):
    """`both(task, head, **config)`: our pipeline and that of `transformers` over one checkpoint."""
    import transformers

    made: dict = {}

    def make(task: str, head: str, **settings):
        key = (task, head, repr(sorted(settings.items())))
        if key not in made:
            folder = checkpoints(head, **settings)
            made[key] = ours(task, folder), transformers.pipeline(task, model=folder, device="cpu")
        return made[key]

    return make
