"""The pipeline's state on moto's S3."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto.server import ThreadedMotoServer

from marble_images.errors import (
    DecoderCrashed,
    FileError,
    ImageError,
    NotAnImage,
    SourceTooLarge,
    SourceUnavailable,
    StateError,
    UnsafeAddress,
    UnusableRecord,
)
from marble_images.failure_log import QUARANTINE_AFTER, quarantining_codes
from marble_images.models import ChangedFile, FileReport, Outcome
from marble_images.state import StateStore
from marble_images_tests.s3_server import S3Server, s3_client

DAY = "2026-11-23"
FILE = ChangedFile("a/b.jpg", source_type="S3", date_added_to_dynamo="2026-11-22T01:02:03")
CHANGED = ChangedFile("a/b.jpg", source_type="S3", date_added_to_dynamo="2026-11-23T01:02:03")
BROKEN = NotAnImage("the content is a web page")
AWAY = SourceUnavailable("the source does not answer")


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = s3_client(f"http://{host}:{port}")
    client.create_bucket(Bucket="state")
    yield client
    server.stop()


@pytest.fixture
def new_store(s3: Any) -> Callable[[], StateStore]:
    """Makes stores on one fresh prefix, as one run after another does."""
    prefix = f"{uuid4().hex}/"
    return lambda: StateStore(s3, "state", prefix)


@pytest.fixture
def store(new_store: Callable[[], StateStore]) -> StateStore:
    return new_store()


@pytest.fixture
def calls(s3: Any) -> Iterator[list[str]]:
    """The S3 operations from here on."""
    made: list[str] = []

    def note(model: Any, **_: Any) -> None:
        made.append(model.name)

    s3.meta.events.register("before-call.s3", note)
    yield made
    s3.meta.events.unregister("before-call.s3", note)


class TestDays:
    def test_a_list_comes_back_in_its_order_with_every_field(self, store: StateStore) -> None:
        files = [
            ChangedFile("z/é 漢.jpg", source_type="S3", e_tag="1", height=3, width=4),
            FILE,
            ChangedFile("line\nbreak\u2028\x85,[].jpg"),
        ]
        kept = store.write_day(DAY, files, {"pages": 3})
        assert store.read_day(DAY) == files
        assert (kept.count, kept.meta) == (3, {"pages": 3})
        assert store.describe_day(DAY) == kept

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        st.lists(
            st.builds(
                ChangedFile,
                st.text(st.characters(), min_size=1),
                source_uri=st.none() | st.text(max_size=9),
                height=st.none() | st.integers(1, 2**31),
            ),
            max_size=5,
        )
    )
    def test_any_list_comes_back(self, store: StateStore, files: list[ChangedFile]) -> None:
        store.write_day(DAY, files)
        assert store.read_day(DAY) == files

    def test_an_empty_list_is_not_a_missing_one(self, store: StateStore) -> None:
        assert store.read_day(DAY) is None
        assert store.describe_day(DAY) is None
        store.write_day(DAY, [])
        assert store.read_day(DAY) == []

    def test_an_older_list_is_still_there_under_its_version(self, store: StateStore) -> None:
        first = store.write_day(DAY, [FILE])
        second = store.write_day(DAY, [CHANGED])
        assert first.version != second.version
        assert store.read_day(DAY, first.version) == [FILE]
        assert store.read_day(DAY) == [CHANGED]
        assert store.read_day(DAY, "0" * 32) is None

    def test_the_same_list_is_the_same_version(self, store: StateStore) -> None:
        assert store.write_day(DAY, [FILE]).version == store.write_day(DAY, [FILE]).version

    def test_people_can_read_a_list(self, s3: Any, store: StateStore) -> None:
        uri = store.write_day(DAY, [FILE, CHANGED]).uri
        assert uri.startswith("s3://state/")
        assert uri.endswith(".jsonl")
        body = s3.get_object(Bucket="state", Key=uri.removeprefix("s3://state/"))["Body"].read()
        assert [json.loads(line)["file_path"] for line in body.splitlines()] == ["a/b.jpg"] * 2
        assert s3.head_object(Bucket="state", Key=store.day_uri(DAY).removeprefix("s3://state/"))

    def test_days_are_listed_and_deleted(self, store: StateStore) -> None:
        for day in ("2026-11-24", "2021-01-01", DAY):
            store.write_day(day, [FILE])
        kept = store.write_day(DAY, [])
        assert store.list_days() == ["2021-01-01", DAY, "2026-11-24"]
        store.delete_day(DAY)
        assert store.list_days() == ["2021-01-01", "2026-11-24"]
        assert store.read_day(DAY) is None
        assert store.read_day(DAY, kept.version) is None

    @pytest.mark.parametrize(
        "day", ["", "2026-13-01", "20261123", "2026-W48-1", "../2026-11-23", "2026-11-23 "]
    )
    def test_what_is_no_day_is_refused(self, store: StateStore, day: str) -> None:
        for call in (store.read_day, store.day_uri, store.delete_day, store.list_run_reports):
            with pytest.raises(StateError, match="YYYY-MM-DD"):
                call(day)

    def test_a_list_that_was_tampered_with_is_an_error(self, s3: Any, store: StateStore) -> None:
        kept = store.write_day(DAY, [FILE])
        s3.put_object(Bucket="state", Key=kept.uri.removeprefix("s3://state/"), Body=b"{}\n")
        with pytest.raises(StateError, match="not the list that was stored"):
            store.read_day(DAY)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b'{"version": "x", "count": "many"}'])
    def test_a_pointer_that_points_nowhere_is_an_error(self, s3: Any, store: StateStore, body: bytes) -> None:
        s3.put_object(Bucket="state", Key=store.day_uri(DAY).removeprefix("s3://state/"), Body=body)
        with pytest.raises(StateError, match=DAY):
            store.read_day(DAY)


class TestFailures:
    def test_the_reason_is_on_record_from_the_first_failure_on(
        self, new_store: Callable[[], StateStore]
    ) -> None:
        new_store().record_failure(FILE, AWAY)
        (entry,) = new_store().list_failures()
        assert (entry.file_path, entry.code, entry.reason) == ("a/b.jpg", AWAY.code, AWAY.reason)
        assert (entry.failures, entry.unmendable, entry.quarantined) == (1, 0, False)
        assert datetime.fromisoformat(entry.last_failed).tzinfo == timezone.utc

    def test_the_third_unmendable_failure_in_a_row_quarantines(
        self, new_store: Callable[[], StateStore]
    ) -> None:
        for number, error in enumerate((BROKEN, DecoderCrashed("it crashed"), BROKEN), start=1):
            assert new_store().quarantined(FILE) is None
            assert new_store().record_failure(FILE, error).quarantined == (number == QUARANTINE_AFTER)
        entry = new_store().quarantined(FILE)
        assert entry is not None
        assert entry.reason == BROKEN.reason
        assert entry.first_failed <= entry.last_failed

    def test_a_failure_that_may_pass_ends_the_row(self, new_store: Callable[[], StateStore]) -> None:
        for error in (BROKEN, BROKEN, AWAY, BROKEN, BROKEN):
            assert not new_store().record_failure(FILE, error).quarantined
        assert new_store().record_failure(FILE, BROKEN).failures == 6
        assert new_store().quarantined(FILE)

    def test_a_failure_that_may_pass_does_not_end_a_quarantine(
        self, new_store: Callable[[], StateStore]
    ) -> None:
        for error in (BROKEN, BROKEN, BROKEN, AWAY):
            new_store().record_failure(FILE, error)
        entry = new_store().quarantined(FILE)
        assert entry is not None
        assert (entry.code, entry.failures) == (BROKEN.code, 4)

    def test_a_changed_source_comes_back_and_is_counted_anew(
        self, new_store: Callable[[], StateStore]
    ) -> None:
        for _ in range(3):
            new_store().record_failure(FILE, BROKEN)
        assert new_store().quarantined(CHANGED) is None
        assert new_store().record_failure(CHANGED, BROKEN).failures == 1
        assert new_store().quarantined(FILE) is None

    def test_a_setting_that_decides_a_failure_gives_the_file_one_more_try_when_it_changes(
        self, s3: Any
    ) -> None:
        prefix = uuid4().hex

        def store(limit: int) -> StateStore:
            limits = {"max_source_bytes": str(limit), "max_pixels": str(limit + 1)}
            return StateStore(s3, "state", prefix, limits)

        large = SourceTooLarge("the file is larger than the limit")
        for _ in range(QUARANTINE_AFTER):
            assert store(10).quarantined(FILE) is None
            store(10).record_failure(FILE, large)
        entry = store(10).quarantined(FILE)
        assert entry is not None
        assert entry.settings == "MAX_SOURCE_BYTES=10"
        assert store(20).quarantined(FILE) is None
        assert not any(found.quarantined for found in store(20).list_failures())
        store(20).record_failure(FILE, large)
        assert store(20).quarantined(FILE)

    def test_a_setting_that_decides_nothing_of_a_failure_lets_its_quarantine_stand(self, s3: Any) -> None:
        prefix = uuid4().hex
        for _ in range(QUARANTINE_AFTER):
            StateStore(s3, "state", prefix, {"max_pixels": "1"}).record_failure(FILE, BROKEN)
        assert StateStore(s3, "state", prefix, {"max_pixels": "2"}).quarantined(FILE)

    def test_clearing_forgets(self, new_store: Callable[[], StateStore]) -> None:
        store = new_store()
        for _ in range(3):
            store.record_failure(FILE, BROKEN)
        store.clear("A/B.jpg")
        assert store.quarantined(FILE) is None
        assert new_store().failure(FILE.file_path) is None
        assert new_store().list_failures() == []

    def test_ids_that_are_one_record_have_one_entry(self, new_store: Callable[[], StateStore]) -> None:
        new_store().record_failure(ChangedFile("a b.jpg"), BROKEN)
        assert new_store().failure("AB.JPG") is not None
        assert new_store().failure("ab.tif") is None

    def test_a_report_of_a_failed_file_counts_like_its_error(self, store: StateStore) -> None:
        report = FileReport("a/b.jpg", Outcome.FAILED, code=BROKEN.code, reason="no\nimage")
        assert store.record_failure(FILE, report).unmendable == 1
        assert store.record_failure(FILE, FileReport("a/b.jpg", Outcome.FAILED)).unmendable == 0

    @pytest.mark.parametrize(
        ("error", "counts"),
        [
            *(
                (error, True)
                for error in (NotAnImage, UnusableRecord, ImageError, UnsafeAddress, SourceTooLarge)
            ),
            *((error, False) for error in (FileError, SourceUnavailable)),
        ],
    )
    def test_the_error_tree_says_what_counts(self, error: type[FileError], counts: bool) -> None:
        assert (error.code in quarantining_codes()) == counts == error.quarantine

    @given(st.lists(st.sampled_from(["broken", "away", "cleared", "changed"]), max_size=12))
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_quarantine_is_three_in_a_row_whatever_came_before(
        self, new_store: Callable[[], StateStore], events: list[str]
    ) -> None:
        file, row = FILE, 0
        store = new_store()
        store.clear(FILE.file_path)
        for number, event in enumerate(events):
            if event == "cleared":
                store.clear(file.file_path)
                row = 0
            elif event == "changed":
                file = ChangedFile(FILE.file_path, e_tag=str(number))
                row = 0
            else:
                store.record_failure(file, BROKEN if event == "broken" else AWAY)
                row = row + 1 if event == "broken" else (row if row >= QUARANTINE_AFTER else 0)
            assert (store.quarantined(file) is not None) == (row >= QUARANTINE_AFTER)

    @pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", b"null"])
    def test_an_entry_that_is_damaged_counts_as_none(
        self, s3: Any, new_store: Callable[[], StateStore], body: bytes
    ) -> None:
        store = new_store()
        store.record_failure(FILE, BROKEN)
        (name,) = [
            found["Key"]
            for found in s3.list_objects_v2(
                Bucket="state", Prefix=store.day_uri(DAY).removeprefix("s3://state/").split("days/")[0]
            )["Contents"]
        ]
        s3.put_object(Bucket="state", Key=name, Body=body)
        assert new_store().quarantined(FILE) is None
        assert new_store().list_failures() == []
        assert new_store().record_failure(FILE, BROKEN).failures == 1

    def test_files_without_failures_cost_one_listing_a_run(
        self, new_store: Callable[[], StateStore], calls: list[str]
    ) -> None:
        new_store().record_failure(FILE, BROKEN)
        calls.clear()
        store = new_store()
        files = [ChangedFile(f"f{n}.jpg") for n in range(1000)]
        with ThreadPoolExecutor(10) as threads:
            assert not any(threads.map(store.quarantined, files))
            list(threads.map(lambda file: store.clear(file.file_path), files))
        assert store.failures_of(files) == {}
        assert calls == ["ListObjectsV2"]

    def test_failures_of_many_files_are_read_together(self, new_store: Callable[[], StateStore]) -> None:
        files = [ChangedFile(f"f{n}.jpg") for n in range(30)]
        store = new_store()
        with ThreadPoolExecutor(10) as threads:
            list(threads.map(lambda file: store.record_failure(file, AWAY), files[:20]))
        changed = ChangedFile("f0.jpg", e_tag="new")
        found = new_store().failures_of([changed, *files[1:]])
        assert sorted(found) == sorted(file.file_path for file in files[1:20])
        assert len(new_store().list_failures()) == 20


class TestReports:
    def test_a_report_comes_back_by_its_run_and_day(self, store: StateStore) -> None:
        store.write_run_report("run-1", {"listed": 3, "reason": "é\n"}, day=DAY)
        store.write_run_report("run-2", {"listed": 4, "day": "2026-11-24"})
        assert store.read_run_report("run-1") == {"listed": 3, "reason": "é\n"}
        assert store.read_run_report("run-2", day="2026-11-24") == {"listed": 4, "day": "2026-11-24"}
        assert store.read_run_report("run-2", day=DAY) is None
        assert store.read_run_report("run") is None
        assert store.list_run_reports(DAY) == ["run-1"]

    def test_without_a_day_it_is_filed_under_today(self, store: StateStore) -> None:
        before = datetime.now(timezone.utc).date().isoformat()
        uri = store.write_run_report("run-1", {"day": None})
        after = datetime.now(timezone.utc).date().isoformat()
        assert uri.split("/")[-2] in (before, after)

    @pytest.mark.parametrize("run_id", ["", "..", "a/b", "a b", "x\n"])
    def test_what_is_no_run_is_refused(self, store: StateStore, run_id: str) -> None:
        with pytest.raises(StateError, match="id of a run"):
            store.write_run_report(run_id, {}, day=DAY)
        with pytest.raises(StateError, match="id of a run"):
            store.read_run_report(run_id)


def each_call(store: StateStore) -> list[Callable[[], object]]:
    return [
        lambda: store.write_day(DAY, [FILE]),
        lambda: store.read_day(DAY),
        store.list_days,
        lambda: store.delete_day(DAY),
        lambda: store.quarantined(FILE),
        lambda: store.record_failure(FILE, BROKEN),
        lambda: store.clear("a"),
        store.list_failures,
        lambda: store.write_run_report("r", {}, day=DAY),
        lambda: store.read_run_report("r"),
    ]


class TestBucketTrouble:
    def test_a_missing_bucket_is_named_in_one_line(self, s3: Any) -> None:
        for call in each_call(StateStore(s3, "nowhere")):
            with pytest.raises(StateError, match="the bucket nowhere does not exist"):
                call()

    @pytest.mark.parametrize(
        ("told", "said"),
        [((403, "AccessDenied"), "refuses access"), ((500, "InternalError"), "InternalError")],
    )
    def test_a_bucket_that_refuses_is_named_in_one_line(self, told: tuple[int, str], said: str) -> None:
        server = S3Server()
        try:
            server.always = told
            for call in each_call(StateStore(s3_client(server.url, tries=1), "bucket")):
                with pytest.raises(StateError, match=f"the bucket bucket .*{said}"):
                    call()
        finally:
            server.stop()

    @pytest.mark.parametrize("prefix", ["", "/", "marble-images", "marble-images/", "/a/b/"])
    def test_any_spelling_of_a_prefix_is_one_place(self, s3: Any, prefix: str) -> None:
        StateStore(s3, "state", prefix).write_day(DAY, [FILE])
        other = StateStore(s3, "state", prefix.strip("/"))
        assert other.read_day(DAY) == [FILE]
        assert "//" not in other.day_uri(DAY).removeprefix("s3://")
        other.delete_day(DAY)
