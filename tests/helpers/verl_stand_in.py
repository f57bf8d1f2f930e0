"""A server that stands in for verl's vLLM server: scripted tokens, and entropies that tell prompts apart."""

import hashlib
import math
import os


def nats_of(prompt, position=0):
    """The entropy that the stand-in gives for a token behind `prompt`: any number that tells prompts apart."""
    digest = hashlib.sha256(repr((list(map(int, prompt)), position)).encode()).digest()
    return int.from_bytes(digest[:4], "little") / 2**32 * math.log(200)


class StandInServer:
    """Answers requests as verl's vLLM server does, from a script, and sends entropies as an engine's worker does."""

    def __init__(self, model, window, aborts=0.0, silent=False):
        from transformers import AutoTokenizer

        from arpo_entropy_recorder.live.job import Job
        from arpo_entropy_recorder.live.verl.actor import MEMBERSHIP

        if os.environ.get("ARPO_ENTROPY_DISABLE") != "1":
            # As the hook on verl's server does, which is then not put on.
            MEMBERSHIP.enter_environment()
        self.job = Job.from_environ()
        self.tokenizer = AutoTokenizer.from_pretrained(model)
        self.window, self.aborts, self.silent = window, aborts, silent
        self.version, self.socket, self.marked, self.served, self.aborted = 0, None, 0, 0, 0
        self.params = []

    def set_version(self, version):
        self.version = version

    def counts(self):
        return {"served": self.served, "marked": self.marked, "aborted": self.aborted, "params": self.params}

    async def generate(
        self, request_id, prompt_ids, sampling_params, image_data=None, video_data=None, **kwargs
    ):
        from verl.workers.rollout.replica import TokenOutput

        self.served += 1
        self.params = sorted(sampling_params)
        prompt = list(prompt_ids)
        chance = nats_of(prompt, -self.served) / math.log(200)
        kind = "search" if chance < 0.4 else "python" if chance < 0.7 else None
        text = (
            "<answer>done</answer><|im_end|>" if kind is None else f"look <{kind}>Thing{self.served}</{kind}>"
        )
        if chance < 0.1:
            text += "<python>1+1</python>"
        tokens = self.tokenizer.encode(text, add_special_tokens=False)
        stop = "completed"
        # By the request's number: a resumed one must not be cut for ever.
        if self.aborts and nats_of(prompt, self.served) / math.log(200) < self.aborts:
            tokens, stop = tokens[: self.served % 3], "aborted"
            self.aborted += 1
        self.send(prompt, tokens, sampling_params)
        return TokenOutput(
            token_ids=tokens, log_probs=None, stop_reason=stop, extra_fields={"global_steps": self.version}
        )

    def send(self, prompt, tokens, params):
        import zmq

        from arpo_entropy_recorder.live.mark import read_mark
        from arpo_entropy_recorder.live.messages import encode_values

        key = self.job and read_mark(self.job.token, params.get("extra_args"))
        if not key:
            return
        self.marked += 1
        if self.silent:
            return
        if self.socket is None:
            self.socket = zmq.Context.instance().socket(zmq.PUSH)
            self.socket.connect(self.job.address)
        # An engine may have sampled a token more than an aborted request gives back.
        places = range(min(len(tokens) + 1, self.window))
        nats = [nats_of(prompt + tokens[:position]) for position in places]
        for frame in encode_values(self.job.token, [(key, position) for position in places], nats):
            self.socket.send(frame)
