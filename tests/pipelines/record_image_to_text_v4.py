"""Record what the `image-to-text` pipeline of transformers 4 answers, which transformers 5 no longer has.

Run it with a Python that has transformers 4.57: `python tests/pipelines/record_image_to_text_v4.py`. It makes the checkpoint
`data/tiny-captioner` if it is missing, and writes `data/image_to_text_v4.json`.
"""

from __future__ import annotations

import torch
import transformers
from image_helpers import PICTURES
from record_v4 import DATA, make_byte_level, record

CAPTIONER = DATA / "tiny-captioner"
SHORT = {"max_new_tokens": 10}
CASES = [
    *({"pictures": i, "options": SHORT} for i in range(len(PICTURES))),
    *(
        {"pictures": 0, "options": options}
        for options in (
            {},
            {"generate_kwargs": {**SHORT, "num_beams": 4}},
            {"generate_kwargs": {**SHORT, "num_beams": 4, "num_return_sequences": 3}},
            {**SHORT, "generate_kwargs": {"repetition_penalty": 1.8}},
            {"generate_kwargs": {"min_new_tokens": 8, **SHORT, "length_penalty": 2.0, "num_beams": 2}},
        )
    ),
    {"pictures": [0, 1, 2], "options": SHORT},
    {"pictures": [3, 0], "options": {"generate_kwargs": {**SHORT, "num_beams": 2, "num_return_sequences": 2}}},
    {"pictures": [5, 4, 1], "options": {**SHORT, "batch_size": 2}},
]
"""The pictures, by their indices in `image_helpers.PICTURES`, and the options of a call."""


def make_captioner() -> None:
    """A random ViT with a random GPT-2, a tokenizer and an image processor."""
    end = "<|endoftext|>"
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=make_byte_level(eos_token=end, bos_token=end), eos_token=end, bos_token=end, pad_token=end
    )
    reader = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
        initializer_range=0.6,
    )
    writer = transformers.GPT2Config(
        n_embd=24, n_layer=2, n_head=4, n_positions=300, vocab_size=len(tokenizer), initializer_range=0.3
    )
    ids = dict.fromkeys(("pad_token_id", "eos_token_id", "decoder_start_token_id"), tokenizer.eos_token_id)
    torch.manual_seed(11)
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(reader, writer, **ids)
    transformers.VisionEncoderDecoderModel(config).eval().save_pretrained(CAPTIONER)
    tokenizer.save_pretrained(CAPTIONER)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(CAPTIONER)


if __name__ == "__main__":
    if not transformers.__version__.startswith("4."):
        raise SystemExit("This needs transformers 4; transformers 5 lacks the pipeline.")
    if not CAPTIONER.exists():
        make_captioner()
    pipe = transformers.pipeline("image-to-text", model=str(CAPTIONER), device="cpu")
    for case in CASES:
        chosen = case["pictures"]
        pictures = PICTURES[chosen] if isinstance(chosen, int) else [PICTURES[i] for i in chosen]
        case["answer"] = pipe(pictures, **case["options"])
    record("image_to_text_v4.json", CASES)
