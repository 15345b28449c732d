"""The names of `transformers.pipelines.pt_utils` that notebooks import."""

from notebook_kit.pipelines.inputs import KeyDataset, KeyPairDataset

__all__ = ["KeyDataset", "KeyPairDataset"]
