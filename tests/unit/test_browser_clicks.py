"""The page in a real browser: what a reader clicks, types and drags gives the numbers and texts of the files.

The runs are made up (`real_like_runs`); numbers are compared with those of `stats`.
"""

import json
import re

import numpy as np
import pytest
from browser import all_of, chosen_steps, content, one, opened
from real_like_runs import whole_texts, write_run
from report_steps import write_page_of_two

from arpo_entropy_recorder.analysis.analysis import analyse
from arpo_entropy_recorder.analysis.ratio import fieller, six_sums
from arpo_entropy_recorder.analysis.selection import Selection
from arpo_entropy_recorder.analysis.summary import told
from arpo_entropy_recorder.figures.effect import _line_of
from arpo_entropy_recorder.step_files.read import read_steps

LONG = 300


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A long run with text in which one tool's results stop raising the entropy."""
    directory = tmp_path_factory.mktemp("run")
    write_run(directory, "one_tool", LONG, prompts=3, n=4)
    return directory


@pytest.fixture(scope="module")
def page(tmp_path_factory, run):
    """That run joined with its dump, and a short one beside it."""
    short = tmp_path_factory.mktemp("short")
    write_run(short, "hold", 20, prompts=3, n=4)
    return write_page_of_two(tmp_path_factory.mktemp("page"), run, short / "entropies")


@pytest.fixture
def browser(chrome, page):
    return opened(chrome, page)


def ratio_of_stats(run, steps, tool=None):
    selection = Selection(steps=steps, tool=tool)
    found = told(analyse(read_steps([run / "entropies"]), ["pairs"], selection))
    return [found["ratio"][name] for name in ("ratio", "low", "high", "n")]


def shown_ratio(driver):
    return [float(part) for part in one(driver, "#chosen strong").get_attribute("data-ratio").split()]


def choose_by_keys(driver, end, step):
    """Move a handle of the chart with the keyboard."""
    from selenium.webdriver.common.keys import Keys

    handle = one(driver, f".handle[data-end={end}]")
    driver.execute_script("arguments[0].focus()", handle)
    keys = driver.switch_to.active_element
    while (now := chosen_steps(driver)[end == "last"]) != step:
        tenth = abs(step - now) >= LONG // 10
        larger = Keys.PAGE_UP if tenth else Keys.ARROW_RIGHT
        keys.send_keys(larger if step > now else Keys.PAGE_DOWN if tenth else Keys.ARROW_LEFT)


def score_in_dump(run, step, sample):
    """The score of the one dumped line that has the trajectory's texts in this order, in plain Python."""
    texts = whole_texts(json.loads((run / "entropies" / f"entropy_step_{step}.json").read_text()))[sample]
    lines = [json.loads(line) for line in (run / "rollouts" / f"{step}.jsonl").read_text().splitlines()]

    def fits(line):
        parts = line["output"].split(" <result>\n")
        said = [parts[0], *(part.split("\n</result>", 1)[1] for part in parts[1:])]
        return said == [texts[number] for number in sorted(texts)]

    scores = {line["score"] for line in lines if fits(line)}
    return scores.pop() if len(scores) == 1 else None


def test_four_questions_are_answered_by_clicks_and_agree_with_the_files(browser, run):
    # 1. The ratio of steps 200 to 300.
    choose_by_keys(browser, "first", 200)
    assert chosen_steps(browser) == (200, 300)
    assert shown_ratio(browser) == pytest.approx(ratio_of_stats(run, (200, 300)), rel=1e-6)
    # 2. The tool with the lowest ratio there.
    rows = [
        [content(cell) for cell in row.find_elements("css selector", "th, td")]
        for row in all_of(browser, "#tools tbody tr")
    ]
    ratios = {row[0].strip(): float(row[1].split("x")[0]) for row in rows}
    lowest = min(ratios, key=ratios.get)
    of_stats = {tool: ratio_of_stats(run, (200, 300), tool) for tool in ratios}
    assert lowest == min(of_stats, key=lambda tool: of_stats[tool][0]) == "python"
    (button,) = [button for button in all_of(browser, "#tools button") if button.text == lowest]
    button.click()
    assert shown_ratio(browser) == pytest.approx(of_stats[lowest], rel=1e-6)
    # 3. The text of its first five segments.
    texts, scores = {}, {}
    for entry in all_of(browser, "#list button"):
        entry.click()
        step, sample = (int(part) for part in entry.get_attribute("data-id").split(".")[::3])
        scores[step, sample] = all_of(entry, ".score")
        for segment in all_of(browser, "#pane .segment"):
            if content(segment).startswith(f"Result of {lowest}"):
                number = int(content(segment).split("Policy, round ")[1].split()[0])
                texts[step, sample, number] = content(one(segment, ".written"))
        if len(texts) >= 5:
            break
    first_five = list(texts)[:5]
    assert len(first_five) == 5
    for step, sample, number in first_five:
        assert 200 <= step <= 300
        entries = json.loads((run / "entropies" / f"entropy_step_{step}.json").read_text())
        (entry,) = [
            e for e in entries if (e["sample_idx"], e["round"], e["tool"]) == (sample, number, lowest)
        ]
        assert texts[step, sample, number] == bytes(entry["tokens"]).decode()
    # 4. The mean score of their trajectories.
    keys = list(dict.fromkeys(key[:2] for key in first_five))
    read = [float(scores[key][0].text.split()[-1]) for key in keys if scores[key]]
    known = [score for key in keys if (score := score_in_dump(run, *key)) is not None]
    assert read
    assert sum(read) / len(read) == sum(known) / len(known)


def test_the_ratio_over_training_is_the_figures(browser, run):
    drawn = _line_of(analyse(read_steps([run / "entropies"]), ["pairs"]), "")
    assert drawn.width > 1
    shown = browser.execute_script(
        "const { near, width } = series(choice.run);"
        "return [width, near.filter(Boolean).map((p) => [p.step, p.ratio, p.low, p.high])]"
    )
    assert shown[0] == drawn.width
    expected = np.column_stack([drawn.steps, drawn.ratio, drawn.low, drawn.high])
    assert np.array(shown[1]) == pytest.approx(expected[~np.isnan(drawn.ratio)], rel=1e-6)


def test_intervals_of_few_prompts_are_those_of_stats(browser):
    random = np.random.default_rng(0)
    sums = []
    for n in np.repeat([4, 5, 8, 40], 25):
        after, before = random.lognormal(-5, [[1.5], [0.5]], (2, n))
        sums.append(six_sums(after, before, np.zeros(n, int), 1)[0])
    found = browser.execute_script(
        "return arguments[0].map((sums) => { const r = ratioOf(sums); return [r.ratio, r.low, r.high]; })",
        np.array(sums).tolist(),
    )
    expected = np.column_stack(fieller(np.array(sums)))
    assert np.array(found, float) == pytest.approx(expected, rel=1e-6, nan_ok=True)
    assert 10 < (expected[:, 1] == 0).sum() < 50


def test_steps_are_dragged_and_typed(browser, run):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    chart = one(browser, "#training")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    actions = ActionChains(browser).move_to_element_with_offset(chart, -100, 20).click_and_hold()
    actions.move_by_offset(60, 0).move_by_offset(90, 0).release().perform()
    first, last = chosen_steps(browser)
    assert 40 < first < 140 < last < 290
    assert shown_ratio(browser) == pytest.approx(ratio_of_stats(run, (first, last)), rel=1e-6)
    one(browser, "#first").send_keys(Keys.CONTROL + "a" + Keys.NULL, "7", Keys.TAB)
    assert chosen_steps(browser) == (7, last)
    one(browser, "#last-tenth").click()
    assert chosen_steps(browser) == (271, 300)
    one(browser, "#all").click()
    assert chosen_steps(browser) == (1, 300)


def test_the_address_keeps_the_choice(chrome, page, run):
    browser = opened(chrome, page, "#run=long&with=short&steps=200-250&tool=search")
    assert chosen_steps(browser) == (200, 250)
    assert one(browser, "#tool").get_property("value") == "search"
    assert one(browser, "#other").get_property("value") == "short"
    assert shown_ratio(browser) == pytest.approx(ratio_of_stats(run, (200, 250), "search"), rel=1e-6)
    all_of(browser, "#list button")[1].click()
    title = content(one(browser, "#pane-title"))
    address = browser.execute_script("return location.hash")
    opened(chrome, page, address)
    assert content(one(browser, "#pane-title")) == title
    assert chosen_steps(browser) == (200, 250)


@pytest.mark.parametrize(
    "address",
    [
        "#run=<img src=x>&tool=__proto__&steps=1e9-2",
        "#steps=999999999999999999-1",
        "#with=long&at=constructor",
    ],
)
def test_an_address_that_names_nothing_is_ignored(chrome, page, address):
    browser = opened(chrome, page, address)
    assert chosen_steps(browser) == (1, 300)
    assert browser.get_log("browser") == []


def test_list_and_tokens_are_read_with_the_keyboard_alone(browser):
    from selenium.webdriver.common.keys import Keys

    first, second = all_of(browser, "#list button")[:2]
    browser.execute_script("arguments[0].focus()", first)
    browser.switch_to.active_element.send_keys(Keys.ARROW_DOWN)
    assert second.get_attribute("aria-current") == "true"
    step, sample = second.get_attribute("data-id").split(".")[::3]
    assert content(one(browser, "#pane-title")) == f"Step {step}, trajectory {sample}"
    token = one(browser, "#pane .token")
    assert "opening" in token.get_attribute("class")
    browser.execute_script("arguments[0].focus()", token)
    browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT)
    now = browser.switch_to.active_element
    assert now == all_of(browser, "#pane .token")[1]
    said = content(one(browser, "#token-says"))
    assert said.startswith(f'"{content(now)}": entropy {float(now.get_attribute("data-entropy")):.3g}')
    assert "nats, like " in said


def test_filters_leave_what_they_name(browser, run):
    words = one(browser, "#words")
    words.send_keys("answer")
    found = len(all_of(browser, "#list button"))
    assert found > 0
    words.send_keys(" no such words")
    assert all_of(browser, "#list button") == []
    assert one(browser, "#shown").text.startswith("0 of ")
    browser.execute_script("arguments[0].value = ''; arguments[0].dispatchEvent(new Event('input'))", words)
    one(browser, "#score-low").send_keys("1")
    assert {entry.text for entry in all_of(browser, "#list .score")} == {"score 1"}


def choose_round_by_mouse(driver, number):
    one(driver, "#round").click()
    one(driver, f"#round option[value='{number}']").click()


def choose_round_by_keys(driver, number):
    from selenium.webdriver.common.keys import Keys

    driver.execute_script("arguments[0].focus()", one(driver, "#round"))
    assert driver.switch_to.active_element == one(driver, "#round")
    driver.switch_to.active_element.send_keys(Keys.HOME, *[Keys.ARROW_DOWN] * (number + 1))


def listed(driver):
    """(step, sample) of the entries of the list."""
    ids = driver.execute_script(
        "return [...document.querySelectorAll('#list button')].map((entry) => entry.dataset.id)"
    )
    return {tuple(int(part) for part in name.split(".")[::3]) for name in ids}


@pytest.mark.parametrize("choose_round", [choose_round_by_mouse, choose_round_by_keys])
def test_the_round_filter_leaves_who_came_to_the_round(browser, run, choose_round):
    every = listed(browser)
    in_round, after_tool = {}, set()
    for step in {step for step, _ in every}:
        for entry in json.loads((run / "entropies" / f"entropy_step_{step}.json").read_text()):
            key = step, entry["sample_idx"]
            if key in every:
                in_round.setdefault(entry["round"], set()).add(key)
                if (entry["round"], entry["tool"]) == (2, "python"):
                    after_tool.add(key)
    assert every > in_round[0] > set()  # branches begin in a later round
    assert len(in_round[1]) > len(in_round[2]) > len(in_round[4]) > 0
    for number in (4, 0, 2):
        choose_round(browser, number)
        assert one(browser, "#round").get_property("value") == str(number)
        assert listed(browser) == in_round[number]
    scores = [score for key in in_round[2] if (score := score_in_dump(run, *key)) is not None]
    said = re.fullmatch(
        r"(\d+) of (\d+) trajectories; mean score ([\d.]+) of (\d+)", one(browser, "#shown").text
    )
    assert [int(said[at]) for at in (1, 2, 4)] == [len(in_round[2]), len(every), len(scores)]
    assert float(said[3]) == pytest.approx(np.mean(scores), abs=5e-3)
    # With a tool chosen it is the round after that tool's result.
    one(browser, "#tool option[value=python]").click()
    assert listed(browser) == after_tool < in_round[2]
    one(browser, "#tool option[value='']").click()
    choose_round(browser, -1 if choose_round is choose_round_by_keys else "")
    assert listed(browser) == every


def test_a_dot_leads_to_its_trajectory(browser):
    from selenium.webdriver.common.action_chains import ActionChains

    dots = all_of(browser, "#training .dot")
    assert len(dots) > 50
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", dots[-1])
    ActionChains(browser).move_to_element(dots[-1]).click().perform()
    assert content(one(browser, "#pane-title")) in content(dots[-1]).replace("step", "Step")
    assert one(browser, "#pane") == browser.switch_to.active_element


def test_branches_stand_below_the_one_they_forked_from(browser, run):
    browser.execute_script(
        "choose({ at: choice.run.trajectories.find((t) => t.family.some((m) => m[1] !== null)) })"
    )
    tree = one(browser, "#pane .tree")
    forks = all_of(tree, "li li")
    assert forks
    step, _, _, sample = browser.execute_script("return trajectoryId(choice.at)").split(".")
    entries = json.loads((run / "entropies" / f"entropy_step_{step}.json").read_text())
    prompt = next(e["prompt_idx"] for e in entries if e["sample_idx"] == int(sample))
    family = {e["sample_idx"]: e["parent_idx"] for e in entries if e["prompt_idx"] == prompt}
    assert len(forks) == sum(parent is not None for parent in family.values())
    assert "not a causal effect" in content(one(browser, "#branches"))
