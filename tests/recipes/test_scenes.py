"""Scenes, the batches made of them, how answers are scored, and what the detector's training starts with."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
import torch
from picture_files import write_picture_cache

from notebook_kit import record_attention
from notebook_kit.models.detr import DetrForObjectDetection
from notebook_kit.models.detr_blocks import DetrSinePositions
from notebook_kit.recipes import __main__ as command
from notebook_kit.recipes import scene_card, scene_data, scene_pictures, scene_scores, scenes, tiny_detection
from notebook_kit.recipes.scene_data import LABELS, SceneDataset, collate, makers
from notebook_kit.recipes.scene_scores import ColorBaseline, Found, average_precision, matched, mean_boxes
from notebook_kit.recipes.scenes import VISIBLE, Cutout, SceneMaker
from notebook_kit.recipes.things_data import Background, Thing


@pytest.mark.parametrize("module", [scenes, scene_card, scene_pictures, scene_scores, tiny_detection])
def test_examples_run(module):
    failed, ran = doctest.testmod(module)
    assert failed == 0
    assert ran > 0


def disc(color: tuple[int, int, int], size: int = 60) -> np.ndarray:
    """A disc of one color on nothing."""
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    alpha = np.where(rows**2 + columns**2 <= (size / 2) ** 2, 255, 0)
    return np.dstack([*(np.full((size, size), value) for value in color), alpha]).astype(np.uint8)


@pytest.fixture(scope="module")
def make():
    things = [Cutout(0, disc((250, 20, 20))), Cutout(1, disc((20, 250, 20))), Cutout(1, disc((20, 220, 60)))]
    return SceneMaker(things, [np.full((100, 140, 3), 128, np.uint8)], size=64)


@pytest.fixture(scope="module")
def many(make):
    return [make(seed) for seed in range(80)]


# Scenes --------------------------------------------------------------------------------------------------------------


def test_a_scene_depends_on_its_seed_and_stream_alone(make):
    make(5)
    one, two, other = make(4), make(4), make(5)
    assert all(np.array_equal(getattr(one, name), getattr(two, name)) for name in ("image", "boxes", "masks", "labels"))
    assert not np.array_equal(one.image, other.image)
    make.stream = 7
    assert not np.array_equal(one.image, make(4).image)
    make.stream = 0


def test_boxes_masks_and_classes_agree(many):
    for scene in many:
        assert scene.masks.sum(0).max() <= 1  # what is in front hides what is behind
        assert 1 <= len(scene.labels) == len(scene.boxes) == len(scene.masks) <= 5
        expected = np.zeros_like(scene.semantic)
        for label, mask, box in zip(scene.labels, scene.masks, scene.boxes, strict=True):
            expected[mask] = label + 1
            left, top, right, bottom = box.astype(int)
            assert mask[top:bottom, left:right].sum() == mask.sum() > 0
            assert mask[top].any() and mask[bottom - 1].any() and mask[:, left].any() and mask[:, right - 1].any()
        assert np.array_equal(scene.semantic, expected)


def test_masks_are_where_the_things_were_painted(many):
    strong = {0: 0, 1: 1}  # class -> the channel that is bright in it
    for scene in many:
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            mean = scene.image[mask].mean(0)
            assert mean.argmax() == strong[int(label)]
            assert mean.max() > 1.5 * np.sort(mean)[1]


def test_enough_of_each_thing_is_visible(make, many):
    least = VISIBLE * np.pi / 4 * (0.28 * make.size - 2) ** 2
    assert min(mask.sum() for scene in many for mask in scene.masks) >= least


def test_what_varies(many):
    counts = {len(scene.labels) for scene in many}
    assert {2, 3, 4} <= counts
    overlapping = sum(
        bool(scene_scores.box_iou(scene.boxes, scene.boxes)[np.triu_indices(len(scene.boxes), 1)].any())
        for scene in many
    )
    assert overlapping > len(many) / 4
    sizes = np.concatenate([scene.boxes[:, 2] - scene.boxes[:, 0] for scene in many])
    assert sizes.std() > 4


def test_mixed_colors_change_pictures_but_not_places(make):
    plain = make(11)
    make.recolor = 1.0
    mixed = make(11)
    make.recolor = 0.0
    assert len(mixed.labels) >= 1
    assert not np.array_equal(plain.image, mixed.image)


def test_alpha_is_kept_when_a_thing_is_turned():
    half = np.zeros((40, 40, 4), np.uint8)
    half[:, 20:] = (0, 0, 255, 255)
    half[:, :20, 0] = 255  # a color under transparent pixels, which must not bleed in
    scene = SceneMaker([Cutout(0, half)], [np.zeros((64, 64, 3), np.uint8)], size=64, counts=(1, 1))(3)
    red, _, blue = scene.image[scene.masks[0]].astype(int).T
    assert (blue > red).all()


# Parts and batches ---------------------------------------------------------------------------------------------------


def fake_data():
    things = [
        Thing(label, style, f"{label}-{part}", part, disc(color))
        for label in ("apple", "tree", "cat", "scissors")
        for style, part, color in (
            ("photograph", "train", (200, 30, 30)),
            ("photograph", "validation", (30, 200, 30)),
            ("twitter", "test", (30, 30, 200)),
        )
    ]
    photographs = [
        Background("a", "CC0", "train", np.full((50, 50, 3), 60, np.uint8)),
        Background("b", "GPL-2", "test", np.full((50, 50, 3), 160, np.uint8)),
    ]
    return things, photographs


def test_parts_share_no_things_and_no_test_photographs():
    parts = makers(32, *fake_data())
    labels = {"apple", "tree", "animal"}  # nothing of other kinds is pasted
    for part, (count, brightness) in {"train": (1, 60), "validation": (2, 60), "test": (1, 160)}.items():
        assert {LABELS[number] for number in parts[part].by_class} == labels
        assert all(len(choices) == count for choices in parts[part].by_class.values())
        assert [np.asarray(image).max() for image in parts[part].backgrounds] == [brightness]
    assert len({maker.stream for maker in parts.values()}) == 3


def test_published_scenes_have_free_parts_only():
    make = scene_pictures.publishable(32, *fake_data())
    assert [np.asarray(image).max() for image in make.backgrounds] == [60]
    assert all(len(choices) == 1 for choices in make.by_class.values())


def test_items_keep_boxes_and_classes_together_when_mirrored(make):
    torch.manual_seed(0)
    dataset = SceneDataset(make, 12, vary=True)
    mirrored = 0
    for index in range(12):
        item = dataset[index]
        mirrored += not torch.equal(item["semantic"], torch.from_numpy(dataset.semantic[index]).long())
        corners = item["boxes"] * dataset.size
        for label, (x, y, width, height) in zip(item["class_labels"], corners.tolist(), strict=True):
            left, right = round(x - width / 2), round(x + width / 2)
            top, bottom = round(y - height / 2), round(y + height / 2)
            assert (item["semantic"][top:bottom, left:right] == label + 1).float().mean() > 0.3
    assert 0 < mirrored < 12
    batch = collate([dataset[0], dataset[1]])
    assert batch["pixel_values"].shape == (2, 3, 64, 64) and len(batch["labels"]) == 2
    assert SceneDataset(make, 1)[0]["pixels"].min() >= -2 and SceneDataset(make, 1)[0]["pixels"].max() <= 2


# Scores --------------------------------------------------------------------------------------------------------------


def found(*answers: tuple[float, int, tuple[float, float, float, float]]) -> Found:
    scores, labels, boxes = zip(*answers, strict=True)
    return Found(np.array(scores), np.array(labels), np.array(boxes, np.float32))


A, B, FAR = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0), (50.0, 50.0, 60.0, 60.0)


def test_average_precision_by_hand():
    truth = [(np.array([0, 0]), np.array([A, B]))]
    assert average_precision([found((0.9, 0, A), (0.8, 0, B))], truth, 0) == 1
    # right, wrong, right: precision 1 up to recall 1/2, then 2/3
    assert average_precision([found((0.9, 0, A), (0.8, 0, FAR), (0.7, 0, B))], truth, 0) == pytest.approx(0.5 + 1 / 3)
    # the second answer for a thing is wrong
    assert average_precision([found((0.9, 0, A), (0.8, 0, A))], truth, 0) == pytest.approx(0.5)
    # overlaps of less than a half, and other classes, do not count
    assert average_precision([found((0.9, 0, (0.0, 0.0, 10.0, 4.9)), (0.9, 1, B))], truth, 0) == 0
    assert np.isnan(average_precision([found((0.9, 1, A))], truth, 1))


def test_answers_of_several_pictures_are_ranked_together():
    truth = [(np.array([0]), np.array([A])), (np.array([0]), np.array([A]))]
    answers = [found((0.5, 0, A)), found((0.9, 0, FAR), (0.4, 0, A))]
    # ranked: wrong, right, right
    assert average_precision(answers, truth, 0) == pytest.approx(2 / 3)


def test_matched_pairs_are_disjoint():
    pairs = matched(found((0.5, 0, A), (0.9, 0, A), (0.8, 1, B)), (np.array([0, 0, 1]), np.array([A, FAR, B])))
    assert pairs == [(1, 0), (2, 2)]


def test_baselines_do_what_they_can(make):
    learned = SceneDataset(make, 40)
    colors = ColorBaseline(learned.images, learned.semantic)
    make.counts = (1, 1)
    tests = SceneDataset(make, 40, first=1000)
    make.counts = (2, 5)
    score, _ = scene_scores.mean_average_precision([colors.detect(image) for image in tests.images], tests.things, 2)
    assert score > 0.7  # one disc of a plain color before a plain background
    counts = scene_scores.confusion(np.stack([colors.segment(image) for image in tests.images]), tests.semantic, 3)
    assert scene_scores.mean_iou(counts)[0] > 0.7
    mean_box = mean_boxes(learned.things, 2)
    assert mean_box.labels.tolist() == [0, 1]
    assert np.allclose(mean_box.boxes, 32, atol=26)


# The detector's training ---------------------------------------------------------------------------------------------


def test_points_are_encoded_as_positions_of_patches():
    rows, columns, width = 3, 4, 32
    expected = DetrSinePositions(width)(torch.ones(1, rows, columns), torch.float32)[0]
    y, x = torch.meshgrid(torch.arange(1, rows + 1) / rows, torch.arange(1, columns + 1) / columns, indexing="ij")
    points = torch.stack([x.flatten(), y.flatten()], 1)
    torch.testing.assert_close(tiny_detection.encoded(points, width), expected, rtol=1e-4, atol=1e-4)


def test_queries_look_at_their_own_places_before_training():
    torch.manual_seed(0)
    model = DetrForObjectDetection(tiny_detection.detector_config())
    tiny_detection.DetectorTraining(model)
    side = tiny_detection.SIZE // tiny_detection.CELL
    with record_attention(model) as record, torch.no_grad():
        model.eval()(torch.zeros(1, 3, tiny_detection.SIZE, tiny_detection.SIZE))
    seen = record.steps(0, kind="cross")[0].mean(1)[0]  # (queries, patches)
    rows, columns = np.mgrid[:side, :side].reshape(2, -1) + 0.5
    x, y = (seen @ torch.from_numpy(np.stack([columns, rows], 1)).float() / side).T
    points = tiny_detection.grid(tiny_detection.ACROSS, tiny_detection.DOWN)
    assert np.corrcoef(x, points[:, 0])[0, 1] > 0.8
    assert np.corrcoef(y, points[:, 1])[0, 1] > 0.8


def test_a_step_of_training_reaches_every_part(make):
    torch.manual_seed(0)
    model = DetrForObjectDetection(tiny_detection.detector_config())
    training = tiny_detection.DetectorTraining(model)
    make96 = SceneMaker([Cutout(0, disc((250, 20, 20)))], [np.full((90, 90, 3), 99, np.uint8)], tiny_detection.SIZE)
    dataset = SceneDataset(make96, 2)
    loss = training(**collate([dataset[0], dataset[1]]))["loss"]
    loss.backward()
    assert torch.isfinite(loss)
    assert training.groups.weight.grad.abs().sum() > 0
    assert model.model.query_position_embeddings.weight.grad.abs().sum() > 0
    assert scene_data.MEAN == 0.5


# The recipes ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny-detection", "tiny-segmentation"])
def test_a_quick_build(tmp_path, monkeypatch, name):
    monkeypatch.setenv("NOTEBOOK_KIT_CACHE", str(write_picture_cache(tmp_path / "cache" / "data").parent))
    output = tmp_path / "output"
    arguments = ["build", name, "--quick", "--output", str(output), "--work", str(tmp_path / "work")]
    assert command.main(arguments) == 0
    assert "Made by `--quick`" in (output / "README.md").read_text(encoding="utf-8")
    first = (output / "model.safetensors").read_bytes()
    assert len(first) <= 3 * 2**20
    assert command.main(arguments) == 0  # the weights are reused: nothing is trained again
    assert (output / "model.safetensors").read_bytes() == first
