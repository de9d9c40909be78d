"""What the study measures, against small cases worked out by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from winnow.attribution.perturbation import from_numpy
from winnow.evaluate import local_approximation_study as study
from winnow.evaluate import local_approximation_summary as judged
from winnow.evaluate.local_approximation import METHODS
from winnow.models import build
from winnow.randomness import torch_generator


def points(n=8, features=4, seed=0):
    return torch.randn(n, features, generator=torch_generator(seed, "points"), dtype=torch.float64)


def net(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 1)).double().requires_grad_(False)


@pytest.mark.parametrize("regression", [False, True])
def test_a_model_cut_at_its_encoder_is_still_the_model(regression):
    model = build("table_mlp", levels=[0, 3, 0], outputs=1 if regression else 2, regression=regression)
    rows = torch.tensor([[1.0, 2.0, -3.0], [0.5, 0.0, 9.0]])
    model.fit_scaler(torch.randn(20, 3), 7 + 2 * torch.randn(20))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encoder, rest = study.standardised_part(model)
    outputs = rest(encoder(rows.double()))
    if regression:
        outputs = outputs * model.scale.deviation + model.scale.mean
    assert torch.allclose(outputs.float(), model(rows), atol=1e-5) and outputs.dtype == torch.float64
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == torch.float32 for name in before)


def test_methods_that_need_gradients_are_left_out_where_there_are_none():
    explained = study.explain_all(from_numpy(lambda rows: rows.sum(1)), points(2), 60, 0)
    assert set(explained.native) == set(explained.framework) == {"lime", "kernel_shap", "occlusion", "c_lime"}
    assert set(study.explain_all(net(), points(2), 60, 0).native) == set(METHODS)


def test_linear_and_logistic_functions_are_recovered():
    x = points(200)
    y = (x[:, 0] - x[:, 1] + 0.3 * points(200, 1, 5)[:, 0] > 0).double()
    found = study.recovery(x, y, points(5, seed=1), 300, 0, classes=True)
    errors = {(row["method"], row["function"], row["family"]): row["error"] for row in found}
    assert all(errors[name, "linear", "linear"] < 1e-9 for name in METHODS)
    assert errors["binary masks", "logistic", "logistic"] < 1e-6 < 0.05 < errors["binary masks", "logistic", "linear"]
    assert len(study.recovery(x, y, points(5, seed=1), 300, 0, classes=False)) == len(METHODS)


def test_the_way_to_the_limits_falls():
    rows = study.limits(net(), points(), 500, 0)
    for method in ("smoothgrad", "integrated_gradients"):
        found = [row["value"] for row in rows if row["method"] == method]
        assert len(found) == 5 and found == sorted(found, reverse=True)
        assert judged.monotone(rows, method) == pytest.approx(-1)


def test_the_own_method_is_not_above_others_by_more_than_its_error():
    explained = study.explain_all(net(), points(), 500, 0)
    rows = study.loss_matrix(net(), points(), explained.framework, 500, 0)
    assert len(rows) == 64
    for row in rows:
        at = {r["method"]: r["value"] for r in rows if r["neighbourhood"] == row["neighbourhood"]}
        assert row["excess"] == pytest.approx(at[row["neighbourhood"]] - row["value"], abs=1e-12)
    for place in METHODS:
        assert judged.worst_excess(rows, place) < 3
    made = [{"method": "a", "neighbourhood": "b", "value": 1.0, "excess": 0.4, "error": 0.1}]
    made += [{"method": "b", "neighbourhood": "b", "value": 1.0, "excess": 9.0, "error": 0.1}]
    made += [{"method": "c", "neighbourhood": "b", "value": 1.0, "excess": -0.4, "error": 0.0}]
    assert judged.worst_excess(made, "b") == pytest.approx(4)


def test_the_function_of_an_images_rows_is_the_model():
    model = build("mlp", in_channels=1, height=8, width=8, classes=10, hidden=[16])
    images = torch.randn(3, 1, 8, 8)
    encode, f = study.rows_and_function(SimpleNamespace(kind="images", shape=(1, 8, 8)), model)
    rows = encode(images.double())
    assert rows.shape == (3, 64) and f(rows).dtype == torch.float64
    assert torch.allclose(f(rows).float(), model(images), atol=1e-5)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("features", [1, 2, 7, 16, 30, 64])
def test_numbers_of_perturbed_features_go_from_one_to_all_through_half(features):
    found = study.tested(features)
    assert found[0] == 1 and found[-1] == features and max(1, features // 2) in found
    assert found == sorted(set(found)) and len(found) <= 17


def test_methods_are_perturbed_with_the_same_draws():
    native = {"a": points(), "b": points()}
    changed = study.changes(net(), points(), native, 2, "continuous", "bottom", 0.1, 20, 0)
    assert torch.equal(changed["a"], changed["b"]) and changed["a"].shape == (8,)
