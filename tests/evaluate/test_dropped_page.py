"""The page of dropped files shows every file it is given under its reason, as it is, and can be read by any browser."""

from html.parser import HTMLParser

import pyarrow as pa
import pytest

from winnow.errors import InputError
from winnow.evaluate.dropped_page import dropped_page
from winnow.evaluate.opencoder_study import SHOWN


class Read(HTMLParser):
    """Texts of the elements that say something, and where links lead."""

    def __init__(self, page):
        super().__init__()
        self.told, self.links, self.anchors, self.open = {"h2": [], "summary": [], "pre": [], "a": []}, [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag in self.told:
            self.told[tag].append("")
        if tag == "a":
            self.links.append(dict(attributes)["href"])
        if tag == "h2":
            self.anchors.append("#" + dict(attributes)["id"])

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        for tag in set(self.open) & set(self.told):
            self.told[tag][-1] += data


def row(step, reason, text, **more):
    told = {"step": step, "reason": reason, "files": 7, "repository": "r", "path": "a.py", "text": text, "cut": False}
    return told | {"value": None, "keeper": None} | more


def test_files_stand_under_their_reason_as_they_are():
    rows = [
        row("filter", "mean_line", "x < 1 & y\n</pre><script>alert(1)</script>", value=0.12345678),
        row("filter", "mean_line", "a", cut=True, path="<b>.py", files=7),
        row("near", "near_copy", "", keeper="s/<k>.py", files=1),
    ]
    found = Read(dropped_page(pa.Table.from_pylist(rows, SHOWN), "Dropped <files>"))
    assert found.told["pre"] == ["x < 1 & y\n</pre><script>alert(1)</script>", "a\n…", ""]
    assert found.told["h2"] == [
        "mean line 2 of 7 files dropped by the step filter",
        "near copy 1 of 1 files dropped by the step near",
    ]
    assert found.told["summary"] == ["r/a.py: 0.1235", "r/<b>.py", "r/a.py, for which s/<k>.py stays"]
    assert found.links == found.anchors == ["#filter-mean_line", "#near-near_copy"]
    assert found.told["a"] == ["mean line", "near copy"]


def test_a_reason_may_have_any_sign_and_its_link_leads_there():
    found = Read(dropped_page(pa.Table.from_pylist([row('a"b', "<'c'>", "x"), row("d", "<'c'>", "y")], SHOWN), "t"))
    assert found.links == found.anchors == ["#a\"b-<'c'>", "#d-<'c'>"] and found.told["a"] == ["<'c'>"] * 2


def test_no_dropped_file_is_one_clear_line():
    with pytest.raises(InputError, match="the table has no rows; loosen a threshold or plant forks"):
        dropped_page(SHOWN.empty_table(), "none")
