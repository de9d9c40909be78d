"""Charts of compatibility draw open classes alone, means over seeds in each cell, and both models on one scale."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import filled
from winnow.errors import InputError
from winnow.evaluate import compatibility_charts
from winnow.evaluate.chart_parts import save_chart
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def rows(system, variant, metric, values, split="open", step=None):
    tables = [
        metric_rows([(metric, v, step)], system=system, workload="digits", variant=variant, seed=seed, split=split)
        for seed, v in enumerate(values)
    ]
    return pa.concat_tables(tables)


def test_scores_are_means_with_intervals_of_open_classes_only():
    metrics = pa.concat_tables(
        [
            rows("simplex_hoc", "sequence", "average_compatibility", [0.5, 0.7]),
            rows("simplex_hoc", "sequence", "average_accuracy", [0.25, 0.35]),
            rows("simplex_hoc", "sequence", "average_compatibility", [0.9, 0.9], split="seen"),
            rows("er", "independent", "average_compatibility", [0.99, 0.99]),
        ]
    )
    chart = filled(compatibility_charts.compatibility_scores(metrics))
    values = [row for panel in chart["hconcat"] for row in panel["layer"][0]["data"]["values"]]
    assert [(row["method"], round(row["mean"], 6)) for row in values] == [
        ("simplex, HOC loss", 0.6),
        ("simplex, HOC loss", 0.3),
    ]
    assert all(row["low"] <= row["mean"] <= row["high"] for row in values)


def test_matrices_show_the_mean_over_seeds_in_each_cell(tmp_path):
    cells = [
        {
            "system": s,
            "variant": "sequence",
            "seed": seed,
            "split": "open",
            "reduce": "mean",
            "t": t,
            "k": k,
            "value": v,
        }
        for s, base in (("er", 0.2), ("simplex_hoc", 0.6))
        for seed, shift in ((0, 0.0), (1, 0.1))
        for t, k, v in ((1, 1, base + shift), (2, 1, base), (2, 2, base + shift))
    ]
    other = [cells[0] | {"split": "seen", "value": 0.99}, cells[0] | {"reduce": "none", "value": 0.98}]
    chart = compatibility_charts.matrices(pa.Table.from_pylist(cells + other))
    panels = filled(chart)["hconcat"]
    assert [panel["title"] for panel in panels] == ["simplex, HOC loss", "trained classifier"]
    shown = {(c["t"], c["k"]): c["label"] for c in panels[1]["layer"][0]["data"]["values"]}
    assert shown == {(1, 1): "0.25", (2, 1): "0.20", (2, 2): "0.25"}
    save_chart(chart, tmp_path / "matrices.svg")
    assert "0.65" in (tmp_path / "matrices.svg").read_text()


def test_features_of_both_models_share_one_scale_about_the_origin():
    points = [
        {"system": s, "model": m, "class": c, "x": x, "y": -x}
        for s in ("er", "simplex_ce")
        for m, x in (("old", 1.0), ("new", 2.0))
        for c in ("a", "b")
    ]
    panels = filled(compatibility_charts.stationary_features(pa.Table.from_pylist(points)))["hconcat"]
    assert [panel["title"] for panel in panels] == ["simplex", "trained classifier"]
    assert panels[0]["encoding"]["x"]["scale"]["domain"] == pytest.approx([-2.16, 2.16])
    assert len(panels[0]["data"]["values"]) == 4


@pytest.mark.parametrize(
    "chart",
    [
        lambda: compatibility_charts.compatibility_scores(METRICS_SCHEMA.empty_table()),
        lambda: compatibility_charts.matrices(pa.Table.from_pylist([])),
        lambda: compatibility_charts.stationary_features(pa.Table.from_pylist([])),
    ],
)
def test_a_chart_without_rows_says_so(chart):
    with pytest.raises(InputError, match="the table has no"):
        chart()
