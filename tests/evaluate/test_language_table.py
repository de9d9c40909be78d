"""The table of compressed language models: each below its dense one, with differences and ratios made by hand."""

from html.parser import HTMLParser

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate.language_table import COLUMNS, compression_page
from winnow.pipeline.tables import METRICS_SCHEMA, metric_rows


class Cells(HTMLParser):
    """Rows of texts of cells."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.inside = [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "tr":
            self.rows.append([])
        if tag in ("th", "td"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("th", "td")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data


def rows(dense, name, values, seed=0):
    return metric_rows(values, system=dense, workload="w", variant=name, seed=seed, split="texts")


def page(tables, timings=()):
    joined = [pa.concat_tables(each) if each else METRICS_SCHEMA.empty_table() for each in (tables, timings)]
    return compression_page(*joined, "What is <left>")


def test_each_model_stands_below_its_dense_one_with_differences_and_ratios():
    sizes = ("bytes", "peak_bytes", "cache_bytes")
    shown = page(
        [
            rows("a", "a-half", {"bits_per_byte": 2.25} | dict(zip(sizes, (1500, 4000, 0), strict=True))),
            rows("b", "b", {"bits_per_byte": 3.0, "bytes": 10}),
            rows("a", "a", {"bits_per_byte": 2.0} | dict(zip(sizes, (3000, 4000, 500), strict=True))),
            rows("a", "a", {"bits_per_byte": 2.1, "bytes": 3000, "peak_bytes": 4000, "cache_bytes": 500}, seed=1),
            rows("b", "b <of> few", {"bits_per_byte": 2.9, "bytes": 1, "peak_bytes": 7}),
        ],
        [rows("a", "a", {"drawn_per_second": 40.0}), rows("a", "a-half", {"drawn_per_second": 90.0})],
    )
    assert Cells(shown).rows == [
        ["model", *COLUMNS.values()],
        ["a", "2.050", "3 k", "4 k", "500", "–", "40"],
        ["a-half", "2.250 +0.200", "1.5 k × 0.50", "4 k × 1.00", "0 × 0.00", "–", "90 × 2.25"],
        ["b", "3.000", "10", "–", "–", "–", "–"],
        ["b <of> few", "2.900 -0.100", "1 × 0.10", "7 –", "–", "–", "–"],
    ]
    assert "<h1>What is &lt;left&gt;</h1>" in shown and shown.count("class=dense") == 2


def test_without_the_dense_model_nothing_is_beside():
    assert Cells(page([rows("gone", "x", {"bits_per_byte": 1.0})])).rows[1][1] == "1.000 –"


def test_a_table_without_bits_is_an_error():
    with pytest.raises(InputError, match="bits_per_byte"):
        page([rows("a", "a", {"bytes": 1})])
