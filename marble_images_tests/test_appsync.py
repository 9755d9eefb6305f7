"""The queue's client against a server that answers like AppSync and misbehaves on command."""

import json
import logging
import re
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marble_images.appsync import AppSyncQueue
from marble_images.appsync_transport import UNANSWERED_IN_A_ROW
from marble_images.errors import (
    ChangedMeanwhile,
    FileQueueError,
    MarbleImagesError,
    QueueError,
    QueueRefused,
    QueueUnavailable,
    RecordMissing,
    SettingsError,
    UnusableRecord,
)
from marble_images.models import GRAPHQL_FIELDS, ChangedFile, fold_id
from marble_images_tests import queue_server as faulty
from marble_images_tests.queue_server import KEY, QueueServer

QUICK: dict[str, Any] = {"attempts": 3, "backoff": 0.001}
HASTY: dict[str, Any] = {"backoff": 0.001, "read_timeout": 0.3, "deadline": 0.6}

PASSING = {
    "reset": faulty.reset,
    "hang-up": faulty.hang_up,
    "cut, right length": faulty.cut_with_right_length,
    "cut, wrong length": faulty.cut_with_wrong_length,
    "html": faulty.html,
    "408": faulty.status(408),
    "429": faulty.status(429),
    "429 with html": faulty.status(429, b"<html>", Content_Type="text/html"),
    "500": faulty.status(500, b'{"errors": [{"errorType": "InternalFailure", "message": "no"}]}'),
    "503": faulty.status(503, b"<html>"),
    "null": faulty.says(None),
    "a list": faulty.says(["data"]),
    "data is a list": faulty.says({"data": []}),
    "no data": faulty.says({"data": None}),
    "neither data nor errors": faulty.says({"message": "Internal Server Error"}),
    "throttled": faulty.graphql_error("DynamoDB:ProvisionedThroughputExceededException"),
    "too many": faulty.graphql_error("TooManyRequestsException", data=True),
    "internal": faulty.graphql_error("InternalFailure"),
    "execution time-out": faulty.graphql_error("ExecutionTimeout"),
    "no type but throttled": faulty.graphql_error(None, message="Rate exceeded"),
}
LASTING = {
    "400": faulty.status(400, b'{"errors": [{"errorType": "BadRequestException", "message": "no"}]}'),
    "404": faulty.status(404),
    "redirect": faulty.status(307, Location="https://elsewhere.example/graphql"),
    "error": faulty.graphql_error("MappingTemplate"),
    "error with data": faulty.graphql_error("SerializationError", data=True),
}
HANGING = {
    "silence": faulty.silence,
    "dripping body": faulty.dripping_body,
    "dripping headers": faulty.dripping_headers,
}
SOME = {
    "500": faulty.status(500),
    "cut": faulty.cut_with_right_length,
    "error with data": faulty.graphql_error("SerializationError", data=True),
}
REFUSING = {
    "401": faulty.status(401, b'{"errors": [{"errorType": "UnauthorizedException", "message": "no"}]}'),
    "403": faulty.status(403, b"<html>"),
    "in an answer": faulty.graphql_error("UnauthorizedException"),
    "one field": faulty.graphql_error("Unauthorized", data=True),
}


def each(faults: Mapping[str, faulty.Fault]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("fault", list(faults.values()), ids=list(faults))


@pytest.fixture
def server() -> Iterator[QueueServer]:
    running = QueueServer()
    yield running
    running.stop()


@pytest.fixture
def queue(server: QueueServer) -> Iterator[AppSyncQueue]:
    with AppSyncQueue(server.url, KEY, **QUICK) as client:
        yield client


def names(files: list[ChangedFile]) -> list[str]:
    return [file.file_path for file in files]


class TestListing:
    def test_it_follows_short_and_empty_pages_to_the_end(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        item = {"a": {"id": "a"}, "b": {"filePath": "b", "id": "B"}, "c": {"id": "c"}}
        server.pages = {
            None: ([item["a"]], "t1"),
            "t1": ([], "t2"),
            "t2": ([item["b"], item["c"]], "t3"),
            "t3": ([], None),
        }
        listing = queue.list_files()
        assert names(listing.files) == ["a", "b", "c"]
        assert (listing.pages, listing.skipped) == (4, [])
        sent = [request["variables"] for request in server.requests]
        assert sent == [{"limit": 1000}, *({"limit": 1000, "nextToken": t} for t in ("t1", "t2", "t3"))]

    def test_it_asks_by_name_for_the_fields_that_are_used_and_no_other(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        queue.list_files(processed_before="9999")
        asked = re.search(r"items \{([^}]*)\}", server.requests[0]["query"])
        assert asked is not None
        assert set(asked[1].split()) == set(GRAPHQL_FIELDS)
        assert "size" not in asked[1].split()
        assert server.requests[0]["variables"]["dateLastProcessedBefore"] == "9999"

    def test_every_field_arrives(self, server: QueueServer, queue: AppSyncQueue) -> None:
        server.add("f/é ü.jpg", sourceType="S3", eTag="e", height=3, width=4, copyrightStatus="Copyright")
        expected = ChangedFile(
            "f/é ü.jpg", source_type="S3", e_tag="e", height=3, width=4, copyright_status="Copyright"
        )
        assert queue.list_files().files == [expected]

    def test_items_without_a_name_are_skipped_with_their_place(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.pages = {None: ([None, {"id": "a"}], "t"), "t": ([{"sourceType": "S3"}, {"id": " "}], None)}
        listing = queue.list_files()
        assert names(listing.files) == ["a"]
        assert [s.identifier for s in listing.skipped] == [
            "page 1, item 1",
            "page 2, item 1",
            "page 2, item 2",
        ]
        assert "null" in listing.skipped[0].reason
        assert "neither" in listing.skipped[1].reason

    @pytest.mark.parametrize("newest_first", [True, False])
    def test_of_ids_that_fold_to_one_record_the_newest_is_kept(
        self, server: QueueServer, queue: AppSyncQueue, newest_first: bool
    ) -> None:
        old = {"id": "A/b c.JPG", "dateAddedToDynamo": "2021-07-13T06:00:22.762881"}
        new = {"id": "a/bc.jpg", "dateAddedToDynamo": "2021-07-13T06:00:22.9Z"}
        undated = {"id": "a/b c.jpg"}
        order = [new, old, undated] if newest_first else [undated, old, new]
        server.pages = {None: (order, None)}
        listing = queue.list_files()
        assert names(listing.files) == ["a/bc.jpg"]
        assert sorted(s.identifier for s in listing.skipped) == ["A/b c.JPG", "a/b c.jpg"]
        assert all(s.reason for s in listing.skipped)

    @settings(max_examples=15, deadline=None)
    @given(
        st.lists(
            st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=6),
            min_size=1,
            max_size=6,
        )
    )
    def test_nothing_is_lost_or_doubled_however_the_pages_are_cut(
        self, pages: list[list[str | None]]
    ) -> None:
        server = QueueServer()
        try:
            for number, page in enumerate(pages):
                token = str(number) if number else None
                following = str(number + 1) if number + 1 < len(pages) else None
                server.pages[token] = ([name if name is None else {"id": name} for name in page], following)
            with AppSyncQueue(server.url, KEY, **QUICK) as queue:
                listing = queue.list_files()
        finally:
            server.stop()
        listed = [name for page in pages for name in page]
        assert len(listing.files) + len(listing.skipped) == len(listed)
        folded = [fold_id(name) for name in names(listing.files)]
        assert len(folded) == len(set(folded))
        assert set(folded) == {fold_id(name) for name in listed if name is not None and name.strip()}

    @each({**SOME, **REFUSING})
    def test_a_later_page_that_fails_fails_the_listing(
        self, server: QueueServer, queue: AppSyncQueue, fault: faulty.Fault
    ) -> None:
        server.pages = {None: ([{"id": "a"}], "t"), "t": ([{"id": "b"}], None)}
        server.faults.append(None)
        server.always = fault
        with pytest.raises(QueueError):
            queue.list_files()

    def test_a_partial_error_names_its_type_message_and_path(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.always = faulty.graphql_error("SerializationError", data=True, message="Can't serialize")
        with pytest.raises(QueueError) as raised:
            queue.list_files()
        assert "SerializationError: Can't serialize at listFilesToProcess/items/3" in str(raised.value)
        assert not isinstance(raised.value, QueueUnavailable)
        assert len(server.requests) == 1

    def test_a_repeated_token_is_an_error(self, server: QueueServer, queue: AppSyncQueue) -> None:
        server.pages = {None: ([{"id": "a"}], "x"), "x": ([{"id": "b"}], "y"), "y": ([{"id": "c"}], "x")}
        with pytest.raises(QueueError, match="same nextToken"):
            queue.list_files()

    def test_a_page_whose_items_are_null_is_empty_and_its_token_is_followed(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.pages = {None: ([{"id": "a"}], "x"), "x": (None, "y"), "y": ([{"id": "b"}], None)}
        assert [file.file_path for file in queue.list_files().files] == ["a", "b"]
        server.pages = {None: (None, None)}
        assert queue.list_files().files == []

    @pytest.mark.parametrize("limits", [{"longest_listing": 20}, {"most_barren_pages": 20}])
    def test_a_chain_without_end_is_an_error(self, server: QueueServer, limits: dict[str, int]) -> None:
        server.pages = {None: ([], "0")} | {str(n): ([{"id": "a"}], str(n + 1)) for n in range(100)}
        with (
            AppSyncQueue(server.url, KEY, **QUICK, **limits) as queue,
            pytest.raises(QueueError, match="not end"),
        ):
            queue.list_files()
        assert 20 <= len(server.requests) <= 22

    @pytest.mark.parametrize(
        "data",
        [
            {"listFilesToProcess": None},
            {"listFilesToProcess": {"nextToken": None}},
            {"listFilesToProcess": {"items": {}, "nextToken": None}},
            {"listFilesToProcess": {"items": [], "nextToken": 7}},
            {},
        ],
    )
    def test_an_answer_without_a_list_is_no_empty_list(
        self, server: QueueServer, queue: AppSyncQueue, data: dict[str, Any]
    ) -> None:
        server.always = faulty.says({"data": data})
        with pytest.raises(QueueError):
            queue.list_files()


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


class TestRecords:
    def test_a_record_and_none(self, server: QueueServer, queue: AppSyncQueue) -> None:
        server.add("A/b c.jpg", sourceType="Uri")
        assert queue.get_record("a/BC.jpg") == ChangedFile("A/b c.jpg", source_type="Uri")
        assert queue.get_record("other") is None

    def test_the_id_is_asked_for_as_it_is(self, server: QueueServer, queue: AppSyncQueue) -> None:
        odd = 'a "b" {c}\n$d \\ é 漢 \U0001f600'
        server.add(odd)
        assert queue.get_record(odd) == ChangedFile(odd)
        assert server.requests[0]["variables"] == {"f0": odd}

    def test_many_are_read_with_few_requests(self, server: QueueServer, queue: AppSyncQueue) -> None:
        wanted = [f"f{n}.jpg" for n in range(60)]
        server.add(*wanted[:50])
        found = queue.get_records([*wanted, *wanted])
        assert list(found) == wanted
        assert found == {n: ChangedFile(n) for n in wanted[:50]} | dict.fromkeys(wanted[50:])
        assert len(server.requests) == 3

    @pytest.mark.parametrize("error_type", ["MappingTemplate", "InternalFailure"])
    def test_one_bad_record_spoils_no_other(
        self, server: QueueServer, queue: AppSyncQueue, error_type: str
    ) -> None:
        wanted = [f"f{n}.jpg" for n in range(5)]
        server.add(*wanted)
        server.poisoned = {"f3.jpg": error_type}
        found = queue.get_records(wanted)
        assert isinstance(found.pop("f3.jpg"), FileQueueError)
        assert found == {n: ChangedFile(n) for n in wanted if n != "f3.jpg"}

    def test_without_an_answer_each_file_has_the_reason(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.always = faulty.status(500)
        found = queue.get_records([f"f{n}" for n in range(30)])
        assert len(found) == 30
        assert all(isinstance(value, FileQueueError) for value in found.values())
        assert len(server.requests) == 2 * 3

    def test_another_files_record_is_not_taken(self, server: QueueServer, queue: AppSyncQueue) -> None:
        server.records[fold_id("a.jpg")] = {"id": "b.jpg", "filePath": "b.jpg"}
        server.add("c.jpg")
        with pytest.raises(FileQueueError, match="another file's record"):
            queue.get_record("a.jpg")
        found = queue.get_records(["a.jpg", "c.jpg"])
        assert isinstance(found["a.jpg"], FileQueueError)
        assert found["c.jpg"] == ChangedFile("c.jpg")

    def test_a_record_that_names_nothing_is_unusable(self, server: QueueServer, queue: AppSyncQueue) -> None:
        server.records[fold_id("a.jpg")] = {"height": 3}
        with pytest.raises(UnusableRecord):
            queue.get_record("a.jpg")

    @each(SOME)
    def test_a_failure_about_one_file_is_that_files(
        self, server: QueueServer, queue: AppSyncQueue, fault: faulty.Fault
    ) -> None:
        server.always = fault
        for call in (
            lambda: queue.get_record("a"),
            lambda: queue.mark_processed("a", height=1, width=1),
            lambda: queue.remove("a"),
        ):
            with pytest.raises(FileQueueError):
                call()


class TestMutations:
    def test_marking_sends_both_numbers(self, server: QueueServer, queue: AppSyncQueue) -> None:
        server.add("a b.jpg")
        queue.mark_processed("A b.JPG", height=30, width=40)
        assert server.requests[0]["variables"] == {"itemId": "A b.JPG", "height": 30, "width": 40}
        assert server.records["AB.JPG"]["width"] == 40

    @pytest.mark.parametrize("size", [(0, 1), (1, -1), (True, 1), (1.0, 1), ("1", 1), (1, None)])
    def test_a_size_that_is_none_is_never_sent(
        self, server: QueueServer, queue: AppSyncQueue, size: tuple[Any, Any]
    ) -> None:
        with pytest.raises(ValueError, match="whole numbers"):
            queue.mark_processed("a", height=size[0], width=size[1])
        assert server.requests == []

    def test_marking_what_has_no_record_says_so(self, server: QueueServer, queue: AppSyncQueue) -> None:
        with pytest.raises(RecordMissing):
            queue.mark_processed("a.jpg", height=1, width=1)

    @pytest.mark.parametrize(
        "answer",
        [
            None,
            {"id": "b.jpg", "height": 3, "width": 4},
            {"id": "a.jpg", "height": 4, "width": 3},
            {"id": "a.jpg"},
        ],
    )
    def test_an_answer_of_another_file_or_size_is_no_confirmation(
        self, server: QueueServer, queue: AppSyncQueue, answer: object
    ) -> None:
        server.always = faulty.says({"data": {"saveFileLastProcessedDate": answer}})
        with pytest.raises(FileQueueError):
            queue.mark_processed("a.jpg", height=3, width=4)

    def test_removing_tells_whether_there_was_a_record(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.add("a.jpg")
        assert queue.remove("A.jpg") is True
        assert queue.remove("A.jpg") is False
        assert server.records == {}

    def test_a_lost_answer_is_asked_for_again(self, server: QueueServer, queue: AppSyncQueue) -> None:
        server.add("a.jpg", "b.jpg")
        server.faults.extend([faulty.reset, None, faulty.cut_with_wrong_length])
        queue.mark_processed("a.jpg", height=5, width=6)
        assert queue.remove("b.jpg") is False
        assert server.records["A.JPG"]["height"] == 5
        assert "B.JPG" not in server.records

    def test_before_a_lost_answer_is_asked_for_again_the_caller_may_look(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        server.add("a.jpg")
        server.faults.extend([faulty.reset])
        looked: list[int] = []
        marked = queue.mark_processed(
            "a.jpg", height=5, width=6, before_retry=lambda: looked.append(len(server.requests))
        )
        assert looked == [1]
        assert (marked.file_path, marked.height) == ("a.jpg", 5)

    def test_what_the_caller_finds_then_ends_the_tries(
        self, server: QueueServer, queue: AppSyncQueue
    ) -> None:
        def changed() -> None:
            raise ChangedMeanwhile("it changed")

        for call in (
            lambda: queue.mark_processed("a.jpg", height=5, width=6, before_retry=changed),
            lambda: queue.remove("a.jpg", before_retry=changed),
        ):
            server.requests.clear()
            server.always = faulty.reset
            with pytest.raises(ChangedMeanwhile):
                call()
            assert len(server.requests) == 1


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
