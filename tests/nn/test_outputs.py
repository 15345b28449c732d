"""What a model returns acts as an object, a dictionary and a tuple, and survives what other libraries do with it."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest
import reference as ref
import torch
import transformers
from torch.utils import _pytree

import notebook_kit
from notebook_kit.nn.outputs import BaseModelOutputWithPooling, ModelOutput, SequenceClassifierOutput

IDS = torch.tensor([[5, 9, 17, 33, 2]])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return notebook_kit.BertForSequenceClassification(notebook_kit.BertConfig(**ref.tiny_fields("bert"))).eval()


def test_three_faces(model):
    out = model(IDS, labels=torch.tensor([1]), output_hidden_states=True)
    loss, logits = out[:2]
    assert out.loss is out["loss"] is out[0] is loss
    assert out.logits is out["logits"] is out[1] is logits is out[-2]
    assert list(out) == list(out.keys()) == ["loss", "logits", "hidden_states"]
    assert out.to_tuple() == tuple(out.values()) == out[:] and len(out) == 3
    assert out.attentions is None and "attentions" not in out and out.get("attentions") is None
    with pytest.raises(KeyError):
        out["attentions"]
    with pytest.raises(AttributeError):
        out.last_hidden_state  # noqa: B018
    with pytest.raises(IndexError):
        out[3]
    assert isinstance(out, dict) and dict(out).keys() == {"loss", "logits", "hidden_states"}
    assert {**out}["logits"] is out.logits
    assert repr(out).startswith("SequenceClassifierOutput(loss=tensor(")


def test_return_dict_false(model):
    out = model(IDS, return_dict=False)
    assert type(out) is tuple and len(out) == 1 and torch.equal(out[0], model(IDS).logits)
    loss, _logits, states, attentions = model(
        IDS, labels=torch.tensor([1]), return_dict=False, output_hidden_states=True, output_attentions=True
    )
    assert loss.dim() == 0 and len(states) == 4 and len(attentions) == 3
    config = copy.deepcopy(model.config)
    config.return_dict = False
    twin = notebook_kit.BertForSequenceClassification(config).eval()
    assert type(twin(IDS)) is tuple
    assert isinstance(twin(IDS, return_dict=True), SequenceClassifierOutput)


def test_the_config_may_ask_for_more():
    fields = ref.tiny_fields("bert", output_attentions=True, output_hidden_states=True)
    model = notebook_kit.BertForMaskedLM(notebook_kit.BertConfig(**fields))
    assert list(model(IDS)) == ["logits", "hidden_states", "attentions"]
    assert list(model(IDS, output_attentions=False)) == ["logits", "hidden_states"]


def test_writing():
    out = SequenceClassifierOutput(logits=torch.ones(1, 2))
    out.loss = torch.tensor(1.0)
    assert list(out) == ["loss", "logits"]  # in the declared order, whatever came first
    out["hidden_states"] = (torch.zeros(1),)
    assert out.hidden_states is out[2]
    out.loss = None
    assert list(out) == ["logits", "hidden_states"] and out[0] is out.logits
    with pytest.raises(KeyError, match="no field 'losses'"):
        out["losses"] = 1
    with pytest.raises(TypeError, match="no field 'losses'"):
        SequenceClassifierOutput(losses=1)


def test_copies(model):
    out = model(IDS, output_attentions=True)
    for twin in (
        copy.copy(out),
        copy.deepcopy(out.__class__(logits=out.logits.detach())),
        pickle.loads(pickle.dumps(out)),
    ):
        assert type(twin) is type(out) and torch.equal(twin.logits, out.logits)
    assert len(pickle.loads(pickle.dumps(out)).attentions) == 3


def test_what_other_libraries_do_with_it(model):
    out = model(IDS, output_hidden_states=True)
    doubled = _pytree.tree_map(lambda tensor: tensor * 2, out)
    assert type(doubled) is type(out) and torch.equal(doubled.logits, out.logits * 2)
    assert torch.equal(doubled.hidden_states[1], out.hidden_states[1] * 2)
    leaves, spec = _pytree.tree_flatten(out)
    assert len(leaves) == 5 and torch.equal(_pytree.tree_unflatten(leaves, spec).logits, out.logits)
    # torch's data parallel gathers pairs; its FSDP takes dataclasses apart
    assert torch.equal(type(out)((name, value) for name, value in out.items()).logits, out.logits)
    assert dataclasses.is_dataclass(out)
    replaced = dataclasses.replace(out, logits=out.logits + 1)
    assert torch.equal(replaced.logits, out.logits + 1) and replaced.hidden_states is out.hidden_states
    from accelerate.utils import convert_to_fp32, recursively_apply

    assert type(recursively_apply(lambda tensor: tensor + 1, out)) is type(out)
    half = convert_to_fp32(type(out)(logits=out.logits.half()))
    assert half.logits.dtype == torch.float32


def test_fields_are_the_references():
    from notebook_kit.nn import outputs

    for name in outputs.__all__:
        kind = getattr(outputs, name)
        if kind is ModelOutput:
            continue
        theirs = [field.name for field in dataclasses.fields(getattr(transformers.modeling_outputs, name))]
        assert [field.name for field in dataclasses.fields(kind)] == theirs
    assert issubclass(BaseModelOutputWithPooling, ModelOutput)


@pytest.mark.parametrize("base", [ModelOutput, transformers.utils.ModelOutput])
def test_an_output_of_a_user(base):
    @dataclasses.dataclass
    class Own(base):
        loss: torch.Tensor | None = None
        logits: torch.Tensor | None = None

    given = {"loss": torch.tensor(1.0), "logits": torch.ones(2)}
    for out in (Own(given), Own(given.items()), Own(iter(given.items())), Own(**given)):
        assert list(out) == ["loss", "logits"] and out.logits is given["logits"]
    assert list(Own(given["loss"])) == ["loss"] and Own(logits=given["logits"]).to_tuple() == (given["logits"],)
    twice = _pytree.tree_map(lambda tensor: tensor * 2, Own(**given))
    assert type(twice) is Own and twice.loss == 2 and twice.logits.tolist() == [2, 2]


def test_the_base_takes_any_names():
    for kind in (ModelOutput, transformers.utils.ModelOutput):
        out = kind({"a": 1, "b": 2})
        assert (out["a"], out[1], out.to_tuple(), list(out)) == (1, 2, (1, 2), ["a", "b"])
    out = ModelOutput({"a": 1}, c=3)
    out.d = 4
    assert (out.a, out.c, out["d"], copy.deepcopy(out).d, pickle.loads(pickle.dumps(out)).a) == (1, 3, 4, 4, 1)
    with pytest.raises(AttributeError, match="ModelOutput has no field 'x'"):
        _ = out.x
