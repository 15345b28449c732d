"""Attention over any axis: patches of a picture, frames, queries, boxes on a page, windows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from patch_model import CLASS, COLOUR, COLUMNS, HERE, LEFT, PATCH, ROWS, PatchModel, picture, process, sample
from torch import nn

from notebook_kit import AutoTokenizer, BertConfig, BertModel
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import PageBoxes, PatchGrid, Queries, named_tokens
from notebook_kit.inspection.attention.lens import Lens, look
from notebook_kit.inspection.attention.prediction import predictions
from notebook_kit.inspection.attention.reading import read_tensors
from notebook_kit.inspection.attention.rollout import rollout
from notebook_kit.inspection.attention.running import read, read_model
from notebook_kit.inspection.attention.samples import Sample
from notebook_kit.inspection.attention.scores import SCORES, head_scores, scores_of
from notebook_kit.inspection.attention.sound_axes import Frames
from notebook_kit.nn.attention import AttentionSite, ablate_heads, attend, sites_of


@pytest.fixture(scope="module")
def model():
    return PatchModel().eval()


@pytest.fixture(scope="module")
def reading(model):
    return read(model, sample())


def at(row, column):
    """The position of a patch: the class token comes first."""
    return 1 + row * COLUMNS + column


def score(reading, head, name, layer=0):
    return float(scores_of(reading)[4 * layer + head, SCORES.index(name)])


# A toy patch model -------------------------------------------------------------------------------------------------------


def test_reading_of_patches(reading):
    assert reading.numbers == (0, 1) and reading.heads == (4, 4) and reading.is_square
    grid = reading.rows
    assert isinstance(grid, PatchGrid) and (grid.rows, grid.columns) == (ROWS, COLUMNS)
    assert len(grid) == 25 and grid.labels[:2] == ("[CLS]", "0,0") and grid.labels[-1] == "3,5"
    assert grid.special == (True,) + (False,) * 24 and grid.boxes[0] is None
    assert grid.boxes[at(1, 2)] == pytest.approx((2 / 6, 1 / 4, 3 / 6, 2 / 4))
    torch.testing.assert_close(reading.layers[0].sum(-1), torch.ones(4, 25))
    assert reading.of(0, [HERE]).argmax(-1).tolist() == list(range(25))
    assert reading.of(0, [CLASS]).argmax(-1).unique().tolist() == [0]


def test_patches_of_one_colour_attend_to_each_other(reading):
    sky = reading.of(0, [COLOUR])[at(0, 0)]
    grid = sky[1:].view(ROWS, COLUMNS)
    assert grid[0].sum() > 0.3 and grid[3].sum() < 0.01 and sky[0] < 0.01


def test_register_tokens_are_found_by_the_size_of_the_attention():
    grid = read(PatchModel(register=True), sample()).rows
    assert grid.labels[:3] == ("[CLS]", "[REG1]", "0,0") and sum(grid.special) == 2


def test_bare_features_need_only_an_axis(model, reading):
    bare = Sample(process(picture()), {"patches": PatchGrid(ROWS, COLUMNS)})
    torch.testing.assert_close(torch.stack(read(model, bare).layers), torch.stack(reading.layers))
    with pytest.raises(InputError, match="attends over 'patches'"):
        read(model, Sample(process(picture()), {"text": named_tokens("abc")}))


def test_hiding_the_class_token_leaves_the_grid(reading):
    weights = reading.of(0, [COLOUR])
    shown = look(weights, reading.rows, reading.columns, Lens(hide_special=True, renormalise=True))
    assert shown.weights.shape == (24, 24) and shown.rows[0] == [1]
    torch.testing.assert_close(shown.weights.sum(-1), torch.ones(24))
    merged = look(weights, reading.rows, reading.columns, Lens(merge_words=True))
    assert merged.weights.shape == (25, 25), "patches are not merged"


def test_scores_of_patches(reading):
    assert score(reading, HERE, "same") > 0.99 and score(reading, HERE, "distance") < 0.01
    assert score(reading, CLASS, "special") > 0.99 and score(reading, HERE, "special") < 0.01
    left = reading.of(0, [LEFT])
    placed = [at(row, column) for row in range(ROWS) for column in range(1, COLUMNS)]
    assert (left[placed].argmax(-1) == torch.tensor(placed) - 1).all()
    assert 0.9 < score(reading, LEFT, "distance") < 1.6, "one patch, but for the first column, which looks everywhere"
    for name in ("previous", "next", "duplicate", "induction"):
        assert np.isnan(score(reading, COLOUR, name)), "patches have no order, and each is itself alone"


def test_distance_is_measured_in_patches():
    grid = PatchGrid(2, 3, before=("[CLS]",))
    weights = torch.zeros(1, 7, 7)
    weights[0, 0, 0] = 1
    weights[0, 1:, 1] = 0.5  # to the first patch
    weights[0, 1:, 0] = 0.5  # to the class token, which is nowhere
    expected = np.mean([np.hypot(row, column) for row in range(2) for column in range(3)])
    found = dict(zip(SCORES, head_scores(weights, grid, grid)[0].tolist(), strict=True))
    assert found["distance"] == pytest.approx(expected, rel=1e-5)


def test_rollout_of_patches(reading):
    flow = rollout(reading.layers)
    torch.testing.assert_close(flow.sum(-1), torch.ones(25))
    sky = flow[at(0, 0)]
    assert sky[at(0, 0)] == sky.max() and sky[at(0, 1)] > sky[at(3, 3)]


def test_ablation_of_patches(model, reading):
    result = predictions(model, None, reading, [(0, COLOUR), (1, COLOUR)])
    assert result["kind"] == "classes" and {row["name"] for row in result["rows"]} == {"sky", "sun", "meadow"}
    with torch.no_grad(), ablate_heads(model, [(0, COLOUR), (1, COLOUR)]):
        expected = model(**process(picture()))["logits"][0].softmax(-1)
    after = {row["name"]: row["after"] for row in result["rows"]}
    assert after == pytest.approx(dict(zip(("sky", "sun", "meadow"), expected.tolist(), strict=True)), abs=1e-5)
    assert result["moved"] > 1e-3


# Other forms of attention ------------------------------------------------------------------------------------------------


class Windowed(nn.Module):
    """Attention within windows of two neighbours, as in Swin: each window is a row of the batch."""

    def __init__(self):
        super().__init__()
        self.sites = [AttentionSite(0, 2, rows="frames", unfold=self.unfold)]

    def unfold(self, weights):
        windows, H, M, _ = weights.shape
        whole = weights.new_zeros(1, H, windows * M, windows * M)
        for i in range(windows):
            whole[0, :, i * M : (i + 1) * M, i * M : (i + 1) * M] = weights[i]
        return whole

    def forward(self, input_values):
        x = input_values.view(-1, 1, 2, 4).expand(-1, 2, 2, 4)  # (windows, heads, 2, 4)
        return {"logits": attend(x, x, x, site=self.sites[0])}


def test_windows_are_laid_out_over_the_whole_axis():
    read_ = read(Windowed(), Sample.of_sound({"input_values": torch.rand(24)}, seconds=3.0))
    weights = read_.layers[0]
    assert weights.shape == (2, 6, 6) and isinstance(read_.rows, Frames) and read_.rows.labels[1] == "0.50 s"
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 6))
    assert weights[:, 0, 2:].abs().max() == 0
    merged = look(weights, read_.rows, read_.rows, Lens(merge_words=True))
    assert merged.weights.shape == (2, 3, 3) and read_.rows.name_of(merged.rows[0]) == "0–1 s"


class Detector(nn.Module):
    """Two queries that attend to a picture."""

    def __init__(self):
        super().__init__()
        self.sites = [AttentionSite(0, 1, "cross", rows="queries", columns="patches")]

    def forward(self, pixel_values):
        x = nn.functional.avg_pool2d(pixel_values, PATCH).flatten(2).transpose(1, 2)[:, None]
        queries = torch.tensor([[1.0, 0.2, -0.7], [-0.3, 0.3, 0.8]])[None, None] * 4
        return {"logits": attend(queries, x, x, site=self.sites[0])}


def test_queries_attend_to_patches():
    axes = {"queries": Queries(2, ("sun", "sky")), "patches": PatchGrid(ROWS, COLUMNS, picture())}
    reading = read(Detector(), Sample(process(picture()), axes))
    assert not reading.is_square and reading.kind == "cross" and reading.rows.labels == ("sun", "sky")
    sun = reading.of(0, [0])[0].view(ROWS, COLUMNS)
    assert divmod(int(sun.argmax()), COLUMNS)[1] in (3, 4)
    assert torch.isnan(scores_of(reading)[0, 1:]).all(), "no distances between different axes"


def test_words_on_a_page(tmp_path):
    tokens = named_tokens(["To", "##tal", "42"])
    page = PageBoxes.of(tokens, [(0, 0, 100, 20), (0, 0, 100, 20), (500, 0, 600, 20)], picture(), scale=1000)
    assert page.kind == "boxes" and page.boxes[2] == (0.5, 0.0, 0.6, 0.02)
    reading = read_tensors(torch.rand(1, 2, 3, 3), page)
    assert [page.name_of(group) for group in page.merged(page.kept())] == ["Total", "42"]
    assert reading.rows.has_pair is False
    with pytest.raises(InputError, match="3 tokens and 1 boxes"):
        PageBoxes.of(tokens, [(0, 0, 1, 1)], None)


# Samples ---------------------------------------------------------------------------------------------------------------------


def test_what_a_tokenizer_returned_reads_as_its_text(minilm):
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    bert = BertModel(
        BertConfig(hidden_size=32, num_attention_heads=4, num_hidden_layers=2, intermediate_size=64)
    ).eval()
    texts = ["a cat", "the unbelievably tired dog"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    expected = read_model(bert, tokenizer, texts[1])
    for form in (batch, tokenizer(texts, padding=True), tokenizer(texts)):
        found = read(bert, Sample.of_encoding(form, tokenizer, example=1))
        torch.testing.assert_close(torch.stack(found.layers), torch.stack(expected.layers))
        assert found.rows.labels == expected.rows.labels and found.rows.ids == expected.rows.ids
    single = read(bert, Sample.of_encoding(tokenizer(texts[1]), tokenizer))
    torch.testing.assert_close(torch.stack(single.layers), torch.stack(expected.layers))
    with pytest.raises(InputError, match="no example 2"):
        Sample.of_encoding(batch, tokenizer, example=2)
    with pytest.raises(InputError, match="does not contain the names"):
        Sample.of_encoding({"input_ids": [1, 2]})


def test_sites_name_their_axes():
    from notebook_kit import T5Config, T5ForConditionalGeneration

    t5 = T5ForConditionalGeneration(T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2))
    assert {(site.kind, site.rows, site.columns) for site in sites_of(t5)} == {
        ("self", "text", "text"),
        ("decoder", "decoder text", "decoder text"),
        ("cross", "decoder text", "text"),
    }
