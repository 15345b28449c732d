"""The door to accelerate: devices, mixed precision, several processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from notebook_kit.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from notebook_kit.training.arguments import TrainingArguments

_OUT_OF_MEMORY = (
    "→ The device's memory is full. Halve per_device_train_batch_size and double gradient_accumulation_steps (the result is"
    " the same), truncate texts to a smaller max_length, or set gradient_checkpointing=True, bf16=True or fp16=True. In a"
    " notebook, restart the kernel first: models of earlier cells keep their memory."
)


def make_accelerator(args: TrainingArguments) -> Accelerator:
    """An Accelerator as `args` say. In a notebook one Trainer follows another, so an older process state that has other
    settings is replaced.

    Raises:
        ConfigurationError: if the device cannot do the precision that was asked for.
    """
    from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs
    from accelerate.state import AcceleratorState, PartialState

    alone = not torch.distributed.is_available() or not torch.distributed.is_initialized()
    if PartialState._shared_state and alone and PartialState().num_processes == 1:
        on_cpu = PartialState().device.type == "cpu"
        other_device = on_cpu != (args.use_cpu or not _has_accelerator())
        if other_device or AcceleratorState._shared_state.get("_mixed_precision") not in (None, args.mixed_precision):
            AcceleratorState._reset_state(reset_partial_state=True)
    options: dict[str, Any] = {}
    if args.ddp_find_unused_parameters is not None:
        options["kwargs_handlers"] = [
            DistributedDataParallelKwargs(find_unused_parameters=args.ddp_find_unused_parameters)
        ]
    if args.torch_compile or args.torch_compile_backend or args.torch_compile_mode:
        options["dynamo_backend"] = args.torch_compile_backend or "inductor"
    config = {k: v for k, v in (args.accelerator_config or {}).items() if k != "gradient_accumulation_kwargs"}
    try:
        return Accelerator(
            cpu=args.use_cpu,
            mixed_precision=args.mixed_precision,
            step_scheduler_with_optimizer=False,
            dataloader_config=DataLoaderConfiguration(**{"use_seedable_sampler": True, **config}),
            **options,
        )
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"The run cannot be set up as asked: {error}",
            next_step="Leave fp16=True/bf16=True out on this device, or choose another device.",
        ) from error


def _has_accelerator() -> bool:
    return (
        torch.cuda.is_available()
        or torch.backends.mps.is_available()
        or (hasattr(torch, "xpu") and torch.xpu.is_available())
    )


def to_device(value: Any, device: torch.device) -> Any:
    """`value` with every tensor in it on `device`."""
    if isinstance(value, torch.Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: to_device(item, device) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(item, device) for item in value)
    return value


def as_inputs(batch: Any) -> dict[str, Any]:
    """A batch as keyword arguments of a model."""
    if isinstance(batch, dict):
        return batch
    if hasattr(batch, "keys"):
        return {name: batch[name] for name in batch}
    raise InputError(
        f"The data collator returned a {type(batch).__name__}; the model needs names for its inputs.",
        next_step='Let the collator return a dictionary such as {"input_ids": ..., "labels": ...}.',
    )


def explain_memory(error: BaseException) -> None:
    """Add a hint to an error that says that memory ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in str(error).lower():
        error.add_note(_OUT_OF_MEMORY)
