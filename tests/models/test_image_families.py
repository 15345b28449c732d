"""Every family that reads images equals its counterpart in transformers, from logits to gradients and back to disk."""

from __future__ import annotations

import inspect

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.models import auto
from notebook_kit.models.auto import config_class, model_classes
from notebook_kit.nn.attention import sites_of
from notebook_kit.nn.inputs import inputs_of, position_limit, vocabulary_size
from notebook_kit.nn.layers import DropPath
from notebook_kit.registry.families import FAMILIES

# Detectors, and models that read texts too, are compared in tests of their own.
IMAGES = [name for name in ref.model_types("AutoModelForImageClassification") if name in ref.reading("image")]
ALL = [(model_type, name) for model_type in IMAGES for name in FAMILIES[model_type].class_names.values()]
ALL.remove(("swin", "SwinBackbone"))  # the oracle's has a last norm that it never uses; see test_backbones


@pytest.mark.parametrize(("model_type", "name"), ALL)
def test_equals_reference(model_type, name, tmp_path):
    ref.assert_matches_reference(model_type, name, tmp_path)


@pytest.mark.parametrize(
    ("model_type", "name", "edits"),
    [
        (
            "vit",
            "ViTModel",
            {"qkv_bias": False, "hidden_act": "gelu_new", "pooler_output_size": 12, "pooler_act": "relu"},
        ),
        ("convnext", "ConvNextModel", {"layer_scale_init_value": 0.0, "hidden_act": "relu"}),
        ("deit", "DeiTForImageClassificationWithTeacher", {}),
        ("dinov2", "Dinov2Model", {"use_swiglu_ffn": True, "qkv_bias": False, "use_mask_token": False}),
        ("dinov2_with_registers", "Dinov2WithRegistersModel", {"use_swiglu_ffn": True, "num_register_tokens": 0}),
        ("dinov2", "Dinov2Backbone", {"apply_layernorm": False, "reshape_hidden_states": False, "out_indices": [0, 3]}),
        ("segformer", "SegformerModel", {"reshape_last_stage": False, "hidden_act": "relu"}),
        ("segformer", "SegformerForImageClassification", {"reshape_last_stage": False, "sr_ratios": [1, 2]}),
        ("segformer", "SegformerForSemanticSegmentation", {"num_labels": 1}),
        ("swin", "SwinModel", {"use_absolute_embeddings": True, "image_size": 48, "qkv_bias": False, "mlp_ratio": 1.5}),
        ("vit", "ViTForImageClassification", {"image_size": 32, "patch_size": 8, "num_channels": 3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_unusual_settings(model_type, name, edits, tmp_path):
    ref.assert_matches_reference(model_type, name, tmp_path, **edits)


@pytest.mark.parametrize(("model_type", "name"), ALL)
def test_takes_the_inputs_that_the_reference_takes(model_type, name):
    mine = [name for name in inspect.signature(ref.ours_of(name).forward).parameters if name != "options"]
    theirs = list(inspect.signature(getattr(transformers, name).forward).parameters)
    theirs = [given for given in theirs if given in mine]
    assert [given for given in mine if given in theirs] == theirs
    assert set(mine) - set(theirs) <= {"output_attentions", "output_hidden_states"}


@pytest.mark.parametrize(("model_type", "name"), ALL)
def test_fresh_weights_are_drawn_as_the_reference_draws_them(model_type, name):
    torch.manual_seed(0)
    fields = ref.tiny_fields(model_type, num_labels=2)
    kind, reference_class = ref.ours_of(name), getattr(transformers, name)
    mine = dict(ref.all_parameters(kind(kind.config_class(**fields))))
    reference = reference_class(reference_class.config_class(**fields))
    theirs = ref.in_files(reference, dict(ref.all_parameters(reference)))
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        assert mine[key].shape == value.shape
        assert (mine[key] == 0).sum() == (value == 0).sum(), key
        assert (mine[key] == 1).all() == (value == 1).all(), key
        if value.numel() > 500 and value.std() > 0:
            assert mine[key].std().item() == pytest.approx(value.std().item(), rel=0.15), key


@pytest.mark.parametrize("model_type", IMAGES)
def test_registry_is_whole(model_type):
    config = config_class(model_type)
    for auto_name, kind in model_classes(model_type).items():
        assert kind.config_class is config and getattr(notebook_kit, kind.__name__) is kind
        assert getattr(auto, auto_name).model_class(config()) is kind
        assert kind.main_input_name == "pixel_values"
    model = model_classes(model_type)["AutoModel"](config(**ref.tiny_fields(model_type)))
    assert inputs_of(model).main == "pixel_values" and inputs_of(model).labels == ()
    assert position_limit(model) is None and vocabulary_size(model) is None


@pytest.mark.parametrize("model_type", IMAGES)
def test_auto_classes_load_what_the_oracle_saved_and_back(model_type, tmp_path):
    reference = ref.reference_model(model_type, model_classes(model_type)["AutoModelForImageClassification"].__name__)
    model = notebook_kit.AutoModelForImageClassification.from_pretrained(ref.saved(reference, tmp_path / "theirs"))
    model.save_pretrained(tmp_path / "ours")
    again = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "ours").eval()
    given = ref.batch(reference.config)
    with torch.no_grad():
        torch.testing.assert_close(again(**given).logits, model(**given).logits, rtol=1e-5, atol=1e-5)
    mine, theirs = again.config.to_dict(), reference.config.to_dict()
    assert {name for name in theirs if mine[name] != theirs[name]} <= {"_name_or_path", "transformers_version"}


def test_the_architecture_chooses_among_variants(tmp_path):
    for name in ("DeiTForImageClassification", "DeiTForImageClassificationWithTeacher"):
        ref.saved(ref.reference_model("deit", name), tmp_path / name)
        assert type(notebook_kit.AutoModelForImageClassification.from_pretrained(tmp_path / name)).__name__ == name


def test_residual_branches_are_left_out_in_training_alone():
    branch = DropPath(0.25)
    x = torch.ones(4000, 2, 3)
    assert torch.equal(branch.eval()(x), x)
    torch.manual_seed(0)
    out = branch.train()(x)
    assert out.unique().tolist() == pytest.approx([0, 4 / 3])
    assert torch.equal(out, out[:, :1, :1].expand_as(out))  # whole examples
    assert out.mean().item() == pytest.approx(1, abs=0.05)


# Attention -----------------------------------------------------------------------------------------------------------

WITH_ATTENTION = [name for name in IMAGES if name not in ("convnext", "resnet")]


@pytest.mark.parametrize("model_type", WITH_ATTENTION)
def test_attention_is_recorded_and_ablated(model_type):
    torch.manual_seed(0)
    kind = model_classes(model_type)["AutoModelForImageClassification"]
    model = kind(kind.config_class(**ref.tiny_fields(model_type))).eval()
    ref.randomize(model)
    given = ref.batch(model.config)
    sites = sites_of(model)
    is_swin = model_type.endswith("swin")
    merged = {"patches 2x2", "patches 4x4"} if is_swin else {"patches 2x2"} if model_type == "segformer" else set()
    assert {site.rows for site in sites} == {site.columns for site in sites} == {"patches", *merged}
    with torch.no_grad(), notebook_kit.record_attention(model, layers=[1]) as record:
        plain = model(**given)
    full = model(**given, output_attentions=True)
    returned = [1, 3, 5] if is_swin else [0, 1, 2]  # in Swin, the last layer of each stage
    torch.testing.assert_close(record[1], full.attentions[returned.index(1)])
    assert len(full.attentions) == 3 and len(sites) == returned[-1] + 1
    torch.testing.assert_close(record[1].sum(-1), torch.ones_like(record[1].sum(-1)))
    with torch.no_grad(), notebook_kit.ablate_heads(model, {(0, 0)}):
        ablated = model(**given).logits
    assert not torch.allclose(ablated, plain.logits)
    first, heads = sites[0], sites[0].heads
    with torch.no_grad(), notebook_kit.ablate_heads(model, {(first.layer, head) for head in range(heads)}):
        with notebook_kit.record_attention(model, layers=[first.layer]) as record:
            model(**given)
        assert not record[first.layer].any()


def test_windows_unfold_to_the_grid():
    """Swin's weights on the grid: within windows those of `attend`, elsewhere 0, and shifted windows wrap around."""
    config = notebook_kit.SwinConfig(**ref.tiny_fields("swin"))
    model = notebook_kit.SwinModel(config).eval()
    ref.randomize(model)
    with torch.no_grad(), notebook_kit.record_attention(model) as record:
        model(ref.pixels((48, 60), count=2))  # 12 x 15 patches: 20 windows of 3 x 3
    plain, shifted = (site for site in sites_of(model) if site.rows == "patches")
    for site, moved in ((plain, 0), (shifted, 1)):
        weights = record.of([site])[0]
        full = site.unfold(weights)
        assert weights.shape == (40, 1, 9, 9) and full.shape == (2, 1, 180, 180)
        torch.testing.assert_close(full.sum(-1), torch.ones(2, 1, 180))
        corner = [(row + moved) % 12 * 15 + (column + moved) % 15 for row in range(3) for column in range(3)]
        torch.testing.assert_close(full[:, :, corner][..., corner], weights.view(2, 20, 1, 9, 9)[:, 0])
    deep = sites_of(model)[2]
    assert deep.rows == "patches 2x2" and deep.unfold(record.of([deep])[0]).shape == (
        2,
        2,
        48,
        48,
    )  # 6 x 8, padded to 6 x 9


def test_reduced_keys_unfold_to_the_grid():
    """SegFormer's weights on the grid: each key's weight is spread over the positions that it summarizes."""
    model = notebook_kit.SegformerModel(notebook_kit.SegformerConfig(**ref.tiny_fields("segformer"))).eval()
    ref.randomize(model)
    with torch.no_grad(), notebook_kit.record_attention(model) as record:
        model(ref.pixels((22, 33), count=2))  # 8 x 11 patches: 2 x 3 keys, and a border of 2 that no key reads
    first, _, last = sites_of(model)
    weights, full = record.of([first])[0], first.unfold(record.of([first])[0])
    assert weights.shape == (2, 1, 88, 6) and full.shape == (2, 1, 88, 88)
    torch.testing.assert_close(full.sum(-1), torch.ones(2, 1, 88))
    on_grid = full.view(2, 1, 88, 8, 11)
    torch.testing.assert_close(on_grid[..., 3:6, 6:9], (weights[..., 5] / 9)[..., None, None].expand(2, 1, 88, 3, 3))
    assert not on_grid[..., 6:, :].any() and not on_grid[..., 9:].any()
    assert last.unfold is None and record.of([last])[0].shape == (2, 3, 24, 24)  # 4 x 6 merged patches


@pytest.mark.parametrize("model_type", WITH_ATTENTION)
def test_gradient_checkpointing(model_type):
    kind = model_classes(model_type)["AutoModelForImageClassification"]
    torch.manual_seed(0)
    model = kind(kind.config_class(**ref.tiny_fields(model_type))).train()
    given = {**ref.batch(model.config), "labels": torch.tensor([0, 1, 2])}

    def gradients():
        model.zero_grad()
        torch.manual_seed(7)
        model(**given).loss.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    plain = gradients()
    model.gradient_checkpointing_enable()
    assert model.is_gradient_checkpointing
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


# Wrong inputs --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=IMAGES)
def classifier(request):
    kind = model_classes(request.param)["AutoModelForImageClassification"]
    return kind(kind.config_class(**ref.tiny_fields(request.param))).eval()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (None, "pixel_values is missing"),
        ([[1.0]], "pixel_values is a list; expected a tensor"),
        (torch.zeros(3, 30, 30), r"has shape \(3, 30, 30\); expected \(batch, channels, height, width\)"),
        (torch.zeros(1, 1, 30, 30), "has 1 channels .* this model reads 3"),
        (torch.zeros(1, 30, 30, 3), "has 30 channels .* this model reads 3"),
    ],
)
def test_wrong_pixels_are_named(classifier, pixels, message):
    with pytest.raises(InputError, match=message) as caught:
        classifier(pixels)
    assert caught.value.next_step


def test_labels_of_pixels():
    model = notebook_kit.SegformerForSemanticSegmentation(notebook_kit.SegformerConfig(**ref.tiny_fields("segformer")))
    given = ref.pixels(30, count=2)
    with pytest.raises(InputError, match=r"shape \(2, 900\); expected \(2, height, width\)"):
        model(given, labels=torch.zeros(2, 900))
    with pytest.raises(InputError, match=r"Labels \[3, 7\] are outside 0 to 2, and not 255"):
        model(given, labels=torch.tensor([[[0, 255], [7, 1]], [[3, 3], [2, 0]]]))
    with pytest.raises(InputError, match="2 x 10 patches, and this model summarizes squares of 3 x 3"):
        model(ref.pixels((6, 30)))


def test_images_of_another_size_need_interpolation():
    model = notebook_kit.ViTForImageClassification(notebook_kit.ViTConfig(**ref.tiny_fields("vit")))
    with pytest.raises(InputError, match=r"31 x 30 pixels, and this model has positions for 30 x 30") as caught:
        model(torch.zeros(1, 3, 31, 30))
    assert "interpolate_pos_encoding=True" in caught.value.next_step
    with pytest.raises(InputError, match="smaller than a patch"):
        model(torch.zeros(1, 3, 3, 30), interpolate_pos_encoding=True)


def test_masks_of_patches():
    config = notebook_kit.ViTConfig(**ref.tiny_fields("vit"))
    mask = torch.zeros(1, 49, dtype=torch.bool)
    with pytest.raises(InputError, match="has no mask token"):
        notebook_kit.ViTModel(config)(torch.zeros(1, 3, 30, 30), bool_masked_pos=mask)
    model = notebook_kit.ViTForMaskedImageModeling(config)
    with pytest.raises(InputError, match=r"bool_masked_pos has shape \(1, 48\); expected \(1, 49\)"):
        model(torch.zeros(1, 3, 30, 30), bool_masked_pos=mask[:, 1:])
    config = notebook_kit.ViTConfig(**ref.tiny_fields("vit", encoder_stride=2))
    with pytest.raises(InputError, match="in squares of 2, and a state stands for 4 x 4"):
        notebook_kit.ViTForMaskedImageModeling(config)(torch.zeros(1, 3, 30, 30), bool_masked_pos=mask)


def test_oblong_images_and_patches():
    """The oracle assumes squares wherever it interpolates or reconstructs; here the sides may differ."""
    fields = ref.tiny_fields("vit", image_size=[20, 33], patch_size=[5, 8])
    config = notebook_kit.ViTConfig(**fields)
    model = notebook_kit.ViTForImageClassification(config).eval()
    ref.randomize(model)
    reference = transformers.ViTForImageClassification(transformers.ViTConfig(**fields)).eval()
    given = ref.pixels((20, 33))
    with torch.no_grad():
        assert model.vit.embeddings.position_embeddings.shape == reference.vit.embeddings.position_embeddings.shape
        plain = model(given).logits
        torch.testing.assert_close(model(given, interpolate_pos_encoding=True).logits, plain)
        assert model(ref.pixels((40, 16)), interpolate_pos_encoding=True).logits.shape == (3, 3)


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ({"image_size": [4]}, r"image_size is \[4\]; expected a number of pixels, or \[height, width\]"),
        ({"patch_size": [4, 0]}, r"patch_size is \[4, 0\]"),
        ({"image_size": 8, "patch_size": 16}, "a patch of 16 pixels does not fit into an image of 8"),
    ],
)
def test_sizes_are_checked(edits, message):
    with pytest.raises(ConfigurationError, match=message):
        notebook_kit.ViTConfig(**edits)
