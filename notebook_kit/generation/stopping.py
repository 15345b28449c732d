"""The criteria that end a sequence. To add one, subclass `StoppingCriteria` or write a function with the same arguments."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.generation.processors import as_ids

__all__ = [
    "EosTokenCriteria",
    "MaxLengthCriteria",
    "MaxTimeCriteria",
    "StopStringCriteria",
    "StoppingCriteria",
    "StoppingCriteriaList",
]


class StoppingCriteria:
    """The base of all criteria. A subclass defines `__call__(input_ids, scores)`.

    Args of the call:
        input_ids: `(rows, tokens so far)`, the newest last.
        scores: The scores of every step if `output_scores` keeps them; otherwise None.

    Returns:
        `(rows,)` of bool, or one bool for all rows: whether the row ends here.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, StoppingCriteria
        >>> class Enough(StoppingCriteria):
        ...     def __call__(self, input_ids, scores):
        ...         return input_ids.sum(dim=1) > 60
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=99))
        >>> ids = model.generate(torch.tensor([[7]]), stopping_criteria=[Enough()], max_new_tokens=90, suppress_tokens=[0])
        >>> int(ids.sum()) > 60, int(ids[:, :-1].sum()) > 60
        (True, False)
    """

    def __call__(self, input_ids: Tensor, scores: Any) -> Tensor | bool:
        raise NotImplementedError(
            f"{type(self).__name__} needs a method __call__(input_ids, scores) -> whether to stop."
        )


class StoppingCriteriaList(list):
    """Criteria that are combined with "or": a row ends when any of them applies.

    Example:
        >>> import torch
        >>> from notebook_kit import EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList
        >>> ends = StoppingCriteriaList([EosTokenCriteria(0), MaxLengthCriteria(9)])
        >>> ends(torch.tensor([[5, 0], [5, 6]]), None)
        tensor([ True, False])
    """

    def __call__(self, input_ids: Tensor, scores: Any) -> Tensor:
        done = torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)
        for criterion in self:
            answer = criterion(input_ids, scores)
            done = done | (answer.to(done.device) if isinstance(answer, Tensor) else bool(answer))
        return done

    @property
    def max_length(self) -> int | None:
        """The length at which all rows end, if one is set."""
        return next((one.max_length for one in self if isinstance(one, MaxLengthCriteria)), None)


def _all_rows(input_ids: Tensor, ends: bool) -> Tensor:
    """The same answer for every row, `(rows,)`."""
    return torch.full((input_ids.shape[0],), ends, dtype=torch.bool, device=input_ids.device)


class MaxLengthCriteria(StoppingCriteria):
    """All rows end at `max_length` tokens, prompt included.

    Example:
        >>> import torch
        >>> from notebook_kit import MaxLengthCriteria
        >>> MaxLengthCriteria(2)(torch.tensor([[5, 6]]), None)
        tensor([True])
    """

    def __init__(self, max_length: int, max_position_embeddings: int | None = None) -> None:
        self.max_length = max_length  # the second argument, of other libraries, only adds a warning there

    def __call__(self, input_ids: Tensor, scores: Any) -> Tensor:
        return _all_rows(input_ids, input_ids.shape[-1] >= self.max_length)


class MaxTimeCriteria(StoppingCriteria):
    """All rows end after `max_time` seconds; the token in progress is completed.

    Example:
        >>> import torch
        >>> from notebook_kit import MaxTimeCriteria
        >>> MaxTimeCriteria(1000.0)(torch.tensor([[5]]), None)
        tensor([False])
    """

    def __init__(self, max_time: float, initial_timestamp: float | None = None) -> None:
        self.max_time = max_time
        self.start = time.time() if initial_timestamp is None else initial_timestamp

    def __call__(self, input_ids: Tensor, scores: Any) -> Tensor:
        return _all_rows(input_ids, time.time() - self.start > self.max_time)


class EosTokenCriteria(StoppingCriteria):
    """A row ends with one of these tokens.

    Example:
        >>> import torch
        >>> from notebook_kit import EosTokenCriteria
        >>> EosTokenCriteria([0, 3])(torch.tensor([[5, 0], [0, 5]]), None)
        tensor([ True, False])
    """

    def __init__(self, eos_token_id: int | Iterable[int] | Tensor) -> None:
        self.eos_token_id = as_ids(eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Any) -> Tensor:
        last = input_ids[:, -1]
        if len(self.eos_token_id) == 1:
            return last == self.eos_token_id[0]
        return torch.isin(last, torch.tensor(self.eos_token_id, device=last.device))


class StopStringCriteria(StoppingCriteria):
    """A row ends when its newest token completes one of these texts, however they are split into tokens.

    Text after the stop string within the same token is kept.

    Args:
        tokenizer: The model's tokenizer.
        stop_strings: One or more texts.

    Raises:
        InputError: If there is no text, or one is empty.

    Example:
        >>> import torch
        >>> from tokenizers import Tokenizer, decoders, models
        >>> from notebook_kit import PreTrainedTokenizerFast, StopStringCriteria
        >>> backend = Tokenizer(models.WordLevel({"a": 0, "st": 1, "op!": 2}, unk_token="a"))
        >>> backend.decoder = decoders.Fuse()
        >>> ends = StopStringCriteria(PreTrainedTokenizerFast(tokenizer_object=backend), "stop")
        >>> ends(torch.tensor([[0, 1, 2], [1, 2, 0]]), None)  # in the second row it is complete before the newest token
        tensor([ True, False])
    """

    def __init__(self, tokenizer: Any, stop_strings: str | Iterable[str]) -> None:
        self.tokenizer = tokenizer
        self.stop_strings = [stop_strings] if isinstance(stop_strings, str) else list(stop_strings)
        if not self.stop_strings or not all(isinstance(text, str) and text for text in self.stop_strings):
            raise InputError(
                f"stop_strings is {stop_strings!r}.", next_step='Pass texts that are not empty: ["\\n\\n"].'
            )
        # A token may be a single byte. A few tokens more, because decoders treat the first token of a text differently.
        self._tail = max(len(text.encode(errors="surrogatepass")) for text in self.stop_strings) + 4

    def __call__(self, input_ids: Tensor, scores: Any) -> Tensor:
        ends = [self._ends(row) for row in input_ids[:, -self._tail :].tolist()]
        return torch.tensor(ends, dtype=torch.bool, device=input_ids.device)

    def _ends(self, tail: list[int]) -> bool:
        text, before = self._text(tail), len(self._text(tail[:-1]).rstrip("\ufffd"))
        return any(text.find(stop, max(0, before - len(stop) + 1)) >= 0 for stop in self.stop_strings)

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
