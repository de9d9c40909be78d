"""The page of drawn texts shows every text as it is, tinted by its cost, and can be read by any browser."""

from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate.language_page import samples_page
from winnow.evaluate.language_report import SAMPLES


class Shown(HTMLParser):
    """Texts within <pre>, headings, and the tints of spans."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.headings, self.tints, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "pre":
            self.texts.append("")
        if tag in ("h2", "h3"):
            self.headings.append("")
        if tag == "span" and "pre" in self.open:
            self.tints.append(dict(attributes)["style"])

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "pre" in self.open:
            self.texts[-1] += data
        elif "h2" in self.open or "h3" in self.open:
            self.headings[-1] += data


def row(model, prompt, tokens, bits, finish="length", sample=0):
    logprobs = [-each * np.log(2) for each in bits]
    told = {"model": model, "prompt": prompt, "sample": sample, "text": "".join(tokens)}
    return told | {"finish": finish, "tokens": tokens, "logprobs": logprobs}


def page(*rows):
    return samples_page(pa.Table.from_pylist(list(rows), SAMPLES), "What <models> write")


def test_texts_stand_under_their_prompt_and_model_as_they_were_written():
    shown = page(
        row("net", "def ", ["f(x):", "\n    ", "return x < 1 & y"], [0.0, 2.0, 8.0]),
        row("net", "def ", ["g"], [4.0], sample=1),
        row("3-gram", "def ", ["<script>alert(1)</script>"], [100.0], finish="stop"),
        row("net", "", ["x"], [1.0], finish="mask"),
    )
    found = Shown(shown)
    assert found.texts == ["def f(x):\n    return x < 1 & y", "def g", "def <script>alert(1)</script>", "x"]
    assert found.headings == ["Texts after def", "net", "3-gram", "Texts from nothing", "net"]
    assert found.tints == [f"background:rgba(230,159,0,{v})" for v in ("0.00", "0.25", "1.00", "0.50", "1.00", "0.13")]
    for told in ("3.33 bits, cut off", "100.00 bits, ended", "1.00 bits, nothing allowed"):
        assert f"<p>{told}</p>" in shown
    assert "<script>" not in shown and "What &lt;models&gt; write" in shown and "http" not in shown


def test_a_token_whose_cost_is_unknown_has_no_tint():
    found = page(row("server", "a", ["b", "c"], [float("nan"), 4.0]))
    assert Shown(found).tints == ["background:rgba(230,159,0,0.50)"] and "<p>4.00 bits, cut off</p>" in found
    assert "<p>cut off</p>" in page(row("server", "a", ["b"], [float("nan")]))


def test_nothing_to_show_is_an_error():
    with pytest.raises(InputError, match="samples: the table has no rows; draw some texts"):
        page()
