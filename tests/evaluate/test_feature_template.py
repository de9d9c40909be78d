"""The page of features stands alone, and a person can leaf through it."""

import re
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

from tests.evaluate.feature_examples import ROWS, axes, content, table_of
from tests.workflow.chromium import chromium, click, needs_chromium, requested, see, wait, with_text
from winnow.evaluate.feature_browser import Examples, feature_table, fired
from winnow.evaluate.feature_page import feature_page
from winnow.evaluate.feature_template import TEMPLATE


@pytest.mark.browser
@needs_chromium
def test_a_person_leafs_through_the_page_without_a_network(tmp_path):
    table, where, examples = table_of(ROWS)
    page = tmp_path / "browser.html"
    page.write_text(feature_page(table, where, examples, "axes"), encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        browser.get(page.as_uri())
        see(browser, with_text("Feature 0", "h2"))
        assert len(browser.find_elements("css selector", ".picture img")) == 3
        decoded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0)"
        wait(browser, lambda d: d.execute_script(decoded), "the pictures")
        click(browser, "#next")
        see(browser, with_text("Feature 1", "h2"))
        click(browser, "#next")
        see(browser, with_text("Feature 3", "h2"))  # 2 never fires
        click(browser, with_text("feature 4 (0)", "button"))
        see(browser, with_text("It never fires on these examples."))
        browser.find_element("id", "order").send_keys("largest activation")
        wait(browser, lambda d: d.find_element("css selector", "nav button").text.startswith("feature 1"), "the order")
        assert "3 of 5 features; 2 never fire here" in browser.find_element("id", "count").text
        assert set(requested(browser)) == {page.as_uri()}


@pytest.mark.browser
@needs_chromium
@pytest.mark.parametrize(("names", "line"), [
    (["no", "one", "two"], "one two"),
    (["no", "Jaws 2", "Birds, The"], "Jaws 2 · Birds, The"),
    (["no", " re", "turn"], " return"),
])  # fmt: skip
def test_words_and_titles_stand_apart_and_parts_of_words_do_not(tmp_path, names, line):
    model, dictionary = nn.Sequential(), axes()
    model.embed = nn.Embedding.from_pretrained(torch.eye(4))
    tokens = torch.tensor([[1, 2]])
    examples = Examples(tokens, tokens != 0, [*names, "not said"], lambda i: names[1:])
    where = fired(dictionary, model, examples, "embed")
    table = feature_table(dictionary, model, examples, "embed", where, 1)
    page = tmp_path / "browser.html"
    page.write_text(feature_page(table, where, examples, "lines"), encoding="utf-8")
    with chromium(tmp_path / "profile") as browser:
        browser.get(page.as_uri())
        see(browser, with_text("Feature 1", "h2"))
        shown = browser.execute_script("return document.querySelector('.line').textContent")
        assert shown.endswith(line)


class Read(HTMLParser):
    """Ids, links, open elements and scripts of a page."""

    EMPTY = ("meta", "input")

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.open, self.scripts = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.ids += [value for name, value in attributes if name == "id"]
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in self.EMPTY:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data


def test_title_and_data_have_their_places_and_nothing_else_is_filled_in():
    places = re.findall(r"\{\{(\w+)\}\}", TEMPLATE)
    assert sorted(places) == ["data", "title", "title"]
    read = Read(TEMPLATE)
    assert not read.open and read.scripts[0] == "{{data}}"


def test_a_page_asks_for_nothing_and_its_script_finds_what_it_names():
    read = Read(TEMPLATE)
    assert not read.links and not re.search(r"https?://|@import|url\(", TEMPLATE)
    script = read.scripts[1]
    named = set(re.findall(r'(?:\bof|getElementById)\("(\w+)"\)', script))
    assert named == set(read.ids) and len(read.ids) == len(set(read.ids))
    assert "innerHTML" not in script and "eval(" not in script  # texts of data are never markup


def test_the_script_reads_what_a_page_writes():
    table, where, examples = table_of(ROWS)
    whole = content(feature_page(table, where, examples, "t"))
    script = Read(TEMPLATE).scripts[1]
    assert set(re.findall(r"\bdata\.(\w+)", script)) == {"features", "pictures"} == whole.keys() - {"title"}
    feature, seen = whole["features"][0], whole["features"][0]["seen"][0]
    assert set(re.findall(r"\bf\.(\w+)", script)) == feature.keys()
    methods = {"some", "every", "length", "flatMap", "forEach"}
    used = set(re.findall(r"\b(?:s|seen)\.(\w+)", script)) - methods
    assert used == {"example", "activation", "map", "tokens", "at", "strength"} > seen.keys()
    orders = re.findall(r'<option value="(\w+)"', TEMPLATE)
    assert orders == ["feature", "density", "largest", "effect"] and set(orders) - {"effect"} <= feature.keys()
