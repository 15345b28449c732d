"""A norm folded into the convolution before it gives the same maps, and is left alone where somebody looks or trains."""

from __future__ import annotations

import pytest
import reference as ref
import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import notebook_kit
from notebook_kit.models.detr_blocks import freeze_norms
from notebook_kit.nn.folding import normed_convolution


class Convolutions(TorchFunctionMode):
    """Counts convolutions, and those with a bias."""

    def __init__(self):
        super().__init__()
        self.all = self.biased = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.conv2d:
            self.all += 1
            self.biased += args[2] is not None
        return func(*args, **(kwargs or {}))


def network(frozen: bool) -> nn.Module:
    torch.manual_seed(0)
    config = notebook_kit.ResNetConfig(embedding_size=8, hidden_sizes=[16, 32], depths=[2, 1])
    model = notebook_kit.ResNetModel(config).eval()
    if frozen:
        freeze_norms(model)
        model.eval()
    for module in model.modules():
        if hasattr(module, "running_var"):
            module.running_var.uniform_(0.5, 2.0)
            module.running_mean.normal_()
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    return model


@pytest.mark.parametrize("frozen", [False, True])
def test_without_gradients_norms_are_in_the_weights(frozen):
    model, pixels = network(frozen), ref.pixels(36)
    expected = model(pixels)  # with gradients, nothing is folded
    with torch.no_grad(), Convolutions() as convolutions:
        out = model(pixels, output_hidden_states=True)
    assert convolutions.biased == convolutions.all > 8
    torch.testing.assert_close(out.last_hidden_state, expected.last_hidden_state, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.pooler_output, expected.pooler_output, rtol=1e-4, atol=1e-5)
    assert expected.last_hidden_state.requires_grad


def test_in_training_and_under_hooks_norms_are_called():
    model, pixels = network(False), ref.pixels(36)
    seen = []
    norm = model.embedder.embedder.normalization
    hook = norm.register_forward_hook(lambda module, given, output: seen.append(output.shape))
    with torch.no_grad(), Convolutions() as convolutions:
        model(pixels)
    hook.remove()
    assert len(seen) == 1 and convolutions.biased == convolutions.all - 1
    before = norm.running_mean.clone()
    with torch.no_grad():
        model.train()(pixels)
    assert not torch.equal(norm.running_mean, before)


def test_other_kinds_of_convolutions():
    x = torch.randn(2, 8, 9, 7)
    for convolution in (
        nn.Conv2d(8, 4, 3, padding=2, dilation=2, groups=2, bias=False),
        nn.Conv2d(8, 4, 3, padding=1, padding_mode="reflect", bias=False),
        nn.Conv2d(8, 4, 1),
    ):
        norm = nn.BatchNorm2d(4).eval()
        norm.running_mean.normal_()
        with torch.no_grad():
            torch.testing.assert_close(normed_convolution(convolution, norm, x), norm(convolution(x)))
    norm = nn.BatchNorm2d(4, affine=False).eval()
    with torch.no_grad():
        torch.testing.assert_close(normed_convolution(convolution, norm, x), norm(convolution(x)))
