"""Where the words of a caption came from: the attention of the decoder, for the models that write about pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from patch_model import picture
from PIL import Image

from notebook_kit import (
    AutoTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    CLIPImageProcessor,
    ImageToTextPipeline,
    pipeline,
    record_attention,
)
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.captions import has_origins, word_origins
from notebook_kit.inspection.attention.pictures import seen_box

TEXT = "an apple left of a tree"


@pytest.fixture(scope="module")
def describes():
    return pipeline("image-to-text", model="notebook-kit/tiny-captions")


def test_a_word_is_seen_by_the_position_that_writes_it(describes):
    origins = word_origins(describes, picture(), TEXT)
    assert origins.words == TEXT.split() and origins.box == (0.0, 0.0, 1.0, 1.0)
    model, tokenizer = describes.model, describes.tokenizer
    ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"]
    start = [model.config.decoder_start_token_id]
    pixels = describes.image_processor(picture(), return_tensors="pt")["pixel_values"]
    with torch.no_grad(), record_attention(model, kinds=["cross"]) as record:
        model(pixel_values=pixels, decoder_input_ids=torch.tensor([start + ids]))
    weights = torch.stack([record[layer][0].mean(0) for layer in record]).mean(0)
    assert len(ids) == len(TEXT.split()), "one token per word"
    expected = weights[: len(ids), 1:].reshape(
        origins.maps.shape
    )  # row i reads what is before word i; [CLS] is left out
    np.testing.assert_allclose(origins.maps, expected, atol=1e-6)
    assert len(origins.cells) == origins.maps[0].size and origins.cells[-1][2:] == (1.0, 1.0)


def test_words_of_several_tokens_punctuation_and_what_is_no_word(describes):
    origins = word_origins(describes, picture(), "a tree, an  unheard thing.")
    assert origins.words == ["a", "tree", "an", "unheard", "thing"] and len(origins.maps) == 5
    for empty in ("", " ., "):
        with pytest.raises(InputError, match="no words"):
            word_origins(describes, picture(), empty)
    long = word_origins(describes, picture(), "a tree " * 40)
    assert 0 < len(long.words) < 80, "only the tokens for which the decoder has positions"


def test_the_sharpest_word_is_spread_over_the_fewest_patches(describes):
    origins = word_origins(describes, picture(), TEXT)
    parts = origins.maps.reshape(len(origins.words), -1) / origins.maps.sum((1, 2))[:, None]
    entropy = -(parts * np.log(parts)).sum(1)
    assert origins.sharpest == entropy.argmin() and entropy[origins.sharpest] < entropy.mean()


def test_blip_writes_with_a_decoder_of_its_own():
    tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-captions")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ends = {"bos_token_id": 1, "sep_token_id": 2, "pad_token_id": 0}
    text = {**size, **ends, "vocab_size": len(tokenizer), "encoder_hidden_size": 32}
    torch.manual_seed(0)
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config={**size, "image_size": 32, "patch_size": 8})
    ).eval()
    processor = BlipImageProcessor(size={"height": 32, "width": 32})
    writer = ImageToTextPipeline(model, tokenizer, image_processor=processor)
    origins = word_origins(writer, picture(), TEXT)
    assert origins.words == TEXT.split() and origins.maps.shape == (6, 4, 4)
    assert ((origins.maps.sum((1, 2)) > 0.5) & (origins.maps.sum((1, 2)) <= 1)).all()


def test_a_model_without_such_attention_is_refused():
    classify = pipeline("image-classification", model="notebook-kit/tiny-things")
    assert not has_origins(classify) and not has_origins(object())
    with pytest.raises(InputError, match="no attention from words"):
        word_origins(classify, picture(), TEXT)


def test_what_a_model_saw_lies_where_it_was_cropped():
    processor, wide = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), (96, 48)
    pixels = processor(Image.new("RGB", wide), return_tensors="pt")["pixel_values"]
    assert seen_box(processor, Image.new("RGB", wide), pixels) == (0.25, 0.0, 0.75, 1.0)
    assert seen_box(object(), Image.new("RGB", wide), pixels) == (0.0, 0.0, 1.0, 1.0)
