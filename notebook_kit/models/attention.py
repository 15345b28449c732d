"""The door that all attention goes through, under the name it had before `notebook_kit.nn`."""

from notebook_kit.nn.attention import ablate_heads, attend, record_attention

__all__ = ["ablate_heads", "attend", "record_attention"]
