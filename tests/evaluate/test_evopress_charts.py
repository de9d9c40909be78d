"""Charts of EvoPress draw errors beside their sums, searches by cost, every arm a seed, and what each arm keeps."""

import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, drawn, filled, sorts, titles
from winnow.errors import InputError
from winnow.evaluate import evopress_charts as charts
from winnow.pipeline.tables import metric_rows

AUDIT = [{"dropped": [0], "sum_of_errors": 1.0, "error": 1.0}]
AUDIT += [{"dropped": [0, u], "sum_of_errors": u + 1.0, "error": 2.0 / u} for u in (1, 2)]
AUDIT += [{"dropped": [0, 1, 2], "sum_of_errors": 6.0, "error": 0.5}]


def test_errors_of_several_blocks_stand_over_their_sums_and_pairs_join_fewer_to_more():
    chart = charts.additivity(AUDIT, [{"fewer": [0], "more": [0, 2]}])
    equal, marks, pairs = (layer["data"]["values"] for layer in filled(chart)["layer"])
    assert [(r["blocks"], r["sum_of_errors"], r["error"]) for r in marks] == [
        ("2 blocks", 2, 2),
        ("2 blocks", 3, 1),
        ("3 blocks", 6, 0.5),
    ]
    assert equal == [{"sum_of_errors": v, "error": v} for v in (0.5, 6.0)]  # from the least to the largest of either
    assert pairs == [
        {"pair": 0, "order": 0, "sum_of_errors": 1.0, "error": 1.0},
        {"pair": 0, "order": 1, "sum_of_errors": 3.0, "error": 1.0},
    ]
    assert len(charts.additivity(AUDIT, []).to_dict()["layer"]) == 2
    assert titles(chart) == {
        "sum of errors of each block alone (nats a token, log scale)",
        "error of all together (nats a token, log scale)",
    }


def histories():
    return [
        [
            {"kind": kind, "arm": arm, "evaluations": n, "divergence": seed + n / 10}
            for kind in ("depth-25", "sparsity")
            for arm in ("evopress", "random")
            for n in (2, 4)
        ]
        for seed in (0, 1)
    ]


def test_searches_are_means_over_seeds_a_panel_a_kind():
    chart = charts.searches(histories())
    panels = filled(chart)["concat"]
    assert [panel["title"] for panel in panels] == ["25 % of layers dropped", "sparsity"]
    for panel in panels:
        found = {(r["arm"], r["evaluations"]): r["mean"] for r in panel["layer"][0]["data"]["values"]}
        expected = {(arm, n): 0.5 + n / 10 for arm in ("evopress", "random") for n in (2, 4)}
        assert found == pytest.approx(expected)
    assert titles(chart) == {"windows evaluated", "divergence (nats)"}


def losses():
    labels = {"workload": "python", "split": "test"}
    told = [("dense", "dense", 1.0)]
    told += [("norm_ratio", "depth-25", 4.0), ("evopress", "depth-25", 2.0), ("random", "bits", 3.0)]
    return pa.concat_tables(
        [
            metric_rows({"cross_entropy": value + 0.5 * seed}, system=arm, variant=kind, seed=seed, **labels)
            for seed in (0, 1)
            for arm, kind, value in told
        ]
    )


def test_arms_are_points_of_seeds_from_the_lowest_mean_to_the_highest_beside_the_dense_model():
    chart = charts.arms(losses())
    panels = filled(chart)["concat"]
    assert [panel["title"] for panel in panels] == ["25 % of layers dropped", "bits"]
    rule, points = panels[0]["layer"]
    assert rule["data"]["values"] == [{"value": 1.0}]
    assert [(r["arm"], r["value"]) for r in points["data"]["values"]] == [
        ("norm ratio", 4.0),
        ("evopress", 2.0),
        ("norm ratio", 4.5),
        ("evopress", 2.5),
    ]
    assert sorts(chart) == [["evopress", "norm ratio"], ["random"]]
    assert titles(chart) == {"cross-entropy (nats a token)"}


def test_layers_that_an_arm_keeps_stand_block_by_block_attention_first():
    levels = {
        "depth-50": {"evopress": [0, 1, 1, 0], "norm_ratio": [1, 0, 0, 1]},
        "sparsity": {"evopress": [3, 3]},
    }
    chart = charts.kept(levels)
    (panel,) = chart.to_dict()["vconcat"]
    assert panel["title"] == "50 % of layers dropped"
    # A state tells first of the attention of all blocks, then of their feed-forward layers.
    found = {(r["arm"], r["layer"]): r["what"] for r in drawn(chart)}
    gone = {("evopress", "A1"), ("evopress", "F0"), ("norm ratio", "A0"), ("norm ratio", "F1")}
    assert {key for key, what in found.items() if what == "dropped"} == gone and len(found) == 8
    assert list(dict.fromkeys(panel["encoding"]["x"]["sort"])) == ["A0", "F0", "A1", "F1"]


def test_models_on_disk_stand_at_their_kilobytes_and_loss():
    labels = {"workload": "python", "seed": 0, "split": "test", "system": "evopress"}
    sizes = pa.concat_tables(
        [
            metric_rows({"bytes": size, "cross_entropy": loss}, variant=name, **labels)
            for name, size, loss in (("dense", 4000.0, 1.0), ("bits", 1500.0, 1.25))
        ]
    )
    chart = charts.realised(sizes)
    assert [(r["model"], r["kilobytes"], r["loss"]) for r in drawn(chart)] == [("dense", 4, 1), ("bits", 1.5, 1.25)]
    assert titles(chart) == {"file (kB, log scale)", "cross-entropy (nats a token)"}
    with pytest.raises(InputError, match="no models"):
        charts.realised(sizes.slice(0, 0))


@pytest.mark.parametrize(
    "draw",
    [
        lambda: charts.additivity(AUDIT, [{"fewer": [0], "more": [0, 2]}]),
        lambda: charts.searches(histories()),
        lambda: charts.arms(losses()),
        lambda: charts.kept({"depth-50": {"evopress": [0, 1, 1, 0]}, "depth-25": {"random": [0, 1, 0, 0]}}),
    ],
)
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(draw, tmp_path, ["#E5E5E5"])  # of what is dropped


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda: charts.additivity([], []), "no dropped blocks"),
        (lambda: charts.searches([]), "no searches"),
        (lambda: charts.arms(losses().slice(0, 0)), "no arms"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, said):
    with pytest.raises(InputError, match=said):
        draw()
