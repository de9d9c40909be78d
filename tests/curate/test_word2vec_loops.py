"""The compiled descent of word2vec moves each bag along autograd's gradient, one bag after another."""

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from winnow.curate._word2vec_loops import descend


@pytest.mark.parametrize("inputs", [[3], [4, 7, 4]])
def test_a_step_goes_down_the_gradient(inputs):
    generator = np.random.default_rng(7)
    start = [generator.normal(size=(20, 4)).astype(np.float32) for _ in range(2)]
    rows, labels = np.array([[5, 9, 2, 8]]), np.array([[True, False, False, False]])
    counts = np.array([[True, True, False, True]])
    vectors, context = (torch.from_numpy(part.copy()).double().requires_grad_() for part in start)
    hidden = vectors[torch.tensor(inputs)].mean(0)
    loss = -logsigmoid(context[5] @ hidden) - logsigmoid(-context[9] @ hidden) - logsigmoid(-context[8] @ hidden)
    into = torch.autograd.grad(loss, [vectors, context])
    moved = [part.copy() for part in start]
    found = descend(*moved, np.array(inputs), np.array([0, len(inputs)]), rows, labels, counts, np.float32([0.1]))
    assert found == pytest.approx(float(loss.detach()), rel=1e-5)
    for before, after, gradient in zip(start, moved, into, strict=True):
        assert after == pytest.approx(before - 0.1 * gradient.numpy(), abs=1e-5)


def test_bags_follow_one_another():
    start = [np.full((3, 2), 0.5, np.float32), np.full((3, 2), 0.25, np.float32)]
    once, twice = ([part.copy() for part in start] for _ in range(2))
    one = (np.array([[1]]), np.array([[True]]), np.array([[True]]), np.float32([0.3]))
    for _ in range(2):
        descend(*twice, np.array([0]), np.array([0, 1]), *one)
    both = [np.repeat(part, 2, axis=0) for part in one]
    descend(*once, np.array([0, 0]), np.array([0, 1, 2]), *both)
    assert all(np.array_equal(a, b) for a, b in zip(once, twice, strict=True))


def test_scores_far_out_have_finite_losses():
    vectors, context = np.full((1, 1), 1e3, np.float32), np.array([[1e3], [-1e3]], np.float32)
    rows, labels, counts = np.array([[0, 1]]), np.array([[False, True]]), np.ones((1, 2), bool)
    loss = descend(vectors, context, np.array([0]), np.array([0, 1]), rows, labels, counts, np.float32([1e-9]))
    assert loss == pytest.approx(2e6)


def test_bags_of_several_sizes_and_rates_are_autograds_steps_in_turn():
    generator = np.random.default_rng(3)
    start = [generator.normal(size=(12, 5)).astype(np.float32) for _ in range(2)]
    inputs, starts = np.array([2, 7, 7, 4, 2, 11]), np.array([0, 1, 4, 6])
    # No output twice in a bag: it would move between its two scores.
    rows = np.stack([generator.permutation(12)[:4] for _ in range(3)])
    labels = generator.random((3, 4)) < 0.5
    counts, rates = generator.random((3, 4)) < 0.8, np.float32([0.1, 0.02, 0.3])
    moved = [part.copy() for part in start]
    found = descend(*moved, inputs, starts, rows, labels, counts, rates)
    vectors, context = (torch.from_numpy(part.copy()).double() for part in start)
    total = 0.0
    for bag in range(3):
        vectors, context = vectors.detach().requires_grad_(), context.detach().requires_grad_()
        hidden = vectors[inputs[starts[bag] : starts[bag + 1]]].mean(0)
        signs = torch.tensor(np.where(labels[bag], 1.0, -1.0))
        each = -logsigmoid(signs * (context[rows[bag]] @ hidden))
        loss = each[torch.from_numpy(counts[bag])].sum()
        into = torch.autograd.grad(loss, [vectors, context])
        vectors, context = vectors - float(rates[bag]) * into[0], context - float(rates[bag]) * into[1]
        total += float(loss.detach())
    assert found == pytest.approx(total, rel=1e-5)
    assert moved[0] == pytest.approx(vectors.detach().numpy(), abs=1e-5)
    assert moved[1] == pytest.approx(context.detach().numpy(), abs=1e-5)


@pytest.mark.parametrize("score", [-600.0, -81.0, -79.0, 79.0, 600.0])
@pytest.mark.parametrize("label", [True, False])
def test_far_out_a_wrong_output_moves_by_the_whole_rate_and_a_right_one_not_at_all(score, label):
    vectors, context = np.full((1, 1), score, np.float32), np.ones((1, 1), np.float32)
    one = np.zeros((1, 1), int), np.array([[label]]), np.ones((1, 1), bool), np.float32([0.5])
    loss = descend(vectors, context, np.array([0]), np.array([0, 1]), *one)
    wrong = (score < 0) == label
    sign = 1 if label else -1
    assert loss == pytest.approx(abs(score) if wrong else 0, abs=1e-6)
    assert vectors[0, 0] == pytest.approx(score + 0.5 * sign * wrong, rel=1e-6)
    assert context[0, 0] == pytest.approx(1 + 0.5 * sign * score * wrong, rel=1e-6)
