"""Tokenizers: loading, calling, training and saving them."""

from notebook_kit.processing.text.auto import AutoTokenizer
from notebook_kit.processing.text.batch_encoding import BatchEncoding, CharSpan, TokenSpan
from notebook_kit.processing.text.tokenizer import PreTrainedTokenizerBase, PreTrainedTokenizerFast

__all__ = [
    "AutoTokenizer",
    "BatchEncoding",
    "CharSpan",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "TokenSpan",
]
