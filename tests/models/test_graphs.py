"""Folded models compute what the models do, and what cannot be a graph is told."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from winnow.models import build
from winnow.models.graphs import fold_batch_norm, following_norms, graph_of


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def settled(model):
    """In eval mode, with statistics and scales that no norm starts with."""
    for norm in (m for m in model.modules() if hasattr(m, "running_mean")):
        n = norm.num_features
        norm.running_mean.data, norm.running_var.data = noise(n), noise(n, seed=1).abs() + 1
        if norm.affine:
            norm.weight.data, norm.bias.data = noise(n, seed=2), noise(n, seed=3)
    return model.double().eval()


@pytest.mark.parametrize("name", ["mlp", "small_cnn", "residual", "depthwise_cnn"])
def test_models_of_the_registry_fold_whole(name):
    model, x = settled(build(name, in_channels=2, height=9, width=8, classes=3)), noise(4, 2, 9, 8)
    folded = fold_batch_norm(model.train())
    assert torch.allclose(folded(x), model.eval()(x), rtol=1e-10, atol=1e-12)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert fold_batch_norm(folded) is folded
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fold_batch_norm(graph_of(model)).modules())
    layers = {n for n, m in model.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    assert layers <= dict(folded.named_modules()).keys()


class Fork(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm, self.top = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x):
        out = self.layer(x)
        return self.top(functional.relu(self.norm(out) + out))


def test_norms_without_scale_or_bias_before_them_fold():
    model = settled(nn.Sequential(nn.Linear(3, 4, bias=False), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2)))
    x = noise(6, 3)
    assert following_norms(graph_of(model)) == {"0": "1"}
    assert torch.allclose(fold_batch_norm(model)(x), model(x), rtol=1e-10)


def test_a_norm_stays_where_another_reads_the_layer_or_no_layer_comes_before():
    fork, x = settled(Fork()), noise(6, 3)
    assert following_norms(graph_of(fork)) == {}
    assert torch.allclose(fold_batch_norm(fork)(x), fork(x), rtol=1e-10)
    assert following_norms(graph_of(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.BatchNorm1d(4)))) == {}
    assert following_norms(graph_of(nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 4)))) == {}


def test_a_loop_over_time_is_no_graph():
    with pytest.raises(
        TypeError, match="FastGRNN: cannot be written as a graph .'len' is not supported.*; use a feed-forward model$"
    ):
        graph_of(build("fastgrnn", in_channels=2, height=9, width=8, classes=3))
