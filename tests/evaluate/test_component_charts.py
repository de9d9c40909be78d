"""What the charts of components and their certificates show."""

from functools import partial

import pyarrow as pa
import pytest
import torch

from winnow.errors import InputError
from winnow.evaluate import component_charts
from winnow.evaluate.certified_radius import component_rows
from winnow.evaluate.chart_parts import save_chart
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows
from winnow.train.component_reasoning import Reasoning
from winnow.train.rbf_components import CBC
from winnow.workloads.unit_interval import as_columns


def cbc(head=None):
    model = CBC(head or Reasoning(4, 2, seed=1), 4)
    with torch.no_grad():
        model.components.copy_(torch.rand(4, 4, generator=torch.Generator().manual_seed(0)))
        model.head.logits.mul_(8)
    return model


def inputs():
    x = torch.rand(30, 4, generator=torch.Generator().manual_seed(1))
    return x, cbc()(x).argmax(1)


def test_components_of_a_table_are_shown_by_their_columns_the_strongest_first(tmp_path):
    model = cbc()
    rows = component_rows(model, ["a", "b"], partial(as_columns, names="wxyz"))
    assert rows.num_rows == 4 * 2 * 4
    assert [row["value"] for row in rows.to_pylist()[4:8]] == model.components[0].tolist()
    chart = component_charts.component_weights(rows)
    plus = model.head.probabilities()[0][:, 0].detach()
    first = chart.to_dict()["hconcat"][0]["encoding"]["x"]["sort"]
    assert [int(name.split("component ")[1][:-1]) for name in first[:3]] == plus.argsort(descending=True)[:3].tolist()
    save_chart(chart, tmp_path / "components.svg")


def curve_rows():
    tables = []
    for system, variant, values in (
        ("glvq", "tuned", [0.9, 0.5]),
        ("cbc", "tuned", [0.8, 0.4]),
        ("cbc", "margin", [1, 1]),
    ):
        for seed in (0, 1):
            told = {"system": system, "variant": variant, "seed": seed, "workload": "digits", "split": "test"}
            tables.append(metric_rows({"accuracy": values[0], "certified_0.5": values[1]}, **told))
    return pa.concat_tables(tables)


def test_curves_start_at_the_accuracy_and_keep_the_order_of_the_arms(tmp_path):
    chart = component_charts.certified_curves(curve_rows())
    spec = chart.to_dict()
    rows = next(iter(spec["datasets"].values()))
    found = {(row["arm"], row["radius"]): row["mean"] for row in rows}
    assert found == {("components", 0.0): 0.8, ("components", 0.5): 0.4, ("GLVQ", 0.0): 0.9, ("GLVQ", 0.5): 0.5}
    assert '"domain": ["components", "GLVQ"]' in chart.to_json(indent=None)
    save_chart(chart, tmp_path / "certified.svg")


def test_the_strongest_components_of_each_sign_come_first(tmp_path):
    told = {"height": 1, "width": 1, "channels": 1}
    rows = [
        told | {"component": k, "class": "a", "plus": k / 10, "minus": 0.5 - k / 10, "pixels": [k]} for k in range(5)
    ]
    chart = component_charts.component_weights(pa.Table.from_pylist(rows))
    shown = [[t["weight"] for t in rows] for rows in chart.to_dict()["datasets"].values()]
    assert sorted(shown) == [["0.40", "0.30", "0.20"], ["0.50", "0.40", "0.30"]]
    save_chart(chart, tmp_path / "components.svg")


def test_evidence_adds_up_to_the_probability():
    terms = [
        {"image_id": i, "class": "a", "predicted": "b", "component": k, "sign": s, "share": 0.01 * (k + 1)}
        for i in (3, 4)
        for k in range(8)
        for s in "+-"
    ]
    chart = component_charts.evidence(pa.Table.from_pylist(terms)).to_dict()
    bars = next(iter(chart["datasets"].values()))
    assert sum(bar["share"] for bar in bars) == pytest.approx(0.72)
    assert chart["title"] == "class a, predicted b with p = 0.720"
    assert bars[0]["term"] == "component 7 present" and bars[-1]["term"] == "6 others"


@pytest.mark.parametrize(
    "chart",
    [
        lambda: component_charts.certified_curves(METRICS_SCHEMA.empty_table()),
        lambda: component_charts.component_weights(pa.Table.from_pylist([])),
        lambda: component_charts.evidence(pa.Table.from_pylist([])),
    ],
)
def test_a_chart_without_rows_says_so(chart):
    with pytest.raises(InputError, match="the table has no"):
        chart()
