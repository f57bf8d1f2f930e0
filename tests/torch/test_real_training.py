"""The dump of a recorded ARPO training is joined with its records, by the tokenizer of the model that wrote both."""

from pathlib import Path

from demo_model import MODEL, needs_model
from recorded_run import lines_by_step
from transformers import AutoTokenizer

from arpo_entropy_recorder.report.join import AMBIGUOUS, CUT, JOINED, MISSING, Join
from arpo_entropy_recorder.step_files.read import read_steps

pytestmark = needs_model
RUN = Path(__file__).resolve().parents[1] / "data" / "real_training"


def test_each_trajectory_has_its_line_of_arpos_dump():
    """But where two of a prompt wrote the same; five lines ARPO cut to 128 tokens after the rollout."""
    join = Join(RUN / "rollout", AutoTokenizer.from_pretrained(MODEL))
    lines = lines_by_step(RUN / "rollout", range(1, 21))
    for step in read_steps([RUN / "entropies"]):
        for dumped in join.of(step).values():
            of_prompt = [line for line in lines[step.global_step] if line["input"] == dumped.prompt]
            assert dumped.score in [line["score"] for line in of_prompt]
    assert join.counts == {JOINED: 154, CUT: 5, AMBIGUOUS: 6, MISSING: 0}
