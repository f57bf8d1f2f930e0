"""The page in a real browser: what a reader sees, clicks and types, and that nothing of a rollout's text runs."""

import base64
import math
from importlib.resources import files
from importlib.util import find_spec

import pytest
from browser import all_of, chosen_steps, content, media, one, opened, requests, size, wait
from real_like_runs import write_run
from report_steps import HOSTILE, STEPS, Words, record, write_page_of_two, write_steps

from arpo_entropy_recorder.figures.catalogue import FIGURES
from arpo_entropy_recorder.report.page import make_page, read_run, write_report
from arpo_entropy_recorder.report.serve import PageServer
from arpo_entropy_recorder.report.transcript import Transcriber
from arpo_entropy_recorder.step_files.read import read_steps


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A run joined with its dump, and three steps beside it."""
    directory = tmp_path_factory.mktemp("page")
    write_run(directory, "hold", 20, prompts=3, n=4)
    (directory / "beside").mkdir()
    write_steps(directory / "beside", STEPS)
    return write_page_of_two(directory, directory, directory / "beside")


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory):
    """Three ordinary steps and one whose policy, tool and run have hostile names and texts."""
    directory = tmp_path_factory.mktemp("hostile")
    hostile = [record(0, 0, 0.3, tool=None), record(0, 1, 0.95, tokens=[5, 3], tool=HOSTILE)]
    write_steps(directory, STEPS | {4: hostile})
    path = directory / "report.html"
    write_report(make_page([read_run(HOSTILE, read_steps([directory]), Transcriber(Words()))]), path)
    return path


@pytest.fixture
def browser(chrome, page):
    return opened(chrome, page)


def test_hostile_text_is_text_and_no_request_leaves_the_page(chrome, hostile_page):
    browser = opened(chrome, hostile_page)
    shown = HOSTILE.replace("\x1b", r"\x1b").replace("\u202e", r"\u202e")
    assert shown in [content(option) for option in all_of(browser, "#tool option")]
    browser.execute_script("choose({ at: choice.run.trajectories.at(-1) })")
    assert f"{shown}42" in [content(text) for text in all_of(browser, "#pane .written")]
    assert browser.title.startswith("Entropy report")
    assert browser.execute_script("return document.scripts.length") == 2
    assert all_of(browser, "#explore img, #explore script") == []
    assert {url for url, _ in requests(browser) if not url.startswith("data:image/")} == {
        hostile_page.as_uri()
    }
    assert browser.get_log("browser") == []


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


def test_the_page_opens_at_its_top_and_the_list_at_its_choice(browser):
    assert browser.execute_script("return scrollY") == 0
    last = all_of(browser, "#list button")[-1]
    browser.execute_script("arguments[0].click()", last)
    bottom = "return arguments[0].getBoundingClientRect().bottom"
    assert browser.execute_script(bottom, last) <= browser.execute_script(bottom, one(browser, "#list")) + 1
    assert browser.execute_script("return scrollY") == 0


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_is_wider_than_the_screen(browser, width):
    size(browser, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") == width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(browser, scheme):
    """WCAG AA: a contrast of 4.5 for text, computed from what the browser paints."""
    media(browser, scheme)
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
          .filter(e => e.checkVisibility() && !['SCRIPT', 'OPTION', 'text', 'title'].includes(e.tagName))
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


def axis(driver, kind):
    """(number, height in pixels) of each tick of the chart over training."""
    ticks = [(float(content(tick)), float(tick.get_attribute("y"))) for tick in all_of(driver, f"#training .{kind}")
             if content(tick).replace(".", "").isdigit()]  # fmt: skip
    assert len(ticks) > 1 or not ticks
    return ticks


def test_nats_stand_beside_normalised_entropies(chrome, page):
    browser = opened(chrome, page, "#run=long")
    left, right = axis(browser, "end"), axis(browser, "nats")
    (low, bottom), (high, top) = left[0], left[-1]
    for nats, height in right:
        share = math.log(nats / math.log(1000) / low) / math.log(high / low)
        assert height == pytest.approx(bottom + share * (top - bottom), abs=0.01)
    assert "In nats: " in content(one(browser, "#chosen"))
    # One run has no vocabulary, and an axis has one unit.
    for address in ("#run=short", "#run=long&with=short"):
        assert axis(opened(chrome, page, address), "nats") == []


def test_without_scripts_figures_and_tables_are_there(chrome, page):
    chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chrome.get(page.as_uri())
        assert not one(chrome, "#explore").is_displayed()
        shown = {
            figure.get_attribute("id")
            for figure in all_of(chrome, "#printed figure")
            if figure.is_displayed()
        }
        # What says nothing of a run is named: the second has no windows, and no branches.
        lacking = {"figure-window-1", "figure-branching-1"}
        assert shown == {f"figure-{name}-{run}" for name in FIGURES for run in (0, 1)} - lacking
        assert len(all_of(chrome, "#printed img")) == len(shown)
        assert "By tool-call round" in [caption.text for caption in all_of(chrome, "#printed caption")]
    finally:
        chrome.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_print_has_figures_and_tables_and_no_controls(browser):
    media(browser, kind="print")
    assert not one(browser, "#explore").is_displayed()
    assert all(picture.is_displayed() for picture in all_of(browser, "#printed img"))
    assert one(browser, "#printed table").is_displayed()
    printed = browser.execute_cdp_cmd("Page.printToPDF", {})["data"]
    assert base64.b64decode(printed).startswith(b"%PDF")
    # As wide as a sheet of paper within its margins: no column is cut off, and two figures are on a page.
    size(browser, 717)
    script = "return [...document.querySelectorAll(arguments[0])].map((e) => e.getBoundingClientRect()[arguments[1]])"
    assert max(browser.execute_script(script, "#printed table", "right")) <= 717
    assert max(browser.execute_script(script, "#printed figure.half", "height")) < 520


@pytest.mark.parametrize(
    ("scheme", "address"), [("light", ""), ("dark", ""), ("light", "#run=long&tool=search")]
)
def test_axe_has_no_findings(chrome, page, scheme, address):
    if find_spec("axe_core_python") is None:
        pytest.skip("NO AXE: accessibility was not checked; pip install axe-core-python")
    browser = opened(chrome, page, address)
    media(browser, scheme)
    browser.execute_script((files("axe_core_python") / "axe.min.js").read_text())
    found = browser.execute_async_script("axe.run().then(arguments[0])")
    assert [
        (entry["id"], [node["html"][:200] for node in entry["nodes"]]) for entry in found["violations"]
    ] == []


def test_a_default_recording_shows_entropies_and_what_to_set(chrome, tmp_path):
    bare = {step: [{k: v for k, v in e.items() if k != "tokens"} for e in es] for step, es in STEPS.items()}
    write_steps(tmp_path, bare)
    write_report(make_page([read_run("run", read_steps([tmp_path]))]), tmp_path / "report.html")
    browser = opened(chrome, tmp_path / "report.html")
    pane = content(one(browser, "#pane"))
    assert "record with record_tokens = true and entropy_window = 20" in pane
    assert len(all_of(browser, "#pane .segment")) == 3
    assert not one(browser, "#words").is_displayed()
    assert browser.get_log("browser") == []


def test_a_served_page_loads_itself_again_and_asks_nobody_else(chrome, tmp_path):
    write_steps(tmp_path, STEPS)
    server = PageServer()
    run = [read_run("run", read_steps([tmp_path]))]
    server.publish(lambda version: make_page(run, version=version))
    server.start()
    try:
        chrome.get_log("performance")
        chrome.get(f"{server.address}#steps=2-3")
        wait(chrome, "return document.documentElement.dataset.ready")
        server.publish(lambda version: make_page(run, version=version))
        wait(chrome, "return PAGE.version === '2' && document.documentElement.dataset.ready")
        assert chosen_steps(chrome) == (2, 3)
        urls = {url.partition("#")[0] for url, _ in requests(chrome) if not url.startswith("data:image/")}
        assert urls == {server.address, f"{server.address}version"}
    finally:
        server.close()
