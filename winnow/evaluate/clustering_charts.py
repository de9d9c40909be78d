"""Charts of clusterings: scores, centres as images or columns, losses over epochs, clusters beside classes."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pyarrow as pa
from scipy.optimize import linear_sum_assignment

from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    HEIGHT,
    SHARE,
    VERMILION,
    WIDE,
    Key,
    data,
    finite,
    level,
    mean_bands,
    metric_values,
    picture,
    some,
    styled,
)
from winnow.evaluate.clustering import contingency

SCORES = {"acc": "accuracy after matching", "nmi": "normalised mutual information"}
PLACES = {"train": "inputs that were clustered", "test": "held-out inputs"}
NAMES = {
    ("kmeans", "raw"): "k-means, inputs",
    ("kmeans", "sphere"): "k-means, unit inputs",
    ("tell_layer", "raw"): "TELL's layer, inputs",
    ("tell_layer", "sphere"): "TELL's layer, unit inputs",
    ("spectral", "raw"): "spectral, inputs",
    ("warm_start", "sphere"): "start of TELL",
    ("ae_kmeans", "plain"): "autoencoder, k-means",
    ("ae_kmeans", "sphere"): "unit autoencoder, k-means",
    ("ae_gmm", "plain"): "autoencoder, Gaussian mixture",
    ("idec", "plain"): "IDEC",
    ("tell", "main"): "TELL",
    ("tell", "no_alternation"): "TELL without alternation",
    ("tell", "no_normalisation"): "TELL without normalisation",
}
TILE = 64


def clusterer_scores(metrics: pa.Table) -> alt.HConcatChart:
    """Accuracy and mutual information of each clusterer, a panel each, with 95 % intervals over seeds."""
    key = Key("place", "scored on", list(PLACES.values()))
    panels: list[Any] = []
    for metric, title in SCORES.items():
        rows = [row for row in metric_values(metrics, metric) if (row["system"], row["variant"]) in NAMES]
        named = [
            row | {"name": NAMES[row["system"], row["variant"]], "place": PLACES[row["split"]]}
            for row in some(rows, metric)
        ]
        base = alt.Chart(data(mean_bands(named, ["name", "place"], SHARE))).encode(
            y=alt.Y(
                "name:N",
                title=None,
                sort=list(NAMES.values()),
                axis=alt.Axis(labels=not panels, grid=True, labelLimit=300),
            ),
            yOffset=alt.YOffset("place:N", sort=key.names),
            color=key.colour(),
        )
        points = base.mark_point(filled=True, size=80, opacity=1)
        x = alt.X("mean:Q", title=title, scale=alt.Scale(zero=False))
        panel = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=title), x2="high:Q")
        panel = panel + points.encode(x=x, shape=key.shape())
        panels.append(panel.properties(width=(WIDE - 160) / len(SCORES), height=HEIGHT + 100))
    return styled(alt.hconcat(*panels, spacing=30), legend="bottom")


def centre_pictures(rows: pa.Table) -> alt.Chart:
    """Decoded centres beside the real inputs nearest to them.

    rows: columns cluster, kind ("centre" or "nearest"), and height, width, channels, pixels; or column, value.
    """
    found = some(rows.to_pylist(), "centres")
    if "column" in rows.column_names:
        names = {"centre": "decoded", "nearest": "nearest row"}
        cells = [row | {"of": f"{row['cluster']}, {names[row['kind']]}"} for row in found]
        return styled(columns_of_points(cells, "cluster", sorted({cell["of"] for cell in cells})))
    names = {"centre": "decoded centre", "nearest": "nearest image"}
    tiles = [{"cluster": row["cluster"], "kind": names[row["kind"]], "url": data_url(row)} for row in found]
    chart = alt.Chart(data(tiles)).mark_image(width=TILE - 6, height=TILE - 6)
    chart = chart.encode(
        x=alt.X("cluster:O", title="cluster", axis=alt.Axis(labelAngle=0, ticks=False, domain=False)),
        y=alt.Y("kind:N", title=None, sort=list(names.values()), axis=alt.Axis(ticks=False, domain=False)),
        url="url:N",
    )
    return styled(chart.properties(width=TILE * len({t["cluster"] for t in tiles}), height=2 * TILE))


def columns_of_points(cells: list[dict[str, Any]], title: str, points: list[str]) -> alt.Chart:
    """Points of a table, side by side: the value of each column by its shade, of 0 to 1 over the training rows.

    cells: of, the point's name, column, value.
    """
    names = list(dict.fromkeys(cell["column"] for cell in cells))
    scale = alt.Scale(domain=[0, 1], range=["#FFFFFF", BLUE], interpolate="rgb")
    chart = alt.Chart(data(cells)).mark_rect(stroke="#E5E5E5")
    chart = chart.encode(
        x=alt.X("of:N", title=title, sort=points, axis=alt.Axis(labelAngle=-40, labelLimit=300)),
        y=alt.Y("column:N", title=None, sort=names, axis=alt.Axis(labelLimit=300)),
        color=alt.Color("value:Q", title=["value", "(0 to 1 in training)"], scale=scale),
    )
    return chart.properties(width=max(30 * len(points), 90), height=18 * len(names))


def losses_and_objective(history: pa.Table, metrics: pa.Table) -> alt.HConcatChart:
    """Both parts of TELL's loss over its epochs, and the layer's objective on the inputs beside Lloyd's algorithm.

    history, metrics: rows of the metrics schema of one seed.
    """
    steps = [row for row in history.to_pylist() if row["step"] is not None and finite(row["value"])]
    panels: list[Any] = []
    for metric, title in (
        ("reconstruction", "reconstruction (mean squared error)"),
        ("clustering", "mean squared distance"),
    ):
        mine = [r for r in steps if (r["system"], r["variant"], r["metric"]) == ("tell", "main", metric)]
        rows = [{"epoch": number, "value": row["value"]} for number, row in enumerate(some(mine, metric))]
        even = [{"from": number - 0.5, "to": number + 0.5} for number in range(0, len(rows), 2)]
        shade = alt.Chart(data(even)).mark_rect(color="#E5E5E5").encode(x=alt.X("from:Q", title="epoch"), x2="to:Q")
        line = alt.Chart(data(rows)).mark_line(color=BLUE, strokeWidth=2.5)
        y = alt.Y("value:Q", title=title, scale=alt.Scale(zero=False))
        panels.append(
            (shade + line.encode(x=alt.X("epoch:Q", title="epoch"), y=y)).properties(width=200, height=HEIGHT)
        )
    layer = [r for r in steps if (r["system"], r["variant"], r["metric"]) == ("tell_layer", "raw", "objective")]
    rows = [{"pass": row["step"], "value": row["value"]} for row in some(layer, "passes of the layer")]
    lloyd = [r["value"] for r in metric_values(metrics, "objective") if (r["system"], r["variant"]) == ("lloyd", "raw")]
    count = next(r["value"] for r in metric_values(metrics, "rows") if (r["system"], r["variant"]) == ("lloyd", "raw"))
    y = alt.Y("value:Q", title="mean squared distance, inputs", scale=alt.Scale(zero=False))
    line = alt.Chart(data(rows)).mark_line(color=VERMILION, strokeWidth=2.5, point=True)
    line = line.encode(x=alt.X("pass:Q", title="pass of the layer"), y=y)
    panels.append(alt.layer(line, *level(lloyd[0] / count, "Lloyd", 200)).properties(width=200, height=HEIGHT))
    return styled(alt.hconcat(*panels, spacing=30))


def clusters_by_class(labels: pa.Table) -> alt.LayerChart:
    """Inputs of each class in each cluster, clusters in the order of the classes that they are matched with.

    labels: columns cluster, class.
    """
    rows = some(labels.to_pylist(), "labels")
    clusters, classes = (np.unique([row[key] for row in rows]) for key in ("cluster", "class"))
    counts = contingency(np.array([row["class"] for row in rows]), np.array([row["cluster"] for row in rows]))
    matched, columns = linear_sum_assignment(counts, maximize=True)
    order = [*matched[np.argsort(columns)], *(set(range(len(clusters))) - set(matched.tolist()))]
    share = counts / counts.sum(axis=0)
    cells = [
        {"cluster": str(clusters[i]), "class": str(classes[j]), "share": float(share[i, j]), "count": int(counts[i, j])}
        for i in order
        for j in range(len(classes))
    ]
    base = alt.Chart(data(cells)).encode(
        x=alt.X("cluster:N", title="cluster", sort=[str(clusters[i]) for i in order], axis=alt.Axis(labelAngle=0)),
        y=alt.Y("class:N", title="class", sort=[str(name) for name in classes]),
    )
    scale = alt.Scale(domain=[0, 1], range=["#FFFFFF", BLUE], interpolate="rgb")
    shade = base.mark_rect().encode(color=alt.Color("share:Q", title="share of the class", scale=scale))
    text = base.mark_text(fontSize=13).encode(
        text="count:Q", color=alt.condition("datum.share > 0.6", alt.value("white"), alt.value(BLACK))
    )
    return styled((shade + text).properties(width=480, height=420))


def data_url(row: dict[str, Any]) -> str:
    """A PNG in a data URL, enlarged without smoothing."""
    pixels = np.array(row["pixels"], np.uint8).reshape(row["height"], row["width"], row["channels"])
    rows, columns = (np.arange(2 * TILE) * side // (2 * TILE) for side in pixels.shape[:2])
    return picture(np.ascontiguousarray(pixels[rows][:, columns]))
