from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from marble_images.day_lists import split_by_day
from marble_images.models import ChangedFile

DAYS = ["2026-03-07", "2026-03-08", "2026-03-09"]


def file(path: str, added: str | None, processed: str | None = None) -> ChangedFile:
    return ChangedFile(path, date_added_to_dynamo=added, date_last_processed=processed)


def paths(files: list[ChangedFile]) -> list[str]:
    return [file.file_path for file in files]


def test_a_processed_file_is_in_the_list_of_the_day_it_changed_on_only() -> None:
    lists = split_by_day([file("a", "2026-03-08T12:00:00", "2026-03-09T10:00:00Z")], DAYS)
    assert {day: paths(files) for day, files in lists.items()} == {DAYS[0]: [], DAYS[1]: ["a"], DAYS[2]: []}


def test_a_file_that_waits_is_in_the_list_of_its_day_and_of_every_day_since() -> None:
    lists = split_by_day([file("a", "2026-03-08T12:00:00")], DAYS)
    assert {day: paths(files) for day, files in lists.items()} == {
        DAYS[0]: [],
        DAYS[1]: ["a"],
        DAYS[2]: ["a"],
    }


def test_the_change_to_summer_time_moves_the_end_of_the_day() -> None:
    # Midnight in New York is 05:00 UTC before the change and 04:00 after it.
    late = file("late", "2026-03-09T03:59:59", "x")
    early = file("early", "2026-03-08T05:00:00", "x")
    after = file("after", "2026-03-09T04:00:00", "x")
    lists = split_by_day([late, early, after], DAYS)
    assert paths(lists["2026-03-08"]) == ["early", "late"]
    assert paths(lists["2026-03-09"]) == ["after"]


def test_a_waiting_file_without_a_readable_date_is_never_forgotten() -> None:
    lists = split_by_day([file("a", None), file("b", "soon"), file("c", None, "2026-01-01")], DAYS)
    assert all(paths(files) == ["a", "b"] for files in lists.values())


@given(st.lists(st.text(min_size=1), unique=True))
def test_lists_are_sorted_by_id(names: list[str]) -> None:
    lists = split_by_day([file(name, "2026-03-08T12:00:00") for name in names], ["2026-03-08"])
    assert paths(lists["2026-03-08"]) == sorted(names)
