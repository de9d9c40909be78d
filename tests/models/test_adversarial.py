import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from winnow.errors import InputError
from winnow.models import build
from winnow.models.adversarial import AttackedExamples, fit_robust, pgd, robust_accuracy
from winnow.models.modes import evaluating
from winnow.randomness import torch_generator

IMAGE = {"in_channels": 1, "height": 9, "width": 8, "classes": 3}
X = torch.rand(40, 1, 9, 8, generator=torch_generator(0, "x"))
Y = torch.arange(40) % 3
NORMS = ["l2", "linf"]


def lengths(delta, norm):
    return delta.flatten(1).norm(dim=1, p=2 if norm == "l2" else math.inf)


def each(model, x):
    return functional.cross_entropy(model(x), Y, reduction="none").detach()


@settings(max_examples=25, deadline=None)
@example("l2", 1e-276, 1, 1, 0)  # 0 in single precision
@given(st.sampled_from(NORMS), st.floats(0, 3), st.integers(1, 10), st.integers(1, 3), st.integers(0, 99))
def test_a_perturbation_leaves_neither_its_ball_nor_its_box(norm, eps, steps, restarts, seed):
    model = build("mlp", seed=seed, **IMAGE)
    delta = pgd(model, X, Y, eps, norm=norm, steps=steps, restarts=restarts, seed=seed)
    assert (lengths(delta, norm) <= eps + 1e-6).all()
    assert (X + delta).min() >= -1e-6 and (X + delta).max() <= 1 + 1e-6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["mlp", "small_cnn"])
def test_the_loss_rises(norm, name):
    model = build(name, seed=1, **IMAGE)
    risen = each(model, X + pgd(model, X, Y, 0.3, norm=norm)) - each(model, X)
    assert (risen >= 0).double().mean() >= 0.99 and risen.median() > 0.001


@pytest.mark.parametrize("norm", NORMS)
def test_on_a_linear_model_of_two_classes_it_is_the_worst_case(norm):
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 2)).double()
    x, y = X.double(), Y % 2
    with torch.no_grad():
        direction = model[1].weight[1] - model[1].weight[0]
        length = direction.norm() if norm == "l2" else direction.abs().sum()
        margin = (x.flatten(1) @ direction + model[1].bias[1] - model[1].bias[0]) * (2 * y - 1)
        delta = pgd(model, x, y, 0.7, norm=norm, box=None)
        reached = functional.cross_entropy(model(x + delta), y, reduction="none")
    # The margin falls by eps times its gradient's dual norm.
    torch.testing.assert_close(reached, functional.softplus(0.7 * length - margin), rtol=0, atol=1e-4)


def test_one_step_goes_a_quarter_of_the_radius_up_the_gradient():
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3, bias=False)).double()
    leaf = X.double().requires_grad_(True)
    functional.cross_entropy(model(leaf), Y, reduction="sum").backward()
    x = X.double()
    l2 = 0.2 / 4 * leaf.grad / leaf.grad.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    torch.testing.assert_close(pgd(model, x, Y, 0.2, norm="l2", steps=1, box=None), l2)
    torch.testing.assert_close(pgd(model, x, Y, 0.2, norm="linf", steps=1, box=None), 0.2 / 4 * leaf.grad.sign())
    boxed = pgd(model, x, Y, 0.2, norm="linf", steps=1, box=(x, x + 0.01))
    torch.testing.assert_close(boxed, (0.2 / 4 * leaf.grad.sign()).clamp(0, 0.01))


def test_more_steps_than_reach_the_sphere_stay_on_it():
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 3))
    for norm in NORMS:
        lengths_of = lengths(pgd(model, X, Y, 0.2, norm=norm, box=None, steps=20), norm)
        torch.testing.assert_close(lengths_of, torch.full((40,), 0.2))


class Valleys(nn.Module):
    """A loss whose slope at 0 leads to the lower of two hills."""

    def forward(self, x):
        s = x.flatten(1).sum(1)
        logit = torch.where(s >= 0, s, -4 * s)
        return torch.stack([0 * logit, logit], 1)


def test_restarts_keep_the_best_start_of_each_example():
    x, y = torch.full((30, 1), 1e-3), torch.zeros(30, dtype=torch.int64)
    once, often = (pgd(Valleys(), x, y, 1.0, norm="linf", box=None, restarts=r, seed=5) for r in (1, 6))
    assert torch.equal(once, torch.ones(30, 1))
    assert (often == -1).double().mean() > 0.9
    again = pgd(Valleys(), x, y, 1.0, norm="linf", box=None, restarts=6, seed=5)
    assert torch.equal(often, again)
    lost = pgd(Valleys(), x, 1 - y, 1.0, norm="linf", box=None, restarts=6)
    assert (lost.abs() < 0.26).all()  # the other class: the bottom of the valley, and not one start is worse there


def test_the_loss_may_be_the_callers():
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 1)).double()
    delta = pgd(model, X.double(), Y, 0.5, box=None, loss=lambda out, y: -out[:, 0])
    weight = model[1].weight[0].detach()
    torch.testing.assert_close(delta.flatten(1), (-0.5 * weight / weight.norm()).expand(40, 72))


def test_a_saturated_loss_still_has_a_direction_and_none_gives_no_step():
    model = nn.Sequential(nn.Flatten(), nn.Linear(72, 2, bias=False))
    with torch.no_grad():
        model[1].weight.copy_(torch.stack([torch.ones(72), -torch.ones(72)]) * 0.9)
    y = torch.zeros(40, dtype=torch.int64)
    tiny = torch.autograd.grad(functional.cross_entropy(model(leaf := X.clone().requires_grad_(True)), y), leaf)[0]
    assert 0 < tiny.abs().max() < 1e-18  # its square is 0 in float32
    delta = pgd(model, X, y, 0.5, box=None)
    torch.testing.assert_close(lengths(delta, "l2"), torch.full((40,), 0.5), rtol=1e-4, atol=0)
    constant = nn.Sequential(nn.Flatten(), nn.Linear(72, 2))
    nn.init.zeros_(constant[1].weight)
    assert torch.equal(pgd(constant, X, y, 0.5), torch.zeros_like(X))


def test_an_attack_touches_neither_parameters_nor_their_gradients_nor_the_mode():
    model = build("small_cnn", **IMAGE).train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    pgd(model, X, Y, 0.3, restarts=2)
    assert all(p.grad is None for p in model.parameters()) and model.training
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_robust_accuracy_is_measured_in_eval_mode_and_falls_with_the_radius(blobs):
    x, y = blobs.splits["test"]
    model = build("residual", seed=1, **IMAGE)
    fit_robust(model, *blobs.splits["train"], 0.0, box=None, epochs=5, batch_size=30, seed=1)
    model.train()
    before = {n: t.clone() for n, t in model.state_dict().items()}
    shares = [robust_accuracy(model, x, y, eps, box=None) for eps in (0.0, 3.0, 9.0)]
    assert model.training and all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    with evaluating(model):
        assert shares[0] == pytest.approx(float((model(x).argmax(1) == y).double().mean()))
    assert shares[0] > shares[1] > shares[2]


def test_robust_training_takes_exactly_the_steps_of_a_plain_loop_on_attacked_batches():
    model, twin = build("mlp", seed=2, **IMAGE), build("mlp", seed=2, **IMAGE)
    history = fit_robust(model, X, Y, 0.3, norm="linf", steps=3, epochs=2, batch_size=16, seed=7)
    optimizer = torch.optim.SGD(twin.parameters(), lr=0.1, momentum=0.9)
    losses = []
    for epoch in range(2):
        for x, y in AttackedExamples(X, Y).batches("train", 16, 7, epoch):
            x = x + pgd(twin, x, y, 0.3, norm="linf", steps=3)
            loss = functional.cross_entropy(twin(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert [v for m, v, _ in history if m == "loss"] == losses
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True))
    assert not model.training


def test_epochs_go_through_all_examples_in_an_order_of_their_own():
    examples = AttackedExamples(X, torch.arange(40))
    orders = [
        torch.cat([y for _, y in examples.batches("train", 16, seed, epoch)])
        for seed, epoch in ((1, 0), (1, 1), (2, 0), (1, 0))
    ]
    assert all(sorted(order.tolist()) == list(range(40)) for order in orders)
    assert torch.equal(orders[0], orders[3])
    assert not torch.equal(orders[0], orders[1]) and not torch.equal(orders[0], orders[2])
    x, y = zip(*examples.batches("train", 16), strict=True)
    assert torch.equal(torch.cat(x), X) and torch.equal(torch.cat(y), torch.arange(40))


def test_training_on_the_worst_examples_resists_them(blobs):
    x, y = blobs.splits["train"]
    wide = {"box": None, "epochs": 15, "batch_size": 30, "seed": 1, "optimizer": lambda p: torch.optim.SGD(p, 0.02)}
    plain, robust = build("mlp", seed=1, **IMAGE), build("mlp", seed=1, **IMAGE)
    fit_robust(plain, x, y, 0.0, **wide)
    fit_robust(robust, x, y, 4.0, **wide)
    x, y = blobs.splits["test"]
    scores = [robust_accuracy(m, x, y, 5.0, box=None, steps=20) for m in (plain, robust)]
    assert scores[1] - scores[0] > 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eps": -1.0}, "eps is -1"),
        ({"eps": math.nan}, "eps is nan"),
        ({"norm": "l1"}, "'l1'; use l2 or linf"),
        ({"steps": 0}, "steps is 0"),
        ({"restarts": 0}, "restarts 0"),
        ({"box": (0.5, 1.0)}, "leaves its box"),
        ({"box": (0.0, 0.5)}, "leaves its box"),
    ],
)
def test_an_attack_that_makes_no_sense_is_refused(changes, words):
    settings = {"eps": 0.1, "norm": "l2", "steps": 8, "restarts": 1, "box": (0.0, 1.0)} | changes
    with pytest.raises(InputError, match=words):
        pgd(build("mlp", **IMAGE), X, Y, settings.pop("eps"), **settings)


def test_labels_of_another_number_are_refused():
    with pytest.raises(InputError, match="40 examples and y 3"):
        fit_robust(build("mlp", **IMAGE), X, Y[:3], 0.1, epochs=1, seed=0)
