"""Dumps of other trainers against the plain form: the same tokens in the same segments, or one line that refuses.

A segment's entropy follows from its tokens and those before it, so equal tokens are equal entropies.
"""

import gzip
import json
import math
import pickle

import pytest
from chat_tokenizer import ChatTokenizer, chatml
from hypothesis import assume, given
from hypothesis import strategies as st

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.rescore.dumps import find_dumps, read_dumps
from arpo_entropy_recorder.rescore.keys import parse_keys
from arpo_entropy_recorder.rescore.line import Line
from arpo_entropy_recorder.rescore.lines import lines_of, parse_entry
from arpo_entropy_recorder.rescore.retokenize import Retokenizer
from arpo_entropy_recorder.rescore.settings import RescoreSettings
from arpo_entropy_recorder.rescore.survey import survey

TOKENIZER = ChatTokenizer()
PAD, END = TOKENIZER.pad_token_id, TOKENIZER.eos_token_id
TOOLS = ("search", "python")
words = st.text("abc xyz.\n", min_size=1, max_size=12)
question = st.builds(lambda text: TOKENIZER.encode(chatml([{"role": "user", "content": text + "?"}])), words)
rounds = st.lists(st.tuples(words, st.sampled_from(TOOLS), words), min_size=1, max_size=3)


def respond(tool_rounds, last):
    """A response's parts as (text, whether the policy wrote it)."""
    parts = []
    for thought, tool, answer in tool_rounds:
        parts += [(f"{thought}<{tool}>q</{tool}>", True), (f" <result>\n{answer}\n</result>", False)]
    return [*parts, (last + "<|im_end|>", True)]


responses = st.builds(respond, rounds, words)
padding = st.integers(0, 3)
ANSWER = [{"role": "user", "content": "q"}, {"role": "assistant", "content": None, "tool_calls": []}]


def read(entry, keys=""):
    """The trajectory of one entry in a dump of its own."""
    parsed = parse_entry(entry, parse_keys(keys), 1, "1.jsonl: line 1")
    ((_, _, line),) = lines_of([parsed], "1.jsonl", None)
    return Retokenizer(TOKENIZER, TOOLS).read(line)


def seen(trajectory):
    """What the entropies depend on: for each segment its first tokens' context, the tokens, round and tool."""
    return [
        (trajectory.tokens[: s.start], s.tokens, s.round, s.tool, s.is_after_result)
        for s in trajectory.segments
    ]


@given(question, responses, padding, padding, padding, padding, st.data())
def test_token_ids_of_any_trainer_read_alike(prompt, parts, before, behind, at_end, more, data):
    response = [token for text, _ in parts for token in TOKENIZER.encode(text)]
    mask = [int(owned) for text, owned in parts for _ in TOKENIZER.encode(text)]
    plain = seen(read({"prompt_ids": prompt, "response_ids": response}))
    expected = [TOKENIZER.encode(text) for text, owned in parts if owned]
    assert [tokens for _, tokens, *_ in plain] == expected

    padded = [PAD] * before + prompt + [PAD] * behind
    padded_response = response + [PAD] * at_end
    whole = padded + padded_response
    attention = [int(token != PAD) for token in whole]
    of_response = mask + [0] * at_end
    entries = {
        "verl": {"prompts": padded, "responses": padded_response, "input_ids": whole},
        "whole alone": {"input_ids": whole + [PAD] * more, "responses": padded_response},
        "whole and prompt": {"tokens": prompt + response, "prompt_ids": prompt},
        "slime": {"tokens": prompt + response, "response_length": len(response), "loss_mask": mask},
        "mask": {"prompts": padded, "responses": padded_response, "response_mask": of_response},
        "both masks": {
            "prompts": padded, "responses": padded_response, "attention_mask": attention,
            "response_mask": of_response,
        },
        "whole mask": {
            "prompts": padded, "responses": padded_response, "loss_mask": [0] * len(padded) + of_response
        },
        "a mask of floats": {
            "prompt_ids": prompt, "response_ids": response, "loss_mask": [float(value) for value in mask]
        },
        "prompt by the wrong name": {"prompt_ids": whole, "response_ids": padded_response},
    }  # fmt: skip
    name = data.draw(st.sampled_from(sorted(entries)))
    assert seen(read(entries[name])) == plain


@given(question, responses)
def test_a_mask_needs_no_tags(prompt, parts):
    renamed = [(text.replace("result>", "found>"), owned) for text, owned in parts]
    response = [token for text, _ in renamed for token in TOKENIZER.encode(text)]
    mask = [int(owned) for text, owned in renamed for _ in TOKENIZER.encode(text)]
    found = read({"prompt_ids": prompt, "response_ids": response, "response_mask": mask})
    tools = [text.rpartition("</")[2].rstrip(">") for text, owned in parts[:-1] if owned]
    assert [(s.tool, s.round) for s in found.segments] == [(None, 0), *zip(tools, range(1, 9), strict=False)]
    assert [s.tokens for s in found.segments] == [TOKENIZER.encode(text) for text, owned in renamed if owned]


@given(question, responses, st.integers(3, 5))
def test_padding_by_an_unknown_token_is_refused(prompt, parts, count):
    response = [token for text, _ in parts for token in TOKENIZER.encode(text)]
    padded = [0] * count + prompt
    with pytest.raises(UserError, match="begins with token 0 several times, which is not the tokenizer's"):
        read({"prompt_ids": padded, "response_ids": response})
    attention = [0] * count + [1] * (len(prompt) + len(response))
    entry = {"prompts": padded, "responses": response, "attention_mask": attention}
    assert seen(read(entry)) == seen(read({"prompt_ids": prompt, "response_ids": response}))


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"input_ids": [7, 8], "response_ids": [8]}, "prompt=input_ids or whole=input_ids"),
        ({"input_ids": [1, 2, *range(20, 40)], "response_ids": [*range(20, 50)]}, "in 1 of 1 lines"),
        ({"input": "Why?", "output": "Why? Because"}, "whole=output if it is the whole sequence"),
        ({"input": "a", "output": "b", "prompt": "c", "response": "d"}, "/output and prompt/response differ"),
        ({"prompt_ids": [1], "response_ids": [2, 3], "loss_mask": [1]}, "1 values for 2 tokens"),
        ({"prompt_ids": [1], "response_ids": [2, 3], "loss_mask": [1, 2]}, "not a list of 0 and 1"),
        ({"prompt_ids": [1], "response_ids": [2, 3, 4], "loss_mask": [0, 1, 1]}, "stand for the tool's"),
        (
            {"prompt_ids": [1], "response_ids": [2, 3, 4], "loss_mask": [1, 0, 1], "action_mask": [1, 0, 0]},
            None,
        ),
        (
            {
                "prompt_ids": [1], "response_ids": [*range(4)], "loss_mask": [1, 0, 1, 1],
                "action_mask": [1, 0, 0, 1],
            },
            "masks loss_mask and action_mask differ",
        ),
        ({"input": "q\n", "output": [{"role": "assistant", "content": "a"}]}, "'output': not a text but messages"),
        ({"input": "q\n", "output": json.dumps(ANSWER)}, "'output': messages as JSON text; write"),
        ({"input": json.dumps(ANSWER), "output": "a"}, "'input': messages as JSON text; write"),
        ({"prompts": ANSWER, "responses": ANSWER}, "'responses': messages do not tell which tokens"),
        ({"messages": ANSWER}, "'messages': messages do not tell which tokens"),
        ({"input": [{"role": "assistant", "content": "a"}], "output": "b"}, "it is not the prompt"),
        ({"prompt_ids": [1], "response_ids": [2, 2**63]}, "'response_ids': not a list of token ids"),
        ({"tokens": [1, 2], "response_length": 3}, "'response_length': not within 'tokens'"),
    ],
)  # fmt: skip
def test_what_names_and_content_leave_open_is_refused(entry, line):
    if line is None:
        read(entry)
        return
    with pytest.raises(UserError) as error:
        read(entry)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "keys", "said"),
    [
        ({"prompt_ids": [1], "response_ids": [2, 3], "n": 3}, "mask=n", " 'n': not a list of 0 and 1"),
        ({"ids": [1, 2, 3]}, "whole=ids", ": nothing tells the response in 'ids'; name its prompt"),
    ],
)
def test_a_key_that_is_not_what_was_said_is_refused(entry, keys, said):
    with pytest.raises(UserError) as error:
        read(entry, keys)
    assert str(error.value).startswith(f"1.jsonl: line 1{said}")


def test_the_user_settles_what_is_open():
    ids = {"input_ids": [7, 8], "response_ids": [8]}
    assert read(ids, "prompt=input_ids").tokens == [7, 8, 8]
    assert read(ids, "whole=input_ids").tokens == [7, 8]
    texts = {"input": "Why?", "output": "Why? Because"}
    assert TOKENIZER.decode(read(texts, "whole=output").tokens) == "Why? Because"
    assert TOKENIZER.decode(read(texts, "prompt=input").tokens) == "Why?Why? Because"
    other = {"question": "q", "answer": "a", "input": "x"}
    assert TOKENIZER.decode(read(other, "prompt=question,response=answer").tokens) == "qa"
    for wrong in ("prompt", "tool=x", "prompt=", "prompt=a,prompt=b"):
        with pytest.raises(UserError, match="keys "):
            parse_keys(wrong)


def dump(directory, name, entries):
    directory.mkdir(exist_ok=True)
    (directory / name).write_text("\n".join(json.dumps(entry) for entry in entries))


PROMPT = "user\nq1?\nassistant\n"
OUTPUT = "a<search>N</search> <result>\nN\n</result>b"
SLIME = {"prompt": PROMPT, "response": OUTPUT, "tokens": [1, 2], "response_length": 1}
PLAIN = {"input": PROMPT, "output": OUTPUT, "step": 3}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.jsonl", json.dumps(PLAIN | {"score": float("nan"), "acc": float("inf")})),
        ("x.jsonl", "\ufeff" + json.dumps(PLAIN)),
        ("x.jsonl", json.dumps(PLAIN | {"step": "3"})),
        ("x.jsonl", json.dumps(PLAIN | {"step": 3.0})),
        ("x.jsonl", json.dumps({"global_step": 3, "prompt": PROMPT, "response": OUTPUT})),
        ("3.jsonl", json.dumps({"input_prompt": PROMPT, "output_response": OUTPUT, "score": 1.0})),
        ("rollout_3.jsonl", json.dumps({"prompt": PROMPT, "completion": OUTPUT})),
        ("rollout_3.jsonl", json.dumps(SLIME)),
        ("step-3.json", json.dumps([{"prompt": PROMPT, "response": OUTPUT, "response_with_loss_mask": OUTPUT}])),
        ("3.json", json.dumps([PLAIN], indent=2)),
        ("3.jsonl", json.dumps({"input": PROMPT, "output": PROMPT + OUTPUT})),
        ("3.jsonl", json.dumps({"input": PROMPT + OUTPUT, "output": OUTPUT})),
        ("3.jsonl", json.dumps({"input": [{"role": "user", "content": "q1?"}], "output": OUTPUT})),
        ("3.jsonl", json.dumps({"prompt": chatml([{"role": "user", "content": "q1?"}]), "response": OUTPUT})),
    ],
    ids=range(14),
)  # fmt: skip
def test_key_names_and_files_of_other_trainers(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    (file,) = find_dumps(tmp_path)
    (found,) = read_dumps(file)
    assert found.global_step == 3
    plain = Retokenizer(TOKENIZER, TOOLS).read(Line("", PROMPT, OUTPUT))
    trajectory = Retokenizer(TOKENIZER, TOOLS).read(found.lines[0])
    assert seen(trajectory) == seen(plain)
    assert trajectory.is_prompt_exact


@pytest.mark.parametrize("name", ["3.jsonl.gz", "3.json.gz", "3.jsonl"])
def test_a_gzipped_dump_reads_as_the_plain_one(tmp_path, name):
    plain = tmp_path / "plain.jsonl"
    plain.write_text(json.dumps(PLAIN) + "\n" + json.dumps(PLAIN))
    (tmp_path / "dumps").mkdir()
    text = json.dumps([PLAIN, PLAIN]).encode() if ".json." in name else plain.read_bytes()
    (tmp_path / "dumps" / name).write_bytes(gzip.compress(text))
    ((expected,), (found,)) = map(read_dumps, (plain, *find_dumps(tmp_path / "dumps")))
    assert found.global_step == 3
    assert [(line.prompt, line.response) for line in found.lines] == [(PROMPT, OUTPUT)] * 2
    assert found.readings == expected.readings


@pytest.mark.parametrize("step", ["9" * 5000, math.nan, True])
def test_what_is_no_step_number_is_refused(tmp_path, step):
    (tmp_path / "dump.jsonl").write_text(json.dumps({"input": "q", "output": "a", "step": step}))
    with pytest.raises(UserError) as error:
        read_dumps(tmp_path / "dump.jsonl")
    assert str(error.value).endswith(
        "dump.jsonl: line 1 'step': not a step number; add it, or name the file <step>.jsonl"
    )


@pytest.mark.parametrize("score", [10**400, math.nan, math.inf, "1"])
def test_a_score_that_is_no_finite_number_is_none(tmp_path, score):
    entry = {"input": "q", "output": "a", "other": math.nan, "score": score}
    (tmp_path / "1.jsonl").write_text(json.dumps(entry))
    ((line,),) = [dump.lines for dump in read_dumps(tmp_path / "1.jsonl")]
    assert line.score is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(b"{}" * 100)[:-9], "gunzip it"),
        (b"\x1f\x8bno", "gunzip it"),
        (pickle.dumps([PLAIN]), "a pickle, which may run code"),
        (gzip.compress(pickle.dumps([PLAIN])), "a pickle, which may run code"),
        (b"PAR1....", "a Parquet file"),
    ],
    # Without names of their own two workers would see two: gzip writes the time.
    ids=["cut short", "not gzip", "pickle", "gzipped pickle", "Parquet"],
)
def test_a_file_of_another_kind_is_refused(tmp_path, data, said):
    (tmp_path / "3.jsonl").write_bytes(data)
    with pytest.raises(UserError, match=said) as error:
        read_dumps(tmp_path / "3.jsonl")
    assert str(error.value).startswith(f"{tmp_path / '3.jsonl'}: ")
    assert "\n" not in str(error.value)


def look(directory, **settings):
    settings = RescoreSettings("model", str(directory), **settings)
    return survey(find_dumps(directory), settings, lambda model: TOKENIZER)[0]


def test_what_was_understood_is_said(tmp_path):
    ids = TOKENIZER.encode(chatml([{"role": "user", "content": "q"}]))
    response = TOKENIZER.encode(OUTPUT)
    mask = [int(index < 20 or index >= len(response) - 1) for index in range(len(response))]
    entry = {"prompts": ids, "responses": response, "response_mask": mask}
    dump(tmp_path, "1.jsonl", [entry])
    dump(tmp_path, "2.jsonl", [PLAIN, PLAIN | {"input": "no roles"}])
    found = look(tmp_path)
    assert found.sentences() == [
        "prompt = input, response = output (2 lines)",
        "prompt = prompts, response = responses, mask = response_mask (1 lines)",
        "1 of 3 lines without turn markers, which could not be put back",
        "2 results in <result>",
        "1 results by mask",
    ]


def test_a_mask_that_contradicts_the_tags_is_refused(tmp_path):
    ids, response = TOKENIZER.encode("user\nq\nassistant\n"), TOKENIZER.encode(OUTPUT)
    dump(tmp_path, "1.jsonl", [{"prompts": ids, "responses": response, "response_mask": [1] * len(response)}])
    with pytest.raises(UserError, match="mask counts what the tags show as tools' results as the policy's"):
        look(tmp_path)
    assert look(tmp_path, keys=(("mask", ""),)).results.total() == 1


def test_validation_dumps_are_kept_apart_or_named(tmp_path):
    def entries(step, count, **more):
        return [
            PLAIN | {"input": f"user\nq{step}-{i}\nassistant\n", "step": step} | more
            for i in range(3)
            for _ in range(count)
        ]

    for step in (1, 2, 3, 4):
        dump(tmp_path, f"{step}.jsonl", entries(step, 2))
    dump(tmp_path, "5.jsonl", entries(5, 1, reward=1.0))
    found = look(tmp_path)
    assert found.validations == {(tmp_path / "5.jsonl", 5)}
    assert "validations, kept apart: 5.jsonl" in found.sentences()
    # As often answered as in training, and no second one to compare with: it is named alone.
    dump(tmp_path, "5.jsonl", entries(5, 2, reward=1.0))
    found = look(tmp_path)
    assert found.validations == set()
    assert any("perhaps validations, read as training: 5.jsonl" in line for line in found.sentences())
    # Two with the same questions, which no other dump asks.
    dump(tmp_path, "10.jsonl", [entry | {"step": 10} for entry in entries(5, 2, reward=0.5)])
    assert {step for _, step in look(tmp_path).validations} == {5, 10}


@given(st.lists(st.sampled_from(["user", "assistant", "system", "a\nb", "c"]), min_size=1, max_size=5))
def test_a_text_that_ends_with_its_response_is_whole(lines):
    prompt = "user\n" + "\n".join(lines) + "\nassistant\n"
    assume(not prompt.endswith(OUTPUT))
    plain = read({"input": prompt, "output": OUTPUT})
    assert seen(read({"input": prompt + OUTPUT, "output": OUTPUT})) == seen(plain)
    assert seen(read({"input": prompt, "output": prompt + OUTPUT})) == seen(plain)


def with_tag(tag, answer):
    return f"<think>a</think>\n<search>q</search>\n\n<{tag}>{answer}</{tag}>\n\n<answer>b</answer>"


@pytest.mark.parametrize("tag", ["information", "observation", "tool_result", "interpreter", "result"])
@given(st.text("ab \n", max_size=10).map(str.strip))
def test_a_known_results_tag_is_taken_by_itself(tmp_path_factory, tag, answer):
    directory = tmp_path_factory.mktemp("dump")
    dump(directory, "1.jsonl", [{"input": PROMPT, "output": with_tag(tag, answer)}])
    found = look(directory)
    assert +found.results == {tag: 1}
    trajectory = Retokenizer(TOKENIZER, TOOLS, found.tags).read(Line("", PROMPT, with_tag(tag, answer)))
    assert TOKENIZER.decode(trajectory.segments[1].tokens) == "<answer>b</answer>"
    assert trajectory.segments[1].tool == "search"


@pytest.mark.parametrize(
    ("output", "settings", "said"),
    [
        (with_tag("documents", "x"), {}, "<documents> comes right after </search> 1 times: if it is the result's"),
        (with_tag("information", "x").replace("search>", "look>"), {}, "policy's tools; <information> comes"),
        (with_tag("information", "x") + "I want <information>", {}, "in 1 of 2 places; name the results' tags"),
        (with_tag("information", "x"), {"tags": ("observation",)}, "no tool result (<observation> after </search>"),
        ("no tool at all", {}, "name the policy's tools"),
    ],
    ids=["unknown tag", "unknown tool", "a tag that strays", "another tag named", "none"],
)  # fmt: skip
def test_a_results_tag_that_is_not_certain_is_asked_for(tmp_path, output, settings, said):
    dump(tmp_path, "1.jsonl", [{"input": PROMPT, "output": output}])
    with pytest.raises(UserError) as error:
        look(tmp_path, **settings)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_results_tag_may_be_named(tmp_path):
    dump(tmp_path, "1.jsonl", [{"input": PROMPT, "output": with_tag("documents", "x")}])
    assert look(tmp_path, tags=("documents",)).results == {"documents": 1}


def test_text_is_used_where_the_ids_are_another_tokenizers(tmp_path):
    dump(tmp_path, "1.jsonl", [SLIME])
    found = look(tmp_path)
    assert (found.results["result"], found.ids_differ) == (1, 1)


def test_markers_are_counted_in_the_text_that_is_used(tmp_path):
    dump(tmp_path, "1.jsonl", [SLIME | {"prompt": "no roles"}])
    (found,) = read_dumps(tmp_path / "1.jsonl")
    (line,) = found.lines
    assert not Retokenizer(TOKENIZER, TOOLS).read(line).is_prompt_exact
    said = look(tmp_path).sentences()
    assert "1 of 1 lines without turn markers, which could not be put back" in said
    assert not any("all with their turn markers" in sentence for sentence in said)


def test_a_whole_text_with_markers_beside_a_prompt_without_is_refused():
    chat = [{"role": "user", "content": "Which river is longer?"}]
    prompt = TOKENIZER.decode(TOKENIZER.encode(chatml(chat)), skip_special_tokens=True)
    with pytest.raises(UserError, match="line 1: the response begins with the prompt, with other markers"):
        read({"input": prompt, "output": chatml(chat) + OUTPUT})


def test_a_mask_is_no_contradiction_where_the_policy_speaks_of_the_tag(tmp_path):
    ids, mentions = TOKENIZER.encode("user\nq\nassistant\n"), TOKENIZER.encode("I see <result> here")
    response = TOKENIZER.encode(OUTPUT)
    other = [int(at < 12 or at >= len(response) - 1) for at in range(len(response))]
    entry = {"prompts": ids, "responses": mentions, "response_mask": [1] * len(mentions)}
    dump(tmp_path, "1.jsonl", [entry])
    with pytest.raises(UserError, match="no tool result"):
        look(tmp_path)
    dump(tmp_path, "1.jsonl", [entry, {"prompts": ids, "responses": response, "response_mask": other}])
    assert look(tmp_path).masked_results == 1
