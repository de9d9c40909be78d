"""Charts of attention over drawn blocks: quality at equal cost, masses beside chances, the fold, copies."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, drawn, filled, sorts, titles
from winnow.compress.probabilistic_attention import expected_fraction, probabilities
from winnow.errors import InputError
from winnow.evaluate import block_attention_charts as charts
from winnow.pipeline.tables import metric_rows


def metrics():
    labels = {"workload": "python", "split": "test"}
    tables = []
    for seed in (0, 1):
        tables.append(
            metric_rows({"cross_entropy": 2.0 + seed}, system="full", variant="as trained", seed=seed, **labels)
        )
        for system, kept in (("geometric_exactly", 0.5), ("window", 0.25)):
            values = {"cross_entropy": 3.0 + seed, "expected": kept, "kept": 0.4}
            tables.append(metric_rows(values, system=system, variant="as trained-w1", seed=seed, **labels))
            values = {"cross_entropy": 2.5, "copied": 0.1 * kept}
            tables.append(metric_rows(values, system=system, variant="fine-tuned", seed=seed, **labels))
    return pa.concat_tables(tables)


def test_quality_is_a_mean_over_seeds_at_the_share_of_blocks_that_is_expected():
    chart = charts.quality(metrics())
    rows = drawn(chart)
    assert {(row["way"], row["percent"], row["mean"]) for row in rows if "way" in row} == {
        ("geometric exactly", 50, 3.5),
        ("window", 25, 3.5),
    }
    assert [(row["label"], row["mean"]) for row in rows if "label" in row] == [("full attention", 2.5)]
    assert titles(chart) == {"blocks kept (% of the triangle)", "cross-entropy (nats a token)"}


MASS = [{"layer": layer, "distance": d, "mass": 0.5 ** (d + layer)} for layer in (0, 1) for d in range(8)]


def test_masses_stand_beside_chances_that_cost_as_much_as_the_window():
    chart = charts.mass(MASS, 2)
    found = {}
    for row in drawn(chart):
        found.setdefault(row["what"], []).append((row["distance"], row["mean"]))
    assert set(found) == {"attention, layer 1", "attention, layer 2", "chance, geometric", "chance, harmonic"}
    assert dict(found["attention, layer 2"]) == {d: 0.5 ** (d + 1) for d in range(8)}
    wanted = expected_fraction(probabilities("window", 2, 8), sink=True)
    for family in ("geometric", "harmonic"):
        chances = np.array([chance for _, chance in sorted(found[f"chance, {family}"])])
        assert len(chances) == 8 and (np.diff(chances) <= 0).all()
        assert expected_fraction(chances, sink=True) == pytest.approx(wanted, rel=1e-3)
    geometric = np.array([chance for _, chance in sorted(found["chance, geometric"])])
    ratios = geometric[2:] / geometric[1:-1]
    assert ratios == pytest.approx(np.full(6, ratios[0]))
    assert titles(chart) == {"distance (blocks)", "share of attention, or chance"}


@pytest.mark.parametrize("blocks", [8, 9])
def test_a_fold_holds_the_pairs_of_the_triangle_in_fewer_rows(blocks):
    chart = charts.folding(blocks, 2)
    triangle, folded = filled(chart)["hconcat"]
    pairs, slots = triangle["data"]["values"], folded["data"]["values"]
    assert (triangle["title"], folded["title"]) == ("drawn", "folded") and len(pairs) == len(slots)
    assert all(pair["x"] <= pair["y"] for pair in pairs)
    # The first block and their own are read by all rows.
    assert {(row, row) for row in range(blocks)} | {(0, row) for row in range(blocks)} <= {
        (pair["x"], pair["y"]) for pair in pairs
    }
    for pair in pairs:
        first = pair["y"] < (blocks + 1) // 2
        assert pair["half"] == ("in the first half" if first else "in the second half")
    for half in ("in the first half", "in the second half"):
        assert sum(p["half"] == half for p in pairs) == sum(s["half"] == half for s in slots)
    assert max(slot["y"] for slot in slots) < (blocks + 1) // 2 + 1 <= blocks
    assert len({(slot["x"], slot["y"]) for slot in slots}) == len(slots)
    assert titles(chart) == {"block of keys", "slot", "row"}


def test_fine_tuned_models_are_a_point_a_seed():
    chart = charts.after_tuning(metrics())
    left, right = filled(chart)["hconcat"]
    assert [(r["system"], r["value"]) for r in left["data"]["values"]] == [
        ("geometric_exactly", 2.5),
        ("window", 2.5),
    ] * 2
    assert [r["value"] for r in right["data"]["values"]] == pytest.approx([0.05, 0.025] * 2)
    assert titles(chart) == {"cross-entropy (nats a token)", "copied tokens foreseen"}
    assert sorts(chart) == [["full", "geometric", "uniform", "window"]]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.quality(metrics()),
        lambda: charts.mass(MASS, 2),
        lambda: charts.folding(8, 2),
        lambda: charts.after_tuning(metrics()),
    ],
)
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(draw, tmp_path)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: charts.mass([], 2), "no masses"),
        (lambda: charts.quality(metrics().slice(0, 0)), "no ways of drawing"),
        (lambda: charts.after_tuning(metrics().slice(0, 1)), "no fine-tuned models"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, said):
    with pytest.raises(InputError, match=said):
        draw()
