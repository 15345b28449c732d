"""Adapters of PEFT, wrappers, and frozen weights: train, save, resume, load the best."""

import pytest
import torch
from support import skip_or_fail
from tiny_training import assert_same_weights, bert, dataset, trainer, weights
from torch import nn

from notebook_kit import AutoModelForSequenceClassification, freeze, unfreeze
from notebook_kit.errors import CheckpointError, InputError

try:
    import peft
except ImportError:
    skip_or_fail("peft is not installed")

SAVING = {"save_strategy": "steps", "save_steps": 2, "logging_steps": 1}
BEST = {"eval_strategy": "steps", "eval_steps": 2, "load_best_model_at_end": True, "learning_rate": 0.03}


class Wrap(nn.Module):
    """A wrapper with another constructor, which passes on whatever it gets."""

    def __init__(self, model, scale):
        super().__init__()
        self.model, self.scale = model, scale

    def forward(self, **kwargs):
        return self.model(**kwargs)


def with_lora(dropout=0.1):
    model = bert(dropout)
    torch.manual_seed(1)
    options = {"target_modules": ["query", "value"], "modules_to_save": ["classifier"], "lora_dropout": dropout}
    return peft.get_peft_model(model, peft.LoraConfig(task_type="SEQ_CLS", r=4, **options))


def wrapped(dropout=0.1):
    return Wrap(bert(dropout), scale=2)


def trained(model):
    return {name: tensor for name, tensor in model.named_parameters() if tensor.requires_grad}


@pytest.mark.parametrize("make", [with_lora, wrapped])
def test_a_resumed_run_is_the_run_never_stopped(tmp_path, make):
    whole = trainer(tmp_path / "whole", make(), max_steps=6, **SAVING)
    whole.train()
    resumed = trainer(tmp_path / "resumed", make(), max_steps=6, **SAVING)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-4"))
    assert_same_weights(weights(whole.model), weights(resumed.model))


@pytest.mark.parametrize("make", [with_lora, wrapped])
def test_the_best_is_loaded_into_the_same_model(tmp_path, make):
    model = make(0.0)
    run = trainer(tmp_path, model, eval_dataset=dataset(20, 1), max_steps=8, **SAVING, **BEST)
    run.train()
    best = run.state.best_metric
    assert best == min(entry["eval_loss"] for entry in run.state.log_history if "eval_loss" in entry)
    assert run.model is model and run.evaluate()["eval_loss"] == pytest.approx(best, abs=1e-6)


def test_lora_moves_only_the_adapters_and_saves_them_alone(tmp_path):
    model = with_lora()
    before, names = weights(model), set(trained(model))
    run = trainer(tmp_path, model, max_steps=4, **SAVING)
    run.train()
    moved = {name for name, tensor in weights(model).items() if not torch.equal(tensor, before[name])}
    assert moved and moved <= names and any("lora_B" in name for name in moved)
    run.save_model(str(tmp_path / "adapter"))
    files = {path.name for path in (tmp_path / "adapter").iterdir()}
    assert "adapter_model.safetensors" in files and "model.safetensors" not in files
    loaded = peft.PeftModel.from_pretrained(bert(), tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(input_ids=ids).logits, model.eval()(input_ids=ids).logits)
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path / "merged")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=ids).logits, loaded(input_ids=ids).logits, atol=1e-5, rtol=1e-4)


def test_an_adapter_of_another_rank_is_refused(tmp_path):
    trainer(tmp_path, with_lora(), max_steps=2, **SAVING).train()
    other = peft.get_peft_model(bert(), peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"]))
    with pytest.raises(CheckpointError, match="cannot be loaded into this"):
        trainer(tmp_path, other, max_steps=4, **SAVING).train(resume_from_checkpoint=True)


def test_frozen_weights_stay_and_wrong_patterns_are_named(tmp_path):
    model = bert()
    frozen = freeze(model, "bert.embeddings", "bert.encoder.layer.0")
    unfreeze(model, "*.layer.0.attention.self.query.*")
    before = weights(model)
    trainer(tmp_path, model, max_steps=3).train()
    moved = {name for name, tensor in weights(model).items() if not torch.equal(tensor, before[name])}
    assert moved == set(trained(model)) and len(moved & set(frozen)) == 2
    with pytest.raises(InputError, match=r"matches 'bert.embedings'. Did you mean 'bert.embeddings'"):
        freeze(model, "bert.embedings")
