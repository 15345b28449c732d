"""Pairing the weights of a checkpoint with those of a model, by names and shapes alone."""

import subprocess
import sys
from dataclasses import replace

import pytest

from notebook_kit.checkpoints.names import ENCODER_RULES, WeightRules, plan_loading
from notebook_kit.errors import CheckpointError

BACKBONE = {"bert.embed.weight": (9, 4), "bert.layer.weight": (4, 4), "bert.layer.bias": (4,)}
MODEL = {**BACKBONE, "decoder.weight": (9, 4), "decoder.bias": (9,), "bias": (9,)}
TIED = WeightRules(tied={"decoder.weight": "bert.embed.weight", "decoder.bias": "bias"})


class Stored(dict):
    """Name to shape, or to (shape, value) where values matter."""

    def shape(self, name):
        return self[name]


def plan(stored, expected=MODEL, rules=TIED, tied=True, equal=lambda one, other: True, prefix="bert"):
    return plan_loading(
        Stored(stored), expected, rules, prefix=prefix, tied=tied, equal=equal, checkpoint="file", model="Model"
    )


def without(names, *left_out):
    return {name: shape for name, shape in names.items() if name not in left_out}


def test_torch_is_not_needed():
    code = "import sys, notebook_kit.checkpoints.names; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_fits():
    found = plan(without(MODEL, "decoder.weight", "decoder.bias"))
    found.check()
    assert found.sources == {name: name for name in [*BACKBONE, "bias"]}
    assert found.missing == [] and found.warning() == "" and found.tied


@pytest.mark.parametrize("expected", [MODEL, {name.removeprefix("bert."): shape for name, shape in BACKBONE.items()}])
@pytest.mark.parametrize("bare", [True, False])
def test_a_backbone_goes_into_a_head_and_back(expected, bare):
    stored = {name.removeprefix("bert.") if bare else name: shape for name, shape in BACKBONE.items()}
    found = plan(stored, expected)
    found.check()
    assert list(found.sources.values()) == list(stored)
    assert found.has_head == (expected is MODEL)
    head = "file has no weights for the head of Model; they start fresh: bias." in found.warning()
    assert head == found.has_head and found.missing == (["bias"] if head else [])


def test_a_head_of_another_task_is_no_surprise_but_a_part_of_the_backbone_is():
    found = plan({**MODEL, "classifier.weight": (2, 4), "bert.adapter.weight": (1,)})
    assert found.unexpected == ["bert.adapter.weight"]
    assert found.warning() == "1 weights of file have no place in Model: bert.adapter.weight."


def test_a_lost_weight_is_an_error():
    found = plan(without(MODEL, "bert.layer.weight"))
    with pytest.raises(CheckpointError, match=r"file lacks 1 weights that Model needs: bert\.layer\.weight"):
        found.check()


def test_a_misshapen_weight_is_an_error_unless_ignored():
    found = plan({**MODEL, "bert.layer.weight": (4, 5)})
    with pytest.raises(CheckpointError, match=r"bert\.layer\.weight: \(4, 5\) in the file, \(4, 4\) in the model"):
        found.check()
    found.check(ignore_mismatched_sizes=True)
    assert found.missing == ["bert.layer.weight"]
    assert "1 weights of file have another shape and start fresh: bert.layer.weight. Train the model" in found.warning()


def test_old_names_unused_and_optional_weights():
    expected = {"bert.norm.weight": (4,), "bert.norm.bias": (4,), "bert.pooler.weight": (4, 4)}
    stored = {"bert.norm.gamma": (4,), "bert.norm.beta": (4,), "bert.position_ids": (1, 9)}
    found = plan(stored, expected, ENCODER_RULES)
    found.check()
    assert found.sources == {"bert.norm.weight": "bert.norm.gamma", "bert.norm.bias": "bert.norm.beta"}
    assert found.unexpected == [] and "bert.pooler.weight" in found.warning()
    with pytest.raises(CheckpointError, match="lacks 1 weights"):
        plan(stored, expected, replace(ENCODER_RULES, optional=())).check()


@pytest.mark.parametrize("tied", [True, False])
def test_a_file_may_store_a_tied_weight_under_either_name(tied):
    alias = plan(without(MODEL, "bert.embed.weight"), tied=tied)
    assert alias.sources["bert.embed.weight"] == "decoder.weight"
    target = plan(without(MODEL, "decoder.weight"), tied=tied)
    assert "decoder.weight" not in target.sources
    assert target.missing == ([] if tied else ["decoder.weight"])


def test_a_bias_that_an_untied_file_stores_once_is_copied():
    found = plan(without(MODEL, "decoder.bias"), tied=False)
    assert found.sources["decoder.bias"] == found.sources["bias"] == "bias" and not found.missing


def test_a_file_can_contradict_its_config():
    found = plan(MODEL, equal=lambda one, other: one != "decoder.weight")
    assert not found.tied and found.contradictions == [("decoder.weight", "bert.embed.weight")]
    assert found.sources["decoder.weight"] == "decoder.weight"
    assert "stores decoder.weight and bert.embed.weight with different values" in found.warning()
    assert plan(MODEL, tied=False, equal=lambda one, other: False).warning() == ""


def test_shared_weights_are_shared_whatever_the_config_says():
    rules = WeightRules(shared={"bert.layer.bias": "bias"}, tied={"decoder.weight": "bert.embed.weight"})
    found = plan(MODEL, rules=rules, tied=False)
    assert "bert.layer.bias" not in found.sources and "bert.layer.bias" not in found.missing
    assert rules.ties(False) == rules.shared and set(rules.ties(True)) == {"bert.layer.bias", "decoder.weight"}


def test_tied_if_absent():
    rules = replace(TIED, tied={"decoder.weight": "bert.embed.weight"}, tied_if_absent=True)
    assert plan(without(MODEL, "decoder.weight"), rules=rules, tied=False).tied
    assert not plan(MODEL, rules=rules, tied=False).tied
    assert not plan(MODEL, rules=replace(rules, tied={}), tied=False).tied


def test_defaulted_and_computed_weights():
    rules = WeightRules(defaulted=(r"^bias$",), computed=(r"embed\.weight$",))
    found = plan(without(MODEL, "bias"), rules=rules)
    found.check()
    assert found.missing == ["bert.embed.weight", "bias"] and found.fresh == [] and found.warning() == ""
    assert rules.stored_names(MODEL, tied=True).keys() == MODEL.keys() - {"bert.embed.weight"}


def test_names_are_saved_as_files_have_them():
    rules = WeightRules(legacy={r"^embed_out\.": "lm_head."}, saved={r"^lm_head\.": "embed_out."})
    names = rules.stored_names(["lm_head.weight", "x.lm_head.weight"], tied=False)
    assert names == {"lm_head.weight": "embed_out.weight", "x.lm_head.weight": "x.lm_head.weight"}
    assert plan({"embed_out.weight": (1,)}, {"lm_head.weight": (1,)}, rules).sources == {
        "lm_head.weight": "embed_out.weight"
    }
