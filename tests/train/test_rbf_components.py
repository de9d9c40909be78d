"""Reasoning over components against sums written out, GLVQ by hand, and bounds against moves that were tried."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from winnow.errors import InputError
from winnow.randomness import torch_generator
from winnow.train.component_reasoning import OriginalReasoning, Reasoning
from winnow.train.glvq import Glvq, class_means
from winnow.train.rbf_components import CBC, _Rows, fit_components, margin_loss, worst_margins


def draws(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def blobs(n=60, classes=3, d=4, seed=0):
    y = torch.arange(n) % classes
    return (3 * draws(classes, d, seed=seed)[y] + 0.5 * draws(n, d, seed=seed + 1)), y


def cbc(
    negative=True, vectors=1, kernel="gauss", p=2.0, classes=3, components=6, seed=0, spread=2.0, per_component=False
):
    model = CBC(Reasoning(components, 3, negative, vectors, seed), 4, kernel, per_component, p).double()
    with torch.no_grad():
        model.components.copy_(2 * draws(components, 4, seed=seed + 5))
        model.head.logits.copy_(2 * draws(*model.head.logits.shape, seed=seed + 6))
        model.log_scale.copy_(math.log(5) + 0.3 * draws(*model.log_scale.shape, seed=seed + 7))
    return model


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([1, 3]))
def test_each_class_has_one_distribution_over_its_reasons_and_p_is_a_probability(seed, negative, vectors):
    model = cbc(negative, vectors, seed=seed)
    plus, minus = (part.detach() for part in model.head.probabilities())
    torch.testing.assert_close((plus + minus).sum(0), torch.ones(3 * vectors).double())
    x = 3 * draws(20, 4, seed=seed)
    d, p = model.detections(x).detach(), model(x).detach()
    assert ((p >= 0) & (p <= 1)).all()
    for i in range(3):
        for c in range(3):
            best = max(
                sum(float(plus[k, v]) * float(d[i, k]) + float(minus[k, v]) * (1 - float(d[i, k])) for k in range(6))
                for v in range(c * vectors, (c + 1) * vectors)
            )
            assert float(p[i, c]) == pytest.approx(best, abs=1e-12)


def test_without_absence_it_is_an_rbf_classifier_with_row_stochastic_weights():
    model = cbc(negative=False)
    x = draws(9, 4)
    kernel = (-torch.cdist(x, model.components).square() / model.log_scale.exp()).exp()
    torch.testing.assert_close(model(x), kernel @ model.head.logits.softmax(0))
    assert model.head.logits.shape == (6, 3)
    assert Reasoning(6, 3).logits.shape == (12, 3)


@pytest.mark.parametrize("per_component", [False, True])
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("kernel", ["gauss", "norm"])
def test_components_are_detected_by_their_distance(kernel, p, per_component):
    model = cbc(kernel=kernel, p=p, per_component=per_component)
    x = draws(5, 4)
    s = model.log_scale.exp().expand(6)
    for i in range(5):
        for k in range(6):
            far = float(torch.linalg.vector_norm(x[i] - model.components[k], ord=p))
            expected = math.exp(-(far**2 if kernel == "gauss" else far) / float(s[k]))
            assert float(model.detections(x)[i, k].detach()) == pytest.approx(expected, rel=1e-9)
    assert model.log_scale.shape == ((6,) if per_component else (1,))


def test_far_away_the_logarithm_of_a_detection_does_not_underflow():
    model = cbc()
    logs = model.log_kernel(model.distances(1e3 * torch.ones(1, 4).double()))
    assert torch.isfinite(logs).all() and (logs < -1e5).all()


@pytest.mark.parametrize("vectors", [1, 2])
def test_the_terms_of_an_explanation_sum_to_p_and_the_largest_comes_first(vectors):
    model = cbc(vectors=vectors)
    x = draws(1, 4)[0]
    for label in range(3):
        terms = model.explain(x, label)
        shares = [term["share"] for term in terms]
        assert sum(shares) == pytest.approx(float(model(x[None])[0, label].detach()), abs=1e-12)
        assert shares == sorted(shares, reverse=True)
        assert len(terms) == 12
        assert sum(term["weight"] for term in terms) == pytest.approx(1)
        for term in terms:
            seen = term["detection"] if term["sign"] == "+" else 1 - term["detection"]
            assert term["share"] == pytest.approx(term["weight"] * seen)


def test_the_margin_loss_counts_what_lacks_to_the_margin():
    p = torch.tensor([[0.5, 0.3], [0.2, 0.6]])
    assert float(margin_loss(p, torch.tensor([0, 0]), 0.3)) == pytest.approx((0.1 + 0.7) / 2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.sampled_from([1, 2]), st.sampled_from(["gauss", "norm"]))
def test_no_move_within_the_radius_brings_a_margin_below_its_bound(seed, negative, vectors, kernel):
    model = cbc(negative, vectors, kernel, seed=seed)
    x, y = 2 * draws(6, 4, seed=seed), torch.arange(6) % 3
    distances = model.distances(x)
    foreign = model.head.class_of != y[:, None]
    columns = model.head.columns(model.detections(x))
    own = columns.masked_fill(foreign, -math.inf)
    best, at = own.max(1)
    still = worst_margins(model, distances, y, 0.0)
    torch.testing.assert_close(still[foreign], (best[:, None] - columns)[foreign])
    assert (still[~foreign] == math.inf).all()
    torch.testing.assert_close(
        worst_margins(model, distances, y, 0.0, shift=torch.full((6, 1), -2.0).double())[foreign],
        still[foreign] * math.exp(2),
    )
    for radius in (0.1, 0.8):
        bound = worst_margins(model, distances, y, radius)
        for trial in range(20):
            moved = x + radius * F.normalize(draws(6, 4, seed=1000 * seed + trial), dim=1)
            after = model.head.columns(model.detections(moved))
            margins = after.gather(1, at[:, None]) - after
            assert (margins[foreign] >= bound[foreign] - 1e-9).all()


@pytest.mark.parametrize("kernel", ["gauss", "norm"])
def test_bounds_are_sums_over_components_that_come_nearer_or_go_farther_by_the_radius(kernel):
    model = cbc(kernel=kernel)
    x, y = model.components.detach()[:4] + 0.1 * draws(4, 4), torch.tensor([0, 1, 2, 0])  # nearer than the radius
    distances, s = model.distances(x).detach(), math.exp(float(model.log_scale.detach()))
    plus, minus = (part.detach() for part in model.head.probabilities())

    def seen(distance):
        return math.exp(-(distance**2 if kernel == "gauss" else distance) / s)

    found = worst_margins(model, distances, y, 0.8).detach()
    for i, own in enumerate(y.tolist()):
        for other in {0, 1, 2} - {own}:
            total = float(minus[:, own].sum() - minus[:, other].sum())
            for k in range(6):
                edge = float((plus - minus)[k, own] - (plus - minus)[k, other])
                d = float(distances[i, k])
                total += edge * seen(d + 0.8 if edge > 0 else max(d - 0.8, 0))
            assert float(found[i, other]) == pytest.approx(total, abs=1e-12)


def test_far_away_bounds_that_are_scaled_stay_finite():
    model = cbc(negative=False)
    x, y = 100 * F.normalize(draws(5, 4), dim=1), torch.arange(5) % 3
    distances = model.distances(x)
    shift = model.log_kernel(distances).amax(1, keepdim=True)
    assert (shift < -800).all()  # their exponentials are 0 in float64
    found = worst_margins(model, distances, y, 0.0, shift).detach()
    foreign = model.head.class_of != y[:, None]
    assert torch.isfinite(found[foreign]).all() and (found[foreign] != 0).all()


def test_radii_may_differ_for_each_input_and_vector():
    model = cbc()
    x, y = draws(4, 4), torch.tensor([0, 1, 2, 0])
    radii = torch.linspace(0, 1, 12).double().view(4, 3)
    both = worst_margins(model, model.distances(x), y, radii)
    for i in range(4):
        for c in range(3):
            one = worst_margins(model, model.distances(x[i : i + 1]), y[i : i + 1], float(radii[i, c]))
            assert float(both[i, c].detach()) == pytest.approx(float(one[0, c].detach()))


def test_starts_are_means_within_each_class():
    x, y = blobs(60)
    found = class_means(x, y, 1, seed=0)
    for label in range(3):
        torch.testing.assert_close(found[label], x[y == label].mean(0))
    model = CBC(Reasoning(6, 3), 4).double()
    model.start(x, y, seed=0)
    torch.testing.assert_close(model.components.detach(), class_means(x, y, 2, seed=0))
    nearest = torch.cdist(x, model.components.detach()).amin(1)
    assert float(model.log_scale.exp().detach()) == pytest.approx(float(nearest.square().mean()))
    flat = CBC(Reasoning(6, 3), 4, "norm").double()
    flat.start(x, y, seed=0)
    assert float(flat.log_scale.exp().detach()) == pytest.approx(float(nearest.mean()))
    other = Glvq(6, 3, 4).double()
    other.start(x, y, seed=0)
    torch.testing.assert_close(other.prototypes.detach(), model.components.detach())


@pytest.mark.parametrize("kind", ["cbc", "rbf", "original", "glvq"])
def test_every_model_learns_blobs_and_repeats_itself(kind):
    x, y = blobs(120)

    def trained():
        torch.manual_seed(0)
        head = OriginalReasoning(6, 3) if kind == "original" else Reasoning(6, 3, negative=kind == "cbc")
        model = (Glvq(6, 3, 4) if kind == "glvq" else CBC(head, 4)).double()
        model.start(x, y, seed=0)
        history = fit_components(model, x, y, epochs=8, batch=30, learning_rate=0.05, margin=0.1, seed=0)
        return model, history

    model, history = trained()
    losses = [value for metric, value, _ in history if metric == "loss"]
    assert len(losses) == 32 and sum(losses[-4:]) < sum(losses[:4])
    assert float((model(x).argmax(1) == y).double().mean()) > 0.95
    assert torch.equal(trained()[0](x), model(x))


def test_a_new_model_detects_all_at_the_origin_and_trains_by_a_cosine_as_told():
    new = CBC(Reasoning(6, 3), 4)
    assert (new.components == 0).all() and new.log_scale.tolist() == [0.0]
    assert CBC(Reasoning(6, 3), 4, per_component_scale=True).log_scale.tolist() == [0.0] * 6
    x, y = blobs(70)
    models = [cbc() for _ in range(2)]
    usual = fit_components(models[0], x, y, epochs=3, loss="robust")
    options = {"batch": 64, "learning_rate": 5e-3, "margin": 0.03, "radius": 0.75, "seed": 0}
    assert usual == fit_components(models[1], x, y, epochs=3, loss="robust", **options)
    assert torch.equal(models[0].components, models[1].components)
    rates = [value for metric, value, _ in usual if metric == "learning_rate"]
    assert rates == pytest.approx([5e-3 * (1 + math.cos(math.pi * step / 6)) / 2 for step in range(6)])
    other = cbc()
    assert fit_components(other, x, y, epochs=3, loss="robust", **options | {"radius": 1.75}) != usual
    assert fit_components(cbc(), x, y, epochs=1, margin=0.0)[0][1] >= 0


def test_distances_in_the_euclidean_norm_keep_their_gradient_where_they_are_zero():
    model = cbc()
    model.distances(model.components.detach()[:1]).sum().backward()
    assert torch.isfinite(model.components.grad).all()


def test_without_a_seed_or_an_epoch_rows_come_in_the_order_of_the_first():
    x, y = blobs(10)
    data = _Rows(x, y, lambda points, labels: points.sum())
    order = torch.randperm(10, generator=torch_generator(0, "components", "0"))
    for told in ((), (0,), (0, 0)):
        found = list(data.batches("train", 4, *told))
        assert torch.equal(torch.cat([part for part, _ in found]), x[order]) and [len(p) for p, _ in found] == [4, 4, 2]
        assert torch.equal(torch.cat([labels for _, labels in found]), y[order])


def test_the_robust_loss_is_what_the_worst_margins_lack_and_raises_them():
    x, y = blobs(90)
    model = cbc()
    model.start(x, y, seed=0)
    fit_components(model, x, y, epochs=3, batch=30, learning_rate=0.05, seed=0)
    before = worst_margins(model, model.distances(x), y, 0.5).amin(1)
    history = fit_components(
        model, x, y, epochs=8, batch=90, learning_rate=0.02, loss="robust", margin=0.2, radius=0.5, seed=0
    )
    first = next(value for metric, value, _ in history if metric == "loss")
    assert first == pytest.approx(float(F.relu(0.2 - before).mean().detach()), rel=1e-6)
    after = worst_margins(model, model.distances(x), y, 0.5).amin(1)
    assert after.mean() > before.mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit_components(cbc(), *blobs(), epochs=1, margin=1.0), "margin is 1.0"),
        (lambda: fit_components(cbc(), *blobs(), epochs=1, margin=-0.1), "margin is -0.1"),
        (lambda: fit_components(cbc(), blobs()[0] * math.nan, blobs()[1], epochs=1), "an input is NaN or infinite"),
        (
            lambda: fit_components(cbc(), blobs()[0].index_fill(0, torch.tensor(3), math.inf), blobs()[1], epochs=1),
            "an input is NaN or infinite",
        ),
        (lambda: cbc(components=2).start(*blobs(), seed=0), "components is 2; .* multiple of the 3 classes"),
        (lambda: cbc(components=7).start(*blobs(), seed=0), "components is 7; .* multiple of the 3 classes"),
        (lambda: class_means(*blobs(6), 3, seed=0), "class 0 has 2 rows for 3 components"),
        (lambda: CBC(OriginalReasoning(6, 3), 4).explain(torch.zeros(4), 0), "the original reasoning divides"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message):
        call()
