"""A multilayer perceptron is its layers one after another, and by default that of the literature."""

import torch
from torch import nn

from winnow.models import build

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}


def test_the_default_mlp_is_lenet_300_100():
    model = build("mlp", in_channels=1, height=28, width=28, classes=10)
    shapes = [tuple(m.weight.shape) for m in model.modules() if isinstance(m, nn.Linear)]
    assert shapes == [(300, 784), (100, 300), (10, 100)]
    assert sum(p.numel() for p in model.parameters()) == 266_610  # the count that the literature gives


def test_each_hidden_layer_is_a_matrix_and_a_relu():
    model = build("mlp", **IMAGE, hidden=[7, 5, 4])
    x = torch.randn(6, 1, 9, 8, generator=torch.Generator().manual_seed(0))
    expected = x.reshape(6, 72)
    for layer in (model.linear1, model.linear2, model.linear3):
        expected = torch.relu(expected @ layer.weight.T + layer.bias)
    torch.testing.assert_close(model(x), expected @ model.output.weight.T + model.output.bias)
    assert model.hook_points() == ["relu1", "relu2", "relu3"]
    assert model(x).shape == (6, 3) and build("mlp", **IMAGE, hidden=[]).hook_points() == []
