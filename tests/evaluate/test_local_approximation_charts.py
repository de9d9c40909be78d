"""Charts of local fits draw, for each model, distances, losses over the lowest, ways to limits, and perturbations."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, drawn, filled, sorts, spans, titles
from winnow.errors import InputError
from winnow.evaluate import local_approximation_charts as charts
from winnow.evaluate.local_approximation_study import SCALES, STARTS

PAIR = ("lime", "smoothgrad")
MODELS = ("tanh", "mlp")


def distances():
    told = {("lime", "lime"): 0.0, ("lime", "smoothgrad"): 2.0, ("smoothgrad", "lime"): 4.0}
    told[("smoothgrad", "smoothgrad")] = 0.5
    return pa.Table.from_pylist(
        [
            {"model": model, "kind": kind, "framework": a, "native": b, "value": size * value + shift}
            for model, size in zip(MODELS, (1, 10), strict=True)
            for kind in ("l1", "cosine")
            for (a, b), value in told.items()
            for shift in (0.0, 0.2)
        ]
    )


def panels(chart):
    """Model -> its drawing."""
    return {part["title"]["text"]: part["vconcat"][0] for part in filled(chart)["vconcat"]}


def test_distances_are_means_shaded_by_the_largest_of_their_column():
    chart = charts.distances(distances())
    found = panels(chart)
    assert list(found) == ["model: tanh", "model: mlp"]
    left, right = found["model: tanh"]["hconcat"]
    assert (left["title"], right["title"]) == ("L1 distance", "cosine distance")
    cells = {(c["framework"], c["native"]): c for c in left["layer"][0]["data"]["values"]}
    assert {key: (cell["text"], round(cell["shade"], 6)) for key, cell in cells.items()} == {
        ("LIME", "LIME"): ("0.1", round(0.1 / 4.1, 6)),
        ("LIME", "SmoothGrad"): ("2.1", 1.0),
        ("SmoothGrad", "LIME"): ("4.1", 1.0),
        ("SmoothGrad", "SmoothGrad"): ("0.6", round(0.6 / 2.1, 6)),
    }
    ink = left["layer"][1]["encoding"]["color"]["condition"]["test"]
    assert float(ink.removeprefix("datum.shade > ")) == pytest.approx((1 + 0.1 / 4.1) / 2)
    other = found["model: mlp"]["hconcat"][0]["layer"][0]["data"]["values"]
    assert max(cell["mean"] for cell in other) == pytest.approx(40.1)
    assert titles(chart) == {"framework", "by itself"}
    assert sorts(chart) == sorts(chart, "x") == [list(charts.NAMES.values())]


def test_a_column_without_a_distance_is_white():
    rows = [
        {"model": "m", "kind": k, "framework": a, "native": "lime", "value": 0.0}
        for k in ("l1", "cosine")
        for a in PAIR
    ]
    assert {row["shade"] for row in drawn(charts.distances(pa.Table.from_pylist(rows)))} == {0.0}


def losses(values):
    return pa.Table.from_pylist(
        [
            {"model": "m", "method": method, "neighbourhood": place, "value": value}
            for place, column in values.items()
            for method, value in zip(PAIR, column, strict=True)
        ]
    )


def test_losses_are_told_over_the_lowest_of_the_neighbourhood():
    found = drawn(charts.losses(losses({"lime": (2.0, 5.0), "smoothgrad": (3e4, 1.0), "occlusion": (0.0, 4.0)})))
    cells = {(c["method"], c["neighbourhood"]): c for c in found}
    ratios = {
        ("LIME", "LIME"): 1,
        ("SmoothGrad", "LIME"): 2.5,
        ("LIME", "SmoothGrad"): 3e4,
        ("SmoothGrad", "SmoothGrad"): 1,
    }
    for key, ratio in ratios.items():
        assert cells[key]["mean"] == pytest.approx(ratio)
        assert cells[key]["shade"] == pytest.approx(np.log(1 + min(ratio, 1000)))
    # The lowest that is not nil counts; what is nil is far below it.
    assert cells["SmoothGrad", "occlusion"]["mean"] == 1 and cells["LIME", "occlusion"]["mean"] == pytest.approx(
        2.5e-13
    )
    assert cells["LIME", "SmoothGrad"]["text"] == "3e+04"
    nil = drawn(charts.losses(losses({"lime": (0.0, 0.0)})))
    assert [cell["mean"] for cell in nil] == pytest.approx([1e-12, 1e-12])
    assert titles(charts.losses(losses({"lime": (1.0, 2.0)}))) == {"explanation", "neighbourhood"}


def limits():
    return pa.Table.from_pylist(
        [
            {"model": model, "method": method, "parameter": float(p), "value": 0.5 * p + shift}
            for model in MODELS
            for method, ticks in (("smoothgrad", SCALES), ("integrated_gradients", STARTS))
            for p in ticks
            for shift in (0.0, 0.1)
        ]
    )


def test_ways_to_a_limit_are_drawn_over_the_whole_of_their_parameter():
    chart = charts.limits(limits())
    left, right = filled(chart)["hconcat"]
    assert (left["title"], right["title"]) == (
        "SmoothGrad to gradient",
        "integrated gradients to gradient x input",
    )
    for panel, ticks in ((left, SCALES), (right, STARTS)):
        found = {(r["model"], r["parameter"]): r["mean"] for r in panel["layer"][0]["data"]["values"]}
        assert found == pytest.approx({(m, p): 0.5 * p + 0.05 for m in MODELS for p in ticks})
        x = panel["layer"][0]["encoding"]["x"]
        assert x["scale"]["domain"] == [min(ticks), max(ticks)] and x["axis"]["values"] == list(ticks)
    assert left["layer"][0]["encoding"]["x"]["scale"]["reverse"]
    assert "reverse" not in right["layer"][0]["encoding"]["x"]["scale"]
    assert min(r["low"] for r in drawn(chart)) >= 0
    assert titles(chart) == {"standard deviation of the noise (log scale)", "start of the path", "L1 distance"}


def perturbations():
    return pa.Table.from_pylist(
        [
            {"model": model, "kind": kind, "end": end, "k": k, "method": method, "value": k * size + shift}
            for model in MODELS
            for kind, size in (("binary", 1.0), ("continuous", 10.0))
            for end in ("bottom", "top")
            for k in (1, 2)
            for method in PAIR
            for shift in (0.0, 1.0, 50.0 * (end == "top"))
        ]
    )


def test_the_least_features_are_removed_or_given_noise():
    chart = charts.perturbation(perturbations())
    removed, noisy = panels(chart)["model: mlp"]["hconcat"]
    for panel, size in ((removed, 1.0), (noisy, 10.0)):
        found = {(r["method"], r["k"]): r["mean"] for r in panel["layer"][0]["data"]["values"]}
        expected = {(name, k): k * size + 1 / 3 for name in ("LIME", "SmoothGrad") for k in (1, 2)}
        assert found == pytest.approx(expected)
    assert titles(chart) == {
        "features of least weight removed",
        "features of least weight given noise",
        "change of the output",
    }
    assert spans(chart) == {("low", "high")}


CHARTS = {
    "distances": distances,
    "losses": lambda: losses({"lime": (2.0, 5.0), "smoothgrad": (3.0, 1.0)}),
    "limits": limits,
    "perturbation": perturbations,
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_the_same_each_time_and_says_where_it_has_no_rows(name):
    draw, table = getattr(charts, name), CHARTS[name]()
    assert draw(table).to_dict() == draw(table).to_dict()
    with pytest.raises(InputError, match="the table has no"):
        draw(table.slice(0, 0))


def test_limits_can_be_read_in_a_report(tmp_path):
    check_look(lambda: charts.limits(limits()), tmp_path)
