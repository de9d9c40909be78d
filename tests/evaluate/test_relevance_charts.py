"""Charts of pruning by relevance: accuracy as units go, what layers keep, toys by samples, and maps of pixels."""

import base64
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from scipy import stats

from tests.evaluate.drawing import check_look, drawn, filled, sorts, spans, titles
from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.relevance_charts import accuracy_curves, kept_units, map_strip, toy_curves
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def curves():
    variants = ("n1-net0-subset0", "n1-net1-subset1", "n10-net0-subset0", "finetuned-net0")
    tables = []
    for place, variant in enumerate(variants):
        for system, fall in (("relevance", 0.1), ("random", 0.3)):
            steps = [("accuracy", 0.9 - 0.1 * (place == 1) - fall * n, 25 * n) for n in (0, 1, 2)]
            steps += [("accuracy", 0.5, None), ("accuracy", None, 75), ("area", 0.4, None)]
            tables.append(metric_rows(steps, system=system, variant=variant, workload="w", seed=0, split="test"))
    return pa.concat_tables(tables)


def test_accuracy_falls_with_units_gone_a_panel_a_regime():
    chart = accuracy_curves(curves())
    panels = filled(chart)["hconcat"]
    assert [panel["title"] for panel in panels] == [
        ["some classes", "1 sample of each, no training"],
        ["some classes", "10 samples of each, no training"],
        ["all classes", "training after each step"],
    ]
    found = {(r["system"], r["step"]): r for r in panels[0]["layer"][0]["data"]["values"]}
    assert {key: round(r["mean"], 6) for key, r in found.items()} == {
        (system, 25 * n): round(0.85 - fall * n, 6)
        for system, fall in (("relevance", 0.1), ("random", 0.3))
        for n in (0, 1, 2)
    }
    interval = stats.ttest_1samp([0.9, 0.8], 0).confidence_interval(0.95)
    assert found["relevance", 0]["low"] == pytest.approx(interval.low) and found["relevance", 0]["high"] == 1
    assert titles(chart) == {"units gone (%)", "test accuracy"} and spans(chart) == {("low", "high")}


def kept():
    return pa.Table.from_pylist(
        [
            {"system": system, "variant": variant, "layer": layer, "kept": count + i, "size": 8}
            for i, variant in enumerate(("n1-net0-subset0", "n1-net0-subset1"))
            for system, count in (("relevance", 4), ("random", 2))
            for layer in ("conv1", "linear1")
        ]
        + [{"system": "random", "variant": "finetuned-net0", "layer": "conv1", "kept": 0, "size": 8}]
    )


def test_units_kept_are_a_mean_share_of_each_layer_without_those_that_were_tuned():
    chart = kept_units(kept())
    found = {(r["layer"], r["system"]): r["mean"] for r in drawn(chart)}
    assert found == {
        (layer, s): m for layer in ("conv1", "linear1") for s, m in (("relevance", 56.25), ("random", 31.25))
    }
    assert sorts(chart) == [["conv1", "linear1"]] and titles(chart) == {"units kept (%)"}
    assert spans(chart) == {("low", "high")} and min(r["low"] for r in drawn(chart)) == 0


def test_maps_are_grey_pictures_white_at_their_lowest_value():
    maps = {
        "images": np.array([[[0.0, 1.0]], [[2.0, 2.0]]]),
        "dense": np.array([[[-1.0, 3.0]], [[0.0, 4.0]]]),
        "pruned": np.array([[[5.0, 7.0]], [[1.0, 0.5]]]),
    }
    chart = map_strip(maps)
    pictures = {}
    for row in drawn(chart):
        picture = Image.open(io.BytesIO(base64.b64decode(row["url"].split(",")[1])))
        pictures[row["row"], row["column"]] = np.asarray(picture).tolist()
    assert pictures == {
        ("image", 0): [[255, 0]],
        ("image", 1): [[255, 255]],  # of one value all over
        ("relevance, dense", 0): [[255, 0]],
        ("relevance, dense", 1): [[255, 0]],
        ("relevance, pruned", 0): [[255, 0]],
        ("relevance, pruned", 1): [[0, 255]],
    }
    assert sorts(chart) == [["image", "relevance, dense", "relevance, pruned"]]
    with pytest.raises(InputError, match="no maps"):
        map_strip(dict.fromkeys(maps, []))


@pytest.mark.parametrize("draw", [lambda: accuracy_curves(curves()), lambda: kept_units(kept())])
def test_a_chart_is_the_same_each_time_and_can_be_read(draw, tmp_path):
    check_look(draw, tmp_path, largest=(1020, 600))


def test_the_chart_has_means_over_seeds_for_each_toy_and_both_measures(tmp_path):
    tables = [
        metric_rows(
            {"accuracy": 0.8 + seed / 10, "rank_agreement": 0.5 if system == "taylor" else None},
            system=system, variant=variant, workload="w", seed=seed, split="test",
        )
        for seed in (0, 1)
        for system, variant in (("taylor", "moons-n1"), ("taylor", "blobs-n20"), ("dense", "moons"))
    ]  # fmt: skip
    chart = toy_curves(pa.concat_tables(tables))
    rows = [row for row in drawn(chart) if "samples" in row]
    assert {(row["samples"], round(row["mean"], 6)) for row in rows} == {(1, 0.85), (20, 0.85), (1, 0.5), (20, 0.5)}
    top, bottom = filled(chart)["vconcat"]
    for band, title in ((top, "test accuracy"), (bottom, "rank correlation")):
        left, right = band["hconcat"]
        assert (left["title"], right["title"]) == ("moons", "blobs")
        axes = [panel["layer"][0]["layer"][0]["encoding"]["y"].get("title") for panel in (left, right)]
        assert axes == [title, None]
    assert [row["mean"] for row in drawn(chart) if row.get("label") == "before"] == [pytest.approx(0.85)]
    save_chart(chart, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "moons" in text and "blobs" in text and "before" in text and "rank correlation" in text
    with pytest.raises(InputError, match="pruned toys"):
        toy_curves(tables[-1])


def test_charts_without_rows_say_so():
    with pytest.raises(InputError, match="has no curves"):
        accuracy_curves(METRICS_SCHEMA.empty_table())
    with pytest.raises(InputError, match="has no kept units"):
        kept_units(pa.table({"variant": pa.array([], pa.string())}))
