"""DETR, Table Transformer and YOLOS equal their counterparts in transformers, from boxes and masks to gradients and files."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path

import pytest
import reference as ref
import torch
import transformers
from safetensors.torch import save_file

import notebook_kit
from notebook_kit import DetrConfig, ResNetConfig, TimmBackbone, TimmBackboneConfig, ablate_heads, record_attention
from notebook_kit.errors import CheckpointError, ConfigurationError, InputError

STAGES = ["stage1", "stage2", "stage3", "stage4"]
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 12, 16, 24], "depths": [1, 2, 1, 1], "layer_type": "basic"}
DETR = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 8,
    "decoder_attention_heads": 8,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "num_queries": 5,
    "num_labels": 3,
    "dropout": 0.0,
}
YOLOS = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "image_size": [24, 40],
    "patch_size": 8,
    "num_detection_tokens": 5,
    "num_labels": 3,
}
DETR_NAMES = ("DetrModel", "DetrForObjectDetection", "DetrForSegmentation")
TABLE_NAMES = ("TableTransformerModel", "TableTransformerForObjectDetection")
YOLOS_NAMES = ("YolosModel", "YolosForObjectDetection")


def reference_model(name, resnet=None, **edits):
    kind = getattr(transformers, name)
    if name in YOLOS_NAMES:
        config = kind.config_class(**{**YOLOS, **edits})
    else:
        backbone = transformers.ResNetConfig(**{**RESNET, **(resnet or {})}, out_features=STAGES)
        config = kind.config_class(backbone_config=backbone, **{**DETR, **edits})
    model = kind._from_config(config, attn_implementation="eager").eval()
    ref.randomize(model)
    temper(model)
    return model


@torch.no_grad()
def temper(model):
    """Keep a random backbone's activations near 1, where float32 is exact enough to compare gradients; draw its norms."""
    generator = torch.Generator().manual_seed(3)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.weight.mul_(5 / module.weight[0].numel() ** 0.5)
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point():
            noise = torch.rand(buffer.shape, generator=generator) * 0.4
            buffer.copy_(0.8 + noise if name.endswith(("weight", "running_var")) else noise - 0.2)


def pair(name, tmp_path, **edits):
    reference = reference_model(name, **edits)
    ours, report = getattr(notebook_kit, name).from_pretrained(
        ref.saved(reference, tmp_path / "theirs"), output_loading_info=True
    )
    assert not any(report.values()), report
    return ours, reference


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """`pair` without edits, made once per name, and the folder of the reference; for tests that change neither."""

    @cache
    def make(name):
        folder = tmp_path_factory.mktemp(name)
        return *pair(name, folder), folder / "theirs"

    return make


def images(name, height=51, width=70):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randn(2, 3, height, width, generator=generator)
    if name in YOLOS_NAMES:
        return {"pixel_values": pixels}
    mask = torch.ones(2, height, width, dtype=torch.long)
    mask[1, height * 2 // 3 :] = 0
    mask[1, :, width * 3 // 5 :] = 0
    return {"pixel_values": pixels, "pixel_mask": mask}


def labels(name):
    """Two objects in the first image, none in the second."""
    generator = torch.Generator().manual_seed(2)
    found = [
        {"class_labels": torch.tensor([1, 2]), "boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.3, 0.2, 0.1, 0.1]])},
        {"class_labels": torch.zeros(0, dtype=torch.long), "boxes": torch.zeros(0, 4)},
    ]
    if name == "DetrForSegmentation":
        for image, (height, width) in zip(found, [(51, 70), (34, 42)], strict=True):
            masks = torch.rand(len(image["boxes"]), height, width, generator=generator) > 0.5
            image["masks"] = masks.long()
    return found


def assert_same_losses(ours, reference):
    assert list(ours.loss_dict) == list(reference.loss_dict)
    for name, value in reference.loss_dict.items():
        torch.testing.assert_close(ours.loss_dict[name], value, rtol=1e-5, atol=1e-5, msg=name)
    torch.testing.assert_close(ours.loss, reference.loss, rtol=1e-5, atol=1e-5)
    assert ("auxiliary_outputs" in ours) == ("auxiliary_outputs" in reference)
    for mine, theirs in zip(ours.auxiliary_outputs or [], reference.auxiliary_outputs or [], strict=True):
        for name in ("logits", "pred_boxes"):
            torch.testing.assert_close(mine[name], theirs[name], rtol=1e-5, atol=1e-5)


def total(out):
    """A scalar that depends on all outputs."""
    if "loss" in out:
        return out["loss"]
    states = out["last_hidden_state"]
    return (states * torch.linspace(-1, 1, states.numel()).view_as(states)).mean()


def deep(name, edits):
    """A case of which others cover most; for the slow tests."""
    return pytest.param(name, edits, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        *((name, {}) for name in (*DETR_NAMES[1:], TABLE_NAMES[1], YOLOS_NAMES[1])),
        ("DetrModel", {"position_embedding_type": "learned", "activation_function": "gelu"}),
        ("DetrForObjectDetection", {"auxiliary_loss": True, "decoder_layers": 3}),
        deep("DetrModel", {}),
        deep("TableTransformerModel", {}),
        deep("YolosModel", {}),
        deep("DetrForSegmentation", {"auxiliary_loss": True}),
        deep("TableTransformerForObjectDetection", {"auxiliary_loss": True}),
        deep("DetrForObjectDetection", {"resnet": {"layer_type": "bottleneck"}, "num_queries": 1}),
        ("YolosForObjectDetection", {"use_mid_position_embeddings": False, "qkv_bias": False, "image_size": [30, 44]}),
        deep("YolosForObjectDetection", {"num_hidden_layers": 1}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_equals_reference(name, edits, tmp_path, shared):
    ours, reference, theirs_saved = (*pair(name, tmp_path, **edits), tmp_path / "theirs") if edits else shared(name)
    given = images(name)
    with torch.no_grad():
        everything = {**given, "output_hidden_states": True, "output_attentions": True}
        mine, theirs = ours(**everything), reference(**everything)
        if name.startswith("TableTransformer") and edits.get("auxiliary_loss"):
            # The oracle's list has the states after the norm between layers, DETR's those before it, as here.
            mine.decoder_hidden_states = theirs.decoder_hidden_states
        ref.assert_same_output(mine, theirs)
        for pixels in (given["pixel_values"], torch.randn(1, 3, 65, 33)):
            ref.assert_same_output(ours(pixels), reference(pixels))  # the fused path

    if "For" in name:
        mine, theirs = ours(**given, labels=labels(name)), reference(**given, labels=labels(name))
        assert_same_losses(mine, theirs)
        assert list(mine) == list(theirs)
        given["labels"] = labels(name)
    assert_same_gradients(ours, reference, lambda model: total(model(**given)))

    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", theirs_saved)
    back, report = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", output_loading_info=True, attn_implementation="eager"
    )
    assert not any(report.values()), report
    with torch.no_grad():
        ref.assert_same_output(ours(given["pixel_values"]), back.eval()(given["pixel_values"]))


def assert_same_gradients(ours, reference, loss):
    """Of all parameters, also those of the backbone that are usually not trained. Here, as in the paper, these are the stem and
    the first stage. The oracle of this version freezes `ResNetBackbone` entirely, and nothing of a backbone from timm."""
    ours, reference = copy.deepcopy(ours), copy.deepcopy(reference)
    for model in (ours, reference):
        model.requires_grad_(True)
    ref.assert_same_gradients(ours, reference, loss)


def test_table_transformer_with_learned_positions(tmp_path):
    ours, reference = pair("TableTransformerModel", tmp_path, position_embedding_type="learned")
    given = images("TableTransformerModel")
    with torch.no_grad():
        ref.assert_same_output(ours(**given), reference(**given))
    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    with pytest.raises(InputError, match="51 x 1 places, and this model has positions for 50 x 50"):
        ours(torch.zeros(1, 3, 1632, 32))


def test_detr_takes_patches_queries_and_masks_of_queries(shared):
    ours, reference, _ = shared("DetrForObjectDetection")
    generator = torch.Generator().manual_seed(4)
    patches, queries = torch.randn(2, 9, 32, generator=generator), torch.randn(2, 5, 32, generator=generator)
    off = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    given = images("DetrForObjectDetection")
    with torch.no_grad():
        patched = {"pixel_values": None, "inputs_embeds": patches}
        ref.assert_same_output(ours(**patched), reference(**patched))
        more = {"decoder_inputs_embeds": queries, "decoder_attention_mask": off}
        ref.assert_same_output(ours(**given, **more), reference(**given, **more))
        encoded = ours.model(**given)
        assert ours.model.get_encoder() is ours.model.encoder
        again = ours(**given, encoder_outputs=(encoded.encoder_last_hidden_state,))
        assert torch.equal(again.logits, ours(**given).logits)
    with pytest.raises(InputError, match="7 patches; expected those of a square"):
        ours(inputs_embeds=patches[:, :7])
    with pytest.raises(InputError, match="either pixel_values or inputs_embeds, and got neither"):
        ours()
    with pytest.raises(InputError, match=r"pixel_mask has shape \(2, 3, 3\)"):
        ours(given["pixel_values"], torch.ones(2, 3, 3))
    with pytest.raises(InputError, match="has 1 channels"):
        ours(given["pixel_values"][:, :1])


# Weights of other origin -----------------------------------------------------------------------------------------------


def timm_table(network):
    """timm's name -> shape."""
    table = json.loads((Path(__file__).parent / "timm_resnets.json").read_text("utf-8"))[network]
    return {name: tuple(map(int, shape.split("x"))) for name, shape in table.items()}


@pytest.mark.parametrize("network", ["resnet18", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_timm_names(network, tmp_path):
    """The tables of names and shapes were made with timm itself, 1.0."""
    TimmBackbone(TimmBackboneConfig(backbone=network)).save_pretrained(tmp_path)
    names = {name.removeprefix("_backbone."): tuple(value.shape) for name, value in ref.weights_in(tmp_path).items()}
    names = {name: shape for name, shape in names.items() if not name.endswith("num_batches_tracked")}
    assert names == timm_table(network)


def in_timm_names(weights, network):
    """Weights of a ResNet of transformers under timm's names: both list layers in the same order, but for shortcuts."""
    by_layer: dict[str, list] = {}
    for name, value in weights.items():
        layer, _, leaf = name.rpartition(".")
        by_layer.setdefault(layer, []).append((leaf, value))
    theirs = list(dict.fromkeys(name.rpartition(".")[0] for name in timm_table(network)))
    shortcuts = [layer for layer in by_layer if ".shortcut." in layer]
    mine = {
        True: sorted(shortcuts),
        False: sorted(
            (layer for layer in by_layer if layer not in shortcuts), key=lambda layer: ("encoder" in layer, layer)
        ),
    }
    pairs = []
    for is_shortcut in (True, False):
        names = [name for name in theirs if ("downsample" in name) is is_shortcut]
        norms = [name for name in names if "bn" in name or name.endswith("downsample.1")]
        convolutions = [name for name in names if name not in norms]
        pairs += zip([x for x in mine[is_shortcut] if x.endswith("convolution")], convolutions, strict=True)
        pairs += zip([x for x in mine[is_shortcut] if x.endswith("normalization")], norms, strict=True)
    return {f"{theirs}.{leaf}": value for mine, theirs in pairs for leaf, value in by_layer[mine]}


@pytest.mark.parametrize(
    "name",
    [
        "DetrForObjectDetection",
        pytest.param("DetrForSegmentation", marks=pytest.mark.slow),
        pytest.param("TableTransformerForObjectDetection", marks=pytest.mark.slow),
    ],
)
def test_backbone_under_timm_names(name, tmp_path):
    """The form of most of the Hub's files: timm's names, and a config.json that has no backbone_config."""
    size = {"embedding_size": 64, "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}
    reference = reference_model(name, resnet=size)
    reference.save_pretrained(tmp_path)
    weights = ref.weights_in(tmp_path)
    prefix = ("detr." if name == "DetrForSegmentation" else "") + "model.backbone.conv_encoder.model."
    backbone = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    weights = {key: value for key, value in weights.items() if not key.startswith(prefix)}
    weights |= {prefix + key: value for key, value in in_timm_names(backbone, "resnet18").items()}
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    del config["backbone_config"]
    config |= {"use_timm_backbone": True, "backbone": "resnet18", "use_pretrained_backbone": True}
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    save_file(weights, tmp_path / "model.safetensors")

    ours, report = getattr(notebook_kit, name).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    with torch.no_grad():
        ref.assert_same_output(ours(**images(name)), reference(**images(name)))
    ours.save_pretrained(tmp_path / "ours")
    saved = ref.weights_in(tmp_path / "ours")
    assert saved.keys() == weights.keys()
    assert all(torch.equal(saved[key], value) for key, value in weights.items())
    again = getattr(notebook_kit, name).from_pretrained(tmp_path / "ours")
    assert again.config.backbone_config.backbone == "resnet18"


@pytest.mark.parametrize(
    ("name", "edits"),
    [
        ("DetrForObjectDetection", {"backbone": "resnet18"}),
        ("DetrForObjectDetection", {"backbone": "resnet50", "dilation": True}),
        ("DetrForSegmentation", {"backbone": "resnet50"}),
        ("TableTransformerForObjectDetection", {"backbone": "resnet18", "dilation": True}),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(map(str, value.values())),
)
def test_with_timm_itself(name, edits, tmp_path):
    pytest.importorskip("timm")
    kind = getattr(transformers, name)
    reference = kind._from_config(kind.config_class(**DETR, **edits), attn_implementation="eager").eval()
    temper(reference)
    reference.save_pretrained(tmp_path / "theirs")
    ours, report = getattr(notebook_kit, name).from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(report.values()), report
    given = images(name)
    with torch.no_grad():
        ref.assert_same_output(ours(**given), reference(**given))
    ours.save_pretrained(tmp_path / "ours")
    ref.assert_same_files(tmp_path / "ours", tmp_path / "theirs")
    back, report = kind.from_pretrained(tmp_path / "ours", output_loading_info=True, attn_implementation="eager")
    assert not any(report.values()), report
    with torch.no_grad():
        ref.assert_same_output(ours(**given), back.eval()(**given))


@pytest.mark.parametrize("name", ["DetrForSegmentation", "YolosForObjectDetection"])
def test_names_that_transformers_has_in_memory(name, tmp_path):
    reference = reference_model(name)
    weights = {key: value.clone() for key, value in reference.state_dict().items()}
    ours, report = getattr(notebook_kit, name).from_pretrained(
        None, config=config_of(reference, tmp_path), state_dict=weights, output_loading_info=True
    )
    assert not any(report.values()), report
    with torch.no_grad():
        ref.assert_same_output(ours(**images(name)), reference(**images(name)))


def config_of(reference, folder):
    reference.config.save_pretrained(folder)
    return notebook_kit.AutoConfig.from_pretrained(folder)


def test_a_detector_becomes_a_segmenter(tmp_path):
    reference = reference_model("DetrForObjectDetection")
    with pytest.warns(notebook_kit.errors.NotebookKitWarning, match="no weights for the head of DetrForSegmentation"):
        ours = notebook_kit.DetrForSegmentation.from_pretrained(ref.saved(reference, tmp_path))
    with torch.no_grad():
        given = images("DetrForSegmentation")
        torch.testing.assert_close(ours(**given).pred_boxes, reference(**given).pred_boxes, rtol=1e-5, atol=1e-5)


def test_a_backbone_that_does_not_fit_is_an_error(tmp_path):
    reference = reference_model("DetrForObjectDetection")
    ref.saved(reference, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    config["backbone_config"]["depths"] = [1, 2, 2, 1]
    (tmp_path / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(CheckpointError, match=r"lacks 10 weights .*backbone.conv_encoder.model.encoder.stages.2"):
        notebook_kit.DetrForObjectDetection.from_pretrained(tmp_path)


# Looking inside --------------------------------------------------------------------------------------------------------


def test_attention_is_recorded_with_its_axes(shared):
    ours, reference, _ = shared("DetrForObjectDetection")
    given = images("DetrForObjectDetection")
    with torch.no_grad(), record_attention(ours) as record:
        ours(**given)
    axes = {(site.kind, site.rows, site.columns) for site in record.sites}
    assert axes == {
        ("self", "patches", "patches"),
        ("decoder", "queries", "queries"),
        ("cross", "queries", "patches"),
    }
    with torch.no_grad():
        theirs = reference(**given, output_attentions=True)
    cross = [site for site in record.sites if site.kind == "cross"]
    for mine, expected in zip(record.of(cross), theirs.cross_attentions, strict=True):
        torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["DetrForObjectDetection", "YolosForObjectDetection"])
def test_heads_can_be_switched_off(name, shared):
    ours, *_ = shared(name)
    given = images(name)
    with torch.no_grad():
        before = ours(**given).logits
        with ablate_heads(ours, {(0, 1)}):
            assert not torch.allclose(ours(**given).logits, before)
        assert torch.equal(ours(**given).logits, before)


@pytest.mark.parametrize(
    "name",
    ["DetrForObjectDetection", pytest.param("TableTransformerForObjectDetection", marks=pytest.mark.slow)],
)
def test_gradient_checkpointing_gives_the_same_gradients(name, tmp_path):
    ours, _ = pair(name, tmp_path, auxiliary_loss=True)
    again = copy.deepcopy(ours)
    again.gradient_checkpointing_enable()
    for model in (ours, again):
        model.train()
        model(**images(name), labels=labels(name)).loss.backward()
    for one, other in zip(ours.parameters(), again.parameters(), strict=True):
        assert one.grad is None or torch.allclose(one.grad, other.grad, atol=1e-6)


def test_what_of_the_backbone_is_trained():
    model = notebook_kit.DetrModel(DetrConfig(backbone="resnet18", **DETR))
    network = model.backbone.conv_encoder["model"]._backbone
    assert not any(p.requires_grad for p in network.embedder.parameters())
    assert not any(p.requires_grad for p in network.encoder.stages[0].parameters())
    assert all(p.requires_grad for p in network.encoder.stages[1].parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
    model.freeze_backbone()
    assert not any(p.requires_grad for p in model.backbone.parameters())
    model.unfreeze_backbone()
    assert all(p.requires_grad for p in model.backbone.parameters())


# Configurations --------------------------------------------------------------------------------------------------------


def test_configuration_of_the_hub():
    """`config.json` of `facebook/detr-resnet-50-dc5`, as far as it describes the backbone."""
    values = {
        "model_type": "detr",
        "backbone": "resnet50",
        "backbone_config": None,
        "use_timm_backbone": True,
        "use_pretrained_backbone": True,
        "dilation": True,
        "scale_embedding": False,
    }
    config = notebook_kit.AutoConfig.from_dict(values)
    theirs = transformers.DetrConfig(**{name: value for name, value in values.items() if name != "model_type"})
    for name in ("model_type", "backbone", "out_indices", "output_stride", "num_channels"):
        assert getattr(config.backbone_config, name) == getattr(theirs.backbone_config, name), name
    assert config.scale_embedding is False
    again = DetrConfig.from_dict(config.to_dict())
    assert again == config
    assert DetrConfig(use_timm_backbone=False).backbone_config.out_features == ["stage4"]


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (DetrConfig, {"backbone": "resnet5"}, "Unknown network 'resnet5' of timm. Did you mean 'resnet50'"),
        (DetrConfig, {"position_embedding_type": "rotary"}, "'rotary'; expected 'sine' or 'learned'"),
        (DetrConfig, {"d_model": 30, "encoder_attention_heads": 1, "decoder_attention_heads": 1}, "width of 30"),
        (DetrConfig, {"use_timm_backbone": False, "backbone": "microsoft/resnet-50"}, "only by the name"),
        (TimmBackboneConfig, {"backbone": "resnet18", "out_indices": [7]}, "stages of a ResNet are 1 to 4"),
        (TimmBackboneConfig, {"backbone": "resnet18", "output_stride": 8}, "expected 16, 32 or None"),
        (notebook_kit.YolosConfig, {"image_size": [30, 40], "patch_size": 16}, "must divide image_size"),
    ],
)
def test_configurations_that_do_not_fit(kind, fields, message):
    with pytest.raises(ConfigurationError, match=message):
        kind(**fields)


def test_a_segmenter_needs_all_feature_maps_and_a_width_for_groups():
    one = ResNetConfig(**RESNET, out_features=["stage4"])
    with pytest.raises(ConfigurationError, match="four feature maps of the backbone, and this one returns 1"):
        notebook_kit.DetrForSegmentation(DetrConfig(backbone_config=one, **DETR))
    four = ResNetConfig(**RESNET, out_features=STAGES)
    with pytest.raises(ConfigurationError, match="8 groups"):
        notebook_kit.DetrForSegmentation(DetrConfig(backbone_config=four, **{**DETR, "encoder_attention_heads": 4}))


@pytest.mark.parametrize("name", [*DETR_NAMES, "YolosForObjectDetection"])
def test_fresh_weights_are_drawn_as_the_reference_draws_them(name):
    reference = reference_model(name)
    theirs = type(reference)(reference.config)
    config = (
        notebook_kit.YolosConfig(**YOLOS)
        if name.startswith("Yolos")
        else DetrConfig(backbone_config=ResNetConfig(**RESNET, out_features=STAGES), **DETR)
    )
    torch.manual_seed(0)
    mine = dict(getattr(notebook_kit, name)(config).named_parameters())
    expected = ref.in_files(theirs, dict(theirs.named_parameters()))
    assert mine.keys() == expected.keys()
    for key, value in expected.items():
        assert (mine[key] == 0).all() == (value == 0).all(), key
        assert (mine[key] == 1).all() == (value == 1).all(), key
        if value.numel() > 500 and value.any():
            assert mine[key].std().item() == pytest.approx(value.std().item(), rel=0.15), key
