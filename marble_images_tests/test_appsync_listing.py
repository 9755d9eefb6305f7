"""Listings of the queue, page by page, from a server that answers like AppSync."""

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marble_images.appsync import AppSyncQueue
from marble_images.errors import (
    QueueError,
    QueueUnavailable,
)
from marble_images.models import GRAPHQL_FIELDS, ChangedFile, fold_id
from marble_images_tests import queue_server as faulty
from marble_images_tests.appsync_cases import QUICK, REFUSING, SOME, each
from marble_images_tests.queue_server import KEY, QueueServer


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
