"""Tiny torch models of every family and head, without dropout, and inputs and labels for them."""

from __future__ import annotations

from typing import Any

import reference as ref
import torch
from torch import Tensor

import notebook_kit
from notebook_kit.models.auto import model_classes
from notebook_kit.registry.families import FAMILIES

TOWER = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 48}
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
WORDS = {**TOWER, "vocab_size": 99, "max_position_embeddings": 24}
GRIDS = {**TOWER, "image_size": 30, "patch_size": 4}
TEXT, SIGHT = ({**tower, "projection_dim": 16} for tower in (WORDS, GRIDS))
BART = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 48,
    "decoder_ffn_dim": 40,
    "max_position_embeddings": 40,
    "num_labels": 3,
    "decoder_start_token_id": 2,
    "pad_token_id": 1,
    "eos_token_id": 98,
    "dropout": 0.0,
    "attention_dropout": 0.0,
}
T5 = {
    "vocab_size": 99,
    "d_model": 32,
    "d_kv": 6,
    "d_ff": 40,
    "num_layers": 1,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "dropout_rate": 0.0,
    "num_labels": 3,
    "eos_token_id": 98,
    "decoder_start_token_id": 0,
}
SAMPLES = {
    **TOWER,
    **dict.fromkeys(
        (
            "hidden_dropout",
            "activation_dropout",
            "attention_dropout",
            "feat_proj_dropout",
            "final_dropout",
            "layerdrop",
        ),
        0.0,
    ),
    "vocab_size": 21,
    "conv_dim": [8, 12, 10],
    "conv_stride": [5, 3, 2],
    "conv_kernel": [10, 3, 2],
    "num_conv_pos_embeddings": 6,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 14,
    "num_labels": 3,
    "apply_spec_augment": False,
}
CODEBOOK = {"num_codevectors_per_group": 5, "codevector_dim": 8, "proj_codevector_dim": 10}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 12, 8, 8], "depths": [1, 1, 1, 1], "layer_type": "basic"}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
NOT_DETR = ("vocab_size", "max_position_embeddings", "decoder_start_token_id", "pad_token_id", "eos_token_id")
DETR = {name: value for name, value in BART.items() if name not in NOT_DETR}
DETR |= {"num_queries": 5, "encoder_attention_heads": 8, "decoder_attention_heads": 8}


def _detr() -> dict[str, Any]:
    return {"backbone_config": notebook_kit.ResNetConfig(**RESNET, out_features=STAGES), **DETR}


def _writer() -> dict[str, Any]:
    decoder = notebook_kit.BertConfig(**ref.tiny_fields("bert", is_decoder=True, add_cross_attention=True))
    return {"decoder": decoder, "decoder_start_token_id": 2, "pad_token_id": 0}


FIELDS: dict[str, Any] = {
    "audio-spectrogram-transformer": {
        **TOWER,
        **NO_DROPOUT,
        "patch_size": 7,
        "frequency_stride": 4,
        "time_stride": 5,
        "max_length": 33,
        "num_mel_bins": 19,
        "num_labels": 3,
    },
    "bart": BART,
    "blip": {"text_config": TEXT, "vision_config": SIGHT, "projection_dim": 12, "image_text_hidden_size": 10},
    "blip_text_model": {**TEXT, "encoder_hidden_size": 32},
    "clip": {
        "text_config": {**TEXT, "eos_token_id": 98},
        "vision_config": SIGHT,
        "projection_dim": 12,
        "num_labels": 3,
    },
    "clip_text_model": {**TEXT, "eos_token_id": 98},
    "detr": _detr,
    "donut-swin": {
        "embed_dim": 8,
        "depths": [1, 1],
        "num_heads": [1, 2],
        "window_size": 3,
        "image_size": 47,
        "num_labels": 3,
        "drop_path_rate": 0.0,
    },
    "encoder-decoder": lambda: {"encoder": notebook_kit.BertConfig(**ref.tiny_fields("bert")), **_writer()},
    "hubert": SAMPLES,
    "m2m_100": {**BART, "scale_embedding": True, "encoder_layerdrop": 0.0, "decoder_layerdrop": 0.0},
    "marian": {**BART, "pad_token_id": 97, "decoder_start_token_id": 97},
    "maskformer": lambda: {
        "backbone_config": notebook_kit.ResNetConfig(**RESNET, out_features=STAGES),
        "decoder_config": notebook_kit.DetrConfig(**{**DETR, "encoder_layers": 0}),
        "fpn_feature_size": 32,
        "mask_feature_size": 12,
        "num_labels": 3,
    },
    "maskformer-swin": {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 3, "drop_path_rate": 0.0},
    "mbart": {**BART, "scale_embedding": True},
    "mt5": T5,
    "resnet": {**RESNET, "num_labels": 3},
    "siglip": {"text_config": {**WORDS, "projection_size": 32}, "vision_config": GRIDS, "num_labels": 3},
    "siglip_text_model": WORDS,
    "t5": T5,
    "table-transformer": _detr,
    "vilt": {**TEXT, **SIGHT, **NO_DROPOUT, "vocab_size": 99, "num_labels": 5},
    "vision-encoder-decoder": lambda: {"encoder": notebook_kit.ViTConfig(**SIGHT), **_writer()},
    "wav2vec2": {**SAMPLES, **CODEBOOK},
    "whisper": {
        **BART,
        "num_mel_bins": 13,
        "max_source_positions": 17,
        "max_target_positions": 40,
        "pad_token_id": 90,
        "bos_token_id": 90,
        "eos_token_id": 90,
        "decoder_start_token_id": 91,
        "begin_suppress_tokens": [5, 90],
        "classifier_proj_size": 14,
    },
    "yolos": {**TOWER, "image_size": [24, 40], "patch_size": 8, "num_detection_tokens": 5, "num_labels": 3},
}


def heads(modality: str) -> list[tuple[str, str]]:
    """`(model_type, class name)` of every head of every family that reads texts, images, sound, or several of them."""
    families = [model_type for model_type, family in FAMILIES.items() if family.modality == modality]
    return [
        (model_type, name)
        for model_type in families
        for name in dict.fromkeys(kind.__name__ for kind in model_classes(model_type).values())
    ]


def tiny_model(model_type: str, name: str) -> Any:
    """A torch model whose weights are nowhere 0 or 1."""
    fields = FIELDS.get(model_type) or ref.tiny_fields(model_type, **_shallow(model_type))
    fields = dict(fields() if callable(fields) else fields)
    if FAMILIES[model_type].modality == "image":
        fields |= NO_DROPOUT
    if name.endswith("ForQuestionAnswering") and "num_labels" in fields and model_type != "vilt":
        fields["num_labels"] = 2
    if name == "AlbertForPreTraining":
        fields["num_labels"] = 2
    if name.endswith("ForMaskedImageModeling"):
        fields["image_size"] = 48 if model_type == "swin" else 28
    kind = getattr(notebook_kit, name)
    known = kind.config_class.field_names()
    config = kind.config_class(**{name: value for name, value in fields.items() if name in known})
    config.num_labels = fields.get("num_labels", config.num_labels)
    config.classifier_dropout = 0.0
    torch.manual_seed(0)
    model = kind(config)
    ref.randomize(model)
    return model


def _shallow(model_type: str) -> dict[str, Any]:
    """One layer where all are alike; several where they differ or are shared."""
    return (
        {}
        if model_type in ("albert", "smollm3") or FAMILIES[model_type].modality == "image"
        else {"num_hidden_layers": 1}
    )


def _draw(*sizes: int, seed: int = 7) -> Tensor:
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


def _ids(rows: int, length: int, seed: int = 4) -> Tensor:
    return torch.randint(4, 90, (rows, length), generator=torch.Generator().manual_seed(seed))


def _texts(config: Any) -> dict[str, Tensor]:
    mask = torch.tensor([[1] * n + [0] * (9 - n) for n in (9, 6, 2)])
    ids = torch.where(mask == 1, _ids(3, 9), 0)
    ids[torch.arange(3), mask.sum(1) - 1] = 98  # the end of a text, from which CLIP reads it
    return {"input_ids": ids, "attention_mask": mask}


def inputs_for(model: Any) -> dict[str, Tensor]:
    """Three examples, with padding where the model knows it."""
    name, config = type(model).__name__, model.config
    model_type, main = config.model_type, model.main_input_name
    if model_type == "audio-spectrogram-transformer":
        return {"input_values": _draw(3, config.max_length, config.num_mel_bins)}
    if model_type == "whisper":
        given = {"input_features": _draw(3, config.num_mel_bins, 34)}
        return given if name.endswith("ForAudioClassification") else {**given, "decoder_input_ids": _ids(3, 6)}
    if main == "input_values":
        mask = torch.tensor([[1] * n + [0] * (701 - n) for n in (701, 413, 95)])
        given = {"input_values": _draw(3, 701) * mask, "attention_mask": mask}
        if name.endswith("ForPreTraining"):
            hidden = torch.arange(69).view(3, 23) % 4 == 1  # 701 samples are 23 frames
            others = torch.randint(0, 69, (3, 23, 5), generator=torch.Generator().manual_seed(8))
            given |= {"mask_time_indices": hidden, "sampled_negative_indices": others}
        return given
    if model_type == "vision-encoder-decoder":
        return {"pixel_values": ref.pixels(30), "decoder_input_ids": _ids(3, 6)}
    if FAMILIES[model_type].modality == "multimodal":
        given = {"pixel_values": ref.pixels(30)}
        if not name.endswith("ForImageClassification"):
            given = {**_texts(config), **given}
        if name == "BlipForQuestionAnswering":
            given["decoder_input_ids"] = _ids(3, 6)
        return given
    if FAMILIES[model_type].modality == "image":
        return {"pixel_values": ref.pixels(getattr(config, "image_size", None) or 30)}
    given = _texts(config) if model_type in ("clip_text_model", "encoder-decoder") else ref.batch(config)
    if name in ("T5Model", "MT5Model"):  # without a head and labels, they do not make the decoder's input
        given["decoder_input_ids"] = _ids(3, 6)
    if config.is_encoder_decoder and name.endswith("ForSequenceClassification"):
        last = given["attention_mask"].sum(1) - 1
        given["input_ids"][torch.arange(3), last] = config.eos_token_id
    if name.endswith("ForMultipleChoice"):
        given = ref.with_choices(given)
    return given


def labels_for(model: Any) -> dict[str, Tensor]:
    """Labels for a loss; none for a backbone."""
    name, config = type(model).__name__, model.config
    if config.model_type == "wav2vec2" and name.endswith("ForPreTraining"):
        return {}
    if name.endswith("ForCTC"):
        return {"labels": torch.tensor([[3, 4, 4], [7, -100, -100], [2, 1, -100]])}
    if name.endswith("ForAudioClassification") or config.model_type in ("wav2vec2", "hubert"):
        return {"labels": torch.tensor([0, 2, 1])} if "Classification" in name else {}
    writes = name.endswith(("ForConditionalGeneration", "MTModel", "EncoderDecoderModel"))
    if writes or name in ("BlipForQuestionAnswering", "TrOCRForCausalLM"):
        labels = _ids(3, 9 if name == "BlipForConditionalGeneration" or "Causal" in name else 6, seed=5)
        labels[1, 3:] = -100
        return {"labels": labels}
    if config.model_type == "vilt" and name.endswith("ForQuestionAnswering"):
        return {"labels": _draw(3, config.num_labels).sigmoid()}
    return ref.labels_for(name, config)
