"""Checksums as others state them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from marble_images.sources.integrity import etag_md5, header_md5, hex_md5

HEX = "d41d8cd98f00b204e9800998ecf8427e"
BASE64 = "1B2M2Y8AsgTpgAmY7PhCfg=="


@hypothesis_settings(deadline=None)
@given(st.binary(min_size=16, max_size=16))
def test_an_md5_is_read_in_hexadecimal_and_in_base64(digest: bytes) -> None:
    assert hex_md5(digest.hex()) == hex_md5(digest.hex().upper()) == digest.hex()
    assert hex_md5(base64.b64encode(digest).decode()) == digest.hex()


@pytest.mark.parametrize("text", [None, "", " ", "none", HEX[:-1], HEX + "0", "g" * 32, "AAAA", "ü"])
def test_other_text_is_no_md5(text: str | None) -> None:
    assert hex_md5(text) is None


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ({}, None),
        ({"Content-MD5": BASE64}, HEX),
        ({"Content-MD5": "nonsense"}, None),
        ({"x-goog-hash": f"crc32c=AAAAAA==, md5={BASE64}"}, HEX),
        ({"x-goog-hash": "crc32c=AAAAAA=="}, None),
        ({"x-goog-hash": f"md5={BASE64}", "x-goog-stored-content-encoding": "gzip"}, None),
    ],
)
def test_headers_state_an_md5(headers: dict[str, str], found: str | None) -> None:
    assert header_md5(headers) == found


@pytest.mark.parametrize(
    ("answer", "bucket", "found"),
    [
        ({"ETag": f'"{HEX}"'}, "b", HEX),
        ({"ETag": f'"{HEX}"', "ServerSideEncryption": "AES256"}, "b", HEX),
        ({"ETag": f'"{HEX}"', "ServerSideEncryption": "aws:kms"}, "b", None),
        ({"ETag": f'"{HEX}"', "ServerSideEncryption": "aws:kms:dsse"}, "b", None),
        ({"ETag": f'"{HEX}"', "SSECustomerAlgorithm": "AES256"}, "b", None),
        ({"ETag": f'"{HEX}-2"'}, "b", None),
        ({"ETag": f'"{HEX}"'}, "b--use1-az4--x-s3", None),
        ({}, "b", None),
    ],
)
def test_an_etag_is_an_md5_only_where_s3_says_so(
    answer: dict[str, object], bucket: str, found: str | None
) -> None:
    assert etag_md5(answer, bucket) == found
