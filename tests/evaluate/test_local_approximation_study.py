"""What the study measures, against small cases worked out by hand."""

import pyarrow as pa
import pytest
import torch
from torch import nn

from winnow.attribution.perturbation import from_numpy
from winnow.evaluate import local_approximation_charts as charts
from winnow.evaluate import local_approximation_study as study
from winnow.evaluate.chart_parts import save_chart
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


def table(values, kind="l1"):
    names = ["lime", "c_lime", "smoothgrad"]
    return [
        {"kind": kind, "framework": a, "native": b, "value": float(values[i][j])}
        for i, a in enumerate(names)
        for j, b in enumerate(names)
    ]


def test_the_nearest_other_is_looked_for_in_row_and_column_without_the_equal_pair():
    rows = table([[1, 5, 9], [4, 2, 0.1], [7, 0.2, 3]]) + table([[0] * 3] * 3, "cosine")
    assert study.own_and_nearest_other(rows, "lime", "l1") == (1, 4)
    assert study.own_and_nearest_other(rows, "c_lime", "l1") == (2, 4)
    assert study.own_and_nearest_other(rows, "smoothgrad", "l1") == (3, 7)


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
        assert study.monotone(rows, method) == pytest.approx(-1)


def test_the_own_method_is_not_above_others_by_more_than_its_error():
    explained = study.explain_all(net(), points(), 500, 0)
    rows = study.loss_matrix(net(), points(), explained.framework, 500, 0)
    assert len(rows) == 64
    for row in rows:
        at = {r["method"]: r["value"] for r in rows if r["neighbourhood"] == row["neighbourhood"]}
        assert row["excess"] == pytest.approx(at[row["neighbourhood"]] - row["value"], abs=1e-12)
    for place in METHODS:
        assert study.worst_excess(rows, place) < 3
    made = [{"method": "a", "neighbourhood": "b", "value": 1.0, "excess": 0.4, "error": 0.1}]
    made += [{"method": "b", "neighbourhood": "b", "value": 1.0, "excess": 9.0, "error": 0.1}]
    made += [{"method": "c", "neighbourhood": "b", "value": 1.0, "excess": -0.4, "error": 0.0}]
    assert study.worst_excess(made, "b") == pytest.approx(4)


def test_groups_are_compared_by_their_worst_and_best():
    rows = [
        {"method": name, "kind": kind, "end": "bottom", "k": 2, "value": float(i)}
        for kind in ("binary", "continuous")
        for i, name in enumerate(METHODS)
    ]
    # lime 0, kernel_shap 1, occlusion 2, c_lime 3, smoothgrad 4, gradient 5, integrated_gradients 6, gradient_input 7
    assert study.group_gap(rows, "binary", 2) == (7, 3)
    assert study.group_gap(rows, "continuous", 2) == (5, 0)


def test_summary_tables_and_charts_hold_all_methods(tmp_path):
    f, x = net(), points()
    explained = study.explain_all(f, x, 100, 0)
    tables = {
        "distances": study.agreement(explained),
        "recovery": study.recovery(x, x[:, 0], x, 100, 0, classes=False),
        "limits": study.limits(f, x, 100, 0),
        "losses": study.loss_matrix(f, x, explained.framework, 100, 0),
        "perturbation": study.perturbations(f, x, explained.native, 0.1, 5, 0),
    }
    blind = study.explain_all(from_numpy(lambda rows: rows.sum(1)), x, 60, 0)
    found = study.summary(tables, blind, 4)
    metrics = {(system, variant, name): value for system, variant, values in found for name, value in values.items()}
    assert metrics["lime", "own", "distance_l1"] == study.own_and_nearest_other(tables["distances"], "lime", "l1")[0]
    assert metrics["gradient", "without_gradients", "explained"] == 0
    assert (
        metrics["multiplicative", "binary", "output_change"] == study.group_gap(tables["perturbation"], "binary", 2)[0]
    )
    assert len(tables["perturbation"]) == 8 * 2 * 2 * 4
    rows = study.attributions(explained)
    assert len(rows) == 8 * 2 * 8 * 4
    for row in rows[::37]:
        source = (
            explained.native[row["method"]] if row["form"] == "native" else explained.framework[row["method"]].weights
        )
        assert row["weight"] == float(source[row["row"], row["feature"]])
        assert (row["error"] is None) == (row["form"] == "native")
    for name in ("distances", "losses", "limits", "perturbation"):
        save_chart(getattr(charts, name)(pa.Table.from_pylist(tables[name])), tmp_path / f"{name}.svg")
        text = (tmp_path / f"{name}.svg").read_text()
        assert "SmoothGrad" in text and ("LIME" in text or name == "limits")
