"""Charts of compatibility and clustering, by what is drawn in them."""

import numpy as np
import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate import clustering_charts, compatibility_charts
from winnow.evaluate.chart_parts import save_chart
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def rows(system, variant, metric, values, split="open", step=None):
    tables = [
        metric_rows([(metric, v, step)], system=system, workload="digits", variant=variant, seed=seed, split=split)
        for seed, v in enumerate(values)
    ]
    return pa.concat_tables(tables)


def drawn(chart):
    """The chart as a dictionary in which each part holds the rows that it draws."""
    spec = chart.to_dict()

    def filled(node):
        if isinstance(node, list):
            return [filled(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if set(node) == {"name"} and node["name"] in spec.get("datasets", {}):
            return {"values": spec["datasets"][node["name"]]}
        whole = {key: filled(entry) for key, entry in node.items() if key != "datasets"}
        # A layer without data of its own draws those of the chart that it is part of.
        if "data" in whole and "layer" in whole:
            whole["layer"] = [{"data": whole["data"]} | layer for layer in whole["layer"]]
        return whole

    return filled(spec)


def test_scores_are_means_with_intervals_of_open_classes_only():
    metrics = pa.concat_tables(
        [
            rows("simplex_hoc", "sequence", "average_compatibility", [0.5, 0.7]),
            rows("simplex_hoc", "sequence", "average_accuracy", [0.25, 0.35]),
            rows("simplex_hoc", "sequence", "average_compatibility", [0.9, 0.9], split="seen"),
            rows("er", "independent", "average_compatibility", [0.99, 0.99]),
        ]
    )
    chart = drawn(compatibility_charts.compatibility_scores(metrics))
    values = [row for panel in chart["hconcat"] for row in panel["layer"][0]["data"]["values"]]
    assert [(row["method"], round(row["mean"], 6)) for row in values] == [
        ("simplex, HOC loss", 0.6),
        ("simplex, HOC loss", 0.3),
    ]
    assert all(row["low"] <= row["mean"] <= row["high"] for row in values)


def test_matrices_show_the_mean_over_seeds_in_each_cell(tmp_path):
    cells = [
        {
            "system": s,
            "variant": "sequence",
            "seed": seed,
            "split": "open",
            "reduce": "mean",
            "t": t,
            "k": k,
            "value": v,
        }
        for s, base in (("er", 0.2), ("simplex_hoc", 0.6))
        for seed, shift in ((0, 0.0), (1, 0.1))
        for t, k, v in ((1, 1, base + shift), (2, 1, base), (2, 2, base + shift))
    ]
    other = [cells[0] | {"split": "seen", "value": 0.99}, cells[0] | {"reduce": "none", "value": 0.98}]
    chart = compatibility_charts.matrices(pa.Table.from_pylist(cells + other))
    panels = drawn(chart)["hconcat"]
    assert [panel["title"] for panel in panels] == ["simplex, HOC loss", "trained classifier"]
    shown = {(c["t"], c["k"]): c["label"] for c in panels[1]["layer"][0]["data"]["values"]}
    assert shown == {(1, 1): "0.25", (2, 1): "0.20", (2, 2): "0.25"}
    save_chart(chart, tmp_path / "matrices.svg")
    assert "0.65" in (tmp_path / "matrices.svg").read_text()


def test_features_of_both_models_share_one_scale_about_the_origin():
    points = [
        {"system": s, "model": m, "class": c, "x": x, "y": -x}
        for s in ("er", "simplex_ce")
        for m, x in (("old", 1.0), ("new", 2.0))
        for c in ("a", "b")
    ]
    panels = drawn(compatibility_charts.stationary_features(pa.Table.from_pylist(points)))["hconcat"]
    assert [panel["title"] for panel in panels] == ["simplex", "trained classifier"]
    assert panels[0]["encoding"]["x"]["scale"]["domain"] == pytest.approx([-2.16, 2.16])
    assert len(panels[0]["data"]["values"]) == 4


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
    panels = drawn(clustering_charts.clusterer_scores(clusterings()))["hconcat"]
    found = [(r["name"], r["place"], round(r["mean"], 6)) for r in panels[0]["layer"][0]["data"]["values"]]
    assert found == [("TELL", "inputs that were clustered", 0.55), ("TELL", "held-out inputs", 0.55)]


def test_losses_are_drawn_by_epoch_and_lloyd_as_a_level():
    history = [
        rows("tell", "main", m, [v], "train", step)
        for step in (14, 28)
        for m, v in (("reconstruction", 0.1), ("clustering", 0.2))
    ]
    history += [rows("tell_layer", "raw", "objective", [40.0], "train", 1)]
    panels = drawn(clustering_charts.losses_and_objective(pa.concat_tables(history), clusterings()))["hconcat"]
    assert [row["epoch"] for row in panels[0]["layer"][1]["data"]["values"]] == [0, 1]
    assert panels[0]["layer"][0]["data"]["values"] == [{"from": -0.5, "to": 0.5}]
    assert panels[2]["layer"][1]["data"]["values"][0]["mean"] == 30.0


def test_clusters_stand_in_the_order_of_the_classes_they_are_matched_with():
    labels = pa.table({"cluster": [7, 7, 3, 3, 3, 5], "class": ["a", "a", "b", "b", "a", "b"]})
    chart = drawn(clustering_charts.clusters_by_class(labels))
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
    url = drawn(chart)["data"]["values"][0]["url"]
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
    spec = drawn(chart)
    assert spec["encoding"]["x"]["sort"] == ["0, decoded", "0, nearest row", "1, decoded", "1, nearest row"]
    assert spec["encoding"]["y"]["sort"] == ["size", "age"]
    save_chart(chart, tmp_path / "centres.svg")


@pytest.mark.parametrize(
    "chart",
    [
        lambda: compatibility_charts.compatibility_scores(METRICS_SCHEMA.empty_table()),
        lambda: compatibility_charts.matrices(pa.Table.from_pylist([])),
        lambda: compatibility_charts.stationary_features(pa.Table.from_pylist([])),
        lambda: clustering_charts.clusterer_scores(METRICS_SCHEMA.empty_table()),
        lambda: clustering_charts.centre_pictures(pa.Table.from_pylist([])),
        lambda: clustering_charts.losses_and_objective(METRICS_SCHEMA.empty_table(), METRICS_SCHEMA.empty_table()),
        lambda: clustering_charts.clusters_by_class(pa.Table.from_pylist([])),
    ],
)
def test_a_chart_without_rows_says_so(chart):
    with pytest.raises(InputError, match="the table has no"):
        chart()
