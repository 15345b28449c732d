"""The rule for tokens that are times."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from notebook_kit.generation.processors import NEVER, LogitsProcessor, as_ids

__all__ = ["WhisperTimeStampLogitsProcessor"]


class WhisperTimeStampLogitsProcessor(LogitsProcessor):
    """Times occur in pairs, one that ends a segment and one that begins the next, and never decrease.

    A transcript begins with a time. Where all times together are more probable than any word, a time is written.

    Args:
        generate_config: Provides `no_timestamps_token_id`, after which the tokens are times, `eos_token_id`, and
            `max_initial_timestamp_index`: the latest time at which a transcript may begin.
        begin_index: Number of tokens that the transcript begins with.

    Example:
        >>> import torch
        >>> from notebook_kit import GenerationConfig, WhisperTimeStampLogitsProcessor
        >>> config = GenerationConfig.from_dict({"eos_token_id": 2, "no_timestamps_token_id": 3, "max_initial_timestamp_index": 1})
        >>> rule = WhisperTimeStampLogitsProcessor(config, begin_index=1)
        >>> rule(torch.tensor([[1]]), torch.zeros(1, 8))  # words are 0 and 1, times 4 to 7
        tensor([[-inf, -inf, -inf, -inf, 0., 0., -inf, -inf]])
        >>> rule(torch.tensor([[1, 5, 0]]), torch.tensor([[3.0, 3, 3, 3, 0, 0, 0, 0]]))  # a word follows, or a later time
        tensor([[3., 3., 3., -inf, -inf, -inf, 0., 0.]])

    Source: Radford et al., Robust Speech Recognition via Large-Scale Weak Supervision, 2022, section 4.5.
    """

    def __init__(self, generate_config: Any, begin_index: int) -> None:
        self.no_times = generate_config.no_timestamps_token_id
        self.first_time = self.no_times + 1
        ends = generate_config.eos_token_id
        self.end = as_ids(generate_config.bos_token_id if ends is None else ends)[0]
        self.latest_begin = getattr(generate_config, "max_initial_timestamp_index", None)
        self.begin_index = begin_index

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores, first = scores.clone(), self.first_time
        scores[:, self.no_times] = NEVER
        for row, written in zip(scores, input_ids[:, self.begin_index :].tolist(), strict=True):
            self._keep_order(row, written)
        if input_ids.shape[1] == self.begin_index:
            scores[:, :first] = NEVER
            if self.latest_begin is not None:
                scores[:, first + self.latest_begin + 1 :] = NEVER
        logs = scores.float().log_softmax(dim=-1)
        times_win = logs[:, first:].logsumexp(dim=-1) > logs[:, :first].amax(dim=-1)
        scores[:, :first].masked_fill_(times_win[:, None], NEVER)
        return scores

    def _keep_order(self, row: Tensor, written: list[int]) -> None:
        """Exclude from one row's scores, in place, what cannot follow the tokens written so far."""
        first = self.first_time
        ends_with_time = bool(written) and written[-1] >= first
        is_pair = len(written) < 2 or written[-2] >= first
        if ends_with_time:
            if is_pair:
                row[first:] = NEVER
            else:
                row[: self.end] = NEVER
        times = [token for token in written if token >= first]
        if times:
            # The second time of a pair may be equal to the first.
            earliest = times[-1] if ends_with_time and not is_pair else times[-1] + 1
            row[first : max(first, earliest)] = NEVER
