"""Greedy search, sampling and contrastive search: one sequence a row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from notebook_kit.generation.run import Run

__all__ = ["contrastive", "sample"]


def sample(run: Run, do_sample: bool, on_interrupt: str) -> Any:
    """Take the most probable token, or draw one, until every row has ended.

    Args:
        run: The run, at its start.
        do_sample: Draw from the scores; otherwise take the best.
        on_interrupt: `"return"` or `"raise"`.

    Source of sampling filters and penalties: see `processors.py` and `filters.py`.
    """
    finished = torch.zeros(run.rows, dtype=torch.bool, device=run.sequences.device)
    try:
        while True:
            scores = run.rules(run.step())
            if do_sample:
                tokens = torch.multinomial(scores.softmax(dim=-1), 1, generator=run.generator)[:, 0]
            else:
                tokens = scores.argmax(dim=-1)
            tokens = tokens.to(finished.device)
            run.append(torch.where(finished, run.pad, tokens) if run.rows > 1 else tokens)
            finished = finished | run.stopping(run.ids, run.scores)
            if bool(finished.all()):
                break
    except KeyboardInterrupt:
        if on_interrupt == "raise":
            raise
        run.interrupt()
    return run.result(run.ids)


def contrastive(run: Run, penalty_alpha: float, top_k: int, on_interrupt: str) -> Any:
    """Of the `top_k` most probable tokens take the one that is probable and yet unlike what is there.

    A candidate's score is `(1 - alpha) * probability - alpha * similarity`, the similarity being the largest cosine between
    its own last hidden state and that of any token before.

    Source: Su et al., A Contrastive Framework for Neural Text Generation, 2022.

    Args:
        run: The run at its start, with `top_k` rows for each input.
        penalty_alpha: The weight of the similarity, from 0 (greedy search) to 1.
        top_k: How many candidates there are.
        on_interrupt: `"return"` or `"raise"`.
    """
    B, K = run.inputs, top_k
    device = run.sequences.device
    finished = torch.zeros(B, dtype=torch.bool, device=device)
    first = torch.arange(B, device=device) * K  # the first row of each input
    best = first
    try:
        logits = run.step()
        context = _unit(run.last_hidden)[::K]  # (inputs, tokens, width)
        if run.prompt.mask is not None:
            context = context * run.prompt.mask[..., None]  # padding resembles nothing
        while True:
            # All rows of an input are alike but for their newest token, which is what `best` was chosen by.
            probabilities = run.rules(logits)[best].softmax(dim=-1)
            likely, tokens = probabilities.topk(K, dim=-1)  # (inputs, candidates)
            run.append(tokens.reshape(-1).to(device), tell=False)
            logits = run.step()
            fresh = _unit(run.last_hidden).view(B, K, -1)
            alike = (fresh @ context.transpose(1, 2)).amax(dim=-1)  # (inputs, candidates)
            choice = ((1 - penalty_alpha) * likely - penalty_alpha * alike).argmax(dim=-1)
            best = first + choice
            run.share_newest(best.repeat_interleave(K))
            chosen = tokens.gather(1, choice[:, None])[:, 0].to(device)
            run.replace_newest(torch.where(finished, run.pad, chosen).repeat_interleave(K))
            context = torch.cat([context, fresh[torch.arange(B), choice][:, None]], dim=1)
            finished = finished | run.stopping(run.ids, run.scores)[first]
            if bool(finished.all()):
                break
    except KeyboardInterrupt:
        if on_interrupt == "raise":
            raise
        run.interrupt()
    return run.result(run.ids[first])


def _unit(hidden: Tensor) -> Tensor:
    """Vectors of length 1 in the same directions."""
    return hidden / hidden.norm(dim=-1, keepdim=True).clamp(min=1e-12)
