"""Fast kernels for a few rows give what the usual ones give, and are used where they pay."""

from __future__ import annotations

import copy
import pickle
import threading

import pytest
import torch
from oracle import BATCH, NAMES, ONE, PAD, both, pair

import notebook_kit
from notebook_kit.nn import few_rows, many_rows
from notebook_kit.nn.few_rows import PackedProducts, Timing

pytestmark = pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")
ENDS = list(range(54, 68))


@pytest.fixture
def counted(monkeypatch):
    """Packing pays for the smallest models and on any processor; and what is multiplied with copies is counted."""
    monkeypatch.setattr(few_rows, "SMALLEST_MODEL", 1)
    monkeypatch.setattr(
        few_rows, "timing", lambda rows, *others: Timing(plain=3.0, other=2.0, packed=1.0, copying=20.0)
    )
    assert [few_rows.available(dtype) for dtype in few_rows.KINDS]  # tried before products are counted
    products, product = [], few_rows.product

    def counting(x, weight, bias):
        products.append((x.shape[:-1].numel(), str(weight.layout)))
        return product(x, weight, bias)

    monkeypatch.setattr(few_rows, "product", counting)
    return products


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2}], ids=str)
@pytest.mark.parametrize("model_type", NAMES)
def test_packed_products_change_no_token(counted, model_type, settings):
    """Against the oracle, which knows nothing of it."""
    torch.manual_seed(4)
    settings = {"max_new_tokens": 20, "eos_token_id": ENDS, **settings}
    made = []
    for model in pair(model_type):
        torch.manual_seed(3)
        made.append(model.generate(**BATCH, **settings, pad_token_id=PAD).tolist())
    assert made[0] == made[1]
    layers = sum(
        isinstance(m, torch.nn.Linear) or "Projection" in type(m).__name__ for m in pair(model_type)[0].modules()
    )
    steps = len(counted) / layers
    assert steps == int(steps) >= 2 and {layout for _, layout in counted} == {"torch._mkldnn"}


def test_a_forward_of_mixed_precision_is_left_alone(counted, monkeypatch):
    """As training in mixed precision leaves it: autocast is switched on within the model's own forward."""
    model = pair(next(iter(NAMES)))[0]
    settings = {"max_new_tokens": 20, "min_new_tokens": 20, "pad_token_id": PAD}
    with torch.autocast("cpu", torch.bfloat16):
        expected = model.generate(**BATCH, **settings)
    monkeypatch.setattr(model, "forward", torch.autocast("cpu", torch.bfloat16)(model.forward))
    assert torch.equal(model.generate(**BATCH, **settings), expected) and not counted


def test_an_encoder_decoder_packs_its_decoder(counted):
    config = notebook_kit.BartConfig(
        vocab_size=99, d_model=32, encoder_layers=2, decoder_layers=2, encoder_ffn_dim=48, decoder_ffn_dim=48
    )
    model = notebook_kit.BartForConditionalGeneration(config).eval()
    settings = {"num_beams": 4, "max_new_tokens": 20, "min_new_tokens": 20}
    packed = model.generate(BATCH["input_ids"], **settings)
    assert len(counted) % 19 == 0 and {rows for rows, _ in counted} == {16}  # the first step is made as always
    few_rows.SMALLEST_MODEL = 1 << 40  # (put back by the fixture)
    before = len(counted)
    assert packed.tolist() == model.generate(BATCH["input_ids"], **settings).tolist() and len(counted) == before


def test_copies_are_used_in_place_of_oneDNN_on_the_weights_as_they_are(counted, monkeypatch):
    """Where both would pay, in the same step: copies are faster for few rows."""
    monkeypatch.setattr(many_rows, "gain", lambda few, threads: 2.0)
    monkeypatch.setattr(many_rows, "LEAST_WORK", 1)
    monkeypatch.setattr(many_rows, "LEAST_PRODUCT", 1)
    model = pair("llama")[0]
    model.generate(**BATCH, max_new_tokens=20, min_new_tokens=20, pad_token_id=PAD)
    assert len(counted) > 100 and {layout for _, layout in counted} == {"torch._mkldnn"}
    with torch.no_grad(), PackedProducts(model, rows=4), many_rows.fast_products(model, (), BATCH) as inner:
        assert not isinstance(inner, many_rows.FastProducts)
    many = {"input_ids": torch.ones(8, 64, dtype=torch.long)}
    with torch.no_grad(), PackedProducts(model, rows=4), many_rows.fast_products(model, (), many) as inner:
        assert isinstance(inner, many_rows.FastProducts), "more rows than copies are for"


def test_where_it_does_not_pay(counted, monkeypatch):
    model = pair("gpt2")[0]
    assert few_rows.packing_pays(model, 4, 20)
    assert (
        not few_rows.packing_pays(model, 1, 20)
        and not few_rows.packing_pays(model, 99, 20)
        and not few_rows.packing_pays(model, 4, 3)
    )
    assert not few_rows.packing_pays(torch.nn.Linear(2, 2, dtype=torch.float64), 4, 20)
    assert not few_rows.packing_pays(torch.nn.Linear(2, 2), 1, 20), "of one row in float32, too little"
    assert not few_rows.packing_pays(torch.nn.Identity(), 4, 20)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not few_rows.packing_pays(model, 4, 20)
    monkeypatch.setattr(
        few_rows, "timing", lambda rows, *others: Timing(plain=1.05, other=1.0, packed=1.0, copying=0.0)
    )
    assert not few_rows.packing_pays(model, 4, 1000), "hardly a gain on this processor"
    monkeypatch.setattr(few_rows, "SMALLEST_MODEL", 1 << 20)
    assert not few_rows.packing_pays(model, 4, 20)


@pytest.mark.skipif(not few_rows.available(torch.bfloat16), reason="a processor without such products")
@pytest.mark.parametrize("copies", [1, 3])
def test_in_bfloat16_single_rows_use_copies_too(counted, copies):
    kept = pair("gpt2")[0]
    model = type(kept)(kept.config).eval().to(torch.bfloat16)
    settings = {"max_new_tokens": 20, "min_new_tokens": 20, "do_sample": True, "num_return_sequences": copies}
    settings |= {"pad_token_id": PAD, "output_logits": True, "return_dict_in_generate": True}
    assert few_rows.packing_pays(model, copies, 20)
    out = model.generate(ONE["input_ids"], **settings)
    layers = sum("Projection" in type(m).__name__ or type(m) is torch.nn.Linear for m in model.modules())
    assert counted == [(copies, "torch._mkldnn")] * (19 * layers)
    with torch.no_grad():
        expected = model(out.sequences).logits[:, -21:-1]
    torch.testing.assert_close(torch.stack(out.logits, dim=1), expected.float(), atol=0.02, rtol=0.02)


def test_what_does_not_fit_is_multiplied_as_always(monkeypatch):
    layers = [torch.nn.Linear(16, 16) for _ in range(3)]
    monkeypatch.setattr(few_rows, "MOST_BYTES", 2 * 16 * 16 * 4)
    packed = PackedProducts(torch.nn.ModuleList(layers), rows=4)
    with torch.no_grad(), packed:
        for layer in layers * 2:
            torch.testing.assert_close(layer(torch.ones(4, 16)), torch.ones(4, 16) @ layer.weight.T + layer.bias)
    assert packed.left == 0 and sum(copy is not None for *_, copy in packed._copies.values()) == 2


def test_layers_are_as_before_after_each_step(counted):
    """Also a copy that is made meanwhile, a layer with a `forward` of another library, and a step that fails."""
    model = pair("llama")[0]
    layers = [layer for layer in model.modules() if isinstance(layer, torch.nn.Linear)]
    other = layers[0].forward = lambda x: torch.nn.functional.linear(x, layers[0].weight)
    x = torch.randn(3, layers[1].in_features)
    with torch.no_grad():
        expected = layers[1](x)
        with PackedProducts(model, 3), PackedProducts(model, 3):
            assert layers[0].forward is other and len([x for x in layers if "forward" in vars(x)]) == len(layers)
            copies = copy.deepcopy(layers[1]), pickle.loads(pickle.dumps(layers[1]))
            used = []
            thread = threading.Thread(target=lambda: used.append((len(counted), layers[1](x), len(counted))))
            thread.start()
            thread.join()
            torch.testing.assert_close(layers[1](x), expected)
        with pytest.raises(ValueError), PackedProducts(model, 3):
            raise ValueError
    assert used[0][0] == used[0][2] < len(counted), "other threads multiply as always"
    del layers[0].forward
    assert not any("forward" in vars(layer) for layer in layers)
    before = len(counted)
    for one in copies:
        torch.testing.assert_close(one(x), expected)
        assert one.forward.args[0] is one
    assert len(counted) == before


def test_weights_that_changed_are_copied_anew(counted):
    """Copies are those of one call: training may go on in between."""
    ours, _ = pair("gpt2")
    model = type(ours)(ours.config).eval()
    model.load_state_dict(ours.state_dict())
    settings = {"max_new_tokens": 16, "eos_token_id": None, "pad_token_id": PAD}
    before = model.generate(**BATCH, **settings)
    with torch.no_grad():
        model.transformer.h[0].mlp.c_fc.weight.mul_(-2)
    after = model.generate(**BATCH, **settings)
    assert after.tolist() != before.tolist() and counted
    model.load_state_dict(ours.state_dict())
    assert model.generate(**BATCH, **settings).tolist() == before.tolist()


@pytest.mark.parametrize("inference", [False, True])
def test_weights_that_a_callback_changes_are_copied_anew(counted, inference):
    """In place, or by other numbers in their place; also while not even versions are counted."""
    with torch.inference_mode(inference):
        layer, x = torch.nn.Linear(32, 24), torch.ones(4, 32)
        with torch.no_grad(), PackedProducts(layer, 4) as packed:
            left = [(layer(x), packed.left)[1]]
            if not inference:
                layer.load_state_dict({"weight": torch.full((24, 32), 2.0), "bias": torch.zeros(24)})
                torch.testing.assert_close(layer(x), torch.full((4, 24), 64.0))
                layer.weight.mul_(2)
                torch.testing.assert_close(layer(x), torch.full((4, 24), 128.0))
            layer.weight.data = torch.ones(24, 32)
            layer.bias.data.zero_()
            torch.testing.assert_close(layer(x), torch.full((4, 24), 32.0))
            assert {*left, packed.left} == {few_rows.MOST_BYTES - 24 * 32 * 4}, "the former copies are freed"
    assert {layout for _, layout in counted} == {"torch._mkldnn"}


def test_layers_that_are_called_in_other_ways(counted, monkeypatch):
    """With named arguments, without any, and with a `forward` of the class that a library has replaced."""
    layer, x = torch.nn.Linear(32, 24), torch.ones(4, 32)
    with torch.no_grad(), PackedProducts(layer, 4):
        torch.testing.assert_close(layer(input=x), layer(x))
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'input'"):
            layer()
    counted.clear()
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda self, x: x + 1)
    with torch.no_grad(), PackedProducts(layer, 4):
        assert torch.equal(layer(x), x + 1) and torch.equal(few_rows.one_row(layer, x[:1]), x[:1] + 1)
    assert not counted


def test_one_row_of_a_layer_that_others_have_changed(counted):
    layer, x, seen = torch.nn.Linear(32, 24), torch.ones(1, 32), []
    handle = torch.nn.modules.module.register_module_forward_hook(lambda *given: seen.append(given))
    with torch.no_grad():
        few_rows.one_row(layer, x)
        handle.remove()
        assert len(seen) == 1 and not counted
        few_rows.one_row(layer, x)
        assert counted
        layer.forward = lambda x: x + 1
        assert torch.equal(few_rows.one_row(layer, x), x + 1)


def test_products_are_timed_once_per_process(monkeypatch):
    spent = few_rows.timing(4, torch.get_num_threads())
    assert min(spent.plain, spent.other, spent.packed, spent.copying) > 0 and spent.layout in (4, few_rows.MOST_ROWS)
    assert few_rows.timing(1, torch.get_num_threads()).packed == float("inf"), "no copy is created for one row"
    assert few_rows.timing(4, torch.get_num_threads()) is spent


@pytest.mark.parametrize("gain", [2.0, 0.5])
def test_one_row(gain, monkeypatch):
    monkeypatch.setattr(few_rows, "SMALLEST_MODEL", 1)
    monkeypatch.setattr(few_rows, "timing", lambda rows, *others: Timing(plain=gain, other=1.0))
    used = []
    monkeypatch.setattr(few_rows, "product", lambda *given: used.append(1) or torch.nn.functional.linear(*given))
    layer = torch.nn.Linear(64, 40)
    x = torch.randn(1, 1, 64)
    expected = layer(x)
    with torch.no_grad():
        torch.testing.assert_close(few_rows.one_row(layer, x), expected)
        torch.testing.assert_close(few_rows.one_row(layer, x.expand(3, 1, 64)), expected.expand(3, 1, 40))
        seen = []
        handle = layer.register_forward_hook(lambda *_: seen.append(1))
        torch.testing.assert_close(few_rows.one_row(layer, x), expected)
        handle.remove()
        assert seen == [1]
        half = torch.nn.Linear(64, 40, dtype=torch.float64)
        assert few_rows.one_row(half, x.double()).dtype == torch.float64
    few_rows.one_row(layer, x).sum().backward()
    assert layer.weight.grad is not None
    assert bool(used) == (gain > 1), "the default kernel where it is faster"


def test_the_oracle_agrees_on_single_rows():
    mine, theirs = both("llama", ONE, max_new_tokens=30, eos_token_id=None)
    assert mine.tolist() == theirs.tolist()


def test_a_processor_without_the_kernels(monkeypatch):
    def refuses(*_):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(few_rows, "laid_out", refuses)
    few_rows.available.cache_clear()
    try:
        assert not few_rows.available() and not few_rows.packing_pays(torch.nn.Linear(2000, 2000), 4, 20)
        layer, x = torch.nn.Linear(8, 8), torch.ones(1, 1, 8)
        with torch.no_grad():
            assert torch.equal(few_rows.one_row(layer, x), layer(x))
    finally:
        few_rows.available.cache_clear()
