"""MaskFormer equals its counterpart in transformers, on Swin and on ResNet, from masks and losses to gradients and files."""

from __future__ import annotations

import json

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit import DetrConfig, MaskFormerConfig, ResNetConfig, SwinConfig, ablate_heads, record_attention
from notebook_kit.errors import ConfigurationError, InputError
from notebook_kit.nn.attention import sites_of
from notebook_kit.nn.segmentation import mask_classification_loss

STAGES = ["stage1", "stage2", "stage3"]
BACKBONES = {
    "swin": {"embed_dim": 8, "depths": [2, 1, 2], "num_heads": [1, 2, 4], "window_size": 3, "drop_path_rate": 0.0},
    "resnet": {"embedding_size": 8, "hidden_sizes": [8, 12, 16], "depths": [1, 1, 1], "layer_type": "basic"},
}
DECODER = {"d_model": 16, "decoder_layers": 2, "decoder_attention_heads": 4, "encoder_attention_heads": 4}
DECODER |= {"decoder_ffn_dim": 24, "encoder_layers": 0, "num_queries": 5, "dropout": 0.0}
SIZES = {"fpn_feature_size": 32, "mask_feature_size": 12, "num_labels": 3}
NAMES = ("MaskFormerModel", "MaskFormerForInstanceSegmentation")


def reference_model(name, backbone="swin", **edits):
    kind = getattr(transformers, f"{'Swin' if backbone == 'swin' else 'ResNet'}Config")
    config = transformers.MaskFormerConfig(
        backbone_config=kind(**BACKBONES[backbone], out_features=STAGES),
        decoder_config=transformers.DetrConfig(**DECODER),
        **SIZES,
        **edits,
    )
    if backbone == "swin":  # the oracle selects four stages, whichever there are
        config.backbone_config = transformers.MaskFormerSwinConfig(**BACKBONES["swin"], out_features=STAGES)
    model = getattr(transformers, name)._from_config(config, attn_implementation="eager").eval()
    ref.randomize(model)
    return model


def pair(name, tmp_path, backbone="swin", **edits):
    reference = reference_model(name, backbone, **edits)
    folder = ref.saved(reference, tmp_path / "theirs")
    ours, report = getattr(notebook_kit, name).from_pretrained(folder, output_loading_info=True)
    assert not any(report.values()), report
    return ours, reference


def labels():
    """Three objects in the first image, none in the second; the masks are not of the size of the images."""
    generator = torch.Generator().manual_seed(2)
    masks = torch.rand(3, 41, 60, generator=generator).round()
    return {
        "mask_labels": [masks, torch.zeros(0, 40, 57)],
        "class_labels": [torch.tensor([1, 2, 1]), torch.zeros(0, dtype=torch.long)],
    }


CASES = [
    *((name, backbone, {}) for name in NAMES for backbone in BACKBONES),
    (NAMES[1], "resnet", {"use_auxiliary_loss": True, "output_auxiliary_logits": True, "no_object_weight": 0.3}),
]


@pytest.mark.parametrize(
    ("name", "backbone", "edits"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_equals_reference(name, backbone, edits, tmp_path):
    ours, reference = pair(name, tmp_path, backbone, **edits)
    given = {"pixel_values": ref.pixels((43, 61), count=2)}
    with torch.no_grad():
        everything = {**given, "output_hidden_states": True, "output_attentions": True}
        theirs = reference(**everything)
        ref.assert_same_output(ours(**everything), theirs)
        assert len(theirs.get("auxiliary_logits", ())) == (2 if edits else 0)
        if not edits:  # without its states, the oracle cannot compute the earlier layers' logits
            ref.assert_same_output(ours(**given), reference(**given))
    if name.endswith("ForInstanceSegmentation"):
        given |= labels() | {"output_hidden_states": True}
        mine, theirs = ours(**given), reference(**given)
        torch.testing.assert_close(mine.loss, theirs.loss, rtol=1e-5, atol=1e-5)

    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    with torch.no_grad():
        torch.testing.assert_close(total(ours(**given)), total(back.eval()(**given)), rtol=1e-5, atol=1e-5)
    ref.assert_same_gradients(ours, reference, lambda model: total(model(**given)))


def total(out):
    """A scalar that depends on all outputs."""
    states = (out.transformer_decoder_last_hidden_state, out.pixel_decoder_last_hidden_state)
    parts = [(one * torch.linspace(-1, 1, one.numel()).view_as(one)).mean() for one in states]
    return out.get("loss", sum(parts))


def test_names_of_the_hub_and_those_that_transformers_has_in_memory(tmp_path):
    """The Hub's config.json describes a plain Swin; files of transformers 5 call it "maskformer-swin"."""
    reference = reference_model(NAMES[1])
    folder = ref.saved(reference, tmp_path)
    values = json.loads((folder / "config.json").read_text("utf-8"))
    assert values["backbone_config"]["model_type"] == "maskformer-swin"
    values["backbone_config"]["model_type"] = "swin"
    values["decoder_config"].pop("backbone_config")
    values["decoder_config"] |= {"backbone": "resnet50", "use_timm_backbone": True, "scale_embedding": False}
    config = notebook_kit.AutoConfig.from_dict(values)
    assert config.backbone_config.model_type == "swin"
    weights = {name: value.clone() for name, value in reference.state_dict().items()}
    assert any("mlp.fc1" in name for name in weights) and any("o_proj" in name for name in weights)
    weights = {name: value for name, value in weights.items() if not name.endswith(("position_index", "empty_weight"))}
    ours, report = notebook_kit.MaskFormerForInstanceSegmentation.from_pretrained(
        None, config=config, state_dict=weights, output_loading_info=True
    )
    assert not any(report.values()), report
    given = ref.pixels((43, 61), count=2)
    with torch.no_grad():
        ref.assert_same_output(ours(given), reference(given))
    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", folder)  # the index of positions and the weights of classes are computed
    again = notebook_kit.AutoModelForUniversalSegmentation.from_pretrained(tmp_path / "ours")
    assert again.config.backbone_config.model_type == "swin" and torch.equal(again(given)[0], ours(given)[0])


def test_segformer_under_the_names_that_transformers_has_in_memory():
    reference = ref.reference_model("segformer", "SegformerForSemanticSegmentation")
    config = notebook_kit.SegformerConfig(**ref.tiny_fields("segformer"))
    ours, report = notebook_kit.SegformerForSemanticSegmentation.from_pretrained(
        None, config=config, state_dict=reference.state_dict(), output_loading_info=True
    )
    assert not any(report.values()), report
    given = ref.pixels((31, 44), count=2)
    with torch.no_grad():
        ref.assert_same_output(ours(given), reference(given))
        ours.config.reshape_last_stage = False
        torch.testing.assert_close(ours(given[..., :31]).logits, reference(given[..., :31]).logits)
        with pytest.raises(InputError, match="in square images only, and these have 48 positions"):
            ours(given)


@pytest.fixture(scope="module")
def ours():
    torch.manual_seed(0)
    swin = SwinConfig(**BACKBONES["swin"], out_features=STAGES)
    model = notebook_kit.MaskFormerForInstanceSegmentation(
        MaskFormerConfig(backbone_config=swin, decoder_config=DetrConfig(**DECODER), use_auxiliary_loss=True, **SIZES)
    ).eval()
    ref.randomize(model)
    return model


def test_attention_is_recorded_and_ablated(ours):
    given = ref.pixels((43, 61), count=2)
    axes = {(site.kind, site.rows, site.columns) for site in sites_of(ours)}
    windows = {("self", patches, patches) for patches in ("patches", "patches 2x2", "patches 4x4")}
    assert axes == {*windows, ("decoder", "queries", "queries"), ("cross", "queries", "patches 4x4")}
    with torch.no_grad(), record_attention(ours, kinds=["decoder", "cross"]) as record:
        out = ours(given, output_attentions=True)
    torch.testing.assert_close(record.of(site for site in record.sites if site.kind == "decoder"), out.attentions)
    assert record.steps(1, kind="cross")[0].shape == (2, 4, 5, 12)  # 11 x 16 patches, merged twice to 3 x 4
    for kind in ("self", "cross"):
        with torch.no_grad(), ablate_heads(ours, {(0, 0)}, kind=kind):
            assert not torch.allclose(ours(given).masks_queries_logits, out.masks_queries_logits)


def test_gradient_checkpointing(ours):
    given = {"pixel_values": ref.pixels((43, 61), count=2), **labels()}

    def gradients():
        ours.zero_grad()
        ours(**given).loss.backward()
        return [parameter.grad for parameter in ours.parameters()]

    ours.train()
    plain = gradients()
    ours.gradient_checkpointing_enable()
    for one, other in zip(gradients(), plain, strict=True):
        torch.testing.assert_close(one, other)
    ours.gradient_checkpointing_disable()
    ours.eval()


def test_fresh_weights_are_drawn_as_the_reference_draws_them():
    reference = reference_model(NAMES[1])
    theirs = ref.in_files(reference, dict(type(reference)(reference.config).named_parameters()))
    mine = notebook_kit.MaskFormerForInstanceSegmentation
    config = MaskFormerConfig(
        backbone_config=SwinConfig(**BACKBONES["swin"]), decoder_config=DetrConfig(**DECODER), **SIZES
    )
    mine = dict(mine(config).named_parameters())
    assert mine.keys() == theirs.keys()
    for key, value in theirs.items():
        assert (mine[key] == 0).all() == (value == 0).all() and (mine[key] == 1).all() == (value == 1).all(), key
        if value.numel() > 500 and value.any():
            assert mine[key].std().item() == pytest.approx(value.std().item(), rel=0.15), key


def test_images_without_objects():
    logits, masks = torch.zeros(2, 5, 4, requires_grad=True), torch.zeros(2, 5, 6, 8, requires_grad=True)
    config = MaskFormerConfig(**SIZES)
    none = [torch.zeros(0, dtype=torch.long)] * 2
    loss, parts = mask_classification_loss(logits, masks, none, [torch.zeros(0, 9, 9)] * 2, config)
    loss.backward()
    assert parts["loss_mask"] == parts["loss_dice"] == 0 and logits.grad.any() and not masks.grad.any()


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        (
            {"class_labels": [torch.tensor([1, 2, 3]), torch.zeros(0)]},
            "class_labels go from 1 to 3, and this model has",
        ),
        ({"class_labels": [torch.tensor([1])]}, "class_labels is for 1 images, and the batch has 2"),
        ({"class_labels": 3}, "class_labels is an int; expected a tensor per image"),
        (
            {"mask_labels": [torch.zeros(2, 9, 9)] * 2},
            r"class_labels\[0\] has shape \(3,\), and mask_labels\[0\] \(2, 9, 9\)",
        ),
    ],
)
def test_labels_that_do_not_fit(ours, edits, message):
    with pytest.raises(InputError, match=message) as caught:
        ours(ref.pixels((43, 61), count=2), **{**labels(), **edits})
    assert caught.value.next_step


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fpn_feature_size": 48}, "a width of 48 cannot be normed in 32 groups"),
        ({"decoder_config": SwinConfig()}, "decoder_config is a SwinConfig; expected a DetrConfig"),
        ({"backbone_config": 3}, "backbone_config is an int; expected a configuration"),
        ({"backbone_config": ResNetConfig(**BACKBONES["resnet"])}, "from several maps .* this one returns 1"),
    ],
)
def test_configurations_that_do_not_fit(fields, message):
    with pytest.raises(ConfigurationError, match=message):
        notebook_kit.MaskFormerModel(MaskFormerConfig(**fields))
    with pytest.raises(ConfigurationError, match="out_features has 'stem'"):
        notebook_kit.MaskFormerSwinConfig(out_indices=[0, 1])
