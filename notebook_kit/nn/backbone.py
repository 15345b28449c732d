"""Backbones: families whose intermediate stages a detector or a segmenter reads as maps of features.

The names of the stages are "stem" for the embeddings, then "stage1", "stage2", ... A configuration selects some of them by
`out_features` (names) or `out_indices` (0 for the stem).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.nn.base import PreTrainedModel

__all__ = ["Backbone", "BackboneConfig"]

_SELECTORS = ("out_features", "out_indices")


class BackboneConfig(PretrainedConfig):
    """The base of configurations of backbones.

    Args:
        out_features: The stages whose maps the family's backbone returns, in order, such as `["stage2", "stage4"]`; the last
            one by default.
        out_indices: The same by number. Assigning one of the two also changes the other.
        stage_names: The names of all stages; computed.
    """

    out_features: list[str] | None = None
    out_indices: list[int] | None = None
    stage_names: list[str] | None = None

    @property
    def stage_count(self) -> int:
        """The number of stages after the stem."""
        return len(self.depths)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "out_indices" and isinstance(value, tuple):
            value = list(value)
        super().__setattr__(name, value)
        if name in _SELECTORS:
            self.__dict__[_SELECTORS[1 - _SELECTORS.index(name)]] = None
            if not self._selection_fault():
                self._align()

    def update(self, edits: Mapping[str, Any]) -> None:
        """As in `PretrainedConfig`."""
        super().update(edits)
        if all(
            edits.get(name) is not None for name in _SELECTORS
        ):  # whether they agree is seen when all fields are set
            self.__dict__.update({name: list(edits[name]) for name in _SELECTORS})

    def validate(self) -> None:
        """As in `PretrainedConfig`, and that the selected stages exist.

        Raises:
            ConfigurationError: If they do not, are repeated or out of order, or `out_features` and `out_indices` contradict.
        """
        super().validate()
        if fault := self._selection_fault():
            raise ConfigurationError(
                f"{type(self).__name__}: {fault}", next_step=f"The stages are {', '.join(self._names())}, from 0."
            )
        self._align()

    def _names(self) -> list[str]:
        return ["stem", *(f"stage{number}" for number in range(1, self.stage_count + 1))]

    def _selection_fault(self) -> str:
        """What is wrong with the selection, or ""."""
        names, features, indices = self._names(), self.out_features, self.out_indices
        for feature in features or ():
            if feature not in names:
                return f"there is no stage {feature!r}. {near_matches(feature, names)}".rstrip()
        for index in indices or ():
            if not -len(names) <= index < len(names):
                return f"out_indices has {index}, and there are {len(names)} stages."
        places = [index % len(names) for index in indices or ()]
        for what, order in (("out_features", [names.index(name) for name in features or ()]), ("out_indices", places)):
            if order != sorted(set(order)):
                return f"{what} is {getattr(self, what)}; expected each stage at most once, from the first to the last."
        if features and indices and features != [names[place] for place in places]:
            return f"out_features is {features}, and out_indices is {indices}: these are different stages."
        return ""

    def _align(self) -> None:
        names = self._names()
        self.__dict__["stage_names"] = names
        if self.out_features is None and self.out_indices is None:
            self.__dict__["out_indices"] = [len(names) - 1]
        if self.out_features is None:
            self.__dict__["out_features"] = [names[index] for index in self.out_indices or ()]
        if self.out_indices is None:
            self.__dict__["out_indices"] = [names.index(name) for name in self.out_features or ()]


class Backbone(PreTrainedModel):
    """A family's model that returns the maps of selected stages as `feature_maps`.

    Attributes:
        config: Names the stages to return.
        num_features: The number of channels of each stage, the stem included.
    """

    config: Any
    num_features: list[int]

    @property
    def stage_names(self) -> list[str]:
        """The names of all stages."""
        return self.config.stage_names

    @property
    def out_features(self) -> list[str]:
        """The names of the stages in `feature_maps`."""
        return self.config.out_features

    @property
    def out_indices(self) -> list[int]:
        """The numbers of the stages in `feature_maps`."""
        return self.config.out_indices

    @property
    def out_feature_channels(self) -> dict[str, int]:
        """Name -> number of channels, for all stages."""
        return dict(zip(self.stage_names, self.num_features, strict=True))

    @property
    def channels(self) -> list[int]:
        """The number of channels of each map in `feature_maps`."""
        return [self.out_feature_channels[name] for name in self.out_features]

    def selected(self, states: Sequence[Tensor]) -> Iterator[tuple[str, Tensor]]:
        """`(name, state)` of the stages in `feature_maps`, from the states of all stages."""
        for name, state in zip(self.stage_names, states, strict=True):
            if name in self.out_features:
                yield name, state

    def wants_states(self, output_hidden_states: bool | None) -> bool:
        """Whether hidden states are part of the output; None leaves it to the configuration."""
        return self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
