"""The names that notebooks written for `transformers.pipelines.pt_utils` import."""

from .inputs import KeyDataset, KeyPairDataset

__all__ = ["KeyDataset", "KeyPairDataset"]
