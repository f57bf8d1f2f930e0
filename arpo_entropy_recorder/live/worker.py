"""In an engine's worker: joins the resident tap to the sender."""

from __future__ import annotations

import logging
import os
import socket
from functools import partial
from typing import Any

import msgspec

from arpo_entropy_recorder.live.job import Job
from arpo_entropy_recorder.live.mark import read_mark
from arpo_entropy_recorder.live.messages import Hello
from arpo_entropy_recorder.live.sender import Sender
from arpo_entropy_recorder.recorder.guard import warn

logger = logging.getLogger(__name__)


def start_recording(worker: Any) -> Sender | None:
    """Attach the resident tap of this process's job to the worker's model runner.

    Returns its sender; None where another rank of the group records, where there is no job, or
    where the tap is there already. An engine whose
    logits cannot be reached is logged in one line and reported to the collector.
    """
    job = Job.from_environ()
    if job is None:
        return None
    from arpo_entropy_recorder.taps.attach import data_parallel_rank, is_recording_rank, resident_tap
    from arpo_entropy_recorder.taps.resident import ATTRIBUTE
    from arpo_entropy_recorder.taps.tap import Unsupported

    runner = worker.model_runner
    if not is_recording_rank(runner):
        return None
    if (tap := getattr(runner, ATTRIBUTE, None)) is not None:
        # Set up anew: its batch and its sampler may be others now.
        tap.detach()
        tap.attach()
        return None
    import vllm

    me = Hello(
        host=socket.gethostname(),
        pid=os.getpid(),
        engine=str(data_parallel_rank(worker)),
        runner=f"{type(runner).__module__}.{type(runner).__name__}",
        version=vllm.__version__,
    )
    try:
        tap = resident_tap(worker, job.window, partial(read_mark, job.token))
    except Unsupported as error:
        warn(logger, "not recording: %s", error)
        return Sender(job, msgspec.structs.replace(me, refused=str(error)))
    sender = Sender(job, me, tap.counters)
    tap.emit, tap.lose = sender.put, sender.lose
    tap.attach()
    warn(logger, "marked requests are recorded in this worker (%s)", me.runner)
    return sender
