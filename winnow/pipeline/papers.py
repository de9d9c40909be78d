"""The papers and what came of their claims, as text: docs/papers.md and a block of README.md.

    python -m winnow.pipeline.papers

Both are made from claims.yaml (what a paper says) and results/claims.parquet (what was measured).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from winnow.errors import InputError
from winnow.pipeline.tables import read_parquet

COLUMNS = ["claim", "system", "point", "verdict", "effect", "low", "high", "n", "unit", "statement"]
VERDICTS = ("holds", "partly", "does not hold", "not run")
BEGIN, END = "<!-- claims: begin (made by `make papers`) -->", "<!-- claims: end -->"

Row = Mapping[str, Any]


def read_papers(path: Path) -> dict[str, dict[str, str]]:
    """System -> its paper (title, authors, venue, year), in the order of claims.yaml."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; run this in the root of a checkout")
    entries = yaml.safe_load(path.read_text(encoding="utf-8"))
    entries = entries["claims"] if isinstance(entries, dict) else entries
    papers: dict[str, dict[str, str]] = {}
    for entry in entries:
        missing = [key for key in ("id", "system", "paper") if key not in entry]
        if missing:
            raise InputError(f"{path}: entry {entry.get('id', entry)} has no {missing[0]}; add it")
        papers.setdefault(entry["system"], entry["paper"])
    return papers


def count_verdicts(rows: Iterable[Row]) -> str:
    """How many claims came out how: `5 claims: holds 3, partly 1, does not hold 1`."""
    found = [row["verdict"] for row in rows]
    kinds = [*VERDICTS, *sorted(set(found) - set(VERDICTS))]
    counts = ", ".join(f"{kind} {found.count(kind)}" for kind in kinds if kind in found)
    return f"{len(found)} claims: {counts}"


def measured(row: Row) -> str:
    """An effect with interval and unit: `+0.012 [+0.008, +0.017] share`; a dash if nothing was measured."""
    if row["effect"] is None:
        return "–"
    interval = "" if row["low"] is None else f" [{row['low']:+.3g}, {row['high']:+.3g}]"
    return f"{row['effect']:+.3g}{interval} {row['unit'] or ''}".rstrip()


def claims_table(rows: Iterable[Row]) -> str:
    """A Markdown table of claims, one row each, in the order given."""
    lines = ["| claim | in our words | measured effect | n | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        name = f"{row['claim']} ({row['point']})" if row["point"] else row["claim"]
        cells = [
            name,
            row["statement"],
            measured(row),
            row["n"] if row["n"] is not None else "–",
            row["verdict"],
        ]
        lines.append("| " + " | ".join(_cell(value) for value in cells) + " |")
    return "\n".join(lines)


def papers_page(papers: Mapping[str, Mapping[str, Any]], rows: list[Row]) -> str:
    """The text of docs/papers.md: each system's paper, then its claims."""
    sections = [
        "# Papers and their claims",
        "Made by `make papers` from `claims.yaml` and `results/claims.parquet`; do not edit.",
        count_verdicts(rows) + ".",
    ]
    for system, paper in papers.items():
        of_system = [row for row in rows if row["system"] == system]
        sections += [
            f"## {system}",
            f"{paper['authors']}: *{paper['title']}*. {paper['venue']}, {paper['year']}.",
        ]
        sections += (
            [claims_table(of_system)] if of_system else ["No claim of this paper was evaluated in this run."]
        )
    return "\n\n".join(sections) + "\n"


def readme_block(papers: Mapping[str, Mapping[str, Any]], rows: list[Row]) -> str:
    """The block of README.md: one row for each system, how its claims came out."""
    lines = [f"{count_verdicts(rows)}. [All of them, with effects and intervals](docs/papers.md).", ""]
    lines += ["| system | paper | " + " | ".join(VERDICTS) + " |", "|---|---|" + "---|" * len(VERDICTS)]
    for system, paper in papers.items():
        found = [row["verdict"] for row in rows if row["system"] == system]
        cells = [
            system,
            f"{paper['title']} ({paper['year']})",
            *(found.count(verdict) for verdict in VERDICTS),
        ]
        lines.append("| " + " | ".join(_cell(value) for value in cells) + " |")
    return "\n".join(lines)


def replace_block(text: str, block: str) -> str:
    """Put a block between the two markers of a text; InputError if they are not there once, in order."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise InputError(
            f"README.md: the lines {BEGIN!r} and {END!r} must stand there once each, in this order"
        )
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n{block}\n{END}{rest.split(END)[1]}"


def write_papers(root: Path) -> list[Path]:
    """Write docs/papers.md and README's block; returns the files whose text changed."""
    papers = read_papers(root / "claims.yaml")
    rows = read_parquet(root / "results/claims.parquet", columns=COLUMNS).to_pylist()
    readme = root / "README.md"
    texts = {
        root / "docs/papers.md": papers_page(papers, rows),
        readme: replace_block(readme.read_text(encoding="utf-8"), readme_block(papers, rows)),
    }
    changed = [p for p, text in texts.items() if not p.is_file() or p.read_text(encoding="utf-8") != text]
    for path in changed:
        path.write_text(texts[path], encoding="utf-8")
    return changed


def _cell(value: object) -> str:
    return " ".join(str(value).split()).replace("|", "\\|")


def main() -> int:
    try:
        changed = write_papers(Path.cwd())
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        "\n".join(f"wrote {path.relative_to(Path.cwd())}" for path in changed) or "docs/papers.md: up to date"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
