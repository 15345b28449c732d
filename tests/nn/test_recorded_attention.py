"""The one door of attention: what is recorded, what is switched off, and what neither costs when nobody looks."""

from __future__ import annotations

import copy
import threading
import weakref

import pytest
import reference as ref
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

import notebook_kit
from notebook_kit.errors import InputError
from notebook_kit.models.auto import model_classes
from notebook_kit.nn.attention import AttentionSite, attend, sites_of
from notebook_kit.nn.layers import merge_heads
from notebook_kit.nn.masks import padding_mask

IDS = torch.tensor([[5, 9, 17, 33, 2]])


def fresh(model_type="bert", head="AutoModel", **edits):
    torch.manual_seed(0)
    kind = model_classes(model_type)[head]
    return kind(kind.config_class(**ref.tiny_fields(model_type, **edits))).eval()


class OpsSeen(TorchDispatchMode):
    """The operations that run, and the sizes of what they make."""

    def __init__(self):
        super().__init__()
        self.names, self.shapes = [], []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        self.names.append(func.overloadpacket.__name__)
        self.shapes += [tuple(leaf.shape) for leaf in tree_iter(out) if isinstance(leaf, torch.Tensor)]
        return out


class PeakMemory(TorchDispatchMode):
    """The most bytes of fresh tensors alive at one time."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self.known = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_iter(out):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                if storage._cdata not in self.known:
                    self.known.add(storage._cdata)
                    self.now += storage.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(storage, self.freed, storage._cdata, storage.nbytes())
        return out

    def freed(self, key, size):
        self.known.discard(key)
        self.now -= size


# Recording -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("padding", [True, False], ids=["padded", "full"])
@pytest.mark.parametrize("model_type", ref.model_types())
def test_recorded_weights_equal_the_references(model_type, padding, tmp_path):
    name = model_classes(model_type)["AutoModelForTokenClassification"].__name__
    reference = ref.reference_model(model_type, name)
    model = ref.ours_of(name).from_pretrained(ref.saved(reference, tmp_path))
    given = ref.batch(reference.config, padding)
    with torch.no_grad():
        expected = reference(**given, output_attentions=True).attentions
        plain = model(**given)
        with notebook_kit.record_attention(model) as record:
            watched = model(**given)
        with notebook_kit.record_attention(model, layers=[1]) as one:
            model(**given)
    ref.assert_same_output(watched, plain)
    assert list(record) == list(range(len(expected))) and len(record) == len(expected)
    for layer, weights in enumerate(expected):
        torch.testing.assert_close(record[layer], weights, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(record[layer].sum(-1), torch.ones(3, 4, 9))
    assert list(one) == [1]
    torch.testing.assert_close(one[1], record[1], rtol=1e-5, atol=1e-5)


def test_each_call_leaves_a_step():
    model = fresh()
    with notebook_kit.record_attention(model, layers=[0, 2]) as record:
        model(IDS)
        model(IDS[:, :3])
    assert [weights.shape[-1] for weights in record.steps(2)] == [5, 3]
    assert record[2].shape == (1, 4, 3, 3)
    assert "(1, 4, 5, 5)" in repr(record)
    model(IDS)
    assert len(record.steps(2)) == 2  # the block is over


def test_recordings_nest():
    model = fresh()
    with notebook_kit.record_attention(model, layers=[0, 1]) as outer:
        with notebook_kit.record_attention(model, layers=[1, 2]) as inner:
            model(IDS)
        model(IDS)
    assert len(outer.steps(0)) == len(outer.steps(1)) == 2
    assert len(inner.steps(1)) == len(inner.steps(2)) == 1
    assert torch.equal(inner[1], outer.steps(1)[0])


def test_only_the_named_model_is_recorded():
    model, other = fresh(), fresh()
    with notebook_kit.record_attention(model) as record:
        other(IDS)
    assert all(record.steps(layer) == [] for layer in record)
    head = fresh(head="AutoModelForMaskedLM")
    with notebook_kit.record_attention(head.bert) as record:
        head(IDS)
    assert record[0].shape == (1, 4, 5, 5)
    with notebook_kit.record_attention(torch.nn.ModuleDict({"student": model}), layers=[1]) as record:
        model(IDS)
    assert record[1].shape == (1, 4, 5, 5)


def test_a_copy_is_another_model():
    model = fresh()
    twin = copy.deepcopy(model)
    expected = model(IDS).last_hidden_state
    with notebook_kit.record_attention(model) as record, notebook_kit.ablate_heads(model, {(0, 0)}):
        assert torch.equal(twin(IDS).last_hidden_state, expected)
        assert record.steps(0) == []


def test_another_threads_forward_is_not_seen():
    model = fresh()
    results = {}

    def elsewhere():
        results["out"] = model(IDS).last_hidden_state

    expected = model(IDS).last_hidden_state
    with notebook_kit.record_attention(model) as record, notebook_kit.ablate_heads(model, {(0, 0), (1, 1)}):
        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        assert all(record.steps(layer) == [] for layer in record)
        assert torch.equal(results["out"], expected)
        assert not torch.equal(model(IDS).last_hidden_state, expected)
    assert record[0].shape == (1, 4, 5, 5)


def test_gradients_flow_through_a_record_that_is_not_cut_off():
    model = fresh()
    with notebook_kit.record_attention(model, layers=[1], detach=False) as record:
        model(IDS)
    record[1].square().sum().backward()
    assert model.encoder.layer[1].attention["self"].query.weight.grad.any()
    with notebook_kit.record_attention(model, layers=[1]) as record:
        model(IDS)
    assert not record[1].requires_grad


def test_weights_are_those_before_dropout():
    model = fresh(attention_probs_dropout_prob=0.9).train()
    with notebook_kit.record_attention(model) as record:
        model(IDS)
    torch.testing.assert_close(record[2].sum(-1), torch.ones(1, 4, 5))


def test_wrong_layers_and_heads():
    model = fresh()
    with (
        pytest.raises(InputError, match=r"no layer 3.*\n.*layers are 0 to 2"),
        notebook_kit.record_attention(model, [3]),
    ):
        pass
    with notebook_kit.record_attention(model, layers=[1]) as record:
        with pytest.raises(InputError, match="Nothing is recorded for layer 1 yet"):
            record[1]
        with pytest.raises(InputError, match=r"Layer 0 is not in this record.*\n.*\[1\]"):
            record[0]
    with pytest.raises(InputError, match=r"no head 4 in layer 1.*\n.*heads 0 to 3"):
        notebook_kit.ablate_heads(model, {(1, 4)}).__enter__()
    with pytest.raises(InputError, match=r"no head 0 in layer 7.*\n.*layers are 0 to 2"):
        notebook_kit.ablate_heads(model, {(7, 0)}).__enter__()
    with pytest.raises(InputError, match="no head -1"):
        notebook_kit.ablate_heads(model, {(0, -1)}).__enter__()
    with pytest.raises(InputError, match="Linear has no attention"):
        notebook_kit.record_attention(torch.nn.Linear(2, 2)).__enter__()
    with pytest.raises(InputError, match="no attention of kind 'cross'"):
        notebook_kit.record_attention(model, kinds=["cross"]).__enter__()
    with pytest.raises(InputError, match="no attention of kind 'cross'"):
        notebook_kit.ablate_heads(model, {(0, 0)}, kind="cross").__enter__()


def test_an_error_inside_the_block_ends_the_watch():
    model = fresh()
    with pytest.raises(ZeroDivisionError), notebook_kit.record_attention(model):
        raise ZeroDivisionError
    with OpsSeen() as seen:
        model(IDS)
    assert not any("softmax" in name for name in seen.names)


# Cost ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model_type", ref.model_types())
def test_nobody_looking_costs_nothing(model_type):
    """No softmax is called and no layer makes a matrix of weights. (MPNet's bias is one of its own, once for all layers.)"""
    model = fresh(model_type)
    given = {"input_ids": torch.full((2, 23), 7), "attention_mask": torch.ones(2, 23)}
    given["attention_mask"][1, 20:] = 0
    with torch.no_grad(), OpsSeen() as seen:
        model(**given)
    assert not any("softmax" in name for name in seen.names)
    matrices = [shape for shape in seen.shapes if len(shape) == 4 and shape[1] == 4 and shape[2:] == (23, 23)]
    assert len(matrices) <= (3 if model_type == "mpnet" else 0)
    with torch.no_grad(), OpsSeen() as seen, notebook_kit.record_attention(model, layers=[1]):
        model(**given)
    assert sum("softmax" in name for name in seen.names) == 4  # one layer, head by head


def test_one_layer_of_twelve_costs_an_eighth_of_all():
    """Of the bytes kept, and of what the whole forward takes at its peak beyond one that records nothing."""
    model = fresh(num_hidden_layers=12, max_position_embeddings=256)
    ids = torch.full((1, 256), 7)

    def peak(layers):
        with torch.no_grad(), PeakMemory() as memory:
            if layers is None:
                model(ids)
                return memory.peak, 0
            with notebook_kit.record_attention(model, layers=layers) as record:
                model(ids)
            kept = sum(weights.numel() * weights.element_size() for layer in record for weights in record.steps(layer))
            return memory.peak, kept

    one_matrix = 4 * 256 * 256 * 4
    bare, _ = peak(None)
    one, kept_one = peak([3])
    everything, kept_all = peak(range(12))
    assert kept_one == one_matrix and kept_all == 12 * one_matrix
    assert kept_one <= kept_all / 8
    assert everything - bare > 11 * one_matrix
    assert one - bare <= (everything - bare) / 8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", ref.model_types())
def test_mixed_precision(model_type, dtype):
    """Under autocast, with a row of nothing but padding: finite, fused or recorded, forward and backward."""
    model = fresh(model_type, "AutoModelForSequenceClassification").train()
    given = ref.batch(model.config)
    given["attention_mask"][2] = 0
    expected = model(**given).logits
    for layers in (None, [1]):
        model.zero_grad()
        with torch.autocast("cpu", dtype=dtype):
            if layers is None:
                out = model(**given, labels=torch.tensor([0, 1, 2]))
            else:
                with notebook_kit.record_attention(model, layers=layers) as record:
                    out = model(**given, labels=torch.tensor([0, 1, 2]))
                assert record[1].isfinite().all()
        torch.testing.assert_close(out.logits.float(), expected, rtol=0.05, atol=0.05)
        out.loss.backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())


# Switching heads off -------------------------------------------------------------------------------------------------


def output_projection(model, layer):
    """The linear layer behind attention of layer `layer`, found by the names that checkpoints use."""
    names = {
        "bert": f"encoder.layer.{layer}.attention.output.dense",
        "electra": f"encoder.layer.{layer}.attention.output.dense",
        "layoutlm": f"encoder.layer.{layer}.attention.output.dense",
        "roberta": f"encoder.layer.{layer}.attention.output.dense",
        "distilbert": f"transformer.layer.{layer}.attention.out_lin",
        "mpnet": f"encoder.layer.{layer}.attention.attn.o",
    }
    return model.base_model.get_submodule(names[model.base_model_prefix])


@pytest.mark.parametrize("recording", [False, True], ids=["fused", "recorded"])
@pytest.mark.parametrize("model_type", [name for name in ref.model_types() if name != "albert"])
def test_ablated_heads_contribute_nothing(model_type, recording):
    """As if the columns that the output projection has for these heads were zero."""
    model = fresh(model_type, "AutoModelForSequenceClassification")
    ref.randomize(model)
    given = ref.batch(model.config)
    heads = {(0, 3), (2, 1), (2, 2)}
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for layer, head in heads:
            output_projection(twin, layer).weight[:, head * 8 : head * 8 + 8] = 0
        expected = twin(**given).logits
        plain = model(**given).logits
        with notebook_kit.ablate_heads(model, heads):
            if recording:
                with notebook_kit.record_attention(model, layers=[2]) as record:
                    out = model(**given).logits
                assert not record[2][:, 1:3].any() and record[2][:, [0, 3]].any()
            else:
                out = model(**given).logits
        torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(out, plain, atol=1e-3)
        assert torch.equal(model(**given).logits, plain)


def test_ablation_in_albert_is_of_one_step_alone():
    """The weights are shared by all steps, so the columns are zeroed in the call of that step only."""
    model = fresh("albert", "AutoModelForSequenceClassification")
    ref.randomize(model)
    given = ref.batch(model.config)
    assert [site.layer for site in sites_of(model)] == list(range(8))
    with torch.no_grad():
        for step, head in [(0, 3), (1, 0), (4, 2), (7, 1)]:
            group = model.albert.encoder.albert_layer_groups[step // 4]
            layer = group["albert_layers"][step % 2]
            calls = []

            def zeroed(module, inputs, calls=calls, step=step, head=head):
                calls.append(1)
                place = (step % 4) // 2  # which of the group's two passes through this layer
                if len(calls) - 1 == place:
                    x = inputs[0].clone()
                    x[..., head * 8 : head * 8 + 8] = 0
                    return (x,)
                return None

            hook = layer.attention.dense.register_forward_pre_hook(zeroed)
            expected = model(**given).logits
            hook.remove()
            assert len(calls) == 2
            with notebook_kit.ablate_heads(model, {(step, head)}):
                out = model(**given).logits
            torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
            assert not torch.allclose(out, model(**given).logits, atol=1e-4)


def test_ablations_nest_and_train():
    model = fresh().train()
    with notebook_kit.ablate_heads(model, {(0, 0)}):
        with notebook_kit.ablate_heads(model, {(0, 1)}):
            both = model(IDS).last_hidden_state
        model(IDS).last_hidden_state.square().sum().backward()
    with notebook_kit.ablate_heads(model, {(0, 0), (0, 1)}):
        assert torch.equal(model(IDS).last_hidden_state, both)
    value = model.encoder.layer[0].attention["self"].value.weight.grad
    assert not value[:8].any() and value[8:16].any()
    with notebook_kit.ablate_heads(model, []):
        model(IDS)


# attend itself -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("offsets", ["none", "mask", "bias", "both"])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attend_equals_its_formula(is_causal, offsets, scale):
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 4, 7, 8) for _ in range(3))
    mask = padding_mask(torch.tensor([[1] * 7, [1] * 4 + [0] * 3]), q.dtype) if offsets in ("mask", "both") else None
    bias = torch.randn(1, 4, 7, 7) if offsets in ("bias", "both") else None
    module = torch.nn.Module()
    module.sites = [AttentionSite(0, 4)]
    site = module.sites[0]

    def run():
        return attend(q, k, v, site=site, mask=mask, bias=bias, scale=scale, is_causal=is_causal)

    scores = torch.einsum("bhqd,bhkd->bhqk", q, k) * (8**-0.5 if scale is None else scale)
    scores = scores + (0 if mask is None else mask) + (0 if bias is None else bias)
    if is_causal:
        scores = scores.masked_fill(~torch.ones(7, 7).tril().bool(), float("-inf"))
    expected = torch.einsum("bhqk,bhkd->bhqd", scores.softmax(-1), v)
    torch.testing.assert_close(run(), expected, rtol=1e-5, atol=1e-5)
    with notebook_kit.record_attention(module) as record:
        torch.testing.assert_close(run(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(record[0], scores.softmax(-1), rtol=1e-5, atol=1e-5)
    assert merge_heads(expected).shape == (2, 7, 32)


def test_padding_mask():
    assert padding_mask(None, torch.float32) is None
    assert padding_mask(torch.ones(2, 3), torch.float32) is None
    mask = padding_mask(torch.tensor([[1, 1, 0]]), torch.float16)
    assert mask.shape == (1, 1, 1, 3) and mask.dtype == torch.float16
    assert mask.flatten().tolist() == [0, 0, torch.finfo(torch.float16).min]
    assert padding_mask(torch.tensor([[True, False]]), torch.float32).shape == (1, 1, 1, 2)
    square = torch.ones(1, 3, 3).tril()
    assert padding_mask(square, torch.float32).shape == (1, 1, 3, 3)


def test_a_mask_for_each_pair_of_tokens():
    """`(batch, from, to)`: with a causal one, a later token changes nothing before it."""
    model = fresh()
    mask = torch.ones(1, 5, 5).tril()
    other = IDS.clone()
    other[0, 4] = 50
    first = model(IDS, attention_mask=mask).last_hidden_state
    second = model(other, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(first[:, :4], second[:, :4])
    assert not torch.allclose(first[:, 4], second[:, 4])


def test_padding_does_not_change_a_text():
    for model_type in ref.model_types():
        model = fresh(model_type)
        given = ref.batch(model.config)
        with torch.no_grad():
            together = model(**given).last_hidden_state
            for row, length in enumerate([9, 6, 1]):
                inputs = {name: given[name][row : row + 1, :length] for name in given if name != "attention_mask"}
                alone = model(**inputs).last_hidden_state
                torch.testing.assert_close(together[row, :length], alone[0], rtol=1e-5, atol=1e-5)


def test_heads_by_layer():
    model = fresh()
    with notebook_kit.ablate_heads(model, {0: [0, 1], 1: {1}}):
        by_layer = model(IDS).last_hidden_state
    with notebook_kit.ablate_heads(model, [(0, 0), (0, 1), (1, 1)]):
        by_pairs = model(IDS).last_hidden_state
    assert torch.equal(by_layer, by_pairs) and not torch.equal(by_layer, model(IDS).last_hidden_state)
    for wrong in ({0: 1}, [3], [(0, "a")], 5, "ab", None):
        with pytest.raises(InputError, match="does not name heads"), notebook_kit.ablate_heads(model, wrong):
            pass


@pytest.mark.parametrize("wrong", ["notebook-kit/tiny-gpt2", None, 3])
def test_attention_is_recorded_in_a_model(wrong):
    for block in (notebook_kit.record_attention(wrong), notebook_kit.ablate_heads(wrong, [(0, 0)])):
        with pytest.raises(InputError, match="Attention is recorded in a model"), block:
            pass
