import math

import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import ablation_charts as charts

EDGES = [
    {"basis": basis, "layer": "middle", "next": "end", "from": source, "to": target, "strength": strength}
    for basis in ("jacobian", "pca", "neuron")
    for source, target, strength in ((0, 3, 100.0), (2, 1, 1.0))
]
DIRECTIONS = [
    {"basis": basis, "layer": layer, "node": node, "eigenvalue": 10.0**-node, "frequency": node, "seed": 0}
    for basis in ("jacobian", "pca", "neuron")
    for layer in ("middle", "end")
    for node in range(4)
]
CURVES = [
    {"basis": basis, "layer": layer, "what": what, "count": count, "loss": loss + seed, "seed": seed}
    for basis in ("jacobian", "pca")
    for layer in ("middle", "end")
    for what in ("directions", "gradient_edges", "best_directions", "functional_edges")
    for count, loss in ((0, 1.0), (4, 0.0))
    for seed in (0, 1)
]


def test_edges_join_their_directions_and_strong_ones_are_wide():
    rows = drawn(charts.graph(EDGES, DIRECTIONS))
    rules = {(row["x"], row["y"], row["x2"], row["y2"]): row["width"] for row in rows if "x2" in row}
    assert rules == {(0.25, 0, 0.75, 1): pytest.approx(2.0), (0.75, 0, 0.25, 1): pytest.approx(0.0)}
    marks = {(row["x"], row["y"]): row["frequency"] for row in rows if "x2" not in row}
    assert marks == {(0.25, 0): "0", (0.75, 0): "2", (0.25, 1): "1", (0.75, 1): "3"}
    text = str(charts.graph(EDGES, DIRECTIONS).to_dict())
    assert "local interaction basis" in text and "neurons" not in text


def test_rare_frequencies_share_a_colour_and_directions_without_one_have_none(monkeypatch):
    monkeypatch.setattr(charts, "FREQUENCIES", 2)
    marks = [row for row in drawn(charts.graph(EDGES, DIRECTIONS)) if "x2" not in row]
    assert sorted(row["frequency"] for row in marks) == ["0", "1", "other", "other"]
    plain = [row | {"frequency": None} for row in DIRECTIONS]
    assert {row["frequency"] for row in drawn(charts.graph(EDGES, plain)) if "x2" not in row} == {"none"}


def test_directions_without_a_frequency_have_the_colour_of_their_module():
    rows = [row | {"frequency": None, "module": row["node"] // 2 - (row["node"] == 0)} for row in DIRECTIONS]
    chart = charts.graph(EDGES, rows)
    marks = {(row["x"], row["y"]): row["frequency"] for row in drawn(chart) if "x2" not in row}
    # The module of node 0 is -1, which is none.
    assert marks == {(0.25, 0): "none", (0.75, 0): "1", (0.25, 1): "0", (0.75, 1): "1"}
    assert "'title': 'module'" in str(chart.to_dict())


def test_curves_are_means_over_seeds_of_directions_and_of_edges_by_one_formula():
    chart = charts.curves(CURVES, "gradient")
    rows = drawn(chart)
    assert {row["by"] for row in rows} == {"local interaction basis", "principal components"}
    assert {(row["count"], row["mean"]) for row in rows} == {(0, 1.5), (4, 0.5)}
    titles = [panel["title"] for panel in chart.to_dict()["concat"]]
    assert titles == ["directions of middle", "directions of end", "edges from middle", "edges from end"]


def test_eigenvalues_are_over_the_largest_by_rank():
    shuffled = list(reversed(DIRECTIONS)) + [DIRECTIONS[0] | {"node": 9, "eigenvalue": 0.0}]
    shuffled.append(DIRECTIONS[0] | {"layer": "logits", "eigenvalue": None})  # of which modules alone are told
    rows = drawn(charts.eigenvalues(shuffled))
    found = {(row["by"], row["rank"]): row["mean"] for row in rows}
    assert found["local interaction basis", 1] == 0 and found["neurons", 4] == pytest.approx(-3)
    assert all(math.isfinite(row["mean"]) for row in rows) and max(row["rank"] for row in rows) == 4


@pytest.mark.parametrize(
    "draw",
    [lambda: charts.graph([], DIRECTIONS), lambda: charts.curves([], "gradient"), lambda: charts.eigenvalues([])],
)
def test_a_table_without_rows_is_refused(draw):
    with pytest.raises(InputError, match="chart: the table has no"):
        draw()
