from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from marble_images.interrupts import check_interrupted, ended_by_signals


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    assert {number: signal.getsignal(number) for number in numbers} == before


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_of_the_signals_ends_the_block(number: signal.Signals) -> None:
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        send(number)


def test_a_signal_that_somebody_else_handled_is_known_when_it_is_asked_for() -> None:
    with ended_by_signals():
        signal.signal(signal.SIGINT, lambda *_: None)
        check_interrupted()
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            check_interrupted()


def test_an_error_that_a_signal_became_ends_the_block_as_an_interrupt() -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("what a library makes of it")

    def fail_inside() -> None:
        with ended_by_signals():
            signal.signal(signal.SIGTERM, failing)
            send(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        fail_inside()


def test_an_error_without_a_signal_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError), ended_by_signals():
        raise RuntimeError


def test_what_ignores_a_hangup_still_does() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            send(signal.SIGHUP)
            check_interrupted()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_background_job_that_ignores_interrupts_is_ended_all_the_same() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), ended_by_signals():
            send(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_that_gets_no_signals_may_use_it() -> None:
    ended: list[bool] = []

    def use() -> None:
        with ended_by_signals():
            check_interrupted()
        ended.append(True)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert ended == [True]


def test_a_signal_of_an_earlier_block_is_forgotten() -> None:
    with pytest.raises(KeyboardInterrupt), ended_by_signals():
        send(signal.SIGTERM)
    with ended_by_signals():
        check_interrupted()
    check_interrupted()
