"""How older notebooks spell training arguments, and which ones this library ignores or rejects."""

from __future__ import annotations

import warnings
from typing import Any

from notebook_kit.errors import ConfigurationError, NotebookKitWarning, near_matches

# old name -> new name, same meaning
RENAMED = {
    "evaluation_strategy": "eval_strategy",
    "no_cuda": "use_cpu",
    "per_gpu_train_batch_size": "per_device_train_batch_size",
    "per_gpu_eval_batch_size": "per_device_eval_batch_size",
    "push_to_hub_token": "hub_token",
    "activation_checkpointing": "gradient_checkpointing",
    "activation_checkpointing_kwargs": "gradient_checkpointing_kwargs",
}
# Accepted and without effect here: what they control does not exist, or is always so. None: any value is accepted; for the
# others, the values that request nothing.
WITHOUT_EFFECT: dict[str, tuple[Any, ...] | None] = {
    "overwrite_output_dir": None,
    "save_safetensors": (True, None),
    "local_rank": None,
    "log_level": None,
    "log_level_replica": None,
    "log_on_each_node": None,
    "logging_dir": None,
    "past_index": (-1, None),
    "use_legacy_prediction_loop": (False, None),
    "jit_mode_eval": (False, None),
    "use_ipex": (False, None),
    "use_mps_device": None,
    "fp16_backend": ("auto", "cuda_amp", "cpu_amp", None),
    "half_precision_backend": ("auto", "cuda_amp", "cpu_amp", None),
    "fp16_opt_level": None,
    "tpu_num_cores": (None,),
    "tpu_metrics_debug": (False, None),
    "debug": ("", [], None),
    "mp_parameters": ("", None),
    "ray_scope": None,
    "include_tokens_per_second": None,
    "include_num_input_tokens_seen": None,
    "skip_memory_metrics": (True, None),
    "save_on_each_node": (False, None),
    "use_cache": None,
    "project": None,
    "trackio_space_id": None,
    "trackio_bucket_id": None,
    "trackio_static_space_id": None,
    "neftune_noise_alpha": (None,),
    "optim_target_modules": (None,),
    "use_liger_kernel": (False, None),
    "liger_kernel_config": (None,),
    "deepspeed": (None, "", False),
    "fsdp": (None, "", [], False),
    "fsdp_config": (None, {}),
    "fsdp_min_num_params": (0, None),
    "fsdp_transformer_layer_cls_to_wrap": (None,),
    "parallelism_config": (None,),
    "auto_find_batch_size": (False, None),
    "batch_eval_metrics": (False, None),
    "eval_do_concat_batches": (True, None),
    "eval_use_gather_object": (False, None),
    "eval_accumulation_steps": None,
    "average_tokens_across_devices": None,
    "enable_jit_checkpoint": (False, None),
    "ddp_broadcast_buffers": (None,),
    "ddp_bucket_cap_mb": (None,),
    "ddp_static_graph": (None,),
    "ddp_backend": (None,),
    "ddp_timeout": None,
    "torch_empty_cache_steps": (None,),
    "push_to_hub_organization": (None,),
    "dispatch_batches": (None,),
    "split_batches": (None, False),
    "torchdynamo": (None,),
}


def modern(given: dict[str, Any], known: set[str]) -> dict[str, Any]:
    """`given` keyword arguments in the present spelling.

    Args:
        given: Keyword arguments as a notebook of any year writes them.
        known: The names of the fields of TrainingArguments.

    Raises:
        ConfigurationError: for a name that no version had (near matches are listed), the same setting in two spellings, or a
            feature that is not supported.
    """
    result: dict[str, Any] = {}
    for name, value in given.items():
        if name in known:
            result[name] = value
        elif name in RENAMED:
            if name.startswith("per_gpu_") and value is None:
                continue
            _put(result, given, RENAMED[name], value, name)
        elif name == "warmup_ratio":
            if value and not given.get("warmup_steps"):
                result["warmup_steps"] = _fraction(value)
        elif name == "group_by_length":
            _put(result, given, "train_sampling_strategy", "group_by_length" if value else "random", name)
        elif name == "adafactor":
            if value:
                _put(result, given, "optim", "adafactor", name)
        elif name == "include_inputs_for_metrics":
            if value:
                _put(result, given, "include_for_metrics", ["inputs"], name)
        elif name == "evaluate_during_training":
            _put(result, given, "eval_strategy", "steps" if value else "no", name)
        elif name == "push_to_hub_model_id":
            if value is not None:
                _put(result, given, "hub_model_id", value, name)
        elif name in WITHOUT_EFFECT:
            harmless = WITHOUT_EFFECT[name]
            if harmless is not None and value not in harmless:
                raise ConfigurationError(
                    f"TrainingArguments({name}={value!r}): notebook_kit's Trainer has no such feature.",
                    next_step=f"Leave {name} out.",
                )
        else:
            options = [*known, *RENAMED, "warmup_ratio", "group_by_length", *WITHOUT_EFFECT]
            raise ConfigurationError(
                f"TrainingArguments has no argument {name!r}. {near_matches(name, options, most=3)}".strip(),
                next_step="Correct the name; help(TrainingArguments) lists them all.",
            )
    return result


def _put(result: dict[str, Any], given: dict[str, Any], name: str, value: Any, old: str) -> None:
    if name in given and given[name] != value:
        raise ConfigurationError(
            f"TrainingArguments got {old}={value!r} and {name}={given[name]!r}, which are two spellings of one setting.",
            next_step=f"Keep {name} only.",
        )
    result[name] = value


def _fraction(ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise ConfigurationError(
            f"warmup_ratio is the fraction of all steps used for warmup, between 0 and 1; it was {ratio!r}.",
            next_step="For a number of steps use warmup_steps.",
        )
    # A warmup of all steps would read as one step.
    return min(float(ratio), 1 - 1e-9)


def without_trackers(report_to: Any) -> list[str]:
    """`report_to` as a list, always empty: logs are not sent to trackers, and a warning says so."""
    names = [report_to] if isinstance(report_to, str) else list(report_to or [])
    names = [name for name in names if name not in ("none", "all")]
    if names:
        warnings.warn(
            f"report_to={names!r}: notebook_kit does not send logs to trackers. They are in trainer.state.log_history and in"
            " trainer_state.json of each checkpoint; a TrainerCallback with on_log can pass them on. Set report_to='none'"
            " to avoid this warning.",
            NotebookKitWarning,
            stacklevel=5,
        )
    return []
