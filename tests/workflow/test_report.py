"""The report is one file that opens without a network and shows the claims and every figure, each with a caption."""

import base64
import re
from collections.abc import Iterator

import pyarrow.parquet as pq
import pytest

from tests.workflow.chromium import chromium, click, needs_chromium, requested, see, wait, with_text

CHAPTERS = ("Compression", "Dictionaries", "Gallery", "Models")
SWITCH = "fieldset label"
CAPTION = "//nav//*[contains(@class, 'prose')]"
DECODED = "return arguments[0].complete && arguments[0].naturalWidth > 0"


@pytest.fixture(scope="module")
def report(built, tmp_path_factory):
    checkout = built.copy(tmp_path_factory.mktemp("report") / "winnow")
    checkout.run("snakemake", "--report", "report.html")
    return checkout.path / "report.html"


@pytest.fixture
def browser(tmp_path):
    with chromium(tmp_path / "profile") as driver:
        yield driver


def chapter(browser, name: str) -> Iterator[tuple[dict[str, str], str]]:
    """Labels and caption of each result of a chapter; while they are given, the page holds the button to see it."""
    click(browser, with_text(name))
    see(browser, "tbody tr")
    # Snakemake lists results by their labels, and makes a switch of a label that halves them.
    choices = [choice.text for choice in browser.find_elements("css selector", SWITCH)]
    count = len(browser.find_elements("css selector", "tbody tr"))
    for choice in choices or [""]:
        for number in range(1, count + 1):
            if choice:
                click(browser, with_text(choice, "label"))
            click(browser, f"(//tbody/tr)[{number}]//a[@iconname='information-circle']")
            caption = see(browser, CAPTION).text
            names, values = ([e.text for e in browser.find_elements("css selector", tag)] for tag in ("th", "td"))
            yield {name.lower(): value for name, value in zip(names, values, strict=False)}, caption
            click(browser, with_text(name, "a"))
            see(browser, "a[iconname='information-circle']")


def shows(browser, file: bytes):
    """The visible and decoded picture whose content this is, or None."""
    content = base64.b64encode(file).decode()
    pictures = [e for e in browser.find_elements("css selector", "img") if e.get_attribute("src").endswith(content)]
    return next((e for e in pictures if e.is_displayed() and browser.execute_script(DECODED, e)), None)


def test_the_report_names_no_file_elsewhere(report):
    text = report.read_text()
    loaded = re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"'](https?://[^\"']+)", text)
    assert loaded == []


@pytest.mark.browser
@needs_chromium
def test_a_page_that_asks_for_more_than_itself_would_be_noticed(tmp_path, browser):
    page, seen = tmp_path / "page.html", []
    framed = "<img src='http://example.org/framed.png'>"
    page.write_text(f"""<img src="http://example.org/a.png"><iframe src="data:text/html,{framed}"></iframe>""")
    browser.get(page.as_uri())
    asked = {page.as_uri(), "http://example.org/a.png", "http://example.org/framed.png"}
    wait(browser, lambda d: seen.extend(requested(d)) or asked <= set(seen), "all that the page asks for")
    assert set(seen) == asked


@pytest.mark.browser
@needs_chromium
def test_the_claims_stand_in_a_table_with_their_verdicts(report, browser):
    judged = pq.read_table(report.parent / "results/claims.parquet").to_pylist()
    expected = {row["claim"]: (row["statement"], row["verdict"]) for row in judged if row["point"] is None}
    assert len(expected) > 5
    browser.get(report.as_uri())
    assert "Winnow takes raw data to small, clear models" in see(browser, ".document").text
    for labels, caption in chapter(browser, "Claims"):
        assert caption.startswith("What the papers claim")
        if labels["figure"] == "ledger of claims":
            break
    click(browser, "a[iconname='eye']")
    browser.switch_to.frame(see(browser, "iframe"))
    see(browser, "body > table > tbody > tr")
    shown = {}
    for row in browser.find_elements("css selector", "body > table > tbody > tr"):
        claim, verdict = row.find_element("css selector", "code"), row.find_element("css selector", ".verdict")
        assert claim.is_displayed() and verdict.is_displayed()
        statement = row.find_element("css selector", "td").text.splitlines()[0]
        shown[claim.text] = (statement, verdict.text)
    assert shown == expected
    assert requested(browser) == [report.as_uri()]


@pytest.mark.browser
@needs_chromium
def test_a_click_shows_each_figure_with_a_caption(report, browser):
    files = sorted(report.parent.glob("results/*/evaluate/plots/*.svg"))
    expected = {(path.parts[-4], path.stem): path.read_bytes() for path in files}
    assert len(expected) > 5
    for path in report.parent.glob("results/*/dictionaries/*/density.svg"):
        expected[path.parts[-4], f"{path.parts[-2]}: how often features fire"] = path.read_bytes()
    browser.get(report.as_uri())
    shown, leafed = [], False
    for name in CHAPTERS:
        for labels, caption in chapter(browser, name):
            assert re.fullmatch(rf"\S.{{20,}}\. Workload: {labels['workload']}\.", caption), labels
            click(browser, "a[iconname='eye']")
            if labels["figure"] == "features to leaf through":
                browser.switch_to.frame(see(browser, "iframe"))
                see(browser, "#card .picture img")
                browser.switch_to.default_content()
                leafed = True
                continue
            file = expected[labels["workload"], labels["figure"]]
            picture = wait(browser, lambda d, file=file: shows(d, file), f"the picture of {labels}")
            assert picture.rect["width"] > 200 and picture.rect["height"] > 100
            shown.append((labels["workload"], labels["figure"]))
        browser.refresh()
    assert sorted(shown) == sorted(expected) and leafed
    assert set(requested(browser)) == {report.as_uri()}
