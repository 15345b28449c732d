from __future__ import annotations

import pytest
from pipeline_helpers import NER_LABELS, TEXTS, assert_same, ours

from notebook_kit.errors import InputError
from notebook_kit.pipelines import AggregationStrategy

LABELS = {
    "id2label": dict(enumerate(NER_LABELS)),
    "label2id": {label: i for i, label in enumerate(NER_LABELS)},
}
STRATEGIES = ["none", "simple", "first", "average", "max"]


@pytest.fixture
def tag(both):
    return both("token-classification", "ForTokenClassification", **LABELS)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_same_entities(tag, strategy):
    mine, oracle = tag
    for options in ({}, {"ignore_labels": []}, {"ignore_labels": ["MISC", "PER", "B-LOC"]}):
        options["aggregation_strategy"] = strategy
        expected = [oracle(text, **options) for text in TEXTS]
        assert any(expected), "a model that finds nothing tests nothing"
        assert_same(mine(TEXTS, **options), expected)
        assert_same(mine(TEXTS[2], **options), expected[2])


@pytest.mark.parametrize("strategy", STRATEGIES[1:])
@pytest.mark.parametrize("stride", [0, 2, 6])
def test_same_entities_in_overlapping_pieces(checkpoints, strategy, stride):
    import transformers

    folder = checkpoints("ForTokenClassification", **LABELS)
    mine = ours("ner", folder)
    mine.tokenizer.model_max_length = 16
    oracle = transformers.pipeline("ner", model=folder, device="cpu")
    oracle.tokenizer.model_max_length = 16
    options = {"aggregation_strategy": strategy, "stride": stride}
    for text in TEXTS:
        assert_same(mine(text, **options), oracle(text, **options))
    assert_same(mine(TEXTS, **options), [oracle(text, **options) for text in TEXTS])


def test_a_long_text_is_cut_off_without_stride(tag):
    mine, oracle = tag
    assert_same(mine("Wolfgang lives in Berlin. " * 60), oracle("Wolfgang lives in Berlin. " * 60))


@pytest.mark.parametrize("strategy", ["none", "simple", "first"])
@pytest.mark.parametrize("delimiter", [None, "", "--"])
def test_same_entities_of_split_words(tag, strategy, delimiter):
    mine, oracle = tag
    options = {"aggregation_strategy": strategy, "is_split_into_words": True}
    if delimiter is not None:
        options["delimiter"] = delimiter
    words = ["Wolfgang", "Schmidt", "lives", "in", "Berlin", "."]
    assert_same(mine(words, **options), oracle(words, **options))
    several = [words, ["Maria", "moved", "unbelievably", "."]]
    assert_same(mine(several, **options), oracle(several, **options))


def test_old_spellings(tag):
    mine, _ = tag
    text = TEXTS[3]
    assert mine(text, grouped_entities=True) == mine(text, aggregation_strategy="simple")
    assert mine(text, grouped_entities=True, ignore_subwords=True) == mine(
        text, aggregation_strategy=AggregationStrategy.FIRST
    )
    assert mine(text, grouped_entities=False) == mine(text)


def test_offsets_of_the_caller(tag):
    mine, oracle = tag
    text = "Berlin live"
    own = mine.tokenizer(text, return_offsets_mapping=True)["offset_mapping"]
    shifted = [(start, max(start, end - 1)) for start, end in own]
    options = {"ignore_labels": [], "offset_mapping": shifted}
    assert_same(mine(text, **options), oracle(text, **options))
    both = mine([text, text], ignore_labels=[], offset_mapping=[own, shifted])
    assert_same(both, [mine(text, ignore_labels=[]), mine(text, **options)])
    with pytest.raises(InputError, match="1 inputs and 2 offset mappings"):
        mine([text], offset_mapping=[own, own])


# Words, whatever the tokenizer ----------------------------------------------------------------------------------------

PIECES = ["<unk>", "<pad>", "lives", "in", "new", "york", "city", ".", "paris", "berlin", "(", ")", "naive"]
BY_WORD = ["first", "average", "max"]
SMALL = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}


def sentencepiece(presplit=False):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [
        "<unk>",
        "<pad>",
        "▁lives",
        "▁in",
        "▁new",
        "▁yo",
        "rk",
        "▁city",
        ".",
        "▁(",
        ")",
        "\n",
        "berlin",
        "▁berlin",
        "new",
    ]
    backend = Tokenizer(models.Unigram([(piece, -1.0) for piece in pieces], unk_id=0))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.Metaspace(split=presplit), decoders.Metaspace()
    return backend, {
        "▁new": "B-LOC",
        "new": "B-LOC",
        "▁yo": "I-LOC",
        "rk": "O",
        "▁city": "I-LOC",
        "berlin": "I-LOC",
        "▁berlin": "B-LOC",
    }


def byte_level():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = [
        "<unk>",
        "<pad>",
        "lives",
        "Ġin",
        "Ġnew",
        "Ġyork",
        "Ġcity",
        ".",
        "Ġ(",
        ")",
        "Ċ",
        "ĉ",
        "berlin",
        "york",
        "paris",
        "Ġberlin",
    ]
    backend = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    labels = {
        "Ġnew": "B-LOC",
        "Ġyork": "I-LOC",
        "Ġcity": "I-LOC",
        "berlin": "I-LOC",
        "york": "I-LOC",
        "paris": "I-LOC",
        "Ġberlin": "B-LOC",
    }
    return backend, labels


def word_piece():
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    pieces = ["<unk>", "<pad>", "lives", "in", "new", "yo", "##rk", "city", ".", "(", ")", "berlin", "naive", "paris"]
    backend = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    labels = {"new": "B-LOC", "yo": "I-LOC", "city": "I-LOC", "berlin": "B-LOC", "naive": "B-PER", "paris": "I-LOC"}
    return backend, labels


TOKENIZERS = {"sentencepiece": sentencepiece, "byte-level": byte_level, "word pieces": word_piece}


def labelled(backend, labels, names=("O", "B-LOC", "I-LOC", "B-PER"), **options):
    """A pipeline whose model gives each token of the vocabulary the label in `labels`, or else the first."""
    import torch

    from notebook_kit import BertConfig, BertForTokenClassification, PreTrainedTokenizerFast, pipeline

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    ids = tokenizer.get_vocab()
    table = torch.zeros(len(ids), dtype=torch.long)
    for token, label in labels.items():
        table[ids[token]] = names.index(label)

    class ByTable(BertForTokenClassification):
        def forward(self, input_ids=None, attention_mask=None, **inputs):
            output = super().forward(input_ids=input_ids, attention_mask=attention_mask)
            sure = 2.0 + 7.0 * (table[input_ids] > 0)
            output.logits = torch.nn.functional.one_hot(table[input_ids], len(names)) * sure[..., None]
            return output

    model = ByTable(
        BertConfig(vocab_size=len(ids), id2label=dict(enumerate(names)), max_position_embeddings=64, **SMALL)
    )
    return pipeline("ner", model=model, tokenizer=tokenizer, device="cpu", **options)


def found(pipe, text, strategy):
    entities = pipe(text, aggregation_strategy=strategy)
    return [(entity["entity_group"], entity["word"], text[entity["start"] : entity["end"]]) for entity in entities]


@pytest.mark.parametrize("strategy", BY_WORD)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_words_of_an_entity_stay_apart(kind, strategy):
    pipe = labelled(*TOKENIZERS[kind]())
    for text in (
        "lives in new york city",
        "lives in (new york city).",
        "lives in new york city.",
        "lives in new york city\n",
    ):
        if kind == "byte-level" and "(" in text:
            continue  # its vocabulary has no "new" without a space
        assert found(pipe, text, strategy) == [("LOC", "new york city", "new york city")], text


@pytest.mark.parametrize("strategy", BY_WORD)
def test_a_text_that_the_tokenizer_calls_one_word(strategy):
    pipe = labelled(*sentencepiece(presplit=True))
    assert found(pipe, "lives in new york city.", strategy) == [("LOC", "new york city", "new york city")]


@pytest.mark.parametrize("strategy", BY_WORD)
@pytest.mark.parametrize("gap", ["\n", "\t", "\n\n", " \t "])
def test_white_space_of_any_kind_separates_words(strategy, gap):
    backend, labels = byte_level()
    pipe = labelled(backend, labels | {"paris": "B-LOC", "berlin": "B-PER"}, ignore_labels=["O"])
    text = f"paris{gap}berlin"
    if gap == " \t ":
        pipe, text = labelled(*word_piece()), f"paris{gap}berlin"
        assert found(pipe, text, strategy) == [("LOC", "paris", "paris"), ("LOC", "berlin", "berlin")]
    else:
        assert found(pipe, text, strategy) == [("LOC", "paris", "paris"), ("PER", "berlin", "berlin")]


@pytest.mark.parametrize("strategy", BY_WORD)
def test_a_decomposed_letter_begins_no_new_word_and_joins_no_other(strategy):
    pipe = labelled(*word_piece())
    for accent in ("na\u00efve", "nai\u0308ve"):
        text = f"lives in {accent} paris"
        assert found(pipe, text, strategy) == [("PER", "naive", accent), ("LOC", "paris", "paris")]


@pytest.mark.parametrize("strategy", ["none", "simple", *BY_WORD])
def test_an_accent_at_the_end_belongs_to_its_word(strategy):
    text = "lives in pari\u0301s\u0301 in"
    (entity,) = labelled(*word_piece())(text, aggregation_strategy=strategy)
    assert (entity["start"], entity["end"]) == (9, 16)


BYTE_LEVEL_TEXTS = ["nai\u0308ve hello", "O'Brien hello", "New\u200bYork hello", "don't hello", "route66 hello"]


@pytest.mark.parametrize("mark", ["", ".", ")!"])
@pytest.mark.parametrize("text", BYTE_LEVEL_TEXTS)
def test_a_byte_level_word_is_whole(text, mark):
    """The first token's label is that of the word, with the end that transformers finds, but without a mark at its end."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: i for i, letter in enumerate(["<unk>", "<pad>", *letters])}, []))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    first = text[0]
    pipe = labelled(backend, {first: "B-LOC"})
    word = text.split(" ")[0]
    theirs = transformers.TokenClassificationPipeline(
        model=transformers.BertForTokenClassification(transformers.BertConfig(**SMALL, vocab_size=len(letters) + 2)),
        tokenizer=transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>"),
        aggregation_strategy="first",
    )
    theirs.model.forward = pipe.model.forward
    theirs.model.config.id2label = pipe.model.config.id2label
    (expected,), (entity,) = theirs(text), pipe(text.replace(" ", f"{mark} "), aggregation_strategy="first")
    assert (entity["start"], entity["end"]) == (expected["start"], expected["end"]) == (0, len(word))


@pytest.mark.parametrize("strategy", ["simple", *BY_WORD])
def test_a_kind_named_o_is_kept(strategy):
    backend, _ = word_piece()
    names = ("O", "B-O", "I-O", "LOC")
    pipe = labelled(backend, {"new": "B-O", "city": "I-O", "berlin": "LOC"}, names)
    text = "lives in new city berlin in city"
    expected = [("O", "new city", "new city"), ("LOC", "berlin", "berlin"), ("O", "city", "city")]
    assert found(pipe, text, strategy) == expected
    assert len(pipe(text, aggregation_strategy=strategy, ignore_labels=[])) == 5
    assert [entity["entity"] for entity in pipe(text)] == ["B-O", "I-O", "LOC", "I-O"]


@pytest.mark.parametrize("strategy", ["simple", *BY_WORD])
def test_a_kind_with_a_hyphen_keeps_its_name(strategy):
    backend, _ = word_piece()
    pipe = labelled(backend, {"city": "B-non-person", "berlin": "other-place"}, ("O", "B-non-person", "other-place"))
    assert [kind for kind, _, _ in found(pipe, "city in berlin", strategy)] == ["non-person", "other-place"]


@pytest.mark.parametrize("strategy", ["simple", *BY_WORD])
def test_words_outside_the_vocabulary_keep_their_spaces(strategy):
    pipe = labelled(*sentencepiece(), ignore_labels=["LOC"])
    assert found(pipe, "Zürich in 東京", strategy) == [("O", "Zürich in 東京", "Zürich in 東京")]


@pytest.mark.parametrize("strategy", BY_WORD)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_pieces_of_a_long_text_give_the_same_entities(kind, strategy):
    pipe = labelled(*TOKENIZERS[kind]())
    text = "lives in new york city. " * 30
    pipe.tokenizer.model_max_length = 20
    whole = [("LOC", "new york city")] * 30
    assert [
        e[:2] for e in ((x["entity_group"], x["word"]) for x in pipe(text, aggregation_strategy=strategy, stride=8))
    ] == whole


def test_one_label_to_ignore_is_a_label(tag):
    mine, _ = tag
    for strategy in ("none", "simple"):
        options = {"aggregation_strategy": strategy}
        assert mine(TEXTS[2], ignore_labels="MISC", **options) == mine(TEXTS[2], ignore_labels=["MISC"], **options)


def test_the_users_words_are_the_words():
    pipe = labelled(*sentencepiece(presplit=True))
    words = ["lives", "in", "york."]
    ((entity,),) = pipe(words, is_split_into_words=True, aggregation_strategy="first")
    assert (entity["word"], entity["start"], entity["end"]) == ("york.", 9, 14)


def test_wrong_offsets(tag):
    mine, _ = tag
    with pytest.raises(InputError, match="offset_mapping has 1 entries, and the text has 4 tokens"):
        mine("Berlin live", offset_mapping=[(0, 6)])


@pytest.mark.parametrize(
    ("item", "options", "message"),
    [
        ("a", {"aggregation_strategy": "averge"}, "Did you mean 'average'"),
        ("a", {"stride": 4}, "must be joined"),
        ("a", {"stride": 4, "aggregation_strategy": "none"}, "must be joined"),
        ("a", {"stride": 400, "aggregation_strategy": "simple"}, "leaves no room"),
        ("a", {"is_split_into_words": True}, "requires a list of words"),
        ({"text": "a"}, {}, "is a dict"),
    ],
)
def test_what_cannot_be_used(tag, item, options, message):
    mine, _ = tag
    with pytest.raises(InputError, match=message):
        mine(item, **options)


def test_scores_are_plain_numbers(tag):
    import json

    mine, _ = tag
    for strategy in STRATEGIES:
        assert json.loads(json.dumps(mine(TEXTS[2], aggregation_strategy=strategy, ignore_labels=[])))
