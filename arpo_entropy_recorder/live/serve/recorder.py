"""The recorder of a server: hears of turns and values, places the turns, and writes step files while it runs."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from arpo_entropy_recorder.live.collector import Collector
from arpo_entropy_recorder.live.job import Job
from arpo_entropy_recorder.live.serve.channel import local_addresses
from arpo_entropy_recorder.live.serve.digests import Digests
from arpo_entropy_recorder.live.serve.files import Row, ServedFiles
from arpo_entropy_recorder.live.serve.lineage import Lineage
from arpo_entropy_recorder.live.serve.turns import MAX_MESSAGE, Ask, Forged, FrontReport, Told, Turn, unseal
from arpo_entropy_recorder.live.source import Taking
from arpo_entropy_recorder.recorder.guard import ErrorBoundary
from arpo_entropy_recorder.recorder.run_info import run_entry
from arpo_entropy_recorder.recorder.settings import Settings

POLL_S = 0.2
# A turn waits this long for those that were asked before it, which other processes may tell later.
HOLD_S = 1.0
# Before an answer: what the asker has told is on its way, and a streamed reply's last words reach the client first.
FLUSH_HOLD_S, STATUS_HOLD_S = 0.3, 0.05
MAX_WAITING_BYTES = 256 * 1024 * 1024
FLUSH_INTERVAL_S = 1.0
MAX_FRONTS = 1000
# At a time.
MAX_ANSWERS = 10


class Recorder:
    """Listens from the moment it is made, in a thread of its own.

    Raises UserError if it cannot, or if another process records into the directory.
    """

    def __init__(
        self, job: Job, settings: Settings, *, records: int, seconds: float, text_results: bool = False
    ) -> None:
        self._job, self._settings = job, settings
        self._records, self._seconds = records, seconds
        self._files = ServedFiles(settings)
        self._collector = Collector(job)
        self._taking = Taking(self._collector)
        self.boundary = ErrorBoundary(settings.strict)
        self._lineage = Lineage(Digests(job.token), text_results)
        self._waiting: list[tuple[float, Turn]] = []
        self._rows: list[Row] = []
        self._due = float("inf")
        self._fronts: dict[int, FrontReport] = {}
        self._next_flush = 0.0
        self._counts: Counter[str] = Counter()
        self._closing = threading.Event()
        self._turns, self._asks = _listen(job)
        self._thread = threading.Thread(target=self._run, name="arpo-entropy-recorder", daemon=True)
        self._thread.start()

    def close(self) -> dict[str, Any]:
        """Write everything that is there and give the directory up; returns the status."""
        self._closing.set()
        self._thread.join()
        self.boundary.run(self._hear, FLUSH_HOLD_S)
        self.boundary.run(self._write, None)
        self.boundary.run(self._files.close)
        status = self.status()
        for socket in (self._turns, self._asks):
            socket.close()
        self._collector.close()
        return status

    def status(self) -> dict[str, Any]:
        """Counters, how turns were linked, what the API servers tell of themselves, and the collector's status."""
        files = self._files
        fronts = list(self._fronts.values())
        return {
            "turns": self._counts["turns"],
            "records": files.counts["records"],
            "nulls": files.counts["nulls"],
            "too_late": files.counts["too_late"],
            "without_version": files.counts["without_version"],
            "records_waiting": len(self._rows) + len(self._waiting),
            "steps_waiting": files.writer.pending_steps,
            "records_unwritten": files.writer.pending_records,
            "records_dropped": files.writer.dropped_records,
            "linked_by": dict(self._lineage.how),
            "turns_known": len(self._lineage),
            "turns_evicted": self._lineage.evicted,
            "messages_refused": self._counts["refused"],
            "failures": self.boundary.failures + sum(front.failures for front in fronts),
            "turns_dropped": sum(front.dropped for front in fronts),
            "not_recorded": dict(sum((Counter(front.passed) for front in fronts), Counter())),
            "api_servers": len(fronts),
            "values": self._collector.status(),
        }

    def _run(self) -> None:
        while not self._closing.is_set():
            self.boundary.run(self._hear, POLL_S)
            self.boundary.run(self._settle, HOLD_S)
            if len(self._rows) >= self._records or (self._rows and time.monotonic() >= self._due):
                self.boundary.run(self._write_rows, None)
            self.boundary.run(self._answer)

    def _take_in(self, frame: bytes) -> None:
        try:
            told = unseal(self._job.token, frame, Told)
        except Forged:
            self._counts["refused"] += 1
            return
        if told.front.pid in self._fronts or len(self._fronts) < MAX_FRONTS:
            self._fronts[told.front.pid] = told.front
        if told.turn is not None:
            self._counts["turns"] += 1
            self._waiting.append((time.monotonic(), told.turn))

    def _settle(self, hold_s: float) -> None:
        """Place the turns that have waited long enough, and those that were asked before them, in their order."""
        limit = time.monotonic() - hold_s
        if sum(len(turn.prompt) for _, turn in self._waiting) > MAX_WAITING_BYTES:
            limit = float("inf")
        ripe = [turn.asked for came, turn in self._waiting if came <= limit]
        if not ripe:
            return
        last = max(ripe)
        ready = sorted((turn for _, turn in self._waiting if turn.asked <= last), key=lambda turn: turn.asked)
        self._waiting = [item for item in self._waiting if item[1].asked > last]
        if not self._rows:
            self._due = time.monotonic() + self._seconds
        for turn in ready:
            self.boundary.run(self._place, turn)

    def _place(self, turn: Turn) -> None:
        for placed in self._lineage.place(turn):
            self._rows.append(Row.of(placed, turn.step, self._settings.record_tokens))

    def _write(self, step: int | None) -> list[int]:
        """Place and write everything that is there."""
        self._settle(0.0)
        return self._write_rows(step)

    def _write_rows(self, step: int | None) -> list[int]:
        rows, self._rows = self._rows, []
        if not rows:
            self._files.writer.flush()  # what could not be written before
            return []
        window = self._settings.window
        values = self._taking.take({row.key: min(row.num_tokens, window) for row in rows})
        self._describe()
        files = self._files
        before = files.counts["nulls"]
        steps = files.write(rows, values, step)
        self._taking.tell_of_nulls(files.counts["nulls"] - before, len(rows))
        return steps

    def _describe(self) -> None:
        """Hand on what an API server has told of the model, once."""
        if self._files.vocab_size:
            return
        front = next(front for front in self._fronts.values() if front.vocab_size)
        info = run_entry(self._settings, front.vocab_size, front.vllm, {"model": front.model})
        self._files.describe(front.vocab_size, info)

    def _answer(self) -> None:
        """Answer some of the questions that have come: asked without end, they must not keep files waiting."""
        import zmq

        for _ in range(MAX_ANSWERS):
            if not self._asks.poll(0):
                return
            try:
                ask = unseal(self._job.token, self._asks.recv(zmq.NOBLOCK), Ask)
            except Forged:
                self._counts["refused"] += 1
                answer: dict[str, Any] = {"code": 400, "error": "not of this job"}
            else:
                succeeded, result = self.boundary.run(self._answer_to, ask)
                answer = result if succeeded else {"code": 500, "error": "the recorder failed; see its log"}
            self._asks.send(msgspec.json.encode(answer))

    def _answer_to(self, ask: Ask) -> dict[str, Any]:
        if ask.what == "status":
            self._hear(STATUS_HOLD_S)
            return self.status()
        now = time.monotonic()
        if now < self._next_flush:
            return {"code": 429, "error": f"flushed less than {FLUSH_INTERVAL_S:g} s ago; ask again"}
        self._next_flush = now + FLUSH_INTERVAL_S
        self._hear(FLUSH_HOLD_S)
        before = self._files.counts["records"]
        steps = self._write(ask.step)
        answer: dict[str, Any] = {"steps": steps, "records": self._files.counts["records"] - before}
        if unwritten := self._files.writer.pending_records:
            error = f"records that could not be written and wait in memory: {unwritten}; see the server's log"
            answer |= {"code": 503, "error": error}
        return answer

    def _hear(self, seconds: float) -> None:
        """Take in the turns of the next seconds."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self._turns.poll(max(1, int(left * 1000))):
                self._take_in(self._turns.recv())


def _listen(job: Job) -> Sequence[Any]:
    import zmq

    sockets = []
    for kind, address in zip((zmq.PULL, zmq.REP), local_addresses(job), strict=True):
        socket: Any = zmq.Context.instance().socket(kind)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        socket.setsockopt(zmq.LINGER, 1000)
        socket.bind(address)
        sockets.append(socket)
    return sockets
