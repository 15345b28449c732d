"""The checks at the top of published scripts pass where they can, and say what is missing where they cannot."""

from __future__ import annotations

import pytest

from notebook_kit.errors import ConfigurationError, MissingDependencyError
from notebook_kit.utils import (
    check_min_version,
    is_datasets_available,
    is_flax_available,
    is_torch_available,
    is_torch_xla_available,
    require_version,
    requires_backends,
    send_example_telemetry,
)


@pytest.mark.parametrize("version", ["4.9.0", "4.53.0.dev0", "5.0.0", "99.0"])
def test_any_version_of_transformers_fits(version):
    check_min_version(version)
    require_version(f"transformers>={version}", "pip install")


@pytest.mark.parametrize("requirement", ["datasets>=1.8.0", "torch>=1.3,!=1.4", "numpy", "python>=3.10"])
def test_versions_that_fit(requirement):
    require_version(requirement, "To fix: pip install -r requirements.txt")


def test_versions_that_do_not():
    with pytest.raises(ImportError, match=r"(?s)torch<1 is required, but the installed version is .*To fix: downgrade"):
        require_version("torch<1", "To fix: downgrade")
    with pytest.raises(MissingDependencyError, match=r"no-such-package>=1 is required.*is not installed"):
        require_version("no-such-package>=1")
    with pytest.raises(MissingDependencyError, match=r"python<3 is required"):
        require_version("python<3")


@pytest.mark.parametrize("wrong", ["datasets=>1", "=1", "", None, 3])
def test_requirements_that_are_none(wrong):
    with pytest.raises(ConfigurationError, match="is not a requirement"):
        require_version(wrong)


@pytest.mark.parametrize("wrong", ["new", "", None])
def test_versions_that_are_none(wrong):
    with pytest.raises(ConfigurationError, match="is not a version"):
        check_min_version(wrong)


def test_what_is_installed():
    assert is_torch_available() and is_datasets_available()
    assert not is_flax_available() and not is_torch_xla_available(check_device=False)
    requires_backends("this", ["torch", "datasets"])
    with pytest.raises(ImportError, match="list needs flax"):
        requires_backends([], "flax")


def test_nothing_is_sent(monkeypatch):
    import socket

    monkeypatch.setattr(socket, "socket", None)
    assert send_example_telemetry("run_glue", object(), framework="pytorch") is None
