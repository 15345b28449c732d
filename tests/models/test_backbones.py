"""Backbones: which stages they return, and how a configuration names these."""

from __future__ import annotations

import pytest
import reference as ref
import torch
import transformers

import notebook_kit
from notebook_kit import AutoBackbone, AutoConfig, ResNetConfig
from notebook_kit.errors import ConfigurationError
from notebook_kit.models.auto import config_class, model_classes
from notebook_kit.registry.families import FAMILIES

# Those of classifiers; the Swin of MaskFormer is compared as a part of it.
BACKBONES = [
    model_type
    for model_type, family in FAMILIES.items()
    if {"AutoBackbone", "AutoModelForImageClassification"} <= family.heads.keys()
]


@pytest.mark.filterwarnings("ignore:.*start fresh")  # the norms of feature maps, which a classifier does not have
@pytest.mark.parametrize("model_type", BACKBONES)
def test_stages_of_a_classifier(model_type, tmp_path):
    """A classifier's checkpoint serves as a backbone, with stages chosen by name or number, as in the oracle."""
    name = model_classes(model_type)["AutoModelForImageClassification"].__name__
    folder = ref.saved(ref.reference_model(model_type, name), tmp_path)
    given = {"pixel_values": ref.pixels(30)}
    for choice in ({"out_features": ["stem", "stage2"]}, {"out_indices": [1, 3]}, {"out_indices": (-1,)}, {}):
        mine = AutoBackbone.from_pretrained(folder, **choice)
        kind = getattr(transformers, type(mine).__name__)
        theirs = kind.from_pretrained(folder, attn_implementation="eager", **choice).eval()
        assert (mine.out_features, mine.out_indices) == (theirs.out_features, theirs.out_indices)
        assert (mine.stage_names, mine.channels) == (theirs.stage_names, theirs.channels)
        assert mine.out_feature_channels == theirs.out_feature_channels
        with torch.no_grad():
            ref.assert_same_output(mine(**given), theirs(**given))
            ref.assert_same_output(mine(**given, output_hidden_states=True), theirs(**given, output_hidden_states=True))


def test_swin_backbone_goes_there_and_back(tmp_path):
    reference = ref.reference_model("swin", "SwinBackbone", out_features=["stage1", "stage3"])
    mine = notebook_kit.SwinBackbone.from_pretrained(ref.saved(reference, tmp_path / "theirs"))
    mine.save_pretrained(tmp_path / "ours")
    again, report = transformers.SwinBackbone.from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    given = ref.batch(reference.config)
    with torch.no_grad():
        ref.assert_same_output(mine(**given), reference(**given))
        ref.assert_same_output(mine(**given), again.eval()(**given))


@pytest.mark.parametrize("model_type", BACKBONES)
def test_selection_in_a_configuration(model_type, tmp_path):
    fields = ref.tiny_fields(model_type, out_features=["stage1", "stage3"])
    mine = config_class(model_type)(**fields)
    theirs = getattr(transformers, FAMILIES[model_type].config)(**fields)
    assert mine.out_indices == theirs.out_indices == [1, 3]
    for config in (mine, theirs):
        config.out_indices = [0, 2]
    assert mine.out_features == theirs.out_features == ["stem", "stage2"]
    mine.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    assert again == mine and transformers.AutoConfig.from_pretrained(tmp_path).out_features == mine.out_features
    assert AutoConfig.from_pretrained(tmp_path, out_features=["stage3"]).out_indices == [3]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"out_features": ["stage9"]}, "there is no stage 'stage9'. Did you mean"),
        ({"out_indices": [5]}, "out_indices has 5, and there are 5 stages"),
        ({"out_features": ["stage2", "stage1"]}, "expected each stage at most once, from the first to the last"),
        ({"out_indices": [1, -4]}, "expected each stage at most once"),
        ({"out_features": ["stage2"], "out_indices": [1]}, "these are different stages"),
    ],
)
def test_selections_that_do_not_exist(fields, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        ResNetConfig(**fields)
    assert "stem, stage1" in caught.value.next_step


def test_sizes_of_a_resnet():
    with pytest.raises(ConfigurationError, match=r"hidden_sizes is \[8\], and depths is \[1, 1\]"):
        ResNetConfig(hidden_sizes=[8], depths=[1, 1])
    with pytest.raises(ConfigurationError, match="layer_type is 'wide'"):
        ResNetConfig(layer_type="wide")


@pytest.mark.parametrize(
    "edits",
    [
        {"layer_type": "basic"},
        {"downsample_in_bottleneck": True},
        {"downsample_in_first_stage": True, "hidden_act": "gelu"},
    ],
    ids=" ".join,
)
def test_kinds_of_resnet(edits, tmp_path):
    ref.assert_matches_reference("resnet", "ResNetForImageClassification", tmp_path, **edits)


def test_old_files_without_counts_of_batches(tmp_path):
    model = notebook_kit.ResNetModel(ResNetConfig(**ref.tiny_fields("resnet")))
    weights = {name: value for name, value in model.state_dict().items() if "num_batches" not in name}
    model.save_pretrained(tmp_path, state_dict=weights)
    again = notebook_kit.ResNetModel.from_pretrained(tmp_path)
    assert torch.equal(again(ref.pixels(30)).last_hidden_state, model.eval()(ref.pixels(30)).last_hidden_state)
    assert again.embedder.embedder.normalization.num_batches_tracked == 0
