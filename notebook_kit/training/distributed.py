"""Devices, mixed precision and several processes: everything that the Trainer needs from accelerate.

The methods for gathering and saving are called on every process, even those that now do nothing on most of them: support
for sharded models and optimizers will change the methods, not their callers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from notebook_kit.errors import ConfigurationError, InputError, a_kind, notice
from notebook_kit.training import full_sharding
from notebook_kit.training.full_sharding import FullSharding, local, whole
from notebook_kit.training.sharding import shard
from notebook_kit.utils.availability import is_torch_tf32_available

if TYPE_CHECKING:
    from accelerate import Accelerator

    from notebook_kit.training.arguments import TrainingArguments

_OUT_OF_MEMORY = (
    "→ The device is out of memory. Halve per_device_train_batch_size and double gradient_accumulation_steps (the result is"
    " the same), truncate texts to a smaller max_length, or set gradient_checkpointing=True, bf16=True or fp16=True. In a"
    " notebook, restart the kernel first: models of earlier cells keep their memory."
)

_DATA_PARALLEL = (
    *("ddp_find_unused_parameters", "ddp_bucket_cap_mb", "ddp_static_graph"),
    "ddp_broadcast_buffers",
)
_PLAIN = ("NO", "MULTI_CPU", "MULTI_GPU")  # kinds of processes, as accelerate names them
_NONE = object()  # a missing item


class Distributed:
    """The devices and processes on which a Trainer runs.

    Attributes:
        accelerator: The underlying `accelerate.Accelerator`.
        device: The device of this process.
        world_size: The number of processes that train together.
        rank: The number of this process, from 0.
        is_main: Whether this process writes files.
    """

    def __init__(self, args: TrainingArguments) -> None:
        set_tf32(args.tf32)
        self.accelerator = make_accelerator(args)
        self._precision: str = self.accelerator.mixed_precision  # accelerate's own is that of the latest Trainer
        self.device: torch.device = self.accelerator.device
        self.world_size: int = self.accelerator.num_processes
        self.rank: int = self.accelerator.process_index
        self.is_main: bool = self.accelerator.is_main_process
        self.full_sharding = FullSharding.of(args)
        if self.full_sharding is not None and self.world_size == 1:
            notice("fsdp has no effect: there is only one process. Start several with torchrun or accelerate launch.")
            self.full_sharding = None
        self._control: Any = None  # a group of processes that exchanges flags through main memory

    # ------------------------------------------------------------------------------------------------------ wrapping

    def place(self, model: nn.Module) -> None:
        """Move a model to the device, unless it was loaded across several devices."""
        if getattr(model, "hf_device_map", None) is None:
            model.to(self.device)

    def wrap(self, model: nn.Module, training: bool) -> nn.Module:
        """The model as it is called: with mixed precision, compiled, data-parallel or sharded."""
        if self.full_sharding is not None:
            if not full_sharding.is_sharded(model):
                self.full_sharding.shard(model, self.device, self.world_size)
            return model
        undo_mixed_precision(model)
        if self.accelerator.mixed_precision != self._precision:
            self.accelerator.state._mixed_precision = self._precision
        wrapped = self.accelerator.prepare_model(model, evaluation_mode=not training)
        vars(model)["_mixed_precision"] = self._precision
        return wrapped

    def is_wrapped(self, model: nn.Module) -> bool:
        """Whether a model that was wrapped still has this precision: another Trainer may have given it its own since."""
        return vars(model).get("_mixed_precision", self._precision) == self._precision

    def wrap_loader(self, loader: Any, training: bool, seed: int) -> Any:
        """A loader that gives this process its part of the batches."""
        return shard(loader, self.rank, self.world_size, training=training, seed=seed)

    def wrap_optimizer(self, optimizer: Any) -> Any:
        """The optimizer, wrapped if there is a loss scaler (fp16) or there are several processes."""
        # Otherwise the wrapper would do nothing but cost half a millisecond per step.
        needed = self.accelerator.scaler is not None or self.world_size > 1
        return self.accelerator.prepare_optimizer(optimizer) if needed else optimizer

    # ----------------------------------------------------------------------------------------------------- in a step

    def to_device(self, batch: Any) -> dict[str, Any]:
        """A batch as keyword arguments of a model, on the device."""
        return map_tensors(lambda tensor: tensor.to(self.device, non_blocking=True), as_inputs(batch))

    @property
    def _is_plain(self) -> bool:
        """Whether accelerate adds nothing to a backward pass and to clipping: no loss scaler, no other engine."""
        kind = self.accelerator.distributed_type.value
        return self.full_sharding is None and self.accelerator.scaler is None and kind in _PLAIN

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss to the parameters'."""
        replaced = "backward" in vars(self.accelerator)  # by whoever measures it
        loss.backward() if self._is_plain and not replaced else self.accelerator.backward(loss)

    def clip(self, parameters: list[nn.Parameter], max_norm: float) -> Any:
        """Scale the gradients down to `max_norm` (0: no clipping). Returns their norm before, still on the device."""
        if max_norm > 0 and self._is_plain:  # accelerate compares versions first, which takes as long as the clipping
            return nn.utils.clip_grad_norm_(parameters, max_norm)
        if max_norm > 0:
            return whole(self.accelerator.clip_grad_norm_(parameters, max_norm))
        self.accelerator.unscale_gradients()
        return whole(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))

    # ----------------------------------------------------------------------------------------------------- gathering

    def gather(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensors of all processes, joined along the first dimension."""
        return self.accelerator.gather(tensor) if self.world_size > 1 else tensor

    def gather_objects(self, value: Any) -> list[Any]:
        """The values of all processes, which may be any objects that can be pickled."""
        if self.world_size == 1:
            return [value]
        found: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(found, value)
        return found

    def any(self, flag: bool) -> bool:
        """Whether a flag is set on any process. Does not wait for the device."""
        if self.world_size == 1:
            return flag
        if self._control is None:
            self._control = torch.distributed.new_group(backend="gloo")
        flags = torch.tensor(int(flag))
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX, self._control)
        return bool(flags)

    @contextmanager
    def all_or_none(self) -> Iterator[None]:
        """Raises on all processes if this block raises on one of them. All of them enter it.

        Raises:
            OSError: on the processes where it did not raise itself.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            error = caught
        if self.any(error is not None):
            raise error or OSError("another process could not write its part")

    def mean(self, value: float) -> float:
        """The mean of a number over all processes."""
        if self.world_size == 1:
            return value
        return self.gather(torch.tensor(value, device=self.device)).mean().item()

    def gather_rounds(self, *kept: list[Any]) -> list[list[Any]]:
        """For each list with an item per batch of this process: the items of all processes, in the order of the batches."""
        if self.world_size == 1:
            return list(kept)
        each = zip(*self.gather_objects(kept), strict=True)  # for each list, those of all processes
        return [
            [item for dealt in zip_longest(*parts, fillvalue=_NONE) for item in dealt if item is not _NONE]
            for parts in each
        ]

    # -------------------------------------------------------------------------------------------- saving and restoring

    def model_to_save(self, model: nn.Module) -> tuple[nn.Module | None, dict[str, torch.Tensor] | None]:
        """The model on the process that writes files, and None on the others; with its weights if they are not its own, since it
        is sharded.
        """
        weights = full_sharding.full_weights(model, keep=self.is_main)
        return (self.shell(model), weights) if self.is_main else (None, None)

    def shell(self, model: nn.Module) -> nn.Module:
        """A model under its own class, for its `save_pretrained` with given weights."""
        return full_sharding.unsharded_shell(self.accelerator.unwrap_model(model))

    def optimizer_state(self, optimizer: Any) -> dict[str, Any] | None:
        """The complete state of the optimizer on the process that writes files; None on the others."""
        state = optimizer.state_dict()
        if self.full_sharding is not None:
            keep = self.is_main
            state = full_sharding.map_optimizer_state(
                state, lambda _, value: whole(value).cpu() if keep else whole(value)
            )
        return state if self.is_main else None

    def load_optimizer_state(self, optimizer: Any, state: dict[str, Any]) -> None:
        """Load a state that `optimizer_state` returned."""
        if self.full_sharding is not None:
            own = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            state = full_sharding.map_optimizer_state(
                state,
                lambda i, value: full_sharding.sliced_like(own[i], value) if value.shape == own[i].shape else value,
            )
        optimizer.load_state_dict(state)

    def is_finite(self, model: nn.Module) -> bool:
        """Whether all weights of a model are finite, on all processes."""
        finite = [
            torch.isfinite(local(p.detach())).all()
            for p in model.parameters()
            if p.is_floating_point() and not p.is_meta
        ]
        return not self.any(bool(finite) and not torch.stack([flag.to("cpu") for flag in finite]).all())


def make_accelerator(args: TrainingArguments) -> Accelerator:
    """An Accelerator with the settings of `args`. A notebook may create several Trainers, so a process state with other
    settings is replaced.

    Raises:
        ConfigurationError: if the device does not support the requested precision.
    """
    from accelerate import Accelerator, DataLoaderConfiguration, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState, PartialState
    from accelerate.utils import TorchDynamoPlugin

    compiled = None
    if args.torch_compile or args.torch_compile_backend or args.torch_compile_mode:
        backend, mode = args.torch_compile_backend or "inductor", args.torch_compile_mode or "default"
        compiled = TorchDynamoPlugin(backend=backend, mode=mode)
    if PartialState._shared_state:
        # With other processes, which stays.
        joined = torch.distributed.is_available() and torch.distributed.is_initialized()
        on_cpu = PartialState().device.type == "cpu"
        other_device = not joined and on_cpu != (args.use_cpu or not _has_accelerator())
        state = AcceleratorState._shared_state
        other_precision = state.get("_mixed_precision") not in (None, args.mixed_precision)
        if other_device or other_precision or _compiles(state.get("dynamo_plugin")) != _compiles(compiled):
            AcceleratorState._reset_state(reset_partial_state=not joined)
    timeout = timedelta(seconds=args.ddp_timeout)
    group = {"backend": args.ddp_backend} if args.ddp_backend else {}
    options: dict[str, Any] = {"kwargs_handlers": [InitProcessGroupKwargs(timeout=timeout, **group)]}
    wanted = {name.removeprefix("ddp_"): getattr(args, name) for name in _DATA_PARALLEL}
    if given := {name: value for name, value in wanted.items() if value is not None}:
        options["kwargs_handlers"].append(DistributedDataParallelKwargs(**given))
    if compiled is not None:
        options["dynamo_plugin"] = compiled
    not_of_loaders = ("gradient_accumulation_kwargs", "use_configured_state")
    config = {k: v for k, v in (args.accelerator_config or {}).items() if k not in not_of_loaders}
    try:
        made = Accelerator(
            cpu=args.use_cpu,
            mixed_precision=args.mixed_precision,
            step_scheduler_with_optimizer=False,
            dataloader_config=DataLoaderConfiguration(**{"use_seedable_sampler": True, **config}),
            **options,
        )
        if args.mixed_precision == "fp16" and not made.native_amp:
            notice(f"fp16=True has no effect on this device ({made.device.type}): use bf16=True, or a GPU.")
        return made
    except (ValueError, TypeError) as error:
        raise ConfigurationError(
            f"accelerate rejects these settings: {error}",
            next_step="Leave out fp16=True or bf16=True on this device, or choose another device.",
        ) from error


def undo_mixed_precision(model: nn.Module) -> None:
    """Give a model its own `forward` again, which accelerate replaced for the precision of an earlier Trainer, and let accelerate
    prepare it once more.
    """
    own = vars(model).pop("_original_forward", None)
    for name in ("_mixed_precision", "_is_accelerate_prepared"):
        vars(model).pop(name, None)
    if own is None:
        return
    vars(model).pop("forward", None)
    if getattr(own, "__func__", None) is not type(model).forward:
        model.forward = own  # set on this object, not by its class


def _compiles(plugin: Any) -> tuple[str, str] | None:
    """The backend and the mode of a compilation, or None."""
    if plugin is None or plugin.backend.value.lower() == "no":
        return None
    return plugin.backend.value.lower(), plugin.mode


def set_tf32(allowed: bool | None) -> None:
    """Allow or forbid multiplying float32 matrices in TF32 on NVIDIA GPUs; None leaves the setting."""
    if allowed is None:
        return
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed
    if allowed and not is_torch_tf32_available():
        notice("tf32=True has no effect: it is for NVIDIA GPUs since the Ampere generation.")


def _has_accelerator() -> bool:
    return (
        torch.cuda.is_available()
        or torch.backends.mps.is_available()
        or (hasattr(torch, "xpu") and torch.xpu.is_available())
    )


def map_tensors(function: Callable[[torch.Tensor], Any], nested: Any) -> Any:
    """`nested` (tuples, lists, mappings) with each tensor replaced by `function(tensor)`; other values unchanged."""
    if isinstance(nested, torch.Tensor):
        return function(nested)
    if isinstance(nested, tuple) and hasattr(nested, "_fields"):
        return type(nested)(*(map_tensors(function, item) for item in nested))
    if isinstance(nested, (list, tuple)):
        return type(nested)(map_tensors(function, item) for item in nested)
    if isinstance(nested, Mapping):
        return {key: map_tensors(function, item) for key, item in nested.items()}
    return nested


def as_inputs(batch: Any) -> dict[str, Any]:
    """A batch as keyword arguments of a model."""
    if isinstance(batch, dict):
        return batch
    if hasattr(batch, "keys"):
        return {name: batch[name] for name in batch}
    raise InputError(
        f"The data collator returned {a_kind(batch)}; expected a mapping from input names to tensors.",
        next_step='Return a dictionary from the collator, such as {"input_ids": ..., "labels": ...}.',
    )


def explain_lost_process(error: BaseException) -> None:
    """Add a hint to an error of a process that waited for another one in vain."""
    words = (
        "connection closed by peer",
        "connection reset",
        "broken pipe",
        "timed out waiting",
        "remote process exited",
    )
    if isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words):
        error.add_note(
            "→ Another process of this run has ended, so this one ends too. Its own message, if it left one, says why. Start"
            " all processes again with train(resume_from_checkpoint=True)."
        )


def explain_memory(error: BaseException) -> None:
    """Add a hint to an out-of-memory error."""
    if is_out_of_memory(error):
        error.add_note(_OUT_OF_MEMORY)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of the device, or of the machine, is used up."""
    words = ("out of memory", "can't allocate memory")  # the second is of torch on the CPU
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(word in str(error).lower() for word in words)


def release_memory() -> None:
    """Release the memory that the allocator of the device keeps but does not use."""
    gc.collect()
    if torch.accelerator.is_available():
        torch.get_device_module(torch.accelerator.current_accelerator()).empty_cache()
