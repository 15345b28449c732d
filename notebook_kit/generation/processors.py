"""Rules for the next token: each takes the tokens so far and the scores of the next token, and returns new scores.

Scores are logits, or log-probabilities in beam search; a token with `-inf` is never chosen. A rule never writes to the
scores it receives. To add a rule, subclass `LogitsProcessor` or write a function with the same two arguments.

Rules work on the device of the scores; some accept a `device`, without effect, as their namesakes of other libraries do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
    "UnbatchedClassifierFreeGuidanceLogitsProcessor",
]

NEVER = float("-inf")
Ids = int | Iterable[int] | Tensor


class LogitsProcessor:
    """The base of all rules. A subclass defines `__call__(input_ids, scores)`.

    Args of the call:
        input_ids: `(rows, tokens so far)`, prompt and padding included.
        scores: `(rows, vocabulary)`; must not be modified.

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
        raise NotImplementedError(f"{type(self).__name__} needs a method __call__(input_ids, scores) -> scores.")


class LogitsProcessorList(list):
    """Rules that are applied in order.

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


def as_ids(tokens: Ids | None) -> list[int]:
    """A list of token ids, from any form in which users pass them."""
    if tokens is None or isinstance(tokens, int):
        return [] if tokens is None else [tokens]
    return [int(token) for token in (tokens.reshape(-1) if isinstance(tokens, Tensor) else tokens)]


def at_least_one(name: str, value: int) -> int:
    """`value`, if it is an integer above 0."""
    if not isinstance(value, int) or value < 1:
        raise InputError(f"{name} is {value!r}.", next_step="Pass a whole number from 1.")
    return value


def without(scores: Tensor, tokens: list[int]) -> Tensor:
    """Scores that exclude these tokens. Ids outside the vocabulary are ignored."""
    known = [token for token in tokens if 0 <= token < scores.shape[-1]]
    return scores.index_fill(-1, torch.tensor(known, dtype=torch.long, device=scores.device), NEVER)


def only(scores: Tensor, tokens: list[int]) -> Tensor:
    """Scores that exclude all other tokens.

    Raises:
        InputError: If none of the tokens is in the vocabulary.
    """
    if not any(0 <= token < scores.shape[-1] for token in tokens):
        raise InputError(
            f"The forced tokens {tokens} are not in the vocabulary, which has ids 0 to {scores.shape[-1] - 1}.",
            next_step="Correct forced_bos_token_id or forced_eos_token_id.",
        )
    tokens = [token for token in tokens if 0 <= token < scores.shape[-1]]
    return torch.full_like(scores, NEVER).index_fill(-1, torch.tensor(tokens, device=scores.device), 0.0)


class MinLengthLogitsProcessor(LogitsProcessor):
    """Exclude the end tokens until the whole sequence has `min_length` tokens.

    Example:
        >>> import torch
        >>> from notebook_kit import MinLengthLogitsProcessor
        >>> MinLengthLogitsProcessor(3, eos_token_id=0)(torch.tensor([[5, 6]]), torch.zeros(1, 3))
        tensor([[-inf, 0., 0.]])
    """

    def __init__(self, min_length: int, eos_token_id: Ids, device: Any = None) -> None:
        self.min_length, self.eos_token_id = min_length, as_ids(eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return without(scores, self.eos_token_id) if input_ids.shape[-1] < self.min_length else scores


class MinNewTokensLengthLogitsProcessor(MinLengthLogitsProcessor):
    """Exclude the end tokens until `min_new_tokens` follow a prompt of `prompt_length_to_skip` tokens.

    Example:
        >>> import torch
        >>> from notebook_kit import MinNewTokensLengthLogitsProcessor
        >>> rule = MinNewTokensLengthLogitsProcessor(prompt_length_to_skip=2, min_new_tokens=1, eos_token_id=[0, 1])
        >>> rule(torch.tensor([[5, 6]]), torch.zeros(1, 3))
        tensor([[-inf, -inf, 0.]])
    """

    def __init__(self, prompt_length_to_skip: int, min_new_tokens: int, eos_token_id: Ids, device: Any = None) -> None:
        super().__init__(prompt_length_to_skip + min_new_tokens, eos_token_id)


def penalized(scores: Tensor, present: Tensor, penalty: float) -> Tensor:
    """Scores in which those of the `present` tokens are divided by the penalty (negative ones multiplied)."""
    return torch.where(present, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def presence(input_ids: Tensor, scores: Tensor, skip: Tensor | None = None) -> Tensor:
    """Which tokens occur in each row after its first `skip[row]` positions: `(rows, vocabulary)` of bool."""
    size = scores.shape[-1]
    if skip is not None:
        positions = torch.arange(input_ids.shape[1], device=input_ids.device)
        input_ids = input_ids.masked_fill(positions < skip[:, None], size)
    found = torch.zeros(input_ids.shape[0], size + 1, dtype=torch.bool, device=scores.device)
    return found.scatter_(1, input_ids.clamp(max=size), True)[:, :size]


def _checked_penalty(penalty: float) -> float:
    if not penalty > 0:
        raise InputError(f"The repetition penalty is {penalty!r}.", next_step="Pass a number above 0; 1.0 for none.")
    return float(penalty)


class RepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Make tokens already in the text less probable (above 1) or more probable (below 1).

    Args:
        penalty: Positive scores are divided by it, negative ones multiplied.
        prompt_ignore_length: The number of leading tokens to ignore: one for all rows, or one per row (its padding).

    Source: Keskar et al., CTRL, 2019, section 4.1.

    Example:
        >>> import torch
        >>> from notebook_kit import RepetitionPenaltyLogitsProcessor
        >>> RepetitionPenaltyLogitsProcessor(2.0)(torch.tensor([[0, 1]]), torch.tensor([[4.0, -1.0, 3.0]]))
        tensor([[ 2., -2.,  3.]])
    """

    def __init__(self, penalty: float, prompt_ignore_length: int | Tensor | None = None) -> None:
        self.penalty, self.prompt_ignore_length = _checked_penalty(penalty), prompt_ignore_length

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        skip = self.prompt_ignore_length
        if isinstance(skip, int):
            input_ids, skip = input_ids[:, skip:], None
        if skip is not None and skip.shape[0] != input_ids.shape[0]:  # each prompt has several rows
            skip = skip.repeat_interleave(input_ids.shape[0] // skip.shape[0])
        return penalized(scores, presence(input_ids, scores, skip), self.penalty)


class EncoderRepetitionPenaltyLogitsProcessor(LogitsProcessor):
    """Make tokens of the encoder's input more probable (above 1) or less probable (below 1).

    Example:
        >>> import torch
        >>> from notebook_kit import EncoderRepetitionPenaltyLogitsProcessor
        >>> rule = EncoderRepetitionPenaltyLogitsProcessor(2.0, encoder_input_ids=torch.tensor([[0, 1]]))
        >>> rule(torch.tensor([[2]]), torch.tensor([[4.0, -1.0, 3.0]]))
        tensor([[ 8.0000, -0.5000,  3.0000]])
    """

    def __init__(self, penalty: float, encoder_input_ids: Tensor) -> None:
        self.penalty, self.encoder_input_ids = 1 / _checked_penalty(penalty), encoder_input_ids

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        inputs = self.encoder_input_ids
        present = presence(inputs, scores.new_empty(inputs.shape[0], scores.shape[-1]))
        return penalized(scores, present.repeat_interleave(scores.shape[0] // inputs.shape[0], dim=0), self.penalty)


def _banned_after(context: Tensor, input_ids: Tensor, size: int, vocabulary: int) -> Tensor:
    """The tokens with which `input_ids` would repeat an n-gram of `context`: `(rows, vocabulary)` of bool."""
    ngrams = context.unfold(1, size, 1)  # (rows, n-grams, size)
    last = input_ids[:, input_ids.shape[1] + 1 - size :]
    same = (ngrams[..., :-1] == last[:, None]).all(dim=-1)
    ends = torch.where(same, ngrams[..., -1].clamp(max=vocabulary), vocabulary)
    banned = torch.zeros(input_ids.shape[0], vocabulary + 1, dtype=torch.bool, device=input_ids.device)
    return banned.scatter_(1, ends, True)[:, :vocabulary]


class NoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No n-gram of `ngram_size` tokens occurs twice.

    Example:
        >>> import torch
        >>> from notebook_kit import NoRepeatNGramLogitsProcessor
        >>> NoRepeatNGramLogitsProcessor(2)(torch.tensor([[1, 2, 1]]), torch.zeros(1, 4))  # 1 was followed by 2
        tensor([[0., 0., -inf, 0.]])
    """

    def __init__(self, ngram_size: int) -> None:
        self.ngram_size = at_least_one("ngram_size", ngram_size)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if input_ids.shape[1] < self.ngram_size:
            return scores
        return scores.masked_fill(_banned_after(input_ids, input_ids, self.ngram_size, scores.shape[-1]), NEVER)


class EncoderNoRepeatNGramLogitsProcessor(LogitsProcessor):
    """No n-gram of `encoder_ngram_size` tokens from the encoder's input occurs.

    Example:
        >>> import torch
        >>> from notebook_kit import EncoderNoRepeatNGramLogitsProcessor
        >>> rule = EncoderNoRepeatNGramLogitsProcessor(2, encoder_input_ids=torch.tensor([[1, 3]]))
        >>> rule(torch.tensor([[0, 1]]), torch.zeros(1, 4))
        tensor([[0., 0., 0., -inf]])
    """

    def __init__(self, encoder_ngram_size: int, encoder_input_ids: Tensor) -> None:
        self.ngram_size = at_least_one("encoder_ngram_size", encoder_ngram_size)
        self.encoder_input_ids = encoder_input_ids if encoder_input_ids.dim() > 1 else encoder_input_ids[None]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        inputs = self.encoder_input_ids
        if input_ids.shape[1] < self.ngram_size - 1 or inputs.shape[1] < self.ngram_size:
            return scores
        inputs = inputs.repeat_interleave(scores.shape[0] // inputs.shape[0], dim=0)
        return scores.masked_fill(_banned_after(inputs, input_ids, self.ngram_size, scores.shape[-1]), NEVER)


class SequenceBiasLogitsProcessor(LogitsProcessor):
    """Add a bias to the score of the token that would complete a sequence.

    Args:
        sequence_bias: Tuple of token ids -> bias; or pairs `[token ids, bias]`, the form of JSON files.

    Raises:
        InputError: For an empty sequence or an invalid id; in the call, for ids outside the vocabulary.

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
                next_step="Create the sequences with this checkpoint's tokenizer.",
            )
        bias = torch.zeros_like(scores)
        for (*start, last), number in self.sequence_bias.items():
            if len(start) <= input_ids.shape[1]:
                newest = input_ids[:, input_ids.shape[1] - len(start) :]
                matches = (newest == newest.new_tensor(start)).all(dim=-1)  # an empty start matches in all rows
                bias[:, last] += torch.where(matches, number, 0.0).to(bias.dtype)
        return scores + bias


class NoBadWordsLogitsProcessor(SequenceBiasLogitsProcessor):
    """None of these token sequences is ever completed. (A sequence that is just an end token is ignored.)

    Example:
        >>> import torch
        >>> from notebook_kit import NoBadWordsLogitsProcessor
        >>> NoBadWordsLogitsProcessor([[1, 2], [0]], eos_token_id=3)(torch.tensor([[4, 1]]), torch.zeros(1, 4))
        tensor([[-inf, 0., -inf, 0.]])
    """

    def __init__(self, bad_words_ids: list[list[int]], eos_token_id: Ids | None = None) -> None:
        ends = as_ids(eos_token_id)
        super().__init__({tuple(ids): NEVER for ids in bad_words_ids if len(ids) != 1 or ids[0] not in ends})


class SuppressTokensLogitsProcessor(LogitsProcessor):
    """These tokens never occur.

    Example:
        >>> import torch
        >>> from notebook_kit import SuppressTokensLogitsProcessor
        >>> SuppressTokensLogitsProcessor([0, 2])(torch.tensor([[1]]), torch.zeros(1, 3))
        tensor([[-inf, 0., -inf]])
    """

    def __init__(self, suppress_tokens: Iterable[int], device: Any = None) -> None:
        self.suppress_tokens = as_ids(suppress_tokens)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return without(scores, self.suppress_tokens)


class SuppressTokensAtBeginLogitsProcessor(LogitsProcessor):
    """These tokens are excluded when the sequence has `begin_index` tokens.

    Example:
        >>> import torch
        >>> from notebook_kit import SuppressTokensAtBeginLogitsProcessor
        >>> rule = SuppressTokensAtBeginLogitsProcessor([0], begin_index=1)
        >>> rule(torch.tensor([[1]]), torch.zeros(1, 2)), rule(torch.tensor([[1, 1]]), torch.zeros(1, 2))
        (tensor([[-inf, 0.]]), tensor([[0., 0.]]))
    """

    def __init__(self, begin_suppress_tokens: Iterable[int], begin_index: int, device: Any = None) -> None:
        self.begin_suppress_tokens, self.begin_index = as_ids(begin_suppress_tokens), begin_index

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        at_begin = input_ids.shape[-1] == self.begin_index
        return without(scores, self.begin_suppress_tokens) if at_begin else scores


class ForcedBOSTokenLogitsProcessor(LogitsProcessor):
    """Force the token after the start token (the language, in many translation models).

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
    """Force the last token that `max_length` allows.

    Example:
        >>> import torch
        >>> from notebook_kit import ForcedEOSTokenLogitsProcessor
        >>> ForcedEOSTokenLogitsProcessor(2, eos_token_id=0)(torch.tensor([[2]]), torch.tensor([[4.0, 3.0]]))
        tensor([[0., -inf]])
    """

    def __init__(self, max_length: int, eos_token_id: Ids, device: Any = None) -> None:
        self.max_length, self.eos_token_id = max_length, as_ids(eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return only(scores, self.eos_token_id) if input_ids.shape[-1] == self.max_length - 1 else scores


class ExponentialDecayLengthPenalty(LogitsProcessor):
    """After `start` new tokens, the end becomes more probable with each further token.

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
        self, exponential_decay_length_penalty: Sequence[float], eos_token_id: Ids, input_ids_seq_length: int
    ) -> None:
        start, self.factor = exponential_decay_length_penalty
        self.start, self.eos_token_id = start + input_ids_seq_length, as_ids(eos_token_id)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        over = input_ids.shape[-1] - self.start
        if over <= 0:
            return scores
        ends = scores[:, self.eos_token_id]
        bonus = (ends.abs() * (self.factor**over - 1)).masked_fill(~ends.isfinite(), 0.0)
        scores = scores.clone()
        scores[:, self.eos_token_id] += bonus
        return scores


class PrefixConstrainedLogitsProcessor(LogitsProcessor):
    """Let a function decide which tokens are allowed.

    Args:
        prefix_allowed_tokens_fn: Called with the index of the input and the tokens of the row so far, `(tokens,)`;
            returns the allowed token ids.
        num_beams: The number of rows per input.

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
            ids = self.allowed(row // self.num_beams, tokens)
            if len(ids) == 0:
                raise InputError(
                    f"prefix_allowed_tokens_fn allows no token after {tokens.tolist()} (input {row // self.num_beams}).",
                    next_step="Return at least one token, such as the end token.",
                )
            mask[row, ids] = 0
        allowed = scores + mask
        # If another rule excludes all allowed tokens in every row of an input, this rule takes precedence.
        stuck = allowed.amax(dim=-1).isneginf().view(-1, self.num_beams).all(dim=-1)
        return torch.where(stuck.repeat_interleave(self.num_beams)[:, None], mask, allowed)


class InfNanRemoveLogitsProcessor(LogitsProcessor):
    """Replace NaN by 0, and infinite scores by the largest finite number of their sign.

    Example:
        >>> import torch
        >>> from notebook_kit import InfNanRemoveLogitsProcessor
        >>> InfNanRemoveLogitsProcessor()(torch.tensor([[1]]), torch.tensor([[float("nan"), 2.0, float("inf")]]))
        tensor([[0.0000e+00, 2.0000e+00, 3.4028e+38]])
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.nan_to_num(nan=0.0)


class LogitNormalization(LogitsProcessor):
    """Normalize scores to log-probabilities.

    Example:
        >>> import torch
        >>> from notebook_kit import LogitNormalization
        >>> LogitNormalization()(torch.tensor([[1]]), torch.tensor([[2.0, 2.0]])).exp()
        tensor([[0.5000, 0.5000]])
    """

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores.log_softmax(dim=-1)


class UnbatchedClassifierFreeGuidanceLogitsProcessor(LogitsProcessor):
    """Move scores away from those that the model gives after another prompt.

    The result is `other + guidance_scale * (scores - other)`, of log-probabilities.

    Args:
        guidance_scale: 1 for no change; above 1, the prompt is followed more closely.
        model: The decoder that generates.
        unconditional_ids: `(inputs, tokens)`: the other prompts; by default the last token of each prompt.
        unconditional_attention_mask: `(inputs, tokens)`: 0 for padding in them.
        use_cache: Whether rows keep their place from step to step, so that their keys and values can be reused.

    Source: Sanchez et al., Stay on topic with Classifier-Free Guidance, 2023.

    Example:
        >>> import torch
        >>> from notebook_kit import GPT2Config, GPT2LMHeadModel, UnbatchedClassifierFreeGuidanceLogitsProcessor
        >>> model = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=50, n_positions=32)).eval()
        >>> guide = UnbatchedClassifierFreeGuidanceLogitsProcessor(1.5, model, torch.tensor([[9]]))
        >>> guide(torch.tensor([[7, 8]]), torch.zeros(1, 50)).shape
        torch.Size([1, 50])
    """

    def __init__(
        self,
        guidance_scale: float,
        model: Any,
        unconditional_ids: Tensor | None = None,
        unconditional_attention_mask: Tensor | None = None,
        use_cache: bool | None = True,
    ) -> None:
        self.guidance_scale, self.model, self.use_cache = guidance_scale, model, use_cache
        self._ids, self._mask = unconditional_ids, unconditional_attention_mask
        self._cache: Any = None
        self._start: int | None = None  # length of the sequences at the first call

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.log_softmax(dim=-1)
        if self.guidance_scale == 1:
            return scores
        other = self._other_logits(input_ids).float().log_softmax(dim=-1).to(scores.device)
        return self.guidance_scale * (scores - other) + other

    @torch.no_grad()
    def _other_logits(self, input_ids: Tensor) -> Tensor:
        if self._start is None:
            self._start = input_ids.shape[1]
            self._ids = input_ids[:, -1:] if self._ids is None else self._ids.to(input_ids.device)
        assert self._ids is not None
        copies = input_ids.shape[0] // self._ids.shape[0]
        ids = torch.cat([self._ids.repeat_interleave(copies, dim=0), input_ids[:, self._start :]], dim=1)
        mask = torch.ones_like(ids)
        if self._mask is not None:
            mask[:, : self._mask.shape[1]] = self._mask.repeat_interleave(copies, dim=0)
        call = {"attention_mask": mask, "use_cache": bool(self.use_cache), "past_key_values": self._cache}
        unread = ids if self._cache is None else ids[:, self._cache.get_seq_length() :]
        out = self.model(input_ids=unread, **call)
        self._cache = out.past_key_values if self.use_cache else None
        return out.logits[:, -1]
