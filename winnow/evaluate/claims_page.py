"""The claims table as one HTML page that needs nothing else: no script, no font, no address."""

from __future__ import annotations

from html import escape
from typing import Any

import pyarrow as pa

from winnow.evaluate.claims import VERDICTS

MARKS = dict(zip(VERDICTS, ["holds", "partly", "fails", "open", "open"], strict=True))
STYLE = """
:root { color-scheme: light dark; --line: #d0d0d0; --soft: #5f5f5f; --paper: #ffffff; --ink: #1a1a1a; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #aaa; --paper: #16181c; --ink: #eee; } }
body { background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 75rem; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { border-bottom: 1px solid var(--line); padding: .6rem .7rem; text-align: left; vertical-align: top; }
td.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
small, .soft { color: var(--soft); }
code { overflow-wrap: anywhere; }
details table { margin-top: .5rem; font-size: .9rem; }
.verdict { border-radius: .3rem; color: #fff; display: inline-block; font-weight: 600; padding: .1rem .5rem; }
.holds { background: #00684d; } .partly { background: #8a5a00; } .fails { background: #b04a00; }
.open { background: #5f5f5f; }
"""


def claims_page(claims: pa.Table, title: str = "Claims") -> str:
    """A readable page: how many claims came out how, then each with verdict, effect, interval, n and paper.

    claims: from `evaluate_claims`. A claim's comparisons fold out below its statement.
    """
    rows = claims.to_pylist()
    overall = [row for row in rows if row["point"] is None]
    points = [row for row in rows if row["point"] is not None]
    body = "\n".join(_claim(row, [p for p in points if p["claim"] == row["claim"]]) for row in overall)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("Claim", "Verdict", "Effect [interval]", "n"))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
<p>{_counted(overall)}. An effect is above 0, or above 1 for a ratio, where the claim's side is better;
beside it stand its interval over pairs and what it is held against. Of several comparisons the
one that decides is shown.</p>
<table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table>
</body>
</html>
"""


def _counted(overall: list[dict[str, Any]]) -> str:
    found = [row["verdict"] for row in overall]
    parts = [f"{found.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in found]
    return escape(f"{len(found)} claims: {', '.join(parts)}" if found else "No claims")


def _claim(row: dict[str, Any], points: list[dict[str, Any]]) -> str:
    note = f"<br><small>{escape(row['note'])}</small>" if row["note"] else ""
    source = f"<small><code>{escape(row['claim'])}</code> · {escape(row['paper'])}</small>"
    return f"""<tr>
<td>{escape(row["statement"])}<br>{source}{_points(points)}</td>
<td>{_verdict(row)}{note}</td>
<td class="number">{_measured(row)}</td>
<td class="number">{row["n"] or "–"}</td>
</tr>"""


def _points(points: list[dict[str, Any]]) -> str:
    if not points:
        return ""
    lines = "\n".join(
        f"<tr><td>{escape(row['point'])}</td><td>{_verdict(row)}</td>"
        f'<td class="number">{_measured(row)}</td><td class="number">{row["n"] or "–"}</td>'
        f"<td>{escape(row['note'])}</td></tr>"
        for row in points
    )
    summary = f"<summary>{len(points)} comparisons</summary>"
    return f"<details>{summary}<table><tbody>\n{lines}\n</tbody></table></details>"


def _verdict(row: dict[str, Any]) -> str:
    return f'<span class="verdict {MARKS[row["verdict"]]}">{escape(row["verdict"])}</span>'


def _measured(row: dict[str, Any]) -> str:
    """`+0.021 [+0.012, +0.030] share`, what was needed below, or a dash where nothing was measured."""
    if row["effect"] is None:
        return "–"
    form, lowest = (".3g", "0") if row["unit"] == "ratio" else ("+.3g", "−∞")
    low = lowest if row["low"] is None else format(row["low"], form)
    high = "∞" if row["high"] is None else format(row["high"], form)
    bound = f"above {row['smallest']:.3g}"
    if row["largest"] is not None:
        bound = f"within {row['smallest']:.3g} to {row['largest']:.3g}"
    unit = escape(row["unit"] or "")
    return f'{row["effect"]:{form}} [{low}, {high}] {unit}<br><span class="soft">needed: {bound}</span>'
