"""Checks of versions at the top of published scripts."""

from __future__ import annotations

import sys
from importlib import metadata

from notebook_kit.errors import ConfigurationError, MissingDependencyError

__all__ = ["check_min_version", "require_version", "require_version_core"]

_WE_STAND_IN_FOR = "transformers"


def check_min_version(min_version: str) -> None:
    """Accept the version of `transformers` that a published script asks for.

    Scripts check that version to be sure of names and options. This package has them under its own version number, so
    nothing is compared.

    Raises:
        ConfigurationError: if the text is not a version.

    Example:
        >>> check_min_version("4.53.0.dev0")
    """
    from packaging.version import InvalidVersion, Version

    try:
        Version(min_version)
    except (InvalidVersion, TypeError) as error:
        raise ConfigurationError(
            f"{min_version!r} is not a version.", next_step='Pass one such as "4.53.0".'
        ) from error


def require_version(requirement: str, hint: str | None = None) -> None:
    """Check that a package is installed in a version that fits. Versions of `transformers` always fit: see `check_min_version`.

    Args:
        requirement: A package and versions as for pip, such as "datasets>=2.14,<6", or "python>=3.10".
        hint: Advice for the error message.

    Raises:
        MissingDependencyError: (an ImportError) if the package is missing or its version does not fit.
        ConfigurationError: if the requirement cannot be parsed.

    Example:
        >>> require_version("datasets>=1.8.0", "To fix: pip install -U datasets")
        >>> require_version("torch>=99")
        Traceback (most recent call last):
            ...
        notebook_kit.errors.MissingDependencyError: torch>=99 is required, but the installed version is ...
    """
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        wanted = Requirement(requirement)
    except (InvalidRequirement, TypeError) as error:
        raise ConfigurationError(
            f"{requirement!r} is not a requirement.", next_step='Pass one such as "datasets>=2.14".'
        ) from error
    if wanted.name == _WE_STAND_IN_FOR:
        return
    next_step = hint or f"Install it: pip install {requirement!r}"
    if wanted.name == "python":
        version = ".".join(map(str, sys.version_info[:3]))
    else:
        try:
            version = metadata.version(wanted.name)
        except metadata.PackageNotFoundError:
            raise MissingDependencyError(
                f"{requirement} is required, but {wanted.name} is not installed.", next_step=next_step
            ) from None
    if not wanted.specifier.contains(version, prereleases=True):
        raise MissingDependencyError(
            f"{requirement} is required, but the installed version is {version}.", next_step=next_step
        )


def require_version_core(requirement: str) -> None:
    """`require_version` with the advice to update this package."""
    require_version(requirement, "Update: pip install -U notebook_kit")
