"""Charts of transcoders: what the loss keeps beside autoencoders, a circuit in layers, years that latents read."""

from __future__ import annotations

from typing import Any

import altair as alt
import pyarrow as pa

from winnow.evaluate.chart_parts import (
    BLACK,
    BLUE,
    HEIGHT,
    ORANGE,
    VERMILION,
    WIDE,
    WIDTH,
    Rows,
    data,
    grouped,
    key_of,
    level,
    lines,
    mean_bands,
    metric_values,
    some,
    styled,
)
from winnow.evaluate.circuit_picture import picture

SHOWN = 6
KINDS = {"transcoder": "transcoder, from what goes in", "transcoder_sae": "autoencoder of what comes out"}


def pareto(metrics: pa.Table) -> alt.ConcatChart:
    """Nats that the loss rises by where a layer is replaced, by active latents: a panel a layer, a line a kind."""
    clean, sparse, cost = (
        {(row["system"], row["variant"], row["seed"]): row["value"] for row in metric_values(metrics, name)}
        for name in ("ce_clean", "l0", "ablation_cost")
    )
    rows = []
    for row in some(metric_values(metrics, "ce_reconstructed"), "losses with a layer replaced"):
        key = (row["system"], row["variant"], row["seed"])
        layer, _, aim = row["variant"].partition("-")
        told = {
            "value": row["value"] - clean[key],
            "k": float(aim[1:]),
            "counted": aim[0] == "k",
            "l0": sparse[key],
            "cost": cost[key],
        }
        rows.append(row | told | {"layer": layer.removeprefix("layer"), "kind": KINDS[row["system"]]})
    key, panels = key_of("kind", "", rows), []
    for (layer,), mine in grouped(rows, ["layer"]).items():
        bands = []
        for band in mean_bands(mine, ["kind", "k"]):
            found = [row["l0"] for row in mine if (row["kind"], row["k"]) == (band["kind"], band["k"])]
            bands.append(band | {"l0": sum(found) / len(found)})
        average = sum(row["cost"] for row in mine) / len(mine)
        ticks = sorted({row["k"] for row in mine}) if mine[0]["counted"] else alt.Undefined
        scale = alt.Scale(type="log", nice=False, padding=12)
        x = alt.X("l0:Q", title="active latents (log scale)", scale=scale, axis=alt.Axis(values=ticks))
        y = alt.Y("mean:Q", title="loss added (nats)", scale=alt.Scale(zero=True))
        title = f"layer {layer}: ablated, {average:.2g} nats"
        panels.append(lines(bands, x, y, key).properties(width=WIDE / 3 - 20, height=300, title=title))
    return styled(alt.concat(*panels, columns=3), "bottom")


def curves(rows: Rows) -> alt.LayerChart:
    """Probability of later years with the best latents or neurons alone; the model and all latents are dashed lines."""
    series = {"latents": "latents of the transcoder", "neurons": "neurons of the layer"}
    kept = [row | {"by": series[row["units"]]} for row in some(rows, "curves") if row["units"] in series]
    bands = mean_bands(kept, ["by", "size"], (-1, 1))
    ticks = [0, *(2**power for power in range(12) if 2**power <= max(row["size"] for row in kept))]
    scale = alt.Scale(type="symlog", constant=2, nice=False)
    title = "units kept (others at their mean, log scale)"
    x = alt.X("size:Q", title=title, scale=scale, axis=alt.Axis(values=ticks))
    y = alt.Y("mean:Q", title="probability of later years above others", scale=alt.Scale(zero=False))
    layers: list[Any] = [lines(bands, x, y, key_of("by", "kept", kept))]
    for units, label, side in (("model", "model", "left"), ("all latents", "all latents", "right")):
        values = [row["value"] for row in rows if row["units"] == units]
        layers += level(sum(values) / len(values), label, WIDTH, side)
    return styled(alt.layer(*layers).properties(width=WIDTH, height=HEIGHT), "bottom")


def years(rows: Rows) -> alt.ConcatChart:
    """What the best latents of the first seed read, add and do by year, each as a share of its largest size."""
    names = {"read": "read, by weights", "added": "added to the logit", "active": "activation (measured)"}
    mine = [row for row in some(rows, "years") if row["seed"] == rows[0]["seed"]]
    panels = []
    for (latent,), found in list(grouped(mine, ["latent"]).items())[:SHOWN]:
        drawn: Rows = []
        for field, name in names.items():
            values = {row["year"]: row[field] for row in found if row[field] is not None}
            largest = max(map(abs, values.values()), default=0) or 1.0
            drawn += [{"year": year, "value": value / largest, "series": name} for year, value in values.items()]
        scale = alt.Scale(domain=list(names.values()), range=[BLUE, VERMILION, BLACK])
        base = alt.Chart(data(drawn)).encode(
            x=alt.X("year:Q", title="year", scale=alt.Scale(nice=False), axis=alt.Axis(values=[0, 25, 50, 75])),
            y=alt.Y("value:Q", title="share of the largest", scale=alt.Scale(domain=[-1, 1])),
            color=alt.Color("series:N", title=None, scale=scale),
        )
        lined = base.transform_filter(f"datum.series != '{names['active']}'").mark_line(strokeWidth=2.5)
        points = base.transform_filter(f"datum.series == '{names['active']}'").mark_point(
            size=22, filled=True, opacity=0.7
        )
        panels.append(alt.layer(lined, points).properties(width=WIDE / 3 - 30, height=170, title=f"latent {latent}"))
    return styled(alt.concat(*panels, columns=3), "bottom")


def circuit(rows: Rows) -> alt.LayerChart:
    """The circuit of the first seed: words from left to right, layers from below, lines as wide as what is given."""
    mine = [row for row in some(rows, "edges") if row["seed"] == rows[0]["seed"]]
    words, largest = mine[0]["prompt"].split(), max(abs(row["value"]) for row in mine)
    named = sorted({_node(row, end) for row in mine for end in ("from", "to")}, key=lambda node: (node[3], node))
    top = max(map(_height, named)) + 1
    heights = {node: top if node[0] == "logits" else _height(node) for node in named}
    nodes = [{"node": node, "column": node[3], "level": heights[node], "label": _label(node, words)} for node in named]
    edges = [
        {"from": _node(row, "from"), "to": _node(row, "to"), "size": abs(row["value"]) / largest}
        | {"sign": "raises" if row["value"] > 0 else "lowers"}
        for row in mine
    ]
    levels = {heights[node]: _level_name(node) for node in named}
    signs = alt.Scale(domain=["raises", "lowers"], range=[BLUE, ORANGE])
    colour = alt.Color("sign:N", title=None, scale=signs, legend=alt.Legend(columns=2))
    return picture(nodes, edges, dict(enumerate(words)), levels, "given, of the most", stroke=colour)


Placed = tuple[str, int, int, int]


def _node(row: dict[str, Any], end: str) -> Placed:
    return row[f"{end}_kind"], row[f"{end}_layer"], row[f"{end}_unit"], row[f"{end}_token"]


def _height(node: Placed) -> int:
    """Level of a node: embeddings below, then heads and feed-forward layers in turn."""
    kind, layer, _, _ = node
    return 0 if kind in ("embedding", "position") else 2 * layer + (1 if kind == "head" else 2)


def _level_name(node: Placed) -> str:
    kind, layer, _, _ = node
    if kind in ("embedding", "position"):
        return "embeddings"
    return "logits" if kind == "logits" else f"heads {layer}" if kind == "head" else f"latents {layer}"


def _label(node: Placed, words: list[str]) -> str:
    kind, layer, unit, token = node
    of = {
        "head": f"{layer}.{unit}",
        "latent": f"#{unit}",
        "embedding": words[token],
        "position": f"place {token}",
    }
    return of.get(kind, {"error": "rest", "logits": "later"}.get(kind, kind))
