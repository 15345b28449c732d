"""AttentionView of the image families: what a model saw, its grid, its queries, and what crosses to the page."""

from __future__ import annotations

import base64
import io
import json

import numpy as np
import pytest
import torch
from patch_model import picture
from picture_models import LABELS, build, find_three
from PIL import Image

from notebook_kit import (
    DetrImageProcessor,
    ImageClassificationPipeline,
    SegformerImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    pipeline,
    zoo,
)
from notebook_kit.errors import InputError
from notebook_kit.inspection.attention.axes import PatchGrid
from notebook_kit.inspection.attention.pictures import picture_sample
from notebook_kit.inspection.attention.reading import read_tensors
from notebook_kit.inspection.attention.running import parts_of, read
from notebook_kit.inspection.attention.scores import clearest_map
from notebook_kit.panels import AttentionView, set_language

GRIDS = {
    "vit": (("[CLS]",), 12, 12, 0),
    "deit": (("[CLS]", "[DIST]"), 6, 6, 0),
    "dinov2": (("[CLS]",), 4, 6, 0),
    "swin": ((), 16, 16, 0),
    "segformer": ((), 16, 16, 0),
    "yolos": (("[CLS]",), 8, 12, 6),
    "detr": ((), 10, 15, 0),
}
"""Family -> tokens before the patches, rows and columns of patches, tokens after them."""


def seen(sample):
    """The picture of a sample."""
    return next(axis for axis in sample.axes.values() if isinstance(axis, PatchGrid)).picture


@pytest.mark.parametrize("family", GRIDS)
def test_the_grid_lies_where_the_model_looks(family):
    model, processor = build(family)
    before, rows, columns, after = GRIDS[family]
    reading = read(model, picture(), processor=processor)
    grid = reading.columns
    assert (grid.before, grid.rows, grid.columns, len(grid.after)) == (before, rows, columns, after)
    # The shown picture, at the size of the pixels that were read, is what was read.
    pixels = reading.inputs["pixel_values"][0]
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (processor.image_mean, processor.image_std))
    read_by_model = (pixels * std + mean).permute(1, 2, 0).numpy()
    shown = np.asarray(grid.picture.resize(pixels.shape[:0:-1], Image.Resampling.BOX)) / 255
    assert np.abs(shown - read_by_model).mean() < 0.02
    assert np.quantile(np.abs(shown - read_by_model), 0.95) < 0.1


def test_crops_and_padding_are_part_of_what_was_seen():
    wide = Image.new("RGB", (400, 200), (255, 0, 0))
    wide.paste((0, 0, 255), (100, 0, 300, 200))
    model, _ = build("vit")
    crop = ViTImageProcessor(size={"shortest_edge": 96}, do_center_crop=True, crop_size=96)
    image = np.asarray(seen(picture_sample(model, wide, crop)))
    assert image.shape[0] == image.shape[1] and (image[..., 2] > 200).all(), "only the blue middle is left"
    model, _ = build("detr")
    padded = DetrImageProcessor(
        size={"shortest_edge": 100, "longest_edge": 200}, pad_size={"height": 200, "width": 200}
    )
    sample = picture_sample(model, wide, padded)
    image = np.asarray(seen(sample))
    assert image.shape[0] == image.shape[1] and not image[-20:].any() and image[20].any()
    with find_three(model):
        queries = read(model, sample, kind="cross").rows
    assert queries.objects[0] == pytest.approx((0.5, 0.125, 0.8, 0.375), abs=0.01), "boxes are fractions of the image"


def test_patches_that_leave_out_an_edge():
    model, _ = build("dinov2")
    processor = ViTImageProcessor(size={"height": 60, "width": 64})
    grid = read(model, picture(), processor=processor).columns
    assert (grid.rows, grid.columns) == (4, 4) and grid.boxes[-1][2:] == pytest.approx((56 / 64, 56 / 60))


def test_an_image_comes_in_any_form(tmp_path):
    model, processor = build("vit")
    image = picture()
    image.save(path := tmp_path / "picture.png")
    address = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    views = [
        AttentionView(model, form, image_processor=processor)
        for form in (image, path, str(path), path.read_bytes(), address, np.asarray(image))
    ]
    views.append(AttentionView(model, processor(image, return_tensors="pt"), image_processor=processor))
    views.append(AttentionView(ImageClassificationPipeline(model, image_processor=processor), str(path)))
    first = views[0].matrix().to_numpy()
    for view in views[1:]:
        assert np.allclose(view.matrix().to_numpy(), first, atol=1e-6)
        assert Image.open(io.BytesIO(view._about["tokens"]["picture"])).size[0] >= 96
    processor.save_pretrained(tmp_path / "model")
    model.save_pretrained(tmp_path / "model")
    loaded = ViTForImageClassification.from_pretrained(tmp_path / "model")
    assert np.allclose(AttentionView(loaded, image).matrix().to_numpy(), first, atol=1e-6)


def test_what_cannot_be_shown_is_refused():
    network, processor = build("resnet")
    with pytest.raises(InputError, match=r"no attention to look at: it is a convolutional network") as caught:
        AttentionView(network, picture(), image_processor=processor)
    assert "ViT" in caught.value.next_step
    model, processor = build("vit")
    with pytest.raises(InputError, match="reads pictures, and got none"):
        AttentionView(model)
    with pytest.raises(InputError, match="image processor is unknown"):
        AttentionView(model, picture())
    with pytest.raises(InputError, match="no_such_file"):
        AttentionView(model, "no_such_file.png", image_processor=processor)
    with pytest.raises(InputError, match="has no attention of kind 'cross'"):
        AttentionView(model, picture(), image_processor=processor, kind="cross")


def test_pictures_and_models_are_compared():
    model, processor = build("vit")
    view = AttentionView(model, picture(), image_processor=processor, compare=picture().rotate(180))
    assert view.shown == "difference" and view._about["other_picture"] != view._about["tokens"]["picture"]
    assert view.matrix().abs().to_numpy().max() > 0.01
    view.compare(None)
    assert view.shown == "this" and view._about["other_picture"] is None
    view.compare(build("vit")[0])
    assert view.shown == "difference" and view.matrix().abs().to_numpy().max() < 1e-6
    result = view.predict([(0, 0)])
    assert result["kind"] == "classes" and {row["name"] for row in result["rows"]} == set(LABELS.values())
    model, processor = build("deit")
    view.use(ImageClassificationPipeline(model, image_processor=processor))
    assert view._about["tokens"]["labels"][:2] == ["[CLS]", "[DIST]"] and not view._about["compares"]


def test_queries_of_a_detector_have_their_boxes():
    model, processor = build("detr")
    assert {name: len(sites) for name, sites in parts_of(model).items()} == {"self": 2, "decoder": 2, "cross": 2}
    with find_three(model):
        view = AttentionView(model, picture(), image_processor=processor)
        assert view.kind == "cross" and [part["name"] for part in view._about["parts"]] == ["self", "decoder", "cross"]
        view.kind = "self"
        assert view._about["tokens"]["grid"] == [10, 15] and view.predict([(0, 0)])["kind"] == "objects"
        view.selected = [149]
        view.kind = "cross"
        assert not view._problem and view.selected == []
        queries, grid = view._about["tokens"], view._about["to_tokens"]
        assert queries["labels"][:4] == ["sun 98%", "query 1", "sky 95%", "meadow 90%"] and queries["first"] == 0
        assert (
            queries["objects"][0] == pytest.approx([0.5, 0.25, 0.8, 0.75], abs=1e-4) and queries["objects"][1] is None
        )
        assert grid["grid"] == [10, 15] and "picture" not in queries, "the picture is sent once"
        assert view.predict([(0, 0)])["kind"] == "objects"
        assert [(row["name"], row["said"]) for row in view.prediction["rows"]] == [
            ("query 0", "sun"),
            ("query 2", "sky"),
            ("query 3", "meadow"),
        ]
        figure = view.figure()
        assert figure.axes[0].get_title() == "from sun 98%" and len(figure.axes[0].patches) == 2
        view.kind = "decoder"
        assert view._about["tokens"]["labels"][2] == "sky 95%" and not view._about["has_maps"]
        view.kind = "nothing"
        assert "no attention of kind 'nothing'" in view._problem["what"] and view._about["part"] == "decoder"


@pytest.mark.parametrize("scene", [1, 2, 3])
def test_the_embedded_detector_opens_on_a_head_that_looks_at_what_it_found(scene):
    detect = pipeline("object-detection", model="notebook-kit/tiny-detection")
    view = AttentionView(detect, zoo.sample(f"scene_{scene}.webp"))
    queries, grid = view._about["tokens"], view._about["to_tokens"]
    assert view.kind == "cross" and queries["first"] is not None
    weights = view.matrix().iloc[queries["first"]].to_numpy()
    left, upper, right, lower = grid["boxes"][int(weights.argmax())]
    box = queries["objects"][queries["first"]]
    shared = (min(right, box[2]) - max(left, box[0])) * max(0, min(lower, box[3]) - max(upper, box[1]))
    assert weights.max() > 0.2 and shared > 0.25 * (right - left) * (lower - upper), (
        "the brightest patch is on the object"
    )


def test_detection_tokens_are_queries():
    model, processor = build("yolos")
    with find_three(model):
        view = AttentionView(model, picture(), image_processor=processor)
    tokens = view._about["tokens"]
    assert tokens["labels"][-6:][:3] == ["sun 98%", "query 1", "sky 95%"] and tokens["first"] == 97
    assert tokens["objects"][97] == pytest.approx([0.5, 0.25, 0.8, 0.75], abs=1e-4) and tokens["special"] == [0]


def test_stages_of_swin_are_parts_and_windows_end_attention():
    model, processor = build("swin")
    view = AttentionView(model, picture(), image_processor=processor, kind="patches 2x2", layer=3)
    assert view._about["tokens"]["grid"] == [8, 8] and view._about["has_windows"]
    inside = (view.matrix().to_numpy() > 1e-20).sum(1)
    assert inside.max() <= 16 and inside.min() == 4, "shifted windows of 4 x 4 are cut at the edges"
    assert view._about["layers"] == [2, 3]


def test_stages_of_segformer_and_the_areas_it_finds():
    model, processor = build("segformer")
    view = AttentionView(model, picture(), image_processor=processor, kind="patches 4x4")
    assert view._about["tokens"]["grid"] == [4, 4] and len(view._about["parts"]) == 4
    result = view.predict([(2, 0)])
    assert result["kind"] == "areas" and sum(row["before"] for row in result["rows"]) == pytest.approx(1)
    with pytest.raises(InputError, match="36,864 patches is too large to show") as caught:
        AttentionView(model, picture(), image_processor=SegformerImageProcessor(size=768), kind="patches")
    assert "patches 8x8" in caught.value.next_step


def test_maps_are_rows_of_the_attention():
    model, processor = build("vit")
    view = AttentionView(model, picture(), image_processor=processor)
    answer = next(one for one in view._first["answers"] if one["ask"] == "maps")
    assert answer["answer"]["size"] == [12, 12] and answer["answer"]["heads"] == [4, 4, 4]
    maps = np.frombuffer(answer["buffers"][0], np.uint8).reshape(3, 4, 144)
    view.layer, view.heads = 2, [1]
    row = view.matrix().loc["[CLS]"].to_numpy()[1:]
    assert np.abs(maps[2, 1] - row / row.max() * 255).max() <= 1
    view.selected = [5, 6]
    maps = np.frombuffer(view.answer_maps(view._question("maps", rows=[5, 6])).buffers[0], np.uint8).reshape(3, 4, 144)
    row = view.matrix().iloc[[5, 6]].mean().to_numpy()[1:]
    assert np.abs(maps[2, 1] - row / row.max() * 255).max() <= 1
    view.view = "maps"
    assert len(view.figure().axes) == 4 and "0,4, 0,5" in view.face().title


def test_the_first_head_shows_a_part_of_the_picture():
    grid = PatchGrid(8, 8, before=("[CLS]",))
    weights = torch.full((1, 4, 65, 65), 1 / 65)
    weights[0, 1] = torch.eye(65)[0]  # all on the class token
    weights[0, 2] = torch.eye(65)[30]  # all on one patch
    blob = torch.zeros(8, 8)
    blob[2:5, 3:6] = 1 / 9
    weights[0, 3, 0] = torch.cat([torch.zeros(1), blob.flatten()])
    assert clearest_map(read_tensors(weights, grid)) == (0, 3)


def test_a_large_picture_is_read_smaller():
    model, _ = build("yolos")
    reading = read(model, picture().resize((1333, 800)), processor=DetrImageProcessor())
    assert reading.notices[0][0] == "notice_smaller"
    height, width = (reading.notices[0][1][name] for name in ("height", "width"))
    assert reading.inputs["pixel_values"].shape == (1, 3, height, width)
    assert 1000 < reading.rows.rows * reading.rows.columns <= 1600


def test_one_is_written_as_one():
    view = AttentionView(torch.eye(3).expand(1, 1, 3, 3))
    try:
        for language in ("en", "te"):
            set_language(language)
            assert view.word("lines_said", count=1) != view.word("lines_said", count=2).replace("2", "1")
        set_language("en")
        assert view.word("lines_said", count=1) == "1 line drawn"
    finally:
        set_language("en")


@pytest.mark.slow
def test_the_first_view_of_vit_base_is_at_most_a_megabyte(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8))  # the worst for JPEG
    model = ViTForImageClassification(ViTConfig()).eval()
    view = AttentionView(model, noise, image_processor=ViTImageProcessor())
    state, _, buffers = _split(view.get_state())
    size = len(json.dumps(state)) + sum(map(len, buffers))
    face = view._repr_mimebundle_()[0]["text/html"]
    assert size + len(face) < 2**20, (size, len(face))
    assert view.to_html(tmp_path / "vit.html").stat().st_size < 2 * 2**20


def _split(state):
    from ipywidgets.widgets.widget import _remove_buffers

    return _remove_buffers(state)
