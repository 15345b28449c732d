"""Models whose weights, gradients and optimizer states are spread over the processes: FSDP2, torch's `fully_shard`.

Each process keeps a slice of each weight. Before a block of the model computes, its weights are gathered, and afterwards they are
released again; gradients are averaged and sliced in the backward pass. torch is called directly, on GPUs and on CPUs alike, where
accelerate would ignore FSDP. What is written to checkpoints is gathered, so that they are the same as those of one process, or, with
`fsdp_config={"state_dict_type": "SHARDED_STATE_DICT"}`, written in slices: `sharded_files.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from notebook_kit.errors import ConfigurationError, near_matches
from notebook_kit.training.values import as_list, typed

if TYPE_CHECKING:
    from notebook_kit.training.arguments import TrainingArguments

__all__ = ["FullSharding", "fill", "full_weights", "is_sharded"]

# The folders of a checkpoint with the slices of the weights and of the optimizer's state, as accelerate names them.
WEIGHT_SLICES, OPTIMIZER_SLICES = "pytorch_model_fsdp_0", "optimizer_0"
_FORMS = ("FULL_STATE_DICT", "SHARDED_STATE_DICT")  # of checkpoints
_WORDS = ("full_shard", "shard_grad_op", "auto_wrap", "offload", "no_shard", "hybrid_shard", "hybrid_shard_zero2")
# Options of fsdp_config, also with the prefix "fsdp_", that decide something here.
_OPTIONS = {
    "transformer_layer_cls_to_wrap": (),
    "min_num_params": 0,
    "reshard_after_forward": None,
    "offload_params": False,
    "cpu_offload": False,
    "state_dict_type": "FULL_STATE_DICT",
}
# Options of FSDP1 and of accelerate whose effect FSDP2 has anyway, or that do not change the result.
_IGNORED = """
    version auto_wrap_policy use_orig_params sync_module_states cpu_ram_efficient_loading backward_prefetch forward_prefetch
    limit_all_gathers backward_prefetch_policy sharding_strategy
"""


@dataclass(frozen=True)
class FullSharding:
    """How a model is sharded.

    Attributes:
        layers: The class names of the blocks whose weights are gathered together; none: the items of the model's lists.
        min_params: Blocks with fewer weights are gathered with what is around them.
        reshard: Release the weights of a block after its forward pass, and gather them again for the backward pass.
        offload: Keep the slices in main memory, and move them to the device for computing.
        precision: "bf16", or "no".
        saves_slices: Write checkpoints in slices, one per process, in place of the whole model.
    """

    layers: tuple[str, ...] = ()
    min_params: int = 0
    reshard: bool = True
    offload: bool = False
    precision: str = "no"
    saves_slices: bool = False

    @classmethod
    def of(cls, args: TrainingArguments) -> FullSharding | None:
        """What `fsdp` and `fsdp_config` ask for, or else what `accelerate launch --use_fsdp` does; None for no sharding.

        Raises:
            ConfigurationError: for an option that does not exist or is not supported.
        """
        config: Any = args.fsdp_config or {}
        words = " ".join(as_list(args.fsdp)).replace(",", " ").split()
        options = {name.removeprefix("fsdp_"): value for name, value in config.items()}
        if not words and not options:
            if os.environ.get("ACCELERATE_USE_FSDP", "").lower() not in ("true", "1", "yes"):
                return None
            options = _from_environment()
        _check(words, options)
        if "no_shard" in words or not (words or options):
            return None
        if args.mixed_precision == "fp16":
            raise ConfigurationError("fsdp and fp16=True do not go together here.", next_step="Set bf16=True instead.")
        reshard = options.get("reshard_after_forward")
        layers = typed("transformer_layer_cls_to_wrap", options.get("transformer_layer_cls_to_wrap"), "list | None")
        least = options.get("min_num_params") or 0  # from the environment it is text
        return cls(
            tuple(",".join(layers or ()).replace(" ", "").split(",")) if layers else (),
            typed("min_num_params", int(least) if str(least).isdecimal() else least, "int"),
            "shard_grad_op" not in words if reshard is None else _is_true(reshard),
            "offload" in words or any(_is_true(options.get(name)) for name in ("offload_params", "cpu_offload")),
            args.mixed_precision,
            str(options.get("state_dict_type") or "").upper() == "SHARDED_STATE_DICT",
        )

    def shard(self, model: nn.Module, device: torch.device, processes: int) -> nn.Module:
        """Shard a model in place, with the weights of the first process. Its class becomes a subclass with a prefix.

        Raises:
            ConfigurationError: if none of the named blocks is in the model.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy, OffloadPolicy, fully_shard

        for tensor in [*model.parameters(), *model.buffers()]:
            torch.distributed.broadcast(tensor.detach(), src=0)
        low = torch.bfloat16 if self.precision == "bf16" else None
        options: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (processes,)),
            "reshard_after_forward": self.reshard,
            "offload_policy": CPUOffloadPolicy() if self.offload else OffloadPolicy(),
        }
        # Gradients are averaged in float32, and what the model returns is float32, as with autocast.
        for block in self.blocks(model):
            fully_shard(block, mp_policy=MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32), **options)
        whole = MixedPrecisionPolicy(param_dtype=low, reduce_dtype=torch.float32, output_dtype=torch.float32)
        return fully_shard(model, mp_policy=whole, **options)  # type: ignore[return-value]

    def blocks(self, model: nn.Module) -> list[nn.Module]:
        """The parts of a model that are gathered one after the other."""
        if self.layers:
            found = [module for module in model.modules() if type(module).__name__ in self.layers]
            if not found:
                names = sorted({type(module).__name__ for module in model.modules()})
                raise ConfigurationError(
                    f"The model has no module of a class {' or '.join(self.layers)}. {near_matches(self.layers[0], names)}".rstrip(),
                    next_step="Correct transformer_layer_cls_to_wrap, or leave it out: then the model's lists of layers are used.",
                )
        else:
            found = [
                layer for part in model.modules() if isinstance(part, nn.ModuleList) and len(part) > 1 for layer in part
            ]
        inner = {id(module) for block in found for module in block.modules() if module is not block}
        outer = [block for block in found if id(block) not in inner]  # of nested lists, the items of the outermost
        return [block for block in outer if sum(p.numel() for p in block.parameters()) > self.min_params]


def _check(words: list[str], options: Mapping[str, Any]) -> None:
    for word in words:
        if word not in _WORDS:
            raise ConfigurationError(
                f"fsdp has no option {word!r}. {near_matches(word, _WORDS)}".rstrip(),
                next_step=f"Use some of {', '.join(_WORDS[:4])}.",
            )
    if any(word.startswith("hybrid") for word in words):
        raise ConfigurationError(
            "fsdp='hybrid_shard' is not supported: models are sharded over all processes.", next_step="Use full_shard."
        )
    known = [*_OPTIONS, "activation_checkpointing"]
    for name, value in options.items():
        if name in _IGNORED.split():
            continue
        if name not in known:
            raise ConfigurationError(
                f"fsdp_config has no option {name!r} here. {near_matches(name, known)}".rstrip(),
                next_step=f"Leave it out. Known: {', '.join(known)}.",
            )
        if name == "activation_checkpointing" and _is_true(value):
            raise ConfigurationError(
                "fsdp_config has activation_checkpointing.", next_step="Set gradient_checkpointing=True instead."
            )
        if name == "state_dict_type" and value is not None and str(value).upper() not in _FORMS:
            raise ConfigurationError(
                f"state_dict_type is {value!r}. {near_matches(str(value).upper(), _FORMS)}".rstrip(),
                next_step="Set it to FULL_STATE_DICT (checkpoints as one process writes them) or SHARDED_STATE_DICT (in slices).",
            )


def _from_environment() -> dict[str, Any]:
    """The options that `accelerate launch` passes on."""
    names = "RESHARD_AFTER_FORWARD TRANSFORMER_CLS_TO_WRAP MIN_NUM_PARAMS OFFLOAD_PARAMS ACTIVATION_CHECKPOINTING STATE_DICT_TYPE"
    given = {name: value for name in names.split() if (value := os.environ.get(f"FSDP_{name}"))}
    renamed = {"TRANSFORMER_CLS_TO_WRAP": "transformer_layer_cls_to_wrap"}
    if given.get("RESHARD_AFTER_FORWARD") in ("FULL_SHARD", "SHARD_GRAD_OP"):  # the words of FSDP1
        given["RESHARD_AFTER_FORWARD"] = str(given["RESHARD_AFTER_FORWARD"] == "FULL_SHARD")
    return {"reshard_after_forward": True} | {renamed.get(name, name.lower()): value for name, value in given.items()}


def _is_true(value: Any) -> bool:
    return str(value).lower() in ("true", "1", "yes")


# ------------------------------------------------------------------------------------------------- weights and their slices


def is_sharded(model: nn.Module) -> bool:
    """Whether a model was sharded."""
    return hasattr(model, "set_requires_gradient_sync")  # only then, without importing FSDP


def whole(tensor: Any) -> Any:
    """The whole of a tensor of which each process has a slice; called on all of them. Anything else stays as it is."""
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def local(tensor: torch.Tensor) -> torch.Tensor:
    """This process's slice of a tensor; an ordinary tensor stays as it is."""
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def full_weights(model: nn.Module, keep: bool) -> dict[str, torch.Tensor] | None:
    """All weights of a sharded model in main memory, by name; None for a model that is not sharded. Called on all processes.

    Args:
        model: The model.
        keep: Whether this process needs them; the others only contribute their slices.
    """
    if not is_sharded(model):
        return None
    kept = {}
    for name, tensor in model.state_dict().items():
        gathered = whole(tensor)
        if keep:
            kept[name] = gathered.cpu()
    return kept


def unsharded_shell(model: nn.Module) -> nn.Module:
    """A sharded model under its own class, for `save_pretrained` with the weights of `full_weights`."""
    if not is_sharded(model):
        return model
    kind: Any = type(model).__mro__[2]  # after the subclass that torch made, and FSDPModule
    shell = kind.__new__(kind)
    vars(shell).update(vars(model))
    return shell


def fill(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load whole weights by name into a model, sharded or not; on all processes."""
    if not is_sharded(model):
        model.load_state_dict(weights, strict=False)
        return
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name in weights:
                tensor.copy_(sliced_like(tensor, weights[name]))


def sliced_like(tensor: Any, value: torch.Tensor) -> torch.Tensor:
    """A whole value, sliced as `tensor` is."""
    if not hasattr(tensor, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(tensor.device), tensor.device_mesh, tensor.placements)


def map_optimizer_state(state: dict[str, Any], function: Callable[[int, Any], Any]) -> dict[str, Any]:
    """The state of an optimizer with each tensor as `function(index of its parameter, tensor)` returns it."""
    mapped = {
        index: {
            name: function(index, value) if isinstance(value, torch.Tensor) else value for name, value in own.items()
        }
        for index, own in state["state"].items()
    }
    return {**state, "state": mapped}


def check_optimizer(model: nn.Module, optimizer: Any) -> None:
    """Refuse an optimizer that was created before its model was sharded.

    Raises:
        ConfigurationError: if it has parameters that are not the model's.
    """
    own = {id(parameter) for parameter in model.parameters()}
    if any(id(parameter) not in own for group in optimizer.param_groups for parameter in group["params"]):
        raise ConfigurationError(
            "The optimizer was created before the model was sharded, and would not train its slices.",
            next_step="Pass optimizer_cls_and_kwargs=(torch.optim.AdamW, {...}) instead of optimizers=, or override create_optimizer.",
        )
