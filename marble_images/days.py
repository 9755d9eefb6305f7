"""Days as the pipeline counts them: in New York, written ``YYYY-MM-DD``."""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

ZONE = ZoneInfo("America/New_York")
"""The zone in which a day begins and the schedule's hour is meant."""

DEFAULT_FIRST_DAY = "2021-01-01"
"""When the queue began."""


def day_of(moment: datetime) -> str:
    """The partition key of the day, in :data:`ZONE`, in which an aware ``moment`` falls."""
    return moment.astimezone(ZONE).date().isoformat()


def day_bounds(day: str) -> tuple[datetime, datetime]:
    """First moment of a day and of the next, both aware; 23 to 25 hours apart."""
    first = date.fromisoformat(day)
    return (
        datetime.combine(first, time(), tzinfo=ZONE),
        datetime.combine(first + timedelta(days=1), time(), tzinfo=ZONE),
    )


def is_day(text: str) -> bool:
    """Whether ``text`` is a date in the form of the daily partition keys."""
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
