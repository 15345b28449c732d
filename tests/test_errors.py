"""Errors about attributes that do not exist."""

from __future__ import annotations

import pytest

import notebook_kit
from notebook_kit.errors import ListsNearMatches
from notebook_kit.panels import AttentionView


def test_missing_attributes_list_near_matches_but_no_private_names(tmp_path):
    pipe = notebook_kit.pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment")
    trainer = notebook_kit.Trainer(pipe.model, notebook_kit.TrainingArguments(tmp_path, report_to="none"))
    view = AttentionView(pipe, "A warm film.")
    for owner, name, close in (
        (pipe, "tokeniser", "tokenizer"),
        (pipe.tokenizer, "encod", "encode"),
        (trainer, "evaluat", "evaluate"),
        (view, "to_htm", "to_html"),
    ):
        assert not hasattr(owner, name)
        with pytest.raises(AttributeError, match=f"no attribute {name!r}. Did you mean {close!r}") as error:
            getattr(owner, name)
        assert "'_" not in str(error.value)


def test_a_property_that_fails_says_so_itself():
    class Failing(ListsNearMatches):
        @property
        def colour(self):
            return self.shade

    with pytest.raises(AttributeError, match="'Failing' object has no attribute 'shade'"):
        Failing().colour  # noqa: B018


def test_a_dir_that_needs_what_is_missing_is_not_called():
    """As of an object that is being unpickled, and has no attributes yet."""

    class Listing(ListsNearMatches):
        flour = 500

        def __dir__(self):
            return [*super().__dir__(), *self.more]

    assert not hasattr(Listing(), "__deepcopy__")
    with pytest.raises(AttributeError, match=r"no attribute 'flower'\. Did you mean 'flour'"):
        Listing().flower  # noqa: B018
