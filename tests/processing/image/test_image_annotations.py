"""Processors with annotations and segmentation maps, and what they make of outputs, against the oracle's `...Pil` classes."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import notebook_kit
from notebook_kit import (
    AutoImageProcessor,
    DetrImageProcessor,
    MaskFormerImageProcessor,
    SegformerImageProcessor,
    YolosImageProcessor,
)
from notebook_kit.errors import InputError
from notebook_kit.processing.image.coco import mask_of

SIZES = [(48, 64), (97, 53), (60, 60), (31, 200)]
SMALL = {"shortest_edge": 70, "longest_edge": 110}


def images(sizes=SIZES) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def maps(sizes=SIZES, classes=6) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.integers(0, classes, (*size,), dtype=np.uint8).repeat(1, 0) for size in sizes]


def pair(name: str, **settings):
    """Our processor and the oracle's."""
    module = importlib.import_module(f"transformers.models.{name.lower()}.image_processing_pil_{name.lower()}")
    ours = getattr(notebook_kit, f"{name}ImageProcessor")(**settings)
    return ours, getattr(module, f"{name}ImageProcessorPil")(**settings)


def assert_same(ours, theirs, level: float = 1e-5):
    """The same keys (the oracle's at least), types, shapes and values."""
    assert set(theirs) <= set(ours)
    for key, value in theirs.items():
        if isinstance(value, list) and key != "labels":
            value, mine = list(value), list(ours[key])
        else:
            mine = ours[key]
        for one, other in zip(mine, value, strict=True) if isinstance(value, list) else [(mine, value)]:
            if hasattr(other, "items"):
                assert_same(one, other, level)
                continue
            one, other = np.asarray(one), np.asarray(other)
            assert one.shape == other.shape and one.dtype.kind == other.dtype.kind, key
            np.testing.assert_allclose(one.astype(float), other.astype(float), atol=level, rtol=1e-6, err_msg=key)


def objects() -> list[dict]:
    """COCO's annotations of `images()`: boxes inside, across the edge, of no area, crowds, and an image without any."""
    rng = np.random.default_rng(2)
    found = []
    for number, (_, width) in enumerate(SIZES):
        boxes = [[*rng.uniform(0, width / 2, 2), *rng.uniform(1, width, 2)] for _ in range(4)] if number != 2 else []
        items = [
            {"category_id": int(rng.integers(0, 9)), "bbox": list(map(float, box)), "area": float(box[2] * box[3])}
            for box in boxes
        ]
        if items:
            items[1]["iscrowd"], items[2]["bbox"][2] = 1, 0.0
        found.append({"image_id": number + 7, "annotations": items})
    return found


@pytest.fixture
def segments(tmp_path) -> tuple[list[dict], object]:
    """Panoptic annotations of `images()`, and the folder of their pictures."""
    found = []
    for number, classes in enumerate(maps(classes=4)):
        ids = classes.astype(int) * 70_001 + 5
        picture = np.stack([ids % 256, ids // 256 % 256, ids // 65_536], axis=-1).astype(np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        infos = [
            {"id": int(i), "category_id": k, "iscrowd": 0, "area": int((ids == i).sum())}
            for k, i in enumerate(np.unique(ids))
        ]
        found.append({"image_id": number, "file_name": f"{number}.png", "segments_info": infos})
    return found, tmp_path


SIZES_OF_DETECTORS = [
    SMALL,
    {"shortest_edge": 60, "longest_edge": 110},
    {"height": 80, "width": 64},
    {"max_height": 80, "max_width": 90},
]


@pytest.mark.parametrize("size", SIZES_OF_DETECTORS, ids=str)
@pytest.mark.parametrize("name", ["Detr", "Yolos"])
def test_detectors_with_objects(name, size):
    ours, theirs = pair(name, size=size)
    for kind in ("pt", "np", None):
        assert_same(ours(images(), return_tensors=kind), theirs(images(), return_tensors=kind))
        given = {"annotations": objects(), "return_tensors": kind}
        assert_same(ours(images(), **given), theirs(images(), **given))


@pytest.mark.parametrize("switch", ["do_resize", "do_rescale", "do_normalize", "do_pad", "do_convert_annotations"])
@pytest.mark.parametrize("name", ["Detr", "Yolos"])
def test_switches_of_detectors(name, switch):
    ours, theirs = pair(name, size=SMALL)
    options = {switch: False, "annotations": objects()}
    assert_same(ours(images(), **options), theirs(images(), **options), 1e-4)
    options = {switch: False, "annotations": objects()[0]}
    assert_same(ours(images()[0], **options), theirs(images()[0], **options), 1e-4)


def test_a_size_to_pad_to():
    ours, theirs = pair("Detr", size=SMALL, pad_size={"height": 130, "width": 140})
    assert_same(ours(images(), annotations=objects()), theirs(images(), annotations=objects()))
    with pytest.raises(InputError, match="does not fit into pad_size"):
        ours(images(), pad_size={"height": 20, "width": 20})


@pytest.mark.parametrize("masks", [None, True, False])
def test_detectors_with_segments(segments, masks):
    annotations, folder = segments
    ours, theirs = pair("Detr", size=SMALL, format="coco_panoptic")
    options = {
        "annotations": annotations,
        "masks_path": folder,
        "return_segmentation_masks": masks,
        "return_tensors": "pt",
    }
    assert_same(ours(images(), **options), theirs(images(), **options))


def test_masks_of_objects():
    annotations = [{"image_id": 0, "annotations": [{"category_id": 1, "bbox": [8, 8, 16, 16], "area": 256}]}]
    annotations[0]["annotations"][0]["segmentation"] = [[8, 8, 24, 8, 24, 24, 8, 24]]
    [label] = DetrImageProcessor(size={"height": 96, "width": 128})(
        Image.new("RGB", (64, 48)), annotations=annotations, return_segmentation_masks=True, return_tensors="pt"
    ).labels
    assert label.masks.shape == (1, 96, 128) and label.masks[0, 16:48, 16:48].all() and label.masks.sum() == 32 * 32


# Made with pycocotools 2.0.11: polygons in an image of (height, width), and the run lengths of their union.
POLYGONS = json.loads((Path(__file__).parent / "coco_polygons.json").read_text("utf-8"))


@pytest.mark.parametrize("number", range(len(POLYGONS)))
def test_polygons_and_run_lengths_are_those_of_coco(number):
    case = POLYGONS[number]
    height, width = case["size"]
    expected = mask_of({"counts": case["counts"], "size": case["size"]}, height, width)
    assert expected.sum() == case["area"]
    np.testing.assert_array_equal(mask_of(case["polygons"], height, width), expected)


def test_edges_of_yolos_are_multiples_of_16():
    assert YolosImageProcessor(size={"shortest_edge": 8})(images()[:1]).pixel_values[0].shape == (3, 16, 16)


def test_old_files_of_detectors(tmp_path):
    content = {
        "feature_extractor_type": "DetrFeatureExtractor",
        "size": 400,
        "max_size": 600,
        "format": "coco_detection",
    }
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**content, "pad_and_return_pixel_mask": False}))
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert type(processor) is DetrImageProcessor and processor.size == {"shortest_edge": 400, "longest_edge": 600}
    assert processor.do_pad is False and "pixel_mask" not in processor(images()[:1])
    assert DetrImageProcessor(size=500).size == {"shortest_edge": 500, "longest_edge": 1333}


def test_padding_by_itself():
    processor = DetrImageProcessor(size=SMALL)
    alone = [processor(image, return_tensors="pt").pixel_values[0] for image in images()]
    batch, padded = processor(images(), return_tensors="pt"), processor.pad(alone, return_tensors="pt")
    assert torch.equal(padded.pixel_values, batch.pixel_values) and torch.equal(padded.pixel_mask, batch.pixel_mask)
    with pytest.raises(InputError, match="pad takes a list"):
        processor.pad(3)


# Maps


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("resize", [False, True])
@pytest.mark.parametrize("form", ["arrays", "PIL", "palette", "int64"])
def test_segformer(form, resize, reduce):
    ours, theirs = pair("Segformer", size=50, do_reduce_labels=reduce, do_resize=resize)
    given = maps()
    given[0][:5] = 255
    if form in ("PIL", "palette"):
        given = [Image.fromarray(item).convert("P" if form == "palette" else "L") for item in given]
        for item, classes in zip(given, maps(), strict=True):
            item.putdata(classes.ravel().tolist())
    elif form == "int64":
        given = [item.astype(np.int64) for item in given]
    expected = theirs(images(), [item.copy() for item in given])
    assert_same(ours(images(), given), expected)
    assert_same(ours(images(), segmentation_maps=given), expected)
    assert SegformerImageProcessor(reduce_labels=True).do_reduce_labels is True


def test_maps_of_many_classes_are_resized():
    [labels] = SegformerImageProcessor(size=20)(images()[:1], [np.full((48, 64), 300)]).labels
    assert labels.shape == (20, 20) and (labels == 300).all()


@pytest.mark.parametrize(
    "options",
    [{}, {"ignore_index": 255}, {"ignore_index": 255, "do_reduce_labels": True}, {"size_divisor": 0}],
    ids=str,
)
@pytest.mark.parametrize("kind", ["pt", "np"])
def test_maskformer(options, kind):
    ours, theirs = pair("MaskFormer", size=SMALL, **options)
    assert_same(ours(images(), return_tensors=kind), theirs(images(), return_tensors=kind))
    sizes = SIZES if "ignore_index" in options else SIZES[:1]  # the oracle pads masks only with an index
    given = [maps(sizes), {i: (i * 3) % 4 for i in range(7)}]
    expected = theirs(images(sizes), *[maps(sizes)], return_tensors=kind)
    assert_same(ours(images(sizes), given[0], return_tensors=kind), expected)
    assert_same(ours(images(sizes), *given, return_tensors=kind), theirs(images(sizes), *given, return_tensors=kind))


# Results


def logits(queries=12, classes=5, size=(16, 20), seed=0, names=("logits", "pred_masks")):
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(3, queries, classes + 1, generator=generator)
    scores[2, :, -1] = 50  # nothing in the last image
    coarse = 6 * torch.randn(3, queries, 4, 5, generator=generator)
    masks = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    boxes = torch.rand(3, queries, 4, generator=generator)
    return SimpleNamespace(**{names[0]: scores, names[1]: masks}, pred_boxes=boxes)


TARGETS = [None, [(31, 17), (64, 80), (5, 7)], torch.tensor([[31, 17], [64, 80], [5, 7]])]


def assert_same_segments(ours, theirs):
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["segments_info"] == other["segments_info"]
        if isinstance(other["segmentation"], list):
            assert [list(map(int, runs)) for runs in other["segmentation"]] == mine["segmentation"]
        else:
            assert mine["segmentation"].dtype == other["segmentation"].dtype
            assert torch.equal(mine["segmentation"], other["segmentation"])


@pytest.mark.parametrize("targets", TARGETS[:2] + TARGETS[2:], ids=["none", "list", "tensor"])
@pytest.mark.parametrize("name", ["Detr", "Yolos"])
def test_objects_of_outputs(name, targets):
    ours, theirs = pair(name)
    for threshold in (0.0, 0.5, 0.9):
        mine = ours.post_process_object_detection(logits(), threshold, targets)
        for one, other in zip(mine, theirs.post_process_object_detection(logits(), threshold, targets), strict=True):
            assert set(one) == set(other)
            for key in other:
                torch.testing.assert_close(one[key], other[key])


def outputs_for(name, seed=0):
    if name == "Segformer":
        return SimpleNamespace(logits=logits(seed=seed).pred_masks)
    names = ("class_queries_logits", "masks_queries_logits") if name == "MaskFormer" else ("logits", "pred_masks")
    return logits(seed=seed, names=names)


@pytest.mark.parametrize("targets", TARGETS[:2], ids=["none", "list"])
@pytest.mark.parametrize("name", ["Detr", "MaskFormer", "Segformer"])
def test_classes_of_pixels(name, targets):
    ours, theirs = pair(name)
    mine = ours.post_process_semantic_segmentation(outputs_for(name), targets)
    for one, other in zip(mine, theirs.post_process_semantic_segmentation(outputs_for(name), targets), strict=True):
        assert torch.equal(one, other)
    mine = ours.post_process_semantic_segmentation(outputs_for(name), targets, return_segmentation_scores=True)
    for one, other in zip(
        mine, theirs.post_process_semantic_segmentation(outputs_for(name), targets, True), strict=True
    ):
        torch.testing.assert_close(one.segmentation_scores, other.segmentation_scores)


@pytest.mark.parametrize("targets", TARGETS[:2], ids=["none", "list"])
@pytest.mark.parametrize("name", ["Detr", "MaskFormer"])
@pytest.mark.parametrize("seed", range(4))
def test_instances_and_segments(name, seed, targets):
    ours, theirs = pair(name)
    for options in ({}, {"threshold": 0.2}, {"return_coco_annotation": True}, {"overlap_mask_area_threshold": 0.3}):
        given = {"target_sizes": targets, **options}
        mine = ours.post_process_instance_segmentation(outputs_for(name, seed), **given)
        assert_same_segments(mine, theirs.post_process_instance_segmentation(outputs_for(name, seed), **given))
        given.pop("return_coco_annotation", None)
        mine = ours.post_process_panoptic_segmentation(outputs_for(name, seed), **given)
        assert_same_segments(mine, theirs.post_process_panoptic_segmentation(outputs_for(name, seed), **given))


def test_masks_of_instances():
    ours, theirs = pair("MaskFormer")
    mine = ours.post_process_instance_segmentation(outputs_for("MaskFormer"), return_binary_maps=True)
    assert_same_segments(
        mine, theirs.post_process_instance_segmentation(outputs_for("MaskFormer"), return_binary_maps=True)
    )
    with pytest.raises(InputError, match="both True"):
        ours.post_process_instance_segmentation(
            outputs_for("MaskFormer"), return_binary_maps=True, return_coco_annotation=True
        )


def test_fused_classes_have_one_segment_and_ids_are_unique():
    scores = torch.full((1, 4, 4), -9.0)
    for query, label in enumerate([0, 1, 0, 2]):
        scores[0, query, label] = 9
    masks = torch.full((1, 4, 4, 4), -9.0)
    for query in range(4):
        masks[0, query, query] = 9
    outputs = SimpleNamespace(logits=scores, pred_masks=masks)
    [found] = DetrImageProcessor().post_process_panoptic_segmentation(outputs, label_ids_to_fuse={0})
    assert [segment["id"] for segment in found["segments_info"]] == [1, 2, 1, 3]
    assert [segment["was_fused"] for segment in found["segments_info"]] == [True, False, True, False]
    assert found["segmentation"][:, 0].tolist() == [1, 2, 1, 3]


# Faults

BOX = {"category_id": 1, "bbox": [1, 1, 5, 5], "area": 25}
WRONG_ANNOTATIONS = {
    "a number": (3, "annotations is int"),
    "too many": ([{"image_id": 0, "annotations": []}] * 2, "a list of 2"),
    "no image_id": ({"annotations": []}, "keys image_id, annotations"),
    "no list": ({"image_id": 0, "annotations": 5}, "list of dictionaries"),
    "no dictionaries": ({"image_id": 0, "annotations": [5]}, "list of dictionaries"),
    "no box": ({"image_id": 0, "annotations": [{"category_id": 1, "area": 3}]}, "it has no 'bbox'"),
    "a box of three": ({"image_id": 0, "annotations": [{**BOX, "bbox": [1, 2, 3]}]}, "cannot be read"),
    "a box of text": ({"image_id": 0, "annotations": [{**BOX, "bbox": "abcd"}]}, "cannot be read"),
    "a class by name": ({"image_id": 0, "annotations": [{**BOX, "category_id": "cat"}]}, "cannot be read"),
    "an image by name": ({"image_id": "a.jpg", "annotations": [BOX]}, "cannot be read"),
    "no polygon": ({"image_id": 0, "annotations": [{**BOX, "segmentation": [[1, 2]]}]}, "three points"),
    "a mask of text": ({"image_id": 0, "annotations": [{**BOX, "segmentation": "abc"}]}, "segmentation"),
    "lengths of another image": (
        {"image_id": 0, "annotations": [{**BOX, "segmentation": {"counts": [9], "size": [3, 3]}}]},
        r"\[3, 3\]",
    ),
    "too few lengths": (
        {"image_id": 0, "annotations": [{**BOX, "segmentation": {"counts": [9], "size": [48, 64]}}]},
        "add up to 9",
    ),
}


@pytest.mark.parametrize("fault", WRONG_ANNOTATIONS)
def test_wrong_annotations(fault):
    annotations, words = WRONG_ANNOTATIONS[fault]
    with pytest.raises(InputError, match=words):
        DetrImageProcessor()(images()[0], annotations=annotations, return_segmentation_masks=True)


def test_wrong_panoptic_annotations(tmp_path):
    processor = DetrImageProcessor(format="coco_panoptic")
    annotation = {"image_id": 0, "file_name": "0.png", "segments_info": []}
    for path, words in ((None, "masks_path is None"), (3, "masks_path is 3"), (tmp_path, "no file")):
        with pytest.raises(InputError, match=words):
            processor(images()[0], annotations=annotation, masks_path=path)
    Image.new("RGB", (5, 5)).save(tmp_path / "0.png")
    with pytest.raises(InputError, match=r"size \(5, 5\)"):
        processor(images()[0], annotations=annotation, masks_path=tmp_path)
    with pytest.raises(InputError, match="format is 'coco'"):
        DetrImageProcessor(format="coco")


@pytest.mark.parametrize(
    "value", [3, "map.png", np.zeros((4, 4, 3)), np.zeros((0, 4)), np.full((4, 4), 0.5), np.full((4, 4), "a")]
)
@pytest.mark.parametrize("kind", [SegformerImageProcessor, MaskFormerImageProcessor])
def test_wrong_maps(kind, value):
    with pytest.raises(InputError):
        kind(size=SMALL)(images()[0], segmentation_maps=value)
    with pytest.raises(InputError, match="4 images and 1 segmentation maps"):
        kind(size=SMALL)(images(), segmentation_maps=[np.zeros((4, 4), int)])


def test_wrong_classes_of_instances():
    processor = MaskFormerImageProcessor(size=SMALL)
    with pytest.raises(InputError, match="instance 1 of a segmentation map has no class"):
        processor(images()[0], maps()[0] * 0 + 1, {2: 3})
    with pytest.raises(InputError, match="expected a dictionary, or one per image"):
        processor(images()[0], maps()[0], 5)
    with pytest.raises(InputError, match="ignore_index is not set"):
        processor(images()[0], maps()[0], do_reduce_labels=True)


@pytest.mark.parametrize(
    "targets", [3, "ab", [(1, 2)], [(1, 2, 3)] * 3, [(0, 4)] * 3, [("a", "b")] * 3, [(1.5, 2)] * 3]
)
def test_wrong_target_sizes(targets):
    processor = DetrImageProcessor()
    for method in ("object_detection", "semantic_segmentation", "instance_segmentation", "panoptic_segmentation"):
        with pytest.raises(InputError, match="target_sizes"):
            getattr(processor, f"post_process_{method}")(logits(), target_sizes=targets)


@pytest.mark.parametrize("outputs", [None, 3, {}, SimpleNamespace(logits="x")], ids=str)
def test_wrong_outputs(outputs):
    for processor in (DetrImageProcessor(), MaskFormerImageProcessor(), SegformerImageProcessor()):
        with pytest.raises(InputError, match="have no tensor"):
            processor.post_process_semantic_segmentation(outputs)
