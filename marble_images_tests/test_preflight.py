from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from marble_images.errors import SettingsError
from marble_images.preflight import BucketUnreachable, check_buckets, check_settings
from marble_images.settings import Settings
from marble_images_tests.s3_server import S3Server, s3_client

WHOLE = {
    "IMAGE_BUCKET": "images",
    "STATE_BUCKET": "state",
    "GRAPHQL_API_URL": "https://127.0.0.1:1/graphql",
    "GRAPHQL_API_KEY": "key",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {**WHOLE, "WORK_FOLDER": str(tmp_path / "work")}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def server() -> Iterator[S3Server]:
    made = S3Server()
    yield made
    made.stop()


def test_settings_that_can_be_used_pass_and_leave_nothing(tmp_path: Path) -> None:
    check_settings(Settings.load())
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROFILE", "jpg"),
        ("WORK_FOLDER", "/dev/null/work"),
        ("ALLOWED_SOURCE_PORTS", "http"),
        ("ALLOWED_SOURCE_PORTS", "0"),
        ("ALLOWED_SOURCE_PORTS", "65536"),
        ("CONVERSION_MEMORY", "3 GiB"),
        ("SOURCE_DEADLINE", "inf"),
        ("REMOVE_RETIRED_PYRAMIDS", "perhaps"),
        ("STATE_BUCKET", ""),
        ("GRAPHQL_API_KEY", ""),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^{name}\b") as caught:
        check_settings(Settings.load())
    assert "\n" not in caught.value.reason


def test_a_bucket_that_does_not_exist_is_named_with_its_setting(server: S3Server) -> None:
    server.statuses = [(200, ""), (404, ""), (404, "NoSuchBucket")]
    with pytest.raises(SettingsError, match=r"^STATE_BUCKET: the bucket state does not exist$"):
        check_buckets(Settings.load(), partial(s3_client, server.url))


def test_a_server_that_knows_objects_but_no_buckets_is_not_called_bucketless(server: S3Server) -> None:
    server.always = (404, "NoSuchKey")
    check_buckets(Settings.load(), partial(s3_client, server.url))


@pytest.mark.parametrize("status", [403, 405, 503])
def test_a_bucket_that_may_not_be_asked_for_is_not_called_missing(server: S3Server, status: int) -> None:
    # A role that writes objects needs no right to list them, which is what asking for a bucket takes.
    server.always = (status, "AccessDenied")
    check_buckets(Settings.load(), partial(s3_client, server.url))


def test_an_s3_that_does_not_answer_is_one_line() -> None:
    with pytest.raises(BucketUnreachable, match="IMAGE_BUCKET: the bucket images could not be reached"):
        check_buckets(Settings.load(), partial(s3_client, "http://127.0.0.1:1"))


def test_what_boto3_cannot_read_of_its_own_settings_is_one_line() -> None:
    def make() -> Any:
        return s3_client("no address")

    with pytest.raises(SettingsError, match="AWS_") as caught:
        check_buckets(Settings.load(), make)
    assert "\n" not in caught.value.reason
