"""The words that tokens belong to, for tokenizers that number words in different ways."""

from __future__ import annotations

import pytest

from notebook_kit.pipelines.words import words_of_tokens


def words(text, tokens, word_ids):
    """The words as texts; `tokens` are the pieces of the text in order, spaces included where the tokenizer keeps them."""
    offsets, position = [], 0
    for token in tokens:
        start = text.index(token, position) if token else position
        position = start + len(token)
        offsets.append((start, position))
    return [text[offsets[word[0]][0] : offsets[word[-1]][1]] for word in words_of_tokens(text, offsets, word_ids)]


@pytest.mark.parametrize(
    ("text", "tokens", "word_ids", "expected"),
    [
        ("new york", ["new", " yo", "rk"], [0, 1, 1], ["new", " york"]),
        ("new york", ["new", " yo", "rk"], [0, 0, 0], ["new", " york"]),  # no pre-tokenizer: the text is one word
        ("new york", ["new", "yo", "rk"], [0, 0, 0], ["new", "york"]),
        ("new\nyork\tcity", ["new", "\n", "york", "\t", "city"], [0, 0, 0, 0, 0], ["new", "\nyork", "\tcity"]),
        ("new\nyork", ["new", "\n", "york"], [0, 1, 2], ["new", "\n", "york"]),
        ("in York.", ["in", " York", "."], [0, 1, 1], ["in", " York", "."]),
        ('("York").', ["(", '"', "Yo", "rk", '"', ")", "."], [0] * 7, ['("', "York", '").']),
        ("Coca-Cola", ["Coca", "-", "Cola"], [0, 0, 0], ["Coca-Cola"]),
        ("... -", [".", ".", ".", " -"], [0, 0, 0, 1], ["...", " -"]),
        ("C++", ["C", "+", "+"], [0, 0, 0], ["C", "++"]),
        ("nai\u0308ve", ["nai\u0308ve"], [0], ["nai\u0308ve"]),
        ("nai\u0308ve", ["nai", "\u0308", "ve"], [0, 0, 0], ["nai\u0308ve"]),
        ("東京", ["東", "京"], [0, 1], ["東", "京"]),
        (" york", [" ", "york"], [0, 0], [" york"]),
        ("a b", ["a", "b"], [None, 1], ["b"]),
        ("", [], [], []),
    ],
)
def test_words(text, tokens, word_ids, expected):
    assert words(text, tokens, word_ids) == expected
