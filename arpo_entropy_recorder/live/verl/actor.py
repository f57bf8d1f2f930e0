"""The job's collector as a named Ray actor, and how the job's processes reach it.

The first process that needs the actor makes it, and with it the job's token and address. Both are handed out by Ray's
own calls and never by its runtime environment, which Ray logs and shows in its dashboard. A process that starts an
engine puts them into its environment, which the engine's processes inherit.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from arpo_entropy_recorder.live.collector import Collector
from arpo_entropy_recorder.live.job import Job, new_local_address, new_token
from arpo_entropy_recorder.live.source import WAIT_S
from arpo_entropy_recorder.live.status import MAX_PROCESSES, Process, Status, StatusFile, Worker, this_process
from arpo_entropy_recorder.live.steps import LiveSteps
from arpo_entropy_recorder.live.trajectory import Trajectory
from arpo_entropy_recorder.recorder.guard import warn
from arpo_entropy_recorder.recorder.settings import Settings

logger = logging.getLogger(__name__)

NAME = "arpo_entropy_collector"
# What a process does in the job.
AGENT_LOOP, TRAINER = "agent loop worker", "trainer"
# Calls that run at the same time: most of them wait for a lock for microseconds.
THREADS = 8
# An actor's process starts in seconds, but Ray gives it a low priority: beside busy ones it took 40 s.
JOIN_TIMEOUT_S = 120.0
CALL_TIMEOUT_S = WAIT_S + 25.0
MAX_UNANSWERED = 3


class CollectorActor:
    """Receives values from the engines' workers and trajectories from the agent loops, and writes the step files."""

    def __init__(self) -> None:
        settings = Settings.read({})
        job = Job(new_token(), _address(), settings.window)
        self._collector = Collector(job)
        self._job = replace(job, address=self._collector.address)
        self._steps = LiveSteps(self._collector, settings)
        self._started, self._ended = time.time(), False
        # A dict keeps the order in which they joined.
        self._processes: dict[Process, None] = {}
        self._file = StatusFile(settings.save_dir, self.status)

    def environ(self) -> dict[str, str]:
        """The variables that tell a process of this job, its token among them."""
        return self._job.environ()

    def joined(self, process: Process) -> None:
        """A process has a part in the job."""
        if len(self._processes) < MAX_PROCESSES:
            self._processes[process] = None

    def describe(self, info: Mapping[str, Any]) -> None:
        """See `LiveSteps.describe`."""
        self._steps.describe(info)

    def add(self, trajectory: Trajectory) -> None:
        """See `LiveSteps.add`."""
        self._steps.add(trajectory)

    def finish(self, step: int | None, with_metrics: bool) -> dict[str, float]:
        """See `LiveSteps.finish`."""
        metrics = self._steps.finish(step, with_metrics)
        self._ended = step is None
        self._file.write()
        return metrics

    def status(self) -> Status:
        """What is known of the job."""
        steps = self._steps.status()
        source = steps["source"]
        return Status(
            started=self._started,
            written=time.time(),
            ended=self._ended,
            host=socket.gethostname(),
            pid=os.getpid(),
            address=self._job.address,
            processes=list(self._processes),
            workers=[Worker(**worker) for worker in source["workers"]],
            counts={name: value for name, value in steps.items() if isinstance(value, int)},
            values_received=source["values_received"],
            messages=source["messages"],
            messages_refused=source["messages_refused"],
            cause=steps["cause"],
        )


class Membership:
    """This process's part in the job: the actor's handle and the job, once it has joined."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._actor: Any = None
        self._failed = False
        self._unanswered = 0
        self._roles: set[str] = set()
        self.job: Job | None = None

    def join(self, role: str | None = None) -> bool:
        """Find the actor or make it; returns whether this process belongs to a job that records. Never raises.

        role: what it does there, for the job's status. Without Ray there is nothing to join yet. An error is logged
        once and not tried again.
        """
        if self.job is None and not self._failed:
            with self._lock:
                try:
                    if self.job is None and not self._failed:
                        self._join()
                except Exception as error:
                    self._failed = True
                    warn(logger, "not recording in this process: %s", error)
        if self.job is not None and role is not None and role not in self._roles:
            self._roles.add(role)
            self.tell("joined", this_process(role))
        return self.job is not None

    def enter_environment(self) -> None:
        """Have engines that this process starts record for the job."""
        if self.join() and self.job is not None:
            os.environ.update(self.job.environ())

    def tell(self, method: str, *args: Any) -> None:
        """Call the actor and do not wait for it. Never raises."""
        with suppress(Exception):
            if self.join():
                getattr(self._actor, method).remote(*args)

    def ask(self, method: str, *args: Any) -> Any:
        """The actor's answer to this trainer; None if it has none in time. The first failure is logged.

        An actor that is dead, or has not answered several times, is not asked again.
        """
        if not self.join(TRAINER) or self._actor is None:
            return None
        import ray

        try:
            return _answer(getattr(self._actor, method).remote(*args), CALL_TIMEOUT_S)
        except Exception as error:
            self._unanswered += 1
            if self._unanswered == 1:
                told = f"{error!r:.300}"
                warn(logger, "the collector does not answer; records are lost and training goes on: %s", told)
            if isinstance(error, ray.exceptions.RayActorError) or self._unanswered >= MAX_UNANSWERED:
                self._actor = None
            return None

    def _join(self) -> None:
        import ray

        if not ray.is_initialized():
            return
        actor = (
            ray.remote(CollectorActor)
            .options(name=NAME, get_if_exists=True, num_cpus=0, max_concurrency=THREADS)
            .remote()
        )
        try:
            environ = _answer(actor.environ.remote(), JOIN_TIMEOUT_S)
        except ray.exceptions.GetTimeoutError:
            raise TimeoutError(
                f"the collector has not started within {JOIN_TIMEOUT_S:g} s; see `ray list actors`, and whether its "
                "machine is overloaded"
            ) from None
        self.job = Job.from_environ({**os.environ, **environ})
        self._actor = actor


MEMBERSHIP = Membership()


def _answer(reference: Any, timeout_s: float) -> Any:
    # In an asynchronous actor Ray warns of this once. Its futures would never be done there: a server joins while
    # its class is imported, before the actor's event loop runs.
    import ray

    return ray.get(reference, timeout=timeout_s)


def _address() -> str:
    """A socket in the file system where the cluster is one node, else a free port of this node."""
    import ray

    if sum(bool(node["Alive"]) for node in ray.nodes()) <= 1:
        return new_local_address()
    ip = ray.util.get_node_ip_address().strip("[]")
    return f"tcp://[{ip}]:*" if ":" in ip else f"tcp://{ip}:*"
