from __future__ import annotations

import time

from marble_images.watchdog import Watchdog, current_watchdog


def test_a_watchdog_bites_what_is_watched_later_too() -> None:
    bitten: list[str] = []
    with Watchdog(0.05) as watchdog:
        watchdog.watch(lambda: bitten.append("first"))
        while not bitten:
            time.sleep(0.005)
        watchdog.watch(lambda: bitten.append("second"))
    assert bitten == ["first", "second"]


def test_a_watchdog_that_is_done_bites_nothing() -> None:
    bitten: list[str] = []
    with Watchdog(0.05) as watchdog:
        watchdog.watch(lambda: bitten.append("too late"))
    time.sleep(0.1)
    assert bitten == []


def test_the_watchdog_of_a_try_is_that_of_the_innermost_block() -> None:
    assert current_watchdog() is None
    with Watchdog(30) as outer:
        with Watchdog(30) as inner:
            assert current_watchdog() is inner
        assert current_watchdog() is outer
        assert not outer.expired
    assert current_watchdog() is None
