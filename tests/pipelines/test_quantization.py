"""8-bit layers: near the exact ones, in every family and task; and quantized checkpoints, which are refused."""

from __future__ import annotations

import copy
import json
import pickle
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
import reference as ref
import torch
from pipeline_helpers import TEXTS, assert_same, ours
from safetensors.torch import load_file, save_file
from torch import nn

import notebook_kit
from notebook_kit import (
    BertConfig,
    EncoderDecoderConfig,
    EncoderDecoderModel,
    GPT2Config,
    GPT2LMHeadModel,
    ablate_heads,
    pipeline,
    record_attention,
)
from notebook_kit.errors import CheckpointError, InputError
from notebook_kit.models.auto import config_class, model_classes
from notebook_kit.nn import int8
from notebook_kit.pipelines.quantization import FEWEST_OUTPUTS, Int8Linear, Int8Output, dequantized, quantized
from notebook_kit.zoo import sample


@pytest.mark.parametrize("shape", [(1, 64), (7, 64), (2, 3, 64), (0, 64)])
@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_is_near_the_exact_one(shape, bias):
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 48, bias=bias)
    x = torch.randn(shape)
    rounded = Int8Linear(linear)(x)
    assert rounded.shape == linear(x).shape
    # Each of 64 products is off by at most half a step of either factor.
    assert torch.allclose(rounded, linear(x), atol=0.03)


@pytest.mark.parametrize("product", int8._candidates(), ids=lambda product: product.name)
@pytest.mark.parametrize("columns", [None, torch.tensor([3, 40])])
@pytest.mark.parametrize("size", [1e10, 1.0, 1e-3, 1e-5])
def test_states_of_any_size_have_as_many_steps(product, columns, size, monkeypatch):
    if not int8._is_exact(product):
        pytest.skip("not on this processor")
    monkeypatch.setattr("notebook_kit.pipelines.quantization.best_product", lambda rows=int8.MANY: product)
    torch.manual_seed(0)
    linear, x = nn.Linear(512, 100, bias=False), size * torch.randn(3, 512)
    layer = Int8Linear(linear, columns)
    for given in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        for rows in (x, x[:1]):
            expected = linear(rows)
            assert (given(rows) - expected).norm() < 0.02 * expected.norm()


def test_rows_of_zeros_stay_numbers():
    assert torch.isfinite(Int8Linear(torch.nn.Linear(32, 16))(torch.zeros(3, 32))).all()


def test_an_outlier_in_one_token_does_not_touch_the_others():
    torch.manual_seed(0)
    layer = Int8Linear(torch.nn.Linear(32, 16))
    x = torch.randn(4, 32)
    before = layer(x)
    x[2] *= 1000
    assert torch.equal(layer(x)[[0, 1, 3]], before[[0, 1, 3]])


@pytest.mark.parametrize("product", int8._candidates(), ids=lambda product: product.name)
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_values_that_are_not_numbers_stay_seen(value, rows, product, monkeypatch):
    """A NaN must not become a plausible number, for a single token as for several."""
    if not int8._is_exact(product):
        pytest.skip("not on this processor")
    monkeypatch.setattr("notebook_kit.pipelines.quantization.best_product", lambda rows=int8.MANY: product)
    x = torch.ones(rows, 64)
    x[-1, 40] = float(value)
    for columns in (None, torch.tensor([3]), torch.tensor([40])):
        found = Int8Linear(torch.nn.Linear(64, 32), columns)(x)
        assert not found[-1].isfinite().any() and found[:-1].isfinite().all()


@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_inputs_that_are_much_larger_are_multiplied_exactly(kind, monkeypatch):
    """As in trained models, where a few columns of the states hold values that would stretch the steps of all others."""
    auto = {"bert": "AutoModelForMaskedLM", "vit": "AutoModelForImageClassification"}[kind]
    build = model_classes(kind)[auto]
    wide = {"hidden_size": 96, "intermediate_size": 96}
    model = build(build.config_class(**ref.tiny_fields(kind, **wide))).eval()
    ref.randomize(model)
    for name, parameter in model.named_parameters():
        if "LayerNorm.weight" in name or ("layernorm" in name and "weight" in name):
            parameter.data[7] = 60.0
    given = ref.batch(model.config)
    errors = {}
    with torch.no_grad():
        expected = flat(model(**given))
        for share in (48, 10_000):
            monkeypatch.setattr("notebook_kit.pipelines.quantization.COLUMNS_PER_EXACT", share)
            coarse = quantized(model)
            errors[share] = (flat(coarse(**given)) - expected).norm() / expected.norm()
            layer = next(module for module in coarse.modules() if isinstance(module, Int8Linear))
            assert (7 in layer.columns) == (share == 48)
    assert errors[48] < 0.5 * errors[10_000]


@pytest.mark.parametrize("product", int8._candidates(), ids=lambda product: product.name)
def test_a_product_is_exact_or_not_taken(product, monkeypatch):
    """Rounded activations and weights are multiplied as whole numbers, whatever instructions the processor has."""
    if not int8._is_exact(product):
        assert int8.best_product() != product
        pytest.skip("inexact on this processor")
    monkeypatch.setattr("notebook_kit.pipelines.quantization.best_product", lambda rows: product)
    torch.manual_seed(0)
    linear, x = nn.Linear(40, 24), torch.randn(5, 40)
    layer = Int8Linear(linear)
    step = (x.amax(1, keepdim=True) - x.amin(1, keepdim=True)) / 255
    weight = product.unpack(layer.packed).double() * layer.scale[:, None]
    zero = (x.amin(1, keepdim=True) / step).round()
    expected = ((((x / step - zero).round().clamp(0, 255)) + zero) * step).double() @ weight.t() + linear.bias
    assert torch.allclose(layer(x).double(), expected, atol=1e-6)
    for row in range(5):  # a row by itself gives the same
        assert torch.allclose(layer(x[row : row + 1]).double(), expected[row : row + 1], atol=1e-5)
    for copied in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(copied(x), layer(x))


def test_a_layer_from_a_processor_with_other_products(monkeypatch):
    products = {product.levels: product for product in int8._candidates() if int8._is_exact(product)}
    if len(products) < 2:
        pytest.skip("only one kind of product is exact here")
    torch.manual_seed(0)
    linear, x = nn.Linear(40, 24), torch.randn(5, 40)
    for here, there in ((127, 64), (64, 127)):
        monkeypatch.setattr("notebook_kit.pipelines.quantization.best_product", lambda rows, here=here: products[here])
        written = pickle.dumps(Int8Linear(linear))
        monkeypatch.setattr(
            "notebook_kit.pipelines.quantization.best_product", lambda rows, there=there: products[there]
        )
        assert torch.allclose(pickle.loads(written)(x), linear(x), atol=0.06)


TIED = {
    "text-generation": ("notebook-kit/tiny-gpt2", "And the LORD said unto"),
    "summarization": (
        "notebook-kit/tiny-summarizer",
        "A fox saw grapes high on a vine. It jumped, and could not reach them.",
    ),
}


@pytest.mark.parametrize("task", TIED)
def test_the_likeliest_next_tokens_have_exact_logits(task):
    name, text = TIED[task]
    pipe = pipeline(task, model=name, device="cpu", quantize="int8")
    exact = pipeline(task, model=name, device="cpu").model.get_output_embeddings()

    def output_of(model):
        return next(module for module in model.modules() if isinstance(module, Int8Output))

    layer = output_of(pipe.model)
    torch.manual_seed(0)
    for copied in (layer, output_of(copy.deepcopy(pipe.model)), pickle.loads(pickle.dumps(layer))):
        with torch.no_grad():
            for shape in ((1, 1), (4, 1), (2, 3), (0, 1)):
                x = torch.randn(*shape, layer.in_features)
                found, expected = copied(x), exact(x)
                likeliest = expected.topk(20).indices
                assert torch.allclose(found.gather(-1, likeliest), expected.gather(-1, likeliest), atol=1e-4)
                assert torch.equal(found.argmax(-1), expected.argmax(-1))
                assert not found.numel() or not torch.allclose(found, expected, atol=1e-5), "the rest is rounded"
            long = torch.randn(70, layer.in_features)
            assert torch.equal(copied(long), Int8Linear._multiplied(copied, long, long))
    assert pipe(text)
    memory = sum(part.numel() for part in layer.state_dict().values() if part.dtype == torch.float32)
    assert memory < exact.weight.numel() / 10, "the embeddings are not held twice"


def test_weights_are_in_the_state_dict():
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Linear(40, 24)) for _ in range(2)]
    first, second = map(quantized, models)
    x = torch.randn(5, 40)
    second.load_state_dict(first.state_dict())
    assert torch.equal(second(x), first(x))
    for edit in (lambda state: state.pop("0.weight"), lambda state: state.update({"0.weight": models[0][0].weight})):
        state = first.state_dict()
        edit(state)
        with pytest.raises(RuntimeError, match=r"0\.weight"):
            second.load_state_dict(state)


def test_weights_of_a_model_with_other_states_are_loaded():
    models = []
    for factor in (1.0, 60.0):
        torch.manual_seed(0)
        model = GPT2LMHeadModel(GPT2Config(n_embd=192, n_layer=1, n_head=2, vocab_size=99, n_positions=16)).eval()
        with torch.no_grad():
            model.transformer.ln_f.weight[5] *= factor  # one column of the states holds most of the sum of squares
        models.append(quantized(model))
    assert len({len(model.lm_head.columns) for model in models}) == 2, "not the same number of exact columns"
    ids = torch.tensor([[5, 6, 7]])
    for source, target in (models, models[::-1]):
        loaded = copy.deepcopy(target)
        loaded.load_state_dict(source.state_dict())
        for given in (ids, ids[:, :1]):
            assert torch.equal(loaded(given).logits, source(given).logits)
        assert loaded.lm_head._share == pytest.approx(source.lm_head._share)


def test_exact_columns_of_another_number_do_not_half_load():
    layers = [Int8Linear(nn.Linear(48, 32), torch.arange(count)) for count in (2, 3)]
    state = layers[0].state_dict()
    del state["exact"]
    with pytest.raises(RuntimeError, match="exact"):
        layers[1].load_state_dict(state)


@pytest.mark.parametrize("rows", [int8.ONE, int8.MANY])
def test_layers_with_the_same_columns_take_different_ones(rows):
    torch.manual_seed(0)
    layers, x = [nn.Linear(48, 32) for _ in range(2)], torch.randn(5, 48)
    x[:, 1] = 9
    same = torch.tensor([1, 2])
    ours = nn.ModuleList(Int8Linear(layer, same, rows) for layer in layers)
    others = [torch.tensor([1, 2]), torch.tensor([3, 4])]
    given = nn.ModuleList(Int8Linear(*both, rows) for both in zip(layers, others, strict=True))
    before = [layer(x) for layer in ours]
    ours.load_state_dict(given.state_dict())
    assert all(torch.equal(layer(x), other(x)) for layer, other in zip(ours, given, strict=True))
    assert torch.equal(ours[0](x), before[0]) and not torch.equal(ours[1](x), before[1])


@pytest.mark.parametrize(("task", "name"), [("sentiment-analysis", "tiny-sentiment"), ("text-generation", "tiny-gpt2")])
def test_a_vocabulary_with_8_bits_is_not_resized(task, name):
    model = pipeline(
        task,
        model=f"notebook-kit/{name}",
        device="cpu",
        quantize="int8",
    ).model
    ids, size = torch.tensor([[5, 6, 7]]), model.config.vocab_size
    before = model(ids).logits
    with pytest.raises(InputError, match=r"resize dequantized\(model\)"):
        model.resize_token_embeddings(size + 8)
    assert model.config.vocab_size == size and torch.equal(model(ids).logits, before)
    assert dequantized(model).resize_token_embeddings(size + 8).num_embeddings == size + 8


def test_a_model_is_not_saved_with_8_bits(tmp_path):
    pipe = pipeline("sentiment-analysis", model="notebook-kit/tiny-sentiment", device="cpu", quantize="int8")
    with pytest.raises(InputError, match=r"dequantized\(model\)"):
        pipe.model.save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()
    dequantized(pipe.model).save_pretrained(tmp_path / "saved")


def test_a_trace_keeps_no_memory_of_its_thread(monkeypatch):
    product = int8._int_mm()  # torch traces it, unlike oneDNN's
    monkeypatch.setattr("notebook_kit.pipelines.quantization.best_product", lambda rows=int8.MANY: product)
    torch.manual_seed(0)
    linear = nn.Linear(64, 32)
    model, x, more = quantized(nn.Sequential(linear)), torch.randn(3, 64), torch.randn(2000, 64)
    traced = torch.jit.trace(model, x, check_trace=False)
    assert torch.allclose(traced(more), linear(more), atol=0.05)
    inputs = [torch.randn(3, 64) for _ in range(4)]
    expected = [model(one) for one in inputs]

    def differ(index: int) -> int:
        return sum(not torch.equal(traced(inputs[index]), expected[index]) for _ in range(300))

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(differ, range(4))) == 0


def test_a_layer_in_several_places_stays_one():
    torch.manual_seed(0)
    layer = nn.Linear(64, 64)
    model = nn.Sequential(layer, nn.Sequential(layer), layer)
    rounded = quantized(model)
    assert rounded[0] is rounded[1][0] is rounded[2] and isinstance(rounded[0], Int8Linear)
    back = dequantized(rounded)
    assert back[0] is back[1][0] is back[2] and type(back[0]) is nn.Linear


def test_layers_whose_weights_torch_reads_stay():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(32, 64), nn.TransformerEncoderLayer(64, 4, 64, batch_first=True)).eval()
    rounded, x = quantized(model), torch.randn(2, 5, 32)
    with torch.no_grad():
        assert isinstance(rounded[0], Int8Linear) and torch.allclose(rounded(x), model(x), atol=0.1)


def test_a_processor_without_fast_products_says_so(monkeypatch, caplog):
    monkeypatch.setattr("notebook_kit.pipelines.quantization.seconds", lambda product, rows: 2.0)
    monkeypatch.setattr("notebook_kit.pipelines.quantization.float_seconds", lambda rows: 1.0)
    quantized(nn.Sequential(nn.Linear(40, 32)))
    assert "2.0 times as long as those of float32" in caplog.text


def test_attention_is_recorded_and_heads_are_switched_off():
    torch.manual_seed(0)
    model = notebook_kit.BertModel(notebook_kit.BertConfig(**ref.tiny_fields("bert"))).eval()
    coarse = quantized(model)
    ids = torch.arange(5, 12)[None]
    with torch.no_grad(), record_attention(coarse) as record, record_attention(model) as exact:
        whole = coarse(ids).last_hidden_state
        model(ids)
    assert len(record) == len(exact) and torch.allclose(record[0], exact[0], atol=0.02)
    with torch.no_grad(), ablate_heads(coarse, [(0, 0)]):
        assert not torch.allclose(coarse(ids).last_hidden_state, whole)
    loss = model(ids).last_hidden_state.square().mean()
    loss.backward()  # the model that was copied still trains
    assert all(parameter.grad is not None for name, parameter in model.named_parameters() if "query" in name)


def test_a_pipeline_with_8_bits(checkpoints, tmp_path):
    folder = checkpoints("ForSequenceClassification", num_labels=3)
    exact = ours("text-classification", folder)
    coarse = ours("text-classification", folder, quantize="int8")
    kinds = [type(module) for module in coarse.model.modules()]
    assert kinds.count(Int8Linear) == 13
    assert kinds.count(torch.nn.Linear) == 1, "the head of three labels is kept exact"
    assert_same(coarse(TEXTS, top_k=None)[0], exact(TEXTS, top_k=None)[0], within=0.05)
    assert "quantize='int8'" in repr(coarse) and "13 layers in 8 bits" in repr(coarse)
    with pytest.raises(InputError, match="cannot be saved"):
        coarse.save_pretrained(tmp_path)


def test_the_given_model_is_left_as_it_is(checkpoints):
    exact = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3))
    quantized(exact.model)
    assert not any(isinstance(module, Int8Linear) for module in exact.model.modules())


@pytest.mark.parametrize("task", ["sentiment-analysis", "text-generation", "image-classification"])
def test_turned_back_it_trains_and_is_saved(task, tmp_path):
    exact = pipeline(task, model="zoo", device="cpu").model
    coarse = quantized(exact)
    model = dequantized(coarse)
    assert [type(module) for module in model.modules()] == [type(module) for module in exact.modules()]
    size = exact.config.image_size if task == "image-classification" else 0
    given = (
        {"pixel_values": ref.pixels(size)}
        if size
        else {"input_ids": (torch.arange(5, 17) * torch.arange(1, 33)[:, None]) % 900}
    )
    with torch.no_grad():
        logits = [one(**given).logits for one in (exact, coarse, model)]
    assert (logits[1] - logits[2]).norm() < (logits[1] - logits[0]).norm()  # activations are exact again
    head = model.get_output_embeddings()
    assert head is None or head.weight is model.get_input_embeddings().weight
    before = {name: value.clone() for name, value in model.named_parameters()}
    model.train()(**given).logits.square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    moved = [name for name, value in model.named_parameters() if not torch.equal(value, before[name])]
    assert any("layer" in name or ".h." in name for name in moved) and len(moved) > len(before) // 2
    model.save_pretrained(tmp_path)
    again = type(exact).from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(again[name], value) for name, value in model.state_dict().items())
    assert any(isinstance(module, Int8Linear) for module in coarse.modules())
    with pytest.raises(InputError, match="has no 8-bit layers"):
        dequantized(model)


def test_what_cannot_be_quantized(checkpoints):
    model = ours("text-classification", checkpoints("ForSequenceClassification", num_labels=3)).model
    with pytest.raises(InputError, match="Did you mean 'int8'"):
        quantized(model, "int4")
    with pytest.raises(InputError, match="bfloat16"):
        ours(
            "text-classification",
            checkpoints("ForSequenceClassification", num_labels=3),
            quantize="int8",
            dtype="bfloat16",
        )


SEQ2SEQ = {"d_model": 32, "vocab_size": 99, "num_labels": 3, "decoder_start_token_id": 0}
BART = {**SEQ2SEQ, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
BART |= {"encoder_ffn_dim": 40, "decoder_ffn_dim": 48, "max_position_embeddings": 40, "pad_token_id": 1}
T5 = {**SEQ2SEQ, "d_kv": 8, "d_ff": 48, "num_layers": 1, "num_heads": 4}
FIELDS = {**dict.fromkeys(("bart", "m2m_100", "mbart", "marian"), BART), **dict.fromkeys(("t5", "mt5"), T5)}


def flat(output):
    """The first float tensor of an output: logits, scores of places, or states."""
    return next(value for value in output.values() if isinstance(value, torch.Tensor) and value.is_floating_point())


# (A pair of two families quantizes the layers of both.)
@pytest.mark.parametrize("family", [name for name in ref.reading("text") if name != "encoder-decoder"])
def test_every_family_and_task(family):
    """All matrices but tables and small heads are rounded, and scores stay near the exact ones."""
    for auto, kind in model_classes(family).items():
        torch.manual_seed(0)
        config = config_class(family)(**(FIELDS.get(family) or {**ref.tiny_fields(family), "pad_token_id": 0}))
        model = kind(config).eval()
        ref.randomize(model)
        coarse = quantized(model)
        left = {
            name
            for name, module in coarse.named_modules()
            for weight in module.parameters(recurse=False)
            if weight.dim() == 2 and not isinstance(module, nn.Embedding) and max(weight.shape) >= FEWEST_OUTPUTS
        }
        small = {n for n, m in model.named_modules() if isinstance(m, nn.Linear) and m.out_features < FEWEST_OUTPUTS}
        assert left == small, (auto, left ^ small)
        assert sum(isinstance(module, Int8Linear) for module in coarse.modules()) >= 6
        given = {"input_ids": torch.randint(4, 90, (2, 9), generator=torch.Generator().manual_seed(1))}
        if auto == "AutoModelForMultipleChoice":
            given["input_ids"] = given["input_ids"].view(2, 1, 9)
        if family in FIELDS and auto in ("AutoModel", "AutoModelForSeq2SeqLM"):
            given["decoder_input_ids"] = given["input_ids"]
        if family in FIELDS and auto == "AutoModelForSequenceClassification":
            given["input_ids"][:, -1] = config.eos_token_id
        with torch.no_grad():
            exact, rounded = flat(model(**given)), flat(coarse(**given))
        assert exact.shape == rounded.shape and exact.std() > 0
        limit = 0.1 if family in ("t5", "mt5") else 0.05  # T5's attention is not scaled, which magnifies differences
        limit *= 127 / int8.best_product().levels  # the error is proportional to the step between weights
        assert (exact - rounded).norm() / exact.norm() < limit, auto


def test_a_pair_of_two_families():
    parts = [
        BertConfig(**ref.tiny_fields("bert"), **edits)
        for edits in ({}, {"is_decoder": True, "add_cross_attention": True})
    ]
    config = EncoderDecoderConfig.from_encoder_decoder_configs(*parts, decoder_start_token_id=1, pad_token_id=0)
    torch.manual_seed(0)
    model = EncoderDecoderModel(config).eval()
    ref.randomize(model)
    coarse = quantized(model)
    large = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features >= FEWEST_OUTPUTS]
    assert sum(isinstance(module, Int8Linear) for module in coarse.modules()) == len(large) > 2 * 6
    ids = torch.randint(4, 90, (2, 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact, rounded = (one(ids, decoder_input_ids=ids).logits for one in (model, coarse))
    assert (exact - rounded).norm() / exact.norm() < 0.05 * 127 / int8.best_product().levels
    assert coarse.generate(ids, max_new_tokens=3, do_sample=False).shape[0] == 2


@pytest.mark.parametrize(
    ("task", "model"),
    [
        ("text-generation", "tiny-gpt2"),
        ("summarization", "tiny-summarizer"),
        ("sentiment-analysis", "tiny-sentiment"),
    ],
)
def test_an_embedded_model_stays_as_good(task, model):
    """Of the tokens (or labels) that the exact model thinks best, nearly all stay best."""
    exact = pipeline(task, model=f"notebook-kit/{model}", device="cpu")
    coarse = pipeline(task, model=f"notebook-kit/{model}", device="cpu", quantize="int8")
    ids = exact.tokenizer(" ".join(TEXTS), truncation=True, max_length=120, return_tensors="pt").input_ids
    given = {"input_ids": ids, "decoder_input_ids": ids} if task == "summarization" else {"input_ids": ids}
    with torch.no_grad():
        best, rounded = exact.model(**given).logits.log_softmax(-1), coarse.model(**given).logits.log_softmax(-1)
    assert (best.argmax(-1) == rounded.argmax(-1)).float().mean() > 0.9
    # The cross-entropy of the exact model's own predictions rises by less than 1 %.
    own = best.exp()
    assert -(own * rounded).sum(-1).mean() < -(own * best).sum(-1).mean() * 1.01
    if task == "text-generation":
        assert coarse("The city", max_new_tokens=5, do_sample=False)


EMBEDDED = {
    "image-classification": [sample("cat.jpg")],
    "object-detection": [sample("scene_1.webp")],
    "automatic-speech-recognition": [sample("colours.ogg")],
    "vqa": [sample("scene_1.webp"), "How many things are there?"],
    "image-to-text": [sample("scene_1.webp")],
    "summarization": [" ".join(TEXTS)],
}


@pytest.mark.parametrize("task", EMBEDDED)
def test_pictures_sounds_and_encoder_decoders(task):
    """Attention of a model in 8 bits is near that of the exact one, and heads are switched off."""
    exact = pipeline(task, model="zoo", device="cpu")
    coarse = pipeline(task, model="zoo", device="cpu", quantize="int8")
    given = [str(one) for one in EMBEDDED[task]]
    assert sum(isinstance(module, Int8Linear) for module in coarse.model.modules()) >= 6
    records, states = [], []
    for pipe in (exact, coarse):
        seen = []
        handle = pipe.model.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(flat(output)))
        with record_attention(pipe.model) as record:
            assert pipe(*given)
        handle.remove()
        records.append(record)
        states.append(seen[0])
    sites = [next(iter(record.sites)) for record in records]
    weights, rounded = (record.steps(site.layer, site.kind)[0] for record, site in zip(records, sites, strict=True))
    assert weights.shape == rounded.shape and (weights - rounded).abs().mean() < 0.02
    assert (states[0] - states[1]).norm() / states[0].norm() < 0.25
    handle = coarse.model.register_forward_hook(lambda module, inputs, output: states.append(flat(output)))
    with ablate_heads(coarse.model, [(sites[1].layer, 0)]):
        coarse(*given)
    handle.remove()
    assert not torch.equal(states[2], states[1])
    assert not any(isinstance(module, Int8Linear) for module in exact.model.modules())


def test_models_of_the_oracle():
    theirs = ref.reference_model("gpt2", "GPT2LMHeadModel")
    coarse = quantized(theirs)
    ids = torch.arange(8)[None]
    assert sum(isinstance(module, Int8Linear) for module in coarse.modules()) == 4 * 3 + 1
    assert torch.allclose(coarse(ids).logits, theirs(ids).logits, atol=0.3)


def test_nothing_to_round():
    with pytest.raises(InputError, match="has no linear layers with 16 outputs"):
        quantized(nn.Sequential(nn.Linear(40, 3)))
    with pytest.raises(InputError, match="A LayerNorm is not a linear layer"):
        Int8Linear(nn.LayerNorm(4))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_kinds_of_numbers_are_refused(dtype):
    torch.manual_seed(0)
    layer, x = Int8Linear(nn.Linear(64, 32)), torch.randn(3, 64)
    with pytest.raises(InputError, match=f"computes in float32; its input is .* of {str(dtype)[6:]}.*\n.*dequantized"):
        layer(x.to(dtype))
    model = quantized(notebook_kit.BertModel(BertConfig(**ref.tiny_fields("bert"))).eval())
    with pytest.raises(InputError, match="computes in float32"):
        model.to(dtype)(input_ids=torch.tensor([[1, 2]]))


def test_mixed_precision_leaves_8_bits_as_they_are():
    torch.manual_seed(0)
    layer, x = Int8Linear(nn.Linear(64, 32)), torch.randn(3, 64)
    expected = layer(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(layer(x), expected)
        calls: list[int] = []
        hook = layer.register_forward_hook(lambda *_: calls.append(1))
        assert torch.allclose(layer(x.bfloat16()), expected, atol=0.05)
        hook.remove()
        assert calls == [1]
    model = quantized(notebook_kit.BertModel(BertConfig(**ref.tiny_fields("bert"))).eval())
    ids = torch.tensor([[1, 2, 3]])
    exact = model(input_ids=ids).last_hidden_state
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.allclose(model(input_ids=ids).last_hidden_state.float(), exact, atol=0.1)


@pytest.fixture
def folder(tmp_path):
    tiny = notebook_kit.BertConfig(**ref.tiny_fields("bert"))
    notebook_kit.BertForSequenceClassification(tiny).save_pretrained(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", ["int8", "uint8", "int64", "bool"])
@pytest.mark.parametrize("dtype", [None, "auto", "float16"])
def test_whole_numbers_are_not_weights(folder, kind, dtype):
    file = folder / "model.safetensors"
    tensors = load_file(file)
    name = "bert.encoder.layer.0.output.dense.weight"
    save_file({**tensors, name: (tensors[name] * 100).to(getattr(torch, kind))}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{name}' of .* holds {kind} values"):
        notebook_kit.AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype)


@pytest.mark.parametrize("settings", [{"quant_method": "bitsandbytes", "load_in_8bit": True}, {"quant_method": "gptq"}])
def test_a_quantized_checkpoint_is_refused(folder, settings):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "quantization_config": settings}))
    for kind in (notebook_kit.BertModel, notebook_kit.AutoModel):
        with pytest.raises(CheckpointError, match=f"quantized by {settings['quant_method']}"):
            kind.from_pretrained(folder)


def test_requests_for_quantized_weights(folder):
    load = notebook_kit.AutoModelForSequenceClassification.from_pretrained
    for options in (
        {"quantization_config": notebook_kit.BitsAndBytesConfig(load_in_8bit=True)},
        {"quantization_config": {"load_in_8bit": True}},
        {"load_in_8bit": True},
    ):
        with pytest.raises(InputError, match=r'cannot be loaded in 8 bits.*\n.*quantize="int8"'):
            load(folder, **options)
    with pytest.raises(InputError, match="in the format of a object"):
        load(folder, quantization_config=object())
    for options in (
        {"quantization_config": None},
        {"load_in_8bit": False, "load_in_4bit": False},
        {"quantization_config": notebook_kit.BitsAndBytesConfig()},
    ):
        assert load(folder, **options).config.to_dict().get("quantization_config") is None
    with pytest.raises(InputError, match="both True"):
        notebook_kit.BitsAndBytesConfig(load_in_8bit=True, load_in_4bit=True)


@pytest.mark.parametrize("value", [True, False])
def test_the_kind_of_weights_is_named(checkpoints, value):
    with pytest.raises(InputError, match=f'quantize is {value}.*\n→ Pass quantize="int8"'):
        ours("text-classification", checkpoints("ForSequenceClassification"), quantize=value)


@pytest.mark.parametrize(
    "task, name",
    [
        ("text-generation", "tiny-gpt2"),
        ("summarization", "tiny-summarizer"),
        ("sentiment-analysis", "tiny-sentiment"),
        ("automatic-speech-recognition", "tiny-speech"),
    ],
)
def test_rounded_weights_count_as_parameters(task, name):
    exact, rounded = (
        pipeline(task, model=f"notebook-kit/{name}", device="cpu", **o) for o in ({}, {"quantize": "int8"})
    )
    for options in ({}, {"exclude_embeddings": True}):
        assert rounded.model.num_parameters(**options) == exact.model.num_parameters(**options)
    assert rounded.model.num_parameters(only_trainable=True) < exact.model.num_parameters() / 2
    assert re.search(r"[\d.]+ M", repr(rounded))[0] == re.search(r"[\d.]+ M", repr(exact))[0]
    sizes = [pipe.model.get_memory_footprint() for pipe in (rounded, exact)]
    assert exact.model.num_parameters() < sizes[0] < sizes[1]
    again = pickle.loads(pickle.dumps(rounded.model))
    assert (again.num_parameters(), again.get_memory_footprint()) == (exact.model.num_parameters(), sizes[0])
