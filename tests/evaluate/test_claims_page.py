import re
from html.parser import HTMLParser

import pyarrow as pa
import pytest

from winnow.evaluate.claims import CLAIMS_SCHEMA, VERDICTS
from winnow.evaluate.claims_page import claims_page


class Reader(HTMLParser):
    """Checks that tags nest, and keeps the text and the attributes."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.attributes = [], "", []

    def handle_starttag(self, tag, attrs):
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + "\n"


def row(claim="a", point=None, verdict="holds", effect=0.0214, low=0.012, high=0.0312, n=5, **values):
    fixed = {
        "unit": "share",
        "smallest": 0.0,
        "largest": None,
        "note": "",
        "statement": f"About {claim}.",
        "paper": "P",
    }
    return {
        "claim": claim,
        "point": point,
        "verdict": verdict,
        "effect": effect,
        "low": low,
        "high": high,
        "n": n,
    } | (fixed | values)


def read(*rows):
    page = claims_page(pa.Table.from_pylist(list(rows), schema=CLAIMS_SCHEMA))
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return page, reader


def test_the_page_stands_alone():
    page, reader = read(row(), row(point="95 %"))
    assert page.startswith("<!doctype html>")
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|<img", page)
    assert not [name for name, _ in reader.attributes if name in ("src", "href")]


def test_each_claim_shows_verdict_effect_interval_n_statement_and_paper():
    _, reader = read(row(paper="A. Author: Title. Venue, 2020"))
    for shown in (
        "About a.",
        "holds",
        "+0.0214 [+0.012, +0.0312] share",
        "needed: above 0",
        "5",
        "A. Author: Title. Venue, 2020",
    ):
        assert shown in reader.text


def test_verdicts_are_counted_once_per_claim():
    rows = [
        row(),
        row(point="x"),
        row("b", verdict="partly"),
        row("c", verdict="holds"),
        row("d", verdict="not run"),
    ]
    assert "4 claims: 2 holds, 1 partly, 1 not run." in read(*rows)[1].text
    assert "No claims." in read()[1].text


def test_points_stand_below_their_own_claim():
    _, reader = read(row("a"), row("a", "a at 95 %"), row("a", "a at 98 %"), row("b"), row("b", "b only"))
    places = [reader.text.index(t) for t in ("About a.", "a at 95 %", "a at 98 %", "About b.", "b only")]
    assert places == sorted(places)
    assert "2 comparisons" in reader.text and "1 comparisons" in reader.text


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        ({"unit": "ratio", "effect": 4.5, "low": 4.1, "high": 5.0, "smallest": 4.0}, "4.5 [4.1, 5] ratio"),
        ({"unit": "ratio", "effect": 4.5, "low": None, "high": None}, "4.5 [0, ∞] ratio"),
        ({"effect": -1.0, "low": None, "high": None}, "-1 [−∞, ∞] share"),
        ({"smallest": -0.5, "largest": 0.5}, "needed: within -0.5 to 0.5"),
        (
            {"effect": None, "low": None, "high": None, "verdict": "not run", "note": "no rows", "n": 0},
            "no rows",
        ),
    ],
)
def test_measurements_are_written_as_their_kind_needs(values, shown):
    assert shown in read(row(**values))[1].text


def test_what_was_not_measured_is_a_dash():
    nothing = {"effect": None, "low": None, "high": None, "verdict": "not run", "n": 0}
    text = read(row(**nothing))[1].text
    assert text.count("–") == 2 and "needed" not in text
    assert read(row(**nothing), row(point="95 %", **nothing))[1].text.count("–") == 4
    assert "7" in read(row(), row(point="p", n=7))[1].text


def test_text_is_escaped():
    page, reader = read(
        row(statement="<b>x</b> & y", paper="<i>", note="a<b", claim="c<d"), row(point="<p>", claim="c<d")
    )
    assert "<b>" not in page and "<i>" not in page and "<p>" not in page.split("<table>", 1)[1]
    for text in ("<b>x</b> & y", "<i>", "a<b", "c<d", "<p>"):
        assert text in reader.text


def test_each_verdict_has_its_mark():
    page, _ = read(*(row(v, verdict=v) for v in VERDICTS))
    marks = re.findall(r'class="verdict (\w+)"', page)
    assert marks == ["holds", "partly", "fails", "open", "open"]
    assert all(f".{mark} {{ background" in page for mark in marks)
