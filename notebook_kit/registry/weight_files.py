"""The files of a checkpoint that hold weights and vocabularies, in the order of preference."""

from __future__ import annotations

import re

__all__ = [
    "BYTES_OF",
    "SAFETENSORS",
    "SAFETENSORS_INDEX",
    "SMALL_FILES",
    "TENSORFLOW",
    "TENSORFLOW_INDEX",
    "TORCH",
    "TORCH_INDEX",
    "VOCABULARIES",
    "WEIGHTS",
]

SAFETENSORS = "model.safetensors"
SAFETENSORS_INDEX = "model.safetensors.index.json"
TORCH = "pytorch_model.bin"
TORCH_INDEX = "pytorch_model.bin.index.json"
TENSORFLOW = "tf_model.h5"
TENSORFLOW_INDEX = "tf_model.h5.index.json"

WEIGHTS: dict[str, re.Pattern[str] | None] = {
    SAFETENSORS: None,
    SAFETENSORS_INDEX: re.compile(r"model-\d+-of-\d+\.safetensors"),
    TORCH: None,
    TORCH_INDEX: re.compile(r"pytorch_model-\d+-of-\d+\.bin"),
    TENSORFLOW: None,
    TENSORFLOW_INDEX: re.compile(r"tf_model-\d+-of-\d+\.h5"),
}
"""Weight file -> the pattern of its shards, if it is an index. The first one that a checkpoint has is read."""

SMALL_FILES = ("config.json", "README.md", "tokenizer_config.json", "special_tokens_map.json")
"""Files that are read if present."""

VOCABULARIES = (("tokenizer.json",), ("vocab.txt",), ("vocab.json", "merges.txt"))
"""Groups of files that hold a vocabulary. The first complete group is read."""

BYTES_OF = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Dtype of a stored tensor -> bytes per value; 1 for all other dtypes."""
