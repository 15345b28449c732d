"""Rules that match the weights of a checkpoint with those of a model, by name and shape, as data.

This module uses neither tensors nor modules, so the same rules can load models of any framework.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from notebook_kit.errors import CheckpointError

__all__ = ["ENCODER_RULES", "LoadingPlan", "WeightRules", "joined_rules", "plan_loading"]


@dataclass(frozen=True)
class WeightRules:
    """How the names of the weights in a family's checkpoints differ from those in the model.

    Patterns are regular expressions that are searched for anywhere in a name. Names are those of the model, except in
    `legacy` and `unused`, which apply to the names in files.

    Attributes:
        tied: Name -> name of the weight that it shares if `config.tie_word_embeddings` is True.
        shared: The same for weights that are always shared.
        stored_once: Patterns of names in `tied` that files may omit even if nothing is tied: they start as copies.
        tied_if_absent: Whether to tie the weights in `tied` regardless of the config if the file has none of them.
        legacy: Pattern -> replacement, from names in old files to names in the model.
        saved: Pattern -> replacement, from names in the model to names in files.
        optional: Patterns of backbone weights that a file may lack (a pooler): they are initialized, with a warning.
        defaulted: Patterns of weights that a file may lack: they keep their initial value.
        computed: Patterns of weights that follow from the config (sinusoids): neither read nor written.
        unused: Patterns of names in files that are not weights of the model (stored position ids).

    Example:
        >>> from notebook_kit.checkpoints.names import WeightRules
        >>> rules = WeightRules(tied={"lm_head.weight": "embed.weight"}, saved={r"^embed\\.": "tokens."})
        >>> rules.stored_names(["embed.weight", "lm_head.weight"], tied=True)
        {'embed.weight': 'tokens.weight'}
    """

    tied: Mapping[str, str] = field(default_factory=dict)
    shared: Mapping[str, str] = field(default_factory=dict)
    stored_once: tuple[str, ...] = (r"bias$",)
    tied_if_absent: bool = False
    legacy: Mapping[str, str] = field(default_factory=dict)
    saved: Mapping[str, str] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    defaulted: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()

    def ties(self, tied: bool) -> dict[str, str]:
        """Shared weight -> the weight that it shares; `tied` is `config.tie_word_embeddings`."""
        return {**self.shared, **(self.tied if tied else {})}

    def stored_names(self, names: Iterable[str], tied: bool) -> dict[str, str]:
        """Weight to save -> its name in the file."""
        ties = self.ties(tied)
        kept = (name for name in names if name not in ties and not _any(self.computed, name))
        return {name: _renamed(name, self.saved) for name in kept}


ENCODER_RULES = WeightRules(
    legacy={r"\bgamma$": "weight", r"\bbeta$": "bias"},  # norms in files converted from TensorFlow
    optional=(r"(^|\.)pooler\.",),
    unused=(r"position_ids$",),
)
"""The rules for checkpoints of BERT and most later encoders."""


def joined_rules(parts: Mapping[str, tuple[WeightRules, bool]], defaulted: tuple[str, ...] = ()) -> WeightRules:
    """The rules of a model made of others, whose weights have the name of their part before their own.

    Args:
        parts: Name of each part -> its rules, and its `config.tie_word_embeddings`.
        defaulted: Patterns of further weights that a file may lack.

    Example:
        >>> rules = joined_rules({"decoder": (WeightRules(tied={"head.weight": "words.weight"}, unused=(r"^norm\\.",)), True)})
        >>> rules.shared, rules.unused
        ({'decoder.head.weight': 'decoder.words.weight'}, ('^decoder\\\\.norm\\\\.',))
    """

    def moved(part: str, pattern: str) -> str:
        return rf"^{part}\.{pattern[1:]}" if pattern.startswith("^") else pattern

    def renamed(part: str, names: Mapping[str, str]) -> dict[str, str]:
        """Patterns from the start of a name replace a whole name, others only a part of it."""
        return {
            moved(part, pattern): f"{part}.{new}" if pattern.startswith("^") else new for pattern, new in names.items()
        }

    def patterns(field: str) -> tuple[str, ...]:
        return tuple(moved(part, pattern) for part, (rules, _) in parts.items() for pattern in getattr(rules, field))

    def names(field: str) -> dict[str, str]:
        return {
            old: new for part, (rules, _) in parts.items() for old, new in renamed(part, getattr(rules, field)).items()
        }

    return WeightRules(
        shared={
            f"{part}.{name}": f"{part}.{target}"
            for part, (rules, tied) in parts.items()
            for name, target in rules.ties(tied).items()
        },
        stored_once=patterns("stored_once"),
        legacy=names("legacy"),
        saved=names("saved"),
        optional=patterns("optional"),
        defaulted=(*patterns("defaulted"), *defaulted),
        computed=patterns("computed"),
        unused=patterns("unused"),
    )


class Stored(Protocol):
    """The part of an open checkpoint's interface that a plan needs."""

    def keys(self) -> Iterable[str]:
        """The names of all weights."""

    def shape(self, name: str) -> Sequence[int]:
        """The shape of one weight."""


@dataclass(frozen=True)
class LoadingPlan:
    """Which stored weight fills which weight of the model, and all mismatches.

    Attributes:
        checkpoint, model: The checkpoint's name and the name of the model's class, for messages.
        sources: Name in the model -> name in the file, for each weight to read.
        tied: Whether the weights in `WeightRules.tied` are shared. The file may override the config.
        missing: Weights of the model that are not read and get their initial value.
        fresh: Those of `missing` that the user has to know about.
        lost: Those of `fresh` that the model cannot work without.
        misshapen: Name in the model -> a description of both shapes.
        unexpected: Backbone weights in the file that the model does not have.
        contradictions: Pairs of weights that the config ties but the file stores with different values.
        has_head: Whether the model has a head on its backbone.
    """

    checkpoint: str
    model: str
    sources: dict[str, str]
    tied: bool
    missing: list[str]
    fresh: list[str]
    lost: list[str]
    misshapen: dict[str, str]
    unexpected: list[str]
    contradictions: list[tuple[str, str]]
    has_head: bool

    def check(self, ignore_mismatched_sizes: bool = False) -> None:
        """Refuse a checkpoint that cannot fill the model.

        Raises:
            CheckpointError: If a weight of the backbone is missing, or a weight has another shape.
        """
        if self.misshapen and not ignore_mismatched_sizes:
            raise CheckpointError(
                f"{len(self.misshapen)} weights of {self.checkpoint} do not have the shape of the configuration:\n  "
                + "\n  ".join(f"{name}: {shapes}" for name, shapes in list(self.misshapen.items())[:8]),
                next_step="Undo the edit of the configuration (num_labels, vocab_size, ...), or pass "
                "ignore_mismatched_sizes=True to initialize these weights.",
            )
        if self.lost:
            raise CheckpointError(
                f"{self.checkpoint} lacks {len(self.lost)} weights that {self.model} needs: {_some(self.lost)}.",
                next_step="The checkpoint is incomplete, or its config.json asks for more layers than it has.",
            )

    def info(self) -> dict[str, Any]:
        """What did not fit, under the names of `transformers`."""
        return {
            "missing_keys": set(self.fresh) - set(self.misshapen),
            "unexpected_keys": set(self.unexpected),
            "mismatched_keys": set(self.misshapen),
            "error_msgs": [],
        }

    def warning(self) -> str:
        """A message about all mismatches that affect the model's results; empty if everything fits."""
        parts = [
            f"{self.checkpoint} stores {name} and {target} with different values, though its config.json ties them; "
            "they stay separate."
            for name, target in self.contradictions
        ]
        if self.fresh and self.has_head:
            parts.append(
                f"{self.checkpoint} has no weights for the head of {self.model}; they start fresh: {_some(self.fresh)}."
            )
        elif self.fresh:
            parts.append(
                f"{self.checkpoint} has no {_some(self.fresh)}; they start fresh, so outputs that depend on them "
                "are not meaningful yet."
            )
        if self.misshapen:
            parts.append(
                f"{len(self.misshapen)} weights of {self.checkpoint} have another shape and start fresh: "
                f"{_some(list(self.misshapen))}."
            )
        if self.unexpected:
            parts.append(
                f"{len(self.unexpected)} weights of {self.checkpoint} have no place in {self.model}: "
                f"{_some(self.unexpected)}."
            )
        if (self.fresh and self.has_head) or self.misshapen:
            parts.append("Train the model before you use its predictions.")
        return " ".join(parts)


def plan_loading(
    stored: Stored,
    expected: Mapping[str, Sequence[int]],
    rules: WeightRules,
    *,
    prefix: str,
    tied: bool,
    equal: Callable[[str, str], bool],
    checkpoint: str,
    model: str,
) -> LoadingPlan:
    """Decide which stored weight fills which of the model's.

    Args:
        stored: The checkpoint.
        expected: Name of each weight of the model -> its shape.
        rules: How the names differ.
        prefix: The attribute under which models with a head keep their backbone, such as `"bert"`. Files of a backbone
            load into a model with a head, and vice versa.
        tied: `config.tie_word_embeddings`.
        equal: Returns whether two stored weights of the same shape have the same values.
        checkpoint: The checkpoint's name.
        model: The name of the model's class.
    """
    found, unexpected = _pair(stored.keys(), expected, rules, f"{prefix}.")
    if rules.tied_if_absent and rules.tied and not any(name in found for name in rules.tied):
        tied = True
    contradictions = [
        (name, target)
        for name, target in (rules.tied.items() if tied else ())
        if name in found
        and target in found
        and tuple(stored.shape(found[name])) == tuple(stored.shape(found[target]))
        and not equal(found[name], found[target])
    ]
    for name, target in {**rules.shared, **rules.tied}.items():
        if name in found:
            found.setdefault(target, found[name])
        elif target in found and (tied or _any(rules.stored_once, name)):
            found[name] = found[target]
    tied = tied and not contradictions
    ties = rules.ties(tied)
    sources = {name: key for name, key in found.items() if name not in ties and not _any(rules.computed, name)}
    shapes = {name: (tuple(stored.shape(key)), tuple(expected[name])) for name, key in sources.items()}
    misshapen = {name: f"{a} in the file, {b} in the model" for name, (a, b) in shapes.items() if a != b}
    sources = {name: key for name, key in sources.items() if name not in misshapen}
    missing = [name for name in expected if name not in sources and name not in ties]
    fresh = [name for name in missing if name not in misshapen and not _any(rules.defaulted + rules.computed, name)]
    has_head = any(name.startswith(f"{prefix}.") for name in expected)
    backbone = [name for name in fresh if name.startswith(f"{prefix}.") or not has_head]
    lost = [name for name in backbone if not _any(rules.optional, name)]
    return LoadingPlan(
        checkpoint, model, sources, tied, missing, fresh, lost, misshapen, unexpected, contradictions, has_head
    )


def _pair(
    stored: Iterable[str], expected: Mapping[str, Sequence[int]], rules: WeightRules, prefix: str
) -> tuple[dict[str, str], list[str]]:
    """Name in the model -> name in the file; and the backbone weights in the file that the model does not have."""
    names = {_renamed(key, rules.legacy): key for key in stored}
    only_backbone = not any(name.startswith(prefix) for name in names)
    found: dict[str, str] = {}
    unexpected: list[str] = []
    for name, key in names.items():
        candidates = (name, prefix + name, name.removeprefix(prefix))
        match = next((candidate for candidate in candidates if candidate in expected), None)
        if match is not None:
            found[match] = key
        elif (only_backbone or name.startswith(prefix)) and not _any(rules.unused + rules.optional, name):
            unexpected.append(name)  # the head of another task is expected, a part of a backbone is not
    return found, unexpected


def _renamed(name: str, replacements: Mapping[str, str]) -> str:
    for pattern, replacement in replacements.items():
        name = re.sub(pattern, replacement, name)
    return name


def _any(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
