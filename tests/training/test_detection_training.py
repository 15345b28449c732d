"""Fine-tuning detectors: labels are a list with a dictionary for each image, which the collator of the user keeps as it is."""

from __future__ import annotations

import math

import pytest
import torch

from notebook_kit import (
    DetrConfig,
    DetrForObjectDetection,
    ResNetConfig,
    Trainer,
    TrainingArguments,
    YolosConfig,
    YolosForObjectDetection,
)


def scenes(count, seed=0):
    """Images of 32 x 48 with a bright square in the left or the right half, whose side is its class."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for index in range(count):
        side = index % 2
        pixels = torch.randn(3, 32, 48, generator=generator) * 0.1
        top = int(torch.randint(4, 16, (), generator=generator))
        left = 6 + 24 * side
        pixels[:, top : top + 12, left : left + 12] += 2
        box = torch.tensor([[(left + 6) / 48, (top + 6) / 32, 12 / 48, 12 / 32]])
        found.append({"pixel_values": pixels, "labels": {"class_labels": torch.tensor([side]), "boxes": box}})
    return found


def collate(examples):
    return {
        "pixel_values": torch.stack([example["pixel_values"] for example in examples]),
        "labels": [example["labels"] for example in examples],
    }


def yolos():
    return YolosForObjectDetection(
        YolosConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            image_size=[32, 48],
            patch_size=8,
            num_detection_tokens=4,
        )
    )


def detr():
    resnet = ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 24, 32, 32], depths=[1] * 4, layer_type="basic", out_features=["stage4"]
    )
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    size = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "num_queries": 4, **heads}
    return DetrForObjectDetection(DetrConfig(backbone_config=resnet, auxiliary_loss=True, dropout=0.0, **size))


@pytest.mark.parametrize("build", [yolos, pytest.param(detr, marks=pytest.mark.slow)])
def test_the_loss_falls(build, tmp_path):
    torch.manual_seed(0)
    args = TrainingArguments(
        tmp_path,
        max_steps=40,
        per_device_train_batch_size=8,
        learning_rate=5e-3,
        lr_scheduler_type="constant",
        logging_steps=10,
        eval_strategy="steps",
        eval_steps=40,
        report_to="none",
        disable_tqdm=True,
        save_strategy="no",
    )
    trainer = Trainer(build(), args, train_dataset=scenes(32), eval_dataset=scenes(10, seed=1), data_collator=collate)
    trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert losses[-1] < 0.8 * losses[0], losses
    evaluated = [line["eval_loss"] for line in trainer.state.log_history if "eval_loss" in line]
    assert math.isfinite(evaluated[-1]) and evaluated[-1] < losses[0]


@pytest.mark.parametrize("concatenate", [True, False])
def test_metrics_receive_the_labels_of_each_image(concatenate, tmp_path):
    """Also of a last batch that is smaller. Without concatenation, as in the published example, there is one list per batch."""
    data = scenes(7, seed=1)
    seen = []
    args = TrainingArguments(
        tmp_path,
        per_device_eval_batch_size=3,
        eval_do_concat_batches=concatenate,
        report_to="none",
        disable_tqdm=True,
    )

    def compute_metrics(results):
        seen.append(results)
        return {"images": len(results.label_ids)}

    trainer = Trainer(yolos(), args, eval_dataset=data, data_collator=collate, compute_metrics=compute_metrics)
    metrics = trainer.evaluate()
    assert metrics["eval_images"] == (7 if concatenate else 3)
    labels = seen[0].label_ids if concatenate else [image for batch in seen[0].label_ids for image in batch]
    assert [image["class_labels"].tolist() for image in labels] == [[index % 2] for index in range(7)]
    for image, example in zip(labels, data, strict=True):
        assert image["boxes"].tolist() == example["labels"]["boxes"].tolist()
    if concatenate:
        _, logits, boxes, *_ = seen[0].predictions
        assert logits.shape == (7, 4, 3) and boxes.shape == (7, 4, 4)
    else:
        assert [batch[1].shape for batch in seen[0].predictions] == [(3, 4, 3), (3, 4, 3), (1, 4, 3)]
