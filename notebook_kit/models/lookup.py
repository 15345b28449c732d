"""From a `model_type` to the module and the classes of its family."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, UnknownArchitectureError, near_matches
from notebook_kit.files import check_mapping
from notebook_kit.registry.families import FAMILIES

if TYPE_CHECKING:
    from types import ModuleType

    from notebook_kit.nn.base import PreTrainedModel

__all__ = ["REGISTERED", "class_of", "config_class", "family", "model_classes", "model_types", "unsupported"]

REGISTERED: dict[str, type[PretrainedConfig]] = {}
"""`model_type` -> class registered with `AutoConfig.register`."""


def family(model_type: str) -> ModuleType:
    """Import the module of a family.

    Raises:
        UnknownArchitectureError: If there is no such family.
    """
    if not isinstance(model_type, str):
        raise unsupported(f"model_type is {model_type!r:.80}; expected text.")
    if model_type not in FAMILIES:
        raise unsupported(f"notebook_kit has no architecture {model_type!r}. {near_matches(model_type, model_types())}")
    return importlib.import_module(f"notebook_kit.models.{FAMILIES[model_type].module}")


def unsupported(what: str) -> UnknownArchitectureError:
    """The error about an architecture that is not here, which lists those that are."""
    names = ", ".join(sorted(model_types()))
    return UnknownArchitectureError(
        what.rstrip(),
        next_step=f"Choose a checkpoint of one of these: {names}. For classes of your own, call AutoConfig.register and "
        "AutoModel.register first.",
    )


def config_class(model_type: str) -> type[PretrainedConfig]:
    """The configuration class of a family, or the one registered for `model_type`."""
    if isinstance(model_type, str) and model_type in REGISTERED:
        return REGISTERED[model_type]
    return getattr(family(model_type), FAMILIES[model_type].config)


def class_of(values: Mapping[str, Any]) -> type[PretrainedConfig]:
    """The configuration class for the content of a `config.json`."""
    check_mapping(values)
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        raise ConfigurationError(
            f"model_type is {model_type!r}, so the architecture is unknown.",
            next_step="Load it with the family's class, such as BertModel.from_pretrained(...), or correct model_type.",
        )
    return config_class(model_type)


def model_types() -> list[str]:
    """The `model_type` of every family, and of every registered configuration."""
    return list(dict.fromkeys([*FAMILIES, *REGISTERED]))


def model_classes(model_type: str) -> dict[str, type[PreTrainedModel]]:
    """Auto class -> the family's class for it."""
    module = family(model_type)
    return {auto: getattr(module, name) for auto, name in FAMILIES[model_type].class_names.items()}
