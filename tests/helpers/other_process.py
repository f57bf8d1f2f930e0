"""Records from an engine in another process: python other_process.py AGENT OUT WAY

WAY is how the tap gets there: `extension`, or `pickle`, which the environment has to allow; before it does, the
error is written down.
"""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from engines import ToolRollout, make_prompts, make_rollout, start_engine

from arpo_entropy_recorder.errors import UserError
from arpo_entropy_recorder.mixin import record_entropy
from arpo_entropy_recorder.taps.engine import EXTENSION

TEXTS = ("Who wrote it?", "Where is the longest river?", "Why?")


def main():
    agent, out, way = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "1"
    if way == "pickle":
        os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"
    from transformers import AutoTokenizer

    options = {"worker_extension_cls": EXTENSION} if way == "extension" else {}
    llm, tokenizer = start_engine(agent, **options), AutoTokenizer.from_pretrained(agent)
    report = {"client": type(llm.llm_engine.engine_core).__name__}

    def rollout():
        recording = record_entropy(ToolRollout)
        return make_rollout(recording, llm, tokenizer, out, n=2, temperature=0.8, entropy_window=2)

    if way == "pickle":
        del os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"]
        try:
            rollout()
        except UserError as error:
            report["error"] = str(error)
        os.environ["VLLM_ALLOW_INSECURE_SERIALIZATION"] = "1"

    loop = rollout()
    for step in (1, 2):
        loop.generate_sequences(make_prompts(tokenizer, TEXTS, global_steps=step))
        report[str(step)] = [asdict(segment) for segment in loop.segments]
    report["history"] = loop.arpo_entropy_recorder.entropy_history is not None
    (out / "report.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main()
