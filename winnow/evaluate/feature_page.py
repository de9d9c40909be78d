"""The features of a dictionary as one HTML page to leaf through, without a network and without a server."""

from __future__ import annotations

import base64
import json
import math
from html import escape
from typing import Any

import numpy as np
import pyarrow as pa

from winnow.evaluate.feature_browser import Examples, Fired
from winnow.evaluate.feature_template import TEMPLATE

AROUND = 24
"""Tokens that are shown on either side of the strongest one."""


def feature_page(table: pa.Table, where: Fired, examples: Examples, title: str) -> str:
    """The page. table, where: from `feature_table` and `fired` on the same examples."""
    rows = table.to_pylist()
    content = {
        "features": [_shown(row, where, examples) for row in rows],
        "pictures": _pictures(rows, examples),
        "title": title,
    }
    # `<` could end the script that holds the data.
    data = json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")).replace("<", "\\u003c")
    return TEMPLATE.replace("{{title}}", escape(title)).replace("{{data}}", data)


def _pictures(rows: list[dict[str, Any]], examples: Examples) -> dict[str, str]:
    used = sorted({example for row in rows for example in row["examples"]})
    shown = {example: examples.show(example) for example in used}
    return {
        str(example): "data:image/png;base64," + base64.b64encode(png).decode()
        for example, png in shown.items()
        if isinstance(png, bytes)
    }


def _shown(row: dict[str, Any], where: Fired, examples: Examples) -> dict[str, Any]:
    """A row of the table with the activations around each of its examples, rounded to what a page can show."""
    seen = []
    for example, position, value in zip(row["examples"], row["positions"], row["activations"], strict=True):
        strength = _strengths(row["feature"], example, where)
        part: dict[str, Any] = {"example": example, "activation": _rounded(value)}
        content = examples.show(example)
        if isinstance(content, bytes):
            side = math.isqrt(len(strength))
            part["map"] = [_rounded(v) for v in strength] if 1 < side * side == len(strength) else []
        else:
            first, last = max(0, position - AROUND), position + AROUND + 1
            part |= {"tokens": content[first:last], "at": position - first}
            part["strength"] = [_rounded(v) for v in strength[first:last][: len(part["tokens"])]]
        seen.append(part)
    names = ("density", "mean", "largest")
    rounded = ("cosines", "raised_by", "lowered_by")
    return {
        "feature": row["feature"],
        **{name: _rounded(row[name]) for name in names},
        **{name: [_rounded(v) for v in row[name]] for name in rounded},
        **{name: row[name] for name in ("neighbours", "raised", "lowered")},
        "seen": seen,
    }


def _strengths(feature: int, example: int, where: Fired) -> list[float]:
    """Activation of a feature on every row of an example."""
    begin, end = np.searchsorted(where.features, [feature, feature + 1])
    first = example * where.rows_per_example
    low, high = begin + np.searchsorted(where.rows[begin:end], [first, first + where.rows_per_example])
    found = np.zeros(where.rows_per_example)
    found[where.rows[low:high] - first] = where.values[low:high]
    strengths: list[float] = found.tolist()
    return strengths


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
