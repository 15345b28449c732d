"""Freezing weights by the patterns of their names."""

from __future__ import annotations

from fnmatch import fnmatchcase

from torch import nn

from notebook_kit.errors import InputError, near_matches

__all__ = ["freeze", "unfreeze"]


def freeze(model: nn.Module, *patterns: str) -> list[str]:
    """Leave the parameters whose names match one of the patterns out of training.

    Create the Trainer's optimizer afterwards, as `train()` does.

    Args:
        model: The model.
        patterns: Names of parameters, or of modules for all their parameters; `*` stands for any characters.

    Returns:
        The names of the parameters that match.

    Raises:
        InputError: if a pattern matches nothing.

    Example:
        >>> from notebook_kit import BertConfig, BertForSequenceClassification
        >>> tiny = BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, vocab_size=30)
        >>> model = BertForSequenceClassification(tiny)
        >>> len(freeze(model, "bert.embeddings", "*.layer.0.*"))
        21
        >>> model.bert.encoder.layer[0].output.dense.weight.requires_grad, model.classifier.weight.requires_grad
        (False, True)
    """
    return _set(model, patterns, trained=False)


def unfreeze(model: nn.Module, *patterns: str) -> list[str]:
    """Train the parameters whose names match one of the patterns; see `freeze`.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1)).requires_grad_(False)
        >>> unfreeze(model, "1")
        ['1.weight', '1.bias']
    """
    return _set(model, patterns, trained=True)


def _set(model: nn.Module, patterns: tuple[str, ...], trained: bool) -> list[str]:
    parameters = dict(model.named_parameters())
    found: set[str] = set()
    for pattern in patterns:
        matching = {name for name in parameters if fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")}
        if not matching:
            modules = [name for name, _ in model.named_modules() if name]
            raise InputError(
                f"No parameter of {type(model).__name__} matches {pattern!r}."
                f" {near_matches(pattern.strip('*.'), [*modules, *parameters])}".strip(),
                next_step="List the names with [name for name, _ in model.named_parameters()].",
            )
        found |= matching
    for name in found:
        parameters[name].requires_grad_(trained)
    return [name for name in parameters if name in found]
