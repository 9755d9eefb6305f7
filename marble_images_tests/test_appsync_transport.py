"""What the queue's client makes of a server that misbehaves on command."""

import json
import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import pairwise

import pytest

from marble_images.appsync import AppSyncQueue
from marble_images.appsync_transport import UNANSWERED_IN_A_ROW
from marble_images.errors import (
    FileQueueError,
    MarbleImagesError,
    QueueError,
    QueueRefused,
    QueueUnavailable,
    SettingsError,
)
from marble_images.models import ChangedFile
from marble_images_tests import queue_server as faulty
from marble_images_tests.appsync_cases import HANGING, HASTY, LASTING, PASSING, QUICK, REFUSING, each
from marble_images_tests.queue_server import KEY, QueueServer


class TestRetries:
    @each(PASSING)
    def test_what_may_pass_is_tried_again(
        self, server: QueueServer, queue: AppSyncQueue, fault: faulty.Fault
    ) -> None:
        server.add("a.jpg")
        server.faults.extend([fault, fault])
        assert queue.get_record("a.jpg") == ChangedFile("a.jpg")
        assert len(server.requests) == 3

    @each(PASSING)
    def test_what_does_not_pass_ends_as_unavailable_in_one_line(
        self, server: QueueServer, queue: AppSyncQueue, fault: faulty.Fault
    ) -> None:
        server.always = fault
        with pytest.raises(QueueUnavailable) as raised:
            queue.list_files()
        assert len(server.requests) == 3
        assert "AppSync" in str(raised.value)
        assert "\n" not in str(raised.value)

    @each(HANGING)
    def test_a_server_that_does_not_finish_is_left_and_asked_again(
        self, server: QueueServer, fault: faulty.Fault
    ) -> None:
        server.add("a.jpg")
        server.faults.append(fault)
        with AppSyncQueue(server.url, KEY, attempts=10, **HASTY) as queue:
            assert queue.get_record("a.jpg") == ChangedFile("a.jpg")
        assert len(server.requests) >= 2

    @each(HANGING)
    def test_a_server_that_never_finishes_does_not_hold_a_thread_for_ever(
        self, server: QueueServer, fault: faulty.Fault
    ) -> None:
        server.always = fault
        with (
            AppSyncQueue(server.url, KEY, attempts=2, **HASTY) as queue,
            pytest.raises(QueueUnavailable, match=r"did not (finish its )?answer"),
        ):
            queue.list_files()
        assert len(server.requests) == 2

    @each(LASTING)
    def test_what_stays_is_tried_once(
        self, server: QueueServer, queue: AppSyncQueue, fault: faulty.Fault
    ) -> None:
        server.always = fault
        with pytest.raises(QueueError) as raised:
            queue.list_files()
        assert not isinstance(raised.value, (QueueUnavailable, QueueRefused))
        assert len(server.requests) == 1

    @each(REFUSING)
    def test_a_refused_key_is_one_clear_error(
        self, server: QueueServer, queue: AppSyncQueue, fault: faulty.Fault
    ) -> None:
        server.always = fault
        for call in (
            queue.list_files,
            lambda: queue.get_record("a"),
            lambda: queue.get_records(["a"]),
            lambda: queue.mark_processed("a", height=1, width=1),
            lambda: queue.remove("a"),
        ):
            server.requests.clear()
            with pytest.raises(QueueRefused, match="refused"):
                call()
            assert len(server.requests) == 1

    def test_a_wrong_key_is_refused(self, server: QueueServer) -> None:
        with AppSyncQueue(server.url, "another", **QUICK) as queue, pytest.raises(QueueRefused):
            queue.list_files()

    def test_a_closed_port_is_unavailable(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        with (
            AppSyncQueue(f"http://127.0.0.1:{port}/graphql", KEY, **QUICK) as queue,
            pytest.raises(QueueUnavailable, match="could not be reached"),
        ):
            queue.list_files()

    def test_a_name_that_does_not_resolve_is_unavailable(self) -> None:
        with (
            AppSyncQueue("https://queue.invalid/graphql", KEY, **QUICK) as queue,
            pytest.raises(QueueUnavailable, match=r"queue\.invalid could not be reached"),
        ):
            queue.list_files()

    @pytest.mark.parametrize("as_date", [False, True])
    def test_retry_after_is_honoured(
        self, server: QueueServer, queue: AppSyncQueue, caplog: pytest.LogCaptureFixture, as_date: bool
    ) -> None:
        until = datetime.now(timezone.utc) + timedelta(seconds=3)
        value = format_datetime(until, usegmt=True) if as_date else "1"
        server.faults.append(faulty.status(429, Retry_After=value))
        with caplog.at_level(logging.WARNING, logger="marble_images"):
            queue.list_files()
        (waited,) = [record.args[3] for record in caplog.records if isinstance(record.args, tuple)]
        assert isinstance(waited, float)
        assert waited >= 1.0

    def test_a_pause_that_is_too_long_is_not_waited_for(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.always = faulty.status(503, Retry_After="3600")
        with pytest.raises(QueueUnavailable):
            queue.list_files()
        assert len(server.requests) == 1

    def test_patience_ends_before_the_tries_do(self, server: QueueServer) -> None:
        server.always = faulty.status(500)
        with (
            AppSyncQueue(server.url, KEY, attempts=10_000, backoff=0.05, patience=0.2) as queue,
            pytest.raises(QueueUnavailable),
        ):
            queue.list_files()
        assert 1 <= len(server.requests) < 10

    @pytest.mark.parametrize("value", ["soon", "-5", "", "99999999999999999999"])
    def test_a_retry_after_that_says_nothing_is_no_trouble(
        self, server: QueueServer, queue: AppSyncQueue, value: str
    ) -> None:
        server.faults.append(faulty.status(503, Retry_After=value))
        if value.startswith("9"):
            with pytest.raises(QueueUnavailable):
                queue.list_files()
        else:
            queue.list_files()

    def test_a_redirect_takes_the_key_nowhere(self, server: QueueServer, queue: AppSyncQueue) -> None:
        other = QueueServer()
        try:
            server.always = faulty.status(307, Location=other.url)
            with pytest.raises(QueueError, match="redirects"):
                queue.list_files()
            assert other.connections == 0
        finally:
            other.stop()


class TestOutage:
    def test_after_some_calls_in_vain_each_gets_one_try_until_one_succeeds(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.add("a")
        server.always = faulty.reset
        for expected in [QUICK["attempts"]] * UNANSWERED_IN_A_ROW + [1, 1]:
            server.requests.clear()
            with pytest.raises(FileQueueError):
                queue.get_record("a")
            assert len(server.requests) == expected
        server.always = None
        assert queue.get_record("a") is not None
        server.faults.extend([faulty.reset])
        assert queue.get_record("a") is not None


class TestThreads:
    def test_ten_threads_share_a_client_and_keep_their_connections(self, server: QueueServer) -> None:
        wanted = [f"f{n}.jpg" for n in range(100)]
        server.add(*wanted)
        queue = AppSyncQueue(server.url, KEY)

        def work(name: str) -> ChangedFile | None:
            queue.mark_processed(name, height=len(name), width=1)
            return queue.get_record(name)

        with queue, ThreadPoolExecutor(10) as threads:
            found = list(threads.map(work, wanted))
        assert [(f.file_path, f.height) for f in found if f] == [(n, len(n)) for n in wanted]
        assert server.connections <= 10

    def test_a_closed_client_opens_anew(self, server: QueueServer, queue: AppSyncQueue) -> None:
        queue.list_files()
        queue.close()
        queue.list_files()
        assert server.connections == 2


class TestSecrets:
    def test_the_key_is_in_no_message_even_if_the_server_repeats_it(
        self, server: QueueServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        echo = f"your key {KEY} is odd"
        body = json.dumps({"errors": [{"errorType": "X", "message": echo}]}).encode()
        told = [
            faulty.status(401, body),
            faulty.status(400, body),
            faulty.status(500, body),
            faulty.graphql_error("Bad", message=echo),
            faulty.graphql_error(f"Unauthorized {KEY}", message=echo),
        ]
        with AppSyncQueue(server.url, f" {KEY}\n", **QUICK) as queue:
            assert KEY not in repr(queue)
            for fault in told:
                server.always = fault
                with pytest.raises(QueueError) as raised:
                    queue.list_files()
                assert KEY not in f"{raised.value!r} {raised.value} {raised.value.detail}"
                chained = [raised.value.__cause__, *([] if raised.value.__suppress_context__ else [1])]
                assert chained == [None]
        ours = [r for r in caplog.records if r.name.startswith("marble_images")]
        assert ours
        assert not any(KEY in record.getMessage() for record in ours)

    @pytest.mark.parametrize("key", ["", " ", "two words", "line\nbreak", "sécret"])
    def test_a_key_that_is_none_is_refused_unseen(self, key: str) -> None:
        with pytest.raises(SettingsError) as raised:
            AppSyncQueue("https://example.org/graphql", key)
        assert not key.strip() or key not in f"{raised.value!r}{raised.value.detail}"

    @pytest.mark.parametrize(
        "url", ["", "example.org", "ftp://example.org/x", "https://u:p@example.org/", "http://[::1"]
    )
    def test_an_address_that_is_none_is_refused(self, url: str) -> None:
        with pytest.raises(SettingsError, match="URL"):
            AppSyncQueue(url, KEY)

    def test_pauses_grow_from_try_to_try(self, server: QueueServer, caplog: pytest.LogCaptureFixture) -> None:
        server.always = faulty.status(500)
        quick = {**QUICK, "attempts": 5, "backoff": 0.01}
        with AppSyncQueue(server.url, KEY, **quick) as queue, pytest.raises(MarbleImagesError):
            queue.list_files()
        waited = [r.args[3] for r in caplog.records if isinstance(r.args, tuple) and len(r.args) == 4]
        assert len(waited) == 4
        assert all(early < late for early, late in pairwise(waited))  # type: ignore[operator]
