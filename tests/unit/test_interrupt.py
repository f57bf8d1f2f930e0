"""Ctrl-C reaches the person's command, whatever a library makes of it."""

import os
import signal
import threading
from contextlib import suppress

import pytest

from arpo_entropy_recorder.rollout.interrupt import held_interrupt, remembered_interrupt


def ctrl_c():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture(autouse=True)
def handler():
    """Python's own is there before and after."""
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_one_in_an_import_waits_for_its_end():
    done = []

    def load():
        with held_interrupt():
            ctrl_c()
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        load()
    assert done


def test_a_second_one_does_not_wait():
    done = []

    def load():
        with held_interrupt():
            ctrl_c()
            ctrl_c()
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        load()
    assert not done


def test_one_that_a_library_swallowed_comes_up_at_the_next_look():
    done = []

    def work():
        with remembered_interrupt() as check:
            check()
            with suppress(KeyboardInterrupt):
                ctrl_c()
            check()
            done.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert not done


def test_one_that_a_library_made_an_error_of_its_own_is_one_still():
    def work():
        with remembered_interrupt():
            try:
                ctrl_c()
            except KeyboardInterrupt as interrupt:
                raise RuntimeError("initialization failed") from interrupt

    with pytest.raises(KeyboardInterrupt):
        work()


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), remembered_interrupt(), held_interrupt():
        _ = 1 / 0


def test_where_it_is_ignored_it_stays_so():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with remembered_interrupt() as check, held_interrupt():
            ctrl_c()
            check()
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_thread_of_the_program_may_enter_too():
    errors = []

    def enter():
        try:
            with remembered_interrupt(), held_interrupt():
                pass
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert not errors
