"""What a view reads from: a model with its tokenizer, or attention that is already there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.reading import Reading, read, read_model, read_record, read_tensors
from notebook_kit.inspection.attention.samples import Sample
from notebook_kit.nn.attention import AttentionRecord

__all__ = ["AttentionSource", "AttentionSources"]


class AttentionSource:
    """Something that attention can be read from.

    Args:
        given: A model, a pipeline, a record of `record_attention`, tensors, or a `Reading`.
        tokens: Labels, for a record or tensors.
        to_tokens: Labels of the columns, where they are others.
        tokenizer: For a model that reads text; a pipeline has its own, and a model that was loaded by name leads to it.
        sample: For a model: what it reads in place of texts.
        kind: "self", "decoder" or "cross", where there are several.
        example: Which example of a batch, for a record or tensors.

    Attributes:
        model: The model, or None.
        tokenizer: Its tokenizer, or None.
        sample: What the model reads in place of texts, or None.
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
        sample: Sample | None = None,
        kind: str | None = None,
        example: int = 0,
    ) -> None:
        self.kind = kind
        self.sample = sample
        self.model: nn.Module | None = None
        self.tokenizer = tokenizer
        self._reading: Reading | None = None
        if hasattr(given, "model") and (hasattr(given, "tokenizer") or sample) and not isinstance(given, nn.Module):
            self.model, self.tokenizer = given.model, tokenizer or getattr(given, "tokenizer", None)
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
        if self.model is None and sample is not None:
            raise InputError(
                "A sample is read by a model, and this is attention that is already there.",
                next_step="Pass the model: AttentionView(model, sample).",
            )
        if self.model is not None:
            if tokens is not None or to_tokens is not None:
                raise InputError(
                    "tokens= goes with attention that is already there; a model reads a text.",
                    next_step="Pass text=, or the model's attentions in place of the model.",
                )
            if self.tokenizer is None and sample is None:
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
        """Whether there is a model that reads texts."""
        return self.model is not None and self.sample is None

    def read(self, text: str | None, text_pair: str | None) -> Reading | None:
        """The attention on the sample, or on a text; without a model, that which is there. None while there is no text."""
        if self.model is None:
            return self._reading
        if self.sample is not None:
            return read(self.model, self.sample, kind=self.kind)
        return None if text is None else read_model(self.model, self.tokenizer, text, text_pair, kind=self.kind)


@dataclass(frozen=True, eq=False)
class AttentionSources:
    """A source, and another one that it is compared with.

    Args:
        source: What is shown, or None.
        compared: What it is compared with, or None.
    """

    source: AttentionSource | None = None
    compared: AttentionSource | None = None

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of what is shown, or None."""
        return self.source and self.source.tokenizer

    def using(self, model_or_pipeline: Any, tokenizer: Any = None) -> AttentionSources:
        """Another model for the same texts or the same sample, compared with nothing."""
        sample = None if self.source is None else self.source.sample
        return AttentionSources(AttentionSource(model_or_pipeline, tokenizer=tokenizer, sample=sample))

    def comparing(self, other: Any, **options: Any) -> AttentionSources:
        """The same source beside another sample for its model, another model for its texts or sample, or tensors.

        Args:
            other: That; None or a text (which the same model reads) compares with nothing else.
            **options: Further arguments of `AttentionSource`.
        """
        if other is None or isinstance(other, str):
            return replace(self, compared=None)
        mine = self.source
        if isinstance(other, Sample):
            if mine is None:
                raise InputError(
                    "There is no model that could read a second sample.", next_step="Call view.use(model)."
                )
            return replace(self, compared=AttentionSource(mine.model, sample=other, kind=mine.kind))
        is_model = isinstance(other, nn.Module) or hasattr(other, "model")
        sample = mine.sample if mine is not None and is_model else None
        return replace(self, compared=AttentionSource(other, tokenizer=self.tokenizer, sample=sample, **options))

    def read(
        self, text: str | None, text_pair: str | None, compare_text: str | None
    ) -> tuple[Reading | None, Reading | None]:
        """The attention of the source, and of what it is compared with.

        Raises:
            InputError: If one of them cannot be read, or the two cannot be compared.
        """
        reading = None if self.source is None else self.source.read(text, text_pair)
        if reading is None or self.source is None:
            return None, None
        other = None
        if self.compared is not None:
            other = self.compared.read(text, text_pair)
        elif compare_text is not None:
            if not self.source.reads_text:
                raise InputError("There is no model that could read a second text.", next_step="Pass compare=tensors.")
            other = self.source.read(compare_text, text_pair)
        if other is not None:
            _check_alike(reading, other)
        return reading, other


def _check_alike(reading: Reading, other: Reading) -> None:
    mine = [tuple(layer.shape) for layer in reading.layers]
    theirs = [tuple(layer.shape) for layer in other.layers]
    if mine == theirs and reading.numbers == other.numbers:
        return
    if len(reading.rows) != len(other.rows):
        raise InputError(
            f"The two texts cannot be compared: one has {len(reading.rows)} tokens, the other {len(other.rows)}.",
            next_step="Compare texts of as many tokens, for instance with one word changed.",
        )
    raise InputError(
        f"The two cannot be compared: one has {len(mine)} layers with {list(reading.heads)} heads, the other {len(theirs)} with "
        f"{list(other.heads)}.",
        next_step="Compare two checkpoints of one architecture.",
    )


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
