from __future__ import annotations

import hashlib
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends

from marble_images.local.layout import IMAGE_BUCKET, SOURCE_BUCKET, TOPIC
from marble_images.local.s3_disk import S3Disk
from marble_images.local.stack import LocalStack

ODD_KEYS = [
    "plain/page 001.tif",
    "plain",
    "a//b.tif",
    "/leading.tif",
    "trailing/",
    "../../outside.tif",
    "./here.tif",
    "line\nbreak.tif",
    "tab\tand\x01control",
    "100%/+a&b?c#d;e=f.tif",
    "Ünïcødé/日本/🗺.tif",
    "x" * 300 + ".tif",
    "odd-keys~/x",
]


def read(stack: LocalStack, key: str, bucket: str = IMAGE_BUCKET) -> bytes:
    return bytes(stack.s3.get_object(Bucket=bucket, Key=key)["Body"].read())


def test_odd_keys_keep_their_bytes_and_stay_inside_the_folder(stack: LocalStack) -> None:
    before = set(stack.folder.iterdir())
    for key in ODD_KEYS:
        stack.s3.put_object(Bucket=IMAGE_BUCKET, Key=key, Body=key.encode(), Metadata={"width": "7"})
    for key in ODD_KEYS:
        assert read(stack, key) == key.encode()
        assert stack.s3.head_object(Bucket=IMAGE_BUCKET, Key=key)["Metadata"] == {"width": "7"}
    listed = stack.s3.list_objects_v2(Bucket=IMAGE_BUCKET)["Contents"]
    assert sorted(entry["Key"] for entry in listed) == sorted(ODD_KEYS)
    assert set(stack.folder.iterdir()) == before
    shown = [path.read_bytes().decode() for path in stack.pyramid_folder.rglob("*") if path.is_file()]
    assert sorted(shown) == sorted(ODD_KEYS)


def test_a_person_finds_an_object_under_its_key(stack: LocalStack) -> None:
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="some folder/page 1.tif", Body=b"one")
    path = stack.pyramid_folder / "some folder" / "page 1.tif"
    assert path.read_bytes() == b"one"
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="some folder/page 1.tif", Body=b"two")
    assert path.read_bytes() == b"two"
    stack.s3.delete_object(Bucket=IMAGE_BUCKET, Key="some folder/page 1.tif")
    assert not path.exists()
    assert not path.parent.exists()


def test_multipart_copy_and_batch_delete_reach_the_disk(stack: LocalStack, tmp_path: Path) -> None:
    big = tmp_path / "big.bin"
    big.write_bytes(b"0123456789abcdef" * 2**19 + b"end")
    config = TransferConfig(multipart_threshold=5 * 2**20, multipart_chunksize=5 * 2**20)
    stack.s3.upload_file(
        str(big), IMAGE_BUCKET, "big.tif", Config=config, ExtraArgs={"Metadata": {"pages": "3"}}
    )
    assert (stack.pyramid_folder / "big.tif").read_bytes() == big.read_bytes()
    head = stack.s3.head_object(Bucket=IMAGE_BUCKET, Key="big.tif")
    assert (head["ContentLength"], head["Metadata"]) == (big.stat().st_size, {"pages": "3"})
    assert head["ETag"].strip('"').endswith("-2")
    source = {"Bucket": IMAGE_BUCKET, "Key": "big.tif"}
    stack.s3.copy_object(Bucket=IMAGE_BUCKET, Key="copy.tif", CopySource=source)
    assert (stack.pyramid_folder / "copy.tif").stat().st_size == big.stat().st_size
    both = {"Objects": [{"Key": "big.tif"}, {"Key": "copy.tif"}]}
    stack.s3.delete_objects(Bucket=IMAGE_BUCKET, Delete=both)
    assert list(stack.pyramid_folder.iterdir()) == []


@pytest.mark.parametrize(
    "checksum", [{"ContentMD5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {"ChecksumCRC32": "AAAAAA=="}]
)
def test_an_upload_whose_checksum_is_wrong_is_refused_and_leaves_nothing(
    stack: LocalStack, checksum: dict[str, str]
) -> None:
    with pytest.raises(ClientError, match="BadDigest"):
        stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="a.tif", Body=b"abc", **checksum)
    assert list(stack.pyramid_folder.iterdir()) == []


def test_many_large_objects_keep_no_file_open(stack: LocalStack) -> None:
    child = psutil.Process(stack.control.call("ping"))
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="first", Body=b"x" * 2**23)
    before = child.num_fds()
    for number in range(12):
        stack.s3.put_object(Bucket=IMAGE_BUCKET, Key=f"large/{number}", Body=b"x" * 2**23)
    assert child.num_fds() < before + 8


def test_readers_get_the_old_or_the_new_object_whole_while_it_is_replaced(stack: LocalStack) -> None:
    bodies = {digit * 200_000 for digit in (b"a", b"b", b"c")}
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="k", Body=b"a" * 200_000)
    stop = threading.Event()

    def replace() -> None:
        while not stop.is_set():
            for body in bodies:
                stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="k", Body=body)

    writer = threading.Thread(target=replace)
    writer.start()
    try:
        for _ in range(40):
            assert read(stack, "k") in bodies
    finally:
        stop.set()
        writer.join()


def test_a_file_that_is_linked_is_served_without_a_copy_until_it_changes(
    stack: LocalStack, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.tif"
    scan.write_bytes(b"scan")
    etag = stack.link_source("folder/scan.tif", scan, "image/tiff")
    head = stack.s3.head_object(Bucket=SOURCE_BUCKET, Key="folder/scan.tif")
    assert head["ETag"] == f'"{etag}"' == f'"{hashlib.md5(b"scan").hexdigest()}"'
    assert head["ContentType"] == "image/tiff"
    assert read(stack, "folder/scan.tif", SOURCE_BUCKET) == b"scan"
    scan.write_bytes(b"another")
    with pytest.raises(ClientError):
        read(stack, "folder/scan.tif", SOURCE_BUCKET)
    stack.s3.delete_object(Bucket=SOURCE_BUCKET, Key="folder/scan.tif")
    assert scan.read_bytes() == b"another"


def test_alerts_that_are_published_can_be_read(stack: LocalStack) -> None:
    assert stack.alert_topic_arn.endswith(TOPIC)
    stack.aws_client("sns").publish(TopicArn=stack.alert_topic_arn, Subject="Daily", Message="2 failed")
    assert stack.published_alerts() == [{"subject": "Daily", "message": "2 failed"}]


@settings(deadline=None, max_examples=25)
@given(
    contents=st.dictionaries(
        st.text(st.sampled_from("ab/. ~%é\n"), min_size=1, max_size=8), st.binary(max_size=20), max_size=6
    ),
    gone=st.integers(0, 3),
)
def test_what_moto_holds_is_there_after_a_restart_whatever_its_keys(
    contents: dict[str, bytes], gone: int
) -> None:
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            disk = S3Disk(Path(folder))
            disk.make_bucket("some-bucket")
            for key, body in contents.items():
                backend.put_object("some-bucket", key, body)
                disk.sync("some-bucket", key)
            for key in list(contents)[:gone]:
                backend.delete_object("some-bucket", key)
                disk.sync("some-bucket", key)
                del contents[key]
            backend.buckets.clear()
            s3_backends.bucket_accounts.clear()
            # Not closed: as after a kill.
            assert S3Disk(Path(folder)).load() == len(contents)
            held = backend.buckets["some-bucket"].keys
            assert {key: held[key].value for key in held} == contents
            assert {key: held[key].etag.strip('"') for key in held} == {
                key: hashlib.md5(body).hexdigest() for key, body in contents.items()
            }
        finally:
            backend.buckets.clear()
            s3_backends.bucket_accounts.clear()


def test_requests_to_other_services_and_to_no_bucket_change_nothing_on_disk(stack: LocalStack) -> None:
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="k", Body=b"x")
    stack.aws_client("ssm").put_parameter(Name="/some/parameter", Value="x", Type="String", Overwrite=True)
    target = {"X-Amz-Target": "AmazonSSM.PutParameter"}
    requests.post(f"{stack.url('aws')}/", data=b"{}", headers=target, timeout=10)
    requests.post(f"{stack.url('aws')}/?delete", data=b"<Delete/>", timeout=10)
    requests.delete(f"{stack.url('aws')}/..", timeout=10)
    with pytest.raises(ClientError, match="BucketNotEmpty"):
        stack.s3.delete_bucket(Bucket=IMAGE_BUCKET)
    assert (stack.pyramid_folder / "k").read_bytes() == b"x"
    assert read(stack, "k") == b"x"


@pytest.mark.parametrize(
    ("asked", "status", "span"),
    [
        (None, 200, (0, None)),
        ("bytes=0-9", 206, (0, 10)),
        ("bytes=9000000-", 206, (9_000_000, None)),
        ("bytes=-5", 206, (-5, None)),
    ],
)
def test_large_objects_are_streamed_with_the_same_answer(
    stack: LocalStack, asked: str | None, status: int, span: tuple[int, int | None]
) -> None:
    body = b"0123456789abcdef" * 600_000
    meta = {"ContentType": "image/tiff", "Metadata": {"width": "4000"}, "ChecksumAlgorithm": "CRC32"}
    etag = stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="a b/large.tif", Body=body, **meta)["ETag"]
    options = {} if asked is None else {"Range": asked}
    found = stack.s3.get_object(
        Bucket=IMAGE_BUCKET, Key="a b/large.tif", IfMatch=etag, ChecksumMode="ENABLED", **options
    )
    assert found["ResponseMetadata"]["HTTPStatusCode"] == status
    assert found["Body"].read() == body[slice(*span)]
    assert (found["ETag"], found["ContentType"], found["Metadata"]) == (etag, "image/tiff", {"width": "4000"})
    assert ("ChecksumCRC32" in found) == (asked is None)


def test_conditions_and_bad_ranges_of_large_objects_are_answered_as_s3_does(stack: LocalStack) -> None:
    stack.s3.put_object(Bucket=IMAGE_BUCKET, Key="large", Body=b"x" * 9_000_000)
    for options, code in (
        ({"IfMatch": '"other"'}, "PreconditionFailed"),
        ({"Range": "bytes=9000000-"}, "InvalidRange"),
    ):
        with pytest.raises(ClientError, match=code):
            stack.s3.get_object(Bucket=IMAGE_BUCKET, Key="large", **options)


def test_a_large_file_that_is_linked_is_streamed_and_refused_once_it_changes(
    stack: LocalStack, tmp_path: Path
) -> None:
    scan = tmp_path / "scan.tif"
    scan.write_bytes(b"x" * 9_000_000)
    stack.link_source("scan.tif", scan, "image/tiff")
    assert len(read(stack, "scan.tif", SOURCE_BUCKET)) == 9_000_000
    scan.write_bytes(b"y" * 9_000_000)
    with pytest.raises(ClientError, match="InternalError"):
        read(stack, "scan.tif", SOURCE_BUCKET)


def test_a_bucket_can_be_made_and_deleted(stack: LocalStack) -> None:
    stack.s3.create_bucket(Bucket="one-more")
    folder = stack.pyramid_folder.parent / "one-more"
    assert folder.is_dir()
    stack.s3.delete_bucket(Bucket="one-more")
    assert not folder.exists()
