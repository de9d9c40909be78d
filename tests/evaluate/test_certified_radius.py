"""Certificates against the true decision boundary, the theorem's formulas, and attacks."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from winnow.errors import InputError
from winnow.evaluate import certified_radius as module
from winnow.evaluate.certified_radius import (
    certificates,
    certified_accuracy,
    certified_radius,
    component_rows,
    thin_predictions,
    violations,
)
from winnow.train.component_reasoning import OriginalReasoning, Reasoning
from winnow.train.glvq import Glvq
from winnow.train.rbf_components import CBC
from winnow.workloads.unit_interval import as_images


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cbc(seed=0, negative=True, vectors=1, kernel="gauss", p=2.0, per_component=False):
    model = CBC(Reasoning(6, 3, negative, vectors, seed), 4, kernel, per_component, p).double()
    with torch.no_grad():
        model.components.copy_(2 * draws(6, 4, seed=seed + 5))
        model.head.logits.copy_(3 * draws(*model.head.logits.shape, seed=seed + 6))
        model.log_scale.copy_(math.log(5) + 0.3 * draws(*model.log_scale.shape, seed=seed + 7))
    return model


def inputs(seed=0, n=12):
    return 2 * draws(n, 4, seed=seed + 20), torch.arange(n) % 3


def two_components(kernel, weights, at=(0.0, 3.0), scale=2.0):
    """One dimension, two components, an RBF classifier of two classes; weights[k][c]."""
    model = CBC(Reasoning(2, 2, negative=False), 1, kernel).double()
    with torch.no_grad():
        model.components.copy_(torch.tensor(at)[:, None])
        model.head.logits.copy_(torch.tensor(weights).double().log())
        model.log_scale.fill_(math.log(scale))
    return model


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([1, 2]), st.sampled_from(["gauss", "norm"]), st.booleans())
def test_tight_is_at_least_closed_and_both_are_zero_exactly_where_the_prediction_is_wrong(
    seed, negative, vectors, kernel, per_component
):
    model, (x, y) = cbc(seed, negative, vectors, kernel, per_component=per_component), inputs(seed)
    closed, tight = (certified_radius(model, x, y, method) for method in ("closed", "tight"))
    assert (tight >= closed * (1 - 1e-9)).all()
    scores = model(x)
    own = scores.gather(1, y[:, None])[:, 0]
    right = (scores.scatter(1, y[:, None], -1).amax(1) < own).numpy()
    assert ((closed > 0) == right).all()
    assert ((tight > 0) == right).all()


@pytest.mark.parametrize("kernel", ["gauss", "norm"])
@pytest.mark.parametrize("x", [-1.0, 0.2, 1.0])
def test_on_a_line_the_boundary_lies_at_or_beyond_the_radius(kernel, x):
    model = two_components(kernel, [[0.8, 0.3], [0.2, 0.7]])

    def gap(at):
        p = model(torch.tensor([[at]]).double())[0]
        return float((p[0] - p[1]).detach())

    boundary = brentq(gap, x, 5.0)
    start, truth = torch.tensor([[x]]).double(), torch.tensor([0])
    closed, tight = (certified_radius(model, start, truth, method)[0] for method in ("closed", "tight"))
    assert 0 < closed <= tight * (1 + 1e-9) <= boundary - x + 1e-9
    if kernel == "norm" and x >= 0:  # moving to the right leaves one component and meets the other: the worst case
        assert closed == pytest.approx(boundary - x, rel=2e-6)
    if x >= 0:
        assert tight == pytest.approx(boundary - x, rel=2e-6)


def test_a_decision_as_far_as_the_components_is_found_in_any_units():
    """In units of a hundred millionth the radius is a hundred million times as long, and no less finite."""
    near = two_components("norm", [[0.8, 0.3], [0.2, 0.7]])
    far = two_components("norm", [[0.8, 0.3], [0.2, 0.7]], at=(0.0, 3e8), scale=2e8)
    truth = torch.tensor([0])
    for x in (0.2, -1.0):
        one = certified_radius(near, torch.tensor([[x]]).double(), truth)[0]
        assert certified_radius(far, torch.tensor([[1e8 * x]]).double(), truth)[0] == pytest.approx(1e8 * one)


@pytest.mark.parametrize(("kernel", "power"), [("norm", 1), ("gauss", 2)])
def test_a_radius_is_as_long_in_any_units_also_where_it_leaves_all_components_far_behind(kernel, power):
    x, y = inputs(4, 8)
    found = []
    for unit in (1.0, 1e9):
        model = cbc(4, kernel=kernel)
        with torch.no_grad():
            model.components.mul_(unit * 1e-3)
            model.log_scale.add_(power * math.log(unit))
        found.append(certified_radius(model, x * unit * 1e-3, y) / unit)
    assert np.isfinite(found[0]).all() and (found[0] > 0.1).sum() > 1  # components lie within a hundredth
    assert found[1] == pytest.approx(found[0], rel=1e-9)


def test_an_rbf_classifier_has_the_closed_form_of_the_theorem():
    model, (x, y) = cbc(negative=False, kernel="norm"), inputs()
    d = model.detections(x).detach()
    weights = model.head.logits.softmax(0).detach()
    expected = []
    for i, c in enumerate(y.tolist()):
        radii = []
        for other in {0, 1, 2} - {c}:
            edge = weights[:, c] - weights[:, other]
            p, n = float((edge.clamp(min=0) * d[i]).sum()), float(((-edge).clamp(min=0) * d[i]).sum())
            radii.append(float(model.log_scale.exp().detach()) / 2 * math.log(p / n) if p > n else 0.0)
        expected.append(min(radii))
    assert sum(r > 0 for r in expected) > 2
    assert certified_radius(model, x, y, "closed") == pytest.approx(expected, rel=2e-6)


def test_the_closed_form_solves_its_equation_with_absence_too():
    model, (x, y) = cbc(3), inputs(3, 30)
    radius = certified_radius(model, x, y, "closed")
    plus, minus = (part.detach() for part in model.head.probabilities())
    s, distances = float(model.log_scale.exp().detach()), torch.cdist(x, model.components.detach())
    checked = 0
    for i, c in enumerate(y.tolist()):
        if not 0 < radius[i] < math.inf:
            continue
        margins = []
        for other in {0, 1, 2} - {c}:
            edge = (plus - minus)[:, c] - (plus - minus)[:, other]
            b = float(minus[:, c].sum() - minus[:, other].sum())
            d = (-distances[i].square() / s).exp()
            beta, e = float(distances[i].max()), float(radius[i])
            z = math.exp((2 * e * beta + e * e) / s)
            margins.append(float((edge.clamp(min=0) * d).sum()) / z - float(((-edge).clamp(min=0) * d).sum()) * z + b)
        assert min(margins) == pytest.approx(0, abs=1e-4)
        checked += 1
    assert checked > 3


def test_what_nothing_can_change_is_certified_everywhere():
    model = CBC(Reasoning(1, 2), 1).double()
    with torch.no_grad():  # class 0 argues by presence and absence alike: p = 1/2; class 1 by presence at 40 %
        model.head.logits.copy_(torch.tensor([[0.5, 0.4], [0.5, 0.6]]).double().log())
    # Near the component class 0 leads and far away class 1 does.
    near = torch.tensor([[0.0]]).double()
    assert 0 < certified_radius(model, near, torch.tensor([0]))[0] < math.inf
    with torch.no_grad():
        model.components.fill_(0.0)
        model.head.logits.copy_(torch.tensor([[1.0, 1e-9], [1e-9, 1.0]]).double().log())
    far = torch.tensor([[30.0]]).double()
    assert certified_radius(model, far, torch.tensor([1]))[0] < 30
    sure = CBC(Reasoning(2, 2, negative=False), 1).double()
    with torch.no_grad():
        sure.components.copy_(torch.tensor([[0.0], [0.0]]))
        sure.head.logits.copy_(torch.tensor([[1.0, 0.5], [0.0, 0.5]]).double().clamp(min=1e-30).log())
    x, y = torch.zeros(1, 1).double(), torch.tensor([0])
    assert certified_radius(sure, x, y)[0] == 0  # both components coincide: p is equal


def test_far_away_where_detections_underflow_the_nearer_component_still_decides():
    model = two_components("gauss", [[0.8, 0.3], [0.2, 0.7]])
    x, y = torch.tensor([[-200.0]]).double(), torch.tensor([0])
    assert float(model(x).max().detach()) == 0.0
    tight = certified_radius(model, x, y)[0]
    assert 0 < tight < 201
    assert np.isfinite(certified_radius(model, x, y, "closed")).all()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("negative", [True, False])
def test_attacks_stay_inside_the_certificate_and_cross_it_when_it_is_too_long(seed, negative):
    model, (x, y) = cbc(seed, negative), inputs(seed, 40)
    radius = certified_radius(model, x, y)
    assert violations(model, x, y, radius, steps=30, restarts=2, seed=0) == 0
    assert violations(model, x, y, np.where(np.isfinite(radius), 5 * radius, radius), 30, 2, seed=0) > 0


def test_the_hypothesis_margin_of_glvq_holds_and_is_exact_between_two_prototypes():
    model = Glvq(2, 2, 1).double()
    with torch.no_grad():
        model.prototypes.copy_(torch.tensor([[0.0], [4.0]]))
    x, y = torch.tensor([[1.0], [3.0], [1.0]]).double(), torch.tensor([0, 0, 1])
    assert certified_radius(model, x, y) == pytest.approx([1.0, 0.0, 0.0], rel=2e-6)
    many = Glvq(6, 3, 4).double()
    with torch.no_grad():
        many.prototypes.copy_(2 * draws(6, 4))
    points, labels = inputs(0, 40)
    radius = certified_radius(many, points, labels)
    assert (radius > 0).sum() > 3
    assert violations(many, points, labels, radius, 30, 2, seed=0) == 0
    assert violations(many, points, labels, 4 * radius, 30, 2, seed=0) > 0


def test_inputs_that_reach_the_decision_within_their_ball_are_counted_one_by_one():
    """Two prototypes at 0 and 4: the decision lies at 2, and what stands on it is not right."""
    model = Glvq(2, 2, 1)
    with torch.no_grad():
        model.prototypes.copy_(torch.tensor([[0.0], [4.0]]))
    x, y = torch.tensor([[1.0], [3.0], [1.0], [1.0], [1.0]]), torch.tensor([0, 1, 0, 1, 0])

    def found(*radius, steps=20):
        return violations(model, x, y, np.array(radius), steps, restarts=1, seed=0)

    assert found(0.999, 0.999, 0.999, 0.0, 0.999) == 0
    assert found(1.001, 0.999, 1.5, 0.0, 0.5) == 2
    assert found(1.0, 1.0, 0.5, 0.0, 0.5) == 2  # on the decision itself
    # Certified nowhere or everywhere: left out.
    assert found(1.5, math.inf, 1.5, 0.0, 0.5) == 2 and found(math.inf, math.inf, 0, 0, 0) == 0
    assert found(4.0, 0.9, 0.9, 0.0, 0.9, steps=1) == 1  # a step is a quarter of the ball
    assert found(3.9, 0.9, 0.9, 0.0, 0.9, steps=1) == 0


@pytest.mark.parametrize("method", ["closed", "tight"])
def test_many_inputs_are_certified_in_blocks_as_each_by_itself(method, monkeypatch):
    model, (x, y) = cbc(2), inputs(2, 9)
    whole = certified_radius(model, x, y, method)
    monkeypatch.setattr(module, "BLOCK", 2)
    assert np.array_equal(certified_radius(model, x, y, method), whole)
    assert np.array_equal(certified_radius(model, x, y), certified_radius(model, x, y, "tight"))
    # Parameters of a model in float32 are taken as they are, and the model is left as it was.
    single = cbc(2).float().train()
    told = certified_radius(single, x.float(), y, method)
    assert told.dtype == np.float64 and single.training and single.components.dtype == torch.float32
    assert np.array_equal(told, certified_radius(single.double(), x.float().double(), y, method))


def test_certificates_report_both_bounds_the_median_and_violations_of_the_first():
    model, (x, y) = cbc(1), inputs(1, 30)
    radius, rows = certificates(model, x, y, [0.01, 1.0], 12, 20, 2, 0)
    assert np.array_equal(radius, certified_radius(model, x, y, "tight"))
    closed = certified_radius(model, x, y, "closed")
    assert rows == [
        ("certified_0.01", (radius >= 0.01).mean(), None),
        ("certified_1", (radius >= 1).mean(), None),
        ("closed_0.01", (closed >= 0.01).mean(), None),
        ("closed_1", (closed >= 1).mean(), None),
        ("median_radius", np.median(radius[radius > 0]), None),
        ("violations", 0.0, None),
    ]
    assert 0 < rows[1][1] < rows[0][1] < 1 and rows[3][1] < rows[1][1]
    wrong = (model(x).argmax(1) + 1) % 3
    nowhere, told = certificates(model, x, wrong, [0.1], 20, 5, 1, 0)
    assert (nowhere == 0).all() and [value for _, value, _ in told] == [0.0, 0.0, 0.0, 0.0]


def test_violations_are_of_as_many_as_are_attacked(monkeypatch):
    model, (x, y) = cbc(1), inputs(1, 30)
    asked = []

    def attack(model, x, y, radius, steps, restarts, seed):
        asked.append((len(x), len(y), len(radius), steps, restarts, seed))
        return 3

    monkeypatch.setattr(module, "violations", attack)
    assert certificates(model, x, y, [], 12, 20, 2, 7)[1][-1] == ("violations", 3.0, None)
    assert asked == [(12, 12, 12, 20, 2, 7)]


@pytest.mark.parametrize("definite", [0.04, 0.08, 0.12])
def test_sure_predictions_on_little_reasoning_are_counted_for_the_original(definite):
    """Nine tenths of what is definite argue for class 0 wherever its components are seen: p is .9 or more."""
    head = OriginalReasoning(2, 2)
    model = CBC(head, 1).double()
    with torch.no_grad():
        head.logits[:, :, 0] = torch.tensor([0.95 * definite, 0.05 * definite, 1 - definite]).log()[:, None]
        head.logits[:, :, 1] = torch.tensor([0.3, 0.3, 0.4]).log()[:, None]
    x = torch.tensor([[0.0], [0.0], [9.0], [9.0]]).double()  # seen twice, p = (.95, .5), and twice not, p = (.05, .5)
    assert thin_predictions(model, x) == (0.5 if definite < 0.1 else 0.0)
    assert thin_predictions(model, x, thin=0.05) == (0.5 if definite < 0.05 else 0.0)
    assert thin_predictions(model, x, sure=0.96) == 0.0
    assert thin_predictions(model, x, sure=0.4, thin=0.5) == 0.5
    assert thin_predictions(model, x, sure=0.4, thin=0.7) == 1.0


def test_all_of_the_joint_reasoning_is_definite_whatever_vector_argues():
    x = torch.tensor([[0.0], [9.0]]).double()
    for vectors in (1, 2):
        model = CBC(Reasoning(2, 2, vectors=vectors), 1).double()
        assert thin_predictions(model, x, sure=-1, thin=0.999) == 0.0
        assert thin_predictions(model, x, sure=-1, thin=1.001) == 1.0


def test_components_are_told_with_the_weights_of_a_classs_first_vector_and_as_they_are_shown():
    model = cbc(vectors=2)
    rows = component_rows(model, ["a", "b", "c"], partial(as_images, shape=(1, 2, 2))).to_pylist()
    plus, minus = model.head.probabilities()
    shown = as_images(model.components.detach(), shape=(1, 2, 2))
    assert [(row["component"], row["class"]) for row in rows] == [(k, c) for k in range(6) for c in "abc"]
    for row in rows:
        k, column = row["component"], 2 * "abc".index(row["class"])
        assert (row["plus"], row["minus"]) == (float(plus[k, column].detach()), float(minus[k, column].detach()))
        assert {name: row[name] for name in shown[k][0]} == shown[k][0]


def test_certified_accuracy_falls_with_the_radius_and_starts_at_the_accuracy():
    radius = np.array([0.0, 0.5, 2.0, np.inf])
    assert certified_accuracy(radius, [0.0, 0.5, 1.0, 1e9]) == [0.75, 0.75, 0.5, 0.25]


def test_other_norms_are_certified_in_their_own_units():
    model, (x, y) = cbc(1, p=math.inf), inputs(1)
    radius = certified_radius(model, x, y)
    chosen = np.isfinite(radius) & (radius > 0)
    assert chosen.sum() > 1
    for trial in range(50):
        signs = draws(*x.shape, seed=trial).sign()
        moved = x + torch.from_numpy(np.where(chosen, radius, 0))[:, None] * signs
        assert (model(moved).argmax(1) == y).numpy()[chosen].all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: certified_radius(cbc(), x * math.nan, y), "an input is NaN or infinite"),
        (lambda x, y: certified_radius(CBC(OriginalReasoning(6, 3), 4), x, y), "the original reasoning divides"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call(*inputs())
