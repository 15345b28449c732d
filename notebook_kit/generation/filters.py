"""The rules for sampling: the temperature, and filters that exclude improbable tokens."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from notebook_kit.errors import InputError
from notebook_kit.generation.processors import NEVER, LogitsProcessor, at_least_one

__all__ = [
    "EpsilonLogitsWarper",
    "EtaLogitsWarper",
    "MinPLogitsWarper",
    "TemperatureLogitsWarper",
    "TopKLogitsWarper",
    "TopPLogitsWarper",
    "TypicalLogitsWarper",
]


def _fraction(name: str, value: float) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"{name} is {value!r}.", next_step="Pass a number from 0 to 1.")
    return float(value)


class TemperatureLogitsWarper(LogitsProcessor):
    """Divide scores by a temperature: below 1, probable tokens become more probable; above 1, less.

    Example:
        >>> import torch
        >>> from notebook_kit import TemperatureLogitsWarper
        >>> TemperatureLogitsWarper(2.0)(torch.tensor([[1]]), torch.tensor([[4.0, 2.0]]))
        tensor([[2., 1.]])
    """

    def __init__(self, temperature: float) -> None:
        if not temperature > 0:
            raise InputError(
                f"temperature is {temperature!r}.",
                next_step="Pass a number above 0, or do_sample=False for the most probable token.",
            )
        self.temperature = float(temperature)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return scores / self.temperature


class _Filter(LogitsProcessor):
    """Excludes tokens, but never the best `min_tokens_to_keep`."""

    def __init__(self, filter_value: float, min_tokens_to_keep: int) -> None:
        self.filter_value = filter_value
        self.min_tokens_to_keep = at_least_one("min_tokens_to_keep", min_tokens_to_keep)

    def _best(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and ids of the tokens that are always kept, each `(rows, min_tokens_to_keep)`."""
        return scores.topk(min(self.min_tokens_to_keep, scores.shape[-1]), dim=-1)

    def _below(self, bound: float | Tensor, probabilities: Tensor, scores: Tensor) -> Tensor:
        """Scores without the tokens below `bound`. Tokens that tie with the last one kept are kept, too."""
        out = (probabilities < bound) & (scores < self._best(scores)[0][..., -1:])
        return scores.masked_fill(out, self.filter_value)


class TopKLogitsWarper(_Filter):
    """Sample from the k most probable tokens.

    Source: Fan et al., Hierarchical Neural Story Generation, 2018.

    Example:
        >>> import torch
        >>> from notebook_kit import TopKLogitsWarper
        >>> TopKLogitsWarper(2)(torch.tensor([[1]]), torch.tensor([[1.0, 3.0, 2.0]]))
        tensor([[-inf, 3., 2.]])
    """

    def __init__(self, top_k: int, filter_value: float = NEVER, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.top_k = max(at_least_one("top_k", top_k), min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        lowest = scores.topk(min(self.top_k, scores.shape[-1]), dim=-1).values[..., -1:]
        return scores.masked_fill(scores < lowest, self.filter_value)


class TopPLogitsWarper(_Filter):
    """Sample from the smallest set of tokens whose probabilities add up to at least `top_p`.

    Source: Holtzman et al., The Curious Case of Neural Text Degeneration, 2020.

    Example:
        >>> import torch
        >>> from notebook_kit import TopPLogitsWarper
        >>> TopPLogitsWarper(0.8)(torch.tensor([[1]]), torch.tensor([[0.1, 0.6, 0.3]]).log()).exp()
        tensor([[0.0000, 0.6000, 0.3000]])
    """

    def __init__(self, top_p: float, filter_value: float = NEVER, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.top_p = _fraction("top_p", top_p)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        rising, order = scores.sort(dim=-1)
        out = rising.softmax(dim=-1).cumsum(dim=-1) <= 1 - self.top_p
        out[..., -self.min_tokens_to_keep :] = False
        return scores.masked_fill(out.scatter(-1, order, out), self.filter_value)


class MinPLogitsWarper(_Filter):
    """Sample from tokens that are at least `min_p` times as probable as the most probable one.

    Source: Nguyen et al., Turning Up the Heat: Min-p Sampling, 2024.

    Example:
        >>> import torch
        >>> from notebook_kit import MinPLogitsWarper
        >>> MinPLogitsWarper(0.25)(torch.tensor([[1]]), torch.tensor([[0.1, 0.6, 0.3]]).log()).exp()
        tensor([[0.0000, 0.6000, 0.3000]])
    """

    def __init__(self, min_p: float, filter_value: float = NEVER, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.min_p = _fraction("min_p", min_p)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        probabilities = scores.softmax(dim=-1)
        out = probabilities < self.min_p * probabilities.amax(dim=-1, keepdim=True)
        return scores.masked_fill(out.scatter(-1, self._best(scores)[1], False), self.filter_value)


class TypicalLogitsWarper(_Filter):
    """Sample from the tokens whose surprise is nearest to the entropy, until their probabilities add up to `mass`.

    Source: Meister et al., Locally Typical Sampling, 2022.

    Example:
        >>> import torch
        >>> from notebook_kit import TypicalLogitsWarper
        >>> TypicalLogitsWarper(0.4)(torch.tensor([[1]]), torch.tensor([[0.5, 0.3, 0.2]]).log()).exp()
        tensor([[0.5000, 0.3000, 0.0000]])
    """

    def __init__(self, mass: float = 0.9, filter_value: float = NEVER, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        if not mass:
            raise InputError(f"typical_p is {mass!r}.", next_step="Pass a number above 0, at most 1.")
        self.mass = _fraction("typical_p", mass)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logs = scores.log_softmax(dim=-1)
        entropy = -(logs * logs.exp()).nansum(dim=-1, keepdim=True)
        distance, order = (-logs - entropy).abs().sort(dim=-1)
        reached = logs.gather(-1, order).exp().cumsum(dim=-1)
        last = (reached < self.mass).sum(dim=-1, keepdim=True).clamp(max=scores.shape[-1] - 1)
        out = distance > distance.gather(-1, last)
        out[..., : self.min_tokens_to_keep] = False
        return scores.masked_fill(out.scatter(-1, order, out), self.filter_value)


class EpsilonLogitsWarper(_Filter):
    """Sample from tokens with a probability of at least `epsilon`.

    Source: Hewitt et al., Truncation Sampling as Language Model Desmoothing, 2022.

    Example:
        >>> import torch
        >>> from notebook_kit import EpsilonLogitsWarper
        >>> EpsilonLogitsWarper(0.2)(torch.tensor([[1]]), torch.tensor([[0.1, 0.6, 0.3]]).log()).exp()
        tensor([[0.0000, 0.6000, 0.3000]])
    """

    def __init__(self, epsilon: float, filter_value: float = NEVER, min_tokens_to_keep: int = 1) -> None:
        super().__init__(filter_value, min_tokens_to_keep)
        self.epsilon = _fraction("epsilon_cutoff", epsilon)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return self._below(self.epsilon, scores.softmax(dim=-1), scores)


class EtaLogitsWarper(EpsilonLogitsWarper):
    """Like `EpsilonLogitsWarper`, with a bound that falls as the entropy grows: `min(epsilon, sqrt(epsilon) * exp(-entropy))`.

    Example:
        >>> import torch
        >>> from notebook_kit import EtaLogitsWarper
        >>> EtaLogitsWarper(0.2)(torch.tensor([[1]]), torch.tensor([[0.1, 0.6, 0.3]]).log()).exp()
        tensor([[0.0000, 0.6000, 0.3000]])
    """

    def __init__(
        self, epsilon: float, filter_value: float = NEVER, min_tokens_to_keep: int = 1, device: Any = None
    ) -> None:
        super().__init__(epsilon, filter_value, min_tokens_to_keep)

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        logs = scores.log_softmax(dim=-1)
        probabilities = logs.exp()
        entropy = -(logs * probabilities).nansum(dim=-1, keepdim=True)
        bound = (self.epsilon**0.5 * (-entropy).exp()).clamp(max=self.epsilon)
        return self._below(bound, probabilities, scores)
