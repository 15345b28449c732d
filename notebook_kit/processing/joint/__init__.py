"""Processors that join a tokenizer with another processor: for texts with images, and for recordings with texts."""
