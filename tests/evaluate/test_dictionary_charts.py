"""Charts of dictionaries draw means with intervals beside what chance and another fit reach."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.drawing import check_look, drawn, seeded, spans, titles
from winnow.errors import InputError
from winnow.evaluate import dictionary_charts


def survival_rows():
    return pa.concat_tables(
        [
            seeded("x", "mlp-magnitude-s90", range(2), [0.6, 0.5], "survival"),
            seeded("x", "mlp-random-s90", range(2), [0.2, 0.1], "survival"),
            seeded("x", "mlp", range(2), [0.7, 0.9], "retrained_survival"),
            seeded("x", "refitted", range(2), [0.88, 0.92], "refit_survival"),
            seeded("x", "refitted", range(2), [0.9, 0.9], "refit_chance_survival"),
            seeded("x", "mlp-random-s90", range(2), [0.01, 0.03], "chance_survival"),
        ]
    )


def pareto_rows():
    tables = []
    for system, variant, l0 in [
        ("sae_topk", "k4", [4.0, 4.0]),
        ("sae_topk", "k8", [8.0, 8.0]),
        ("sae_l1", "l1-3", [5.0, 7.0]),
    ]:
        tables.append(seeded(system, variant, range(2), l0, "l0"))
        tables.append(seeded(system, variant, range(2), [1 / l0[0], 1.5 / l0[1]], "fvu"))
    tables += [seeded("sae_l1", "l1-9", [0], [0.0], "l0"), seeded("sae_l1", "l1-9", [0], [1.0], "fvu")]
    return pa.concat_tables(tables)


def feature_rows():
    density = [("topk", [0.5, 0.01, 0.0, 1.0]), ("l1", [0.001, 0.0, 0.0])]
    return pa.Table.from_pylist([{"variant": v, "density": d} for v, values in density for d in values])


CHARTS = {
    "survival": lambda: dictionary_charts.survival_by_sparsity(survival_rows()),
    "pareto": lambda: dictionary_charts.dictionary_pareto(pareto_rows()),
    "density": lambda: dictionary_charts.density_histogram(feature_rows()),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_can_be_read_in_a_report(name, tmp_path):
    check_look(CHARTS[name], tmp_path)


@pytest.mark.parametrize("name", CHARTS)
def test_intervals_and_bars_span_from_low_to_high(name):
    assert spans(CHARTS[name]()) == {("low", "high")}


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
    chance = seeded("sae_topk", "k4", range(2), [0.1, 0.3], "fvu_of_chance")
    table = drawn(dictionary_charts.dictionary_pareto(pa.concat_tables([pareto_rows(), chance])))
    assert [(r["label"], r["mean"]) for r in table if "label" in r] == [("chance", 0.2)]
    assert not [r for r in drawn(dictionary_charts.dictionary_pareto(pareto_rows())) if "label" in r]


def test_the_histogram_counts_each_live_feature_once_and_the_silent_in_the_title():
    chart = dictionary_charts.density_histogram(feature_rows())
    panels = chart.to_dict()["hconcat"]
    assert [p["title"] for p in panels] == ["topk: 1 of 4 silent", "l1: 2 of 3 silent"]
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


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda table: dictionary_charts.survival_by_sparsity(table), "no survival at a sparsity"),
        (lambda table: dictionary_charts.dictionary_pareto(table), "no fvu with l0 above 0"),
        (lambda table: dictionary_charts.density_histogram(feature_rows()[:0]), "no features"),
    ],
)
def test_a_table_without_the_rows_of_a_chart_is_named(draw, message):
    with pytest.raises(InputError, match=message):
        draw(seeded("ours", "mlp-s95", [0], [0.9]))
