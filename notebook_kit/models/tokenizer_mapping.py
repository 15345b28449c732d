"""`TOKENIZER_MAPPING`: from a configuration class to the tokenizer class of its family."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.processing.text.auto import AutoTokenizer
from notebook_kit.processing.text.families import MODEL_TYPES
from notebook_kit.processing.text.tokenizer import (
    CLASSES_BY_MODEL_TYPE,
    TOKENIZER_CLASSES,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from notebook_kit.registry.families import FAMILIES, Family

__all__ = ["TOKENIZER_MAPPING", "TokenizerMapping"]


class TokenizerMapping(Mapping[type[PretrainedConfig], type[PreTrainedTokenizerBase]]):
    """Configuration class -> tokenizer class, for the families of models; registered ones are found, too.

    Example:
        >>> from notebook_kit import TOKENIZER_MAPPING, DistilBertConfig
        >>> TOKENIZER_MAPPING[DistilBertConfig].__name__, len(TOKENIZER_MAPPING) > 20
        ('DistilBertTokenizer', True)
    """

    def __getitem__(self, config: type[PretrainedConfig]) -> type[PreTrainedTokenizerBase]:
        model_type = getattr(config, "model_type", None)
        if model_type in CLASSES_BY_MODEL_TYPE:
            return CLASSES_BY_MODEL_TYPE[model_type]
        if model_type not in FAMILIES or FAMILIES[model_type] not in _reading_text():
            raise KeyError(config)
        return TOKENIZER_CLASSES.get(MODEL_TYPES.get(model_type, ""), PreTrainedTokenizerFast)

    def __iter__(self) -> Iterator[type[PretrainedConfig]]:
        for family in _reading_text():
            yield getattr(import_module(f"notebook_kit.models.{family.module}"), family.config)

    def __len__(self) -> int:
        return len(_reading_text())

    def register(
        self, config: type[PretrainedConfig], tokenizer_class: type[PreTrainedTokenizerBase], exist_ok: bool = False
    ) -> None:
        """As `AutoTokenizer.register`."""
        AutoTokenizer.register(config, tokenizer_class, exist_ok=exist_ok)


def _reading_text() -> list[Family]:
    return [family for family in FAMILIES.values() if family.modality in ("text", "multimodal")]


TOKENIZER_MAPPING = TokenizerMapping()
