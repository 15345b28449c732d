"""The tokenizer classes of all families: `BertTokenizer`, `GPT2TokenizerFast`, ...

Each is created from its row in `families.FAMILIES`; there is one kind of tokenizer, so that `BertTokenizerFast` is another
name of `BertTokenizer`. `classes.pyi` lists them for editors and type checkers.
"""

from __future__ import annotations

from notebook_kit.processing.text.families import FAMILIES, Family
from notebook_kit.processing.text.tokenizer import TOKENIZER_CLASSES, PreTrainedTokenizerFast
from notebook_kit.processing.text.translation import LanguageTokenizer, M2M100Tokenizer, MarianTokenizer
from notebook_kit.processing.text.whisper import WhisperTokenizer

__all__ = [f"{name}{ending}" for name in FAMILIES for ending in ("", "Fast")]

_DOCSTRING = """The tokenizer of {family} checkpoints: a `PreTrainedTokenizerFast` with the defaults of this class.

Args:
    vocabulary: {vocabulary}
    options: As for `PreTrainedTokenizerFast`.

Example:
    >>> from tokenizers import Tokenizer, models
    >>> from notebook_kit import {name}
    >>> backend = Tokenizer(models.WordLevel({{"{unknown}": 0, "hello": 1}}, unk_token="{unknown}"))
    >>> tokenizer = {name}(tokenizer_object=backend)
    >>> tokenizer.padding_side, tokenizer.unk_token_id
    ('{side}', 0)
"""
_WRITTEN: dict[str, type[PreTrainedTokenizerFast]] = {
    "M2M100Tokenizer": M2M100Tokenizer,
    "MarianTokenizer": MarianTokenizer,
    "WhisperTokenizer": WhisperTokenizer,
}
"""Classes with more than defaults."""
_VOCABULARY = {
    "wordpiece": "The path of a vocab.txt, or the ids by token.",
    "bpe": "The paths of a vocab.json and a merges.txt; or the ids by token and the merges.",
    "sentencepiece": "The path of a sentencepiece `.model`, or its pieces with their scores in the order of the ids.",
    "": "None: pass `tokenizer_file=` or `tokenizer_object=`.",
}


def _create(name: str, family: Family) -> type[PreTrainedTokenizerFast]:
    base = LanguageTokenizer if family.languages else PreTrainedTokenizerFast
    attributes = {
        "__doc__": _DOCSTRING.format(
            name=name,
            family=name.removesuffix("Tokenizer"),
            vocabulary=_VOCABULARY[family.vocabulary],
            unknown=family.special_tokens["unk_token"],
            side=family.padding_side,
        ),
        "__module__": __name__,
        "recipe": name,
        "model_input_names": list(family.model_input_names),
        "padding_side": family.padding_side,
    }
    return type(name, (base,), attributes)


for _name, _family in FAMILIES.items():
    _class = _WRITTEN.get(_name) or _create(_name, _family)
    TOKENIZER_CLASSES[_name] = globals()[_name] = globals()[f"{_name}Fast"] = _class
