"""Quantized weights, which the models do not have: the request for them, and checkpoints that hold them, are refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from notebook_kit.errors import CheckpointError, InputError

__all__ = [
    "BitsAndBytesConfig",
    "packed_bytes",
    "refuse_quantized_checkpoint",
    "refuse_quantized_tensor",
    "refuse_resizing",
    "rounded_parameters",
    "take_quantization",
]

_INSTEAD = 'pipeline(..., quantize="int8") on a CPU, or dtype="bfloat16" on an accelerator'


@dataclasses.dataclass
class BitsAndBytesConfig:
    """The settings with which other libraries round a model's weights to 8 or 4 bits by `bitsandbytes`.

    Scripts can create and print it. Loading a model with `quantization_config=BitsAndBytesConfig(load_in_8bit=True)` is an
    error that names the alternatives, since these models have no such weights; without either `load_in` it has no effect.

    Raises:
        InputError: If both 8 and 4 bits are requested.

    Example:
        >>> from notebook_kit import BitsAndBytesConfig, GPT2LMHeadModel
        >>> GPT2LMHeadModel.from_pretrained("notebook-kit/tiny-gpt2", quantization_config=BitsAndBytesConfig(load_in_4bit=True))
        Traceback (most recent call last):
        notebook_kit.errors.InputError: The weights cannot be loaded in 4 bits.
        → Leave quantization_config out; for speed, use pipeline(..., quantize="int8") on a CPU, or dtype="bfloat16" on an accelerator.
    """

    load_in_8bit: bool = False
    load_in_4bit: bool = False
    llm_int8_threshold: float = 6.0
    llm_int8_skip_modules: list[str] | None = None
    llm_int8_enable_fp32_cpu_offload: bool = False
    llm_int8_has_fp16_weight: bool = False
    bnb_4bit_compute_dtype: torch.dtype | str | None = None
    bnb_4bit_quant_type: str = "fp4"
    bnb_4bit_use_double_quant: bool = False
    bnb_4bit_quant_storage: torch.dtype | str | None = None

    def __post_init__(self) -> None:
        if self.load_in_8bit and self.load_in_4bit:
            raise InputError("load_in_8bit and load_in_4bit are both True.", next_step="Pass one of them.")

    def to_dict(self) -> dict[str, Any]:
        """The settings as plain JSON values."""
        values = {name: str(value).removeprefix("torch.") for name, value in vars(self).items() if "dtype" in name}
        return {"quant_method": "bitsandbytes", **vars(self), **values}


def take_quantization(kwargs: dict[str, Any]) -> None:
    """Remove the arguments of `from_pretrained` that request quantized weights, and refuse them if they do.

    Raises:
        InputError: For a request, rather than None or False.
    """
    if kwargs.pop("quantize", None):
        raise InputError("from_pretrained does not quantize weights.", next_step=f"Leave quantize out; use {_INSTEAD}.")
    config = kwargs.pop("quantization_config", None)
    asked = vars(config) if isinstance(config, BitsAndBytesConfig) else config
    bits = [kind for kind in ("8", "4") if kwargs.pop(f"load_in_{kind}bit", False)]
    if isinstance(asked, Mapping) and "load_in_8bit" in asked:
        bits += [kind for kind in ("8", "4") if asked.get(f"load_in_{kind}bit")]
    elif asked is not None:
        bits += ["the format of a " + type(config).__name__]
    if bits:
        raise InputError(
            f"The weights cannot be loaded in {bits[0]}{' bits' if len(bits[0]) == 1 else ''}.",
            next_step=f"Leave quantization_config out; for speed, use {_INSTEAD}.",
        )


def refuse_quantized_checkpoint(checkpoint: str, settings: Any) -> None:
    """Refuse a checkpoint whose `config.json` has a `quantization_config`, which describes the weights in its files.

    Raises:
        CheckpointError: If there is one.
    """
    if settings:
        method = settings.get("quant_method") if isinstance(settings, Mapping) else None
        raise CheckpointError(
            f"The weights of {checkpoint!r} are quantized{f' by {method}' if method else ''}, and cannot be read.",
            next_step=f"Choose the checkpoint that it was quantized from; for speed, use {_INSTEAD}.",
        )


def refuse_quantized_tensor(checkpoint: str, name: str, dtype: torch.dtype) -> None:
    """Refuse a weight that is stored as whole numbers, or as 8-bit floating-point numbers, which need a scale.

    Raises:
        CheckpointError: If the dtype is one of these.
    """
    if not dtype.is_floating_point or dtype.itemsize == 1:
        raise CheckpointError(
            f"The tensor {name!r} of {checkpoint!r} holds {str(dtype).removeprefix('torch.')} values, where weights are "
            "floating-point numbers of 16 bits or more: it was probably quantized.",
            next_step="Choose a checkpoint with float32, float16 or bfloat16 weights.",
        )


def refuse_resizing(modules: Iterable[torch.nn.Module]) -> None:
    """Refuse to resize token embeddings and output layers of which one is rounded to 8 bits.

    Raises:
        InputError: If one is.
    """
    if any(value.dtype == torch.int8 for module in modules for value in module.state_dict().values()):
        raise InputError(
            "The token embeddings or the output layer of this model are rounded to 8 bits, so they cannot be resized.",
            next_step="Resize the model before it is quantized; or resize dequantized(model), which is in float32.",
        )


def rounded_parameters(model: nn.Module, exclude_embeddings: bool = False) -> int:
    """The number of values that layers with 8-bit weights have instead of parameters; those of a shared table are the table's.

    Example:
        >>> import torch
        >>> from notebook_kit.nn.quantized_weights import rounded_parameters
        >>> from notebook_kit.pipelines.quantization import Int8Linear
        >>> rounded_parameters(Int8Linear(torch.nn.Linear(64, 32)))
        2080
    """
    names = ("rounded_parameters",) if exclude_embeddings else ("rounded_parameters", "rounded_embeddings")
    return sum(vars(module).get(name, 0) for module in model.modules() for name in names)


def packed_bytes(model: nn.Module) -> int:
    """The bytes of 8-bit weights that are packed for a product, and so are neither parameters nor buffers."""
    return sum(vars(module).get("packed_bytes", 0) for module in model.modules())
