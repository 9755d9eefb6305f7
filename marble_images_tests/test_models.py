from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_images.errors import UnsupportedSourceType, UnusableRecord
from marble_images.models import (
    GRAPHQL_FIELDS,
    ChangedFile,
    SourceType,
    fold_id,
    parse_queue_date,
)

TEXT = st.none() | st.text()
FILES = st.builds(
    ChangedFile,
    file_path=st.text(min_size=1),
    source_type=TEXT,
    source_bucket_name=TEXT,
    source_file_path=TEXT,
    source_uri=TEXT,
    copyright_status=TEXT,
    date_added_to_dynamo=TEXT,
    e_tag=TEXT,
    md5_checksum=TEXT,
    height=st.none() | st.integers(1, 4000),
    width=st.none() | st.integers(1, 4000),
)


@given(FILES)
def test_a_stored_line_gives_the_same_file_back(file: ChangedFile) -> None:
    line = file.to_json()
    assert "\n" not in line
    assert ChangedFile.from_json(line) == file


def test_the_fields_asked_for_are_the_queues_names_without_size() -> None:
    assert "size" not in GRAPHQL_FIELDS
    assert {"id", "filePath", "eTag", "md5Checksum", "dateAddedToDynamo", "sourceBucketName"} <= set(
        GRAPHQL_FIELDS
    )


def test_a_record_without_file_path_is_known_by_its_id() -> None:
    assert ChangedFile.from_record({"id": "a/b.tif"}).file_path == "a/b.tif"
    assert ChangedFile.from_record({"id": "A/B.TIF", "filePath": "a/b.tif"}).file_path == "a/b.tif"


@pytest.mark.parametrize("record", [{}, {"id": None}, {"id": "", "filePath": "  "}])
def test_a_record_without_any_id_is_unusable(record: dict[str, object]) -> None:
    with pytest.raises(UnusableRecord, match="neither a filePath nor an id"):
        ChangedFile.from_record(record)


@pytest.mark.parametrize(
    ("status", "copyrighted"),
    [
        (None, False),
        ("", False),
        ("Copyright", True),
        ("copyrighted", True),
        ("In Copyright", True),
        ("IN COPYRIGHT - EDUCATIONAL USE", True),
        ("Public domain (copyright expired)", False),
        ("No Copyright - United States", False),
        ("Not in copyright", False),
        ("out of COPYRIGHT", False),
        ("open", False),
    ],
)
def test_copyright_status(status: str | None, copyrighted: bool) -> None:
    assert ChangedFile("a.tif", copyright_status=status).copyrighted is copyrighted


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2021-07-13T06:00:22.762881", datetime(2021, 7, 13, 6, 0, 22, 762881, tzinfo=timezone.utc)),
        ("2021-07-13T06:00:22", datetime(2021, 7, 13, 6, 0, 22, tzinfo=timezone.utc)),
        ("2021-07-13T06:00:22.7Z", datetime(2021, 7, 13, 6, 0, 22, 700000, tzinfo=timezone.utc)),
        ("2021-07-13T06:00:22.123456789Z", datetime(2021, 7, 13, 6, 0, 22, 123456, tzinfo=timezone.utc)),
        ("2021-07-13T02:00:22.5-04:00", datetime(2021, 7, 13, 6, 0, 22, 500000, tzinfo=timezone.utc)),
        ("2021-07-13", datetime(2021, 7, 13, tzinfo=timezone.utc)),
    ],
)
def test_dates_are_utc_unless_they_say_otherwise(text: str, moment: datetime) -> None:
    assert parse_queue_date(text) == moment


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:00:00-05:00", "Z", "2021-7-1"])
def test_a_date_that_cannot_be_read_is_no_date(text: str) -> None:
    assert parse_queue_date(text) is None


@given(st.none() | st.text())
def test_no_text_breaks_the_reading_of_dates(text: str | None) -> None:
    parsed = parse_queue_date(text)
    assert parsed is None or parsed.tzinfo is timezone.utc


@pytest.mark.parametrize("value", ["S3", "Uri", "Curate", "Museum"])
def test_the_four_source_types(value: str) -> None:
    assert ChangedFile("a.tif", source_type=value).source is SourceType(value)


@pytest.mark.parametrize(("value", "named"), [("Dropbox", "'Dropbox'"), (None, "missing"), ("s3", "'s3'")])
def test_any_other_source_type_is_named(value: str | None, named: str) -> None:
    with pytest.raises(UnsupportedSourceType, match=named):
        _ = ChangedFile("a.tif", source_type=value).source


@given(FILES, st.sampled_from(["date_added_to_dynamo", "e_tag", "md5_checksum", "source_uri"]))
def test_a_rewritten_record_has_another_fingerprint(file: ChangedFile, name: str) -> None:
    changed = ChangedFile(**{**vars(file), name: (getattr(file, name) or "") + "x"})
    assert changed.fingerprint != file.fingerprint
    assert changed.revision != file.revision


@given(FILES)
def test_being_processed_changes_no_fingerprint(file: ChangedFile) -> None:
    marked = ChangedFile(**{**vars(file), "date_last_processed": "2026-01-01", "height": 7, "width": 8})
    assert marked.fingerprint == file.fingerprint
    assert marked.revision == file.revision


def test_ids_fold_as_the_queue_folds_them() -> None:
    assert fold_id("a b/C.tif") == fold_id("AB/c.TIF") == "AB/C.TIF"


@pytest.mark.parametrize(
    ("file", "yes"),
    [
        (ChangedFile("a.pdf"), True),
        (ChangedFile("a.tif", source_file_path="b/C.PDF"), True),
        (ChangedFile("a.tif", source_uri="https://x.org/c.pdf?version=2"), True),
        (ChangedFile("a.pdf.tif"), False),
    ],
)
def test_a_name_can_say_that_a_file_is_a_pdf(file: ChangedFile, yes: bool) -> None:
    assert file.is_pdf is yes
