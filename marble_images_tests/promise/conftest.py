"""What the tests of the promise share: small pictures, impatient settings, a run of the real job."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import pytest
from PIL import Image

from marble_images.local import layout
from marble_images.local.stack import LocalStack
from marble_images.resources.sources import HOST_HEALTH
from marble_images_tests.assets.test_pyramid_tiffs import Queue

IMPATIENT = {
    "SOURCE_CONNECT_TIMEOUT": "2",
    "SOURCE_READ_TIMEOUT": "1.5",
    "SOURCE_DEADLINE": "6",
    "SOURCE_ATTEMPTS": "2",
    "SOURCE_BACKOFF": "0.05",
    "GONE_PAUSE": "0.05",
    "APPSYNC_READ_TIMEOUT": "3",
    "APPSYNC_ATTEMPTS": "2",
    "APPSYNC_BACKOFF": "0.05",
    "S3_READ_TIMEOUT": "3",
    "S3_ATTEMPTS": "2",
    "MAX_REMOVED_FRACTION": "1",
    "CONVERSION_PROCESSES": "2",
}
"""Settings that let a fault come to its end in seconds."""


def picture(width: int = 90, height: int = 70, shade: int = 90) -> bytes:
    """A small JPEG with detail, so that damaged bytes do not pass for whole ones."""
    random = np.random.default_rng(shade)
    pixels = random.integers(0, 255, (height, width, 3), dtype=np.uint8)
    pixels[..., 2] = shade
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


class Sources(Queue):
    """Puts a file at any kind of source, and its record into the queue."""

    def put(self, kind: str, path: str, content: bytes | None = None, **fields: Any) -> None:
        content = picture() if content is None else content
        if kind == "S3":
            self.s3(path, content, **fields)
            return
        web = self.stack.web
        if kind == "Uri":
            uri = web.put_uri(path, content)
        elif kind == "Curate":
            uri = web.put_curate(self.name(path), content, "file.jpg")
            fields.setdefault("md5Checksum", hashlib.md5(content).hexdigest())
        else:
            uri = web.put_drive(self.name(path), content, "file.jpg")
        self.record(path, sourceType=kind, sourceUri=uri, **fields)

    @staticmethod
    def name(path: str) -> str:
        """The id of a file at Curate and in Drive."""
        return "id_" + hashlib.sha256(path.encode()).hexdigest()[:24]

    def picture_in_bucket(self, path: str) -> Image.Image:
        found = self.stack.s3.get_object(Bucket=layout.IMAGE_BUCKET, Key=path)
        return Image.open(io.BytesIO(found["Body"].read()))


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The work folder of the runs."""
    return tmp_path / "work"


@pytest.fixture
def instance(stack: LocalStack, work: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in {**IMPATIENT, "WORK_FOLDER": str(work)}.items():
        monkeypatch.setenv(name, value)
    HOST_HEALTH.forget()
    with dg.DagsterInstance.ephemeral() as made:
        yield made
    HOST_HEALTH.forget()
    stack.faults.clear()


@pytest.fixture
def sources(stack: LocalStack) -> Sources:
    return Sources(stack)
