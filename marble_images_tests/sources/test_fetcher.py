"""The four kinds of sources, when all goes well."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from marble_images.errors import UnsupportedSourceType, UnusableRecord
from marble_images.models import ChangedFile
from marble_images_tests.sources.conftest import (
    ACCESS_TOKEN,
    Drive,
    make_fetcher,
    md5,
    museum_file,
    s3_at,
    s3_file,
    settings,
    web_file,
)
from marble_images_tests.sources.servers import ScriptedServer, good, redirect


def test_a_file_of_a_web_server_arrives_whole_with_what_the_server_said(
    web: ScriptedServer, picture: bytes, tmp_path: Path
) -> None:
    web.script = [good(picture)]

    fetched = make_fetcher().fetch(web_file(web.url("/a/image.png?key=hidden")), tmp_path)

    assert fetched.path.read_bytes() == picture
    assert fetched.path.parent == tmp_path
    assert (fetched.size, fetched.sha256) == (len(picture), hashlib.sha256(picture).hexdigest())
    assert (fetched.etag, fetched.content_type) == ('"an-etag"', "image/png")
    assert fetched.address == web.url("/a/image.png")
    assert web.asked[0].target == "/a/image.png?key=hidden"


def test_curate_s_redirect_to_storage_is_followed(
    web: ScriptedServer, picture: bytes, tmp_path: Path
) -> None:
    web.routes = {"/api/items/download/x": [redirect("/store/y?Signature=s")], "/store/y": [good(picture)]}

    fetched = make_fetcher().fetch(
        web_file(web.url("/api/items/download/x"), "Curate", md5_checksum=md5(picture)), tmp_path
    )

    assert fetched.path.read_bytes() == picture
    assert fetched.address == web.url("/api/items/download/x")


def test_a_file_of_drive_arrives_with_a_service_account_s_token(
    drive: Drive, picture: bytes, tmp_path: Path
) -> None:
    drive.server.script = [good(picture)]

    fetched = drive.fetcher().fetch(museum_file("an-id_123", md5_checksum=md5(picture)), tmp_path)

    assert fetched.path.read_bytes() == picture
    assert fetched.address == "https://drive.google.com/file/d/an-id_123"
    asked = drive.server.asked[-1]
    assert asked.target == "/drive/v3/files/an-id_123?alt=media&supportsAllDrives=true"
    assert asked.headers["Authorization"] == f"Bearer {ACCESS_TOKEN}-1"
    assert json.dumps(str(drive.server.asked[0].body)).count("assertion=") == 1


def test_an_object_of_s3_arrives(moto: str, picture: bytes, tmp_path: Path) -> None:
    client = s3_at(moto)
    client.put_object(Bucket="sources", Key="folder/image.png", Body=picture, ContentType="image/png")

    fetched = make_fetcher(s3_client=lambda: client).fetch(s3_file(), tmp_path)

    assert fetched.path.read_bytes() == picture
    assert fetched.address == "s3://sources/folder/image.png"
    assert (fetched.etag, fetched.content_type) == (f'"{md5(picture)}"', "image/png")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"source_type": "S3", "source_bucket_name": "sources"}, "sourceFilePath"),
        ({"source_type": "S3", "source_file_path": "a.tif", "source_bucket_name": " "}, "sourceBucketName"),
        ({"source_type": "Uri"}, "sourceUri"),
        ({"source_type": "Curate", "source_uri": ""}, "sourceUri"),
        ({"source_type": "Museum"}, "sourceUri"),
    ],
)
def test_a_record_without_its_address_is_unusable(fields: dict[str, Any], named: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableRecord, match=named):
        make_fetcher().fetch(ChangedFile(file_path="x", **fields), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_source_type_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSourceType, match="'Ftp'"):
        make_fetcher().fetch(ChangedFile(file_path="x", source_type="Ftp"), tmp_path)


def test_the_record_s_names_never_become_names_on_disk(
    web: ScriptedServer, picture: bytes, tmp_path: Path
) -> None:
    web.script = [good(picture)]
    folder = tmp_path / "work"
    file = ChangedFile(
        file_path="../../evil.png", source_type="Uri", source_uri=web.url("/%2e%2e/../evil.png")
    )

    first = make_fetcher(settings()).fetch(file, folder)
    second = make_fetcher(settings()).fetch(file, folder)

    assert {first.path.parent, second.path.parent} == {folder}
    assert first.path != second.path
    assert "evil" not in first.path.name
    assert sorted(tmp_path.iterdir()) == [folder]
