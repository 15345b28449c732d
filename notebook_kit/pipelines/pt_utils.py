"""The names that notebooks written for `transformers.pipelines.pt_utils` import."""

from notebook_kit.pipelines.inputs import KeyDataset, KeyPairDataset

__all__ = ["KeyDataset", "KeyPairDataset"]
