from __future__ import annotations

import hashlib
import io
import threading
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
import tifffile
from PIL import Image

from marble_images.definitions import state
from marble_images.local import layout
from marble_images.local.stack import LocalStack
from marble_images.partitions import partition_key
from marble_images_tests.assets.pipeline_run import failure_of, make_pyramids, materialized


@pytest.fixture
def instance(
    stack: LocalStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("WORK_FOLDER", str(tmp_path / "work"))
    monkeypatch.setenv("GONE_PAUSE", "0.05")
    with dg.DagsterInstance.ephemeral() as made:
        yield made
    left = [path for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert left == [], "a run leaves no file in its work folder"


def jpeg(width: int = 700, height: int = 600, shade: int = 90) -> bytes:
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x % 256, y % 256, np.full_like(x, shade)], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


class Queue:
    """Puts files at their sources and their records into the queue."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack

    def record(self, path: str, **fields: Any) -> None:
        self.stack.appsync.put_records(
            [{"id": path, "filePath": path, "dateAddedToDynamo": _now(), **fields}]
        )

    def s3(self, path: str, content: bytes | None, **fields: Any) -> None:
        if content is not None:
            self.stack.s3.put_object(Bucket=layout.SOURCE_BUCKET, Key=f"in/{path}", Body=content)
        self.record(
            path,
            sourceType="S3",
            sourceBucketName=layout.SOURCE_BUCKET,
            sourceFilePath=f"in/{path}",
            **fields,
        )

    def of(self, path: str) -> dict[str, Any]:
        found = self.stack.appsync.record(path)
        assert found is not None
        return found


@pytest.fixture
def queue(stack: LocalStack) -> Queue:
    return Queue(stack)


def _now() -> str:
    return datetime.now(timezone.utc).replace(tzinfo=None).isoformat()


def published(stack: LocalStack, key: str) -> tuple[dict[str, str], tifffile.TiffFile]:
    found = stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key=key)
    assert found["ContentType"] == "image/tiff"
    return found["Metadata"], tifffile.TiffFile(io.BytesIO(found["Body"].read()))


def keys_in(stack: LocalStack, bucket: str = layout.IMAGE_BUCKET) -> set[str]:
    return {item["Key"] for item in stack.s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def test_a_file_goes_from_each_kind_of_source_to_the_bucket_and_its_size_to_the_queue(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue, tmp_path: Path
) -> None:
    content = jpeg()
    source = tmp_path / "source.jpg"
    source.write_bytes(content)
    queue.s3("a/s3.jpg", content)
    queue.record("b/uri.jpg", sourceType="Uri", sourceUri=stack.web.put_uri("uri.jpg", source))
    queue.record(
        "c/curate.jpg",
        sourceType="Curate",
        sourceUri=stack.web.put_curate("item1", content, "curate.jpg"),
        md5Checksum=hashlib.md5(content).hexdigest(),
    )
    queue.record(
        "d/drive.jpg",
        sourceType="Museum",
        sourceUri=stack.web.put_drive("1DriveFileIdentifier000000001", content, "drive.jpg"),
    )
    paths = ["a/s3.jpg", "b/uri.jpg", "c/curate.jpg", "d/drive.jpg"]
    result = make_pyramids(instance, paths)
    assert result.success, failure_of(result)
    assert materialized(instance, "pyramid_tiffs") == set(paths)
    for path in paths:
        metadata, tiff = published(stack, path.replace(".jpg", ".tif"))
        assert [page.shape[:2] for page in tiff.pages] == [(600, 700), (300, 350)]
        assert {name: metadata[name] for name in ("width", "height", "pages", "tilesize")} == {
            "width": "700",
            "height": "600",
            "pages": "2",
            "tilesize": "512",
        }
        record = queue.of(path)
        assert (record["width"], record["height"]) == (700, 600)
        assert record["dateLastProcessed"].endswith("Z")


def test_in_one_run_what_can_be_made_is_made_and_what_fails_is_named(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1-good.jpg", jpeg())
    queue.s3("2-cut.jpg", jpeg()[:20_000])
    queue.s3("3-text.jpg", b"<html><body>Not found</body></html>")
    queue.record("4-odd.jpg", sourceType="Dropbox")
    queue.s3("5-folder/", jpeg())
    queue.s3("6-good.jpg", jpeg())
    paths = ["1-good.jpg", "2-cut.jpg", "3-text.jpg", "4-odd.jpg", "5-folder/", "6-good.jpg"]
    result = make_pyramids(instance, paths)
    assert not result.success
    assert materialized(instance, "pyramid_tiffs") == {"1-good.jpg", "6-good.jpg"}
    message = failure_of(result)
    assert message.startswith("4 of 6 files failed: 2-cut.jpg: ")
    for part in ("3-text.jpg: ", "HTML", "'Dropbox'", "5-folder/: "):
        assert part in message
    assert keys_in(stack) == {"1-good.tif", "6-good.tif"}
    for path in paths[1:5]:
        assert not queue.of(path).get("dateLastProcessed")
        entry = state.store().failure(path)
        assert entry is not None
        assert entry.failures == 1


def test_a_file_that_is_gone_is_removed_from_the_queue_and_the_run_succeeds(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1-gone.jpg", None)
    queue.s3("2-good.jpg", jpeg())
    assert make_pyramids(instance, ["1-gone.jpg", "2-good.jpg"]).success
    assert stack.appsync.record("1-gone.jpg") is None
    assert materialized(instance, "pyramid_tiffs") == {"2-good.jpg"}


def test_when_a_whole_source_seems_gone_nothing_is_removed(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    paths = [f"{n:02}.jpg" for n in range(10)]
    for number, path in enumerate(paths):
        queue.s3(path, jpeg() if number > 2 else None)
    result = make_pyramids(instance, paths)
    assert "A whole source seems to be down, so nothing was removed. 3 of 10 files failed" in failure_of(
        result
    )
    assert all(stack.appsync.record(path) is not None for path in paths)
    assert materialized(instance, "pyramid_tiffs") == set(paths[3:])


def test_a_file_whose_record_is_rewritten_meanwhile_stays_waiting(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", jpeg())
    fault = stack.faults.add("latency", operation="GetObject", path="in/1.jpg", seconds=30)

    def rewrite_while_it_is_fetched() -> None:
        while not stack.faults.hits(fault):
            time.sleep(0.02)
        stack.appsync.touch("1.jpg")
        stack.faults.remove(fault)

    thread = threading.Thread(target=rewrite_while_it_is_fetched, daemon=True)
    thread.start()
    assert make_pyramids(instance, ["1.jpg"]).success
    thread.join(10)
    assert not queue.of("1.jpg").get("dateLastProcessed")
    assert materialized(instance, "pyramid_tiffs") == set()
    stack.faults.clear()
    assert make_pyramids(instance, ["1.jpg"], remake=False).success
    assert queue.of("1.jpg")["dateLastProcessed"]


def test_an_older_picture_that_is_uploaded_last_does_not_stay(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", jpeg(shade=30))
    fault = stack.faults.add("latency", operation="PutObject", path="images/1.tif", seconds=50, times=1)
    slow: list[dg.ExecuteInProcessResult] = []
    with dg.DagsterInstance.ephemeral() as other:
        thread = threading.Thread(target=lambda: slow.append(make_pyramids(other, ["1.jpg"])))
        thread.start()
        while not stack.faults.hits(fault):
            time.sleep(0.02)
        stack.s3.put_object(Bucket=layout.SOURCE_BUCKET, Key="in/1.jpg", Body=jpeg(900, 600, shade=200))
        stack.appsync.touch("1.jpg")
        assert make_pyramids(instance, ["1.jpg"]).success
        assert queue.of("1.jpg")["width"] == 900
        stack.faults.remove(fault)
        thread.join(60)
    assert slow[0].success
    metadata, tiff = published(stack, "1.tif")
    assert abs(float(tiff.pages[0].asarray()[..., 2].mean()) - 200) < 3
    assert (metadata["width"], queue.of("1.jpg")["width"]) == ("900", 900)


def test_a_copyrighted_file_fits_its_box(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", jpeg(1500, 1200), copyrightStatus="In Copyright")
    assert make_pyramids(instance, ["1.jpg"]).success
    _, tiff = published(stack, "1.tif")
    assert tiff.pages[0].shape[:2] == (560, 700)
    assert (queue.of("1.jpg")["width"], queue.of("1.jpg")["height"]) == (700, 560)


def test_a_pdf_gives_a_pyramid_of_its_first_page_and_a_copy_beside_it(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    buffer = io.BytesIO()
    pages = [Image.new("RGB", (300, 200), color) for color in ("red", "blue")]
    pages[0].save(buffer, "PDF", resolution=72, save_all=True, append_images=pages[1:])
    queue.s3("a/1.pdf", buffer.getvalue())
    result = make_pyramids(instance, ["a/1.pdf"])
    assert result.success, failure_of(result)
    _, tiff = published(stack, "a/1.tif")
    page = tiff.pages[0].asarray()
    # 300 x 200 points at 300 dpi.
    assert page.shape == (833, 1250, 3)
    assert abs(page.reshape(-1, 3).mean(axis=0) - np.array([255, 0, 0])).max() < 8
    copied = stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key="a/1.pdf")
    assert copied["ContentType"] == "application/pdf"
    assert copied["Body"].read() == buffer.getvalue()


def test_a_current_pyramid_is_only_marked_unless_a_person_asks_for_it_again(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", jpeg())
    assert make_pyramids(instance, ["1.jpg"], remake=False).success
    first = stack.s3.head_object(Bucket=layout.IMAGE_BUCKET, Key="1.tif")
    record = queue.of("1.jpg")
    stack.appsync.put_records(
        [{k: v for k, v in record.items() if k not in ("dateLastProcessed", "width", "height")}]
    )
    assert make_pyramids(instance, ["1.jpg"], remake=False).success
    assert (queue.of("1.jpg")["width"], queue.of("1.jpg")["height"]) == (700, 600)
    assert queue.of("1.jpg")["dateLastProcessed"]
    again = stack.s3.head_object(Bucket=layout.IMAGE_BUCKET, Key="1.tif")
    assert again["Metadata"] == first["Metadata"]
    assert make_pyramids(instance, ["1.jpg"]).success
    remade = stack.s3.head_object(Bucket=layout.IMAGE_BUCKET, Key="1.tif")
    assert remade["ETag"] == first["ETag"], "the same source gives the same bytes"
    assert remade["Metadata"] != first["Metadata"], "and yet it was uploaded anew"


def test_after_three_failures_a_file_is_set_aside_until_a_person_asks_or_its_source_changes(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    queue.s3("1.jpg", b"no image at all")
    daily = {"remake": False, "retry_quarantined": False}
    for _ in range(3):
        assert not make_pyramids(instance, ["1.jpg"], **daily).success
    assert make_pyramids(instance, ["1.jpg"], **daily).success, "a file set aside fails no daily run"
    assert not make_pyramids(instance, ["1.jpg"]).success, "a person's run tries it"
    stack.appsync.touch("1.jpg")
    stack.s3.put_object(Bucket=layout.SOURCE_BUCKET, Key="in/1.jpg", Body=jpeg())
    assert make_pyramids(instance, ["1.jpg"], **daily).success
    assert materialized(instance, "pyramid_tiffs") == {"1.jpg"}
    assert state.store().failure("1.jpg") is None


def test_ids_with_the_same_base_name_or_different_case_do_not_mix(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    paths = ["a/1.jpg", "b/1.jpg", "b/c/1.jpg"]
    for number, path in enumerate(paths):
        queue.s3(path, jpeg(shade=60 * (number + 1)))
    assert make_pyramids(instance, paths).success
    for number, path in enumerate(paths):
        _, tiff = published(stack, path.replace(".jpg", ".tif"))
        assert abs(float(tiff.pages[0].asarray()[..., 2].mean()) - 60 * (number + 1)) < 3


def test_a_strange_id_is_made_under_its_own_key(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue
) -> None:
    path = "a b, c [1]/é...x.jpg"
    queue.s3(path, jpeg())
    assert make_pyramids(instance, [path]).success
    assert materialized(instance, "pyramid_tiffs") == {partition_key(path)}
    assert keys_in(stack) == {"a b, c [1]/é...x.tif"}


def test_a_materialization_tells_what_was_made(
    stack: LocalStack, instance: dg.DagsterInstance, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IIIF_BASE_URL", "https://iiif.example.org/iiif/2")
    queue.s3("a/1.jpg", jpeg())
    result = make_pyramids(instance, ["a/1.jpg"])
    (event,) = result.asset_materializations_for_node("make_pyramids")
    metadata: dict[str, Any] = {name: value.value for name, value in event.metadata.items()}
    assert (metadata["width"], metadata["height"], metadata["levels"]) == (700, 600, 2)
    assert metadata["pyramid"] == f"s3://{layout.IMAGE_BUCKET}/a/1.tif"
    assert (
        metadata["source checksum"]
        == hashlib.sha256(
            stack.s3.get_object(Bucket=layout.SOURCE_BUCKET, Key="in/a/1.jpg")["Body"].read()
        ).hexdigest()
    )
    assert metadata["preview"].startswith("![preview](data:image/jpeg;base64,")
    assert len(metadata["preview"]) < 20_000
    assert metadata["IIIF info.json"] == "https://iiif.example.org/iiif/2/a%2F1/info.json"
    for phase in ("fetch", "convert", "validate", "upload"):
        assert metadata[f"seconds to {phase}"] >= 0
    checks = result.get_asset_check_evaluations()
    assert {check.check_name for check in checks if check.passed} == {
        "pyramid_is_valid",
        "bucket_holds_what_was_made",
        "copyright_box_holds",
    }


def test_a_file_that_appsync_does_not_know_fails_with_that_reason(
    stack: LocalStack, instance: dg.DagsterInstance
) -> None:
    assert "AppSync has no record of this file" in failure_of(make_pyramids(instance, ["1.jpg"]))
