"""Search caches as other programs write them: the results that the plain form gives."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rollout.tools.search import load_search
from arpo_entropy_recorder.rollout.tools.tool import ToolError

texts = st.text("ab \n", min_size=1, max_size=8)
pages = st.lists(texts, min_size=1, max_size=3)


def written(directory, value):
    path = directory / "cache.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return load_search(str(path))


@given(pages, st.data())
def test_pages_are_joined_as_one_text(tmp_path_factory, found, data):
    forms = {
        "list": found,
        "objects": [{"snippet": text, "score": 1.0} for text in found],
        "results": {"results": [{"text": text} for text in found], "timestamp": 1.0},
        "documents": [{"document": {"id": "7", "contents": text}, "score": 0.5} for text in found],
    }
    value = forms[data.draw(st.sampled_from(sorted(forms)))]
    directory = tmp_path_factory.mktemp("cache")
    assert written(directory, {"q": value})("q") == written(directory, {"q": "\n".join(found)})("q")


def test_a_page_has_its_title_first(tmp_path):
    search = written(tmp_path, {"q": {"results": [{"snippet": "y", "title": "x"}], "timestamp": 1.0}})
    assert search("q") == "x\ny"


@pytest.mark.parametrize("nothing", ["null", "NaN"])
def test_null_is_no_result(tmp_path, nothing):
    search = written(tmp_path, '{"a": "x", "b": ' + nothing + "}")
    assert search("a") == "x"
    with pytest.raises(ToolError, match="No result"):
        search("b")


def test_one_object_a_line_is_one_cache(tmp_path):
    search = written(tmp_path, '{"a": "x"}\n{"b": "y"}\n')
    assert (search("a"), search("b")) == ("x", "y")


def test_keys_that_differ_in_white_space_are_named(tmp_path):
    assert written(tmp_path, {"a": "x", "a ": "x"})("a") == "x"
    with pytest.raises(UserError, match="keys 'a' and 'a ' differ in white space alone"):
        written(tmp_path, {"a": "x", "a ": "y"})


@pytest.mark.parametrize("value", [3, True, {"score": 1.0}, [["x"], 3], float("inf")])
def test_what_is_no_text_is_named_by_its_key(tmp_path, value):
    with pytest.raises(UserError, match="key 'q': its value must be a string, the result as text, or pages"):
        written(tmp_path, {"q": value})
