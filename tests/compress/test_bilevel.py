"""Masks move along the gradient of the two levels, on batches of their own, and find what a search finds."""

import copy
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from winnow.compress._masking import prunable_weights
from winnow.compress._slimming import slim
from winnow.compress._trained_masks import MaskedModel, initial_scores
from winnow.compress.bilevel import MOMENTUM, WEIGHT_DECAY, Pairs, bip, mask_gradient
from winnow.errors import InputError
from winnow.models import build

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}
QUICK = {"epochs": 2, "lr": 0.05, "batch_size": 15}


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Regression:
    """Rows of which a few columns count; the loss is half the mean squared error."""

    def __init__(self, seed, rows=64, columns=8, active=3):
        self.x = noise(rows, columns, seed=seed)
        self.truth = 1 + noise(columns, seed=seed + 1).abs()
        self.truth[torch.randperm(columns, generator=torch.Generator().manual_seed(seed))[active:]] = 0
        self.y = self.x @ self.truth + 0.1 * noise(rows, seed=seed + 2)

    def batches(self, split, size, seed=None, epoch=0):
        order = torch.arange(len(self.y))
        if seed is not None:
            order = torch.randperm(len(order), generator=torch.Generator().manual_seed(1000 * seed + epoch))
        for rows in order.split(size):
            yield self.x[rows], self.y[rows]

    def loss(self, model, batch, label_smoothing=0.0):
        return 0.5 * ((model(batch[0]).squeeze(1) - batch[1]) ** 2).mean()

    def metrics(self, model, split):
        return {"loss": float(self.loss(model, (self.x, self.y)))}

    def model(self, spread=0.5):
        """A dense model that is not done: its magnitudes say little of which columns count."""
        model = nn.Linear(self.x.shape[1], 1, bias=False).double()
        model.weight.data = (0.3 * self.truth + spread * noise(self.x.shape[1], seed=len(self.y)))[None]
        return model


def best_loss(problem, kept):
    """By least squares on each choice of columns."""
    losses = []
    for columns in itertools.combinations(range(problem.x.shape[1]), kept):
        x = problem.x[:, list(columns)]
        rest = problem.y - x @ torch.linalg.lstsq(x, problem.y[:, None]).solution[:, 0]
        losses.append(0.5 * float((rest**2).mean()))
    return min(losses)


def test_the_mask_gradient_is_that_of_both_levels_to_second_order():
    x, y, mask = noise(9, 6), noise(9, seed=1), torch.ones(6).double()

    def lower(m, gamma):
        """Weights that minimise .5 |X (m theta) - y|^2 + gamma / 2 |theta|^2."""
        rows = x * m
        return torch.linalg.solve(rows.T @ rows + gamma * torch.eye(6).double(), rows.T @ y)

    def upper(m, gamma):
        return 0.5 * float(((x @ (m * lower(m, gamma)) - y) ** 2).sum())

    errors = []
    for gamma in (2e3, 4e3, 8e3):
        weight, h = lower(mask, gamma), 1e-3
        gradient = x.T @ (x @ (mask * weight) - y)
        step = torch.eye(6).double() * h
        exact = torch.tensor([(upper(mask + e, gamma) - upper(mask - e, gamma)) / (2 * h) for e in step])
        errors.append(float((mask_gradient(weight, gradient, 1 / gamma) - exact).abs().max()))
        size = float(exact.abs().max())
        assert errors[-1] < 0.1 * size and float((weight * gradient - exact).abs().max()) > 0.4 * size
    # What is left out is of order 1 / gamma^2: it falls to a quarter where gamma doubles.
    assert 3.3 < errors[0] / errors[1] < 4.7 and 3.3 < errors[1] / errors[2] < 4.7


def test_it_comes_close_to_the_best_of_all_masks():
    close = at_first = 0
    for seed in range(50):
        problem = Regression(seed)
        start = problem.model().weight[0].abs().topk(3).indices
        at_first += set(start.tolist()) == set(problem.truth.nonzero().flatten().tolist())
        found = bip(problem.model(), problem, 3 / 8, epochs=16, lr=0.1, batch_size=16, seed=seed)
        kept = found.masks["weight"][0]
        assert int(kept.sum()) == 3
        x = problem.x[:, kept]
        rest = problem.y - x @ torch.linalg.lstsq(x, problem.y[:, None]).solution[:, 0]
        close += 0.5 * float((rest**2).mean()) <= 1.05 * best_loss(problem, 3)
    assert close >= 45 and at_first < 10


class Watched(Regression):
    """Which rows each loss was taken on, and how many weights then counted."""

    def __init__(self, seed):
        super().__init__(seed)
        self.seen = []

    def loss(self, model, batch, label_smoothing=0.0):
        if torch.is_grad_enabled():
            used = {int((self.x == row).all(1).nonzero()) for row in batch[0]}
            columns = int((model(torch.eye(8).double()) != 0).sum())
            self.seen.append((used, columns, label_smoothing))
        return super().loss(model, batch)


def test_each_level_has_a_batch_of_its_own_and_as_many_weights_count_at_every_step():
    problem = Watched(0)
    problem.x, problem.y = problem.x[:60], problem.y[:60]
    found = bip(problem.model(), problem, 3 / 8, epochs=2, lr=0.1, batch_size=8, seed=4, label_smoothing=0.25)
    assert len(problem.seen) == 2 * 8 and all(columns == 3 and s == 0.25 for _, columns, s in problem.seen)
    for lower, upper in zip(problem.seen[::2], problem.seen[1::2], strict=True):
        assert not lower[0] & upper[0]
    for epoch in (problem.seen[:8], problem.seen[8:]):
        assert set().union(*(rows for rows, _, _ in epoch)) == set(range(60))
    assert found.examples == 120
    steps = [step for metric, _, step in found.history if metric == "upper_loss"]
    assert steps == list(range(1, 9)) and [s for m, _, s in found.history if m == "mask_overlap"] == [4, 8]


def test_a_batch_without_a_partner_is_left_out():
    problem = Regression(0)
    pairs = list(Pairs(problem).batches("train", 24, seed=1))
    assert [[len(part) for part in pair] for pair in pairs] == [[24, 24, 24, 24]]
    first, second, _ = problem.batches("train", 24, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(pairs[0], (*first, *second), strict=True))
    assert Pairs(problem).sizes(24, 1, 0) == 48
    with pytest.raises(InputError, match="no batch of 40"):
        bip(problem.model(), Regression(0, rows=40), 0.5, batch_size=40)


def by_hand(problem, keep, epochs, lr, mask_lr, inv_gamma, size):
    """The two levels of a linear model, written out."""

    def best(score):
        mask = torch.zeros(8).double()
        mask[score.argsort(descending=True)[: round(keep * 8)]] = 1
        return mask

    weight = problem.model().weight.data.clone()[0]
    score = (weight.abs() / weight.abs().max()) * (6 / 8) ** 0.5
    velocity, momentum = torch.zeros(8).double(), torch.zeros(8).double()
    for epoch in range(epochs):
        batches = list(problem.batches("train", size, 0, epoch))
        for pair in range(len(batches) // 2):
            (x, y), (other_x, other_y), mask = batches[2 * pair], batches[2 * pair + 1], best(score)
            slope = mask * (x.T @ (x @ (mask * weight) - y)) / len(y) + WEIGHT_DECAY * weight
            velocity = MOMENTUM * velocity + slope
            done = (epoch + pair / (len(batches) // 2)) / epochs
            weight = weight - lr * 0.5 * (1 + math.cos(math.pi * done)) * velocity
            gradient = other_x.T @ (other_x @ (mask * weight) - other_y) / len(other_y)
            momentum = MOMENTUM * momentum + (weight - inv_gamma * gradient) * gradient + WEIGHT_DECAY * score
            score = score - mask_lr * {0: 1, 1: 1, 2: 0.1, 3: 0.01}[4 * epoch // epochs] * momentum
    return best(score) * weight, score


@pytest.mark.parametrize("inv_gamma", [0.0, 1e-4, 1.0])
@pytest.mark.parametrize(("keep", "epochs"), [(0.25, 1), (0.5, 4), (0.75, 2)])
def test_steps_are_those_written_out_by_hand(keep, epochs, inv_gamma):
    problem = Regression(3)
    settings = {"epochs": epochs, "lr": 0.1, "mask_lr": 0.1, "inv_gamma": inv_gamma}
    found = bip(problem.model(), problem, keep, batch_size=16, **settings)
    weight, score = by_hand(problem, keep, size=16, **settings)
    assert torch.allclose(found.scores["weight"][0], score, rtol=1e-9)
    assert torch.allclose(found.model.weight[0], weight, rtol=1e-9, atol=1e-12)
    start = initial_scores(problem.model().weight)
    assert (found.scores["weight"] - start).abs().max() > 0.01


def test_unless_told_it_prunes_as_the_authors_do():
    problem = Regression(3, rows=300)
    usual = bip(problem.model(), problem, 0.5)
    told = bip(
        problem.model(),
        problem,
        0.5,
        epochs=16,
        lr=0.1,
        mask_lr=0.1,
        inv_gamma=1.0,
        seed=0,
        batch_size=128,
        label_smoothing=0.0,
    )
    assert usual.history == told.history and torch.equal(usual.scores["weight"], told.scores["weight"])
    for other in ({"epochs": 17}, {"lr": 0.05}, {"mask_lr": 0.2}, {"inv_gamma": 0.5}, {"seed": 1}, {"batch_size": 16}):
        assert not torch.equal(bip(problem.model(), problem, 0.5, **other).scores["weight"], usual.scores["weight"])


def test_without_the_implicit_part_the_gradient_is_the_straight_through_one():
    model = build("mlp", **IMAGE, hidden=[6, 5], seed=2).double()
    masked = MaskedModel(model, 0.3, "weight")
    x, y = noise(7, 1, 9, 8), torch.arange(7) % 3
    functional.cross_entropy(masked(x), y).backward()
    straight = [score.grad.clone() for score in masked.scores]
    assert all(
        (gradient[~masked.state[f"mask.{n}"]] != 0).any() for n, gradient in zip(masked.names, straight, strict=True)
    )
    masked.scores.requires_grad_(False)
    values = {name: value.detach().requires_grad_() for name, value in masked.masked().items()}
    loss = functional.cross_entropy(masked(x, values), y)
    for name, gradient, expected in zip(
        masked.names, torch.autograd.grad(loss, list(values.values())), straight, strict=True
    ):
        assert torch.allclose(mask_gradient(model.get_parameter(name), gradient, 0.0), expected, rtol=1e-10)


@pytest.mark.parametrize("name", ["mlp", "depthwise_cnn", "fastgrnn"])
def test_pruned_weights_may_return_and_the_rest_is_zero(name, blobs):
    model = build(name, **IMAGE, seed=1)
    before = copy.deepcopy(model.state_dict())
    found = bip(model, blobs, 0.5, mask_lr=10.0, **QUICK)
    again = bip(model, blobs, 0.5, mask_lr=10.0, **QUICK)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(torch.equal(t, again.model.state_dict()[n]) for n, t in found.model.state_dict().items())
    assert found.history == again.history and not found.model.training and found.model.registry_name == name
    weights = prunable_weights(found.model)
    assert list(found.masks) == list(found.scores) == list(weights)
    assert sum(int(m.sum()) for m in found.masks.values()) == round(0.5 * sum(w.numel() for w in weights.values()))
    first = MaskedModel(copy.deepcopy(model), 0.5, "weight").masks()
    assert any((found.masks[n] & ~first[n]).any() for n in first)
    for n, weight in weights.items():
        assert (weight[~found.masks[n]] == 0).all() and weight[found.masks[n] & ~first[n]].ne(0).all()
    overlap = [value for metric, value, _ in found.history if metric == "mask_overlap"]
    assert len(overlap) == 2 and all(0 < value <= 1 for value in overlap)


def test_overlap_is_intersection_over_union():
    problem = Regression(5)
    found = [
        bip(problem.model(), problem, 0.5, epochs=e, lr=0.1, mask_lr=1.0, batch_size=8, seed=0).masks["weight"]
        for e in (0, 1)
    ]
    _, _, _, history, _ = bip(problem.model(), problem, 0.5, epochs=1, lr=0.1, mask_lr=1.0, batch_size=8, seed=0)
    expected = float((found[0] & found[1]).sum() / (found[0] | found[1]).sum())
    assert [v for m, v, _ in history if m == "mask_overlap"] == [pytest.approx(expected)] and expected < 1


@pytest.mark.parametrize("group", ["filter", "channel"])
@pytest.mark.parametrize("name", ["small_cnn", "depthwise_cnn"])
def test_groups_are_pruned_whole_and_can_be_removed(name, group, blobs):
    found = bip(build(name, **IMAGE, seed=1), blobs, 0.5, group=group, mask_lr=1.0, **QUICK)
    structure = MaskedModel(build(name, **IMAGE), 0.5, group).structure
    for layer, size in structure.sizes.items():
        mask = found.masks[layer] if group == "filter" else found.masks[layer].transpose(0, 1)
        rows = mask.reshape(size, -1)
        assert torch.equal(rows.any(1), rows.all(1)) and int(rows.all(1).sum()) == size // 2
    x = blobs.example_inputs(3)
    small = slim(found.model, None, x)
    assert torch.allclose(small(x), found.model(x), atol=1e-5)
    dense = sum(p.numel() for p in found.model.parameters())
    assert sum(p.numel() for p in small.parameters()) < 0.6 * dense


def test_an_interrupted_run_ends_where_a_straight_one_does(tmp_path, blobs):
    model, path = build("depthwise_cnn", **IMAGE, seed=1), tmp_path / "checkpoint.safetensors"
    settings = {"mask_lr": 1.0, **QUICK, "epochs": 3}
    straight = bip(model, blobs, 0.2, group="filter", **settings)

    def stop(step, total):
        if step == 2 * total // 3 + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bip(model, blobs, 0.2, group="filter", checkpoint=path, progress=stop, **settings)
    assert path.exists()
    steps = []
    resumed = bip(model, blobs, 0.2, group="filter", checkpoint=path, progress=lambda s, t: steps.append(s), **settings)
    assert steps == [7, 8, 9] and resumed.history == straight.history
    expected = straight.model.state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in resumed.model.state_dict().items())
    assert all(torch.equal(m, straight.masks[n]) for n, m in resumed.masks.items())


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        (nn.Linear(8, 1), {"keep": 0.1}, "keep: is 0.1 of 8; give more than 0.125"),
        (nn.Linear(8, 1), {"keep": 0.0}, "keep: is 0.0"),
        (nn.Linear(8, 1), {"keep": 1.1}, "keep: is 1.1 of 8; .* at most 1"),
        (nn.Linear(8, 1), {"keep": 0.5, "group": "row"}, "group: is 'row'"),
        (nn.ReLU(), {"keep": 0.5}, "no weight that can be pruned"),
        (nn.Linear(8, 1), {"keep": 0.5, "lr": 1e300}, "lower the learning rate"),
    ],
)
def test_bad_input_is_told_in_one_line(model, changes, said):
    with pytest.raises(InputError, match=said):
        bip(model.double(), Regression(0), **{"epochs": 4, "batch_size": 8, **changes})
