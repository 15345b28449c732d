"""Writes the checkpoints beside this file, with TensorFlow models of transformers 4.57: version 5 has none.

    pip install transformers==4.57.6 tensorflow-cpu==2.21.0 tf-keras torch && python tests/checkpoints/tensorflow/make.py

Each folder has a tiny model's `config.json` and weights, and `expected.json`: an input, and the output that TensorFlow computed.
"""

import json
import os
import shutil
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"

import numpy as np
import tensorflow as tf
import transformers as hf

HERE = Path(__file__).parent
SMALL = {"vocab_size": 20, "num_labels": 3}
BERT = {
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 12,
}
BART = {
    "d_model": 8,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 12,
    "decoder_ffn_dim": 12,
    "max_position_embeddings": 12,
}
MODELS = {
    "bert": ("TFBertForSequenceClassification", BERT),
    "bert_masked_lm": ("TFBertForMaskedLM", BERT),
    "distilbert": ("TFDistilBertForSequenceClassification", {"dim": 8, "n_layers": 2, "n_heads": 2, "hidden_dim": 12}),
    "electra": ("TFElectraForTokenClassification", {**BERT, "embedding_size": 4}),
    "gpt2": ("TFGPT2LMHeadModel", {"n_embd": 8, "n_layer": 2, "n_head": 2, "n_positions": 12}),
    "t5": ("TFT5ForConditionalGeneration", {"d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1, "num_heads": 2}),
    "bart": ("TFBartForConditionalGeneration", BART),
    "vit": (
        "TFViTForImageClassification",
        {
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 12,
            "image_size": 8,
            "patch_size": 4,
        },
    ),
}


def make(folder: str, name: str, fields: dict, **options) -> None:
    tf.random.set_seed(0)
    kind = getattr(hf, name)
    model = kind(kind.config_class(**SMALL, **fields))
    draw = np.random.default_rng(0)
    if model.main_input_name == "pixel_values":
        inputs = {"pixel_values": draw.normal(size=(2, 3, 8, 8)).astype("float32")}
    else:
        inputs = {"input_ids": draw.integers(4, 20, (2, 6))}
        if model.config.is_encoder_decoder:
            inputs["decoder_input_ids"] = draw.integers(4, 20, (2, 5))
    model({name: tf.constant(value) for name, value in inputs.items()})
    for weight in model.weights:
        if weight.dtype.is_floating:
            weight.assign(draw.normal(size=weight.shape) * 0.3)
    logits = model({name: tf.constant(value) for name, value in inputs.items()}).logits
    target = HERE / folder
    shutil.rmtree(target, ignore_errors=True)
    model.save_pretrained(target, **options)
    (target / "generation_config.json").unlink(missing_ok=True)
    expected = {"inputs": {name: value.tolist() for name, value in inputs.items()}, "logits": logits.numpy().tolist()}
    (target / "expected.json").write_text(json.dumps(expected))


for folder, (name, fields) in MODELS.items():
    make(folder, name, fields)
make("bert_sharded", *MODELS["bert"], max_shard_size="4KB")
make("bert_safetensors", *MODELS["bert"], safe_serialization=True)
