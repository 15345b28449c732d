"""Training arguments of older notebooks: their current spelling, and those that have no effect or are rejected here."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

from notebook_kit.errors import ConfigurationError, UnknownAttributeError, near_matches, notice

# old name -> new name, same values
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_token": "hub_token",
    "push_to_hub_model_id": "hub_model_id",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing_kwargs",
}
# old name -> new name, and the new value for an old one; None leaves the setting as it is
CONVERTED: dict[str, tuple[str, Callable[[Any], Any]]] = {
    **{old: (new, lambda value: value) for old, new in RENAMED.items()},
    "group_by_length": ("train_sampling_strategy", lambda on: "group_by_length" if on else "random"),
    "evaluate_during_training": ("eval_strategy", lambda on: "steps" if on else "no"),
    "fsdp_min_num_params": ("fsdp_config", lambda least: {"min_num_params": least} if least else None),
    "fsdp_transformer_layer_cls_to_wrap": ("fsdp_config", lambda name: {"transformer_layer_cls_to_wrap": [name]}),
    "adafactor": ("optim", lambda on: "adafactor" if on else None),
    "include_inputs_for_metrics": ("include_for_metrics", lambda on: ["inputs"] if on else None),
}
# Ignored, with a line that says why, unless the value is one of those listed.
_TRACKIO = "set it with trackio.init before the run"
_IGNORED: dict[str, tuple[str, tuple[Any, ...]]] = {
    "overwrite_output_dir": ("a new run never deletes the checkpoints of an earlier one", (None, False, True)),
    "local_rank": ("the launcher numbers the processes", (None, -1)),
    "log_on_each_node": ("the first process of each machine logs", (None, True)),
    "use_mps_device": ("the best device is used; use_cpu=True chooses the CPU", (None, False)),
    "fp16_opt_level": ("mixed precision is torch's, which has no levels", (None, "O1")),
    "ray_scope": ("hyperparameter_search does not use Ray", (None, "last")),
    "include_tokens_per_second": ("set include_num_input_tokens_seen to count tokens", (None, False, "no")),
    "use_cache": ("a training step reads each text once, so no keys and values are cached", (None, False)),
    "trackio_bucket_id": (_TRACKIO, (None,)),
    "trackio_static_space_id": (_TRACKIO, (None,)),
    "eval_accumulation_steps": ("the results of each batch are moved to main memory at once", (None,)),
    "eval_use_gather_object": ("results of all kinds are gathered from all processes", (None, False, True)),
    "average_tokens_across_devices": ("the loss is the mean over the labels of all processes", (None, True)),
}
# Features that this Trainer lacks: accepted if off (None, False, 0, "", an empty list).
_UNSUPPORTED = """
    use_legacy_prediction_loop jit_mode_eval use_ipex tpu_num_cores tpu_metrics_debug debug mp_parameters save_on_each_node
    optim_target_modules use_liger_kernel liger_kernel_config deepspeed parallelism_config push_to_hub_organization dispatch_batches
    split_batches torchdynamo
"""
# What this Trainer always does: accepted unless switched off.
_ALWAYS_ON = "save_safetensors skip_memory_metrics"
_MIXED_PRECISION_BACKENDS = ("auto", "cuda_amp", "cpu_amp", None)
# name -> whether a value has no effect here
WITHOUT_EFFECT: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(_IGNORED, lambda value: True),
    **dict.fromkeys(_UNSUPPORTED.split(), lambda value: not value),
    **dict.fromkeys(_ALWAYS_ON.split(), lambda value: bool(value) or value is None),
    **dict.fromkeys(("fp16_backend", "half_precision_backend"), lambda value: value in _MIXED_PRECISION_BACKENDS),
    "past_index": lambda value: value in (-1, None),
}
OLDER_NAMES = (*CONVERTED, "warmup_ratio", *WITHOUT_EFFECT)


def modern(given: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """Keyword arguments in the current spelling.

    Args:
        given: Keyword arguments in the spelling of any version.
        known: The names of the fields of TrainingArguments.

    Raises:
        ConfigurationError: for a name that no version had (near matches are listed), for one setting with different values
            in two spellings, or for an unsupported feature.
    """
    result: dict[str, Any] = {}
    for name, value in given.items():
        if name in known:
            result[name] = value
        elif name in CONVERTED:
            new_name, convert = CONVERTED[name]
            new_value = None if value is None else convert(value)
            if new_value is not None:
                _put(result, given, new_name, new_value, name)
        elif name == "warmup_ratio":
            if value is not None and not given.get("warmup_steps"):
                result["warmup_steps"] = _fraction(value)
        elif name not in WITHOUT_EFFECT:
            options = [*known, *OLDER_NAMES]
            raise ConfigurationError(
                f"TrainingArguments has no argument {name!r}. {near_matches(name, options, most=3)}".strip(),
                next_step="Correct the name; help(TrainingArguments) lists them all.",
            )
        elif not WITHOUT_EFFECT[name](value):
            raise ConfigurationError(
                f"TrainingArguments({name}={value!r}): notebook_kit's Trainer has no such feature.",
                next_step=f"Leave {name} out.",
            )
        elif name in _IGNORED and value not in _IGNORED[name][1]:
            notice(f"TrainingArguments({name}={value!r}) has no effect: {_IGNORED[name][0]}.")
    return result


def legacy_value(args: Any, name: str) -> Any:
    """The value of an argument that TrainingArguments no longer has, for scripts that read it.

    Raises:
        AttributeError: for a name that no version had.
    """
    if name in RENAMED:
        return getattr(args, RENAMED[name])
    if name in WITHOUT_EFFECT:
        return {"debug": [], "past_index": -1}.get(name, True if name in _ALWAYS_ON.split() else None)
    raise UnknownAttributeError(f"{type(args).__name__} has no attribute {name!r}.", name, dir(args))


def _put(result: dict[str, Any], given: dict[str, Any], name: str, value: Any, old: str) -> None:
    if name in given and given[name] != value:
        raise ConfigurationError(
            f"TrainingArguments got {old}={value!r} and {name}={given[name]!r}, two spellings of one setting.",
            next_step=f"Keep only {name}.",
        )
    result[name] = value


def _fraction(ratio: float) -> float:
    if not isinstance(ratio, numbers.Real) or not 0 <= ratio <= 1:
        raise ConfigurationError(
            f"warmup_ratio is the fraction of all steps used for warmup, between 0 and 1; it was {ratio!r:.80}.",
            next_step="For a number of steps use warmup_steps.",
        )
    # 1 would mean a warmup of one step.
    return min(float(ratio), 1 - 1e-9)


_CLASS = "pass its class: Trainer(optimizer_cls_and_kwargs=(kind, options))."
_GROUPS = (
    "override create_optimizer in a subclass of Trainer: it returns the optimizer with the groups of weights that are projected, each"
    " with its rank."
)
_IN_BACKWARD = "which updates weights in the backward pass; this Trainer updates them after it"
_SPARING = "Use optim='adafactor' or 'adamw_8bit', which need little memory too, or freeze part of the model."
# How the names of other optimizers of `transformers` begin and end -> the package, why they are not chosen by name, what to do.
_OPTIMIZERS = (
    ("galore", "_layerwise", "galore-torch", _IN_BACKWARD, _SPARING),
    ("apollo", "_layerwise", "apollo-torch", _IN_BACKWARD, _SPARING),
    ("galore", "", "galore-torch", "which needs to know the weights that it projects", f"Install it, and {_GROUPS}"),
    ("apollo", "", "apollo-torch", "which needs to know the weights that it projects", f"Install it, and {_GROUPS}"),
    ("lomo", "", "lomo-optim", _IN_BACKWARD, _SPARING),
    ("adalomo", "", "lomo-optim", _IN_BACKWARD, _SPARING),
    (
        *("schedule_free", "", "schedulefree"),
        "which keeps other weights for evaluations than for training; this Trainer does not switch between them",
        "Use optim='adamw_torch' with lr_scheduler_type='warmup_stable_decay', which can go on after its planned end too.",
    ),
    ("grokadamw", "", "grokadamw", "which is not chosen by name here", f"Install it, and {_CLASS}"),
    ("stable_adamw", "", "torch-optimi", "which is not chosen by name here", f"Install it, and {_CLASS}"),
    ("adamw_torch_xla", "", "torch_xla", "for TPUs, which are not supported", "Use optim='adamw_torch'."),
    ("adamw_torch_npu", "", "torch_npu", "which is not chosen by name here", f"Install it, and {_CLASS}"),
    ("adamw_anyprecision", "", "torchdistx", "which is no longer developed", "Use optim='adamw_torch' with bf16=True."),
)


def refuse_optimizer(name: str) -> None:
    """Raise a ConfigurationError if `name` is an optimizer that `transformers` chooses by name and this library does not."""
    for begin, end, package, why, next_step in _OPTIMIZERS:
        if name.lower().startswith(begin) and name.lower().endswith(end):
            raise ConfigurationError(f"optim={name!r} is an optimizer of {package}, {why}.", next_step=next_step)
