"""Fine-tuning segmenters: the image processors turn maps of classes or of instances into the labels that the losses read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from notebook_kit import (
    DetrConfig,
    MaskFormerConfig,
    MaskFormerForInstanceSegmentation,
    MaskFormerImageProcessor,
    ResNetConfig,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    SegformerImageProcessor,
    Trainer,
    TrainingArguments,
    pipeline,
)

LABELS = {0: "red", 1: "green"}


def scenes(count=8):
    """Pictures of different sizes with a red square, a green square and noise; in the maps these are 1, 2 and 0."""
    generator, found = np.random.default_rng(0), []
    for index in range(count):
        pixels = generator.integers(0, 255, (60 + 3 * index, 50, 3), dtype=np.uint8)
        places = np.zeros(pixels.shape[:2], np.uint8)
        places[10:30, 5:25], places[35:55, 25:45] = 1, 2
        pixels[places == 1], pixels[places == 2] = (255, 0, 0), (0, 255, 0)
        found.append((Image.fromarray(pixels), Image.fromarray(places)))
    return found


def trained(model, collate, folder, epochs):
    torch.manual_seed(0)
    args = TrainingArguments(
        folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        remove_unused_columns=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(model, args, train_dataset=scenes(), eval_dataset=scenes(3), data_collator=collate)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert all(loss > 0 for loss in losses) and np.mean(losses[-4:]) < 0.8 * np.mean(losses[:4])
    assert 0 < trainer.evaluate()["eval_loss"] < 100  # batch norms have seen only a few steps
    return model.eval()


def test_semantic(tmp_path):
    processor = SegformerImageProcessor(size={"height": 64, "width": 64}, do_reduce_labels=True)

    def collate(rows):
        batch = processor([image for image, _ in rows], segmentation_maps=[m for _, m in rows], return_tensors="pt")
        assert batch["labels"].unique().tolist() == [0, 1, 255]
        return batch

    size = {"hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2], "depths": [1] * 4}
    torch.manual_seed(0)
    config = SegformerConfig(**size, decoder_hidden_size=16, id2label=LABELS)
    model = trained(SegformerForSemanticSegmentation(config), collate, tmp_path, epochs=8)
    image, places = scenes(1)[0]
    segments = pipeline("image-segmentation", model=model, image_processor=processor, device="cpu")(image)
    masks = {segment["label"]: np.asarray(segment["mask"]) == 255 for segment in segments}
    for label, name in LABELS.items():
        assert masks[name][np.asarray(places) == label + 1].mean() > 0.9


@pytest.mark.parametrize("instances", [None, {0: 0, 1: 2, 2: 1}], ids=["classes", "instances"])
def test_masks(instances, tmp_path):
    """Masks of images of different sizes are padded, which the loss must not take for objects."""
    processor = MaskFormerImageProcessor(
        size={"shortest_edge": 32, "longest_edge": 64}, size_divisor=16, ignore_index=255
    )

    def collate(rows):
        return processor(
            [image for image, _ in rows],
            segmentation_maps=[m for _, m in rows],
            instance_id_to_semantic_id=instances,
            return_tensors="pt",
        )

    resnet = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_indices=[1, 2])
    detr = DetrConfig(d_model=32, decoder_layers=1, num_queries=5, decoder_ffn_dim=32)
    torch.manual_seed(0)
    config = MaskFormerConfig(
        backbone_config=resnet, decoder_config=detr, fpn_feature_size=32, mask_feature_size=16, num_labels=3
    )
    trained(MaskFormerForInstanceSegmentation(config), collate, tmp_path, epochs=8)
