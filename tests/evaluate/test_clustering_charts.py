"""Charts of clusterings draw means by name, losses by epoch, and clusters beside their classes."""

import numpy as np
import pyarrow as pa
import pytest

from tests.evaluate.drawing import filled
from winnow.errors import InputError
from winnow.evaluate import clustering_charts
from winnow.evaluate.chart_parts import save_chart
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def rows(system, variant, metric, values, split="open", step=None):
    tables = [
        metric_rows([(metric, v, step)], system=system, workload="digits", variant=variant, seed=seed, split=split)
        for seed, v in enumerate(values)
    ]
    return pa.concat_tables(tables)


def clusterings():
    found = [
        rows("tell", "main", metric, [0.5, 0.6], split=split)
        for metric in ("acc", "nmi")
        for split in ("train", "test")
    ]
    found += [rows("tell", "weight0.1", "acc", [0.1, 0.1], split="train")]
    found += [rows("lloyd", "raw", "objective", [300.0], split="train"), rows("lloyd", "raw", "rows", [10.0], "train")]
    return pa.concat_tables(found)


def test_clusterers_are_named_and_ablations_of_the_weight_left_out():
    panels = filled(clustering_charts.clusterer_scores(clusterings()))["hconcat"]
    found = [(r["name"], r["place"], round(r["mean"], 6)) for r in panels[0]["layer"][0]["data"]["values"]]
    assert found == [("TELL", "inputs that were clustered", 0.55), ("TELL", "held-out inputs", 0.55)]


def test_losses_are_drawn_by_epoch_and_lloyd_as_a_level():
    history = [
        rows("tell", "main", m, [v], "train", step)
        for step in (14, 28)
        for m, v in (("reconstruction", 0.1), ("clustering", 0.2))
    ]
    history += [rows("tell_layer", "raw", "objective", [40.0], "train", 1)]
    panels = filled(clustering_charts.losses_and_objective(pa.concat_tables(history), clusterings()))["hconcat"]
    assert [row["epoch"] for row in panels[0]["layer"][1]["data"]["values"]] == [0, 1]
    assert panels[0]["layer"][0]["data"]["values"] == [{"from": -0.5, "to": 0.5}]
    assert panels[2]["layer"][1]["data"]["values"][0]["mean"] == 30.0


def test_clusters_stand_in_the_order_of_the_classes_they_are_matched_with():
    labels = pa.table({"cluster": [7, 7, 3, 3, 3, 5], "class": ["a", "a", "b", "b", "a", "b"]})
    chart = filled(clustering_charts.clusters_by_class(labels))
    assert chart["layer"][0]["encoding"]["x"]["sort"] == ["7", "3", "5"]
    counts = {(c["cluster"], c["class"]): (c["count"], c["share"]) for c in chart["layer"][0]["data"]["values"]}
    assert counts["7", "a"] == (2, pytest.approx(2 / 3))
    assert counts["3", "a"] == (1, pytest.approx(1 / 3))
    assert counts["5", "b"] == (1, pytest.approx(1 / 3))


@pytest.mark.parametrize("channels", [1, 3])
def test_centres_are_pictures_of_their_pixels(tmp_path, channels):
    import base64
    import io

    from PIL import Image

    pixels = np.arange(4 * channels) * 10
    found = [
        {"cluster": c, "kind": k, "height": 2, "width": 2, "channels": channels, "pixels": pixels.tolist()}
        for c in (0, 1)
        for k in ("centre", "nearest")
    ]
    chart = clustering_charts.centre_pictures(pa.Table.from_pylist(found))
    url = filled(chart)["data"]["values"][0]["url"]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1]))))
    assert image[0, 0].tolist() == (0 if channels == 1 else [0, 10, 20])
    assert image.reshape(128, 128, channels)[-1, -1].tolist() == (pixels[-channels:]).tolist()
    save_chart(chart, tmp_path / "centres.svg")
    assert "image/png" in (tmp_path / "centres.svg").read_text()


def test_centres_of_a_table_are_shown_column_by_column(tmp_path):
    found = [
        {"cluster": c, "kind": k, "column": name, "value": 0.1 * c}
        for c in (0, 1)
        for k in ("centre", "nearest")
        for name in ("size", "age")
    ]
    chart = clustering_charts.centre_pictures(pa.Table.from_pylist(found))
    spec = filled(chart)
    assert spec["encoding"]["x"]["sort"] == ["0, decoded", "0, nearest row", "1, decoded", "1, nearest row"]
    assert spec["encoding"]["y"]["sort"] == ["size", "age"]
    save_chart(chart, tmp_path / "centres.svg")


@pytest.mark.parametrize(
    "chart",
    [
        lambda: clustering_charts.clusterer_scores(METRICS_SCHEMA.empty_table()),
        lambda: clustering_charts.centre_pictures(pa.Table.from_pylist([])),
        lambda: clustering_charts.losses_and_objective(METRICS_SCHEMA.empty_table(), METRICS_SCHEMA.empty_table()),
        lambda: clustering_charts.clusters_by_class(pa.Table.from_pylist([])),
    ],
)
def test_a_chart_without_rows_says_so(chart):
    with pytest.raises(InputError, match="the table has no"):
        chart()
