"""Captions: what transformers 4.57 gave, all kinds of input, prompts, errors."""

from __future__ import annotations

import json

import pytest
import torch
from image_helpers import PICTURES, picture
from pipeline_helpers import ours
from record_image_to_text_v4 import CAPTIONER, DATA

from notebook_kit import ImageToTextPipeline, pipeline
from notebook_kit.errors import InputError, PipelineInputError
from notebook_kit.pipelines import KeyDataset

RECORDED = json.loads((DATA / "image_to_text_v4.json").read_text(encoding="utf-8"))
SHORT = {"max_new_tokens": 5}


@pytest.fixture(scope="module")
def caption():
    return ours("image-to-text", str(CAPTIONER))


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: str({k: v for k, v in case.items() if k != "answer"}))
def test_texts_are_those_of_transformers_4(caption, case):
    chosen = case["pictures"]
    pictures = PICTURES[chosen] if isinstance(chosen, int) else [PICTURES[i] for i in chosen]
    assert caption(pictures, **case["options"]) == case["answer"]


def test_all_kinds_of_input(caption, tmp_path):
    path = tmp_path / "one.png"
    PICTURES[0].save(path)
    expected = caption(PICTURES[0], **SHORT)
    assert list(expected[0]) == ["generated_text"]
    assert caption(str(path), **SHORT) == expected and caption(images=PICTURES[0], **SHORT) == expected
    assert caption([PICTURES[0]], **SHORT) == [expected]
    two = [expected, caption(PICTURES[1], **SHORT)]
    assert list(caption((one for one in PICTURES[:2]), **SHORT)) == two
    assert list(caption(KeyDataset([{"image": one} for one in PICTURES[:2]], "image"), **SHORT)) == two


def test_the_encoder_reads_each_picture_once(caption):
    rows = []
    hook = caption.model.encoder.register_forward_hook(lambda module, inputs, out: rows.append(len(out[0])))
    try:
        caption([picture(20 + i, 30, seed=i) for i in range(5)], num_beams=3, **SHORT)
    finally:
        hook.remove()
    assert sum(rows) == 5


def test_a_prompt_begins_the_text(caption):
    prompt = "a film"
    text = caption(PICTURES[0], prompt=prompt, **SHORT)[0]["generated_text"]
    assert text.startswith(prompt) and len(text) > len(prompt)
    ids = torch.tensor([caption.tokenizer(prompt, add_special_tokens=False)["input_ids"]])
    pixels = caption.process(PICTURES[0])["pixel_values"][None]
    tokens = caption.model.generate(pixels, decoder_input_ids=ids, **SHORT)
    assert text == caption.tokenizer.decode(tokens[0], skip_special_tokens=True)
    both = caption(PICTURES[:2], prompt=prompt, **SHORT)
    assert both[0][0]["generated_text"] == text


def test_what_cannot_be_captioned(caption):
    for call, message in (
        ({"inputs": None}, "No image was passed"),
        ({"inputs": PICTURES[0], "prompt": ""}, "The prompt is empty"),
        ({"inputs": PICTURES[0], "prompt": 3}, "prompt is 3"),
        ({"inputs": PICTURES[0], "max_new_token": 3}, "Did you mean 'max_new_tokens'"),
        ({"inputs": PICTURES[0], "generate_kwargs": {"num_beamz": 3}}, "Did you mean 'num_beams'"),
        ({"inputs": PICTURES[0], "output_scores": True}, "A pipeline returns texts"),
    ):
        with pytest.raises(InputError, match=message):
            caption(**call)
    with pytest.raises(PipelineInputError, match=r"inputs\[1\]"):
        caption([PICTURES[0], "nothing.png"], **SHORT)


def test_a_prompt_that_leaves_no_room():
    describe = pipeline("image-to-text", model="notebook-kit/tiny-captions", device="cpu")
    with (
        pytest.warns(UserWarning, match="more than the 24"),
        pytest.raises(InputError, match="has 33 tokens") as caught,
    ):
        describe(PICTURES[0], prompt="a tree above a ball and " * 5 + "a tree")
    assert "positions for 24" in caught.value.next_step
    with pytest.raises(InputError, match=r"prompt has 1 token, and 100 more"):
        describe(PICTURES[0], max_new_tokens=100)


def test_the_task_of_a_checkpoint(caption, tmp_path):
    caption.save_pretrained(tmp_path)
    again = pipeline(model=str(tmp_path), device="cpu")
    assert type(again) is ImageToTextPipeline and again(PICTURES[0], **SHORT) == caption(PICTURES[0], **SHORT)
    with pytest.raises(InputError, match="cannot do image-classification"):
        pipeline("image-classification", model=caption.model, image_processor=caption.image_processor)
