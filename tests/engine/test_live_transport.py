"""From a worker's sender to the job's collector, over real sockets and without an engine."""

import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

zmq = pytest.importorskip("zmq", reason="ZeroMQ comes with vLLM: make test")

from arpo_entropy_recorder.errors import UserError  # noqa: E402
from arpo_entropy_recorder.live import sender as sender_module  # noqa: E402
from arpo_entropy_recorder.live.collector import Collector  # noqa: E402
from arpo_entropy_recorder.live.job import Job, new_local_address, new_token  # noqa: E402
from arpo_entropy_recorder.live.messages import Hello, encode_values  # noqa: E402
from arpo_entropy_recorder.live.sender import Sender  # noqa: E402
from arpo_entropy_recorder.live.source import SHORTEST_WAIT_S  # noqa: E402

HELLO = Hello("node", 1, "0", "runner", "0.32")
WAIT_S = 60.0  # a bound for a slow machine; what is waited for comes at once


class Arrived:
    """Entropies that are on the host already, or the error of a copy."""

    def __init__(self, nats):
        self.nats = nats

    def wait(self):
        if isinstance(self.nats, Exception):
            raise self.nats
        return self.nats


def key(number):
    return f"{number:032x}"


def until(holds):
    """Wait until `holds()` is true, and return what it gave."""
    deadline = time.monotonic() + WAIT_S
    while not (result := holds()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return result


@pytest.fixture
def job(monkeypatch):
    with tempfile.TemporaryDirectory() as path:
        monkeypatch.setattr(tempfile, "tempdir", path)
        yield Job(new_token(), new_local_address())


@pytest.fixture
def collector(job):
    collector = Collector(job)
    yield collector
    collector.close()


@pytest.fixture
def sender(job):
    sender = Sender(job, HELLO)
    yield sender
    sender.close()


def test_the_shortest_wait_is_longer_than_values_are_kept_for_those_of_the_next_steps():
    assert SHORTEST_WAIT_S >= 2 * sender_module.GATHER_S


def test_what_one_message_does_not_hold_does_not_wait_again(collector, sender, monkeypatch):
    monkeypatch.setattr(sender_module, "GATHER_S", 2.0)
    values, steps = 300, 100
    start = time.monotonic()
    for step in range(steps):
        sender.put([(key(row), step) for row in range(values)], Arrived([1.0] * values))
    taken = collector.take({key(row): steps for row in range(values)}, WAIT_S)
    assert all(nats == [1.0] * steps for nats in taken.values())
    # Of the eleven messages the first one waited.
    assert 2.0 <= time.monotonic() - start < 12.0


@pytest.mark.parametrize("how", ["send()", "get_context('fork').Process(target=send).start()"])
def test_a_process_that_ends_sends_what_still_gathers(job, collector, how):
    program = (
        "from arpo_entropy_recorder.live import sender; from arpo_entropy_recorder.live.job import Job\n"
        "from arpo_entropy_recorder.live.messages import Hello; from multiprocessing import get_context\n"
        "class Arrived:\n    def wait(self): return [1.0]\n"
        "def send():\n"
        "    worker = sender.Sender(Job.from_environ(), Hello('node', 1, '0', '', ''))\n"
        f"    worker.put([('{key(1)}', 0)], Arrived())\n"
    )
    subprocess.run([sys.executable, "-c", program + how], env=os.environ | job.environ(), check=True)
    assert collector.take({key(1): 1}, 5.0) == {key(1): [1.0]}
    until(lambda: collector.status()["workers"][0]["ended"])


def test_values_reach_the_collector(collector, sender):
    sender.put([(key(1), 0), (key(2), 0)], Arrived([1.5, math.nan]))
    sender.put([(key(1), 1)], Arrived([0.25]))
    taken = collector.take({key(1): 2, key(2): 1, key(3): 0}, WAIT_S)
    assert taken == {key(1): [1.5, 0.25], key(2): [None], key(3): []}


def test_thousands_of_steps_arrive_in_order(collector, sender):
    for step in range(3000):
        until(lambda step=step: sender.sent >= 2 * (step - 500))
        sender.put([(key(step), 0), (key(0), 1)], Arrived([float(step), float(step)]))
    taken = collector.take({key(step): 1 + (step == 0) for step in range(3000)}, WAIT_S)
    assert taken[key(0)][1] == 2999.0
    assert [values[0] for values in taken.values()] == [float(step) for step in range(3000)]
    assert sender.dropped == 0


def test_waiting_for_a_value_is_bounded(collector):
    start = time.monotonic()
    assert collector.take({key(1): 2}, 0.2) == {key(1): [None, None]}
    assert time.monotonic() - start < WAIT_S
    assert collector.status()["values_missing"] == 2


def test_a_value_ends_the_wait_for_it(collector, sender):
    taken = []
    thread = threading.Thread(target=lambda: taken.append(collector.take({key(1): 1}, WAIT_S)))
    thread.start()
    sender.put([(key(1), 0)], Arrived([2.0]))
    thread.join(WAIT_S)
    assert taken == [{key(1): [2.0]}]


def test_values_that_come_right_behind_others_end_the_wait(job, collector):
    with ThreadPoolExecutor(1) as pool:
        for number in range(20):
            start = time.monotonic()
            taking = pool.submit(collector.take, {key(number): 2}, 20.0)
            for position in range(2):
                time.sleep(0.005)
                collector._enter(next(encode_values(job.token, [(key(number), position)], [1.0])))
            assert taking.result() == {key(number): [1.0, 1.0]}
            assert time.monotonic() - start < 10.0


def test_what_is_not_of_this_job_is_refused(job, collector):
    socket = zmq.Context().socket(zmq.PUSH)
    socket.connect(job.address)
    for frame in (b"", b"x", b"x" * 200, next(encode_values(b"other" * 7, [(key(1), 0)], [9.0]))):
        socket.send(frame)
    socket.send(next(encode_values(job.token, [(key(1), 0)], [1.0])))
    assert collector.take({key(1): 1}, WAIT_S) == {key(1): [1.0]}
    assert collector.status()["messages_refused"] == 4
    socket.close()


def test_who_sends_too_much_is_cut_off(job, collector, sender):
    socket = zmq.Context().socket(zmq.PUSH)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(job.address)
    socket.send(b"x" * 1_000_000)
    sender.put([(key(1), 0)], Arrived([1.0]))
    assert collector.take({key(1): 1}, WAIT_S) == {key(1): [1.0]}
    assert collector.status()["messages_refused"] == 0
    socket.close()


def test_workers_say_hello_with_their_counters(job, collector):
    Sender(job, HELLO, lambda: {"steps": 7}).close()
    worker = until(lambda: collector.status()["workers"])[0]
    assert (worker["host"], worker["runner"], worker["refused"]) == ("node", "runner", None)
    assert worker["counters"] == {"steps": 7, "values_sent": 0, "values_dropped": 0}


def test_a_loss_is_told_though_no_value_follows(collector, sender):
    sender.lose(0, "the tap failed: RuntimeError")
    assert until(lambda: collector.status()["lost"]) == {"the tap failed: RuntimeError": 0}


def test_a_copy_that_fails_is_counted_as_lost(collector, sender):
    sender.put([(key(1), 0), (key(2), 0)], Arrived(RuntimeError("secret")))
    sender.put([(key(3), 0)], Arrived([1.0]))
    assert collector.take({key(3): 1}, WAIT_S) == {key(3): [1.0]}
    assert until(lambda: collector.status()["lost"]) == {"no copy to the host: RuntimeError": 2}


def test_what_does_not_fit_is_dropped_and_counted(job, monkeypatch):
    monkeypatch.setattr(sender_module, "MAX_STEPS_WAITING", 2)
    gate = threading.Event()

    class Gated(Arrived):
        def wait(self):
            gate.wait(WAIT_S)
            return self.nats

    sender = Sender(job, HELLO)
    start = time.monotonic()
    for step in range(50):
        sender.put([(key(step), 0)], Gated([1.0]))
    assert time.monotonic() - start < WAIT_S / 2, "put waited"
    assert sender.dropped >= 47
    gate.set()
    collector = Collector(job)
    lost = until(lambda: collector.status()["lost"])
    assert lost == {"the sender's queue was full": sender.dropped}
    sender.close()
    assert collector.status()["values_received"] + sender.dropped == 50
    collector.close()


def test_without_a_collector_nothing_waits_and_losses_are_told_later(job, monkeypatch):
    monkeypatch.setattr(sender_module, "MAX_MESSAGES_WAITING", 3)
    monkeypatch.setattr(sender_module, "SEND_TIMEOUT_MS", 1)
    sender = Sender(job, HELLO)
    for step in range(40):
        sender.put([(key(step), 0)], Arrived([1.0]))
        until(lambda step=step: sender.sent + sender.dropped > step)
    assert sender.dropped > 30
    collector = Collector(job)
    until(lambda: collector.status()["values_received"] == sender.sent)
    sender.put([(key(40), 0)], Arrived([1.0]))
    assert until(lambda: collector.status()["lost"]) == {"the collector did not read": sender.dropped}
    sender.close()
    collector.close()


def test_a_collector_that_is_killed_and_made_anew_is_found_again(job, sender):
    program = (
        "import sys, time; from arpo_entropy_recorder.live.job import Job; from arpo_entropy_recorder.live.collector "
        "import Collector; Collector(Job.from_environ()); print('ready', flush=True); time.sleep(600)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=os.environ | job.environ(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "ready\n"
    sender.put([(key(1), 0)], Arrived([1.0]))
    until(lambda: sender.sent == 1)
    process.kill()
    process.wait()
    collector = Collector(job)

    def again():
        sender.put([(key(2), 0)], Arrived([2.0]))
        return collector.take({key(2): 1}, 0.5) == {key(2): [2.0]}

    until(again)
    collector.close()


def test_an_open_port_is_told_and_listened_at():
    job = Job(new_token(), "tcp://127.0.0.1:*")
    collector = Collector(job)
    sender = Sender(Job(job.token, collector.address), HELLO)
    sender.put([(key(1), 0)], Arrived([1.0]))
    assert collector.take({key(1): 1}, WAIT_S) == {key(1): [1.0]}
    sender.close()
    collector.close()


def test_an_address_that_is_taken_is_one_line():
    collector = Collector(Job(new_token(), "tcp://127.0.0.1:*"))
    with pytest.raises(UserError, match="cannot listen there"):
        Collector(Job(new_token(), collector.address))
    collector.close()


def test_a_folder_that_others_can_enter_is_refused(job):
    folder = Path(job.address.removeprefix("ipc://")).parent
    folder.chmod(0o755)
    with pytest.raises(UserError, match="mode 0700"):
        Collector(job)
