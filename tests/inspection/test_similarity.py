"""The similarity of a text and a picture, covered part by part, against separate runs of the model."""

from __future__ import annotations

import pytest
import torch
import transformers
from patch_model import picture
from torch.nn import functional as F

from notebook_kit import CLIPConfig, CLIPModel, SiglipModel
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import PatchGrid, TokenAxis
from notebook_kit.inspection.attention.running import read
from notebook_kit.inspection.attention.samples import Sample

START, END, PAD = 1, 4, 3
TOWER = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
SIDE, PATCH = 4, 8


def towers(family: str, **text):
    """The oracle's model, tiny and random."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(
        text_config={**TOWER, "vocab_size": 12, "pad_token_id": PAD, "eos_token_id": END, **text},
        vision_config={**TOWER, "image_size": SIDE * PATCH, "patch_size": PATCH},
    )
    return getattr(transformers, f"{family}Model")(config).eval()


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    oracle = towers("CLIP")
    oracle.save_pretrained(folder)
    return oracle, CLIPModel.from_pretrained(folder).eval()


def sample(side=SIDE):
    """Two words, the first of two pieces, and a picture of `side` x `side` patches."""
    torch.manual_seed(1)
    ids = [START, 7, 8, 9, END]
    special = (True, False, False, False, True)
    text = TokenAxis(
        ("<s>", "Ġdu", "cks", "Ġswim", "</s>"),
        special,
        (0, 1, 1, 2, 3),
        ("<s>", "ducks", "swim", "</s>"),
        (None, 0, 0, 0, None),
    )
    pixels = torch.randn(1, 3, side * PATCH, side * PATCH)
    patches = PatchGrid(side, side, picture(), ("[CLS]",), pixels=pixels.shape[-2:], patch=(PATCH, PATCH))
    features = {
        "input_ids": torch.tensor([ids]),
        "attention_mask": torch.ones(1, 5, dtype=torch.long),
        "pixel_values": pixels,
    }
    return Sample(features, {"text": text, "patches": patches})


def cosine(model, ids, pixels, **more):
    with torch.no_grad():
        out = model(input_ids=torch.tensor([ids]), pixel_values=pixels, **more)
    return F.cosine_similarity(out.text_embeds[0], out.image_embeds[0], dim=0).item()


def test_every_part_equals_separate_runs(clip):
    oracle, model = clip
    given = sample()
    reading = read(model, given)
    assert (reading.kind, reading.part, reading.heads) == ("similarity", "similarity", (1,))
    assert reading.rows.labels == ("[TEXT]", "ducks", "swim") and reading.columns.labels[:2] == ("[IMAGE]", "0,0")
    pixels = given.features["pixel_values"]
    covered = pixels.clone()
    covered[:, :, 0 : 3 * PATCH, PATCH : 4 * PATCH] = pixels.mean((2, 3), keepdim=True)  # around the patch 1,2
    whole, without, hidden, both = (
        cosine(oracle, ids, some) for some in (pixels, covered) for ids in ([START, 7, 8, 9, END], [START, 9, END])
    )
    at = reading.columns.labels.index("1,2")
    table = reading.layers[0][0]
    expected = [[whole, whole - hidden], [whole - without, whole - without - hidden + both]]
    torch.testing.assert_close(table[:2][:, [0, at]], torch.tensor(expected), atol=1e-5, rtol=0)


def test_models_of_transformers(clip):
    oracle, model = clip
    found, expected = (read(one, sample(), kind="similarity").layers[0] for one in (oracle, model))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_padding_of_siglip_is_a_part_of_its_texts(tmp_path):
    oracle = towers("Siglip", max_position_embeddings=9, projection_size=32)
    oracle.save_pretrained(tmp_path)
    model, given = SiglipModel.from_pretrained(tmp_path).eval(), sample()
    table = read(model, given).layers[0][0]
    expected = cosine(oracle, [START, 7, 8, 9, END, *[PAD] * 4], given.features["pixel_values"])
    assert float(table[0, 0]) == pytest.approx(expected, abs=1e-5)


def test_large_pictures_are_covered_at_some_places_and_large_models_on_request(monkeypatch):
    model = CLIPModel(
        CLIPConfig(
            text_config={**TOWER, "vocab_size": 12, "eos_token_id": END},
            vision_config={**TOWER, "image_size": 11 * PATCH, "patch_size": PATCH},
        )
    ).eval()
    pictures = []
    model.vision_model.register_forward_pre_hook(lambda module, values: pictures.append(len(values[0])))
    table = read(model, sample(side=11)).layers[0][0]
    assert table.shape == (3, 1 + 11 * 11) and sum(pictures) == 1 + 6 * 6
    grid = table[0, 1:].view(11, 11)
    assert torch.equal(grid[:2, :2], grid[:1, :1].expand(2, 2)) and grid.unique().numel() == 6 * 6
    monkeypatch.setattr("notebook_kit.inspection.attention.similarity.QUICK_WEIGHTS", 1)
    assert read(model, sample(side=11)).part == "text"


def test_a_text_without_words(clip):
    given = sample()
    text = TokenAxis(("<s>", "</s>"), (True, True), (0, 1), ("<s>", "</s>"), (None, None))
    empty = Sample({**given.features, "input_ids": torch.tensor([[START, END]])}, {**given.axes, "text": text})
    with pytest.raises(InputError, match="no words to compare"):
        read(clip[1], empty)
