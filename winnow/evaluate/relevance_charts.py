"""Charts of pruning by relevance: accuracy as units go, what each layer keeps, and what the pixels are worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from winnow.evaluate.chart_parts import (
    SHARE,
    WIDE,
    Rows,
    data,
    finite,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    picture,
    some,
    styled,
)

TILE = 84  # side of a map in the strip, in points


def _panel(variant: str) -> str:
    """What a curve was measured under: "n1-net0-subset2" -> one sample a class."""
    if variant.startswith("finetuned"):
        return "all classes, training after each step"
    count = int(variant.split("-")[0].removeprefix("n"))
    return f"some classes, {count} sample{'s' * (count > 1)} of each, no training"


def accuracy_curves(metrics: pa.Table) -> alt.FacetChart:
    """Test accuracy over the share of units gone, a line a criterion, a panel a regime."""
    found = metrics.filter((pc.field("metric") == "accuracy") & ~pc.field("step").is_null()).to_pylist()
    rows = [row | {"panel": _panel(row["variant"])} for row in some(found, "curves") if finite(row["value"])]
    x = alt.X("step:Q", title="units gone (%)", axis=alt.Axis(tickCount=5))
    y = alt.Y("mean:Q", title="test accuracy", scale=alt.Scale(domain=SHARE))
    panels = list(dict.fromkeys(row["panel"] for row in rows))
    key = key_of("system", "criterion", rows)
    charts = [
        lines(mean_bands([r for r in rows if r["panel"] == panel], ["system", "step"], SHARE), x, y, key).properties(
            width=WIDE // max(2, len(panels)), height=300, title=panel.split(", ", 1)
        )
        for panel in panels
    ]
    return styled(alt.hconcat(*charts), "bottom")


def toy_curves(metrics: pa.Table) -> alt.VConcatChart:
    """Accuracy and agreement of ranks over reference samples of each class: a column a toy, a line a criterion."""
    lines_of = {"accuracy": ("test accuracy", SHARE), "rank_agreement": ("rank correlation", (-1.0, 1.0))}
    rows = [row for metric in lines_of for row in metric_values(metrics, metric)]
    pruned = [row for row in rows if row["system"] != "dense"]
    for row in some(pruned, "pruned toys"):
        row["toy"], _, count = row["variant"].partition("-n")
        row["samples"] = int(count)
    key, toys = key_of("system", "criterion", pruned), list(dict.fromkeys(row["toy"] for row in pruned))
    counts = alt.Axis(values=sorted({row["samples"] for row in pruned}), labelOverlap=False)
    x = alt.X("samples:Q", title="samples of each class (log scale)", scale=alt.Scale(type="log"), axis=counts)
    bands: list[alt.HConcatChart] = []
    for metric, (title, bounds) in lines_of.items():
        panels: list[Any] = []
        for toy in toys:
            own = [row for row in pruned if (row["toy"], row["metric"]) == (toy, metric)]
            y = alt.Y("mean:Q", title=None if panels else title, scale=alt.Scale(zero=False))
            whole = [r["value"] for r in rows if (r["system"], r["variant"], r["metric"]) == ("dense", toy, metric)]
            levels = level(float(np.mean(whole)), "before", WIDE / 3) if whole else []
            panel = alt.layer(lines(mean_bands(own, ["system", "samples"], bounds), x, y, key), *levels)
            panels.append(panel.properties(width=WIDE / 3, height=220, title=toy))
        bands.append(alt.hconcat(*panels, spacing=20))
    return styled(alt.vconcat(*bands, spacing=20), "bottom")


def kept_units(kept: pa.Table) -> alt.LayerChart:
    """Share of its units that each layer keeps at the end of pruning for some classes, a colour a criterion."""
    found = [r for r in kept.to_pylist() if not r["variant"].startswith("finetuned")]
    rows = [r | {"value": 100 * r["kept"] / r["size"]} for r in some(found, "kept units")]
    key = key_of("system", "criterion", rows)
    base = alt.Chart(data(mean_bands(rows, ["layer", "system"], (0.0, 100.0)))).encode(
        y=alt.Y("layer:N", title=None, sort=list(dict.fromkeys(r["layer"] for r in rows))),
        yOffset=alt.YOffset("system:N", sort=key.names),
        color=key.colour(),
    )
    title = "units kept (%)"
    bars = base.mark_bar().encode(x=alt.X("mean:Q", title=title, scale=alt.Scale(domain=(0, 100))))
    spread = base.mark_rule(strokeWidth=1.5, color="black").encode(x=alt.X("low:Q", title=title), x2="high:Q")
    return styled((bars + spread).properties(width=WIDE // 2, height=80 * len({r["layer"] for r in rows})))


def map_strip(maps: Mapping[str, np.ndarray]) -> alt.Chart:
    """Test images above the relevance of their pixels, before and after pruning; darker is more."""
    titles = {"images": "image", "dense": "relevance, dense", "pruned": "relevance, pruned"}
    tiles: Rows = [
        {"row": title, "column": column, "url": _grey_picture(image)}
        for name, title in titles.items()
        for column, image in enumerate(maps[name])
    ]
    chart = alt.Chart(data(some(tiles, "maps"))).mark_image(width=TILE, height=TILE)
    return styled(
        chart.encode(
            x=alt.X("column:O", title=None, axis=None),
            y=alt.Y("row:N", title=None, sort=list(titles.values()), axis=alt.Axis(grid=False, ticks=False)),
            url="url:N",
        ).properties(width=(TILE + 6) * len(maps["images"]), height=(TILE + 6) * len(titles))
    )


def _grey_picture(image: np.ndarray) -> str:
    """A map as a grey picture, white at its lowest value."""
    spread = float(np.ptp(image)) or 1.0
    grey = (255 * (1 - (image - image.min()) / spread)).round().astype(np.uint8)
    return picture(grey[:, :, None])
