"""AttentionView of models that read a picture with words, the words of a page, or that write about a picture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from listener import vocabulary
from patch_model import COLUMNS, PATCH, ROWS, picture, process
from PIL import Image
from test_attention_over_sound import bytes_of
from torch import nn
from torch.nn import functional as F

from notebook_kit import (
    AutoTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    DocumentQuestionAnsweringPipeline,
    GPT2Config,
    ImageToTextPipeline,
    LayoutLMConfig,
    LayoutLMForQuestionAnswering,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    VisualQuestionAnsweringPipeline,
    ViTConfig,
    ViTImageProcessor,
    pipeline,
    zoo,
)
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import PageBoxes
from notebook_kit.inspection.attention.joint_axis import WordsAndPatches
from notebook_kit.nn.attention import AttentionSite, ablate_heads, attend
from notebook_kit.panels import AttentionView

TINY_VILT = Path(__file__).parents[1] / "pipelines" / "data" / "tiny-vilt"
QUESTION = "how many ducks?"
RECEIPT = [
    ("Tax", [100, 800, 180, 820]),
    ("2", [200, 800, 220, 820]),
    ("Total", [100, 900, 180, 920]),
    ("12", [200, 900, 240, 920]),
]


@pytest.fixture(scope="module")
def answers():
    return pipeline("visual-question-answering", model=TINY_VILT)


@pytest.fixture(scope="module")
def reads_receipts(tmp_path_factory):
    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "what", "is", "the", "total", "12", "tax", "2"])
    )
    config = LayoutLMConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, vocab_size=12)
    return DocumentQuestionAnsweringPipeline(
        LayoutLMForQuestionAnswering(config).eval(), AutoTokenizer.from_pretrained(file)
    )


def test_words_and_patches_of_a_question_about_a_picture(answers):
    view = AttentionView(answers, picture(), QUESTION)
    axis = view._answers.axes[0]
    assert isinstance(axis, WordsAndPatches) and view._about["to_tokens"] is None and view._about["has_pair"]
    assert axis.labels[0] == "[CLS]" and axis.patches.before == ("[CLS]",) and axis.first == 0
    whole = view.matrix().to_numpy()
    np.testing.assert_allclose(whole.sum(1), 1, atol=1e-5)
    view.direction = "a_to_b"
    words = [i for i, part in enumerate(axis.segments) if part == 0]
    patches = [i for i, part in enumerate(axis.segments) if part == 1]
    np.testing.assert_allclose(view.matrix().to_numpy(), whole[np.ix_(words, patches)], atol=1e-6)
    assert len(patches) == axis.patches.rows * axis.patches.columns == np.isfinite(axis.places[:, 0]).sum()
    assert bytes_of(view) < 2**20 and view.figure() is not None
    assert view.predict([(0, 0)])["kind"] == "classes"


def test_a_question_about_a_picture_comes_in_any_form(answers):
    expected = AttentionView(answers, picture(), QUESTION).matrix().to_numpy()
    parts = {"processor": answers.image_processor, "tokenizer": answers.tokenizer}
    features = {
        **answers.image_processor(picture(), return_tensors="pt"),
        **answers.tokenizer(QUESTION, return_tensors="pt"),
    }
    for form in ({"image": picture(), "question": QUESTION}, features):
        found = AttentionView(answers.model, form, **parts).matrix().to_numpy()
        np.testing.assert_allclose(found, expected, atol=1e-6)
    turned = AttentionView(answers, picture(), QUESTION, compare={"image": picture().rotate(180), "question": QUESTION})
    assert turned.shown == "difference" and np.abs(turned.matrix().to_numpy()).max() > 1e-4
    with pytest.raises(InputError, match="reads a picture and a text"):
        AttentionView(answers, picture())
    with pytest.raises(InputError, match="reads a picture and a text, and got none"):
        AttentionView(answers)
    with pytest.raises(InputError, match="its tokenizer is unknown"):
        AttentionView(answers.model, picture(), QUESTION, processor=answers.image_processor)


def test_words_lie_on_their_page(reads_receipts):
    view = AttentionView(reads_receipts, {"question": "What is the total?", "word_boxes": RECEIPT})
    axis = view._answers.axes[0]
    assert isinstance(axis, PageBoxes) and view._about["tokens"]["kind"] == "boxes" and view._about["has_pair"]
    boxes = dict(zip(axis.labels, axis.boxes, strict=True))
    assert boxes["tax"] == (0.1, 0.8, 0.18, 0.82) and boxes["what"] is None
    sheet = np.asarray(axis.picture.convert("L"))
    assert sheet.min() < 128 and sheet[:600].min() == 255, "the words are drawn where they are"
    page = Image.new("RGB", (300, 400), "yellow")
    shown = AttentionView(reads_receipts, {"image": page, "question": "What is the total?", "word_boxes": RECEIPT})
    assert shown._answers.axes[0].picture.size == (300, 400) and bytes_of(shown) < 2**20
    result = view.predict([(0, 0)])
    assert result["kind"] == "answers" and any("12" in row["name"] or "Total" in row["name"] for row in result["rows"])
    with pytest.raises(InputError, match="needs a pipeline to find them"):
        AttentionView(reads_receipts.model, {"question": "What?", "word_boxes": RECEIPT}, processor=object())


class Captioner(nn.Module):
    """Writes two words about a picture: the first looks at the orange patches, the second at the green ones."""

    main_input_name = "pixel_values"
    colours = ((0.9, 0.2, -0.7), (-0.5, 0.2, -0.5))

    def __init__(self):
        super().__init__()
        self.config = SimpleNamespace(
            is_encoder_decoder=True,
            decoder_start_token_id=0,
            pad_token_id=0,
            patch_size=PATCH,
            vocab_size=5,
            num_labels=2,
        )
        self.scale = nn.Parameter(torch.ones(1))
        self.sites = [AttentionSite(0, 1, "cross", rows="decoder text", columns="patches")]

    def forward(self, pixel_values, decoder_input_ids):
        x = F.avg_pool2d(pixel_values, PATCH).flatten(2).transpose(1, 2)[:, None] * self.scale
        words = torch.tensor([*self.colours, (0.0, 0.0, 0.0)])[: decoder_input_ids.shape[1]]
        seen = attend(12 * words[None, None], x, x, site=self.sites[0])
        return {"logits": F.pad(seen[:, 0], (1, 1))}

    def generate(self, pixel_values, **options):
        return torch.tensor([[0, 1, 2, 4]])


def test_a_word_of_a_caption_looks_at_its_patches():
    view = AttentionView(Captioner(), process(picture()), tokenizer=vocabulary())
    assert view.kind == "cross" and list(view.matrix().index) == ["low", "mid", "</s>"]
    assert view._about["has_maps"] and view._about["tokens"].get("boxes") is None
    orange, green = (view.matrix().to_numpy()[row].reshape(ROWS, COLUMNS) for row in (0, 1))
    assert divmod(int(orange.argmax()), COLUMNS) == (1, 3) or orange.argmax() % COLUMNS in (3, 4)
    assert green.argmax() // COLUMNS == ROWS - 1, "the meadow is at the bottom"
    view.selected = [1]
    assert view.figure() is not None


def test_the_towers_of_clip_are_looked_at_one_by_one():
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    vision = {**sizes, "image_size": 64, "patch_size": 16}
    model = CLIPModel(
        CLIPConfig(text_config={**sizes, "vocab_size": 5, "eos_token_id": 4}, vision_config=vision)
    ).eval()
    processor = CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    words = {"input_ids": torch.tensor([[0, 1, 4]])}
    features = {**words, **processor(picture(), return_tensors="pt")}
    view = AttentionView(model, features, processor=processor, tokenizer=vocabulary())
    assert [part["name"] for part in view._about["parts"]] == ["similarity", "text", "patches"]
    assert view.kind == "similarity" and view.matrix().shape[1] == 17 and bytes_of(view) < 2**20
    with pytest.raises(InputError, match="two towers have"):
        view.predict([(0, 0)])
    view.kind = "text"
    assert view.matrix().shape == (3, 3) and view.predict([(0, 0)])["kind"] == "similarity"
    view.kind = "patches"
    assert view.matrix().shape == (17, 17) and view._answers.axes[0].labels[0] == "[CLS]" and not view._problem
    before = model(**features)
    with torch.no_grad(), ablate_heads(model, [(0, 0)], rows="patches"):
        after = model(**features)
    assert torch.equal(before.text_embeds, after.text_embeds), "the other tower is as it was"
    assert not torch.allclose(before.image_embeds, after.image_embeds)


def test_the_similarity_of_a_text_and_a_picture(tmp_path):
    label = pipeline("zero-shot-image-classification", model="notebook-kit/tiny-clip")
    view = AttentionView(label, zoo.sample("cat.jpg"), "a cat", view="maps")
    table, best = view.matrix(), view.matrix().loc["cat"].drop("[IMAGE]")
    assert list(table.index) == ["[TEXT]", "a", "cat"] and view.view == "heads", "there are no heads to show"
    assert table.loc["cat", "[IMAGE]"] > 0.3 > table.loc["a", "[IMAGE]"]
    assert {int(part) for part in best.idxmax().split(",")} <= {3, 4}, "the cat is in the middle"
    assert repr(view) == f"AttentionView(similarity {table.iloc[0, 0]:.3f} of 2 words and 64 patches)"
    assert f"{table.iloc[0, 0]:.3f}" in view.face().title and view.face().header[0] == "word"
    view.compare({"image": zoo.sample("bus.jpg"), "question": "a cat"})
    assert view.shown == "difference" and view.matrix().loc["cat", "[IMAGE]"] > 0.3
    view.compare(None)
    view.to_html(tmp_path / "similarity.html")


@pytest.fixture(scope="module")
def blip_parts():
    tokenizer = AutoTokenizer.from_pretrained("notebook-kit/tiny-captions")
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    ends = {"bos_token_id": 1, "sep_token_id": 2, "pad_token_id": 0}
    text = {**size, **ends, "vocab_size": len(tokenizer), "encoder_hidden_size": 32}
    config = BlipConfig(text_config=text, vision_config={**size, "image_size": 32, "patch_size": 8})
    return config, tokenizer, BlipImageProcessor(size={"height": 32, "width": 32})


def test_blip_writes_about_a_picture(blip_parts):
    config, tokenizer, processor = blip_parts
    torch.manual_seed(0)
    writer = ImageToTextPipeline(BlipForConditionalGeneration(config).eval(), tokenizer, image_processor=processor)
    view = AttentionView(writer, picture())
    assert view.kind == "cross" and view._about["has_maps"] and view.matrix().shape[1] == 17
    written = list(view.matrix().index)
    ids = writer.model.generate(
        writer.image_processor(picture(), return_tensors="pt")["pixel_values"], max_new_tokens=9
    )
    assert written[:9] == [tokenizer.convert_ids_to_tokens(i).removeprefix("##") for i in ids[0, 1:].tolist()]
    for kind in ("self", "decoder"):
        view.kind = kind
        assert not view._problem and view._about["part"] == kind


def test_blip_answers_a_question_about_a_picture(blip_parts):
    config, tokenizer, processor = blip_parts
    torch.manual_seed(0)
    model = BlipForQuestionAnswering(config).eval()
    answers = VisualQuestionAnsweringPipeline(model, tokenizer, image_processor=processor)
    view = AttentionView(answers, picture(), "is there a tree?")
    parts = [part["name"] for part in view._about["parts"]]
    assert parts == ["patches", "text", "text to patches", "decoder", "decoder text to text"]
    assert view.kind == "text to patches" and view._about["has_maps"]
    assert list(view.matrix().index) == ["[CLS]", "is", "there", "a", "tree", "?", "[SEP]"]
    view.kind = "decoder text to text"
    assert not view._problem and view.matrix().shape[1] == 7, "from each word of the answer to the question"


def test_captions_of_a_vision_encoder_decoder():
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    writer = {"n_embd": 32, "n_layer": 2, "n_head": 2, "vocab_size": 5, "n_positions": 16}
    config = VisionEncoderDecoderConfig(
        encoder=ViTConfig(**sizes, image_size=64, patch_size=16).to_dict(),
        decoder=GPT2Config(**writer, add_cross_attention=True, is_decoder=True).to_dict(),
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=4,
    )
    model = VisionEncoderDecoderModel(config).eval()
    view = AttentionView(model, picture(), processor=ViTImageProcessor(size=64), tokenizer=vocabulary())
    assert view.kind == "cross" and view._answers.axes[1].labels[:2] == ("[CLS]", "0,0") and view._about["has_maps"]
    assert view.matrix().shape[1] == 17 and view.predict([(0, 0)])["kind"] == "likelihood"
    for kind in ("self", "decoder"):
        view.kind = kind
        assert not view._problem and view._about["part"] == kind
