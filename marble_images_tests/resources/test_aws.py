"""How the clients of AWS are made: what they sign, and that they share what they load."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from marble_images.resources import S3ClientResource

_BODY = b"a pyramid"


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names no endpoint of AWS."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)


def headers_of_a_put(client: Any) -> dict[str, str]:
    """The headers of a PUT as it would be sent, with none of it sent."""
    seen: list[AWSPreparedRequest] = []

    def answer(request: AWSPreparedRequest, **_: object) -> AWSResponse:
        seen.append(request)
        return AWSResponse(request.url, 200, HTTPHeaders(), HTTPResponse(io.BytesIO()))

    client.meta.events.register("before-send.s3.PutObject", answer)
    crc32 = base64.b64encode(zlib.crc32(_BODY).to_bytes(4, "big")).decode()
    client.put_object(Bucket="images", Key="a.tif", Body=_BODY, ChecksumCRC32=crc32)
    return {name.lower(): _text(value) for name, value in seen[0].headers.items()}


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.parametrize(
    "endpoint", [None, "https://s3.example.org", "http://127.0.0.1:9", "http://localhost:9"]
)
def test_objects_are_read_once_where_nobody_in_between_can_change_them(
    nowhere: None, endpoint: str | None
) -> None:
    sent = headers_of_a_put(S3ClientResource(endpoint_url=endpoint).get_client())
    assert sent["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "x-amz-checksum-crc32" in sent


def test_objects_are_signed_whole_where_the_connection_is_open_to_others(nowhere: None) -> None:
    sent = headers_of_a_put(S3ClientResource(endpoint_url="http://s3.example.org").get_client())
    assert len(sent["x-amz-content-sha256"]) == 64
