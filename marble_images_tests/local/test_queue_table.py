from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marble_images.local.queue_table import BadToken, Paging, QueueTable
from marble_images_tests.local.records import record

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
DATES = st.none() | st.text(st.sampled_from("0123456789-tTzZ: "), max_size=12)


@settings(deadline=None, max_examples=60)
@given(
    dates=st.dictionaries(NAMES, DATES, max_size=12),
    before=DATES,
    limit=st.integers(1, 5),
    paging=st.builds(
        Paging,
        most=st.none() | st.integers(1, 4),
        empty_every=st.integers(2, 4),
        null_every=st.integers(0, 2),
    ),
)
def test_pages_of_any_size_hold_each_matching_record_once(
    dates: dict[str, str | None], before: str | None, limit: int, paging: Paging
) -> None:
    def fold(text: str | None) -> str:
        return (text or "").upper().replace(" ", "")

    with tempfile.TemporaryDirectory() as folder:
        table = QueueTable(Path(folder) / "queue.sqlite")
        table.put_records(record(name, dateLastProcessed=date) for name, date in dates.items())
        kept = {fold(name): date for name, date in dates.items()}
        expected = {name for name, date in kept.items() if fold(date) <= fold(before)}
        table.paging = paging
        listed: list[str] = []
        token = None
        while True:
            items, token = table.page(before, limit, token)
            assert len([item for item in items if item]) <= min(limit, paging.most or limit)
            listed += [fold(item["filePath"]) for item in items if item]
            if token is None:
                break
        table.close()
    assert sorted(listed) == sorted(expected)


def test_the_queue_survives_its_process(tmp_path: Path) -> None:
    table = QueueTable(tmp_path / "queue.sqlite")
    table.put_records([record("a.tif"), record("b.tif")])
    table.mark_processed("a.tif", 3, 4)
    # Not closed: as after a kill.
    again = QueueTable(tmp_path / "queue.sqlite")
    assert [found["filePath"] for found in again.records()] == ["a.tif", "b.tif"]
    assert again.page(None, 10, None)[0] == [again.get("b.tif")]
    assert again.images()[0]["width"] == 4


def test_records_without_any_name_are_refused_and_nothing_of_the_batch_is_written(tmp_path: Path) -> None:
    table = QueueTable(tmp_path / "queue.sqlite")
    with pytest.raises(ValueError, match="filePath"):
        table.put_records([record("a.tif"), {"sourceType": "S3"}])
    assert table.records() == []


def test_a_token_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadToken):
        QueueTable(tmp_path / "queue.sqlite").page(None, 10, "e30=")


def test_addresses_move_with_their_server(tmp_path: Path) -> None:
    table = QueueTable(tmp_path / "queue.sqlite")
    table.put_records(
        [record("a", sourceUri="http://127.0.0.1:1/x"), record("b", sourceUri="http://127.0.0.1:11/x")]
    )
    assert table.readdress("http://127.0.0.1:1/", "http://127.0.0.1:2/") == 1
    assert [found["sourceUri"] for found in table.records()] == [
        "http://127.0.0.1:2/x",
        "http://127.0.0.1:11/x",
    ]
