"""Keywords that code for other libraries passes and that change nothing here: they are ignored, and where their request is not
met, one notice per keyword says so."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from notebook_kit.errors import InputError, near_matches, notice_once
from notebook_kit.fields import shown

__all__ = ["FOREIGN_INPUTS", "LOADING", "MET", "ignore", "refuse_slips", "switch", "without_effect"]

MET = {
    *("low_cpu_mem_usage", "use_safetensors", "trust_remote_code", "attn_implementation", "from_pt", "framework"),
    *("use_fast", "from_slow", "weights_only", "code_revision", "user_agent", "_fast_init"),
    *("_from_auto", "_from_pipeline", "_commit_hash", "_configuration_file", "_attn_implementation"),
}
"""Keywords of `from_pretrained` that request what is the case anyway, or only concern how `transformers` works: no notice is due."""
_UNMET = {
    *(
        "variant",
        "adapter_kwargs",
        "key_mapping",
        "experts_implementation",
        "gguf_file",
        "use_kernels",
        "kernel_config",
    ),
    *("offload_folder", "offload_state_dict", "offload_buffers", "max_memory", "use_flash_attention_2"),
    *("tp_plan", "tp_size", "device_mesh", "distributed_config", "fusion_config"),
    *("return_tensors", "padding", "truncation", "max_seq_length", "local_rank"),
}
LOADING = frozenset(MET | _UNMET)
"""All keywords of `from_pretrained` that change nothing."""

FOREIGN_INPUTS = frozenset(
    {
        *("head_mask", "decoder_head_mask", "cross_attn_head_mask", "cache_position", "past_key_values", "use_cache"),
        *("encoder_hidden_states", "encoder_attention_mask", "token_type_ids", "position_ids", "inputs_embeds"),
        *("special_tokens_mask", "offset_mapping", "overflow_to_sample_mapping", "length", "num_items_in_batch"),
        *("overflowing_tokens", "num_truncated_tokens", "logits_to_keep", "num_logits_to_keep", "return_loss"),
        *("output_attentions", "output_hidden_states", "interpolate_pos_encoding", "labels", "label_ids"),
    }
)
"""Inputs that other models have, or columns of a batch. For a model without them they are never taken for a misspelling."""


def ignore(caller: str, keywords: Mapping[str, Any], hint: str = "") -> None:
    """Issue the notice that keywords are ignored, once per caller and keyword, unless they request nothing (None or False).

    Args:
        caller: The class or function that they were passed to.
        keywords: Name -> value.
        hint: What to do instead, as a sentence.
    """
    for name, value in keywords.items():
        if value is not None and value is not False:
            notice_once(f"{caller} has no use for {name!r}, which is ignored. {hint}".rstrip())


def without_effect(keywords: Mapping[str, Any], caller: str) -> set[str]:
    """The keywords of a call of `from_pretrained` that change nothing, after a notice about those that request something.

    Args:
        keywords: Name -> value.
        caller: The class, for the notice.

    Example:
        >>> sorted(without_effect({"num_labels": 3, "low_cpu_mem_usage": True, "max_memory": None}, "BertModel"))
        ['low_cpu_mem_usage', 'max_memory']
    """
    ignore(caller, {name: value for name, value in keywords.items() if name in _UNMET})
    return keywords.keys() & LOADING


def switch(name: str, value: Any) -> bool:
    """Whether the switch `name` is on.

    Raises:
        InputError: If the value is neither true nor false, as a column of a table is.

    Example:
        >>> switch("push_to_hub", None)
        False
    """
    try:
        return bool(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"{name} is {shown(value)}; expected True or False.", next_step="Pass one value, such as series.all()."
        ) from None


def refuse_slips(caller: str, names: Iterable[str], known: Collection[str]) -> None:
    """Check that none of these names is probably a misspelling of a known one.

    Raises:
        InputError: If one is, with near matches.

    Example:
        >>> refuse_slips("BertModel", ["attention_masks"], ["attention_mask", "input_ids"])
        Traceback (most recent call last):
        notebook_kit.errors.InputError: BertModel has no argument 'attention_masks'. Did you mean 'attention_mask'?
        → Correct the name, or leave it out.
    """
    for name in names:
        if difflib.get_close_matches(name, known, n=1, cutoff=0.8):
            raise InputError(
                f"{caller} has no argument {name!r}. {near_matches(name, known)}",
                next_step="Correct the name, or leave it out.",
            )
