"""Compressed language models as one HTML table: what each needs, beside the dense model that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

import pyarrow as pa

from winnow.evaluate.chart_parts import mean_bands, metric_values, short, some
from winnow.evaluate.html_page import html_page

COLUMNS = {
    "bits_per_byte": "bits a byte",
    "bytes": "bytes on disk",
    "peak_bytes": "peak bytes in memory",
    "cache_bytes": "bytes of the cache",
    "scored_per_second": "tokens scored / CPU s",
    "drawn_per_second": "tokens drawn / CPU s",
}
"""Metric -> heading of its column."""
STYLE = """\
small, p { color: #5f5f5f; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; } th:first-child { text-align: left; }
thead th { white-space: normal; border-bottom: 1px solid #1a1a1a; }
tbody th { font-weight: 400; padding-left: 2rem; }
tr.dense > * { border-top: 1px solid #d0d0d0; font-weight: 600; } tr.dense th { padding-left: .8rem; }"""


def compression_page(metrics: pa.Table, timings: pa.Table, title: str) -> str:
    """The page, a row a model. Both tables: rows whose system is the dense model that a variant came from.

    A figure that was not measured is a dash, and so is one whose dense model's was not. Raises InputError for tables
    without bits_per_byte.
    """
    table = pa.concat_tables([metrics, timings])
    means = {name: mean_bands(metric_values(table, name), ["system", "variant"]) for name in COLUMNS}
    models = [(row["system"], row["variant"]) for row in some(means["bits_per_byte"], "bits_per_byte")]
    dense = list(dict.fromkeys(system for system, _ in models))
    models.sort(key=lambda model: (dense.index(model[0]), model[0] != model[1]))
    values: dict[tuple[str, str], dict[str, float]] = {}
    for name, rows in means.items():
        for row in rows:
            values.setdefault((row["system"], row["variant"]), {})[name] = row["mean"]
    shown = [_row(*model, values[model], values.get((model[0], model[0]), {})) for model in models]
    headings = "".join(f"<th>{escape(heading)}</th>" for heading in COLUMNS.values())
    lines = [
        "<p>Below a dense model stands what came of it: bits a byte with what they rose by, all else with its ratio to",
        "the dense model's. Means over seeds.</p>",
        f"<table>\n<thead><tr><th>model</th>{headings}</tr></thead>\n<tbody>",
        *shown,
        "</tbody>\n</table>",
    ]
    return html_page(title, STYLE, "\n".join(lines))


def _row(system: str, variant: str, mine: Mapping[str, float], dense: Mapping[str, float]) -> str:
    is_dense = system == variant
    cells = []
    for name in COLUMNS:
        told = "–" if name not in mine else f"{mine[name]:.3f}" if name == "bits_per_byte" else short(mine[name])
        if name in mine and not is_dense:
            told += f" <small>{_beside(name, mine[name], dense.get(name))}</small>"
        cells.append(f"<td>{told}</td>")
    return f"<tr{' class=dense' if is_dense else ''}><th>{escape(variant)}</th>{''.join(cells)}</tr>"


def _beside(name: str, value: float, dense: float | None) -> str:
    if dense is None or (name != "bits_per_byte" and not dense):
        return "–"
    return f"{value - dense:+.3f}" if name == "bits_per_byte" else f"× {value / dense:.2f}"
