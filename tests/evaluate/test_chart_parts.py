"""What all charts share: intervals, names, colours, and a file that is the same each time."""

import altair as alt
import numpy as np
import pytest
from scipy import stats

from winnow.errors import InputError
from winnow.evaluate.chart_parts import PALETTE, SHARE, at_sparsities, key_of, mean_bands, save_chart, short
from winnow.pipeline.tables import metric_rows


@pytest.mark.parametrize(
    ("value", "text"), [(2.1e9, "2.1 G"), (1.07e6, "1.07 M"), (1000, "1 k"), (999, "999"), (0.21, "0.21")]
)
def test_numbers_are_shortened(value, text):
    assert short(value) == text


def test_bands_are_students_intervals_and_end_at_the_bounds():
    values = {"a": [0.97, 0.99, 0.999], "b": [0.5]}
    rows = [{"name": name, "value": value} for name, found in values.items() for value in found]
    free, bounded = mean_bands(rows, ["name"]), mean_bands(rows, ["name"], SHARE)
    interval = stats.ttest_1samp(values["a"], 0).confidence_interval(0.95)
    assert interval.high > 1
    for bands, high in ((free, interval.high), (bounded, 1)):
        assert [band["name"] for band in bands] == ["a", "b"]
        found = [bands[0][key] for key in ("low", "mean", "high")]
        assert found == pytest.approx([interval.low, np.mean(values["a"]), high], rel=1e-12)
        assert bands[1] == {"name": "b", "mean": 0.5, "low": 0.5, "high": 0.5}


def test_a_sparsity_is_the_last_part_of_a_variants_name():
    labels = {"system": "x", "workload": "digits", "seed": 0, "split": "test"}
    names = ["net-s2-s99.5", "mlp-s80", "mlp", "mlp-s100", "mlp-s80-again"]
    rows = [row for name in names for row in metric_rows({"accuracy": 0.5}, variant=name, **labels).to_pylist()]
    table = metric_rows({"accuracy": 0.5}, variant="", **labels).from_pylist(rows)
    assert [(row["model"], row["kept"]) for row in at_sparsities(table, "accuracy")] == [("net-s2", 0.5), ("mlp", 20)]


def test_series_beyond_the_palette_start_it_again_with_the_order_of_the_rows():
    names = [f"series {number}" for number in range(len(PALETTE) + 1)]
    key = key_of("name", "series", [{"name": name} for name in [*names, names[0]]])
    scale = key.colour().to_dict()["scale"]
    assert scale == {"domain": names, "range": [*PALETTE, PALETTE[0]]}


def test_charts_are_saved_as_svg_only(tmp_path):
    with pytest.raises(InputError, match=r"chart\.png: charts are written as SVG"):
        save_chart(alt.Chart(alt.InlineData(values=[{}])).mark_point(), tmp_path / "chart.png")


def test_gradients_and_clips_are_numbered_from_0_in_each_file(tmp_path):
    rows = [{"x": i, "value": i} for i in range(3)]
    chart = alt.Chart(alt.InlineData(values=rows)).mark_rect(clip=True).encode(x="x:O", color="value:Q")
    for name in ("first", "again"):
        save_chart(chart, tmp_path / f"{name}.svg")
    text = (tmp_path / "first.svg").read_text()
    assert text == (tmp_path / "again.svg").read_text()
    assert "url(#mark0)" in text and "gradient_" not in text
