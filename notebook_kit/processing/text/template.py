"""Find out where a tokenizer puts its special tokens, by running its post-processor."""

from __future__ import annotations

from typing import NamedTuple

from tokenizers import Tokenizer, models

__all__ = ["Part", "layout"]


class Part(NamedTuple):
    """One piece of the template: the text number `sequence` (0 or 1), or the special token `id` if `sequence` is None."""

    sequence: int | None
    id: int
    type_id: int


def layout(backend: Tokenizer, pair: bool) -> list[Part]:
    """The order of texts and special tokens for one text or a pair.

    Post-processors do not expose their template, so this processes texts of one token each.

    Example:
        >>> from tokenizers import processors
        >>> backend = Tokenizer(models.WordLevel({"[CLS]": 5, "[SEP]": 6}, unk_token="[SEP]"))
        >>> backend.post_processor = processors.BertProcessing(("[SEP]", 6), ("[CLS]", 5))
        >>> [(part.sequence, part.id) for part in layout(backend, pair=False)]
        [(None, 5), (0, 0), (None, 6)]
    """
    if backend.post_processor is None:
        return [Part(0, 0, 0), Part(1, 0, 1)][: 1 + pair]
    one_word = Tokenizer(models.WordLevel({"x": 0}, unk_token="x"))
    result = backend.post_processor.process(one_word.encode("x"), one_word.encode("x") if pair else None, True)
    return [Part(*part) for part in zip(result.sequence_ids, result.ids, result.type_ids, strict=True)]
