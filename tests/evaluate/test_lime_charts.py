"""Charts of LIME on images draw each measure by its name for each kind of regions, and coverage image by image."""

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats

from tests.evaluate.drawing import check_look, drawn, sorts, spans, titles
from winnow.errors import InputError
from winnow.evaluate import lime_charts as charts
from winnow.evaluate.gallery_charts import region_weights
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def metrics():
    tables = []
    for seed in (0, 1):
        labels = {"workload": "w", "seed": seed, "split": "test"}
        for place, system in enumerate(("slic", "grid")):
            values = {name: 0.1 * i + 0.01 * place + 0.2 * seed for i, name in enumerate(charts.SHOWN)}
            tables.append(metric_rows(values, system=system, variant="top5", **labels))
        for system, gained in (("submodular_pick", 2.0), ("random_pick", 1.0), ("other", 9.0)):
            steps = [("coverage", gained * n + seed, n) for n in (1, 2)] + [("coverage", 7.0, None)]
            tables.append(metric_rows(steps, system=system, variant="slic", **labels))
    return pa.concat_tables(tables)


def test_measures_are_means_over_seeds_for_each_kind_of_regions():
    chart = charts.localisation(metrics())
    found = {(r["measure"], r["system"]): r for r in drawn(chart)}
    assert {key: round(row["mean"], 6) for key, row in found.items()} == {
        (name, system): round(0.1 * i + 0.01 * place + 0.1, 6)
        for i, name in enumerate(charts.SHOWN.values())
        for place, system in enumerate(("slic", "grid"))
    }
    interval = stats.ttest_1samp([0.1, 0.3], 0).confidence_interval(0.95)
    assert interval.low < -1 and interval.high > 1
    row = found["precision at random", "slic"]
    assert (row["low"], row["high"]) == (0, 1)  # a share
    row = found["fall by deletion", "slic"]
    low = stats.ttest_1samp([0.3, 0.5], 0).confidence_interval(0.95).low
    assert (row["low"], row["high"]) == (pytest.approx(low), 1) and low < -0.8  # a probability may rise as well
    assert sorts(chart, "x") == [list(charts.SHOWN.values())] and titles(chart) == {"share"}
    assert spans(chart) == {("low", "high")}


def test_coverage_grows_by_images_shown_of_both_picks_and_of_no_other():
    chart = charts.coverage(metrics())
    found = {(r["system"], r["step"]): r["mean"] for r in drawn(chart)}
    assert found == {
        ("submodular pick, slic", 1): 2.5,
        ("submodular pick, slic", 2): 4.5,
        ("at random, slic", 1): 1.5,
        ("at random, slic", 2): 2.5,
    }
    assert min(r["low"] for r in drawn(chart)) == 0  # no coverage is negative
    assert titles(chart) == {"images shown", "coverage"}


@pytest.mark.parametrize("draw", [charts.localisation, charts.coverage])
def test_a_chart_can_be_read_in_a_report(draw, tmp_path):
    check_look(lambda: draw(metrics()), tmp_path)
    with pytest.raises(InputError, match="the table has no (localisation|coverage)"):
        draw(METRICS_SCHEMA.empty_table())


def test_overlays_are_the_images_of_the_kind_of_regions_that_was_saved():
    generator = np.random.default_rng(0)
    saved = {
        "images": generator.integers(0, 256, (2, 6, 6, 1)).astype(np.uint8),
        "truth": np.eye(6, dtype=np.uint8)[None].repeat(2, 0),
        "numbers": np.array([13, 11]),
        "grid": (np.arange(36).reshape(1, 6, 6) // 12).repeat(2, 0).astype(np.int32),
    }
    measured = [
        {"image": i, "segmenter": kind, "class": name, "r2": fit + (kind == "slic") / 2}
        for i, name, fit in ((11, "mine", 0.1), (13, "wreck", 0.3), (12, "mine", 0.9))
        for kind in ("slic", "grid")
    ]
    weights = {11: [0.5, -1.0, 2.0], 13: [1.0, 0.0, -3.0]}
    explained = [
        {"image": i, "segmenter": kind, "region": r, "weight": w if kind == "grid" else -9.0}
        for i, own in weights.items()
        for kind in ("slic", "grid")
        for r, w in enumerate(own)
    ]
    chart = charts.overlays(saved, pa.Table.from_pylist(measured), pa.Table.from_pylist(explained))
    expected = region_weights(
        saved["images"], ["wreck", "mine"], saved["grid"], [weights[13], weights[11]], [0.3, 0.1], saved["truth"] > 0
    )
    assert chart.to_dict() == expected.to_dict()
