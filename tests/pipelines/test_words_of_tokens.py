"""The words that tokens belong to, for tokenizers that number words in different ways."""

from __future__ import annotations

import pytest

from notebook_kit.pipelines.words import whole_letters, words_of_tokens


def words(text, tokens, word_ids, numbered=True):
    """The words as texts; `tokens` are the pieces of the text in order, spaces included where the tokenizer keeps them."""
    offsets, position = [], 0
    for token in tokens:
        start = text.index(token, position) if token else position
        position = start + len(token)
        offsets.append((start, position))
    found = words_of_tokens(text, offsets, word_ids, numbered)
    return [text[offsets[word[0]][0] : offsets[word[-1]][1]] for word in found]


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


@pytest.mark.parametrize(
    ("text", "tokens", "word_ids", "expected"),
    [
        ("nai\u0308ve", ["nai", "\u0308", "ve"], [0, 1, 2], ["nai\u0308ve"]),
        ("O'Brien.", ["O", "'", "Bri", "en", "."], [0, 1, 2, 2, 3], ["O'Brien", "."]),
        ("(don't)!", ["(", "don", "'t", ")", "!"], [0, 1, 2, 3, 3], ["(", "don't", ")!"]),
        ("route66 U.S.", ["route", "66", " U", ".", "S", "."], [0, 1, 2, 3, 4, 5], ["route66", " U.S", "."]),
        ("New\u200bYork", ["New", "\u200b", "York"], [0, 1, 2], ["New\u200bYork"]),
        ("new\nyork", ["new", "\n", "york"], [0, 1, 2], ["new", "\n", "york"]),
        ("new york", ["new", " york"], [0, 1], ["new", " york"]),
        ("東京、大阪。", ["東京", "、", "大阪", "。"], [0, 1, 2, 3], ["東京", "、", "大阪", "。"]),
        ("a<s>b", ["a", "<s>", "b"], [0, None, 1], ["a", "b"]),  # a special token belongs to no word
    ],
)
def test_words_of_tokenizers_that_number_pieces(text, tokens, word_ids, expected):
    assert words(text, tokens, word_ids, numbered=False) == expected


def test_the_bytes_of_a_character_stay_together():
    mark = [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]
    assert words_of_tokens("東。京", mark, [0, 1, 1, 1, 2], numbered=False) == [[0], [1, 2, 3], [4]]


def test_letters_keep_the_accents_that_no_token_has():
    assert whole_letters("cafe\u0301 o\u0302\u0301", [(0, 2), (2, 4), (6, 7), (0, 0)]) == [
        (0, 2),
        (2, 5),
        (6, 9),
        (0, 0),
    ]
    tokens = [(0, 4), (4, 5), (4, 5), (5, 6)]  # the accent has tokens, of one byte each
    assert whole_letters("cafe\u0301s", tokens) == tokens
