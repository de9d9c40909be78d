"""All networks with prototypes judged side by side: what each scores, and how accuracy goes with consistency."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from winnow.evaluate.prototype_judging import judge, rank_correlation
from winnow.evaluate.prototype_strips import strips
from winnow.evaluate.prototype_views import Views, attacked
from winnow.train.component_arms import accuracy
from winnow.workloads.annotations import PartPoints

OF_IMAGES = "grad_cam"  # the system that takes images, where the others take what shared layers put out
UNMOVED = (OF_IMAGES, "centre")  # systems that no adversary is asked for: one needs second derivatives, one never moves


class JudgedImages(NamedTuple):
    """What networks are judged on."""

    labels: Tensor
    """int64[n]"""
    points: PartPoints
    pixels: np.ndarray
    """uint8[n, h, w, c]"""
    views: Views
    layers: Callable[[Tensor], Tensor]
    """From images to what networks take that share their first layers."""


class Comparison(NamedTuple):
    """metrics: variant -> (system, metric -> value). prototypes, curve, strips: with variant and seed in each row."""

    metrics: dict[str, tuple[str, dict[str, float]]]
    prototypes: pa.Table
    curve: pa.Table
    strips: list[dict[str, Any]]
    related: dict[str, float | None]
    """`rank_correlation` of accuracy with consistency; None where one is constant."""


def compare(
    arms: Mapping[str, tuple[str, Any]],
    images: JudgedImages,
    windows: Mapping[str, Any],
    seed: int,
    progress: Callable[[int, int], None],
) -> Comparison:
    """Judge each arm (variant -> system and network); strips are of the system protopnet. windows: of `judge`."""
    with torch.no_grad():
        behind = images.views.after(images.layers)
    metrics: dict[str, tuple[str, dict[str, float]]] = {}
    prototypes, curves, shown = [], [], []
    for done, (name, (system, network)) in enumerate(arms.items()):
        seen = images.views if system == OF_IMAGES else behind
        others = dict(seen.others)
        if system not in UNMOVED:
            others["adversarial"] = attacked(network, images.layers, images.views.still, images.labels)
        centre = system == "centre"
        options = {"others": others, "centre": centre, "seed": seed, **windows}
        found = judge(network, seen.still, seen.noisy, images.labels, images.points, **options)
        own = {} if centre else {"accuracy": accuracy(network, seen.still, images.labels)}
        metrics[name] = (system, found.metrics | own)
        prototypes.append(_with({"variant": name, "seed": seed}, found.prototypes))
        curves.append(_with({"variant": name, "seed": seed}, found.curve))
        if system == "protopnet":
            frequency = found.prototypes["frequency"].to_numpy(zero_copy_only=False)
            at = (found.peaks, network.class_of().numpy(), images.labels.numpy(), images.points, images.pixels)
            shown += [{"variant": name, "seed": seed} | row for row in strips(frequency, *at, windows["half"])]
        progress(done + 1, len(arms))
    told = [of for _, of in metrics.values() if "accuracy" in of]
    related = rank_correlation([of["accuracy"] for of in told], [of["consistency"] for of in told], seed)
    finite = {name: value if np.isfinite(value) else None for name, value in related.items()}
    return Comparison(metrics, pa.concat_tables(prototypes), pa.concat_tables(curves), shown, finite)


def _with(known: Mapping[str, Any], table: pa.Table) -> pa.Table:
    columns = {name: [value] * table.num_rows for name, value in known.items()}
    return pa.table(columns | {name: table[name] for name in table.column_names})
