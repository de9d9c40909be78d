"""The evidence shown is that of the table, with its sum; losses are means over seeds."""

import numpy as np
import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate.chart_parts import picture, save_chart
from winnow.evaluate.evidence_charts import LOSSES, SHOWN, evidence, losses
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows

IMAGES = {
    s: np.random.default_rng(i).integers(0, 256, (3, 10, 20, 3)).astype(np.uint8)
    for i, s in enumerate(("train", "valid"))
}


def tables():
    known = {"split": "valid", "row": 2, "predicted": 1, "logit": 2.25, "class": 1, "box": [10, 0, 20, 5]}
    rows = [
        known | {"prototype": j, "similarity": 1.5, "weight": 1.0 - j, "contribution": 1.5 * (1 - j)} for j in range(7)
    ]
    patches = [{"prototype": j, "row": j % 2, "box": [0, 5, 10, 10]} for j in range(7)]
    return pa.Table.from_pylist(rows), pa.Table.from_pylist(patches)


def values(whole, part):
    held = part["data"]
    return held["values"] if "values" in held else whole["datasets"][held["name"]]


def test_the_prototypes_that_add_most_stand_beside_their_patches_and_the_rest_is_summed(tmp_path):
    chart = evidence(*tables(), IMAGES, ["cat", "dog"])
    whole = chart.to_dict()
    pictures, text = whole["hconcat"]
    cells = values(whole, pictures["layer"][0])
    assert len(cells) == 2 * SHOWN
    assert [cell["uri"] for cell in cells[:4]] == [
        picture(IMAGES[split][row]) for split, row in (("valid", 2), ("train", 0), ("valid", 2), ("train", 1))
    ]
    first, patch = cells[:2]
    assert (first["left"], first["right"]) == pytest.approx((0.03 + 0.94 / 2, 0.97))
    assert (first["top"], first["bottom"]) == pytest.approx((0.03, 0.03 + 0.94 / 2))
    assert (patch["left"], patch["bottom"]) == pytest.approx((1.03, 0.97))
    words = [row["text"] for row in values(whole, text)]
    assert words[0] == "prototype 0 of dog\n1.50 × 1.00 = 1.50"
    # The two others add 1.5 * (1 - 5) and 1.5 * (1 - 6).
    assert words[-1] == "2 other prototypes: -13.50\nlogit of dog: 2.25"
    save_chart(chart, tmp_path / "a.svg")
    assert "looks like that" in (tmp_path / "a.svg").read_text()
    with pytest.raises(InputError, match="no evidence"):
        evidence(tables()[0].slice(0, 0), tables()[1], IMAGES, ["cat", "dog"])


def test_each_part_of_the_loss_is_a_panel_of_means_over_seeds(tmp_path):
    labels = {"system": "protopnet", "workload": "parts", "variant": "a", "split": "train"}
    rows = [
        metric_rows(
            [(metric, 0.5 + seed + i, step) for i, metric in enumerate(LOSSES) for step in (1, 2)], seed=seed, **labels
        )
        for seed in (0, 1)
    ]
    chart = losses(pa.concat_tables(rows))
    whole = chart.to_dict()
    assert len(whole["concat"]) == len(LOSSES)
    bands = values(whole, whole["concat"][1])
    assert [(band["step"], band["mean"]) for band in bands] == [(1, 2.0), (2, 2.0)]
    save_chart(chart, tmp_path / "b.svg")
    with pytest.raises(InputError, match="no valid_cross_entropy"):
        losses(METRICS_SCHEMA.empty_table())
