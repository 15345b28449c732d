"""Public names of `notebook_kit.nn.attention`, under their former module name."""

from notebook_kit.nn.attention import ablate_heads, attend, record_attention

__all__ = ["ablate_heads", "attend", "record_attention"]
