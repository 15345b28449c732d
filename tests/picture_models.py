"""Tiny models of the image families with random weights, and their processors: for panels that look into them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from notebook_kit import (
    DeiTConfig,
    DeiTForImageClassification,
    DetrConfig,
    DetrForObjectDetection,
    DetrImageProcessor,
    Dinov2Config,
    Dinov2Model,
    ResNetConfig,
    ResNetForImageClassification,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    YolosConfig,
    YolosForObjectDetection,
)

LABELS = {0: "sky", 1: "sun", 2: "meadow"}
SIZE: dict[str, Any] = {
    "hidden_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "initializer_range": 0.3,  # so that heads differ to the eye
    "id2label": LABELS,
}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1]}


def vit() -> tuple[Any, Any]:
    """12 x 12 patches and a class token."""
    return ViTForImageClassification(
        ViTConfig(**SIZE, intermediate_size=96, image_size=96, patch_size=8)
    ), ViTImageProcessor(size=96)


def deit() -> tuple[Any, Any]:
    """6 x 6 patches, a class token and a distillation token."""
    return DeiTForImageClassification(
        DeiTConfig(**SIZE, intermediate_size=96, image_size=48, patch_size=8)
    ), ViTImageProcessor(size=56, crop_size=48, do_center_crop=True)


def dinov2() -> tuple[Any, Any]:
    """Patches of 14 pixels in pictures of any size."""
    config = Dinov2Config(**SIZE, image_size=56, patch_size=14)
    return Dinov2Model(config), ViTImageProcessor(size={"shortest_edge": 64})


def swin() -> tuple[Any, Any]:
    """Windows of 4 x 4 over 16 x 16 and 8 x 8 patches, shifted in every second layer."""
    config = SwinConfig(
        embed_dim=24,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
        image_size=64,
        patch_size=4,
        initializer_range=0.12,
    )
    config.id2label = LABELS
    return SwinForImageClassification(config), ViTImageProcessor(size=64)


def segformer() -> tuple[Any, Any]:
    """Four stages, from 16 x 16 to 2 x 2 positions; keys of the first three stand for squares of positions."""
    config = SegformerConfig(
        hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16
    )
    config.id2label = LABELS
    return SegformerForSemanticSegmentation(config), SegformerImageProcessor(size=64)


def yolos() -> tuple[Any, Any]:
    """Patches of 8 pixels and six detection tokens."""
    config = YolosConfig(**SIZE, intermediate_size=96, image_size=[64, 96], patch_size=8, num_detection_tokens=6)
    return YolosForObjectDetection(config), DetrImageProcessor(size={"shortest_edge": 64, "longest_edge": 96})


def detr() -> tuple[Any, Any]:
    """A feature map of one position per 32 pixels, and seven queries."""
    config = DetrConfig(
        backbone_config=ResNetConfig(**RESNET, out_features=["stage4"]),
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_queries=7,
        id2label=LABELS,
        init_std=0.3,
    )
    model = DetrForObjectDetection(config)
    return model, DetrImageProcessor(size={"shortest_edge": 320, "longest_edge": 480})


def resnet() -> tuple[Any, Any]:
    """A convolutional network, which has no attention."""
    return ResNetForImageClassification(ResNetConfig(**RESNET)), ViTImageProcessor(size=64)


def build(name: str) -> tuple[Any, Any]:
    """A model of the family, always the same, and its processor."""
    torch.manual_seed(0)
    model, processor = {one.__name__: one for one in (vit, deit, dinov2, swin, segformer, yolos, detr, resnet)}[name]()
    return model.eval(), processor


@contextmanager
def find_three(model: Any) -> Iterator[None]:
    """Let a detector find a sun, the sky and a meadow with its queries 0, 2 and 3, and nothing with the others."""
    found = {
        0: (1, 0.98, (0.65, 0.5, 0.3, 0.5)),
        2: (0, 0.95, (0.5, 0.375, 1.0, 0.75)),
        3: (2, 0.90, (0.5, 0.875, 1.0, 0.25)),
    }

    def replace(module: Any, inputs: Any, outputs: Any) -> Any:
        queries = outputs.logits.shape[1]
        chances = torch.full((1, queries, len(LABELS) + 1), 0.01)
        boxes = torch.full((1, queries, 4), 0.5)
        chances[..., -1] = 0.97
        for query, (label, score, box) in found.items():
            chances[0, query] = (1 - score) / len(LABELS)
            chances[0, query, label] = score
            boxes[0, query] = torch.tensor(box)
        outputs["logits"], outputs["pred_boxes"] = chances.log(), boxes
        return outputs

    handle = model.register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
