"""Headless Chromium for tests that look at a page as a person would."""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No name and no address but this machine's own can be reached.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--window-size=1400,1000",
)
# A click goes to where the element was; menus that slide would get it somewhere else.
LIES_STILL = """
    const [element, done] = arguments;
    const place = () => JSON.stringify(element.getBoundingClientRect());
    const before = place();
    requestAnimationFrame(() => requestAnimationFrame(() => done(place() === before)));
"""
SECONDS = 30  # until what a page should show is taken for absent

needs_chromium = pytest.mark.skipif(not (BROWSER and DRIVER), reason="no chromium and chromedriver on the PATH")


@contextmanager
def chromium(profile: Path) -> Iterator[Any]:
    """A browser with an empty profile and no network but 127.0.0.1; yields selenium's driver."""
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


def wait(driver: Any, condition: Callable[[Any], Any], what: str) -> Any:
    """The condition's value as soon as it is true; a page that redraws meanwhile is looked at again."""
    from selenium.common.exceptions import JavascriptException, NoSuchElementException, StaleElementReferenceException
    from selenium.webdriver.support.ui import WebDriverWait

    passing = (NoSuchElementException, StaleElementReferenceException, JavascriptException)
    waiting = WebDriverWait(driver, SECONDS, poll_frequency=0.1, ignored_exceptions=passing)
    return waiting.until(condition, f"waited in vain: {what}")


def with_text(text: str, tag: str = "*") -> str:
    """XPath of the elements whose own text this is, but for space around it."""
    return f"//{tag}[text()[normalize-space()={json.dumps(text)}]]"


def visible(driver: Any, selector: str) -> Any:
    """The first visible element for a CSS selector or an XPath now, or None."""
    by = "xpath" if selector.startswith(("/", "(")) else "css selector"
    return next((element for element in driver.find_elements(by, selector) if element.is_displayed()), None)


def see(driver: Any, selector: str) -> Any:
    """The first visible element for a CSS selector or an XPath, waited for."""
    return wait(driver, lambda d: visible(d, selector), selector)


def click(driver: Any, selector: str) -> None:
    """Click the first visible element for a selector, once it is there, lies still and nothing covers it."""
    from selenium.common.exceptions import ElementClickInterceptedException, ElementNotInteractableException

    def clicked(d: Any) -> Any:
        element = visible(d, selector)
        try:
            return element and d.execute_async_script(LIES_STILL, element) and element.click() is None
        except (ElementClickInterceptedException, ElementNotInteractableException):
            return False

    wait(driver, clicked, f"a click on {selector}")


def requested(driver: Any) -> list[str]:
    """Addresses that pages have asked for since the last call; the browser's own pages and inline data left out."""
    events = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    sent = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    sockets = [e["params"]["url"] for e in events if e["method"] == "Network.webSocketCreated"]
    inline = ("data:", "blob:", "chrome:", "chrome-untrusted:", "chrome-extension:", "about:")
    return [url for url in sent + sockets if not url.startswith(inline)]
