"""A stand-in Hub, a fresh cache, and a process that believes in both."""

from __future__ import annotations

import pytest
from standin_hub import StandInHub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and no setting of the outer world."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    # Code under test reads the environment when it is called, huggingface_hub when it is imported.
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    # Nothing listens there, so that no test leaves this machine.
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "ENDPOINT", nowhere)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", nowhere + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Its retries sleep between tries for seconds.
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return tmp_path / "hf" / "hub"


@pytest.fixture
def hub(cache, monkeypatch):
    """A running stand-in Hub that `HF_ENDPOINT` points at."""
    with StandInHub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub
