"""Beam search: several sequences per input are continued in parallel, and the best finished ones are returned."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from notebook_kit.generation.run import Run
from notebook_kit.nn.largest import largest_in_order

__all__ = ["beam_search"]

WORST = -1e9  # finite, so that sums with it are


def select(x: Tensor, beams: Tensor) -> Tensor:
    """Select beams of each input: `(inputs, beams, ...)` and indices `(inputs, chosen)` to `(inputs, chosen, ...)`."""
    return x.gather(1, beams.view(*beams.shape, *[1] * (x.dim() - 2)).expand(*beams.shape, *x.shape[2:]))


class Beams:
    """One group of beams per input: the running sequences, and the best finished ones.

    Shapes: B inputs, K beams, N = `max_length`; of a running sequence the first `run.length` tokens are valid.
    """

    def __init__(self, run: Run, size: int, first_row: int) -> None:
        self.run, self.size, self.first_row = run, size, first_row
        self.penalty = float(run.config.length_penalty or 0.0)
        self.early: bool | str = run.config.early_stopping or False
        B, K, N, T = run.inputs, size, run.max_length, run.prompt_length
        device = run.sequences.device
        ids = run.sequences.view(B, -1, N)[:, :K]
        self.running, self.ended = ids.clone(), ids.clone()
        # All beams are equal at first, so only one of them may be continued.
        self.scores = torch.zeros(B, K, device=device)
        self.scores[:, 1:] = WORST
        self.ended_scores = torch.full((B, K), WORST, device=device)
        self.is_ended = torch.zeros(B, K, dtype=torch.bool, device=device)
        self.can_improve = torch.ones(B, 1, dtype=torch.bool, device=device)
        self.rows = torch.full((B, K, N - T), -1, dtype=torch.int32, device=device)  # of each token
        self.ended_rows = self.rows.clone()
        self.tokens: Tensor = run.sequences[:, 0]  # `(B, K)`: the newest tokens
        self.parents: Tensor = self.tokens  # `(B, K)`: the row that each beam continues
        self.is_running = True

    def advance(self, log_probs: Tensor) -> None:
        """Continue by one token.

        Args:
            log_probs: `(B, K, vocabulary)`, after all rules.
        """
        run, K = self.run, self.size
        B, _, V = log_probs.shape
        here, new = run.length, run.length - run.prompt_length
        total = (log_probs + self.scores[..., None]).view(B, K * V)
        # Enough candidates that K remain even if every beam takes every end token.
        count = min(max(2, 1 + len(run.eos)) * K, K * V)
        if run.config.do_sample:
            found = torch.multinomial(total.softmax(dim=-1), count, generator=run.generator)
            best = total.gather(1, found)
        else:
            best, found = largest_in_order(total, count)
        beam, token = found // V, found % V
        candidates = select(self.running[:, :, : here + 1], beam)
        candidates[:, :, here] = token
        rows = select(self.rows[:, :, : new + 1], beam)
        offset = torch.arange(B, device=beam.device)[:, None] * run.copies + self.first_row
        rows[:, :, new] = (beam + offset).int()
        ends = run.stopping(candidates.view(B * count, here + 1), run.scores).view(B, count)

        self.scores, order = (best + ends.float() * WORST).topk(K, dim=1)
        self.running[:, :, : here + 1] = select(candidates, order)
        self.rows[:, :, : new + 1] = select(rows, order)
        self.tokens = token.gather(1, order)
        self.parents = (beam + offset).gather(1, order)
        self._keep_ended(best, candidates, rows, ends)
        self._update_running(bool(ends.all()), new + 1)

    def _keep_ended(self, best: Tensor, candidates: Tensor, rows: Tensor, ends: Tensor) -> None:
        """Add candidates that end now to the best finished ones; only the K best candidates qualify."""
        run, K = self.run, self.size
        new = run.length - run.prompt_length
        ends = ends & (torch.arange(ends.shape[1], device=ends.device) < K)
        if not bool(ends.any()):
            return
        closed = ~self.can_improve
        if self.early is True:
            closed = closed | self.is_ended.all(dim=-1, keepdim=True)
        scores = best / (new + 1) ** self.penalty + closed.float() * WORST + (~ends).float() * WORST
        padded, padded_rows = (
            full.new_full((*ends.shape, full.shape[2]), fill)
            for full, fill in ((self.ended, run.pad), (self.ended_rows, -1))
        )
        padded[:, :, : run.length + 1], padded_rows[:, :, : new + 1] = candidates, rows
        order = self._merge_ended(scores, padded, padded_rows)
        self.is_ended = torch.cat([self.is_ended, ends], dim=1).gather(1, order)

    def _merge_ended(self, scores: Tensor, sequences: Tensor, rows: Tensor) -> Tensor:
        """Keep the best K of the finished sequences and these; returns the indices of the kept ones, `(B, K)`."""
        self.ended_scores, order = torch.cat([self.ended_scores, scores], dim=1).topk(self.size, dim=1)
        self.ended = select(torch.cat([self.ended, sequences], dim=1), order)
        self.ended_rows = select(torch.cat([self.ended_rows, rows], dim=1), order)
        return order

    def _update_running(self, all_end: bool, new: int) -> None:
        """Decide whether further tokens, after `new` ones, can improve the result."""
        longest = self.run.max_length - self.run.prompt_length if self.early == "never" and self.penalty > 0 else new
        attainable = self.scores[:, :1] / longest**self.penalty
        worst = torch.where(self.is_ended, self.ended_scores.amin(dim=1, keepdim=True), WORST)
        self.can_improve = self.can_improve & (attainable > worst).any(dim=-1, keepdim=True)
        is_full = self.early is True and bool(self.is_ended.all())
        self.is_running = bool(self.can_improve.any()) and not is_full and not all_end

    def finish_early(self) -> None:
        """After an interrupt: count running sequences as finished for inputs without any."""
        new = self.run.length - self.run.prompt_length
        if new:
            scores = self.scores / new**self.penalty + self.is_ended.any(dim=-1, keepdim=True).float() * WORST
            self._merge_ended(scores, self.running, self.rows)


def beam_search(run: Run) -> Any:
    """Keep the best `num_beams` sequences per input, by the sum of their tokens' log-probabilities.

    With several groups, the groups choose in turn, and the tokens that earlier groups chose in the same step are
    penalized in later ones.

    Source: Vijayakumar et al., Diverse Beam Search, 2018, for the groups.
    """
    config = run.config
    B, beams, groups = run.inputs, run.copies, config.num_beam_groups or 1
    K = beams // groups
    parts = [Beams(run, K, group * K) for group in range(groups)]
    identity = torch.arange(run.rows, device=run.sequences.device)
    with run.interruptible():
        while any(part.is_running for part in parts):
            logits = run.step()
            log_probs = run.rules(logits, logits.log_softmax(dim=-1)).to(run.sequences.device)
            log_probs = log_probs.view(B, beams, -1)
            counts = torch.zeros(B, log_probs.shape[-1], device=log_probs.device) if groups > 1 else None
            for part in parts:
                own = log_probs[:, part.first_row : part.first_row + K]
                if counts is not None:
                    own = own - (config.diversity_penalty or 0.0) * counts[:, None]
                if part.is_running:
                    part.advance(own)
                if counts is not None:
                    counts.scatter_add_(1, part.tokens, torch.ones_like(part.tokens, dtype=counts.dtype))
            parents = torch.cat([part.parents for part in parts], dim=1).view(-1)
            if run.cache is not None and not torch.equal(parents, identity):
                run.cache.reorder(parents, start=run.unseen_positions + run.prompt_length)
            run.length += 1
            run.sequences.view(B, beams, -1)[:, :, : run.length] = torch.cat(
                [part.running[:, :, : run.length] for part in parts], dim=1
            )
    if run.interrupted:
        for part in parts:
            part.finish_early()
    best = torch.cat([part.ended_scores for part in parts], dim=1).topk(config.num_return_sequences or 1, dim=1)
    sequences = select(torch.cat([part.ended for part in parts], dim=1), best.indices).flatten(0, 1)
    rows = select(torch.cat([part.ended_rows for part in parts], dim=1), best.indices).flatten(0, 1)
    new = int((rows >= 0).sum(dim=1).max())
    more = {"sequences_scores": best.values.flatten() if config.output_scores else None, "beam_indices": rows[:, :new]}
    return run.result(sequences[:, : run.prompt_length + new], **more)
