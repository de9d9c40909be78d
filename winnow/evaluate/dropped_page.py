"""Files that a recipe drops, a few for each of its reasons, as one HTML page to judge the reasons by."""

from __future__ import annotations

from html import escape
from typing import Any

import pyarrow as pa

from winnow.errors import InputError
from winnow.evaluate.html_page import html_page

STYLE = """\
h2 { border-top: 1px solid #d0d0d0; font-size: 1.05rem; padding-top: .8rem; }
h2 small, p { color: #5f5f5f; font-weight: 400; } summary { cursor: pointer; } code { font-size: 13px; }
nav a { color: #0072b2; margin-right: 1rem; white-space: nowrap; }
pre { background: #fafafa; border: 1px solid #e4e4e4; font: 13px/1.5 ui-monospace, monospace; margin: .3rem 0 .8rem;
  max-height: 30rem; overflow: auto; padding: .5rem .7rem; }"""


def dropped_page(shown: pa.Table, title: str) -> str:
    """The page: a section for each reason, in the order of its steps. shown: a table of `opencoder_study.SHOWN`.

    Raises InputError for a table without rows.
    """
    rows = shown.to_pylist()
    if not rows:
        raise InputError("dropped files: the table has no rows; loosen a threshold or plant forks")
    reasons = list(dict.fromkeys((row["step"], row["reason"]) for row in rows))
    found = {key: [row for row in rows if (row["step"], row["reason"]) == key] for key in reasons}
    links = "\n".join(f'<a href="#{_anchor(*key)}">{_name(key[1])}</a>' for key in reasons)
    told = "<p>Files drawn at random of those that each step dropped for this first reason. Each opens by a click.</p>"
    sections = [_section(*key, mine) for key, mine in found.items()]
    return html_page(title, STYLE, "\n".join([told, f"<nav>{links}</nav>", *sections]))


def _anchor(step: str, reason: str) -> str:
    return escape(f"{step}-{reason}", quote=True)


def _name(reason: str) -> str:
    return escape(reason.replace("_", " "))


def _section(step: str, reason: str, rows: list[dict[str, Any]]) -> str:
    count = f"{len(rows)} of {rows[0]['files']} files dropped by the step {_name(step)}"
    heading = f'<h2 id="{_anchor(step, reason)}">{_name(reason)} <small>{count}</small></h2>'
    return "\n".join([heading, *map(_file, rows)])


def _file(row: dict[str, Any]) -> str:
    value = "" if row["value"] is None else f": {row['value']:.4g}"
    keeper = "" if row["keeper"] is None else f", for which <code>{escape(row['keeper'])}</code> stays"
    told = f"<code>{escape(row['repository'])}/{escape(row['path'])}</code>{value}{keeper}"
    cut = "\n…" if row["cut"] else ""
    return f"<details><summary>{told}</summary>\n<pre>{escape(row['text'])}{cut}</pre></details>"
