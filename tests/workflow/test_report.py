"""The report is one file that opens without a network and shows the figures and the claims."""

import re
import shutil

import pytest

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="module")
def report(built, tmp_path_factory):
    checkout = built.copy(tmp_path_factory.mktemp("report") / "winnow")
    checkout.run("snakemake", "--report", "report.html")
    return checkout.path / "report.html"


@pytest.fixture
def browser(tmp_path):
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    driver.implicitly_wait(10)
    yield driver
    driver.quit()


def test_the_report_loads_nothing_from_elsewhere(report):
    text = report.read_text()
    loaded = re.findall(r"<(?:script|img|link|iframe)[^>]+(?:src|href)=[\"'](https?://[^\"']+)", text)
    assert loaded == []


@pytest.mark.browser
@pytest.mark.skipif(not (CHROMIUM and shutil.which("chromedriver")), reason="no chromium here")
def test_a_browser_without_a_network_shows_a_figure_and_the_claims(report, browser):
    from selenium.webdriver.common.by import By

    browser.get(report.as_uri())
    shown = browser.find_element(By.TAG_NAME, "body").text
    assert "Winnow takes raw data to small, clear models" in shown
    for category in ("Claims", "Compression", "Dictionaries"):
        assert browser.find_elements(By.XPATH, f"//*[contains(text(), '{category}')]"), f"no category {category}"
