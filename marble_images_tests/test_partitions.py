from __future__ import annotations

import string
from datetime import datetime, timezone
from itertools import pairwise

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_images.days import day_bounds, day_of, is_day
from marble_images.partitions import contiguous_runs, daily_partitions, file_path_of, partition_key

ORDINARY = st.text(string.ascii_letters + string.digits + "/_-", min_size=1)


@given(st.text())
def test_every_id_comes_back_from_its_key(file_path: str) -> None:
    assert file_path_of(partition_key(file_path)) == file_path


@given(st.text(st.characters(codec=None), min_size=1))
def test_ids_with_lone_surrogates_come_back_too(file_path: str) -> None:
    assert file_path_of(partition_key(file_path)) == file_path


@given(st.text())
def test_no_key_has_what_dagster_cannot_take(file_path: str) -> None:
    key = partition_key(file_path)
    assert ".." not in key
    assert not key.startswith(".")
    assert not key.endswith(".")
    assert not set(key) & set(",[]\"'*\\ \n\r\t")
    assert all(not char.isspace() and char.isprintable() for char in key)


@given(ORDINARY, st.sampled_from(["tif", "jpg", "pdf"]))
def test_an_ordinary_id_is_its_own_key(stem: str, extension: str) -> None:
    assert partition_key(f"{stem}.{extension}") == f"{stem}.{extension}"


@given(st.lists(st.text(), unique=True))
def test_different_ids_have_different_keys(file_paths: list[str]) -> None:
    assert len({partition_key(path) for path in file_paths}) == len(file_paths)


@given(
    known=st.lists(st.integers(), unique=True, max_size=60).map(lambda numbers: [str(n) for n in numbers]),
    data=st.data(),
    longest=st.integers(1, 8),
)
def test_runs_cover_what_is_wanted_and_nothing_else(
    known: list[str], data: st.DataObject, longest: int
) -> None:
    wanted = data.draw(st.lists(st.sampled_from(known))) if known else []
    positions = {key: place for place, key in enumerate(known)}
    runs = list(contiguous_runs(wanted, positions, longest))
    assert sorted(key for run in runs for key in run) == sorted(set(wanted))
    for run in runs:
        assert 1 <= len(run) <= longest
        first, last = positions[run[0]], positions[run[-1]]
        assert known[first : last + 1] == list(run)
    for one, other in pairwise(runs):
        adjacent = positions[other[0]] == positions[one[-1]] + 1
        assert not adjacent or len(one) == longest


def test_unknown_keys_are_asked_for_in_no_run() -> None:
    assert list(contiguous_runs(["b", "x"], {"a": 0, "b": 1}, 5)) == [["b"]]


@pytest.mark.parametrize(
    ("moment", "day"),
    [
        ("2026-01-15T04:59:59", "2026-01-14"),
        ("2026-01-15T05:00:00", "2026-01-15"),
        ("2026-07-15T03:59:59", "2026-07-14"),
        ("2026-07-15T04:00:00", "2026-07-15"),
    ],
)
def test_days_begin_at_midnight_in_new_york(moment: str, day: str) -> None:
    assert day_of(datetime.fromisoformat(moment).replace(tzinfo=timezone.utc)) == day


@pytest.mark.parametrize(("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-06-01", 24)])
def test_days_of_clock_changes_are_an_hour_short_or_long(day: str, hours: int) -> None:
    start, end = (moment.astimezone(timezone.utc) for moment in day_bounds(day))
    assert (end - start).total_seconds() == hours * 3600


def test_todays_partition_exists_while_the_day_lasts() -> None:
    partitions = daily_partitions()
    now = datetime(2026, 11, 23, 10, 30, tzinfo=timezone.utc)
    keys = partitions.get_partition_keys(current_time=now)
    assert keys[0] == "2021-01-01"
    assert keys[-1] == "2026-11-23"


def test_the_first_day_can_be_set() -> None:
    assert daily_partitions("2026-01-01").get_first_partition_key() == "2026-01-01"


def test_dagster_stores_every_strange_key_as_it_is() -> None:
    ids = ["a b/ü,[1]...x\n.tif", "é" * 200, "%41", "a.tif", "A.tif", "/lead", "trail/"]
    keys = [partition_key(path) for path in ids]
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("image_files", keys)
        assert [file_path_of(key) for key in instance.get_dynamic_partitions("image_files")] == ids


@pytest.mark.parametrize(
    ("text", "yes"),
    [("2026-02-28", True), ("2026-02-30", False), ("2026-2-3", False), ("today", False), ("20260228", False)],
)
def test_days_are_recognized(text: str, yes: bool) -> None:
    assert is_day(text) is yes
