"""Charts of DiffROAR and leakage are checked by the rows they draw."""

import base64
import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from tests.evaluate.drawing import drawn
from winnow.errors import InputError
from winnow.evaluate import gradient_charts
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


def rows(metric, entries):
    """entries: (system, variant, value of each seed)."""
    labels = {"workload": "digits", "split": "test"}
    tables = [
        metric_rows({metric: value}, system=system, variant=variant, seed=seed, **labels)
        for system, variant, values in entries
        for seed, value in enumerate(values)
    ]
    return pa.concat_tables(tables)


def scores():
    return rows(
        "diffroar",
        [
            ("logit_gradient", "standard-k0.05", [0.6, 0.8]),
            ("logit_gradient", "standard-k0.1", [0.2, 0.2]),
            ("logit_gradient", "l2_1-k0.1", [0.5, 0.7]),
            ("random", "standard-k0.1", [0.1, -0.1]),
            ("smooth_grad", "standard-k0.1", [0.4, 0.4]),
        ],
    )


def test_diffroar_is_a_mean_a_share_and_a_model_and_random_orders_are_one_line():
    found = {
        (r["line"], r["kept"]): r["mean"] for r in drawn(gradient_charts.diffroar_by_share(scores())) if "line" in r
    }
    assert found == pytest.approx(
        {("standard", 5.0): 0.7, ("standard", 10.0): 0.2, ("robust, l2 1", 10.0): 0.6, ("random order", 10.0): 0.0}
    )


def test_schemes_are_compared_at_the_share_that_most_have():
    found = {
        (r["scheme"], r["model"]): r["mean"]
        for r in drawn(gradient_charts.diffroar_of_schemes(scores()))
        if "scheme" in r
    }
    assert found == pytest.approx(
        {
            ("logit gradient", "standard"): 0.2,
            ("logit gradient", "robust, l2 1"): 0.6,
            ("random", "standard"): 0.0,
            ("smooth grad", "standard"): 0.4,
        }
    )


def test_leakage_stands_beside_the_chance_of_its_images():
    table = rows("top_share", [("standard", "random", [0.6, 0.7]), ("l2_2", "three_blocks", [0.9, 0.9])])
    found = drawn(gradient_charts.leakage_bars(table))
    bars = {r["model"]: r["mean"] for r in found if "model" in r}
    assert bars == pytest.approx({"standard": 0.65, "robust, l2 2": 0.9})
    assert sorted(r["x"] for r in found if "x" in r) == pytest.approx([1 / 3, 0.5])


def test_the_strip_shows_each_map_darkest_where_it_is_largest():
    ramp = np.arange(8.0).reshape(1, 4, 2)
    maps = {"random/image": ramp, "random/standard": 2 * ramp, "random/l2_2": 0 * ramp, "top/image": ramp}
    shown = {r["row"]: r["url"] for r in drawn(gradient_charts.map_strip(maps))}
    assert list(shown) == ["image", "standard", "robust, l2 2", "image, signal on top"]
    pixels = {
        name: np.asarray(Image.open(io.BytesIO(base64.b64decode(url.split(",")[1])))) for name, url in shown.items()
    }
    expected = 255 - np.round(255 * ramp[0] / 7)
    assert np.array_equal(pixels["image"], expected) and np.array_equal(pixels["standard"], expected)
    assert (pixels["robust, l2 2"] == 255).all()


def test_block_norms_are_parted_into_the_signals_and_the_others():
    norms = pa.table(
        {
            "system": ["standard", "robust", "unknown"],
            "variant": ["toy_coordinates", "toy_coordinates", "toy_coordinates"],
            "is_signal": [True, False, True],
            "norm": [1.5, 0.1, 9.0],
        }
    )
    found = {(r["net"], r["part"]): r["norm"] for r in drawn(gradient_charts.toy_norms(norms)) if "net" in r}
    assert found == {("standard, coordinates", "signal"): 1.5, ("robust with biases", "others"): 0.1}


@pytest.mark.parametrize("chart", ["diffroar_by_share", "diffroar_of_schemes", "leakage_bars"])
def test_tables_without_the_rows_are_refused(chart):
    with pytest.raises(InputError, match="chart: the table has no"):
        getattr(gradient_charts, chart)(METRICS_SCHEMA.empty_table())
