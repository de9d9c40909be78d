"""Toys of occlusion and over-splitting: what is planted is found, and every level has its row."""

from types import SimpleNamespace

import torch

from winnow.dictionaries.config import SaeConfig
from winnow.evaluate.dictionary_toys import nearest_in_l0, occlusion, splitting, toys


def test_toys_know_what_they_plant():
    config = SaeConfig("topk", m=96, k=2, steps=150, batch=512)
    equal, small = (occlusion(ratio, config, [1.0], seed=0, values=20, rows=2048) for ratio in (1.0, 0.4))
    assert abs(equal["larger"] - equal["smaller"]) < 0.1 and small["smaller"] < small["larger"] and equal["l0"] <= 2
    few, many = (
        splitting(SaeConfig("topk", m=m, k=2, steps=100, batch=512), [1.0], seed=0, rows=2048) for m in (4, 64)
    )
    assert many["specific"] > few["specific"] and 0.4 < many["best"] <= few["best"] + 0.1 <= 1.1
    rows = torch.randn(2048, 8, generator=torch.Generator().manual_seed(0))
    sparse = SaeConfig("relu_l1", m=16, steps=100, batch=512)
    counts = [
        float((nearest_in_l0(rows, sparse, penalties, 2.0).dense(rows) > 0).double().sum(1).mean())
        for penalties in ([0.1], [4.0], [0.1, 4.0])
    ]
    assert counts[2] == min(counts[:2], key=lambda count: abs(count - 2))


def test_toys_give_every_ratio_width_and_rank():
    settings = SimpleNamespace(
        steps=5, batch_size=64, penalties=[1.0], width=8, ratios=[1.0, 0.5, 0.4], widths=[4, 8, 16]
    )
    found = toys(settings, 0)
    assert list(found["toy_occlusion"]) == ["r1", "r0.5", "r0.4"] and list(found["toy_splitting"]) == [
        "m4",
        "m8",
        "m16",
    ]
    assert all(-1 <= row["rank_correlation"] <= 1 for row in found["toys"].values()) and len(found["toys"]) == 3
