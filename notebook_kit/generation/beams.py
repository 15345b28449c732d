"""Beam search: several sequences of each input go on side by side, and the best that ended are given."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from notebook_kit.generation.run import Run

__all__ = ["beam_search"]

WORST = -1e9  # finite, so that it can be added to


def take(x: Tensor, beams: Tensor) -> Tensor:
    """Choose beams of each input: `(inputs, beams, ...)` and `(inputs, chosen)` to `(inputs, chosen, ...)`."""
    return x.gather(1, beams.view(*beams.shape, *[1] * (x.dim() - 2)).expand(*beams.shape, *x.shape[2:]))


class Beams:
    """One group of beams of each input: those that go on, and the best that have ended.

    Shapes: B inputs, K beams, N = `max_length`; tokens of a sequence that goes on are filled up to `length`.
    """

    def __init__(self, run: Run, size: int, first_row: int, penalty: float, early: bool | str) -> None:
        self.run, self.size, self.first_row = run, size, first_row
        self.penalty, self.early = penalty, early
        B, K, N, T = run.inputs, size, run.max_length, run.prompt_length
        device = run.sequences.device
        ids = run.sequences.view(B, -1, N)[:, :K]
        self.running, self.ended = ids.clone(), ids.clone()
        # All beams are alike at first, so only one of them may be gone on from.
        self.scores = torch.zeros(B, K, device=device)
        self.scores[:, 1:] = WORST
        self.ended_scores = torch.full((B, K), WORST, device=device)
        self.is_ended = torch.zeros(B, K, dtype=torch.bool, device=device)
        self.can_improve = torch.ones(B, 1, dtype=torch.bool, device=device)
        self.rows = torch.full((B, K, N - T), -1, dtype=torch.int32, device=device)  # where each token was chosen
        self.ended_rows = self.rows.clone()
        self.tokens: Tensor = run.sequences[:, 0]  # `(B, K)`: the newest tokens
        self.parents: Tensor = self.tokens  # `(B, K)`: the row that each beam goes on from
        self.going = True

    def advance(self, log_probs: Tensor, do_sample: bool) -> None:
        """Go on by one token.

        Args:
            log_probs: `(B, K, vocabulary)`, after all rules.
            do_sample: Draw the candidates; otherwise take the best.
        """
        run, K = self.run, self.size
        B, _, V = log_probs.shape
        here, made = run.length, run.length - run.prompt_length
        total = (log_probs + self.scores[..., None]).view(B, K * V)
        # So many that K are left to go on with, should others end: an end token can be taken once a beam.
        most = min(max(2, 1 + len(run.eos)) * K, K * V)
        if do_sample:
            found = torch.multinomial(total.softmax(dim=-1), most, generator=run.generator)
            best = total.gather(1, found)
        else:
            best, found = total.topk(most, dim=1)
        beam, token = found // V, found % V
        candidates = take(self.running[:, :, : here + 1], beam)
        candidates[:, :, here] = token
        rows = take(self.rows[:, :, : made + 1], beam)
        offset = torch.arange(B, device=beam.device)[:, None] * run.copies + self.first_row
        rows[:, :, made] = (beam + offset).int()
        ends = run.stopping(candidates.view(B * most, here + 1), run.scores).view(B, most)

        going = best + ends.float() * WORST
        order = going.topk(K, dim=1).indices
        self.running[:, :, : here + 1] = take(candidates, order)
        self.rows[:, :, : made + 1] = take(rows, order)
        self.scores = going.gather(1, order)
        self.tokens = token.gather(1, order)
        self.parents = (beam + offset).gather(1, order)
        self._keep_ended(best, candidates, rows, ends)
        self._check(bool(ends.all()), here + 1)

    def _keep_ended(self, best: Tensor, candidates: Tensor, rows: Tensor, ends: Tensor) -> None:
        """Let sequences that end now into the best that ended; only the K best candidates may."""
        run, K = self.run, self.size
        here, made = run.length, run.length - run.prompt_length
        ends = ends & (torch.arange(ends.shape[1], device=ends.device) < K)
        if not bool(ends.any()):
            return
        scores = best / (made + 1) ** self.penalty
        closed = ~self.can_improve
        if self.early is True:
            closed = closed | self.is_ended.all(dim=-1, keepdim=True)
        scores = scores + closed.float() * WORST + (~ends).float() * WORST
        fresh, fresh_rows = (
            full.new_full((*ends.shape, full.shape[2]), fill)
            for full, fill in ((self.ended, run.pad), (self.ended_rows, -1))
        )
        fresh[:, :, : here + 1], fresh_rows[:, :, : made + 1] = candidates, rows
        order = torch.cat([self.ended_scores, scores], dim=1).topk(K, dim=1)
        self.ended_scores = order.values
        self.ended = take(torch.cat([self.ended, fresh], dim=1), order.indices)
        self.ended_rows = take(torch.cat([self.ended_rows, fresh_rows], dim=1), order.indices)
        self.is_ended = torch.cat([self.is_ended, ends], dim=1).gather(1, order.indices)

    def _check(self, all_end: bool, length: int) -> None:
        """Whether there is anything to be gained by going on."""
        run = self.run
        made = length - run.prompt_length
        longest = run.max_length - run.prompt_length if self.early == "never" and self.penalty > 0 else made
        hoped = self.scores[:, :1] / longest**self.penalty
        worst = torch.where(self.is_ended, self.ended_scores.amin(dim=1, keepdim=True), WORST)
        self.can_improve = self.can_improve & (hoped > worst).any(dim=-1, keepdim=True)
        full = self.early is True and bool(self.is_ended.all())
        self.going = bool(self.can_improve.any()) and not full and not all_end

    def give_up(self) -> None:
        """Count the sequences that go on as ended, where not enough have: the user does not want to wait."""
        made = self.run.length - self.run.prompt_length
        if made:
            scores = self.scores / made**self.penalty + self.is_ended.any(dim=-1, keepdim=True).float() * WORST
            order = torch.cat([self.ended_scores, scores], dim=1).topk(self.size, dim=1)
            self.ended_scores = order.values
            self.ended = take(torch.cat([self.ended, self.running], dim=1), order.indices)
            self.ended_rows = take(torch.cat([self.ended_rows, self.rows], dim=1), order.indices)


def beam_search(run: Run, beams: int, groups: int, on_interrupt: str) -> Any:
    """Keep the best `beams` sequences of each input, by the sum of their tokens' log-probabilities.

    With several groups, the groups choose one after the other, and what an earlier group chose in the same step is
    penalised in the later ones.

    Source: Vijayakumar et al., Diverse Beam Search, 2018, for the groups.
    """
    config = run.config
    penalty, early = float(config.length_penalty or 0.0), config.early_stopping or False
    B, K = run.inputs, beams // groups
    parts = [Beams(run, K, group * K, penalty, early) for group in range(groups)]
    every = torch.arange(run.rows, device=run.sequences.device)
    try:
        while True:
            logits = run.step()
            log_probs = run.rules(logits, logits.log_softmax(dim=-1)).to(run.sequences.device)
            log_probs = log_probs.view(B, beams, -1)
            taken = torch.zeros(B, log_probs.shape[-1], device=log_probs.device) if groups > 1 else None
            for part in parts:
                own = log_probs[:, part.first_row : part.first_row + K]
                if taken is not None:
                    own = own - (config.diversity_penalty or 0.0) * taken[:, None]
                if part.going:
                    part.advance(own, bool(config.do_sample))
                if taken is not None:
                    taken.scatter_add_(1, part.tokens, torch.ones_like(part.tokens, dtype=taken.dtype))
            parents = torch.cat([part.parents for part in parts], dim=1).view(-1)
            if run.cache is not None and not torch.equal(parents, every):
                run.cache.reorder(parents, start=run.before + run.prompt_length)
            run.length += 1
            run.sequences.view(B, beams, -1)[:, :, : run.length] = torch.cat(
                [part.running[:, :, : run.length] for part in parts], dim=1
            )
            if not any(part.going for part in parts):
                break
    except KeyboardInterrupt:
        if on_interrupt == "raise":
            raise
        run.interrupt()
        for part in parts:
            part.give_up()
    best = torch.cat([part.ended_scores for part in parts], dim=1).topk(config.num_return_sequences or 1, dim=1)
    sequences = take(torch.cat([part.ended for part in parts], dim=1), best.indices).flatten(0, 1)
    rows = take(torch.cat([part.ended_rows for part in parts], dim=1), best.indices).flatten(0, 1)
    made = int((rows >= 0).sum(dim=1).max())
    more = {"sequences_scores": best.values.flatten() if config.output_scores else None, "beam_indices": rows[:, :made]}
    return run.result(sequences[:, : run.prompt_length + made], **more)
