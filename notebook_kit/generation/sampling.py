"""Greedy search, sampling and contrastive search: one sequence per row."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from notebook_kit.generation.run import Run

__all__ = ["contrastive", "sample"]


def sample(run: Run) -> Any:
    """Take the most probable token, or sample one with `do_sample`, until every row has ended."""
    finished = torch.zeros(run.rows, dtype=torch.bool, device=run.sequences.device)
    with run.interruptible():
        while not bool(finished.all()):
            tokens = run.choose(run.rules(run.step())).to(finished.device)
            run.append(torch.where(finished, run.pad, tokens) if run.rows > 1 else tokens)
            finished = finished | run.stopping(run.ids, run.scores)
    return run.result(run.ids)


def contrastive(run: Run) -> Any:
    """Of the `top_k` most probable tokens, take one that is both probable and unlike the text so far.

    A candidate's score is `(1 - alpha) * probability - alpha * similarity`, with alpha the `penalty_alpha` and the
    similarity the largest cosine between its last hidden state and that of any earlier token. The run has `top_k` rows per
    input.

    Source: Su et al., A Contrastive Framework for Neural Text Generation, 2022.
    """
    B, K, alpha = run.inputs, run.copies, run.config.penalty_alpha or 0.0
    device = run.sequences.device
    finished = torch.zeros(B, dtype=torch.bool, device=device)
    first = torch.arange(B, device=device) * K  # the first row of each input
    best = first
    run.wants_hidden = True
    with run.interruptible():
        logits = run.step()
        context = _unit(run.last_hidden)[::K]  # (inputs, tokens, width)
        if run.prompt.mask is not None:
            context = context * run.prompt.mask[..., None]  # padding is similar to nothing
        while not bool(finished.all()):
            # The rows of an input differ only in their newest token, which `best` was chosen by.
            probabilities = run.rules(logits)[best].softmax(dim=-1)
            likely, tokens = probabilities.topk(K, dim=-1)  # (inputs, candidates)
            run.append(tokens.reshape(-1).to(device), stream=False)
            logits = run.step()
            states = _unit(run.last_hidden).view(B, K, -1)
            similarity = (states @ context.transpose(1, 2)).amax(dim=-1)  # (inputs, candidates)
            choice = ((1 - alpha) * likely - alpha * similarity).argmax(dim=-1)
            best = first + choice
            run.share_newest(best.repeat_interleave(K))
            chosen = tokens.gather(1, choice[:, None])[:, 0].to(device)
            run.replace_newest(torch.where(finished, run.pad, chosen).repeat_interleave(K))
            context = torch.cat([context, states[torch.arange(B), choice][:, None]], dim=1)
            finished = finished | run.stopping(run.ids, run.scores)[first]
    return run.result(run.ids[first])


def _unit(hidden: Tensor) -> Tensor:
    """The vectors scaled to length 1."""
    return hidden / hidden.norm(dim=-1, keepdim=True).clamp(min=1e-12)
