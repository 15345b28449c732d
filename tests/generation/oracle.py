"""Tiny decoders with random weights, ours and the same of `transformers`, and both of their answers to one call."""

from __future__ import annotations

import functools
import tempfile
import warnings
from pathlib import Path
from typing import Any

import reference as ref
import torch

NAMES = {
    "gpt2": "GPT2LMHeadModel",
    "gpt_neox": "GPTNeoXForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "smollm3": "SmolLM3ForCausalLM",
    "gemma": "GemmaForCausalLM",
}

# Unequal prompts, padded on the left. (Padding is not 0, with which the oracle's beam search fills up with an end token.)
PAD = 3
PROMPTS = torch.tensor([[3, 3, 5, 17, 23, 9], [31, 7, 7, 40, 12, 55], [3, 3, 3, 3, 3, 61], [3, 8, 90, 4, 8, 90]])
BATCH = {"input_ids": PROMPTS, "attention_mask": (PROMPTS != PAD).long()}
ONE = {"input_ids": PROMPTS[1:2]}


@functools.lru_cache
def pair(model_type: str) -> tuple[Any, Any]:
    """`(ours, theirs)`, the same weights; scores are spread enough for ends to come."""
    edits = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": PAD, "max_position_embeddings": 64}
    reference = ref.reference_model(model_type, NAMES[model_type], **edits)
    with tempfile.TemporaryDirectory() as folder:
        ours = ref.ours_of(NAMES[model_type]).from_pretrained(ref.saved(reference, Path(folder)))
    return ours, reference


def both(model_type: str, given: dict[str, Any], **settings: Any) -> tuple[Any, Any]:
    """What the two give for the same call."""
    ours, theirs = pair(model_type)
    settings = {"eos_token_id": [1, 2], "pad_token_id": PAD, **settings}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ours.generate(**given, **settings), theirs.generate(**given, **settings)


def assert_same(model_type: str, given: dict[str, Any], **settings: Any) -> None:
    """The two give the same tokens, one for one."""
    mine, expected = both(model_type, given, **settings)
    assert mine.tolist() == expected.tolist()
