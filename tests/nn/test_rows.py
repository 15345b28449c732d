"""Heads that read some rows of the last layer: only these are computed, with the same result, unless somebody looks."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from contextlib import contextmanager

import pytest
import reference as ref
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import notebook_kit
from notebook_kit import ablate_heads, models, record_attention
from notebook_kit.nn.heads import Head
from notebook_kit.nn.rows import only_seen_here

WHOLE_TEXT = ("ForSequenceClassification", "ForMultipleChoice", "ForNextSentencePrediction")
OWN = {
    "vilt": {"vocab_size": 99, "max_position_embeddings": 20},
    "audio-spectrogram-transformer": {"max_length": 40, "num_mel_bins": 20, "frequency_stride": 3, "time_stride": 3},
}
OTHER_LAYERS = ("ConvNext", "DonutSwin", "ResNet", "Segformer", "Swin")  # they read means, or have no last row


def heads() -> list[type[Head]]:
    """Every head that reads some rows of layers which can compute these alone."""
    for module in pkgutil.iter_modules(models.__path__):
        importlib.import_module(f"notebook_kit.models.{module.name}")
    found, left = {}, list(Head.__subclasses__())
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith("notebook_kit.models") and kind.reads is not None and hasattr(kind, "backbone"):
            found[kind.__name__] = kind
    return [found[name] for name in sorted(found) if not name.startswith(OTHER_LAYERS)]


HEADS = heads()


def tiny(kind: type[Head], **edits) -> tuple[Head, dict[str, torch.Tensor]]:
    """A random model with three layers, and a padded batch for it."""
    family = kind.config_class.model_type
    size = {name: value for name, value in ref.tiny_fields(family).items() if name in kind.config_class.field_names()}
    torch.manual_seed(0)
    model = kind(kind.config_class(**{**size, **OWN.get(family, {}), **edits})).eval()
    ref.randomize(model)
    accepted = inspect.signature(kind.forward).parameters
    given: dict[str, torch.Tensor] = {}
    if "input_ids" in accepted:
        ids = torch.randint(4, 99, (3, 9), generator=torch.Generator().manual_seed(1))
        given = {"input_ids": ids, "attention_mask": (torch.arange(9) < torch.tensor([[9], [6], [2]])).long()}
    if "pixel_values" in accepted:
        given["pixel_values"] = ref.pixels(model.config.image_size)
    if "input_values" in accepted:
        given["input_values"] = torch.randn(3, 40, 20, generator=torch.Generator().manual_seed(1))
    return model, ref.with_choices(given) if kind.__name__.endswith("ForMultipleChoice") else given


class Products(TorchFunctionMode):
    """Counts the rows that linear layers multiply."""

    rows = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.linear:
            self.rows += args[0].shape[:-1].numel()
        return func(*args, **(kwargs or {}))


@contextmanager
def whole(model):
    """Compute all rows: a hook may look at any of them."""
    hook = model.base_model.register_forward_hook(lambda *seen: None)
    try:
        yield
    finally:
        hook.remove()


def counted(model, given) -> tuple[torch.Tensor, int]:
    with torch.no_grad(), Products() as products:
        return model(**given)[0], products.rows


def test_heads_of_all_families_are_here():
    families = {kind.config_class.model_type for kind in HEADS}
    assert families >= {*ref.model_types(), "vit", "deit", "vilt", "audio-spectrogram-transformer"}
    assert not {kind.__name__ for kind in HEADS} & {"Dinov2ForImageClassification", "BertForPreTraining"}


@pytest.mark.parametrize("kind", HEADS, ids=lambda kind: kind.__name__)
def test_equals_the_whole_computation(kind):
    model, given = tiny(kind)
    few, rows = counted(model, given)
    with whole(model):
        everything, all_rows = counted(model, given)
    assert rows < all_rows
    torch.testing.assert_close(few, everything, rtol=1e-5, atol=1e-6)

    def gradients():
        model.zero_grad()
        model(**given)[0].square().sum().backward()
        return {name: parameter.grad for name, parameter in model.named_parameters()}

    mine = gradients()
    with whole(model):
        theirs = gradients()
    for name, gradient in theirs.items():
        if gradient is not None:  # rounded otherwise, in proportion to the largest
            torch.testing.assert_close(
                mine[name], gradient, rtol=1e-4, atol=1e-5 * max(1.0, float(gradient.abs().max()))
            )


def test_trains_with_recomputed_activations():
    model, given = tiny(notebook_kit.BertForSequenceClassification)
    expected = model(**given).logits.sum()
    model.train().gradient_checkpointing_enable()
    loss = model(**given).logits.sum()  # the tiny model has no dropout
    loss.backward()
    assert torch.allclose(loss, expected)
    assert model.bert.encoder.layer[-1].attention["self"].query.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    "kind",
    [
        notebook_kit.DistilBertForSequenceClassification,
        notebook_kit.MPNetForSequenceClassification,
        notebook_kit.ViTForImageClassification,
    ],
)
def test_whoever_looks_sees_all_rows(kind):
    model, given = tiny(kind)
    expected, rows = counted(model, given)
    out = model(**given, output_hidden_states=True, output_attentions=True)
    N = out.hidden_states[0].shape[1]
    assert all(states.shape[1] == N for states in out.hidden_states)
    assert all(weights.shape[-2:] == (N, N) for weights in out.attentions)
    with torch.no_grad(), record_attention(model, layers=[2]) as record:
        model(**given)
    assert record[2].shape[-2:] == (N, N)
    with torch.no_grad(), ablate_heads(model, {(2, 1)}):
        assert not torch.allclose(model(**given).logits, expected)
    seen = []
    last = next(module for name, module in model.named_modules() if name.endswith("layer.2"))
    hook = last.register_forward_hook(lambda module, given, output: seen.append(output.shape[1]))
    model(**given)
    hook.remove()
    assert seen == [N]
    assert model.base_model(**given).last_hidden_state.shape[1] == N
    assert counted(model, given)[1] == rows


def test_a_head_of_a_users_own_reads_all_rows():
    class Mean(notebook_kit.BertForSequenceClassification):
        def compute_logits(self, out):
            return self.classifier(out.last_hidden_state.mean(1))

    class MeanMixin:
        def compute_logits(self, out):
            return self.classifier(out.last_hidden_state.mean(1))

    class Mixed(MeanMixin, notebook_kit.BertForSequenceClassification):
        pass

    class Renamed(notebook_kit.BertForSequenceClassification):
        pass

    assert (Mean.reads, Mixed.reads, Renamed.reads) == (None, None, slice(0, 1))
    model, given = tiny(Mean)
    states = model.bert(**given).last_hidden_state
    torch.testing.assert_close(model(**given).logits, model.classifier(states.mean(1)))


def test_a_module_of_a_users_own_gets_all_rows():
    class MeanPooler(torch.nn.Module):
        def forward(self, states):
            return states.mean(1)

    model, given = tiny(notebook_kit.BertForSequenceClassification)
    assert only_seen_here(model, model.bert)
    model.bert.pooler = MeanPooler()
    assert not only_seen_here(model, model.bert)
    states = model.bert(**given).last_hidden_state
    torch.testing.assert_close(model(**given).logits, model.classifier(states.mean(1)))


def test_masks_with_a_row_per_token():
    model, given = tiny(notebook_kit.BertForSequenceClassification)
    given["attention_mask"] = torch.ones(3, 9, 9).tril().long()
    few, rows = counted(model, given)
    with whole(model):
        everything, all_rows = counted(model, given)
    assert rows < all_rows
    torch.testing.assert_close(few, everything)
