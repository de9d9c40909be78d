"""Charts of what input gradients mark: DiffROAR, leakage between blocks, and the theory's toy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    HEIGHT,
    WIDE,
    WIDTH,
    Key,
    Rows,
    data,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    picture,
    some,
    styled,
)

BOUNDS = (-1.0, 1.0)
TILE = 84  # side of a map in the strip, in points


def _named(arm: str) -> str:
    """An arm of the tables as people read it: l2_1 -> robust, l2 1."""
    return arm if "_" not in arm else "robust, " + arm.replace("linf", "l∞").replace("_", " ")


def _points(metrics: pa.Table) -> Rows:
    """Rows of DiffROAR with the arm and the share kept [%], which stand in the variant as <arm>-k<fraction>."""
    rows = []
    for row in metric_values(metrics, "diffroar"):
        arm, _, fraction = row["variant"].rpartition("-k")
        rows.append(row | {"model": _named(arm), "kept": 100 * float(fraction)})
    return some(rows, "DiffROAR")


def diffroar_by_share(metrics: pa.Table) -> alt.LayerChart:
    """DiffROAR of the logit's gradient over the share of pixels kept, a line a model, beside random orders."""
    rows = [r for r in _points(metrics) if r["system"] in ("logit_gradient", "random")]
    rows = [r | {"line": r["model"] if r["system"] != "random" else "random order"} for r in rows]
    kept = sorted({r["kept"] for r in rows})
    x = alt.X("kept:Q", title="pixels kept (%)", axis=alt.Axis(values=kept), scale=alt.Scale(type="log", nice=False))
    y = alt.Y("mean:Q", title="accuracy on the first less on the last pixels")
    chart = lines(mean_bands(rows, ["line", "kept"], BOUNDS), x, y, key_of("line", "model explained", rows))
    layers: list[Any] = [chart, *level(0, "no better than the last", WIDTH)]
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT))


def diffroar_of_schemes(metrics: pa.Table) -> alt.LayerChart:
    """DiffROAR of every scheme at the share at which most of them are measured, a colour a model."""
    rows = _points(metrics)
    shares = [r["kept"] for r in rows]
    common = max(sorted(set(shares)), key=shares.count)
    rows = [r | {"scheme": r["system"].replace("_", " ")} for r in rows if r["kept"] == common]
    base = alt.Chart(data(mean_bands(rows, ["scheme", "model"], BOUNDS))).encode(
        y=alt.Y("scheme:N", title=None, sort=list(dict.fromkeys(r["scheme"] for r in rows)), axis=alt.Axis(grid=True)),
        yOffset=alt.YOffset("model:N"),
        color=(key := key_of("model", "model explained", rows)).colour(),
    )
    title = f"DiffROAR at {common:g} % of the pixels"
    points = base.mark_point(filled=True, size=90, opacity=1).encode(x=alt.X("mean:Q", title=title), shape=key.shape())
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    return styled((bars + points).properties(width=WIDTH, height=HEIGHT))


VARIANTS = {
    "random": "two blocks",
    "top": "signal on top",
    "three_blocks": "three blocks",
    "ten_classes": "all classes",
}


def leakage_bars(metrics: pa.Table) -> alt.LayerChart:
    """Share of the largest gradients that lie in the signal block, for each set of images, a colour a model."""
    rows = [r for r in some(metric_values(metrics, "top_share"), "shares of gradients") if r["variant"] in VARIANTS]
    rows = [r | {"images": VARIANTS[r["variant"]], "model": _named(r["system"])} for r in rows]
    names = [name for name in VARIANTS.values() if any(r["images"] == name for r in rows)]
    base = alt.Chart(data(mean_bands(rows, ["images", "model"], (0.0, 1.0)))).encode(
        y=alt.Y("images:N", title=None, sort=names, axis=alt.Axis(grid=True)),
        yOffset=alt.YOffset("model:N"),
        color=(key := key_of("model", "model", rows)).colour(),
    )
    title = "largest gradients inside the signal block (share)"
    x = alt.X("mean:Q", title=title, scale=alt.Scale(domain=[0, 1]))
    points = base.mark_point(filled=True, size=90, opacity=1).encode(x=x, shape=key.shape())
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
    by_chance = [{"images": name, "x": 1 / 3 if name == VARIANTS["three_blocks"] else 0.5} for name in names]
    chance = alt.Chart(data(by_chance)).mark_tick(thickness=3, size=60, color=BLACK)
    chance = chance.encode(x=alt.X("x:Q", title=title), y=alt.Y("images:N", title=None, sort=names))
    return styled((chance + bars + points).properties(width=WIDTH, height=HEIGHT))


def map_strip(maps: Mapping[str, np.ndarray]) -> alt.LayerChart:
    """Images of blocks in columns, and below each what the gradients of every model mark.

    maps: "<variant>/image" and "<variant>/<arm>" -> float[n, height, width], magnitudes; the darkest is the largest.
    """
    arms = sorted(name for name in maps if name.startswith("random/") and not name.endswith("/image"))
    arms.sort(key=lambda name: name != "random/standard")
    wanted = [("random/image", "image"), *((name, _named(name.partition("/")[2])) for name in arms)]
    wanted += [("top/image", "image, signal on top"), ("top/standard", "standard, signal on top")]
    rows: list[dict[str, Any]] = []
    for name, title in (pair for pair in wanted if pair[0] in maps):
        for column, values in enumerate(maps[name]):
            grey = 255 - (255 * values / max(values.max(), 1e-12)).round().astype(np.uint8)
            rows.append({"row": title, "column": str(column), "url": picture(np.ascontiguousarray(grey[..., None]))})
    titles = list(dict.fromkeys(row["row"] for row in some(rows, "maps")))
    high = 2 * TILE
    chart = alt.Chart(data(rows)).mark_image(width=TILE, height=high - 10)
    chart = chart.encode(
        x=alt.X("column:N", title=None, axis=None),
        y=alt.Y("row:N", title=None, sort=titles, axis=alt.Axis(ticks=False, domain=False, labelLimit=200)),
        url="url:N",
    )
    columns = len({row["column"] for row in rows})
    return styled(alt.layer(chart).properties(width=columns * (TILE + 16), height=len(titles) * high))


TOY = {
    ("standard", "toy_coordinates"): "standard, coordinates",
    ("standard", "toy_blocks"): "standard, blocks of 5",
    ("biased", "toy_coordinates"): "standard with biases",
    ("robust", "toy_coordinates"): "robust with biases",
}


def toy_norms(norms: pa.Table) -> alt.LayerChart:
    """Norm of the gradient in every block of every point over the point's mean, the signal's apart.

    norms: columns system, variant, is_signal, norm, of one seed.
    """
    found = [r for r in norms.to_pylist() if (r["system"], r["variant"]) in TOY]
    rows = [
        {"net": TOY[r["system"], r["variant"]], "part": "signal" if r["is_signal"] else "others", "norm": r["norm"]}
        for r in some(found, "block norms")
    ]
    key = Key("part", "block", ["signal", "others"])
    chart = (
        alt.Chart(data(rows))
        .mark_tick(thickness=2, size=18)
        .encode(
            x=alt.X("norm:Q", title="norm of the gradient in a block, over the mean of its point's blocks"),
            y=alt.Y("net:N", title=None, sort=list(TOY.values()), axis=alt.Axis(grid=True)),
            yOffset=alt.YOffset("part:N", sort=key.names),
            color=key.colour(),
        )
    )
    return styled(alt.layer(chart).properties(width=WIDE - 160, height=HEIGHT - 80))
