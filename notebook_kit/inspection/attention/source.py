"""What a view reads from: a model with its tokenizer, or attention that is already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.reading import Reading, read_model, read_record, read_tensors
from notebook_kit.nn.attention import AttentionRecord

__all__ = ["Source"]


class Source:
    """Something that attention can be read from.

    Args:
        given: A model, a pipeline, a record of `record_attention`, tensors, or a `Reading`.
        tokens: Labels, for a record or tensors.
        to_tokens: Labels of the columns, where they are others.
        tokenizer: For a model; a pipeline brings its own, and a model that was loaded by name leads to it.
        kind: "self", "decoder" or "cross", where there are several.
        example: Which example of a batch, for a record or tensors.

    Attributes:
        model: The model, or None.
        tokenizer: Its tokenizer, or None.
        name: What to call it.

    Raises:
        InputError: If nothing can be read from it.
    """

    def __init__(
        self,
        given: Any,
        *,
        tokens: Sequence[Any] | None = None,
        to_tokens: Sequence[Any] | None = None,
        tokenizer: Any = None,
        kind: str | None = None,
        example: int = 0,
    ) -> None:
        self.kind = kind
        self.model: nn.Module | None = None
        self.tokenizer = tokenizer
        self._reading: Reading | None = None
        if hasattr(given, "model") and hasattr(given, "tokenizer") and not isinstance(given, nn.Module):
            self.model, self.tokenizer = given.model, tokenizer or given.tokenizer
        elif isinstance(given, nn.Module):
            self.model = given
        elif isinstance(given, Reading):
            self._reading = given
        elif isinstance(given, AttentionRecord):
            self._reading = read_record(given, tokens, to_tokens, kind=kind, example=example)
        elif isinstance(given, str):
            raise InputError(
                f"AttentionView was given the text {given!r} where a model or attention belongs.",
                next_step="Write AttentionView(model_or_pipeline, text), or pass pipeline(task, model=name).",
            )
        elif isinstance(given, Mapping) or hasattr(given, "attentions"):
            found = given.get("attentions") if isinstance(given, Mapping) else given.attentions
            if not found:
                raise InputError(
                    f"This {type(given).__name__} holds no attentions.",
                    next_step="Call the model with output_attentions=True.",
                )
            self._reading = read_tensors(found, tokens, to_tokens, example=example, kind=kind or "self")
        else:
            self._reading = read_tensors(given, tokens, to_tokens, example=example, kind=kind or "self")
        if self.model is not None:
            if tokens is not None or to_tokens is not None:
                raise InputError(
                    "tokens= goes with attention that is already there; a model reads a text.",
                    next_step="Pass text=, or the model's attentions in place of the model.",
                )
            if self.tokenizer is None:
                self.tokenizer = _tokenizer_of(self.model)

    @property
    def name(self) -> str:
        """What to call it, in a title."""
        if self.model is None:
            return ""
        config = getattr(self.model, "config", None)
        name = str(getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "") or "")
        # A folder's path may say more of its owner than belongs in a saved notebook.
        return f"{type(self.model).__name__} {name.replace(chr(92), '/').rstrip('/').rpartition('/')[2]}".strip()

    @property
    def reads_text(self) -> bool:
        return self.model is not None

    def read(self, text: str | None, text_pair: str | None) -> Reading | None:
        """The attention on a text; without a model, that which is there. None while there is no text."""
        if self.model is None:
            return self._reading
        return None if text is None else read_model(self.model, self.tokenizer, text, text_pair, kind=self.kind)


def _tokenizer_of(model: nn.Module) -> Any:
    config = getattr(model, "config", None)
    name = getattr(config, "name_or_path", "") or getattr(config, "_name_or_path", "")
    if not name:
        raise InputError(
            f"{type(model).__name__} was not loaded by name, so its tokenizer is not known.",
            next_step="Pass tokenizer=..., or a pipeline, which brings its own.",
        )
    from notebook_kit.processing.text.auto import AutoTokenizer

    return AutoTokenizer.from_pretrained(name)
