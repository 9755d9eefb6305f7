"""S3 as moto has it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from marble_images.errors import (
    Fate,
    NotAnImage,
    SourceGone,
    SourceUnavailable,
    UnusableRecord,
)
from marble_images.sources import SourceFetcher
from marble_images_tests.sources.conftest import (
    make_fetcher,
    nothing_left,
    png,
    s3_at,
    s3_file,
)

PICTURE = png(64, 64)


@pytest.fixture(scope="module")
def at_moto(moto: str) -> SourceFetcher:
    client = s3_at(moto)
    return make_fetcher(s3_client=lambda: client)


@pytest.mark.parametrize(
    "key",
    [
        "a b/ü & ?=#%20+.png",
        "/leading/slash.png",
        "a//b.png",
        "a/./b/../c.png",
        "100%.png",
        "x" * 200 + ".png",
    ],
)
def test_any_key_names_its_own_object(key: str, moto: str, at_moto: SourceFetcher, tmp_path: Path) -> None:
    s3_at(moto).put_object(Bucket="sources", Key=key, Body=PICTURE + key.encode())
    fetched = at_moto.fetch(s3_file(key), tmp_path)
    assert fetched.path.read_bytes() == PICTURE + key.encode()
    assert fetched.address == f"s3://sources/{key}"


def test_a_missing_key_of_a_real_bucket_is_gone(at_moto: SourceFetcher, tmp_path: Path) -> None:
    with pytest.raises(SourceGone, match="twice") as caught:
        at_moto.fetch(s3_file("never/there.png"), tmp_path)
    assert caught.value.fate is Fate.REMOVED
    assert nothing_left(tmp_path)


def test_a_deleted_object_of_a_versioned_bucket_is_gone(
    moto: str, at_moto: SourceFetcher, tmp_path: Path
) -> None:
    client = s3_at(moto)
    client.create_bucket(Bucket="versioned")
    client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
    client.put_object(Bucket="versioned", Key="a.png", Body=PICTURE)
    client.delete_object(Bucket="versioned", Key="a.png")
    with pytest.raises(SourceGone):
        at_moto.fetch(s3_file("a.png", "versioned"), tmp_path)


def test_a_missing_bucket_leaves_the_file_waiting(at_moto: SourceFetcher, tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable, match="bucket nowhere does not exist") as caught:
        at_moto.fetch(s3_file(bucket="nowhere"), tmp_path)
    assert caught.value.fate is Fate.WAITS


@pytest.mark.parametrize("bucket", ["../other", "a b", "bucket/key", "x?y", "Ü"])
def test_a_bucket_name_that_cannot_be_one_is_an_unusable_record(
    bucket: str, at_moto: SourceFetcher, tmp_path: Path
) -> None:
    with pytest.raises(UnusableRecord):
        at_moto.fetch(s3_file(bucket=bucket), tmp_path)


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_an_object_with_a_checksum_of_s3_arrives(
    algorithm: Any, moto: str, at_moto: SourceFetcher, tmp_path: Path
) -> None:
    s3_at(moto).put_object(Bucket="sources", Key="sum.png", Body=PICTURE, ChecksumAlgorithm=algorithm)
    assert at_moto.fetch(s3_file("sum.png"), tmp_path).path.read_bytes() == PICTURE


def test_an_object_put_in_parts_arrives_though_its_etag_is_no_md5(
    moto: str, at_moto: SourceFetcher, large_picture: bytes, tmp_path: Path
) -> None:
    client = s3_at(moto)
    upload = client.create_multipart_upload(Bucket="sources", Key="parts.png")["UploadId"]
    body = large_picture + bytes(5 * 2**20)
    parts = [body[: 5 * 2**20], body[5 * 2**20 :]]
    made = [
        client.upload_part(Bucket="sources", Key="parts.png", UploadId=upload, PartNumber=n, Body=part)
        for n, part in enumerate(parts, 1)
    ]
    client.complete_multipart_upload(
        Bucket="sources",
        Key="parts.png",
        UploadId=upload,
        MultipartUpload={
            "Parts": [{"PartNumber": n, "ETag": part["ETag"]} for n, part in enumerate(made, 1)]
        },
    )
    fetched = at_moto.fetch(s3_file("parts.png"), tmp_path)
    assert fetched.sha256 == hashlib.sha256(body).hexdigest()
    assert (fetched.etag or "").endswith('-2"')


def test_an_object_that_is_no_image_is_refused(moto: str, at_moto: SourceFetcher, tmp_path: Path) -> None:
    s3_at(moto).put_object(Bucket="sources", Key="page.png", Body=b"<html><body>Not here</body></html>")
    with pytest.raises(NotAnImage, match="HTML"):
        at_moto.fetch(s3_file("page.png"), tmp_path)
    assert nothing_left(tmp_path)


# --- S3 on a bad day -------------------------------------------------------------------------------
