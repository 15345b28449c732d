"""Rules for the next token: each takes the tokens so far and the scores of what may follow, and returns new scores.

Scores are logits, or log-probabilities in beam search; a token with `-inf` cannot come. Scores that come in are never
written to. A rule of one's own is a subclass of `LogitsProcessor`, or any function of the same two arguments.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from notebook_kit.errors import InputError

__all__ = [
    "EncoderNoRepeatNGramLogitsProcessor",
    "EncoderRepetitionPenaltyLogitsProcessor",
    "ExponentialDecayLengthPenalty",
    "ForcedBOSTokenLogitsProcessor",
    "ForcedEOSTokenLogitsProcessor",
    "InfNanRemoveLogitsProcessor",
    "LogitNormalization",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinLengthLogitsProcessor",
    "MinNewTokensLengthLogitsProcessor",
    "NoBadWordsLogitsProcessor",
    "NoRepeatNGramLogitsProcessor",
    "PrefixConstrainedLogitsProcessor",
    "RepetitionPenaltyLogitsProcessor",
    "SequenceBiasLogitsProcessor",
    "SuppressTokensAtBeginLogitsProcessor",
    "SuppressTokensLogitsProcessor",
]

NEVER = float("-inf")


class LogitsProcessor:
    """The base of all rules. A subclass says `__call__(input_ids, scores)`.

    Args of the call:
        input_ids: `(rows, tokens so far)`, prompt and padding included.
        scores: `(rows, vocabulary)`; to be left as they are.

    Returns:
        New scores of the same shape.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, LogitsProcessor
        >>> class OnlyEven(LogitsProcessor):
        ...     def __call__(self, input_ids, scores):
        ...         odd = torch.arange(scores.shape[-1]) % 2 == 1
        ...         return scores.masked_fill(odd, float("-inf"))
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32))
        >>> out = model.generate(torch.tensor([[7]]), logits_processor=[OnlyEven()], max_new_tokens=9, do_sample=True)
        >>> bool((out[0, 1:] % 2 == 0).all())
        True
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        raise NotImplementedError


class LogitsProcessorList(list):
    """Rules that are applied one after the other.

    Example:
        >>> import torch
        >>> from notebook_kit import LogitsProcessorList, SuppressTokensLogitsProcessor, TemperatureLogitsWarper
        >>> rules = LogitsProcessorList([SuppressTokensLogitsProcessor([0]), TemperatureLogitsWarper(0.5)])
        >>> rules(torch.tensor([[2]]), torch.tensor([[1.0, 2.0, 3.0]]))
        tensor([[-inf, 4., 6.]])
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        for rule in self:
            scores = rule(input_ids, scores)
        return scores


def as_ids(tokens: int | Iterable[int] | Tensor | None) -> list[int]:
    """Token ids as a list, however they were given."""
    if tokens is None:
        return []
    if isinstance(tokens, Tensor):
        return [int(token) for token in tokens.reshape(-1).tolist()]
    return [tokens] if isinstance(tokens, int) else [int(token) for token in tokens]


def without(scores: Tensor, tokens: list[int]) -> Tensor:
    """Scores in which these tokens cannot come; tokens outside the vocabulary cannot anyway."""
    known = [token for token in tokens if token < scores.shape[-1]]
    return scores.index_fill(-1, torch.tensor(known, dtype=torch.long, device=scores.device), NEVER)


def only(scores: Tensor, tokens: list[int]) -> Tensor:
    """Scores with which nothing but these tokens can come."""
    return torch.full_like(scores, NEVER).index_fill(-1, torch.tensor(tokens, device=scores.device), 0.0)


class MinLengthLogitsProcessor(LogitsProcessor):
    """No end before the whole sequence has `min_length` tokens.

    Example:
        >>> import torch
        >>> from notebook_kit import MinLengthLogitsProcessor
        >>> MinLengthLogitsProcessor(3, eos_token_id=0)(torch.tensor([[5, 6]]), torch.zeros(1, 3))
        tensor([[-inf, 0., 0.]])
    """

    def __init__(self, min_length: int, eos_token_id: int | Iterable[int] | Tensor) -> None:
        self.min_length, self.eos_token_id = min_length, as_ids(eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return without(scores, self.eos_token_id) if input_ids.shape[-1] < self.min_length else scores


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """No end before `min_new_tokens` tokens were generated after a prompt of `prompt_length_to_skip`.

    Example:
        >>> import torch
        >>> from notebook_kit import MinNewTokensLengthLogitsProcessor
        >>> rule = MinNewTokensLengthLogitsProcessor(prompt_length_to_skip=2, min_new_tokens=1, eos_token_id=[0, 1])
        >>> rule(torch.tensor([[5, 6]]), torch.zeros(1, 3))
        tensor([[-inf, -inf, 0.]])
    """

    def __init__(
        self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: int | Iterable[int] | Tensor
    ) -> None:
        super().__init__(prompt_length_to_skip + min_new_tokens, eos_token_id)


def penalised(scores: Tensor, present: Tensor, penalty: float) -> Tensor:
    """Scores divided by the penalty (multiplied, where negative) for the tokens that are present."""
    return torch.where(present, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def presence(input_ids: Tensor, scores: Tensor, skip: Tensor | None = None) -> Tensor:
    """`(rows, vocabulary)`: which tokens are in each row, but for the first `skip` places of each."""
    size = scores.shape[-1]
    if skip is not None:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        input_ids = input_ids.masked_fill(places < skip[:, None], size)
    found = torch.zeros(input_ids.shape[0], size + 1, dtype=torch.bool, device=scores.device)
    return found.scatter_(1, input_ids.clamp(max=size), True)[:, :size]


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Tokens that are already there become less probable (above 1), or more (below).

    Args:
        penalty: What positive scores are divided by and negative ones multiplied with.
        prompt_ignore_length: So many first places do not count: one number, or one for each row (its padding).

    Source: Keskar et al., CTRL, 2019, section 4.1.

    Example:
        >>> import torch
        >>> from notebook_kit import RepetitionPenaltyLogitsProcessor
        >>> RepetitionPenaltyLogitsProcessor(2.0)(torch.tensor([[0, 1]]), torch.tensor([[4.0, -1.0, 3.0]]))
        tensor([[ 2., -2.,  3.]])
    """

    def __init__(self, penalty: float, prompt_ignore_length: int | Tensor | None = None) -> None:
        if not penalty > 0:
            raise InputError(f"The repetition penalty is {penalty!r}.", next_step="Pass a number above 0; 1.0 is none.")
        self.penalty, self.prompt_ignore_length = float(penalty), prompt_ignore_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        skip = self.prompt_ignore_length
        if isinstance(skip, int):
            input_ids, skip = input_ids[:, skip:], None
        if skip is not None and skip.shape[0] != input_ids.shape[0]:  # several rows go on from each prompt
            skip = skip.repeat_interleave(input_ids.shape[0] // skip.shape[0])
        return penalised(scores, presence(input_ids, scores, skip), self.penalty)


class EncoderRepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Tokens of the encoder's input become more probable (above 1), or less (below).

    Example:
        >>> import torch
        >>> from notebook_kit import EncoderRepetitionPenaltyLogitsProcessor
        >>> rule = EncoderRepetitionPenaltyLogitsProcessor(2.0, encoder_input_ids=torch.tensor([[0, 1]]))
        >>> rule(torch.tensor([[2]]), torch.tensor([[4.0, -1.0, 3.0]]))
        tensor([[ 8.0000, -0.5000,  3.0000]])
    """

    def __init__(self, penalty: float, encoder_input_ids: Tensor) -> None:
        if not penalty > 0:
            raise InputError(f"The encoder penalty is {penalty!r}.", next_step="Pass a number above 0; 1.0 is none.")
        self.penalty, self.encoder_input_ids = 1 / float(penalty), encoder_input_ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        inputs = self.encoder_input_ids
        present = presence(inputs, scores.new_empty(inputs.shape[0], scores.shape[-1]))
        return penalised(scores, present.repeat_interleave(scores.shape[0] // inputs.shape[0], dim=0), self.penalty)


def _banned_after(context: Tensor, input_ids: Tensor, size: int, vocabulary: int) -> Tensor:
    """`(rows, vocabulary)`: what would end a run of `size` tokens of `context` after the last tokens of `input_ids`."""
    runs = context.unfold(1, size, 1)  # (rows, runs, size)
    last = input_ids[:, input_ids.shape[1] + 1 - size :]
    same = (runs[..., :-1] == last[:, None]).all(dim=-1)
    ends = torch.where(same, runs[..., -1].clamp(max=vocabulary), vocabulary)
    banned = torch.zeros(input_ids.shape[0], vocabulary + 1, dtype=torch.bool, device=input_ids.device)
    return banned.scatter_(1, ends, True)[:, :vocabulary]


class NoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No run of `ngram_size` tokens comes a second time.

    Example:
        >>> import torch
        >>> from notebook_kit import NoRepeatNGramLogitsProcessor
        >>> NoRepeatNGramLogitsProcessor(2)(torch.tensor([[1, 2, 1]]), torch.zeros(1, 4))  # 1 was followed by 2
        tensor([[0., 0., -inf, 0.]])
    """

    def __init__(self, ngram_size: int) -> None:
        if not isinstance(ngram_size, int) or ngram_size < 1:
            raise InputError(f"ngram_size is {ngram_size!r}.", next_step="Pass a whole number from 1.")
        self.ngram_size = ngram_size

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] < self.ngram_size:
            return scores
        return scores.masked_fill(_banned_after(input_ids, input_ids, self.ngram_size, scores.shape[-1]), NEVER)


class EncoderNoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No run of `encoder_ngram_size` tokens of the encoder's input comes.

    Example:
        >>> import torch
        >>> from notebook_kit import EncoderNoRepeatNGramLogitsProcessor
        >>> rule = EncoderNoRepeatNGramLogitsProcessor(2, encoder_input_ids=torch.tensor([[1, 3]]))
        >>> rule(torch.tensor([[0, 1]]), torch.zeros(1, 4))
        tensor([[0., 0., 0., -inf]])
    """

    def __init__(self, encoder_ngram_size: int, encoder_input_ids: Tensor) -> None:
        if not isinstance(encoder_ngram_size, int) or encoder_ngram_size < 1:
            raise InputError(f"encoder_ngram_size is {encoder_ngram_size!r}.", next_step="Pass a whole number from 1.")
        self.ngram_size, self.encoder_input_ids = encoder_ngram_size, encoder_input_ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        inputs = self.encoder_input_ids
        if input_ids.shape[1] < self.ngram_size - 1 or inputs.shape[1] < self.ngram_size:
            return scores
        inputs = inputs.repeat_interleave(scores.shape[0] // inputs.shape[0], dim=0)
        return scores.masked_fill(_banned_after(inputs, input_ids, self.ngram_size, scores.shape[-1]), NEVER)


class SequenceBiasLogitsProcessor(LogitsProcessor):
    """Add to the score of the token that would complete a sequence.

    Args:
        sequence_bias: From a tuple of token ids to what is added; or pairs `[token ids, number]`, as JSON has them.

    Example:
        >>> import torch
        >>> from notebook_kit import SequenceBiasLogitsProcessor
        >>> rule = SequenceBiasLogitsProcessor({(2,): -5.0, (1, 0): 3.0})
        >>> rule(torch.tensor([[7, 1], [1, 7]]), torch.zeros(2, 3))
        tensor([[ 3.,  0., -5.],
                [ 0.,  0., -5.]])
    """

    def __init__(self, sequence_bias: Mapping[tuple[int, ...], float] | Iterable[Any]) -> None:
        pairs: Iterable[Any] = sequence_bias.items() if isinstance(sequence_bias, Mapping) else sequence_bias
        self.sequence_bias: dict[tuple[int, ...], float] = {}
        for ids, bias in pairs:
            if not ids or not all(isinstance(token, int) and token >= 0 for token in ids):
                raise InputError(
                    f"sequence_bias names the sequence {ids!r}.", next_step="Pass token ids: {(5, 6): -2.0}."
                )
            self.sequence_bias[tuple(ids)] = float(bias)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        outside = sorted({t for ids in self.sequence_bias for t in ids if t >= scores.shape[-1]})
        if outside:
            raise InputError(
                f"Tokens {outside[:5]} are not in the vocabulary, which has ids 0 to {scores.shape[-1] - 1}.",
                next_step="Make the sequences with the tokenizer of this checkpoint.",
            )
        bias = torch.zeros_like(scores)
        for ids, number in self.sequence_bias.items():
            before = len(ids) - 1
            if before > input_ids.shape[1]:
                continue
            start = input_ids[:, input_ids.shape[1] - before :]
            here = (start == start.new_tensor(ids[:-1])).all(dim=-1)  # of no tokens: all rows
            bias[:, ids[-1]] += torch.where(here, number, 0.0).to(bias.dtype)
        return scores + bias


class NoBadWordsLogitsProcessor(SequenceBiasLogitsProcessor):
    """None of these sequences of tokens is ever completed. (One that is nothing but an end token is passed over.)

    Example:
        >>> import torch
        >>> from notebook_kit import NoBadWordsLogitsProcessor
        >>> NoBadWordsLogitsProcessor([[1, 2], [0]], eos_token_id=3)(torch.tensor([[4, 1]]), torch.zeros(1, 4))
        tensor([[-inf, 0., -inf, 0.]])
    """

    def __init__(
        self, bad_words_ids: list[list[int]], eos_token_id: int | Iterable[int] | Tensor | None = None
    ) -> None:
        ends = as_ids(eos_token_id)
        super().__init__({tuple(ids): NEVER for ids in bad_words_ids if len(ids) != 1 or ids[0] not in ends})


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """These tokens never come.

    Example:
        >>> import torch
        >>> from notebook_kit import SuppressTokensLogitsProcessor
        >>> SuppressTokensLogitsProcessor([0, 2])(torch.tensor([[1]]), torch.zeros(1, 3))
        tensor([[-inf, 0., -inf]])
    """

    def __init__(self, suppress_tokens: Iterable[int]) -> None:
        self.suppress_tokens = as_ids(suppress_tokens)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return without(scores, self.suppress_tokens)


class SuppressTokensAtBeginLogitsProcessor(LogitsProcessor):
    """These tokens do not come when the sequence has `begin_index` tokens.

    Example:
        >>> import torch
        >>> from notebook_kit import SuppressTokensAtBeginLogitsProcessor
        >>> rule = SuppressTokensAtBeginLogitsProcessor([0], begin_index=1)
        >>> rule(torch.tensor([[1]]), torch.zeros(1, 2)), rule(torch.tensor([[1, 1]]), torch.zeros(1, 2))
        (tensor([[-inf, 0.]]), tensor([[0., 0.]]))
    """

    def __init__(self, begin_suppress_tokens: Iterable[int], begin_index: int) -> None:
        self.begin_suppress_tokens, self.begin_index = as_ids(begin_suppress_tokens), begin_index

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        at_begin = input_ids.shape[-1] == self.begin_index
        return without(scores, self.begin_suppress_tokens) if at_begin else scores


class ForcedBOSTokenLogitsProcessor(LogitsProcessor):
    """The token after the start token is this one (the language, in many translators).

    Example:
        >>> import torch
        >>> from notebook_kit import ForcedBOSTokenLogitsProcessor
        >>> ForcedBOSTokenLogitsProcessor(1)(torch.tensor([[2]]), torch.tensor([[4.0, 3.0]]))
        tensor([[-inf, 0.]])
    """

    def __init__(self, bos_token_id: int) -> None:
        self.bos_token_id = bos_token_id

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return only(scores, [self.bos_token_id]) if input_ids.shape[-1] == 1 else scores


class ForcedEOSTokenLogitsProcessor(LogitsProcessor):
    """The token at the last place of `max_length` is this one.

    Example:
        >>> import torch
        >>> from notebook_kit import ForcedEOSTokenLogitsProcessor
        >>> ForcedEOSTokenLogitsProcessor(2, eos_token_id=0)(torch.tensor([[2]]), torch.tensor([[4.0, 3.0]]))
        tensor([[0., -inf]])
    """

    def __init__(self, max_length: int, eos_token_id: int | Iterable[int] | Tensor) -> None:
        self.max_length, self.eos_token_id = max_length, as_ids(eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return only(scores, self.eos_token_id) if input_ids.shape[-1] == self.max_length - 1 else scores


class ExponentialDecayLengthPenalty(LogitsProcessor):
    """From `start` new tokens on, the end becomes more probable with each.

    Args:
        exponential_decay_length_penalty: `(start, factor)`.
        eos_token_id: The end tokens.
        input_ids_seq_length: Length of the prompt.

    Example:
        >>> import torch
        >>> from notebook_kit import ExponentialDecayLengthPenalty
        >>> rule = ExponentialDecayLengthPenalty((1, 2.0), eos_token_id=0, input_ids_seq_length=1)
        >>> rule(torch.tensor([[5, 6, 7]]), torch.tensor([[-1.0, 2.0]]))
        tensor([[0., 2.]])
    """

    def __init__(
        self,
        exponential_decay_length_penalty: tuple[int, float],
        eos_token_id: int | Iterable[int] | Tensor,
        input_ids_seq_length: int,
    ) -> None:
        start, self.factor = exponential_decay_length_penalty
        self.start, self.eos_token_id = start + input_ids_seq_length, as_ids(eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = input_ids.shape[-1] - self.start
        if over <= 0:
            return scores
        made = scores.clone()
        ends = scores[:, self.eos_token_id]
        more = ends.abs() * (self.factor**over - 1)
        made[:, self.eos_token_id] = ends + more.masked_fill(~ends.isfinite(), 0.0)
        return made


class PrefixConstrainedLogitsProcessor(LogitsProcessor):
    """A function says which tokens may follow.

    Args:
        prefix_allowed_tokens_fn: Called with the index of the input and the tokens of the row so far `(tokens,)`; returns
            token ids.
        num_beams: How many rows each input has.

    Raises:
        InputError: If the function allows nothing.

    Example:
        >>> import torch
        >>> from notebook_kit import PrefixConstrainedLogitsProcessor
        >>> rule = PrefixConstrainedLogitsProcessor(lambda index, tokens: [int(tokens[-1]) + 1], num_beams=1)
        >>> rule(torch.tensor([[0], [1]]), torch.zeros(2, 3))
        tensor([[-inf, 0., -inf],
                [-inf, -inf, 0.]])
    """

    def __init__(self, prefix_allowed_tokens_fn: Callable[[int, Tensor], list[int]], num_beams: int) -> None:
        self.allowed, self.num_beams = prefix_allowed_tokens_fn, num_beams

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        mask = torch.full_like(scores, NEVER)
        for row, tokens in enumerate(input_ids):
            allowed = self.allowed(row // self.num_beams, tokens)
            if len(allowed) == 0:
                raise InputError(
                    f"prefix_allowed_tokens_fn allows no token after {tokens.tolist()} (input {row // self.num_beams}).",
                    next_step="Let it return at least one token, such as the end token.",
                )
            mask[row, allowed] = 0
        made = scores + mask
        stuck = made.amax(dim=-1).isneginf()  # what is allowed was forbidden by another rule: what is allowed counts
        stuck = stuck.view(-1, self.num_beams).all(dim=-1).repeat_interleave(self.num_beams)
        return torch.where(stuck[:, None], mask, made)


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """What is not a number becomes 0, and what is infinite the largest number there is.

    Example:
        >>> import torch
        >>> from notebook_kit import InfNanRemoveLogitsProcessor
        >>> InfNanRemoveLogitsProcessor()(torch.tensor([[1]]), torch.tensor([[float("nan"), 2.0, float("inf")]]))
        tensor([[0.0000e+00, 2.0000e+00, 3.4028e+38]])
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.nan_to_num(nan=0.0)


class LogitNormalization(LogitsProcessor):
    """Scores become log-probabilities.

    Example:
        >>> import torch
        >>> from notebook_kit import LogitNormalization
        >>> LogitNormalization()(torch.tensor([[1]]), torch.tensor([[2.0, 2.0]])).exp()
        tensor([[0.5000, 0.5000]])
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.log_softmax(dim=-1)
