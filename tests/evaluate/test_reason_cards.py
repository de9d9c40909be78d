"""Cards show the nearest prototype of each class of the first seed, with what is told of it."""

import numpy as np
import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate.chart_parts import save_chart
from winnow.evaluate.reason_cards import cards
from winnow.workloads.image_tables import encode_png

PNG = encode_png(np.zeros((4, 4, 3), np.uint8))
DISTANCES = {0: 0.5, 1: 0.2, 2: 0.9}
CLASSES = {0: "cat", 1: "cat", 2: "ant"}


def tables():
    patches, importances = [], []
    for variant in ("one", "two"):
        for seed in (0, 1):
            for j, distance in DISTANCES.items():
                known = {"variant": variant, "seed": seed, "prototype": j}
                edits = ("patch", "hue", "shape")
                patches += [known | {"edit": edit, "distance": distance, "png": PNG} for edit in edits]
                told = {"class": CLASSES[j], "sentence": f"mostly {j}; seed {seed}"}
                importances += [known | told | {"edit": edit, "standardised": j + 1.0} for edit in edits[1:]]
    importances[2]["standardised"] = None  # hue of prototype 1
    return pa.Table.from_pylist(patches), pa.Table.from_pylist(importances)


def values(whole, part):
    held = part["data"]
    return held["values"] if "values" in held else whole["datasets"][held["name"]]


def test_the_nearest_prototype_of_each_class_is_shown_by_network(tmp_path):
    whole = cards(*tables()).to_dict()
    assert len(whole["vconcat"]) == 2
    images, bars, words = (values(whole, part) for part in whole["vconcat"][0]["hconcat"])
    # Classes in order: ant (prototype 2), cat (prototype 1, nearer than 0); three pictures each.
    assert [(cell["x"], cell["y"]) for cell in images] == [(x, y) for y in (1.5, 0.5) for x in (0.5, 1.5, 2.5)]
    assert [word["text"] for word in words] == ["mostly 2;\nseed 0", "mostly 1;\nseed 0"]
    assert [(bar["edit"], bar["value"]) for bar in bars] == [("hue", 3), ("shape", 3), ("shape", 2)]
    assert all(0 <= bar["top"] < bar["bottom"] <= 2 for bar in bars)
    save_chart(cards(*tables()), tmp_path / "cards.svg")
    assert "mostly 2" in (tmp_path / "cards.svg").read_text()


def test_no_patches_are_refused():
    patches, importances = tables()
    with pytest.raises(InputError, match="no patches"):
        cards(patches.slice(0, 0), importances)
