"""Dictionaries on a model: what the loss makes of their reconstructions."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from winnow.dictionaries.dictionary import Dictionary
from winnow.dictionaries.on_models import evaluate_dictionary, sae_config
from winnow.pipeline.settings.dictionaries import SparseAutoencoder
from winnow.pipeline.settings.rec_sae import RecSaeDictionary


class Rows:
    def __init__(self, count=40):
        self.x = torch.randn(count, 3, generator=torch.Generator().manual_seed(1))
        self.y = (self.x[:, 0] > 0).long()

    def batches(self, split, size, seed=None, epoch=0):
        yield from zip(self.x.split(7), self.y.split(7), strict=True)

    def loss(self, model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def dictionary(scale: float) -> Dictionary:
    """Both signs of the four axes, a width of eight: reconstructs scale * x exactly, whatever x."""
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    zeros = torch.zeros(4)
    return Dictionary(axes.T * scale, torch.zeros(8), axes, zeros, zeros, torch.zeros(8), "relu_l1", "jumprelu")


def loss_with(model, rows, edit):
    hidden = edit(model[1](model[0](rows.x)))
    return float(nn.functional.cross_entropy(model[2](hidden), rows.y))


def test_a_perfect_dictionary_recovers_all_of_the_loss():
    found = evaluate_dictionary(dictionary(1.0), network(), Rows(), "test", "1")
    assert found["ce_recovered"] == pytest.approx(1) and found["ce_recovered_mean"] == pytest.approx(1)
    assert found["fvu"] == pytest.approx(0, abs=1e-10)


def test_losses_are_those_of_the_model_with_its_activations_replaced():
    model, rows = network(), Rows()
    found = evaluate_dictionary(dictionary(0.5), model, rows, "test", "1")
    with torch.no_grad():
        clean, half = loss_with(model, rows, lambda h: h), loss_with(model, rows, lambda h: h / 2)
        zero = loss_with(model, rows, torch.zeros_like)
        mean = loss_with(model, rows, lambda h: h.mean(0).expand_as(h))
    assert found["ce_clean"] == pytest.approx(clean, rel=1e-5)
    assert found["ce_reconstructed"] == pytest.approx(half, rel=1e-5)
    assert found["ce_recovered"] == pytest.approx((zero - half) / (zero - clean), rel=1e-3)
    assert found["ce_recovered_mean"] == pytest.approx((mean - half) / (mean - clean), rel=1e-3)


@pytest.mark.parametrize(
    ("architecture", "sparsity", "field", "value"),
    [
        ("topk", 8, "k", 8),
        ("batchtopk", 8, "k", 8),
        ("jumprelu", 8, "target_l0", 8.0),
        ("relu_l1", 0.3, "l1", 0.3),
        ("gated", 0.3, "l1", 0.3),
    ],
)
def test_sparsity_is_told_to_each_architecture_in_its_own_terms(architecture, sparsity, field, value):
    settings = SimpleNamespace(width=64, steps=10, batch_size=32, learning_rate=0.02)
    config = sae_config(architecture, sparsity, settings, seed=3)
    assert getattr(config, field) == value and type(getattr(config, field)) is type(value)
    assert (config.architecture, config.m, config.steps) == (architecture, 64, 10)
    assert (config.batch, config.lr, config.seed, config.threads) == (32, 0.02, 3, 1)


def test_no_learning_rate_is_the_square_root_law_and_the_published_loop_has_none():
    settings = SparseAutoencoder(models=["mlp"], width=4096, k=8, learning_rate=None)
    assert sae_config("topk", 8, settings, seed=0).peak_lr == pytest.approx(2e-4 * 2)
    assert RecSaeDictionary(models=["sasrec"], learning_rate=None).learning_rate is None
    with pytest.raises(ValueError, match="learning_rate is null, whose law the loop of aux published has not"):
        RecSaeDictionary(models=["sasrec"], learning_rate=None, aux="published")
