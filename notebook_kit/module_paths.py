"""Module paths of `transformers` that users' code imports from, such as `notebook_kit.trainer_utils`.

This package is laid out differently, so it has no files at these paths. Importing one creates a module whose names are looked
up where they are: in the packages that the table lists for the path, then among the names of `notebook_kit` itself::

    from notebook_kit.trainer_utils import get_last_checkpoint  # is notebook_kit.training's
    from notebook_kit.models.bert.modeling_bert import BertModel

To add a path, add a line to the table.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False  # as in `lazy`
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import ModuleType
    from typing import Any

__all__ = ["PATHS", "install_module_paths"]

# path -> the packages and modules to look a name up in, before the root. All are relative to `notebook_kit`.
PATHS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("trainer", "trainer_seq2seq", "training_args_seq2seq"), ("training",)),
    "trainer_callback": ("training", "training.state"),
    **dict.fromkeys(("trainer_utils", "trainer_pt_utils", "training_args", "optimization"), ("training", "utils")),
    **dict.fromkeys(("data.data_collator", "data.datasets", "data.datasets.language_modeling"), ("training", "data")),
    **dict.fromkeys(("file_utils", "hf_argparser", "integrations"), ("utils",)),
    **dict.fromkeys(("utils.generic", "utils.hub", "utils.import_utils"), ("utils",)),
    **dict.fromkeys(("configuration_utils", "modeling_utils", "modeling_outputs"), ("nn.outputs", "nn.base", "utils")),
    **dict.fromkeys(("activations", "pytorch_utils", "modeling_attn_mask_utils"), ("nn.layers",)),
    **dict.fromkeys(("tokenization_utils", "tokenization_utils_base", "tokenization_utils_fast"), ("utils",)),
    **dict.fromkeys(("cache_utils", "generation.utils", "generation_utils"), ("generation", "nn.cache")),
    **dict.fromkeys(("generation.logits_process", "generation_logits_process"), ("generation",)),
    **dict.fromkeys(("generation.stopping_criteria", "generation_stopping_criteria"), ("generation",)),
    **dict.fromkeys(("image_utils", "image_processing_utils", "feature_extraction_utils"), ("utils",)),
    "generation.configuration_utils": ("generation",),
    "testing_utils": ("utils.logging",),
    "pipelines.pt_utils": ("pipelines.inputs",),
    "models.attention": ("nn.attention",),  # this package's own former name
}
_FAMILY_FILES = (
    *("configuration_", "modeling_", "tokenization_", "auto_factory"),
    *("image_processing_", "feature_extraction_"),
)


class _Finder:
    """Finds the modules of the table, for Python's import system."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> Any:
        package, _, inner = name.partition(".")
        if package != self.package or not inner:
            return None
        if inner in PATHS:
            inside = any(other.startswith(f"{inner}.") for other in PATHS)
            return ModuleSpec(name, self, is_package=inside)  # type: ignore[arg-type]
        parts = inner.split(".")
        if parts[0] != "models" or len(parts) < 2:
            return None
        if len(parts) == 3 and parts[2].startswith(_FAMILY_FILES):
            return ModuleSpec(name, self)  # type: ignore[arg-type]
        spec = PathFinder.find_spec(name, path) if len(parts) == 2 else None
        if spec is not None and spec.submodule_search_locations is None:
            spec.submodule_search_locations = []  # a family is one file, but has these modules inside
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """None: Python creates the module."""

    def exec_module(self, module: ModuleType) -> None:
        inner = module.__name__.partition(".")[2]
        homes = PATHS.get(inner, (inner.rpartition(".")[0],))

        def getattr_(name: str) -> Any:
            failure = f"module {module.__name__!r} has no attribute {name!r}"
            for home in (*homes, "") if not name.startswith("__") else ():
                try:
                    return getattr(import_module(f"{self.package}.{home}".rstrip(".")), name)
                except AttributeError as error:
                    failure = f"module {module.__name__!r} has no attribute {name!r}; {error}"
            from notebook_kit.errors import is_from_import

            raise (ImportError if is_from_import(sys._getframe(1)) else AttributeError)(failure)

        module.__getattr__ = getattr_  # type: ignore[method-assign]


def install_module_paths(package: str) -> None:
    """Let the paths of the table be imported from `package`."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder(package))
