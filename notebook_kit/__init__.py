"""notebook_kit: the Transformers quick tour, alive in a notebook.

Names are imported when they are first used, so `import notebook_kit` costs nothing; what a name pulls in (torch for a
model, nothing heavy for a tokenizer) is paid by those who use it.
"""

from __future__ import annotations

from notebook_kit.lazy import lazy_exports
from notebook_kit.module_paths import install_module_paths

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_exports(__name__, optional=(".tensorflow",))
__all__ += ["__version__"]
install_module_paths(__name__)
