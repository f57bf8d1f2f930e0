"""The tools: what they answer, and what the operating system keeps model-written code from doing."""

import os
import time
from pathlib import Path

import pytest

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.tools.calls import answer, as_result, called_content
from arpo_entropy_recorder.rollout.tools.load import load_tools
from arpo_entropy_recorder.rollout.tools.python import PythonTool
from arpo_entropy_recorder.rollout.tools.search import load_search
from arpo_entropy_recorder.rollout.tools.tool import ToolError


@pytest.fixture(scope="module")
def python():
    return PythonTool(timeout=5)


@pytest.mark.parametrize(
    ("code", "printed"),
    [
        ("1 + 2 * 3", "7"),
        ("x = 4\nprint('first')\nx * 2", "first\n8"),
        ("print('no None after it')", "no None after it"),
        ("'text is printed bare'", "text is printed bare"),
        ("x = 1", ""),
        ("", ""),
        ("import math\nmath.comb(5, 2)", "10"),
        (
            "def f(n): return n if n < 2 else f(n - 1) + f(n - 2)\n[f(n) for n in range(7)]",
            "[0, 1, 1, 2, 3, 5, 8]",
        ),
        ("print('é漢')", "é漢"),
        ("if __name__ == '__main__': print('main')", "main"),
    ],
)
def test_python_prints_what_the_code_prints_and_its_last_value(python, code, printed):
    assert python(code) == printed


def test_python_has_the_whole_standard_library_also_where_a_package_of_it_is_loaded_already(python):
    code = "import collections.abc, encodings.idna, importlib.metadata, sqlite3\n'\u00e4'.encode('idna')"
    assert python(code) == "b'xn--4ca'"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("(", "SyntaxError"),
        ("undefined", "NameError"),
        ("import sys; sys.exit(3)", "exit status 3"),
        ("import numpy", "ModuleNotFoundError"),
        ("bytearray(2 << 30)", "MemoryError"),
        ("open('big', 'wb').write(b'x' * (4 << 20))", "File too large"),
        ("print('x' * (4 << 20))", "File too large"),
        ("import os; os.fork()", "Resource temporarily unavailable"),
        ("import subprocess; subprocess.run(['true'])", "Resource temporarily unavailable"),
        ("import threading; threading.Thread(target=print).start()", "can't start new thread"),
        ("import resource\nresource.setrlimit(resource.RLIMIT_NPROC, (99, 99))", "ValueError"),
        ("import os; os.kill(os.getpid(), 9)", "killed"),
    ],
)
def test_python_fails_with_the_reason_in_words(python, code, reason):
    with pytest.raises(ToolError, match=reason):
        python(code)


def test_python_is_given_nothing_of_this_process(python, monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "do not tell")
    inherited = os.open(Path(__file__), os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        seen = python(
            "import os\nlinks = [os.readlink(f'/proc/self/fd/{n}') for n in range(3, 32)"
            " if os.path.islink(f'/proc/self/fd/{n}')]\n"
            "dict(os.environ), os.listdir('.'), links"
        )
    finally:
        os.close(inherited)
    assert "SECRET_TOKEN" not in seen
    assert "test_tools" not in seen
    assert "[], [" in seen, "the working directory is empty"


def test_python_is_not_root(python):
    assert python("import os; os.getuid()") != "0"


def test_python_deletes_its_directory(python):
    directory = python("import os\nopen('left', 'w').write('x')\nos.getcwd()")
    assert not os.path.exists(directory)


def test_python_is_killed_when_its_time_is_up():
    python = PythonTool(timeout=1)
    for code in ("while True: pass", "import time; time.sleep(60)"):
        start = time.monotonic()
        with pytest.raises(ToolError, match=r"timed out|CPU time"):
            python(code)
        assert time.monotonic() - start < 5


def test_python_shows_a_bounded_part_of_long_output():
    assert PythonTool(timeout=5, output=100)("print('y' * 5000)") == "y" * 100 + " [cut]"


def test_python_prints_a_set_in_the_same_order_every_time(python):
    code = "{'a', 'b', 'c', 'd', 'e', 'f', 'g'}"
    assert len({python(code) for _ in range(4)}) == 1


def test_search_gives_a_command_the_query_on_stdin():
    assert load_search("cat")("where is\nHelgoland?") == "where is\nHelgoland?"


def test_search_uses_no_shell_unless_one_is_named():
    assert load_search("echo $HOME; echo 2")("") == "$HOME; echo 2"
    assert load_search("sh -c 'echo a; echo b'")("") == "a\nb"


def test_search_that_fails_says_its_last_line():
    with pytest.raises(ToolError, match=r"Search failed: quota exceeded"):
        load_search("sh -c 'echo retry >&2; echo quota exceeded >&2; exit 4'")("q")


def test_search_that_does_not_end_is_killed_with_its_children():
    start = time.monotonic()
    with pytest.raises(ToolError, match="timed out"):
        load_search("sh -c 'sleep 60 & sleep 60'", timeout=0.5)("q")
    assert time.monotonic() - start < 5


def test_search_cache_answers_by_the_query_and_says_when_it_has_none(tmp_path):
    cache = tmp_path / "search_cache.json"
    cache.write_text('{"capital of Peru": "Lima", "漢": "字"}', encoding="utf-8")
    search = load_search(str(cache))
    assert (search(" capital of Peru\n"), search("漢")) == ("Lima", "字")
    with pytest.raises(ToolError, match="No result"):
        search("capital of Chile")


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "cannot read"), ("{", "not JSON"), ("[1]", "one JSON object"), ('{"q": 1}', "'q'")],
)
def test_a_bad_search_cache_is_named(tmp_path, text, words):
    path = tmp_path / "cache.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        load_search(str(path))
    assert str(path) in str(caught.value)


def test_tools_are_named_on_the_command_line(tmp_path):
    assert load_tools("") == {}
    assert list(load_tools("python,search=cut -d, -f1")) == ["python", "search"]
    assert load_tools("search=cut -d, -f1")["search"]("a,b") == "a"


@pytest.mark.parametrize(
    "specification", ["browse", "python,browse", "search", "search=", "search=no-such-command-here", "python,python",
                      "python=3", "search=cat 'x", "search=missing.json"]
)  # fmt: skip
def test_a_tool_that_cannot_work_is_one_line(specification):
    with pytest.raises(UserError) as caught:
        load_tools(specification)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("<python>1+1</python>", "1+1"),
        ("<python>old</python> <result>\n</result><python> new\n</python>", "new"),
        ("<python><python>inner</python> after", "inner"),
        ("<python></python>", ""),
        ("no opening</python>", None),
        ("<search>other</python>", None),
    ],
)
def test_the_content_of_a_call_is_what_its_last_pair_of_tags_holds(text, content):
    assert called_content(text, "python") == content


def fails(content):
    raise ToolError("no luck")


def hangs(content):
    raise TimeoutError


@pytest.mark.parametrize(
    ("tool", "content", "expected"),
    [
        (str.upper, "a", ("A", True)),
        (str.upper, "", ("Tool(search) returned empty output.", False)),
        (str.upper, None, ("Tool(search) was not called: <search> is missing.", False)),
        (fails, "a", ("Tool(search) failed: no luck", False)),
        (hangs, "a", ("Tool(search) timed out.", False)),
    ],
)
def test_every_call_is_answered_in_words(tool, content, expected):
    assert answer("search", tool, content) == expected


def test_a_result_stands_between_tags():
    assert as_result("42") == " <result>\n42\n</result>"
