"""Rotary positions: queries and keys are rotated by angles proportional to their position.

Source: Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding, 2021. `frequencies_of` names the sources
of the methods for sequences longer than those in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from notebook_kit.configuration import PretrainedConfig
from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.fields import Fraction, Range, Rows

__all__ = ["Rotary", "RotaryConfig", "rotate"]

KINDS = ("default", "linear", "dynamic", "yarn", "llama3")

_POSITIVE = Annotated[float, Range(1e-6)]
PARAMETERS: dict[str, Any] = {
    "rope_theta": Annotated[float, Range(2)],
    "rope_type": str | None,
    "type": str | None,
    "factor": _POSITIVE | None,
    "low_freq_factor": _POSITIVE,
    "high_freq_factor": _POSITIVE,
    "original_max_position_embeddings": Rows | None,
    "partial_rotary_factor": Fraction | None,
    "attention_factor": float | None,
    "beta_fast": _POSITIVE | None,
    "beta_slow": _POSITIVE | None,
    "mscale": float | None,
    "mscale_all_dim": float | None,
    "truncate": bool,
}
"""Name in `rope_parameters` -> type; see `notebook_kit.fields`."""


class RotaryConfig(PretrainedConfig):
    """The base of configurations with rotary positions: `rope_parameters`, under current and older names.

    The older names `rope_theta` and `rope_scaling` are accepted and read; `rope_parameters` is written.
    """

    default_theta: ClassVar[float] = 10000.0
    """The base of the angles if a file does not specify it."""

    rope_parameters: dict[str, Any] | None = None

    @classmethod
    def field_names(cls) -> list[str]:
        return [*super().field_names(), "rope_theta", "rope_scaling"]

    @classmethod
    def value_types(cls) -> dict[str, Any]:
        types = {"rope_parameters": PARAMETERS, "rope_scaling": PARAMETERS, "rope_theta": PARAMETERS["rope_theta"]}
        return {**super().value_types(), **types}

    def update(self, edits: Mapping[str, Any]) -> None:
        edits = dict(edits)
        self.check_types(edits)
        theta, scaling = edits.pop("rope_theta", None), edits.pop("rope_scaling", None)
        super().update(edits)
        given = {**(self.rope_parameters or {}), **(scaling or {})}
        if scaling and "rope_type" not in scaling and "type" in scaling:
            given["rope_type"] = scaling["type"]  # the older name
        if theta is not None:
            given["rope_theta"] = theta
        self.rope_parameters = given

    def validate(self) -> None:
        super().validate()
        given = self.rope_parameters = dict(self.rope_parameters or {})
        given.setdefault("rope_theta", self.default_theta)
        kind = given.setdefault("rope_type", given.get("type", "default"))
        if kind not in KINDS:
            raise ConfigurationError(
                f"rope_type is {kind!r}. {near_matches(str(kind), KINDS)}".rstrip(),
                next_step=f"Use one of {', '.join(KINDS)}.",
            )
        if kind in ("llama3", "yarn"):
            given.setdefault("original_max_position_embeddings", self.extra.get("original_max_position_embeddings"))
            if given["original_max_position_embeddings"] is None:
                given["original_max_position_embeddings"] = self.max_position_embeddings
        needed = {"llama3": ("factor", "low_freq_factor", "high_freq_factor")}.get(kind, ("factor",))
        missing = [name for name in needed if name not in given] if kind != "default" else []
        if missing:
            raise ConfigurationError(
                f"rope_parameters with rope_type {kind!r} lack {', '.join(missing)}.",
                next_step="Add them to rope_parameters.",
            )

    @property
    def rope_theta(self) -> float:
        """The base of the angles, under the name in older files."""
        return (self.rope_parameters or {})["rope_theta"]

    @property
    def rope_scaling(self) -> dict[str, Any] | None:
        """The method for sequences longer than in training, under the name in older files; None for the default type."""
        given = self.rope_parameters or {}
        return None if given.get("rope_type", "default") == "default" else given


class Rotary:
    """Cosines and sines of the rotation angles, by position.

    They have no weights: they follow from the config, and are cached as a table until the device, the dtype or the length
    changes.

    Args:
        config: Provides `rope_parameters` and `max_position_embeddings`.
        head_dim: Width of a head.
    """

    def __init__(self, config: Any, head_dim: int) -> None:
        self.parameters, self.trained = config.rope_parameters, config.max_position_embeddings
        self.width = int(head_dim * self.parameters.get("partial_rotary_factor", 1.0))
        self._table: tuple[Tensor, Tensor] | None = None

    def __call__(self, start: int, end: int, positions: Tensor | None, like: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines, each `(batch or 1, 1, tokens, rotated width)`, with the device and dtype of `like`.

        Args:
            start: The first position.
            end: One past the last position.
            positions: `(batch, tokens)`, to use instead of `start` to `end - 1`.
            like: Any tensor of the model.
        """
        if positions is not None:
            longest = int(positions.max()) + 1 if self.parameters["rope_type"] == "dynamic" else None
            return tuple(x[:, None] for x in self._compute(positions, longest, like))  # type: ignore[return-value]
        if self.parameters["rope_type"] == "dynamic" and end > self.trained:  # the angles change with the length
            whole = self._compute(torch.arange(start, end, device=like.device), end, like)
            return whole[0][None, None], whole[1][None, None]
        table = self._table
        if table is None or len(table[0]) < end or table[0].device != like.device or table[0].dtype != like.dtype:
            length = max(end, 256, 0 if table is None else 2 * len(table[0]))
            table = self._table = self._compute(torch.arange(length, device=like.device), None, like)
        return table[0][None, None, start:end], table[1][None, None, start:end]

    @torch.no_grad()
    def _compute(self, positions: Tensor, length: int | None, like: Tensor) -> tuple[Tensor, Tensor]:
        frequencies, scale = frequencies_of(self.parameters, self.width, self.trained, length)
        angles = positions[..., None].float() * frequencies.to(like.device)
        angles = torch.cat([angles, angles], dim=-1)
        return (angles.cos() * scale).to(like.dtype), (angles.sin() * scale).to(like.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_table": None}  # recomputed when needed


def rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Rotate queries or keys, `(batch, heads, tokens, head_dim)`; dimensions beyond the rotated width stay unchanged."""
    width = cosines.shape[-1]
    rotated = x if width == x.shape[-1] else x[..., :width]
    half = width // 2
    swapped = torch.cat([-rotated[..., half:], rotated[..., :half]], dim=-1)
    rotated = rotated * cosines + swapped * sines
    return rotated if width == x.shape[-1] else torch.cat([rotated, x[..., width:]], dim=-1)


def frequencies_of(
    parameters: Mapping[str, Any], width: int, trained: int, length: int | None = None
) -> tuple[Tensor, float]:
    """The angle per position of each pair of dimensions, `(width / 2,)` in radians, and a factor of cosines and sines.

    Args:
        parameters: `rope_parameters` of a config.
        width: Number of dimensions of a head that are rotated.
        trained: `max_position_embeddings`, the maximum length in training.
        length: Length of the sequence, for the type "dynamic".

    Sources: Chen et al., Extending Context Window of LLMs via Positional Interpolation, 2023 (linear); bloc97,
    NTK-aware scaled RoPE, 2023 (dynamic); Peng et al., YaRN, 2023 (yarn); Grattafiori et al., The Llama 3 Herd of Models,
    2024 (llama3).
    """
    kind, base = parameters["rope_type"], parameters["rope_theta"]
    exponents = torch.arange(0, width, 2, dtype=torch.float32, device="cpu") / width
    factor: Any = parameters.get("factor")
    if kind == "dynamic":
        longest = max(length or trained, trained)
        base = base * ((factor * longest / trained) - (factor - 1)) ** (width / (width - 2))
    plain = 1.0 / (base**exponents)
    if kind == "linear":
        return plain / factor, 1.0
    if kind == "llama3":
        return _llama3(plain, parameters), 1.0
    if kind == "yarn":
        return _yarn(plain, base, width, parameters, trained)
    return plain, 1.0


def _llama3(plain: Tensor, parameters: Mapping[str, Any]) -> Tensor:
    """Divide low frequencies by the factor, keep high ones, and interpolate smoothly in between."""
    factor, low, high = (parameters[name] for name in ("factor", "low_freq_factor", "high_freq_factor"))
    trained = parameters["original_max_position_embeddings"]
    wavelength = 2 * math.pi / plain
    smooth = (trained / wavelength - low) / (high - low)
    slowed = torch.where(wavelength > trained / low, plain / factor, plain)
    between = (wavelength >= trained / high) & (wavelength <= trained / low)
    return torch.where(between, (1 - smooth) * slowed / factor + smooth * slowed, slowed)


def _yarn(plain: Tensor, base: float, width: int, parameters: Mapping[str, Any], trained: int) -> tuple[Tensor, float]:
    """Divide low frequencies by the factor, keep high ones, and interpolate linearly over the dimensions in between."""
    original = parameters["original_max_position_embeddings"]
    factor = parameters["factor"] or trained / original

    def temperature(weight: float = 1.0) -> float:
        return 0.1 * weight * math.log(factor) + 1.0 if factor > 1 else 1.0

    scale: float | None = parameters.get("attention_factor")
    mscale, mscale_all_dim = parameters.get("mscale"), parameters.get("mscale_all_dim")
    if scale is None:
        scale = temperature(mscale) / temperature(mscale_all_dim) if mscale and mscale_all_dim else temperature()

    def dimension(rotations: float) -> float:
        """The (fractional) dimension that makes this many full rotations over the original length."""
        return width * math.log(original / (rotations * 2 * math.pi)) / (2 * math.log(base))

    low, high = dimension(parameters.get("beta_fast") or 32), dimension(parameters.get("beta_slow") or 1)
    if parameters.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    ramp = ((torch.arange(width // 2, dtype=torch.float32, device="cpu") - low) / (max(high - low, 0.001))).clamp(0, 1)
    return plain / factor * ramp + plain * (1 - ramp), float(scale)
