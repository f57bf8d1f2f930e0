"""Rollout loops with habits that forks have, without an engine, each with books of its own of what is true.

Every token is a new int object, as an engine's and a tokenizer's are. What a loop passes goes the way of a recorded
`generate`: `generate_arguments`, `TrajectoryTracker`, `Batch`.
"""

import random
from types import SimpleNamespace

import numpy as np

from arpo_entropy_recorder.recorder.batch import Batch
from arpo_entropy_recorder.recorder.generate_call import generate_arguments
from arpo_entropy_recorder.recorder.lineage import TrajectoryTracker
from arpo_entropy_recorder.recorder.results import ResultForm

TOOLS = ("search", "python")
# Tokens that results begin and end with.
BEGIN, END = 800, 777
HABITS = (
    "none", "mid-segment branches", "branches before the result", "rollbacks", "notices", "several results",
    "results with tags", "cut results", "hints", "empty results", "empty completions", "equal texts", "restarts",
    "reordering", "pauses", "scoring", "shared rows", "rows that are prefixes", "several completions",
    "starts midway", "edited prompts", "over-long segments",
)  # fmt: skip
# How a loop keeps a trajectory's list, and what it passes of it.
STYLES = ("in place", "dicts", "copied", "tuples", "child lists", "rebuilt", "fresh", "arrays")
KEPT_IN_PLACE = STYLES[:5]


class Sample:
    """What a loop knows of one of its trajectories."""

    def __init__(self, idx, row, tokens, parent=None, history=(), is_midway=False):
        self.idx, self.row, self.tokens, self.parent, self.is_midway = idx, row, tokens, parent, is_midway
        # The end of each result that the tokens hold, and its tool.
        self.history = list(history)
        self.segment = (len(tokens), len(tokens))
        self.was_passed = False
        # Up to here it was its parent, or was given to it if it has none.
        self.shared = self.start_len = len(tokens)

    @property
    def truth(self):
        after = bool(self.history) and self.history[-1][0] == len(self.tokens)
        tool = self.history[-1][1] if after else None
        return {
            "sample": self.idx, "row": self.row, "parent": self.parent, "round": len(self.history), "tool": tool,
            "after": after, "midway": self.is_midway,
        }  # fmt: skip


class Loop:
    """A loop with some of HABITS and one of STYLES; `books` has for each segment the truth and what was found."""

    def __init__(self, seed, habits, style):
        self.rng, self.habits, self.style = random.Random(seed), set(habits), style
        self.alphabet = 2 if "equal texts" in self.habits else 10**6
        self.prompts = [[1000 + i, *self.text(0, 4), 2000 + i] for i in range(self.rng.randint(1, 3))]
        if "shared rows" in self.habits:
            self.prompts.append(list(self.prompts[0]))
        if "rows that are prefixes" in self.habits:
            self.prompts.append([*self.prompts[0], *self.text(1, 2)])
        length = max(map(len, self.prompts))
        table = np.array([[0] * (length - len(p)) + p for p in self.prompts])
        batch = Batch(SimpleNamespace(batch={"input_ids": table}, meta_info={}), pad_token_id=0)
        self.tracker = TrajectoryTracker(ResultForm(lambda tokens: tokens[-1] == END), batch)
        self.samples, self.live, self.finished, self.books = [], [], [], []
        insert = self.text(2, 2) if "edited prompts" in self.habits else []
        self.starts = [[*self.renewed(p[:1]), *insert, *self.renewed(p[1:])] for p in self.prompts]
        for row, start in enumerate(self.starts):
            for _ in range(self.rng.randint(1, 2) if "shared rows" not in self.habits else 2):
                history, rest = self.midway(row) if "starts midway" in self.habits else ((), [])
                ends = [(len(start) + end, tool) for end, tool in history]
                self.live.append(self.add(row, [*start, *rest], None, ends, bool(rest)))

    def renewed(self, tokens):
        return [int(str(token)) for token in tokens]

    def text(self, low, high):
        return [
            int(str(5000 + self.rng.randrange(self.alphabet))) for _ in range(self.rng.randint(low, high))
        ]

    def midway(self, row):
        """A part of a response that another loop made: where its results end, and its tokens.

        Each prompt's is of its own: the same behind all prompts is a text that the loop puts there.
        """
        rest = [int(str(4000 + self.prompts.index(self.prompts[row]))), *self.text(1, 3)]
        if self.rng.random() < 0.5:
            rest += [*self.result(plain=True), *self.text(0, 2)]
        ends = [(i + 1, None) for i, token in enumerate(rest) if token == END]
        return ends, rest

    def result(self, plain=False):
        body = self.text(0, 3)
        if not plain and "results with tags" in self.habits and self.chance():
            body += [int(str(END)), int(str(BEGIN)), *self.text(0, 1)]
        result = self.renewed([BEGIN]) + body + self.renewed([END])
        if not plain and "several results" in self.habits and self.chance():
            result += self.renewed(result)
        if not plain and "cut results" in self.habits and self.chance():
            result = result[: self.rng.randint(1, len(result))]
        return result

    def chance(self, p=0.4):
        return self.rng.random() < p

    def add(self, row, tokens, parent=None, history=(), is_midway=False):
        self.samples.append(Sample(len(self.samples), row, tokens, parent, history, is_midway))
        return self.samples[-1]

    def append(self, sample, tokens, is_result=False):
        if self.style in KEPT_IN_PLACE and not (self.style == "child lists" and is_result):
            sample.tokens.extend(tokens)
        else:
            sample.tokens = sample.tokens + tokens

    def form(self, tokens):
        """What `generate` is given of a list."""
        if self.style == "copied":
            return tokens.copy()
        if self.style == "fresh":
            return self.renewed(tokens)
        if self.style == "dicts":
            return {"prompt_token_ids": tokens}
        return {"tuples": tuple, "arrays": np.array}.get(self.style, lambda same: same)(tokens)

    def generate(self, samples, n=1):
        for sample in samples:
            sample.was_passed = True
        lists = [self.form(sample.tokens) for sample in samples]
        return self.tracker.begin(*generate_arguments((lists, SimpleNamespace(n=n)), {}))

    def run(self, rounds=5):
        """Some rounds; then what was found of the segments is final."""
        n = 2 if "several completions" in self.habits else 1
        for _ in range(rounds):
            if self.live:
                self.round(n)
                n = 1
        # Whatever pauses or was scored comes once more: of what never does, nobody could tell that it was there.
        self.habits -= {"pauses"}
        self.round(n, is_last=True)
        self.tracker.settle()
        return self.books

    def round(self, n, is_last=False):
        turn = [s for s in self.live if not ("pauses" in self.habits and self.chance(0.3))]
        resting = [s for s in self.live if s not in turn]
        if "reordering" in self.habits:
            self.rng.shuffle(turn)
        if not turn:
            return
        segments = self.generate(turn, n)
        if n > 1:
            turn = [s if i == 0 else self.twin(s) for s in turn for i in range(n)]
        self.books += [(sample.truth, segment) for sample, segment in zip(turn, segments, strict=True)]
        written = [
            [] if "empty completions" in self.habits and self.chance(0.2) else self.text(1, 6) for _ in turn
        ]
        ends = [self.rng.choice(["tool", "tool", "tool", "length", "eos"]) for _ in turn]
        tools = [self.rng.choice(TOOLS) for _ in turn]
        self.tracker.end(
            written,
            [f"</{tool}>" if end == "tool" else None for end, tool in zip(ends, tools, strict=True)],
            ["length" if end == "length" else "stop" for end in ends],
        )
        self.live = resting
        for sample, tokens, end, tool in zip(turn, written, ends, tools, strict=True):
            self.advance(sample, tokens, end, tool)
        if "scoring" in self.habits and self.chance() and not is_last:
            self.score()
        if not is_last:
            self.branch()

    def twin(self, sample):
        """Another completion of the sample's prompt."""
        return self.add(sample.row, list(sample.tokens), sample.parent, sample.history, sample.is_midway)

    def advance(self, sample, tokens, end, tool):
        before = len(sample.tokens)
        self.append(sample, tokens)
        sample.segment = (before, len(sample.tokens))
        if end == "eos":
            self.finished.append(sample)
            return
        self.live.append(sample)
        if end == "length" and "over-long segments" in self.habits and len(tokens) > 3:
            if self.style in KEPT_IN_PLACE and self.chance(0.5):
                del sample.tokens[before + 2 :]
                sample.tokens += self.text(1, 1)
            else:
                sample.tokens = [*sample.tokens[: before + 2], *self.text(1, 1)]
            sample.segment = (before, before + 2)
        if end != "tool":
            return
        if "branches before the result" in self.habits and self.chance():
            # Of a sample that came back without a token it is a sibling: neither has written what they share.
            twin = self.add(sample.row, sample.tokens.copy(), *self.origin(sample, len(sample.tokens)))
            self.answer(twin, tool)
            self.live.append(twin)
        self.answer(sample, tool)

    def answer(self, sample, tool):
        if "notices" in self.habits and self.chance():
            self.append(sample, self.renewed([900, 901, 902]))
        elif not ("empty results" in self.habits and self.chance()):
            hint = self.text(1, 2) if "hints" in self.habits and self.chance() else []
            self.append(sample, self.result() + hint, is_result=True)
            sample.history.append((len(sample.tokens), tool))

    def score(self):
        """A call of its own on a trajectory with a question behind it, in a list that is used once."""
        source = self.rng.choice([s for s in self.live + self.finished if s.was_passed])
        tokens = [*source.tokens, *self.renewed([950, 951])]
        judge = self.add(source.row, tokens, *self.origin(source, len(source.tokens)))
        # Of a source that has nothing but its start it is a start itself, and one beyond its row.
        judge.is_midway |= judge.parent is None
        (segment,) = self.generate([judge])
        self.books.append((judge.truth, segment))
        self.tracker.end([self.text(1, 2)], [None], ["stop"])

    def branch(self):
        for sample in list(self.live):
            if self.habits <= {"none", "reordering", "pauses", "equal texts"} and self.chance(0.3):
                self.branch_at(sample, len(sample.tokens))
        for sample in self.live[:2] + self.finished[-2:]:
            start, end = sample.segment
            if "mid-segment branches" in self.habits and end - start > 1 and self.chance():
                self.branch_at(sample, self.rng.randint(start + 1, end - 1))
            if "rollbacks" in self.habits and end > start and self.chance():
                self.branch_at(sample, start)
        if "restarts" in self.habits and self.chance():
            row = self.rng.randrange(len(self.starts))
            self.live.append(self.add(row, list(self.starts[row])))

    def branch_at(self, source, length):
        self.live.append(self.add(source.row, source.tokens[:length], *self.origin(source, length)))
        self.live[-1].shared = length

    def origin(self, source, length):
        """The parent and the history of what has the first tokens of a sample, and whether it starts midway."""
        history = [entry for entry in source.history if entry[0] <= length]
        while source.parent is not None and length <= source.shared:
            # Its parent has written these tokens.
            source = self.samples[source.parent]
        is_start = source.parent is None and length <= source.start_len
        is_midway = is_start and length > len(self.starts[source.row])
        return None if is_start else source.idx, history, is_midway


def found_of(segment):
    return {
        "sample": segment.sample_idx, "row": segment.prompt_idx, "parent": segment.parent_idx, "round": segment.round,
        "tool": segment.tool, "after": segment.is_after_tool_call, "midway": segment.mid_start,
    }  # fmt: skip


def wrong_in_silence(books):
    """The segments that are labelled wrong and not marked as unsure.

    Where an unsure one was taken for another trajectory, those that come later have other numbers than in the books;
    so numbers need only correspond one to one.
    """
    number_of, wrong = {None: None}, []
    for truth, segment in books:
        if segment.unsure:
            continue
        found = found_of(segment)
        known = number_of.setdefault(truth["sample"], found["sample"])
        expected = dict(truth, sample=known, parent=number_of.get(truth["parent"], found["parent"]))
        if found != expected or list(number_of.values()).count(known) > 1:
            wrong.append((truth, found))
    return wrong
