"""Checkpoint folders for the tokenizer tests, each built once."""

from __future__ import annotations

import pytest
import vocabularies as checkpoints


@pytest.fixture(scope="session")
def sentences(snippets) -> list[str]:
    """2,000 real sentences."""
    return [snippet.text for snippet in snippets[:2000]]


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, minilm, sentences):
    """`checkpoint(name)`: the folder of that checkpoint."""
    built = {}
    builders = {**checkpoints.CHECKPOINTS, **checkpoints.OF_LANGUAGES, "siglip": checkpoints.siglip}

    def folder(name: str):
        if name not in built:
            target = tmp_path_factory.mktemp(name)
            built[name] = builders[name](target, minilm, sentences)
        return built[name]

    return folder


@pytest.fixture(scope="session")
def both(checkpoint):
    """`both(name)`: our tokenizer and the oracle's, from the same folder."""
    from transformers import AutoTokenizer as OracleAutoTokenizer

    from notebook_kit.processing.text.auto import AutoTokenizer

    loaded = {}

    def pair(name: str):
        if name not in loaded:
            folder = str(checkpoint(name))
            loaded[name] = AutoTokenizer.from_pretrained(folder), OracleAutoTokenizer.from_pretrained(folder)
            for tokenizer in loaded[name]:
                if tokenizer.pad_token is None:
                    tokenizer.pad_token = tokenizer.eos_token
        return loaded[name]

    return pair
