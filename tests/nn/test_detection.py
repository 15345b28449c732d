"""The losses of object detection equal those of transformers; labels of a wrong form are errors."""

from __future__ import annotations

import sys

import pytest
import torch
from transformers.loss import loss_for_object_detection as theirs

from notebook_kit import DetrConfig
from notebook_kit.errors import InputError, MissingDependencyError
from notebook_kit.nn import detection as ours

CLASSES = 4


def predictions(images=3, queries=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(images, queries, CLASSES + 1, generator=generator)
    boxes = torch.rand(images, queries, 4, generator=generator) * 0.8 + 0.1
    masks = torch.randn(images, queries, 6, 9, generator=generator)
    return logits, boxes, masks


def labels(counts=(2, 0, 9), seed=1):
    """By default the last image has more objects than there are predictions."""
    generator = torch.Generator().manual_seed(seed)
    return [
        {
            "class_labels": torch.randint(0, CLASSES, (count,), generator=generator),
            "boxes": torch.rand(count, 4, generator=generator) * 0.5 + 0.2,
            "masks": torch.randint(0, 2, (count, 20 + index, 30 - index), generator=generator),
        }
        for index, count in enumerate(counts)
    ]


@pytest.mark.parametrize("with_masks", [False, True])
@pytest.mark.parametrize("layers", [0, 2])
@pytest.mark.parametrize("counts", [(2, 0, 9), (0, 0, 0), (1, 1, 1)])
def test_equals_reference(with_masks, layers, counts):
    logits, boxes, masks = (value.requires_grad_() for value in predictions())
    earlier = [predictions(seed=seed)[:2] for seed in range(5, 5 + layers)]
    config = DetrConfig(
        num_labels=CLASSES, auxiliary_loss=bool(layers), decoder_layers=layers + 1, bbox_cost=3, giou_loss_coefficient=4
    )
    found = labels(counts)
    loss, parts = ours.detection_loss(
        logits, boxes, found, config, masks=masks if with_masks else None, earlier=earlier
    )
    stacked = [torch.stack([*(layer[i] for layer in earlier), (logits, boxes)[i]]) for i in (0, 1)]
    if with_masks:
        expected, their_parts, _ = theirs.ForSegmentationLoss(logits, found, "cpu", boxes, masks, config, *stacked)
    else:
        expected, their_parts, _ = theirs.ForObjectDetectionLoss(logits, found, "cpu", boxes, config, *stacked)
    assert list(parts) == list(their_parts)
    for name, value in their_parts.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-5, msg=name)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    variables = [logits, boxes, *([masks] if with_masks else [])]
    mine = torch.autograd.grad(loss, variables)
    for one, other in zip(mine, torch.autograd.grad(expected, variables), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_matching_finds_the_lowest_cost():
    """Against all assignments of two objects to four predictions."""
    logits, boxes, _ = predictions(images=1, queries=4)
    config = DetrConfig(num_labels=CLASSES)
    objects = ours.Objects.of(labels(counts=(2,)), logits)
    matches = ours.match_objects(logits, boxes, objects, config)
    overlap = ours.generalized_box_iou(ours.box_corners(boxes[0]), ours.box_corners(objects.boxes))
    cost = (
        5 * (boxes[0][:, None] - objects.boxes).abs().sum(-1) - logits[0].softmax(-1)[:, objects.classes] - 2 * overlap
    )
    best = min((cost[i, 0] + cost[j, 1], i, j) for i in range(4) for j in range(4) if i != j)
    found = dict(zip(matches.objects.tolist(), matches.queries.tolist(), strict=True))
    assert (found[0], found[1]) == best[1:]


def test_predictions_that_are_not_finite_are_matched_last():
    logits, boxes, _ = predictions(images=1)
    boxes[0, :3] = float("nan")
    logits[0, 3] = float("inf")
    objects = ours.Objects.of(labels(counts=(3,)), logits)
    matches = ours.match_objects(logits, boxes, objects, DetrConfig(num_labels=CLASSES))
    assert set(matches.queries.tolist()) == {4, 5, 6}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes(dtype):
    logits, boxes, masks = (value.to(dtype) for value in predictions())
    loss, _ = ours.detection_loss(logits, boxes, labels(), DetrConfig(num_labels=CLASSES), masks=masks)
    exact, _ = ours.detection_loss(
        logits.double(), boxes.double(), labels(), DetrConfig(num_labels=CLASSES), masks=masks.double()
    )
    assert loss.item() == pytest.approx(exact.item(), rel=0.02)


def test_an_image_without_objects_may_have_lists_of_none():
    logits, boxes, _ = predictions(images=1)
    empty = [{"class_labels": torch.tensor([]), "boxes": torch.tensor([])}]
    loss, parts = ours.detection_loss(logits, boxes, empty, DetrConfig(num_labels=CLASSES))
    assert loss == parts["loss_ce"] and parts["loss_bbox"] == 0


BOX = torch.tensor([[0.5, 0.5, 0.2, 0.4]])
ONE = torch.tensor([1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (ONE, "labels is a Tensor; expected a list with a dictionary of class_labels, boxes for each image"),
        ([{"class_labels": ONE, "boxes": BOX}] * 2, "labels for 2 images, and the batch has 1"),
        ([{"boxes": BOX}], r"labels\[0\]\['class_labels'\] is missing; expected a tensor"),
        ([{"class_labels": [1], "boxes": BOX}], r"labels\[0\]\['class_labels'\] is a list; expected a tensor"),
        ([{"class_labels": ONE, "boxes": BOX[0, :3]}], r"1 class_labels and boxes of shape \(3,\)"),
        ([{"class_labels": ONE, "boxes": torch.rand(2, 4)}], r"1 class_labels and boxes of shape \(2, 4\)"),
        (
            [{"class_labels": torch.tensor([4]), "boxes": BOX}],
            "class_labels go from 4 to 4, and this model has classes 0 to 3",
        ),
        ([{"class_labels": ONE, "boxes": BOX * 100}], r"The box \[50.0, 50.0, 20.0, 40.0\] is not in fractions"),
        ([{"class_labels": ONE, "boxes": -BOX}], "is not in fractions"),
        ([{"class_labels": ONE, "boxes": BOX * float("nan")}], "is not in fractions"),
    ],
)
def test_labels_of_a_wrong_form(given, message):
    logits, boxes, _ = predictions(images=1)
    with pytest.raises(InputError, match=message):
        ours.detection_loss(logits, boxes, given, DetrConfig(num_labels=CLASSES))


def test_masks_of_a_wrong_form():
    logits, boxes, masks = predictions(images=1)
    given = [{"class_labels": ONE, "boxes": BOX, "masks": torch.ones(2, 5, 5)}]
    with pytest.raises(InputError, match=r"1 class_labels and masks of shape \(2, 5, 5\)"):
        ours.detection_loss(logits, boxes, given, DetrConfig(num_labels=CLASSES), masks=masks)


def test_missing_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    logits, boxes, _ = predictions(images=1)
    with pytest.raises(MissingDependencyError, match=r"needs scipy(.|\n)*notebook_kit\[vision\]"):
        ours.detection_loss(logits, boxes, labels(counts=(1,)), DetrConfig(num_labels=CLASSES))
