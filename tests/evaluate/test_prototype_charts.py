"""Charts of prototypes are checked by the rows they draw, where boxes lie, and the file that is written."""

import base64
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate.chart_parts import picture, save_chart
from winnow.evaluate.prototype_charts import accuracy_and_consistency, prototype_gallery, two_scores, window_curves
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 10, 20, 3), dtype=np.uint8)


def prototypes(**changes):
    columns = {
        "class": [0, 0, 1],
        "row": [2, 3, 0],
        "box": [[0, 0, 20, 10], [5, 2, 10, 6], [0, 0, 1, 1]],
        "active": [True, False, True],
    }
    return pa.table(columns | changes)


def test_a_picture_is_the_image_pixel_for_pixel():
    for image in (IMAGES[0], IMAGES[0][..., :1]):
        head, data = picture(image).split(",")
        assert head == "data:image/png;base64"
        shown = np.atleast_3d(np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))))
        assert np.array_equal(shown, image)


def test_the_gallery_shows_each_prototypes_image_box_and_patch_in_its_classs_row(tmp_path):
    rows = drawn(prototype_gallery(prototypes(), IMAGES, ["cat", "dog"]))
    boxes = {row["uri"]: row for row in rows if "left" in row}
    patches = {row["uri"]: (row["x"], row["y"]) for row in rows if "left" not in row}
    assert patches == {
        picture(IMAGES[2]): (1.5, 0.5),
        picture(IMAGES[3][2:6, 5:10]): (3.5, 0.5),
        picture(IMAGES[0][:1, :1]): (1.5, 1.5),
    }
    whole, inner, other = (boxes[picture(IMAGES[i])] for i in (2, 3, 0))
    assert (whole["x"], whole["y"], inner["x"], inner["y"], other["x"], other["y"]) == (0.5, 0.5, 2.5, 0.5, 0.5, 1.5)
    assert (whole["left"], whole["right"], whole["top"], whole["bottom"]) == pytest.approx((0.03, 0.97, 0.03, 0.97))
    assert (inner["left"], inner["right"]) == pytest.approx((2.03 + 0.94 / 4, 2.03 + 0.94 / 2))
    assert (inner["top"], inner["bottom"]) == pytest.approx((0.03 + 0.94 * 0.2, 0.03 + 0.94 * 0.6))
    assert inner["opacity"] < 1 == whole["opacity"]
    save_chart(prototype_gallery(prototypes(), IMAGES, ["cat", "dog"]), tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    assert "cat" in text and "dog" in text and text.count("data:image/png") >= 3


def test_curves_are_means_over_seeds_with_intervals_within_percent():
    table = pa.table(
        {
            "variant": ["a", "a", "b"],
            "seed": [0, 1, 0],
            "half": [5, 5, 5],
            "consistency": [90.0, 100.0, 40.0],
            "permuted": [0.0, 10.0, 0.0],
            "location": [50.0, 50.0, 20.0],
        }
    )
    bands = {(r["curve"], r["mean"]): r for r in drawn(window_curves(table)) if "mean" in r}
    real = bands["prototypes", 95.0]
    assert real["high"] == 100 and real["low"] < 90
    assert bands["parts shuffled", 5.0]["low"] == 0
    assert ("peaks of the class", 50.0) in bands and ("prototypes", 40.0) in bands


def test_the_two_scores_of_a_network_are_one_point(tmp_path):
    labels = {"system": "protopnet", "workload": "parts", "split": "test"}
    tables = [
        metric_rows({"consistency": c, "stability": s}, variant=v, seed=i, **labels)
        for i, (v, c, s) in enumerate([("a", 40.0, 70.0), ("a", 60.0, 80.0), ("b", 10.0, 99.0)])
    ]
    points = {r["variant"]: r for r in drawn(two_scores(pa.concat_tables(tables)))}
    assert (points["a"]["consistency"], points["a"]["stability"]) == (50, 75)
    assert points["a"]["stability_from"] < 70 and points["a"]["stability_to"] <= 100
    assert points["b"]["consistency_from"] == points["b"]["consistency_to"] == 10
    save_chart(two_scores(pa.concat_tables(tables)), tmp_path / "b.svg")
    assert "stability" in (tmp_path / "b.svg").read_text()


def test_accuracy_is_set_against_consistency_with_their_correlation(tmp_path):
    labels = {"system": "protopnet", "workload": "parts", "split": "test"}
    values = [("a", 40.0, 0.7), ("a", 60.0, 0.9), ("b", 10.0, 0.5), ("centre", 100.0, None)]
    tables = [
        metric_rows({"consistency": c} | ({"accuracy": s} if s else {}), variant=v, seed=i, **labels)
        for i, (v, c, s) in enumerate(values)
    ]
    related = {"accuracy_spearman": 0.5, "accuracy_spearman_low": -0.25, "accuracy_spearman_high": 1.0}
    tables.append(metric_rows(related, variant="all", seed=0, **labels))
    chart = accuracy_and_consistency(pa.concat_tables(tables))
    points = {r["variant"]: r for r in drawn(chart)}
    assert points.keys() == {"a", "b"} and points["a"]["accuracy"] == pytest.approx(0.8)
    assert points["a"]["accuracy_to"] == 1
    save_chart(chart, tmp_path / "c.svg")
    assert "Spearman 0.50, 95 % over networks -0.25 to 1.00" in (tmp_path / "c.svg").read_text().replace("−", "-")


def test_empty_tables_are_refused():
    with pytest.raises(InputError, match="no prototypes"):
        prototype_gallery(prototypes().slice(0, 0), IMAGES, ["cat", "dog"])
    with pytest.raises(InputError, match="no window sizes"):
        window_curves(pa.table({"variant": pa.array([], pa.string())}))
    with pytest.raises(InputError, match="no consistency"):
        two_scores(METRICS_SCHEMA.empty_table())
