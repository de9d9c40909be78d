"""The papers and what came of their claims, as text: docs/papers.md and a block of README.md.

    python -m winnow.pipeline.papers

Both are made from claims.yaml (what a paper says), results/claims.parquet (what was measured) and docs/verdicts.json
(what was measured before, and is kept where the run did not measure it again).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from winnow.errors import InputError, exit_code
from winnow.evaluate.claims import CLAIMS_SCHEMA, VERDICTS
from winnow.evaluate.claims_schema import Claim, Paper, load_claims
from winnow.pipeline.published import merged, revision
from winnow.pipeline.tables import read_parquet

BEGIN, END = "<!-- claims: begin (made by `make papers`) -->", "<!-- claims: end -->"

Row = Mapping[str, Any]


def table_row(*cells: object) -> str:
    """One line of a Markdown table; bars and line breaks within a cell do not break it."""
    texts = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(texts) + " |"


def papers_by_system(claims: Iterable[Claim]) -> dict[str, list[Paper]]:
    """System -> the papers its claims are from, each once; both in the order of claims.yaml."""
    papers: dict[str, list[Paper]] = {}
    for claim in claims:
        of_system = papers.setdefault(claim.system, [])
        if claim.paper not in of_system:
            of_system.append(claim.paper)
    return papers


def overall(rows: Iterable[Row]) -> list[Row]:
    """The row that speaks for each claim: its first one; those after it are its single comparisons."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["claim"], row)
    return list(first.values())


def count_verdicts(rows: Iterable[Row]) -> str:
    """How many claims came out how: `5 claims: holds 3, partly 1, does not hold 1`."""
    found = [row["verdict"] for row in overall(rows)]
    counts = ", ".join(f"{verdict} {found.count(verdict)}" for verdict in VERDICTS if verdict in found)
    return f"{len(found)} claims: {counts}"


def measured(row: Row) -> str:
    """An effect with interval and unit: `+0.012 [+0.008, +0.017] share`; a dash if nothing was measured."""
    if row["effect"] is None:
        return "–"
    style = ".3g" if row["unit"] == "ratio" else "+.3g"
    low = "−∞" if row["low"] is None else format(row["low"], style)
    high = "∞" if row["high"] is None else format(row["high"], style)
    return f"{row['effect']:{style}} [{low}, {high}] {row['unit'] or ''}".rstrip()


def claims_table(rows: Iterable[Row]) -> str:
    """A Markdown table of claims, one row each, in the order given."""
    lines = ["| claim | in our words | measured effect | n | verdict | at |", "|---|---|---|---|---|---|"]
    for row in rows:
        verdict = f"{row['verdict']}: {row['note']}" if row["verdict"] == "not run" else row["verdict"]
        lines.append(
            table_row(row["claim"], row["statement"], measured(row), row["n"], verdict, row.get("revision") or "–")
        )
    return "\n".join(lines)


def comparisons_table(rows: Iterable[Row]) -> str:
    """A Markdown table, folded away, of the single comparisons that claims are made of."""
    lines = ["<details><summary>Each comparison</summary>", ""]
    lines += [
        "| claim | at | left | right | measured effect | n | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        sides = row["point"] or "", row["left"], row["right"]
        lines.append(table_row(row["claim"], *sides, measured(row), row["n"], row["verdict"]))
    return "\n".join([*lines, "", "</details>"])


def papers_page(papers: Mapping[str, list[Paper]], rows: list[Row]) -> str:
    """The text of docs/papers.md: each system's papers, then its claims."""
    sections = [
        "# Papers and their claims",
        "Made by `make papers` from `claims.yaml`, `results/claims.parquet` and `docs/verdicts.json`; do not edit. "
        "Of a claim that makes several comparisons, the effect is that of the weakest. A verdict stays until its "
        "claim is measured again or changed; the last column names the revision of the code that it was measured at.",
        count_verdicts(rows) + ".",
    ]
    spoken = overall(rows)
    for system, of_system in papers.items():
        found = [row for row in spoken if row["system"] == system]
        single = [row for row in rows if row["system"] == system and row not in found]
        sections += [f"## {system}", "\n".join(f"- {_reference(paper)}" for paper in of_system)]
        sections += [claims_table(found) if found else "No claim of this system was evaluated in this run."]
        sections += [comparisons_table(single)] if single else []
    return "\n\n".join(sections) + "\n"


def _reference(paper: Paper) -> str:
    venue = f"{paper.venue}, " if paper.venue else ""
    return f"{paper.authors.rstrip('.')}. *{paper.title}*. {venue}{paper.year}."


def readme_block(papers: Mapping[str, list[Paper]], rows: list[Row]) -> str:
    """The block of README.md: one row for each system, how its claims came out."""
    spoken = overall(rows)
    lines = [f"{count_verdicts(rows)}. [All of them, with effects and intervals](docs/papers.md).", ""]
    lines += [table_row("system", "papers", *VERDICTS), "|---|---|" + "---|" * len(VERDICTS)]
    for system, of_system in papers.items():
        found = [row["verdict"] for row in spoken if row["system"] == system]
        titles = "; ".join(f"{paper.title} ({paper.year})" for paper in of_system)
        lines.append(table_row(system, titles, *(found.count(verdict) for verdict in VERDICTS)))
    return "\n".join(lines)


def replace_block(text: str, block: str) -> str:
    """Put a block between the two markers of a text; InputError if they are not there once, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(f"README.md: the lines {BEGIN!r} and {END!r} must stand there once each, in this order")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def write_papers(root: Path) -> list[Path]:
    """Write docs/papers.md and README's block; returns the files whose text changed."""
    claims = load_claims(root / "claims.yaml")
    papers = papers_by_system(claims)
    found: list[Row] = read_parquet(root / "results/claims.parquet", columns=CLAIMS_SCHEMA.names).to_pylist()
    rows: list[Row] = merged(claims, found, root / "docs/verdicts.json", revision(root))
    readme = root / "README.md"
    texts = {
        root / "docs/papers.md": papers_page(papers, rows),
        readme: replace_block(readme.read_text(encoding="utf-8"), readme_block(papers, rows)),
    }
    changed = [p for p, text in texts.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")
    return changed


def main() -> str:
    changed = write_papers(Path.cwd())
    return "\n".join(f"wrote {path.relative_to(Path.cwd())}" for path in changed) or "docs/papers.md: up to date"


if __name__ == "__main__":
    sys.exit(exit_code(main))
