"""docs/benchmarks.md says what the reports of benchmarks hold, and is up to date."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.pipeline.benchmarks import benchmarks_page, read_report, shown, write_page
from winnow.pipeline.tables import METRICS_SCHEMA

ROOT = Path(__file__).resolve().parents[2]
REPORTS = sorted((ROOT / "benchmarks/results").glob("*.json"))
REPORT = {
    "title": "Fits: rows per second",
    "measured": "Rows per CPU second.",
    "command": "make bench",
    "machine": "Processor X, 2 cores",
    "problem": {"d": 128, "rows": 409_600},
    "columns": [["tool", "tool"], ["speed", "rows per CPU s"], ["norm", "initial norm"]],
    "table": [
        {"tool": "ours", "speed": 123_456.7, "norm": None, "repeats": [1, 2]},
        {"tool": "a | b", "speed": 0.123456, "norm": 0.1},
    ],
}


def reports_in(root, **reports):
    (root / "benchmarks/results").mkdir(parents=True)
    (root / "docs").mkdir()
    for name, report in reports.items():
        (root / f"benchmarks/results/{name}.json").write_text(json.dumps(report))


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), ("topk", "topk"), (16, "16"), (0.25, "0.25"), (0.123456, "0.1235")]
    + [(1000, "1,000"), (123456.7, "123,457"), (0.0003, "0.0003"), (-2500.0, "-2,500")],
)
def test_a_figure_has_four_digits_and_no_fewer_than_its_whole_part(value, text):
    assert shown(value) == text


def test_a_section_names_machine_scale_and_command_and_shows_the_chosen_columns():
    page = benchmarks_page([REPORT])
    assert "## Fits: rows per second\n\nRows per CPU second.\n\n- Machine: Processor X, 2 cores\n" in page
    assert "- Scale: d 128, rows 409,600\n- Command: `make bench`\n\n| tool | rows per CPU s | initial norm |\n" in page
    assert page.endswith("|---|---|---|\n| ours | 123,457 | – |\n| a \\| b | 0.1235 | 0.1 |\n")
    assert "repeats" not in page


def test_reports_follow_by_file_name(tmp_path):
    reports_in(tmp_path, b={**REPORT, "title": "Second"}, a={**REPORT, "title": "First"})
    page = write_page(tmp_path).read_text()
    assert page.count("## ") == 2 and page.index("## First") < page.index("## Second")


@pytest.mark.parametrize("key", ["title", "measured", "command", "machine", "problem", "columns", "table"])
def test_a_report_without_a_part_is_named(tmp_path, key):
    reports_in(tmp_path, a={k: v for k, v in REPORT.items() if k != key})
    with pytest.raises(InputError, match=f"a.json: has no '{key}'; run make bench again"):
        write_page(tmp_path)


def test_a_row_without_a_column_and_a_file_cut_short_are_named(tmp_path):
    file = tmp_path / "a.json"
    file.write_text(json.dumps({**REPORT, "table": [{"tool": "ours", "speed": 1}]}))
    with pytest.raises(InputError, match="a row of the table has no 'norm'"):
        read_report(file)
    file.write_text(json.dumps(REPORT)[:-9])
    with pytest.raises(InputError, match="is not JSON"):
        read_report(file)


WITH_METRICS = [path for path in REPORTS if "metrics" in json.loads(path.read_text())]


@pytest.mark.parametrize("path", WITH_METRICS, ids=lambda path: path.stem)
def test_metrics_of_a_report_are_rows_that_claims_can_read(path):
    rows = json.loads(path.read_text())["metrics"]
    table = pa.Table.from_pylist(rows, METRICS_SCHEMA)
    assert rows and all(row.keys() == set(METRICS_SCHEMA.names) for row in rows)
    assert not any(table[name].null_count for name in METRICS_SCHEMA.names if name != "step")


def test_the_page_in_docs_is_that_of_the_reports():
    assert (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8") == benchmarks_page(map(read_report, REPORTS))
