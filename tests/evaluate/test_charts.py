"""Charts are checked by what is in them: values drawn, intervals, axes, and the bytes of the file."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from tests.evaluate.drawing import drawn, found
from winnow.errors import InputError
from winnow.evaluate import dictionary_charts, model_charts
from winnow.evaluate.chart_parts import PALETTE, VERMILION, save_chart
from winnow.evaluate.claims import CLAIMS_SCHEMA, VERDICTS
from winnow.evaluate.claims_chart import VERDICT_COLOURS, claims_forest
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def rows(system, variant, seeds, values, metric="accuracy", step=None):
    labels = {"system": system, "workload": "digits", "variant": variant, "split": "test"}
    pairs = zip(seeds, values, strict=True)
    return pa.concat_tables([metric_rows([(metric, v, step)], seed=s, **labels) for s, v in pairs])


def sweep():
    return pa.concat_tables(
        [
            rows("ours", "mlp-s95", range(3), [0.9, 0.8, 0.85]),
            rows("ours", "mlp-s99.5", range(3), [0.7, 0.6, 0.65]),
            rows("theirs", "mlp-s95", [0], [0.5]),
            rows("ours", "tiny-cnn-s80", range(2), [0.9, None]),
            rows("dense", "mlp", [0], [0.99]),
            rows("ours", "mlp-s95", [0], [0.1], step=3),
            rows("ours", "mlp-s95", [0], [0.2], metric="loss"),
        ]
    )


def survival_rows():
    return pa.concat_tables(
        [
            rows("x", "mlp-magnitude-s90", range(2), [0.6, 0.5], "survival"),
            rows("x", "mlp-random-s90", range(2), [0.2, 0.1], "survival"),
            rows("x", "mlp", range(2), [0.7, 0.9], "retrained_survival"),
            rows("x", "refitted", range(2), [0.88, 0.92], "refit_survival"),
            rows("x", "refitted", range(2), [0.9, 0.9], "refit_chance_survival"),
            rows("x", "mlp-random-s90", range(2), [0.01, 0.03], "chance_survival"),
        ]
    )


def pareto_rows():
    tables = []
    for system, variant, l0 in [
        ("sae_topk", "k4", [4.0, 4.0]),
        ("sae_topk", "k8", [8.0, 8.0]),
        ("sae_l1", "l1-3", [5.0, 7.0]),
    ]:
        tables.append(rows(system, variant, range(2), l0, "l0"))
        tables.append(rows(system, variant, range(2), [1 / l0[0], 1.5 / l0[1]], "fvu"))
    tables += [rows("sae_l1", "l1-9", [0], [0.0], "l0"), rows("sae_l1", "l1-9", [0], [1.0], "fvu")]
    return pa.concat_tables(tables)


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


def feature_rows():
    density = [("topk", [0.5, 0.01, 0.0, 1.0]), ("l1", [0.001, 0.0, 0.0])]
    return pa.Table.from_pylist([{"variant": v, "density": d} for v, values in density for d in values])


def history_rows(steps=10):
    labels = {"system": "adamw", "workload": "digits", "variant": "mlp", "split": "train"}
    tables = [
        metric_rows([("loss", 10.0 * seed + step, step) for step in range(steps)], seed=seed, **labels)
        for seed in (0, 1)
    ]
    return pa.concat_tables([*tables, rows("adamw", "mlp", [0], [0.9], step=5), rows("adamw", "mlp", [0], [0.1])])


def claim_rows():
    judged = [
        ("a", "holds", 0.2, "share"),
        ("b", "does not hold", -0.1, "share"),
        ("c", "partly", 4.0, "ratio"),
    ]
    table = [
        {
            "claim": c,
            "verdict": v,
            "effect": e,
            "low": e - 0.1,
            "high": e + 0.1,
            "unit": u,
            "n": 5,
            "smallest": 0.05,
        }
        for c, v, e, u in judged
    ]
    table += [
        {"claim": "d", "verdict": "not run", "unit": "", "n": 0},
        table[0] | {"point": "95 %", "effect": 9.0},
    ]
    return pa.Table.from_pylist(table, schema=CLAIMS_SCHEMA)


def cost_rows():
    return pa.concat_tables(
        [
            rows("x", "mlp", range(2), [1000.0, 3000.0], "bytes"),
            rows("x", "mlp-s95", range(2), [200.0, 200.0], "bytes"),
            rows("x", "mlp", [0], [1.5], "latency_ms"),
        ]
    )


def timing_rows():
    values = [("", [4.0, 6.0]), ("slim_", [1.0, 9.0]), ("csr_", [2.0, 2.0])]
    tables = [rows("train", "mlp", range(2), [7.0 * n, 9.0 * n], f"latency_batch{n}") for n in (64, 1)]
    for sparsity in ("s80", "s98"):
        tables += [
            rows("compress", f"mlp-magnitude-{sparsity}", range(2), [v * n for v in found], f"{form}latency_batch{n}")
            for form, found in values
            for n in (64, 1)
        ]
    return pa.concat_tables(tables)


def score_rows():
    values = {"mlp": ([0.97, 0.99, 0.999], [0.02, 0.01, 0.001]), "mlp-magnitude-s98": ([0.9], [0.1])}
    return pa.concat_tables(
        [
            rows("x", variant, range(len(found)), found, metric)
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
    "survival": lambda: dictionary_charts.survival_by_sparsity(survival_rows()),
    "pareto": lambda: dictionary_charts.dictionary_pareto(pareto_rows()),
    "density": lambda: dictionary_charts.density_histogram(feature_rows()),
    "training": lambda: model_charts.training_curves(history_rows()),
    "claims": lambda: claims_forest(claim_rows()),
    "costs": lambda: model_charts.cost_bars(cost_rows()),
}


def titles(chart):
    axes = [e for encoding in found(chart.to_dict(), "encoding") for k, e in encoding.items() if k in ("x", "y")]
    return {e["title"] for e in axes if e.get("title")}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_of_report_size_with_type_that_can_be_read(name, tmp_path):
    save_chart(CHARTS[name](), tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    root = ElementTree.fromstring(text)
    assert 500 <= float(root.get("width")) <= 1000 and 100 <= float(root.get("height")) <= 600
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)px"', text)]
    assert sizes and min(sizes) >= 14
    assert not re.search(r'(href|src)="http', text)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(re.findall(r'id="([^"]+)"', text))


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_the_same_each_time(name):
    assert CHARTS[name]().to_dict() == CHARTS[name]().to_dict()


@pytest.mark.parametrize("name", ["heat map", "survival"])
def test_files_are_the_same_each_time_also_with_gradients_and_clips(name, tmp_path):
    files = [tmp_path / f"{i}.svg" for i in range(2)]
    for file in files:
        save_chart(CHARTS[name](), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert "url(#" in files[0].read_text()


@pytest.mark.parametrize("name", sorted(set(CHARTS) - {"claims"}))
def test_only_the_colour_blind_safe_palette_is_used_for_series(name):
    ranges = [v for scale in found(CHARTS[name]().to_dict(), "scale") if scale for v in scale.get("range", [])]
    colours = {v for v in ranges if isinstance(v, str) and v.startswith("#")}
    assert colours <= {*PALETTE, "#F7FBFF", "#08306B"}  # the last two are the ends of the heat map


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
    chart = model_charts.accuracy_by_sparsity(rows("ours", "mlp-s95", range(2), [0.6, 1.0]))
    assert [(row["low"], row["mean"], row["high"]) for row in drawn(chart)] == [(0, 0.8, 1)]
    wide = model_charts.accuracy_by_sparsity(rows("ours", "mlp-s95", range(2), [0.6, 1.0], "loss"), "loss")
    assert drawn(wide)[0]["low"] < 0 and drawn(wide)[0]["high"] > 1


@pytest.mark.parametrize("name", ["accuracy", "survival", "pareto", "training", "speed"])
def test_intervals_span_from_low_to_high(name):
    encodings = found(CHARTS[name]().to_dict(), "encoding")
    spans = {(e["y"]["field"], e["y2"]["field"]) for e in encodings if "y2" in e}
    assert spans == {("low", "high")}


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


def test_survival_is_drawn_beside_chance_another_seed_and_a_refit():
    table = drawn(dictionary_charts.survival_by_sparsity(survival_rows()))
    lines = {r["label"]: r["mean"] for r in table if "label" in r}
    assert lines == pytest.approx({"same model, refitted": 0.9, "another training seed": 0.8, "chance": 0.02})
    means = {(r["model"], r["kept"]): r["mean"] for r in table if "model" in r}
    assert means == pytest.approx({("mlp-magnitude", 10): 0.55, ("mlp-random", 10): 0.15})
    without = survival_rows().filter(pa.compute.field("metric") == "survival")
    assert not [r for r in drawn(dictionary_charts.survival_by_sparsity(without)) if "label" in r]


def test_a_pareto_point_is_a_variants_mean_in_both_metrics():
    chart = dictionary_charts.dictionary_pareto(pareto_rows())
    table = {(r["system"], r["variant"]): (r["l0"], r["mean"]) for r in drawn(chart)}
    assert set(table) == {("sae_topk", "k4"), ("sae_topk", "k8"), ("sae_l1", "l1-3")}
    assert table["sae_l1", "l1-3"] == pytest.approx((6.0, (1 / 5 + 1.5 / 7) / 2))
    assert titles(chart) == {"fvu (share)", "active features per row (L0, log scale)"}


def test_chance_is_drawn_where_it_was_measured():
    chance = rows("sae_topk", "k4", range(2), [0.1, 0.3], "fvu_of_chance")
    table = drawn(dictionary_charts.dictionary_pareto(pa.concat_tables([pareto_rows(), chance])))
    assert [(r["label"], r["mean"]) for r in table if "label" in r] == [("chance", 0.2)]
    assert not [r for r in drawn(dictionary_charts.dictionary_pareto(pareto_rows())) if "label" in r]


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


def test_the_histogram_counts_each_live_feature_once_and_the_dead_in_the_title():
    chart = dictionary_charts.density_histogram(feature_rows())
    panels = chart.to_dict()["hconcat"]
    assert [p["title"] for p in panels] == ["topk: 1 of 4 dead", "l1: 2 of 3 dead"]
    bars = drawn(chart)
    topk = [b for b in bars if b["count"] and not np.isclose(b["low"], -3)]
    assert sum(b["count"] for b in topk) == 3
    for value in np.log10([0.5, 0.01]):
        assert any(b["low"] - 1e-9 <= value <= b["high"] + 1e-9 for b in topk)
    assert min(b["low"] for b in bars) == -3 and max(b["high"] for b in bars) == 0


def test_features_that_always_or_never_fire_are_drawn():
    for density in ([1.0, 1.0], [0.0]):
        table = pa.Table.from_pylist([{"variant": "a", "density": d} for d in density])
        assert sum(b["count"] for b in drawn(dictionary_charts.density_histogram(table))) == np.count_nonzero(density)


def test_training_curves_are_means_over_seeds_at_each_step():
    chart = model_charts.training_curves(history_rows())
    loss = {r["step"]: r for r in drawn(chart) if r["mean"] != 0.9}
    assert len(loss) == 10 and loss[3]["mean"] == 8.0
    interval = stats.ttest_1samp([3.0, 13.0], 0).confidence_interval(0.95)
    assert (loss[3]["low"], loss[3]["high"]) == pytest.approx((interval.low, interval.high))
    assert titles(chart) == {"loss (nats)", "accuracy (share)", "optimiser step"}
    assert [r["step"] for r in drawn(chart) if r["mean"] == 0.9] == [5]


def test_long_training_curves_are_averaged_to_200_points():
    table = sorted(
        (r["step"], r["mean"]) for r in drawn(model_charts.training_curves(history_rows(1000))) if r["mean"] != 0.9
    )
    assert len(table) == 200
    assert table[0] == pytest.approx((2.5, 5 + 2)) and table[-1] == pytest.approx((997.5, 5 + 997))


def test_the_forest_shows_judged_claims_by_unit():
    chart = claims_forest(claim_rows())
    assert [(r["claim"], r["effect"]) for r in drawn(chart)] == [("a", 0.2), ("b", -0.1), ("c", 4.0)]
    assert [r["label"] for r in drawn(chart)] == ["holds (n = 5)", "does not hold (n = 5)", "partly (n = 5)"]
    assert {"difference (share)", "ratio (log scale)"} <= titles(chart)
    scales = [s for s in found(chart.to_dict(), "scale") if s and "domain" in s]
    colours = dict(zip(scales[0]["domain"], scales[0]["range"], strict=True))
    assert colours == {v: VERDICT_COLOURS[v] for v in VERDICTS[:3]} and len(set(colours.values())) == 3
    fields = {e[k]["field"] for e in found(chart.to_dict(), "encoding") for k in ("x", "x2") if "field" in e.get(k, {})}
    assert fields == {"effect", "low", "high", "smallest", "largest"}


def test_a_forest_without_a_judged_claim_says_so(tmp_path):
    chart = claims_forest(claim_rows()[3:4])
    assert drawn(chart) == [{"text": "None of 1 claims was judged in this run"}]
    save_chart(chart, tmp_path / "forest.svg")
    assert "None of 1 claims" in (tmp_path / "forest.svg").read_text()


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
        (lambda: dictionary_charts.survival_by_sparsity(sweep()), "no survival at a sparsity"),
        (lambda: dictionary_charts.dictionary_pareto(sweep()), "no fvu with l0 above 0"),
        (lambda: dictionary_charts.density_histogram(feature_rows()[:0]), "no features"),
        (lambda: model_charts.training_curves(rows("a", "b", [0], [1.0])), "no steps"),
        (lambda: model_charts.speed_by_sparsity(cost_rows()), "no latency at a sparsity"),
        (lambda: model_charts.model_scores(cost_rows()), "no accuracy"),
        (lambda: model_charts.cost_bars(sweep()), "no bytes, flops, latency_ms"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, message):
    with pytest.raises(InputError, match=message):
        draw()
