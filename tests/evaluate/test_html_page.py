"""A page is whole, its title is plain text, and it asks for nothing else."""

from html.parser import HTMLParser

from winnow.evaluate.html_page import STYLE, html_page


class Read(HTMLParser):
    """Open elements, and the texts of each kind of element."""

    def __init__(self, text):
        super().__init__()
        self.open, self.texts, self.links = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)


def test_the_title_is_text_and_the_body_is_html():
    page = html_page("a < b & c", "p { color: red; }", "<p>so <b>it</b> is</p>")
    read = Read(page)
    assert page.startswith("<!doctype html>") and not read.open and not read.links
    assert read.texts["title"] == ["a < b & c"] == read.texts["h1"] and read.texts["b"] == ["it"]
    assert STYLE in page and page.index(STYLE) < page.index("p { color: red; }") < page.index("<h1>")
