"""What AttentionView computes without a widget: readings, scores, rollout, lenses, predictions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from notebook_kit import (
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention import running as reading_module
from notebook_kit.inspection.attention.axes import TokenAxis, named_tokens
from notebook_kit.inspection.attention.encoding import encode
from notebook_kit.inspection.attention.lens import Lens, look
from notebook_kit.inspection.attention.prediction import predictions
from notebook_kit.inspection.attention.reading import read_record, read_tensors
from notebook_kit.inspection.attention.rollout import rollout
from notebook_kit.inspection.attention.running import read_model
from notebook_kit.inspection.attention.scores import SCORES, head_scores, scores_of
from notebook_kit.inspection.drawing import heat_maps as drawing
from notebook_kit.nn.attention import ablate_heads, record_attention

TEXT = "The cat sat on the mat because it was unbelievably tired."


@pytest.fixture(scope="module")
def model(minilm):
    return AutoModel.from_pretrained(minilm)


@pytest.fixture(scope="module")
def tokenizer(minilm):
    return AutoTokenizer.from_pretrained(minilm)


def tokens_of(labels, special=(), ids=None, segments=None):
    named = named_tokens(labels)
    flags = tuple(i in special for i in range(len(labels)))
    return TokenAxis(named.labels, flags, named.words, named.word_labels, segments or named.segments, ids)


# Readings ----------------------------------------------------------------------------------------------------------------


def test_reading_of_a_model_is_the_attention_of_the_reference(model, tokenizer, minilm):
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModel.from_pretrained(minilm, attn_implementation="eager")
    inputs = transformers.AutoTokenizer.from_pretrained(minilm)(TEXT, return_tensors="pt")
    with torch.no_grad():
        expected = reference(**inputs, output_attentions=True).attentions
    reading = read_model(model, tokenizer, TEXT)
    assert reading.rows.labels[:4] == ("[CLS]", "the", "cat", "sat") and reading.heads == (12,) * 6
    assert reading.is_square and reading.numbers == (0, 1, 2, 3, 4, 5)
    for mine, theirs in zip(reading.layers, expected, strict=True):
        torch.testing.assert_close(mine, theirs[0], atol=1e-5, rtol=0)


def test_reading_of_a_reference_model_whatever_its_attention(model, tokenizer, minilm):
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModel.from_pretrained(minilm)
    before = reference.config._attn_implementation
    theirs = read_model(reference, transformers.AutoTokenizer.from_pretrained(minilm), TEXT, "A second text.")
    assert reference.config._attn_implementation == before
    mine = read_model(model, tokenizer, TEXT, "A second text.")
    assert mine.rows == theirs.rows
    torch.testing.assert_close(torch.stack(mine.layers), torch.stack(theirs.layers), atol=1e-5, rtol=0)


def test_reading_with_a_bare_tokenizer(model, tokenizer):
    bare = tokenizer.backend_tokenizer
    bare.no_padding()
    assert read_model(model, bare, TEXT).rows == read_model(model, tokenizer, TEXT).rows


@pytest.mark.parametrize("name", ["tiny-clip", "tiny-gpt2"])
def test_vowel_signs_belong_to_their_words(name):
    """Byte-level tokenizers cut before and after them."""
    tokenizer = AutoTokenizer.from_pretrained(f"notebook-kit/{name}")
    tokens = encode(tokenizer, "ఇది పిల్లి, a naïve cat", "అని ఇది")[1]
    words = [tokens.word_labels[i] for i in dict.fromkeys(tokens.words) if tokens.word_labels[i] != "</s>"]
    assert words == ["ఇది", "పిల్లి", ",", "a", "naïve", "cat", "అని", "ఇది"]


def test_tokens_of_a_pair_know_words_texts_and_special_ones(tokenizer):
    features, tokens, cut = encode(tokenizer, "Unbelievably tired", "cats")
    assert not cut and len(features["input_ids"]) == len(tokens)
    assert tokens.segments[0] is None and set(tokens.segments) == {None, 0, 1} and tokens.has_pair
    assert [label for label, special in zip(tokens.labels, tokens.special, strict=True) if special] == [
        "[CLS]",
        "[SEP]",
        "[SEP]",
    ]
    words = [tokens.word_labels[word] for word in dict.fromkeys(tokens.words)]
    assert words == ["[CLS]", "Unbelievably", "tired", "[SEP]", "cats", "[SEP]"]


def test_special_is_never_guessed_from_the_name(tokenizer):
    tokens = encode(tokenizer.backend_tokenizer, "[CLS] cat")[1]
    assert tokens.special[0] and not any(tokens.special[2:-1])
    assert not any(named_tokens(["[CLS]", "cat"]).special)


def test_byte_level_tokens_read_as_text(tmp_path):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bare = Tokenizer(models.BPE(letters, []))
    bare.pre_tokenizer, bare.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokens = encode(bare, "é a")[1]
    assert tokens.labels[0] == "é" and tokens.labels[-1] == "a"


def test_long_text_is_cut_and_said(model, tokenizer):
    reading = read_model(model, tokenizer, "cat " * 700)
    assert len(reading.rows) == 512 and reading.notices[0] == ("notice_cut", {"tokens": 512})


def test_large_attention_is_kept_by_half(model, tokenizer, monkeypatch):
    whole = read_model(model, tokenizer, TEXT)
    monkeypatch.setattr(reading_module, "KEPT_BYTES", 1000)
    half = read_model(model, tokenizer, TEXT)
    assert half.layers[0].dtype == torch.float16 and half.notices[0][0] == "notice_half"
    torch.testing.assert_close(half.of(3, [2]), whole.of(3, [2]), atol=1e-3, rtol=0)


def test_reading_leaves_the_model_as_it_was():
    config = BertConfig(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, vocab_size=50, intermediate_size=64)
    tiny = BertModel(config).train()
    tiny.encoder.layer[0].eval()

    class Words:
        model_max_length = 20

        def __call__(self, text, pair=None, **options):
            return {"input_ids": [2, 7, 9, 3]}

        def convert_ids_to_tokens(self, ids):
            return [str(i) for i in ids]

        def get_special_tokens_mask(self, ids, already_has_special_tokens):
            return [1, 0, 0, 1]

    first, second = (read_model(tiny, Words(), "x") for _ in range(2))
    torch.testing.assert_close(first.layers[0], second.layers[0])  # no dropout
    assert tiny.training and not tiny.encoder.layer[0].training
    assert first.rows.special == (True, False, False, True)


@pytest.mark.parametrize("shape", [(2, 3, 5, 5), (3, 5, 5)])
def test_tensors_lists_and_arrays_read_alike(shape):
    weights = torch.rand(shape)
    whole = weights if weights.dim() == 4 else weights[None]
    forms = [
        weights,
        weights.numpy(),
        list(whole),
        [layer[None] for layer in whole],
        tuple(layer.numpy() for layer in whole),
    ]
    for form in forms:
        reading = read_tensors(form, tokens=list("abcde"))
        torch.testing.assert_close(torch.stack(reading.layers), whole)
        assert reading.rows.labels == tuple("abcde")


def test_bfloat16_and_layers_of_different_widths():
    reading = read_tensors([torch.rand(2, 3, 3).bfloat16(), torch.rand(5, 3, 3)])
    assert reading.heads == (2, 5) and reading.layers[0].dtype == torch.float32


def test_example_of_a_batch():
    batch = torch.rand(4, 2, 3, 3)
    torch.testing.assert_close(read_tensors([batch], example=2).layers[0], batch[2])
    with pytest.raises(InputError, match="no example 4"):
        read_tensors([batch], example=4)


def test_cross_attention_has_two_sides():
    reading = read_tensors(torch.rand(1, 2, 3, 5), tokens=list("abc"), to_tokens=list("vwxyz"))
    assert not reading.is_square and reading.columns.labels == tuple("vwxyz")


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (torch.rand(5, 5), {}, "is not attention"),
        (torch.rand(1, 2, 3, 3, 3), {}, "is not attention"),
        ([], {}, "empty"),
        ([None, None], {}, "Layer 0 is None"),
        (torch.rand(2, 3, 0, 0), {}, "no token"),
        (torch.rand(2, 0, 3, 3), {}, "no tokens or no heads"),
        ([torch.rand(2, 3, 3), torch.rand(2, 4, 4)], {}, "layers differ"),
        (torch.rand(2, 3, 4, 4), {"tokens": ["a"]}, "4 x 4, but tokens has 1"),
        (torch.full((1, 1, 2, 2), float("nan")), {}, "NaN or infinite"),
        (torch.zeros(1, 1, 2, 2, dtype=torch.complex64), {}, "complex"),
        (object(), {}, "cannot be read from an object of type object"),
    ],
)
def test_unusable_attention_is_refused(given, options, message):
    with pytest.raises(InputError, match=message) as caught:
        read_tensors(given, **options)
    assert caught.value.next_step


def test_not_finite_weights_are_zero_and_said():
    weights = torch.rand(2, 2, 3, 3)
    weights[1, 0, 2] = float("nan")
    weights[0, 1, 0, 0] = float("inf")
    reading = read_tensors(weights)
    assert reading.notices == (("notice_not_finite", {"count": 4, "heads": "layer 0 · head 1, layer 1 · head 0"}),)
    assert reading.layers[1][0, 2].tolist() == [0, 0, 0] and torch.isfinite(torch.stack(reading.layers)).all()
    assert math.isnan(float(weights[1, 0, 2, 0]))  # the caller's tensor is left alone


def test_negative_weights_are_said():
    assert read_tensors(torch.tensor([[[[0.5, -0.5], [1.0, 0.0]]]])).notices == (("notice_negative", {}),)


def test_record_of_some_layers_keeps_their_numbers(model, tokenizer):
    inputs = tokenizer(TEXT, return_tensors="pt")
    with record_attention(model, layers=[4, 1]) as record:
        with pytest.raises(InputError, match="Nothing has been recorded"):
            read_record(record)
        model(**inputs)
    reading = read_record(record, tokens=inputs.tokens())
    assert reading.numbers == (1, 4)
    torch.testing.assert_close(reading.layer(4), record[4][0])
    with pytest.raises(InputError, match="no layer 0"):
        reading.layer(0)


def test_models_without_attention_are_refused(tokenizer):
    with pytest.raises(InputError, match="takes no output_attentions"):
        read_model(torch.nn.Linear(2, 2), tokenizer, TEXT)

    class Silent(torch.nn.Module):
        def forward(self, input_ids, output_attentions=False):
            return {"logits": input_ids}

    with pytest.raises(InputError, match="returned no attention"):
        read_model(Silent(), tokenizer, TEXT)


def test_heads_combine():
    reading = read_tensors(torch.rand(1, 3, 4, 4))
    torch.testing.assert_close(reading.of(0, [0, 2]), reading.layers[0][[0, 2]].mean(0))
    torch.testing.assert_close(reading.of(0, [0, 2], "max"), reading.layers[0][[0, 2]].amax(0))
    for wrong in ([3], [], [-1]):
        with pytest.raises(InputError, match="Layer 0 has no head"):
            reading.of(0, wrong)


# Lenses ------------------------------------------------------------------------------------------------------------------


def test_hiding_and_renormalising():
    tokens = tokens_of(["[CLS]", "a", "b"], special={0})
    weights = torch.tensor([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1], [1.0, 0.0, 0.0]])
    shown = look(weights, tokens, tokens, Lens(hide_special=True))
    assert shown.rows == [[1], [2]] and shown.weights.tolist() == weights[1:, 1:].tolist()
    shown = look(weights, tokens, tokens, Lens(hide_special=True, renormalise=True))
    torch.testing.assert_close(shown.weights, torch.tensor([[0.75, 0.25], [0.0, 0.0]]))


def test_merging_sums_over_to_and_averages_over_from():
    torch.manual_seed(0)
    labels = ["the", "un", "##bel", "##iev", "cat", "##s"]
    tokens = named_tokens(labels)
    weights = torch.rand(7, 6, 6).softmax(-1)
    shown = look(weights, tokens, tokens, Lens(merge_words=True))
    groups = [[0], [1, 2, 3], [4, 5]]
    assert shown.rows == groups and tokens.word_labels == ("the", "unbeliev", "cats")
    for i, rows in enumerate(groups):
        for j, columns in enumerate(groups):
            expected = weights[:, rows][:, :, columns].sum(-1).mean(-1)
            torch.testing.assert_close(shown.weights[:, i, j], expected)
    torch.testing.assert_close(shown.weights.sum(-1), torch.ones(7, 3))


def test_directions():
    tokens = tokens_of("abcd", segments=(None, 0, 1, None))
    weights = torch.rand(4, 4)
    shown = look(weights, tokens, tokens, Lens(direction="a_to_b"))
    assert (shown.rows, shown.columns) == ([[1]], [[2]]) and shown.weights[0, 0] == weights[1, 2]
    assert look(weights, tokens, tokens, Lens(direction="b_to_a")).weights[0, 0] == weights[2, 1]
    single = tokens_of("abcd")
    with pytest.raises(InputError, match="no second text"):
        look(weights, single, single, Lens(direction="a_to_b"))
    alone = tokens_of("ab", special={0, 1})
    with pytest.raises(InputError, match="special"):
        look(weights[:2, :2], alone, alone, Lens(hide_special=True))


# Scores and rollout --------------------------------------------------------------------------------------------------------


def plain_scores(p, names, special):
    """The scores as their definitions say, one weight at a time."""
    T = len(p)
    p = p / p.sum(-1, keepdims=True)
    mean = lambda values: float(np.mean(values)) if len(values) else float("nan")  # noqa: E731
    ordinary = [i for i in range(T) if not special[i]]
    duplicates, inductions = [], []
    for i in ordinary:
        others = [j for j in ordinary if j != i and names[j] == names[i]]
        if others:
            duplicates.append(sum(p[i, j] for j in others))
        followed = [j + 1 for j in others if j < i and j + 1 != i]
        if followed:
            inductions.append(sum(p[i, j] for j in followed))
    return {
        "entropy": mean([-sum(w * math.log(w) for w in row if w > 0) for row in p]),
        "distance": mean([sum(p[i, j] * abs(i - j) for j in range(T)) for i in range(T)]),
        "previous": mean([p[i, i - 1] for i in range(1, T)]),
        "next": mean([p[i, i + 1] for i in range(T - 1)]),
        "same": mean([p[i, i] for i in range(T)]),
        "special": mean([sum(p[i, j] for j in range(T) if special[j]) for i in ordinary])
        if any(special)
        else float("nan"),
        "duplicate": mean(duplicates),
        "induction": mean(inductions),
    }


@pytest.mark.parametrize("normalised", [True, False])
@pytest.mark.parametrize("ids", [(1, 5, 6, 5, 6, 6, 2), (1, 3, 4, 5, 6, 7, 2)])
def test_scores_follow_their_definitions(ids, normalised):
    torch.manual_seed(1)
    weights = torch.rand(3, 7, 7) + 0.01
    weights = weights.softmax(-1) if normalised else weights * 3
    tokens = tokens_of("abcdefg", special={0, 6}, ids=ids)
    got = head_scores(weights, tokens, tokens)
    for head in range(3):
        expected = plain_scores(weights[head].double().numpy(), ids, tokens.special)
        np.testing.assert_allclose(got[head].numpy(), [expected[name] for name in SCORES], rtol=1e-4, atol=1e-6)


def test_scores_of_cross_attention_are_those_that_make_sense():
    reading = read_tensors(torch.rand(2, 2, 3, 5).softmax(-1), tokens=list("abc"), to_tokens=list("vwxyz"))
    scores = scores_of(reading)
    assert scores.shape == (4, len(SCORES)) and torch.isfinite(scores[:, 0]).all() and scores[:, 1:].isnan().all()


def test_rollout_follows_its_paper():
    torch.manual_seed(2)
    layers = torch.rand(3, 4, 5, 5).softmax(-1)
    expected = np.eye(5)
    for layer in layers.double().numpy():
        mixed = 0.5 * layer.mean(0) + 0.5 * np.eye(5)
        expected = (mixed / mixed.sum(-1, keepdims=True)) @ expected
    np.testing.assert_allclose(rollout(list(layers)).numpy(), expected, atol=1e-6)
    with pytest.raises(InputError, match="Rollout needs"):
        rollout([torch.rand(1, 2, 3)])


# Pictures ----------------------------------------------------------------------------------------------------------------


def test_plain_png_is_a_png_and_small_enough():
    import io

    from PIL import Image  # matplotlib brings it

    values = np.random.default_rng(0).integers(0, 256, (600, 600), dtype=np.uint8)
    png = drawing.heat_map_png(values)
    assert len(png) <= 100_000
    assert Image.open(io.BytesIO(drawing.heat_map_png(values[:10, :7]))).size == (7 * 38, 10 * 38)
    image = Image.open(io.BytesIO(png))
    image.load()
    assert image.size[0] == image.size[1] >= 150


# Predictions -----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return {
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "vocab_size": 30522,
        "intermediate_size": 64,
    }


def outputs_of(model, reading, heads):
    with torch.no_grad():
        before = model(**reading.inputs)
        with ablate_heads(model, heads):
            return before, model(**reading.inputs)


def test_prediction_of_a_classifier(tiny, tokenizer):
    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**tiny, id2label={0: "bad", 1: "good"})).eval()
    reading, heads = read_model(model, tokenizer, TEXT), [(0, 1), (1, 3)]
    result = predictions(model, tokenizer, reading, heads)
    before, after = outputs_of(model, reading, heads)
    rows = {row["name"]: row for row in result["rows"]}
    assert result["kind"] == "classes" and set(rows) == {"bad", "good"}
    assert rows["good"]["before"] == pytest.approx(float(before.logits.softmax(-1)[0, 1]), abs=1e-6)
    assert rows["good"]["after"] == pytest.approx(float(after.logits.softmax(-1)[0, 1]), abs=1e-6)
    assert result["moved"] == pytest.approx(abs(rows["good"]["after"] - rows["good"]["before"])) and result["moved"] > 0


def test_prediction_of_masked_words(tiny, tokenizer):
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**tiny)).eval()
    reading = read_model(model, tokenizer, "The [MASK] sat.")
    result = predictions(model, tokenizer, reading, [(0, 0)])
    before, _ = outputs_of(model, reading, [(0, 0)])
    best = int(before.logits[0, 2].argmax())
    assert result["kind"] == "words" and result["rows"][0]["place"] == 2
    assert result["rows"][0]["name"] == tokenizer.convert_ids_to_tokens(best)
    plain = predictions(model, tokenizer, read_model(model, tokenizer, "The cat sat."), [(0, 0)])
    assert plain["kind"] == "likelihood" and [row["name"] for row in plain["rows"]][:3] == ["", "the", "cat"]


def test_prediction_of_token_labels_and_answers(tiny, tokenizer):
    torch.manual_seed(0)
    tagger = BertForTokenClassification(BertConfig(**tiny, id2label={0: "O", 1: "PER", 2: "LOC"})).eval()
    reading = read_model(tagger, tokenizer, TEXT)
    result = predictions(tagger, tokenizer, reading, [(1, 0), (0, 0)])
    before, after = outputs_of(tagger, reading, [(1, 0), (0, 0)])
    assert result["kind"] == "tokens" and len(result["rows"]) == len(reading.rows) - 2
    names = {0: "O", 1: "PER", 2: "LOC"}
    for row in result["rows"]:
        assert row["said"] == names[int(before.logits[0, row["place"]].argmax())]
        assert row["says"] == names[int(after.logits[0, row["place"]].argmax())]
    answerer = BertForQuestionAnswering(BertConfig(**tiny)).eval()
    result = predictions(answerer, tokenizer, read_model(answerer, tokenizer, "Who sat?", TEXT), [(1, 0)])
    assert result["kind"] == "answers" and 1 <= len(result["rows"]) <= 6
    assert all(row["name"].lower() in TEXT.lower().replace(".", " .") for row in result["rows"])
    assert result["rows"][0]["before"] == max(row["before"] for row in result["rows"])


def test_prediction_of_a_bare_encoder_is_how_its_states_turn(model, tokenizer):
    reading, heads = read_model(model, tokenizer, TEXT), [(5, head) for head in range(12)]
    result = predictions(model, tokenizer, reading, heads)
    before, after = outputs_of(model, reading, heads)
    expected = torch.cosine_similarity(before.last_hidden_state[0].mean(0), after.last_hidden_state[0].mean(0), dim=0)
    assert result["kind"] == "states" and result["rows"][0]["after"] == pytest.approx(float(expected), abs=1e-5)
    nothing = predictions(model, tokenizer, reading, [])
    assert nothing["moved"] == pytest.approx(0, abs=1e-5)


def test_prediction_needs_a_model_that_can_be_ablated(tokenizer, minilm):
    transformers = pytest.importorskip("transformers")
    reference = transformers.AutoModel.from_pretrained(minilm)
    reading = read_model(reference, tokenizer, TEXT)
    with pytest.raises(InputError, match="cannot be switched off"):
        predictions(reference, tokenizer, reading, [(0, 0)])


def test_half_precision_rollout_and_scores(model, tokenizer, monkeypatch):
    monkeypatch.setattr(reading_module, "KEPT_BYTES", 1000)
    reading = read_model(model, tokenizer, TEXT)
    assert torch.isfinite(scores_of(reading)).any()
    assert rollout(reading.layers).dtype == torch.float32
