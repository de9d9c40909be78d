"""Charts of models draw means with their intervals, count what is left, and can be read in a report."""

import pyarrow as pa
import pytest
from scipy import stats

from tests.evaluate.drawing import check_look, drawn, found, seeded, spans, titles
from winnow.errors import InputError
from winnow.evaluate import model_charts
from winnow.evaluate.chart_parts import VERMILION
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def sweep():
    return pa.concat_tables(
        [
            seeded("ours", "mlp-s95", range(3), [0.9, 0.8, 0.85]),
            seeded("ours", "mlp-s99.5", range(3), [0.7, 0.6, 0.65]),
            seeded("theirs", "mlp-s95", [0], [0.5]),
            seeded("ours", "tiny-cnn-s80", range(2), [0.9, None]),
            seeded("dense", "mlp", [0], [0.99]),
            seeded("ours", "mlp-s95", [0], [0.1], step=3),
            seeded("ours", "mlp-s95", [0], [0.2], metric="loss"),
        ]
    )


def layer_rows():
    counts = {("plain", "a"): 0, ("plain", "b"): 500, ("mt", "a"): 5, ("mt", "b"): 495}
    return pa.Table.from_pylist(
        [
            {"system": s, "sparsity": p, "layer": layer, "nonzero": n + 2 * seed * (n > 0), "size": 1000}
            for (s, layer), n in counts.items()
            for p in (0.95, 0.9)
            for seed in (0, 1)
        ]
    )


def reliability_rows():
    bins = [("mlp", 30, 0.9, 0.8), ("mlp", 10, 0.5, 0.6), ("mlp", 0, None, None), ("small", 20, 0.7, 0.7)]
    return pa.Table.from_pylist([{"variant": v, "count": n, "confidence": c, "accuracy": a} for v, n, c, a in bins])


def history_rows(steps=10):
    labels = {"system": "adamw", "workload": "digits", "variant": "mlp", "split": "train"}
    tables = [
        metric_rows([("loss", 10.0 * seed + step, step) for step in range(steps)], seed=seed, **labels)
        for seed in (0, 1)
    ]
    return pa.concat_tables([*tables, seeded("adamw", "mlp", [0], [0.9], step=5), seeded("adamw", "mlp", [0], [0.1])])


def cost_rows():
    return pa.concat_tables(
        [
            seeded("x", "mlp", range(2), [1000.0, 3000.0], "bytes"),
            seeded("x", "mlp-s95", range(2), [200.0, 200.0], "bytes"),
            seeded("x", "mlp", [0], [1.5], "latency_ms"),
        ]
    )


def timing_rows():
    values = [("", [4.0, 6.0]), ("slim_", [1.0, 9.0]), ("csr_", [2.0, 2.0])]
    tables = [seeded("train", "mlp", range(2), [7.0 * n, 9.0 * n], f"latency_batch{n}") for n in (64, 1)]
    for sparsity in ("s80", "s98"):
        tables += [
            seeded("compress", f"mlp-magnitude-{sparsity}", range(2), [v * n for v in found], f"{form}latency_batch{n}")
            for form, found in values
            for n in (64, 1)
        ]
    return pa.concat_tables(tables)


def score_rows():
    values = {"mlp": ([0.97, 0.99, 0.999], [0.02, 0.01, 0.001]), "mlp-magnitude-s98": ([0.9], [0.1])}
    return pa.concat_tables(
        [
            seeded("x", variant, range(len(found)), found, metric)
            for variant, scores in values.items()
            for metric, found in zip(model_charts.SCORES, scores, strict=True)
        ]
    )


CHARTS = {
    "speed": lambda: model_charts.speed_by_sparsity(timing_rows()),
    "scores": lambda: model_charts.model_scores(score_rows()),
    "accuracy": lambda: model_charts.accuracy_by_sparsity(sweep()),
    "heat map": lambda: model_charts.density_heat_map(layer_rows()),
    "reliability": lambda: model_charts.reliability_diagram(reliability_rows()),
    "training": lambda: model_charts.training_curves(history_rows()),
    "costs": lambda: model_charts.cost_bars(cost_rows()),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_can_be_read_in_a_report(name, tmp_path):
    check_look(CHARTS[name], tmp_path, ["#F7FBFF", "#08306B"])  # the ends of the heat map


def test_accuracy_is_the_mean_over_seeds_with_its_t_interval():
    chart = model_charts.accuracy_by_sparsity(sweep())
    table = {(r["model"], r["system"], r["kept"]): r for r in drawn(chart)}
    assert set(table) == {
        ("mlp", "ours", 5),
        ("mlp", "ours", 0.5),
        ("mlp", "theirs", 5),
        ("tiny-cnn", "ours", 20),
    }
    row = table["mlp", "ours", 5]
    interval = stats.ttest_1samp([0.9, 0.8, 0.85], 0).confidence_interval(0.95)
    assert (row["mean"], row["low"], row["high"]) == pytest.approx((0.85, interval.low, interval.high))
    single = table["mlp", "theirs", 5]
    assert single["mean"] == single["low"] == single["high"] == 0.5
    assert titles(chart) == {"accuracy (share)", "sparsity (%, log scale)"}
    assert [panel["title"] for panel in chart.to_dict()["hconcat"]] == ["mlp", "tiny-cnn"]


def test_bands_end_where_the_metric_does():
    """Student's interval knows no bounds: here it reaches from -1.7 to 3.3."""
    chart = model_charts.accuracy_by_sparsity(seeded("ours", "mlp-s95", range(2), [0.6, 1.0]))
    assert [(row["low"], row["mean"], row["high"]) for row in drawn(chart)] == [(0, 0.8, 1)]
    wide = model_charts.accuracy_by_sparsity(seeded("ours", "mlp-s95", range(2), [0.6, 1.0], "loss"), "loss")
    assert drawn(wide)[0]["low"] < 0 and drawn(wide)[0]["high"] > 1


@pytest.mark.parametrize("name", ["accuracy", "training", "speed", "scores"])
def test_intervals_span_from_low_to_high(name):
    assert spans(CHARTS[name]()) == {("low", "high")}


def test_another_metric_can_be_drawn_over_sparsity():
    chart = model_charts.accuracy_by_sparsity(sweep(), "loss")
    assert [row["mean"] for row in drawn(chart)] == [0.2] and "loss (nats)" in titles(chart)


def test_an_empty_layer_is_marked_and_few_weights_are_counted():
    cells = {(c["system"], c["layer"], c["sparsity"]): c for c in drawn(model_charts.density_heat_map(layer_rows()))}
    assert len(cells) == 8
    assert cells["plain", "a", "95 %"]["label"] == "n = 0" and cells["plain", "a", "95 %"]["nonzero"] == 0
    assert cells["mt", "a", "90 %"]["label"] == "n = 6" and cells["mt", "a", "90 %"]["density"] == pytest.approx(0.6)
    assert cells["plain", "b", "95 %"]["label"] == "50 %"
    chart = model_charts.density_heat_map(layer_rows()).to_dict()
    conditions = [c["condition"] for e in found(chart, "encoding") for k, c in e.items() if k == "color"]
    assert any(c.get("test") == "datum.nonzero == 0" and c.get("value") == VERMILION for c in conditions)
    assert [panel["title"] for panel in chart["hconcat"]] == ["plain", "mt"]
    assert found(chart, "sort")[0] == ["90 %", "95 %"] and ["a", "b"] in found(chart, "sort")


def test_reliability_shows_the_share_of_predictions_and_no_empty_bin():
    table = drawn(model_charts.reliability_diagram(reliability_rows()))
    shares = {(r["variant"], r["confidence"]): r["share"] for r in table if "variant" in r}
    assert shares == {("mlp", 0.9): 0.75, ("mlp", 0.5): 0.25, ("small", 0.7): 1.0}
    diagonal = [(r["confidence"], r["accuracy"]) for r in table if "variant" not in r]
    assert diagonal == [(0, 0), (1, 1)]


def test_each_form_of_a_pruned_model_is_timed_beside_the_model_before_pruning():
    chart = model_charts.speed_by_sparsity(timing_rows())
    panels = chart.to_dict()["hconcat"]
    assert [panel["title"] for panel in panels] == ["mlp-magnitude, batch of 1", "mlp-magnitude, batch of 64"]
    table = drawn(chart)
    assert [(r["label"], r["mean"]) for r in table if "label" in r] == [("before pruning", 8), ("before pruning", 512)]
    expected = {"": 5, "slim_": 5, "csr_": 2}
    assert {(r["form"], r["kept"], r["mean"]) for r in table if "form" in r} == {
        (model_charts.FORMS[form], kept, mean * n)
        for form, mean in expected.items()
        for kept in (2, 20)
        for n in (1, 64)
    }
    assert min(r["low"] for r in table if "form" in r) == 0  # no time is negative
    assert "median latency (ms)" in titles(chart)


def test_scores_are_means_with_their_intervals_inside_what_a_share_can_be():
    chart = model_charts.model_scores(score_rows())
    accuracy, error, single = drawn(chart)[0], drawn(chart)[2], drawn(chart)[1]
    interval = stats.ttest_1samp([0.97, 0.99, 0.999], 0).confidence_interval(0.95)
    assert interval.high > 1 and (accuracy["low"], accuracy["high"]) == pytest.approx((interval.low, 1))
    assert (accuracy["variant"], accuracy["label"], single["label"]) == ("mlp", "0.986", "0.900")
    assert error["low"] == 0 and error["mean"] == pytest.approx(0.031 / 3)
    assert titles(chart) == {"accuracy (share)", "expected calibration error (share)"}
    domains = [s["domain"] for s in found(chart.to_dict(), "scale") if s and "domain" in s]
    assert all(0 <= low < high <= 1 for low, high in domains)


def test_training_curves_are_means_over_seeds_at_each_step():
    chart = model_charts.training_curves(history_rows())
    loss = {r["step"]: r for r in drawn(chart) if r["mean"] != 0.9}
    assert len(loss) == 10 and loss[3]["mean"] == 8.0
    interval = stats.ttest_1samp([3.0, 13.0], 0).confidence_interval(0.95)
    assert (loss[3]["low"], loss[3]["high"]) == pytest.approx((interval.low, interval.high))
    assert titles(chart) == {"loss (nats)", "accuracy (share)", "optimiser step"}
    assert [r["step"] for r in drawn(chart) if r["mean"] == 0.9] == [5]


def test_a_metric_of_one_step_is_a_point_as_no_line_of_it_can_be_seen():
    loss, accuracy = model_charts.training_curves(history_rows()).to_dict()["hconcat"]
    marks = [{mark["type"] for mark in found(panel, "mark")} for panel in (loss, accuracy)]
    assert "point" not in marks[0] and "point" in marks[1]


def test_long_training_curves_are_averaged_to_200_points():
    table = sorted(
        (r["step"], r["mean"]) for r in drawn(model_charts.training_curves(history_rows(1000))) if r["mean"] != 0.9
    )
    assert len(table) == 200
    assert table[0] == pytest.approx((2.5, 5 + 2)) and table[-1] == pytest.approx((997.5, 5 + 997))


def test_costs_are_means_with_their_number_beside_the_bar():
    chart = model_charts.cost_bars(cost_rows())
    labels = {(r["variant"], r["label"]) for r in drawn(chart)}
    assert labels == {("mlp", "2 k"), ("mlp-s95", "200"), ("mlp", "1.5")}
    assert titles(chart) == {"bytes on disk", "latency (ms)"}
    domains = [s["domain"] for s in found(chart.to_dict(), "scale") if s and "domain" in s]
    assert all(low == 0 for low, _ in domains) and domains[0][1] > 2000


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: model_charts.accuracy_by_sparsity(METRICS_SCHEMA.empty_table()), "no accuracy at a sparsity"),
        (lambda: model_charts.density_heat_map(layer_rows()[:0]), "no layers"),
        (lambda: model_charts.reliability_diagram(reliability_rows()[2:3]), "no bins"),
        (lambda: model_charts.training_curves(seeded("a", "b", [0], [1.0])), "no steps"),
        (lambda: model_charts.speed_by_sparsity(cost_rows()), "no latency at a sparsity"),
        (lambda: model_charts.model_scores(cost_rows()), "no accuracy"),
        (lambda: model_charts.cost_bars(sweep()), "no bytes, flops, latency_ms"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
