"""Assisted generation: several proposed tokens are checked by one call of the model. The result is that of `sample`.

Proposals come from an earlier place in the text, or from a smaller model. Each token is chosen by the model's own scores as
usual, and a proposal only saves a call where it equals the choice; so the proposals change neither the result of greedy
search nor the distribution of samples, and not even the samples of one seed (except where rounding breaks a tie otherwise).

Sources: Leviathan et al., Fast Inference from Transformers via Speculative Decoding, 2023; Saxena, Prompt Lookup Decoding,
2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from notebook_kit.generation.run import Run

__all__ = ["Assistant", "TranslatingAssistant", "assisted", "looked_up"]

Proposer = Callable[[Tensor, int], Tensor]
"""From the tokens so far, `(tokens,)`, and the maximum number of proposals to the proposed next tokens."""


def assisted(run: Run, propose: Proposer) -> Any:
    """Greedy search or sampling with proposals, for a single sequence."""
    config = run.config
    count = config.prompt_lookup_num_tokens or config.num_assistant_tokens or 1
    grows = config.num_assistant_tokens_schedule != "constant" and not config.prompt_lookup_num_tokens
    ended = False
    with run.interruptible():
        while not ended:
            most = min(count, run.max_length - run.length - 1)
            reads_vectors = run.prompt.embeds is not None and run.length == run.prompt_length
            proposed = [] if reads_vectors else propose(run.ids[0], most).tolist()
            logits = run.verify(proposed)
            for place in range(len(proposed) + 1):
                token = run.choose(run.rules(logits[:, place]))
                run.append(token)
                ended = bool(run.stopping(run.ids, run.scores))
                if ended or place == len(proposed) or int(token) != proposed[place]:
                    break
            if grows:
                count = count + 2 if place == len(proposed) else max(1, count - 1)
            run.forget_rejected()
    return run.result(run.ids)


def looked_up(ids: Tensor, count: int, longest: int) -> Tensor:
    """The tokens that followed the text's last tokens at their first earlier occurrence.

    Args:
        ids: `(tokens,)`.
        count: The maximum number of tokens.
        longest: The number of last tokens to look for; if they do not occur, fewer are looked for.

    Example:
        >>> import torch
        >>> looked_up(torch.tensor([5, 6, 7, 8, 9, 5, 6]), count=3, longest=2)
        tensor([7, 8, 9])
    """
    for size in range(min(longest, len(ids) - 1), 0, -1):
        matches = (ids[:-1].unfold(0, size, 1) == ids[-size:]).all(dim=1).nonzero()
        if len(matches):
            start = int(matches[0]) + size
            return ids[start : start + count]
    return ids[:0]


class Assistant:
    """Proposes the tokens that a smaller model of the same vocabulary thinks most probable.

    Args:
        run: A new run of that model on the same prompt.
        vocabulary: The number of tokens that the larger model has.
        known: The number of tokens that the smaller model has; None if all of them. After another token it proposes none.
    """

    def __init__(self, run: Run, vocabulary: int, known: int | None = None) -> None:
        self.run, self.vocabulary, self.known = run, vocabulary, known

    def __call__(self, ids: Tensor, count: int) -> Tensor:
        run, length = self.run, len(ids)
        if length >= run.max_length:
            return ids[:0]  # the assistant has fewer positions
        if self.known is not None and self.known < self.vocabulary and bool((ids >= self.known).any()):
            return ids[:0]
        ids = ids.to(run.sequences.device)
        if length > run.prompt_length:  # keep in the cache what is in the text
            known = min(run.length, length)
            agree = int((run.sequences[0, :known] == ids[:known]).cumprod(0).sum())
            run.sequences[0, :length] = ids
            run.length = min(agree, length - 1) + 1
            run.forget_rejected()
            run.length = length
        for _ in range(min(count, run.max_length - length)):
            run.append(run.step()[:, : self.vocabulary].argmax(dim=-1))
        return run.sequences[0, length : run.length]


class TranslatingAssistant:
    """Proposes what a smaller model of another vocabulary writes: the two exchange text, not ids.

    Args:
        assistant: The smaller model, a decoder.
        tokenizer: The tokenizer of the larger model.
        assistant_tokenizer: The tokenizer of the smaller model.
    """

    def __init__(self, assistant: Any, tokenizer: Any, assistant_tokenizer: Any) -> None:
        self.assistant, self.tokenizer, self.assistant_tokenizer = assistant, tokenizer, assistant_tokenizer

    def __call__(self, ids: Tensor, count: int) -> Tensor:
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        read = self.assistant_tokenizer(text, return_tensors="pt")["input_ids"].to(self.assistant.device)
        limit = self.assistant.position_limit
        if count < 1 or read.shape[1] == 0 or (limit is not None and read.shape[1] + count > limit):
            return ids[:0]
        written = self.assistant.generate(read, max_new_tokens=count, do_sample=False)
        more = self.assistant_tokenizer.decode(written[0], skip_special_tokens=True)
        old, new = (self.tokenizer(part, add_special_tokens=False)["input_ids"] for part in (text, more))
        return ids.new_tensor(new[len(old) :][:count] if new[: len(old)] == old else [])
