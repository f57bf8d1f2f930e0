"""The report in a real browser: what a reader sees, clicks and types, and that nothing of a rollout's text runs."""

import json
import shutil

import pytest
from report_steps import HOSTILE, STEPS, Words, record, write_steps

from arpo_entropy_recorder.report.page import make_report, write_report
from arpo_entropy_recorder.report.transcript import Transcriber
from arpo_entropy_recorder.step_files.read import read_steps

FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


@pytest.fixture(scope="module")
def chrome(tmp_path_factory):
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in programs.values():
        pytest.skip("NO BROWSER: the report was not looked at; apt-get install chromium chromium-driver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="NO SELENIUM: pip install selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = programs["chromium"]
    for flag in [*FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(programs["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of three ordinary steps and one whose policy writes hostile text."""
    directory = tmp_path_factory.mktemp("page")
    hostile = [record(0, 0, 0.3, tool=None), record(0, 1, 0.95, tokens=[5, 3], tool="python")]
    write_steps(directory, STEPS | {4: hostile})
    path = directory / "report.html"
    write_report(make_report(read_steps([directory]), Transcriber(Words())), path)
    return path


@pytest.fixture
def browser(chrome, page):
    chrome.get_log("browser")
    chrome.get_log("performance")
    size(chrome, 1280)
    chrome.get(page.as_uri())
    return chrome


def size(driver, width):
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def all_of(driver, selector):
    return driver.find_elements("css selector", selector)


def column(driver, selector, number):
    cells = all_of(driver, f"{selector} tbody tr > :nth-child({number})")
    return [cell.text for cell in cells]


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
    return [(url, blocked.get(request)) for request, url in urls.items()]


def titles(driver):
    return [title.text for title in all_of(driver, "article h3") if title.is_displayed()]


def test_a_reader_finds_answer_figures_numbers_and_settings(browser):
    assert [heading.text for heading in all_of(browser, "h1")] == [
        "Does the policy become uncertain after tool results?"
    ]
    assert [heading.text for heading in all_of(browser, "h2")] == [
        "Figures",
        "Numbers",
        "Where the entropy is highest",
        "Trajectories",
        "The run, as its files tell",
    ]
    assert all_of(browser, ".answer strong")[0].text == "Yes: after-tool entropy exceeds the initial one."
    pictures = all_of(browser, "figure img")
    assert len(pictures) == 6
    for picture in pictures:
        assert picture.get_property("naturalWidth") > 300
        assert len(picture.get_attribute("alt")) > 40
    assert column(browser, "#numbers .scroll:nth-of-type(1)", 1) == ["0 (start)", "1", "2"]
    assert column(browser, "#numbers .scroll:nth-of-type(1)", 2) == ["19", "19", "18"]


def test_a_click_or_the_keyboard_sorts_a_table(browser):
    from selenium.webdriver.common.keys import Keys

    table = "#numbers .scroll:nth-of-type(1)"
    mean = all_of(browser, f"{table} thead th button")[2]
    mean.click()
    found = [float(text) for text in column(browser, table, 3)]
    assert found == sorted(found)
    head = all_of(browser, f"{table} thead th")[2]
    assert head.get_attribute("aria-sort") == "ascending"
    mean.send_keys(Keys.ENTER)
    assert [float(text) for text in column(browser, table, 3)] == sorted(found, reverse=True)
    assert head.get_attribute("aria-sort") == "descending"
    changes = all_of(browser, "#numbers .scroll:nth-of-type(3) thead th button")[0]
    changes.click()
    assert column(browser, "#numbers .scroll:nth-of-type(3)", 1) == ["1", "2"]


def test_trajectories_are_sorted_and_filtered_without_a_mouse(browser):
    from selenium.webdriver.common.keys import Keys

    shown = all_of(browser, "#shown")[0]
    assert (len(titles(browser)), shown.text) == (19, "19 trajectories")
    assert titles(browser)[0] == "No. 1: step 4, trajectory 0"
    order = browser.find_element("id", "order")
    order.send_keys("step")
    steps = [int(title.split("step ")[1].split(",")[0]) for title in titles(browser)]
    assert steps == sorted(steps)
    tool = browser.find_element("id", "tool")
    tool.send_keys("python")
    assert titles(browser) == ["No. 1: step 4, trajectory 0"]
    assert shown.text == "1 of 19 trajectories"
    tool.send_keys(Keys.HOME)
    words = browser.find_element("id", "words")
    words.send_keys("no such words")
    assert titles(browser) == []
    words.send_keys(Keys.CONTROL + "a", Keys.BACKSPACE)
    assert len(titles(browser)) == 19
    link = all_of(browser, "#places tbody a")[1]
    link.send_keys(Keys.ENTER)
    target = browser.execute_script("return document.querySelector(':target').textContent")
    assert "is 42" in target


def test_hostile_text_is_text_and_no_request_leaves_the_page(browser, page):
    policy = [element.text for element in all_of(browser, ".policy .text")]
    visible = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    assert f"{visible}42" in policy
    assert browser.title.startswith("Entropy report")
    assert browser.execute_script("return document.scripts.length") == 1
    assert {url for url, _ in requests(browser) if not url.startswith("data:image/")} == {page.as_uri()}


def test_even_markup_that_got_into_the_page_could_not_run_or_load(browser):
    browser.execute_script(
        "const s = document.createElement('script'); s.textContent = \"document.title = 'owned'\";"
        "document.body.append(s);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=https://example.org/x onerror=document.title=1>')"
    )
    assert browser.title.startswith("Entropy report")
    refused = [entry["message"] for entry in browser.get_log("browser")]
    assert any("script-src" in line for line in refused)
    assert any("img-src" in line for line in refused)
    assert dict(requests(browser))["https://example.org/x"] == "csp"


def test_the_console_stays_silent(browser):
    browser.find_element("id", "order").send_keys("rise")
    assert browser.get_log("browser") == []


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_screen(browser, width):
    size(browser, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width


def test_a_figure_fits_the_screen_and_a_link_shows_it_in_full_size_and_back(browser):
    size(browser, 390)
    (figure,) = all_of(browser, "#figure-rounds")
    picture, larger, smaller = (
        figure.find_element("css selector", selector) for selector in ("img", ".larger", ".smaller")
    )
    assert all(picture.rect["width"] <= figure.rect["width"] for picture in all_of(browser, "figure img"))
    assert not smaller.is_displayed()
    larger.click()
    assert picture.rect["width"] > 1000
    assert not larger.is_displayed()
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    smaller.click()
    assert picture.rect["width"] <= figure.rect["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(browser, scheme):
    """WCAG AA: a contrast of 4.5 for text, computed from what the browser paints."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    painted = browser.execute_script(
        """
        const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
        const paint = (colours) => {
          canvas.clearRect(0, 0, 1, 1);
          for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        return [...document.querySelectorAll('body *')]
          .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()))
          .filter(e => e.checkVisibility() && !['SCRIPT', 'OPTION'].includes(e.tagName))
          .map(e => {
            const grounds = [];
            for (let at = e; at; at = at.parentElement) grounds.unshift(getComputedStyle(at).backgroundColor);
            return [e.tagName + '.' + e.className, paint(grounds), paint([...grounds, getComputedStyle(e).color])];
          });
        """
    )

    def luminance(colour):
        linear = [
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in colour)
        ]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    assert len(painted) > 200
    for name, ground, ink in painted:
        low, high = sorted((luminance(ground), luminance(ink)))
        assert (high + 0.05) / (low + 0.05) >= 4.5, (name, ground, ink)


def test_without_scripts_the_page_says_the_same(chrome, page):
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chrome.get(page.as_uri())
        assert len(all_of(chrome, "article h3")) == 19
        assert not chrome.find_element("id", "controls").is_displayed()
    finally:
        chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
