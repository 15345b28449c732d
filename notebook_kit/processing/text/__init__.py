"""Tokenizers: loading, calling, training and saving them."""

from notebook_kit.processing.text.auto import AutoTokenizer, BatchEncoding, PreTrainedTokenizerFast

__all__ = ["AutoTokenizer", "BatchEncoding", "PreTrainedTokenizerFast"]
