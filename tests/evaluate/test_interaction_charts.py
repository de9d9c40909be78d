import pytest

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import interaction_charts as charts


def node(basis, layer, number, module, first, second):
    total = first + second
    told = {"basis": basis, "layer": layer, "node": number, "module": module, "first": first, "second": second}
    return told | {"purity": max(first, second) / total if total else float("nan"), "seed": 0}


NODES = [
    node(basis, layer, number, module, first, second)
    for basis in ("ib", "neuron", "pca")
    for layer in ("input", "hidden1", "hidden2", "output")
    for number, (module, first, second) in enumerate([(1, 3.0, 1.0), (0, 1.0, 4.0), (-1, 0.0, 0.0)])
]
EDGES = [
    {"basis": basis, "layer": "input", "from": 0, "to": to, "weight": weight}
    for basis in ("ib", "neuron")
    for to, weight in ((0, 2.0), (1, 1.0))
]


def test_nodes_stand_in_layers_in_the_order_of_their_modules_and_edges_between_them():
    rows = drawn(charts.graph(NODES, EDGES))
    marks = [row for row in rows if "module" in row]
    assert len(marks) == 2 * 4  # alike in both panels; what has no module is not drawn
    first = [row for row in marks if row["y"] == 0]
    assert sorted((row["x"], row["module"], row["task"]) for row in first) == [
        (0.25, "1", "second"),
        (0.75, "2", "first"),
    ]
    rules = [row for row in rows if "x2" in row]
    assert {(row["x"], row["y"], row["x2"], row["y2"]) for row in rules} == {(0.75, 0, 0.75, 1), (0.75, 0, 0.25, 1)}
    text = str(charts.graph(NODES, EDGES).to_dict())
    assert "interaction basis" in text and "neurons" in text and "principal" not in text


def test_only_the_strongest_edges_are_drawn(monkeypatch):
    monkeypatch.setattr(charts, "STRONGEST", 1)
    rules = [row for row in drawn(charts.graph(NODES, EDGES)) if "x2" in row]
    assert [(row["x2"], row["y2"]) for row in rules] == [(0.75, 1)]


def test_spectra_show_the_predicted_break_and_counts_of_trained_networks():
    planted = [
        {"what": "planted: plain", "above": float(i + 1), "value": value, "predicted": 2, "seed": seed}
        for seed in (0, 1)
        for i, value in enumerate((1.0, 0.1, 0.0))
    ]
    trained = [
        {"what": what, "above": above + seed, "value": value, "predicted": None, "seed": seed}
        for what, above in (("apart", 10.0), ("coupled", 20.0))
        for seed in (0, 1)
        for value in (0.1, 0.01)
    ]
    rows = drawn(charts.spectrum(planted + trained))
    points = [row for row in rows if "value" in row]
    assert [row["value"] for row in points] == [1.0, 0.1, 1e-20] and {row["seed"] for row in points} == {0}
    assert {"above": 2.5, "what": "planted: plain"} in rows
    means = {(row["what"], row["at"]): row["mean"] for row in rows if "mean" in row}
    assert means == {
        ("two tasks", 0.1): 10.5, ("two tasks", 0.01): 10.5, ("coupled tasks", 0.1): 20.5, ("coupled tasks", 0.01): 20.5
    }  # fmt: skip


def test_a_violin_stands_around_the_purities_with_their_mean():
    rows = drawn(charts.purities(NODES))
    ticks = [row for row in rows if row.get("purity") == pytest.approx((0.75 + 0.8) / 2) and "by" in row]
    assert {row["by"] for row in ticks} == {"interaction basis", "neurons", "principal components"}
    widest = max(rows, key=lambda row: row["right"] - row["left"])
    assert widest["right"] - widest["left"] == pytest.approx(0.84)
    violins = [row for row in rows if row["by"] == "neurons" and row not in ticks]
    middle = [row for row in violins if 0.7 < row["purity"] < 0.85]
    assert min(row["right"] - row["left"] for row in middle) > max(
        row["right"] - row["left"] for row in violins if row["purity"] < 0.65
    )


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.graph([], EDGES),
        lambda: charts.graph(NODES, []),
        lambda: charts.spectrum([]),
        lambda: charts.purities([]),
    ],
)
def test_a_table_without_rows_is_refused(draw):
    with pytest.raises(InputError, match="chart: the table has no"):
        draw()
