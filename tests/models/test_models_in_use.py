"""Models in everyday use: copied, pickled, compiled, trained with gradient checkpointing."""

from __future__ import annotations

import copy
import pickle

import pytest
import reference as ref
import torch

import notebook_kit
from notebook_kit.models.auto import model_classes

IDS = torch.tensor([[5, 9, 17, 33, 2]])


@pytest.fixture
def tiny(tmp_path):
    """A saved tiny BERT classifier."""
    return ref.saved(ref.reference_model("bert", "BertForSequenceClassification"), tmp_path / "tiny")


# Everyday Python -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ref.model_types())
def test_copies(model_type, tmp_path):
    kind = model_classes(model_type)["AutoModelForMaskedLM"]
    torch.manual_seed(0)
    model = kind(kind.config_class(**ref.tiny_fields(model_type))).eval()
    twins = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    torch.save(model, tmp_path / "model.pt")
    twins.append(torch.load(tmp_path / "model.pt", weights_only=False))
    expected = model(IDS, output_attentions=True)
    for twin in twins:
        assert twin.config == model.config and twin.config is not model.config
        out = twin(IDS, output_attentions=True)
        assert torch.equal(out.logits, expected.logits)
        assert len(out.attentions) == len(expected.attentions)
        assert twin.num_parameters() == model.num_parameters()  # ties survive
        with torch.no_grad():
            twin.get_input_embeddings().weight.zero_()
        assert model.get_input_embeddings().weight.any()


def test_state_dict_goes_back_and_forth(tmp_path):
    model = notebook_kit.BertForMaskedLM(notebook_kit.BertConfig(**ref.tiny_fields("bert")))
    other = notebook_kit.BertForMaskedLM(model.config)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval()(IDS).logits, model.eval()(IDS).logits)
    model.save_pretrained(tmp_path, state_dict=other.state_dict())
    assert torch.equal(notebook_kit.BertForMaskedLM.from_pretrained(tmp_path)(IDS).logits, model(IDS).logits)


def test_dropout_acts_in_training_alone():
    fields = ref.tiny_fields("bert", attention_probs_dropout_prob=0.5)
    model = notebook_kit.BertModel(notebook_kit.BertConfig(**fields))
    model.train()
    assert not torch.equal(model(IDS).last_hidden_state, model(IDS).last_hidden_state)
    model.eval()
    assert torch.equal(model(IDS).last_hidden_state, model(IDS).last_hidden_state)


@pytest.mark.slow
def test_compiled_model_gives_the_same(tiny):
    torch._dynamo.reset()
    model = notebook_kit.AutoModelForSequenceClassification.from_pretrained(tiny)
    compiled = torch.compile(model, backend="eager")
    for padding in (True, False):
        given = ref.batch(model.config, padding)
        with torch.no_grad():
            ref.assert_same_output(compiled(**given), model(**given))
            full = {**given, "output_attentions": True, "output_hidden_states": True, "labels": torch.tensor([0, 1, 2])}
            ref.assert_same_output(compiled(**full), model(**full))
            for layer in (1, 2):  # the second time there is a compiled graph of watched attention
                with notebook_kit.record_attention(model, layers=[layer]) as record:
                    compiled(**given)
                expected = model(**given, output_attentions=True).attentions[layer]
                torch.testing.assert_close(record[layer], expected)
            plain = model(**given).logits
            for head in (1, 2):
                with notebook_kit.ablate_heads(model, {(0, head)}):
                    ref.assert_same_output(compiled(**given), model(**given))
                    assert not torch.equal(compiled(**given).logits, plain)
            ref.assert_same_output(compiled(**given), model(**given))


# Gradient checkpointing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("watched", [False, True], ids=["plain", "attentions"])
@pytest.mark.parametrize("model_type", ref.model_types())
def test_gradient_checkpointing(model_type, watched):
    kind = model_classes(model_type)["AutoModelForSequenceClassification"]
    torch.manual_seed(0)
    fields = ref.tiny_fields(model_type)
    fields["attention_dropout" if model_type == "distilbert" else "attention_probs_dropout_prob"] = 0.2
    model = kind(kind.config_class(**fields)).train()
    given = {**ref.batch(model.config), "labels": torch.tensor([0, 1, 2]), "output_attentions": watched}

    def gradients():
        model.zero_grad()
        torch.manual_seed(7)
        loss = model(**given).loss
        loss.backward()
        return loss, {name: parameter.grad for name, parameter in model.named_parameters()}

    loss, plain = gradients()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    calls = []
    layer = model.base_model.get_submodule("transformer" if model_type == "distilbert" else "encoder")
    first = next(module for name, module in layer.named_modules() if name.rpartition(".")[2] == "0")
    first = next(iter(first["albert_layers"])) if model_type == "albert" else first
    first.register_forward_pre_hook(lambda *_: calls.append(1))
    again, saving = gradients()
    assert len(calls) % 2 == 0 and len(calls) >= 2  # forward and recomputed
    assert torch.equal(loss, again)
    for name, gradient in plain.items():
        if gradient is None:
            assert saving[name] is None
        else:
            torch.testing.assert_close(saving[name], gradient, msg=name)
    model.gradient_checkpointing_disable()
    calls.clear()
    gradients()
    assert len(calls) in (1, 2, 4) and not model.base_model.gradient_checkpointing


def test_checkpointing_and_recording_together():
    """A recorded layer is recorded once, whether the backward pass runs inside the block or after it."""
    model = notebook_kit.BertModel(notebook_kit.BertConfig(**ref.tiny_fields("bert"))).train()
    model.gradient_checkpointing_enable()
    for inside in (True, False):
        with notebook_kit.record_attention(model, layers=[1]) as record, notebook_kit.ablate_heads(model, {(0, 0)}):
            loss = model(IDS).last_hidden_state.square().mean()
            if inside:
                loss.backward()
        if not inside:
            loss.backward()
        assert len(record.steps(1)) == 1
    loss = model(IDS).last_hidden_state.square().mean()
    with notebook_kit.record_attention(model) as record:
        loss.backward()  # recomputes, and must do so as it was first computed
    assert record.steps(0) == []
