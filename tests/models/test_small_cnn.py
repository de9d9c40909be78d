"""Convolutions one after another, the first two of which stride, and one hidden layer on a grid of four by four."""

import torch
from torch.nn import functional

from winnow.models import build

IMAGE = {"in_channels": 2, "height": 17, "width": 16, "classes": 3}


def test_layers_follow_each_other_as_written_out():
    model = build("small_cnn", **IMAGE, channels=[4, 6, 5], hidden=7)
    x = torch.randn(3, 2, 17, 16, generator=torch.Generator().manual_seed(0))
    expected = x
    for layer, stride in ((model.conv1, 2), (model.conv2, 2), (model.conv3, 1)):
        expected = functional.relu(functional.conv2d(expected, layer.weight, layer.bias, stride=stride, padding=1))
    assert expected.shape == (3, 5, 5, 4)
    pooled = functional.adaptive_avg_pool2d(expected, 4).reshape(3, -1)
    hidden = functional.relu(functional.linear(pooled, model.linear1.weight, model.linear1.bias))
    torch.testing.assert_close(model(x), functional.linear(hidden, model.output.weight, model.output.bias))
    assert model.linear1.weight.shape == (7, 5 * 16) and model.hook_points() == ["relu1", "relu2", "relu3", "relu4"]


def test_one_number_stands_for_itself_and_its_double():
    model = build("small_cnn", **IMAGE, channels=5)
    assert [model.conv1.out_channels, model.conv2.out_channels] == [5, 10] and not hasattr(model, "conv3")
    usual = build("small_cnn", **IMAGE)
    assert (usual.conv1.out_channels, usual.conv2.out_channels, usual.linear1.out_features) == (16, 32, 64)
