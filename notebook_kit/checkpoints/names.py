"""Which weight of a checkpoint belongs where in a model: rules on names and shapes, as data.

Nothing here knows a tensor or a module, so that models of any framework can be filled by the same rules.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from notebook_kit.errors import CheckpointError

__all__ = ["ENCODER_RULES", "LoadingPlan", "WeightRules", "plan_loading"]


@dataclass(frozen=True)
class WeightRules:
    """How the weights of a family's checkpoints differ in name from the model's own.

    Patterns are regular expressions and are searched for anywhere in a name. Names are those of the model, except in
    `legacy` and `unused`, which are about the names in files.

    Attributes:
        tied: Name to the name of the weight that it shares if `config.tie_word_embeddings` is True.
        shared: The same for weights that are always shared.
        stored_once: Patterns of names in `tied` which files may leave out although nothing is tied: they start as copies.
        tied_if_absent: Tie the weights in `tied` whatever the config says if the file has none of them.
        legacy: Pattern to its replacement, for names that old files use.
        saved: The inverse: pattern to replacement, for names that files use and the model does not.
        optional: Patterns of backbone weights that a file may lack (a pooler): they start fresh, with a warning.
        defaulted: Patterns of weights that a file may lack: they keep their initial value.
        computed: Patterns of weights that follow from the config (sinusoids): neither read nor written.
        unused: Patterns of names in files that are not weights of the model (stored position indices).

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
        """The weights that are shared, and with which; `tied` is `config.tie_word_embeddings`."""
        return {**self.shared, **(self.tied if tied else {})}

    def stored_names(self, names: Iterable[str], tied: bool) -> dict[str, str]:
        """Each weight that is to be saved, and its name in the file."""
        ties = self.ties(tied)
        return {
            name: _renamed(name, self.saved) for name in names if name not in ties and not _any(self.computed, name)
        }


ENCODER_RULES = WeightRules(
    legacy={r"\bgamma$": "weight", r"\bbeta$": "bias"},  # of norms in files that come from TensorFlow
    optional=(r"(^|\.)pooler\.",),
    unused=(r"position_ids$",),
)
"""The rules of BERT's checkpoints, and of most encoders after it."""


class Stored(Protocol):
    """The weights of an open checkpoint, as far as a plan needs them."""

    def keys(self) -> Iterable[str]:
        """The names of all weights."""

    def shape(self, name: str) -> Sequence[int]:
        """The shape of one."""


@dataclass(frozen=True)
class LoadingPlan:
    """Which stored weight goes where, and what does not fit.

    Attributes:
        checkpoint, model: Whose weights these are, and the model's class: for messages.
        sources: Name in the model to the name in the file, for each weight that is to be read.
        tied: Whether the weights in `WeightRules.tied` are shared: the file can contradict the config.
        missing: Names of the model that are not read and start with their initial value.
        fresh: Those of `missing` that a reader has to know about.
        lost: Those of `fresh` that the model cannot do without.
        misshapen: Names of the model to a description of both shapes.
        unexpected: Names of backbone weights in the file that the model has no place for.
        contradictions: Pairs of weights that the config ties and the file stores with different values.
        has_head: Whether the model is more than a backbone.
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
                f"{len(self.misshapen)} weights of {self.checkpoint} do not have the shape that the configuration asks for:\n  "
                + "\n  ".join(f"{name}: {shapes}" for name, shapes in list(self.misshapen.items())[:8]),
                next_step="Undo the edit of the configuration (num_labels, vocab_size, ...), or pass "
                "ignore_mismatched_sizes=True to start these weights fresh.",
            )
        if self.lost:
            raise CheckpointError(
                f"{self.checkpoint} lacks {len(self.lost)} weights that {self.model} needs: {_some(self.lost)}.",
                next_step="The checkpoint is incomplete, or its config.json asks for more layers than it has.",
            )

    def warning(self) -> str:
        """What a reader of the model's results has to know; empty if everything fits."""
        parts = [
            f"{self.checkpoint} stores {name} and {target} with different values, though its config.json ties them; "
            "they are kept apart."
            for name, target in self.contradictions
        ]
        if self.fresh and self.has_head:
            parts.append(
                f"{self.checkpoint} has no weights for the head of {self.model}; they start fresh: {_some(self.fresh)}."
            )
        elif self.fresh:
            parts.append(
                f"{self.checkpoint} has no {_some(self.fresh)}; they start fresh, so what is computed from them means "
                "nothing yet."
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
        expected: Each weight of the model, and its shape.
        rules: How names differ.
        prefix: Where models with a head keep their backbone, such as `"bert"`. Files of a backbone alone go into a model
            with a head, and the other way around.
        tied: What the config says.
        equal: Whether two stored weights of the same shape have the same values.
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
    sources: dict[str, str] = {}
    misshapen: dict[str, str] = {}
    for name, key in found.items():
        if name in ties or _any(rules.computed, name):
            continue
        shape, wanted = tuple(stored.shape(key)), tuple(expected[name])
        if shape == wanted:
            sources[name] = key
        else:
            misshapen[name] = f"{shape} in the file, {wanted} in the model"
    missing = [name for name in expected if name not in sources and name not in ties]
    fresh = [name for name in missing if name not in misshapen and not _any(rules.defaulted + rules.computed, name)]
    has_head = any(name.startswith(f"{prefix}.") for name in expected)
    lost = [
        name for name in fresh if (name.startswith(f"{prefix}.") or not has_head) and not _any(rules.optional, name)
    ]
    return LoadingPlan(
        checkpoint, model, sources, tied, missing, fresh, lost, misshapen, unexpected, contradictions, has_head
    )


def _pair(
    stored: Iterable[str], expected: Mapping[str, Sequence[int]], rules: WeightRules, prefix: str
) -> tuple[dict[str, str], list[str]]:
    """Name in the model to name in the file; and the backbone's weights in the file that have no place in the model."""
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
            unexpected.append(name)  # another task's head is no surprise; a part of the backbone is
    return found, unexpected


def _renamed(name: str, replacements: Mapping[str, str]) -> str:
    for pattern, replacement in replacements.items():
        name = re.sub(pattern, replacement, name)
    return name


def _any(patterns: Iterable[str], name: str) -> bool:
    return any(re.search(pattern, name) for pattern in patterns)


def _some(names: list[str], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
