"""What users' code imports beside models and pipelines: verbosity, command-line arguments, versions, choices by name.

Example:
    >>> import notebook_kit
    >>> notebook_kit.utils.logging.get_verbosity() == notebook_kit.utils.logging.WARNING
    True
    >>> notebook_kit.utils.PaddingStrategy.LONGEST.value
    'longest'
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports

__getattr__, __dir__, __all__ = lazy_exports(__name__)
