"""How tools' results are told from other text: what is learnt of them, and what that costs."""

from hypothesis import example, given
from hypothesis import strategies as st

from arpo_entropy_recorder.recorder.results import TextResultForm

START, END = "<result>", "</result>"


def decode(tokens):
    return "".join(map(chr, tokens))


def encode(text):
    return list(map(ord, text))


class PlainForm(TextResultForm):
    """Learns as the docs say, looking at every result's text anew."""

    def learn(self, tokens, tool):
        first = not self._openers
        self._all_begin = (self._all_begin or first) and decode(tokens[:24]).lstrip().startswith(START)
        known = self._openers.get(tool, tokens[:24])
        length = next(
            (i for i, pair in enumerate(zip(known, tokens, strict=False)) if len(set(pair)) > 1), None
        )
        self._openers[tool] = known[: min(len(known), len(tokens)) if length is None else length]


beginnings = ["", " ", "  ", "<", "<result", START, f" {START}", f"  {START}", f"{START}\nfound", " notice"]
texts = st.builds(str.__add__, st.sampled_from(beginnings), st.text("ab</>", max_size=4))
tools = st.sampled_from(["search", "python", None])


ALIKE = [(f" {START}", "search"), (f"  {START}", "search"), (" notice", "search")]


@example(ALIKE, [("text", "python")])
@given(
    st.lists(st.tuples(texts.filter(bool), tools), max_size=12), st.lists(st.tuples(texts, tools), min_size=1)
)
def test_what_is_learnt_is_that_of_every_result(learnt, judged):
    form, plain = TextResultForm(decode, END, START), PlainForm(decode, END, START)
    for text, tool in learnt:
        form.learn(encode(text), tool)
        plain.learn(encode(text), tool)
        for other, of_tool in judged:
            assert form.judge(encode(other), of_tool) is plain.judge(encode(other), of_tool)


def test_results_that_begin_alike_are_decoded_once():
    decoded = []
    form = TextResultForm(lambda tokens: decoded.append(tokens) or decode(tokens), END, START)
    for number in range(50):
        text = encode(f" {START}\n{number} found{END}")
        assert form.judge(text, "search")
        form.learn(text, "search")
    assert len(decoded) < 10
