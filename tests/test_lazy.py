"""Names that do not exist: what an import and an attribute access say."""

from __future__ import annotations

import pytest

import notebook_kit


def test_misspelled_import_lists_near_matches():
    with pytest.raises(ImportError, match=r"cannot import name 'AutoTokeniser'.*Did you mean 'AutoTokenizer'"):
        from notebook_kit import AutoTokeniser  # noqa: F401
    with pytest.raises(ImportError, match=r"'notebook_kit.training'.*Did you mean 'Trainer'"):
        from notebook_kit.training import Trainr  # noqa: F401


def test_misspelled_attribute_lists_near_matches():
    with pytest.raises(AttributeError, match="Did you mean 'pipeline'"):
        notebook_kit.pipelin  # noqa: B018
    assert not hasattr(notebook_kit, "pipelin")
    assert getattr(notebook_kit, "pipelin", None) is None
    with pytest.raises(ImportError, match="AutoTokeniser"):
        exec("from notebook_kit import pipeline, AutoTokeniser")
