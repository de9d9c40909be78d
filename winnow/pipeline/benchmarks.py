"""What was measured beside peers, as text: docs/benchmarks.md.

    python -m winnow.pipeline.benchmarks

The page is made from benchmarks/results/*.json alone, which `make bench` writes. Such a report has `title`,
`measured` (what the figures are, in a paragraph), `command`, `machine`, `problem` (name -> number), `columns`
([key of a row, heading] pairs) and `table` (rows).
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from winnow.errors import InputError, exit_code
from winnow.pipeline.papers import table_row

NEEDED = ("title", "measured", "command", "machine", "problem", "columns", "table")

Report = Mapping[str, Any]


def benchmarks_page(reports: Iterable[Report]) -> str:
    """The text of docs/benchmarks.md: one section for each report, in the order given."""
    head = [
        "# Benchmarks beside peers",
        "Made by `make bench` from `benchmarks/results/`; do not edit. What they mean for the claims: "
        "[papers.md](papers.md).",
    ]
    return "\n\n".join([*head, *(_section(report) for report in reports)]) + "\n"


def _section(report: Report) -> str:
    scale = ", ".join(f"{name} {shown(value)}" for name, value in report["problem"].items())
    facts = [f"- Machine: {report['machine']}", f"- Scale: {scale}", f"- Command: `{report['command']}`"]
    keys = [key for key, _ in report["columns"]]
    lines = [table_row(*(heading for _, heading in report["columns"])), "|" + "---|" * len(keys)]
    lines += [table_row(*(shown(row[key]) for key in keys)) for row in report["table"]]
    return "\n\n".join([f"## {report['title']}", report["measured"], "\n".join(facts), "\n".join(lines)])


def shown(value: Any) -> str:
    """A figure to four significant digits, whole from 1,000 on; a dash for what does not exist."""
    if value is None:
        return "–"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def read_report(path: Path) -> Report:
    """A report of benchmarks/results; InputError naming what the file lacks."""
    try:
        report: Report = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); run make bench again") from None
    missing = [key for key in NEEDED if key not in report]
    if missing:
        raise InputError(f"{path}: has no {missing[0]!r}; run make bench again")
    for row in report["table"]:
        for key, _ in report["columns"]:
            if key not in row:
                raise InputError(f"{path}: a row of the table has no {key!r}; run make bench again")
    return report


def machine() -> str:
    """Processor, cores and Python: what a measured time needs to be read by."""
    cpuinfo = Path("/proc/cpuinfo")
    named = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    processor = named[0].split(":")[1].strip() if named else platform.processor() or platform.machine()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


def write_page(root: Path) -> Path:
    """Write docs/benchmarks.md from all reports, by file name."""
    page = root / "docs/benchmarks.md"
    reports = [read_report(path) for path in sorted((root / "benchmarks/results").glob("*.json"))]
    page.write_text(benchmarks_page(reports), encoding="utf-8")
    return page


def main() -> str:
    return f"wrote {write_page(Path.cwd()).relative_to(Path.cwd())}"


if __name__ == "__main__":
    sys.exit(exit_code(main))
