"""Charts of explanations by concepts draw means over seeds, kinds of concepts, and the weights that count most."""

import json

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate import concept_charts
from winnow.evaluate.chart_parts import save_chart
from winnow.pipeline.tables import metric_rows


def metrics():
    tables = []
    for seed in range(3):
        labels = {"system": "concept_probes", "workload": "parts", "seed": seed, "split": "test"}
        for shift in (0.0, 0.5):
            values = dict.fromkeys(concept_charts.FIDELITIES, 0.1 * seed + shift)
            tables.append(metric_rows(values, variant=f"shift{shift:g}", **labels))
        for size in ("4", "16", "8", "all"):
            tables.append(metric_rows({"fidelity": 0.1 * len(size)}, variant=f"concepts_{size}", **labels))
    return pa.concat_tables(tables)


def shown(chart):
    return json.dumps(chart.to_dict())


def values_of(chart, at):
    """The rows that a part of a chart draws, wherever altair keeps them."""
    whole = chart.to_dict()
    part = whole
    for key in at:
        part = part[key]
    held = part["data"]
    return held["values"] if "values" in held else whole["datasets"][held["name"]]


def test_fidelity_and_truncation_show_each_seed_mean(tmp_path):
    rows = values_of(concept_charts.fidelity(metrics()), [])
    assert {(row["shift"], round(row["mean"], 6)) for row in rows} == {(0.0, 0.1), (0.5, 0.6)}
    assert len(rows) == 2 * len(concept_charts.FIDELITIES)
    assert '"sort": ["4", "8", "16", "all"]' in shown(concept_charts.truncation(metrics()))
    save_chart(concept_charts.fidelity(metrics()), tmp_path / "a.svg")
    assert "from a, on b" in (tmp_path / "a.svg").read_text()


def test_cosines_have_a_panel_for_each_shift_with_its_concepts_alone():
    rows = [
        {"shift": shift, "seed": seed, "name": name, "kind": kind, "cosine": 0.1 * seed + shift + (kind == "within")}
        for shift in (0.0, 0.5)
        for seed in (0, 1)
        for name in ("x", "y")
        for kind in ("within", "across")
    ]
    chart = concept_charts.cosines(pa.Table.from_pylist(rows))
    assert [panel["title"] for panel in chart.to_dict()["hconcat"]] == ["shift 0", "shift 0.5"]
    values = values_of(chart, ["hconcat", 1, "layer", 1])
    assert sorted(row["concept"] for row in values) == ["x", "y"]
    assert values[0]["across"] == pytest.approx(0.55) and values[0]["within"] == pytest.approx(1.55)


def test_learnability_groups_concepts_by_kind():
    names = ["part eye", "tail red", "hue red", "texture dots", "kind1"]
    rows = [
        {"kind": "class" if name == "kind1" else "concept", "name": name, "nap": 0.2 * i, "seed": 0}
        for i, name in enumerate(names)
    ] + [{"kind": "concept", "name": "part leg", "nap": None, "seed": 0}]
    own = [row | {"variant": "learnability_own"} for row in rows]
    alone = concept_charts.learnability(pa.Table.from_pylist(own)).to_dict()["vconcat"]
    assert len(alone) == 1 and "title" not in alone[0]
    both = own + [row | {"variant": "learnability", "seed": seed} for row in rows[1:2] for seed in (0, 1)]
    both[-1]["nap"] = 0.4
    chart = concept_charts.learnability(pa.Table.from_pylist(both))
    titles = [panel["title"] for panel in chart.to_dict()["vconcat"]]
    assert titles == ["by features of EfficientNet-Lite0", "by the explained model's own features"]
    assert [row["nap"] for row in values_of(chart, ["vconcat", 0])] == [pytest.approx(0.3)]
    values = values_of(chart, ["vconcat", 1])
    assert {row["name"]: row["kind"] for row in values} == {
        "part eye": "part",
        "tail red": "hue of a part",
        "hue red": "hue",
        "texture dots": "texture",
        "kind1": "class",
    }


def test_a_chart_without_rows_says_so():
    empty = metrics().slice(0, 0)
    with pytest.raises(InputError, match="the table has no fidelity"):
        concept_charts.fidelity(empty)


def test_weights_are_means_over_seeds_of_the_concepts_that_count_most_anywhere():
    rows = [
        {"seed": seed, "class": label, "concept": f"c{k:02}", "coefficient": (k + seed) * (-1 if label == "b" else 0.5)}
        for seed in (0, 1)
        for label in ("a", "b")
        for k in range(concept_charts.LISTED + 2)
    ]
    chart = concept_charts.concept_weights(pa.Table.from_pylist(rows))
    values = values_of(chart, [])
    kept = sorted({row["concept"] for row in values})
    assert kept == [f"c{k:02}" for k in range(2, concept_charts.LISTED + 2)]
    found = {(row["class"], row["concept"]): row["weight"] for row in values}
    assert found["a", "c05"] == pytest.approx(2.75) and found["b", "c05"] == pytest.approx(-5.5)
    encoding = chart.to_dict()["encoding"]
    assert encoding["color"]["scale"]["domain"] == [-26.5, 0, 26.5] and encoding["y"]["sort"][0] == "c26"
