"""Draws and balances are checked by counting; training by what it leaves alone and by a problem that it must solve."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight
from torch import nn

from winnow.errors import InputError
from winnow.models import build
from winnow.train.transfer import (
    BALANCES,
    Pool,
    balanced,
    class_weights,
    fit_scratch,
    fit_transfer,
    seen_below,
    training_rows,
)

UNEVEN = np.repeat([0, 1, 2], [40, 12, 5])
counts = st.lists(st.integers(2, 30), min_size=2, max_size=5)


@given(counts, st.floats(0.05, 0.95), st.integers(0, 50))
def test_stratified_draws_have_the_share_of_each_class(sizes, share, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = training_rows(labels, share, True, seed)
    assert (np.diff(rows) > 0).all()
    drawn = np.bincount(labels[rows], minlength=len(sizes))
    assert (np.abs(drawn - share * np.array(sizes)) <= 0.5 + 1e-9).all() or (
        (drawn == 1) | (drawn == np.array(sizes) - 1) | (np.abs(drawn - share * np.array(sizes)) <= 0.5 + 1e-9)
    ).all()
    assert (drawn >= 1).all() and (drawn < sizes).all()


def test_random_draws_have_the_share_of_all_and_leave_classes_to_chance():
    drawn = [np.bincount(UNEVEN[training_rows(UNEVEN, 0.7, False, seed)]) for seed in range(200)]
    assert {int(d.sum()) for d in drawn} == {40}
    # Hypergeometric: mean 5 * 40 / 57, standard deviation .98; five standard errors of 200 draws.
    assert abs(np.mean([d[2] for d in drawn]) - 5 * 40 / 57) < 5 * 1.0 / 200**0.5
    assert len({int(d[2]) for d in drawn}) > 2
    again = training_rows(UNEVEN, 0.7, False, 3)
    assert np.array_equal(again, training_rows(UNEVEN, 0.7, False, 3))


def test_draws_that_cannot_train_are_named():
    with pytest.raises(InputError, match="class 1 has 1 images"):
        training_rows(np.array([0, 0, 1]), 0.5, True, 0)
    with pytest.raises(InputError, match="no image of class"):
        training_rows(np.repeat([0, 1], [500, 2]), 0.01, False, 0)


def test_balances_are_what_their_names_say():
    labels = np.random.default_rng(0).permutation(UNEVEN)
    assert np.array_equal(balanced(labels, "none", 0), np.arange(57))
    assert np.array_equal(balanced(labels, "weights", 0), np.arange(57))
    over, under = balanced(labels, "over", 0), balanced(labels, "under", 0)
    assert np.bincount(labels[over]).tolist() == [40] * 3 and np.bincount(labels[under]).tolist() == [5] * 3
    assert set(over.tolist()) == set(range(57)) and len(set(under.tolist())) == 15
    assert not np.array_equal(np.sort(under), np.sort(balanced(labels, "under", 1)))


def test_weights_are_scikit_learns_and_ones_elsewhere():
    expected = compute_class_weight("balanced", classes=np.arange(3), y=UNEVEN)
    assert np.allclose(class_weights(UNEVEN, "weights").numpy(), expected)
    for balance in ("none", "over", "under"):
        assert class_weights(UNEVEN, balance).tolist() == [1, 1, 1]


def test_every_epoch_has_as_many_images_and_none_comes_again_before_all_came():
    y = torch.from_numpy(UNEVEN)
    for balance in BALANCES:
        rows = balanced(UNEVEN, balance, 0)
        pool = Pool(torch.arange(57.0)[:, None], y, rows, torch.ones(3))
        batches = list(pool.batches("train", 10, seed=1, epoch=0))
        assert [len(b[1]) for b in batches] == [10] * 5 + [7]
        drawn = torch.cat([b[0][:, 0] for b in batches]).long()
        assert torch.equal(y[drawn], torch.cat([b[1] for b in batches]))
        times = np.bincount(drawn.numpy(), minlength=57)[rows] if balance == "under" else None
        assert times is None or times.max() - times.min() <= 1
        other = torch.cat([b[0][:, 0] for b in pool.batches("train", 10, seed=1, epoch=1)]).long()
        assert not torch.equal(drawn, other)


def test_the_loss_is_torchs_weighted_one_but_for_its_scale():
    logits, y = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 0, 1])
    weight = torch.tensor([0.5, 1.0, 3.0])
    pool = Pool(logits, y, np.arange(6), weight)
    expected = nn.functional.cross_entropy(logits, y, weight=weight) * weight[y].sum() / 6
    assert torch.allclose(pool.loss(nn.Identity(), (logits, y)), expected)


def bright_or_dark(n=60, seed=0):
    y = (torch.arange(n) % 3 == 0).long()
    noise = torch.randn(n, 1, 32, 32, generator=torch.Generator().manual_seed(seed))
    return noise + 4 * y.view(-1, 1, 1, 1), y


def network(**arguments):
    shape = {"in_channels": 1, "height": 32, "width": 32, "classes": 2}
    return build("transfer_net", seed=0, **shape, hidden=16, **arguments)


def test_the_base_and_all_norms_stay_and_what_is_tuned_moves():
    (x, y), model = bright_or_dark(), network()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    below = seen_below(model, x)
    settings = {"learning_rate": 1e-2, "batch_size": 20, "seed": 0}
    history = fit_transfer(model, below, y, "weights", head_epochs=2, tuned_epochs=0, **settings)
    moved = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert moved == {f"dense.{i}.{part}" for i in (0, 3) for part in ("weight", "bias")}
    assert [step for metric, _, step in history if metric == "loss"] == list(range(1, 7))
    history = fit_transfer(model, below, y, "none", head_epochs=1, tuned_epochs=2, **settings)
    moved = {name for name, t in model.state_dict().items() if not torch.equal(t, before[name])}
    assert not any(name.startswith("base.") or "running" in name for name in moved)
    assert any(name.startswith("top.0.") for name in moved) and any(name.startswith("top.2.") for name in moved)
    rates = [value for metric, value, _ in history if metric == "learning_rate"]
    assert rates == pytest.approx([1e-2] * 3 + [1e-3] * 6)
    assert [step for metric, _, step in history if metric == "loss"] == list(range(1, 10))
    assert not model.training and torch.equal(below, seen_below(model, x))


@pytest.mark.parametrize("balance", BALANCES)
def test_light_and_dark_are_told_apart(balance):
    (x, y), model = bright_or_dark(), network()
    settings = {"batch_size": 20, "seed": 0}
    below = seen_below(model, x)
    fit_transfer(model, below, y, balance, head_epochs=15, tuned_epochs=1, learning_rate=3e-3, **settings)
    shape = {"in_channels": 1, "height": 32, "width": 32, "classes": 2}
    scratch = build("small_cnn", seed=0, **shape)
    fit_scratch(scratch, x, y, balance, epochs=10, learning_rate=3e-3, **settings)
    new, truth = bright_or_dark(seed=1)
    for found in (model, scratch):
        with torch.no_grad():
            assert (found.eval()(new).argmax(1) == truth).double().mean() > 0.9
