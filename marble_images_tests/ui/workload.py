"""The files that the tests of the UI put into the queue, and what is asked for before the first test."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
from PIL import Image

from marble_images.days import ZONE, day_of
from marble_images.local import layout
from marble_images.partitions import partition_key
from marble_images_tests.ui.dev_server import DEMO_FAILED, DevServer, until

STRANGE = {
    "dots": "kinds/x...y.jpg",
    "a comma": "kinds/a,b.jpg",
    "brackets": "kinds/a[1](2){3}.jpg",
    "blanks": "kinds/a  b .jpg",
    "200 characters": "kinds/" + "n" * 190 + ".jpg",
    "another script": "kinds/ссылка/файл.jpg",
    "accents": "kinds/na\u0308ive-é.jpg",
    "percents": "kinds/100%20done%.jpg",
    "quotes and marks": 'kinds/it\'s "quoted" & <b>|*?#;:.jpg',
    "a range": "[a...b].jpg",
    "all": "kinds/a, b [1]/x...y é %2C.jpg",
}
"""Ids that Dagster would take for something else, or that strain it, by what is strange about them."""

NAMELESS = {"line breaks": "kinds/two\nlines\r\n.jpg", "a folder": "kinds/folder/"}
"""Ids that can name no object: they are shown with their reason, and can be tried again."""


def jpeg(shade: int = 90) -> bytes:
    """A small picture that no two of are alike."""
    rng = np.random.default_rng(shade)
    pixels = rng.integers(0, 255, (300, 400, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def put(ui: DevServer, path: str, content: bytes, added: datetime | None = None) -> None:
    """Put a file at its source and its record into the queue, as added now or then."""
    key = f"in/{partition_key(path)}"
    ui.stack.s3.put_object(Bucket=layout.SOURCE_BUCKET, Key=key, Body=content)
    moment = (added or datetime.now(timezone.utc)).astimezone(timezone.utc).replace(tzinfo=None)
    record = {
        "id": path,
        "filePath": path,
        "sourceType": "S3",
        "sourceBucketName": layout.SOURCE_BUCKET,
        "sourceFilePath": key,
        "dateAddedToDynamo": moment.isoformat(),
    }
    ui.stack.appsync.put_records([record])


@dataclass(frozen=True)
class Days:
    """A few days in a row, with a file that changed on each."""

    days: list[str]
    paths: list[str]


def put_days(ui: DevServer, folder: str, ago: int) -> Days:
    """Put a file for each of three days."""
    start = datetime.now(ZONE) - timedelta(days=ago)
    moments = [start + timedelta(days=n) for n in range(3)]
    paths = [f"{folder}/{n}.jpg" for n in range(3)]
    for n, path in enumerate(paths):
        put(ui, path, jpeg(n), moments[n])
    return Days([day_of(moment) for moment in moments], paths)


@dataclass(frozen=True)
class Begun:
    """What was asked for before the first test, so that the waits for it run side by side."""

    backfill: str
    backfilled: Days


def begin(ui: DevServer) -> Begun:
    """Have the files with strange ids listed, and then some days."""
    # Else the list would have it tried again.
    ui.stack.appsync.remove(DEMO_FAILED)
    for path in (*STRANGE.values(), *NAMELESS.values()):
        put(ui, path, jpeg())
    assert ui.ended(ui.launch(day_of(datetime.now(timezone.utc)), ["changed_files"])) == "SUCCESS"
    days = put_days(ui, "backfill", ago=20)
    return Begun(ui.backfill("changed_files", days.days), days)


def wait_for(ui: DevServer, status: str, paths: Iterable[str]) -> None:
    """Wait until the partitions of all these files have a status."""
    keys = {partition_key(path) for path in paths}
    until(lambda: keys <= ui.statuses("pyramid_tiffs")[status], f"{status} state of {keys}")


def wait_for_history(ui: DevServer, path: str, length: int) -> list[dict[str, str]]:
    """The events of a file's partition, the newest first, once there are so many."""
    key = partition_key(path)

    def events() -> list[dict[str, str]] | None:
        found = ui.history("pyramid_tiffs", key)
        return found if len(found) >= length else None

    return until(events, f"event no. {length} of {path}")


def modified(ui: DevServer, key: str) -> tuple[Any, str]:
    """When and by which upload an object was written."""
    found = ui.stack.s3.head_object(Bucket=layout.IMAGE_BUCKET, Key=key)
    return found["LastModified"], found["Metadata"]["marble-upload"]
