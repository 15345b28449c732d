"""What `fsdp`, `fsdp_config` and `accelerate launch` ask for. Sharded runs are in test_two_processes.py."""

from __future__ import annotations

import json
import logging

import pytest
from tiny_training import bert, trainer

from notebook_kit.errors import ConfigurationError
from notebook_kit.training import TrainingArguments
from notebook_kit.training.full_sharding import FullSharding


def asked(**options):
    return FullSharding.of(TrainingArguments("out", use_cpu=True, **options))


def test_arguments_say_how_a_model_is_sharded(tmp_path):
    assert asked() is None and asked(fsdp="no_shard") is None and asked(fsdp=False) is None
    assert asked(fsdp=True) == asked(fsdp="full_shard auto_wrap") == asked(fsdp=["full_shard"]) == FullSharding()
    assert asked(fsdp="shard_grad_op,offload") == FullSharding(reshard=False, offload=True)
    config = {
        "fsdp_transformer_layer_cls_to_wrap": "BertLayer, GPT2Block",
        "reshard_after_forward": "false",
        "version": 2,
    }
    named = FullSharding(("BertLayer", "GPT2Block"), reshard=False, precision="bf16")
    assert asked(fsdp="full_shard", fsdp_config=config, bf16=True) == named
    (file := tmp_path / "fsdp.json").write_text(json.dumps({"min_num_params": 100, "cpu_offload": True}))
    assert asked(fsdp_config=str(file)) == FullSharding(min_params=100, offload=True)
    assert asked(fsdp_transformer_layer_cls_to_wrap="BertLayer") == FullSharding(("BertLayer",))


def test_the_launcher_of_accelerate_is_heeded(monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    monkeypatch.setenv("FSDP_TRANSFORMER_CLS_TO_WRAP", "BertLayer")
    monkeypatch.setenv("FSDP_RESHARD_AFTER_FORWARD", "SHARD_GRAD_OP")
    assert asked() == FullSharding(("BertLayer",), reshard=False)
    assert asked(fsdp="full_shard") == FullSharding(), "the arguments come first"
    monkeypatch.setenv("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT")
    assert asked() == FullSharding(("BertLayer",), reshard=False, saves_slices=True)


@pytest.mark.parametrize("name", ["state_dict_type", "fsdp_state_dict_type"])
def test_the_form_of_checkpoints_is_heeded(name):
    assert asked(fsdp="full_shard", fsdp_config={name: "SHARDED_STATE_DICT"}) == FullSharding(saves_slices=True)
    assert asked(fsdp="full_shard", fsdp_config={name: "full_state_dict"}) == FullSharding()
    for wrong, near in (("LOCAL_STATE_DICT", ""), ("SHARDED_STATE", "Did you mean.*SHARDED_STATE_DICT")):
        with pytest.raises(ConfigurationError, match=f"state_dict_type is '{wrong}'.*{near}"):
            asked(fsdp="full_shard", fsdp_config={name: wrong})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fsdp": "full_shart"}, "no option 'full_shart'.*full_shard"),
        ({"fsdp": "hybrid_shard"}, "sharded over all processes"),
        ({"fsdp": "full_shard", "fp16": True}, "fsdp and fp16"),
        ({"fsdp_config": {"min_num_param": 3}}, "no option 'min_num_param'.*min_num_params"),
        ({"fsdp_config": {"activation_checkpointing": True}}, "gradient_checkpointing=True"),
        ({"fsdp_config": {"min_num_params": "many"}}, "min_num_params is 'many'; expected a whole number"),
        ({"fsdp_config": {"transformer_layer_cls_to_wrap": 4}}, "transformer_layer_cls_to_wrap is 4; expected a list"),
    ],
)
def test_what_is_not_supported_is_refused(options, words):
    with pytest.raises(ConfigurationError, match=words):
        asked(**options)


def test_blocks_are_the_layers_of_the_model():
    model = bert()
    assert FullSharding().blocks(model) == list(model.bert.encoder.layer)
    assert FullSharding(("BertLayer",)).blocks(model) == list(model.bert.encoder.layer)
    assert FullSharding(min_params=10**9).blocks(model) == []
    with pytest.raises(ConfigurationError, match=r"no module of a class BertLayr.*BertLayer"):
        FullSharding(("BertLayr",)).blocks(model)


def test_one_process_says_that_it_has_nothing_to_share(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        run = trainer(tmp_path, fsdp="full_shard", max_steps=1)
    assert "fsdp has no effect: there is only one process" in caplog.text and run.distributed.full_sharding is None
