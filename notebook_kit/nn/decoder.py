"""What decoder families share: the last token's prediction, and scoring the last states alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from notebook_kit.errors import InputError

if TYPE_CHECKING:
    from notebook_kit.configuration import PretrainedConfig

__all__ = ["kept", "last_token_logits"]


def kept(hidden: Tensor, logits_to_keep: int | Tensor) -> Tensor:
    """The states of which logits are wanted.

    Args:
        hidden: `(batch, tokens, width)`.
        logits_to_keep: That many last ones, 0 for all; or indices of tokens.
    """
    if isinstance(logits_to_keep, Tensor):
        return hidden[:, logits_to_keep]
    return hidden[:, -logits_to_keep:] if logits_to_keep else hidden


def last_token_logits(logits: Tensor, input_ids: Tensor | None, config: PretrainedConfig) -> Tensor:
    """The prediction at each text's last token, whichever side the padding is on.

    Args:
        logits: `(batch, tokens, labels)`.
        input_ids: `(batch, tokens)`; without them the last place counts as the last token.
        config: For its `pad_token_id`.

    Raises:
        InputError: If there are several texts and no padding token that would tell where they end.
    """
    pad = config.pad_token_id
    if pad is None and logits.shape[0] > 1:
        raise InputError(
            "A batch needs a padding token, by which the last token of each text is told, and the config names none.",
            next_step="Set model.config.pad_token_id = tokenizer.pad_token_id, or pass one text at a time.",
        )
    if pad is None or input_ids is None:
        return logits[:, -1]
    places = torch.arange(input_ids.shape[1], device=input_ids.device)
    last = (places * (input_ids != pad)).argmax(dim=-1).to(logits.device)
    return logits[torch.arange(len(last), device=logits.device), last]
