"""Products of many rows by oneDNN: what models compute stays the same, and what cannot be left to them is left to torch."""

from __future__ import annotations

from functools import partial

import pytest
import reference as ref
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

import notebook_kit
from notebook_kit import ablate_heads, record_attention
from notebook_kit.models.gpt2 import GPT2Projection
from notebook_kit.nn import few_rows, int8, many_rows
from notebook_kit.nn.many_rows import FastProducts, fast_products
from notebook_kit.pipelines.quantization import Int8Linear

pytestmark = pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")


@pytest.fixture
def counted(monkeypatch):
    """oneDNN is faster on every processor, and for the smallest products; those it computes are counted."""
    monkeypatch.setattr(many_rows, "gain", lambda few, threads: 2.0)
    monkeypatch.setattr(many_rows, "LEAST_WORK", 1)
    monkeypatch.setattr(many_rows, "LEAST_PRODUCT", 1)
    shapes, kinds = [], {"product": many_rows.product, "fused_product": many_rows.fused_product}

    def counting(name, x, weight, bias, **post):
        shapes.append(tuple(weight.shape))
        return kinds[name](x, weight, bias, **post)

    for name in kinds:
        monkeypatch.setattr(many_rows, name, partial(counting, name))
    return shapes


def linear_layers(model):
    return sum(isinstance(m, nn.Linear) or "Projection" in type(m).__name__ for m in model.modules())


FAMILIES = {
    "bert": "AutoModelForMaskedLM",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
    "vit": "AutoModelForImageClassification",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_computes_the_same(family, counted, monkeypatch):
    build = notebook_kit.models.auto.model_classes(family)[FAMILIES[family]]
    torch.manual_seed(0)
    model = build(build.config_class(**ref.tiny_fields(family))).eval()
    ref.randomize(model)
    given = ref.batch(model.config)
    with torch.no_grad():
        fast = model(**given).logits
        assert len(counted) >= linear_layers(model) - 1  # the class token's head may have one row
        monkeypatch.setattr(many_rows, "gain", lambda few, threads: 1.0)
        before = len(counted)
        plain = model(**given).logits
    assert len(counted) == before, "where the default is as fast, it multiplies"
    torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)


def test_the_encoder_of_a_model_that_generates(counted):
    torch.manual_seed(0)
    config = notebook_kit.BartConfig(
        vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=1, encoder_ffn_dim=48, decoder_ffn_dim=40
    )
    model = notebook_kit.BartForConditionalGeneration(config).eval()
    model.generate(torch.arange(5, 19).view(2, 7), max_new_tokens=2)
    assert counted[:12] == [*[(32, 32)] * 4, (48, 32), (32, 48)] * 2


def encoders():
    torch.manual_seed(0)
    bart = notebook_kit.BartConfig(vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=1, encoder_ffn_dim=48)
    t5 = notebook_kit.T5Config(vocab_size=99, d_model=32, d_kv=8, num_heads=4, d_ff=48, num_layers=2)
    vit = notebook_kit.ViTModel(notebook_kit.ViTConfig(**ref.tiny_fields("vit")))
    return {
        "bart": (notebook_kit.BartModel(bart).get_encoder(), [IDS]),
        "t5": (notebook_kit.T5Model(t5).get_encoder(), [IDS]),
        "vit": (vit.encoder, [torch.randn(2, 7, vit.config.hidden_size), None]),
    }


@pytest.mark.parametrize("family", ["bart", "t5", "vit"])
def test_an_encoder_that_is_called_alone(family, counted, monkeypatch):
    encoder, given = encoders()[family]
    encoder.eval()
    with torch.no_grad():
        fast = encoder(*given)[0]
        assert len(counted) == linear_layers(encoder)
        monkeypatch.setattr(many_rows, "gain", lambda few, threads: 1.0)
        plain = encoder(*given)[0]
    assert len(counted) == linear_layers(encoder)
    torch.testing.assert_close(fast, plain)


@pytest.fixture
def bert():
    torch.manual_seed(0)
    model = notebook_kit.BertModel(notebook_kit.BertConfig(**ref.tiny_fields("bert"))).eval()
    ref.randomize(model)
    return model


IDS = torch.arange(5, 19).view(2, 7)


def test_attention_is_recorded_and_heads_are_switched_off(bert, counted):
    with torch.no_grad(), record_attention(bert) as record:
        whole = bert(IDS).last_hidden_state
    with record_attention(bert) as expected:
        torch.testing.assert_close(whole, bert(IDS).last_hidden_state, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(record[0], expected[0].detach(), rtol=1e-5, atol=1e-5)
    with torch.no_grad(), ablate_heads(bert, [(0, 0)]):
        assert not torch.allclose(bert(IDS).last_hidden_state, whole) and counted


def test_gradients_mixed_precision_and_other_dtypes_are_left_to_torch(bert, counted):
    bert(IDS).last_hidden_state.sum().backward()
    assert all(p.grad is not None for name, p in bert.named_parameters() if "query" in name)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        bert(IDS)
    with torch.no_grad():
        assert bert.double()(IDS).last_hidden_state.dtype == torch.float64
    assert not counted


def test_gradients_that_a_part_switches_on(bert, counted):
    layer = nn.Linear(32, 32)
    with torch.no_grad(), FastProducts():
        layer(torch.ones(4, 32))
        with torch.enable_grad():
            layer(torch.ones(4, 32)).sum().backward()
    assert len(counted) == 1 and layer.weight.grad is not None


class Watching(TorchDispatchMode):
    """What counts operations, and fake tensors, see those of the default."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_watched_traced_and_transformed_calls_are_left_to_torch(bert, counted):
    with torch.no_grad():
        with Watching() as watching:
            expected = bert(IDS).last_hidden_state
        assert "aten.addmm.default" in watching.names
        each = torch.func.vmap(lambda ids: bert(ids[None]).last_hidden_state[0])(IDS)
        bert.requires_grad_(False)
        traced = torch.jit.trace(lambda ids: bert(ids).last_hidden_state, IDS, check_trace=False)
    assert not counted
    torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(traced(IDS), expected, rtol=1e-5, atol=1e-5)


def test_a_compiler_reads_through_the_choice_and_the_layers(bert, counted):
    """Without a break of its graph."""

    def call(states):
        with fast_products(bert, (states,), {}):
            return bert.encoder(states, None)[0]

    states = torch.randn(2, 7, bert.config.hidden_size)
    with torch.no_grad():
        expected = call(states)
        before = len(counted)
        compiled = torch.compile(call, backend="eager", fullgraph=True)(states)
    assert len(counted) == before > 0
    torch.testing.assert_close(compiled, expected, rtol=1e-5, atol=1e-5)


def test_a_part_that_is_compiled(bert, counted):
    expected = bert(IDS).last_hidden_state.detach()
    bert.encoder.layer[0] = torch.compile(bert.encoder.layer[0], backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(bert(IDS).last_hidden_state, expected, rtol=1e-5, atol=1e-5)


def test_other_shapes_are_errors_of_torch():
    with torch.no_grad(), FastProducts(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        nn.Linear(2048, 2048)(torch.ones(64, 1024))


def test_which_calls_it_is_for(bert, monkeypatch):
    """Not for a single row, as in each further token of a decoder, nor within another call, nor for little work."""
    monkeypatch.setattr(many_rows, "gain", lambda few, threads: 2.0 if not few else 1.0)
    ids, pixels = torch.ones(4, 64, dtype=torch.long), torch.ones(4, 3, 8, 8)

    def is_fast(*args, **kwargs):
        with fast_products(bert, args, kwargs) as context:
            return isinstance(context, FastProducts)

    with torch.no_grad():
        assert not is_fast(ids), "a small model"
        monkeypatch.setattr(many_rows, "LEAST_WORK", 1)
        assert is_fast(ids) and is_fast(input_ids=ids) and is_fast(pixel_values=pixels)
        assert not is_fast(ids[:1, :1]) and not is_fast(ids[:, :1]), "few rows, for which it is no faster here"
        encoded = notebook_kit.nn.outputs.BaseModelOutput(last_hidden_state=torch.ones(4, 64, 8))
        assert not is_fast(encoder_outputs=encoded, attention_mask=ids, decoder_input_ids=ids[:, :1])
        assert is_fast(encoder_outputs=encoded, attention_mask=ids, decoder_input_ids=ids)
        cache = notebook_kit.DynamicCache()
        first = {"encoder_outputs": encoded, "decoder_input_ids": ids[:, :1], "past_key_values": cache}
        assert is_fast(**first), "the first call with a cache multiplies the encoder's states"
        cache.update(0, torch.ones(4, 1, 1, 8), torch.ones(4, 1, 1, 8))
        assert not is_fast(**first)
        assert not is_fast()
        with FastProducts():
            assert not is_fast(ids)
        assert is_fast(ids)
    assert not is_fast(ids), "gradients"


def test_gain_is_measured_once():
    found = many_rows.gain(False, torch.get_num_threads())
    assert found > 0 and many_rows.gain(False, torch.get_num_threads()) is found


# ----------------------------------------------------------------------------------- unusual arguments and settings

X = torch.linspace(-1, 1, 8 * 36).view(8, 36)
WEIGHT = nn.Parameter(torch.linspace(-1, 2, 20 * 36).view(20, 36).cos())
BIAS = torch.linspace(1, 3, 20)
BIASES = {
    "one number repeated": torch.tensor([2.0]).expand(20),
    "every other number": torch.arange(40.0)[::2],
    "one number": torch.tensor([2.0]),
    "no dimension": torch.tensor(2.0),
    "one row": torch.ones(1, 20),
    "a bias per row": torch.arange(160.0).view(8, 20),
}


def linear(weight, bias):
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.weight, layer.bias = weight, nn.Parameter(bias)
    return layer


def projection(weight, bias):
    layer = GPT2Projection(*weight.shape)
    layer.weight, layer.bias = weight, nn.Parameter(bias)
    return layer


@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_biases_of_other_shapes_and_strides(bias, counted):
    """oneDNN reads a bias as contiguous memory of one number per output, whatever its strides and shape."""
    calls = [lambda: F.linear(X, WEIGHT, bias), lambda: torch.addmm(bias, X, TURNED)]
    for call in calls:
        with torch.no_grad():
            expected = call()
            with FastProducts():
                torch.testing.assert_close(call(), expected, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        for layer, x in ((linear(WEIGHT, bias), X), (projection(TURNED, bias), X[None])):
            with few_rows.PackedProducts(layer, 8):
                torch.testing.assert_close(layer(x).view_as(expected), expected, rtol=1e-5, atol=1e-5)


TURNED = nn.Parameter(WEIGHT.detach().t().contiguous())
FROZEN = nn.Parameter(WEIGHT.detach(), requires_grad=False)


def test_a_product_with_factors_and_parts_with_gradients(counted):
    with torch.no_grad():
        expected = torch.addmm(BIAS, X, TURNED, beta=0.5, alpha=2)
        each = torch.func.vmap(lambda weight: F.linear(X, weight, BIAS))(WEIGHT[None])
        with FastProducts():
            torch.testing.assert_close(torch.addmm(BIAS, X, TURNED, beta=0.5, alpha=2), expected)
            torch.testing.assert_close(torch.func.vmap(lambda weight: F.linear(X, weight, BIAS))(WEIGHT[None]), each)
            _, change = torch.func.jvp(lambda x: F.linear(x, WEIGHT, BIAS), (X,), (X,))
            traced = torch.jit.trace(lambda x: F.linear(x, FROZEN, BIAS), X)
            with torch.enable_grad():
                weight = nn.Parameter(WEIGHT.detach().clone())
                F.linear(X, weight, BIAS).sum().backward()
    torch.testing.assert_close(change, F.linear(X, WEIGHT).detach())
    torch.testing.assert_close(weight.grad, X.sum(0).expand(20, 36))
    assert "mkldnn" not in str(traced.graph)


def test_calls_of_layers_with_copies_that_torch_has_to_compute():
    layer = linear(WEIGHT, BIAS)
    packed = few_rows.PackedProducts(layer, 8)
    with torch.no_grad(), packed:
        expected = F.linear(X, WEIGHT, BIAS)
        each = torch.func.vmap(lambda x: layer(x[None])[0])(X)
        _, change = torch.func.jvp(layer, (X,), (X,))
        layer.requires_grad_(False)
        traced = torch.jit.trace(lambda x: layer(x), X, check_trace=False)  # the check multiplies once more
        compiled = torch.compile(layer, backend="eager")(X)
        layer.requires_grad_(True)
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(X).dtype == torch.bfloat16
        with torch.enable_grad():
            layer(X).sum().backward()
        layer(torch.cat([X] * 9))  # more rows than copies are for
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            layer(X[:, 1:])
        assert not packed._copies
        layer(X)
        assert len(packed._copies) == 1
    for found in (each, compiled, traced(X)):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(change, F.linear(X, WEIGHT).detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(layer.weight.grad, X.sum(0).expand(20, 36))
    assert "mkldnn" not in str(traced.graph)
    layer.weight.grad = None


def test_a_traced_single_row_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(few_rows, "SMALLEST_MODEL", 1)
    monkeypatch.setattr(few_rows, "timing", lambda rows, threads: few_rows.Timing(2.0, 1.0))
    layer = nn.Linear(36, 20).requires_grad_(False)
    with torch.no_grad():
        traced = torch.jit.trace(lambda x: few_rows.one_row(layer, x), X[:1])
    assert "mkldnn" not in str(traced.graph)


@pytest.fixture(params=["float64", "bfloat16", "a device"])
def other_default(request):
    for cached in (many_rows.gain, few_rows.timing, int8.best_product):
        cached.cache_clear()
    if request.param == "a device":
        torch.set_default_device("meta")
    else:
        torch.set_default_dtype(getattr(torch, request.param))
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_default_device(None)
    for cached in (many_rows.gain, few_rows.timing, int8.best_product):
        cached.cache_clear()


def test_timing_under_other_defaults_of_torch(other_default):
    """A program may set a default dtype or device for its own tensors, while a model is in float32 on the CPU."""
    layer = nn.Linear(64, 32, dtype=torch.float32, device="cpu")
    x = torch.ones(4, 64, dtype=torch.float32, device="cpu")
    kinds = (
        few_rows.timing(4, 1).plain,
        few_rows.timing(1, 1).plain,
        many_rows.gain(False, 1),
        many_rows.gain(True, 1),
    )
    assert min(kinds) > 0
    rounded = Int8Linear(layer)
    with torch.no_grad():
        assert rounded(x).dtype == torch.float32 and float((rounded(x) - layer(x)).abs().max()) < 0.03
        assert float((rounded.to_float()(x) - layer(x)).abs().max()) < 0.03
