"""Scenarios by what each model was trained on, and what two independent models share."""

import numpy as np
import pytest
import torch
from torch import nn

from winnow.errors import InputError
from winnow.models import build
from winnow.train.simplex import Recipe
from winnow.train.simplex_scenarios import class_order, fit_scenarios, headless, in_order

SHAPE = {"in_channels": 1, "height": 8, "width": 8, "classes": 6}


def data():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(6).repeat_interleave(8)
    return torch.randn(6, 1, 8, 8, generator=generator)[y] + 0.2 * torch.randn(48, 1, 8, 8, generator=generator), y


def arms(seed=0, told=None):
    return fit_scenarios(
        data(),
        lambda own: headless(build("small_cnn", seed=own, channels=2, hidden=8, **SHAPE)),
        Recipe(epochs=1, batch_size=16, optimizer="adamw"),
        classes=8,
        tasks=[3, 1, 1],
        replacements={2: 4, 3: 5},
        old_classes=4,
        seed=seed,
        progress=None if told is None else lambda done, total: told.append((done, total)),
    )


def test_every_arm_has_its_models_and_each_knows_the_classes_of_its_tasks():
    told = []
    found = arms(told=told)
    sequences = {f"sequence/{m}" for m in ("simplex_hoc", "simplex_ce", "er", "bct", "distill")}
    replaced = {f"replaced/{m}" for m in ("simplex_hoc", "simplex_ce", "er")}
    pairs = {f"{s}/{m}" for s in ("independent", "plane") for m in ("simplex_ce", "er")}
    assert set(found) == sequences | replaced | pairs
    assert told == [(i, len(found)) for i in range(1, len(found) + 1)]
    for name in sequences | replaced:
        assert found[name].classes == [3, 4, 5]
    for name in pairs:
        assert found[name].classes == ([4, 5] if name.startswith("independent") else [2, 3])
    x = data()[0][:2]
    assert found["plane/simplex_ce"].models[1](x)[0].shape == (2, 2)
    assert found["independent/er"].models[0](x)[0].shape == (2, 7)
    for pair in pairs:
        steps = [step for metric, _, step in found[pair].history if metric == "loss"]
        assert steps == list(range(1, len(steps) + 1))
    # One epoch of each of the two models in batches of 16: of 4 and 5 classes of 8 rows, of 2 and 3.
    losses = {pair: sum(metric == "loss" for metric, _, _ in found[pair].history) for pair in pairs}
    assert losses == {pair: 2 + 3 if pair.startswith("independent") else 1 + 2 for pair in pairs}


def test_independent_models_start_apart_and_replacements_change_what_follows():
    found = arms()
    old, new = found["independent/simplex_ce"].models
    assert torch.equal(old.vertices, new.vertices)
    assert not torch.allclose(old.project.weight, new.project.weight, atol=1e-2)
    for method in ("simplex_hoc", "simplex_ce", "er"):
        with_, without = found[f"replaced/{method}"].models, found[f"sequence/{method}"].models
        x = data()[0]
        assert torch.equal(with_[0](x)[0], without[0](x)[0])
        assert not torch.allclose(with_[1](x)[0], without[1](x)[0], atol=1e-3)


def test_a_seed_draws_the_order_and_labels_follow_it():
    order = class_order(6, 3)
    assert sorted(order.tolist()) == list(range(6))
    assert not np.array_equal(order, class_order(6, 4))
    assert in_order(torch.from_numpy(order), order).tolist() == list(range(6))


def test_a_model_without_its_output_gives_what_the_output_reads():
    model = build("small_cnn", channels=2, hidden=8, **SHAPE)
    backbone, width = headless(model)
    x = data()[0][:3]
    assert backbone(x).shape == (3, width) == (3, 8)
    torch.testing.assert_close(model.output(backbone(x)), model(x))


@pytest.mark.parametrize("model", [nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))])
def test_a_model_that_is_no_chain_to_an_output_is_refused(model):
    with pytest.raises(InputError, match="is no chain that ends in a linear output"):
        headless(model)
