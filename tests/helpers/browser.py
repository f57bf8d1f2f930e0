"""A headless Chromium for the tests of the page: starts it, opens pages, looks at what is there."""

import json
import shutil

import pytest

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


def start(profile):
    """A driver of Chromium; skips the test, loudly, where there is none."""
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in programs.values():
        pytest.skip("NO BROWSER: the page was not looked at; apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="NO SELENIUM: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in [*FLAGS.split(), f"--user-data-dir={profile}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(programs["chromedriver"]))


def opened(driver, path, address=""):
    driver.get_log("browser")
    driver.get_log("performance")
    size(driver, 1280)
    media(driver)
    driver.get("about:blank")
    driver.get(f"{path.as_uri()}{address}")
    wait(driver, "return document.documentElement.dataset.ready")
    return driver


def wait(driver, script):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 30).until(lambda it: it.execute_script(script))


def size(driver, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def media(driver, scheme="light", kind=""):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": kind, "features": [feature]})


def all_of(driver, selector):
    return driver.find_elements("css selector", selector)


def one(driver, selector):
    return driver.find_element("css selector", selector)


def content(element):
    return element.get_property("textContent")


def requests(driver):
    """(URL, why it was blocked or None) of each request since the last look."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls, blocked = {}, {}
    for message in messages:
        of = message["params"]
        if message["method"] == "Network.requestWillBeSent":
            urls[of["requestId"]] = of["request"]["url"]
        elif message["method"] == "Network.loadingFailed":
            blocked[of["requestId"]] = of.get("blockedReason")
    return [(url, blocked.get(request)) for request, url in urls.items() if url != "about:blank"]


def chosen_steps(driver):
    return tuple(int(one(driver, f"#{end}").get_property("value")) for end in ("first", "last"))
