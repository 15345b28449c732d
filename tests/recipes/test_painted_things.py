"""The recipe of the classifier of pictures: the painter, the teacher, and a quick build on stand-ins for the pictures."""

from __future__ import annotations

import json

import pytest
import torch
from picture_files import write_picture_cache

from notebook_kit import ViTModel
from notebook_kit.recipes import tiny_clip
from notebook_kit.recipes.efficientnet_lite import EfficientNetLite0
from notebook_kit.recipes.things_data import LABELS, backgrounds, other_things, things
from notebook_kit.recipes.tiny_things import build
from notebook_kit.recipes.tiny_things_pictures import SIDE, Album, Painter, on_grey

LIMIT = 3 * 2**20  # bytes


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    base = tmp_path_factory.mktemp("cache")
    write_picture_cache(base / "data")
    return base


@pytest.fixture(scope="module")
def found(cache):
    return things(cache / "data")


@pytest.fixture(scope="module")
def album(cache, found):
    behind = [each for each in backgrounds(cache / "data") if each.part == "train"]
    return Album.of([each for each in found if each.part == "train"], behind)


def test_the_same_seed_paints_the_same_pictures(album):
    one, two, other = (Painter(album, seed) for seed in (1, 1, 2))
    chosen = one.choose(6)
    assert torch.equal(chosen, two.choose(6))
    pictures = one.paint(chosen)
    assert pictures.shape == (6, 3, SIDE, SIDE)
    assert 0 <= pictures.min() < pictures.max() <= 1
    assert torch.equal(pictures, two.paint(chosen))
    assert not torch.equal(pictures, other.paint(chosen))


def test_classes_are_equally_frequent_and_half_of_the_pictures_are_photographs(album, found):
    train = [each for each in found if each.part == "train"]
    shares = album.weights / album.weights.sum()
    for label in ("bear", "flower", "cat"):
        mine = torch.tensor([each.label == label for each in train])
        photographs = torch.tensor([each.label == label and each.style == "photograph" for each in train])
        assert shares[mine].sum() == pytest.approx(1 / len(LABELS))
        assert shares[photographs].sum() == pytest.approx(0 if label == "cat" else 0.5 / len(LABELS))


def test_other_things_have_no_label_and_their_share(album, cache):
    others = other_things(cache / "data")
    more = album.with_others(others, 0.4)
    assert more.labels[-len(others) :].eq(-1).all()
    assert more.weights[-len(others) :].sum() == pytest.approx(0.4)
    assert more.weights.sum() == pytest.approx(1)
    assert album.with_others([], 0.4) is album


def test_a_thing_on_grey():
    image = torch.zeros(10, 20, 4, dtype=torch.uint8)
    image[..., 0], image[..., 3] = 200, 255
    picture = on_grey(image.numpy(), 26)
    assert picture.shape == (3, 26, 26)
    assert picture[:, 0, 0].tolist() == pytest.approx([0.7] * 3)
    assert picture[:, 13, 13].tolist() == pytest.approx([200 / 255, 0, 0])


def test_the_teacher_pads_as_tensorflow_does():
    """An even side is padded at its end only, by which the states of mirrored pictures are not mirrored."""
    torch.manual_seed(0)
    teacher = EfficientNetLite0().eval()
    assert sum(each.numel() for each in teacher.parameters()) == 4_652_008
    stem = teacher._conv_stem
    picture = torch.rand(1, 3, 6, 6)
    padded = torch.nn.functional.pad(picture, (0, 1, 0, 1))
    wanted = torch.nn.functional.conv2d(padded, stem.weight, stride=2)
    torch.testing.assert_close(stem(picture), wanted)
    assert teacher.vectors(torch.rand(2, 3, 32, 32)).shape == (2, 1280)
    assert teacher(torch.rand(1, 3, 32, 32)).shape == (1, 1000)


def test_a_quick_build(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("NOTEBOOK_KIT_CACHE", str(cache))
    monkeypatch.setattr(EfficientNetLite0, "pretrained", classmethod(lambda cls: cls().eval()))
    output = tmp_path / "output"
    build(output, quick=True, work=tmp_path / "work")
    assert "Made by `--quick`" in (output / "README.md").read_text(encoding="utf-8")
    assert list(json.loads((output / "config.json").read_text())["label2id"]) == LABELS
    assert sum(path.stat().st_size for path in output.iterdir()) <= LIMIT
    first = (output / "model.safetensors").read_bytes()
    build(output, quick=True, work=tmp_path / "work")  # the weights are reused: nothing is trained again
    assert (output / "model.safetensors").read_bytes() == first


def test_a_quick_build_of_the_clip(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("NOTEBOOK_KIT_CACHE", str(cache))
    monkeypatch.setattr(EfficientNetLite0, "pretrained", classmethod(lambda cls: cls().eval()))
    output = tmp_path / "output"
    report = tiny_clip.build(output, quick=True, work=tmp_path / "work")
    assert "Made by `--quick`" in (output / "README.md").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in output.iterdir()) <= LIMIT
    assert set(report["seeds"][0]["photograph"]) == {
        f"{language}, {kind}" for language in ("English", "Telugu") for kind in ("usual", "unseen")
    }


def test_the_tower_of_pictures_starts_as_the_classifier():
    """Before its own norm, CLIP's embeddings are those of the ViT; after the first layers, states still resemble them."""
    model = tiny_clip.untrained()
    eyes = ViTModel.from_pretrained("notebook-kit/tiny-things", dtype=torch.float32, add_pooling_layer=False)
    pictures = 2 * torch.rand(4, 3, SIDE, SIDE) - 1
    with torch.no_grad():
        ours, theirs = model.vision_model.embeddings(pictures, False), eyes.embeddings(pictures, None, False)
        torch.testing.assert_close(ours, theirs)
        alike = torch.cosine_similarity(
            model.vision_model(pictures).last_hidden_state, eyes(pictures).last_hidden_state, dim=-1
        )
    assert alike.mean() > 0.5


def test_names_in_sentences():
    assert tiny_clip.texts_of("apple", "English")[1] == "an apple"
    assert "ఇది ఆపిల్" in tiny_clip.texts_of("apple", "Telugu")
    ids = tiny_clip.tokenizer()(["ఇది ఆపిల్", "ζ"])["input_ids"]
    assert [tiny_clip.tokenizer().decode(each, skip_special_tokens=True) for each in ids] == ["ఇది ఆపిల్", "ζ"]
