"""Tiny random checkpoints of models that read images, and pictures of odd sizes and modes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

LABELS = {0: "cat", 1: "dog", 2: "horse", 3: "bird", 4: "fish", 5: "bee", 6: "ant"}


def picture(width: int = 50, height: int = 40, seed: int = 0, mode: str = "RGB") -> Image.Image:
    """Coloured squares of 5 pixels: a picture without structure would look alike after resizing."""
    generator = np.random.default_rng([seed, width, height])
    squares = generator.integers(0, 256, (-(-height // 5), -(-width // 5), 3), dtype=np.uint8)
    pixels = squares.repeat(5, axis=0).repeat(5, axis=1)[:height, :width]
    return Image.fromarray(pixels).convert(mode)


PICTURES = [
    picture(50, 40),
    picture(33, 71, seed=1),
    picture(32, 32, seed=2),
    picture(50, 40, seed=3, mode="L"),
    picture(91, 40, seed=4, mode="RGBA"),
    picture(7, 5, seed=5),
]


def save_vit(folder: str | Path, head: str = "ForImageClassification", **settings: Any) -> str:
    """A random ViT of `transformers` with its image processor; its weights make answers differ clearly."""
    import transformers

    config = transformers.ViTConfig(
        image_size=32,
        patch_size=8,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        initializer_range=0.4,
        id2label=settings.pop("id2label", LABELS),
        **settings,
    )
    torch.manual_seed(3)
    getattr(transformers, "ViT" + head)(config).eval().save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def save_detr(folder: str | Path, head: str = "ForObjectDetection", **settings: Any) -> str:
    """A random DETR of `transformers` on a small ResNet, with its image processor."""
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 12, 16, 24],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    config = transformers.DetrConfig(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=backbone,
        num_queries=8,
        d_model=64,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        init_std=1.0 if head == "ForSegmentation" else 0.6,
        id2label=settings.pop("id2label", LABELS),
        **settings,
    )
    torch.manual_seed(5)
    model = getattr(transformers, "Detr" + head)(config).eval()
    model.save_pretrained(folder)
    size = {"shortest_edge": 40, "longest_edge": 64}
    transformers.DetrImageProcessorPil(size=size).save_pretrained(folder)
    return str(folder)


def save_maskformer(folder: str | Path, **settings: Any) -> str:
    """A random MaskFormer of `transformers` on a small ResNet, with its image processor."""
    import transformers

    backbone = transformers.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 12, 16],
        depths=[1, 1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3"],
    )
    decoder = transformers.DetrConfig(
        d_model=32, encoder_layers=0, decoder_layers=1, decoder_attention_heads=4, decoder_ffn_dim=32, num_queries=8
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone,
        decoder_config=decoder,
        fpn_feature_size=32,
        mask_feature_size=16,
        id2label=settings.pop("id2label", LABELS),
        **settings,
    )
    torch.manual_seed(1)
    model = transformers.MaskFormerForInstanceSegmentation(config).eval()
    with torch.no_grad():
        model.class_predictor.weight.normal_(0, 2)
        model.model.transformer_module.queries_embedder.weight.normal_(0, 1)
        projection = model.model.pixel_level_module.decoder.mask_projection.weight.normal_(0, 0.3)
        projection.sub_(projection.mean((1, 2, 3), keepdim=True))  # or else every mask is everything or nothing
        model.mask_embedder.get_submodule("2.0").weight.normal_(0, 0.5)
    model.save_pretrained(folder)
    size = {"shortest_edge": 40, "longest_edge": 64}
    transformers.MaskFormerImageProcessorPil(size=size, size_divisor=8).save_pretrained(folder)
    return str(folder)


def save_segformer(folder: str | Path, **settings: Any) -> str:
    """A random SegFormer of `transformers` with its image processor."""
    import transformers

    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[16, 32],
        patch_sizes=[3, 3],
        strides=[2, 2],
        num_attention_heads=[2, 4],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        initializer_range=0.6,
        id2label=LABELS,
        **settings,
    )
    torch.manual_seed(1)
    transformers.SegformerForSemanticSegmentation(config).eval().save_pretrained(folder)
    transformers.SegformerImageProcessorPil(size={"height": 32, "width": 48}).save_pretrained(folder)
    return str(folder)


def save_vilt(folder: str | Path, **settings: Any) -> str:
    """A random ViLT of `transformers` with its tokenizer and image processor, for tests and for records of transformers 4."""
    import transformers
    from pipeline_helpers import make_tokenizer

    tokenizer = make_tokenizer(str(folder), model_max_length=40)
    config = transformers.ViltConfig(
        vocab_size=len(tokenizer),
        image_size=64,
        patch_size=16,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        initializer_range=0.4,
        id2label=settings.pop("id2label", LABELS),
        **settings,
    )
    torch.manual_seed(3)
    transformers.ViltForQuestionAnswering(config).eval().save_pretrained(folder)
    kind = getattr(transformers, "ViltImageProcessorPil", transformers.ViltImageProcessor)
    kind(size={"shortest_edge": 64}, size_divisor=16).save_pretrained(folder)
    return str(folder)


def save_clip(folder: str | Path, **settings: Any) -> str:
    """A random CLIP of `transformers` with a tokenizer and its image processor."""
    import transformers
    from pipeline_helpers import make_tokenizer

    tokenizer = make_tokenizer(str(folder), model_max_length=40)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    config = transformers.CLIPConfig(
        text_config={
            **size,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 40,
            "eos_token_id": tokenizer.sep_token_id,
            "initializer_factor": 6.0,
        },
        vision_config={**size, "image_size": 32, "patch_size": 8, "initializer_factor": 6.0},
        projection_dim=16,
        **settings,
    )
    torch.manual_seed(3)
    transformers.CLIPModel(config).eval().save_pretrained(folder)
    size = {"shortest_edge": 32}
    transformers.CLIPImageProcessorPil(size=size, crop_size=32).save_pretrained(folder)
    return str(folder)


def save_siglip(folder: str | Path) -> str:
    """A random SigLIP of `transformers` with a tokenizer and its image processor."""
    import transformers
    from pipeline_helpers import make_tokenizer

    tokenizer = make_tokenizer(str(folder), model_max_length=64)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    text = {**size, "vocab_size": len(tokenizer)}
    vision = {**size, "image_size": 32, "patch_size": 8}
    torch.manual_seed(3)
    model = transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision)).eval()
    with torch.no_grad():  # so that scores differ, and not all are near 0 or 1
        for parameter in model.parameters():
            parameter.mul_(2.0) if parameter.dim() > 1 else parameter
        model.logit_scale.fill_(1.5)
        model.logit_bias.fill_(-0.5)
    model.save_pretrained(folder)
    kind = transformers.models.siglip.image_processing_pil_siglip.SiglipImageProcessorPil
    kind(size={"height": 32, "width": 32}).save_pretrained(folder)
    return str(folder)


def save_blip(folder: str | Path) -> str:
    """A random BLIP of `transformers` that answers questions, with its tokenizer and image processor."""
    import transformers
    from pipeline_helpers import make_tokenizer

    tokenizer = make_tokenizer(str(folder), model_max_length=40)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    ids = {"bos_token_id": tokenizer.cls_token_id, "sep_token_id": tokenizer.sep_token_id, "pad_token_id": 0}
    text = {**size, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 40, "initializer_range": 0.6}
    vision = {**size, "image_size": 32, "patch_size": 8, "initializer_range": 0.4}
    torch.manual_seed(3)
    config = transformers.BlipConfig(text_config=text, vision_config=vision, initializer_range=0.6)
    transformers.BlipForQuestionAnswering(config).eval().save_pretrained(folder)
    transformers.models.blip.image_processing_pil_blip.BlipImageProcessorPil(
        size={"height": 32, "width": 32}
    ).save_pretrained(folder)
    return str(folder)


def save_donut(folder: str | Path) -> str:
    """A random Donut of `transformers` whose answers often have an end, with its tokenizer and image processor."""
    import transformers
    from pipeline_helpers import make_tokenizer

    make_tokenizer(str(folder), eos_token="[SEP]")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    names = ["<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names})
    tokenizer.save_pretrained(folder)
    swin = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 3, "patch_size": 4}
    encoder = transformers.DonutSwinConfig(image_size=[48, 36], initializer_range=0.5, **swin)
    layers = {"encoder_layers": 2, "decoder_layers": 2}  # the oracle counts the layers of the cache by the encoder's
    decoder = transformers.MBartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        max_position_embeddings=60,
        init_std=0.5,
        **layers,
    )
    ids = {"decoder_start_token_id": 2, "pad_token_id": 0, "eos_token_id": tokenizer.sep_token_id}
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder, **ids)
    torch.manual_seed(3)
    model = transformers.VisionEncoderDecoderModel(config).eval()
    with torch.no_grad():  # so that answers have an end
        model.decoder.lm_head.weight[tokenizer.convert_tokens_to_ids("</s_answer>")] *= 4.0
    model.generation_config = transformers.GenerationConfig(**ids, max_new_tokens=12)
    model.save_pretrained(folder)
    transformers.models.donut.image_processing_pil_donut.DonutImageProcessorPil(
        size={"height": 48, "width": 36}
    ).save_pretrained(folder)
    return str(folder)
