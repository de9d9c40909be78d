"""Paths, leaves and classes of a tree are those of recursions and loops, and gradients lead downhill."""

import math

import pytest
import torch

from winnow.train.prototype_tree import PrototypeTree

CLASSES, SIZE = 3, 4


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def tree(depth=3, seed=0):
    model = PrototypeTree(5, CLASSES, depth, SIZE, seed)
    model.leaves = 2 * torch.rand(2**depth, CLASSES, generator=torch.Generator().manual_seed(seed + 1))
    return model


def paths_by_recursion(present, depth):
    """Node j goes to 2 j + 1 where its prototype is absent, to 2 j + 2 where it is present."""
    found = []

    def walk(node, level, p):
        if level == depth:
            found.append(p)
            return
        walk(2 * node + 1, level + 1, p * (1 - present[node]))
        walk(2 * node + 2, level + 1, p * present[node])

    walk(0, 0, 1.0)
    return found


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_probability_of_a_path_is_the_product_of_its_answers(depth):
    model, features = tree(depth), randn(3, 5, 2, 3)
    with torch.no_grad():
        maps, reached, told = model.maps(features), model.reached(features), model(features)
        patches = model.add_on(features)
    for j, prototype in enumerate(model.prototypes.detach()):
        squared = (patches - prototype[:, None, None]).square().sum(1)
        torch.testing.assert_close(maps[:, j], (-squared).exp(), atol=1e-6, rtol=1e-5)
    for i in range(3):
        present = maps[i].flatten(1).max(1).values.tolist()
        assert reached[i].tolist() == pytest.approx(paths_by_recursion(present, depth), abs=1e-6)
    torch.testing.assert_close(reached.sum(1), torch.ones(3))
    torch.testing.assert_close(told.exp(), reached @ model.leaves.softmax(1))


def test_the_loss_is_the_mean_negative_log_likelihood():
    model, features, labels = tree(), randn(6, 5, 2, 2), torch.tensor([0, 1, 2, 2, 1, 0])
    expected = torch.nn.functional.nll_loss(model(features), labels).item()
    assert model.loss(features, labels).item() == pytest.approx(expected, rel=1e-5)


def test_a_leaf_moves_to_the_classes_that_come_to_it_as_the_authors_move_it():
    model, batches = tree(), [(randn(4, 5, 2, 2, seed=s), torch.tensor([s % 3, 1, 2, 1])) for s in range(3)]
    model.begin_epoch(len(batches))
    before = model.leaves.clone()
    expected = before.clone()
    for features, labels in batches:
        with torch.no_grad():
            reached = model.reached(features)
            shares = expected.softmax(1)
            told = reached @ shares
        update = torch.zeros_like(before)
        for i, y in enumerate(labels.tolist()):
            for leaf in range(len(before)):
                update[leaf, y] += reached[i, leaf] * shares[leaf, y] / told[i, y]
        expected = (expected - before / len(batches)).clamp_min(0) + update
        model.loss(features, labels)
        torch.testing.assert_close(model.leaves, expected, atol=1e-5, rtol=1e-5)
    # What the leaves were is gone after an epoch; each example counts once.
    assert float(model.leaves.sum()) == pytest.approx(12, abs=0.02)


def test_leaves_far_apart_and_paths_that_never_go_leave_the_likelihood_finite():
    model = tree()
    model.prototypes.data[:] = 50.0  # nothing is present
    model.leaves = torch.zeros_like(model.leaves)
    model.leaves[0, 0] = 500.0
    loss = model.loss(randn(2, 5, 2, 2), torch.tensor([0, 1]))
    assert math.isfinite(loss.item()) and loss.item() > 10
    loss.backward()
    assert torch.isfinite(model.prototypes.grad).all()


def test_nothing_is_surer_than_certain():
    """Rounding leaves some patches at less than no distance from themselves."""
    model, features = tree(5), randn(1, 5, 8, 8)
    with torch.no_grad():
        model.prototypes.copy_(model.add_on(features)[0].flatten(1).T[:31])
        maps = model.maps(features)
    assert (maps <= 1).all() and (maps.flatten(2).amax(2) > 0.999).all()


def test_a_new_tree_knows_nothing_and_counts_examples_without_an_epoch():
    model, features, labels = PrototypeTree(5, CLASSES), randn(6, 5, 2, 2), torch.arange(6) % CLASSES
    assert model.prototypes.shape == (31, 32) and model.leaves.shape == model.before.shape == (32, CLASSES)
    assert torch.equal(model.prototypes, PrototypeTree(5, CLASSES, 5, 32, 0).prototypes)
    assert (model.leaves == 0).all()
    model.leaves = torch.ones(32, CLASSES)
    model.loss(features, labels)
    assert float(model.leaves.sum()) == pytest.approx(32 * CLASSES + 6, rel=1e-5)


def test_a_prototype_is_of_the_class_that_its_presence_speaks_for():
    model = PrototypeTree(5, CLASSES, 2, SIZE)
    model.leaves = torch.tensor([[5.0, 0, 0], [0, 5.0, 0], [0, 5.0, 0], [0, 0, 5.0]])
    # The root's presence raises class 2 from nothing, lowers 0, leaves 1; its children tell 1 from 0 and 2 from 1.
    assert model.class_of().tolist() == [2, 1, 2]
    single = PrototypeTree(5, CLASSES, 1, SIZE)
    single.leaves = torch.tensor([[5.0, 5.0, -5.0], [5.5, 5.0, -3.0]])
    assert single.class_of().tolist() == [0]  # class 2 gains more, from next to nothing


def test_leaves_take_the_classes_that_their_paths_lead_to():
    """One question whose answer is known: the leaves of both answers hold their own examples and no others."""
    labels = torch.arange(40) % 2
    features = torch.full((40, 5, 2, 2), 9.0)
    features[labels == 1] *= -1
    model = PrototypeTree(5, 2, 1, 32)
    with torch.no_grad():
        model.add_on[0].weight.fill_(1.0)  # features of class 0 become ones, those of class 1 zeros
        model.prototypes.fill_(1.0)
    for _ in range(3):
        model.begin_epoch(2)
        for rows in (torch.arange(20), torch.arange(20, 40)):
            model.loss(features[rows], labels[rows])
    torch.testing.assert_close(model.leaves, torch.tensor([[0.0, 20.0], [20.0, 0.0]]), atol=1e-3, rtol=0)
    assert torch.equal(model(features).argmax(1), labels) and model.class_of().tolist() == [0]


def test_gradients_lead_downhill():
    """Steps along the gradient of the prototypes lower the loss where the leaves stay as they are."""
    model, features, labels = tree(), randn(12, 5, 2, 2), torch.arange(12) % CLASSES
    leaves, losses = model.leaves.clone(), []
    updater = torch.optim.SGD(model.parameters(), 0.05)
    for _ in range(10):
        updater.zero_grad()
        model.leaves = leaves.clone()
        loss = model.loss(features, labels)
        loss.backward()
        updater.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True) and losses[-1] < losses[0]


def test_equal_seeds_give_equal_trees_and_leave_the_callers_stream_alone():
    torch.manual_seed(5)
    before = torch.rand(1)
    torch.manual_seed(5)
    one = PrototypeTree(5, 2, 3, 8, seed=3)
    assert torch.equal(torch.rand(1), before)
    assert torch.equal(one.prototypes, PrototypeTree(5, 2, 3, 8, seed=3).prototypes)
    assert not torch.equal(one.prototypes, PrototypeTree(5, 2, 3, 8, seed=4).prototypes)
    large = PrototypeTree(5, 2, 10, 32)
    assert large.prototypes.shape == (1023, 32) and large.leaves.shape == (1024, 2)
    assert large.prototypes.mean().item() == pytest.approx(0.5, abs=0.01)
    assert large.prototypes.std().item() == pytest.approx(0.1, abs=0.01)
