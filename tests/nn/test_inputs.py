"""What a model's forward takes, whatever is wrapped around it."""

import functools

import pytest
import torch
from torch import nn

from notebook_kit import (
    BertConfig,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
)
from notebook_kit.nn.inputs import ModelTraits, inputs_of, takes_name, unwrap

BERT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20}


@pytest.fixture
def model():
    return BertForSequenceClassification(BertConfig(**BERT))


class Adapted(nn.Module):
    """As PEFT wraps a model: its forward hands on whatever it gets, and the model is two levels below."""

    def __init__(self, model):
        super().__init__()
        self.base_model = nn.ModuleDict({"model": model})

    def get_base_model(self):
        return self.base_model["model"]

    def forward(self, *args, **kwargs):
        return self.get_base_model()(*args, **kwargs)


class AdaptedClassifier(Adapted):
    """As PEFT's classes for a task: some of the model's inputs are named, and one of the wrapper's own."""

    def forward(self, input_ids=None, labels=None, task_ids=None, **kwargs):
        return self.get_base_model()(input_ids, labels=labels, **kwargs)


class Distributed(nn.Module):
    """As DDP, FSDP and DeepSpeed wrap a model."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *inputs, **kwargs):
        return self.module(*inputs, **kwargs)


def decorated(model):
    forward = model.forward

    @functools.wraps(forward)
    def autocast(*args, **kwargs):
        return forward(*args, **kwargs)

    model.forward = autocast
    return model


def with_partial(model):
    model.forward = functools.partial(model.forward, output_attentions=True)
    return model


def hooked(model):
    """As accelerate adds a hook."""
    model.forward = functools.update_wrapper(functools.partial(lambda module, *a, **k: None, model), model.forward)
    return model


WRAPPERS = {
    "bare": lambda model: model,
    "peft": Adapted,
    "peft for a task": AdaptedClassifier,
    "distributed": Distributed,
    "DataParallel": nn.DataParallel,
    "compiled": torch.compile,
    "compiled, distributed, adapted": lambda model: torch.compile(Distributed(Adapted(model))),
    "distributed, compiled": lambda model: Distributed(torch.compile(model)),
    "decorated": decorated,
    "partial": with_partial,
    "hooked": hooked,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_a_wrapper_takes_what_the_model_takes(model, wrap):
    wrapped = wrap(model)
    inputs = inputs_of(wrapped)
    assert inputs.names[:3] == ("input_ids", "attention_mask", "token_type_ids")
    assert "task_ids" not in inputs.names
    assert inputs.labels == ("labels",)
    assert inputs.main == "input_ids"
    assert not inputs.takes_any and not inputs.takes("num_items_in_batch")
    assert unwrap(wrapped) is model


def test_ddp_itself(model, tmp_path):
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1
    )
    try:
        wrapped = nn.parallel.DistributedDataParallel(model)
        assert unwrap(wrapped) is model
        assert inputs_of(wrapped) == inputs_of(model)
        assert ModelTraits.of(wrapped, None) == ModelTraits.of(model, None)
    finally:
        torch.distributed.destroy_process_group()


def test_a_part_called_module_is_not_a_wrapped_model():
    class Own(Distributed):
        def forward(self, pixels, boxes=None):
            return self.module(pixels)

    own = Own(nn.Linear(2, 2))
    assert unwrap(own) is own
    assert inputs_of(own).names == ("pixels", "boxes")


def test_a_question_has_two_labels():
    inputs = inputs_of(BertForQuestionAnswering(BertConfig(**BERT)))
    assert inputs.labels == ("start_positions", "end_positions")


def test_a_forward_with_keywords_takes_any_name():
    class Open(nn.Module):
        def forward(self, x, **kwargs):
            return x

    inputs = inputs_of(Open())
    assert inputs.names == ("x",) and inputs.takes_any and inputs.takes("anything")


def test_a_forward_without_a_signature_takes_any_name():
    class Compiled(nn.Module):
        forward = dict

    inputs = inputs_of(Compiled())
    assert inputs.takes("input") and inputs.names == inputs.labels == ()


@pytest.mark.parametrize(
    ("forward", "main"),
    [
        (lambda self, labels, pixel_values, mask=None: None, "pixel_values"),
        (lambda self, attention_mask, input_values: None, "input_values"),
        (lambda self, labels, x: None, "x"),
        (lambda self, labels: None, "input_ids"),
    ],
)
def test_the_main_input_of_a_foreign_model_follows_from_its_signature(forward, main):
    assert inputs_of(type("Foreign", (nn.Module,), {"forward": forward})()).main == main


def test_a_model_can_name_its_main_input():
    class Listener(BertModel):
        main_input_name = "input_features"

    assert BertModel.main_input_name == "input_ids"
    assert inputs_of(nn.DataParallel(Listener(BertConfig(**BERT)))).main == "input_features"


def test_traits_see_the_model_inside():
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=8))
    for wrapped in (gpt2, Adapted(gpt2), torch.compile(Distributed(gpt2))):
        traits = ModelTraits.of(wrapped, None)
        assert traits.shifts_labels and not traits.returns_loss
        assert traits.label_names == ["labels"]
    assert ModelTraits.of(gpt2, ["targets"]).label_names == ["targets"]

    class Contrastive(nn.Module):
        def forward(self, pixel_values, return_loss=True, **kwargs):
            return pixel_values

    traits = ModelTraits.of(Contrastive(), None)
    assert traits.returns_loss and traits.label_names == ["labels"]


class Wrapper(nn.Module):
    """A module that names the inputs that it passes on to a model."""

    def __init__(self, model, name="model", **others):
        super().__init__()
        for key, module in {name: model, **others}.items():
            setattr(self, key, module)

    def forward(self, input_ids, attention_mask=None, labels=None):
        return getattr(self, "model", None)


@pytest.mark.parametrize("name", ["model", "lm", "backbone"])
@pytest.mark.parametrize("others", [{}, {"value_head": nn.Linear(2, 1), "dropout": nn.Dropout(0.1)}])
def test_a_module_around_a_causal_model_shifts_labels_as_it_does(name, others):
    gpt2 = GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=20, n_positions=8))
    for inner in (gpt2, Adapted(gpt2), Wrapper(gpt2)):
        assert ModelTraits.of(Wrapper(inner, name, **others), None).shifts_labels
    bert = BertForSequenceClassification(BertConfig(**BERT))
    assert not ModelTraits.of(Wrapper(bert, name, **others), None).shifts_labels
    assert not ModelTraits.of(Wrapper(gpt2, name, judge=bert) if name != "model" else bert, None).shifts_labels


def test_takes_name():
    assert takes_name(lambda loss, num_items=None: loss, "num_items")
    assert takes_name(lambda **kwargs: None, "num_items")
    assert not takes_name(lambda loss, /, other: loss, "loss")
    assert takes_name(functools.partial(lambda a, b: a, b=1), "a")
