"""GLVQ by hand, against scikit-learn and a general optimiser; starts are means within each class."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.cluster import KMeans
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from winnow.errors import InputError
from winnow.train.glvq import Glvq, class_means, per_class, squared_distances, true_and_best_other
from winnow.train.rbf_components import fit_components


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(n=60, classes=3, d=4, seed=0):
    y = torch.arange(n) % classes
    return (3 * draws(classes, d, seed=seed)[y] + 0.5 * draws(n, d, seed=seed + 1)), y


def test_true_scores_and_the_best_of_the_others():
    own, other = true_and_best_other(torch.tensor([[1.0, 3.0, 2.0], [5.0, 4.0, 0.0]]), torch.tensor([1, 2]))
    assert own.tolist() == [3.0, 0.0] and other.tolist() == [2.0, 5.0]


def test_glvq_by_hand():
    model = Glvq(4, 2, 1).double()
    with torch.no_grad():
        model.prototypes.copy_(torch.tensor([[0.0], [1.0], [4.0], [9.0]]))
    x, y = torch.tensor([[0.9], [3.0]]).double(), torch.tensor([0, 0])
    torch.testing.assert_close(model(x), -torch.tensor([[0.01, 9.61], [4.0, 1.0]]).double())
    expected = ((0.01 - 9.61) / (0.01 + 9.61) + (4.0 - 1.0) / 5.0) / 2
    assert float(model.loss(x, y).detach()) == pytest.approx(expected)


def test_glvq_decides_as_the_nearest_prototype_of_scikit_learn():
    x, y = blobs(90, d=4)
    far = 3 * draws(200, 4, seed=9)
    one = Glvq(3, 3, 4).double()
    one.start(x, y, seed=0)
    assert torch.equal(one(far).argmax(1), torch.from_numpy(NearestCentroid().fit(x.numpy(), y.numpy()).predict(far)))
    many = Glvq(6, 3, 4).double()
    many.start(x, y, seed=0)
    fit_components(many, x, y, epochs=5, batch=30, learning_rate=0.02, seed=0)
    nearest = KNeighborsClassifier(1).fit(many.prototypes.detach().numpy(), np.repeat(np.arange(3), 2))
    assert torch.equal(many(far).argmax(1), torch.from_numpy(nearest.predict(far.numpy())))


def test_glvq_trained_in_batches_reaches_the_cost_of_a_general_optimiser_and_its_decisions_to_a_hundredth():
    x, y = blobs(150, d=4)
    x = x + 1.5 * draws(*x.shape, seed=4)  # classes overlap
    start = Glvq(6, 3, 4).double()
    start.start(x, y, seed=0)

    def cost(flat):
        model = Glvq(6, 3, 4).double()
        model.prototypes = torch.nn.Parameter(torch.from_numpy(flat).view(6, 4))
        loss = model.loss(x, y)
        loss.backward()
        return float(loss.detach()), model.prototypes.grad.flatten().numpy()

    best = minimize(cost, start.prototypes.detach().flatten().numpy(), jac=True, method="L-BFGS-B")
    fit_components(start, x, y, epochs=150, batch=150, learning_rate=0.05, seed=0)
    assert float(start.loss(x, y).detach()) <= best.fun + 0.01
    other = Glvq(6, 3, 4).double()
    other.prototypes = torch.nn.Parameter(torch.from_numpy(best.x).view(6, 4))
    shares = [float((model(x).argmax(1) == y).double().mean()) for model in (start, other)]
    assert abs(shares[0] - shares[1]) <= 0.01


def test_squared_distances_are_those_of_pairs():
    x, t = draws(5, 4), draws(3, 4, seed=1)
    torch.testing.assert_close(squared_distances(x, t), torch.cdist(x, t).square())
    assert (squared_distances(x, x).diagonal() >= 0).all()


def test_starts_are_k_means_within_each_class_class_by_class():
    x, y = blobs(60)
    for label, mean in enumerate(class_means(x, y, 1, seed=0)):
        torch.testing.assert_close(mean, x[y == label].mean(0))
    found = class_means(x.float(), y, 2, seed=0)
    assert found.dtype == torch.float32 and torch.equal(found, class_means(x.float(), y, 2, seed=0))
    model = Glvq(6, 3, 4)
    model.start(x.float(), y, seed=0)
    assert torch.equal(model.prototypes.detach(), found) and model.prototypes.requires_grad
    for label in range(3):
        own, rows = found[2 * label : 2 * label + 2], x[y == label].float()
        nearest = torch.cdist(rows, own).argmin(1)
        for k in range(2):  # where k-means ends each centre is the mean of its rows
            torch.testing.assert_close(own[k], rows[nearest == k].mean(0), atol=1e-4, rtol=1e-4)
        inertia = float(torch.cdist(rows, own).amin(1).square().sum())
        assert inertia <= 1.5 * KMeans(2, n_init=10, random_state=0).fit(rows.numpy()).inertia_


def test_a_loss_where_a_row_lies_on_prototypes_of_both_classes_is_nothing():
    model = Glvq(2, 2, 1)
    assert (model.prototypes == 0).all()
    loss = model.loss(torch.zeros(1, 1), torch.tensor([1]))
    loss.backward()
    assert loss.item() == 0 and torch.isfinite(model.prototypes.grad).all()


def test_far_from_the_origin_a_squared_distance_is_not_below_zero():
    x = 1e4 + draws(50, 4).float()
    assert (squared_distances(x, x) >= 0).all()


def test_of_two_classes_the_other_is_the_best_other_whatever_its_score():
    own, other = true_and_best_other(torch.tensor([[-math.inf, 2.0], [1.0, -5.0]]), torch.tensor([1, 0]))
    assert own.tolist() == [2.0, 1.0] and other.tolist() == [-math.inf, -5.0]


def test_components_are_shared_out_equally_or_refused():
    assert (per_class(6, 3), per_class(3, 3)) == (2, 1)
    for components in (2, 7, 0):
        with pytest.raises(InputError, match=f"components is {components}; .* multiple of the 3 classes"):
            per_class(components, 3)
    with pytest.raises(InputError, match="class 0 has 2 rows for 3 components; ask for fewer"):
        class_means(*blobs(6), 3, seed=0)
    assert class_means(*blobs(6), 2, seed=0).shape == (6, 4)
