"""Tokenizers: loading, calling, training and saving them."""

from tokenizers import AddedToken

from notebook_kit.processing.text.auto import AutoTokenizer
from notebook_kit.processing.text.batch_encoding import BatchEncoding, CharSpan, TokenSpan
from notebook_kit.processing.text.python import PreTrainedTokenizer
from notebook_kit.processing.text.tokenizer import PreTrainedTokenizerBase, PreTrainedTokenizerFast

__all__ = [
    "AddedToken",
    "AutoTokenizer",
    "BatchEncoding",
    "CharSpan",
    "PreTrainedTokenizer",
    "PreTrainedTokenizerBase",
    "PreTrainedTokenizerFast",
    "TokenSpan",
]
