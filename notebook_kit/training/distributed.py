"""Devices, mixed precision and several processes: everything that the Trainer asks of accelerate.

The methods for gathering and saving are called on every process, also where today one process has all there is to gather:
sharded models and optimizers change what they do, not who calls them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from notebook_kit.errors import ConfigurationError, InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from notebook_kit.training.arguments import TrainingArguments

_OUT_OF_MEMORY = (
    "→ The device's memory is full. Halve per_device_train_batch_size and double gradient_accumulation_steps (the result is"
    " the same), truncate texts to a smaller max_length, or set gradient_checkpointing=True, bf16=True or fp16=True. In a"
    " notebook, restart the kernel first: models of earlier cells keep their memory."
)


class Distributed:
    """The devices and processes on which a Trainer runs.

    Attributes:
        accelerator: The `accelerate.Accelerator` behind it.
        device: Where this process computes.
        world_size: Processes that train together.
        rank: The number of this process, from 0.
        is_main: Whether this is the process that writes files.
    """

    def __init__(self, args: TrainingArguments) -> None:
        self.accelerator = make_accelerator(args)
        self.device: torch.device = self.accelerator.device
        self.world_size: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.is_main: bool = self.accelerator.is_main_process

    # ------------------------------------------------------------------------------------------------------ wrapping

    def place(self, model: nn.Module) -> None:
        """Move a model to the device, unless it was loaded across several devices."""
        if getattr(model, "hf_device_map", None) is None:
            model.to(self.device)

    def wrap(self, model: nn.Module, training: bool) -> nn.Module:
        """The model as it is called: with mixed precision, compiled, data-parallel."""
        return self.accelerator.prepare_model(model, evaluation_mode=not training)

    def unwrap(self, model: nn.Module) -> nn.Module:
        """The model inside what `wrap` returned."""
        return self.accelerator.unwrap_model(model)

    def wrap_loader(self, loader: Any) -> Any:
        """A loader that gives this process its part of the batches."""
        # One process needs none of what accelerate's loader adds, and it would read one batch ahead.
        return self.accelerator.prepare(loader) if self.world_size > 1 else loader

    def wrap_optimizer(self, optimizer: Any) -> Any:
        """The optimizer with the loss scaler of fp16, or for several processes."""
        # Otherwise the wrapper does nothing, and takes half a millisecond per step for it.
        needed = self.accelerator.scaler is not None or self.world_size > 1
        return self.accelerator.prepare_optimizer(optimizer) if needed else optimizer

    def release(self) -> None:
        """Forget the optimizer and the model of an earlier run."""
        self.accelerator.free_memory()

    # ----------------------------------------------------------------------------------------------------- in a step

    def to_device(self, batch: Any) -> dict[str, Any]:
        """A batch as keyword arguments of a model, on the device."""
        return to_device(as_inputs(batch), self.device)

    def no_sync(self, model: nn.Module) -> AbstractContextManager[Any]:
        """Within this block gradients stay on their process: for all batches of an update but the last."""
        return self.accelerator.no_sync(model)

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of `loss`."""
        self.accelerator.backward(loss)

    def clip(self, parameters: list[nn.Parameter], max_norm: float) -> Any:
        """Scale the gradients down to `max_norm` (0: do not); returns their norm before, still on the device."""
        if max_norm > 0:
            return self.accelerator.clip_grad_norm_(parameters, max_norm)
        self.accelerator.unscale_gradients()
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

    # ----------------------------------------------------------------------------------------------------- gathering

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all processes, joined along the first dimension."""
        return self.accelerator.gather(tensor) if self.world_size > 1 else tensor

    def mean(self, value: float) -> float:
        """The mean of a number over all processes."""
        if self.world_size == 1:
            return value
        return self.gather(torch.tensor(value, device=self.device)).mean().item()

    def pad_rows(self, *rows: Any) -> list[Any]:
        """Tensors of shape (batch, length, ...), padded with -100 to the longest of all processes; None stays None."""
        if self.world_size == 1:
            return list(rows)
        pad = self.accelerator.pad_across_processes
        return [None if part is None else pad(part, dim=1, pad_index=-100) for part in rows]

    def gather_rows(self, *rows: Any) -> list[Any]:
        """The rows of all processes, without those that were repeated to fill the last batch; None stays None."""
        if self.world_size == 1:
            return list(rows)
        return [None if part is None else self.accelerator.gather_for_metrics(part) for part in rows]

    # -------------------------------------------------------------------------------------------- saving and restoring

    def wait(self) -> None:
        """Return when all processes have come here."""
        self.accelerator.wait_for_everyone()

    def model_to_save(self, model: nn.Module) -> nn.Module | None:
        """The model with all of its weights on the process that writes files, None on the others."""
        return self.unwrap(model) if self.is_main else None

    def optimizer_state(self, optimizer: Any) -> dict[str, Any] | None:
        """The whole state of the optimizer on the process that writes files, None on the others."""
        return optimizer.state_dict() if self.is_main else None

    def load_optimizer_state(self, optimizer: Any, state: dict[str, Any]) -> None:
        """Give each process its part of a state that `optimizer_state` returned."""
        optimizer.load_state_dict(state)


def make_accelerator(args: TrainingArguments) -> Accelerator:
    """An Accelerator with the settings of `args`. In a notebook one Trainer follows another, so a process state that has
    other settings is replaced.

    Raises:
        ConfigurationError: if the device does not support the requested precision.
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
            f"accelerate rejects these settings: {error}",
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
    """Add a hint to an error about memory that ran out."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "out of memory" in str(error).lower():
        error.add_note(_OUT_OF_MEMORY)
