"""What a chart's specification and its file hold, for tests that look at what it draws."""

import re
import xml.etree.ElementTree as ElementTree

import pyarrow as pa

from winnow.evaluate.chart_parts import PALETTE, save_chart
from winnow.pipeline.tables import metric_rows


def found(node, key):
    """All values of a key anywhere in a specification."""
    if isinstance(node, dict):
        return [v for k, v in node.items() if k == key] + [v for child in node.values() for v in found(child, key)]
    return [v for child in node for v in found(child, key)] if isinstance(node, list) else []


def drawn(chart):
    """Every row of every data set of a chart, once."""
    specification = chart.to_dict()
    datasets = [d["values"] for d in found(specification, "data") if "values" in d]
    datasets += list(specification.get("datasets", {}).values())
    unique = []
    for row in (row for values in datasets for row in values):
        if row not in unique:
            unique.append(row)
    return unique


def encodings(chart):
    """Every encoding of a chart, in order."""
    return found(chart.to_dict(), "encoding")


def titles(chart):
    """Titles of all its axes; those of several lines as one."""
    axes = [e for encoding in encodings(chart) for key, e in encoding.items() if key in ("x", "y")]
    told = [e["title"] for e in axes if e.get("title")]
    return {title if isinstance(title, str) else " ".join(title) for title in told}


def sorts(chart, channel="y"):
    """In which order the values of an axis stand, each order once."""
    orders = [encoding[channel].get("sort") for encoding in encodings(chart) if channel in encoding]
    return [order for place, order in enumerate(orders) if order is not None and order not in orders[:place]]


def spans(chart):
    """Pairs of fields from one to the other of which something is drawn."""
    pairs = [(e[a]["field"], e[b]["field"]) for e in encodings(chart) for a, b in (("x", "x2"), ("y", "y2")) if b in e]
    return set(pairs)


def seeded(system, variant, seeds, values, metric="accuracy", step=None):
    """Rows of a metric, one a seed."""
    labels = {"system": system, "workload": "digits", "variant": variant, "split": "test"}
    pairs = zip(seeds, values, strict=True)
    return pa.concat_tables([metric_rows([(metric, v, step)], seed=s, **labels) for s, v in pairs])


def check_look(draw, folder, others=(), largest=(1000, 600), least=14):
    """A chart is of report size, its type can be read, its file stands alone, and it is the same each time.

    Series have colours of the palette that colour-blind readers tell apart, or of the others that are named. largest:
    width and height; least: size of type, all in points.
    """
    for name in ("first", "again"):
        save_chart(draw(), folder / f"{name}.svg")
    text = (folder / "first.svg").read_text()
    assert text == (folder / "again.svg").read_text()
    root = ElementTree.fromstring(text)
    assert 500 <= float(root.get("width")) <= largest[0] and 100 <= float(root.get("height")) <= largest[1]
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)px"', text)]
    assert sizes and min(sizes) >= least
    assert not re.search(r'(href|src)="http', text)
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(re.findall(r'id="([^"]+)"', text))
    ranges = [v for scale in found(draw().to_dict(), "scale") if scale for v in scale.get("range", [])]
    assert {v for v in ranges if isinstance(v, str) and v.startswith("#")} <= {*PALETTE, *others}


def filled(chart):
    """The chart as a dictionary in which each part holds the rows that it draws."""
    spec = chart.to_dict()

    def whole(node):
        if isinstance(node, list):
            return [whole(entry) for entry in node]
        if not isinstance(node, dict):
            return node
        if set(node) == {"name"} and node["name"] in spec.get("datasets", {}):
            return {"values": spec["datasets"][node["name"]]}
        parts = {key: whole(entry) for key, entry in node.items() if key != "datasets"}
        # A layer without data of its own draws those of the chart that it is part of.
        if "data" in parts and "layer" in parts:
            parts["layer"] = [{"data": parts["data"]} | layer for layer in parts["layer"]]
        return parts

    return whole(spec)
