"""The queue's client against a server that answers like AppSync: records, marks and removals."""

from typing import Any

import pytest

from marble_images.appsync import AppSyncQueue
from marble_images.errors import (
    ChangedMeanwhile,
    FileQueueError,
    RecordMissing,
    UnusableRecord,
)
from marble_images.models import ChangedFile, fold_id
from marble_images_tests import queue_server as faulty
from marble_images_tests.appsync_cases import SOME, each
from marble_images_tests.queue_server import QueueServer


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
