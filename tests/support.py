"""What tests import by name: skipping for want of something, which CI does not allow."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

REQUIRE_ALL = os.environ.get("NOTEBOOK_KIT_REQUIRE_ALL") == "1"


def skip_or_fail(reason: str) -> NoReturn:
    """Skip for want of something; under NOTEBOOK_KIT_REQUIRE_ALL=1, as in CI, fail instead."""
    if REQUIRE_ALL:
        pytest.fail(f"{reason} (and NOTEBOOK_KIT_REQUIRE_ALL=1 forbids to skip)")
    pytest.skip(reason)
