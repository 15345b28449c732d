"""Feed-forward blocks whose activation is computed with the product: the same results, and nothing that watches misses anything."""

from __future__ import annotations

import copy
from functools import partial
from types import SimpleNamespace as Namespace

import pytest
import reference as ref
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import notebook_kit
from notebook_kit.models.gpt2 import GPT2Projection
from notebook_kit.nn import few_rows, layers, many_rows
from notebook_kit.nn.few_rows import PackedProducts
from notebook_kit.nn.layers import ACTIVATIONS, activated
from notebook_kit.nn.many_rows import FastProducts
from notebook_kit.pipelines.quantization import Int8Linear, Int8Output

pytestmark = pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")

FUSED = {"gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"}
X = torch.linspace(-3, 3, 8 * 36).view(2, 4, 36).sin()


@pytest.fixture
def seen(monkeypatch):
    """The kinds of products by oneDNN, also of small ones."""
    monkeypatch.setattr(many_rows, "gain", lambda few, threads: 2.0)
    monkeypatch.setattr(many_rows, "LEAST_WORK", 1)
    monkeypatch.setattr(many_rows, "LEAST_PRODUCT", 1)
    kinds, calls = [], {"product": many_rows.product, "fused_product": many_rows.fused_product}

    def counting(name, x, weight, bias, post="plain"):
        kinds.append(post)
        return calls[name](x, weight, bias, **({} if post == "plain" else {"post": post}))

    for name in calls:
        monkeypatch.setattr(many_rows, name, partial(counting, name))
    return kinds


def a_layer(kind=nn.Linear, std=1.0):
    torch.manual_seed(0)
    layer = kind(36, 20)
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=std)
    return layer


@pytest.mark.parametrize("kind", [nn.Linear, GPT2Projection, partial(nn.Linear, bias=False)])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_results_are_those_of_the_layer_and_the_activation(name, kind, seen):
    layer, activation = a_layer(kind), layers.activation(name)
    with torch.no_grad(), FastProducts():
        states = layer(X)
        seen.clear()
        found = activated(layer, activation, X)
        assert [kind != "plain" for kind in seen] == [name in FUSED]
        torch.testing.assert_close(found, activation(states), rtol=1e-6, atol=1e-6)
        assert found.shape == (2, 4, 20)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_extreme_values(name, seen):
    """NaN stays NaN, or a run that has diverged would go unnoticed. So does a result that is infinite, or it is NaN."""
    activation = layers.activation(name)
    values = torch.tensor([torch.nan, torch.inf, -1e30, 1e30, -1e4, 1e4, -100, -30, -12, -1e-3, 0, 1e-30, 20])
    layer = nn.Linear(len(values), len(values))
    nn.init.eye_(layer.weight)
    nn.init.zeros_(layer.bias)
    states = torch.diag(values).nan_to_num(1.0, 0.0)
    states[0, 0] = torch.nan
    with torch.no_grad(), FastProducts():
        found = activated(layer, activation, states)
        assert seen and found[0].isnan().all() == activation(layer(states))[0].isnan().all()
        torch.testing.assert_close(found[2:], activation(layer(states[2:])), rtol=1e-6, atol=1e-6)
        layer.bias[:] = torch.inf
        assert not activated(layer, activation, states[2:]).diagonal()[:3].isneginf().any()


def test_a_copy_of_a_model_is_as_fast(seen):
    config = notebook_kit.GPT2Config(**ref.tiny_fields("gpt2"))
    assert config.activation_function == "gelu_new"
    model = copy.deepcopy(notebook_kit.GPT2Model(config).eval())
    model(torch.arange(14).view(2, 7))
    assert not seen, "gradients"
    with torch.no_grad():
        model(torch.arange(14).view(2, 7))
    assert seen.count(("gelu", "tanh")) == config.n_layer


def hooked(layer, add, calls):
    handle = add(layer, calls)
    with torch.no_grad(), FastProducts():
        activated(layer, F.gelu, X)
    if handle is not None:
        handle.remove()
    return calls


HOOKS = {
    "a hook": lambda layer, calls: layer.register_forward_hook(lambda *_: calls.append(1)),
    "a hook before": lambda layer, calls: layer.register_forward_pre_hook(lambda *_: calls.append(1)),
    "a hook of all modules": lambda layer, calls: nn.modules.module.register_module_forward_hook(
        lambda *_: calls.append(1)
    ),
    "a hook before all": lambda layer, calls: nn.modules.module.register_module_forward_pre_hook(
        lambda *_: calls.append(1)
    ),
    "a forward": lambda layer, calls: setattr(
        layer, "forward", lambda x: calls.append(1) or nn.Linear.forward(layer, x)
    ),
}


@pytest.mark.parametrize("add", HOOKS.values(), ids=HOOKS)
def test_hooks_read_the_states_before_the_activation(add, seen):
    assert hooked(a_layer(), add, []) == [1]
    assert seen == ["plain"]


class Activation(nn.Module):
    __hash__ = None

    def forward(self, x):
        return F.gelu(x)


def test_an_activation_that_is_a_module_is_called(seen):
    """Also one that cannot be hashed."""
    module, calls = nn.GELU(), []
    module.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad(), FastProducts():
        expected = activated(a_layer(), F.gelu, X)
        torch.testing.assert_close(activated(a_layer(), module, X), expected)
        torch.testing.assert_close(activated(a_layer(), Activation().forward, X), expected)

        class Callable:
            __hash__ = None

            def __call__(self, x):
                return F.gelu(x)

        torch.testing.assert_close(activated(a_layer(), Callable(), X), expected)
    assert calls == [1] and seen == [("gelu", "none"), "plain", "plain", "plain"]


def test_layers_compiled_by_torch_jit(seen):
    layer = a_layer()
    with torch.no_grad(), FastProducts():
        for other in (torch.jit.script(layer), torch.jit.trace(layer, X)):
            torch.testing.assert_close(activated(other, F.gelu, X), F.gelu(layer(X)))
    assert ("gelu", "none") not in seen


class Adapter(nn.Linear):
    def forward(self, x):
        return super().forward(x) + 1


class Names(TorchFunctionMode):
    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.seen.append(func)
        return func(*args, **(kwargs or {}))


def test_other_layers_and_calls_are_left_as_they_are(seen):
    layer = a_layer()
    with torch.no_grad():
        expected = F.gelu(layer(X))
        activated(layer, F.gelu, X)
        assert not seen, "without the context"
        with FastProducts():
            adapter = Adapter(36, 20)
            torch.testing.assert_close(activated(adapter, F.gelu, X), F.gelu(adapter(X)))
            torch.testing.assert_close(activated(nn.Sequential(layer), F.gelu, X), expected)
            with Names() as names:
                torch.testing.assert_close(activated(layer, F.gelu, X), expected)
            assert F.gelu in names.seen
            with torch.autocast("cpu", torch.bfloat16):
                assert activated(layer, F.gelu, X).dtype == torch.bfloat16
            assert activated(copy.deepcopy(layer).double(), F.gelu, X.double()).dtype == torch.float64
            with PackedProducts(layer, 8):
                torch.testing.assert_close(activated(layer, F.gelu, X), expected)
            with torch.enable_grad():
                activated(layer, F.gelu, X).sum().backward()
            assert layer.weight.grad is not None
            each = torch.func.vmap(lambda x: activated(layer, F.gelu, x))(X)
            with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
                activated(layer, F.gelu, X[..., 1:])
    torch.testing.assert_close(each, expected)
    assert set(seen) == {"plain"}


def test_a_compiler_reads_through_it(seen):
    layer = a_layer()
    with torch.no_grad(), FastProducts():
        expected = activated(layer, F.gelu, X)
        compiled = torch.compile(lambda x: activated(layer, F.gelu, x), backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(X), expected)
    assert seen.count(("gelu", "none")) == 1


def test_a_processor_whose_results_differ(seen, monkeypatch):
    """Its kernels are tried before the first use, and then not taken."""
    layers._is_equal.cache_clear()
    plain = few_rows.product
    monkeypatch.setattr(layers, "fused_product", lambda x, weight, bias, post: plain(x, weight, bias) * 1.00001)
    with torch.no_grad(), FastProducts():
        activated(a_layer(), F.gelu, X)
    layers._is_equal.cache_clear()
    assert seen == ["plain"]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("rows", [1, 5, 300])
def test_layers_with_8_bit_weights(name, rows, monkeypatch):
    """Results are the same, and the activation is computed in place where it can be."""
    torch.manual_seed(0)
    layer, activation = Int8Linear(nn.Linear(64, 80), torch.tensor([3, 40])), layers.activation(name)
    x = torch.randn(rows, 1, 64)
    finished, multiply = [], Int8Linear._multiplied

    def counting(self, flat, x, finish=None):
        finished.append(finish is not None)
        return multiply(self, flat, x, finish)

    monkeypatch.setattr(Int8Linear, "_multiplied", counting)
    with torch.no_grad():
        expected = activation(layer(x))
        found = activated(layer, activation, x)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert found.shape == (rows, 1, 80)
    assert finished == [False, name in FUSED | {"relu", "silu", "swish", "quick_gelu"}]


@pytest.mark.parametrize("add", HOOKS.values(), ids=HOOKS)
def test_hooks_of_layers_with_8_bit_weights(add):
    layer, calls = Int8Linear(a_layer()), []
    if add is HOOKS["a forward"]:
        layer.forward = lambda x: calls.append(1) or Int8Linear.forward(layer, x)
        handle = None
    else:
        handle = add(layer, calls)
    with torch.no_grad():
        activated(layer, F.gelu, X)
    if handle is not None:
        handle.remove()
    assert calls == [1]


def test_8_bit_layers_with_gradients_and_mixed_precision():
    layer = Int8Linear(a_layer())
    expected = F.gelu(layer(X))
    x = X.clone().requires_grad_()
    torch.testing.assert_close(activated(layer, F.gelu, x), expected)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(activated(layer, F.gelu, X), expected)
    with torch.no_grad(), pytest.raises(notebook_kit.errors.InputError, match="computes in float32"):
        activated(layer, F.gelu, X.double())


class Int8Adapter(Int8Linear):
    def forward(self, x):
        return super().forward(x) + 1


def test_layers_derived_from_8_bit_layers():
    table = nn.Embedding(20, 36)
    output = nn.Linear(36, 20)
    output.weight = table.weight
    with torch.no_grad():
        for layer in (Int8Adapter(a_layer()), Int8Output(output, None, 1, table)):
            torch.testing.assert_close(activated(layer, F.gelu, X), F.gelu(layer(X)))


ENCODERS = {
    "albert": "AutoModelForMaskedLM",
    "bert": "AutoModelForMaskedLM",
    "convnext": "AutoModel",
    "dinov2": "AutoModel",
    "distilbert": "AutoModelForMaskedLM",
    "electra": "AutoModelForMaskedLM",
    "gpt_neox": "AutoModelForCausalLM",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
    "mpnet": "AutoModel",
    "roberta": "AutoModelForMaskedLM",
    "swin": "AutoModel",
    "vit": "AutoModel",
}


def others():
    ids = torch.arange(5, 19).view(2, 7)
    with_end = torch.cat((ids, torch.full_like(ids[:, :1], 98)), dim=1)
    bart = notebook_kit.BartConfig(
        vocab_size=99, d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=48, decoder_ffn_dim=40
    )
    t5 = {"vocab_size": 99, "d_model": 32, "d_kv": 8, "num_heads": 4, "d_ff": 40, "num_layers": 1}
    gated = notebook_kit.T5Config(**t5, feed_forward_proj="gated-gelu")
    both = {"input_ids": ids, "decoder_input_ids": ids}
    clip = {"hidden_size": 32, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4}
    sound = {"conv_dim": (16,), "conv_kernel": (10,), "conv_stride": (5,)}
    return {
        "bart": (notebook_kit.BartModel(bart), both),
        "t5": (notebook_kit.T5Model(notebook_kit.T5Config(**t5)), both),
        "gated t5": (notebook_kit.T5Model(gated), both),
        "clip": (
            notebook_kit.CLIPTextModel(notebook_kit.CLIPTextConfig(**clip, vocab_size=99, eos_token_id=98)),
            {"input_ids": with_end},
        ),
        "wav2vec2": (
            notebook_kit.Wav2Vec2Model(notebook_kit.Wav2Vec2Config(**clip, **sound)),
            {"input_values": torch.arange(800.0).sin()[None]},
        ),
    }


@pytest.mark.parametrize("family", [*ENCODERS, "bart", "t5", "gated t5", "clip", "wav2vec2"])
def test_every_family_takes_it(family, seen, monkeypatch):
    torch.manual_seed(0)
    if family in ENCODERS:
        build = notebook_kit.models.auto.model_classes(family)[ENCODERS[family]]
        model = build(build.config_class(**ref.tiny_fields(family)))
        given = ref.batch(model.config)
    else:
        model, given = others()[family]
    model.eval()
    used = []
    monkeypatch.setattr(layers, "layer_product", lambda *args: used.append(1) or many_rows.layer_product(*args))
    with torch.no_grad():
        fast = model(**given)
        assert used
        monkeypatch.setattr(many_rows, "gain", lambda few, threads: 1.0)
        plain = model(**given)
    for name, value in plain.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(fast[name], value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [nn.Linear, Int8Linear])
@pytest.mark.parametrize("rows", [1, 2, 8, 200])
def test_gelu_of_few_numbers_is_not_computed_by_onednn(kind, rows, monkeypatch):
    layer, x = nn.Linear(36, 64), torch.randn(rows, 36)
    layer = layer if kind is nn.Linear else kind(layer)
    given: list[torch.Tensor] = []
    gelu, in_place = F.gelu, torch.ops.aten.gelu_
    if kind is nn.Linear:
        monkeypatch.setattr(layers, "F", Namespace(gelu=lambda x: given.append(x) or gelu(x)))
    else:
        monkeypatch.setattr(torch.ops.aten, "gelu_", lambda x: given.append(x) or in_place(x))
    with torch.no_grad():
        found = activated(layer, layers.F.gelu, x)
        torch.testing.assert_close(found, gelu(layer(x)), rtol=0, atol=1e-6)
    assert found.is_contiguous() and len(given) == 1
    assert given[0].is_contiguous() == (rows * 64 > layers.FEW)


@pytest.mark.parametrize("shape", [(0, 36), (1, 3, 36), (2, 1, 36)])
def test_gelu_of_any_number_of_numbers(shape):
    layer, x = nn.Linear(36, 5), torch.randn(shape)
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        with torch.no_grad():
            found, expected = activated(layer.to(dtype), F.gelu, x.to(dtype)), F.gelu(layer(x.to(dtype)))
        torch.testing.assert_close(found, expected)
        assert found.shape == expected.shape and found.dtype == dtype
