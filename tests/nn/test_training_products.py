"""Products by oneDNN in training: gradients stay the same, and what cannot be left to them is left to torch."""

from __future__ import annotations

import pytest
import reference as ref
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

import notebook_kit
from notebook_kit import fast_training
from notebook_kit.errors import InputError
from notebook_kit.nn import few_rows, many_rows, training_products
from notebook_kit.nn.many_rows import FastProducts
from notebook_kit.nn.training_products import TrainingProducts, is_faster, products_for

pytestmark = pytest.mark.skipif(not few_rows.available(), reason="this torch has no such kernels")


@pytest.fixture(autouse=True)
def counted(monkeypatch):
    """oneDNN is faster on every processor, and for the smallest products; those it computes are counted."""
    monkeypatch.setattr(training_products, "gain", lambda threads: 2.0)
    for name in ("LEAST_WORK", "LEAST_PRODUCT", "LEAST_ROWS"):
        monkeypatch.setattr(training_products, name, 1)
    shapes, product = [], training_products.product

    def counting(x, weight, bias):
        shapes.append((tuple(x.shape), tuple(weight.shape)))
        return product(x, weight, bias)

    monkeypatch.setattr(training_products, "product", counting)
    return shapes


def gradients(call, *tensors, within=TrainingProducts):
    """The result of a call and the gradients of these tensors, with `within` around the forward and backward pass."""
    for tensor in tensors:
        tensor.grad = None
    with within():
        result = call()
        result.square().sum().backward()
    return [result.detach(), *(tensor.grad for tensor in tensors)]


def assert_same(call, *tensors):
    for fast, plain in zip(gradients(call, *tensors), gradients(call, *tensors, within=torch.enable_grad), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-4)


FAMILIES = {
    "bert": "AutoModelForMaskedLM",
    "gpt2": "AutoModelForCausalLM",
    "llama": "AutoModelForCausalLM",
    "vit": "AutoModelForImageClassification",
}


def model_of(family):
    build = notebook_kit.models.auto.model_classes(family)[FAMILIES[family]]
    torch.manual_seed(0)
    model = build(build.config_class(**ref.tiny_fields(family))).eval()
    ref.randomize(model)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_has_the_same_gradients(family, counted):
    model = model_of(family)
    given = ref.batch(model.config)
    found = []
    for within in (TrainingProducts, torch.enable_grad):
        model.zero_grad()
        with within():
            model(**given).logits.square().mean().backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    layers = sum(isinstance(m, nn.Linear) or "Projection" in type(m).__name__ for m in model.modules())
    assert len(counted) >= 3 * (layers - 1)
    expected = found[1]
    assert found[0].keys() == expected.keys() and len(expected) > 10
    for name, grad in found[0].items():
        largest = float(expected[name].abs().max())
        torch.testing.assert_close(grad, expected[name], rtol=1e-4, atol=1e-5 * largest + 1e-7)


# ------------------------------------------------------------------------------------------------ shapes and arguments

X = torch.linspace(-1, 1, 8 * 36).view(8, 36)
BIASES = {
    "none": None,
    "plain": torch.linspace(1, 3, 20),
    "one number repeated": torch.tensor([2.0]).expand(20),
    "every other number": torch.arange(40.0)[::2],
    "a bias per row": torch.arange(160.0).view(8, 20),
}
INPUTS = {
    "rows": lambda: torch.randn(8, 36),
    "many rows": lambda: torch.randn(3, 43, 36),
    "four dimensions": lambda: torch.randn(2, 3, 5, 36),
    "every other row": lambda: torch.randn(16, 36)[::2],
    "turned": lambda: torch.randn(36, 9).t(),
    "heads": lambda: torch.randn(2, 4, 7, 9).transpose(1, 2).flatten(2),
    "part of each row": lambda: torch.randn(8, 72)[:, 3:39],
    "repeated": lambda: torch.randn(1, 36).expand(8, 36),
    "one vector": lambda: torch.randn(36),
    "one row": lambda: torch.randn(1, 36),
    "no row": lambda: torch.randn(0, 36),
}


def weight_of(out=20, columns=36):
    torch.manual_seed(0)
    return nn.Parameter(torch.randn(out, columns))


@pytest.mark.parametrize("make", INPUTS.values(), ids=INPUTS)
def test_inputs_of_any_shape_and_strides(make):
    weight, bias = weight_of(), nn.Parameter(torch.linspace(1, 3, 20))
    x = make().detach()
    leaf = x.clone().requires_grad_()
    view = leaf.as_strided(x.shape, x.stride()) if x.shape == leaf.shape and x.stride() == leaf.stride() else leaf
    assert_same(lambda: F.linear(view * 1.0, weight, bias), leaf, weight, bias)
    assert_same(lambda: F.linear(x, weight, bias), weight, bias)
    if x.dim() == 2:
        turned = nn.Parameter(weight.detach().t().contiguous())
        assert_same(lambda: torch.addmm(bias, x, turned), turned, bias)


@pytest.mark.parametrize("bias", BIASES.values(), ids=BIASES)
def test_biases_of_other_shapes_and_strides(bias):
    weight = weight_of()
    assert_same(lambda: F.linear(X, weight, bias), weight)


def test_gradients_that_are_one_number_repeated(counted):
    weight, x = weight_of(), X.clone().requires_grad_()
    with TrainingProducts():
        F.linear(x, weight, None).sum().backward()
    torch.testing.assert_close(weight.grad, X.sum(0).expand(20, 36))
    torch.testing.assert_close(x.grad, weight.detach().sum(0).expand(8, 36))
    assert len(counted) == 3


def test_only_the_gradients_that_are_needed(counted):
    kept = []
    weight, x = weight_of(), X.clone().requires_grad_()

    def shapes(tensor):
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(shapes, lambda tensor: tensor), TrainingProducts():
        frozen = F.linear(x, weight.detach(), None).sum()  # as the layers beneath adapters
        first = F.linear(X, weight, None).sum()
        F.linear(X, weight.detach(), None)
    assert kept == [(36, 20), (8, 36)], "as torch keeps them"
    counted.clear()
    with TrainingProducts():
        frozen.backward()
        first.backward()
    assert len(counted) == 2 and x.grad is not None and weight.grad is not None


def test_tied_weights_and_accumulation():
    weight, ids = weight_of(36, 36), torch.arange(30).view(5, 6)
    assert_same(lambda: F.linear(F.embedding(ids, weight).tanh(), weight, None), weight)
    weight.grad = None
    for _ in range(2):
        with TrainingProducts():
            F.linear(X, weight, None).square().sum().backward()
    once = gradients(lambda: F.linear(X, weight, None), weight)[1]
    weight.grad = None
    assert torch.equal(once, gradients(lambda: F.linear(X, weight, None), weight)[1])


def test_numbers_of_rows_are_rounded_up(counted):
    """oneDNN keeps a compiled product for each number of rows, so there are few."""
    weight = weight_of()
    for rows in range(256, 513):
        assert_same(lambda rows=rows: F.linear(torch.ones(rows, 36), weight, None), weight)
    assert len({x for x, _ in counted if x[1] == 36}) == 9


@pytest.mark.parametrize("rows", [8, 129])
def test_results_are_changed_in_place(rows):
    weight, bias, x = weight_of(), nn.Parameter(torch.ones(20)), torch.randn(rows, 36)

    def call():
        result = F.linear(x, weight, bias).mul_(2)
        result[0] = 0
        return F.relu(result, inplace=True)

    assert_same(call, weight, bias)


def test_a_change_between_forward_and_backward_is_an_error():
    for changed in (0, 1):
        weight, x = weight_of(), X.clone().requires_grad_()
        with TrainingProducts():
            loss = F.linear(x, weight, None).sum()
            with torch.no_grad():
                (x, weight)[changed].add_(1)
            with pytest.raises(RuntimeError, match="modified by an inplace operation"):
                loss.backward()


def test_a_second_backward_pass():
    weight = weight_of()
    with TrainingProducts():
        loss = F.linear(X, weight, None).square().sum()
        loss.backward(retain_graph=True)
        once = weight.grad.clone()
        loss.backward()
        torch.testing.assert_close(weight.grad, 2 * once)
        with pytest.raises(RuntimeError, match="a second time"):
            loss.backward()
        with pytest.raises(RuntimeError, match="scalar outputs"):
            F.linear(X, weight, None).backward()
        with pytest.raises(RuntimeError, match="does not require grad"):
            X.sum().backward()


def test_other_shapes_are_errors_of_torch():
    with TrainingProducts(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        nn.Linear(64, 64)(torch.ones(64, 32))
    for mode in (TrainingProducts, FastProducts):
        with torch.no_grad(), mode(), pytest.raises(RuntimeError, match="must be a matrix"):
            torch.addmm(torch.ones(36), torch.ones(2, 8, 36), nn.Parameter(torch.ones(36, 36)))


def test_nested_tensors_are_left_to_torch(counted, monkeypatch):
    monkeypatch.setattr(many_rows, "LEAST_PRODUCT", 1)
    layer, parts = nn.Linear(36, 20), [torch.ones(3, 36), torch.ones(5, 36)]
    for mode in (TrainingProducts, FastProducts):
        with torch.no_grad(), mode():
            found = layer(torch.nested.nested_tensor(parts)).unbind()
        torch.testing.assert_close(found[1], layer(parts[1]).detach())
    assert not counted


# ------------------------------------------------------------------------------------------- what torch offers besides


def test_gradients_of_gradients(counted):
    """A penalty on gradients, as in Wasserstein GANs."""
    weight, x = weight_of(), X.clone().requires_grad_()

    def call():
        (slope,) = torch.autograd.grad(F.linear(x, weight, None).pow(3).sum(), x, create_graph=True)
        return slope

    assert_same(call, weight)
    assert counted


def test_gradients_of_several_results_at_once():
    weight, x = weight_of(), X.clone().requires_grad_()

    def jacobian(within):
        with within():
            result = F.linear(x, weight, None)
            each = torch.eye(4)[:, None, :, None].expand(4, 2, 4, 20).reshape(4, 8, 20)
            return torch.autograd.grad(result, x, each, is_grads_batched=True)[0]

    torch.testing.assert_close(jacobian(TrainingProducts), jacobian(torch.enable_grad))


def test_transformed_watched_and_traced_calls_are_left_to_torch(counted):
    weight = weight_of()

    def loss(weight):
        return F.linear(X, weight, None).square().sum()

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            names.add(str(func))
            return func(*args, **(kwargs or {}))

    frozen = weight.detach()
    names, expected = set(), torch.func.grad(loss)(frozen)
    with TrainingProducts():
        torch.testing.assert_close(torch.func.grad(loss)(weight), expected)
        torch.testing.assert_close(torch.func.vmap(torch.func.grad(loss))(weight[None])[0], expected)
        _, change = torch.func.jvp(loss, (weight.detach(),), (torch.ones_like(weight),))
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(weight.detach(), torch.ones_like(weight))
            torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent, change)
        with Watching():
            loss(weight).backward()
        traced = torch.jit.trace(lambda x: F.linear(x, frozen, None), X, check_trace=False)
        with torch.autocast("cpu", torch.bfloat16):
            assert F.linear(X, weight, None).dtype == torch.bfloat16
        F.linear(X.double(), weight.double(), None).sum().backward()
    assert not counted and any("mm" in name for name in names) and "mkldnn" not in str(traced.graph)
    torch.testing.assert_close(change, expected.sum())


def test_a_part_that_is_compiled(counted):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(36, 36), nn.ReLU(), nn.Linear(36, 36), nn.Linear(36, 4))
    expected = gradients(lambda: model(X), *model.parameters(), within=torch.enable_grad)
    model[2] = torch.compile(model[2], backend="eager", fullgraph=True)
    found = gradients(lambda: model(X), *model.parameters())
    assert counted
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def test_without_gradients(counted):
    weight = weight_of()
    with TrainingProducts(), torch.no_grad():
        result = F.linear(X, weight, None)  # as the teacher of a distillation
    assert not result.requires_grad and len(counted) == 1
    torch.testing.assert_close(result, F.linear(X, weight).detach())


def by_method(loss, parameters):
    loss.backward()
    return [p.grad for p in parameters]


def by_function(loss, parameters):
    torch.autograd.backward([loss], [torch.tensor(1.0)])
    return [p.grad for p in parameters]


def by_grad(loss, parameters):
    return torch.autograd.grad(loss, parameters)


# torch refuses the last combination.
WAYS = [(by_method, False), (by_function, False), (by_grad, False), (by_method, True), (by_function, True)]


@pytest.mark.parametrize("backward, reentrant", WAYS)
def test_checkpointed_layers_are_computed_again_in_the_same_way(backward, reentrant, counted):
    torch.manual_seed(0)
    layer = nn.Sequential(nn.Linear(36, 36), nn.Dropout(0.2), nn.Tanh())
    x = X.clone().requires_grad_()

    def call(within):
        layer.zero_grad()
        torch.manual_seed(1)
        with within():
            hidden = checkpoint(layer, checkpoint(layer, x, use_reentrant=reentrant), use_reentrant=reentrant)
            return backward(hidden.square().sum(), list(layer.parameters()))

    found = call(TrainingProducts)
    assert len(counted) == 8, "two layers: forward, again, and two gradients each"
    for one, other in zip(found, call(torch.enable_grad), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("forward, backward", [(1, 1), (1, 0), (0, 1)])
def test_checkpointed_layers_that_end_with_a_product(forward, backward, reentrant):
    torch.manual_seed(0)
    # Square, so that a weight and its transpose could be mistaken for each other.
    layer, x = nn.Sequential(nn.Linear(36, 36), nn.Tanh(), nn.Linear(36, 36, bias=False)), X.clone().requires_grad_()

    def call(*modes):
        layer.zero_grad()
        with modes[0]():
            loss = checkpoint(layer, x, use_reentrant=reentrant).square().sum()
        with modes[1]():
            loss.backward()
        return [p.grad for p in layer.parameters()]

    modes = torch.enable_grad, TrainingProducts
    for one, other in zip(call(modes[forward], modes[backward]), call(*modes[:1] * 2), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [None, torch.ones(36)], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", [(8, 36), (2, 8, 36), (2, 2, 8, 36), "turned"])
def test_the_same_is_kept_in_the_same_order_as_by_torch(shape, bias):
    x = torch.randn(3, 2, 36).transpose(0, 1) if shape == "turned" else torch.randn(shape)
    weight, x, kept = weight_of(36), x.requires_grad_(), []

    def note(tensor):
        kept.append((tuple(tensor.shape), tensor.stride(), tensor.data_ptr() == weight.data_ptr()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        F.linear(x, weight, bias)
        with TrainingProducts():
            F.linear(x, weight, bias)
    assert len(kept) == 4 and kept[:2] == kept[2:]


def test_gradients_with_respect_to_some_inputs():
    weight, x = weight_of(), X.clone().requires_grad_()

    def parts(within):
        weight.grad = x.grad = None
        with within():
            hidden = F.linear(x, weight, None)
            loss = hidden.square().sum()
            (to_hidden,) = torch.autograd.grad(loss, hidden, retain_graph=True)
            unused = torch.autograd.grad(loss, [weight, nn.Parameter(X)], retain_graph=True, allow_unused=True)
            loss.backward(inputs=[weight])
        return [to_hidden, unused[0], weight.grad, unused[1], x.grad]

    for one, other in zip(parts(TrainingProducts), parts(torch.enable_grad), strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            torch.testing.assert_close(one, other)


def test_an_empty_list_of_inputs_is_an_error_of_torch():
    with TrainingProducts(), pytest.raises(RuntimeError, match="cannot be empty"):
        F.linear(X, weight_of(), None).sum().backward(inputs=[])


def test_jacobians():
    weight = weight_of(4)
    jacobian = torch.func.jacrev(lambda x: F.linear(x, weight, None).sum(dim=0))
    with TrainingProducts():
        found = jacobian(X)
    torch.testing.assert_close(found, jacobian(X))


def test_hooks_of_modules_and_tensors():
    layer, seen = nn.Linear(36, 20), []
    layer.register_forward_hook(lambda module, given, result: seen.append("forward"))
    layer.register_full_backward_hook(lambda module, to_input, to_result: seen.append(to_result[0].shape))
    layer.weight.register_hook(lambda grad: 2 * grad)
    layer.weight.register_post_accumulate_grad_hook(lambda weight: seen.append("weight"))
    x = X.clone().requires_grad_()
    assert_same(lambda: layer(x), x, layer.weight, layer.bias)
    assert seen[: len(seen) // 2] == seen[len(seen) // 2 :] and len(seen) == 6


@pytest.mark.filterwarnings("ignore:Error detected")
def test_anomalies_are_found():
    weight = weight_of()
    with TrainingProducts(), torch.autograd.detect_anomaly(check_nan=True), pytest.raises(RuntimeError, match="nan"):
        (F.linear(X * torch.inf, weight, None) * 0).sum().backward()


# ---------------------------------------------------------------------------------------------- where it is used


def test_which_models_and_batches_it_is_for(monkeypatch):
    model, batch = model_of("bert"), {"input_ids": torch.ones(4, 8, dtype=torch.long)}
    assert is_faster(model) and isinstance(fast_training(model), TrainingProducts)
    assert isinstance(products_for(model, batch), TrainingProducts)
    assert not isinstance(products_for(model, [batch]), TrainingProducts), "a batch of another kind"
    monkeypatch.setattr(training_products, "LEAST_WORK", 10**9)
    assert not isinstance(products_for(model, batch), TrainingProducts), "too little work"
    monkeypatch.setattr(training_products, "LEAST_WORK", 1)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(training_products, "available", lambda: False)
        assert not isinstance(products_for(model, batch), TrainingProducts), "resumed on a machine without the kernels"
    assert not is_faster(nn.Embedding(5, 5)) and not is_faster(nn.Identity())
    assert not is_faster(nn.Linear(4, 4).double()) and not is_faster(nn.Linear(4, 4, device="meta"))
    monkeypatch.setattr(training_products, "gain", lambda threads: 1.2)
    assert not is_faster(model), "where both are equally fast, nothing changes"


@pytest.mark.parametrize("given", [None, "bert", nn.Linear])
def test_other_things_than_models(given):
    with pytest.raises(InputError, match=r"expects the model to train, but got [\s\S]*Pass a torch.nn.Module"):
        fast_training(given)


def test_one_row_and_small_products_are_left_to_torch(monkeypatch, counted):
    monkeypatch.setattr(training_products, "LEAST_ROWS", 16)
    with TrainingProducts():
        nn.Linear(36, 20)(X).sum().backward()
    monkeypatch.setattr(training_products, "LEAST_ROWS", 1)
    monkeypatch.setattr(training_products, "LEAST_PRODUCT", 8 * 36 * 20 + 1)
    with TrainingProducts():
        nn.Linear(36, 20)(X).sum().backward()
    assert not counted


def test_the_gain_is_measured_once(monkeypatch):
    monkeypatch.undo()
    found = training_products.gain(torch.get_num_threads())
    assert found > 0 and training_products.gain(torch.get_num_threads()) is found
