from __future__ import annotations

import threading

import pytest

from marble_images.errors import SourceTimeout
from marble_images.sources.deadline import Deadline, call_within


def test_a_call_in_time_gives_its_result_or_raises_its_error() -> None:
    def fail() -> None:
        raise KeyError("of its own")

    assert call_within(Deadline(10), "S3", lambda: 7) == 7
    with pytest.raises(KeyError, match="of its own"):
        call_within(Deadline(10), "S3", fail)


def test_a_call_that_fails_with_a_time_out_of_its_own_is_no_missed_deadline() -> None:
    def fail() -> None:
        raise TimeoutError("of its own")

    with pytest.raises(TimeoutError, match="of its own"):
        call_within(Deadline(10), "S3", fail)


def test_a_call_that_hangs_is_left_and_its_late_result_is_discarded() -> None:
    release, discarded = threading.Event(), threading.Event()

    def hang() -> str:
        release.wait(10)
        return "late"

    with pytest.raises(SourceTimeout, match=r"S3 did not deliver the file within 0\.05 s"):
        call_within(Deadline(0.05), "S3", hang, lambda late: discarded.set() if late == "late" else None)
    assert not discarded.is_set()
    release.set()
    assert discarded.wait(5)
