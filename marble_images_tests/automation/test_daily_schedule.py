from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timezone
from itertools import islice

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from marble_images.automation import daily_changed_files
from marble_images.days import ZONE
from marble_images.definitions import defs
from marble_images.errors import SettingsError

PIPELINE = {
    "IMAGE_BUCKET": "images",
    "STATE_BUCKET": "state",
    "GRAPHQL_API_URL": "http://127.0.0.1:1/graphql",
    "GRAPHQL_API_KEY": "key",
}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PIPELINE.items():
        monkeypatch.setenv(name, value)


def ticks_from(moment: datetime, count: int) -> list[datetime]:
    times = schedule_execution_time_iterator(
        moment.timestamp(), daily_changed_files.cron_schedule, daily_changed_files.execution_timezone
    )
    return list(islice(times, count))


def tick_at(moment: datetime) -> list[dg.RunRequest]:
    context = dg.build_schedule_context(
        scheduled_execution_time=moment, repository_def=defs.get_repository_def()
    )
    return list(daily_changed_files.evaluate_tick(context).run_requests or [])


@pytest.mark.parametrize(
    ("from_day", "hours_in_utc"),
    [
        (datetime(2026, 3, 7, tzinfo=timezone.utc), [10, 9, 9]),
        (datetime(2026, 10, 31, tzinfo=timezone.utc), [9, 10, 10]),
    ],
)
def test_it_ticks_at_half_past_five_in_new_york_around_both_clock_changes(
    from_day: datetime, hours_in_utc: list[int]
) -> None:
    ticks = ticks_from(from_day, 3)
    assert [(t.astimezone(ZONE).hour, t.astimezone(ZONE).minute) for t in ticks] == [(5, 30)] * 3
    assert [t.astimezone(timezone.utc).hour for t in ticks] == hours_in_utc
    assert len({t.astimezone(ZONE).date() for t in ticks}) == 3


def test_a_tick_asks_for_the_list_of_its_own_day(settings: None) -> None:
    for moment in ticks_from(datetime(2026, 10, 31, tzinfo=timezone.utc), 3):
        (request,) = tick_at(moment)
        assert request.partition_key == moment.astimezone(ZONE).date().isoformat()
        assert request.tags["marble/trigger"] == "daily"


def test_a_tick_that_is_repeated_asks_for_the_same_run(settings: None) -> None:
    moment = datetime(2026, 11, 23, 5, 30, tzinfo=ZONE)
    assert tick_at(moment)[0].run_key == tick_at(moment)[0].run_key
    assert tick_at(moment)[0].run_key != tick_at(moment.replace(hour=14))[0].run_key


def test_it_is_on_by_default() -> None:
    assert daily_changed_files.default_status is dg.DefaultScheduleStatus.RUNNING


def test_a_missing_setting_is_named_by_the_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PIPELINE:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(Exception) as caught:
        tick_at(datetime(2026, 11, 23, 5, 30, tzinfo=ZONE))
    causes = [caught.value, caught.value.__cause__]
    (error,) = [cause for cause in causes if isinstance(cause, SettingsError)]
    assert "IMAGE_BUCKET is not set" in error.reason


def test_the_time_of_day_is_a_setting() -> None:
    code = "from marble_images.automation import daily_changed_files as d; print(d.cron_schedule)"
    shown = subprocess.run(
        [sys.executable, "-c", code],
        env={"SCHEDULE_HOUR": "14", "SCHEDULE_MINUTE": "5", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "5 14 * * *"
