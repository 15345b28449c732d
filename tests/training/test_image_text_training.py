"""Fine-tuning models of pictures with words: batches of pictures and texts of different sizes, and a loss that falls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import notebook_kit as kit
from notebook_kit import DataCollatorForImageText, Trainer, TrainingArguments
from notebook_kit.errors import InputError

SIZE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
VISION = {**SIZE, "image_size": 32, "patch_size": 8}
WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "is",
    "it",
    "a",
    "red",
    "or",
    "green",
    "picture",
    "what",
    "colour",
    "yes",
    "no",
]
TEXT = {**SIZE, "vocab_size": len(WORDS)}
IDS = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
SWIN = {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4, "image_size": 32}
GPT2 = {"n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": len(WORDS), "n_positions": 32}
MBART = {
    "vocab_size": len(WORDS),
    "d_model": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 32,
    **{name: value for name, value in IDS.items() if name != "sep_token_id"},
}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    file = tmp_path_factory.mktemp("words") / "vocab.txt"
    file.write_text("\n".join(WORDS))
    return kit.BertTokenizer.from_pretrained(file)


def picture(colour, width, height):
    pixels = np.random.default_rng(width).integers(0, 60, (height, width, 3), dtype=np.uint8)
    pixels[..., ["red", "green"].index(colour)] += 180
    return Image.fromarray(pixels)


PICTURES = [(colour, picture(colour, 40 + 9 * i, 60 - 5 * i)) for i, colour in enumerate(["red", "green"] * 4)]
QUESTIONS = ["is it red", "what colour is it", "is it a green picture or a red picture"]


def questions(processor, answer):
    """Each picture with a question, and the label that `answer` says for its colour."""
    return [
        {**processor(image, QUESTIONS[i % 3], return_tensors="pt"), "labels": answer(colour)}
        for i, (colour, image) in enumerate(PICTURES)
    ]


def vilt(tokenizer):
    config = kit.ViltConfig(**TEXT, image_size=64, patch_size=16, num_labels=2)
    processor = kit.ViltProcessor(kit.ViltImageProcessor(size=32, size_divisor=16), tokenizer)
    rows = questions(processor, lambda colour: [1.0, 0.0] if colour == "red" else [0.0, 1.0])
    return kit.ViltForQuestionAnswering(config), processor, rows


def blip(tokenizer):
    config = kit.BlipConfig(text_config={**TEXT, **IDS}, vision_config=VISION)
    processor = kit.BlipProcessor(kit.BlipImageProcessor(size=32), tokenizer)
    rows = questions(processor, lambda colour: tokenizer("a red picture" if colour == "red" else "green")["input_ids"])
    return kit.BlipForQuestionAnswering(config), processor, rows


def blip_captions(tokenizer):
    config = kit.BlipConfig(text_config={**TEXT, **IDS}, vision_config=VISION)
    processor = kit.BlipProcessor(kit.BlipImageProcessor(size=32), tokenizer)
    rows = [processor(image, f"a {colour} picture" if i % 2 else colour) for i, (colour, image) in enumerate(PICTURES)]
    rows = [{**row, "pixel_values": row["pixel_values"][0], "labels": row["input_ids"]} for row in rows]
    return kit.BlipForConditionalGeneration(config), processor, rows


def clip(tokenizer):
    config = kit.CLIPConfig(text_config={**TEXT, "eos_token_id": 3}, vision_config=VISION, projection_dim=16)
    processor = kit.CLIPProcessor(kit.CLIPImageProcessor(size=32, crop_size=32), tokenizer)
    return kit.CLIPModel(config), processor, pairs(processor)


def siglip(tokenizer):
    config = kit.SiglipConfig(text_config=TEXT, vision_config=VISION)
    processor = kit.SiglipProcessor(kit.SiglipImageProcessor(size={"height": 32, "width": 32}), tokenizer)
    return kit.SiglipModel(config), processor, pairs(processor)


def pairs(processor):
    """Each picture with its caption."""
    options = {"return_token_type_ids": False, "return_tensors": "pt"}
    return [dict(processor(image, f"{'a ' * i}{colour}", **options)) for i, (colour, image) in enumerate(PICTURES)]


def layoutlm(tokenizer):
    model = kit.LayoutLMForQuestionAnswering(kit.LayoutLMConfig(**TEXT, hidden_dropout_prob=0.0))
    rows = []
    for i, question in enumerate(QUESTIONS * 2):
        page = ["yes", "no", "green", "red"][: 2 + i % 3]
        encoded = tokenizer(question.split(), page, is_split_into_words=True)
        places = encoded.sequence_ids(0)
        boxes = [[10 * at, 5, 10 * at + 8, 9] if part == 1 else [0] * 4 for at, part in enumerate(places)]
        place = places.index(1)
        rows.append({**encoded, "bbox": boxes, "start_positions": place, "end_positions": place})
    return model, tokenizer, rows


def writer(encoder, decoder, processor):
    config = kit.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, decoder_start_token_id=2, pad_token_id=0, eos_token_id=3
    )
    rows = [
        {**processor(image, f"a {colour} picture" if i % 2 else colour, return_tensors="pt")}
        for i, (colour, image) in enumerate(PICTURES)
    ]
    rows = [{"pixel_values": row["pixel_values"], "labels": row["labels"]} for row in rows]
    return kit.VisionEncoderDecoderModel(config), processor, rows


def vit_gpt2(tokenizer):
    processor = kit.TrOCRProcessor(kit.ViTImageProcessor(size=32), tokenizer)
    return writer(kit.ViTConfig(**VISION), kit.GPT2Config(**GPT2), processor)


def donut(tokenizer):
    processor = kit.DonutProcessor(kit.DonutImageProcessor(size={"height": 48, "width": 32}), tokenizer)
    return writer(kit.DonutSwinConfig(**SWIN), kit.MBartConfig(**MBART), processor)


@pytest.mark.parametrize(
    "make", [vilt, blip, blip_captions, clip, siglip, layoutlm, vit_gpt2, donut], ids=lambda make: make.__name__
)
def test_the_loss_falls(make, tokenizer, tmp_path):
    torch.manual_seed(0)
    model, processor, rows = make(tokenizer)
    collate = DataCollatorForImageText(processor)
    compares = "labels" not in rows[0] and "bbox" not in rows[0]
    arguments = TrainingArguments(
        str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=8,
        learning_rate=1e-3,
        remove_unused_columns=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=1,
    )

    def batch_of(features):
        return {**collate(features), "return_loss": True} if compares else collate(features)

    def loss():
        model.eval()
        with torch.no_grad():
            return model(**batch_of(rows)).loss.item()

    before = loss()
    Trainer(model, arguments, train_dataset=rows, data_collator=batch_of).train()
    assert loss() < before


def test_batches_equal_the_examples(tokenizer):
    """Padding changes no answer: the batch of a collator is what the processor makes of all at once."""
    model, processor, rows = vilt(tokenizer)
    batch = DataCollatorForImageText(processor)(rows)
    images, texts = [image for _, image in PICTURES], [QUESTIONS[i % 3] for i in range(len(PICTURES))]
    expected = processor(images, texts, padding=True, return_tensors="pt")
    for name in expected:
        torch.testing.assert_close(batch[name], expected[name])
    assert batch["labels"].shape == (len(rows), 2) and batch["labels"].dtype == torch.float32
    with torch.no_grad():
        together = model.eval()(**batch).logits
        alone = torch.cat([model(**{name: row[name] for name in expected}).logits for row in rows])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_wrong_pictures_are_named(tokenizer):
    collate = DataCollatorForImageText(tokenizer)
    with pytest.raises(InputError, match=r"shapes \(1, 4, 4\), \(3, 4, 4\)"):
        collate([{"pixel_values": torch.zeros(1, 4, 4)}, {"pixel_values": torch.zeros(3, 4, 4)}])
    with pytest.raises(InputError, match="no 'input_ids'"):
        collate([{"input_ids": [1]}, {"attention_mask": [1]}])
