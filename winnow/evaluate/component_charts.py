"""Charts of classification by components: certified accuracy, components with their weights, evidence for one image."""

from __future__ import annotations

import re
from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLUE,
    HEIGHT,
    SHARE,
    VERMILION,
    WIDTH,
    Key,
    data,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)
from winnow.evaluate.clustering_charts import TILE, columns_of_points, data_url

ARMS = {
    ("cbc", "tuned"): "components",
    ("cbc", "robust"): "components, robust loss",
    ("rbf", "tuned"): "presence alone (RBF)",
    ("rbf", "robust"): "RBF, robust loss",
    ("glvq", "tuned"): "GLVQ",
}
STRONGEST = 3  # components of each sign and class
TERMS = 10


def certified_curves(metrics: pa.Table) -> alt.LayerChart:
    """Certified accuracy over the radius, a line with a band for each arm; radius 0 is plain accuracy."""
    names = [name for name in metrics["metric"].unique().to_pylist() if re.fullmatch(r"certified_[\d.]+", name)]
    rows = [
        row | {"radius": radius, "arm": ARMS[row["system"], row["variant"]]}
        for name, radius in [("accuracy", 0.0), *((name, float(name.removeprefix("certified_"))) for name in names)]
        for row in metric_values(metrics, name)
        if (row["system"], row["variant"]) in ARMS and names
    ]
    series = mean_bands(some(rows, "certified accuracy"), ["arm", "radius"], SHARE)
    x = alt.X("radius:Q", title="radius (l2; an input runs from 0 to 1)")
    y = alt.Y("mean:Q", title="certified accuracy (share)", scale=alt.Scale(domain=[0, 1]))
    key = Key("arm", "model", [name for name in ARMS.values() if any(row["arm"] == name for row in rows)])
    return styled(lines(series, x, y, key).properties(width=WIDTH, height=HEIGHT))


def component_weights(rows: pa.Table) -> alt.HConcatChart:
    """For each class, the components that argue for it most by being present, and by being absent, with weights.

    rows: columns component, class, plus, minus, and height, width, channels, pixels; or column, value.
    """
    found = some(rows.to_pylist(), "components")
    if "column" in rows.column_names:
        return _components_of_a_table(found)
    panels: list[Any] = []
    for sign, title in (("plus", "by presence"), ("minus", "by absence")):
        tiles = []
        for name in dict.fromkeys(row["class"] for row in found):
            mine = sorted((r for r in found if r["class"] == name), key=lambda r: -r[sign])[:STRONGEST]
            tiles += [
                {"class": name, "rank": rank + 1, "url": data_url(row), "weight": f"{row[sign]:.2f}"}
                for rank, row in enumerate(mine)
            ]
        base = alt.Chart(data(tiles)).encode(
            x=alt.X("rank:O", title=title, axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
            y=alt.Y("class:N", title=None if panels else "class", axis=alt.Axis(ticks=False, domain=False)),
        )
        image = base.mark_image(width=TILE - 22, height=TILE - 22, dy=-8).encode(url="url:N")
        text = base.mark_text(fontSize=12, dy=TILE / 2 - 2).encode(text="weight:N")
        height = (TILE + 8) * len({tile["class"] for tile in tiles})
        panels.append((image + text).properties(width=STRONGEST * (TILE + 6), height=height))
    return styled(alt.hconcat(*panels, spacing=30))


def _components_of_a_table(found: list[dict[str, Any]]) -> alt.HConcatChart:
    """The same where components are rows of a table: values by their shade, weights below."""
    panels = []
    for sign, title in (("plus", "by presence: class, weight"), ("minus", "by absence: class, weight")):
        cells, points = [], []
        for name in dict.fromkeys(row["class"] for row in found):
            mine = [row for row in found if row["class"] == name]
            weights = {row["component"]: row[sign] for row in mine}
            for component in sorted(weights, key=lambda k: -weights[k])[:STRONGEST]:
                points.append(f"{name}, {weights[component]:.2f} (component {component})")
                cells += [row | {"of": points[-1]} for row in mine if row["component"] == component]
        panels.append(columns_of_points(cells, title, points))
    return styled(alt.hconcat(*panels, spacing=30))


def evidence(terms: pa.Table) -> alt.Chart:
    """The terms that make up the probability of the predicted class of the first image, the largest first.

    terms: columns image_id, class, predicted, component, sign, share.
    """
    found = some(terms.to_pylist(), "explanations")
    mine = [row for row in found if row["image_id"] == found[0]["image_id"]]
    total = sum(row["share"] for row in mine)
    top = sorted(mine, key=lambda row: -row["share"])[:TERMS]
    rest = total - sum(row["share"] for row in top)
    words = {"+": "present", "-": "absent"}
    bars = [
        {"term": f"component {r['component']} {words[r['sign']]}", "share": r["share"], "sign": words[r["sign"]]}
        for r in top
    ]
    bars.append({"term": f"{len(mine) - len(top)} others", "share": rest, "sign": "both"})
    scale = alt.Scale(domain=["present", "absent", "both"], range=[BLUE, VERMILION, "#7F7F7F"])
    chart = (
        alt.Chart(data(bars))
        .mark_bar()
        .encode(
            x=alt.X("share:Q", title="share of the probability"),
            y=alt.Y("term:N", title=None, sort=[bar["term"] for bar in bars], axis=alt.Axis(labelLimit=300)),
            color=alt.Color("sign:N", title="component is", scale=scale),
        )
    )
    title = f"class {mine[0]['class']}, predicted {mine[0]['predicted']} with p = {total:.3f}"
    return styled(chart.properties(title=title, width=WIDTH, height=HEIGHT))
